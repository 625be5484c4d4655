/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <string.h>

#include "base/uuid.h"

static void test_round_trip(void **state)
{
	(void)state;
	uint8_t u[UUID_BYTES];
	char text[UUID_TEXT_SIZE];
	assert_int_equal(uuid_parse("01234567-89AB-cdef-0123-456789abcdef", u), 0);
	assert_int_equal(u[0], 0x01);
	assert_int_equal(u[15], 0xef);
	uuid_format(u, text);
	assert_string_equal(text, "01234567-89ab-cdef-0123-456789abcdef");
}

static void test_anything_else_is_refused_and_leaves_the_output(void **state)
{
	(void)state;
	static const char *const BAD[] = {
		"",
		"01234567",
		"0123456789abcdef0123456789abcdef",
		"01234567-89ab-cdef-0123-456789abcde",
		"01234567-89ab-cdef-0123-456789abcdef0",
		"01234567-89ab-cdef-0123_456789abcdef",
		"g1234567-89ab-cdef-0123-456789abcdef",
		"../../../etc/passwd-aaaa-aaaaaaaaaaaa",
		"01234567-89ab-cdef-0123-456789abcde\n",
	};
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
		uint8_t u[UUID_BYTES] = { 7 };
		assert_int_equal(uuid_parse(BAD[i], u), ERR_FORMAT);
		assert_int_equal(u[0], 7);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_anything_else_is_refused_and_leaves_the_output),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
