/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/statehead.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

#define FORMAT_VERSION 1
#define ATTEMPTS       10

static const uint8_t MAGIC[8] = { 'S', 'H', 'V', 'D', 'S', 'T', 'A', 'T' };
static const uint8_t SEALED[8] = { 'S', 'H', 'V', 'D', 'S', 'E', 'A', 'L' };

static void put_be64(uint8_t *at, uint64_t number)
{
	uint64_t be = htobe64(number);
	memcpy(at, &be, sizeof(be));
}

static uint64_t get_be64(const uint8_t *at)
{
	uint64_t be;
	memcpy(&be, at, sizeof(be));
	return be64toh(be);
}

void statehead_make(uint64_t version, uint8_t head[static STATEHEAD_BYTES])
{
	memcpy(head, MAGIC, sizeof(MAGIC));
	put_be64(head + 8, FORMAT_VERSION);
	put_be64(head + 16, version);
}

int statehead_parse(const uint8_t *p, size_t n, uint64_t *version, size_t *bytes, struct fault *f)
{
	size_t magic = n < sizeof(MAGIC) ? n : sizeof(MAGIC);
	if (n == 0)
		return fault_set(f, ERR_TRUNCATED, "empty, where a vTPM's state should be");
	if (memcmp(p, SEALED, magic) == 0) {
		*version = 0;
		*bytes = 0;
		return 0;
	}
	if (memcmp(p, MAGIC, magic) != 0)
		return fault_set(f, ERR_FORMAT,
				 "not a vTPM's state: it does not start with \"%.8s\"",
				 (const char *)MAGIC);
	if (n >= 16 && get_be64(p + 8) != FORMAT_VERSION)
		return fault_set(f, ERR_VERSION,
				 "a vTPM's state of format %llu; this build knows %d only",
				 (unsigned long long)get_be64(p + 8), FORMAT_VERSION);
	if (n < STATEHEAD_BYTES)
		return fault_set(f, ERR_TRUNCATED, "the state's head is %zu bytes short",
				 STATEHEAD_BYTES - n);
	uint64_t found = get_be64(p + 16);
	if (found == 0 || found > STATEHEAD_VERSION_MAX)
		return fault_set(f, ERR_FORMAT, "the state's head has no version");
	*version = found;
	*bytes = STATEHEAD_BYTES;
	return 0;
}

/* 1 if FD still is what NAME names, so that what was read of it was the state; or 0, -errno. */
static int is_still(int dir, const char *name, const struct stat *was)
{
	struct stat is;
	if (fstatat(dir, name, &is, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return is.st_dev == was->st_dev && is.st_ino == was->st_ino;
}

/* 1 if *VERSION was read; 0 if the file was replaced under us. */
static int read_once(int dir, const char *name, uint64_t *version, struct fault *f)
{
	uint8_t head[STATEHEAD_BYTES];
	struct stat st;
	size_t bytes;
	/* What is no plain file must not keep us waiting. */
	CLEANUP_FD int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fault_set(f, -errno, "%s", err_text(-errno));
	if (!S_ISREG(st.st_mode))
		return fault_set(f, -EINVAL, "not a regular file");
	ssize_t n;
	do
		n = pread(fd, head, sizeof(head), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return fault_set(f, -errno, "%s", err_text(-errno));
	/* What the worker does not use as the state it may be writing to. */
	int rc = is_still(dir, name, &st);
	if (rc <= 0)
		return rc < 0 ? fault_set(f, rc, "%s", err_text(rc)) : 0;
	rc = statehead_parse(head, (size_t)n, version, &bytes, f);
	return rc < 0 ? rc : 1;
}

int statehead_read(int dir, const char *name, uint64_t *version, struct fault *f)
{
	uint64_t found = 0;
	int rc = 0;
	for (int i = 0; i < ATTEMPTS && rc == 0; i++)
		rc = read_once(dir, name, &found, f);
	if (rc == 0)
		rc = fault_set(f, -EBUSY, "replaced again and again while it is read");
	/* Its worker may be about to make the swap durable that we have seen already. */
	if (rc > 0 && fsync(dir) < 0)
		rc = fault_set(f, -errno, "its folder cannot be synced: %s", err_text(-errno));
	if (rc < 0)
		return fault_wrap(f, rc, "the vTPM's state '%s'", name);
	*version = found;
	return 0;
}
