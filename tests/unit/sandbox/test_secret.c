/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Children convert their memory; the parent, as root, attacks what they have planted, and looks at
 * what they can still do.
 */
#include "tests/unit/test.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/thread.h"
#include "crypto/ossl.h"
#include "sandbox/maps.h"
#include "sandbox/secret.h"
#include "tests/unit/sandbox/secret_child.h"

#define CANARY_BYTES 32

/* Where a child has put its canary, and what of its code and constants could be overwritten. */
enum { HEAP_EARLY, HEAP_LATE, DATA, BSS, TLS, STACK, THREAD, THREAD_TLS, N_CANARIES };
static const char *const CANARY_NAMES[N_CANARIES] = {
	"heap, before", "heap, after", "data",		 "bss",
	"TLS",		"stack",       "thread's stack", "thread's TLS"
};
enum { OWN_CODE, C_LIBRARY, LIBCRYPTO, VDSO, CONSTANT, N_TEXTS };
struct planted {
	uintptr_t canary[N_CANARIES], text[N_TEXTS];
	struct protections held;
};

static uint8_t in_data[CANARY_BYTES] = { 1 };
static uint8_t in_bss[CANARY_BYTES];
static _Thread_local uint8_t in_tls[CANARY_BYTES];
static uint8_t *on_heap;
static struct planted planted;

/* Not in the program's constants: only where it was planted. */
static void canary_at(uint8_t *p, int which)
{
	static volatile int stride = 29; /* what the compiler knew would be a constant */
	for (int i = 0; i < CANARY_BYTES; i++)
		p[i] = (uint8_t)(0xa7 ^ (i * stride) ^ (which << 2));
	planted.canary[which] = (uintptr_t)p;
}

/* ---- Attacks --------------------------------------------------------------------------------- */

static void thread_with_canaries(void *arg)
{
	uint8_t here[CANARY_BYTES];
	canary_at(here, THREAD);
	canary_at(in_tls, THREAD_TLS);
	__asm__ volatile("" : : "r"(here) : "memory");
	tell(&planted, sizeof(planted));
	wait_for_parent();
	*(int *)arg = memcmp(here, in_tls, 0);
}

static int plant_rest(void *arg)
{
	uint8_t here[CANARY_BYTES];
	struct thread *t;
	int ended = 1;
	(void)arg;
	canary_at(here, STACK);
	canary_at(malloc(CANARY_BYTES), HEAP_LATE);
	__asm__ volatile("" : : "r"(here) : "memory");
	planted.held = held;
	if (thread_start(THREAD_STACK, thread_with_canaries, &ended, &t) < 0)
		return 2;
	thread_join(t);
	return ended;
}

static void plant(void)
{
	on_heap = malloc(CANARY_BYTES);
	canary_at(on_heap, HEAP_EARLY);
	canary_at(in_data, DATA);
	canary_at(in_bss, BSS);
	canary_at(in_tls, TLS);
	planted.text[OWN_CODE] = (uintptr_t)plant;
	planted.text[C_LIBRARY] = (uintptr_t)getpid;
	planted.text[LIBCRYPTO] = (uintptr_t)EVP_DigestInit;
	planted.text[VDSO] = getauxval(AT_SYSINFO_EHDR);
	planted.text[CONSTANT] = (uintptr_t)CANARY_NAMES;
	tell(&planted, sizeof(planted));
	wait_for_parent();
	secret_run(plant_rest, NULL, bound, &held);
}

/* Bytes that some way of reading gets. */
static ssize_t by_vm_readv(pid_t pid, uintptr_t at, void *to)
{
	struct iovec ours = { to, CANARY_BYTES };
	struct iovec theirs = { (void *)at, CANARY_BYTES };
	return process_vm_readv(pid, &ours, 1, &theirs, 1, 0);
}

static ssize_t by_peek(pid_t pid, uintptr_t at, void *to)
{
	errno = 0;
	long v = ptrace(PTRACE_PEEKDATA, pid, at, 0);
	if (errno)
		return -1;
	memcpy(to, &v, sizeof(v));
	return sizeof(v);
}

