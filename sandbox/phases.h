/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The phases in which a process gives up what it does not need, in the order in which it passes
 * through them.  The caller's own phases (open, load) are worker/main.c's.
 *
 * - early: first thing in main(), as root.  Closes what was inherited, empties the environment,
 *   resets signals, no core, not dumpable, limits.
 *   Must not read anything that a person could have written.
 *
 * - open: as root.  Opens descriptors by fixed paths.
 *   Must not parse what is in them.
 *
 * - begin, kernel, files (sandbox/isolate.h) and lock (sandbox/guard.h, before files): as root.
 *   Namespaces, Landlock, PR_SET_MDWE, the lock against debuggers.  Each part may be missing on a
 *   host, and is then said to be.
 *   Must not have threads or a secret, nor need a file afterwards.
 *
 * - secret (sandbox/secret.h, before files): the worker only.  All memory that can be written
 *   becomes secret memory.
 *   Must not have a thread or a secret before it, nor fork after it.
 *
 * - enter: gives up root for good, uid, gid, groups, every capability set.  Looks at all of it, and
 *   at what the phases before it say that they did.
 *   Must not go on half-way.
 *
 * - load: as the VM's own uid.  Parses, unwraps, allocates, makes all threads.
 *   Must not leave anything to be opened or made later.
 *
 * - seal: the system call allow-list, in every thread.  Yields the token event loops ask for.
 *   Must not be followed by anything that sets up: next comes the first byte of a guest.
 *
 * A guardian's processes pass through begin, kernel, files, enter (or stay) and seal.
 *
 * May be used by: worker/ and guardian/ programs, once each and in this order; tests.
 */
#ifndef SHIELDVM_SANDBOX_PHASES_H
#define SHIELDVM_SANDBOX_PHASES_H

#include <sys/types.h>

#include "base/err.h"

struct isolation; /* sandbox/isolate.h */

#define PHASES_NOFILE 192 /* descriptors a worker or broker may have; poll(2) takes as many */

/*
 * Threads and processes of a VM's uid.  One VM has up to nine (broker, guard, worker, and its
 * threads for data, state and records), but the kernel counts a uid over all mount and network
 * namespaces of the machine, and hosts that share one (the tests') share uids.  After sealing the
 * filters allow no new process at all.
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
 * result, and at what ISOLATION says (NULL: nothing).  On failure the process is in between and
 * must end.
 */
int phases_enter(uid_t uid, const struct isolation *isolation, struct fault *f) MUST_CHECK;

/*
 * Phase enter of a process that keeps its uid, because it has files of its own: without any
 * capability, with locked securebits and no_new_privs; then look at the result.  On failure the
 * process is in between and must end.
 */
int phases_stay(struct fault *f) MUST_CHECK;

/*
 * Ask the kernel to SIGKILL this process when PARENT, which must be its parent, dies.  After
 * phases_enter(): a change of uid forgets it.  ERR_STATE if PARENT is gone already; across PID
 * namespaces that cannot be told, and the caller looks for it in another way (the worker: the
 * broker's end of its link is closed).
 */
int phases_follow_parent(pid_t parent, struct fault *f) MUST_CHECK;

/* Proof that phase seal was passed.  Cannot be made elsewhere. */
struct sealed;

/* What a process may still do once sealed; the tables are in sandbox/filter_*.c. */
struct filter;
extern const struct filter filter_worker, filter_broker, filter_guard, filter_swtpm;
extern const struct filter filter_front, filter_keeper, filter_keeper_postgres, filter_verifier;
extern const struct filter filter_memory; /* what those share; not to be loaded alone */
extern const struct filter filter_calls;  /* what worker and swtpm share; not to be loaded alone */

/*
 * Phase seal: load FILTER into every thread (KILL_PROCESS for what it does not list) and hand out
 * the token.  Refused with ERR_STATE unless phases_enter() was passed.
 */
int phases_seal(const struct filter *filter, const struct sealed **out, struct fault *f) MUST_CHECK;

#endif
