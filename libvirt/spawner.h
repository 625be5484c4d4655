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

#include "base/spawn.h"

struct spawner_order {
	const uint8_t *vm; /* UUID_BYTES */
	const char *name;  /* the domain's */
	const char *protector;
	size_t protector_bytes;
	uid_t worker_uid, qemu_uid;
	int may_be_new;
	int comes; /* the VM is to come from another host */
	int lock; /* the VM's lock, which goes to the worker; the caller keeps its own descriptor */
};

/*
 * Start the worker, sign its endorsement keys if it asks, and wait until it is ready.  The worker
 * is in a session of its own and has nothing of this process but the socket and the lock: libvirtd,
 * which waits for the end of file of the hook's pipes, is not kept waiting.
 *
 * 0 and *MADE (1: the vTPM was manufactured just now).  Otherwise the worker's own error and
 * sentence, or -ETIMEDOUT after SPAWN_TIMEOUT_MS; the worker has then been killed.
 */
int spawner_run(const struct spawner_order *order, int *made, struct fault *f) MUST_CHECK;

#endif