/* The canaries can be read, or cannot, in every way. */
static void assert_readable(struct child *c, const struct planted *p, int from, int to,
			    int readable)
{
	assert_int_equal(ptrace(PTRACE_SEIZE, c->pid, 0, 0), 0);
	assert_int_equal(ptrace(PTRACE_INTERRUPT, c->pid, 0, 0), 0);
	assert_int_equal(waitpid(c->pid, NULL, 0), c->pid);
	for (int i = from; i <= to; i++) {
		uint8_t got[CANARY_BYTES], canary[CANARY_BYTES];
		struct planted unused = planted;
		canary_at(canary, i);
		planted = unused;
		const struct {
			const char *way;
			ssize_t n;
		} ways[] = {
			{ "/proc/PID/mem", pread(c->mem, got, CANARY_BYTES, (off_t)p->canary[i]) },
			{ "process_vm_readv", by_vm_readv(c->pid, p->canary[i], got) },
			{ "PEEKDATA", by_peek(c->pid, p->canary[i], got) },
		};
		for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++)
			if ((ways[w].n > 0) != readable)
				fail_msg("%s: %s by %s", CANARY_NAMES[i],
					 readable ? "not readable" : "readable", ways[w].way);
		if (readable)
			assert_memory_equal(got, canary, sizeof(long));
	}
	assert_int_equal(ptrace(PTRACE_DETACH, c->pid, 0, 0), 0);
}

/* Nor can the files behind the mappings be opened for more than reading code. */
static void assert_no_way_by_name(struct child *c, const struct planted *p)
{
	char path[128], line[512];
	const char trap = 0;
	size_t secrets = 0, texts = 0;
	(void)p;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)c->pid);
	FILE *maps = fopen(path, "re");
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		int secret = strstr(line, "/secretmem") != NULL;
		if (!secret && !strstr(line, "/memfd:shieldvm-text"))
			continue;
		secrets += (size_t)secret;
		texts += (size_t)!secret;
		snprintf(path, sizeof(path), "/proc/%d/map_files/%.*s", (int)c->pid,
			 (int)strcspn(line, " "), line);
		int fd = open(path, O_RDWR | O_CLOEXEC);
		if (secret && fd >= 0)
			fail_msg("secret memory can be opened: %s", line);
		if (fd < 0)
			continue;
		if (pwrite(fd, &trap, 1, 0) != -1 || ftruncate(fd, 0) != -1 ||
		    mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED)
			fail_msg("code can be written by its name: %s", line);
		close(fd);
	}
	(void)fclose(maps);
	assert_true(secrets > 5 && texts > 10);
}

/* No byte of a canary is in anything that /proc/PID/mem gives. */
static void assert_nowhere(struct child *c, const struct planted *p)
{
	static uint8_t block[1 << 20];
	uint8_t canary[CANARY_BYTES];
	char path[64], line[512];
	size_t read_bytes = 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)c->pid);
	FILE *maps = fopen(path, "re");
	assert_non_null(maps);
	(void)p;
	while (fgets(line, sizeof(line), maps)) {
		struct map m;
		assert_int_equal(maps_parse(line, strcspn(line, "\n"), &m), 0);
		if (strstr(line, "[stack]") ||
		    (m.kind == MAPPED_PRIVATE && (m.prot & (PROT_WRITE | PROT_EXEC))))
			fail_msg("ordinary memory is left: %s", line);
		for (uint8_t *at = m.start; at < m.end; at += sizeof(block)) {
			size_t n = (size_t)(m.end - at) < sizeof(block) ? (size_t)(m.end - at)
									: sizeof(block);
			ssize_t got = pread(c->mem, block, n, (off_t)(uintptr_t)at);
			read_bytes += got > 0 ? (size_t)got : 0;
			for (int i = 0; i < N_CANARIES && got > 0; i++) {
				struct planted unused = planted;
				canary_at(canary, i);
				planted = unused;
				if (memmem(block, (size_t)got, canary, 8))
					fail_msg("%s: found in %s", CANARY_NAMES[i], line);
			}
		}
	}
	(void)fclose(maps);
	assert_no_way_by_name(c, p);
	/* Code can be read: so the search did read. */
	assert_true(read_bytes > 1000000);
}

