/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "crypto/pool.h"

#define JOBS	  200
#define LIMIT_MS  20000
#define STACK_USE (POOL_STACK_BYTES / 2)

struct counted {
	struct pool_job job;
	atomic_int *clock; /* counts the jobs that have begun */
	int began;	   /* what it was */
	int ran;
};

static void count(struct pool_job *job, struct stream_lane *lane)
{
	struct counted *c = (struct counted *)job;
	assert_non_null(lane);
	c->began = atomic_fetch_add(c->clock, 1);
	c->ran++;
}

static void wait_for(struct pool_job *job)
{
	int64_t deadline = clock_ms() + LIMIT_MS;
	while (!pool_done(job) && clock_wait(deadline))
		;
	assert_true(pool_done(job));
}

static void test_every_job_runs_once(void **state)
{
	(void)state;
	for (unsigned threads = 1; threads <= POOL_THREADS_MAX; threads++) {
		struct pool *p = NULL;
		static struct counted jobs[JOBS];
		atomic_int clock = 0;
		memset(jobs, 0, sizeof(jobs));
		assert_int_equal(pool_new(threads, &p), 0);
		assert_int_equal(pool_threads(p), threads);
		for (int round = 0; round < 3; round++) {
			for (size_t i = 0; i < JOBS; i++) {
				jobs[i].job.run = count;
				jobs[i].job.notify_fd = -1;
				jobs[i].clock = &clock;
				pool_submit(p, &jobs[i].job);
			}
			for (size_t i = 0; i < JOBS; i++) {
				wait_for(&jobs[i].job);
				assert_int_equal(jobs[i].ran, round + 1);
				if (threads == 1)
					assert_int_equal(jobs[i].began, round * JOBS + (int)i);
			}
		}
		pool_free(p);
	}
}

static void test_as_many_threads_as_cpus_but_bounded(void **state)
{
	(void)state;
	struct pool *p = NULL;
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	assert_int_equal(pool_new(0, &p), 0);
	assert_in_range(pool_threads(p), 1, online < POOL_THREADS_MAX ? online : POOL_THREADS_MAX);
	pool_free(p);
	assert_int_equal(pool_new(1000, &p), 0);
	assert_int_equal(pool_threads(p), POOL_THREADS_MAX);
	pool_free(p);
	pool_free(NULL);
}

/* A job that runs until it is told to end. */
struct gate {
	struct pool_job job;
	atomic_int entered, open;
};

static void enter(struct pool_job *job, struct stream_lane *lane)
{
	(void)lane;
	struct gate *g = (struct gate *)job;
	int64_t deadline = clock_ms() + LIMIT_MS;
	atomic_store(&g->entered, 1);
	while (!atomic_load(&g->open) && clock_wait(deadline))
		;
}

static void *open_soon(void *arg)
{
	struct gate *g = arg;
	usleep(100 * 1000);
	atomic_store(&g->open, 1);
	return NULL;
}

static void test_settling(void **state)
{
	(void)state;
	struct pool *p = NULL;
	struct gate gate = { .job = { .run = enter, .notify_fd = -1 } };
	atomic_int clock = 0;
	struct counted jobs[3] = { 0 };
	pthread_t opener;
	int64_t deadline = clock_ms() + LIMIT_MS;
	assert_int_equal(pool_new(1, &p), 0);
	/* One that was never submitted. */
	pool_settle(p, &jobs[0].job);
	pool_submit(p, &gate.job);
	while (!atomic_load(&gate.entered) && clock_wait(deadline))
		;
	for (size_t i = 0; i < 3; i++) {
		jobs[i].job = (struct pool_job){ .run = count, .notify_fd = -1 };
		jobs[i].clock = &clock;
		pool_submit(p, &jobs[i].job);
	}
	/* From the middle and from the end of the queue; what is submitted then still runs. */
	pool_settle(p, &jobs[1].job);
	pool_settle(p, &jobs[2].job);
	assert_true(pool_done(&jobs[1].job));
	assert_false(pool_done(&jobs[0].job));
	assert_false(pool_done(&gate.job));
	pool_submit(p, &jobs[2].job);
	/* One that runs. */
	assert_int_equal(pthread_create(&opener, NULL, open_soon, &gate), 0);
	pool_settle(p, &gate.job);
	assert_int_equal(atomic_load(&gate.open), 1);
	assert_true(pool_done(&gate.job));
	pthread_join(opener, NULL);
	wait_for(&jobs[2].job);
	assert_int_equal(jobs[0].ran, 1);
	assert_int_equal(jobs[1].ran, 0);
	assert_int_equal(jobs[2].ran, 1);
	pool_free(p);
}

