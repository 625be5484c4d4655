/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The verifier: looks into evidence and logs that hosts send (guardian/appraise.h).  It has one
 * link and no key; whatever an attacker makes of it, it can only say that a host whose challenge
 * was just answered is healthy or not.
 *
 * May be used by: guardian/main.c, in a process of its own; verifier_judge() by tests.
 */
#ifndef SHIELDVM_GUARDIAN_VERIFIER_H
#define SHIELDVM_GUARDIAN_VERIFIER_H

#include "guardian/link.h"

/*
 * Judge the message M of kind LINK_JUDGE.  ERR_FORMAT if the keeper has not made it so; what is
 * wrong with the evidence is a finding, and V not healthy.
 */
int verifier_judge(const struct buf *m, struct link_verdict *v, struct findings *findings,
		   struct fault *f) MUST_CHECK;

/* Judge what comes over LINK until its end.  0, or why it cannot go on. */
int verifier_run(int link, struct fault *f) MUST_CHECK;

#endif
