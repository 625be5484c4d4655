/* SPDX-License-Identifier: BSD-3-Clause */
/* The shared secret's form, undone with the EK's private key; what a TPM says to all of it is in
 * attest's test of the host's TPM, known answers in vectors/crypto. */
#include "tests/unit/test.h"

#include <string.h>

#include "crypto/credential_form.h"
#include "crypto/rawkey_form.h"

static const uint8_t NAME[34] = { 0x00, 0x0b, 1, 2, 3 }, SECRET[32] = "secret";

static struct credential_ek ek_of(const EVP_PKEY *k, uint16_t alg, unsigned bits)
{
	struct credential_ek ek = { .name_alg = alg, .aes_bits = bits };
	assert_int_equal(rawkey_from_pkey(k, &ek.key), 0);
	return ek;
}

static void make(const struct credential_ek *ek, struct buf *object, struct buf *encrypted)
{
	struct fault f = { 0 };
	*object = BUF_INIT(CREDENTIAL_ID_OBJECT_MAX);
	*encrypted = BUF_INIT(CREDENTIAL_ENCRYPTED_MAX);
	if (credential_make(ek, NAME, sizeof(NAME), SECRET, object, encrypted, &f) < 0)
		fail_msg("%s", f.text);
}

/* OBJECT is what SEED gives. */
static void check_object(const struct credential_ek *ek, const uint8_t *seed,
			 const struct buf *object)
{
	CLEANUP_BUF struct buf want = BUF_INIT(CREDENTIAL_ID_OBJECT_MAX);
	assert_int_equal(credential_seal(ek, seed, NAME, sizeof(NAME), SECRET, &want), 0);
	assert_int_equal(object->len, want.len);
	assert_memory_equal(object->data, want.data, want.len);
}

static void test_rsa(void **state)
{
	(void)state;
	CLEANUP(cleanup_pkey) EVP_PKEY *k = EVP_RSA_gen(2048);
	struct credential_ek ek = ek_of(k, HASH_SHA256, 128);
	CLEANUP_BUF struct buf object;
	CLEANUP_BUF struct buf encrypted;
	make(&ek, &object, &encrypted);
	assert_int_equal(encrypted.len, 2 + 256);
	assert_int_equal(encrypted.data[0] << 8 | encrypted.data[1], 256);
	CLEANUP(cleanup_pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, k, NULL);
	uint8_t seed[256];
	size_t n = sizeof(seed);
	assert_int_equal(EVP_PKEY_decrypt_init(ctx), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md_name(ctx, "SHA256", NULL), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md_name(ctx, "SHA256", NULL), 1);
	assert_int_equal(EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, OPENSSL_memdup("IDENTITY", 9), 9),
			 1);
	assert_int_equal(EVP_PKEY_decrypt(ctx, seed, &n, encrypted.data + 2, 256), 1);
	assert_int_equal(n, 32);
	check_object(&ek, seed, &object);
}

static void ecc(const char *curve, uint16_t alg, unsigned bits, size_t coord)
{
	CLEANUP(cleanup_pkey) EVP_PKEY *k = EVP_EC_gen(curve);
	struct credential_ek ek = ek_of(k, alg, bits);
	CLEANUP_BUF struct buf object;
	CLEANUP_BUF struct buf encrypted;
	make(&ek, &object, &encrypted);
	assert_int_equal(encrypted.len, 2 + 2 * (2 + coord));
	assert_int_equal(encrypted.data[1], 2 * (2 + coord));
	assert_int_equal(encrypted.data[3], coord);
	assert_int_equal(encrypted.data[5 + coord], coord);
	struct rawkey ephemeral = { .type = ek.key.type };
	memcpy(ephemeral.x, encrypted.data + 4, coord);
	memcpy(ephemeral.y, encrypted.data + 6 + coord, coord);
	CLEANUP(cleanup_pkey) EVP_PKEY *peer = rawkey_to_pkey(&ephemeral);
	assert_non_null(peer);
	uint8_t z[48], seed[64];
	size_t n = sizeof(z);
	CLEANUP(cleanup_pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, k, NULL);
	assert_int_equal(EVP_PKEY_derive_init(ctx), 1);
	assert_int_equal(EVP_PKEY_derive_set_peer(ctx, peer), 1);
	assert_int_equal(EVP_PKEY_derive(ctx, z, &n), 1);
	struct hash_part zp = { z, n }, u = { ephemeral.x, coord }, v = { ek.key.x, coord };
	assert_int_equal(credential_kdfe(alg, &zp, "IDENTITY", &u, &v, seed, hash_bytes(alg)), 0);
	check_object(&ek, seed, &object);
}

static void test_ecc(void **state)
{
	(void)state;
	ecc("P-256", HASH_SHA256, 128, 32);
	ecc("P-384", HASH_SHA384, 256, 48);
}

static void test_each_time_another(void **state)
{
	(void)state;
	CLEANUP(cleanup_pkey) EVP_PKEY *k = EVP_EC_gen("P-256");
	struct credential_ek ek = ek_of(k, HASH_SHA256, 128);
	CLEANUP_BUF struct buf a;
	CLEANUP_BUF struct buf a_secret;
	CLEANUP_BUF struct buf b;
	CLEANUP_BUF struct buf b_secret;
	make(&ek, &a, &a_secret);
	make(&ek, &b, &b_secret);
	assert_memory_not_equal(a.data, b.data, a.len);
	assert_memory_not_equal(a_secret.data, b_secret.data, a_secret.len);
}

static int refused(const struct credential_ek *ek, size_t name_n)
{
	static const uint8_t LONG_NAME[CREDENTIAL_NAME_MAX + 1];
	CLEANUP_BUF struct buf object = BUF_INIT(CREDENTIAL_ID_OBJECT_MAX);
	CLEANUP_BUF struct buf encrypted = BUF_INIT(CREDENTIAL_ENCRYPTED_MAX);
	struct fault f = { 0 };
	int rc = credential_make(ek, LONG_NAME, name_n, SECRET, &object, &encrypted, &f);
	assert_int_equal(f.rc, rc);
	return rc;
}

static void test_refusals(void **state)
{
	(void)state;
	CLEANUP(cleanup_pkey) EVP_PKEY *k = EVP_EC_gen("P-256");
	struct credential_ek ek = ek_of(k, HASH_SHA256, 128);
	assert_int_equal(refused(&ek, CREDENTIAL_NAME_MAX), 0);
	assert_int_equal(refused(&ek, CREDENTIAL_NAME_MAX + 1), ERR_LIMIT);
	ek.aes_bits = 192;
	assert_int_equal(refused(&ek, 34), ERR_VERSION);
	ek = ek_of(k, HASH_SHA1, 128);
	assert_int_equal(refused(&ek, 34), ERR_VERSION);
	ek = ek_of(k, HASH_SHA256, 128);
	ek.key.x[0] ^= 1;
	assert_int_equal(refused(&ek, 34), ERR_FORMAT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rsa),
		cmocka_unit_test(test_ecc),
		cmocka_unit_test(test_each_time_another),
		cmocka_unit_test(test_refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
