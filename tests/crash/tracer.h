/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a function in a child and looks at each of its system calls, at entry and at exit: to record
 * it, to kill the child there, or to make the call fail.  x86-64, ptrace(2).
 */
#ifndef SHIELDVM_TESTS_CRASH_TRACER_H
#define SHIELDVM_TESTS_CRASH_TRACER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct trace_stop {
	pid_t pid;
	long call;	  /* __NR_... */
	int entry;	  /* 1 before the call, 0 after it */
	uint64_t args[6]; /* also at exit */
	int64_t result;	  /* at exit: >= 0, or -errno as the kernel gave it */
};

enum trace_action {
	TRACE_GO,
	TRACE_KILL, /* SIGKILL here; at an entry the call does not happen */
	TRACE_FAIL, /* -EIO: at an entry instead of the call, at an exit although it happened */
};

typedef enum trace_action (*trace_watch)(void *arg, const struct trace_stop *stop);

/*
 * Fork, run BODY in the child (which then exits 0) and call WATCH at each stop.  A call that was
 * failed at its entry has no exit stop.  Returns the child's wait status, or -errno.
 */
int trace_run(void (*body)(void *arg), void *body_arg, trace_watch watch,
	      void *watch_arg) MUST_CHECK;

/* Copy at most N bytes (or up to a NUL with TEXT) from the child's memory at AT; the count. */
size_t trace_read(pid_t pid, uint64_t at, void *dst, size_t n);

/* The calls that change or read the state's folder. */
int trace_is_store_call(long call);
const char *trace_call_name(long call);

#endif
