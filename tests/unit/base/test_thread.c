/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/thread.h"

#define STACK_BYTES (64 * 1024)
#define THREADS	    64

static atomic_int ran;

static void count(void *arg)
{
	sigset_t blocked;
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	assert_true(sigismember(&blocked, SIGTERM) && sigismember(&blocked, SIGUSR1));
	usleep(*(unsigned int *)arg);
	atomic_fetch_add(&ran, 1);
}

static void test_join_waits(void **state)
{
	struct thread *threads[THREADS];
	unsigned int us[THREADS];
	sigset_t before, after;
	(void)state;
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	for (unsigned int i = 0; i < THREADS; i++) {
		us[i] = i % 4 * 700;
		assert_int_equal(thread_start(STACK_BYTES, count, &us[i], &threads[i]), 0);
	}
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	assert_int_equal(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
	for (unsigned int i = 0; i < THREADS; i++)
		thread_join(threads[i]);
	assert_int_equal(atomic_load(&ran), THREADS);
	thread_join(NULL);
}

/* Its stack is free for the next one: as many as address space would not take otherwise. */
static void test_stacks_come_back(void **state)
{
	unsigned int us = 0;
	(void)state;
	for (int i = 0; i < 2000; i++) {
		struct thread *t;
		assert_int_equal(thread_start(STACK_BYTES, count, &us, &t), 0);
		thread_join(t);
	}
}

static void test_too_small(void **state)
{
	struct thread *t = NULL;
	(void)state;
	assert_int_equal(thread_start(4096, count, NULL, &t), -EINVAL);
	assert_null(t);
}

#ifndef SANITIZED
/* Right below the stack: what a deep recursion comes to first. */
static void overflow(void *arg)
{
	pthread_attr_t attr;
	void *lowest = NULL;
	size_t bytes;
	if (pthread_getattr_np(pthread_self(), &attr) == 0 &&
	    pthread_attr_getstack(&attr, &lowest, &bytes) == 0)
		*(int *)arg = ((volatile char *)lowest)[-1];
}

static void test_stack_ends(void **state)
{
	int status;
	(void)state;
	pid_t pid = fork();
	if (pid == 0) {
		struct thread *t;
		int said;
		signal(SIGSEGV, SIG_DFL);
		if (thread_start(STACK_BYTES, overflow, &said, &t) == 0)
			thread_join(t);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(status != 0);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_join_waits),
		cmocka_unit_test(test_stacks_come_back),
		cmocka_unit_test(test_too_small),
#ifndef SANITIZED
		cmocka_unit_test(test_stack_ends),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
