/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The crypto threads: a fixed number, made before the process seals, asleep while there is nothing
 * to do.
 *
 * Jobs are run in the order of their submission, each by one thread, with that thread's lane.  All
 * signals are blocked in the threads; their stacks are POOL_STACK_BYTES.  After pool_new() neither
 * the threads nor these functions make a system call but futex(2) and, to notify, write(2).
 *
 * May be used by: whoever makes a flow (crypto/flow.h).  pool_new() clones: after root and
 * capabilities were given up (those are a thread's own, as are Landlock and no_new_privs, which
 * threads inherit), before the system call filter is loaded for all threads (TSYNC).
 */
#ifndef SHIELDVM_CRYPTO_POOL_H
#define SHIELDVM_CRYPTO_POOL_H

#include <stdatomic.h>

#include "base/err.h"
#include "crypto/stream.h"

#define POOL_THREADS_MAX 4
#define POOL_STACK_BYTES (128 * 1024)

struct pool;

/* To be embedded in what the job is about; zeroed, and run and notify_fd set, before the first use.
 */
struct pool_job {
	void (*run)(struct pool_job *job, struct stream_lane *lane); /* may not submit or settle */
	int notify_fd;	       /* an eventfd that gets 1 added when the job has run; -1: none */
	struct pool_job *next; /* the pool's */
	atomic_int state;      /* the pool's */
};

/*
 * Start THREADS of them (at most POOL_THREADS_MAX), or with 0 as many as it may use CPUs, but no
 * more than the maximum.  Every thread has used libcrypto once when this returns.  -errno
 * (pthread_create(3)), ERR_CRYPTO, -ENOMEM.
 */
int pool_new(unsigned threads, struct pool **out) MUST_CHECK;

/* Finish what was submitted, end the threads.  NULL is fine.  System calls: thread_join(). */
void pool_free(struct pool *p);

unsigned pool_threads(const struct pool *p);

/* Have JOB run.  It belongs to the pool until pool_done() or pool_settle(), and may then be
 * submitted anew. */
void pool_submit(struct pool *p, struct pool_job *job);

/* 1 once JOB has run (what it wrote is then visible), or was never submitted. */
int pool_done(struct pool_job *job);

/* Take JOB back: if it has not begun it never runs, if it has begun its end is waited for.  The
 * pool then does not look at it, or at its notify_fd, any more. */
void pool_settle(struct pool *p, struct pool_job *job);

#endif
