/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/slot.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/registers.h"

int slot_is(const struct stat *st, const struct slot *slot)
{
	return st->st_dev == slot->dev && st->st_ino == slot->ino;
}

int slot_check(const struct stat *st, const char *name, struct fault *f)
{
	if (S_ISLNK(st->st_mode))
		return fault_set(f, -ELOOP,
				 "the vTPM state '%s' is a symbolic link, and links are not "
				 "followed; put the file itself in its place",
				 name);
	if (!S_ISREG(st->st_mode))
		return fault_set(f, -EINVAL,
				 "the vTPM state '%s' is not a regular file; put the state file "
				 "in its place",
				 name);
	if (st->st_uid != geteuid())
		return fault_set(f, -EPERM,
				 "the vTPM state '%s' belongs to user %u, not to this process's "
				 "user %u; chown it if it is this VM's",
				 name, (unsigned int)st->st_uid, (unsigned int)geteuid());
	if ((st->st_mode & 07777) != SLOT_MODE)
		return fault_set(f, -EPERM,
				 "the vTPM state '%s' has mode %04o, which is not 0600; chmod it "
				 "if nobody else has written to it",
				 name, (unsigned int)(st->st_mode & 07777));
	if (st->st_nlink != 1)
		return fault_set(f, -EINVAL,
				 "the vTPM state '%s' has %lu names (hard links): storing would "
				 "leave the others behind; copy the file instead of linking it",
				 name, (unsigned long)st->st_nlink);
	return 0;
}

int slot_open(int dir, const char *name, int flags, struct slot *slot, struct fault *f)
{
	struct stat st;
	slot->fd =
		openat(dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags, SLOT_MODE);
	if (slot->fd < 0 || fstat(slot->fd, &st) < 0) {
		int rc = -errno;
		return fault_set(f, rc, "the vTPM state's file '%s' cannot be %s: %s", name,
				 (flags & O_CREAT) ? "made" : "opened", err_text(rc));
	}
	if ((flags & O_CREAT) && fchmod(slot->fd, SLOT_MODE) < 0) { /* whatever the umask is */
		int rc = -errno;
		return fault_set(f, rc, "the vTPM state's file '%s' cannot be made: %s", name,
				 err_text(rc));
	}
	slot->dev = st.st_dev;
	slot->ino = st.st_ino;
	slot->size = st.st_size;
	return (flags & O_CREAT) ? 0 : slot_check(&st, name, f);
}

int slot_read(const struct slot *slot, struct buf *b)
{
	uint8_t chunk[4096];
	off_t at = 0;
	for (;;) {
		ssize_t n = pread(slot->fd, chunk, sizeof(chunk), at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		int rc = buf_add(b, chunk, (size_t)n);
		if (rc < 0)
			return rc;
		at += n;
	}
}

int slot_fill(struct slot *slot, const struct buf *file, uint64_t version)
{
	off_t end = (off_t)file->len, at = 0;
	int rc, fits = slot->size == end;
	registers_clear();
	slot->size = -1;
	slot->version = version;
	while (at < end) {
		ssize_t n = pwrite(slot->fd, file->data + at, (size_t)(end - at), at);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EIO;
		if (n > 0)
			at += n;
	}
	if (!fits && ftruncate(slot->fd, end) < 0)
		return -errno;
	do
		rc = fdatasync(slot->fd) < 0 ? -errno : 0;
	while (rc == -EINTR);
	if (rc == 0)
		slot->size = end;
	return rc;
}
