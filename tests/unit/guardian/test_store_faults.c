/* SPDX-License-Identifier: BSD-3-Clause */
/* What goes wrong around the guardian's database: each time one sentence, and nothing done. */
#include "tests/unit/guardian/store_bed.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"

/* Run FN in a child; its exit code. */
static int in_child(int (*fn)(void))
{
	int status = 0;
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		alarm(60);
		_exit(fn());
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

#ifndef STORE_BED_POSTGRES
#define SKIPPED 77

/* What a child found wrong, for its parent. */
static int child_fails(const char *what, int rc, const struct fault *f)
{
	fprintf(stderr, "child: %s: %d %s\n", what, rc, f->text);
	return 1;
}

static void must_work(int code)
{
	if (code == SKIPPED && !getenv("MUST_WORK"))
		skip();
	assert_int_equal(code, 0);
}
#endif

static void test_who_waits_too_long_is_told(void **state)
{
	(void)state;
	CLEANUP_STORE struct store *s = bed_open();
	CLEANUP_STORE struct store *other = bed_open();
	CLEANUP_STORE_HOST struct store_host got;
	store_host_init(&got);
	bed_add(s, 1);
	GOOD(store_begin(other, &f));
	int64_t from = clock_ms();
	REFUSED(-EBUSY, "held by another process", store_begin(s, &f));
	int64_t waited = clock_ms() - from;
	assert_true(waited >= STORE_BUSY_MS - 500 && waited < 4 * STORE_BUSY_MS);
	/* Reading does not wait. */
	GOOD(store_host_get(s, bed_id(1), &got, &f));
	store_rollback(other);
	GOOD(store_begin(s, &f));
	GOOD(store_commit(s, &f));
}

#define RACES 40

static const char OWNER[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ";

/* Use the nonces 0 to RACES - 1; the number that were not used before. */
static int use_nonces(void)
{
	int won = 0;
	CLEANUP_STORE struct store *s = NULL;
	if (store_open(path, &s, NULL) < 0)
		return 255;
	for (uint8_t i = 0; i < RACES; i++) {
		uint8_t nonce[32] = { i };
		struct fault f = { 0 };
		STORE_DECISION(d, s);
		int rc = store_begin(d, &f);
		if (rc >= 0)
			rc = store_nonce_use(d, STORE_NONCE_CHALLENGE, nonce, bed_id(1), NOW,
					     NOW + 60, &f);
		if (rc >= 0)
			rc = store_commit(d, &f);
		if (rc == 0)
			won++;
		else if (rc != -EEXIST)
			return 255;
	}
	return won;
}

/* Take a lease RACES times, each with the token after the one that was there. */
static int take_leases(void)
{
	CLEANUP_STORE struct store *s = NULL;
	if (store_open(path, &s, NULL) < 0)
		return 255;
	for (int i = 0; i < RACES; i++) {
		struct store_vm v = { 0 };
		STORE_DECISION(d, s);
		if (store_begin(d, NULL) < 0 || store_vm_get(d, bed_id(7), OWNER, &v, NULL) < 0)
			return 255;
		v.token++;
		v.held = 1;
		memcpy(v.holder, bed_id(1), UUID_BYTES);
		if (store_vm_put(d, &v, NULL) < 0 || store_commit(d, NULL) < 0)
			return 255;
	}
	return 0;
}

/* Append RACES records, each the next after the one that is there. */
static int append_records(void)
{
	CLEANUP_STORE struct store *s = NULL;
	if (store_open(path, &s, NULL) < 0)
		return 255;
	for (int i = 0; i < RACES; i++) {
		struct store_log_head head;
		STORE_DECISION(d, s);
		if (store_begin(d, NULL) < 0 || store_log_head(d, bed_id(7), "", &head, NULL) < 0)
			return 255;
		head.seq++;
		if (store_log_append(d, bed_id(7), "", &head, "x", 1, NULL) < 0 ||
		    store_commit(d, NULL) < 0)
			return 255;
	}
	return 0;
}

static int race(int (*fn)(void), int codes[2])
{
	pid_t pids[2];
	int status;
	fflush(NULL);
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			alarm(60);
			_exit(fn());
		}
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_true(WIFEXITED(status));
		codes[i] = WEXITSTATUS(status);
	}
	return codes[0] + codes[1];
}