static void test_notifies(void **state)
{
	(void)state;
	struct pool *p = NULL;
	atomic_int clock = 0;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct counted jobs[10] = { 0 };
	uint64_t sum = 0;
	assert_int_equal(pool_new(2, &p), 0);
	for (size_t i = 0; i < 10; i++) {
		jobs[i].job = (struct pool_job){ .run = count, .notify_fd = fd };
		jobs[i].clock = &clock;
		pool_submit(p, &jobs[i].job);
	}
	while (sum < 10) {
		struct pollfd slot = { .fd = fd, .events = POLLIN };
		uint64_t n = 0;
		assert_int_equal(poll(&slot, 1, LIMIT_MS), 1);
		assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
		sum += n;
		size_t done = 0;
		for (size_t i = 0; i < 10; i++)
			done += jobs[i].ran && pool_done(&jobs[i].job);
		/* Who is told finds it done. */
		assert_true(done >= sum);
	}
	assert_int_equal(sum, 10);
	pool_free(p);
	close(fd);
}

/* What is in the queue when the pool ends is still done. */
static void test_free_finishes(void **state)
{
	(void)state;
	struct pool *p = NULL;
	atomic_int clock = 0;
	static struct counted jobs[JOBS];
	memset(jobs, 0, sizeof(jobs));
	assert_int_equal(pool_new(2, &p), 0);
	for (size_t i = 0; i < JOBS; i++) {
		jobs[i].job = (struct pool_job){ .run = count, .notify_fd = -1 };
		jobs[i].clock = &clock;
		pool_submit(p, &jobs[i].job);
	}
	pool_free(p);
	assert_int_equal(atomic_load(&clock), JOBS);
}

struct looker {
	struct pool_job job;
	sigset_t blocked;
	int deep;
};

static void look(struct pool_job *job, struct stream_lane *lane)
{
	(void)lane;
	struct looker *l = (struct looker *)job;
	volatile uint8_t deep[STACK_USE];
	memset((uint8_t *)(uintptr_t)deep, 7, sizeof(deep));
	pthread_sigmask(SIG_SETMASK, NULL, &l->blocked);
	l->deep = deep[0] + deep[sizeof(deep) - 1];
}

static void test_signals_and_stack(void **state)
{
	(void)state;
	static const int SIGNALS[] = { SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGPIPE, SIGUSR1 };
	struct pool *p = NULL;
	sigset_t before, after;
	struct looker l = { .job = { .run = look, .notify_fd = -1 } };
	sigemptyset(&before);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	assert_int_equal(pool_new(1, &p), 0);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	pool_submit(p, &l.job);
	wait_for(&l.job);
	assert_int_equal(l.deep, 14);
	for (size_t i = 0; i < sizeof(SIGNALS) / sizeof(SIGNALS[0]); i++) {
		assert_int_equal(sigismember(&l.blocked, SIGNALS[i]), 1);
		assert_int_equal(sigismember(&after, SIGNALS[i]), 0);
	}
	pool_free(p);
}

/* Waiting costs no time. */
static void test_sleeps(void **state)
{
	(void)state;
	struct pool *p = NULL;
	struct timespec a, b;
	assert_int_equal(pool_new(POOL_THREADS_MAX, &p), 0);
	usleep(50 * 1000); /* all have come to wait */
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	usleep(500 * 1000);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	int64_t us = (int64_t)(b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000;
	assert_in_range(us, 0, 5 * 1000); /* a busy machine leaves a busy loop more */
	pool_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_job_runs_once),
		cmocka_unit_test(test_as_many_threads_as_cpus_but_bounded),
		cmocka_unit_test(test_settling),
		cmocka_unit_test(test_notifies),
		cmocka_unit_test(test_free_finishes),
		cmocka_unit_test(test_signals_and_stack),
		cmocka_unit_test(test_sleeps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
