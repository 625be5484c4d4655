/* SPDX-License-Identifier: BSD-3-Clause */
/* All of it twice: with nameless files, and where the filesystem knows none. */
#include "tests/unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/outfile.h"

static int no_nameless; /* errno for O_TMPFILE, or 0 */

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, mode_t mode);
int __wrap_open64(const char *path, int flags, mode_t mode)
{
	if (no_nameless && (flags & O_TMPFILE) == O_TMPFILE) {
		errno = no_nameless;
		return -1;
	}
	return __real_open64(path, flags, mode);
}

static char home[] = "/tmp/outfile.XXXXXX";

static int entries(void)
{
	int n = 0;
	DIR *dir = opendir(".");
	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

static void put(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void assert_file(const char *path, const char *text)
{
	char seen[64] = "";
	struct stat st;
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fread(seen, 1, sizeof(seen) - 1, f), strlen(text));
	fclose(f);
	assert_string_equal(seen, text);
	assert_return_code(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_nlink, 1);
}

static void test_it_is_there_whole_or_not_at_all(void **state)
{
	(void)state;
	static const int WITHOUT[] = { 0, EOPNOTSUPP, EISDIR };
	for (size_t i = 0; i < 3; i++) {
		struct outfile o;
		struct fault f = { 0 };
		no_nameless = WITHOUT[i];
		assert_int_equal(outfile_begin(&o, "out", 0, &f), 0);
		put(o.fd, "half");
		assert_int_equal(entries(), no_nameless ? 1 : 0);
		assert_int_equal(access("out", F_OK), -1);
		outfile_done(&o);
		assert_int_equal(entries(), 0);

		assert_int_equal(outfile_begin(&o, "out", 0, &f), 0);
		put(o.fd, "whole");
		assert_int_equal(outfile_commit(&o, &f), 0);
		outfile_done(&o);
		assert_file("out", "whole");
		assert_int_equal(entries(), 1);

		assert_int_equal(outfile_begin(&o, "out", 0, &f), -EEXIST);
		assert_non_null(strstr(f.text, "--force"));
		outfile_done(&o);
		assert_return_code(chmod("out", 0644), 0);
		assert_int_equal(outfile_begin(&o, "./out", 1, &f), 0);
		put(o.fd, "other");
		outfile_done(&o);
		assert_int_equal(outfile_begin(&o, "./out", 1, &f), 0);
		put(o.fd, "other");
		assert_int_equal(outfile_commit(&o, &f), 0);
		outfile_done(&o);
		assert_file("out", "other");
		assert_int_equal(entries(), 1);
		unlink("out");
	}
}

static void test_what_comes_in_between_is_not_replaced(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct outfile o;
		struct fault f = { 0 };
		no_nameless = i ? EOPNOTSUPP : 0;
		assert_int_equal(outfile_begin(&o, "out", 0, &f), 0);
		int fd = open("out", O_WRONLY | O_CREAT | O_EXCL, 0600);
		put(fd, "theirs");
		close(fd);
		assert_int_equal(outfile_commit(&o, &f), -EEXIST);
		assert_non_null(strstr(f.text, "exists by now"));
		outfile_done(&o);
		assert_file("out", "theirs");
		assert_int_equal(entries(), 1);
		unlink("out");
	}
}

static void test_only_regular_files_are_replaced(void **state)
{
	(void)state;
	struct outfile o;
	struct fault f = { 0 };
	no_nameless = 0;
	assert_return_code(symlink("target", "link"), 0);
	assert_int_equal(outfile_begin(&o, "link", 1, &f), -EINVAL);
	outfile_done(&o);
	assert_int_equal(outfile_begin(&o, ".", 1, NULL), -EINVAL);
	assert_int_equal(outfile_begin(&o, "missing/out", 0, NULL), -ENOENT);
	outfile_done(&o);
	unlink("link");
	assert_int_equal(entries(), 0);
}

static void test_names_that_are_too_long(void **state)
{
	(void)state;
	static char name[PATH_MAX + 9];
	for (int i = 0; i < 2; i++) {
		struct outfile o;
		no_nameless = i ? EOPNOTSUPP : 0;
		memset(name, 0, sizeof(name));
		memset(name, 'a', PATH_MAX + 1);
		assert_int_equal(outfile_begin(&o, name, 0, NULL), -ENAMETOOLONG);
		outfile_done(&o);
		/* No room for the temporary's suffix. */
		memset(name, 0, sizeof(name));
		for (size_t k = 0; k < PATH_MAX - 5; k += 2)
			memcpy(name + k, "./", 2);
		name[PATH_MAX - 5] = 'o';
		int rc = outfile_begin(&o, name, 1, NULL);
		if (rc >= 0)
			rc = outfile_commit(&o, NULL);
		assert_int_equal(rc, -ENAMETOOLONG);
		outfile_done(&o);
		assert_int_equal(entries(), 0);
	}
}

static int enter(void **state)
{
	(void)state;
	return mkdtemp(home) && chdir(home) == 0 ? 0 : -1;
}

static int leave(void **state)
{
	(void)state;
	return chdir("/") == 0 && rmdir(home) == 0 ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_is_there_whole_or_not_at_all),
		cmocka_unit_test(test_what_comes_in_between_is_not_replaced),
		cmocka_unit_test(test_only_regular_files_are_replaced),
		cmocka_unit_test(test_names_that_are_too_long),
	};
	return cmocka_run_group_tests(tests, enter, leave);
}