static void test_two_guardians_race(void **state)
{
	(void)state;
	int codes[2];
	struct store_vm v = { .token = 0 };
	struct store *s = bed_open();
	bed_add(s, 1);
	memcpy(v.vm, bed_id(7), UUID_BYTES);
	memcpy(v.owner, OWNER, sizeof(OWNER));
	GOOD_TX(s, store_vm_put(s, &v, &f));
	store_close(s); /* a connection may not be carried across fork(2) */

	assert_int_equal(race(use_nonces, codes), RACES);
	assert_int_equal(race(take_leases, codes), 0);
	assert_int_equal(race(append_records, codes), 0);
	s = bed_open();
	struct store_log_head head;
	GOOD(store_log_head(s, bed_id(7), "", &head, &f));
	assert_int_equal(head.seq, 2 * RACES);
	GOOD(store_vm_get(s, bed_id(7), OWNER, &v, &f));
	assert_int_equal(v.token, 2 * RACES);
	store_close(s);
}

#ifndef STORE_BED_POSTGRES
static int as_nobody(void)
{
	struct store *s = NULL;
	struct fault f = { 0 };
	if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
		return SKIPPED;
	int rc = store_open(path, &s, &f);
	return rc == -EROFS && strstr(f.text, "can only be read") && !s
		       ? 0
		       : child_fails("open", rc, &f);
}

static void test_a_read_only_file(void **state)
{
	(void)state;
	/* Whose file it is does not matter: what counts is that opening it for writing fails. */
	assert_int_equal(chmod(folder, 0755), 0);
	assert_int_equal(chmod(path, 0400), 0);
	if (geteuid() == 0)
		assert_int_equal(chown(path, 65534, 65534), 0);
	must_work(in_child(as_nobody));
}

/* Into a namespace of our own, where folder is a small file system. */
static int small_world(void)
{
	char options[64];
	snprintf(options, sizeof(options), "size=1m,mode=0700");
	int flags = CLONE_NEWNS | (geteuid() == 0 ? 0 : CLONE_NEWUSER);
	if (unshare(flags) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
		return SKIPPED;
	return 0;
}

/* Add policies of 64 KiB until it no longer goes; what it said then. */
static int fill(struct store *s, struct fault *f)
{
	static char text[65536];
	memset(text, 'x', sizeof(text));
	for (int i = 0; i < 200; i++) {
		int64_t generation;
		STORE_DECISION(d, s);
		int rc = store_begin(d, f);
		if (rc >= 0)
			rc = store_policy_add(d, text, sizeof(text), NOW, "anna", &generation, f);
		if (rc >= 0)
			rc = store_commit(d, f);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* How many generations there are, and that the latest is whole. */
static int64_t generations(struct store *s)
{
	int64_t generation = -1;
	CLEANUP_BUF struct buf text = BUF_INIT(65536);
	int rc = store_policy_latest(s, &generation, &text, NULL);
	return rc < 0 || text.len != 65536 ? -1 : generation;
}

/* A store that is full says so, keeps what was committed, and goes on once there is room. */
static int full(int wanted, int or_wanted, void (*make_room)(void))
{
	CLEANUP_STORE struct store *s = NULL;
	struct fault f = { 0 }, later = { 0 }, open = { 0 };
	int rc = store_open(path, &s, &open);
	if (rc < 0)
		return child_fails("open", rc, &open);
	rc = fill(s, &f);
	if ((rc != wanted && rc != or_wanted) || !strstr(f.text, "nothing was done"))
		return child_fails("fill", rc, &f);
	int64_t before = generations(s);
	if (before < 2)
		return child_fails("generations", (int)before, &f);
	rc = fill(s, &later);
	if ((rc != wanted && rc != or_wanted) || generations(s) != before)
		return child_fails("fill again", rc, &later);
	make_room();
	struct fault now = { 0 };
	(void)fill(s, &now);
	if (generations(s) <= before)
		return child_fails("no room was made", (int)generations(s), &now);
	rc = store_check(s, &now);
	return rc < 0 ? child_fails("check", rc, &now) : 0;
}

static void enlarge(void)
{
	if (mount(NULL, folder, NULL, MS_REMOUNT, "size=4m") < 0)
		abort();
}

static int full_disk(void)
{
	struct fault f = { 0 };
	if (small_world() != 0)
		return SKIPPED;
	int rc = store_create(path, &f);
	return rc < 0 ? child_fails("create", rc, &f) : full(-ENOSPC, -ENOSPC, enlarge);
}

static void test_a_full_disk(void **state)
{
	(void)state;
	must_work(in_child(full_disk));
}

static void set_file_limit(rlim_t bytes)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_FSIZE, &limit) < 0)
		abort();
	limit.rlim_cur = bytes;
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
		abort();
}

