/* SPDX-License-Identifier: BSD-3-Clause */
/* Where secret memory ends, and what is said where the kernel has none. */
#include "tests/unit/test.h"

#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/thread.h"
#include "sandbox/filter.h"
#include "sandbox/maps.h"
#include "sandbox/phases.h"
#include "sandbox/secret.h"
#include "tests/unit/sandbox/secret_child.h"

#define TEST_UID 1879113001U

/* ---- A heap that is used up ------------------------------------------------------------------ */

/* Take all there is; the number of bytes.  *LAST is a piece to give back. */
static size_t use_up(void **last)
{
	size_t total = 0;
	for (size_t piece = 1 << 20; piece >= 16; piece /= 2)
		for (void *p; (p = take(piece)); total += piece)
			*last = memset(p, 1, piece);
	return total;
}

static size_t mapped_bytes(void)
{
	struct maps maps;
	size_t total = 0;
	if (maps_read(&maps) < 0)
		return 0;
	for (size_t i = 0; i < maps.n; i++) {
		const struct map *m = &maps.map[i];
		if (m->kind == MAPPED_PRIVATE && (m->prot & PROT_WRITE))
			return 0;
		total += map_bytes(m);
	}
	return total;
}

static int exhausted_unsealed(void)
{
	void *last = NULL;
	size_t before = mapped_bytes();
	size_t got = use_up(&last);
	if (got < SECRET_HEAP_BYTES / 2 || got > SECRET_HEAP_BYTES + (2 << 20))
		return 1;
	if (take(16) || errno != ENOMEM || take(64 << 20) || errno != ENOMEM)
		return 2;
	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
		    MAP_FAILED ||
	    mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) !=
		    MAP_FAILED)
		return 3;
	free(last);
	if (before == 0 || mapped_bytes() != before)
		return 4;
	return 0;
}

static void test_exhausted_before_sealing(void **state)
{
	(void)state;
	assert_converted(exhausted_unsealed);
}

static int tpm_without_memory(void)
{
	struct fault f = { 0 };
	const struct sealed *sealed;
	void *last = NULL;
	if (!tpm_start() || phases_enter(TEST_UID, NULL, &f) < 0 ||
	    phases_seal(&filter_worker, &sealed, &f) < 0)
		return 1;
	use_up(&last);
	if (take(16) || errno != ENOMEM)
		return 2;
	/* An error, whichever: the guest is told, and the process lives. */
	if (tpm(CREATE_ECC) == 0)
		return 3;
	if (tpm(GET_RANDOM) != TPM_RC_FAILURE)
		return 4;
	free(last);
	return 0;
}

static void test_tpm_without_memory(void **state)
{
	(void)state;
	assert_converted(tpm_without_memory);
}

static void use_up_in_thread(void *arg)
{
	void *last = NULL;
	*(size_t *)arg = use_up(&last);
}

/* Threads share the heap and its end, also in a sealed process, and a join works there. */
static int sealed_threads(void)
{
	struct fault f = { 0 };
	const struct sealed *sealed;
	struct thread *t;
	static size_t got;
	if (phases_enter(TEST_UID, NULL, &f) < 0 ||
	    thread_start(THREAD_STACK, use_up_in_thread, &got, &t) < 0)
		return 1;
	/* That it is over is seen without a call that the filter may refuse. */
	thread_join(t);
	if (phases_seal(&filter_worker, &sealed, &f) < 0)
		return 2;
	void *last = NULL;
	/* What is left is its stack. */
	return got > SECRET_HEAP_BYTES / 2 && use_up(&last) < 2 * THREAD_STACK ? 0 : 3;
}

static void test_threads_share_the_end(void **state)
{
	(void)state;
	assert_converted(sealed_threads);
}

/* ---- Guard pages ----------------------------------------------------------------------------- */

static int deep(volatile char *above)
{
	volatile char here[4000];
	here[0] = *above;
	return here[0] ? deep(here) + here[0] : 0;
}

/* Pages that cannot be touched right below and above what HERE is in. */
static int is_guarded(const void *here)
{
	struct maps maps;
	if (maps_read(&maps) < 0)
		return 0;
	for (size_t i = 1; i + 1 < maps.n; i++) {
		const struct map *m = &maps.map[i];
		if ((const uint8_t *)here >= m->start && (const uint8_t *)here < m->end)
			return m[-1].end == m->start && !m[-1].prot && m[1].start == m->end &&
			       !m[1].prot && map_bytes(m) == SECRET_STACK_BYTES;
	}
	return 0;
}

