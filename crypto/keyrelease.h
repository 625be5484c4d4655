/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM key on its way from a guardian to one worker (docs/FORMAT.md, "Key release"): HPKE (RFC
 * 9180) to the worker's ephemeral key, inside HPKE to the host's PCR-bound key.
 *
 * So it opens only in that worker, only on that host, and only while the host's PCRs are as they
 * were judged.  Both layers are bound to the request: certificate, protector, VM and request id.
 * What is released is the content key of the owner's protector, not the VM key itself: the sender
 * is not authenticated, and what proves the key is that the protector's content opens with it.
 *
 * May be used by: guardian/ (seals), attest/ (the host's layer), worker/ before it seals, cli/.
 */
#ifndef SHIELDVM_CRYPTO_KEYRELEASE_H
#define SHIELDVM_CRYPTO_KEYRELEASE_H

#include "crypto/hpke.h"
#include "crypto/protector.h"

#define KEYRELEASE_REQUEST_BYTES 16
#define KEYRELEASE_PLAIN_BYTES	 (1 + KEY_BYTES + 3 * 8)
#define KEYRELEASE_INNER_BYTES	 (KEYRELEASE_PLAIN_BYTES + HPKE_OVERHEAD_BYTES)
#define KEYRELEASE_BYTES	 (KEYRELEASE_INNER_BYTES + HPKE_OVERHEAD_BYTES)

/* What is released: with the protector that it is bound to, the VM key. */
struct keyrelease {
	struct content_key key;
	int64_t token;	 /* fencing token of the VM's lease */
	int64_t expires; /* of the lease: seconds since 1970 */
	int64_t spent;	 /* the vTPM's state versions must be higher from now on */
};

/* As a `restore`: version 0, which state that is not there has, or that is from before versions. */
#define KEYRELEASE_FROM_NOTHING UINT64_MAX

/* What it was released for.  All of it belongs to the caller. */
struct keyrelease_about {
	const uint8_t *certificate; /* the host's health certificate, DER */
	size_t certificate_bytes;
	const char *protector; /* as it was sent */
	size_t protector_chars;
	uint8_t vm[UUID_BYTES];
	uint8_t request[KEYRELEASE_REQUEST_BYTES];
	/* The older version of the vTPM's state that the owner's ticket lets this start have; 0:
	 * none.  A copy is for none: it opens again and again, and a ticket is good once. */
	uint64_t restore;
};

/* The `restore` of who has a ticket for VERSION. */
static inline uint64_t keyrelease_restore(uint64_t version)
{
	return version ? version : KEYRELEASE_FROM_NOTHING;
}

/* Append KEYRELEASE_BYTES to OUT: R for the WORKER on the HOST (uncompressed points).  Errors of
 * hpke_seal(); ERR_FORMAT for a negative number in R. */
int keyrelease_seal(const uint8_t host[static RAWKEY_P256_POINT],
		    const uint8_t worker[static RAWKEY_P256_POINT],
		    const struct keyrelease_about *about, const struct keyrelease *r,
		    struct buf *out, struct fault *f) MUST_CHECK;

/* The host takes its layer off SEALED, with ECDH over its PCR-bound key HOST, and appends the
 * worker's to INNER.  Errors of hpke_open(); ERR_TRUNCATED, ERR_TRAILING for another size. */
int keyrelease_unwrap(const struct ecdh *ecdh, const uint8_t host[static RAWKEY_P256_POINT],
		      const struct keyrelease_about *about, const uint8_t *sealed, size_t n,
		      struct buf *inner, struct fault *f) MUST_CHECK;

/*
 * The copy for starts when no guardian answers, where the VM's owner permits them: R sealed to the
 * HOST's PCR-bound key alone, so that it opens only on that host, in that state, until its TPM is
 * reset.  KEYRELEASE_INNER_BYTES.  As keyrelease_seal() and keyrelease_open(), but with a label of
 * its own, so that neither is taken for the other; and the host's layer for a worker by itself:
 * who opens a copy seals it again for the worker that is to have it.
 */
int keyrelease_seal_copy(const uint8_t host[static RAWKEY_P256_POINT],
			 const struct keyrelease_about *about, const struct keyrelease *r,
			 struct buf *out, struct fault *f) MUST_CHECK;
int keyrelease_open_copy(const struct ecdh *ecdh, const uint8_t host[static RAWKEY_P256_POINT],
			 const struct keyrelease_about *about, const uint8_t *sealed, size_t n,
			 struct keyrelease *out, struct fault *f) MUST_CHECK;
int keyrelease_seal_inner(const uint8_t worker[static RAWKEY_P256_POINT],
			  const struct keyrelease_about *about, const struct keyrelease *r,
			  struct buf *out, struct fault *f) MUST_CHECK;

/* The worker opens INNER, with ECDH over its ephemeral key WORKER.  As keyrelease_unwrap();
 * ERR_VERSION, ERR_FORMAT.  OUT is untouched on failure. */
int keyrelease_open(const struct ecdh *ecdh, const uint8_t worker[static RAWKEY_P256_POINT],
		    const struct keyrelease_about *about, const uint8_t *inner, size_t n,
		    struct keyrelease *out, struct fault *f) MUST_CHECK;

#endif
