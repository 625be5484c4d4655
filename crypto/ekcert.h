/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Verifying a TPM's EK certificate (TCG EK Credential Profile for TPM Family 2.0; RFC 5280): that a
 * maker whom the operator trusts says that this EK is in a TPM of his.
 *
 * May be used by: guardian/; ekcert_next() also by attest/.  No system call once libcrypto has read
 * its configuration.
 */
#ifndef SHIELDVM_CRYPTO_EKCERT_H
#define SHIELDVM_CRYPTO_EKCERT_H

#include <stdint.h>

#include "crypto/hash.h"
#include "crypto/rawkey.h"

#define EKCERT_DER_MAX	     8192
#define EKCERT_CHAIN_MAX     16	     /* intermediates that a host may send */
#define EKCERT_DEPTH_MAX     8	     /* certificates between EK and root */
#define EKCERT_ROOTS_PEM_MAX 1048576 /* bytes of the trusted roots' file */
#define EKCERT_ROOTS_MAX     512

/* The roots that are trusted, parsed once. */
struct ekcert_roots;

/* Parse the N bytes of PEM: certificates only, self-signed or not, at least one.  ERR_FORMAT,
 * ERR_LIMIT, -ENOMEM. */
int ekcert_roots_parse(const char *pem, size_t n, struct ekcert_roots **out,
		       struct fault *f) MUST_CHECK;
void ekcert_roots_free(struct ekcert_roots *r); /* NULL is fine */
static inline void cleanup_ekcert_roots(struct ekcert_roots **r)
{
	ekcert_roots_free(*r);
}
#define CLEANUP_EKCERT_ROOTS CLEANUP(cleanup_ekcert_roots)

/*
 * Verify CERT (DER) with the N_CHAIN intermediates in CHAIN (DER, in any order, not all of which
 * need be of use) against ROOTS at the time WHEN (seconds since 1970), and that it is EK's.
 *
 * The key's use is demanded explicitly: the extended key usage tcg-kp-EKCertificate (2.23.133.8.1)
 * must be there; none, or anyExtendedKeyUsage, is refused.  The subjectAltName may be critical, as
 * the profile wants it of TPMs without a subject; what it says of the TPM's model is not judged.
 * Signatures with SHA-1 are refused.
 *
 * ERR_FORMAT: not a certificate, or more than one.  ERR_AUTH: no chain to a root, or one that is
 * expired, not yet valid or otherwise invalid.  ERR_PURPOSE: the extended key usage. ERR_RECIPIENT:
 * the certificate of another key.  ERR_LIMIT, ERR_CRYPTO.
 */
int ekcert_verify(const struct ekcert_roots *roots, const struct hash_part *cert,
		  const struct hash_part *chain, size_t n_chain, int64_t when,
		  const struct rawkey *ek, struct fault *f) MUST_CHECK;

/* Bytes of the certificate that DATA begins with (TPMs pad them, and store several one behind the
 * other); ERR_FORMAT if there is none. */
int ekcert_next(const uint8_t *data, size_t n, size_t *cert_bytes) MUST_CHECK;

#endif
