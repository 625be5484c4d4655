/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HPKE's steps apart from what is random, for known answers.  Private to crypto/ and its tests.
 */
#ifndef SHIELDVM_CRYPTO_HPKE_FORM_H
#define SHIELDVM_CRYPTO_HPKE_FORM_H

#include "crypto/hpke.h"

#define HPKE_SECRET_BYTES 32
#define HPKE_KEY_BYTES	  32
#define HPKE_NONCE_BYTES  12

/* DHKEM's ExtractAndExpand() of the ECDH result DH (RFC 9180, section 4.1). */
int hpke_kem_secret(const uint8_t dh[static 32], const uint8_t enc[static HPKE_ENC_BYTES],
		    const uint8_t key[static RAWKEY_P256_POINT],
		    uint8_t secret[static HPKE_SECRET_BYTES]) MUST_CHECK;

/* KeySchedule() in base mode (section 5.1): the AEAD's key and first nonce. */
struct hpke_schedule {
	uint8_t key[HPKE_KEY_BYTES];
	uint8_t nonce[HPKE_NONCE_BYTES];
};
int hpke_key_schedule(const uint8_t secret[static HPKE_SECRET_BYTES], struct hpke_text info,
		      struct hpke_schedule *out) MUST_CHECK;

#endif
