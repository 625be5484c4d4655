/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/store_host.h"

#include <errno.h>

#include "crypto/hash.h"
#include "guardian/store_db.h"

static const char *const MODES[] = { [STORE_MODE_TPM] = "tpm", [STORE_MODE_HOSTKEY] = "host-key" };
static const char *const STATES[] = { [STORE_PENDING] = "pending",
				      [STORE_APPROVED] = "approved",
				      [STORE_REVOKED] = "revoked",
				      [STORE_REPLACING] = "replacing" };

const char *store_host_mode_name(enum store_host_mode mode)
{
	return MODES[mode];
}

const char *store_host_state_name(enum store_host_state state)
{
	return STATES[state];
}

void store_host_init(struct store_host *h)
{
	*h = (struct store_host){
		.ek_cert = BUF_INIT(STORE_EK_CERT_MAX),
		.ak_pub = BUF_INIT(STORE_AK_PUB_MAX),
		.host_key = BUF_INIT(STORE_HOST_KEY_MAX),
		.reset_count = -1,
		.restart_count = -1,
	};
}

void store_host_done(struct store_host *h)
{
	buf_done(&h->ek_cert);
	buf_done(&h->ak_pub);
	buf_done(&h->host_key);
}

int store_host_fingerprint(const struct store_host *h, uint8_t out[static STORE_FINGERPRINT_BYTES])
{
	/* Mode, EK's id and tls_key have fixed sizes, and only one of the other two is there. */
	uint8_t mode = (uint8_t)h->mode;
	const struct hash_part parts[] = {
		{ &mode, 1 },
		{ h->ek_id, sizeof(h->ek_id) },
		{ h->tls_key, sizeof(h->tls_key) },
		{ h->ak_pub.data, h->ak_pub.len },
		{ h->host_key.data, h->host_key.len },
	};
	return hash_parts(HASH_SHA256, parts, sizeof(parts) / sizeof(parts[0]), out);
}

/* Which number of SQL_HOST_TAKEN it was. */
static int take_taken(const struct db_value *row, size_t n, void *arg, struct fault *f)
{
	static const char *const WHAT[] = {
		"a host with this id is enrolled: an admin has to have it replaced first",
		"another host has this name",
		"another host is enrolled with this TPM's endorsement key",
		"another host is enrolled with this attestation key",
		"another host is enrolled with this key",
		"another host is enrolled with this client certificate's key",
	};
	int64_t which = -1;
	(void)arg;
	if (n != 1 || db_get_integer(&row[0], &which) < 0 || which < 0 || which > 5)
		return fault_set(f, ERR_FORMAT, "the database holds no number where one must be");
	return fault_set(f, -EEXIST, "%s", WHAT[which]);
}

static int take_count(const struct db_value *row, size_t n, void *arg, struct fault *f)
{
	if (n != 1 || db_get_integer(&row[0], arg) < 0)
		return fault_set(f, ERR_FORMAT, "the database holds no number where one must be");
	return 0;
}

static int check_room(struct store *s, enum store_host_mode mode, struct fault *f)
{
	int64_t pending = STORE_PENDING_MAX;
	int rc = STORE_RUN(s, SQL_HOST_PENDING, take_count, &pending, f, db_text(MODES[mode]));
	if (rc < 0)
		return rc;
	if (pending >= STORE_PENDING_MAX)
		return store_fail(s, fault_set(f, ERR_LIMIT,
					       "%d hosts wait for an admin's word: approve or "
					       "revoke some first",
					       STORE_PENDING_MAX));
	return 0;
}

int store_host_add(struct store *s, const struct store_host *h, struct fault *f)
{
	int tpm = h->mode == STORE_MODE_TPM;
	struct db_value ek_id = tpm ? db_blob(h->ek_id, sizeof(h->ek_id)) : db_null();
	struct db_value ek_cert = tpm ? db_blob(h->ek_cert.data, h->ek_cert.len) : db_null();
	struct db_value ak_pub = tpm ? db_blob(h->ak_pub.data, h->ak_pub.len) : db_null();
	struct db_value key =
		tpm ? db_null() : db_text_n((const char *)h->host_key.data, h->host_key.len);
	if (tpm ? h->ek_cert.len == 0 || h->ak_pub.len == 0 : h->host_key.len == 0)
		return store_fail(s, fault_set(f, ERR_USAGE, "a host without keys"));
	int rc = store_name_check(h->name, f);
	if (rc < 0)
		return store_fail(s, rc);
	rc = STORE_RUN(s, SQL_HOST_TAKEN, take_taken, NULL, f, db_blob(h->id, UUID_BYTES),
		       db_text(h->name), ek_id, ak_pub, key,
		       db_blob(h->tls_key, sizeof(h->tls_key)));
	if (rc >= 0)
		rc = check_room(s, h->mode, f);
	if (rc < 0)
		return rc;
	const struct db_value row[] = { db_blob(h->id, UUID_BYTES),
					db_text(h->name),
					db_text(MODES[h->mode]),
					ek_id,
					ek_cert,
					ak_pub,
					key,
					db_integer(h->enrolled),
					db_blob(h->tls_key, sizeof(h->tls_key)) };
	size_t n = sizeof(row) / sizeof(row[0]);
	rc = store_run(s, SQL_HOST_TAKE_OVER, row, n, NULL, NULL, f);
	if (rc == 0)
		rc = store_run(s, SQL_HOST_ADD, row, n, NULL, NULL, f);
	return rc < 0 ? rc : 0;
}

