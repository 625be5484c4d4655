/* SPDX-License-Identifier: BSD-3-Clause */
/* Known answers: FIPS 180-4's examples for "abc", and PCRs extended by hashlib. */
#include "tests/unit/test.h"

#include <string.h>

#include "crypto/hash.h"

static const struct {
	uint16_t alg;
	const char *name;
	const char *abc, *extended; /* of "abc"; of zeros, extended with it */
} ROWS[] = {
	{ HASH_SHA1, "sha1", "a9993e364706816aba3e25717850c26c9cd0d89d",
	  "ccd5bd41458de644ac34a2478b58ff819bef5acf" },
	{ HASH_SHA256, "sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	  "589f9ffed4c477966bfb8d41f37895b08c69047df8f911d6f3b57fbe08faee8d" },
	{ HASH_SHA384, "sha384",
	  "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca1"
	  "34c825a7",
	  "93732e3733514a841c982cfa75ea76ab55fe011acb9cd980ef4523913c65be1b0998e04d77f8c174f81a8215"
	  "1619ca40" },
	{ HASH_SHA512, "sha512",
	  "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23"
	  "a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
	  "6b9e946755055542adba95a1588a7eaed86323b3bed97d602ee06839d734048e02c63f37892d3adde0d25b5a"
	  "9d89162e8804ab9ec0ac4a263545c4faecfdf53b" },
};
#define N_ROWS (sizeof(ROWS) / sizeof(ROWS[0]))

static void hex(const uint8_t *data, size_t n, char *out)
{
	static const char DIGITS[] = "0123456789abcdef";
	for (size_t i = 0; i < n; i++) {
		*out++ = DIGITS[data[i] >> 4];
		*out++ = DIGITS[data[i] & 15];
	}
	*out = '\0';
}

static void test_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ROWS; i++) {
		uint8_t digest[HASH_BYTES_MAX], parts_digest[HASH_BYTES_MAX];
		uint8_t pcr[HASH_BYTES_MAX] = { 0 };
		char text[2 * HASH_BYTES_MAX + 1];
		struct hash_part parts[] = { { "a", 1 }, { NULL, 0 }, { "bc", 2 } };
		size_t n = hash_bytes(ROWS[i].alg);
		assert_int_equal(n, strlen(ROWS[i].abc) / 2);
		assert_string_equal(hash_name(ROWS[i].alg), ROWS[i].name);
		assert_int_equal(hash_data(ROWS[i].alg, "abc", 3, digest), 0);
		hex(digest, n, text);
		assert_string_equal(text, ROWS[i].abc);
		assert_int_equal(hash_parts(ROWS[i].alg, parts, 3, parts_digest), 0);
		assert_memory_equal(parts_digest, digest, n);
		assert_int_equal(hash_extend(ROWS[i].alg, pcr, digest), 0);
		hex(pcr, n, text);
		assert_string_equal(text, ROWS[i].extended);
	}
}

static void test_no_more_than_the_digest(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ROWS; i++) {
		uint8_t out[HASH_BYTES_MAX + 1];
		size_t n = hash_bytes(ROWS[i].alg);
		memset(out, 0xee, sizeof(out));
		assert_int_equal(hash_data(ROWS[i].alg, "", 0, out), 0);
		assert_int_equal(out[n], 0xee);
	}
}

static void test_unknown(void **state)
{
	(void)state;
	static const uint16_t ALGS[] = { 0, 0x0010, 0x0012, 0x0027, 0xffff };
	for (size_t i = 0; i < sizeof(ALGS) / sizeof(ALGS[0]); i++) {
		uint8_t out[HASH_BYTES_MAX] = { 1 };
		assert_int_equal(hash_bytes(ALGS[i]), 0);
		assert_null(hash_name(ALGS[i]));
		assert_int_equal(hash_data(ALGS[i], "abc", 3, out), ERR_VERSION);
		assert_int_equal(hash_extend(ALGS[i], out, out), ERR_VERSION);
		assert_int_equal(out[0], 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_no_more_than_the_digest),
		cmocka_unit_test(test_unknown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
