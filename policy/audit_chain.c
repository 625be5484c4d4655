/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/audit_chain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define REPAIRED "\"event\":\"repaired\""

int audit_torn_text(const void *bytes, size_t n, char text[static AUDIT_REQUEST_MAX])
{
	char hex[AUDIT_HEX_SIZE];
	uint8_t digest[SIGN_SHA256_BYTES];
	int rc = sign_sha256(bytes, n, digest);
	if (rc < 0)
		return rc;
	audit_hex(digest, hex);
	snprintf(text, AUDIT_REQUEST_MAX, "bytes=%zu sha256=%s", n, hex);
	return 0;
}

/* Where the walk is. */
struct walk {
	struct audit_chain *c;
	const char *bytes, *name;
	size_t n, at, line; /* `at` is a line's begin; lines count from 1 */
};

static size_t line_bytes(const struct walk *w, size_t at)
{
	const char *end = memchr(w->bytes + at, '\n', w->n - at);
	return end ? (size_t)(end - w->bytes) + 1 - at : w->n - at;
}

/* R is the record that stands behind the N bytes at BYTES and says so. */
static int explains(const struct audit_chain *c, const struct audit_record *r, const char *bytes,
		    size_t n)
{
	char text[AUDIT_REQUEST_MAX];
	return r->event == AUDIT_REPAIRED && r->seq == c->seq + 1 &&
	       memcmp(r->prev, c->hash, sizeof(c->hash)) == 0 &&
	       audit_torn_text(bytes, n, text) == 0 && strcmp(text, r->request) == 0;
}

/*
 * If a `repaired` record further on stands for what is at w->at, go there.  The last such record
 * counts: a repair can itself be cut off.  The newline that it puts in front of itself belongs to
 * what it stands for.
 */
static int skip_torn(struct walk *w)
{
	size_t from = w->at, lines = 0, found = 0, found_lines = 0;
	for (size_t at = from; at < w->n && at - from <= AUDIT_TORN_MAX + 1; lines++) {
		struct audit_record r;
		size_t n = line_bytes(w, at);
		if (at > from && memmem(w->bytes + at, n, REPAIRED, strlen(REPAIRED)) &&
		    audit_line_read(w->bytes + at, n, &r) == 0 &&
		    explains(w->c, &r, w->bytes + from, at - from)) {
			found = at;
			found_lines = lines;
		}
		at += n;
	}
	if (!found)
		return 0;
	w->at = found;
	w->line += found_lines;
	return 1;
}

/* Behind the record of N bytes at w->at nothing comes, or what looks like the one after it. */
static int is_followed(const struct walk *w, size_t n)
{
	char want[64];
	int size = snprintf(want, sizeof(want), "{\"v\":%d,\"seq\":%" PRIu64 ",", AUDIT_VERSION,
			    w->c->seq + 2);
	size_t left = w->n - w->at - n;
	return left == 0 ||
	       (left >= (size_t)size && memcmp(w->bytes + w->at + n, want, (size_t)size) == 0);
}

static int bad(const struct walk *w, struct fault *f, const char *what)
{
	return fault_set(f, ERR_AUTH, "%s: line %zu (byte %zu): %s", w->name, w->line, w->at, what);
}

/* The sentence for R, a record that is not the next one. */
static int not_next(const struct walk *w, const struct audit_record *r, struct fault *f)
{
	char text[256];
	uint64_t want = w->c->seq + 1;
	if (r->seq > want)
		snprintf(text, sizeof(text),
			 "record %" PRIu64 " where %" PRIu64 " must be: records were dropped, or "
			 "are in another order",
			 r->seq, want);
	else if (r->seq < want)
		snprintf(text, sizeof(text),
			 "record %" PRIu64 " where %" PRIu64 " must be: a record was repeated, or "
			 "they are in another order",
			 r->seq, want);
	else if (want == 1)
		snprintf(text, sizeof(text), "the first record names one before it");
	else
		snprintf(text, sizeof(text),
			 "record %" PRIu64 " does not belong behind the record before it: record "
			 "%" PRIu64 " was edited, or this one was put in by hand",
			 r->seq, w->c->seq);
	return bad(w, f, text);
}

/* Read and check the record at w->at; *N is its line's bytes. */
static int next_record(struct walk *w, struct audit_record *r, size_t *n, struct fault *f)
{
	struct audit_chain *c = w->c;
	for (int attempt = 0;; attempt++) {
		*n = line_bytes(w, w->at);
		int rc = audit_line_read(w->bytes + w->at, *n, r);
		if (rc == -ENOMEM)
			return fault_set(f, rc, "not enough memory to read %s", w->name);
		int is_next = rc == 0 && r->seq == c->seq + 1 &&
			      memcmp(r->prev, c->hash, sizeof(c->hash)) == 0;
		/* A whole record may also have been cut off: before its anchor was written. */
		if (attempt == 0 && !(is_next && is_followed(w, *n)) && skip_torn(w)) {
			c->repairs++;
			continue;
		}
		if (is_next && r->event == AUDIT_REPAIRED && attempt == 0)
			return bad(w, f, "a repair stands behind other bytes than it names");
		if (is_next)
			return 0;
		if (rc < 0 && w->bytes[w->at + *n - 1] != '\n')
			return bad(w, f,
				   "the file ends inside a record: it was cut, or a write was "
				   "cut off or appended by hand");
		return rc < 0 ? bad(w, f, "not a record in the one form: edited, or put in by hand")
			      : not_next(w, r, f);
	}
}

int audit_chain_walk(struct audit_chain *c, const char *bytes, size_t n, const char *name,
		     audit_each_fn *fn, void *arg, struct fault *f)
{
	struct walk w = { .c = c, .bytes = bytes, .name = name, .n = n, .line = 1 };
	while (w.at < n) {
		struct audit_record r;
		size_t size;
		int rc = next_record(&w, &r, &size, f);
		if (rc >= 0)
			rc = sign_sha256(bytes + w.at, size, c->hash);
		if (rc < 0)
			return rc;
		c->seq = r.seq;
		if (c->seq == c->witness_seq && memcmp(c->hash, c->witness, sizeof(c->hash)) != 0)
			return bad(&w, f, "this record was signed with other bytes: edited since");
		rc = fn ? fn(&r, bytes + w.at, size, arg) : 0;
		if (rc < 0)
			return rc;
		w.at += size;
		w.line++;
	}
	return 0;
}
