/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A QEMU that was taken over, and another of the same user: behind its own fence, or on its way
 * there.  Each attempt is made without the fence too, where it must work, or it would prove
 * nothing.
 */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libvirt/launchfence.h"

#define QEMU_UID 1879113003U

static char canary[] = "canary";

/* QEMU's user, as execve(2) leaves it: dumpable. */
static int be_qemu(int fenced)
{
	struct fault f = { 0 };
	alarm(30);
	if (setresgid(QEMU_UID, QEMU_UID, QEMU_UID) < 0 ||
	    setresuid(QEMU_UID, QEMU_UID, QEMU_UID) < 0 || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
		return -1;
	return fenced ? launchfence_raise(&f) : 0;
}

static pid_t victim(int fenced)
{
	int ready[2];
	char c;
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		if (be_qemu(fenced) == 0 && write(ready[1], "r", 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

/* A bit for every way to PID that is open, in order. */
enum { TRACE = 1, READ = 2, MEM = 4, TAKE = 8, SIGNAL = 16 };
static int ways(pid_t pid)
{
	char path[64], got[sizeof(canary)];
	struct iovec here = { got, sizeof(got) }, there = { canary, sizeof(got) };
	int open_ways = 0;
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) {
		open_ways |= TRACE;
		ptrace(PTRACE_INTERRUPT, pid, 0, 0);
		waitpid(pid, NULL, __WALL);
		ptrace(PTRACE_DETACH, pid, 0, 0);
	}
	if (process_vm_readv(pid, &here, 1, &there, 1, 0) > 0)
		open_ways |= READ;
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	int fd = open(path, O_RDWR);
	if (fd >= 0)
		open_ways |= MEM;
	int pidfd = pidfd_open(pid, 0);
	if (pidfd >= 0 && pidfd_getfd(pidfd, 0, 0) >= 0)
		open_ways |= TAKE;
	if (kill(pid, SIGCONT) == 0)
		open_ways |= SIGNAL;
	return open_ways;
}

static int attack(int fenced, pid_t pid)
{
	int status;
	pid_t attacker = fork();
	if (attacker == 0)
		_exit(be_qemu(fenced) == 0 ? ways(pid) : 99);
	assert_int_equal(waitpid(attacker, &status, 0), attacker);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_siblings(void **state)
{
	(void)state;
	for (int fenced = 0; fenced < 2; fenced++) {
		pid_t pid = victim(fenced);
		/* From before there were fences; a fence around the victim is not one for others.
		 */
		assert_int_equal(attack(0, pid), TRACE | READ | MEM | TAKE | SIGNAL);
		assert_int_equal(attack(1, pid), 0);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #cond, strerror(errno));   \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

/* What QEMU does, it still does. */
static int lives_child(void)
{
	char dir[] = "/tmp/test_launchfence.XXXXXX", a[64], b[64];
	int status;
	CHECK(be_qemu(1) == 0);
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	CHECK(mkdtemp(dir) != NULL);
	snprintf(a, sizeof(a), "%s/a", dir);
	snprintf(b, sizeof(b), "%s/b", dir);
	CHECK(mkdir(a, 0700) == 0 && mkdir(b, 0700) == 0);
	strcat(a, "/f");
	strcat(b, "/f");
	int fd = open(a, O_RDWR | O_CREAT, 0600);
	CHECK(fd >= 0 && ftruncate(fd, 10) == 0 && rename(a, b) == 0 && unlink(b) == 0);
	*strrchr(a, '/') = *strrchr(b, '/') = 0;
	CHECK(rmdir(a) == 0 && rmdir(b) == 0 && rmdir(dir) == 0);
	CHECK(raise(SIGCONT) == 0);
	pid_t pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
	return 0;
}

/* Soft and hard limit are 1, which cannot be raised; nothing is dumped. */
static int core_child(void)
{
	struct rlimit limit;
	CHECK(be_qemu(1) == 0);
	CHECK(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 1 && limit.rlim_max == 1);
	limit.rlim_max = 2;
	CHECK(setrlimit(RLIMIT_CORE, &limit) < 0 && errno == EPERM);
	CHECK(chdir("/tmp") == 0);
	abort();
}

/* A limit from above stays. */
static int lower_child(void)
{
	struct rlimit limit = { 0, 0 };
	CHECK(setrlimit(RLIMIT_CORE, &limit) == 0);
	CHECK(be_qemu(1) == 0);
	CHECK(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 0 && limit.rlim_max == 0);
	return 0;
}

static int status_of(int (*fn)(void))
{
	int status;
	pid_t pid = fork();
	if (pid == 0)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_lives(void **state)
{
	(void)state;
	assert_int_equal(status_of(lives_child), 0);
	assert_int_equal(status_of(lower_child), 0);
}

static void test_core(void **state)
{
	(void)state;
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	assert_int_equal(setrlimit(RLIMIT_CORE, &limit), 0);
	int status = status_of(core_child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_false(WCOREDUMP(status));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_siblings),
		cmocka_unit_test(test_lives),
		cmocka_unit_test(test_core),
	};
	if (geteuid() != 0) {
		fprintf(stderr, "test_launchfence: becoming QEMU's user needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
