/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/statehead.h"

#define STATE	    "tpm2.state"
#define MOVED	    "tpm2.state.moved"
#define OPEN_FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define LOOKS	    10 /* at a lock that is replaced meanwhile */

enum watch_act watch_decide(int incoming, const struct watch_seen *seen)
{
	if (incoming && seen->has_state && !seen->moved)
		return WATCH_TAKE;
	if (incoming)
		return seen->lives ? WATCH_WAIT : WATCH_FORGET;
	/* Until its worker ends, the VM may still come back from where it goes. */
	if (seen->moved)
		return seen->lives ? WATCH_WAIT : WATCH_FORGET;
	return seen->lives ? WATCH_REPORT : WATCH_STOP;
}

/* The folder of VM in ROOT; -ENOENT without a sentence. */
static int folder_of(const char *root, const uint8_t vm[static UUID_BYTES], struct fault *f)
{
	char path[PATH_MAX], uuid[UUID_TEXT_SIZE];
	uuid_format(vm, uuid);
	snprintf(path, sizeof(path), "%s/%s", root, uuid);
	int fd = open(path, OPEN_FOLDER);
	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	return fd < 0 ? fault_set(f, -errno, "%s: %s", path, err_text(-errno)) : fd;
}

/* 1 if somebody has the lock, 0 if not, -EAGAIN if it was replaced under us.  It is had for an
 * instant: whoever wants it waits longer than that (libvirt/folders.c). */
static int is_locked(int dir, struct fault *f)
{
	struct stat held, named;
	CLEANUP_FD int fd = openat(dir, "lock", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0
				       : fault_set(f, -errno, "a VM's lock: %s", err_text(-errno));
	if (flock(fd, LOCK_SH | LOCK_NB) < 0)
		return errno == EWOULDBLOCK
			       ? 1
			       : fault_set(f, -errno, "a VM's lock: %s", err_text(-errno));
	if (fstat(fd, &held) < 0 || fstatat(dir, "lock", &named, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0
				       : fault_set(f, -errno, "a VM's lock: %s", err_text(-errno));
	return held.st_dev == named.st_dev && held.st_ino == named.st_ino ? 0 : -EAGAIN;
}

static int look_lives(const char *run, const uint8_t vm[static UUID_BYTES], struct fault *f)
{
	int rc = -EAGAIN;
	for (int i = 0; i < LOOKS && rc == -EAGAIN; i++) {
		CLEANUP_FD int dir = folder_of(run, vm, f);
		if (dir < 0)
			return dir == -ENOENT ? 0 : dir;
		rc = is_locked(dir, f);
	}
	return rc == -EAGAIN ? fault_set(f, rc, "a VM's lock is replaced again and again") : rc;
}

static int exists(int dir, const char *name, struct fault *f)
{
	struct stat st;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : fault_set(f, -errno, "%s: %s", name, err_text(-errno));
}

int watch_look(const char *run, const char *state, const uint8_t vm[static UUID_BYTES],
	       struct watch_seen *out, struct fault *f)
{
	struct watch_seen seen = { 0 };
	/* The lock first: a worker that has ended writes nothing afterwards. */
	seen.lives = look_lives(run, vm, f);
	if (seen.lives < 0)
		return seen.lives;
	CLEANUP_FD int dir = folder_of(state, vm, f);
	if (dir < 0 && dir != -ENOENT)
		return dir;
	if (dir >= 0) {
		/* The mark is made before a state that has it, and goes after. */
		seen.has_state = exists(dir, STATE, f);
		seen.moved = seen.has_state < 0 ? 0 : exists(dir, MOVED, f);
		if (seen.has_state < 0 || seen.moved < 0)
			return seen.has_state < 0 ? seen.has_state : seen.moved;
	}
	*out = seen;
	return 0;
}

int watch_version(const char *state, const uint8_t vm[static UUID_BYTES], int64_t *out,
		  struct fault *f)
{
	uint64_t version = 0;
	struct fault why = { 0 };
	CLEANUP_FD int dir = folder_of(state, vm, f);
	int rc = dir < 0 ? dir : statehead_read(dir, STATE, &version, &why);
	if (rc == -ENOENT)
		version = 0;
	else if (rc < 0)
		return fault_set(f, rc, "%s", why.text);
	if (version > INT64_MAX)
		return fault_set(f, ERR_LIMIT, "the vTPM's state has an impossible version");
	*out = (int64_t)version;
	return 0;
}
