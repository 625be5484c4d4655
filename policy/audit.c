/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "policy/audit_file.h"

#define CHANGED                                                                                    \
	"; nothing is written to it until that is settled (shieldvm audit verify says where)"

/* ---- Opening -------------------------------------------------------------------------------- */

static int open_own(int dir, const char *name, int flags, int *fd, struct fault *f)
{
	struct stat st;
	*fd = openat(dir, name,
		     O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags,
		     0600);
	if (*fd < 0 || fstat(*fd, &st) < 0)
		return fault_set(f, -errno, "the audit log's %s: %s", name, err_text(-errno));
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) ||
	    st.st_nlink != 1)
		return fault_set(
			f, ERR_STATE,
			"the audit log's %s is not a file that only its writers can change", name);
	return 0;
}

static int is_there(int dir, const char *name)
{
	struct stat st;
	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

/* With the lock held and no valid anchor: the first use of this host's log, or a lost anchor. */
static int begin(const struct audit *a, int log_dir, int anchor_dir, struct fault *f)
{
	struct audit_head h = { .gen = 1 };
	struct stat st;
	if (fstat(a->log, &st) < 0)
		return fault_set(f, -errno, "the audit log: %s", err_text(-errno));
	if (st.st_size > 0 || is_there(anchor_dir, AUDIT_SIGNED_NAME) ||
	    is_there(log_dir, AUDIT_LOG_NAME ".1"))
		return fault_set(f, ERR_AUTH,
				 "the audit log's anchor (%s) is lost or damaged" CHANGED,
				 AUDIT_HEAD_NAME);
	/* Both slots: later writes then need no more room on the disk. */
	int rc = audit_head_write(a->anchor, &h);
	if (rc >= 0)
		rc = audit_head_write(a->anchor, &h);
	if (rc >= 0 && (fsync(a->anchor) < 0 || fsync(a->log) < 0 || fsync(log_dir) < 0 ||
			fsync(anchor_dir) < 0))
		rc = -errno;
	return rc < 0 ? fault_set(f, rc, "the audit log cannot be begun: %s", err_text(rc)) : 0;
}

static int lock_anchor(int fd, struct fault *f)
{
	int64_t deadline = clock_ms() + AUDIT_LOCK_MS;
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return fault_set(f, -errno, "the audit log's lock: %s", err_text(-errno));
		/* Shorter than an append takes: who waits gets its turn between two of another. */
		const struct timespec pause = { .tv_nsec = 1000 * 1000 };
		nanosleep(&pause, NULL);
		if (clock_left_ms(deadline) == 0)
			return fault_set(f, -ETIMEDOUT,
					 "another writer keeps the audit log locked");
	}
	return 0;
}

int audit_open(int log_dir, int anchor_dir, struct audit **out, struct fault *f)
{
	struct audit_head h;
	struct tm tm;
	uint8_t digest[SIGN_SHA256_BYTES];
	CLEANUP_AUDIT struct audit *a = malloc(sizeof(*a));
	if (!a)
		return fault_set(f, -ENOMEM, "the audit log: %s", err_text(-ENOMEM));
	a->log = a->anchor = -1;
	/* What libc and libcrypto open at their first use, a sealed writer could not. */
	gmtime_r(&(time_t){ 0 }, &tm);
	int rc = sign_sha256("", 0, digest);
	if (rc >= 0)
		rc = open_own(anchor_dir, AUDIT_HEAD_NAME, 0, &a->anchor, f);
	if (rc >= 0)
		rc = lock_anchor(a->anchor, f);
	if (rc >= 0)
		rc = open_own(log_dir, AUDIT_LOG_NAME, O_APPEND, &a->log, f);
	if (rc < 0)
		return fault_set(f, rc, "the audit log: %s", err_text(rc));
	rc = audit_head_read(a->anchor, &h);
	if (rc == -ENODATA || rc == ERR_FORMAT)
		rc = begin(a, log_dir, anchor_dir, f);
	audit_unlock(a);
	if (rc < 0)
		return fault_set(f, rc, "the audit log's anchor: %s", err_text(rc));
	*out = a;
	a = NULL;
	return 0;
}

void audit_free(struct audit *a)
{
	if (!a)
		return;
	fd_close(&a->log);
	fd_close(&a->anchor);
	free(a);
}

int audit_lock(const struct audit *a, struct audit_head *h, struct fault *f)
{
	int rc = lock_anchor(a->anchor, f);
	if (rc < 0)
		return rc;
	rc = audit_head_read(a->anchor, h);
	if (rc >= 0)
		return 0;
	audit_unlock(a);
	if (rc == -ENODATA || rc == ERR_FORMAT)
		return fault_set(f, ERR_AUTH, "the audit log's anchor is damaged" CHANGED);
	return fault_set(f, rc, "the audit log's anchor: %s", err_text(rc));
}

void audit_unlock(const struct audit *a)
{
	(void)!flock(a->anchor, LOCK_UN);
}

/* ---- Appending ------------------------------------------------------------------------------ */

