/* SPDX-License-Identifier: BSD-3-Clause */
/* The version of a vTPM's state: in its file, in its blobs, and as the vTPM moves it. */
#include "tests/unit/test.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/statehead.h"
#include "worker/vtpm.h"

#define NAME "tpm2.state"

static char folder[64];
static const struct vm_key key = { .bytes = { 1, 2, 3 } };
static const uint8_t vm[UUID_BYTES] = { 7 };
static const uint8_t tpm_id[16] = { 8 };
static struct seal *seal;

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/test-version-XXXXXX");
	return mkdtemp(folder) && seal_new(&key, KEY_USE_VTPM_STATE, vm, tpm_id, sizeof(tpm_id),
					   &seal) >= 0
		       ? 0
		       : -1;
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

/* ---- The file -------------------------------------------------------------------------------- */

static int open_dir(void)
{
	int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	return dir;
}

static int try_open(struct store **s, struct fault *f)
{
	int dir = open_dir();
	int rc = store_open(dir, NAME, seal, STORE_MAY_BE_NEW, s, f);
	if (rc < 0)
		fd_close(&dir);
	return rc;
}

static struct store *open_store(void)
{
	struct store *s = NULL;
	struct fault f = { 0 };
	if (try_open(&s, &f) < 0)
		fail_msg("%s", f.text);
	return s;
}

static void save(struct store *s, const char *text, uint64_t version)
{
	struct fault f = { 0 };
	if (store_save(s, (const uint8_t *)text, strlen(text), &f) < 0)
		fail_msg("%s", f.text);
	assert_int_equal(store_version(s), version);
}

static void assert_holds(struct store *s, const char *text)
{
	CLEANUP_BUF struct buf b = BUF_INIT(SEAL_PLAINTEXT_MAX);
	assert_int_equal(store_load(s, &b, NULL), 0);
	assert_int_equal(b.len, strlen(text));
	assert_memory_equal(b.data, text, b.len);
}

/* What whoever has no key sees. */
static uint64_t seen(void)
{
	CLEANUP_FD int dir = open_dir();
	uint64_t version = 77;
	assert_int_equal(statehead_read(dir, NAME, &version, NULL), 0);
	return version;
}

static void read_file(struct buf *out)
{
	CLEANUP_FD int dir = open_dir();
	*out = BUF_INIT(2 * SEAL_FILE_MAX);
	assert_int_equal(fd_read_file(dir, NAME, out, NULL), 0);
}

static void write_file(const char *name, const void *data, size_t n)
{
	CLEANUP_FD int dir = open_dir();
	assert_int_equal(fd_write_file(dir, name, data, n, 0600, 1, NULL), 0);
}

/* A state file as it was before there were heads. */
static void old_file(const char *name, const char *text)
{
	CLEANUP_BUF struct buf b = BUF_INIT(SEAL_FILE_MAX);
	assert_int_equal(seal_bind(seal, NULL, 0), 0);
	assert_int_equal(seal_blob(seal, (const uint8_t *)text, strlen(text), &b), 0);
	write_file(name, b.data, b.len);
}

static void test_grows(void **state)
{
	(void)state;
	struct store *s = open_store();
	assert_int_equal(store_version(s), 0);
	save(s, "one", 1);
	save(s, "two", 2);
	assert_int_equal(seen(), 2);
	store_free(s);
	s = open_store();
	assert_int_equal(store_version(s), 2);
	save(s, "three", 3);
	store_raise(s, 100);
	assert_int_equal(store_version(s), 3);
	assert_int_equal(seen(), 3);
	save(s, "four", 101);
	store_raise(s, 5);
	save(s, "five", 102);
	assert_holds(s, "five");
	store_free(s);
	assert_int_equal(seen(), 102);
}

static void test_same(void **state)
{
	(void)state;
	struct store *s = open_store();
	/* Where there is none, it gets its first. */
	assert_int_equal(store_save_same(s, (const uint8_t *)"zero", 4, NULL), 0);
	assert_int_equal(store_version(s), 1);
	save(s, "one", 2);
	store_raise(s, 50);
	assert_int_equal(store_save_same(s, (const uint8_t *)"same", 4, NULL), 0);
	assert_int_equal(store_version(s), 2);
	assert_int_equal(seen(), 2);
	assert_holds(s, "same");
	save(s, "two", 51);
	store_free(s);
	s = open_store();
	assert_holds(s, "two");
	store_free(s);
}

