/* SPDX-License-Identifier: BSD-3-Clause */
/* What only the hook does with the audit log: rotation, and the host's signature. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "policy/audit_file.h"

static void cleanup_json(json_t **j)
{
	json_decref(*j);
}

/* ---- Rotation ------------------------------------------------------------------------------- */

/* The anchor says that the first h->drop bytes are in another file by now: empty the log. */
static int finish_rotation(const struct audit *a, struct audit_head *h, int log_dir,
			   struct fault *f)
{
	char name[64];
	struct stat st, copy;
	snprintf(name, sizeof(name), AUDIT_LOG_NAME ".%" PRIu64, h->gen - 1);
	if (fstat(a->log, &st) < 0)
		return fault_set(f, -errno, "the audit log: %s", err_text(-errno));
	if ((uint64_t)st.st_size >= h->drop) {
		if (fstatat(log_dir, name, &copy, AT_SYMLINK_NOFOLLOW) < 0 ||
		    (uint64_t)copy.st_size != h->drop)
			return fault_set(f, ERR_AUTH,
					 "the audit log's %s is not whole; see "
					 "shieldvm audit verify",
					 name);
		if (ftruncate(a->log, 0) < 0 || fsync(a->log) < 0)
			return fault_set(f, -errno, "the audit log: %s", err_text(-errno));
	}
	h->drop = 0;
	int rc = audit_head_write(a->anchor, h);
	return rc < 0 ? fault_set(f, rc, "the audit log's anchor: %s", err_text(rc)) : 0;
}

/* Copy the log, as far as H knows it, to the file of its generation. */
static int copy_out(const struct audit *a, const struct audit_head *h, int log_dir)
{
	CLEANUP_BUF struct buf bytes = BUF_INIT(AUDIT_FILE_MAX);
	char name[64];
	snprintf(name, sizeof(name), AUDIT_LOG_NAME ".%" PRIu64, h->gen);
	int rc = audit_read_at(a, 0, h->size, &bytes);
	/* One that is there already comes from a rotation that was cut short before the anchor
	 * knew of it. */
	return rc < 0 ? rc : fd_write_file(log_dir, name, bytes.data, bytes.len, 0600, 1, NULL);
}

static int rotate_locked(const struct audit *a, struct audit_head *h, int log_dir, struct fault *f)
{
	struct audit_record r = AUDIT_RECORD(AUDIT_ROTATED, AUDIT_BY_LOG, AUDIT_DONE);
	AUDIT_TEXT(r.rule, "audit.rotated");
	snprintf(r.request, sizeof(r.request), AUDIT_LOG_NAME ".%" PRIu64, h->gen);
	int rc = audit_append_locked(a, h, &r, f);
	if (rc < 0)
		return rc;
	if (copy_out(a, h, log_dir) < 0)
		return 0; /* the record says where it was to go; the log goes on here */
	h->drop = h->size;
	h->size = 0;
	h->gen++;
	rc = audit_head_write(a->anchor, h);
	if (rc < 0)
		return fault_set(f, rc, "the audit log's anchor: %s", err_text(rc));
	return finish_rotation(a, h, log_dir, f);
}

int audit_rotate(struct audit *a, int log_dir, uint64_t max, struct fault *f)
{
	struct audit_head h;
	int rc = audit_lock(a, &h, f);
	if (rc < 0)
		return rc;
	if (h.drop)
		rc = finish_rotation(a, &h, log_dir, f);
	if (rc >= 0 && h.size >= max)
		rc = rotate_locked(a, &h, log_dir, f);
	audit_unlock(a);
	return rc;
}

/* ---- Signature ------------------------------------------------------------------------------ */

