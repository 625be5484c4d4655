/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The TPM's key derivation, and a credential's second half, apart from what is random: known
 * answers can be held against it.  Private to crypto/ and its tests.
 */
#ifndef SHIELDVM_CRYPTO_CREDENTIAL_FORM_H
#define SHIELDVM_CRYPTO_CREDENTIAL_FORM_H

#include "crypto/credential.h"

/* KDFa (Part 1, "KDFa()": SP 800-108 in counter mode over HMAC), OUT_N whole bytes.  ERR_CRYPTO. */
int credential_kdfa(uint16_t alg, const struct hash_part *key, const char *label,
		    const struct hash_part *context_u, const struct hash_part *context_v,
		    uint8_t *out, size_t out_n) MUST_CHECK;

/* KDFe (Part 1, "KDFe for ECDH": SP 800-56A's one-step KDF). */
int credential_kdfe(uint16_t alg, const struct hash_part *z, const char *label,
		    const struct hash_part *party_u, const struct hash_part *party_v, uint8_t *out,
		    size_t out_n) MUST_CHECK;

/* TPM2B_ID_OBJECT for SEED, which has hash_bytes(EK->name_alg) bytes. */
int credential_seal(const struct credential_ek *ek, const uint8_t *seed, const uint8_t *name,
		    size_t name_n, const uint8_t secret[static CREDENTIAL_SECRET_BYTES],
		    struct buf *out) MUST_CHECK;

#endif
