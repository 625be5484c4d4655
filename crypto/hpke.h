/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HPKE (RFC 9180), base mode, single shot: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
 *
 * The sender is not authenticated.  The recipient's private operation is a struct ecdh
 * (crypto/protector.h): a file's key, the TPM's or an HSM's.
 *
 * May be used by: guardian/, attest/, cli/, worker/ before it seals.  getrandom() through libcrypto
 * when sealing.
 */
#ifndef SHIELDVM_CRYPTO_HPKE_H
#define SHIELDVM_CRYPTO_HPKE_H

#include "base/buf.h"
#include "crypto/protector.h"
#include "crypto/rawkey.h"

#define HPKE_ENC_BYTES	    RAWKEY_P256_POINT
#define HPKE_TAG_BYTES	    16
#define HPKE_OVERHEAD_BYTES (HPKE_ENC_BYTES + HPKE_TAG_BYTES)
#define HPKE_PLAINTEXT_MAX  (1024 * 1024)

/* A piece of input. */
struct hpke_text {
	const void *data;
	size_t n;
};

/*
 * Seal PLAINTEXT to the public KEY (uncompressed point), bound to INFO and AAD, and append
 * enc || ciphertext || tag to OUT: HPKE_OVERHEAD_BYTES more than PLAINTEXT.  ERR_FORMAT if KEY is
 * not on the curve, ERR_LIMIT, ERR_CRYPTO, errors of buf_reserve(); OUT is then as it was.
 */
int hpke_seal(const uint8_t key[static RAWKEY_P256_POINT], struct hpke_text info,
	      struct hpke_text aad, struct hpke_text plaintext, struct buf *out,
	      struct fault *f) MUST_CHECK;

/*
 * Open SEALED, which hpke_seal() made for KEY with the same INFO and AAD, and append the plaintext
 * to OUT.  ECDH has the private half of KEY.  ERR_AUTH if it does not open, ERR_TRUNCATED,
 * ERR_LIMIT, ERR_FORMAT if enc is not on the curve, errors of ECDH and of buf_reserve(); OUT is
 * then as it was.
 */
int hpke_open(const struct ecdh *ecdh, const uint8_t key[static RAWKEY_P256_POINT],
	      struct hpke_text info, struct hpke_text aad, struct hpke_text sealed, struct buf *out,
	      struct fault *f) MUST_CHECK;

#endif
