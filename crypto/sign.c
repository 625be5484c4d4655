/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/sign.h"

#include <errno.h>
#include <string.h>

#include "crypto/jwk_form.h"

#define HALF		JWK_COORDINATE_BYTES /* of a signature: r, s */
#define SIGNATURE_BYTES (2 * HALF)
#define DER_MAX		80

OSSL_CLEANUP_FN(md_ctx, EVP_MD_CTX, EVP_MD_CTX_free)
OSSL_CLEANUP_FN(ecdsa_sig, ECDSA_SIG, ECDSA_SIG_free)

int sign_sha256(const void *data, size_t n, uint8_t out[static SIGN_SHA256_BYTES])
{
	size_t got = 0;
	if (EVP_Q_digest(NULL, "SHA256", NULL, data, n, out, &got) != 1 || got != SIGN_SHA256_BYTES)
		return ERR_CRYPTO;
	return 0;
}

/* Append the encoded header. */
static int put_header(const struct jwk *key, const char *typ, struct buf *out)
{
	CLEANUP_BUF struct buf header = BUF_INIT(SIGN_TEXT_MAX);
	char kid[JWK_THUMBPRINT_SIZE];
	int rc = jwk_thumbprint(key, kid);
	if (rc >= 0)
		rc = buf_addf(&header, "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"%s\"}", kid,
			      typ);
	return rc < 0 ? rc : strict_b64_put(out, header.data, header.len);
}

/* r and s of libcrypto's DER. */
static int from_der(const uint8_t *der, size_t n, uint8_t out[static SIGNATURE_BYTES])
{
	CLEANUP(cleanup_ecdsa_sig) ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)n);
	if (!sig || BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, HALF) != HALF ||
	    BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + HALF, HALF) != HALF)
		return ERR_CRYPTO;
	return 0;
}

static int to_der(const uint8_t in[static SIGNATURE_BYTES], uint8_t der[static DER_MAX], size_t *n)
{
	CLEANUP(cleanup_ecdsa_sig) ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(in, HALF, NULL), *s = BN_bin2bn(in + HALF, HALF, NULL);
	if (!sig || !r || !s || ECDSA_SIG_set0(sig, r, s) != 1) {
		BN_free(r);
		BN_free(s);
		return -ENOMEM;
	}
	int size = i2d_ECDSA_SIG(sig, NULL);
	if (size <= 0 || size > DER_MAX)
		return ERR_CRYPTO;
	*n = (size_t)i2d_ECDSA_SIG(sig, &der);
	return 0;
}

static int sign_bytes(const struct jwk *key, const struct buf *text,
		      uint8_t out[static SIGNATURE_BYTES])
{
	uint8_t der[DER_MAX];
	size_t n = sizeof(der);
	CLEANUP(cleanup_pkey) EVP_PKEY *pkey = jwk_to_pkey(key, 1);
	CLEANUP(cleanup_md_ctx) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (!pkey || !ctx ||
	    EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, pkey, NULL) != 1 ||
	    EVP_DigestSign(ctx, der, &n, text->data, text->len) != 1) {
		ERR_clear_error();
		return ERR_CRYPTO;
	}
	return from_der(der, n, out);
}

int sign_make(const struct jwk *key, const char *typ, const void *payload, size_t n,
	      struct buf *out, struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(SIGN_TEXT_MAX);
	uint8_t signature[SIGNATURE_BYTES];
	if (!jwk_is_private(key))
		return fault_set(f, ERR_FORMAT, "a public key cannot sign");
	int rc = put_header(key, typ, &text);
	if (rc >= 0)
		rc = buf_add(&text, ".", 1);
	if (rc >= 0)
		rc = strict_b64_put(&text, payload, n);
	if (rc >= 0)
		rc = sign_bytes(key, &text, signature);
	if (rc >= 0)
		rc = buf_add(&text, ".", 1);
	if (rc >= 0)
		rc = strict_b64_put(&text, signature, sizeof(signature));
	if (rc >= 0)
		rc = buf_add(out, text.data, text.len);
	return rc < 0 ? fault_set(f, rc, "the statement could not be signed: %s", err_text(rc)) : 0;
}

/* 1 if the first N characters of TEXT are signed by SIGNATURE. */
static int is_signed(const struct jwk *key, const char *text, size_t n,
		     const uint8_t signature[static SIGNATURE_BYTES])
{
	uint8_t der[DER_MAX];
	size_t der_bytes;
	CLEANUP(cleanup_pkey) EVP_PKEY *pkey = jwk_to_pkey(key, 0);
	CLEANUP(cleanup_md_ctx) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int ok = pkey && ctx && to_der(signature, der, &der_bytes) >= 0 &&
		 EVP_DigestVerifyInit_ex(ctx, NULL, "SHA256", NULL, NULL, pkey, NULL) == 1 &&
		 EVP_DigestVerify(ctx, der, der_bytes, (const uint8_t *)text, n) == 1;
	ERR_clear_error();
	return ok;
}

int sign_open(const struct jwk *key, const char *typ, const char *text, size_t n, struct buf *out,
	      struct fault *f)
{
	CLEANUP_BUF struct buf header = BUF_INIT(SIGN_TEXT_MAX), payload = BUF_INIT(SIGN_TEXT_MAX);
	uint8_t signature[SIGNATURE_BYTES];
	if (n > SIGN_TEXT_MAX)
		return fault_set(f, ERR_LIMIT, "a signed statement has at most %d characters",
				 SIGN_TEXT_MAX);
	const char *first = n > 0 ? memchr(text, '.', n) : NULL;
	const char *second = first ? memchr(first + 1, '.', n - (size_t)(first + 1 - text)) : NULL;
	if (!second)
		return fault_set(f, ERR_FORMAT, "not a compact JWS");
	int rc = put_header(key, typ, &header);
	if (rc < 0)
		return fault_set(f, rc, "%s", err_text(rc));
	if (header.len != (size_t)(first - text) || memcmp(header.data, text, header.len) != 0)
		return fault_set(f, ERR_AUTH,
				 "signed by another key, or a statement of another kind");
	if (strict_b64(second + 1, n - (size_t)(second + 1 - text), signature, sizeof(signature)) <
	    0)
		return fault_set(f, ERR_FORMAT, "the signature is not %d bytes in base64url",
				 SIGNATURE_BYTES);
	if (!is_signed(key, text, (size_t)(second - text), signature))
		return fault_set(f, ERR_AUTH, "the signature does not fit");
	rc = strict_b64_buf(first + 1, (size_t)(second - first - 1), &payload);
	if (rc >= 0)
		rc = buf_add(out, payload.data, payload.len);
	return rc < 0 ? fault_set(f, rc, "the statement cannot be read: %s", err_text(rc)) : 0;
}