/* What an owner's ticket started is not older than what was told before. */
static void test_renewed(void **state)
{
	(void)state;
	struct store *s = open_store();
	assert_int_equal(store_renew(s, NULL), 0);
	assert_false(store_exists(s));
	save(s, "one", 1);
	assert_int_equal(store_renew(s, NULL), 0);
	assert_int_equal(store_version(s), 1);
	store_raise(s, 7);
	assert_int_equal(store_renew(s, NULL), 0);
	assert_int_equal(store_version(s), 8);
	assert_int_equal(seen(), 8);
	assert_int_equal(store_renew(s, NULL), 0);
	assert_int_equal(store_version(s), 8);
	assert_holds(s, "one");
	store_free(s);
	s = open_store();
	assert_holds(s, "one");
	store_free(s);
}

/* A version that something was stored under, or tried to be, is nobody else's. */
static void test_failure_uses_up(void **state)
{
	(void)state;
	uint8_t *big = calloc(1, SEAL_PLAINTEXT_MAX + 1);
	struct store *s = open_store();
	save(s, "one", 1);
	assert_int_equal(store_save(s, big, SEAL_PLAINTEXT_MAX + 1, NULL), ERR_LIMIT);
	assert_int_equal(store_version(s), 1);
	assert_int_equal(seen(), 1);
	save(s, "two", 3);
	store_raise(s, STATEHEAD_VERSION_MAX - 1);
	save(s, "last", STATEHEAD_VERSION_MAX);
	assert_int_equal(store_save(s, big, 1, NULL), ERR_LIMIT);
	assert_holds(s, "last");
	store_free(s);
	free(big);
}

static void test_from_before_heads(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf new = { 0 }, old = { 0 };
	old_file(NAME, "old");
	assert_int_equal(seen(), 0);
	read_file(&old);
	struct store *s = open_store();
	assert_int_equal(store_version(s), 0);
	assert_holds(s, "old");
	store_free(s);
	assert_int_equal(seen(), 0); /* reading changes nothing */
	s = open_store();
	save(s, "new", 1);
	store_free(s);
	read_file(&new);
	assert_memory_equal(new.data, "SHVDSTAT", 8);

	/* Between the two: the new form is in the spare, or the old one is. */
	write_file(NAME, old.data, old.len);
	write_file(NAME ".next", new.data, new.len);
	s = open_store();
	assert_holds(s, "old");
	assert_int_equal(store_version(s), 0);
	store_free(s);
	write_file(NAME, new.data, new.len);
	write_file(NAME ".next", old.data, old.len);
	s = open_store();
	assert_holds(s, "new");
	assert_int_equal(store_version(s), 1);
	save(s, "newer", 2);
	store_free(s);
}

static void refused(int want, const struct buf *head, size_t head_bytes, const uint8_t *rest,
		    size_t n)
{
	CLEANUP_BUF struct buf b = BUF_INIT(2 * SEAL_FILE_MAX);
	CLEANUP_BUF struct buf after = { 0 };
	struct store *s = NULL;
	struct fault f = { 0 };
	assert_int_equal(buf_add(&b, head->data, head_bytes), 0);
	assert_int_equal(buf_add(&b, rest, n), 0);
	write_file(NAME, b.data, b.len);
	assert_int_equal(try_open(&s, &f), want);
	assert_non_null(strstr(f.text, "left as it is"));
	read_file(&after);
	assert_true(after.len == b.len && memcmp(after.data, b.data, b.len) == 0);
}

