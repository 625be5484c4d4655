/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/progress.h"

#define GIB (1024ULL * 1024 * 1024)

static void test_bytes_have_the_unit_that_fits(void **state)
{
	(void)state;
	static const struct {
		uint64_t bytes;
		const char *text;
	} ROWS[] = {
		{ 0, "0 bytes" },	{ 1, "1 byte" },
		{ 1023, "1023 bytes" }, { 1024, "1.0 KiB" },
		{ 1536, "1.5 KiB" },	{ 1024 * 1024 - 1, "1.0 MiB" },
		{ 2 * GIB, "2.0 GiB" }, { UINT64_MAX, "16.0 EiB" },
	};
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		char text[BYTES_TEXT_SIZE];
		bytes_text(ROWS[i].bytes, text);
		assert_string_equal(text, ROWS[i].text);
	}
}

static void test_the_line_has_share_amounts_rate_and_time_left(void **state)
{
	(void)state;
	static const struct {
		uint64_t done, total;
		int64_t ms;
		const char *text;
	} ROWS[] = {
		{ GIB, 4 * GIB, 1000, " 25 %  1.0 GiB of 4.0 GiB  1.0 GiB/s  3 s left" },
		{ GIB, 4 * GIB, 100, " 25 %  1.0 GiB of 4.0 GiB" },
		{ 0, 4 * GIB, 9000, "  0 %  0 bytes of 4.0 GiB" },
		{ 4 * GIB, 4 * GIB, 2000, "100 %  4.0 GiB of 4.0 GiB  2.0 GiB/s  0 s left" },
		{ 5 * GIB, 4 * GIB, 1000, "100 %  5.0 GiB of 4.0 GiB  5.0 GiB/s" },
		{ GIB, 601 * GIB, 1000, "  0 %  1.0 GiB of 601.0 GiB  1.0 GiB/s  10 min left" },
		{ GIB, 40001 * GIB, 1000, "  0 %  1.0 GiB of 39.1 TiB  1.0 GiB/s  11 h left" },
		{ 3 * GIB, 0, 2000, "3.0 GiB  1.5 GiB/s" },
		{ 3 * GIB, 0, 0, "3.0 GiB" },
	};
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		char text[PROGRESS_TEXT_MAX];
		progress_text(ROWS[i].done, ROWS[i].total, ROWS[i].ms, text);
		assert_string_equal(text, ROWS[i].text);
	}
}

/* The longest that can be asked for is cut, not overrun. */
static void test_the_line_is_bounded(void **state)
{
	(void)state;
	struct {
		char text[PROGRESS_TEXT_MAX], guard[8];
	} line;
	memset(&line, 'x', sizeof(line));
	progress_text(1, UINT64_MAX, INT64_MAX, line.text);
	assert_non_null(memchr(line.text, 0, sizeof(line.text)));
	assert_memory_equal(line.guard, "xxxxxxxx", 8);
}

static void test_a_pipe_gets_nothing(void **state)
{
	(void)state;
	int ends[2], keep = dup(STDERR_FILENO);
	char seen[64];
	assert_return_code(pipe2(ends, O_NONBLOCK), 0);
	assert_return_code(dup2(ends[1], STDERR_FILENO), 0);
	struct progress p;
	progress_begin(&p, 100);
	p.began_ms -= 10000;
	p.last_ms = p.began_ms;
	progress_show(&p, 50);
	progress_end(&p);
	dup2(keep, STDERR_FILENO);
	assert_int_equal(read(ends[0], seen, sizeof(seen)), -1);
	close(ends[0]);
	close(ends[1]);
	close(keep);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_have_the_unit_that_fits),
		cmocka_unit_test(test_the_line_has_share_amounts_rate_and_time_left),
		cmocka_unit_test(test_the_line_is_bounded),
		cmocka_unit_test(test_a_pipe_gets_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
