/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VM's key from a guardian, where the protector has no entry for this host's key
 * (docs/FORMAT.md, "Key release").
 *
 * The worker makes an ephemeral key that is never anywhere but in its own memory; what the hook and
 * shieldvm-ask pass on is sealed to it.  HPKE tells nobody who sealed: that the guardian released
 * it is known to shieldvm-ask, which talks to the guardian's pinned key.  For the worker the proof
 * is the same as with an unwrapped key: the VM's state opens with it.  For a vTPM that is made new,
 * or that is to come from another host, there is no such proof before that state has come in, and
 * root of this host could give it any key: one that opens nothing of the VM's, now or later.
 *
 * Used by: worker/main.c, in phase load.
 */
#ifndef SHIELDVM_WORKER_KEYASK_H
#define SHIELDVM_WORKER_KEYASK_H

#include "crypto/keyrelease.h"
#include "worker/order.h"

/*
 * Ask for the key of ORDER's VM, with ORDER's protector and a vTPM whose state file says
 * STATE_VERSION (0: there is none).  Errors of order_ask_key(); ERR_POLICY (rule guardian.key) if
 * what comes back does not open.  OUT is untouched on failure.
 */
int keyask(struct order *order, uint64_t state_version, struct keyrelease *out,
	   struct fault *f) MUST_CHECK;

#endif
