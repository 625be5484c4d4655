/* SPDX-License-Identifier: BSD-3-Clause */
/* crypto/secret.c: known answers (Python's hmac and hashlib), and what must differ. */
#include "tests/unit/test.h"

#include "crypto/secret.h"

static const uint8_t vm[UUID_BYTES] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
static const uint8_t secret[16] = "0123456789abcdef";

static void derive(enum secret_kind kind, const uint8_t *s, size_t n, const uint8_t *of,
		   struct vm_key *key)
{
	assert_int_equal(secret_to_key(kind, s, n, of, key), 0);
}

static void test_known_answers(void **state)
{
	(void)state;
	static const uint8_t key_answer[KEY_BYTES] = { 0x4f, 0xe5, 0x20, 0x3d, 0xe0, 0x48, 0xf1,
						       0x2a, 0x96, 0xe6, 0xb9, 0x86, 0x8f, 0xf8,
						       0xf6, 0x33, 0x2e, 0x59, 0x58, 0x7b, 0xc0,
						       0xdc, 0x81, 0x34, 0xea, 0xb3, 0x51, 0xa8,
						       0xce, 0x75, 0x12, 0xd0 };
	static const uint8_t passphrase_answer[KEY_BYTES] = {
		0x5b, 0xc3, 0x96, 0x15, 0xfa, 0x7a, 0xf7, 0x91, 0x7d, 0x87, 0xdd,
		0xae, 0x30, 0x5e, 0x59, 0xb4, 0x84, 0x10, 0xbc, 0x88, 0xf9, 0xb6,
		0x78, 0x19, 0x9f, 0x49, 0x01, 0x43, 0x11, 0xda, 0x49, 0x33
	};
	struct vm_key key;
	derive(SECRET_KEY, secret, sizeof(secret), vm, &key);
	assert_memory_equal(key.bytes, key_answer, KEY_BYTES);
	derive(SECRET_PASSPHRASE, secret, sizeof(secret), vm, &key);
	assert_memory_equal(key.bytes, passphrase_answer, KEY_BYTES);
}

static void test_what_differs(void **state)
{
	(void)state;
	static const uint8_t other[UUID_BYTES] = { 9 };
	struct vm_key a, b;
	derive(SECRET_PASSPHRASE, secret, sizeof(secret), vm, &a);
	derive(SECRET_PASSPHRASE, secret, sizeof(secret), other, &b);
	assert_memory_not_equal(a.bytes, b.bytes, KEY_BYTES);
	derive(SECRET_PASSPHRASE, secret, sizeof(secret) - 1, vm, &b);
	assert_memory_not_equal(a.bytes, b.bytes, KEY_BYTES);
	derive(SECRET_KEY, secret, sizeof(secret) - 1, vm, &a);
	derive(SECRET_KEY, secret, sizeof(secret), vm, &b);
	assert_memory_not_equal(a.bytes, b.bytes, KEY_BYTES);
}

static void test_empty(void **state)
{
	(void)state;
	struct vm_key key;
	assert_int_equal(secret_to_key(SECRET_PASSPHRASE, secret, 0, vm, &key), ERR_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_answers),
		cmocka_unit_test(test_what_differs),
		cmocka_unit_test(test_empty),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