static int guarded(void)
{
	char here = 0;
	return is_guarded(&here) ? 0 : 1;
}

static int overflow(void)
{
	volatile char c = 1;
	return deep(&c) & 0;
}

static void converted_overflow(void)
{
	converted(overflow);
}

static void overflow_in_thread(void *arg)
{
	*(int *)arg = overflow();
}

static int thread_overflow(void)
{
	struct thread *t;
	int said;
	if (thread_start(THREAD_STACK, overflow_in_thread, &said, &t) == 0)
		thread_join(t);
	return 0;
}

static void converted_thread_overflow(void)
{
	converted(thread_overflow);
}

static void test_stacks_end(void **state)
{
	void (*const overflows[])(void) = { converted_overflow, converted_thread_overflow };
	(void)state;
	assert_converted(guarded);
	for (size_t i = 0; i < 2; i++) {
		struct child c = child_start(overflows[i]);
		int status = child_end(&c);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	}
}

/* ---- Where the kernel has less --------------------------------------------------------------- */

/* From here on NR fails with ERROR. */
static void without(int nr, int error)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	if (!filter || seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)error), nr, 0) < 0 ||
	    seccomp_load(filter) < 0)
		_exit(93);
	seccomp_release(filter);
}

static long locked_kb(void)
{
	char line[256];
	long kb = -1;
	FILE *f = fopen("/proc/self/status", "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "VmLck:", 6) == 0)
			kb = strtol(line + 6, NULL, 10);
	if (f)
		(void)fclose(f);
	return kb;
}

static int is_locked(void)
{
	void *last = NULL;
	if (protections_have(&held, PROTECTION_SECRET_MEMORY))
		return 1;
	if (!protections_have(&held, PROTECTION_LOCKED_MEMORY))
		return 2;
	if (!protections_have(&held, PROTECTION_SEALED_TEXT))
		return 3;
	if (!strstr(secret_missing(), "no secret memory"))
		return 4;
	if (locked_kb() < SECRET_HEAP_BYTES / 1024)
		return 5;
	/* It ends all the same. */
	if (use_up(&last) > SECRET_HEAP_BYTES + (2 << 20) || take(16))
		return 6;
	free(last);
	return everything_works() == 1 ? 0 : 7;
}

static void convert_without_secret_memory(void)
{
	without(447, ENOSYS);
	converted(is_locked);
}

static int nothing_held(void)
{
	if (protections_have(&held, PROTECTION_SECRET_MEMORY) ||
	    protections_have(&held, PROTECTION_LOCKED_MEMORY))
		return 1;
	/* A copy that can be swapped out can be changed there. */
	if (protections_have(&held, PROTECTION_SEALED_TEXT))
		return 2;
	return strstr(secret_missing(), "no secret memory") ? 0 : 3;
}

static void convert_with_small_limit(void)
{
	struct rlimit limit = { 64 * 1024, 64 * 1024 };
	struct fault f = { 0 };
	/* Neither CAP_IPC_LOCK nor CAP_SYS_RESOURCE. */
	if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0 || phases_enter(TEST_UID, NULL, &f) < 0)
		_exit(94);
	converted(nothing_held);
}

static int text_not_sealed(void)
{
	if (!protections_have(&held, PROTECTION_SECRET_MEMORY))
		return 1;
	if (protections_have(&held, PROTECTION_SEALED_TEXT))
		return 2;
	return strstr(secret_missing(), "not sealed") ? 0 : 3;
}

static void convert_without_memfd(void)
{
	without(SCMP_SYS(memfd_create), EACCES);
	converted(text_not_sealed);
}

static void test_what_is_missing_is_said(void **state)
{
	(void)state;
	struct child c = child_start(convert_without_secret_memory);
	assert_exits(child_end(&c), 0);
	c = child_start(convert_with_small_limit);
	assert_exits(child_end(&c), 0);
	c = child_start(convert_without_memfd);
	assert_exits(child_end(&c), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exhausted_before_sealing),
		cmocka_unit_test(test_tpm_without_memory),
		cmocka_unit_test(test_threads_share_the_end),
		cmocka_unit_test(test_stacks_end),
		cmocka_unit_test(test_what_is_missing_is_said),
	};
	int rc = secret_child_init();
	return rc ? rc : cmocka_run_group_tests(tests, NULL, NULL);
}
