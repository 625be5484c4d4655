/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unwrapping: ECDH-ES+A256KW (RFC 7518, section 4.6) and A256GCM by libcrypto, not libjose, which
 * wants the private key itself.  Here the shared secret comes from a function.
 */
#include <errno.h>

#include "crypto/protector_form.h"

#define Z_BYTES JWK_COORDINATE_BYTES

static int derive_from_jwk(void *arg, const uint8_t x[static JWK_COORDINATE_BYTES],
			   const uint8_t y[static JWK_COORDINATE_BYTES], uint8_t z[static Z_BYTES])
{
	const struct jwk *k = arg;
	size_t n = Z_BYTES;
	CLEANUP_JWK struct jwk *peer = NULL;
	int rc = jwk_from_point(x, y, &peer);
	if (rc < 0)
		return rc;
	CLEANUP(cleanup_pkey) EVP_PKEY *ours = jwk_to_pkey(k, 1);
	CLEANUP(cleanup_pkey) EVP_PKEY *theirs = jwk_to_pkey(peer, 0);
	if (!ours || !theirs)
		return ERR_CRYPTO;
	CLEANUP(cleanup_pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, ours, NULL);
	if (!ctx || EVP_PKEY_derive_init(ctx) != 1 || EVP_PKEY_derive_set_peer(ctx, theirs) != 1 ||
	    EVP_PKEY_derive(ctx, z, &n) != 1 || n != Z_BYTES)
		return ERR_CRYPTO;
	return 0;
}

int ecdh_from_jwk(const struct jwk *k, struct ecdh *out)
{
	if (!jwk_is_private(k))
		return ERR_FORMAT;
	int rc = jwk_thumbprint(k, out->thumbprint);
	if (rc < 0)
		return rc;
	out->derive = derive_from_jwk;
	out->arg = (void *)(uintptr_t)k;
	return 0;
}

/* A length in four bytes, and the data. */
static int put_lengthened(struct buf *b, const char *text)
{
	size_t n = strlen(text);
	const uint8_t length[4] = { 0, 0, (uint8_t)(n >> 8), (uint8_t)n };
	int rc = buf_add(b, length, sizeof(length));
	return rc < 0 ? rc : buf_add(b, text, n);
}

int protector_concat_kdf(const uint8_t z[static Z_BYTES], const char *alg, const char *apu,
			 const char *apv, uint8_t *out, size_t out_bytes)
{
	const uint8_t bits[4] = { 0, 0, (uint8_t)(out_bytes * 8 >> 8), (uint8_t)(out_bytes * 8) };
	CLEANUP_BUF struct buf info = BUF_INIT(256);
	if (put_lengthened(&info, alg) < 0 || put_lengthened(&info, apu) < 0 ||
	    put_lengthened(&info, apv) < 0 || buf_add(&info, bits, sizeof(bits)) < 0)
		return ERR_CRYPTO;
	/* The single-step KDF of NIST SP 800-56C with a hash is what RFC 7518 calls Concat KDF. */
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "SSKDF", NULL);
	CLEANUP(cleanup_kdf_ctx) EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	EVP_KDF_free(kdf);
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)z,
						  Z_BYTES),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data, info.len),
		OSSL_PARAM_construct_end(),
	};
	return ctx && EVP_KDF_derive(ctx, out, out_bytes, params) == 1 ? 0 : ERR_CRYPTO;
}

/* RFC 3394.  1 if KEK was the right one. */
static int unwrap_cek(const uint8_t kek[static 32],
		      const uint8_t wrapped[static PROTECTOR_WRAPPED_BYTES],
		      uint8_t cek[static PROTECTOR_CEK_BYTES])
{
	/* Room for what the cipher may write before it has compared the check value. */
	uint8_t out[PROTECTOR_WRAPPED_BYTES + 8];
	int n = 0, tail = 0;
	CLEANUP(cleanup_cipher_ctx) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	if (!ctx)
		return 0;
	EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	int ok = EVP_DecryptInit_ex2(ctx, EVP_aes_256_wrap(), kek, NULL, NULL) == 1 &&
		 EVP_DecryptUpdate(ctx, out, &n, wrapped, PROTECTOR_WRAPPED_BYTES) == 1 &&
		 n == PROTECTOR_CEK_BYTES && EVP_DecryptFinal_ex(ctx, out + n, &tail) == 1 &&
		 tail == 0;
	if (ok)
		memcpy(cek, out, PROTECTOR_CEK_BYTES);
	wipe(out, sizeof(out));
	return ok;
}

/* 1 if the content is authentic. */
static int decrypt_key(const struct protector *p, const uint8_t cek[static PROTECTOR_CEK_BYTES],
		       uint8_t out[static KEY_BYTES])
{
	uint8_t tail[PROTECTOR_TAG_BYTES];
	int n = 0;
	CLEANUP(cleanup_cipher_ctx) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	return ctx && EVP_DecryptInit_ex2(ctx, EVP_aes_256_gcm(), cek, p->iv, NULL) == 1 &&
	       EVP_DecryptUpdate(ctx, NULL, &n, (const uint8_t *)p->jwe_protected,
				 (int)strlen(p->jwe_protected)) == 1 &&
	       EVP_DecryptUpdate(ctx, out, &n, p->ciphertext, KEY_BYTES) == 1 &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, PROTECTOR_TAG_BYTES,
				   (void *)(uintptr_t)p->tag) == 1 &&
	       EVP_DecryptFinal_ex(ctx, tail, &n) == 1;
}

/* What exists only while a key is being unwrapped. */
struct unwrapping {
	uint8_t z[Z_BYTES], kek[32], cek[PROTECTOR_CEK_BYTES];
	struct vm_key key;
};

static void unwrapping_done(struct unwrapping *u)
{
	wipe(u, sizeof(*u));
}

int protector_unwrap(const struct protector *p, const struct ecdh *ecdh, struct vm_key *key,
		     struct fault *f)
{
	CLEANUP(unwrapping_done) struct unwrapping u = { 0 };
	const struct protector_entry *e = NULL;
	for (size_t i = 0; i < p->n_entries && !e; i++) {
		if (strcmp(p->entries[i].thumbprint, ecdh->thumbprint) == 0)
			e = &p->entries[i];
	}
	if (!e)
		return fault_set(
			f, ERR_RECIPIENT,
			"the key %s is not among the protector's %zu recipients: its owner "
			"can add it with `shieldvm key rewrap --add-host`",
			ecdh->thumbprint, p->n_entries);
	int rc = ecdh->derive(ecdh->arg, e->epk_x, e->epk_y, u.z);
	if (rc >= 0)
		rc = protector_concat_kdf(u.z, PROTECTOR_JWE_ALG, "", "", u.kek, sizeof(u.kek));
	if (rc < 0)
		return fault_set(f, rc, "the private key %s cannot be used: %s", ecdh->thumbprint,
				 err_text(rc));
	if (!unwrap_cek(u.kek, e->wrapped, u.cek) || !decrypt_key(p, u.cek, u.key.bytes)) {
		ERR_clear_error();
		return fault_set(f, ERR_AUTH,
				 "the VM key wrapped for %s does not authenticate: it was wrapped "
				 "for another key, VM or owner, or altered",
				 ecdh->thumbprint);
	}
	*key = u.key;
	return 0;
}
