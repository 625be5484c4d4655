/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Starting a VM's worker and hearing it out: the hook's side of the spawn conversation
 * (base/spawn.h).
 *
 * May be used by: the hook, as root.
 */
#ifndef SHIELDVM_LIBVIRT_SPAWNER_H
#define SHIELDVM_LIBVIRT_SPAWNER_H

#include <stddef.h>
#include <sys/types.h>

#include "base/ask.h"

struct spawner_order {
	const uint8_t *vm; /* UUID_BYTES */
	const char *name;  /* the domain's */
	const char *protector;
	size_t protector_bytes;
	uid_t worker_uid, qemu_uid;
	int may_be_new;
	int comes; /* the VM is to come from another host */
	int lock; /* the VM's lock, which goes to the worker; the caller keeps its own descriptor */

	/* Put the release in REPLY on record.  If that fails the worker does not get it.  NULL: no
	 * guardian is asked, and the worker refused (ERR_STATE). */
	int (*record)(void *arg, const struct ask_reply *reply, struct fault *f);
	void *arg;
};

struct spawner_outcome {
	int made;		 /* the vTPM was manufactured just now */
	int released;		 /* the VM's key came from a guardian */
	char rule[ASK_RULE_MAX]; /* of a refusal by or about a guardian; else "" */
};

/*
 * Start the worker, sign its endorsement keys and have a guardian asked for its key if it asks for
 * that, and wait until it is ready.  The worker is in a session of its own and has nothing of this
 * process but the socket and the lock: libvirtd, which waits for the end of file of the hook's
 * pipes, is not kept waiting.
 *
 * 0, or the worker's own error and sentence, those of asker_run() and of the order's record(), or
 * -ETIMEDOUT after SPAWN_TIMEOUT_MS, not counting the time that a guardian is given
 * (ASK_TIMEOUT_MS); the worker has then been killed.  *OUT is set in any case.
 */
int spawner_run(const struct spawner_order *order, struct spawner_outcome *out,
		struct fault *f) MUST_CHECK;

#endif
