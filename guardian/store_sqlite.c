/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SQLite under guardian/store_db.h, the only user of its library.
 *
 * WAL with synchronous=FULL: readers never wait, and what was committed is on the disk.  A writing
 * transaction takes the write lock when it begins (BEGIN IMMEDIATE), so that two decisions never
 * read the same state and both write.
 */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "guardian/store_db.h"

#define VALUE_BYTES_MAX	 (STORE_POLICY_MAX + 65536) /* of one value or row */
#define COLUMNS_MAX	 16
#define STATEMENTS_BYTES (32 * 1024) /* of one SQL text, the schema among them */

struct sqlite {
	struct db db; /* must be first */
	sqlite3 *handle;
	sqlite3_stmt *prepared[SQL_COUNT];
	char path[];
};

static struct sqlite *of(struct db *d)
{
	return (struct sqlite *)d;
}

/* The error for SQLite's extended result code CODE. */
static int error_of(sqlite3 *handle, int code)
{
	int os = handle ? sqlite3_system_errno(handle) : 0;
	if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY ||
	    code == SQLITE_CONSTRAINT_ROWID)
		return -EEXIST;
	switch (code & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_SCHEMA:
	case SQLITE_ERROR: /* a statement that does not fit the tables */
		return ERR_FORMAT;
	case SQLITE_CONSTRAINT:
		return ERR_STATE;
	case SQLITE_TOOBIG:
		return ERR_LIMIT;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_CANTOPEN:
	case SQLITE_IOERR:
	default:
		return os > 0 && os < 4096 ? -os : -EIO;
	}
}

/* Say what went wrong with the database.  SQLite's text names tables, columns and the rules of the
 * schema, never a value. */
static int failed(const struct sqlite *q, int code, struct fault *f)
{
	int rc = error_of(q->handle, code);
	if (rc == -EBUSY)
		return fault_set(f, rc,
				 "%s: held by another process for more than %d s: nothing was done",
				 q->path, STORE_BUSY_MS / 1000);
	if (rc == ERR_FORMAT)
		return fault_set(f, rc,
				 "%s: damaged, or not a guardian's database (%s): put it back from "
				 "a backup",
				 q->path, sqlite3_errmsg(q->handle));
	if (rc == -EEXIST || rc == ERR_STATE)
		return fault_set(f, rc, "%s: %s", q->path, sqlite3_errmsg(q->handle));
	return fault_set(f, rc, "%s: %s: nothing was done", q->path, err_text(rc));
}

static void close_it(struct sqlite *q)
{
	if (!q)
		return;
	for (int i = 0; i < SQL_COUNT; i++)
		sqlite3_finalize(q->prepared[i]);
	sqlite3_close(q->handle);
	free(q);
}

static inline void cleanup_sqlite(struct sqlite **q)
{
	close_it(*q);
}

static void db_close(struct db *d)
{
	close_it(of(d));
}

static int exec(struct sqlite *q, const char *sql, struct fault *f)
{
	int code = sqlite3_exec(q->handle, sql, NULL, NULL, NULL);
	return code == SQLITE_OK ? 0 : failed(q, code, f);
}

/* What no setting in the file or in the library's build may change. */
static int harden(struct sqlite *q)
{
	static const struct {
		int option, value;
	} CONFIG[] = {
		{ SQLITE_DBCONFIG_DEFENSIVE, 1 },   { SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0 },
		{ SQLITE_DBCONFIG_ENABLE_FKEY, 1 }, { SQLITE_DBCONFIG_ENABLE_TRIGGER, 1 },
		{ SQLITE_DBCONFIG_DQS_DML, 0 },	    { SQLITE_DBCONFIG_DQS_DDL, 0 },
		{ SQLITE_DBCONFIG_ENABLE_VIEW, 0 }, { SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0 },
	};
	static const struct {
		int limit, value;
	} LIMITS[] = {
		{ SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX },
		{ SQLITE_LIMIT_SQL_LENGTH, STATEMENTS_BYTES },
		{ SQLITE_LIMIT_ATTACHED, 0 },
		{ SQLITE_LIMIT_COLUMN, COLUMNS_MAX },
	};
	int code = sqlite3_extended_result_codes(q->handle, 1);
	for (size_t i = 0; code == SQLITE_OK && i < sizeof(CONFIG) / sizeof(CONFIG[0]); i++) {
		int got = -1;
		code = sqlite3_db_config(q->handle, CONFIG[i].option, CONFIG[i].value, &got);
		if (code == SQLITE_OK && got != CONFIG[i].value)
			code = SQLITE_MISUSE;
	}
	for (size_t i = 0; i < sizeof(LIMITS) / sizeof(LIMITS[0]); i++)
		sqlite3_limit(q->handle, LIMITS[i].limit, LIMITS[i].value);
	if (code == SQLITE_OK)
		code = sqlite3_busy_timeout(q->handle, STORE_BUSY_MS);
	return code;
}