int audit_read_at(const struct audit *a, uint64_t at, uint64_t n, struct buf *out)
{
	int rc = buf_reserve(out, n);
	while (rc >= 0 && n > 0) {
		ssize_t got = pread(a->log, out->data + out->len, n, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : ERR_TRUNCATED;
		out->len += (size_t)got;
		at += (uint64_t)got;
		n -= (uint64_t)got;
	}
	return rc;
}

/* The line that ends where H says is the one that H knows. */
static int check_last(const struct audit *a, const struct audit_head *h, struct fault *f)
{
	CLEANUP_BUF struct buf tail = BUF_INIT(AUDIT_LINE_MAX + 1);
	uint8_t digest[SIGN_SHA256_BYTES];
	if (h->size == 0)
		return 0;
	uint64_t n = h->size < AUDIT_LINE_MAX + 1 ? h->size : AUDIT_LINE_MAX + 1;
	int rc = audit_read_at(a, h->size - n, n, &tail);
	if (rc < 0)
		return fault_set(f, rc, "the audit log: %s", err_text(rc));
	const uint8_t *before = memrchr(tail.data, '\n', tail.len - 1);
	const uint8_t *line = before ? before + 1 : tail.data;
	rc = sign_sha256(line, (size_t)(tail.data + tail.len - line), digest);
	if (rc < 0)
		return fault_set(f, rc, "the audit log: %s", err_text(rc));
	if (memcmp(digest, h->hash, sizeof(digest)) != 0)
		return fault_set(f, ERR_AUTH, "the audit log's last record was changed" CHANGED);
	return 0;
}

/* Bring H and the log together: *TORN is how many bytes stand behind the last record. */
static int check_end(const struct audit *a, struct audit_head *h, uint64_t *torn, struct fault *f)
{
	struct stat st;
	if (fstat(a->log, &st) < 0)
		return fault_set(f, -errno, "the audit log: %s", err_text(-errno));
	uint64_t size = (uint64_t)st.st_size;
	if (h->drop && size >= h->drop)
		return fault_set(
			f, ERR_STATE,
			"a rotation of the audit log was cut short; the next start or stop of "
			"a VM finishes it");
	h->drop = 0;
	if (size < h->size)
		return fault_set(
			f, ERR_AUTH,
			"the audit log has lost records: %llu bytes instead of %llu" CHANGED,
			(unsigned long long)size, (unsigned long long)h->size);
	if (size - h->size > AUDIT_TORN_MAX)
		return fault_set(f, ERR_AUTH,
				 "the audit log has %llu bytes that nobody acknowledged" CHANGED,
				 (unsigned long long)(size - h->size));
	if (size > AUDIT_FILE_MAX)
		return fault_set(f, ERR_LIMIT,
				 "the audit log is full (%d bytes) and could not be rotated",
				 AUDIT_FILE_MAX);
	*torn = size - h->size;
	return check_last(a, h, f);
}

static void fill_in(struct audit_record *r, const struct audit_head *h)
{
	struct timespec now = { 0 };
	clock_gettime(CLOCK_REALTIME, &now);
	r->seq = h->seq + 1;
	r->time_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	memcpy(r->prev, h->hash, sizeof(r->prev));
}

/* Put R, as H's next record, behind what is in OUT, and let H be behind it. */
static int put_next(struct audit_record *r, struct audit_head *h, struct buf *out)
{
	size_t from = out->len;
	fill_in(r, h);
	int rc = audit_line_put(r, out);
	if (rc < 0)
		return rc;
	h->seq++;
	return sign_sha256(out->data + from, out->len - from, h->hash);
}

/* Put a record behind TORN bytes that stand at the log's end. */
static int put_repair(const struct audit *a, uint64_t torn, struct audit_head *h, struct buf *out)
{
	CLEANUP_BUF struct buf bytes = BUF_INIT(AUDIT_TORN_MAX + 1);
	struct audit_record r = AUDIT_RECORD(AUDIT_REPAIRED, AUDIT_BY_LOG, AUDIT_DONE);
	AUDIT_TEXT(r.rule, "audit.torn");
	AUDIT_TEXT(r.reason,
		   "what stands before this record was not acknowledged: a write that was "
		   "cut off, or bytes that somebody appended");
	int rc = audit_read_at(a, h->size, torn, &bytes);
	if (rc >= 0 && bytes.data[bytes.len - 1] != '\n') {
		rc = buf_add(&bytes, "\n", 1);
		if (rc >= 0)
			rc = buf_add(out, "\n", 1);
	}
	if (rc >= 0)
		rc = audit_torn_text(bytes.data, bytes.len, r.request);
	return rc < 0 ? rc : put_next(&r, h, out);
}

int audit_append_locked(const struct audit *a, struct audit_head *h, struct audit_record *r,
			struct fault *f)
{
	CLEANUP_BUF struct buf lines = BUF_INIT(2 * AUDIT_LINE_MAX + 1);
	struct audit_head next = *h;
	uint64_t torn = 0;
	int rc = check_end(a, &next, &torn, f);
	if (rc < 0)
		return rc;
	if (torn)
		rc = put_repair(a, torn, &next, &lines);
	if (rc >= 0)
		rc = put_next(r, &next, &lines);
	if (rc >= 0)
		rc = fd_write_full(a->log, lines.data, lines.len);
	if (rc >= 0 && fdatasync(a->log) < 0)
		rc = -errno;
	if (rc >= 0) {
		next.size += torn + lines.len;
		rc = audit_head_write(a->anchor, &next);
	}
	if (rc < 0)
		return fault_set(f, rc, "the audit log cannot be written: %s", err_text(rc));
	*h = next;
	return 0;
}

int audit_append(struct audit *a, struct audit_record *r, struct fault *f)
{
	struct audit_head h;
	int rc = audit_lock(a, &h, f);
	if (rc < 0)
		return rc;
	rc = audit_append_locked(a, &h, r, f);
	audit_unlock(a);
	return rc;
}
