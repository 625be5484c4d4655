/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vTPM's state on disk: sealed, durable, and never neither old nor new.
 *
 * Theory of operation.  The folder holds two files of which one is the state: NAME (current) and
 * NAME.next (spare). A store seals the state into the spare, makes it durable (fdatasync), swaps
 * the two names in one step (renameat2 RENAME_EXCHANGE) and makes the swap durable (fsync of the
 * folder); then the roles of the two descriptors change.  All descriptors are open before sealing,
 * so the sealed worker opens nothing.  Until the first state is stored there is no NAME: the spare
 * is renamed to it (RENAME_NOREPLACE) and a second spare, NAME.spare, becomes NAME.next.  So a
 * folder with NAME.next but neither NAME nor NAME.spare had a state that was deleted, and is
 * refused.
 *
 * Used by: worker/ only, one thread at a time (the caller holds the vTPM lock).
 * System calls after sealing: pread64, pwrite64, ftruncate, fdatasync, renameat2, fsync, fstat.
 */
#ifndef SHIELDVM_WORKER_STORE_H
#define SHIELDVM_WORKER_STORE_H

#include <stdint.h>

#include "base/buf.h"
#include "crypto/seal.h"

struct store;

enum store_birth {
	STORE_MUST_EXIST, /* the VM had a vTPM: absent state is refused */
	STORE_MAY_BE_NEW, /* absent state is allowed: libtpms will manufacture */
};

/*
 * Open the state NAME in DIR_FD (taken over on success), made with SEAL (borrowed).  A present
 * state is read and authenticated here; whatever is wrong with it is refused with a sentence, and
 * the files are left as they were. Takes an flock on the folder: ERR_STATE if another process has
 * it.
 */
int store_open(int dir_fd, const char *name, struct seal *seal, enum store_birth birth,
	       struct store **out, struct fault *f) MUST_CHECK;
void store_free(struct store *s);

/* 1 if there is a state. */
int store_exists(const struct store *s);

/* Append the current state's plaintext to OUT; -ENOENT if there is none, errors of seal_open(),
 * -errno. */
int store_load(struct store *s, struct buf *out, struct fault *f) MUST_CHECK;

/*
 * Replace the state.  When this returns 0 the new state is durable; after any failure the old one
 * still is, on disk and for store_load().
 */
int store_save(struct store *s, const uint8_t *state, size_t n, struct fault *f) MUST_CHECK;

#endif