static void test_root_reads_and_writes_nothing(void **state)
{
	struct planted before, after;
	const uint8_t trap = 0xcc;
	char c = 0;
	(void)state;
	struct child child = child_start(plant);
	child_hears(&child, &before, sizeof(before));
	/* What the attacks are worth: before, they all work. */
	assert_readable(&child, &before, HEAP_EARLY, HEAP_EARLY, 1);
	assert_readable(&child, &before, DATA, TLS, 1);
	for (int i = 0; i < N_TEXTS; i++) {
		uint8_t byte;
		assert_int_equal(pread(child.mem, &byte, 1, (off_t)before.text[i]), 1);
		assert_int_equal(pwrite(child.mem, &byte, 1, (off_t)before.text[i]), 1);
	}
	assert_int_equal(write(child.out, &c, 1), 1);
	child_hears(&child, &after, sizeof(after));
	assert_true(protections_have(&after.held, PROTECTION_SECRET_MEMORY));
	assert_true(protections_have(&after.held, PROTECTION_SEALED_TEXT));
	assert_false(protections_have(&after.held, PROTECTION_LOCKED_MEMORY));
	assert_readable(&child, &after, 0, N_CANARIES - 1, 0);
	for (int i = 0; i < N_TEXTS; i++)
		if (pwrite(child.mem, &trap, 1, (off_t)after.text[i]) != -1)
			fail_msg("text %d can be written", i);
	for (int i = 0; i < N_CANARIES; i++)
		if (pwrite(child.mem, &trap, 1, (off_t)after.canary[i]) != -1)
			fail_msg("%s can be written", CANARY_NAMES[i]);
	assert_nowhere(&child, &after);
	assert_int_equal(write(child.out, &c, 1), 1);
	assert_exits(child_end(&child), 0);
}
/* ---- What it can still do -------------------------------------------------------------------- */

static void test_everything_works(void **state)
{
	(void)state;
	assert_converted(everything_works);
}

int main(void);

/* Nobody's random numbers come out of memory that the C library has mapped for them. */
static void test_random_is_the_kernels(void **state)
{
	static const char *const NAMES[] = { "getrandom", "getentropy" };
	Dl_info ours, libcryptos;
	uint8_t bytes[300] = { 0 };
	(void)state;
	assert_true(dladdr((const void *)(uintptr_t)main, &ours) != 0);
	for (int i = 0; i < 2; i++) {
		assert_true(dladdr(dlsym(RTLD_DEFAULT, NAMES[i]), &libcryptos) != 0);
		assert_ptr_equal(libcryptos.dli_fbase, ours.dli_fbase);
	}
	assert_int_equal(getentropy(bytes, 257), -1);
	assert_int_equal(errno, EIO);
	assert_int_equal(getentropy(bytes, 256), 0);
	assert_true(memcmp(bytes, bytes + 128, 128) != 0 && memcmp(bytes + 224, bytes, 32) != 0);
	assert_true(bytes[256] == 0 && bytes[299] == 0);
}

static int returns_7(void *arg)
{
	return arg == &planted ? 7 : 1;
}

static void return_7(void)
{
	secret_run(returns_7, &planted, bound, &held);
}

static void test_result_and_argument_pass(void **state)
{
	(void)state;
	struct child c = child_start(return_7);
	assert_exits(child_end(&c), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_root_reads_and_writes_nothing),
		cmocka_unit_test(test_everything_works),
		cmocka_unit_test(test_random_is_the_kernels),
		cmocka_unit_test(test_result_and_argument_pass),
	};
	int rc = secret_child_init();
	return rc ? rc : cmocka_run_group_tests(tests, NULL, NULL);
}
