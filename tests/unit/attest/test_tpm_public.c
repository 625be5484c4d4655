/* SPDX-License-Identifier: BSD-3-Clause */
/* What a key must be: every attribute, scheme and policy, each alone. */
#include "tests/unit/attest/statements.h"

#include <string.h>

#include "tests/unit/test.h"

#define MASK ((1u << 0) | (1u << 4) | (1u << 7) | (1u << 10))

static EVP_PKEY *ec_key, *rsa_key, *p384_key;
static struct pcrs pcrs;

static int set_up(void **state)
{
	(void)state;
	ec_key = EVP_EC_gen("P-256");
	p384_key = EVP_EC_gen("P-384");
	rsa_key = EVP_RSA_gen(2048);
	pcrs.bank = HASH_SHA256;
	pcrs.mask = MASK;
	for (size_t i = 0; i < PCR_COUNT; i++)
		memset(pcrs.value[i], (int)(i + 1), 32);
	return ec_key && p384_key && rsa_key ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	EVP_PKEY_free(ec_key);
	EVP_PKEY_free(p384_key);
	EVP_PKEY_free(rsa_key);
	return 0;
}

enum check { AK, EK, BK };

static int check_bytes(enum check which, const struct bytes *b, const char **id, struct fault *f)
{
	struct credential_ek ek;
	uint8_t x[32], y[32];
	if (which == AK)
		return ak_check(blob_of(b), id, f);
	return which == EK ? ek_check(blob_of(b), &ek, id, f)
			   : bk_check(blob_of(b), &pcrs, x, y, id, f);
}

static void is(enum check which, const TPMT_PUBLIC *area, int rc, const char *id)
{
	struct bytes b = marshal_public(area);
	const char *got = NULL;
	struct fault f = { 0 };
	int got_rc = check_bytes(which, &b, &got, &f);
	if (got_rc != rc || (rc < 0 && strcmp(got, id) != 0))
		fail_msg("%d %s (%s), wanted %d %s", got_rc, got ? got : "-", f.text, rc, id);
	if (rc < 0)
		assert_non_null(finding_meaning(id));
}

/* Each attribute that must be set, cleared; and each that must not be, set. */
static void attributes(enum check which, TPMT_PUBLIC area, TPMA_OBJECT set, TPMA_OBJECT clear,
		       const char *id)
{
	is(which, &area, 0, NULL);
	for (unsigned bit = 0; bit < 32; bit++) {
		TPMT_PUBLIC wrong = area;
		TPMA_OBJECT mask = 1u << bit;
		if (!((set | clear) & mask))
			continue;
		wrong.objectAttributes ^= mask;
		is(which, &wrong, ERR_POLICY, id);
	}
}

static void test_attributes(void **state)
{
	(void)state;
	attributes(AK, public_ak(ec_key),
		   OWN_KEY | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_SIGN_ENCRYPT, TPMA_OBJECT_DECRYPT,
		   "ak.attributes");
	attributes(AK, public_ak(rsa_key),
		   OWN_KEY | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_SIGN_ENCRYPT, TPMA_OBJECT_DECRYPT,
		   "ak.attributes");
	attributes(EK, public_ek(ec_key), OWN_KEY | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT,
		   TPMA_OBJECT_SIGN_ENCRYPT, "ek.attributes");
	attributes(EK, public_ek(p384_key), OWN_KEY, 0, "ek.attributes");
	attributes(EK, public_ek(rsa_key), OWN_KEY, 0, "ek.attributes");
	attributes(BK, public_bk(ec_key, &pcrs), OWN_KEY | TPMA_OBJECT_DECRYPT,
		   TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_RESTRICTED,
		   "key.attributes");
}

