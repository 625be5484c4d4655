/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/ledger.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "crypto/strict.h"
#include "guardian/store_db.h"

#define LEDGER_VERSION 1
#define PAYLOAD_MAX    2048

static const char *const EVENTS[] = {
	[LEDGER_RELEASE] = "release",	[LEDGER_INCOMING] = "incoming",
	[LEDGER_HANDOVER] = "handover", [LEDGER_STOP] = "stop",
	[LEDGER_TAKEBACK] = "takeback", [LEDGER_RESTORE] = "restore",
	[LEDGER_APPROVE] = "approve",	[LEDGER_REVOKE] = "revoke",
	[LEDGER_REPLACE] = "replace",	[LEDGER_POLICY] = "policy",
	[LEDGER_FLOOR] = "floor",	[LEDGER_ADMIN] = "admin",
};
_Static_assert(sizeof(EVENTS) / sizeof(EVENTS[0]) == LEDGER_EVENTS, "a name per event");

const char *ledger_event_name(enum ledger_event event)
{
	return event < LEDGER_EVENTS ? EVENTS[event] : "unknown";
}

/* Append ,"NAME":"VALUE" with the bytes in base64url. */
static int put_bytes(struct buf *out, const char *name, const uint8_t *bytes, size_t n)
{
	int rc = buf_addf(out, ",\"%s\":\"", name);
	if (rc >= 0)
		rc = strict_b64_put(out, bytes, n);
	return rc < 0 ? rc : buf_add(out, "\"", 1);
}

/* The payload of R, in the one encoding that there is. */
static int put_record(const struct ledger_record *r, struct buf *out)
{
	char vm[UUID_TEXT_SIZE], host[UUID_TEXT_SIZE];
	uuid_format(r->vm, vm);
	uuid_format(r->host, host);
	int rc = buf_addf(out,
			  "{\"v\":%d,\"vm\":\"%s\",\"seq\":%" PRId64 ",\"time\":%" PRId64
			  ",\"event\":\"%s\",\"host\":\"%s\",\"owner\":\"%s\",\"by\":\"%s\","
			  "\"object\":\"%s\",\"token\":"
			  "%" PRId64 ",\"version\":%" PRId64 ",\"generation\":%" PRId64
			  ",\"hostkey\":%s",
			  LEDGER_VERSION, vm, r->seq, r->time, ledger_event_name(r->event), host,
			  r->owner, r->by, r->object, r->token, r->version, r->generation,
			  r->hostkey ? "true" : "false");
	if (rc >= 0)
		rc = put_bytes(out, "certificate", r->certificate, sizeof(r->certificate));
	if (rc >= 0)
		rc = put_bytes(out, "request", r->request, sizeof(r->request));
	if (rc >= 0)
		rc = put_bytes(out, "prev", r->prev, sizeof(r->prev));
	return rc < 0 ? rc : buf_add(out, "}", 1);
}

static int put_head(const struct ledger_head *h, struct buf *out)
{
	char vm[UUID_TEXT_SIZE];
	uuid_format(h->vm, vm);
	int rc = buf_addf(out,
			  "{\"v\":%d,\"vm\":\"%s\",\"owner\":\"%s\",\"seq\":%" PRId64
			  ",\"time\":%" PRId64,
			  LEDGER_VERSION, vm, h->owner, h->seq, h->time);
	if (rc >= 0)
		rc = put_bytes(out, "hash", h->hash, sizeof(h->hash));
	return rc < 0 ? rc : buf_add(out, "}", 1);
}

static int get_number(const json_t *j, const char *name, int64_t *out)
{
	const json_t *v = json_object_get(j, name);
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return ERR_FORMAT;
	*out = json_integer_value(v);
	return 0;
}

static int get_bytes(const json_t *j, const char *name, uint8_t *out, size_t n)
{
	const char *text = strict_text(j, name);
	return text ? strict_b64(text, strlen(text), out, n) : ERR_FORMAT;
}

static int get_uuid(const json_t *j, const char *name, uint8_t out[static UUID_BYTES])
{
	const char *text = strict_text(j, name);
	return text ? uuid_parse(text, out) : ERR_FORMAT;
}

static int get_event(const json_t *j, enum ledger_event *out)
{
	const char *text = strict_text(j, "event");
	for (int i = 0; text && i < LEDGER_EVENTS; i++) {
		if (strcmp(text, EVENTS[i]) == 0) {
			*out = (enum ledger_event)i;
			return 0;
		}
	}
	return ERR_FORMAT;
}

