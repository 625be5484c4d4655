/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <errno.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/seal.h"

static const uint8_t VM[UUID_BYTES] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
static const uint8_t OTHER_VM[UUID_BYTES] = { 0xff, 2 };
static const struct vm_key KEY = { { 7, 7, 7 } };
static const struct vm_key OTHER_KEY = { { 7, 7, 8 } };

static struct seal *sealer(const struct vm_key *key, enum key_use use, const uint8_t *vm,
			   const char *context)
{
	struct seal *s = NULL;
	size_t n = context ? strlen(context) : 0;
	assert_int_equal(seal_new(key, use, vm, (const uint8_t *)context, n, &s), 0);
	return s;
}

/* Opening must fail with RC, say something, and append nothing. */
static void refused(struct seal *s, const uint8_t *p, size_t n, int rc, const char *says)
{
	CLEANUP_BUF struct buf out = BUF_INIT(SEAL_PLAINTEXT_MAX);
	struct fault f = { 0 };
	assert_int_equal(buf_add(&out, "before", 6), 0);
	int got = seal_open(s, p, n, &out, &f);
	assert_true(got < 0);
	if (rc)
		assert_int_equal(got, rc);
	assert_int_equal(f.rc, got);
	assert_true(f.text[0] != '\0');
	if (says && !strstr(f.text, says))
		fail_msg("\"%s\" does not say \"%s\"", f.text, says);
	assert_int_equal(out.len, 6);
	assert_memory_equal(out.data, "before", 6);
}

static void test_round_trips_of_every_kind_of_size(void **state)
{
	(void)state;
	static const size_t SIZES[] = { 0, 1, 15, 16, 17, 4096, 70001, SEAL_PLAINTEXT_MAX };
	struct seal *s = sealer(&KEY, KEY_USE_VTPM_STATE, VM, "tpm");
	for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]); i++) {
		CLEANUP_BUF struct buf sealed = BUF_INIT(SEAL_FILE_MAX),
				       out = BUF_INIT(SEAL_FILE_MAX);
		CLEANUP_FREE uint8_t *plain = malloc(SIZES[i] + 1);
		memset(plain, 0x5a, SIZES[i] + 1);
		assert_int_equal(seal_blob(s, plain, SIZES[i], &sealed), 0);
		assert_int_equal(sealed.len, SIZES[i] + SEAL_OVERHEAD_BYTES);
		assert_int_equal(buf_add(&out, "x", 1), 0);
		assert_int_equal(seal_open(s, sealed.data, sealed.len, &out, NULL), 0);
		assert_int_equal(out.len, SIZES[i] + 1);
		assert_memory_equal(out.data + 1, plain, SIZES[i]);
	}
	seal_free(s);
}

static void test_the_same_plaintext_never_looks_the_same(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf a = BUF_INIT(SEAL_FILE_MAX), b = BUF_INIT(SEAL_FILE_MAX);
	struct seal *s = sealer(&KEY, KEY_USE_VTPM_STATE, VM, NULL);
	assert_int_equal(seal_blob(s, (const uint8_t *)"secret", 6, &a), 0);
	assert_int_equal(seal_blob(s, (const uint8_t *)"secret", 6, &b), 0);
	assert_memory_equal(a.data, b.data, 32);
	assert_memory_not_equal(a.data + 32, b.data + 32, 32);
	assert_memory_not_equal(a.data + 64, b.data + 64, 32);
	assert_memory_not_equal(a.data + 100, b.data + 100, 6);
	assert_null(memmem(a.data, a.len, "secret", 6));
	seal_free(s);
}

