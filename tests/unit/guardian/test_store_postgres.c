/* SPDX-License-Identifier: BSD-3-Clause */
/* What PostgreSQL alone can do to a guardian's database: each time one sentence, nothing done. */
#include "tests/unit/guardian/store_bed.h"

#include <errno.h>
#include <sys/wait.h>

#include "base/clock.h"

static void test_addresses(void **state)
{
	(void)state;
	struct store *s = NULL;
	assert_true(store_is_url("postgresql://a/b") && store_is_url("postgres:///b"));
	assert_false(store_is_url("/var/lib/postgresql://x"));
	REFUSED(ERR_POLICY, "passfile=", store_open("postgresql://me:secret@db.test/g", &s, &f));
	REFUSED(ERR_POLICY, "passfile=", store_open("postgresql:///g?password=secret", &s, &f));
	REFUSED(ERR_POLICY, "passfile=", store_create("postgresql:///g?sslpassword=x", &f));
	REFUSED(ERR_POLICY, "verify-full",
		store_open("postgresql://db.test/g?sslmode=prefer", &s, &f));
	struct fault said = { 0 };
	assert_int_equal(store_open("postgresql://me:secret@db.test/g?nonsense=1", &s, &said),
			 ERR_USAGE);
	assert_null(strstr(said.text, "secret"));
	assert_int_equal(setenv("PGPASSWORD", "secret", 1), 0);
	REFUSED(ERR_POLICY, "PGPASSWORD", store_open(path, &s, &f));
	assert_int_equal(unsetenv("PGPASSWORD"), 0);
	REFUSED(-ENOTCONN, "cannot reach", store_open("postgresql:///g?host=/nonexistent", &s, &f));
	assert_null(s);
	REFUSED(-EEXIST, "already exists", store_create(path, &f));
	/* The second of two hosts is there. */
	char two[200];
	snprintf(two, sizeof(two), "postgresql:///postgres?user=guardian&host=/nonexistent,%s",
		 strstr(path, "host=") + 5);
	*strrchr(two, '&') = 0;
	GOOD(store_open(two, &s, &f));
	GOOD(store_check(s, &f));
	store_close(s);
}

static void test_who_is_refused(void **state)
{
	(void)state;
	struct store *s = NULL;
	assert_string_equal(raw("ALTER DATABASE postgres SET default_transaction_read_only = on"),
			    "");
	REFUSED(-EROFS, "can only be read", store_open(path, &s, &f));
	assert_string_equal(raw("SET transaction_read_only = off; SET default_transaction_read_only"
				" = off; ALTER DATABASE postgres RESET ALL"),
			    "");
	assert_string_equal(raw("ALTER ROLE guardian SET session_replication_role = replica"), "");
	REFUSED(ERR_STATE, "session_replication_role", store_open(path, &s, &f));
	assert_string_equal(raw("ALTER ROLE guardian RESET ALL"), "");
	assert_string_equal(raw("GRANT USAGE ON SCHEMA shieldvm_guardian TO PUBLIC"), "");
	REFUSED(ERR_POLICY, "everyone may use", store_open(path, &s, &f));
	assert_string_equal(raw("REVOKE ALL ON SCHEMA shieldvm_guardian FROM PUBLIC"), "");
	assert_string_equal(raw("ALTER TABLE release_log DISABLE TRIGGER release_log_kept"), "");
	REFUSED(ERR_FORMAT, "20 of the 21 rules", store_open(path, &s, &f));
	assert_string_equal(raw("ALTER TABLE release_log ENABLE TRIGGER release_log_kept"), "");
	GOOD(store_open(path, &s, &f));
	store_close(s);
	static const char *const KEPT[] = { "release_log", "policies", "guardian" };
	for (size_t i = 0; i < sizeof(KEPT) / sizeof(KEPT[0]); i++) {
		char sql[96];
		snprintf(sql, sizeof(sql), "TRUNCATE %s CASCADE", KEPT[i]);
		assert_non_null(strstr(raw(sql), "is never emptied"));
	}
}

