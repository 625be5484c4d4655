/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guardian's database in SQL: its tables, and every statement by name.  Private to
 * guardian/store*.c.
 */
#ifndef SHIELDVM_GUARDIAN_STORE_SQL_H
#define SHIELDVM_GUARDIAN_STORE_SQL_H

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

#endif
