/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a worker does, in secret memory and under its filter: commands, new keys, a save and a
 * restore.  A child does it; the parent, as root, looks at its memory and at its registers in
 * between.
 */
#include "tests/unit/test.h"

#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/registers.h"
#include "crypto/init.h"
#include "crypto/seal.h"
#include "crypto/stream.h"
#include "migration/transfer.h"
#include "sandbox/maps.h"
#include "sandbox/phases.h"
#include "sandbox/secret.h"
#include "worker/data.h"

#define TEST_UID    1879113002U
#define STATE_BYTES ((size_t)64 * STREAM_RECORD_BYTES + 777)
#define WAIT_MS	    60000

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			dprintf(2, "line %d: %s\n", __LINE__, #cond);                              \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static int to_parent, from_parent;
static struct protections held;
static char folder[] = "/tmp/test-sealed.XXXXXX";
static struct vm_key key = { { 9, 8, 7 } };
static const uint8_t vm[UUID_BYTES] = { 6 };

/* ---- The child ------------------------------------------------------------------------------- */

/* Let the parent look. */
static void show(char what)
{
	char c;
	CHECK(write(to_parent, &what, 1) == 1);
	registers_clear();
	CHECK(read(from_parent, &c, 1) == 1);
}

static uint32_t tpm(int fd, const char *hex)
{
	uint8_t command[256], reply[4096];
	size_t n = 0;
	unsigned int byte;
	for (; *hex; hex += 2, n++) {
		CHECK(sscanf(hex, "%2x", &byte) == 1);
		command[n] = (uint8_t)byte;
	}
	CHECK(write(fd, command, n) == (ssize_t)n);
	CHECK(read(fd, reply, sizeof(reply)) >= 10);
	return (uint32_t)reply[8] << 8 | reply[9];
}

#define STARTUP	   "80010000000c000001440000"
#define GET_RANDOM "80010000000c0000017b0020"
/* CreatePrimary of a 2048-bit RSA key under the endorsement hierarchy. */
#define CREATE_RSA                                                                                 \
	"800200000043000001314000000b0000000940000009000000000000040000000000"                     \
	"1a0001000b00030072000000060080004300100800000000000000000000000000"

static void await(struct transfer *t, enum transfer_state want)
{
	struct fault f = { 0 };
	for (;;) {
		struct pollfd p = { .fd = transfer_news_fd(t), .events = POLLIN };
		CHECK(poll(&p, 1, WAIT_MS) == 1);
		enum transfer_state is = transfer_look(t, &f);
		if (is == want)
			return;
		CHECK(is != TRANSFER_FAILED);
	}
}

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 7 + i / 4096);
}

static void save(struct transfer *t, int file)
{
	static uint8_t block[4096];
	int qemus;
	CHECK(transfer_begin(t, TRANSFER_SAVE, file, &qemus, NULL) >= 0);
	for (size_t at = 0; at < STATE_BYTES;) {
		size_t n = STATE_BYTES - at < sizeof(block) ? STATE_BYTES - at : sizeof(block);
		for (size_t i = 0; i < n; i++)
			block[i] = byte_at(at + i);
		CHECK(write(qemus, block, n) == (ssize_t)n);
		at += n;
		if (at == STATE_BYTES / 2 / sizeof(block) * sizeof(block))
			show('s');
	}
	close(qemus);
	transfer_finish(t);
	await(t, TRANSFER_DONE);
}

