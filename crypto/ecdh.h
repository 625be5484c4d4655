/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A private P-256 key, wherever it is, as what it is used for: to agree on a secret.
 *
 * May be used by: whoever unwraps or opens what was sealed to such a key.
 */
#ifndef SHIELDVM_CRYPTO_ECDH_H
#define SHIELDVM_CRYPTO_ECDH_H

#include "crypto/jwk.h"

/*
 * Computes the ECDH shared secret: the x coordinate of d * (X, Y), big endian, 32 bytes.  The
 * private key stays with whoever implements this: a file today, a TPM or an HSM later.  THUMBPRINT
 * names the key; 0 or an error.
 */
struct ecdh {
	char thumbprint[JWK_THUMBPRINT_SIZE];
	int (*derive)(void *arg, const uint8_t x[static JWK_COORDINATE_BYTES],
		      const uint8_t y[static JWK_COORDINATE_BYTES],
		      uint8_t z[static JWK_COORDINATE_BYTES]);
	void *arg;
};

/* An ecdh over a private JWK, which must outlive it. */
int ecdh_from_jwk(const struct jwk *k, struct ecdh *out) MUST_CHECK;

#endif