static int open_handle(const char *path, struct sqlite **out, struct fault *f)
{
	size_t n = strlen(path) + 1;
	/* Other spellings mean other things to SQLite: in memory, temporary, a URI. */
	if (path[0] != '/')
		return fault_set(f, ERR_USAGE, "%s: the database's path must begin with '/'", path);
	struct sqlite *q = calloc(1, sizeof(*q) + n);
	if (!q)
		return fault_set(f, -ENOMEM, "no memory for the database");
	memcpy(q->path, path, n);
	int code = sqlite3_open_v2(path, &q->handle,
				   SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW |
					   SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE,
				   NULL);
	if (code == SQLITE_OK)
		code = harden(q);
	int rc = code == SQLITE_OK ? 0 : failed(q, code, f);
	/* SQLite falls back to reading by itself. */
	if (rc == 0 && sqlite3_db_readonly(q->handle, "main") != 0)
		rc = fault_set(f, -EROFS, "%s: the database can only be read: nothing was done",
			       path);
	if (rc < 0) {
		close_it(q);
		return rc;
	}
	*out = q;
	return 0;
}

/* The one integer that SQL gives.  */
static int one_integer(struct sqlite *q, const char *sql, int64_t *out, struct fault *f)
{
	sqlite3_stmt *s = NULL;
	int code = sqlite3_prepare_v2(q->handle, sql, -1, &s, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_step(s);
	int rc = 0;
	if (code == SQLITE_ROW && sqlite3_column_type(s, 0) == SQLITE_INTEGER)
		*out = sqlite3_column_int64(s, 0);
	else if (code == SQLITE_ROW || code == SQLITE_DONE)
		rc = fault_set(f, ERR_FORMAT, "%s: not a guardian's database", q->path);
	else
		rc = failed(q, code, f);
	sqlite3_finalize(s);
	return rc;
}

static int check_version(struct sqlite *q, struct fault *f)
{
	int64_t version = 0;
	int rc = one_integer(q, "SELECT version FROM guardian WHERE one = 1", &version, f);
	return rc < 0 ? rc : store_version_check(q->path, version, f);
}

/* Modes of this connection, each looked at after it was set: SQLite ignores what it cannot do. */
static int set_modes(struct sqlite *q, struct fault *f)
{
	int64_t synchronous = 0, keys = 0;
	int rc = exec(q, "PRAGMA synchronous = FULL", f);
	if (rc >= 0)
		rc = exec(q, "PRAGMA recursive_triggers = ON", f);
	if (rc >= 0)
		rc = exec(q, "PRAGMA cell_size_check = ON", f);
	if (rc >= 0)
		rc = one_integer(q, "PRAGMA synchronous", &synchronous, f);
	if (rc >= 0)
		rc = one_integer(q, "PRAGMA foreign_keys", &keys, f);
	if (rc < 0)
		return rc;
	if (synchronous != 2 || keys != 1)
		return fault_set(f, ERR_STATE, "%s: SQLite does not do what is asked of it",
				 q->path);
	return 0;
}

/* In WAL, which is a property of the file and needs the folder to be writable. */
static int set_wal(struct sqlite *q, struct fault *f)
{
	sqlite3_stmt *s = NULL;
	int code = sqlite3_prepare_v2(q->handle, "PRAGMA journal_mode = WAL", -1, &s, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_step(s);
	int rc = 0;
	if (code != SQLITE_ROW)
		rc = failed(q, code, f);
	else if (strcmp((const char *)sqlite3_column_text(s, 0), "wal") != 0)
		rc = fault_set(f, ERR_STATE,
			       "%s: cannot be in WAL mode; is it on a network's file system?",
			       q->path);
	sqlite3_finalize(s);
	return rc;
}

int store_sqlite_create(const char *path, struct fault *f)
{
	CLEANUP(cleanup_sqlite) struct sqlite *q = NULL;
	CLEANUP_FD int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return fault_set(f, -errno, "%s: %s", path, err_text(-errno));
	int rc = open_handle(path, &q, f);
	if (rc >= 0)
		rc = set_wal(q, f);
	if (rc >= 0)
		rc = set_modes(q, f);
	if (rc >= 0)
		rc = exec(q, "BEGIN IMMEDIATE", f);
	if (rc >= 0)
		rc = exec(q, STORE_SCHEMA_SQLITE, f);
	if (rc >= 0)
		rc = exec(q, "COMMIT", f);
	if (rc < 0)
		unlink(path);
	return rc;
}

static int prepare_all(struct sqlite *q, struct fault *f)
{
	for (int i = 0; i < SQL_COUNT; i++) {
		int code = sqlite3_prepare_v3(q->handle, STORE_SQL[i].text, -1,
					      SQLITE_PREPARE_PERSISTENT, &q->prepared[i], NULL);
		if (code != SQLITE_OK)
			return failed(q, code, f);
	}
	return 0;
}

static int check_mode(const char *path, struct fault *f)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return fault_set(f, -errno, "%s: %s", path, err_text(-errno));
	if (st.st_mode & 077)
		return fault_set(f, ERR_POLICY,
				 "%s: a guardian's database that others may use (mode %04o): chmod "
				 "600 it",
				 path, (unsigned int)st.st_mode & 07777);
	return 0;
}

static int db_begin(struct db *d, struct fault *f)
{
	return exec(of(d), "BEGIN IMMEDIATE", f);
}

static void db_rollback(struct db *d)
{
	/* After some errors SQLite has done so by itself. */
	if (sqlite3_get_autocommit(of(d)->handle) == 0)
		(void)sqlite3_exec(of(d)->handle, "ROLLBACK", NULL, NULL, NULL);
}

static int db_commit(struct db *d, struct fault *f)
{
	if (sqlite3_get_autocommit(of(d)->handle) != 0)
		return fault_set(f, ERR_STATE, "%s: the transaction is no longer open",
				 of(d)->path);
	return exec(of(d), "COMMIT", f);
}

/* integrity_check gives the text "ok", foreign_key_check no row at all. */
static int db_check(struct db *d, struct fault *f)
{
	static const struct {
		const char *sql, *good;
	} CHECKS[] = { { "PRAGMA integrity_check(1)", "ok" },
		       { "PRAGMA foreign_key_check", NULL } };
	struct sqlite *q = of(d);
	for (size_t i = 0; i < sizeof(CHECKS) / sizeof(CHECKS[0]); i++) {
		sqlite3_stmt *s = NULL;
		int code = sqlite3_prepare_v2(q->handle, CHECKS[i].sql, -1, &s, NULL);
		if (code == SQLITE_OK)
			code = sqlite3_step(s);
		int good = CHECKS[i].good ? code == SQLITE_ROW &&
						    strcmp((const char *)sqlite3_column_text(s, 0),
							   CHECKS[i].good) == 0
					  : code == SQLITE_DONE;
		int rc = 0;
		if (!good && (code == SQLITE_ROW || code == SQLITE_DONE))
			rc = fault_set(f, ERR_FORMAT, "%s: damaged: put it back from a backup",
				       q->path);
		else if (!good)
			rc = failed(q, code, f);
		sqlite3_finalize(s);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Bind ARGS by the parameters' names: $1 is the first of them, wherever it stands in the text. */
static int bind_all(sqlite3_stmt *s, const struct db_value *args, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char name[8];
		snprintf(name, sizeof(name), "$%u", i + 1);
		int at = sqlite3_bind_parameter_index(s, name), code = SQLITE_MISUSE;
		switch (args[i].type) {
		case DB_NULL:
			code = sqlite3_bind_null(s, at);
			break;
		case DB_INTEGER:
			code = sqlite3_bind_int64(s, at, args[i].integer);
			break;
		case DB_TEXT:
			code = sqlite3_bind_text64(s, at, args[i].data, args[i].n, SQLITE_STATIC,
						   SQLITE_UTF8);
			break;
		case DB_BLOB:
			code = sqlite3_bind_blob64(s, at, args[i].data, args[i].n, SQLITE_STATIC);
			break;
		}
		if (code != SQLITE_OK)
			return code;
	}
	return SQLITE_OK;
}

static void read_row(sqlite3_stmt *s, struct db_value row[static COLUMNS_MAX], int n)
{
	for (int i = 0; i < n; i++) {
		switch (sqlite3_column_type(s, i)) {
		case SQLITE_INTEGER:
			row[i] = db_integer(sqlite3_column_int64(s, i));
			break;
		case SQLITE_TEXT: {
			const unsigned char *text = sqlite3_column_text(s, i);
			row[i] = db_text_n((const char *)text, (size_t)sqlite3_column_bytes(s, i));
			break;
		}
		case SQLITE_BLOB: {
			const void *blob = sqlite3_column_blob(s, i);
			row[i] = db_blob(blob, (size_t)sqlite3_column_bytes(s, i));
			break;
		}
		default:
			row[i] = db_null();
		}
	}
}

static int db_run(struct db *d, enum store_sql sql, const struct db_value *args, db_row_fn *fn,
		  void *arg, struct fault *f)
{
	struct sqlite *q = of(d);
	sqlite3_stmt *s = q->prepared[sql];
	int found = 0, rc = 0, code = bind_all(s, args, STORE_SQL[sql].n_args);
	while (code == SQLITE_OK || code == SQLITE_ROW) {
		code = sqlite3_step(s);
		if (code != SQLITE_ROW)
			break;
		struct db_value row[COLUMNS_MAX];
		int n = sqlite3_column_count(s);
		read_row(s, row, n);
		if (sqlite3_errcode(q->handle) == SQLITE_NOMEM) {
			code = SQLITE_NOMEM; /* a value was left out */
			break;
		}
		found++;
		rc = fn ? fn(row, (size_t)n, arg, f) : 0;
		if (rc < 0)
			break;
	}
	if (rc >= 0 && code != SQLITE_DONE)
		rc = failed(q, code, f);
	else if (rc >= 0)
		rc = STORE_SQL[sql].writes ? sqlite3_changes(q->handle) : found;
	/* Its own result repeats what sqlite3_step() said. */
	(void)sqlite3_reset(s);
	(void)sqlite3_clear_bindings(s);
	return rc;
}

static const struct db_engine ENGINE = {
	.close = db_close,
	.check = db_check,
	.begin = db_begin,
	.commit = db_commit,
	.rollback = db_rollback,
	.run = db_run,
};

int store_sqlite_open(const char *path, struct db **out, struct fault *f)
{
	CLEANUP(cleanup_sqlite) struct sqlite *q = NULL;
	int rc = check_mode(path, f);
	if (rc >= 0)
		rc = open_handle(path, &q, f);
	if (rc >= 0)
		rc = check_version(q, f);
	if (rc >= 0)
		rc = set_wal(q, f);
	if (rc >= 0)
		rc = set_modes(q, f);
	if (rc >= 0)
		rc = prepare_all(q, f);
	if (rc < 0)
		return rc;
	q->db.engine = &ENGINE;
	*out = &q->db;
	q = NULL;
	return 0;
}

int store_sqlite_copy(const char *path, struct buf *out, struct fault *f)
{
	struct db *d = NULL;
	sqlite3_int64 size = 0;
	int rc = store_sqlite_open(path, &d, f);
	if (rc < 0)
		return rc;
	/* One reading of all pages, with what only the log has of them. */
	unsigned char *image = sqlite3_serialize(of(d)->handle, "main", &size, 0);
	rc = image ? buf_add(out, image, (size_t)size) : -ENOMEM;
	sqlite3_free(image);
	db_close(d);
	return rc < 0 ? fault_set(f, rc, "%s: the database cannot be copied: %s", path,
				  err_text(rc))
		      : 0;
}
