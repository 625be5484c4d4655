/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hashes by their TPM_ALG_ID (TCG Algorithm Registry), and the extend operation of a PCR (TPM 2.0
 * Library, Part 1, "Extend of a PCR").
 *
 * May be used by: attest/, guardian/.  No system call once libcrypto has read its configuration.
 */
#ifndef SHIELDVM_CRYPTO_HASH_H
#define SHIELDVM_CRYPTO_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
	HASH_SHA1 = 0x0004,
	HASH_SHA256 = 0x000b,
	HASH_SHA384 = 0x000c,
	HASH_SHA512 = 0x000d,
};
#define HASH_BYTES_MAX 64

/* Bytes of a digest of ALG; 0 for one that is not in the list above. */
size_t hash_bytes(uint16_t alg);

/* "sha256"; NULL for one that is not in the list.  Static storage. */
const char *hash_name(uint16_t alg);

/* A piece of what is hashed. */
struct hash_part {
	const void *data;
	size_t n;
};

/* The digest of the N_PARTS one behind the other; OUT holds hash_bytes(ALG).  ERR_VERSION for an
 * unknown ALG, ERR_CRYPTO. */
int hash_parts(uint16_t alg, const struct hash_part *parts, size_t n_parts,
	       uint8_t *out) MUST_CHECK;
static inline int MUST_CHECK hash_data(uint16_t alg, const void *data, size_t n, uint8_t *out)
{
	struct hash_part part = { data, n };
	return hash_parts(alg, &part, 1, out);
}

/* VALUE = hash(VALUE || DIGEST), each hash_bytes(ALG) long.  As hash_parts(). */
int hash_extend(uint16_t alg, uint8_t *value, const uint8_t *digest) MUST_CHECK;

#endif
