/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VM's key from a guardian, where the protector has no entry for this host's key
 * (docs/FORMAT.md, "Key release").
 *
 * The worker makes an ephemeral key that is never anywhere but in its own memory; what the hook and
 * shieldvm-ask pass on is sealed to it.  HPKE tells nobody who sealed; but what is released is the
 * content key of the protector that the owner signed, and only the right one opens that: nobody on
 * the way can have the worker use a key of their own.
 *
 * Used by: worker/main.c, in phase load.
 */
#ifndef SHIELDVM_WORKER_KEYASK_H
#define SHIELDVM_WORKER_KEYASK_H

#include "crypto/keyrelease.h"
#include "worker/order.h"

struct keyask {
	struct vm_key key;
	int64_t token, spent; /* of the lease; crypto/keyrelease.h */
	/* Of the vTPM's state: what is older than OLDEST is not what it was released for, but for
	 * what is of version TICKET, by the owner's word; 0: there is none. */
	uint64_t oldest, ticket;
};

/* 1 if state of VERSION is what a key was asked for, with a state file of version ASKED, and may be
 * had: a ticket is for that very one, and nothing between it and OLDEST is. */
static inline int keyask_takes(uint64_t asked, uint64_t oldest, uint64_t version)
{
	return version == asked || version >= oldest;
}
void keyask_done(struct keyask *k);
#define CLEANUP_KEYASK CLEANUP(keyask_done)

/*
 * Ask for the key of ORDER's VM, whose PROTECTOR is ORDER's, with a vTPM whose state file says
 * STATE_VERSION (0: there is none).  Errors of order_ask_key(); ERR_POLICY (rule guardian.key) if
 * what comes back does not open, or does not open the protector; ERR_POLICY (rule vtpm.older) if
 * the guardian knows of newer state than is here, and it was not by the owner's ticket that it was
 * released all the same: it was asked in other words than these.  OUT is untouched on failure.
 */
int keyask(struct order *order, const struct protector *protector, uint64_t state_version,
	   struct keyask *out, struct fault *f) MUST_CHECK;

#endif
