/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"

static void test_lines_are_bounded_and_printable(void **state)
{
	(void)state;
	int fd = memfd_create("log", 0);
	char big[4000], out[4096];
	memset(big, 'z', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';

	log_open(fd, "test", LOG_LEVEL_INFO);
	log_info("one\ntwo\xc2\x9bthree");
	log_debug("not at this level");
	log_error("%s", big);
	ssize_t n = pread(fd, out, sizeof(out) - 1, 0);
	assert_true(n > 0);
	out[n] = '\0';
	char *first_end = strchr(out, '\n');
	assert_non_null(first_end);
	assert_non_null(strstr(out, " info test["));
	assert_non_null(strstr(out, "one?two??three\n"));
	assert_null(strstr(out, "not at this level"));
	assert_int_equal(strlen(first_end + 1), LOG_LINE_MAX - 1);
	close(fd);
}

static void test_one_process_cannot_fill_a_disk(void **state)
{
	(void)state;
	int fd = memfd_create("log", 0);
	log_open(fd, "test", LOG_LEVEL_INFO);
	for (int i = 0; i < 40000; i++)
		log_info("the same line again and again, by a guest that likes it");
	assert_in_range(lseek(fd, 0, SEEK_END), 1, LOG_TOTAL_MAX);
	log_open(-1, "test", LOG_LEVEL_INFO);
	log_info("nowhere");
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_are_bounded_and_printable),
		cmocka_unit_test(test_one_process_cannot_fill_a_disk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