static void test_schemes(void **state)
{
	(void)state;
	TPMT_PUBLIC area = public_ak(ec_key);
	area.parameters.eccDetail.scheme.details.ecdsa.hashAlg = TPM2_ALG_SHA1;
	is(AK, &area, ERR_POLICY, "ak.attributes");
	area = public_ak(ec_key);
	area.parameters.eccDetail.scheme.scheme = TPM2_ALG_NULL;
	is(AK, &area, ERR_POLICY, "ak.attributes");
	area = public_ak(ec_key);
	area.parameters.eccDetail.scheme.scheme = TPM2_ALG_ECSCHNORR;
	is(AK, &area, ERR_POLICY, "ak.attributes");
	area = public_ak(rsa_key);
	area.parameters.rsaDetail.scheme.scheme = TPM2_ALG_RSAPSS;
	is(AK, &area, ERR_POLICY, "ak.attributes");
	area = public_ak(rsa_key);
	area.parameters.rsaDetail.scheme.details.rsassa.hashAlg = TPM2_ALG_SHA384;
	is(AK, &area, ERR_POLICY, "ak.attributes");
	area = public_ak(p384_key);
	is(AK, &area, ERR_POLICY, "ak.attributes");
	area = public_ak(ec_key);
	area.nameAlg = TPM2_ALG_SHA384;
	is(AK, &area, ERR_POLICY, "ak.attributes");

	area = public_ek(ec_key);
	area.parameters.eccDetail.symmetric.algorithm = TPM2_ALG_NULL;
	is(EK, &area, ERR_POLICY, "ek.attributes");
	area = public_ek(ec_key);
	area.parameters.eccDetail.symmetric.mode.aes = TPM2_ALG_CBC;
	is(EK, &area, ERR_POLICY, "ek.attributes");
	area = public_ek(ec_key);
	area.parameters.eccDetail.symmetric.keyBits.aes = 192;
	is(EK, &area, ERR_POLICY, "ek.attributes");
	area = public_ek(rsa_key);
	area.nameAlg = TPM2_ALG_SHA1;
	is(EK, &area, ERR_POLICY, "ek.attributes");

	area = public_bk(ec_key, &pcrs);
	area.parameters.eccDetail.scheme.scheme = TPM2_ALG_NULL;
	is(BK, &area, 0, NULL);
	area.parameters.eccDetail.scheme.scheme = TPM2_ALG_ECMQV;
	is(BK, &area, ERR_POLICY, "key.attributes");
	area = public_bk(p384_key, &pcrs);
	is(BK, &area, ERR_POLICY, "key.attributes");
	area = public_bk(rsa_key, &pcrs);
	area.parameters.rsaDetail.scheme.scheme = TPM2_ALG_NULL;
	is(BK, &area, ERR_POLICY, "key.attributes");
}

static void test_keys(void **state)
{
	(void)state;
	TPMT_PUBLIC area = public_ek(ec_key);
	area.unique.ecc.x.buffer[5] ^= 1; /* not on the curve */
	is(EK, &area, ERR_FORMAT, "ek.attributes");
	area = public_ek(ec_key);
	area.unique.ecc.x.size = 33;
	is(EK, &area, ERR_FORMAT, "ek.attributes");
	area = public_ek(ec_key);
	area.unique.ecc.x.size = area.unique.ecc.y.size = 0;
	is(EK, &area, ERR_FORMAT, "ek.attributes");
	area = public_ek(ec_key);
	area.parameters.eccDetail.curveID = TPM2_ECC_NIST_P521;
	is(EK, &area, ERR_POLICY, "ek.attributes");
	area = public_ek(rsa_key);
	area.parameters.rsaDetail.exponent = 3;
	is(EK, &area, ERR_POLICY, "ek.attributes");
	area.parameters.rsaDetail.exponent = 65537;
	is(EK, &area, 0, NULL);
	area.unique.rsa.size = 255;
	is(EK, &area, ERR_POLICY, "ek.attributes");
	area = public_ek(rsa_key);
	area.unique.rsa.buffer[255] &= 0xfe;
	is(EK, &area, ERR_FORMAT, "ek.attributes");
	area = public_ek(rsa_key);
	area.unique.rsa.buffer[0] = 0;
	is(EK, &area, ERR_FORMAT, "ek.attributes");
	area = public_ek(rsa_key);
	area.parameters.rsaDetail.keyBits = 1024;
	is(EK, &area, ERR_POLICY, "ek.attributes");
}

static void test_ek_parameters(void **state)
{
	(void)state;
	struct credential_ek ek;
	const char *id;
	TPMT_PUBLIC area = public_ek(p384_key);
	area.nameAlg = TPM2_ALG_SHA384;
	area.parameters.eccDetail.symmetric.keyBits.aes = 256;
	struct bytes b = marshal_public(&area);
	assert_int_equal(ek_check(blob_of(&b), &ek, &id, NULL), 0);
	assert_int_equal(ek.key.type, RAWKEY_P384);
	assert_int_equal(ek.name_alg, HASH_SHA384);
	assert_int_equal(ek.aes_bits, 256);
}