static void test_a_server_that_is_killed(void **state)
{
	(void)state;
	CLEANUP_STORE struct store *s = bed_open();
	CLEANUP_STORE_HOST struct store_host two, got;
	store_host_init(&got);
	bed_host(&two, 2);
	bed_add(s, 1);
	GOOD(store_begin(s, &f));
	GOOD(store_host_add(s, &two, &f));
	postgres_bed_kill();
	REFUSED(-ENOTCONN, "nothing was done", store_host_get(s, two.id, &got, &f));
	REFUSED(ERR_STATE, "nothing was done", store_commit(s, &f));
	REFUSED(-ENOTCONN, "cannot reach", store_begin(s, &f));
	postgres_bed_start();
	/* It is there again for the next decision, and has what was committed. */
	GOOD(store_host_get(s, bed_id(1), &got, &f));
	REFUSED(-ENOENT, "", store_host_get(s, bed_id(2), &got, &f));
	GOOD_TX(s, store_host_add(s, &two, &f));

	/* Lost while idle: nobody sees it. */
	postgres_bed_kill();
	postgres_bed_start();
	bed_add(s, 3);
	postgres_bed_kill();
	postgres_bed_start();
	GOOD(store_host_get(s, bed_id(3), &got, &f));

	/* Lost amid the commit: it is not said that nothing was done, and nothing goes on. */
	CLEANUP_STORE_HOST struct store_host four;
	bed_host(&four, 4);
	GOOD(store_begin(s, &f));
	GOOD(store_host_add(s, &four, &f));
	postgres_bed_kill();
	REFUSED(-ENOTCONN, "amid a commit", store_commit(s, &f));
	postgres_bed_start();
	REFUSED(-ENOENT, "", store_host_get(s, bed_id(4), &got, &f));
	GOOD_TX(s, store_host_add(s, &four, &f));
	GOOD(store_check(s, &f));
}

static void test_a_server_that_says_nothing(void **state)
{
	(void)state;
	CLEANUP_STORE struct store *s = bed_open();
	CLEANUP_STORE_HOST struct store_host got;
	store_host_init(&got);
	bed_add(s, 1);
	GOOD(store_begin(s, &f));
	postgres_bed_freeze(1);
	int64_t from = clock_ms();
	struct fault said = { 0 };
	int rc = store_host_get(s, bed_id(1), &got, &said);
	int64_t waited = clock_ms() - from;
	postgres_bed_freeze(0);
	assert_int_equal(rc, -ETIMEDOUT);
	assert_non_null(strstr(said.text, "does not answer"));
	assert_true(waited > 10000 && waited < 40000);
	store_rollback(s);
	GOOD(store_host_get(s, bed_id(1), &got, &f));
}

static void test_a_writer_without_the_lock(void **state)
{
	(void)state;
	int64_t floor = -1;
	CLEANUP_STORE struct store *s = bed_open();
	bed_add(s, 1);
	CLEANUP_STORE_HOST struct store_host got;
	store_host_init(&got);
	GOOD(store_begin(s, &f));
	GOOD(store_floor(s, &floor, &f));
	GOOD(store_host_get(s, bed_id(1), &got, &f));
	assert_string_equal(raw("UPDATE hosts SET enrolled = enrolled + 1"), "");
	REFUSED(-EBUSY, "try again", store_host_counts(s, bed_id(1), 1, 1, &f));
	REFUSED(ERR_STATE, "nothing was done", store_commit(s, &f));
	GOOD_TX(s, store_host_counts(s, bed_id(1), 1, 1, &f));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_make, bed_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_addresses),
		TEST(test_who_is_refused),
		TEST(test_a_server_that_is_killed),
		TEST(test_a_server_that_says_nothing),
		TEST(test_a_writer_without_the_lock),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
