/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Health certificates (docs/FORMAT.md, "Health certificate"): what a guardian says of a host that
 * has just proved its health, in X.509, for less than an hour.
 *
 * The certified key is the host's PCR-bound key (P-256, agrees on keys only): the guardian has its
 * proof of possession in TPM2_CertifyCreation.  What is said of the host stands in six extensions
 * of ours, all critical, so that nothing else takes such a certificate for something it knows.
 *
 * There is one valid encoding: a certificate is read by making it again from what it says and
 * comparing.  May be used by: guardian/, attest/ (reads), cli/.
 */
#ifndef SHIELDVM_CRYPTO_HEALTHCERT_H
#define SHIELDVM_CRYPTO_HEALTHCERT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/uuid.h"

#define HEALTHCERT_MAX		1536 /* bytes of DER */
#define HEALTHCERT_SERIAL_BYTES 20
#define HEALTHCERT_LIFETIME_MIN (30 * 60) /* seconds */
#define HEALTHCERT_LIFETIME	(45 * 60)
#define HEALTHCERT_LIFETIME_MAX (60 * 60)
#define HEALTHCERT_SKEW		60 /* seconds that clocks of two guardians may differ */

enum healthcert_assurance {
	HEALTHCERT_TPM = 1,
	HEALTHCERT_HOSTKEY, /* the weaker one: nothing was measured */
};
/* "tpm", "hostkey"; ERR_FORMAT for other text. */
const char *healthcert_assurance_name(enum healthcert_assurance assurance);
int healthcert_assurance_parse(const char *text, enum healthcert_assurance *out) MUST_CHECK;

struct healthcert {
	uint8_t serial[HEALTHCERT_SERIAL_BYTES]; /* positive; set by healthcert_issue() */
	uint8_t host[UUID_BYTES];
	enum healthcert_assurance assurance;
	uint8_t x[32], y[32];		     /* the host's PCR-bound key */
	uint8_t worker_hash[32];	     /* SHA-256 of the worker's ephemeral key */
	uint32_t generation;		     /* of the guardian's policy; from 1 */
	uint32_t reset_count, restart_count; /* of the TPM */
	int64_t not_before, not_after;	     /* seconds since 1970 */
};

/* The guardian's CA (P-256) in FOLDER.  As ekca_init() and ekca_open(). */
struct healthca;
int healthca_init(const char *folder, struct fault *f) MUST_CHECK;
int healthca_open(const char *folder, struct healthca **out, struct fault *f) MUST_CHECK;
/* One that only verifies, from ca.pem's N bytes, or from its DER.  ERR_FORMAT, -ENOMEM. */
int healthca_read(const char *pem, size_t n, struct healthca **out, struct fault *f) MUST_CHECK;
int healthca_read_der(const uint8_t *der, size_t n, struct healthca **out,
		      struct fault *f) MUST_CHECK;
/* Append its certificate's DER.  ERR_LIMIT, ERR_CRYPTO, errors of buf_reserve(). */
int healthca_der(const struct healthca *ca, struct buf *out) MUST_CHECK;
void healthca_free(struct healthca *ca); /* NULL is fine */
static inline void cleanup_healthca(struct healthca **ca)
{
	healthca_free(*ca);
}
#define CLEANUP_HEALTHCA CLEANUP(cleanup_healthca)

/* Issue C, whose serial number is made here, and append its DER to OUT.  ERR_LIMIT for another
 * lifetime than those above, ERR_FORMAT for a key that is none or other impossible values,
 * ERR_USAGE if CA only verifies, ERR_CRYPTO. */
int healthcert_issue(const struct healthca *ca, struct healthcert *c, struct buf *out,
		     struct fault *f) MUST_CHECK;

/*
 * Read and verify the N bytes of DER, a certificate of HOST, at the time NOW.  ERR_AUTH (of another
 * CA), ERR_RECIPIENT (of another host), ERR_FORMAT (not in the one encoding), ERR_POLICY (expired,
 * or not valid yet), ERR_LIMIT; OUT is then untouched.
 */
int healthcert_open(const struct healthca *ca, const uint8_t *der, size_t n,
		    const uint8_t host[static UUID_BYTES], int64_t now, struct healthcert *out,
		    struct fault *f) MUST_CHECK;

#endif