static void test_heads_of_others(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf one = { 0 }, two = { 0 }, old = { 0 };
	struct store *s = open_store();
	save(s, "one", 1);
	read_file(&one);
	save(s, "two", 2);
	read_file(&two);
	store_free(s);
	const uint8_t *sealed = two.data + STATEHEAD_BYTES;
	size_t n = two.len - STATEHEAD_BYTES;
	refused(ERR_AUTH, &one, STATEHEAD_BYTES, sealed, n); /* an earlier one's */
	refused(ERR_AUTH, &two, STATEHEAD_BYTES, one.data + STATEHEAD_BYTES,
		one.len - STATEHEAD_BYTES);    /* an earlier state under a later one's */
	refused(ERR_AUTH, &two, 0, sealed, n); /* none */
	refused(ERR_FORMAT, &two, STATEHEAD_BYTES, two.data, two.len); /* two */
	for (size_t version = 0; version < 5; version++) {
		CLEANUP_BUF struct buf head = BUF_INIT(STATEHEAD_BYTES);
		uint8_t bytes[STATEHEAD_BYTES];
		statehead_make(version, bytes);
		assert_int_equal(buf_add(&head, bytes, sizeof(bytes)), 0);
		if (version != 2)
			refused(version ? ERR_AUTH : ERR_FORMAT, &head, sizeof(bytes), sealed, n);
	}
	/* One before a state that has none. */
	old_file(NAME, "old");
	read_file(&old);
	refused(ERR_AUTH, &two, STATEHEAD_BYTES, old.data, old.len);
	/* And what was refused opens when it is put right. */
	write_file(NAME, two.data, two.len);
	s = open_store();
	assert_holds(s, "two");
	store_free(s);
}

/* ---- Blobs ----------------------------------------------------------------------------------- */

static struct blob_keys *blob_keys(void)
{
	struct blob_keys *k;
	assert_int_equal(blob_keys_new(&key, vm, tpm_id, sizeof(tpm_id), &k), 0);
	return k;
}

static int open_blob(enum vtpm_blob type, const struct buf *blob, uint64_t *version)
{
	CLEANUP_BUF struct buf out = BUF_INIT(VTPM_BLOB_MAX);
	struct blob_keys *k = blob_keys();
	struct fault f = { 0 };
	int rc = blob_open(k, type, blob->data, blob->len, version, &out, &f);
	assert_true(rc >= 0 ? out.len == 5 && memcmp(out.data, "state", 5) == 0
			    : out.len == 0 && f.text[0]);
	blob_keys_free(k);
	return rc;
}

static void seal_as(enum key_use use, const void *plain, size_t n, struct buf *out)
{
	struct seal *s;
	*out = BUF_INIT(VTPM_BLOB_MAX);
	assert_int_equal(seal_new(&key, use, vm, tpm_id, sizeof(tpm_id), &s), 0);
	assert_int_equal(seal_blob(s, plain, n, out), 0);
	seal_free(s);
}

static void test_blobs(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf blob = BUF_INIT(VTPM_BLOB_MAX);
	struct blob_keys *k = blob_keys();
	uint64_t version = 77;
	assert_int_equal(
		blob_seal(k, VTPM_BLOB_PERMANENT, 0x123456789abcdef, (uint8_t *)"state", 5, &blob),
		0);
	assert_int_equal(blob.len, 5 + BLOB_VERSION_BYTES + SEAL_OVERHEAD_BYTES);
	assert_int_equal(open_blob(VTPM_BLOB_PERMANENT, &blob, &version), 0);
	assert_true(version == 0x123456789abcdef);
	/* As what is older, and the reverse. */
	assert_int_equal(blob.data[9], KEY_USE_VTPM_BLOB_VERSIONED);
	assert_int_equal(open_blob(VTPM_BLOB_VOLATILE, &blob, &version), ERR_PURPOSE);
	blob.data[9] = KEY_USE_VTPM_BLOB_PERMANENT;
	assert_int_equal(open_blob(VTPM_BLOB_PERMANENT, &blob, &version), ERR_AUTH);
	blob.data[9] = KEY_USE_VTPM_BLOB_VERSIONED;
	buf_done(&blob);
	blob = BUF_INIT(VTPM_BLOB_MAX);
	assert_int_equal(blob_seal(k, VTPM_BLOB_VOLATILE, 0, (uint8_t *)"state", 5, &blob), 0);
	assert_int_equal(blob.len, 5 + SEAL_OVERHEAD_BYTES);
	assert_int_equal(open_blob(VTPM_BLOB_VOLATILE, &blob, &version), 0);
	assert_int_equal(open_blob(VTPM_BLOB_PERMANENT, &blob, &version), ERR_PURPOSE);
	blob_keys_free(k);
}

