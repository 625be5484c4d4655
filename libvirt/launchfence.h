/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the launcher takes from the process that becomes QEMU, besides libvirt's -sandbox: ways to
 * other processes of the same user, and core dumps.  libvirt runs all QEMUs of a host as one user.
 *
 * Used by: the launcher, as its last step; libc only.
 */
#ifndef SHIELDVM_LIBVIRT_LAUNCHFENCE_H
#define SHIELDVM_LIBVIRT_LAUNCHFENCE_H

#include "base/err.h"

/*
 * For this process and what it executes, for good:
 *
 * - no_new_privs.  QEMU's sandbox sets it too, and denies starting programs, so that no set-user-id
 *   helper is lost; policy/qemu_args.c insists on that sandbox.
 *
 * - no core dump, to a file or a program: RLIMIT_CORE is 1, which the kernel takes for a file too
 *   small to begin with and, by a rule of its own, for "not into a pipe" (core(5) does not tell;
 *   fs/coredump.c does).  Where a limit of 0 came from above, that stays: programs get the dump.
 *
 * - a Landlock domain of its own (Linux 5.13), in which nothing that QEMU does is handled: a
 * process in a domain can trace, and so read, write and take descriptors from, nobody outside of
 * it.  From Linux 6.12 on it can signal nobody outside either, and reach no abstract socket.
 *
 * Not dumpable it cannot be made here: execve(2) sets that anew.  -ENOSYS, -EOPNOTSUPP: there is no
 * Landlock, all else is done; any other error is of what every kernel can do.
 */
int launchfence_raise(struct fault *f) MUST_CHECK;

#endif
