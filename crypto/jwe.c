/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/jwe.h"

#include <errno.h>

#define Z_BYTES	  JWK_COORDINATE_BYTES
#define KEK_BYTES 32

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

int jwe_concat_kdf(const uint8_t z[static Z_BYTES], const char *alg, const char *apu,
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
static int unwrap_cek(const uint8_t kek[static KEK_BYTES],
		      const uint8_t wrapped[static JWE_WRAPPED_BYTES],
		      uint8_t cek[static JWE_CEK_BYTES])
{
	/* Room for what the cipher may write before it has compared the check value. */
	uint8_t out[JWE_WRAPPED_BYTES + 8];
	int n = 0, tail = 0;
	CLEANUP(cleanup_cipher_ctx) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	if (!ctx)
		return 0;
	EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	int ok = EVP_DecryptInit_ex2(ctx, EVP_aes_256_wrap(), kek, NULL, NULL) == 1 &&
		 EVP_DecryptUpdate(ctx, out, &n, wrapped, JWE_WRAPPED_BYTES) == 1 &&
		 n == JWE_CEK_BYTES && EVP_DecryptFinal_ex(ctx, out + n, &tail) == 1 && tail == 0;
	if (ok)
		memcpy(cek, out, JWE_CEK_BYTES);
	wipe(out, sizeof(out));
	return ok;
}

/* RFC 3394. */
static int wrap_cek(const uint8_t kek[static KEK_BYTES], const uint8_t cek[static JWE_CEK_BYTES],
		    uint8_t wrapped[static JWE_WRAPPED_BYTES])
{
	uint8_t out[JWE_WRAPPED_BYTES + 8];
	int n = 0, tail = 0;
	CLEANUP(cleanup_cipher_ctx) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	if (!ctx)
		return ERR_CRYPTO;
	EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	if (EVP_EncryptInit_ex2(ctx, EVP_aes_256_wrap(), kek, NULL, NULL) != 1 ||
	    EVP_EncryptUpdate(ctx, out, &n, cek, JWE_CEK_BYTES) != 1 || n != JWE_WRAPPED_BYTES ||
	    EVP_EncryptFinal_ex(ctx, out + n, &tail) != 1 || tail != 0)
		return ERR_CRYPTO;
	memcpy(wrapped, out, JWE_WRAPPED_BYTES);
	return 0;
}

/* 1 if the content is authentic. */
static int decrypt_key(const uint8_t cek[static JWE_CEK_BYTES], const char *aad,
		       const struct jwe_content *content, uint8_t out[static KEY_BYTES])
{
	uint8_t tail[JWE_TAG_BYTES];
	int n = 0;
	CLEANUP(cleanup_cipher_ctx) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	return ctx && EVP_DecryptInit_ex2(ctx, EVP_aes_256_gcm(), cek, content->iv, NULL) == 1 &&
	       EVP_DecryptUpdate(ctx, NULL, &n, (const uint8_t *)aad, (int)strlen(aad)) == 1 &&
	       EVP_DecryptUpdate(ctx, out, &n, content->ciphertext, KEY_BYTES) == 1 &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, JWE_TAG_BYTES,
				   (void *)(uintptr_t)content->tag) == 1 &&
	       EVP_DecryptFinal_ex(ctx, tail, &n) == 1;
}

int jwe_encrypt(const uint8_t cek[static JWE_CEK_BYTES], const char *aad,
		const uint8_t key[static KEY_BYTES], struct jwe_content *out)
{
	int n = 0;
	CLEANUP(cleanup_cipher_ctx) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	if (!ctx || RAND_bytes(out->iv, JWE_IV_BYTES) != 1 ||
	    EVP_EncryptInit_ex2(ctx, EVP_aes_256_gcm(), cek, out->iv, NULL) != 1 ||
	    EVP_EncryptUpdate(ctx, NULL, &n, (const uint8_t *)aad, (int)strlen(aad)) != 1 ||
	    EVP_EncryptUpdate(ctx, out->ciphertext, &n, key, KEY_BYTES) != 1 ||
	    EVP_EncryptFinal_ex(ctx, out->tag, &n) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, JWE_TAG_BYTES, out->tag) != 1)
		return ERR_CRYPTO;
	return 0;
}

