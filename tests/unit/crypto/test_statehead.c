/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/statehead.h"

static char folder[] = "/tmp/shieldvm-statehead-XXXXXX";
static int dir = -1;

static int set_up(void **state)
{
	(void)state;
	if (mkdtemp(folder))
		dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	fd_close(&dir);
	return rmdir(folder);
}

static void put(const char *name, const void *data, size_t n)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, n), n);
	fd_close(&fd);
}

/* As docs/FORMAT.md has it, byte by byte. */
static void test_format(void **state)
{
	static const uint8_t want[STATEHEAD_BYTES] = "SHVDSTAT\0\0\0\0\0\0\0\1\1\2\3\4\5\6\7\x08";
	uint8_t head[STATEHEAD_BYTES];
	uint64_t version = 0;
	size_t bytes = 0;
	(void)state;
	statehead_make(0x0102030405060708, head);
	assert_memory_equal(head, want, sizeof(want));
	assert_int_equal(statehead_parse(want, sizeof(want), &version, &bytes, NULL), 0);
	assert_true(version == 0x0102030405060708 && bytes == STATEHEAD_BYTES);
	assert_int_equal(statehead_parse((const uint8_t *)"SHVDSEAL\1", 9, &version, &bytes, NULL),
			 0);
	assert_true(version == 0 && bytes == 0);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *what;
		size_t n;
		int rc;
	} cases[] = {
		{ "", 0, ERR_TRUNCATED },
		{ "SHVDSEAM", 8, ERR_FORMAT },
		{ "SHVDSTAU\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1", 24, ERR_FORMAT },
		{ "{\"v\":1}", 7, ERR_FORMAT },
		{ "SHVDSTAT\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 24, ERR_VERSION },
		{ "SHVDSTAT\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\1", 24, ERR_VERSION },
		{ "SHVDSTAT\1\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1", 24, ERR_VERSION },
		{ "SHVDSTAT\0\0\0\0\0\0\0\2", 16, ERR_VERSION },
		{ "SHVDSTAT\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0", 24, ERR_FORMAT },
		{ "SHVDSTAT\0\0\0\0\0\0\0\1\x80\0\0\0\0\0\0\1", 24, ERR_FORMAT },
	};
	uint64_t version = 77;
	size_t bytes = 77;
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(statehead_parse((const uint8_t *)cases[i].what, cases[i].n,
						 &version, &bytes, NULL),
				 cases[i].rc);
	for (size_t n = 1; n < STATEHEAD_BYTES; n++) {
		uint8_t head[STATEHEAD_BYTES];
		statehead_make(5, head);
		assert_int_equal(statehead_parse(head, n, &version, &bytes, NULL),
				 n < 8 && memcmp(head, "SHVDSEAL", n) == 0 ? 0 : ERR_TRUNCATED);
		if (n >= 8)
			assert_true(version != 5);
	}
}

static void test_file(void **state)
{
	uint8_t head[STATEHEAD_BYTES + 9] = { 0 };
	uint64_t version = 77;
	struct fault f = { 0 };
	(void)state;
	assert_int_equal(statehead_read(dir, "s", &version, &f), -ENOENT);
	assert_non_null(strstr(f.text, "'s'"));
	statehead_make(12, head);
	put("s", head, sizeof(head));
	assert_int_equal(statehead_read(dir, "s", &version, NULL), 0);
	assert_int_equal(version, 12);
	put("s", "SHVDSEAL and so on", 18);
	assert_int_equal(statehead_read(dir, "s", &version, NULL), 0);
	assert_int_equal(version, 0);
	version = 77;
	put("s", "SHVDSTAT", 8);
	assert_int_equal(statehead_read(dir, "s", &version, NULL), ERR_TRUNCATED);
	put("s", "", 0);
	assert_int_equal(statehead_read(dir, "s", &version, NULL), ERR_TRUNCATED);
	assert_int_equal(symlinkat("s", dir, "link"), 0);
	assert_int_equal(statehead_read(dir, "link", &version, NULL), -ELOOP);
	assert_int_equal(mkfifoat(dir, "pipe", 0600), 0);
	assert_int_equal(statehead_read(dir, "pipe", &version, NULL), -EINVAL);
	assert_int_equal(version, 77);
	unlinkat(dir, "link", 0);
	unlinkat(dir, "pipe", 0);
	unlinkat(dir, "s", 0);
}

/* ---- A worker that stores at the same time -------------------------------------------------- */

/* Wrapped: after each pread(2) the state and its spare change places, so many times. */
static int swaps;

ssize_t __real_pread64(int fd, void *to, size_t n, off_t at);
ssize_t __wrap_pread64(int fd, void *to, size_t n, off_t at);
ssize_t __wrap_pread64(int fd, void *to, size_t n, off_t at)
{
	ssize_t got = __real_pread64(fd, to, n, at);
	if (swaps > 0) {
		swaps--;
		assert_int_equal(renameat2(dir, "s", dir, "s.next", RENAME_EXCHANGE), 0);
	}
	return got;
}

static void test_replaced(void **state)
{
	uint8_t head[STATEHEAD_BYTES];
	uint64_t version = 0;
	(void)state;
	statehead_make(5, head);
	put("s", head, sizeof(head));
	statehead_make(6, head);
	put("s.next", head, sizeof(head));
	/* What was read has become the spare meanwhile: it does not count. */
	swaps = 1;
	assert_int_equal(statehead_read(dir, "s", &version, NULL), 0);
	assert_int_equal(version, 6);
	swaps = 1000;
	assert_int_equal(statehead_read(dir, "s", &version, NULL), -EBUSY);
	swaps = 0;
	unlinkat(dir, "s", 0);
	unlinkat(dir, "s.next", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_replaced),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
