/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is in vector registers before and after registers_clear(): looked at from inside, with
 * instructions, and from outside, as a debugger does it with a blocked thread.
 */
#include "tests/unit/test.h"

#include <elf.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/registers.h"

#define REGISTERS 16
#define PATTERN	  0x5a

/* Every XMM register; with AVX also what is above them, with AVX-512 all 32 of 64 bytes. */
static uint8_t seen[32][64] __attribute__((aligned(64)));
static uint8_t pattern[64] __attribute__((aligned(64)));

static int has_avx(void)
{
	return __builtin_cpu_supports("avx");
}

static int has_avx512(void)
{
	return __builtin_cpu_supports("avx512f");
}

#define EACH_16(OP)                                                                                \
	OP(0)                                                                                      \
	OP(1)                                                                                      \
	OP(2) OP(3) OP(4) OP(5) OP(6) OP(7) OP(8) OP(9) OP(10) OP(11) OP(12) OP(13) OP(14) OP(15)
#define EACH_UPPER_16(OP)                                                                          \
	OP(16)                                                                                     \
	OP(17)                                                                                     \
	OP(18)                                                                                     \
	OP(19) OP(20) OP(21) OP(22) OP(23) OP(24) OP(25) OP(26) OP(27) OP(28) OP(29) OP(30) OP(31)
#define FILL_XMM(n) __asm__ volatile("movdqa %0, %%xmm" #n : : "m"(pattern) :);
#define FILL_YMM(n) __asm__ volatile("vmovdqa %0, %%ymm" #n : : "m"(pattern) :);
#define FILL_ZMM(n) __asm__ volatile("vmovdqa64 %0, %%zmm" #n : : "m"(pattern) :);
#define READ_XMM(n) __asm__ volatile("movdqa %%xmm" #n ", %0" : "=m"(seen[n]) : :);
#define READ_YMM(n) __asm__ volatile("vmovdqa %%ymm" #n ", %0" : "=m"(seen[n]) : :);
#define READ_ZMM(n) __asm__ volatile("vmovdqa64 %%zmm" #n ", %0" : "=m"(seen[n]) : :);

/* The compiler has no variable in them between these calls, as long as it does not look into them.
 */
#ifdef __clang__
#define OPAQUE __attribute__((noinline))
#else
#define OPAQUE __attribute__((noipa))
#endif

static OPAQUE void fill(void)
{
	if (has_avx512()) {
		EACH_16(FILL_ZMM)
		EACH_UPPER_16(FILL_ZMM)
	} else if (has_avx()) {
		EACH_16(FILL_YMM)
	} else {
		EACH_16(FILL_XMM)
	}
}

static OPAQUE void look(void)
{
	if (has_avx512()) {
		EACH_16(READ_ZMM)
		EACH_UPPER_16(READ_ZMM)
	} else if (has_avx()) {
		EACH_16(READ_YMM)
	} else {
		EACH_16(READ_XMM)
	}
}

static size_t count_pattern(const uint8_t *p, size_t n)
{
	size_t found = 0;
	for (size_t i = 0; i < n; i++)
		found += p[i] == PATTERN;
	return found;
}

static void test_inside(void **state)
{
	double x = 1.0;
	(void)state;
	size_t all = has_avx512() ? sizeof(seen) : has_avx() ? 16 * 32 : 16 * 16;
	memset(pattern, PATTERN, sizeof(pattern));
	memset(seen, 0, sizeof(seen));
	fill();
	look();
	assert_int_equal(count_pattern(&seen[0][0], sizeof(seen)), all);
	fill();
	registers_clear();
	look();
	assert_int_equal(count_pattern(&seen[0][0], sizeof(seen)), 0);
	/* Rounding and masks are as they were. */
	unsigned int mxcsr = 0;
	unsigned short fpu = 0;
	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	__asm__ volatile("fnstcw %0" : "=m"(fpu));
	assert_int_equal(mxcsr & ~0x3fU, 0x1f80);
	assert_int_equal(fpu, 0x37f);
	x /= 3.0;
	assert_true(x > 0.333 && x < 0.334);
}

/* Bytes of the pattern in what a debugger sees of a child that is blocked in poll(2). */
static size_t seen_by_debugger(int clear)
{
	static uint8_t area[16384];
	int up[2];
	char c;
	assert_int_equal(pipe(up), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct pollfd none = { .fd = -1 };
		alarm(60);
		(void)!write(up[1], "", 1);
		fill();
		if (clear)
			registers_clear();
		poll(&none, 1, 60000);
		_exit(0);
	}
	assert_int_equal(read(up[0], &c, 1), 1);
	usleep(200 * 1000);
	struct iovec to = { area, sizeof(area) };
	memset(area, 0, sizeof(area));
	assert_int_equal(ptrace(PTRACE_SEIZE, pid, 0, 0), 0);
	assert_int_equal(ptrace(PTRACE_INTERRUPT, pid, 0, 0), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(ptrace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &to), 0);
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) == pid)
		;
	close(up[0]);
	close(up[1]);
	return count_pattern(area, to.iov_len);
}

static void test_outside(void **state)
{
	(void)state;
	memset(pattern, PATTERN, sizeof(pattern));
	assert_true(seen_by_debugger(0) > 15 * 16);
	assert_true(seen_by_debugger(1) < 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inside),
		cmocka_unit_test(test_outside),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
