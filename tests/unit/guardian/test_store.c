/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/guardian/store_bed.h"

#include <errno.h>
#include <sys/stat.h>

static const uint8_t VM[UUID_BYTES] = { 0xde, 0xad };
static const char OWNER[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ";

#ifndef STORE_BED_POSTGRES
#include <sqlite3.h>

/* Run SQL behind the store's back; SQLite's text if it refuses, "" if it does not. */
static const char *raw(const char *sql)
{
	static char said[256];
	sqlite3 *d = NULL;
	char *error = NULL;
	said[0] = 0;
	assert_int_equal(sqlite3_open_v2(path, &d, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	sqlite3_exec(d, "PRAGMA foreign_keys = ON", NULL, NULL, NULL);
	sqlite3_exec(d, "PRAGMA recursive_triggers = ON", NULL, NULL, NULL);
	if (sqlite3_exec(d, sql, NULL, NULL, &error) != SQLITE_OK)
		snprintf(said, sizeof(said), "%s", error);
	sqlite3_free(error);
	sqlite3_close(d);
	return said;
}

static void test_makes_one_database(void **state)
{
	(void)state;
	struct stat st;
	struct store *s = NULL;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	REFUSED(-EEXIST, "exists", store_create(path, &f));
	REFUSED(ERR_USAGE, "must begin with '/'", store_create("guardian-relative.db", &f));
	assert_int_equal(access("guardian-relative.db", F_OK), -1);
	CLEANUP_STORE struct store *good = bed_open();
	GOOD(store_check(good, &f));
	assert_int_equal(stat(path, &st), 0);
	char wal[96];
	snprintf(wal, sizeof(wal), "%s-wal", path);
	assert_int_equal(stat(wal, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(chmod(path, 0640), 0);
	REFUSED(ERR_POLICY, "mode 0640", store_open(path, &s, &f));
	assert_int_equal(chmod(path, 0600), 0);
	char link[96];
	snprintf(link, sizeof(link), "%s/link.db", folder);
	assert_int_equal(symlink(path, link), 0);
	assert_true(store_open(link, &s, NULL) < 0);
	snprintf(link, sizeof(link), "%s/none.db", folder);
	REFUSED(-ENOENT, "none.db", store_open(link, &s, &f));
	assert_null(s);
}

static void test_refuses_other_files(void **state)
{
	(void)state;
	struct store *s = NULL;
	assert_int_equal(unlink(path), 0);
	FILE *file = fopen(path, "w");
	fputs("This is no database, whatever its name says, and has a line more than a header.\n"
	      "This is no database, whatever its name says, and has a line more than a header.\n",
	      file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0600), 0);
	REFUSED(ERR_FORMAT, "not a guardian's database", store_open(path, &s, &f));
	assert_int_equal(unlink(path), 0);
	file = fopen(path, "w");
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0600), 0);
	REFUSED(ERR_FORMAT, "not a guardian's database", store_open(path, &s, &f));
	assert_null(s);
}
#endif

static void test_refuses_other_versions(void **state)
{
	(void)state;
	struct store *s = NULL;
	assert_string_equal(raw("UPDATE guardian SET version = 3"), "");
	REFUSED(ERR_VERSION, "made by a newer program", store_open(path, &s, &f));
	assert_string_equal(raw("UPDATE guardian SET version = 0"), "");
	REFUSED(ERR_FORMAT, "version 0", store_open(path, &s, &f));
	assert_string_equal(raw("UPDATE guardian SET version = 1"), "");
	REFUSED(ERR_FORMAT, "version 1", store_open(path, &s, &f));
	assert_string_equal(raw("UPDATE guardian SET version = 2"), "");
	assert_string_equal(raw("ALTER TABLE vms RENAME COLUMN holder TO keeper"), "");
	REFUSED(ERR_FORMAT, "damaged", store_open(path, &s, &f));
	assert_null(s);
}

static void test_transactions_are_whole_or_nothing(void **state)
{
	(void)state;
	CLEANUP_STORE struct store *s = bed_open();
	CLEANUP_STORE struct store *other = bed_open();
	CLEANUP_STORE_HOST struct store_host h, again, got;
	struct store_admin a = { .name = "anna", .role = STORE_REVIEWER, .fingerprint = { 1 } };
	struct store_admin found;
	store_host_init(&got);
	bed_host(&h, 1);
	bed_host(&again, 1);

	/* Outside of one nothing is written. */
	REFUSED(ERR_STATE, "needs a transaction", store_host_add(s, &h, &f));
	REFUSED(ERR_STATE, "no transaction", store_commit(s, &f));
	REFUSED(-ENOENT, "", store_host_get(s, h.id, &got, &f));

	/* After a failure inside one, nothing of it stays, and nothing more is done. */
	GOOD(store_begin(s, &f));
	REFUSED(ERR_STATE, "open already", store_begin(s, &f));
	GOOD(store_host_add(s, &h, &f));
	REFUSED(-ENOENT, "", store_host_get(other, h.id, &got, &f));
	REFUSED(-EEXIST, "with this id", store_host_add(s, &again, &f));
	REFUSED(ERR_STATE, "transaction that is whole", store_admin_add(s, &a, &f));
	REFUSED(ERR_STATE, "nothing was done", store_commit(s, &f));
	REFUSED(-ENOENT, "", store_host_get(s, h.id, &got, &f));

	/* What is left open is undone, by leaving the scope or closing. */
	{
		STORE_DECISION(d, s);
		GOOD(store_begin(d, &f));
		GOOD(store_host_add(d, &h, &f));
	}
	REFUSED(-ENOENT, "", store_host_get(s, h.id, &got, &f));
	{
		struct store *third = bed_open();
		GOOD(store_begin(third, &f));
		GOOD(store_host_add(third, &h, &f));
		store_close(third);
	}
	REFUSED(-ENOENT, "", store_host_get(s, h.id, &got, &f));

	GOOD(store_begin(s, &f));
	GOOD(store_host_add(s, &h, &f));
	GOOD(store_admin_add(s, &a, &f));
	GOOD(store_commit(s, &f));
	GOOD(store_host_get(other, h.id, &got, &f));
	GOOD(store_admin_find(other, a.fingerprint, &found, &f));
	assert_string_equal(found.name, "anna");
	assert_int_equal(found.role, STORE_REVIEWER);
}

static void test_a_host_is_itself_alone(void **state)
{
	(void)state;
	CLEANUP_STORE struct store *s = bed_open();
	CLEANUP_STORE_HOST struct store_host got;
	store_host_init(&got);
	bed_add(s, 1);
	static const struct {
		const char *says;
		int id, name, ek, ak, tls;
	} TAKEN[] = {
		{ "host with this id", 1, 0, 0, 0 },
		{ "has this name", 0, 1, 0, 0 },
		{ "this TPM's endorsement key", 0, 0, 1, 0 },
		{ "this attestation key", 0, 0, 0, 1 },
		{ "client certificate's key", 0, 0, 0, 0, 1 },
		{ "host with this id", 1, 1, 1, 1 },
	};
	for (size_t i = 0; i < sizeof(TAKEN) / sizeof(TAKEN[0]); i++) {
		CLEANUP_STORE_HOST struct store_host one, two;
		bed_host(&one, 1);
		bed_host(&two, 2);
		if (TAKEN[i].id)
			memcpy(two.id, one.id, sizeof(one.id));
		if (TAKEN[i].name)
			memcpy(two.name, one.name, sizeof(one.name));
		if (TAKEN[i].ek)
			memcpy(two.ek_id, one.ek_id, sizeof(one.ek_id));
		if (TAKEN[i].tls)
			memcpy(two.tls_key, one.tls_key, sizeof(one.tls_key));
		if (TAKEN[i].ak) {
			buf_clear(&two.ak_pub);
			GOOD(buf_add(&two.ak_pub, one.ak_pub.data, one.ak_pub.len));
		}
		REFUSED_TX(s, -EEXIST, TAKEN[i].says, store_host_add(s, &two, &f));
	}
	GOOD(store_host_get(s, bed_id(1), &got, &f));
	assert_int_equal(got.tls_key[0], 1);
	assert_string_equal(got.name, "host-1");
	assert_int_equal(got.state, STORE_PENDING);
	assert_int_equal(got.mode, STORE_MODE_TPM);
	assert_int_equal(got.enrolled, NOW);
	assert_int_equal(got.reset_count, -1);
	assert_string_equal(got.decided_by, "");
	assert_string_equal(buf_cstr(&got.ak_pub), "ak 1");
	assert_string_equal(buf_cstr(&got.ek_cert), "certificate 1");

	/* The other mode, and what does not fit its mode. */
	CLEANUP_STORE_HOST struct store_host key, same, none;
	store_host_init(&key);
	key.mode = STORE_MODE_HOSTKEY;
	key.id[0] = 9;
	strcpy(key.name, "keyed");
	GOOD(buf_addf(&key.host_key, "{}"));
	GOOD_TX(s, store_host_add(s, &key, &f));
	store_host_init(&same);
	same.mode = STORE_MODE_HOSTKEY;
	same.id[0] = 10;
	strcpy(same.name, "keyed-too");
	same.tls_key[0] = 10;
	REFUSED_TX(s, ERR_USAGE, "without keys", store_host_add(s, &same, &f));
	GOOD(buf_addf(&same.host_key, "{}"));
	REFUSED_TX(s, -EEXIST, "with this key", store_host_add(s, &same, &f));
	bed_host(&none, 11);
	buf_clear(&none.ek_cert);
	REFUSED_TX(s, ERR_USAGE, "without keys", store_host_add(s, &none, &f));
	strcpy(none.name, "Host");
	GOOD(buf_addf(&none.ek_cert, "x"));
	REFUSED_TX(s, ERR_FORMAT, "a name has", store_host_add(s, &none, &f));

	assert_non_null(strstr(raw("UPDATE hosts SET ak_pub = x'00' WHERE name = 'host-1'"),
			       "change only when it is replaced"));
	assert_non_null(strstr(raw("UPDATE hosts SET host_key = 'x', ak_pub = NULL WHERE "
				   "name = 'host-1'"),
			       "change only when it is replaced"));
	assert_non_null(strstr(raw("UPDATE hosts SET tls_key = " ON(
				       "zeroblob(32)",
				       "decode(repeat('00', 32), 'hex')") " WHERE name = 'host-1'"),
			       "change only when it is replaced"));
	assert_non_null(
		strstr(raw("INSERT INTO hosts (id, name, mode, state, enrolled, tls_key) "
			   "VALUES (x'00000000000000000000000000000000', 'x', 'tpm', 'pending', 1, "
			   "" ON("zeroblob(32)", "decode(repeat('00', 32), 'hex')") ")"),
		       ON("CHECK", "check constraint")));
	assert_non_null(strstr(raw("UPDATE hosts SET state = 'approved'"),
			       ON("CHECK", "check constraint")));
}

static int count_hosts(const struct store_host *h, void *arg)
{
	assert_true(h->name[0] != 0);
	return ++*(int *)arg == 3 ? -ECANCELED : 0;
}

static int add_name(const struct store_host *h, void *arg)
{
	return buf_addf(arg, "%s ", h->name);
}

static void test_states_of_a_host(void **state)
{
	(void)state;
	uint8_t before[STORE_FINGERPRINT_BYTES], after[STORE_FINGERPRINT_BYTES];
	CLEANUP_STORE struct store *s = bed_open();
	CLEANUP_STORE_HOST struct store_host got, next;
	store_host_init(&got);
	bed_host(&next, 1);
	next.ek_id[31] = 77;
	bed_add(s, 1);
	bed_add(s, 2);
	REFUSED_TX(s, ERR_STATE, "is approved",
		   store_host_decide(s, bed_id(1), STORE_APPROVED, STORE_REVOKED, NOW, "anna", &f));
	GOOD_TX(s, store_host_decide(s, bed_id(1), STORE_PENDING, STORE_APPROVED, NOW + 1, "anna",
				     &f));
	REFUSED_TX(s, ERR_STATE, "is pending",
		   store_host_decide(s, bed_id(1), STORE_PENDING, STORE_APPROVED, NOW, "anna", &f));
	GOOD(store_host_get(s, bed_id(1), &got, &f));
	GOOD(store_host_fingerprint(&got, before));
	assert_int_equal(got.state, STORE_APPROVED);
	assert_int_equal(got.decided, NOW + 1);
	assert_string_equal(got.decided_by, "anna");

	GOOD_TX(s, store_host_counts(s, bed_id(1), 5, 2, &f));
	GOOD_TX(s, store_host_counts(s, bed_id(1), 5, 2, &f));
	GOOD_TX(s, store_host_counts(s, bed_id(1), 6, 0, &f));
	REFUSED_TX(s, ERR_STATE, "went back", store_host_counts(s, bed_id(1), 5, 9, &f));
	GOOD_TX(s, store_host_counts(s, bed_id(1), 6, 1, &f));
	REFUSED_TX(s, ERR_STATE, "went back", store_host_counts(s, bed_id(1), 6, 0, &f));
	GOOD_TX(s, store_host_counts(s, bed_id(1), UINT32_MAX, UINT32_MAX, &f));
	GOOD(store_host_get(s, bed_id(1), &got, &f));
	assert_int_equal(got.reset_count, UINT32_MAX);

	/* Replacing: only by an admin's word, and then all of it is new. */
	REFUSED_TX(s, -EEXIST, "an admin has to", store_host_add(s, &next, &f));
	GOOD_TX(s,
		store_host_decide(s, bed_id(1), STORE_APPROVED, STORE_REPLACING, NOW, "anna", &f));
	memcpy(next.name, "host-2", 7);
	REFUSED_TX(s, -EEXIST, "has this name", store_host_add(s, &next, &f));
	memcpy(next.name, "host-1", 7);
	GOOD_TX(s, store_host_add(s, &next, &f));
	GOOD(store_host_get(s, bed_id(1), &got, &f));
	GOOD(store_host_fingerprint(&got, after));
	assert_memory_not_equal(before, after, sizeof(before));
	assert_int_equal(got.state, STORE_PENDING);
	assert_int_equal(got.reset_count, -1);
	assert_string_equal(got.decided_by, "");

	int seen = 0;
	GOOD(store_host_each(s, "", 99, count_hosts, &seen, &f));
	assert_int_equal(seen, 2);
	bed_add(s, 3);
	bed_add(s, 4);
	seen = 0;
	assert_int_equal(store_host_each(s, "", 99, count_hosts, &seen, NULL), -ECANCELED);
	assert_int_equal(seen, 3);
	/* In pages, by name. */
	CLEANUP_BUF struct buf names = BUF_INIT(256);
	GOOD(store_host_each(s, "", 2, add_name, &names, &f));
	GOOD(store_host_each(s, "host-2", 2, add_name, &names, &f));
	GOOD(store_host_each(s, "host-4", 2, add_name, &names, &f));
	assert_string_equal(buf_cstr(&names), "host-1 host-2 host-3 host-4 ");
}

static void test_pending_hosts_are_bounded(void **state)
{
	(void)state;
	CLEANUP_STORE struct store *s = bed_open();
	GOOD(store_begin(s, &f));
	for (unsigned i = 0; i < STORE_PENDING_MAX; i++) {
		CLEANUP_STORE_HOST struct store_host h;
		bed_host(&h, i);
		GOOD(store_host_add(s, &h, &f));
	}
	GOOD(store_commit(s, &f));
	CLEANUP_STORE_HOST struct store_host h;
	bed_host(&h, STORE_PENDING_MAX);
	REFUSED_TX(s, ERR_LIMIT, "wait for an admin", store_host_add(s, &h, &f));
	/* Those without a TPM have room of their own. */
	CLEANUP_STORE_HOST struct store_host keyed;
	store_host_init(&keyed);
	keyed.mode = STORE_MODE_HOSTKEY;
	keyed.enrolled = NOW + 1;
	memcpy(keyed.id, bed_id(5000), UUID_BYTES);
	memcpy(keyed.tls_key, bed_id(5000), UUID_BYTES);
	strcpy(keyed.name, "keyed");
	GOOD(buf_addf(&keyed.host_key, "a key"));
	GOOD_TX(s, store_host_add(s, &keyed, &f));
	GOOD_TX(s, store_host_decide(s, bed_id(7), STORE_PENDING, STORE_REVOKED, NOW, "anna", &f));
	GOOD_TX(s, store_host_add(s, &h, &f));

	/* Nobody's word is no word: they are forgotten, and those that were decided on are not. */
	CLEANUP_STORE_HOST struct store_host got;
	store_host_init(&got);
	GOOD_TX(s, store_host_prune(s, NOW - 1, &f));
	GOOD(store_host_get(s, bed_id(8), &got, &f));
	GOOD_TX(s, store_host_prune(s, NOW, &f));
	REFUSED(-ENOENT, "", store_host_get(s, bed_id(8), &got, &f));
	GOOD(store_host_get(s, bed_id(7), &got, &f));
	GOOD(store_host_get(s, bed_id(5000), &got, &f));
	assert_non_null(strstr(raw("DELETE FROM hosts WHERE state <> 'pending'"), "never deleted"));
	bed_add(s, 8);
	GOOD(store_check(s, &f));
}

/* One that was replaced, and had a VM: its row is needed. */
static void test_a_pending_host_with_a_past_stays(void **state)
{
	(void)state;
	struct store_vm v = { .held = 1, .token = 1, .expires = NOW };
	CLEANUP_STORE struct store *s = bed_open();
	CLEANUP_STORE_HOST struct store_host next, got;
	store_host_init(&got);
	bed_add(s, 1);
	GOOD_TX(s, store_host_decide(s, bed_id(1), STORE_PENDING, STORE_APPROVED, NOW, "anna", &f));
	memcpy(v.vm, VM, sizeof(VM));
	memcpy(v.owner, OWNER, sizeof(OWNER));
	memcpy(v.holder, bed_id(1), UUID_BYTES);
	GOOD_TX(s, store_vm_put(s, &v, &f));
	GOOD_TX(s,
		store_host_decide(s, bed_id(1), STORE_APPROVED, STORE_REPLACING, NOW, "anna", &f));
	bed_host(&next, 1);
	GOOD_TX(s, store_host_add(s, &next, &f));
	GOOD_TX(s, store_host_prune(s, NOW, &f));
	GOOD(store_host_get(s, bed_id(1), &got, &f));
	v.held = 0;
	GOOD_TX(s, store_vm_put(s, &v, &f));
	GOOD_TX(s, store_host_prune(s, NOW, &f));
	REFUSED(-ENOENT, "", store_host_get(s, bed_id(1), &got, &f));
}

static void test_words_are_counted(void **state)
{
	(void)state;
	const int64_t now = NOW - NOW % STORE_WORDS_SECONDS;
	CLEANUP_STORE struct store *s = bed_open();
	bed_add(s, 1);
	bed_add(s, 2);
	GOOD(store_begin(s, &f));
	for (int i = 0; i < STORE_WORDS_PER_HOST; i++)
		GOOD(store_word(s, bed_id(1), now + i % STORE_WORDS_SECONDS, &f));
	GOOD(store_commit(s, &f));
	REFUSED_TX(s, ERR_LIMIT, "wait a minute",
		   store_word(s, bed_id(1), now + STORE_WORDS_SECONDS - 1, &f));
	GOOD_TX(s, store_word(s, bed_id(2), now, &f));
	GOOD_TX(s, store_word(s, bed_id(1), now + STORE_WORDS_SECONDS, &f));
}

static void test_a_nonce_counts_once(void **state)
{
	(void)state;
	uint8_t nonce[32] = { 1 };
	CLEANUP_STORE struct store *s = bed_open();
	bed_add(s, 1);
	bed_add(s, 2);
	GOOD_TX(s, store_nonce_use(s, STORE_NONCE_REQUEST, nonce, bed_id(1), NOW, NOW + 60, &f));
	REFUSED_TX(s, -EEXIST, "",
		   store_nonce_use(s, STORE_NONCE_REQUEST, nonce, bed_id(1), NOW, NOW + 60, &f));
	REFUSED_TX(s, -EEXIST, "",
		   store_nonce_use(s, STORE_NONCE_REQUEST, nonce, bed_id(2), NOW, NOW + 60, &f));
	nonce[0]++;
	REFUSED_TX(s, ERR_STATE, ON("FOREIGN KEY", "foreign key"),
		   store_nonce_use(s, STORE_NONCE_REQUEST, nonce, bed_id(3), NOW, NOW + 60, &f));
	/* Forgotten ones cannot come back, even if the clock does. */
	GOOD_TX(s, store_prune(s, NOW + 59, &f));
	nonce[0] = 1;
	REFUSED_TX(s, -EEXIST, "",
		   store_nonce_use(s, STORE_NONCE_REQUEST, nonce, bed_id(1), NOW, NOW + 60, &f));
	GOOD_TX(s, store_prune(s, NOW + 60, &f));
	REFUSED_TX(s, ERR_STATE, "forgotten",
		   store_nonce_use(s, STORE_NONCE_REQUEST, nonce, bed_id(1), NOW, NOW + 60, &f));
	GOOD_TX(s, store_prune(s, NOW, &f));
	REFUSED_TX(s, ERR_STATE, "forgotten",
		   store_nonce_use(s, STORE_NONCE_REQUEST, nonce, bed_id(1), NOW, NOW + 60, &f));
	/* A clock that was ahead for a moment does no harm that lasts. */
	nonce[0] = 98;
	GOOD_TX(s, store_nonce_use(s, STORE_NONCE_REQUEST, nonce, bed_id(1), NOW, NOW + 61, &f));
	GOOD_TX(s, store_prune(s, NOW + 10 * 365 * 86400, &f));
	REFUSED_TX(s, ERR_STATE, "forgotten",
		   store_nonce_use(s, STORE_NONCE_REQUEST, nonce, bed_id(1), NOW, NOW + 61, &f));
	nonce[0] = 99;
	GOOD_TX(s, store_nonce_use(s, STORE_NONCE_REQUEST, nonce, bed_id(1), NOW, NOW + 62, &f));
	/* A host cannot fill the table, and does not take another's room. */
	GOOD(store_begin(s, &f));
	for (uint8_t i = 0; i < STORE_NONCES_PER_HOST; i++) {
		nonce[0] = i;
		GOOD(store_nonce_use(s, STORE_NONCE_REQUEST, nonce, bed_id(1), NOW + 260, NOW + 320,
				     &f));
	}
	GOOD(store_commit(s, &f));
	nonce[0] = 200;
	REFUSED_TX(s, ERR_LIMIT, "wait a minute",
		   store_nonce_use(s, STORE_NONCE_REQUEST, nonce, bed_id(1), NOW + 260, NOW + 320,
				   &f));
	GOOD_TX(s, store_nonce_use(s, STORE_NONCE_REQUEST, nonce, bed_id(2), NOW + 260, NOW + 320,
				   &f));
	/* Nor does what it asks take the room of what it answers. */
	nonce[0] = 202;
	GOOD_TX(s, store_nonce_use(s, STORE_NONCE_CHALLENGE, nonce, bed_id(1), NOW + 260, NOW + 320,
				   &f));
	nonce[0] = 201;
	GOOD_TX(s, store_nonce_use(s, STORE_NONCE_REQUEST, nonce, bed_id(1), NOW + 320, NOW + 380,
				   &f));
}

static void test_policies_only_go_forward(void **state)
{
	(void)state;
	int64_t generation = 0, floor = -1;
	CLEANUP_BUF struct buf text = BUF_INIT(STORE_POLICY_MAX);
	CLEANUP_STORE struct store *s = bed_open();
	REFUSED(-ENOENT, "no policy yet", store_policy_latest(s, &generation, &text, &f));
	GOOD(store_floor(s, &floor, &f));
	assert_int_equal(floor, 0);
	REFUSED_TX(s, -ENOENT, "generation 1 yet", store_floor_raise(s, 1, &f));
	GOOD_TX(s, store_policy_add(s, "{\"a\":1}", 7, NOW, "anna", &generation, &f));
	assert_int_equal(generation, 1);
	GOOD_TX(s, store_policy_add(s, "{\"b\":2}", 7, NOW, "anna", &generation, &f));
	assert_int_equal(generation, 2);
	GOOD(store_policy_latest(s, &generation, &text, &f));
	assert_string_equal(buf_cstr(&text), "{\"b\":2}");
	GOOD_TX(s, store_floor_raise(s, 2, &f));
	GOOD_TX(s, store_floor_raise(s, 2, &f));
	REFUSED_TX(s, ERR_STATE, "never falls", store_floor_raise(s, 1, &f));
	GOOD(store_floor(s, &floor, &f));
	assert_int_equal(floor, 2);
	static char large[STORE_POLICY_MAX + 1];
	memset(large, ' ', sizeof(large));
	REFUSED_TX(s, ERR_LIMIT, "at most",
		   store_policy_add(s, large, sizeof(large), NOW, "anna", &generation, &f));
	GOOD_TX(s, store_policy_add(s, large, sizeof(large) - 1, NOW, "anna", &generation, &f));
	assert_non_null(strstr(raw("UPDATE policies SET policy = ''"), "never changes"));
	assert_non_null(strstr(raw("DELETE FROM policies"), "never deleted"));
	assert_non_null(strstr(raw("INSERT INTO policies VALUES (9, '', 1, 'x')"), "no gaps"));
#ifndef STORE_BED_POSTGRES
	assert_non_null(strstr(raw("REPLACE INTO policies VALUES (3, '', 1, 'x')"), "no gaps"));
#endif
	assert_non_null(strstr(raw("UPDATE guardian SET floor = 1"), "never falls"));
	assert_non_null(strstr(raw("DELETE FROM guardian"), "this row stays"));
}

static void test_admins(void **state)
{
	(void)state;
	struct store_admin a = { .name = "anna", .fingerprint = { 1 }, .added = NOW }, got;
	struct store_admin b = { .name = "bert", .fingerprint = { 1 }, .role = STORE_REVIEWER };
	CLEANUP_STORE struct store *s = bed_open();
	REFUSED(-ENOENT, "", store_admin_find(s, a.fingerprint, &got, &f));
	GOOD_TX(s, store_admin_add(s, &a, &f));
	REFUSED_TX(s, -EEXIST, ON("admins.fingerprint", "admins_fingerprint_key"),
		   store_admin_add(s, &b, &f));
	b.fingerprint[0] = 2;
	strcpy(b.name, "anna");
	REFUSED_TX(s, -EEXIST, ON("admins.name", "admins_pkey"), store_admin_add(s, &b, &f));
	strcpy(b.name, "-bert");
	REFUSED_TX(s, ERR_FORMAT, "begins with", store_admin_add(s, &b, &f));
	GOOD(store_admin_find(s, a.fingerprint, &got, &f));
	assert_int_equal(got.role, STORE_ADMIN);
	assert_int_equal(got.added, NOW);
	REFUSED_TX(s, -ENOENT, "no admin", store_admin_remove(s, "bert", &f));
	GOOD_TX(s, store_admin_remove(s, "anna", &f));
	REFUSED(-ENOENT, "", store_admin_find(s, a.fingerprint, &got, &f));
}

static void test_certificates_are_remembered(void **state)
{
	(void)state;
	int64_t generation;
	struct store_certificate c = { .serial = { 1 },
				       .generation = 1,
				       .reset_count = UINT32_MAX,
				       .restart_count = 3,
				       .not_after = NOW + 60 },
				 got;
	CLEANUP_STORE struct store *s = bed_open();
	bed_add(s, 1);
	memcpy(c.host, bed_id(1), UUID_BYTES);
	REFUSED_TX(s, ERR_STATE, ON("FOREIGN KEY", "foreign key"),
		   store_certificate_add(s, &c, &f));
	GOOD_TX(s, store_policy_add(s, "{}", 2, NOW, "anna", &generation, &f));
	GOOD_TX(s, store_certificate_add(s, &c, &f));
	REFUSED_TX(s, -EEXIST, "", store_certificate_add(s, &c, &f));
	GOOD(store_certificate_get(s, c.serial, &got, &f));
	assert_memory_equal(&got, &c, sizeof(c));
	assert_non_null(strstr(raw("UPDATE certificates SET not_after = 1"), "never changes"));
	GOOD_TX(s, store_prune(s, NOW + 59, &f));
	GOOD(store_certificate_get(s, c.serial, &got, &f));
	GOOD_TX(s, store_prune(s, NOW + 60, &f));
	REFUSED(-ENOENT, "expired long ago", store_certificate_get(s, c.serial, &got, &f));
}

static void test_leases_only_go_forward(void **state)
{
	(void)state;
	int64_t last = -1;
	struct store_vm v = { .held = 1, .token = 1, .expires = NOW, .version = 7, .edition = 4 },
			got, bad;
	CLEANUP_STORE struct store *s = bed_open();
	bed_add(s, 1);
	bed_add(s, 2);
	memcpy(v.vm, VM, sizeof(VM));
	memcpy(v.owner, OWNER, sizeof(OWNER));
	memcpy(v.holder, bed_id(3), UUID_BYTES);
	REFUSED_TX(s, ERR_STATE, ON("FOREIGN KEY", "foreign key"), store_vm_put(s, &v, &f));
	memcpy(v.holder, bed_id(1), UUID_BYTES);
	REFUSED(-ENOENT, "", store_vm_get(s, VM, OWNER, &got, &f));
	GOOD_TX(s, store_vm_put(s, &v, &f));
	GOOD(store_vm_get(s, VM, OWNER, &got, &f));
	assert_memory_equal(&got, &v, sizeof(v));

	bad = v;
	bad.version = 6;
	REFUSED_TX(s, ERR_STATE, "never fall", store_vm_put(s, &bad, &f));
	bad = v;
	bad.edition = 3;
	REFUSED_TX(s, ERR_STATE, "never fall", store_vm_put(s, &bad, &f));
	bad = v;
	bad.token = 0;
	REFUSED_TX(s, ERR_STATE, "never fall", store_vm_put(s, &bad, &f));
	bad = v;
	memcpy(bad.holder, bed_id(2), UUID_BYTES);
	REFUSED_TX(s, ERR_STATE, "new fencing token", store_vm_put(s, &bad, &f));
	bad = v;
	bad.owner[0] = 'z';
	/* A token tells two owners' VMs under one UUID apart. */
	REFUSED_TX(s, -EEXIST, "token", store_vm_put(s, &bad, &f));
	GOOD(store_vm_token(s, VM, &last, &f));
	assert_int_equal(last, 1);
	bad.token = 9;
	GOOD_TX(s, store_vm_put(s, &bad, &f));
	GOOD(store_vm_token(s, VM, &last, &f));
	assert_int_equal(last, 9);
	GOOD(store_vm_token(s, bed_id(1), &last, &f));
	assert_int_equal(last, 0);
	GOOD(store_vm_get(s, VM, bad.owner, &got, &f));
	assert_memory_equal(&got, &bad, sizeof(bad));
	GOOD(store_vm_get(s, VM, OWNER, &got, &f));
	assert_memory_equal(&got, &v, sizeof(v));
	GOOD(store_vm_held(s, VM, bed_id(1), 1, &got, &f));
	REFUSED(-ENOENT, "no longer", store_vm_held(s, VM, bed_id(1), 2, &got, &f));
	REFUSED(-ENOENT, "no longer", store_vm_held(s, VM, bed_id(2), 1, &got, &f));
	assert_non_null(
		strstr(raw("UPDATE vms SET owner = 'y' || substr(owner, 2)"), "never changes"));
	bad = v;
	bad.owner[1] = 0;
	REFUSED_TX(s, ERR_STATE, "", store_vm_put(s, &bad, &f));

	v.held = 0;
	memset(v.holder, 0, sizeof(v.holder));
	v.restores = 1;
	GOOD_TX(s, store_vm_put(s, &v, &f));
	GOOD(store_vm_get(s, VM, OWNER, &got, &f));
	assert_memory_equal(&got, &v, sizeof(v));
	bad = v;
	bad.restores = 0;
	REFUSED_TX(s, ERR_STATE, "never fall", store_vm_put(s, &bad, &f));
	/* Who takes it up again must have a new token too. */
	v.held = 1;
	memcpy(v.holder, bed_id(1), UUID_BYTES);
	REFUSED_TX(s, ERR_STATE, "new fencing token", store_vm_put(s, &v, &f));
	v.token = 2;
	GOOD_TX(s, store_vm_put(s, &v, &f));
	assert_non_null(strstr(raw("DELETE FROM vms"), "never forgotten"));
}

static void test_what_hosts_await(void **state)
{
	(void)state;
	struct store_incoming i = { .token = 3, .expires = NOW + 60 }, got;
	CLEANUP_STORE struct store *s = bed_open();
	bed_add(s, 1);
	bed_add(s, 2);
	memcpy(i.vm, VM, sizeof(VM));
	memcpy(i.owner, OWNER, sizeof(OWNER));
	memcpy(i.host, bed_id(3), UUID_BYTES);
	REFUSED_TX(s, ERR_STATE, ON("FOREIGN KEY", "foreign key"), store_incoming_put(s, &i, &f));
	for (unsigned n = 1; n <= 2; n++) {
		memcpy(i.host, bed_id(n), UUID_BYTES);
		GOOD_TX(s, store_incoming_put(s, &i, &f));
	}
	/* One note a host. */
	i.token = 4;
	i.owner[0] = 'z';
	GOOD_TX(s, store_incoming_put(s, &i, &f));
	GOOD(store_incoming_get(s, VM, bed_id(2), &got, &f));
	assert_memory_equal(&got, &i, sizeof(i));
	GOOD_TX(s, store_incoming_void(s, VM, i.owner, &f));
	REFUSED(-ENOENT, "does not await", store_incoming_get(s, VM, bed_id(2), &got, &f));
	GOOD(store_incoming_get(s, VM, bed_id(1), &got, &f));
	assert_int_equal(got.token, 3);
	GOOD_TX(s, store_prune(s, NOW + 59, &f));
	GOOD(store_incoming_get(s, VM, bed_id(1), &got, &f));
	GOOD_TX(s, store_incoming_drop(s, VM, bed_id(2), &f));
	GOOD(store_incoming_get(s, VM, bed_id(1), &got, &f));
	GOOD_TX(s, store_incoming_drop(s, VM, bed_id(1), &f));
	REFUSED(-ENOENT, "", store_incoming_get(s, VM, bed_id(1), &got, &f));
	GOOD_TX(s, store_incoming_put(s, &i, &f));
	GOOD_TX(s, store_prune(s, NOW + 60, &f));
	REFUSED(-ENOENT, "", store_incoming_get(s, VM, bed_id(2), &got, &f));
	i.token = -1;
	REFUSED_TX(s, ERR_STATE, "", store_incoming_put(s, &i, &f));
}

static int collect(int64_t seq, const char *statement, size_t n, void *arg)
{
	return buf_addf(arg, "%lld=%.*s ", (long long)seq, (int)n, statement);
}

static void test_the_release_log_is_never_changed(void **state)
{
	(void)state;
	static const char MINE[] = "mine---------------------------------------",
			  YOURS[] = "yours--------------------------------------";
	char owners[3][STORE_OWNER_SIZE];
	size_t n;
	static const uint8_t OTHER[UUID_BYTES] = { 0xbe, 0xef };
	struct store_log_head head;
	CLEANUP_BUF struct buf all = BUF_INIT(4096);
	CLEANUP_STORE struct store *s = bed_open();
	GOOD(store_log_head(s, VM, MINE, &head, &f));
	assert_int_equal(head.seq, 0);
	for (uint8_t i = 1; i <= 3; i++) {
		struct store_log_head next = { i, { i } };
		char text[] = { (char)('a' + i), 0 };
		GOOD_TX(s, store_log_append(s, VM, MINE, &next, text, 1, &f));
	}
	GOOD(store_log_head(s, VM, MINE, &head, &f));
	assert_int_equal(head.seq, 3);
	assert_int_equal(head.hash[0], 3);
	static const struct store_log_head GAP = { 5, { 0 } }, SAME = { 3, { 0 } },
					   FIRST = { 1, { 0 } };
	REFUSED_TX(s, ERR_STATE, "no gaps", store_log_append(s, VM, MINE, &GAP, "x", 1, &f));
	REFUSED_TX(s, ERR_STATE, "no gaps", store_log_append(s, VM, MINE, &SAME, "x", 1, &f));
	GOOD_TX(s, store_log_append(s, OTHER, MINE, &FIRST, "x", 1, &f));
	/* Who has a VM with the same UUID has a log of his own. */
	GOOD(store_log_head(s, VM, YOURS, &head, &f));
	assert_int_equal(head.seq, 0);
	GOOD_TX(s, store_log_append(s, VM, YOURS, &FIRST, "y", 1, &f));
	GOOD(store_log_each(s, VM, YOURS, 1, 9, collect, &all, &f));
	assert_string_equal(buf_cstr(&all), "1=y ");
	buf_clear(&all);
	GOOD(store_log_owners(s, VM, 3, owners, &n, &f));
	assert_int_equal(n, 2);
	assert_string_equal(owners[0], MINE);
	assert_string_equal(owners[1], YOURS);
	GOOD(store_log_owners(s, VM, 1, owners, &n, &f));
	assert_int_equal(n, 1);
	GOOD(store_log_owners(s, bed_id(9), 3, owners, &n, &f));
	assert_int_equal(n, 0);
	static char large[STORE_STATEMENT_MAX + 1];
	static const struct store_log_head FOURTH = { 4, { 0 } };
	REFUSED_TX(s, ERR_LIMIT, "at most",
		   store_log_append(s, VM, MINE, &FOURTH, large, sizeof(large), &f));
	GOOD(store_log_each(s, VM, MINE, 2, 9, collect, &all, &f));
	GOOD(store_log_each(s, VM, MINE, 1, 1, collect, &all, &f));
	assert_string_equal(buf_cstr(&all), "2=c 3=d 1=b ");

	static const char UPSERT[] =
		"INSERT INTO release_log SELECT vm, owner, 2, hash, 'x' FROM release_log "
		"WHERE seq = 2 ON CONFLICT (vm, owner, seq) DO UPDATE SET statement = 'x'";
	const char *const CHANGES[] = {
		"UPDATE release_log SET statement = 'x' WHERE seq = 2",
		"UPDATE release_log SET seq = 9 WHERE seq = 3",
		"UPDATE release_log SET vm = x'beef0000000000000000000000000000' WHERE seq = 3",
		"UPDATE release_log SET owner = 'yours--------------------------------------' "
		"WHERE seq = 3",
		"DELETE FROM release_log",
		"DELETE FROM release_log WHERE seq = 3",
#ifndef STORE_BED_POSTGRES
		"REPLACE INTO release_log SELECT vm, owner, seq, hash, 'x' FROM release_log WHERE "
		"seq = 2",
#endif
		"INSERT INTO release_log SELECT vm, owner, 0, hash, 'x' FROM release_log WHERE seq "
		"= 2",
		"INSERT INTO release_log SELECT vm, owner, 9, hash, 'x' FROM release_log WHERE seq "
		"= 2",
		UPSERT,
	};
	for (size_t i = 0; i < sizeof(CHANGES) / sizeof(CHANGES[0]); i++) {
		const char *said = raw(CHANGES[i]);
		if (!strstr(said, "release log"))
			fail_msg("%s: \"%s\"", CHANGES[i], said);
	}
	buf_clear(&all);
	GOOD(store_log_each(s, VM, MINE, 1, 9, collect, &all, &f));
	assert_string_equal(buf_cstr(&all), "1=b 2=c 3=d ");
	GOOD(store_check(s, &f));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_make, bed_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifndef STORE_BED_POSTGRES
		TEST(test_makes_one_database),
		TEST(test_refuses_other_files),
#endif
		TEST(test_refuses_other_versions),
		TEST(test_transactions_are_whole_or_nothing),
		TEST(test_a_host_is_itself_alone),
		TEST(test_states_of_a_host),
		TEST(test_pending_hosts_are_bounded),
		TEST(test_a_pending_host_with_a_past_stays),
		TEST(test_words_are_counted),
		TEST(test_a_nonce_counts_once),
		TEST(test_policies_only_go_forward),
		TEST(test_admins),
		TEST(test_certificates_are_remembered),
		TEST(test_leases_only_go_forward),
		TEST(test_what_hosts_await),
		TEST(test_the_release_log_is_never_changed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
