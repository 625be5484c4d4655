/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define GUARD_BYTES 4096

struct thread {
	pthread_t id;
	void (*fn)(void *arg);
	void *arg;
	uint8_t *memory; /* guard page, stack */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int done; /* under the lock */
};

static void *run(void *arg)
{
	struct thread *t = arg;
	t->fn(t->arg);
	pthread_mutex_lock(&t->lock);
	t->done = 1;
	pthread_cond_signal(&t->changed);
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static int create(struct thread *t, size_t stack_bytes)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int rc = -pthread_attr_init(&attr);
	if (rc < 0)
		return rc;
	rc = -pthread_attr_setstack(&attr, t->memory + GUARD_BYTES, stack_bytes);
	if (rc == 0) {
		sigfillset(&all);
		pthread_sigmask(SIG_BLOCK, &all, &before);
		rc = -pthread_create(&t->id, &attr, run, t);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	pthread_attr_destroy(&attr);
	return rc;
}

/* A sanitizer that looks for leaks reads all of the heap, and so has no such page. */
static int protect(uint8_t *page, int prot)
{
#ifdef SANITIZED
	(void)page;
	(void)prot;
	return 0;
#else
	return mprotect(page, GUARD_BYTES, prot) < 0 ? -errno : 0;
#endif
}

/* No thread is on it any more. */
static void free_all(struct thread *t)
{
	if (t->memory && protect(t->memory, PROT_READ | PROT_WRITE) == 0)
		free(t->memory);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

int thread_start(size_t stack_bytes, void (*fn)(void *arg), void *arg, struct thread **out)
{
	struct thread *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->fn = fn;
	t->arg = arg;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	t->memory = aligned_alloc(GUARD_BYTES, GUARD_BYTES + stack_bytes);
	int rc = t->memory ? 0 : -ENOMEM;
	if (rc == 0)
		rc = protect(t->memory, PROT_NONE);
	if (rc == 0)
		rc = create(t, stack_bytes);
	if (rc < 0) {
		free_all(t);
		return rc;
	}
	*out = t;
	return 0;
}

void thread_join(struct thread *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	while (!t->done)
		pthread_cond_wait(&t->changed, &t->lock);
	pthread_mutex_unlock(&t->lock);
	/* It is still on its stack, for some hundred instructions; this call does not wait. */
	while (pthread_tryjoin_np(t->id, NULL) == EBUSY)
		sched_yield();
	free_all(t);
}
