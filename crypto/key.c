/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/key.h"

#include <pthread.h>

#include "crypto/ossl.h"

#define INFO_MAX 512 /* bytes of HKDF info: label, VM and context */

/* docs/FORMAT.md, "Key derivation".  Format: never reused, never renamed. */
static const char *const LABELS[] = {
	[KEY_USE_VTPM_STATE] = "shieldvm/1/vtpm-state",
	[KEY_USE_VTPM_BLOB_PERMANENT] = "shieldvm/1/vtpm-blob-permanent",
	[KEY_USE_VTPM_BLOB_VOLATILE] = "shieldvm/1/vtpm-blob-volatile",
	[KEY_USE_VTPM_BLOB_SAVESTATE] = "shieldvm/1/vtpm-blob-savestate",
	[KEY_USE_STATE_KEY] = "shieldvm/1/state-key",
	[KEY_USE_SAVED_STATE] = "shieldvm/1/saved-state",
	[KEY_USE_DUMP] = "shieldvm/1/dump",
	[KEY_USE_CHANNEL] = "shieldvm/1/channel",
	[KEY_USE_CHANNEL_RECORDS] = "shieldvm/1/channel-records",
	[KEY_USE_VTPM_BLOB_VERSIONED] = "shieldvm/1/vtpm-blob-versioned",
};
_Static_assert(sizeof(LABELS) / sizeof(LABELS[0]) == KEY_USE_LAST + 1, "a label per enum key_use");

int key_new(struct vm_key *key)
{
	return RAND_priv_bytes(key->bytes, KEY_BYTES) == 1 ? 0 : ERR_CRYPTO;
}

void key_done(struct vm_key *key)
{
	wipe(key, sizeof(*key));
}

/* Fetched once and kept for the life of the process: a fetch may load configuration, and a sealed
 * process can open no file. */
static EVP_KDF *hkdf;

static void fetch_hkdf(void)
{
	hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
}

int key_derive(const struct vm_key *key, enum key_use use, const uint8_t vm[static UUID_BYTES],
	       const uint8_t *salt, size_t salt_bytes, const uint8_t *context, size_t context_bytes,
	       uint8_t *out, size_t out_bytes)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	if (pthread_once(&once, fetch_hkdf) != 0 || !hkdf)
		return ERR_CRYPTO;

	if (use < KEY_USE_VTPM_STATE || use > KEY_USE_LAST)
		return ERR_CRYPTO;
	size_t label_bytes = strlen(LABELS[use]);
	if (context_bytes > INFO_MAX - UUID_BYTES - 1 - label_bytes)
		return ERR_CRYPTO;

	/* The label's length goes first, so that no label, VM and context read as another three. */
	uint8_t info[INFO_MAX];
	size_t n = 0;
	info[n++] = (uint8_t)label_bytes;
	memcpy(info + n, LABELS[use], label_bytes);
	n += label_bytes;
	memcpy(info + n, vm, UUID_BYTES);
	n += UUID_BYTES;
	if (context_bytes)
		memcpy(info + n, context, context_bytes);
	n += context_bytes;

	CLEANUP(cleanup_kdf_ctx) EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(hkdf);
	if (!ctx)
		return ERR_CRYPTO;
	char digest[] = "SHA256";
	uint8_t no_salt[1] = { 0 };
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key->bytes,
						  KEY_BYTES),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT,
						  salt_bytes ? (void *)(uintptr_t)salt : no_salt,
						  salt_bytes),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, n),
		OSSL_PARAM_construct_end(),
	};
	return EVP_KDF_derive(ctx, out, out_bytes, params) == 1 ? 0 : ERR_CRYPTO;
}
