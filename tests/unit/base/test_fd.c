/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

static int folder_fd;
static char folder[] = "/tmp/shieldvm-test-fd-XXXXXX";

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	folder_fd = open(folder, O_RDONLY | O_DIRECTORY);
	return folder_fd < 0 ? -1 : 0;
}

static int remove_folder(void **state)
{
	(void)state;
	static const char *const NAMES[] = { "file", "link", "pipe" };
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
		unlinkat(folder_fd, NAMES[i], 0);
	close(folder_fd);
	return rmdir(folder); /* fails if anything else was left behind */
}

static void test_files_are_written_once_or_replaced(void **state)
{
	(void)state;
	struct fault f = { 0 };
	struct stat st;
	CLEANUP_BUF struct buf b = BUF_INIT(5);
	assert_int_equal(fd_write_file(folder_fd, "file", "hello", 5, 0600, 0, &f), 0);
	assert_int_equal(fstatat(folder_fd, "file", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(fd_write_file(folder_fd, "file", "other", 5, 0600, 0, &f), -EEXIST);
	assert_string_equal(f.text, "file exists and is not overwritten");
	assert_int_equal(fd_read_file(folder_fd, "file", &b, NULL), 0);
	assert_memory_equal(b.data, "hello", 5);
	buf_clear(&b);
	assert_int_equal(fd_write_file(folder_fd, "file", "other", 5, 0644, 1, NULL), 0);
	assert_int_equal(fd_read_file(folder_fd, "file", &b, NULL), 0);
	assert_memory_equal(b.data, "other", 5);
}

static void test_reading_refuses_links_pipes_and_long_files(void **state)
{
	(void)state;
	struct fault f = { 0 };
	CLEANUP_BUF struct buf b = BUF_INIT(4);
	assert_int_equal(symlinkat("file", folder_fd, "link"), 0);
	assert_int_equal(mkfifoat(folder_fd, "pipe", 0600), 0);
	assert_int_equal(fd_read_file(folder_fd, "link", &b, NULL), -ELOOP);
	assert_int_equal(fd_read_file(folder_fd, "pipe", &b, NULL), -EINVAL);
	assert_int_equal(fd_read_file(folder_fd, "absent", &b, NULL), -ENOENT);
	assert_int_equal(fd_read_file(folder_fd, "file", &b, &f), ERR_LIMIT);
	assert_string_equal(f.text, "file: larger than the 4 bytes it may have");
}

static void test_descriptors_pass_and_too_many_are_closed(void **state)
{
	(void)state;
	int pair[2], fds[FD_PASS_MAX], null_fd = open("/dev/null", O_RDONLY);
	size_t n_fds;
	char text[8];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(fd_send(pair[0], "ab", 2, (int[]){ null_fd, null_fd }, 2), 0);
	assert_int_equal(fd_recv(pair[1], text, sizeof(text), fds, &n_fds), 2);
	assert_int_equal(n_fds, 2);
	assert_true(fds[0] >= 0 && fds[1] >= 0 && fds[2] == -1);
	assert_int_equal(fcntl(fds[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	close(fds[0]);
	close(fds[1]);

	/* A message cut by a small buffer brings nothing in. */
	int lowest = dup(null_fd);
	close(lowest);
	assert_int_equal(fd_send(pair[0], "0123456789", 10, (int[]){ null_fd }, 1), 0);
	assert_int_equal(fd_recv(pair[1], text, sizeof(text), fds, &n_fds), -EMSGSIZE);
	int again = dup(null_fd);
	assert_int_equal(again, lowest);
	close(again);

	assert_int_equal(fd_send(pair[0], "x", 1, (int[]){ 0, 0, 0, 0, 0 }, 5), -EINVAL);
	close(pair[0]);
	assert_int_equal(fd_recv(pair[1], text, sizeof(text), fds, &n_fds), 0);
	close(pair[1]);
	close(null_fd);
}

static void test_full_reads_tell_truncation(void **state)
{
	(void)state;
	int p[2];
	char text[4];
	assert_int_equal(pipe(p), 0);
	assert_int_equal(fd_write_full(p[1], "abc", 3), 0);
	fd_close(&p[1]);
	assert_int_equal(p[1], -1);
	assert_int_equal(fd_read_full(p[0], text, 4), ERR_TRUNCATED);
	fd_close(&p[0]);
	assert_int_equal(fd_read_full(-1, text, 1), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files_are_written_once_or_replaced),
		cmocka_unit_test(test_reading_refuses_links_pipes_and_long_files),
		cmocka_unit_test(test_descriptors_pass_and_too_many_are_closed),
		cmocka_unit_test(test_full_reads_tell_truncation),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