/* What exists only while a key is being wrapped or unwrapped. */
struct work {
	uint8_t z[Z_BYTES], kek[KEK_BYTES], cek[JWE_CEK_BYTES];
	uint8_t key[KEY_BYTES];
};

static void work_done(struct work *w)
{
	wipe(w, sizeof(*w));
}

int jwe_wrap(const struct jwk *to, const struct jwk *ephemeral,
	     const uint8_t cek[static JWE_CEK_BYTES], uint8_t wrapped[static JWE_WRAPPED_BYTES])
{
	CLEANUP(work_done) struct work w = { 0 };
	int rc = derive_from_jwk((void *)(uintptr_t)ephemeral, jwk_x(to), jwk_y(to), w.z);
	if (rc >= 0)
		rc = jwe_concat_kdf(w.z, JWE_ALG, "", "", w.kek, sizeof(w.kek));
	return rc < 0 ? rc : wrap_cek(w.kek, cek, wrapped);
}

static int refuse(const char *what, const struct ecdh *ecdh, struct fault *f)
{
	ERR_clear_error();
	return fault_set(f, ERR_AUTH,
			 "%s wrapped for %s does not authenticate: it was wrapped for another key, "
			 "VM or owner, or altered",
			 what, ecdh->thumbprint);
}

int jwe_unwrap(const struct ecdh *ecdh, const char *what,
	       const uint8_t epk_x[static JWK_COORDINATE_BYTES],
	       const uint8_t epk_y[static JWK_COORDINATE_BYTES],
	       const uint8_t wrapped[static JWE_WRAPPED_BYTES], uint8_t cek[static JWE_CEK_BYTES],
	       struct fault *f)
{
	CLEANUP(work_done) struct work w = { 0 };
	int rc = ecdh->derive(ecdh->arg, epk_x, epk_y, w.z);
	if (rc >= 0)
		rc = jwe_concat_kdf(w.z, JWE_ALG, "", "", w.kek, sizeof(w.kek));
	if (rc < 0)
		return fault_set(f, rc, "the private key %s cannot be used: %s", ecdh->thumbprint,
				 err_text(rc));
	if (!unwrap_cek(w.kek, wrapped, w.cek))
		return refuse(what, ecdh, f);
	memcpy(cek, w.cek, JWE_CEK_BYTES);
	return 0;
}

int jwe_decrypt(const uint8_t cek[static JWE_CEK_BYTES], const char *aad,
		const struct jwe_content *content, uint8_t key[static KEY_BYTES])
{
	CLEANUP(work_done) struct work w = { 0 };
	if (!decrypt_key(cek, aad, content, w.key)) {
		ERR_clear_error();
		return ERR_AUTH;
	}
	memcpy(key, w.key, KEY_BYTES);
	return 0;
}

int jwe_open(const struct ecdh *ecdh, const char *what,
	     const uint8_t epk_x[static JWK_COORDINATE_BYTES],
	     const uint8_t epk_y[static JWK_COORDINATE_BYTES],
	     const uint8_t wrapped[static JWE_WRAPPED_BYTES], const char *aad,
	     const struct jwe_content *content, uint8_t key[static KEY_BYTES], struct fault *f)
{
	CLEANUP(work_done) struct work w = { 0 };
	int rc = jwe_unwrap(ecdh, what, epk_x, epk_y, wrapped, w.cek, f);
	if (rc < 0)
		return rc;
	return jwe_decrypt(w.cek, aad, content, key) < 0 ? refuse(what, ecdh, f) : 0;
}
