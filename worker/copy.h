/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disks that libvirt has QEMU copy to another host, or take from one, over NBD (--copy-storage-all,
 * --copy-storage-inc): what it says about them, turned into sealed channels (migration/disks.h).
 *
 *  out: libvirt tells QEMU where the other host's NBD server is: blockdev-add of driver "nbd".
 *      The broker connects to there; once the worker there has taken the disk, QEMU gets our
 *      end in the place of the address.  blockdev-mirror passes if it is to such a node.
 *  in: libvirt tells QEMU where to listen: nbd-server-start.  The broker listens there, and
 *      QEMU's server on a socket that only this worker reaches.
 *
 * Where that is, is a TCP address in numbers, or a socket in the VM's folder for them
 * (worker/door.h).  What libvirt has QEMU copy when no migration is under way is none of this:
 * the guest has encrypted it.
 *
 * Used by: worker/carry.c.
 */
#ifndef SHIELDVM_WORKER_COPY_H
#define SHIELDVM_WORKER_COPY_H

#include "migration/disks.h"
#include "worker/carry.h"
#include "worker/door.h"

struct copy;

/* DISKS as in struct carry_config; DOOR is borrowed. */
int copy_new(struct disks *disks, const struct door *door, struct copy **out) MUST_CHECK;
void copy_free(struct copy *c);

/* As carry_request(), of a VM that is about to leave, or that comes. */
enum carry_verdict copy_leaving(struct copy *c, const struct qmp_request *r, const char **rule,
				struct fault *f);
enum carry_verdict copy_coming(struct copy *c, const struct qmp_request *r, const char **rule,
			       struct fault *f);

/* The VM has come, or does not: nobody waits for its disks any more. */
void copy_over(struct copy *c);

/* 1 while a request that was begun is not done: then carry_next() and carry_replied() are these. */
int copy_is_busy(const struct copy *c);
enum carry_turn copy_next(struct copy *c, struct carry_ask *ask, const char **rule,
			  struct fault *f);
void copy_replied(struct copy *c, int ok);

/* For poll(2), while busy. */
int copy_news_fd(const struct copy *c);

#endif
