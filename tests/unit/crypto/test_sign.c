/* SPDX-License-Identifier: BSD-3-Clause */
/* Signed statements: what they say comes back, and nothing else is accepted. */
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/sign.h"

#define TYP "test+jws"

static void test_digest(void **state)
{
	/* FIPS 180-4, the example "abc". */
	static const uint8_t ABC[] = { 0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
				       0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
				       0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
				       0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad };
	uint8_t digest[SIGN_SHA256_BYTES];
	(void)state;
	assert_int_equal(sign_sha256("abc", 3, digest), 0);
	assert_memory_equal(digest, ABC, sizeof(ABC));
}

static void test_statement(void **state)
{
	CLEANUP_JWK struct jwk *key = NULL, *other = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(SIGN_TEXT_MAX), said = BUF_INIT(SIGN_TEXT_MAX);
	(void)state;
	assert_int_equal(jwk_new(&key, NULL), 0);
	assert_int_equal(jwk_new(&other, NULL), 0);
	/* Signatures whose r or s begins with zeros come up once in 128. */
	for (int i = 0; i < 600; i++) {
		char payload[16];
		int n = snprintf(payload, sizeof(payload), "payload %d", i);
		buf_clear(&text);
		buf_clear(&said);
		assert_int_equal(sign_make(key, TYP, payload, (size_t)n, &text, NULL), 0);
		assert_int_equal(sign_open(key, TYP, (char *)text.data, text.len, &said, NULL), 0);
		assert_int_equal(said.len, n);
		assert_memory_equal(said.data, payload, (size_t)n);
	}
	buf_clear(&said);
	assert_int_equal(sign_open(other, TYP, (char *)text.data, text.len, &said, NULL), ERR_AUTH);
	assert_int_equal(sign_open(key, "x", (char *)text.data, text.len, &said, NULL), ERR_AUTH);
	for (size_t i = 0; i < text.len; i++) {
		assert_true(sign_open(key, TYP, (char *)text.data, i, &said, NULL) < 0);
		for (int bit = 0; bit < 8; bit++) {
			text.data[i] ^= (uint8_t)(1 << bit);
			assert_true(sign_open(key, TYP, (char *)text.data, text.len, &said, NULL) <
				    0);
			text.data[i] ^= (uint8_t)(1 << bit);
		}
	}
	assert_int_equal(buf_add(&text, "A", 1), 0);
	assert_true(sign_open(key, TYP, (char *)text.data, text.len, &said, NULL) < 0);
	assert_int_equal(said.len, 0);
}

static void test_public_key_signs_nothing(void **state)
{
	CLEANUP_JWK struct jwk *key = NULL, *pub = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(SIGN_TEXT_MAX), out = BUF_INIT(SIGN_TEXT_MAX);
	(void)state;
	assert_int_equal(jwk_new(&key, NULL), 0);
	assert_int_equal(jwk_public_text(key, &text), 0);
	assert_int_equal(jwk_parse((char *)text.data, text.len, &pub, NULL), 0);
	assert_int_equal(sign_make(pub, TYP, "x", 1, &out, NULL), ERR_FORMAT);
	assert_int_equal(sign_make(key, TYP, "x", 1, &out, NULL), 0);
	assert_int_equal(sign_open(pub, TYP, (char *)out.data, out.len, &text, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digest),
		cmocka_unit_test(test_statement),
		cmocka_unit_test(test_public_key_signs_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