static void restore(struct transfer *t, int file)
{
	static uint8_t block[65536];
	size_t at = 0;
	ssize_t n;
	int qemus;
	CHECK(transfer_begin(t, TRANSFER_RESTORE, file, &qemus, NULL) >= 0);
	await(t, TRANSFER_RUNNING);
	show('r');
	while ((n = read(qemus, block, sizeof(block))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			CHECK(block[i] == byte_at(at + (size_t)i));
		at += (size_t)n;
	}
	CHECK(n == 0 && at == STATE_BYTES);
	await(t, TRANSFER_DONE);
}

static int work(void *arg)
{
	struct fault f = { 0 };
	const struct sealed *sealed;
	struct protector_facts facts = { 0 };
	CLEANUP_JWK struct jwk *owner = NULL;
	struct seal *seal;
	struct store *store;
	struct vtpm *vtpm;
	struct data *data;
	struct transfer *transfer;
	char path[64];
	int pair[2];
	(void)arg;
	int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int out = memfd_create("state", MFD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", out);
	int in = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(dir >= 0 && out >= 0 && in >= 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	CHECK(protections_have(&held, PROTECTION_SECRET_MEMORY));
	CHECK(protections_have(&held, PROTECTION_SEALED_TEXT));
	CHECK(phases_enter(TEST_UID, NULL, &f) >= 0);
	CHECK(crypto_init() >= 0 && jwk_new(&owner, &f) >= 0);
	CHECK(seal_new(&key, KEY_USE_VTPM_STATE, vm, NULL, 0, &seal) >= 0);
	CHECK(store_open(dir, "permall", seal, STORE_MAY_BE_NEW, &store, &f) >= 0);
	const struct vtpm_config config = {
		.store = store, .key = &key, .vm = vm, .keep_memory = 1
	};
	const struct transfer_config moving = { .key = &key, .facts = &facts, .owner = owner };
	CHECK(vtpm_new(&config, &vtpm, &f) >= 0 && data_new(vtpm, &data, &f) >= 0);
	CHECK(transfer_new(&moving, &transfer, &f) >= 0);
	CHECK(phases_seal(&filter_worker, &sealed, &f) >= 0);

	CHECK(vtpm_init(vtpm, &f) >= 0);
	CHECK(data_start(data, pair[1]) >= 0);
	CHECK(tpm(pair[0], STARTUP) == 0);
	CHECK(tpm(pair[0], CREATE_RSA) == 0);
	show('k');
	save(transfer, out);
	show('o');
	restore(transfer, in);
	for (int i = 0; i < 100; i++)
		CHECK(tpm(pair[0], GET_RANDOM) == 0);
	show('i');
	close(pair[0]);
	transfer_free(transfer);
	data_free(data);
	vtpm_free(vtpm);
	store_free(store);
	seal_free(seal);
	return 0;
}

/* ---- The parent ------------------------------------------------------------------------------ */

/* Nothing that can be written is ordinary memory; bytes of the heap that were ever touched. */
static size_t look_at_memory(pid_t pid)
{
	char path[64], line[512];
	size_t heap = 0;
	int is_heap = 0, secret = 0;
	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	FILE *smaps = fopen(path, "re");
	assert_non_null(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		struct map m;
		size_t kb;
		if (sscanf(line, "Rss: %zu", &kb) == 1)
			heap += is_heap ? kb * 1024 : 0;
		if (maps_parse(line, strcspn(line, "\n"), &m) < 0 ||
		    !strchr("0123456789abcdef", *line))
			continue;
		if (m.prot & PROT_WRITE) {
			if (!strstr(line, "/secretmem"))
				fail_msg("ordinary memory: %s", line);
			secret++;
		}
		/* The guard pages of stacks divide the heap; it is what is large. */
		is_heap = (m.prot & PROT_WRITE) && map_bytes(&m) > 1000000;
	}
	(void)fclose(smaps);
	assert_true(secret > 10);
	return heap;
}

/* Bytes of a thread's vector registers that are not zero. */
static size_t dirty_registers(pid_t tid)
{
	static uint8_t area[16384];
	/* Where they are (Intel SDM 1, 13.4): XMM; upper halves of YMM; opmask to ZMM31. */
	static const size_t parts[][2] = { { 160, 416 }, { 576, 832 }, { 1088, 2688 } };
	struct iovec to = { area, sizeof(area) };
	size_t n = 0;
	memset(area, 0, sizeof(area));
	assert_int_equal(ptrace(PTRACE_SEIZE, tid, 0, 0), 0);
	assert_int_equal(ptrace(PTRACE_INTERRUPT, tid, 0, 0), 0);
	assert_int_equal(waitpid(tid, NULL, __WALL), tid);
	assert_int_equal(ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &to), 0);
	assert_int_equal(ptrace(PTRACE_DETACH, tid, 0, 0), 0);
	for (size_t part = 0; part < sizeof(parts) / sizeof(parts[0]); part++)
		for (size_t i = parts[part][0]; i < parts[part][1] && i < to.iov_len; i++)
			n += area[i] != 0;
	return n;
}

/* Every thread waits.  What the C library itself put there on the way is pointers at most. */
static void look_at_registers(pid_t pid)
{
	char path[64];
	int threads = 0;
	struct dirent *e;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		size_t dirty = dirty_registers((pid_t)strtol(e->d_name, NULL, 10));
		if (dirty > 16)
			fail_msg("thread %d: %zu bytes of its vector registers are not zero",
				 threads, dirty);
		threads++;
	}
	closedir(d);
	assert_true(threads >= 4);
}

static void convert(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	CHECK(null >= 0);
	alarm(200);
	secret_run(work, NULL, getenv("LD_BIND_NOW") != NULL, &held);
}

static void test_worker(void **state)
{
	int up[2], down[2], status;
	size_t heap = 0;
	char what, shown[8] = { 0 };
	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chown(folder, TEST_UID, TEST_UID), 0);
	assert_int_equal(pipe2(up, O_CLOEXEC), 0);
	assert_int_equal(pipe2(down, O_CLOEXEC), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(up[0]);
		close(down[1]);
		to_parent = up[1];
		from_parent = down[0];
		convert();
	}
	close(up[1]);
	close(down[0]);
	for (size_t i = 0; read(up[0], &what, 1) == 1; i++) {
		assert_true(i < sizeof(shown) - 1);
		shown[i] = what;
		heap = look_at_memory(pid);
		if (what == 'i' || what == 'k') {
			usleep(100 * 1000);
			look_at_registers(pid);
		}
		assert_int_equal(write(down[1], &what, 1), 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("the worker's wait status is %#x, after '%s'", status, shown);
	assert_string_equal(shown, "ksori");
	print_message("heap that was ever touched: %zu KiB of %d\n", heap / 1024,
		      SECRET_HEAP_BYTES / 1024);
	/* Room for what else there may be. */
	assert_true(heap > 1000000 && heap < SECRET_HEAP_BYTES * 2 / 3);
}

static int clean_up(void **state)
{
	static const char *const NAMES[] = { "permall", "permall.next", "permall.new",
					     "permall.spare" };
	char path[128];
	(void)state;
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, NAMES[i]);
		(void)unlink(path);
	}
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_teardown(test_worker, clean_up) };
	if (geteuid() != 0) {
		fprintf(stderr, "test_sealed: looking at another process needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
