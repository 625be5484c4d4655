/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sealed copy of a VM's key for starts when no guardian can be reached, where the VM's owner
 * permits some: PATH_LEASES/UUID.copy (docs/FORMAT.md, "Sealed copy").
 *
 * The key in it opens only on this host, while its TPM's PCRs are as they were judged and until its
 * TPM is reset (crypto/keyrelease.h); without a TPM, with the host's key.  What the file says
 * besides is this host's own word: how many starts are left, and for which protector.
 *
 * May be used by: attest/ programs, as root, with the lock of attest/lease_note.h.
 */
#ifndef SHIELDVM_ATTEST_COPY_H
#define SHIELDVM_ATTEST_COPY_H

#include "attest/hosttpm.h"
#include "crypto/keyrelease.h"
#include "crypto/sign.h"

#define COPY_TEXT_MAX 16384
#define COPY_BYTES    KEYRELEASE_INNER_BYTES

struct copy {
	uint8_t vm[UUID_BYTES];
	uint32_t left;			      /* starts */
	uint8_t protector[SIGN_SHA256_BYTES]; /* hash of its text */
	uint8_t request[KEYRELEASE_REQUEST_BYTES];
	uint8_t point[RAWKEY_P256_POINT]; /* the host's key that it is sealed to */
	struct hosttpm_proof bound;	  /* that key, in a TPM; bk_pub is empty without */
	struct buf certificate;
	uint8_t sealed[COPY_BYTES];
};
void copy_init(struct copy *c);
void copy_done(struct copy *c);
#define CLEANUP_COPY CLEANUP(copy_done)

/* Write C in place of what is there, durably.  ERR_LIMIT, -errno. */
int copy_write(int dir, const struct copy *c, struct fault *f) MUST_CHECK;

/* Read VM's copy into an initialised OUT, for somebody who only looks.  -ENOENT if there is none;
 * ERR_FORMAT, ERR_VERSION, -errno. */
int copy_read(int dir, const uint8_t vm[static UUID_BYTES], struct copy *out,
	      struct fault *f) MUST_CHECK;

/*
 * Take one start off VM's copy, durably, and only then read it into an initialised OUT, whose
 * `left` is what remains.  PROTECTOR is the text of today's.  -ENOENT if there is no copy,
 * ERR_LIMIT if none is left, ERR_POLICY if it was made for another text; ERR_FORMAT, ERR_VERSION,
 * -errno.
 */
int copy_spend(int dir, const uint8_t vm[static UUID_BYTES], const char *protector, size_t n,
	       struct copy *out, struct fault *f) MUST_CHECK;

/*
 * Put the copy aside, or back: while one is aside there is none.  So does the daemon before it says
 * that a VM has stopped, since nobody knows how that ends if it does not come back.  Nothing to put
 * is fine; a copy that is there already is not replaced.  1 if one was put, 0 if not; -errno.
 */
int copy_aside(int dir, const uint8_t vm[static UUID_BYTES], int aside, struct fault *f) MUST_CHECK;

/* Remove it, durably, wherever it is.  -errno. */
int copy_remove(int dir, const uint8_t vm[static UUID_BYTES], struct fault *f) MUST_CHECK;

#endif
