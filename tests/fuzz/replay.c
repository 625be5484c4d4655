/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a fuzz target over every file of the folders (or files) named on the command line: saved
 * inputs stay tests in builds without libFuzzer.  Exits 1 if there was no input at all, so that a
 * lost corpus is noticed.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"

#define INPUT_MAX (4 * 1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(int dir_fd, const char *name)
{
	CLEANUP_BUF struct buf b = BUF_INIT(INPUT_MAX);
	struct fault f = { 0 };
	if (fd_read_file(dir_fd, name, &b, &f) < 0) {
		fprintf(stderr, "replay: %s\n", f.text);
		return -1;
	}
	/* An exact-size copy, so that the address sanitizer sees a read one byte past the input. */
	uint8_t *copy = malloc(b.len ? b.len : 1);
	if (!copy)
		return -1;
	if (b.len)
		memcpy(copy, b.data, b.len);
	LLVMFuzzerTestOneInput(copy, b.len);
	free(copy);
	return 1;
}

static int run_folder(const char *path)
{
	int count = 0;
	DIR *dir = opendir(path);
	if (!dir)
		return run_file(AT_FDCWD, path);
	for (struct dirent *e; (e = readdir(dir));) {
		if (e->d_name[0] == '.')
			continue;
		int rc = run_file(dirfd(dir), e->d_name);
		if (rc < 0) {
			count = -1;
			break;
		}
		count += rc;
	}
	closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	int total = 0;
	for (int i = 1; i < argc; i++) {
		int n = run_folder(argv[i]);
		if (n < 0)
			return 1;
		total += n;
	}
	if (total == 0) {
		fprintf(stderr, "replay: no inputs\n");
		return 1;
	}
	printf("%d inputs replayed\n", total);
	return 0;
}
