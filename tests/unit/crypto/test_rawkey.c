/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <string.h>

#include "crypto/rawkey_form.h"

static const char TEXT[] = "what is signed";
static EVP_PKEY *ec_key, *other_key, *p384_key, *rsa_key;

static int set_up(void **state)
{
	(void)state;
	ec_key = EVP_EC_gen("P-256");
	other_key = EVP_EC_gen("P-256");
	p384_key = EVP_EC_gen("P-384");
	rsa_key = EVP_RSA_gen(2048);
	return ec_key && other_key && p384_key && rsa_key ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	EVP_PKEY_free(ec_key);
	EVP_PKEY_free(other_key);
	EVP_PKEY_free(p384_key);
	EVP_PKEY_free(rsa_key);
	return 0;
}

static struct rawkey raw(const EVP_PKEY *k)
{
	struct rawkey out;
	assert_int_equal(rawkey_from_pkey(k, &out), 0);
	assert_int_equal(rawkey_check(&out), 0);
	return out;
}

static size_t sign(EVP_PKEY *k, const char *md, uint8_t *out, size_t max)
{
	size_t n = max;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, md, NULL, NULL, k, NULL), 1);
	assert_int_equal(EVP_DigestSign(ctx, out, &n, (const uint8_t *)TEXT, sizeof(TEXT)), 1);
	EVP_MD_CTX_free(ctx);
	return n;
}

static void ecdsa(EVP_PKEY *k, const char *md, uint8_t r[static 32], uint8_t s[static 32])
{
	uint8_t der[128];
	const uint8_t *p = der;
	size_t n = sign(k, md, der, sizeof(der));
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)n);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(sig), r, 32), 32);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(sig), s, 32), 32);
	ECDSA_SIG_free(sig);
}

static void test_ecdsa(void **state)
{
	(void)state;
	uint8_t r[32], s[32], zero[32] = { 0 };
	struct rawkey key = raw(ec_key), other = raw(other_key), rsa = raw(rsa_key);
	struct rawkey p384 = raw(p384_key);
	ecdsa(ec_key, "SHA256", r, s);
	assert_int_equal(rawkey_verify_ecdsa(&key, r, s, TEXT, sizeof(TEXT)), 0);
	assert_int_equal(rawkey_verify_ecdsa(&key, r, s, TEXT, sizeof(TEXT) - 1), ERR_AUTH);
	assert_int_equal(rawkey_verify_ecdsa(&key, s, r, TEXT, sizeof(TEXT)), ERR_AUTH);
	assert_int_equal(rawkey_verify_ecdsa(&key, zero, zero, TEXT, sizeof(TEXT)), ERR_AUTH);
	assert_int_equal(rawkey_verify_ecdsa(&other, r, s, TEXT, sizeof(TEXT)), ERR_AUTH);
	assert_int_equal(rawkey_verify_ecdsa(&rsa, r, s, TEXT, sizeof(TEXT)), ERR_FORMAT);
	assert_int_equal(rawkey_verify_ecdsa(&p384, r, s, TEXT, sizeof(TEXT)), ERR_FORMAT);
	s[31] ^= 1;
	assert_int_equal(rawkey_verify_ecdsa(&key, r, s, TEXT, sizeof(TEXT)), ERR_AUTH);
	ecdsa(ec_key, "SHA384", r, s);
	assert_int_equal(rawkey_verify_ecdsa(&key, r, s, TEXT, sizeof(TEXT)), ERR_AUTH);
	key.y[0] ^= 1;
	assert_int_equal(rawkey_verify_ecdsa(&key, r, s, TEXT, sizeof(TEXT)), ERR_FORMAT);
}

static void test_rsassa(void **state)
{
	(void)state;
	uint8_t sig[256];
	struct rawkey key = raw(rsa_key), ec = raw(ec_key);
	assert_int_equal(sign(rsa_key, "SHA256", sig, sizeof(sig)), 256);
	assert_int_equal(rawkey_verify_rsassa(&key, sig, TEXT, sizeof(TEXT)), 0);
	assert_int_equal(rawkey_verify_rsassa(&key, sig, TEXT, sizeof(TEXT) - 1), ERR_AUTH);
	assert_int_equal(rawkey_verify_rsassa(&ec, sig, TEXT, sizeof(TEXT)), ERR_FORMAT);
	sig[100] ^= 1;
	assert_int_equal(rawkey_verify_rsassa(&key, sig, TEXT, sizeof(TEXT)), ERR_AUTH);
	sign(rsa_key, "SHA1", sig, sizeof(sig));
	assert_int_equal(rawkey_verify_rsassa(&key, sig, TEXT, sizeof(TEXT)), ERR_AUTH);
	key.n[0] = 0;
	assert_int_equal(rawkey_verify_rsassa(&key, sig, TEXT, sizeof(TEXT)), ERR_FORMAT);
}

static void test_check(void **state)
{
	(void)state;
	static EVP_PKEY **const KEYS[] = { &ec_key, &p384_key };
	for (size_t i = 0; i < 2; i++) {
		struct rawkey key = raw(*KEYS[i]);
		key.x[0] ^= 1;
		assert_int_equal(rawkey_check(&key), ERR_FORMAT);
		memset(key.x, 0, sizeof(key.x));
		memset(key.y, 0, sizeof(key.y));
		assert_int_equal(rawkey_check(&key), ERR_FORMAT);
		memset(key.x, 0xff, sizeof(key.x)); /* not less than the prime */
		assert_int_equal(rawkey_check(&key), ERR_FORMAT);
	}
	struct rawkey rsa = raw(rsa_key);
	rsa.n[255] ^= 1;
	assert_int_equal(rawkey_check(&rsa), ERR_FORMAT);
	rsa.n[255] ^= 1;
	rsa.n[0] &= 0x7f;
	assert_int_equal(rawkey_check(&rsa), ERR_FORMAT);
}

static void test_points(void **state)
{
	(void)state;
	uint8_t point[RAWKEY_P256_POINT] = { 4 };
	struct rawkey key = raw(ec_key), again;
	memcpy(point + 1, key.x, 32);
	memcpy(point + 33, key.y, 32);
	CLEANUP(cleanup_pkey) EVP_PKEY *pkey = rawkey_point_to_pkey(point);
	assert_non_null(pkey);
	assert_int_equal(rawkey_from_pkey(pkey, &again), 0);
	assert_memory_equal(&again, &key, sizeof(key));
	for (unsigned first = 0; first < 256; first++) {
		point[0] = (uint8_t)first;
		if (first != 4)
			assert_null(rawkey_point_to_pkey(point));
	}
}

static void test_foreign_types(void **state)
{
	(void)state;
	struct rawkey out;
	CLEANUP(cleanup_pkey) EVP_PKEY *p521 = EVP_EC_gen("P-521");
	CLEANUP(cleanup_pkey) EVP_PKEY *rsa3072 = EVP_RSA_gen(3072);
	CLEANUP(cleanup_pkey) EVP_PKEY *x25519 = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
	assert_int_equal(rawkey_from_pkey(p521, &out), ERR_FORMAT);
	assert_int_equal(rawkey_from_pkey(rsa3072, &out), ERR_FORMAT);
	assert_int_equal(rawkey_from_pkey(x25519, &out), ERR_FORMAT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ecdsa),	      cmocka_unit_test(test_rsassa),
		cmocka_unit_test(test_check),	      cmocka_unit_test(test_points),
		cmocka_unit_test(test_foreign_types),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
