/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PostgreSQL under guardian/store_db.h: one database for several guardians.  Nobody else connects
 * with its library.
 *
 * A transaction that writes takes EXCLUSIVE on the table guardian before its first statement, and
 * so before its SERIALIZABLE snapshot: decisions follow each other as under SQLite's BEGIN
 * IMMEDIATE, each sees what the one before it committed, and readers never wait.  SERIALIZABLE
 * stands behind that, against a program that writes without the lock.
 *
 * Everything ends in time: connecting, a lock, a statement (by the server), an answer (here, when
 * the server does not say a word), and a transaction whose guardian is gone.  A connection that was
 * lost is made anew by the next decision or reading, never inside a transaction.
 */
#include <endian.h>
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "guardian/store_db.h"
#include "guardian/store_url.h"

#define COLUMNS_MAX 16
#define ANSWER_MS   20000  /* more than the server's own statement_timeout */
#define CHECK_MS    600000 /* for reading everything */

/* What the server calls our types (pg_type.dat). */
enum { OID_BYTES = 17, OID_INT8 = 20, OID_INT4 = 23, OID_TEXT = 25 };

struct postgres {
	struct db db; /* must be first */
	PGconn *conn; /* NULL: the next use connects */
	int in_transaction;
	unsigned char types[SQL_COUNT][COLUMNS_MAX]; /* of the parameters */
	char url[STORE_URL_MAX];
};

static struct postgres *of(struct db *d)
{
	return (struct postgres *)d;
}

static void disconnect(struct postgres *p)
{
	PQfinish(p->conn);
	p->conn = NULL;
}

/* libpq's word on the connection, in one line.  It has no password: it was never given one. */
static const char *connection_says(const PGconn *conn, char out[static FAULT_TEXT_MAX / 2])
{
	snprintf(out, FAULT_TEXT_MAX / 2, "%s", conn ? PQerrorMessage(conn) : "no memory");
	size_t n = strlen(out);
	while (n && (out[n - 1] == '\n' || out[n - 1] == ' '))
		out[--n] = 0;
	for (char *c = strchr(out, '\n'); c; c = strchr(c, '\n'))
		*c = ' ';
	return out;
}

/* The error for SQLSTATE, by its whole or its class (PostgreSQL's appendix A). */
static int error_of(const char *state)
{
	static const struct {
		const char *begins;
		int rc;
	} ERRORS[] = {
		{ "23505", -EEXIST }, /* unique_violation */
		{ "42P06", -EEXIST }, /* duplicate_schema */
		{ "23", ERR_STATE },  /* another of the tables' rules */
		{ "22", ERR_STATE },  /* a value that its column cannot hold */
		{ "55P03", -EBUSY },  /* lock_not_available */
		{ "40", -EAGAIN },    /* serialization_failure, deadlock_detected */
		{ "57014", -ETIMEDOUT }, { "25006", -EROFS },  { "53100", -ENOSPC },
		{ "53200", -ENOMEM },	 { "54", ERR_LIMIT },  { "42501", -EACCES },
		{ "28", -EACCES },	 { "42", ERR_FORMAT }, /* a statement that does not fit the
								  tables */
		{ "3F", ERR_FORMAT },			       /* no such schema */
		{ "XX", ERR_FORMAT },			       /* damaged */
	};
	for (size_t i = 0; i < sizeof(ERRORS) / sizeof(ERRORS[0]); i++)
		if (strncmp(state, ERRORS[i].begins, strlen(ERRORS[i].begins)) == 0)
			return ERRORS[i].rc;
	return -EIO;
}

/* Say what is wrong with R, which is no good result.  Only the primary message is used: it names
 * tables and rules, the details would have values. */
static int failed(struct postgres *p, const PGresult *r, struct fault *f)
{
	char says[FAULT_TEXT_MAX / 2];
	const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
	const char *text = r ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	if (!state || PQstatus(p->conn) != CONNECTION_OK) {
		int rc = fault_set(f, -ENOTCONN,
				   "%s: the connection to the database was lost (%s): nothing was "
				   "done",
				   p->url, connection_says(p->conn, says));
		disconnect(p);
		return rc;
	}
	int rc = error_of(state);
	if (rc == -EBUSY)
		return fault_set(f, rc,
				 "%s: held by another process for more than %d s: nothing was done",
				 p->url, STORE_BUSY_MS / 1000);
	if (rc == -EAGAIN)
		return fault_set(f, -EBUSY,
				 "%s: another process changed the same (%s): nothing was done, try "
				 "again",
				 p->url, state);
	if (rc == ERR_FORMAT)
		return fault_set(f, rc, "%s: damaged, or not a guardian's database (%s)", p->url,
				 text ? text : state);
	if (rc == -EEXIST || rc == ERR_STATE)
		return fault_set(f, rc, "%s: %s", p->url, text ? text : state);
	return fault_set(f, rc, "%s: %s (%s): nothing was done", p->url, text ? text : err_text(rc),
			 state);
}

