/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What guardians have leased to this host, one file a VM: PATH_LEASES/UUID.json (docs/FORMAT.md,
 * "Lease note").
 *
 * shieldvm-ask writes a note before the VM's worker gets its key; shieldvm-attestd reports, stops
 * and takes leases over by these notes, and removes them.  An flock on the folder orders both.  A
 * note is replaced as a whole and durably, or not at all.
 *
 * May be used by: attest/ programs, as root.
 */
#ifndef SHIELDVM_ATTEST_LEASE_NOTE_H
#define SHIELDVM_ATTEST_LEASE_NOTE_H

#include "base/err.h"
#include "crypto/protector.h"

#define LEASE_NOTE_MAX	   8192 /* bytes of a note */
#define LEASE_NOTE_LOCK_MS 5000

struct lease_note {
	uint8_t vm[UUID_BYTES];
	int incoming;	 /* 0: held by this host; 1: the VM comes, and has it elsewhere */
	int64_t token;	 /* the lease's; incoming: of the present holder, 0 if there is none */
	int64_t expires; /* seconds since 1970; incoming: 0 */
	struct protector_guardian guardian; /* whose lease it is, and where it is asked */
};

/* The folder PATH, made if missing (0700; its parent 0711), which must be root's alone.  Returns a
 * descriptor of the caller's; ERR_STATE, -errno. */
int lease_note_folder(const char *path, struct fault *f) MUST_CHECK;

/* The flock on DIR, waited for LEASE_NOTE_LOCK_MS at most: *LOCK is another descriptor of DIR, and
 * closing it unlocks.  -ETIMEDOUT, -errno. */
int lease_note_lock(int dir, int *lock, struct fault *f) MUST_CHECK;

/* -ENOENT without a sentence if there is none; ERR_FORMAT, ERR_LIMIT, ERR_VERSION, -errno. */
int lease_note_read(int dir, const uint8_t vm[static UUID_BYTES], struct lease_note *out,
		    struct fault *f) MUST_CHECK;

/* Write N in place of whatever note there is; the caller has the lock. */
int lease_note_write(int dir, const struct lease_note *n, struct fault *f) MUST_CHECK;

/*
 * Put N, or nothing if it is NULL, in the place of WAS, durably; the VM's sealed copy goes with a
 * note that is removed.  The caller has the lock.  ERR_STATE if WAS is no longer what is there:
 * nothing is done then.
 */
int lease_note_replace(int dir, const struct lease_note *was, const struct lease_note *n,
		       struct fault *f) MUST_CHECK;

/* Call EACH with every VM that has a note, readable or not, until one of them returns < 0, which is
 * returned.  -errno. */
int lease_note_list(int dir, int (*each)(void *arg, const uint8_t vm[static UUID_BYTES]), void *arg,
		    struct fault *f) MUST_CHECK;

#endif
