/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a rule says at one level.
 *
 * May be used by: every layer from policy/ on.
 */
#ifndef SHIELDVM_POLICY_VERDICT_H
#define SHIELDVM_POLICY_VERDICT_H

enum verdict {
	VERDICT_OK,
	VERDICT_NOTICE, /* allowed; whoever shields the domain is told */
	VERDICT_OWNER,	/* refused unless the owner's protector allows this rule id */
	VERDICT_REFUSE,
};

/* A verdict that keeps what it is about from happening, the owner's choices left aside. */
#define VERDICT_REFUSES(v) ((v) >= VERDICT_OWNER)

#endif