/* Wait for what was sent to be answered; the last result, or NULL if the connection is of no more
 * use. */
static PGresult *answer(struct postgres *p, int64_t deadline)
{
	PGresult *last = NULL;
	int unsent = 1;
	for (;;) {
		if (unsent && (unsent = PQflush(p->conn)) < 0)
			break;
		while (!unsent && !PQisBusy(p->conn)) {
			PGresult *r = PQgetResult(p->conn);
			if (!r)
				return last;
			/* The first failure is the one that counts. */
			if (last && PQresultStatus(last) == PGRES_FATAL_ERROR) {
				PQclear(r);
				continue;
			}
			PQclear(last);
			last = r;
		}
		struct pollfd fd = { .fd = PQsocket(p->conn),
				     .events = (short)(POLLIN | (unsent ? POLLOUT : 0)) };
		int n = poll(&fd, 1, clock_left_ms(deadline));
		if (n == 0 || (n < 0 && errno != EINTR) || (n > 0 && !PQconsumeInput(p->conn)))
			break;
	}
	PQclear(last);
	return NULL;
}

/* The result, or NULL with the fault set and RC. */
static PGresult *take(struct postgres *p, int sent, int64_t ms, int *rc, struct fault *f)
{
	PGresult *r = sent ? answer(p, clock_ms() + ms) : NULL;
	ExecStatusType status = r ? PQresultStatus(r) : PGRES_FATAL_ERROR;
	*rc = 0;
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return r;
	if (!r && PQstatus(p->conn) == CONNECTION_OK) {
		*rc = fault_set(f, -ETIMEDOUT, "%s: the database does not answer: nothing was done",
				p->url);
		disconnect(p);
	} else {
		*rc = failed(p, r, f);
	}
	PQclear(r);
	return NULL;
}

/* Run fixed texts that have no parameters. */
static int exec(struct postgres *p, const char *sql, struct fault *f)
{
	int rc;
	PQclear(take(p, PQsendQuery(p->conn, sql), ANSWER_MS, &rc, f));
	return rc;
}

/* The one integer that SQL gives. */
static int one_integer(struct postgres *p, const char *sql, int64_t ms, int64_t *out,
		       struct fault *f)
{
	int rc;
	PGresult *r = take(p, PQsendQuery(p->conn, sql), ms, &rc, f);
	if (!r)
		return rc;
	if (PQntuples(r) == 1 && PQnfields(r) == 1 && !PQgetisnull(r, 0, 0))
		*out = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
	else
		rc = fault_set(f, ERR_FORMAT, "%s: not a guardian's database", p->url);
	PQclear(r);
	return rc;
}

static void no_notice(__attribute__((unused)) void *arg, __attribute__((unused)) const PGresult *r)
{
}

/* Connect for sessions of which TARGET is demanded.  What stands before the URL is a default, what
 * stands behind it is not the operator's to change. */
static PGconn *connect_for(const char *url, const char *target)
{
	/* clang-format off */
	const char *const names[] = {
		"sslmode", "dbname", "target_session_attrs", "connect_timeout", "client_encoding",
		"gssencmode", "keepalives", "keepalives_idle", "keepalives_interval",
		"keepalives_count", "tcp_user_timeout", "application_name", NULL };
	const char *const values[] = {
		"verify-full", url, target, "5", "UTF8", "disable", "1", "5", "2", "3", "10000",
		"shieldvm-guardian", NULL };
	/* clang-format on */
	_Static_assert(sizeof(names) == sizeof(values), "each name has a value");
	PGconn *conn = PQconnectdbParams(names, values, 1);
	if (conn)
		PQsetNoticeReceiver(conn, no_notice, NULL);
	return conn;
}