static void test_every_flipped_bit_is_refused(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf sealed = BUF_INIT(SEAL_FILE_MAX);
	struct seal *s = sealer(&KEY, KEY_USE_VTPM_STATE, VM, "tpm");
	assert_int_equal(seal_blob(s, (const uint8_t *)"twenty bytes of text", 20, &sealed), 0);
	for (size_t bit = 0; bit < sealed.len * 8; bit++) {
		sealed.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		size_t at = bit / 8;
		int rc = at < 8		       ? ERR_FORMAT
			 : at == 8 || at == 10 ? ERR_VERSION
			 : at == 9	       ? 0 /* another known purpose, or an unknown one */
			 : at < 16	       ? ERR_FORMAT
			 : at < 32	       ? ERR_VM
			 : at < 96	       ? ERR_AUTH
			 : at < 100	       ? 0 /* final mark, too long, too short */
					       : ERR_AUTH;
		refused(s, sealed.data, sealed.len, rc, NULL);
		sealed.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	CLEANUP_BUF struct buf out = BUF_INIT(64);
	assert_int_equal(seal_open(s, sealed.data, sealed.len, &out, NULL), 0);
	seal_free(s);
}

static void test_every_truncation_is_refused(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf sealed = BUF_INIT(SEAL_FILE_MAX);
	struct seal *s = sealer(&KEY, KEY_USE_VTPM_STATE, VM, NULL);
	assert_int_equal(seal_blob(s, (const uint8_t *)"twenty bytes of text", 20, &sealed), 0);
	for (size_t n = 0; n < sealed.len; n++) {
		CLEANUP_FREE uint8_t *exact = malloc(n ? n : 1);
		memcpy(exact, sealed.data, n);
		refused(s, exact, n, ERR_TRUNCATED, NULL);
	}
	refused(s, sealed.data, 0, ERR_TRUNCATED, "empty");
	refused(s, sealed.data, 90, ERR_TRUNCATED, "the header is 6 bytes short");
	refused(s, sealed.data, 98, ERR_TRUNCATED, "the record's length is 2 bytes short");
	refused(s, sealed.data, sealed.len - 12, ERR_TRUNCATED,
		"the final record is 12 bytes short");
	seal_free(s);
}

static void test_trailing_bytes_are_refused(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf sealed = BUF_INIT(SEAL_FILE_MAX);
	struct seal *s = sealer(&KEY, KEY_USE_VTPM_STATE, VM, NULL);
	assert_int_equal(seal_blob(s, (const uint8_t *)"text", 4, &sealed), 0);
	assert_int_equal(buf_add(&sealed, "12345678901234567", 17), 0);
	refused(s, sealed.data, sealed.len, ERR_TRAILING, "17 bytes behind the final record");
	refused(s, sealed.data, sealed.len - 16, ERR_TRAILING, NULL);
	seal_free(s);
}

static void test_another_place_is_refused_and_named(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf sealed = BUF_INIT(SEAL_FILE_MAX);
	struct seal *s = sealer(&KEY, KEY_USE_VTPM_BLOB_PERMANENT, VM, "tpm");
	assert_int_equal(seal_blob(s, (const uint8_t *)"text", 4, &sealed), 0);
	seal_free(s);

	static const struct {
		const struct vm_key *key;
		enum key_use use;
		const uint8_t *vm;
		const char *context;
		int rc;
		const char *says;
	} CASES[] = {
		{ &KEY, KEY_USE_VTPM_STATE, VM, "tpm", ERR_PURPOSE,
		  "made as a vTPM's permanent state blob, wanted is the state of a vTPM" },
		{ &OTHER_KEY, KEY_USE_VTPM_STATE, VM, "tpm", ERR_PURPOSE, "does not confirm" },
		{ &KEY, KEY_USE_VTPM_BLOB_PERMANENT, OTHER_VM, "tpm", ERR_VM,
		  "made for VM 01020304-0506-0708-090a-0b0c0d0e0f10, wanted is VM ff020000-" },
		{ &OTHER_KEY, KEY_USE_VTPM_BLOB_PERMANENT, OTHER_VM, "tpm", ERR_VM,
		  "does not confirm" },
		{ &KEY, KEY_USE_VTPM_BLOB_PERMANENT, VM, "tpn", ERR_AUTH, "another vTPM" },
		{ &KEY, KEY_USE_VTPM_BLOB_PERMANENT, VM, NULL, ERR_AUTH, "another key" },
		{ &OTHER_KEY, KEY_USE_VTPM_BLOB_PERMANENT, VM, "tpm", ERR_AUTH, "another key" },
	};
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		s = sealer(CASES[i].key, CASES[i].use, CASES[i].vm, CASES[i].context);
		refused(s, sealed.data, sealed.len, CASES[i].rc, CASES[i].says);
		seal_free(s);
	}
}