static int put_signed(const struct audit_head *h, struct buf *out)
{
	char hash[AUDIT_HEX_SIZE], time[AUDIT_TIME_SIZE];
	struct timespec now = { 0 };
	clock_gettime(CLOCK_REALTIME, &now);
	audit_time_text((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, time);
	audit_hex(h->hash, hash);
	return buf_addf(out,
			"{\"v\":%d,\"seq\":%" PRIu64 ",\"gen\":%" PRIu64 ",\"size\":%" PRIu64
			",\"hash\":\"%s\",\"time\":\"%s\"}",
			AUDIT_VERSION, h->seq, h->gen, h->size, hash, time);
}

static int number(const json_t *o, const char *name, uint64_t *out)
{
	const json_t *j = json_object_get(o, name);
	if (!json_is_integer(j) || json_integer_value(j) < 0)
		return ERR_FORMAT;
	*out = (uint64_t)json_integer_value(j);
	return 0;
}

int audit_signed_parse(const struct jwk *key, const char *text, size_t n, struct audit_signed *out,
		       struct fault *f)
{
	CLEANUP_BUF struct buf payload = BUF_INIT(SIGN_TEXT_MAX);
	struct audit_signed s = { 0 };
	uint64_t version;
	while (n > 0 && text[n - 1] == '\n')
		n--;
	int rc = sign_open(key, AUDIT_SIGNED_TYP, text, n, &payload, f);
	if (rc < 0)
		return rc;
	json_t *o CLEANUP(cleanup_json) =
		json_loadb((const char *)payload.data, payload.len, JSON_REJECT_DUPLICATES, NULL);
	const char *hash = json_string_value(json_object_get(o, "hash"));
	const char *time = json_string_value(json_object_get(o, "time"));
	if (json_object_size(o) != 6 || number(o, "v", &version) < 0 || version != AUDIT_VERSION ||
	    number(o, "seq", &s.seq) < 0 || number(o, "gen", &s.gen) < 0 ||
	    number(o, "size", &s.size) < 0 || !hash ||
	    audit_unhex(hash, strlen(hash), s.hash) < 0 || !time ||
	    audit_time_parse(time, &s.time_ms) < 0)
		return fault_set(f, ERR_FORMAT, "not a signed anchor in its one form");
	*out = s;
	return 0;
}

/* Whether the log goes on from what was SIGNED last to H. */
static int check_since(const struct audit *a, const struct audit_signed *old,
		       const struct audit_head *h, struct fault *f)
{
	CLEANUP_BUF struct buf bytes = BUF_INIT(AUDIT_FILE_MAX);
	struct audit_chain chain = { .seq = old->seq };
	memcpy(chain.hash, old->hash, sizeof(chain.hash));
	if (old->seq > h->seq || old->gen > h->gen || (old->gen == h->gen && old->size > h->size))
		return fault_set(f, ERR_AUTH,
				 "the audit log ends before record %" PRIu64
				 ", which this host has signed: it was replaced by an older copy",
				 old->seq);
	if (old->gen != h->gen) /* a rotation was cut short before it was signed */
		return 0;
	int rc = audit_read_at(a, old->size, h->size - old->size, &bytes);
	if (rc < 0)
		return fault_set(f, rc, "the audit log: %s", err_text(rc));
	rc = audit_chain_walk(&chain, (const char *)bytes.data, bytes.len,
			      "the audit log since its last signature", NULL, NULL, f);
	if (rc >= 0 && (chain.seq != h->seq || memcmp(chain.hash, h->hash, sizeof(h->hash)) != 0))
		rc = fault_set(f, ERR_AUTH,
			       "the audit log since its last signature is not the one "
			       "that its anchor speaks of");
	return rc;
}

/* *UP_TO_DATE: there is nothing new to sign. */
static int check_old(const struct audit *a, int anchor_dir, const struct jwk *key,
		     const struct audit_head *h, int *up_to_date, struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(SIGN_TEXT_MAX);
	struct audit_signed old;
	struct fault reading = { 0 };
	int rc = fd_read_file(anchor_dir, AUDIT_SIGNED_NAME, &text, &reading);
	if (rc == -ENOENT)
		return 0;
	if (rc >= 0)
		rc = audit_signed_parse(key, (const char *)text.data, text.len, &old, &reading);
	if (rc < 0)
		return fault_set(f, rc, "the audit log's %s: %s", AUDIT_SIGNED_NAME, reading.text);
	*up_to_date = old.seq == h->seq && old.gen == h->gen && old.size == h->size;
	return check_since(a, &old, h, f);
}

int audit_sign(struct audit *a, int anchor_dir, const struct jwk *key, struct fault *f)
{
	CLEANUP_BUF struct buf payload = BUF_INIT(SIGN_TEXT_MAX), text = BUF_INIT(SIGN_TEXT_MAX);
	struct audit_head h;
	int up_to_date = 0;
	int rc = audit_lock(a, &h, f);
	if (rc < 0)
		return rc;
	rc = check_old(a, anchor_dir, key, &h, &up_to_date, f);
	if (rc >= 0 && !up_to_date) {
		rc = put_signed(&h, &payload);
		if (rc >= 0)
			rc = sign_make(key, AUDIT_SIGNED_TYP, payload.data, payload.len, &text, f);
		if (rc >= 0)
			rc = buf_add(&text, "\n", 1);
		if (rc >= 0)
			rc = fd_write_file(anchor_dir, AUDIT_SIGNED_NAME, text.data, text.len, 0600,
					   1, f);
	}
	audit_unlock(a);
	return rc < 0 ? fault_set(f, rc, "the audit log's anchor cannot be signed: %s",
				  err_text(rc))
		      : 0;
}