static int reach(struct postgres *p, struct fault *f)
{
	char says[FAULT_TEXT_MAX / 2];
	p->conn = connect_for(p->url, "read-write");
	if (PQstatus(p->conn) == CONNECTION_OK && PQsetnonblocking(p->conn, 1) == 0)
		return 0;
	int rc = fault_set(f, -ENOTCONN, "%s: cannot reach the database: %s", p->url,
			   connection_says(p->conn, says));
	disconnect(p);
	/* libpq has no code for "there, but only to be read". */
	PGconn *any = connect_for(p->url, "any");
	if (f && PQstatus(any) == CONNECTION_OK)
		*f = (struct fault){ 0 };
	if (PQstatus(any) == CONNECTION_OK)
		rc = fault_set(f, -EROFS, "%s: the database can only be read: nothing was done",
			       p->url);
	PQfinish(any);
	return rc;
}

/* What no setting of the server, the database or the role may change. */
static int set_modes(struct postgres *p, struct fault *f)
{
	char limits[256];
	int64_t good = 0;
	int rc = exec(p,
		      "SET search_path = pg_catalog, shieldvm_guardian, pg_temp;"
		      "SET idle_in_transaction_session_timeout = '30s';"
		      "SET tcp_keepalives_idle = 5;"
		      "SET tcp_keepalives_interval = 2;"
		      "SET tcp_keepalives_count = 3;"
		      "SET row_security = off;"
		      "SELECT set_config('synchronous_commit', 'on', false) WHERE "
		      "current_setting('synchronous_commit') IN ('off', 'local')",
		      f);
	snprintf(limits, sizeof(limits), "SET lock_timeout = %d; SET statement_timeout = %d",
		 STORE_BUSY_MS, 2 * STORE_BUSY_MS);
	if (rc >= 0)
		rc = exec(p, limits, f);
	if (rc >= 0)
		rc = one_integer(p,
				 "SELECT (current_setting('fsync') = 'on' AND "
				 "current_setting('full_page_writes') = 'on' AND "
				 "current_setting('session_replication_role') = 'origin')::int",
				 ANSWER_MS, &good, f);
	if (rc >= 0 && !good)
		rc = fault_set(f, ERR_STATE,
			       "%s: the server's settings (fsync, full_page_writes, "
			       "session_replication_role) let it lose what was committed, or break "
			       "its tables' rules",
			       p->url);
	return rc;
}

static int check_version(struct postgres *p, struct fault *f)
{
	int64_t version = 0, rules = 0, others = 0;
	int rc = one_integer(p, "SELECT version FROM shieldvm_guardian.guardian WHERE one = 1",
			     ANSWER_MS, &version, f);
	if (rc >= 0)
		rc = store_version_check(p->url, version, f);
	if (rc < 0)
		return rc;
	rc = one_integer(p, STORE_POSTGRES_RULES, ANSWER_MS, &rules, f);
	if (rc >= 0 && rules != STORE_POSTGRES_N_RULES)
		rc = fault_set(f, ERR_FORMAT,
			       "%s: %lld of the %d rules of its tables are there and enabled: put "
			       "it back from a backup",
			       p->url, (long long)rules, STORE_POSTGRES_N_RULES);
	if (rc >= 0)
		rc = one_integer(p, STORE_POSTGRES_PUBLIC, ANSWER_MS, &others, f);
	if (rc >= 0 && others != 0)
		rc = fault_set(f, ERR_POLICY,
			       "%s: a guardian's database that everyone may use: REVOKE ALL ON "
			       "SCHEMA shieldvm_guardian, and on its tables, FROM PUBLIC",
			       p->url);
	return rc;
}

/* Prepare statement I, named by its number, and note its parameters' types. */
static int prepare(struct postgres *p, int i, struct fault *f)
{
	char name[16];
	int rc, fits;
	snprintf(name, sizeof(name), "s%d", i);
	PQclear(take(p, PQsendPrepare(p->conn, name, STORE_SQL[i].text, 0, NULL), ANSWER_MS, &rc,
		     f));
	if (rc < 0)
		return rc;
	PGresult *r = take(p, PQsendDescribePrepared(p->conn, name), ANSWER_MS, &rc, f);
	if (!r)
		return rc;
	fits = PQnparams(r) == (int)STORE_SQL[i].n_args && PQnparams(r) <= COLUMNS_MAX &&
	       PQnfields(r) <= COLUMNS_MAX;
	for (int n = 0; fits && n < PQnparams(r); n++)
		p->types[i][n] = PQparamtype(r, n) < 256 ? (unsigned char)PQparamtype(r, n) : 0;
	PQclear(r);
	return fits ? 0 : fault_set(f, ERR_FORMAT, "%s: not a guardian's database", p->url);
}