static void lift_limit(void)
{
	set_file_limit(4 * 1024 * 1024);
}

static int limited(void)
{
	signal(SIGXFSZ, SIG_IGN);
	set_file_limit(512 * 1024);
	/* Which one depends on whether SQLite still knows errno. */
	return full(-EFBIG, -EIO, lift_limit);
}

static void test_a_file_size_limit(void **state)
{
	(void)state;
	must_work(in_child(limited));
}

/* No database begins on a full disk, and none is left behind. */
static int no_room_at_all(void)
{
	struct fault f = { 0 };
	signal(SIGXFSZ, SIG_IGN);
	if (unlink(path) < 0)
		return 1;
	set_file_limit(8192);
	int rc = store_create(path, &f);
	return rc == -EFBIG && access(path, F_OK) < 0 ? 0 : child_fails("create", rc, &f);
}

static void test_what_cannot_be_made_is_removed(void **state)
{
	(void)state;
	must_work(in_child(no_room_at_all));
}

static void overwrite(off_t at, size_t n)
{
	static char junk[65536];
	memset(junk, 0x5a, sizeof(junk));
	int fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, junk, n, at), (ssize_t)n);
	assert_int_equal(close(fd), 0);
}

static void test_damage_is_told(void **state)
{
	(void)state;
	struct store *s = bed_open();
	CLEANUP_STORE_HOST struct store_host got;
	store_host_init(&got);
	for (unsigned i = 0; i < 200; i++)
		bed_add(s, i);
	GOOD(store_check(s, &f));
	store_close(s);

	/* Closing the last connection has moved the WAL into the file.  Behind the first page,
	 * which has the tables' definitions, everything is damaged. */
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	for (off_t at = 16384; at + 4096 <= st.st_size; at += 4096)
		overwrite(at, 4096);
	s = NULL;
	struct fault said = { 0 };
	int rc = store_open(path, &s, &said);
	if (rc >= 0) {
		rc = store_check(s, &said);
		assert_int_equal(rc, ERR_FORMAT);
		rc = 0;
		for (unsigned i = 0; rc >= 0 && i < 200; i++)
			rc = store_host_get(s, bed_id(i), &got, NULL);
		store_close(s);
	}
	assert_int_equal(rc, ERR_FORMAT);
	assert_non_null(strstr(said.text, "put it back from a backup"));
	overwrite(0, 100);
	s = NULL;
	REFUSED(ERR_FORMAT, "not a guardian's database", store_open(path, &s, &f));
	assert_null(s);
}
#endif

/* Commit host 1, leave host 2 uncommitted, and die. */
static int die_amid(void)
{
	struct store *s = NULL;
	CLEANUP_STORE_HOST struct store_host one, two;
	bed_host(&one, 1);
	bed_host(&two, 2);
	if (store_open(path, &s, NULL) < 0 || store_begin(s, NULL) < 0 ||
	    store_host_add(s, &one, NULL) < 0 || store_commit(s, NULL) < 0 ||
	    store_begin(s, NULL) < 0 || store_host_add(s, &two, NULL) < 0)
		return 1;
	raise(SIGKILL);
	return 1;
}

static void test_a_crash_keeps_what_was_committed(void **state)
{
	(void)state;
	CLEANUP_STORE_HOST struct store_host got;
	store_host_init(&got);
	assert_int_equal(in_child(die_amid), 1000 + SIGKILL);
	CLEANUP_STORE struct store *s = bed_open();
	GOOD(store_check(s, &f));
	GOOD(store_host_get(s, bed_id(1), &got, &f));
	REFUSED(-ENOENT, "", store_host_get(s, bed_id(2), &got, &f));
	bed_add(s, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_make, bed_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_who_waits_too_long_is_told),
		TEST(test_two_guardians_race),
#ifndef STORE_BED_POSTGRES
		TEST(test_a_read_only_file),
		TEST(test_a_full_disk),
		TEST(test_a_file_size_limit),
		TEST(test_what_cannot_be_made_is_removed),
		TEST(test_damage_is_told),
#endif
		TEST(test_a_crash_keeps_what_was_committed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
