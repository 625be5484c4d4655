/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each case runs in a forked child, as the phases are one-way.  The cases that give up root need
 * it; the test suite is run as root (README), and says so if it is not.
 */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/phases.h"

#define TEST_UID 1879113000U

/* Run FN in a child with FD 3 a pipe to us; its wait status. */
static int in_child(int (*fn)(void))
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(20);
		_exit(fn());
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void assert_exits_0(int (*fn)(void))
{
	int status = in_child(fn);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* A number tells which check failed. */
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "line %d: %s\n", __LINE__, #cond);                         \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

static int early_child(void)
{
	struct fault f = { 0 };
	setenv("LD_PRELOAD", "/nowhere", 1);
	signal(SIGTERM, SIG_IGN);
	umask(0);
	int keep = fcntl(open("/dev/zero", O_RDONLY), F_DUPFD, 40);
	int gone = fcntl(keep, F_DUPFD, 300);
	int low = fcntl(keep, F_DUPFD, 10);
	CHECK(keep >= 40 && gone >= 300 && low >= 10 && low < keep);
	if (phases_early(keep, &f) < 0)
		return 2;
	extern char **environ;
	/* Standard error is gone: from here on only the number tells. */
	char byte = 1;
	if (fcntl(gone, F_GETFD) != -1 || fcntl(low, F_GETFD) != -1)
		return 3;
	if (read(keep, &byte, 1) != 1 || byte != 0)
		return 4;
	if (environ && environ[0])
		return 5;
	struct stat st, null;
	if (stat("/dev/null", &null) < 0)
		return 6;
	for (int fd = 0; fd < 3; fd++)
		if (fstat(fd, &st) < 0 || st.st_rdev != null.st_rdev)
			return 7;
	struct rlimit core, files;
	if (getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_max != 1)
		return 8;
	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_max != PHASES_NOFILE)
		return 9;
	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0 || umask(0) != 077)
		return 10;
	struct sigaction action;
	if (sigaction(SIGTERM, NULL, &action) < 0 || action.sa_handler != SIG_DFL)
		return 11;
	return 0;
}

static void test_early(void **state)
{
	(void)state;
	assert_exits_0(early_child);
}

static int status_line(const char *key, char *value, size_t n)
{
	char line[256];
	FILE *fp = fopen("/proc/self/status", "re");
	if (!fp)
		return -1;
	int found = -1;
	while (found < 0 && fgets(line, sizeof(line), fp)) {
		if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':') {
			snprintf(value, n, "%s",
				 line + strlen(key) + 1 + strspn(line + strlen(key) + 1, " \t"));
			value[strcspn(value, "\n")] = 0;
			found = 0;
		}
	}
	fclose(fp);
	return found;
}

static int enter_child(void)
{
	static const char *const SETS[] = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" };
	struct fault f = { 0 };
	char value[128], want[128];
	const gid_t groups[] = { 4, 24 };
	CHECK(setgroups(2, groups) == 0);
	int rc = phases_enter(TEST_UID, NULL, &f);
	if (rc < 0)
		fprintf(stderr, "%s\n", f.text);
	CHECK(rc == 0);
	for (size_t i = 0; i < sizeof(SETS) / sizeof(SETS[0]); i++) {
		CHECK(status_line(SETS[i], value, sizeof(value)) == 0);
		CHECK(strcmp(value, "0000000000000000") == 0);
	}
	snprintf(want, sizeof(want), "%u\t%u\t%u\t%u", TEST_UID, TEST_UID, TEST_UID, TEST_UID);
	CHECK(status_line("Uid", value, sizeof(value)) == 0 && strcmp(value, want) == 0);
	CHECK(status_line("Gid", value, sizeof(value)) == 0 && strcmp(value, want) == 0);
	CHECK(status_line("Groups", value, sizeof(value)) == 0 && value[0] == 0);
	CHECK(status_line("NoNewPrivs", value, sizeof(value)) == 0 && strcmp(value, "1") == 0);
	CHECK(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
	CHECK(setuid(0) < 0 && setgid(0) < 0);
	CHECK(prctl(PR_SET_SECUREBITS, 0, 0, 0, 0) < 0);
	return 0;
}

static void test_enter(void **state)
{
	(void)state;
	assert_exits_0(enter_child);
}

static int enter_low_uid_child(void)
{
	struct fault f = { 0 };
	CHECK(phases_enter(0, NULL, &f) == ERR_USAGE);
	CHECK(phases_enter(64055, NULL, &f) == ERR_USAGE);
	CHECK(getuid() == 0);
	return 0;
}

static void test_enter_refuses_low_uids(void **state)
{
	(void)state;
	assert_exits_0(enter_low_uid_child);
}

static int seal_too_early_child(void)
{
	struct fault f = { 0 };
	const struct sealed *sealed = NULL;
	CHECK(phases_seal(&filter_worker, &sealed, &f) == ERR_STATE && !sealed);
	/* And no filter is on: open(2) still works. */
	CHECK(open("/dev/null", O_RDONLY) >= 0);
	return 0;
}

static void test_seal_needs_enter(void **state)
{
	(void)state;
	assert_exits_0(seal_too_early_child);
}

static int seal_child(void)
{
	struct fault f = { 0 };
	const struct sealed *sealed = NULL;
	CHECK(phases_enter(TEST_UID, NULL, &f) == 0);
	CHECK(phases_seal(&filter_worker, &sealed, &f) == 0 && sealed);
	const struct sealed *again = NULL;
	CHECK(phases_seal(&filter_worker, &again, &f) == ERR_STATE && !again);
	return 0;
}

static int sealed_open_child(void)
{
	if (seal_child() != 0)
		return 1;
	open("/dev/null", O_RDONLY);
	return 2;
}

static void test_seal(void **state)
{
	(void)state;
	assert_exits_0(seal_child);
	int status = in_child(sealed_open_child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

/* Parent makes a child that follows it and then dies: the grandchild must be killed, which closes
 * the pipe. */
static void test_follow_parent(void **state)
{
	(void)state;
	int ends[2];
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		pid_t me = getpid();
		if (fork() == 0) {
			struct fault f = { 0 };
			close(ends[0]);
			if (phases_enter(TEST_UID, NULL, &f) < 0 ||
			    phases_follow_parent(me, &f) < 0)
				_exit(1);
			if (write(ends[1], "r", 1) != 1)
				_exit(1);
			alarm(20);
			for (;;)
				pause();
		}
		char c;
		close(ends[1]);
		if (read(ends[0], &c, 1) != 1)
			_exit(1);
		_exit(0);
	}
	close(ends[1]);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	char c;
	struct timespec start, end;
	clock_gettime(CLOCK_MONOTONIC, &start);
	assert_int_equal(read(ends[0], &c, 1), 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_true(end.tv_sec - start.tv_sec < 10);
	close(ends[0]);
}

static int wrong_parent_child(void)
{
	struct fault f = { 0 };
	CHECK(phases_follow_parent(getpid(), &f) == ERR_STATE);
	return 0;
}

static void test_follow_wrong_parent(void **state)
{
	(void)state;
	assert_exits_0(wrong_parent_child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_early),
		cmocka_unit_test(test_enter),
		cmocka_unit_test(test_enter_refuses_low_uids),
		cmocka_unit_test(test_seal_needs_enter),
		cmocka_unit_test(test_seal),
		cmocka_unit_test(test_follow_parent),
		cmocka_unit_test(test_follow_wrong_parent),
	};
	if (geteuid() != 0) {
		fprintf(stderr, "test_phases: giving up root needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
