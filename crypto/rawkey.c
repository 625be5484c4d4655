/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/rawkey_form.h"

#include <string.h>

#define RSA_BITS     2048
#define RSA_EXPONENT 65537
#define DER_MAX	     80

OSSL_CLEANUP_FN(md_ctx, EVP_MD_CTX, EVP_MD_CTX_free)
OSSL_CLEANUP_FN(ecdsa_sig, ECDSA_SIG, ECDSA_SIG_free)

static const struct {
	size_t coord_bytes;
	const char *group;
} TYPES[] = {
	[RAWKEY_RSA_2048] = { 0, NULL },
	[RAWKEY_P256] = { 32, "prime256v1" },
	[RAWKEY_P384] = { 48, "secp384r1" },
};

size_t rawkey_coord_bytes(enum rawkey_type type)
{
	return TYPES[type].coord_bytes;
}

/* A point is looked at on the way: one that is not on its curve makes no key. */
static EVP_PKEY *from_params(const char *type, OSSL_PARAM *params)
{
	EVP_PKEY *pkey = NULL;
	CLEANUP(cleanup_pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
		return NULL;
	return pkey;
}

static EVP_PKEY *rsa_pkey(const struct rawkey *key)
{
	uint8_t native[RAWKEY_RSA_BYTES];
	unsigned int exponent = RSA_EXPONENT;
	CLEANUP(cleanup_bn) BIGNUM *n = BN_bin2bn(key->n, sizeof(key->n), NULL);
	if (!n || BN_num_bits(n) != RSA_BITS || !BN_is_odd(n) ||
	    BN_bn2nativepad(n, native, sizeof(native)) != sizeof(native))
		return NULL;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, native, sizeof(native)),
		OSSL_PARAM_construct_uint(OSSL_PKEY_PARAM_RSA_E, &exponent),
		OSSL_PARAM_construct_end(),
	};
	return from_params("RSA", params);
}

static EVP_PKEY *ecc_pkey(enum rawkey_type type, const uint8_t *x, const uint8_t *y)
{
	size_t n = rawkey_coord_bytes(type);
	uint8_t point[1 + 2 * RAWKEY_COORD_MAX] = { POINT_CONVERSION_UNCOMPRESSED };
	char group[16];
	strcpy(group, TYPES[type].group);
	memcpy(point + 1, x, n);
	memcpy(point + 1 + n, y, n);
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * n),
		OSSL_PARAM_construct_end(),
	};
	return from_params("EC", params);
}

EVP_PKEY *rawkey_to_pkey(const struct rawkey *key)
{
	EVP_PKEY *pkey =
		key->type == RAWKEY_RSA_2048 ? rsa_pkey(key) : ecc_pkey(key->type, key->x, key->y);
	ERR_clear_error();
	return pkey;
}

EVP_PKEY *rawkey_point_to_pkey(const uint8_t point[static RAWKEY_P256_POINT])
{
	if (point[0] != POINT_CONVERSION_UNCOMPRESSED)
		return NULL;
	EVP_PKEY *pkey = ecc_pkey(RAWKEY_P256, point + 1, point + 1 + RAWKEY_P256_BYTES);
	ERR_clear_error();
	return pkey;
}

/* Parameter NAME of PKEY as N bytes, big endian. */
static int number(const EVP_PKEY *pkey, const char *name, uint8_t *out, size_t n)
{
	CLEANUP(cleanup_bn) BIGNUM *bn = NULL;
	if (EVP_PKEY_get_bn_param(pkey, name, &bn) != 1 || BN_bn2binpad(bn, out, (int)n) != (int)n)
		return ERR_FORMAT;
	return 0;
}

static int rsa_from_pkey(const EVP_PKEY *pkey, struct rawkey *out)
{
	CLEANUP(cleanup_bn) BIGNUM *e = NULL;
	out->type = RAWKEY_RSA_2048;
	if (EVP_PKEY_get_bits(pkey) != RSA_BITS ||
	    EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) != 1 ||
	    !BN_is_word(e, RSA_EXPONENT))
		return ERR_FORMAT;
	return number(pkey, OSSL_PKEY_PARAM_RSA_N, out->n, sizeof(out->n));
}

