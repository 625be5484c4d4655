/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include "base/buf.h"

static void test_grows_to_its_maximum_and_no_further(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(1000);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(buf_add(&b, "x", 1), 0);
	assert_int_equal(b.len, 1000);
	assert_int_equal(buf_add(&b, "x", 1), ERR_LIMIT);
	assert_int_equal(b.len, 1000);
	assert_int_equal(buf_add(&b, "x", 0), 0);
	assert_int_equal(buf_reserve(&b, SIZE_MAX), ERR_LIMIT);
	assert_int_equal(strlen(buf_cstr(&b)), 1000);
}

static void test_consume_moves_the_rest_and_wipes_the_tail(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(64);
	assert_int_equal(buf_add(&b, "secret-rest", 11), 0);
	buf_consume(&b, 7);
	assert_int_equal(b.len, 4);
	assert_memory_equal(b.data, "rest", 4);
	for (size_t i = 4; i < 11; i++)
		assert_int_equal(b.data[i], 0);
	buf_consume(&b, 99);
	assert_int_equal(b.len, 0);
}

static void test_clear_wipes(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(64);
	assert_int_equal(buf_add(&b, "secret", 6), 0);
	buf_clear(&b);
	assert_int_equal(b.len, 0);
	assert_memory_equal(b.data, "\0\0\0\0\0\0", 6);
}

static void test_formats_within_the_maximum(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(8);
	assert_int_equal(buf_addf(&b, "%d-%s", 12, "abcde"), 0);
	assert_string_equal(buf_cstr(&b), "12-abcde");
	assert_int_equal(buf_addf(&b, "%d", 1), ERR_LIMIT);
	assert_string_equal(buf_cstr(&b), "12-abcde");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grows_to_its_maximum_and_no_further),
		cmocka_unit_test(test_consume_moves_the_rest_and_wipes_the_tail),
		cmocka_unit_test(test_clear_wipes),
		cmocka_unit_test(test_formats_within_the_maximum),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