/* A connection that is ready, if there is none. */
static int ready(struct postgres *p, struct fault *f)
{
	if (p->conn && PQstatus(p->conn) == CONNECTION_OK)
		return 0;
	disconnect(p);
	int rc = reach(p, f);
	if (rc >= 0)
		rc = set_modes(p, f);
	if (rc >= 0)
		rc = check_version(p, f);
	for (int i = 0; rc >= 0 && i < SQL_COUNT; i++)
		rc = prepare(p, i, f);
	if (rc < 0)
		disconnect(p);
	return rc;
}

static void db_close(struct db *d)
{
	disconnect(of(d));
	free(of(d));
}

static int begin_once(struct postgres *p, struct fault *f)
{
	int rc = ready(p, f);
	if (rc >= 0)
		rc = exec(p, "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE", f);
	if (rc >= 0)
		rc = exec(p, "LOCK TABLE ONLY shieldvm_guardian.guardian IN EXCLUSIVE MODE", f);
	if (rc < 0 && p->conn && exec(p, "ROLLBACK", NULL) < 0)
		disconnect(p);
	return rc;
}

static int db_begin(struct db *d, struct fault *f)
{
	struct postgres *p = of(d);
	struct fault lost = { 0 };
	int had = p->conn != NULL, rc = begin_once(p, had ? &lost : f);
	/* What was lost while nothing was asked of it is nobody's concern. */
	if (had && rc == -ENOTCONN)
		rc = begin_once(p, f);
	else if (had && rc < 0)
		rc = fault_set(f, rc, "%s", lost.text);
	p->in_transaction = rc >= 0;
	return rc;
}

static void db_rollback(struct db *d)
{
	struct postgres *p = of(d);
	p->in_transaction = 0;
	if (p->conn && PQtransactionStatus(p->conn) != PQTRANS_IDLE &&
	    exec(p, "ROLLBACK", NULL) < 0)
		disconnect(p);
}

static int db_commit(struct db *d, struct fault *f)
{
	struct postgres *p = of(d);
	struct fault lost = { 0 };
	p->in_transaction = 0;
	if (!p->conn || PQtransactionStatus(p->conn) != PQTRANS_INTRANS)
		return fault_set(f, ERR_STATE, "%s: the transaction is no longer open", p->url);
	int rc = exec(p, "COMMIT", &lost);
	if (rc == -ENOTCONN || rc == -ETIMEDOUT) {
		disconnect(p);
		return fault_set(f, rc,
				 "%s: the connection to the database was lost amid a commit: look "
				 "whether it was done before asking again",
				 p->url);
	}
	return rc < 0 ? fault_set(f, rc, "%s", lost.text) : 0;
}

static int db_check(struct db *d, struct fault *f)
{
	struct postgres *p = of(d);
	int rc = ready(p, f);
	if (rc >= 0)
		rc = check_version(p, f);
	if (rc >= 0)
		rc = exec(p, "SET statement_timeout = 0", f);
	for (size_t i = 0; rc >= 0 && STORE_POSTGRES_CHECKS[i]; i++) {
		int64_t bad = -1;
		rc = one_integer(p, STORE_POSTGRES_CHECKS[i], CHECK_MS, &bad, f);
		if (rc >= 0 && bad != 0)
			rc = fault_set(f, ERR_FORMAT, "%s: damaged: put it back from a backup",
				       p->url);
	}
	/* The next use sets the limit again. */
	disconnect(p);
	return rc;
}

/* Send statement SQL with ARGS, all in the binary form. */
static int send(struct postgres *p, enum store_sql sql, const struct db_value *args)
{
	static const unsigned char OIDS[] = {
		[DB_INTEGER] = OID_INT8, [DB_TEXT] = OID_TEXT, [DB_BLOB] = OID_BYTES
	};
	uint64_t integers[COLUMNS_MAX];
	const char *values[COLUMNS_MAX] = { 0 };
	int lengths[COLUMNS_MAX] = { 0 }, forms[COLUMNS_MAX];
	char name[16];
	unsigned n = STORE_SQL[sql].n_args;
	for (unsigned i = 0; i < n; i++) {
		forms[i] = 1;
		if (args[i].type == DB_NULL)
			continue;
		if (OIDS[args[i].type] != p->types[sql][i] || args[i].n > STORE_POLICY_MAX)
			return ERR_USAGE;
		integers[i] = htobe64((uint64_t)args[i].integer);
		int whole = args[i].type == DB_INTEGER;
		/* An empty text is one, and no NULL. */
		values[i] = whole ? (const char *)&integers[i] : args[i].n ? args[i].data : "";
		lengths[i] = whole ? (int)sizeof(integers[i]) : (int)args[i].n;
	}
	snprintf(name, sizeof(name), "s%d", (int)sql);
	return PQsendQueryPrepared(p->conn, name, (int)n, values, lengths, forms, 1);
}

