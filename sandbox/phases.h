/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The phases in which a process gives up what it does not need, in the order in which it passes
 * through them.
 *
 *  early  first thing in main(), as root.  Closes what was inherited, forgets the environment, no
 *	   core, not dumpable, limits.  Must not read anything a person could have written.
 *  open   (the caller's) as root: opens descriptors by fixed paths.  Must not parse what is in
 *them. enter  gives up root for good: uid, gid, groups, every capability set, no way back. load
 *(the caller's) as the VM's own uid: parses, unwraps, allocates, makes its threads. seal   the
 *system call allow-list, in every thread.  Must be the last step before the first byte of a guest
 *is read.  Yields the token that event loops ask for.
 *
 * May be used by: worker/ programs, once each and in this order; tests.
 */
#ifndef SHIELDVM_SANDBOX_PHASES_H
#define SHIELDVM_SANDBOX_PHASES_H

#include <sys/types.h>

#include "base/err.h"

#define PHASES_NOFILE 64 /* descriptors a worker or broker may have */

/*
 * Threads and processes of a VM's uid.  One VM has up to eight (broker, worker, and its threads for
 * data, state and records), but the kernel counts a uid over all mount and network namespaces of
 * the machine, and hosts that share one (the tests') share uids.  After sealing the filters allow
 * no new process at all.
 */
#define PHASES_NPROC  96

/*
 * Phase early.  Descriptors 0 to 2 lead to /dev/null afterwards, KEEP_FD (> 2) stays, all others
 * are closed.  The umask is 077, the working folder /, every signal has its default action and none
 * is blocked, except that SIGPIPE, SIGHUP and SIGXFSZ are ignored.  Threads share one heap.
 */
int phases_early(int keep_fd, struct fault *f) MUST_CHECK;

/*
 * Phase enter: become UID (also the gid, no supplementary groups, and never a system's or person's
 * uid: >= 65536) without any capability, with locked securebits and no_new_privs; then look at the
 * result.  On failure the process is in between and must end.
 */
int phases_enter(uid_t uid, struct fault *f) MUST_CHECK;

/*
 * Ask the kernel to SIGKILL this process when PARENT, which must be its parent, dies.  After
 * phases_enter(): a change of uid forgets it.  ERR_STATE if PARENT is gone already.
 */
int phases_follow_parent(pid_t parent, struct fault *f) MUST_CHECK;

/* Proof that phase seal was passed.  Cannot be made elsewhere. */
struct sealed;

/* What a process may still do once sealed; the tables are in sandbox/filter_*.c. */
struct filter;
extern const struct filter filter_worker, filter_broker, filter_swtpm;

/*
 * Phase seal: load FILTER into every thread (KILL_PROCESS for what it does not list) and hand out
 * the token.  Refused with ERR_STATE unless phases_enter() was passed.
 */
int phases_seal(const struct filter *filter, const struct sealed **out, struct fault *f) MUST_CHECK;

#endif