/* A thumbprint, or none. */
static int check_owner(const char *owner)
{
	uint8_t digest[SIGN_SHA256_BYTES];
	return owner && (!owner[0] || strict_b64(owner, strlen(owner), digest, sizeof(digest)) == 0)
		       ? 0
		       : ERR_FORMAT;
}

/* An admin's name, or none. */
static int check_by(const char *by)
{
	return by && (!by[0] || store_name_check(by, NULL) == 0) ? 0 : ERR_FORMAT;
}

/* What a record is about, or nothing. */
static int check_object(const char *object)
{
	return object && strlen(object) < LEDGER_OBJECT_SIZE &&
			       strspn(object, "abcdefghijklmnopqrstuvwxyz0123456789.:-") ==
				       strlen(object)
		       ? 0
		       : ERR_FORMAT;
}

static void put_hex(const uint8_t bytes[static STORE_HASH_BYTES], char *out)
{
	for (size_t i = 0; i < STORE_HASH_BYTES; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

void ledger_set_hash(struct ledger_record *r, const uint8_t hash[static STORE_HASH_BYTES])
{
	char hex[2 * STORE_HASH_BYTES + 1];
	put_hex(hash, hex);
	snprintf(r->object, sizeof(r->object), "sha256:%s", hex);
}

void ledger_set_admin(struct ledger_record *r, const struct store_admin *a)
{
	char hex[2 * STORE_FINGERPRINT_BYTES + 1];
	put_hex(a->fingerprint, hex);
	snprintf(r->object, sizeof(r->object), "add:%s:%s:%s", store_role_name(a->role), a->name,
		 hex);
}

/* Whether PAYLOAD begins as every version of this format does, and with which. */
static int check_version(const json_t *j, const char *what, struct fault *f)
{
	int64_t version = 0;
	if (get_number(j, "v", &version) < 0)
		return fault_set(f, ERR_FORMAT, "%s has no version", what);
	if (version != LEDGER_VERSION)
		return fault_set(f, ERR_VERSION,
				 "%s has version %" PRId64 ", this program knows %d", what, version,
				 LEDGER_VERSION);
	return 0;
}

/* PAYLOAD is what MADE holds: the one encoding. */
static int check_spelling(const struct buf *payload, const struct buf *made, const char *what,
			  struct fault *f)
{
	if (payload->len != made->len || memcmp(payload->data, made->data, made->len) != 0)
		return fault_set(f, ERR_FORMAT, "%s is not in the one valid encoding", what);
	return 0;
}

static int read_record(const struct buf *payload, struct ledger_record *r, struct fault *f)
{
	static const char WHAT[] = "the record";
	CLEANUP_JSON json_t *j = NULL;
	CLEANUP_BUF struct buf made = BUF_INIT(PAYLOAD_MAX);
	int rc = strict_json((const char *)payload->data, payload->len, WHAT, &j, f);
	if (rc >= 0)
		rc = check_version(j, WHAT, f);
	if (rc < 0)
		return rc;
	const char *by = strict_text(j, "by"), *owner = strict_text(j, "owner");
	const char *object = strict_text(j, "object");
	if (get_uuid(j, "vm", r->vm) < 0 || get_number(j, "seq", &r->seq) < 0 ||
	    get_number(j, "time", &r->time) < 0 || get_event(j, &r->event) < 0 ||
	    get_uuid(j, "host", r->host) < 0 || check_by(by) < 0 || check_owner(owner) < 0 ||
	    check_object(object) < 0 || get_number(j, "token", &r->token) < 0 ||
	    get_number(j, "version", &r->version) < 0 ||
	    get_number(j, "generation", &r->generation) < 0 ||
	    get_bytes(j, "certificate", r->certificate, sizeof(r->certificate)) < 0 ||
	    get_bytes(j, "request", r->request, sizeof(r->request)) < 0 ||
	    get_bytes(j, "prev", r->prev, sizeof(r->prev)) < 0)
		return fault_set(f, ERR_FORMAT, "the record lacks a member, or has a wrong one");
	r->hostkey = json_is_true(json_object_get(j, "hostkey"));
	memcpy(r->by, by, strlen(by) + 1);
	memcpy(r->object, object, strlen(object) + 1);
	memcpy(r->owner, owner, strlen(owner) + 1);
	rc = put_record(r, &made);
	return rc < 0 ? fault_set(f, rc, "%s", err_text(rc))
		      : check_spelling(payload, &made, WHAT, f);
}

static int check_record(const struct ledger_record *r, struct fault *f)
{
	if ((unsigned int)r->event >= LEDGER_EVENTS || r->time < 0 || r->token < 0 ||
	    r->version < 0 || r->generation < 0 || check_by(r->by) < 0 ||
	    check_owner(r->owner) < 0 || check_object(r->object) < 0)
		return fault_set(f, ERR_FORMAT, "a log record with an impossible value");
	return 0;
}

/* Sign what PAYLOAD holds; the statement and its hash. */
static int sign_record(const struct jwk *key, const struct ledger_record *r, struct buf *statement,
		       uint8_t hash[static STORE_HASH_BYTES], struct fault *f)
{
	CLEANUP_BUF struct buf payload = BUF_INIT(PAYLOAD_MAX);
	int rc = put_record(r, &payload);
	if (rc < 0)
		return fault_set(f, rc, "the log record: %s", err_text(rc));
	rc = sign_make(key, LEDGER_TYP, payload.data, payload.len, statement, f);
	if (rc < 0)
		return rc;
	rc = sign_sha256(statement->data, statement->len, hash);
	return rc < 0 ? fault_set(f, rc, "the log record: %s", err_text(rc)) : 0;
}

int ledger_append(struct store *s, const struct jwk *key, struct ledger_record *r, struct fault *f)
{
	struct store_log_head head = { 0 };
	CLEANUP_BUF struct buf statement = BUF_INIT(STORE_STATEMENT_MAX);
	int rc = check_record(r, f);
	if (rc >= 0)
		rc = store_log_head(s, r->vm, r->owner, &head, f);
	if (rc < 0)
		return store_fail(s, rc);
	r->seq = head.seq + 1;
	memcpy(r->prev, head.hash, sizeof(r->prev));
	rc = sign_record(key, r, &statement, head.hash, f);
	if (rc < 0)
		return store_fail(s, rc);
	head.seq = r->seq;
	return store_log_append(s, r->vm, r->owner, &head, (const char *)statement.data,
				statement.len, f);
}

int ledger_head_sign(struct store *s, const struct jwk *key, const uint8_t vm[static UUID_BYTES],
		     const char *owner, int64_t now, struct buf *out, struct fault *f)
{
	struct store_log_head last;
	CLEANUP_BUF struct buf payload = BUF_INIT(PAYLOAD_MAX);
	struct ledger_head h = { .time = now };
	int rc = check_owner(owner);
	if (rc < 0)
		return fault_set(f, rc, "the log of whom?");
	rc = store_log_head(s, vm, owner, &last, f);
	if (rc < 0)
		return rc;
	memcpy(h.vm, vm, sizeof(h.vm));
	memcpy(h.owner, owner, strlen(owner) + 1);
	h.seq = last.seq;
	memcpy(h.hash, last.hash, sizeof(h.hash));
	rc = put_head(&h, &payload);
	if (rc < 0)
		return fault_set(f, rc, "the log's head: %s", err_text(rc));
	return sign_make(key, LEDGER_HEAD_TYP, payload.data, payload.len, out, f);
}

static int read_head(const struct buf *payload, struct ledger_head *h, struct fault *f)
{
	static const char WHAT[] = "the log's head";
	CLEANUP_JSON json_t *j = NULL;
	CLEANUP_BUF struct buf made = BUF_INIT(PAYLOAD_MAX);
	int rc = strict_json((const char *)payload->data, payload->len, WHAT, &j, f);
	if (rc >= 0)
		rc = check_version(j, WHAT, f);
	if (rc < 0)
		return rc;
	const char *owner = strict_text(j, "owner");
	if (get_uuid(j, "vm", h->vm) < 0 || check_owner(owner) < 0 ||
	    get_number(j, "seq", &h->seq) < 0 || get_number(j, "time", &h->time) < 0 ||
	    get_bytes(j, "hash", h->hash, sizeof(h->hash)) < 0)
		return fault_set(f, ERR_FORMAT, "%s lacks a member, or has a wrong one", WHAT);
	memcpy(h->owner, owner, strlen(owner) + 1);
	rc = put_head(h, &made);
	return rc < 0 ? fault_set(f, rc, "%s", err_text(rc))
		      : check_spelling(payload, &made, WHAT, f);
}

int ledger_head_open(const struct jwk *key, const char *text, size_t n, struct ledger_head *out,
		     struct fault *f)
{
	struct ledger_head h = { 0 };
	CLEANUP_BUF struct buf payload = BUF_INIT(SIGN_TEXT_MAX);
	int rc = sign_open(key, LEDGER_HEAD_TYP, text, n, &payload, f);
	if (rc >= 0)
		rc = read_head(&payload, &h, f);
	if (rc < 0)
		return rc;
	*out = h;
	return 0;
}

/* R stands where the record after C must. */
static int check_next(const struct ledger_head *c, const struct ledger_record *r, struct fault *f)
{
	if (memcmp(r->vm, c->vm, sizeof(c->vm)) != 0)
		return fault_set(f, ERR_AUTH, "a record of another VM");
	if (strcmp(r->owner, c->owner) != 0)
		return fault_set(f, ERR_AUTH, "a record of another owner's VM");
	if (r->seq != c->seq + 1)
		return fault_set(f, ERR_AUTH,
				 "record %" PRId64 " where %" PRId64
				 " must be: records were dropped, repeated or reordered",
				 r->seq, c->seq + 1);
	if (memcmp(r->prev, c->hash, sizeof(c->hash)) != 0)
		return fault_set(f, ERR_AUTH,
				 "record %" PRId64 " does not belong behind the record before it",
				 r->seq);
	return 0;
}

int ledger_next(struct ledger_head *c, const struct jwk *key, const char *statement, size_t n,
		struct ledger_record *out, struct fault *f)
{
	struct ledger_record r = { 0 };
	uint8_t hash[STORE_HASH_BYTES];
	CLEANUP_BUF struct buf payload = BUF_INIT(SIGN_TEXT_MAX);
	int rc = sign_open(key, LEDGER_TYP, statement, n, &payload, f);
	if (rc >= 0)
		rc = read_record(&payload, &r, f);
	if (rc >= 0)
		rc = check_next(c, &r, f);
	if (rc < 0)
		return rc;
	rc = sign_sha256(statement, n, hash);
	if (rc < 0)
		return fault_set(f, rc, "the record: %s", err_text(rc));
	c->seq = r.seq;
	c->time = r.time;
	memcpy(c->hash, hash, sizeof(c->hash));
	*out = r;
	return 0;
}

static int same_head(const struct ledger_head *a, const struct ledger_head *b)
{
	return a->seq == b->seq && memcmp(a->hash, b->hash, sizeof(a->hash)) == 0;
}

/* What the two heads say without looking at records. */
static int check_heads(const struct ledger_head *head, const struct ledger_head *known,
		       struct fault *f)
{
	if (!known)
		return 0;
	if (memcmp(head->vm, known->vm, sizeof(head->vm)) != 0)
		return fault_set(f, ERR_AUTH, "the head known from last time is another VM's");
	if (strcmp(head->owner, known->owner) != 0)
		return fault_set(f, ERR_AUTH, "the head known from last time is another owner's");
	if (head->seq < known->seq)
		return fault_set(f, ERR_AUTH,
				 "the guardian's log ends with record %" PRId64
				 ", last time it had %" PRId64 ": its database was set back",
				 head->seq, known->seq);
	return 0;
}

int ledger_verify(const struct jwk *key, const char *lines, size_t n,
		  const struct ledger_head *head, const struct ledger_head *known,
		  ledger_each_fn *fn, void *arg, struct fault *f)
{
	struct ledger_head c = { 0 };
	int rc = check_heads(head, known, f);
	memcpy(c.vm, head->vm, sizeof(c.vm));
	memcpy(c.owner, head->owner, sizeof(c.owner));
	for (size_t at = 0, line = 1; rc >= 0 && at < n; line++) {
		struct ledger_record r;
		const char *end = memchr(lines + at, '\n', n - at);
		if (!end)
			return fault_set(f, ERR_AUTH, "line %zu: the file ends inside a record",
					 line);
		rc = ledger_next(&c, key, lines + at, (size_t)(end - lines) - at, &r, f);
		if (rc < 0)
			return fault_wrap(f, rc, "line %zu", line);
		if (known && c.seq == known->seq && !same_head(&c, known))
			return fault_set(f, ERR_AUTH,
					 "line %zu: last time record %" PRId64
					 " was another: the guardian's log was rewritten",
					 line, c.seq);
		rc = fn ? fn(&r, arg) : 0;
		at = (size_t)(end - lines) + 1;
	}
	if (rc < 0)
		return rc;
	if (!same_head(&c, head))
		return fault_set(f, ERR_AUTH,
				 "%" PRId64 " records, but the guardian's head is record %" PRId64
				 ": the end was cut off, or records are behind it",
				 c.seq, head->seq);
	return 0;
}
