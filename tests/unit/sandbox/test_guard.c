/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Worker and guard as they are: first of a PID namespace and its child, both without root and under
 * their own filters.  This process is root of the host and does to them what it can.
 */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "sandbox/guard.h"
#include "sandbox/isolate.h"

#define TEST_UID 1879113002U
#define WAIT_MS	 10000

/* Shared with the processes that are tried. */
struct shared {
	atomic_int worker, guard, thread; /* ids as this process sees them */
	atomic_int turns, thread_turns;	  /* they go on as long as their threads run */
	atomic_int order;		  /* what the worker is to do next */
	atomic_int rc;			  /* of guard_start() */
	char text[FAULT_TEXT_MAX];	  /* of its fault */
};
enum { GO_ON, FAULT, THREAD_FAULT, FORBIDDEN, ABORT, END };

static struct shared *s;
static pid_t child; /* of this process: the worker */

static int own_id(const char *link)
{
	char text[64] = "";
	ssize_t n = readlink(link, text, sizeof(text) - 1);
	const char *last = n > 0 ? strrchr(text, '/') : NULL;
	return atoi(last ? last + 1 : text);
}

static void obey(int what)
{
	volatile int *nowhere = NULL;
	if (what == FAULT || what == THREAD_FAULT)
		*nowhere = 1;
	else if (what == FORBIDDEN)
		syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY);
	else if (what == ABORT)
		abort();
	else if (what == END)
		syscall(SYS_exit_group, 7);
}

static void *be_thread(void *arg)
{
	(void)arg;
	atomic_store(&s->thread, own_id("/proc/thread-self"));
	for (;;) {
		poll(NULL, 0, 1);
		atomic_fetch_add(&s->thread_turns, 1);
		if (atomic_load(&s->order) == THREAD_FAULT)
			obey(THREAD_FAULT);
	}
	return NULL;
}

static int be_guard(struct guard *g)
{
	struct fault f = { 0 };
	const struct sealed *sealed;
	int id = own_id("/proc/self");
	guard_keep(g, 2);
	if (phases_enter(TEST_UID, NULL, &f) < 0 || phases_seal(&filter_guard, &sealed, &f) < 0 ||
	    guard_ready(sealed, g) < 0)
		return 1;
	atomic_store(&s->guard, id);
	return guard_watch(sealed, g);
}

static int be_worker(pid_t parent)
{
	struct fault f = { 0 };
	struct guard g;
	pthread_t thread;
	const struct sealed *sealed;
	int id = own_id("/proc/self");
	int rc = guard_start(&g, &f);
	if (rc > 0)
		return be_guard(&g);
	memcpy(s->text, f.text, sizeof(s->text));
	atomic_store(&s->rc, rc);
	if (phases_enter(TEST_UID, NULL, &f) < 0 || phases_follow_parent(parent, &f) < 0 ||
	    guard_wait(&g, WAIT_MS, &f) < 0 || pthread_create(&thread, NULL, be_thread, NULL))
		return 2;
	while (!atomic_load(&s->thread))
		poll(NULL, 0, 1);
	if (phases_seal(&filter_worker, &sealed, &f) < 0)
		return 3;
	atomic_store(&s->worker, id);
	for (;;) {
		struct pollfd p = { .fd = g.signals, .events = POLLIN };
		if (poll(&p, 1, 1) > 0 && guard_serve(&g) < 0)
			return 4;
		atomic_fetch_add(&s->turns, 1);
		obey(atomic_load(&s->order) == THREAD_FAULT ? GO_ON : atomic_load(&s->order));
	}
}

static int wait_for(const atomic_int *value)
{
	int64_t deadline = clock_ms() + WAIT_MS;
	while (!atomic_load(value))
		if (!clock_wait(deadline))
			return 0;
	return 1;
}

/* A go-between, as a PID namespace begins with a child; it ends as the worker ends. */
static void start(void)
{
	memset(s, 0, sizeof(*s));
	atomic_store(&s->rc, 1);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct isolation i;
		int status;
		alarm(60);
		isolate_begin(TEST_UID, &i);
		pid_t worker = fork();
		if (worker == 0)
			_exit(be_worker(getppid()));
		while (waitpid(worker, &status, 0) < 0)
			;
		if (WIFSIGNALED(status)) {
			signal(WTERMSIG(status), SIG_DFL);
			raise(WTERMSIG(status));
		}
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 98);
	}
	assert_true(wait_for(&s->worker));
	assert_int_equal(s->rc, 0);
	assert_true(s->guard > 0 && s->thread > 0 && s->guard != s->worker);
}

static int gone(pid_t pid)
{
	int64_t deadline = clock_ms() + WAIT_MS;
	while (kill(pid, 0) == 0)
		if (!clock_wait(deadline))
			return 0;
	return 1;
}

/* The wait status of the worker, soon; and nobody is left. */
static int end(void)
{
	int status = -1;
	int64_t deadline = clock_ms() + WAIT_MS;
	while (waitpid(child, &status, WNOHANG) != child)
		if (!clock_wait(deadline)) {
			kill(s->worker, SIGKILL);
			fail_msg("the worker does not end");
		}
	assert_true(gone(s->guard));
	assert_true(gone(s->worker));
	return status;
}

