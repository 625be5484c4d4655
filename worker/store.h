/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vTPM's state on disk: sealed, durable, and never neither old nor new.
 *
 * Theory of operation.  The folder holds two files of which one is the state: NAME (current) and
 * NAME.next (spare).  A store seals the state into the spare, makes it durable (fdatasync), swaps
 * the two names in one step (renameat2 RENAME_EXCHANGE) and makes the swap durable (fsync of the
 * folder); then the roles of the two descriptors change.  All descriptors are open before sealing,
 * so the sealed worker opens nothing.
 *
 * Until the first state is stored there is neither name, but two empty files NAME.new and
 * NAME.spare.  The first store fills NAME.new, renames it to NAME, syncs the folder, and only then
 * renames NAME.spare to NAME.next.  So NAME.next without NAME means that a state was deleted, which
 * is refused; NAME.new and NAME.spare without NAME mean a crash before there was any state.  Where
 * that first state comes from another host, NAME.spare becomes NAME.moved, durably, before NAME.new
 * becomes NAME: whenever the process dies, nobody starts from it by accident.
 *
 * The spare is written only when the folder on disk is known to call it the spare: after a failed
 * sync, and at the first store after opening (the last owner may have been killed between swap and
 * sync), the folder is synced first.  Which descriptor is current is never assumed: before each
 * store and after each doubtful swap the names are compared with the two inodes, and a folder in
 * which somebody else moved or replaced the files is refused.
 *
 * Each file begins with a head in clear that has the state's version (crypto/statehead.h), and is
 * sealed with the head as context: no state has another's version.  A version is used for one
 * attempt to store, whether it succeeds or not.  A file from before there were heads is of version
 * 0, and has one as soon as something is stored.
 *
 * Used by: worker/ only, one thread at a time (the caller holds the vTPM lock).  The process
 * ignores SIGXFSZ, so that a file size limit is an error and not its end.  System calls after
 * sealing: pread64, pwrite64, ftruncate, fdatasync, renameat2, fsync, newfstatat (with the folder's
 * descriptor and these names; also glibc's fstat), getrandom.
 */
#ifndef SHIELDVM_WORKER_STORE_H
#define SHIELDVM_WORKER_STORE_H

#include <stdint.h>

#include "base/buf.h"
#include "crypto/seal.h"

#define STORE_NAME_MAX 64 /* bytes of NAME, with the NUL */

struct store;

enum store_birth {
	STORE_MUST_EXIST, /* the VM had a vTPM: absent state is refused */
	STORE_MAY_BE_NEW, /* absent state is allowed: libtpms will manufacture */
	STORE_COMES,	  /* the VM comes from another host: absent state is allowed, and an error
			   * to load; state that moved away may come back */
};

/*
 * Open the state NAME (a plain file name) in DIR_FD (taken over on success), made with SEAL
 * (borrowed).  Takes an flock on the folder, which a dup(2) of DIR_FD shares (for a second state in
 * the same folder) and which ends with the last of them: ERR_STATE if another process has it.
 *
 * A present state is read and authenticated here, before anything is written: whatever is wrong
 * with it is refused with a sentence (errors of seal_open(); -ELOOP, -EINVAL, -EPERM for what is
 * not a plain file of ours, mode 0600, with one name; -ENOENT, ERR_STATE for an absent one), and
 * the files are left as they were.  -EOPNOTSUPP if the filesystem cannot swap names.
 */
int store_open(int dir_fd, const char *name, struct seal *seal, enum store_birth birth,
	       struct store **out, struct fault *f) MUST_CHECK;
void store_free(struct store *s);

/* What store_open() can tell without a key, and refuses for: so that nobody is asked for one that
 * could not be used.  Changes nothing; errors of store_open(). */
int store_may_open(int dir_fd, const char *name, enum store_birth birth,
		   struct fault *f) MUST_CHECK;

/*
 * Durably mark the state as MOVED to another host, or as at home here.  What is marked opens as
 * STORE_COMES and in no other way (ERR_POLICY, rule vtpm.moved), and until the mark is taken away
 * nothing is stored (ERR_STATE).  NAME.moved is the mark.  -errno with a sentence; the mark is then
 * as it was.
 */
int store_set_moved(struct store *s, int moved, struct fault *f) MUST_CHECK;

/* Of state that comes: a first one is stored behind a mark, which stays when storing it fails. */
void store_mark_first(struct store *s);

/* 1 if there is a state. */
int store_exists(const struct store *s);

/* The version of the state that there is; 0: none, or one without a head. */
uint64_t store_version(const struct store *s);

/* States from here on get versions above FLOOR, and above their own so far. */
void store_raise(struct store *s, uint64_t floor);

/*
 * Store the state that there is once more, under the next version, if its own is not above the
 * floor: the versions up to there have been told, and whoever tells this one's would be taken for
 * older than he is.  Errors of store_load() and store_save().
 */
int store_renew(struct store *s, struct fault *f) MUST_CHECK;

/* Append the current state's plaintext to OUT; -ENOENT if there is none, errors of seal_open(),
 * -errno. */
int store_load(struct store *s, struct buf *out, struct fault *f) MUST_CHECK;

/*
 * Replace the state, under the next version.  When this returns 0 the new state is durable; after
 * any failure the old one still is, on disk and for store_load(), with one exception: if the swap
 * was made, its sync failed and it cannot be taken back either, the disk may hold either one and
 * store_load() gives what the folder shows.  ERR_LIMIT if the state is too large or there is no
 * higher version.
 */
int store_save(struct store *s, const uint8_t *state, size_t n, struct fault *f) MUST_CHECK;

/* Likewise, but under the version that the state has, if it has one: for what is not the guest's
 * doing. */
int store_save_same(struct store *s, const uint8_t *state, size_t n, struct fault *f) MUST_CHECK;

#endif
