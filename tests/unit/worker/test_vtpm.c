/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/worker/memory_store.h"
#include "worker/vtpm.h"

static struct store disk, volatile_disk;
static const uint8_t vm[UUID_BYTES] = { 7 };
static struct vtpm *tpm;

static void open_vtpm(int with_volatile)
{
	struct fault f = { 0 };
	struct vtpm_config config = { .store = &disk,
				      .volatile_store = with_volatile ? &volatile_disk : NULL,
				      .vm = vm };
	if (vtpm_new(&config, &tpm, &f) < 0)
		fail_msg("%s", f.text);
}

static int setup(void **state)
{
	(void)state;
	open_vtpm(0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vtpm_free(tpm);
	tpm = NULL;
	buf_done(&disk.state);
	buf_done(&volatile_disk.state);
	memset(&disk, 0, sizeof(disk));
	memset(&volatile_disk, 0, sizeof(volatile_disk));
	return 0;
}

static uint8_t reply[VTPM_BUFFER_MAX];
static size_t reply_n;

static uint32_t be32_at(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

#define COMMAND(bytes) command((const uint8_t *)(bytes), sizeof(bytes) - 1)
static uint32_t command(const uint8_t *cmd, size_t n)
{
	assert_int_equal(be32_at(cmd + 2), n);
	vtpm_command(tpm, cmd, n, reply, &reply_n);
	assert_int_equal(be32_at(reply + 2), reply_n);
	return be32_at(reply + 6);
}

#define STARTUP	  "\x80\x01\0\0\0\x0c\0\0\x01\x44\0\0"
#define GETRANDOM "\x80\x01\0\0\0\x0c\0\0\x01\x7b\0\x10"
#define PW	  "\0\0\0\x09\x40\0\0\x09\0\0\0\0\0"
/* 0x01500001, 8 bytes, auth "pw", AUTHREAD | AUTHWRITE, so protected from dictionary attacks */
#define NV_DEFINE                                                                                  \
	"\x80\x02\0\0\0\x2f\0\0\x01\x2a\x40\0\0\x01" PW "\0\x02pw\0\x0e\x01\x50\0\x01\0\x0b"       \
	"\0\x04\0\x04\0\0\0\x08"
#define NV_PUBLIC "\x80\x01\0\0\0\x0e\0\0\x01\x69\x01\x50\0\x01"
#define NV_WRITE                                                                                   \
	"\x80\x02\0\0\0\x2d\0\0\x01\x37\x01\x50\0\x01\x01\x50\0\x01"                               \
	"\0\0\0\x0b\x40\0\0\x09\0\0\0\0\x02pw\0\x08"                                               \
	"8 bytes!\0\0"
#define LOCKOUT_COUNTER "\x80\x01\0\0\0\x16\0\0\x01\x7a\0\0\0\x06\0\0\x02\x0e\0\0\0\x01"

/* The first use of something protected from dictionary attacks is noted on disk, then asked for
 * again. */
static uint32_t nv_write(void)
{
	uint32_t rc = COMMAND(NV_WRITE);
	return rc == 0x922 ? COMMAND(NV_WRITE) : rc; /* TPM_RC_RETRY */
}

static uint32_t lockout_counter(void)
{
	assert_int_equal(COMMAND(LOCKOUT_COUNTER), 0);
	assert_int_equal(be32_at(reply + 19), 0x20e);
	return be32_at(reply + 23);
}

static void start(void)
{
	struct fault f = { 0 };
	if (vtpm_init(tpm, &f) < 0)
		fail_msg("%s", f.text);
	assert_int_equal(COMMAND(STARTUP), 0);
}

/* Manufacturing stores once, and only when it has worked. */
static void test_made_in_one_store(void **state)
{
	struct fault f = { 0 };
	(void)state;
	disk.fail_saves = 1;
	assert_int_equal(vtpm_init(tpm, &f), -ENOSPC);
	assert_non_null(strstr(f.text, "disk full"));
	assert_false(vtpm_running(tpm));
	assert_false(disk.exists);
	assert_int_equal(COMMAND(GETRANDOM), VTPM_RC_FAILURE);
	assert_int_equal(reply_n, 10);
	disk.saves = 0;
	assert_int_equal(vtpm_init(tpm, &f), 0);
	assert_true(vtpm_was_made(tpm));
	assert_int_equal(disk.saves, 1);
	vtpm_stop(tpm);
	assert_int_equal(vtpm_init(tpm, &f), 0);
	assert_false(vtpm_was_made(tpm));
	assert_int_equal(disk.saves, 1);
}

/* Only "absent" makes libtpms manufacture. */
static void test_unreadable_is_not_absent(void **state)
{
	(void)state;
	start();
	vtpm_stop(tpm);
	CLEANUP_BUF struct buf before = BUF_INIT(SEAL_PLAINTEXT_MAX);
	assert_int_equal(buf_add(&before, disk.state.data, disk.state.len), 0);
	disk.saves = 0;
	for (int n = 1; n <= 2; n++) { /* it is read twice */
		disk.fail_loads = n;
		assert_true(vtpm_init(tpm, NULL) < 0);
		assert_false(vtpm_running(tpm));
		assert_false(vtpm_was_made(tpm));
		disk.fail_loads = 0;
	}
	assert_int_equal(disk.saves, 0);
	assert_int_equal(disk.state.len, before.len);
	assert_memory_equal(disk.state.data, before.data, before.len);
	start();
}

/* What cannot be stored did not happen. */
static void test_store_fails(void **state)
{
	struct fault f = { 0 };
	CLEANUP_BUF struct buf blob = BUF_INIT(VTPM_BLOB_MAX);
	(void)state;
	start();
	/* libtpms must not put the command, with its password, on stderr. */
	int quiet = memfd_create("stderr", MFD_CLOEXEC), old = dup(2);
	dup2(quiet, 2);
	disk.fail_saves = 1;
	uint32_t rc = COMMAND(NV_DEFINE);
	dup2(old, 2);
	close(old);
	assert_int_equal(lseek(quiet, 0, SEEK_END), 0);
	close(quiet);
	assert_int_equal(rc, VTPM_RC_FAILURE);
	assert_int_equal(COMMAND(GETRANDOM), VTPM_RC_FAILURE);
	/* Nor does it leave by another way. */
	assert_int_equal(vtpm_get_blob(tpm, VTPM_BLOB_PERMANENT, &blob), -EIO);
	int saves = disk.saves;
	vtpm_stop(tpm);
	assert_int_equal(disk.saves, saves);
	assert_int_equal(vtpm_init(tpm, &f), 0);
	assert_int_equal(COMMAND(STARTUP), 0);
	assert_int_equal(COMMAND(NV_PUBLIC), 0x18b);
	assert_int_equal(COMMAND(NV_DEFINE), 0);
	assert_int_equal(COMMAND(NV_PUBLIC), 0);
}

/* A stop that the guest did not prepare is not charged to it as a dictionary attack. */
static void test_lockout_counter(void **state)
{
	(void)state;
	start();
	assert_int_equal(COMMAND(NV_DEFINE), 0);
	assert_int_equal(nv_write(), 0);
	assert_int_equal(lockout_counter(), 0);
	CLEANUP_BUF struct buf abrupt = BUF_INIT(SEAL_PLAINTEXT_MAX);
	assert_int_equal(buf_add(&abrupt, disk.state.data, disk.state.len), 0);

	vtpm_stop(tpm);
	start();
	assert_int_equal(lockout_counter(), 0);
	assert_int_equal(nv_write(), 0);
	vtpm_init(tpm, NULL) < 0 ? fail() : (void)0; /* INIT without STOP */
	assert_int_equal(COMMAND(STARTUP), 0);
	assert_int_equal(lockout_counter(), 0);
	assert_int_equal(nv_write(), 0);
	vtpm_free(tpm); /* the end of the process */
	open_vtpm(0);
	start();
	assert_int_equal(lockout_counter(), 0);

	/* The state as it was without any Shutdown shows that this test can tell. */
	vtpm_stop(tpm);
	assert_int_equal(store_save(&disk, abrupt.data, abrupt.len, NULL), 0);
	start();
	assert_int_equal(lockout_counter(), 1);
}

/* After the guest's own Shutdown, and before any command, there is nothing to add. */
static void test_no_needless_shutdown(void **state)
{
	(void)state;
	start();
	assert_int_equal(COMMAND("\x80\x01\0\0\0\x0c\0\0\x01\x45\0\0"), 0);
	int saves = disk.saves;
	vtpm_stop(tpm);
	assert_int_equal(disk.saves, saves);
	assert_int_equal(vtpm_init(tpm, NULL), 0);
	vtpm_stop(tpm);
	assert_int_equal(disk.saves, saves);
}

#define EXTEND                                                                                     \
	"\x80\x02\0\0\0\x41\0\0\x01\x82\0\0\0\x10" PW "\0\0\0\x01\0\x0b"                           \
	"32 bytes of something measured.."
#define PCR16 "\x80\x01\0\0\0\x14\0\0\x01\x7e\0\0\0\x01\0\x0b\x03\0\0\x01"

static void test_volatile_resumes_once(void **state)
{
	(void)state;
	for (int on_disk = 0; on_disk < 2; on_disk++) {
		uint8_t pcr[32];
		teardown(NULL);
		open_vtpm(on_disk);
		assert_int_equal(vtpm_store_volatile(tpm, NULL), ERR_STATE);
		start();
		assert_int_equal(COMMAND(EXTEND), 0);
		assert_int_equal(COMMAND(PCR16), 0);
		memcpy(pcr, reply + reply_n - 32, 32);
		assert_int_equal(vtpm_store_volatile(tpm, NULL), 0);
		vtpm_stop(tpm);
		if (on_disk) { /* another process */
			vtpm_free(tpm);
			open_vtpm(1);
		}
		assert_int_equal(vtpm_init(tpm, NULL), 0);
		assert_int_equal(COMMAND(PCR16), 0);
		assert_memory_equal(reply + reply_n - 32, pcr, 32);
		assert_int_equal(vtpm_init(tpm, NULL), 0);
		assert_int_equal(COMMAND(PCR16), 0x100);
	}
	/* If the stored one cannot be consumed, there is no resuming from it. */
	assert_int_equal(COMMAND(STARTUP), 0);
	assert_int_equal(vtpm_store_volatile(tpm, NULL), 0);
	volatile_disk.fail_saves = 1;
	assert_int_equal(vtpm_init(tpm, NULL), -ENOSPC);
	assert_false(vtpm_running(tpm));
}

/* A resumed vTPM is in the middle of things: a stop needs its Shutdown. */
static void test_resumed_is_not_orderly(void **state)
{
	(void)state;
	start();
	assert_int_equal(vtpm_store_volatile(tpm, NULL), 0);
	vtpm_stop(tpm);
	assert_int_equal(vtpm_init(tpm, NULL), 0);
	int saves = disk.saves;
	vtpm_stop(tpm);
	assert_true(disk.saves > saves);
}

/* Without a key blobs travel in clear, and sealed ones cannot be taken. */
static void test_blobs_in_clear(void **state)
{
	CLEANUP_BUF struct buf blob = BUF_INIT(VTPM_BLOB_MAX), junk = BUF_INIT(VTPM_BLOB_MAX);
	(void)state;
	start();
	assert_int_equal(vtpm_get_blob(tpm, VTPM_BLOB_PERMANENT, &blob), 0);
	vtpm_stop(tpm);
	assert_int_equal(vtpm_set_blob(tpm, 1, 1, blob.data, blob.len, NULL), ERR_RECIPIENT);
	assert_int_equal(vtpm_set_blob(tpm, 0, 0, blob.data, blob.len, NULL), ERR_FORMAT);
	assert_int_equal(vtpm_set_blob(tpm, 4, 0, blob.data, blob.len, NULL), ERR_FORMAT);
	assert_int_equal(vtpm_set_blob(tpm, 3, 0, blob.data, blob.len, NULL), ERR_FORMAT);
	assert_int_equal(vtpm_set_blob(tpm, 1, 0, blob.data, blob.len, NULL), 0);
	assert_int_equal(vtpm_init(tpm, NULL), 0);
	vtpm_stop(tpm);

	/* One that libtpms cannot read: the stored state is what it was, and in force again. */
	disk.saves = 0;
	assert_int_equal(buf_add(&junk, "nonsense", 8), 0);
	assert_int_equal(vtpm_set_blob(tpm, 1, 0, junk.data, junk.len, NULL), 0);
	assert_int_equal(vtpm_init(tpm, NULL), -EIO);
	assert_int_equal(disk.saves, 0);
	start();
	assert_false(vtpm_was_made(tpm));
}

/* A worker's vTPM: its QEMU may have been taken over, and have kept an older state. */
static void test_no_rewind(void **state)
{
	CLEANUP_BUF struct buf blob = BUF_INIT(VTPM_BLOB_MAX);
	const struct vtpm_config config = { .store = &disk, .vm = vm, .no_rewind = 1 };
	struct fault f = { 0 };
	(void)state;
	vtpm_free(tpm);
	assert_int_equal(vtpm_new(&config, &tpm, NULL), 0);
	/* What provisioning does is not the guest's. */
	vtpm_hold(tpm);
	start();
	vtpm_stop(tpm);
	assert_int_equal(vtpm_commit(tpm, 0, NULL), 0);
	assert_int_equal(vtpm_init(tpm, NULL), 0);
	assert_int_equal(vtpm_get_blob(tpm, VTPM_BLOB_PERMANENT, &blob), 0);
	vtpm_stop(tpm);
	/* QEMU asks a vTPM that does not run yet who it is. */
	vtpm_command(tpm, (const uint8_t *)"\x80\x01\0\0\0\x0c\0\0\x01\x7b\0\x10", 12, reply,
		     &reply_n);
	assert_int_equal(vtpm_set_blob(tpm, 1, 0, blob.data, blob.len, NULL), 0);
	start();
	vtpm_stop(tpm);
	for (uint32_t type = VTPM_BLOB_PERMANENT; type <= VTPM_BLOB_VOLATILE; type++)
		assert_int_equal(vtpm_set_blob(tpm, type, 0, blob.data, blob.len, &f), ERR_STATE);
	assert_non_null(strstr(f.text, "served"));
	start();
}

/* What is stored here is not what a VM from saved state goes on with. */
static void test_awaits_its_state(void **state)
{
	CLEANUP_BUF struct buf blob = BUF_INIT(VTPM_BLOB_MAX);
	struct fault f = { 0 };
	(void)state;
	start();
	assert_int_equal(COMMAND(NV_DEFINE), 0);
	assert_int_equal(vtpm_get_blob(tpm, VTPM_BLOB_PERMANENT, &blob), 0);
	vtpm_stop(tpm);
	disk.saves = 0;
	vtpm_await(tpm);
	/* QEMU starts it as it does for every VM, before anything comes in. */
	assert_int_equal(vtpm_init(tpm, NULL), 0);
	assert_false(vtpm_is_ready(tpm));
	assert_int_equal(vtpm_commit(tpm, 0, &f), ERR_STATE);
	assert_non_null(strstr(f.text, "has not come in"));
	vtpm_stop(tpm);
	assert_int_equal(vtpm_set_blob(tpm, VTPM_BLOB_PERMANENT, 0, blob.data, 0, NULL), 0);
	assert_int_equal(vtpm_set_blob(tpm, VTPM_BLOB_VOLATILE, 0, blob.data, 0, NULL), 0);
	assert_int_equal(vtpm_init(tpm, NULL), 0);
	assert_int_equal(vtpm_commit(tpm, 0, NULL), ERR_STATE);
	assert_int_equal(COMMAND(GETRANDOM), VTPM_RC_FAILURE);
	assert_int_equal(disk.saves, 0);
	vtpm_stop(tpm);
	/* What came, and did not start, has gone. */
	assert_int_equal(vtpm_set_blob(tpm, VTPM_BLOB_PERMANENT, 0, blob.data, 30, NULL), 0);
	assert_true(vtpm_init(tpm, NULL) < 0);
	assert_int_equal(vtpm_init(tpm, NULL), 0);
	assert_false(vtpm_is_ready(tpm));
	vtpm_stop(tpm);
	assert_int_equal(vtpm_set_blob(tpm, VTPM_BLOB_PERMANENT, 0, blob.data, blob.len, NULL), 0);
	assert_false(vtpm_is_ready(tpm));
	assert_int_equal(vtpm_init(tpm, NULL), 0);
	assert_true(vtpm_is_ready(tpm));
	assert_int_equal(disk.saves, 0);
	assert_int_equal(vtpm_commit(tpm, 0, NULL), 0);
	assert_int_equal(disk.saves, 1);
	assert_int_equal(COMMAND(STARTUP), 0);
}

/* A QEMU that goes on after its VM has moved away has no vTPM; nor is it answered what is not
 * durable. */
static void test_moved(void **state)
{
	(void)state;
	start();
	assert_int_equal(COMMAND(NV_DEFINE), 0);
	assert_int_equal(vtpm_set_moved(tpm, 1, NULL), 0);
	int saves = disk.saves;
	assert_int_equal(COMMAND(NV_WRITE), VTPM_RC_RETRY);
	assert_int_equal(COMMAND(GETRANDOM), VTPM_RC_RETRY);
	vtpm_stop(tpm);
	assert_int_equal(vtpm_init(tpm, NULL), 0);
	assert_int_equal(COMMAND(STARTUP), VTPM_RC_RETRY);
	assert_int_equal(disk.saves, saves);
	/* It stays after all. */
	assert_int_equal(vtpm_set_moved(tpm, 0, NULL), 0);
	assert_int_equal(COMMAND(STARTUP), 0);
	assert_int_equal(nv_write(), 0);
	assert_true(disk.saves > saves);
}

static void test_command_bounds(void **state)
{
	static const uint8_t big[VTPM_BUFFER_MAX + 1] = { 0x80, 0x01 };
	(void)state;
	start();
	vtpm_command(tpm, big, sizeof(big), reply, &reply_n);
	assert_int_equal(be32_at(reply + 6), VTPM_RC_COMMAND_SIZE);
	vtpm_command(tpm, big, 9, reply, &reply_n);
	assert_int_equal(be32_at(reply + 6), VTPM_RC_COMMAND_SIZE);
	/* libtpms' own answer to a header that lies */
	vtpm_command(tpm, (const uint8_t *)"\x80\x01\0\0\0\x0d\0\0\x01\x7b\0\x10", 12, reply,
		     &reply_n);
	assert_int_equal(be32_at(reply + 6), VTPM_RC_COMMAND_SIZE);
}

static void test_one_a_process(void **state)
{
	struct vtpm_config config = { .store = &disk, .vm = vm };
	struct vtpm *second;
	(void)state;
	assert_int_equal(vtpm_new(&config, &second, NULL), ERR_STATE);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_made_in_one_store),
		T(test_unreadable_is_not_absent),
		T(test_store_fails),
		T(test_lockout_counter),
		T(test_no_needless_shutdown),
		T(test_volatile_resumes_once),
		T(test_resumed_is_not_orderly),
		T(test_blobs_in_clear),
		T(test_no_rewind),
		T(test_awaits_its_state),
		T(test_moved),
		T(test_command_bounds),
		T(test_one_a_process),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
