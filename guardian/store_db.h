/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a database engine does for guardian/store*.c.  Private to those.
 *
 * Every statement is a row of STORE_SQL (guardian/store_sql.h); an engine prepares them all when it
 * opens the database and binds values to their parameters $1, $2 ... .  The engine says what went
 * wrong in the terms of guardian/store.h.
 */
#ifndef SHIELDVM_GUARDIAN_STORE_DB_H
#define SHIELDVM_GUARDIAN_STORE_DB_H

#include <string.h>

#include "guardian/store.h"
#include "guardian/store_sql.h"

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

/* Whether this program knows tables of VERSION, which the database at WHERE (its path or address)
 * has.  ERR_VERSION if a newer one has made them, ERR_FORMAT. */
int store_version_check(const char *where, int64_t version, struct fault *f) MUST_CHECK;

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
