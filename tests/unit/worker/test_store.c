/* SPDX-License-Identifier: BSD-3-Clause */
/* worker/store.c: what is stored is read back; whatever is wrong is refused and left alone. */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/statehead.h"
#include "worker/store.h"

#define NAME "vtpm.state"

static char folder[64];
static struct vm_key key = { .bytes = { 1, 2, 3 } };
static const uint8_t vm[UUID_BYTES] = { 7 };
static struct seal *seal;
static struct fault fault;

static struct seal *make_seal(uint8_t uuid_byte, enum key_use use)
{
	const uint8_t uuid[UUID_BYTES] = { uuid_byte };
	struct seal *s;
	assert_int_equal(seal_new(&key, use, uuid, NULL, 0, &s), 0);
	return s;
}

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/test-store-XXXXXX");
	seal = make_seal(vm[0], KEY_USE_VTPM_STATE);
	memset(&fault, 0, sizeof(fault));
	umask(027);
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static int tear_down(void **state)
{
	(void)state;
	seal_free(seal);
	return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *at(const char *suffix)
{
	static char paths[4][128];
	static int i;
	char *p = paths[i++ % 4];
	snprintf(p, sizeof(paths[0]), "%s/" NAME "%s", folder, suffix);
	return p;
}

static int told_without_key; /* what store_may_open() said before the last open_with() */

static int open_with(struct seal *with, enum store_birth birth, struct store **s)
{
	int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct fault before = { 0 };
	assert_true(dir >= 0);
	memset(&fault, 0, sizeof(fault));
	told_without_key = store_may_open(dir, NAME, birth, &before);
	int rc = store_open(dir, NAME, with, birth, s, &fault);
	if (told_without_key < 0) {
		assert_int_equal(rc, told_without_key);
		assert_string_equal(before.text, fault.text);
	}
	if (rc < 0) {
		assert_int_equal(close(dir), 0); /* still ours */
		assert_true(fault.text[0] != 0);
	}
	return rc;
}

static struct store *open_ok(enum store_birth birth)
{
	struct store *s;
	if (open_with(seal, birth, &s) < 0)
		fail_msg("%s", fault.text);
	return s;
}

static void assert_refused(int rc, const char *words)
{
	struct store *s;
	assert_int_equal(open_with(seal, STORE_MAY_BE_NEW, &s), rc);
	if (!strstr(fault.text, words))
		fail_msg("'%s' does not say '%s'", fault.text, words);
}

static void save(struct store *s, const char *text)
{
	if (store_save(s, (const uint8_t *)text, strlen(text), &fault) < 0)
		fail_msg("%s", fault.text);
}

static void assert_holds(struct store *s, const char *text)
{
	CLEANUP_BUF struct buf b = BUF_INIT(SEAL_PLAINTEXT_MAX);
	if (store_load(s, &b, &fault) < 0)
		fail_msg("%s", fault.text);
	assert_int_equal(b.len, strlen(text));
	assert_memory_equal(b.data, text, b.len);
}

static void save_one(const char *text)
{
	struct store *s = open_ok(STORE_MAY_BE_NEW);
	save(s, text);
	store_free(s);
}

static int is_there(const char *suffix)
{
	return faccessat(AT_FDCWD, at(suffix), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The folder's entries, their inodes, times and bytes, in one number. */
static uint64_t picture(void)
{
	static const char *const SUFFIXES[] = { "", ".next", ".new", ".spare", ".probe" };
	uint64_t sum = 14695981039346656037ULL;
	for (size_t i = 0; i < sizeof(SUFFIXES) / sizeof(SUFFIXES[0]); i++) {
		struct stat st;
		CLEANUP_BUF struct buf b = BUF_INIT(SEAL_FILE_MAX * 2);
		if (lstat(at(SUFFIXES[i]), &st) < 0)
			continue;
		if (S_ISREG(st.st_mode))
			assert_int_equal(fd_read_file(AT_FDCWD, at(SUFFIXES[i]), &b, NULL), 0);
		uint64_t facts[] = { i,
				     st.st_ino,
				     st.st_mode,
				     (uint64_t)st.st_mtim.tv_sec,
				     (uint64_t)st.st_mtim.tv_nsec,
				     (uint64_t)st.st_ctim.tv_nsec };
		assert_int_equal(buf_add(&b, facts, sizeof(facts)), 0);
		for (size_t k = 0; k < b.len; k++)
			sum = (sum ^ b.data[k]) * 1099511628211ULL;
	}
	return sum;
}

static void put(const char *suffix, const void *data, size_t n)
{
	assert_int_equal(fd_write_file(AT_FDCWD, at(suffix), data, n, 0600, 1, NULL), 0);
}

/* ---- What works ------------------------------------------------------------------------------ */

static void test_new_state(void **state)
{
	(void)state;
	struct store *s = open_ok(STORE_MAY_BE_NEW);
	CLEANUP_BUF struct buf b = BUF_INIT(10);
	assert_int_equal(store_exists(s), 0);
	assert_int_equal(store_load(s, &b, NULL), -ENOENT);
	assert_false(is_there(""));
	assert_false(is_there(".next"));
	save(s, "one");
	assert_int_equal(store_exists(s), 1);
	assert_holds(s, "one");
	assert_true(is_there("") && is_there(".next"));
	assert_false(is_there(".new") || is_there(".spare"));
	struct stat st;
	assert_int_equal(stat(at(""), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	store_free(s);
}

static void test_many_states_over_many_openings(void **state)
{
	(void)state;
	char text[3000];
	for (int i = 0; i < 20; i++) {
		struct store *s = open_ok(i ? STORE_MUST_EXIST : STORE_MAY_BE_NEW);
		if (i)
			assert_holds(s, text);
		for (int k = 0; k < 1 + i % 3; k++) {
			memset(text, 'a' + i, sizeof(text));
			/* Sizes go up and down, so that files grow and shrink. */
			text[100 + (i * 977 + k * 1511) % 2800] = 0;
			save(s, text);
			assert_holds(s, text);
		}
		store_free(s);
	}
	assert_false(is_there(".new") || is_there(".spare") || is_there(".probe"));
}

static void test_largest_and_empty(void **state)
{
	(void)state;
	uint8_t *big = calloc(1, SEAL_PLAINTEXT_MAX + 1);
	CLEANUP_BUF struct buf b = BUF_INIT(SEAL_PLAINTEXT_MAX);
	assert_non_null(big);
	struct store *s = open_ok(STORE_MAY_BE_NEW);
	assert_int_equal(store_save(s, big, SEAL_PLAINTEXT_MAX, &fault), 0);
	assert_int_equal(store_save(s, big, SEAL_PLAINTEXT_MAX + 1, &fault), ERR_LIMIT);
	store_free(s);
	s = open_ok(STORE_MUST_EXIST);
	assert_int_equal(store_load(s, &b, NULL), 0);
	assert_int_equal(b.len, SEAL_PLAINTEXT_MAX);
	assert_int_equal(store_save(s, NULL, 0, NULL), 0);
	assert_holds(s, "");
	store_free(s);
	free(big);
}

static void test_left_overs_are_ignored(void **state)
{
	(void)state;
	/* A crash before the first state. */
	put(".new", "junk", 4);
	put(".spare", "junk", 4);
	save_one("one");
	/* A crash while the spare was being written, and one while it was being replaced. */
	put(".next", "torn", 4);
	put(".probe", "junk", 4);
	save_one("two");
	/* A crash between the two renames of the first state. */
	assert_int_equal(rename(at(".next"), at(".spare")), 0);
	struct store *s = open_ok(STORE_MUST_EXIST);
	assert_holds(s, "two");
	save(s, "three");
	store_free(s);
	assert_true(is_there("") && is_there(".next"));
	assert_false(is_there(".new") || is_there(".spare") || is_there(".probe"));
}

/* A spare that has another name would change under it. */
static void test_linked_spare_is_not_written(void **state)
{
	(void)state;
	save_one("one");
	put(".next", "precious", 8);
	char other[128];
	snprintf(other, sizeof(other), "%s/other", folder);
	assert_int_equal(link(at(".next"), other), 0);
	save_one("two");
	CLEANUP_BUF struct buf b = BUF_INIT(100);
	assert_int_equal(fd_read_file(AT_FDCWD, other, &b, NULL), 0);
	assert_int_equal(b.len, 8);
	assert_memory_equal(b.data, "precious", 8);
}

/* ---- What is refused at opening -------------------------------------------------------------- */

static void test_every_flipped_bit(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf good = BUF_INIT(SEAL_FILE_MAX);
	save_one("the state of a vTPM");
	assert_int_equal(fd_read_file(AT_FDCWD, at(""), &good, NULL), 0);
	for (size_t bit = 0; bit < good.len * 8; bit++) {
		good.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		int fd = open(at(""), O_WRONLY | O_TRUNC);
		assert_int_equal(fd_write_full(fd, good.data, good.len), 0);
		close(fd);
		uint64_t before = picture();
		struct store *s;
		assert_true(open_with(seal, STORE_MAY_BE_NEW, &s) < 0);
		assert_non_null(strstr(fault.text, "left as it is"));
		assert_true(picture() == before);
		good.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void test_every_truncation_and_trailing_bytes(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf good = BUF_INIT(SEAL_FILE_MAX);
	save_one("the state of a vTPM");
	assert_int_equal(fd_read_file(AT_FDCWD, at(""), &good, NULL), 0);
	for (size_t n = 0; n < good.len; n++) {
		put("", good.data, n);
		uint64_t before = picture();
		assert_refused(ERR_TRUNCATED, "is refused");
		assert_true(picture() == before);
	}
	assert_int_equal(buf_add(&good, "", 1), 0);
	put("", good.data, good.len);
	uint64_t before = picture();
	assert_refused(ERR_TRAILING, "behind");
	uint8_t *big = calloc(1, STATEHEAD_BYTES + SEAL_FILE_MAX + 1);
	assert_non_null(big);
	assert_true(picture() == before);
	put("", big, STATEHEAD_BYTES + SEAL_FILE_MAX + 1);
	assert_refused(ERR_LIMIT, "over the limit");
	free(big);
}

static void test_strangers_file(void **state)
{
	(void)state;
	save_one("one");
	uint64_t before = picture();
	struct store *s;
	struct seal *other = make_seal(8, KEY_USE_VTPM_STATE);
	assert_int_equal(open_with(other, STORE_MAY_BE_NEW, &s), ERR_VM);
	seal_free(other);
	other = make_seal(vm[0], KEY_USE_VTPM_BLOB_PERMANENT);
	assert_int_equal(open_with(other, STORE_MAY_BE_NEW, &s), ERR_PURPOSE);
	seal_free(other);
	assert_true(picture() == before);
}

static void test_deleted_state(void **state)
{
	(void)state;
	save_one("one");
	assert_int_equal(unlink(at("")), 0);
	uint64_t before = picture();
	assert_refused(ERR_STATE, "was deleted");
	assert_int_equal(told_without_key, ERR_STATE);
	assert_true(picture() == before);
	assert_int_equal(unlink(at(".next")), 0);
	struct store *s;
	assert_int_equal(open_with(seal, STORE_MUST_EXIST, &s), -ENOENT);
	assert_int_equal(told_without_key, -ENOENT);
	assert_non_null(strstr(fault.text, "this VM had one"));
	assert_false(is_there(".new") || is_there(".spare"));
}

static void test_not_a_plain_file(void **state)
{
	(void)state;
	save_one("one");
	assert_int_equal(chmod(at(""), 0640), 0);
	assert_refused(-EPERM, "mode 0640");
	assert_int_equal(chmod(at(""), 0600), 0);
	assert_int_equal(link(at(""), at(".backup")), 0);
	uint64_t before = picture();
	assert_refused(-EINVAL, "2 names");
	assert_true(picture() == before);

	assert_int_equal(unlink(at("")), 0);
	assert_int_equal(symlink(at(".backup"), at("")), 0);
	assert_refused(-ELOOP, "symbolic link");
	assert_int_equal(unlink(at("")), 0);
	assert_int_equal(symlink("/nonexistent", at("")), 0);
	assert_refused(-ELOOP, "symbolic link");
	assert_int_equal(unlink(at("")), 0);
	assert_int_equal(mkfifo(at(""), 0600), 0);
	assert_refused(-EINVAL, "not a regular file");
	assert_int_equal(unlink(at("")), 0);
	assert_int_equal(mkdir(at(""), 0700), 0);
	assert_refused(-EINVAL, "not a regular file");
	assert_int_equal(rmdir(at("")), 0);

	assert_int_equal(rename(at(".backup"), at("")), 0);
	assert_int_equal(unlink(at(".next")), 0);
	assert_int_equal(mkdir(at(".next"), 0700), 0);
	assert_refused(-EINVAL, "remove it");
	assert_int_equal(rmdir(at(".next")), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(at(""), 12345, 12345), 0);
		assert_refused(-EPERM, "belongs to user 12345");
		assert_int_equal(chown(at(""), 0, 0), 0);
	}
	store_free(open_ok(STORE_MUST_EXIST));
}

static void test_one_at_a_time(void **state)
{
	(void)state;
	struct store *s = open_ok(STORE_MAY_BE_NEW), *second;
	assert_int_equal(open_with(seal, STORE_MAY_BE_NEW, &second), ERR_STATE);
	assert_non_null(strstr(fault.text, "in use"));
	save(s, "one");
	store_free(s);
	store_free(open_ok(STORE_MUST_EXIST));
}

static void test_bad_names(void **state)
{
	(void)state;
	struct store *s;
	int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char longest[STORE_NAME_MAX + 1];
	memset(longest, 'x', STORE_NAME_MAX);
	longest[STORE_NAME_MAX] = 0;
	assert_int_equal(store_open(dir, "", seal, STORE_MAY_BE_NEW, &s, NULL), ERR_USAGE);
	assert_int_equal(store_open(dir, "a/b", seal, STORE_MAY_BE_NEW, &s, NULL), ERR_USAGE);
	assert_int_equal(store_open(dir, "..", seal, STORE_MAY_BE_NEW, &s, NULL), ERR_USAGE);
	assert_int_equal(store_open(dir, longest, seal, STORE_MAY_BE_NEW, &s, NULL), ERR_USAGE);
	close(dir);
}

/* ---- What fails while storing ---------------------------------------------------------------- */

static void deny(int call, int error)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	assert_non_null(ctx);
	assert_int_equal(seccomp_rule_add(ctx, SCMP_ACT_ERRNO((uint16_t)error), call, 0), 0);
	assert_int_equal(seccomp_load(ctx), 0);
	seccomp_release(ctx);
}

/* Run BODY in a child, whose assertions decide; its filters end with it. */
static void in_child(void (*body)(int), int arg)
{
	pid_t pid = fork();
	if (pid == 0) {
		body(arg);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void failing_store(int call)
{
	struct store *s = open_ok(STORE_MUST_EXIST);
	char big[8000] = { 0 };
	save(s, "two"); /* the folder is synced after this one */
	deny(call, call == SCMP_SYS(pwrite64) ? ENOSPC : EIO);
	memset(big, 'x', sizeof(big) - 1);
	for (int i = 0; i < 2; i++) {
		memset(&fault, 0, sizeof(fault));
		assert_true(store_save(s, (uint8_t *)big, strlen(big), &fault) < 0);
		assert_non_null(strstr(fault.text, "earlier state is kept"));
		assert_holds(s, "two");
	}
	store_free(s);
}

static void test_each_call_failing(void **state)
{
	(void)state;
	const int calls[] = { SCMP_SYS(pwrite64), SCMP_SYS(ftruncate), SCMP_SYS(fdatasync),
			      SCMP_SYS(renameat2), SCMP_SYS(fsync) };
	save_one("one");
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		in_child(failing_store, calls[i]);
		struct store *s = open_ok(STORE_MUST_EXIST);
		assert_holds(s, "two");
		save(s, "one");
		store_free(s);
	}
}

static void failing_first_store(int call)
{
	struct store *s = open_ok(STORE_MAY_BE_NEW);
	deny(call, EIO);
	for (int i = 0; i < 2; i++) {
		assert_true(store_save(s, (const uint8_t *)"x", 1, &fault) < 0);
		assert_int_equal(store_exists(s), 0);
	}
	store_free(s);
}

static void test_each_call_failing_at_first(void **state)
{
	(void)state;
	const int calls[] = { SCMP_SYS(pwrite64), SCMP_SYS(ftruncate), SCMP_SYS(fdatasync),
			      SCMP_SYS(renameat2), SCMP_SYS(fsync) };
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]) - 1; i++) {
		if (calls[i] == SCMP_SYS(renameat2))
			continue; /* refused at opening: below */
		in_child(failing_first_store, calls[i]);
		assert_false(is_there("") || is_there(".next"));
	}
	struct store *s = open_ok(STORE_MAY_BE_NEW);
	assert_int_equal(store_exists(s), 0);
	save(s, "one");
	store_free(s);
}

static void full_disk(int unused)
{
	(void)unused;
	struct store *s = open_ok(STORE_MUST_EXIST);
	struct rlimit limit = { .rlim_cur = 4096, .rlim_max = 4096 };
	char big[20000];
	memset(big, 'x', sizeof(big));
	save(s, "two");
	save(s, "one");
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	memset(&fault, 0, sizeof(fault));
	assert_int_equal(store_save(s, (uint8_t *)big, sizeof(big), &fault), -EFBIG);
	assert_holds(s, "one");
	save(s, "six"); /* and it goes on when there is room again, with no left-over behind it */
	assert_holds(s, "six");
	store_free(s);
}

static void test_write_cut_short(void **state)
{
	(void)state;
	save_one("one");
	in_child(full_disk, 0);
	struct store *s = open_ok(STORE_MUST_EXIST);
	assert_holds(s, "six");
	store_free(s);
}

static void no_exchange(int error)
{
	struct store *s;
	uint64_t before = picture();
	deny(SCMP_SYS(renameat2), error);
	assert_int_equal(open_with(seal, STORE_MAY_BE_NEW, &s), -EOPNOTSUPP);
	assert_non_null(strstr(fault.text, "ext4"));
	assert_true(picture() == before);
}

static void test_filesystem_without_exchange(void **state)
{
	(void)state;
	in_child(no_exchange, EINVAL);
	assert_false(is_there(".new") || is_there(".spare"));
	save_one("one");
	in_child(no_exchange, EINVAL);
	in_child(no_exchange, ENOSYS);
}

/* Files that change under a running store: nothing may be swapped into the state's place. */
static void test_meddling(void **state)
{
	(void)state;
	struct store *s = open_ok(STORE_MAY_BE_NEW);
	save(s, "one");
	save(s, "two");
	assert_int_equal(rename(at(""), at(".away")), 0);
	assert_int_equal(store_save(s, (const uint8_t *)"x", 1, &fault), ERR_STATE);
	assert_non_null(strstr(fault.text, "moved, replaced or deleted"));
	assert_false(is_there(""));
	put("", "stranger", 8);
	uint64_t before = picture();
	assert_int_equal(store_save(s, (const uint8_t *)"x", 1, NULL), ERR_STATE);
	assert_true(picture() == before);
	assert_int_equal(rename(at(".away"), at("")), 0);
	save(s, "three");
	assert_int_equal(renameat2(AT_FDCWD, at(""), AT_FDCWD, at(".next"), RENAME_EXCHANGE), 0);
	assert_int_equal(unlink(at(".next")), 0);
	assert_int_equal(store_save(s, (const uint8_t *)"x", 1, NULL), ERR_STATE);
	store_free(s);
}

/* Somebody swapped the two files behind our back: the folder decides which is the state. */
static void test_swapped_names(void **state)
{
	(void)state;
	struct store *s = open_ok(STORE_MAY_BE_NEW);
	save(s, "one");
	save(s, "two");
	assert_int_equal(renameat2(AT_FDCWD, at(""), AT_FDCWD, at(".next"), RENAME_EXCHANGE), 0);
	save(s, "three");
	assert_holds(s, "three");
	store_free(s);
	s = open_ok(STORE_MUST_EXIST);
	assert_holds(s, "three");
	store_free(s);
}

/* ---- State that moves ------------------------------------------------------------------------ */

/* Away, to be started nowhere else; and, if the other host cannot go on with it, on here. */
static void test_moves_away(void **state)
{
	(void)state;
	struct store *s = open_ok(STORE_MAY_BE_NEW);
	save(s, "one");
	save(s, "two");
	assert_int_equal(store_set_moved(s, 1, &fault), 0);
	assert_int_equal(store_save(s, (const uint8_t *)"x", 1, &fault), ERR_STATE);
	assert_int_equal(store_set_moved(s, 0, &fault), 0);
	save(s, "three");
	assert_int_equal(store_set_moved(s, 0, &fault), 0); /* it is not */
	save(s, "four");
	assert_int_equal(store_set_moved(s, 1, &fault), 0);
	store_free(s);
	assert_refused(ERR_POLICY, "vtpm.moved: the VM was migrated to another host");
	assert_int_equal(told_without_key, ERR_POLICY);
	assert_int_equal(open_with(seal, STORE_MUST_EXIST, &s), ERR_POLICY);
	/* A migration that comes in and fails leaves it so. */
	store_free(open_ok(STORE_COMES));
	assert_refused(ERR_POLICY, "vtpm.moved: ");
	/* One that does not brings it back, and it can go again. */
	for (int i = 0; i < 3; i++) {
		s = open_ok(STORE_COMES);
		save(s, "five");
		assert_int_equal(store_set_moved(s, 0, &fault), 0);
		save(s, "six");
		if (i == 1) { /* it ran in between */
			store_free(s);
			s = open_ok(STORE_MUST_EXIST);
			save(s, "seven");
		}
		assert_int_equal(store_set_moved(s, 1, &fault), 0);
		store_free(s);
		assert_refused(ERR_POLICY, "vtpm.moved: ");
	}
}

/* To a host that has never seen it: nothing is loaded, and so none is manufactured. */
static void test_comes(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(100);
	struct store *s = open_ok(STORE_COMES);
	assert_int_equal(store_load(s, &b, &fault), ERR_STATE);
	assert_false(store_exists(s));
	store_free(s);
	s = open_ok(STORE_COMES);
	save(s, "one");
	assert_int_equal(store_load(s, &b, &fault), 0);
	assert_int_equal(store_set_moved(s, 0, &fault), 0);
	store_free(s);
	s = open_ok(STORE_MUST_EXIST);
	store_free(s);
	/* A left-over spare whose state is gone does not stand in its way. */
	assert_int_equal(unlink(at("")), 0);
	assert_refused(ERR_STATE, "was deleted");
	s = open_ok(STORE_COMES);
	save(s, "one");
	save(s, "two");
	store_free(s);
}

#define DIES 42
static int renames_left = -1; /* before this process dies */

/* NOLINTNEXTLINE: the linker's names. */
int __real_renameat2(int, const char *, int, const char *, unsigned int);
int __wrap_renameat2(int, const char *, int, const char *, unsigned int);
int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned int flags)
{
	if (renames_left-- == 0)
		_exit(DIES);
	return __real_renameat2(from_dir, from, to_dir, to, flags);
}

/* It is here, and can be stored: TEXT in its place. */
static void comes_home(struct store *s, const char *text)
{
	assert_int_equal(store_set_moved(s, 0, &fault), 0);
	save(s, text);
	store_free(s);
	s = open_ok(STORE_MUST_EXIST);
	assert_holds(s, text);
	store_free(s);
}

/* Whenever the process dies that takes the first state in, nobody starts from it who must not. */
static void test_arrives_marked(void **state)
{
	(void)state;
	int killed = 0, status = 1;
	for (int n = 0; status != 0; n++) {
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			struct store *s = open_ok(STORE_COMES);
			renames_left = n;
			store_mark_first(s);
			save(s, "one");
			assert_int_equal(store_set_moved(s, 1, &fault), 0);
			assert_int_equal(store_save(s, (const uint8_t *)"x", 1, &fault), ERR_STATE);
			store_free(s);
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		assert_true(status == 0 || WEXITSTATUS(status) == DIES);
		killed += status != 0;
		if (access(at(""), F_OK) == 0)
			assert_refused(ERR_POLICY, "vtpm.moved: ");
		else
			assert_true(status != 0);
		if (status != 0) {
			(void)unlink(at(""));
			(void)unlink(at(".moved"));
			(void)unlink(at(".next"));
		}
	}
	assert_true(killed >= 2);
	struct store *s = open_ok(STORE_COMES);
	assert_holds(s, "one");
	comes_home(s, "two");
	/* The same process goes on with it. */
	(void)unlink(at(""));
	(void)unlink(at(".next"));
	s = open_ok(STORE_COMES);
	store_mark_first(s);
	save(s, "three");
	assert_int_equal(store_set_moved(s, 1, &fault), 0);
	comes_home(s, "four");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_new_state),
		T(test_many_states_over_many_openings),
		T(test_largest_and_empty),
		T(test_left_overs_are_ignored),
		T(test_linked_spare_is_not_written),
		T(test_every_flipped_bit),
		T(test_every_truncation_and_trailing_bytes),
		T(test_strangers_file),
		T(test_deleted_state),
		T(test_not_a_plain_file),
		T(test_one_at_a_time),
		T(test_bad_names),
		T(test_each_call_failing),
		T(test_each_call_failing_at_first),
		T(test_write_cut_short),
		T(test_filesystem_without_exchange),
		T(test_meddling),
		T(test_swapped_names),
		T(test_moves_away),
		T(test_comes),
		T(test_arrives_marked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