static void test_blobs_of_others(void **state)
{
	(void)state;
	static const struct {
		enum key_use use;
		const char *plain;
		size_t n;
		int rc;
	} cases[] = {
		/* From before there were versions. */
		{ KEY_USE_VTPM_BLOB_PERMANENT, "state", 5, 0 },
		{ KEY_USE_VTPM_BLOB_VERSIONED, "\0\0\0\0\0\0\0\0state", 13, 0 },
		{ KEY_USE_VTPM_BLOB_VERSIONED, "\x80\0\0\0\0\0\0\0state", 13, ERR_LIMIT },
		{ KEY_USE_VTPM_BLOB_VERSIONED, "\0\0\0\0\0\0\0", 7, ERR_TRUNCATED },
		{ KEY_USE_VTPM_BLOB_VERSIONED, "", 0, ERR_TRUNCATED },
		{ KEY_USE_VTPM_BLOB_VOLATILE, "state", 5, ERR_PURPOSE },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CLEANUP_BUF struct buf blob = { 0 };
		uint64_t version = 77;
		seal_as(cases[i].use, cases[i].plain, cases[i].n, &blob);
		assert_int_equal(open_blob(VTPM_BLOB_PERMANENT, &blob, &version), cases[i].rc);
		assert_int_equal(version, 0);
	}
}

/* ---- The vTPM -------------------------------------------------------------------------------- */

static struct store *disk;
static struct vtpm *tpm;
static uint8_t reply[VTPM_BUFFER_MAX];

static void open_tpm_for(uint64_t spent, uint64_t oldest, uint64_t ticket)
{
	struct fault f = { 0 };
	disk = open_store();
	const struct vtpm_config config = { .store = disk,
					    .key = &key,
					    .vm = vm,
					    .tpm_id = tpm_id,
					    .tpm_id_bytes = sizeof(tpm_id),
					    .spent = spent,
					    .oldest = oldest,
					    .ticket = ticket };
	if (vtpm_new(&config, &tpm, &f) < 0)
		fail_msg("%s", f.text);
}

static void open_tpm(uint64_t spent, uint64_t oldest)
{
	open_tpm_for(spent, oldest, 0);
}

static void close_tpm(void)
{
	vtpm_free(tpm);
	store_free(disk);
}

static void start(void)
{
	static const uint8_t startup[] = { 0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0 };
	struct fault f = { 0 };
	size_t n;
	if (vtpm_init(tpm, &f) < 0)
		fail_msg("%s", f.text);
	vtpm_command(tpm, startup, sizeof(startup), reply, &n);
	assert_int_equal(n, 10);
}

static void get_blob(struct buf *out)
{
	*out = BUF_INIT(VTPM_BLOB_MAX);
	assert_int_equal(vtpm_get_blob(tpm, VTPM_BLOB_PERMANENT, out), 0);
}

static uint64_t version_of(const struct buf *blob)
{
	CLEANUP_BUF struct buf out = BUF_INIT(VTPM_BLOB_MAX);
	struct blob_keys *k = blob_keys();
	uint64_t version;
	assert_int_equal(
		blob_open(k, VTPM_BLOB_PERMANENT, blob->data, blob->len, &version, &out, NULL), 0);
	blob_keys_free(k);
	return version;
}

/* What the vTPM does by itself at its end is no new version, and is stored. */
static void test_end_is_no_version(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf before = { 0 }, after = { 0 };
	open_tpm(0, 0);
	start();
	uint64_t version = store_version(disk);
	assert_true(version > 0);
	read_file(&before);
	vtpm_stop(tpm);
	assert_int_equal(store_version(disk), version);
	read_file(&after);
	assert_true(before.len != after.len || memcmp(before.data, after.data, after.len) != 0);
	start();
	assert_true(store_version(disk) > version);
	close_tpm();
}

