/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a database engine does for guardian/store*.c.  Private to those.
 *
 * Every statement is a row of STORE_SQL in guardian/store_sql.c; an engine prepares them all when
 * it opens the database and binds values to their parameters $1, $2 ... .  The engine says what
 * went wrong in the terms of guardian/store.h.
 */
#ifndef SHIELDVM_GUARDIAN_STORE_DB_H
#define SHIELDVM_GUARDIAN_STORE_DB_H

#include <string.h>

#include "guardian/store.h"

#define STORE_SCHEMA_VERSION 2

enum store_sql {
	SQL_NONCE_ADD,
	SQL_NONCE_COUNT,
	SQL_NONCE_PRUNE,
	SQL_WORD_ADD,
	SQL_WORD_COUNT,
	SQL_CERTIFICATE_PRUNE,
	SQL_FORGOTTEN_GET,
	SQL_FORGOTTEN_SET,
	SQL_POLICY_ADD,
	SQL_POLICY_LATEST,
	SQL_POLICY_NUMBER,
	SQL_FLOOR_GET,
	SQL_FLOOR_SET,
	SQL_ADMIN_ADD,
	SQL_ADMIN_REMOVE,
	SQL_ADMIN_FIND,
	SQL_ADMIN_EACH,
	SQL_HOST_ADD,
	SQL_HOST_TAKE_OVER,
	SQL_HOST_GET,
	SQL_HOST_EACH,
	SQL_HOST_PRUNE,
	SQL_HOST_PENDING,
	SQL_HOST_TAKEN,
	SQL_HOST_DECIDE,
	SQL_HOST_COUNTS,
	SQL_CERTIFICATE_ADD,
	SQL_CERTIFICATE_GET,
	SQL_VM_GET,
	SQL_VM_HELD,
	SQL_VM_TOOK,
	SQL_VM_TOKEN,
	SQL_VM_PUT,
	SQL_INCOMING_PUT,
	SQL_INCOMING_GET,
	SQL_INCOMING_DROP,
	SQL_INCOMING_VOID,
	SQL_INCOMING_PRUNE,
	SQL_LOG_HEAD,
	SQL_LOG_ADD,
	SQL_LOG_EACH,
	SQL_LOG_OWNERS,
	SQL_COUNT
};

struct store_sql_row {
	const char *text;
	int writes;
	unsigned n_args;
};
extern const struct store_sql_row STORE_SQL[SQL_COUNT];

/* Statements that make the tables in an empty SQLite database. */
extern const char STORE_SCHEMA_SQLITE[];
/* The same for PostgreSQL, in the schema shieldvm_guardian: one text, to be sent in one piece. */
extern const char STORE_SCHEMA_POSTGRES[];
/* How many of the tables' rules are there and enabled, and how many there have to be; how many
 * rights everyone has; queries that give 0 for a database that is whole, then NULL. */
extern const char STORE_POSTGRES_RULES[], STORE_POSTGRES_PUBLIC[];
#define STORE_POSTGRES_N_RULES 21
extern const char *const STORE_POSTGRES_CHECKS[];

enum db_type { DB_NULL, DB_INTEGER, DB_TEXT, DB_BLOB };
struct db_value {
	enum db_type type;
	int64_t integer;
	const void *data; /* of texts and blobs; a row's is the engine's, until the next row */
	size_t n;	  /* bytes */
};

static inline struct db_value db_integer(int64_t i)
{
	return (struct db_value){ .type = DB_INTEGER, .integer = i };
}
static inline struct db_value db_blob(const void *data, size_t n)
{
	return (struct db_value){ .type = DB_BLOB, .data = data, .n = n };
}
static inline struct db_value db_text_n(const char *text, size_t n)
{
	return (struct db_value){ .type = DB_TEXT, .data = text, .n = n };
}
static inline struct db_value db_text(const char *text)
{
	return db_text_n(text, strlen(text));
}
static inline struct db_value db_null(void)
{
	return (struct db_value){ .type = DB_NULL };
}

/* A row of a query's result; a value < 0 ends the query and is returned. */
typedef int db_row_fn(const struct db_value *row, size_t n, void *arg, struct fault *f);

struct db;
struct db_engine {
	void (*close)(struct db *d);
	int (*check)(struct db *d, struct fault *f);
	int (*begin)(struct db *d, struct fault *f);
	int (*commit)(struct db *d, struct fault *f);
	void (*rollback)(struct db *d);
	/* The number of rows that were found or changed. */
	int (*run)(struct db *d, enum store_sql sql, const struct db_value *args, db_row_fn *row,
		   void *arg, struct fault *f);
};
struct db {
	const struct db_engine *engine;
};

int store_sqlite_create(const char *path, struct fault *f) MUST_CHECK;
int store_sqlite_open(const char *path, struct db **out, struct fault *f) MUST_CHECK;
/* Append the database as a file would hold it, as it is at one moment.  ERR_LIMIT, -ENOMEM. */
int store_sqlite_copy(const char *path, struct buf *out, struct fault *f) MUST_CHECK;

/* For URLs: guardian/store.h.  No connection is carried across fork(2). */
int store_postgres_create(const char *url, struct fault *f) MUST_CHECK;
int store_postgres_open(const char *url, struct db **out, struct fault *f) MUST_CHECK;

/*
 * Run a statement.  What writes must be inside a transaction (ERR_STATE); after a failure inside
 * one it cannot be committed.  Returns the number of rows found or changed; ROW is NULL for a
 * statement that writes.
 */
int store_run(struct store *s, enum store_sql sql, const struct db_value *args, size_t n_args,
	      db_row_fn *row, void *arg, struct fault *f) MUST_CHECK;
#define STORE_RUN(s, sql, row, arg, f, ...)                                                        \
	store_run(s, sql, (const struct db_value[]){ __VA_ARGS__ },                                \
		  sizeof((const struct db_value[]){ __VA_ARGS__ }) / sizeof(struct db_value), row, \
		  arg, f)

/* Note that the open transaction may not be committed; returns RC. */
int store_fail(struct store *s, int rc);

/* Values out of a row, which the database itself may have been changed under: ERR_FORMAT if they
 * are not of the type and size wanted. */
int db_get_integer(const struct db_value *v, int64_t *out) MUST_CHECK;
int db_get_u32(const struct db_value *v, uint32_t *out) MUST_CHECK;
int db_get_bytes(const struct db_value *v, uint8_t *out, size_t n) MUST_CHECK;
int db_get_text(const struct db_value *v, char *out, size_t size) MUST_CHECK;
int db_get_buf(const struct db_value *v, struct buf *out) MUST_CHECK; /* appends; a NULL is empty */

#endif
