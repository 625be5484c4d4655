/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guardian's database: hosts, challenges that were used, policies, certificates, leases of VMs,
 * the release log, admins.
 *
 * Theory of operation.  A decision is one transaction: store_begin(), what it reads and writes,
 * store_commit().  Transactions are serial: what one has read stays so until it commits, also when
 * several guardians share the database.  After any error inside a transaction nothing of it can be
 * committed any more; leaving the scope of a STORE_DECISION rolls back what was not committed. So
 * whatever goes wrong (locked, read-only, full, damaged), there is one sentence and nothing is
 * done.
 *
 * The statements are fixed texts with parameters (guardian/store_sql.c), prepared when the database
 * is opened; no SQL is ever made from input.  What runs them is behind guardian/store_db.h: SQLite
 * for one machine, PostgreSQL for several guardians over one database.
 *
 * Errors of everything below: -EBUSY (held by another process for longer than STORE_BUSY_MS),
 * -EROFS, -ENOSPC, -EIO and other -errno, ERR_FORMAT (damaged, or not a guardian's database),
 * ERR_STATE (refused by one of the database's own rules, or outside of a transaction), -EEXIST
 * (taken already), -ENOMEM; and what stands at each.  Times are seconds since 1970.
 *
 * May be used by: guardian/.  One thread at a time.
 */
#ifndef SHIELDVM_GUARDIAN_STORE_H
#define SHIELDVM_GUARDIAN_STORE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/uuid.h"

#define STORE_BUSY_MS		5000
#define STORE_NAME_MAX		64 /* bytes of a host's or admin's name, with the NUL */
#define STORE_NONCES_PER_HOST	64 /* of one kind, used and not yet expired */
#define STORE_WORDS_PER_HOST	1024
#define STORE_WORDS_SECONDS	60
#define STORE_POLICY_MAX	(4 * 1024 * 1024)
#define STORE_FINGERPRINT_BYTES 32

struct store;

/*
 * Where a database is: a path beginning with '/' is a file of SQLite, postgresql://... a database
 * of PostgreSQL (several hosts, service= and passfile= as libpq has them; guardian/ adds
 * target_session_attrs=read-write, time limits, and over a network sslmode=verify-full). ERR_POLICY
 * for a URL with a password or a weaker sslmode in it, and if PGPASSWORD is set.
 */
int store_is_url(const char *where) MUST_CHECK;

/* Make a new database at WHERE: a file (mode 0600) that must not exist, or the schema
 * shieldvm_guardian in a database that lacks it (-EEXIST).  What could not be finished is removed.
 */
int store_create(const char *where, struct fault *f) MUST_CHECK;

/*
 * Open the database at WHERE.  ERR_POLICY if others may read or write it; ERR_VERSION if a newer
 * program made it; -EROFS if it can only be read.
 *
 * A server that is lost costs the transaction that was open (-ENOTCONN, -ETIMEDOUT); the next one
 * connects again.  Lost amid store_commit(), nobody can say whether it was done.
 */
int store_open(const char *where, struct store **out, struct fault *f) MUST_CHECK;
void store_close(struct store *s); /* rolls back; NULL is fine */
static inline void cleanup_store(struct store **s)
{
	store_close(*s);
}
#define CLEANUP_STORE CLEANUP(cleanup_store)

/* Read all of it and check its structure and its references.  ERR_FORMAT. */
int store_check(struct store *s, struct fault *f) MUST_CHECK;

/* Begin a transaction; ERR_STATE if one is open. */
int store_begin(struct store *s, struct fault *f) MUST_CHECK;
/* Make it durable; ERR_STATE if something in it has failed, which is then rolled back. */
int store_commit(struct store *s, struct fault *f) MUST_CHECK;
/* Undo it; nothing to do outside of one. */
void store_rollback(struct store *s);

static inline void cleanup_store_decision(struct store **s)
{
	store_rollback(*s);
}
/* On a `struct store *` that is S: what is open when the scope is left is rolled back. */
#define STORE_DECISION(name, s)                                                                    \
	CLEANUP(cleanup_store_decision) __attribute__((unused)) struct store *name = (s)

/* What a host answers, and what it asks: each has room of its own. */
enum store_nonce_kind { STORE_NONCE_CHALLENGE, STORE_NONCE_REQUEST };

/*
 * Note that NONCE was used by HOST; it has to be remembered until EXPIRES.  -EEXIST if it was used
 * before, ERR_STATE if it expired so long ago that it may have been forgotten, ERR_LIMIT over
 * STORE_NONCES_PER_HOST.
 */
int store_nonce_use(struct store *s, enum store_nonce_kind kind, const uint8_t nonce[static 32],
		    const uint8_t host[static UUID_BYTES], int64_t now, int64_t expires,
		    struct fault *f) MUST_CHECK;

/* Count a word of HOST's about its leases.  ERR_LIMIT over STORE_WORDS_PER_HOST in one stretch of
 * STORE_WORDS_SECONDS. */
int store_word(struct store *s, const uint8_t host[static UUID_BYTES], int64_t now,
	       struct fault *f) MUST_CHECK;

/* Forget nonces, certificates and awaited VMs that expired by UNTIL. */
int store_prune(struct store *s, int64_t until, struct fault *f) MUST_CHECK;

/* A policy becomes the next generation, whose number is *GENERATION (the first is 1).  ERR_LIMIT.
 */
int store_policy_add(struct store *s, const char *text, size_t n, int64_t now, const char *by,
		     int64_t *generation, struct fault *f) MUST_CHECK;

/* The latest generation and its text, appended to TEXT.  -ENOENT if there is none. */
int store_policy_latest(struct store *s, int64_t *generation, struct buf *text,
			struct fault *f) MUST_CHECK;

/* The lowest generation whose certificates still count (0: all do).  It never falls (ERR_STATE),
 * and must be of a policy that there is (-ENOENT). */
int store_floor(struct store *s, int64_t *floor, struct fault *f) MUST_CHECK;
int store_floor_raise(struct store *s, int64_t floor, struct fault *f) MUST_CHECK;

enum store_role { STORE_ADMIN, STORE_REVIEWER };
const char *store_role_name(enum store_role role); /* "admin", "reviewer" */
struct store_admin {
	char name[STORE_NAME_MAX];
	enum store_role role;
	uint8_t fingerprint[STORE_FINGERPRINT_BYTES]; /* SHA-256 of the client certificate */
	int64_t added;
};

/* -EEXIST if the name or the certificate is another's. */
int store_admin_add(struct store *s, const struct store_admin *a, struct fault *f) MUST_CHECK;
/* -ENOENT. */
int store_admin_remove(struct store *s, const char *name, struct fault *f) MUST_CHECK;
/* Whose certificate this is.  -ENOENT. */
int store_admin_find(struct store *s, const uint8_t fingerprint[static STORE_FINGERPRINT_BYTES],
		     struct store_admin *out, struct fault *f) MUST_CHECK;

/* Call FN for each admin in the order of names; a value < 0 ends it and is returned. */
typedef int store_admin_each_fn(const struct store_admin *a, void *arg);
int store_admin_each(struct store *s, store_admin_each_fn *fn, void *arg,
		     struct fault *f) MUST_CHECK;

/* 0 if TEXT is a name for a host or an admin ([a-z0-9.-], begins with a letter or digit, less than
 * STORE_NAME_MAX bytes), else ERR_FORMAT. */
int store_name_check(const char *text, struct fault *f) MUST_CHECK;

#endif