static void test_lease(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf first = { 0 }, later = { 0 }, high = { 0 }, old = { 0 };
	open_tpm(0, 0);
	start();
	get_blob(&first);
	assert_int_equal(version_of(&first), store_version(disk));
	close_tpm();

	/* Nothing stored yet, but a guardian knows of a higher version. */
	uint64_t asked = seen();
	open_tpm(1000, asked + 1);
	assert_int_equal(store_version(disk), asked);
	struct fault f = { 0 };
	assert_int_equal(vtpm_set_blob(tpm, VTPM_BLOB_PERMANENT, 0, first.data, first.len, &f),
			 ERR_POLICY);
	assert_non_null(strstr(f.text, "vtpm.older: "));
	seal_as(KEY_USE_VTPM_BLOB_PERMANENT, "state", 5, &old);
	assert_int_equal(vtpm_set_blob(tpm, VTPM_BLOB_PERMANENT, 0, old.data, old.len, NULL),
			 ERR_POLICY);
	start();
	assert_true(store_version(disk) > 1000);
	assert_int_equal(seen(), store_version(disk));
	get_blob(&later);
	assert_int_equal(version_of(&later), store_version(disk));
	close_tpm();

	/* What is not stored counts as what the guardian knows of. */
	open_tpm(5000, 0);
	assert_int_equal(vtpm_init(tpm, NULL), 0);
	assert_true(store_version(disk) < 5000);
	get_blob(&high);
	assert_int_equal(version_of(&high), 5000);
	close_tpm();

	/* Taken as it is allowed to be: what is stored from then on is of higher versions. */
	open_tpm(0, 5000);
	assert_int_equal(vtpm_set_blob(tpm, VTPM_BLOB_PERMANENT, 0, high.data, high.len, NULL), 0);
	assert_int_equal(vtpm_init(tpm, NULL), 0);
	assert_true(store_version(disk) > 5000);
	close_tpm();
}

/* A blob of version OF, which is looked at and never started from. */
static int set_one_of(uint64_t of, struct fault *f)
{
	CLEANUP_BUF struct buf blob = { 0 };
	const struct {
		uint64_t version;
		uint8_t state[8];
	} plain = { .version = htobe64(of) };
	seal_as(KEY_USE_VTPM_BLOB_VERSIONED, &plain, sizeof(plain), &blob);
	return vtpm_set_blob(tpm, VTPM_BLOB_PERMANENT, 0, blob.data, blob.len, f);
}

/* The owner's ticket is for one older version: not for those around it, and not without it. */
static void test_ticket(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf saved = { 0 }, later = { 0 };
	struct fault f = { 0 };
	open_tpm(0, 0);
	start();
	get_blob(&saved);
	uint64_t of = version_of(&saved);
	start();
	assert_true(store_version(disk) > of);
	close_tpm();

	uint64_t latest = seen() + 10;
	open_tpm_for(latest, latest, of);
	for (uint64_t other = 0; other <= latest; other++) {
		f.text[0] = '\0';
		if (other == of)
			continue;
		assert_int_equal(set_one_of(other, &f), other < latest ? ERR_POLICY : 0);
		assert_true((other < latest) == (strstr(f.text, "vtpm.older: ") != NULL));
	}
	assert_int_equal(vtpm_set_blob(tpm, VTPM_BLOB_PERMANENT, 0, saved.data, saved.len, NULL),
			 0);
	assert_int_equal(vtpm_init(tpm, NULL), 0);
	assert_true(store_version(disk) > latest);
	assert_int_equal(seen(), store_version(disk));
	get_blob(&later);
	assert_int_equal(version_of(&later), store_version(disk));
	close_tpm();

	/* No ticket is none for version 0 either. */
	latest = seen();
	open_tpm(latest, latest);
	assert_int_equal(vtpm_set_blob(tpm, VTPM_BLOB_PERMANENT, 0, saved.data, saved.len, NULL),
			 ERR_POLICY);
	assert_int_equal(set_one_of(0, NULL), ERR_POLICY);
	assert_int_equal(vtpm_set_blob(tpm, VTPM_BLOB_PERMANENT, 0, later.data, later.len, NULL),
			 0);
	close_tpm();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_grows, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_same, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_renewed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_failure_uses_up, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_from_before_heads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_heads_of_others, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_blobs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_blobs_of_others, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_end_is_no_version, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lease, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_ticket, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