static int ecc_from_pkey(const EVP_PKEY *pkey, struct rawkey *out)
{
	char group[32];
	size_t group_n = 0;
	if (EVP_PKEY_get_group_name(pkey, group, sizeof(group), &group_n) != 1)
		return ERR_FORMAT;
	if (strcmp(group, TYPES[RAWKEY_P256].group) == 0)
		out->type = RAWKEY_P256;
	else if (strcmp(group, TYPES[RAWKEY_P384].group) == 0)
		out->type = RAWKEY_P384;
	else
		return ERR_FORMAT;
	size_t n = rawkey_coord_bytes(out->type);
	int rc = number(pkey, OSSL_PKEY_PARAM_EC_PUB_X, out->x, n);
	return rc < 0 ? rc : number(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, out->y, n);
}

int rawkey_from_pkey(const EVP_PKEY *pkey, struct rawkey *out)
{
	struct rawkey key = { 0 };
	int rc = ERR_FORMAT;
	if (EVP_PKEY_is_a(pkey, "RSA"))
		rc = rsa_from_pkey(pkey, &key);
	else if (EVP_PKEY_is_a(pkey, "EC"))
		rc = ecc_from_pkey(pkey, &key);
	ERR_clear_error();
	if (rc < 0)
		return rc;
	*out = key;
	return 0;
}

int rawkey_check(const struct rawkey *key)
{
	CLEANUP(cleanup_pkey) EVP_PKEY *pkey = rawkey_to_pkey(key);
	return pkey ? 0 : ERR_FORMAT;
}

/* Verify over SHA-256 with PKEY's default scheme: ECDSA, or RSASSA-PKCS1-v1_5. */
static int verify(EVP_PKEY *pkey, const uint8_t *signature, size_t signature_n, const void *data,
		  size_t n)
{
	CLEANUP(cleanup_md_ctx) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int ok = ctx && EVP_DigestVerifyInit_ex(ctx, NULL, "SHA256", NULL, NULL, pkey, NULL) == 1 &&
		 EVP_DigestVerify(ctx, signature, signature_n, data, n) == 1;
	ERR_clear_error();
	return ok ? 0 : ERR_AUTH;
}

int rawkey_verify_ecdsa(const struct rawkey *key, const uint8_t r[static RAWKEY_P256_BYTES],
			const uint8_t s[static RAWKEY_P256_BYTES], const void *data, size_t n)
{
	if (key->type != RAWKEY_P256)
		return ERR_FORMAT;
	CLEANUP(cleanup_pkey) EVP_PKEY *pkey = rawkey_to_pkey(key);
	CLEANUP(cleanup_ecdsa_sig) ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *big_r = BN_bin2bn(r, RAWKEY_P256_BYTES, NULL);
	BIGNUM *big_s = BN_bin2bn(s, RAWKEY_P256_BYTES, NULL);
	if (!sig || !big_r || !big_s || ECDSA_SIG_set0(sig, big_r, big_s) != 1) {
		BN_free(big_r);
		BN_free(big_s);
		return ERR_CRYPTO;
	}
	if (!pkey)
		return ERR_FORMAT;
	uint8_t der[DER_MAX], *end = der;
	int size = i2d_ECDSA_SIG(sig, NULL);
	if (size <= 0 || size > DER_MAX || i2d_ECDSA_SIG(sig, &end) != size)
		return ERR_CRYPTO;
	return verify(pkey, der, (size_t)size, data, n);
}

int rawkey_verify_rsassa(const struct rawkey *key, const uint8_t signature[static RAWKEY_RSA_BYTES],
			 const void *data, size_t n)
{
	if (key->type != RAWKEY_RSA_2048)
		return ERR_FORMAT;
	CLEANUP(cleanup_pkey) EVP_PKEY *pkey = rawkey_to_pkey(key);
	return pkey ? verify(pkey, signature, RAWKEY_RSA_BYTES, data, n) : ERR_FORMAT;
}
