/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SHA-256, and short statements signed with a P-256 key: compact JWS (RFC 7515) with ES256.
 *
 * The protected header is {"alg":"ES256","kid":THUMBPRINT,"typ":TYP} in exactly that spelling.  TYP
 * separates statements of different kinds by one key, among them a host's, which also unwraps.
 *
 * May be used by: policy/ (audit), cli/, libvirt/.  sign_sha256() in every phase, once it was
 * called before sealing (libcrypto reads its configuration at the first use).
 */
#ifndef SHIELDVM_CRYPTO_SIGN_H
#define SHIELDVM_CRYPTO_SIGN_H

#include "crypto/jwk.h"

#define SIGN_SHA256_BYTES 32
#define SIGN_TEXT_MAX	  8192 /* characters of a statement */

/* The digest of N bytes.  ERR_CRYPTO. */
int sign_sha256(const void *data, size_t n, uint8_t out[static SIGN_SHA256_BYTES]) MUST_CHECK;

/* Append PAYLOAD, signed by KEY (private), to OUT as a compact JWS.  ERR_CRYPTO, ERR_FORMAT (a
 * public key), errors of buf_reserve(). */
int sign_make(const struct jwk *key, const char *typ, const void *payload, size_t n,
	      struct buf *out, struct fault *f) MUST_CHECK;

/*
 * Verify the N characters of TEXT, a compact JWS of kind TYP by KEY and nothing else, and append
 * its payload to OUT.  ERR_AUTH if the signature or key is another, ERR_FORMAT, ERR_LIMIT.
 */
int sign_open(const struct jwk *key, const char *typ, const char *text, size_t n, struct buf *out,
	      struct fault *f) MUST_CHECK;

#endif