static int read_row(const PGresult *r, int row, struct db_value out[static COLUMNS_MAX])
{
	for (int i = 0; i < PQnfields(r); i++) {
		const char *data = PQgetvalue(r, row, i);
		size_t n = (size_t)PQgetlength(r, row, i);
		uint64_t large;
		uint32_t small;
		if (PQgetisnull(r, row, i)) {
			out[i] = db_null();
		} else if (PQftype(r, i) == OID_INT8 && n == sizeof(large)) {
			memcpy(&large, data, n);
			out[i] = db_integer((int64_t)be64toh(large));
		} else if (PQftype(r, i) == OID_INT4 && n == sizeof(small)) {
			memcpy(&small, data, n);
			out[i] = db_integer((int32_t)be32toh(small));
		} else if (PQftype(r, i) == OID_TEXT) {
			out[i] = db_text_n(data, n);
		} else if (PQftype(r, i) == OID_BYTES) {
			out[i] = db_blob(data, n);
		} else {
			return ERR_FORMAT;
		}
	}
	return 0;
}

static PGresult *run_once(struct postgres *p, enum store_sql sql, const struct db_value *args,
			  int *rc, struct fault *f)
{
	/* Inside a transaction a new connection would be another one. */
	if (p->in_transaction && !p->conn)
		*rc = fault_set(f, -ENOTCONN, "%s: the connection to the database was lost",
				p->url);
	else
		*rc = ready(p, f);
	if (*rc < 0)
		return NULL;
	int sent = send(p, sql, args);
	if (sent != ERR_USAGE)
		return take(p, sent, ANSWER_MS, rc, f);
	*rc = fault_set(f, ERR_USAGE, "statement %d takes other values", sql);
	return NULL;
}

static int db_run(struct db *d, enum store_sql sql, const struct db_value *args, db_row_fn *fn,
		  void *arg, struct fault *f)
{
	struct postgres *p = of(d);
	struct db_value row[COLUMNS_MAX];
	struct fault lost = { 0 };
	int rc, may_again = !p->in_transaction && p->conn;
	PGresult *r = run_once(p, sql, args, &rc, &lost);
	if (!r && may_again && rc == -ENOTCONN) {
		lost = (struct fault){ 0 };
		r = run_once(p, sql, args, &rc, &lost);
	}
	if (!r)
		return fault_set(f, rc, "%s", lost.text);
	int found = PQntuples(r);
	if (PQnfields(r) > COLUMNS_MAX)
		rc = ERR_FORMAT;
	for (int i = 0; rc >= 0 && i < found; i++) {
		rc = read_row(r, i, row);
		if (rc < 0)
			(void)fault_set(f, rc, "%s: not a guardian's database", p->url);
		else if (fn)
			rc = fn(row, (size_t)PQnfields(r), arg, f);
	}
	if (rc >= 0)
		rc = STORE_SQL[sql].writes ? atoi(PQcmdTuples(r)) : found;
	PQclear(r);
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

static int make(const char *url, struct postgres **out, struct fault *f)
{
	int rc = store_url_check(url, f);
	if (rc < 0)
		return rc;
	struct postgres *p = calloc(1, sizeof(*p));
	if (!p)
		return fault_set(f, -ENOMEM, "no memory for the database");
	p->db.engine = &ENGINE;
	memcpy(p->url, url, strlen(url));
	*out = p;
	return 0;
}

int store_postgres_create(const char *url, struct fault *f)
{
	struct postgres *p = NULL;
	int rc = make(url, &p, f);
	if (rc < 0)
		return rc;
	rc = reach(p, f);
	if (rc >= 0)
		rc = set_modes(p, f);
	/* What is sent in one piece is done as a whole or not at all. */
	if (rc >= 0)
		rc = exec(p, STORE_SCHEMA_POSTGRES, f);
	db_close(&p->db);
	return rc;
}

int store_postgres_open(const char *url, struct db **out, struct fault *f)
{
	struct postgres *p = NULL;
	int rc = make(url, &p, f);
	if (rc < 0)
		return rc;
	rc = ready(p, f);
	if (rc < 0) {
		db_close(&p->db);
		return rc;
	}
	*out = &p->db;
	return 0;
}
