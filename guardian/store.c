/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/store.h"

#include <errno.h>

#include "guardian/store_db.h"

struct store {
	struct db *db;
	int open;   /* a transaction is */
	int failed; /* and something in it has */
};

int store_is_url(const char *where)
{
	return strncmp(where, "postgresql://", 13) == 0 || strncmp(where, "postgres://", 11) == 0;
}

int store_create(const char *where, struct fault *f)
{
	return store_is_url(where) ? store_postgres_create(where, f)
				   : store_sqlite_create(where, f);
}

int store_open(const char *where, struct store **out, struct fault *f)
{
	struct store *s = calloc(1, sizeof(*s));
	if (!s)
		return fault_set(f, -ENOMEM, "no memory for the database");
	int rc = store_is_url(where) ? store_postgres_open(where, &s->db, f)
				     : store_sqlite_open(where, &s->db, f);
	if (rc < 0) {
		free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	store_rollback(s);
	s->db->engine->close(s->db);
	free(s);
}

int store_check(struct store *s, struct fault *f)
{
	return s->db->engine->check(s->db, f);
}

int store_begin(struct store *s, struct fault *f)
{
	if (s->open)
		return fault_set(f, ERR_STATE, "a transaction is open already");
	int rc = s->db->engine->begin(s->db, f);
	s->open = rc >= 0;
	s->failed = 0;
	return rc;
}

void store_rollback(struct store *s)
{
	if (!s->open)
		return;
	s->db->engine->rollback(s->db);
	s->open = 0;
}

int store_commit(struct store *s, struct fault *f)
{
	int rc = 0;
	if (!s->open)
		return fault_set(f, ERR_STATE, "no transaction is open");
	if (s->failed)
		rc = fault_set(f, ERR_STATE, "a part of it failed: nothing was done");
	else
		rc = s->db->engine->commit(s->db, f);
	if (rc < 0)
		store_rollback(s);
	s->open = 0;
	return rc;
}

int store_version_check(const char *where, int64_t version, struct fault *f)
{
	if (version > STORE_SCHEMA_VERSION)
		return fault_set(
			f, ERR_VERSION,
			"%s: made by a newer program (version %lld of its tables, this one "
			"knows %d): update this one",
			where, (long long)version, STORE_SCHEMA_VERSION);
	if (version != STORE_SCHEMA_VERSION)
		return fault_set(f, ERR_FORMAT,
				 "%s: its tables have version %lld, which no release has used: "
				 "make it anew (shieldvm-guardian init)",
				 where, (long long)version);
	return 0;
}

int store_fail(struct store *s, int rc)
{
	s->failed = 1;
	return rc;
}

int store_run(struct store *s, enum store_sql sql, const struct db_value *args, size_t n_args,
	      db_row_fn *row, void *arg, struct fault *f)
{
	if (n_args != STORE_SQL[sql].n_args)
		return store_fail(s, fault_set(f, ERR_USAGE, "statement %d takes %u values", sql,
					       STORE_SQL[sql].n_args));
	if (STORE_SQL[sql].writes && (!s->open || s->failed))
		return fault_set(f, ERR_STATE, "writing needs a transaction that is whole");
	int rc = s->db->engine->run(s->db, sql, args, row, arg, f);
	return rc < 0 ? store_fail(s, rc) : rc;
}

int db_get_integer(const struct db_value *v, int64_t *out)
{
	if (v->type != DB_INTEGER)
		return ERR_FORMAT;
	*out = v->integer;
	return 0;
}

int db_get_u32(const struct db_value *v, uint32_t *out)
{
	if (v->type != DB_INTEGER || v->integer < 0 || v->integer > UINT32_MAX)
		return ERR_FORMAT;
	*out = (uint32_t)v->integer;
	return 0;
}

int db_get_bytes(const struct db_value *v, uint8_t *out, size_t n)
{
	if (v->type != DB_BLOB || v->n != n)
		return ERR_FORMAT;
	memcpy(out, v->data, n);
	return 0;
}

int db_get_text(const struct db_value *v, char *out, size_t size)
{
	if (v->type != DB_TEXT || v->n >= size || (v->n && memchr(v->data, 0, v->n)))
		return ERR_FORMAT;
	if (v->n)
		memcpy(out, v->data, v->n);
	out[v->n] = 0;
	return 0;
}

int db_get_buf(const struct db_value *v, struct buf *out)
{
	if (v->type == DB_NULL)
		return 0;
	if (v->type != DB_TEXT && v->type != DB_BLOB)
		return ERR_FORMAT;
	return buf_add(out, v->data, v->n);
}

/* The one integer of the one row. */
static int take_integer(const struct db_value *row, size_t n, void *arg, struct fault *f)
{
	if (n != 1 || db_get_integer(&row[0], arg) < 0)
		return fault_set(f, ERR_FORMAT, "the database holds no number where one must be");
	return 0;
}

/* A statement without values that gives one integer. */
static int get_integer(struct store *s, enum store_sql sql, int64_t *out, struct fault *f)
{
	int rc = store_run(s, sql, NULL, 0, take_integer, out, f);
	if (rc == 0)
		rc = store_fail(s, fault_set(f, ERR_FORMAT, "the database lacks its first row"));
	return rc < 0 ? rc : 0;
}

int store_nonce_use(struct store *s, enum store_nonce_kind kind, const uint8_t nonce[static 32],
		    const uint8_t host[static UUID_BYTES], int64_t now, int64_t expires,
		    struct fault *f)
{
	int64_t forgotten = 0, live = 0;
	int rc = get_integer(s, SQL_FORGOTTEN_GET, &forgotten, f);
	if (rc < 0)
		return rc;
	if (expires <= forgotten)
		return store_fail(s, fault_set(f, ERR_STATE,
					       "the challenge expired so long ago that its use "
					       "may have been forgotten"));
	rc = STORE_RUN(s, SQL_NONCE_COUNT, take_integer, &live, f, db_blob(host, UUID_BYTES),
		       db_integer(kind), db_integer(now));
	if (rc < 0)
		return rc;
	if (live >= STORE_NONCES_PER_HOST)
		return store_fail(
			s, fault_set(f, ERR_LIMIT,
				     "the host has used %d %s that have not expired "
				     "yet: wait a minute",
				     STORE_NONCES_PER_HOST,
				     kind == STORE_NONCE_CHALLENGE ? "challenges" : "requests"));
	rc = STORE_RUN(s, SQL_NONCE_ADD, NULL, NULL, f, db_blob(nonce, 32),
		       db_blob(host, UUID_BYTES), db_integer(kind), db_integer(expires));
	return rc < 0 ? rc : 0;
}

int store_word(struct store *s, const uint8_t host[static UUID_BYTES], int64_t now, struct fault *f)
{
	int64_t said = 0;
	int rc = STORE_RUN(s, SQL_WORD_ADD, NULL, NULL, f, db_blob(host, UUID_BYTES),
			   db_integer(now / STORE_WORDS_SECONDS));
	if (rc >= 0)
		rc = STORE_RUN(s, SQL_WORD_COUNT, take_integer, &said, f,
			       db_blob(host, UUID_BYTES));
	if (rc >= 0 && said > STORE_WORDS_PER_HOST)
		rc = store_fail(s, fault_set(f, ERR_LIMIT,
					     "the host has told of its leases %d times within %d "
					     "s: wait a minute",
					     STORE_WORDS_PER_HOST, STORE_WORDS_SECONDS));
	return rc < 0 ? rc : 0;
}

int store_prune(struct store *s, int64_t until, struct fault *f)
{
	/* What is noted is the latest that is deleted, and not UNTIL: a clock that was far ahead
	 * once must not have all challenges refused until it is. */
	int rc = STORE_RUN(s, SQL_FORGOTTEN_SET, NULL, NULL, f, db_integer(until));
	if (rc >= 0)
		rc = STORE_RUN(s, SQL_NONCE_PRUNE, NULL, NULL, f, db_integer(until));
	if (rc >= 0)
		rc = STORE_RUN(s, SQL_CERTIFICATE_PRUNE, NULL, NULL, f, db_integer(until));
	if (rc >= 0)
		rc = STORE_RUN(s, SQL_INCOMING_PRUNE, NULL, NULL, f, db_integer(until));
	return rc < 0 ? rc : 0;
}

int store_policy_add(struct store *s, const char *text, size_t n, int64_t now, const char *by,
		     int64_t *generation, struct fault *f)
{
	int64_t last = 0;
	if (n > STORE_POLICY_MAX)
		return store_fail(s, fault_set(f, ERR_LIMIT, "a policy has at most %d bytes",
					       STORE_POLICY_MAX));
	int rc = get_integer(s, SQL_POLICY_NUMBER, &last, f);
	if (rc >= 0)
		rc = STORE_RUN(s, SQL_POLICY_ADD, NULL, NULL, f, db_integer(last + 1),
			       db_text_n(text, n), db_integer(now), db_text(by));
	if (rc < 0)
		return rc;
	*generation = last + 1;
	return 0;
}

struct policy_row {
	int64_t *generation;
	struct buf *text;
};

static int take_policy(const struct db_value *row, size_t n, void *arg, struct fault *f)
{
	struct policy_row *p = arg;
	if (n != 2 || row[1].type != DB_TEXT || db_get_integer(&row[0], p->generation) < 0)
		return fault_set(f, ERR_FORMAT, "the database holds no policy where one must be");
	int rc = db_get_buf(&row[1], p->text);
	return rc < 0 ? fault_set(f, rc, "the policy: %s", err_text(rc)) : 0;
}

int store_policy_latest(struct store *s, int64_t *generation, struct buf *text, struct fault *f)
{
	struct policy_row p = { generation, text };
	int rc = store_run(s, SQL_POLICY_LATEST, NULL, 0, take_policy, &p, f);
	if (rc == 0)
		return fault_set(f, -ENOENT, "the guardian has no policy yet");
	return rc < 0 ? rc : 0;
}

int store_floor(struct store *s, int64_t *floor, struct fault *f)
{
	return get_integer(s, SQL_FLOOR_GET, floor, f);
}

int store_floor_raise(struct store *s, int64_t floor, struct fault *f)
{
	int64_t last = 0, old = 0;
	int rc = get_integer(s, SQL_POLICY_NUMBER, &last, f);
	if (rc >= 0)
		rc = get_integer(s, SQL_FLOOR_GET, &old, f);
	if (rc < 0)
		return rc;
	if (floor > last)
		return store_fail(s, fault_set(f, -ENOENT, "there is no policy generation %lld yet",
					       (long long)floor));
	if (floor < old)
		return store_fail(s, fault_set(f, ERR_STATE,
					       "the floor is policy generation %lld and never "
					       "falls: add the older policy as a new generation",
					       (long long)old));
	rc = STORE_RUN(s, SQL_FLOOR_SET, NULL, NULL, f, db_integer(floor));
	return rc < 0 ? rc : 0;
}

static const char *const ROLES[] = { [STORE_ADMIN] = "admin", [STORE_REVIEWER] = "reviewer" };

const char *store_role_name(enum store_role role)
{
	return ROLES[role];
}

int store_admin_add(struct store *s, const struct store_admin *a, struct fault *f)
{
	int rc = store_name_check(a->name, f);
	if (rc < 0)
		return store_fail(s, rc);
	rc = STORE_RUN(s, SQL_ADMIN_ADD, NULL, NULL, f, db_text(a->name), db_text(ROLES[a->role]),
		       db_blob(a->fingerprint, STORE_FINGERPRINT_BYTES), db_integer(a->added));
	return rc < 0 ? rc : 0;
}

int store_admin_remove(struct store *s, const char *name, struct fault *f)
{
	int rc = STORE_RUN(s, SQL_ADMIN_REMOVE, NULL, NULL, f, db_text(name));
	if (rc == 0)
		return store_fail(s, fault_set(f, -ENOENT, "there is no admin of this name"));
	return rc < 0 ? rc : 0;
}

static int take_admin(const struct db_value *row, size_t n, void *arg, struct fault *f)
{
	struct store_admin *a = arg;
	char role[16];
	if (n != 4 || db_get_text(&row[0], a->name, sizeof(a->name)) < 0 ||
	    db_get_text(&row[1], role, sizeof(role)) < 0 ||
	    db_get_bytes(&row[2], a->fingerprint, sizeof(a->fingerprint)) < 0 ||
	    db_get_integer(&row[3], &a->added) < 0)
		return fault_set(f, ERR_FORMAT, "the database holds a malformed admin");
	if (strcmp(role, ROLES[STORE_ADMIN]) == 0)
		a->role = STORE_ADMIN;
	else if (strcmp(role, ROLES[STORE_REVIEWER]) == 0)
		a->role = STORE_REVIEWER;
	else
		return fault_set(f, ERR_FORMAT, "the database holds an unknown role");
	return 0;
}

int store_admin_find(struct store *s, const uint8_t fingerprint[static STORE_FINGERPRINT_BYTES],
		     struct store_admin *out, struct fault *f)
{
	struct store_admin a = { 0 };
	int rc = STORE_RUN(s, SQL_ADMIN_FIND, take_admin, &a, f,
			   db_blob(fingerprint, STORE_FINGERPRINT_BYTES));
	if (rc == 0)
		return fault_set(f, -ENOENT, "no admin's certificate");
	if (rc < 0)
		return rc;
	*out = a;
	return 0;
}

struct each_admin {
	store_admin_each_fn *fn;
	void *arg;
};

static int give_admin(const struct db_value *row, size_t n, void *arg, struct fault *f)
{
	const struct each_admin *each = arg;
	struct store_admin a = { 0 };
	int rc = take_admin(row, n, &a, f);
	return rc < 0 ? rc : each->fn(&a, each->arg);
}

int store_admin_each(struct store *s, store_admin_each_fn *fn, void *arg, struct fault *f)
{
	struct each_admin each = { fn, arg };
	int rc = store_run(s, SQL_ADMIN_EACH, NULL, 0, give_admin, &each, f);
	return rc < 0 ? rc : 0;
}

int store_name_check(const char *text, struct fault *f)
{
	static const char ALPHABET[] = "abcdefghijklmnopqrstuvwxyz0123456789.-";
	size_t n = strlen(text);
	if (n == 0 || n >= STORE_NAME_MAX || strspn(text, ALPHABET) != n || text[0] == '.' ||
	    text[0] == '-')
		return fault_set(f, ERR_FORMAT,
				 "a name has 1 to %d characters of a-z, 0-9, '.' and '-', and "
				 "begins with a letter or digit",
				 STORE_NAME_MAX - 1);
	return 0;
}
