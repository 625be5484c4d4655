/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The parts of a JWE (RFC 7516) with ECDH-ES+A256KW on P-256 (RFC 7518, section 4.6) and A256GCM,
 * by libcrypto: what the key protector and the key record of a dump have in common.  Private to
 * crypto/.
 *
 * Not libjose, which wants the private key itself where here the shared secret comes from a
 * function, and which is not for a sealed process.
 */
#ifndef SHIELDVM_CRYPTO_JWE_H
#define SHIELDVM_CRYPTO_JWE_H

#include "crypto/jwk_form.h"
#include "crypto/protector.h"

#define JWE_ALG		  "ECDH-ES+A256KW"
#define JWE_ENC		  "A256GCM"

#define JWE_CEK_BYTES	  32
#define JWE_WRAPPED_BYTES (JWE_CEK_BYTES + 8) /* RFC 3394 */
#define JWE_IV_BYTES	  12
#define JWE_TAG_BYTES	  16

/* What a JWE says of its content, a key; AAD is its protected header in base64url. */
struct jwe_content {
	uint8_t iv[JWE_IV_BYTES];
	uint8_t ciphertext[KEY_BYTES];
	uint8_t tag[JWE_TAG_BYTES];
};

/*
 * The key derivation of RFC 7518, section 4.6.2, with SHA-256: OUT_BYTES (<= 32) from the shared
 * secret Z for ALG, PartyUInfo APU and PartyVInfo APV.  0 or ERR_CRYPTO.
 */
int jwe_concat_kdf(const uint8_t z[static JWK_COORDINATE_BYTES], const char *alg, const char *apu,
		   const char *apv, uint8_t *out, size_t out_bytes) MUST_CHECK;

/* Wrap CEK for TO with the private key EPHEMERAL, which is used only once.  ERR_CRYPTO, -ENOMEM. */
int jwe_wrap(const struct jwk *to, const struct jwk *ephemeral,
	     const uint8_t cek[static JWE_CEK_BYTES],
	     uint8_t wrapped[static JWE_WRAPPED_BYTES]) MUST_CHECK;

/* Encrypt KEY under CEK, which is used only once, with a random IV.  ERR_CRYPTO. */
int jwe_encrypt(const uint8_t cek[static JWE_CEK_BYTES], const char *aad,
		const uint8_t key[static KEY_BYTES], struct jwe_content *out) MUST_CHECK;

/*
 * Unwrap the content key with ECDH's key.  WHAT names what it encrypts in the sentence.  ERR_AUTH,
 * or ECDH's error; CEK is untouched on failure.
 */
int jwe_unwrap(const struct ecdh *ecdh, const char *what,
	       const uint8_t epk_x[static JWK_COORDINATE_BYTES],
	       const uint8_t epk_y[static JWK_COORDINATE_BYTES],
	       const uint8_t wrapped[static JWE_WRAPPED_BYTES], uint8_t cek[static JWE_CEK_BYTES],
	       struct fault *f) MUST_CHECK;

/* Decrypt KEY with the content key.  ERR_AUTH without a sentence; KEY is untouched then. */
int jwe_decrypt(const uint8_t cek[static JWE_CEK_BYTES], const char *aad,
		const struct jwe_content *content, uint8_t key[static KEY_BYTES]) MUST_CHECK;

/* Both.  ERR_AUTH, or ECDH's error; KEY is untouched on failure. */
int jwe_open(const struct ecdh *ecdh, const char *what,
	     const uint8_t epk_x[static JWK_COORDINATE_BYTES],
	     const uint8_t epk_y[static JWK_COORDINATE_BYTES],
	     const uint8_t wrapped[static JWE_WRAPPED_BYTES], const char *aad,
	     const struct jwe_content *content, uint8_t key[static KEY_BYTES],
	     struct fault *f) MUST_CHECK;

#endif
