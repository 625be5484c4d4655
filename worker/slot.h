/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One of the two files of a store: known by its inode, whatever it is called at the moment.
 *
 * Used by: worker/store.c.
 */
#ifndef SHIELDVM_WORKER_SLOT_H
#define SHIELDVM_WORKER_SLOT_H

#include <stdint.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/err.h"

#define SLOT_MODE 0600

struct slot {
	int fd;
	dev_t dev;
	ino_t ino;
	off_t size;	  /* bytes; -1 = unknown after a failed write */
	uint64_t version; /* of the state in it, once it is known */
};

/* 1 if ST is SLOT's. */
int slot_is(const struct stat *st, const struct slot *slot);

/* 0 if ST is that of a plain file of ours with mode SLOT_MODE and one name; -ELOOP, -EINVAL, -EPERM
 * with a sentence about NAME. */
int slot_check(const struct stat *st, const char *name, struct fault *f) MUST_CHECK;

/* Open NAME in DIR; with O_CREAT in FLAGS it is made, otherwise it must pass slot_check().  -errno
 * with a sentence; SLOT's descriptor may be open then. */
int slot_open(int dir, const char *name, int flags, struct slot *slot, struct fault *f) MUST_CHECK;

/* Append all that is in it to B.  ERR_LIMIT, -ENOMEM, -errno. */
int slot_read(const struct slot *slot, struct buf *b) MUST_CHECK;

/* Make FILE, a state of VERSION, all that is in SLOT, which is the spare, durably.  -errno: what is
 * in it is then unknown. */
int slot_fill(struct slot *slot, const struct buf *file, uint64_t version) MUST_CHECK;

#endif
