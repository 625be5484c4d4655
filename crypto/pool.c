/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "base/registers.h"
#include "base/thread.h"

/* A job's state.  Changed under the lock. */
enum { IDLE, QUEUED, RUNNING };

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t work;  /* there is a job, or the end */
	pthread_cond_t ready; /* a job has run, or a thread is up */
	struct pool_job *first, **last;
	int stop;
	unsigned up, failed; /* threads that have their lane, or could not get one */
	unsigned n;
	struct thread *threads[POOL_THREADS_MAX];
};

/* The first job, taken off the queue, or NULL at the end of the pool.  Under the lock.  A thread
 * that waits keeps no key. */
static struct pool_job *next_job(struct pool *p, struct stream_lane *lane)
{
	if (!p->first)
		stream_lane_wipe(lane);
	registers_clear();
	while (!p->first && !p->stop)
		pthread_cond_wait(&p->work, &p->lock);
	struct pool_job *job = p->first;
	if (!job)
		return NULL;
	p->first = job->next;
	if (!p->first)
		p->last = &p->first;
	atomic_store_explicit(&job->state, RUNNING, memory_order_relaxed);
	return job;
}

/* Under the lock, so that pool_settle() does not return in the middle of it. */
static void finish(struct pool *p, struct pool_job *job)
{
	uint64_t one = 1;
	int fd = job->notify_fd;
	atomic_store_explicit(&job->state, IDLE, memory_order_release);
	/* Fails only if the counter is full: then it is readable anyway. */
	ssize_t n = fd >= 0 ? write(fd, &one, sizeof(one)) : 0;
	(void)n;
	pthread_cond_broadcast(&p->ready);
}

static void work(void *arg)
{
	struct pool *p = arg;
	struct stream_lane *lane = NULL;
	/* Made here, so that what libcrypto and malloc(3) keep for a thread is there. */
	int rc = stream_lane_new(&lane);

	pthread_mutex_lock(&p->lock);
	if (rc < 0)
		p->failed++;
	else
		p->up++;
	pthread_cond_broadcast(&p->ready);
	for (struct pool_job *job; rc >= 0 && (job = next_job(p, lane));) {
		pthread_mutex_unlock(&p->lock);
		job->run(job, lane);
		registers_clear();
		pthread_mutex_lock(&p->lock);
		finish(p, job);
	}
	pthread_mutex_unlock(&p->lock);
	stream_lane_free(lane);
}

static unsigned cpus(void)
{
	cpu_set_t set;
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 1;
	int n = CPU_COUNT(&set);
	return n < 1 ? 1 : (unsigned)n;
}

static int start(struct pool *p, unsigned threads)
{
	int rc = 0;
	while (rc == 0 && p->n < threads) {
		rc = thread_start(POOL_STACK_BYTES, work, p, &p->threads[p->n]);
		p->n += rc == 0;
	}
	if (rc < 0)
		return rc;

	pthread_mutex_lock(&p->lock);
	while (p->up + p->failed < p->n)
		pthread_cond_wait(&p->ready, &p->lock);
	rc = p->failed ? ERR_CRYPTO : 0;
	pthread_mutex_unlock(&p->lock);
	return rc;
}

int pool_new(unsigned threads, struct pool **out)
{
	if (threads == 0)
		threads = cpus();
	if (threads > POOL_THREADS_MAX)
		threads = POOL_THREADS_MAX;
	struct pool *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->last = &p->first;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->ready, NULL);
	int rc = start(p, threads);
	if (rc < 0) {
		pool_free(p);
		return rc;
	}
	*out = p;
	return 0;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = 1;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n; i++)
		thread_join(p->threads[i]);
	pthread_cond_destroy(&p->ready);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

unsigned pool_threads(const struct pool *p)
{
	return p->n;
}

void pool_submit(struct pool *p, struct pool_job *job)
{
	pthread_mutex_lock(&p->lock);
	job->next = NULL;
	atomic_store_explicit(&job->state, QUEUED, memory_order_relaxed);
	*p->last = job;
	p->last = &job->next;
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}

int pool_done(struct pool_job *job)
{
	return atomic_load_explicit(&job->state, memory_order_acquire) == IDLE;
}

/* Take a job that has not begun off the queue.  Under the lock. */
static void unqueue(struct pool *p, struct pool_job *job)
{
	struct pool_job **at = &p->first;
	while (*at && *at != job)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = job->next;
	if (p->last == &job->next)
		p->last = at;
	atomic_store_explicit(&job->state, IDLE, memory_order_relaxed);
}

void pool_settle(struct pool *p, struct pool_job *job)
{
	pthread_mutex_lock(&p->lock);
	if (atomic_load_explicit(&job->state, memory_order_relaxed) == QUEUED)
		unqueue(p, job);
	while (atomic_load_explicit(&job->state, memory_order_relaxed) != IDLE)
		pthread_cond_wait(&p->ready, &p->lock);
	pthread_mutex_unlock(&p->lock);
}
