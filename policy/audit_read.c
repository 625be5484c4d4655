/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/audit_read.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

/* File number GEN of the log PATH; GEN 0 is the one that is written. */
static int read_file(const char *path, uint64_t gen, char name[static PATH_MAX], struct buf *out,
		     struct fault *f)
{
	int n = gen ? snprintf(name, PATH_MAX, "%s.%" PRIu64, path, gen)
		    : snprintf(name, PATH_MAX, "%s", path);
	if (n < 0 || n >= PATH_MAX)
		return fault_set(f, -ENAMETOOLONG, "%s: %s", path, err_text(-ENAMETOOLONG));
	buf_clear(out);
	return fd_read_file(AT_FDCWD, name, out, f);
}

/* How many rotated files there are, counted from the first. */
static uint64_t count_rotated(const char *path)
{
	char name[PATH_MAX];
	for (uint64_t gen = 1;; gen++) {
		snprintf(name, sizeof(name), "%s.%" PRIu64, path, gen);
		if (access(name, F_OK) < 0)
			return gen - 1;
	}
}

/* The end of the chain against the anchor; EXTRA bytes stand behind what it knows. */
static int check_head(const struct audit_chain *c, const struct audit_head *head, const char *log,
		      uint64_t extra, struct fault *f)
{
	if (c->seq < head->seq)
		return fault_set(f, ERR_AUTH,
				 "%s: ends with record %" PRIu64 ", and the anchor knows %" PRIu64
				 ": it was cut, or replaced by an older copy",
				 log, c->seq, head->seq);
	if (c->seq > head->seq)
		return fault_set(f, ERR_AUTH,
				 "%s: goes on to record %" PRIu64 ", and the anchor knows %" PRIu64
				 ": records were appended by hand, or the anchor is an older copy",
				 log, c->seq, head->seq);
	if (memcmp(c->hash, head->hash, sizeof(c->hash)) != 0)
		return fault_set(f, ERR_AUTH,
				 "%s: the last record (%" PRIu64
				 ") is not the one that the anchor knows: it was edited",
				 log, c->seq);
	if (extra)
		return fault_set(
			f, ERR_AUTH,
			"%s: %" PRIu64 " bytes behind the last acknowledged record (%" PRIu64
			"): appended by hand, or a write that was cut off (the next record "
			"will say so)",
			log, extra, c->seq);
	return 0;
}

static int count(const struct audit_record *r, const char *line, size_t n, void *arg)
{
	struct audit_summary *s = arg;
	(void)line;
	(void)n;
	s->records++;
	s->last_ms = r->time_ms;
	return 0;
}

/* The file that is written: as far as the anchor knows it, if there is one. */
static int verify_last(const struct audit_evidence *e, struct audit_chain *c, struct buf *bytes,
		       const char *name, struct audit_summary *s, struct fault *f)
{
	size_t n = bytes->len;
	if (e->head && e->head->drop && n >= e->head->drop)
		n = 0; /* a rotation was cut short: all of this is in the file before too */
	else if (e->head && n > e->head->size)
		n = e->head->size;
	uint64_t extra = e->head && !e->head->drop ? bytes->len - n : 0;
	int rc = audit_chain_walk(c, (const char *)bytes->data, n, name, count, s, f);
	return rc < 0 || !e->head ? rc : check_head(c, e->head, name, extra, f);
}

int audit_verify(const struct audit_evidence *e, struct audit_summary *out, struct fault *f)
{
	CLEANUP_BUF struct buf bytes = BUF_INIT(AUDIT_FILE_MAX + AUDIT_TORN_MAX);
	struct audit_summary s = { 0 };
	struct audit_chain c = { 0 };
	char name[PATH_MAX];
	uint64_t rotated = count_rotated(e->log);
	if (e->head && e->head->gen != rotated + 1)
		return fault_set(f, ERR_AUTH,
				 "%s.%" PRIu64 ": %s; the anchor knows %" PRIu64 " older files",
				 e->log, e->head->gen > rotated + 1 ? rotated + 1 : e->head->gen,
				 e->head->gen > rotated + 1 ? "is missing" : "is one too many",
				 e->head->gen - 1);
	if (e->signd) {
		c.witness_seq = e->signd->seq;
		memcpy(c.witness, e->signd->hash, sizeof(c.witness));
	}
	int rc = 0;
	for (uint64_t gen = 1; rc >= 0 && gen <= rotated; gen++) {
		rc = read_file(e->log, gen, name, &bytes, f);
		if (rc >= 0)
			rc = audit_chain_walk(&c, (const char *)bytes.data, bytes.len, name, count,
					      &s, f);
	}
	if (rc >= 0)
		rc = read_file(e->log, 0, name, &bytes, f);
	if (rc >= 0)
		rc = verify_last(e, &c, &bytes, name, &s, f);
	if (rc >= 0 && e->signd && c.seq < e->signd->seq)
		rc = fault_set(f, ERR_AUTH,
			       "%s: ends with record %" PRIu64 ", and the host has signed %" PRIu64
			       ": it was cut, or replaced by an older copy",
			       name, c.seq, e->signd->seq);
	if (rc < 0)
		return rc;
	s.files = rotated + 1;
	s.repairs = c.repairs;
	*out = s;
	return 0;
}

static int read_lines(const struct buf *bytes, audit_each_fn *fn, void *arg, uint64_t *bad)
{
	const char *at = (const char *)bytes->data, *end = at + bytes->len;
	while (at < end) {
		struct audit_record r;
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		size_t n = newline ? (size_t)(newline + 1 - at) : (size_t)(end - at);
		int rc = audit_line_read(at, n, &r);
		if (rc == ERR_FORMAT)
			++*bad;
		else if (rc >= 0)
			rc = fn(&r, at, n, arg);
		if (rc < 0 && rc != ERR_FORMAT)
			return rc;
		at += n;
	}
	return 0;
}

int audit_read(const char *path, audit_each_fn *fn, void *arg, uint64_t *bad, struct fault *f)
{
	CLEANUP_BUF struct buf bytes = BUF_INIT(AUDIT_FILE_MAX + AUDIT_TORN_MAX);
	char name[PATH_MAX];
	uint64_t rotated = count_rotated(path);
	int rc = 0;
	for (uint64_t gen = 1; rc >= 0 && gen <= rotated + 1; gen++) {
		rc = read_file(path, gen <= rotated ? gen : 0, name, &bytes, f);
		if (rc >= 0)
			rc = read_lines(&bytes, fn, arg, bad);
	}
	return rc;
}