static void test_limits(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf sealed = BUF_INIT(2 * SEAL_FILE_MAX), small = BUF_INIT(64);
	CLEANUP_FREE uint8_t *plain = calloc(1, SEAL_PLAINTEXT_MAX + 1);
	struct seal *s = sealer(&KEY, KEY_USE_VTPM_STATE, VM, NULL);
	assert_int_equal(seal_blob(s, plain, SEAL_PLAINTEXT_MAX + 1, &sealed), ERR_LIMIT);
	assert_int_equal(sealed.len, 0);
	assert_int_equal(seal_blob(s, plain, 100, &small), ERR_LIMIT);
	assert_int_equal(small.len, 0);
	assert_int_equal(seal_blob(s, plain, 100, &sealed), 0);
	assert_int_equal(seal_open(s, sealed.data, sealed.len, &small, NULL), ERR_LIMIT);
	assert_int_equal(small.len, 0);
	struct seal *none = NULL;
	assert_int_equal(seal_new(&KEY, KEY_USE_VTPM_STATE, VM, plain, 257, &none), ERR_LIMIT);
	assert_null(none);
	seal_free(s);
}

/* From here on the process is killed if it opens anything. */
static int forbid_files(void)
{
	static const int KILLED[] = { SCMP_SYS(open),	SCMP_SYS(openat), SCMP_SYS(openat2),
				      SCMP_SYS(socket), SCMP_SYS(execve), SCMP_SYS(readlink),
				      SCMP_SYS(stat),	SCMP_SYS(access), SCMP_SYS(newfstatat) };
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	if (!filter)
		return -1;
	int rc = 0;
	for (size_t i = 0; i < sizeof(KILLED) / sizeof(KILLED[0]) && rc == 0; i++)
		rc = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, KILLED[i], 0);
	if (rc == 0)
		rc = seccomp_load(filter);
	seccomp_release(filter);
	return rc;
}

static int seal_and_open(struct seal *s)
{
	CLEANUP_BUF struct buf sealed = BUF_INIT(SEAL_FILE_MAX), out = BUF_INIT(SEAL_FILE_MAX);
	if (seal_blob(s, (const uint8_t *)"text", 4, &sealed) < 0)
		return 13;
	if (seal_open(s, sealed.data, sealed.len, &out, NULL) < 0)
		return 14;
	sealed.data[sealed.len - 1] ^= 1;
	return seal_open(s, sealed.data, sealed.len, &out, NULL) == ERR_AUTH ? 0 : 15;
}

static void *seal_and_open_in_thread(void *s)
{
	return (void *)(intptr_t)seal_and_open(s);
}

/* libcrypto keeps a generator per thread, made when it is first asked. */
static int seal_and_open_in_both_threads(struct seal *s)
{
	pthread_t thread;
	void *result = NULL;
	int rc = seal_and_open(s);
	if (rc != 0)
		return rc;
	if (pthread_create(&thread, NULL, seal_and_open_in_thread, s) != 0 ||
	    pthread_join(thread, &result) != 0)
		return 16;
	return (int)(intptr_t)result;
}

/* In a child: what the sealed worker does.  The control makes the sealer after files are forbidden.
 */
static int child_status(int made_too_late)
{
	int status = 0;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct seal *s = NULL;
		if (made_too_late && forbid_files() < 0)
			_exit(9);
		if (seal_new(&KEY, KEY_USE_VTPM_STATE, VM, NULL, 0, &s) < 0)
			_exit(10);
		if (!made_too_late && forbid_files() < 0)
			_exit(11);
		_exit(seal_and_open_in_both_threads(s));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_opens_no_file_once_made(void **state)
{
	(void)state;
	int status = child_status(0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	status = child_status(1);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

int main(void)
{
	/* First, so that the child starts from a libcrypto that has loaded nothing. */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opens_no_file_once_made),
		cmocka_unit_test(test_round_trips_of_every_kind_of_size),
		cmocka_unit_test(test_the_same_plaintext_never_looks_the_same),
		cmocka_unit_test(test_every_flipped_bit_is_refused),
		cmocka_unit_test(test_every_truncation_is_refused),
		cmocka_unit_test(test_trailing_bytes_are_refused),
		cmocka_unit_test(test_another_place_is_refused_and_named),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
