/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/secret.h"

#include "crypto/ossl.h"

static const char KEY_LABEL[] = "shieldvm/1/swtpm-key";
static const char PASSPHRASE_LABEL[] = "shieldvm/1/swtpm-passphrase";

static void cleanup_kdf(EVP_KDF **kdf)
{
	EVP_KDF_free(*kdf);
}

/* A parameter of the KDF that is only read. */
static OSSL_PARAM octets(const char *name, const void *p, size_t n)
{
	return OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)p, n);
}

int secret_to_key(enum secret_kind kind, const uint8_t *secret, size_t secret_bytes,
		  const uint8_t vm[static UUID_BYTES], struct vm_key *key)
{
	uint8_t salt[sizeof(PASSPHRASE_LABEL) - 1 + UUID_BYTES];
	unsigned int rounds = SECRET_PASSPHRASE_ROUNDS;
	char sha256[] = "SHA256", sha512[] = "SHA512";
	if (secret_bytes == 0)
		return ERR_LIMIT;
	memcpy(salt, PASSPHRASE_LABEL, sizeof(PASSPHRASE_LABEL) - 1);
	memcpy(salt + sizeof(PASSPHRASE_LABEL) - 1, vm, UUID_BYTES);
	const OSSL_PARAM hkdf[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, sha256, 0),
		octets(OSSL_KDF_PARAM_KEY, secret, secret_bytes),
		octets(OSSL_KDF_PARAM_INFO, KEY_LABEL, sizeof(KEY_LABEL) - 1),
		OSSL_PARAM_construct_end(),
	};
	const OSSL_PARAM pbkdf2[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, sha512, 0),
		octets(OSSL_KDF_PARAM_PASSWORD, secret, secret_bytes),
		octets(OSSL_KDF_PARAM_SALT, salt, sizeof(salt)),
		OSSL_PARAM_construct_uint(OSSL_KDF_PARAM_ITER, &rounds),
		OSSL_PARAM_construct_end(),
	};
	int stretch = kind == SECRET_PASSPHRASE;
	CLEANUP(cleanup_kdf) EVP_KDF *kdf = EVP_KDF_fetch(NULL, stretch ? "PBKDF2" : "HKDF", NULL);
	CLEANUP(cleanup_kdf_ctx) EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	if (!ctx || EVP_KDF_derive(ctx, key->bytes, KEY_BYTES, stretch ? pbkdf2 : hkdf) != 1)
		return ERR_CRYPTO;
	return 0;
}
