/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/mac.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "crypto/ossl.h"

OSSL_CLEANUP_FN(mac, EVP_MAC, EVP_MAC_free)
OSSL_CLEANUP_FN(mac_ctx, EVP_MAC_CTX, EVP_MAC_CTX_free)

int mac_parts(const uint8_t key[static MAC_KEY_BYTES], const struct hash_part *parts,
	      size_t n_parts, uint8_t out[static MAC_BYTES])
{
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	size_t n = 0;
	CLEANUP(cleanup_mac) EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	CLEANUP(cleanup_mac_ctx) EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
	int ok = ctx && EVP_MAC_init(ctx, key, MAC_KEY_BYTES, params) == 1;
	for (size_t i = 0; ok && i < n_parts; i++)
		ok = EVP_MAC_update(ctx, parts[i].data, parts[i].n) == 1;
	ok = ok && EVP_MAC_final(ctx, out, &n, MAC_BYTES) == 1 && n == MAC_BYTES;
	ERR_clear_error();
	return ok ? 0 : ERR_CRYPTO;
}

int mac_same(const uint8_t *a, const uint8_t *b, size_t n)
{
	return CRYPTO_memcmp(a, b, n) == 0;
}

int mac_random(uint8_t *out, size_t n)
{
	return n <= INT_MAX && RAND_bytes(out, (int)n) == 1 ? 0 : ERR_CRYPTO;
}

int mac_key_make(const char *path, struct fault *f)
{
	uint8_t key[MAC_KEY_BYTES];
	int rc = mac_random(key, sizeof(key));
	if (rc < 0)
		return fault_set(f, rc, "%s: no random bytes", path);
	rc = fd_write_file(AT_FDCWD, path, key, sizeof(key), 0600, 0, f);
	wipe(key, sizeof(key));
	return rc;
}

int mac_key_read(const char *path, uint8_t key[static MAC_KEY_BYTES], struct fault *f)
{
	struct stat st;
	/* One byte more than a key, to see that there is none. */
	CLEANUP_BUF struct buf text = BUF_INIT(MAC_KEY_BYTES + 1);
	int rc = fd_read_file(AT_FDCWD, path, &text, NULL);
	if (rc == ERR_LIMIT || (rc == 0 && text.len != MAC_KEY_BYTES))
		return fault_set(f, ERR_FORMAT, "%s: a key has %d bytes", path, MAC_KEY_BYTES);
	if (rc >= 0 && lstat(path, &st) < 0)
		rc = -errno;
	if (rc < 0)
		return fault_set(f, rc, "%s: %s", path, err_text(rc));
	if (st.st_mode & 077)
		return fault_set(f, ERR_POLICY,
				 "%s: a key that others may use (mode %04o): chmod 600 it", path,
				 (unsigned int)st.st_mode & 07777);
	memcpy(key, text.data, MAC_KEY_BYTES);
	return 0;
}