/* The index of TEXT among N NAMES, or -1. */
static int index_of(const char *text, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(text, names[i]) == 0)
			return i;
	return -1;
}

/* A number, or -1 for none. */
static int optional_integer(const struct db_value *v, int64_t *out)
{
	*out = -1;
	return v->type == DB_NULL ? 0 : db_get_integer(v, out);
}

static int read_host(const struct db_value *row, size_t n, struct store_host *h)
{
	char mode[16], state[16];
	if (n != 14 || db_get_bytes(&row[13], h->tls_key, sizeof(h->tls_key)) < 0 ||
	    db_get_bytes(&row[0], h->id, sizeof(h->id)) < 0 ||
	    db_get_text(&row[1], h->name, sizeof(h->name)) < 0 ||
	    db_get_text(&row[2], mode, sizeof(mode)) < 0 ||
	    db_get_text(&row[3], state, sizeof(state)) < 0 ||
	    db_get_integer(&row[8], &h->enrolled) < 0)
		return ERR_FORMAT;
	int m = index_of(mode, MODES, 2), st = index_of(state, STATES, 4);
	if (m < 0 || st < 0)
		return ERR_FORMAT;
	h->mode = (enum store_host_mode)m;
	h->state = (enum store_host_state)st;
	if (h->mode == STORE_MODE_TPM && db_get_bytes(&row[4], h->ek_id, sizeof(h->ek_id)) < 0)
		return ERR_FORMAT;
	if (row[9].type != DB_NULL &&
	    (db_get_integer(&row[9], &h->decided) < 0 ||
	     db_get_text(&row[10], h->decided_by, sizeof(h->decided_by)) < 0))
		return ERR_FORMAT;
	int rc = db_get_buf(&row[5], &h->ek_cert);
	if (rc >= 0)
		rc = db_get_buf(&row[6], &h->ak_pub);
	if (rc >= 0)
		rc = db_get_buf(&row[7], &h->host_key);
	if (rc >= 0)
		rc = optional_integer(&row[11], &h->reset_count);
	if (rc >= 0)
		rc = optional_integer(&row[12], &h->restart_count);
	return rc;
}

static int take_host(const struct db_value *row, size_t n, void *arg, struct fault *f)
{
	int rc = read_host(row, n, arg);
	return rc < 0 ? fault_set(f, rc, "a host in the database: %s", err_text(rc)) : 0;
}

int store_host_get(struct store *s, const uint8_t id[static UUID_BYTES], struct store_host *out,
		   struct fault *f)
{
	struct store_host h;
	store_host_init(&h);
	int rc = STORE_RUN(s, SQL_HOST_GET, take_host, &h, f, db_blob(id, UUID_BYTES));
	if (rc == 0)
		rc = fault_set(f, -ENOENT, "no host with this id is enrolled");
	if (rc < 0) {
		store_host_done(&h);
		return rc;
	}
	store_host_done(out);
	*out = h;
	return 0;
}

struct each {
	store_host_each_fn *fn;
	void *arg;
};

static int take_each(const struct db_value *row, size_t n, void *arg, struct fault *f)
{
	struct each *e = arg;
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	int rc = take_host(row, n, &h, f);
	return rc < 0 ? rc : e->fn(&h, e->arg);
}

int store_host_each(struct store *s, const char *after, int64_t limit, store_host_each_fn *fn,
		    void *arg, struct fault *f)
{
	struct each e = { fn, arg };
	int rc = STORE_RUN(s, SQL_HOST_EACH, take_each, &e, f, db_text(after), db_integer(limit));
	return rc < 0 ? rc : 0;
}

int store_host_prune(struct store *s, int64_t until, struct fault *f)
{
	int rc = STORE_RUN(s, SQL_HOST_PRUNE, NULL, NULL, f, db_integer(until));
	return rc < 0 ? rc : 0;
}

int store_host_decide(struct store *s, const uint8_t id[static UUID_BYTES],
		      enum store_host_state from, enum store_host_state to, int64_t now,
		      const char *by, struct fault *f)
{
	int rc =
		STORE_RUN(s, SQL_HOST_DECIDE, NULL, NULL, f, db_blob(id, UUID_BYTES),
			  db_text(STATES[from]), db_text(STATES[to]), db_integer(now), db_text(by));
	if (rc == 0)
		return store_fail(
			s, fault_set(f, ERR_STATE, "no host with this id is %s", STATES[from]));
	return rc < 0 ? rc : 0;
}

int store_host_counts(struct store *s, const uint8_t id[static UUID_BYTES], uint32_t reset_count,
		      uint32_t restart_count, struct fault *f)
{
	int rc = STORE_RUN(s, SQL_HOST_COUNTS, NULL, NULL, f, db_blob(id, UUID_BYTES),
			   db_integer(reset_count), db_integer(restart_count));
	if (rc == 0)
		return store_fail(s, fault_set(f, ERR_STATE,
					       "the TPM's reset count went back: the TPM was "
					       "cleared, or this is evidence from before a reset; "
					       "after a clear the host must be replaced"));
	return rc < 0 ? rc : 0;
}
