/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Public keys and signatures as a TPM gives them: plain big-endian numbers, without an encoding of
 * X.509 or of JOSE around them.
 *
 * May be used by: attest/, guardian/, cli/.  No system call once libcrypto has read its
 * configuration.
 */
#ifndef SHIELDVM_CRYPTO_RAWKEY_H
#define SHIELDVM_CRYPTO_RAWKEY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define RAWKEY_RSA_BYTES  256
#define RAWKEY_COORD_MAX  48
#define RAWKEY_P256_BYTES 32
#define RAWKEY_P256_POINT 65 /* 0x04, x, y */

enum rawkey_type {
	RAWKEY_RSA_2048, /* the public exponent is 65537 */
	RAWKEY_P256,
	RAWKEY_P384,
};

struct rawkey {
	enum rawkey_type type;
	uint8_t n[RAWKEY_RSA_BYTES];			  /* RSA: the modulus */
	uint8_t x[RAWKEY_COORD_MAX], y[RAWKEY_COORD_MAX]; /* rawkey_coord_bytes() of each */
};

/* Bytes of a coordinate of a key of TYPE: 32, 48; 0 for RSA. */
size_t rawkey_coord_bytes(enum rawkey_type type);

/* 0 if KEY can be a key of its type: the point on its curve, the modulus odd and of 2048 bits.
 * ERR_FORMAT, ERR_CRYPTO. */
int rawkey_check(const struct rawkey *key) MUST_CHECK;

/* Verify a signature over the SHA-256 of the N bytes of DATA: ECDSA (P-256 only) with r and s, or
 * RSASSA-PKCS1-v1_5 (RSA only).  ERR_AUTH if it does not fit, ERR_FORMAT if KEY is of another type
 * or none of its type. */
int rawkey_verify_ecdsa(const struct rawkey *key, const uint8_t r[static RAWKEY_P256_BYTES],
			const uint8_t s[static RAWKEY_P256_BYTES], const void *data,
			size_t n) MUST_CHECK;
int rawkey_verify_rsassa(const struct rawkey *key, const uint8_t signature[static RAWKEY_RSA_BYTES],
			 const void *data, size_t n) MUST_CHECK;

#endif