static void test_policy(void **state)
{
	(void)state;
	struct pcrs kept = pcrs;
	TPMT_PUBLIC area = public_bk(ec_key, &pcrs);
	is(BK, &area, 0, NULL);
	pcrs.value[7][0] ^= 1;
	is(BK, &area, ERR_POLICY, "key.policy");
	pcrs = kept;
	pcrs.value[10][0] ^= 1; /* goes on changing: the key is not bound to it */
	is(BK, &area, 0, NULL);
	pcrs = kept;
	pcrs.mask |= 2;
	is(BK, &area, ERR_POLICY, "key.policy");
	pcrs.mask = MASK & ~1u;
	is(BK, &area, ERR_POLICY, "key.policy");
	pcrs.mask = 1u << 10; /* nothing to bind to */
	is(BK, &area, ERR_POLICY, "key.policy");
	pcrs = kept;
	pcrs.bank = HASH_SHA384;
	is(BK, &area, ERR_POLICY, "key.policy");
	pcrs = kept;
	area.authPolicy.size = 0;
	is(BK, &area, ERR_POLICY, "key.policy");
	area = public_bk(ec_key, &pcrs);
	area.authPolicy.size = 33;
	is(BK, &area, ERR_POLICY, "key.policy");
}

static void test_format(void **state)
{
	(void)state;
	static const char *const IDS[] = { "ak.format", "ek.format", "key.format" };
	TPMT_PUBLIC areas[] = { public_ak(ec_key), public_ek(rsa_key), public_bk(ec_key, &pcrs) };
	uint8_t name[TPM_NAME_BYTES];
	for (enum check which = AK; which <= BK; which++) {
		struct bytes b = marshal_public(&areas[which]);
		const char *id = NULL;
		for (size_t n = b.n; n-- > 0;) {
			struct bytes cut = b;
			cut.n = n;
			assert_int_equal(check_bytes(which, &cut, &id, NULL), ERR_FORMAT);
			assert_string_equal(id, IDS[which]);
			assert_int_equal(tpm_name(blob_of(&cut), name, NULL), ERR_FORMAT);
		}
		b.n++;
		assert_int_equal(check_bytes(which, &b, &id, NULL), ERR_TRAILING);
		assert_string_equal(id, IDS[which]);
		assert_int_equal(tpm_name(blob_of(&b), name, NULL), ERR_TRAILING);
		b.n = TPM_PUBLIC_MAX + 1;
		assert_int_equal(check_bytes(which, &b, &id, NULL), ERR_LIMIT);
		assert_string_equal(id, IDS[which]);
	}
}

static void test_name(void **state)
{
	(void)state;
	uint8_t name[TPM_NAME_BYTES], digest[32];
	TPMT_PUBLIC area = public_ak(ec_key);
	struct bytes b = marshal_public(&area);
	assert_int_equal(tpm_name(blob_of(&b), name, NULL), 0);
	assert_int_equal(hash_data(HASH_SHA256, b.data, b.n, digest), 0);
	assert_int_equal(name[0], 0x00);
	assert_int_equal(name[1], 0x0b);
	assert_memory_equal(name + 2, digest, 32);
	area.nameAlg = TPM2_ALG_SHA384;
	b = marshal_public(&area);
	assert_int_equal(tpm_name(blob_of(&b), name, NULL), ERR_FORMAT);
}

/* Against values worked out by hashlib, over bytes that count up. */
static void test_extra(void **state)
{
	(void)state;
	static const uint8_t WANT[32] = { 0xfd, 0x6f, 0x14, 0x08, 0xaa, 0x4a, 0x10, 0xce,
					  0xf9, 0x53, 0x2c, 0xe6, 0xbd, 0x2d, 0x44, 0x9c,
					  0xae, 0x10, 0x86, 0xf5, 0x6e, 0x47, 0x51, 0x04,
					  0x28, 0x3b, 0xdf, 0x6e, 0x86, 0x2a, 0xf4, 0xc2 };
	uint8_t nonce[32], name[TPM_NAME_BYTES] = { 0x00, 0x0b }, worker[65] = { 4 }, host[16];
	uint8_t got[32];
	for (uint8_t i = 0; i < 32; i++) {
		nonce[i] = i;
		name[2 + i] = (uint8_t)(100 + i);
	}
	for (uint8_t i = 0; i < 64; i++)
		worker[1 + i] = i;
	for (uint8_t i = 0; i < 16; i++)
		host[i] = (uint8_t)(200 + i);
	assert_int_equal(quote_extra(nonce, name, worker, host, got), 0);
	assert_memory_equal(got, WANT, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attributes), cmocka_unit_test(test_schemes),
		cmocka_unit_test(test_keys),	   cmocka_unit_test(test_ek_parameters),
		cmocka_unit_test(test_policy),	   cmocka_unit_test(test_format),
		cmocka_unit_test(test_name),	   cmocka_unit_test(test_extra),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
