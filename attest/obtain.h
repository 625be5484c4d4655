/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM's key from one of the guardians that its protector names, for one worker: what shieldvm-ask
 * does between its request and its reply.
 *
 * The guardians are tried in the owner's order.  The next one is tried only when one could not be
 * reached or could not serve: what one refuses is refused.  When none can be reached, the sealed
 * copy of an earlier release may serve, where the VM's owner permits it (attest/copy.h), and only
 * while this host has the VM's lease.
 *
 * May be used by: attest/ask.c, as root.
 */
#ifndef SHIELDVM_ATTEST_OBTAIN_H
#define SHIELDVM_ATTEST_OBTAIN_H

#include "attest/conf.h"
#include "base/ask.h"

/* The texts and folders that the programs use are PATH_*; all of it belongs to the caller. */
struct obtain {
	const struct ask_request *request;
	const char *protector; /* request->protector_bytes of text */
	const struct conf *conf;
	int leases;	  /* PATH_LEASES (attest/lease_note.h) */
	int64_t until_ms; /* when no guardian is asked any more (base/clock.h) */
};

/*
 * Fill REPLY's guardian, offline_left and key; the VM's lease is noted then, durably.  On failure
 * RULE is why, as base/ask.h says, and F has the sentence.  What a guardian leased although the
 * note failed stays leased to this host, which may ask again.
 */
int obtain_key(const struct obtain *o, struct ask_reply *reply, char rule[static ASK_RULE_MAX],
	       struct fault *f) MUST_CHECK;

#endif
