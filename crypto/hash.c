/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/hash.h"

#include <string.h>

#include "crypto/ossl.h"

static const struct {
	uint16_t alg;
	uint16_t bytes;
	const char *name;
	const EVP_MD *(*md)(void);
} HASHES[] = {
	{ HASH_SHA1, 20, "sha1", EVP_sha1 },
	{ HASH_SHA256, 32, "sha256", EVP_sha256 },
	{ HASH_SHA384, 48, "sha384", EVP_sha384 },
	{ HASH_SHA512, 64, "sha512", EVP_sha512 },
};
#define N_HASHES (sizeof(HASHES) / sizeof(HASHES[0]))

size_t hash_bytes(uint16_t alg)
{
	for (size_t i = 0; i < N_HASHES; i++)
		if (HASHES[i].alg == alg)
			return HASHES[i].bytes;
	return 0;
}

const char *hash_name(uint16_t alg)
{
	for (size_t i = 0; i < N_HASHES; i++)
		if (HASHES[i].alg == alg)
			return HASHES[i].name;
	return NULL;
}

static const EVP_MD *find(uint16_t alg)
{
	for (size_t i = 0; i < N_HASHES; i++)
		if (HASHES[i].alg == alg)
			return HASHES[i].md();
	return NULL;
}

int hash_parts(uint16_t alg, const struct hash_part *parts, size_t n_parts, uint8_t *out)
{
	const EVP_MD *md = find(alg);
	if (!md)
		return ERR_VERSION;
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	int ok = c && EVP_DigestInit_ex(c, md, NULL) == 1;
	for (size_t i = 0; ok && i < n_parts; i++)
		ok = EVP_DigestUpdate(c, parts[i].data, parts[i].n) == 1;
	uint8_t digest[HASH_BYTES_MAX];
	ok = ok && EVP_DigestFinal_ex(c, digest, NULL) == 1;
	EVP_MD_CTX_free(c);
	if (!ok)
		return ERR_CRYPTO;
	memcpy(out, digest, hash_bytes(alg));
	return 0;
}

int hash_extend(uint16_t alg, uint8_t *value, const uint8_t *digest)
{
	size_t n = hash_bytes(alg);
	struct hash_part parts[] = { { value, n }, { digest, n } };
	return hash_parts(alg, parts, 2, value);
}
