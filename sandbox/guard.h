/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lock against debuggers: worker and guard trace each other, and a process has one tracer.
 *
 * Theory of operation.  The guard is a child of the worker, forked before there is any secret, and
 * does nothing but be there.  Each has seized the other with PTRACE_O_EXITKILL, so that killing
 * either ends both, and with the worker the VM.  Later threads of the worker are held from their
 * first instruction on (PTRACE_O_TRACECLONE).  Whoever else tries to attach, root too, gets EPERM.
 *
 * A traced process stops for every signal that it does not block, until its tracer lets it go on.
 * So both block whatever can be blocked.  What remains:
 *
 * - SIGSTOP is taken back: the guard lets the worker go on, and the worker, in its event loop, the
 *   guard.  Both stopped in the same instant wait for each other until somebody kills one; nobody
 *   can attach to them meanwhile.
 *
 * - A fault would be delivered again and again, as the first process of a PID namespace does not
 *   die of it while it is traced.  So the guard ends, and with it the worker.
 *
 * - SIGKILL is nobody's to hold up.
 *
 * The guard passes through the same phases as the worker, with a filter of its own
 * (sandbox/filter_guard.c).
 *
 * May be used by: worker/main.c, the control thread's loop; tests.
 */
#ifndef SHIELDVM_SANDBOX_GUARD_H
#define SHIELDVM_SANDBOX_GUARD_H

#include <sys/types.h>

#include "sandbox/phases.h"

struct guard {
	pid_t pid;   /* worker: the guard's; guard: the worker's; 0: there is no lock */
	int signals; /* worker: signalfd(2) of SIGCHLD; else -1 */
	int sock;    /* to the other one, until the guard is sealed */
};

#define GUARD_NAME "shieldvm-guard" /* as ps(1) shows it; its program is the worker's */
#define GUARD_NONE ((struct guard){ 0, -1, -1 })

/*
 * Fork the guard and lock both.  As root, with one thread, signals not yet blocked.  Returns
 *  0    in the worker: the lock holds; all signals are blocked from here on, in later threads too.
 *  1    in the guard: likewise.  It goes on with guard_keep().
 *  < 0  in the worker: there is no lock, for the reason in F, and no guard; *OUT is GUARD_NONE.
 *	 ERR_STATE: somebody traces this process already; it must not go on.  Else the host has no
 *	 lock to give.
 */
int guard_start(struct guard *out, struct fault *f) MUST_CHECK;

/* Guard: close every descriptor but the one to the worker, 0 to 2, and KEEP (the log). */
void guard_keep(const struct guard *g, int keep);

/* Guard, sealed: tell the worker. */
int guard_ready(const struct sealed *sealed, struct guard *g) MUST_CHECK;

/* Worker: wait, for MS at most, until the guard is sealed.  ERR_STATE. */
int guard_wait(struct guard *g, int ms, struct fault *f) MUST_CHECK;

/*
 * Guard: let the worker's threads go on whenever they stop.  Returns 0 when the worker has gone, or
 * the signal of a fault of its: then the guard must end, which kills the worker.
 * wait4(2), ptrace(2) PTRACE_CONT.
 */
int guard_watch(const struct sealed *sealed, const struct guard *g);

/*
 * Worker: `signals` is readable: let the guard go on if it was stopped.  ERR_STATE if it took a
 * fault, after which the worker must end.  By the thread that called guard_start().
 * read(2), wait4(2), ptrace(2) PTRACE_CONT.
 */
int guard_serve(struct guard *g) MUST_CHECK;

#endif
