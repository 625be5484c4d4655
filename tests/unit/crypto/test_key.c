/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include "crypto/key.h"

static struct vm_key counting_key(void)
{
	struct vm_key key;
	for (uint8_t i = 0; i < KEY_BYTES; i++)
		key.bytes[i] = i;
	return key;
}

static const uint8_t VM[UUID_BYTES] = { 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
					0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f };

/* Answers computed with python3-cryptography's HKDF. */
static void test_known_answers(void **state)
{
	(void)state;
	static const uint8_t WITH_ALL[48] = {
		0xd4, 0x21, 0xed, 0xd7, 0x27, 0x83, 0x7e, 0xbe, 0xa5, 0xa9, 0x30, 0xdc,
		0x09, 0x92, 0x7c, 0x5a, 0x8d, 0x0c, 0x84, 0x5b, 0x4f, 0x57, 0x8f, 0x81,
		0x5b, 0x2d, 0xb1, 0xf1, 0x03, 0x12, 0x15, 0x2f, 0xba, 0xfb, 0x7d, 0x0c,
		0x4a, 0xea, 0x63, 0x4b, 0x06, 0xbb, 0x9f, 0x3f, 0x1e, 0x9b, 0xe2, 0x2d,
	};
	static const uint8_t WITH_LEAST[32] = {
		0x8e, 0xf0, 0x77, 0x57, 0x21, 0xf1, 0xa9, 0xf4, 0xde, 0x9b, 0x8b,
		0x10, 0x0b, 0xa2, 0x77, 0x5a, 0x94, 0xb0, 0x8c, 0xdf, 0x62, 0x3d,
		0x3f, 0x19, 0x6a, 0xee, 0x05, 0xe4, 0x22, 0x3f, 0xa1, 0xa3,
	};
	CLEANUP_KEY struct vm_key key = counting_key();
	uint8_t salt[32], out[48];
	memset(salt, 0xaa, sizeof(salt));
	assert_int_equal(key_derive(&key, KEY_USE_VTPM_STATE, VM, salt, sizeof(salt),
				    (const uint8_t *)"context", 7, out, 48),
			 0);
	assert_memory_equal(out, WITH_ALL, 48);
	assert_int_equal(key_derive(&key, KEY_USE_VTPM_STATE, VM, NULL, 0, NULL, 0, out, 32), 0);
	assert_memory_equal(out, WITH_LEAST, 32);
}

static void test_every_input_matters(void **state)
{
	(void)state;
	CLEANUP_KEY struct vm_key key = counting_key();
	uint8_t out[KEY_USE_LAST + 5][32], vm[UUID_BYTES];
	const uint8_t *salt = (const uint8_t *)"salt";
	size_t n = 0;
	for (enum key_use use = KEY_USE_VTPM_STATE; use <= KEY_USE_LAST; use++)
		assert_int_equal(key_derive(&key, use, VM, salt, 4, NULL, 0, out[n++], 32), 0);
	memcpy(vm, VM, sizeof(vm));
	vm[15] ^= 1;
	assert_int_equal(key_derive(&key, KEY_USE_VTPM_STATE, vm, salt, 4, NULL, 0, out[n++], 32),
			 0);
	assert_int_equal(key_derive(&key, KEY_USE_VTPM_STATE, VM, salt, 3, NULL, 0, out[n++], 32),
			 0);
	assert_int_equal(key_derive(&key, KEY_USE_VTPM_STATE, VM, salt, 4, salt, 1, out[n++], 32),
			 0);
	assert_int_equal(key_derive(&key, KEY_USE_VTPM_STATE, VM, salt, 4, salt, 2, out[n++], 32),
			 0);
	key.bytes[31] ^= 0x80;
	assert_int_equal(key_derive(&key, KEY_USE_VTPM_STATE, VM, salt, 4, NULL, 0, out[n++], 32),
			 0);
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < i; j++)
			assert_memory_not_equal(out[i], out[j], 32);
	}
}

static void test_refuses_unknown_uses_and_oversized_contexts(void **state)
{
	(void)state;
	CLEANUP_KEY struct vm_key key = counting_key();
	uint8_t out[32], context[1024] = { 0 };
	assert_int_equal(key_derive(&key, (enum key_use)0, VM, NULL, 0, NULL, 0, out, 32),
			 ERR_CRYPTO);
	assert_int_equal(key_derive(&key, (enum key_use)99, VM, NULL, 0, NULL, 0, out, 32),
			 ERR_CRYPTO);
	assert_int_equal(key_derive(&key, KEY_USE_VTPM_STATE, VM, NULL, 0, context, sizeof(context),
				    out, 32),
			 ERR_CRYPTO);
}

static void test_new_keys_differ_and_done_wipes(void **state)
{
	(void)state;
	static const uint8_t ZERO[KEY_BYTES];
	struct vm_key a, b;
	assert_int_equal(key_new(&a), 0);
	assert_int_equal(key_new(&b), 0);
	assert_memory_not_equal(a.bytes, b.bytes, KEY_BYTES);
	key_done(&a);
	assert_memory_equal(a.bytes, ZERO, KEY_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_answers),
		cmocka_unit_test(test_every_input_matters),
		cmocka_unit_test(test_refuses_unknown_uses_and_oversized_contexts),
		cmocka_unit_test(test_new_keys_differ_and_done_wipes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