static void assert_killed(int status)
{
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void assert_runs(void)
{
	const atomic_int *const COUNTERS[] = { &s->turns, &s->thread_turns };
	for (size_t i = 0; i < 2; i++) {
		int before = atomic_load(COUNTERS[i]);
		int64_t deadline = clock_ms() + WAIT_MS;
		while (atomic_load(COUNTERS[i]) < before + 3)
			if (!clock_wait(deadline))
				fail_msg("counter %zu stands still", i);
	}
}

static char state_of(pid_t pid)
{
	char path[64], line[256] = "";
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	FILE *fp = fopen(path, "re");
	if (!fp)
		return '?';
	char *at = fgets(line, sizeof(line), fp) ? strrchr(line, ')') : NULL;
	fclose(fp);
	return at && at[1] ? at[2] : '?';
}

/* The guard waits for its worker, and not for somebody to let it go on. */
static void assert_guard_runs(void)
{
	int64_t deadline = clock_ms() + WAIT_MS;
	while (state_of(s->guard) != 'S')
		if (!clock_wait(deadline))
			fail_msg("the guard is in state %c", state_of(s->guard));
}

static void assert_nobody_attaches(void)
{
	const pid_t all[] = { s->worker, s->thread, s->guard };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		errno = 0;
		assert_int_equal(ptrace(PTRACE_ATTACH, all[i], 0, 0), -1);
		assert_int_equal(errno, EPERM);
		assert_int_equal(ptrace(PTRACE_SEIZE, all[i], 0, 0), -1);
		assert_int_equal(errno, EPERM);
	}
}

static void test_nobody_else(void **state)
{
	(void)state;
	start();
	assert_nobody_attaches();
	assert_runs();
	atomic_store(&s->order, END);
	int status = end();
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
}

static void test_one_dies(void **state)
{
	(void)state;
	start();
	kill(s->guard, SIGKILL);
	assert_killed(end());
	start();
	kill(s->worker, SIGKILL);
	assert_killed(end());
	/* The broker's end is the worker's (PR_SET_PDEATHSIG), across the PID namespace. */
	start();
	kill(child, SIGKILL);
	assert_killed(end());
}

static void test_stop_games(void **state)
{
	static const int SIGNALS[] = { SIGSTOP, SIGCONT, SIGTSTP, SIGTTIN, SIGTERM, SIGINT,
				       SIGHUP,	SIGUSR1, SIGCHLD, 33,	   SIGSEGV, SIGABRT };
	(void)state;
	start();
	for (size_t i = 0; i < sizeof(SIGNALS) / sizeof(SIGNALS[0]); i++) {
		kill(s->worker, SIGNALS[i]);
		assert_runs();
		syscall(SYS_tgkill, s->worker, s->thread, SIGNALS[i]);
		assert_runs();
		kill(s->guard, SIGNALS[i]);
		assert_runs();
		assert_guard_runs();
	}
	for (int i = 0; i < 200; i++)
		kill(i % 2 ? s->worker : s->thread, i % 3 ? SIGSTOP : SIGCONT);
	assert_runs();
	for (int i = 0; i < 200; i++)
		kill(s->guard, i % 3 ? SIGSTOP : SIGCONT);
	assert_runs();
	assert_guard_runs();
	assert_nobody_attaches();
	atomic_store(&s->order, END);
	assert_true(WIFEXITED(end()));
}

/* Whether they go on or wait for each other: nobody gets in between, and they can be ended. */
static void test_both_stopped(void **state)
{
	(void)state;
	start();
	for (int i = 0; i < 50; i++) {
		kill(s->worker, SIGSTOP);
		kill(s->guard, SIGSTOP);
	}
	poll(NULL, 0, 100);
	assert_nobody_attaches();
	kill(s->worker, SIGCONT);
	kill(s->guard, SIGCONT);
	assert_nobody_attaches();
	kill(s->worker, SIGKILL);
	assert_killed(end());
}

static void test_faults(void **state)
{
	static const int FAULTS[] = { FAULT, THREAD_FAULT };
	static const int KILLED[] = { FORBIDDEN, ABORT };
	(void)state;
	for (size_t i = 0; i < sizeof(FAULTS) / sizeof(FAULTS[0]); i++) {
		start();
		atomic_store(&s->order, FAULTS[i]);
		assert_killed(end());
	}
	/* The filter's verdict is not the guard's business; abort(3) meets it at its first call. */
	for (size_t i = 0; i < sizeof(KILLED) / sizeof(KILLED[0]); i++) {
		start();
		atomic_store(&s->order, KILLED[i]);
		int status = end();
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGSYS);
	}
}

/* Somebody was there first: no lock, and not as on a host that has none; no guard stays. */
static void test_traced_already(void **state)
{
	int status;
	(void)state;
	memset(s, 0, sizeof(*s));
	child = fork();
	if (child == 0) {
		struct fault f = { 0 };
		struct guard g;
		alarm(30);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		int rc = guard_start(&g, &f);
		memcpy(s->text, f.text, sizeof(s->text));
		sigset_t now;
		sigprocmask(SIG_SETMASK, NULL, &now);
		_exit(rc == ERR_STATE && g.pid == 0 && g.signals < 0 &&
				      !sigismember(&now, SIGTERM) &&
				      waitpid(-1, NULL, __WALL) < 0 && errno == ECHILD
			      ? 0
			      : 1);
	}
	while (waitpid(child, &status, 0) == child && WIFSTOPPED(status))
		ptrace(PTRACE_CONT, child, 0, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	char want[64];
	snprintf(want, sizeof(want), "process %d traces this one", (int)getpid());
	assert_string_equal(s->text, want);
}

static int set_up(void **state)
{
	(void)state;
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return s == MAP_FAILED ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_else), cmocka_unit_test(test_one_dies),
		cmocka_unit_test(test_stop_games),  cmocka_unit_test(test_both_stopped),
		cmocka_unit_test(test_faults),	    cmocka_unit_test(test_traced_already),
	};
	if (geteuid() != 0) {
		fprintf(stderr, "test_guard: giving up root needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, set_up, NULL);
}
