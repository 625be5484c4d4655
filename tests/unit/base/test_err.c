/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"

static void test_every_error_has_a_name_and_an_exit_code(void **state)
{
	(void)state;
	for (int rc = ERR_AUTH; rc < ERR_LAST; rc++) {
		assert_string_not_equal(err_text(rc), "unknown error");
		assert_int_not_equal(err_exit_code(rc), EXIT_DONE);
	}
	assert_string_equal(err_text(ERR_AUTH), "not authentic");
	assert_string_equal(err_text(ERR_USAGE), "wrong arguments");
	assert_string_equal(err_text(ERR_LAST), "unknown error");
	assert_string_equal(err_text(-ENOENT), "No such file or directory");
	assert_string_equal(err_text(-4000), "unknown error");
	assert_int_equal(err_exit_code(0), 0);
	assert_int_equal(err_exit_code(ERR_AUTH), 1);
	assert_int_equal(err_exit_code(ERR_USAGE), 2);
	assert_int_equal(err_exit_code(-EACCES), 3);
	assert_int_equal(err_exit_code(ERR_CRYPTO), 3);
}

static void test_the_first_sentence_wins_and_is_printable(void **state)
{
	(void)state;
	struct fault f = { 0 };
	errno = EIO;
	assert_int_equal(fault_set(&f, ERR_AUTH, "a\x1b[31m%s\n", "b"), ERR_AUTH);
	assert_int_equal(errno, EIO);
	assert_string_equal(f.text, "a?[31mb?");
	assert_int_equal(fault_set(&f, -ENOENT, "later"), -ENOENT);
	assert_string_equal(f.text, "a?[31mb?");
	assert_int_equal(f.rc, ERR_AUTH);
	assert_int_equal(fault_set(NULL, -EIO, "nobody asks"), -EIO);
}

/* The control characters of ISO 8859 and Unicode: terminals act on them too. */
static void test_c1_is_not_printed(void **state)
{
	(void)state;
	struct fault f = { 0 };
	fault_set(&f, -EIO,
		  "a\xc2\x9b[31m \xc2\x80 \xc2\x9f \x9b"
		  "b");
	assert_string_equal(f.text, "a??[31m ?? ?? ?b");
	f = (struct fault){ 0 };
	fault_set(&f, -EIO, "\xc2\xa0 \xc3\x9c \xe2\x82\x9b \xf0\x9f\x9b\x80 \xc2");
	assert_string_equal(f.text, "\xc2\xa0 \xc3\x9c \xe2\x82\x9b \xf0\x9f\x9b\x80 \xc2");
	fault_wrap(&f, -EIO, "\xc2\x9b");
	assert_true(strncmp(f.text, "??: ", 4) == 0);
}

static void test_wrapping_keeps_the_inner_sentence_and_its_bound(void **state)
{
	(void)state;
	struct fault f = { 0 };
	assert_int_equal(fault_wrap(&f, ERR_TRUNCATED, "file %d", 7), ERR_TRUNCATED);
	assert_string_equal(f.text, "file 7: truncated");
	fault_wrap(&f, ERR_TRUNCATED, "VM x");
	assert_string_equal(f.text, "VM x: file 7: truncated");
	char big[2000];
	memset(big, 'y', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	fault_wrap(&f, -EIO, "%s", big);
	assert_int_equal(strlen(f.text), FAULT_TEXT_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_error_has_a_name_and_an_exit_code),
		cmocka_unit_test(test_the_first_sentence_wins_and_is_printable),
		cmocka_unit_test(test_c1_is_not_printed),
		cmocka_unit_test(test_wrapping_keeps_the_inner_sentence_and_its_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
