/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads whose stacks come from malloc(3), and that can be joined whatever memory that is.
 *
 * In a worker the heap is secret memory (sandbox/secret.h), so the stacks are too; nothing else can
 * be mapped there.  pthread_join(3) waits with a futex that is shared between processes, which the
 * kernel refuses in secret memory, and glibc then aborts; thread_join() waits with a private one.
 *
 * May be used by: every layer that makes threads.  thread_start() before sealing: clone(2),
 * mprotect(2), rt_sigprocmask(2).
 */
#ifndef SHIELDVM_BASE_THREAD_H
#define SHIELDVM_BASE_THREAD_H

#include <stddef.h>

#include "base/err.h"

struct thread;

/*
 * Run FN(ARG) in a thread with all signals blocked and a stack of STACK_BYTES (a multiple of the
 * page size, at least PTHREAD_STACK_MIN), below which lies a page that cannot be touched (but in a
 * build with sanitizers).  -errno, -ENOMEM.
 */
int thread_start(size_t stack_bytes, void (*fn)(void *arg), void *arg,
		 struct thread **out) MUST_CHECK;

/*
 * Wait for its end and free it; T may be NULL.  futex(2), sched_yield(2), and mprotect(2): where a
 * filter refuses that, the stack stays allocated.
 */
void thread_join(struct thread *t);

#endif
