/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Secret memory: everything that a process can write moves to memory that the kernel itself cannot
 * read for anybody else.
 *
 * Theory of operation.  secret_run() replaces, at the same addresses,
 *
 *  what is writable  heap, static data of the program and every library, thread-local storage: by
 *		      memfd_secret(2) mappings whose descriptor is closed.  Their pages are not in
 *		      the kernel's own page tables: /proc/PID/mem, process_vm_readv(2), ptrace(2),
 *		      core dumps and swap do not get them, whoever asks.
 *  what is not	      code, constants, RELRO, the vDSO: by shared mappings of one sealed memfd.  A
 *		      private mapping could be written by root through /proc/PID/mem, and code put
 *		      there could send out all that is secret; the files of libraries could be
 *		      written, and take uprobes.
 *		      All of it is locked: what is swapped out could be changed on the disk.
 *		      What only linking and unwinding would read (sandbox/objects.h) is unmapped.
 *  the stack	      by a secret one with pages on both ends that cannot be touched.  The old one,
 *		      with arguments, environment and the random bytes that canaries come from, is
 *		      unmapped: getenv(3) finds nothing from then on, getauxval(3) must not be
 *		      called.
 *
 * The heap is glibc's own, grown to its final size before that: SECRET_HEAP_BYTES are mapped, and
 * what is touched costs memory.  From then on the process gets no other memory: RLIMIT_DATA and
 * RLIMIT_AS refuse it, so that malloc(3) fails in order where the heap is used up.  (After sealing
 * the filter says the same.)  Threads take their stacks from the heap (base/thread.h).
 *
 * getrandom(2) and getentropy(3) of the whole program are system calls: newer C libraries keep the
 * state of a generator in ordinary memory.
 *
 * What does not work in secret memory (EFAULT): futexes shared between processes (pthread_join(3)),
 * vmsplice(2), O_DIRECT.  A fork would share all of it with the child: do not.
 *
 * Where the kernel has no secret memory (before 5.14, switched off, a container's filter, too low
 * an RLIMIT_MEMLOCK without CAP_IPC_LOCK), the same memory is locked and kept out of core dumps,
 * which keeps it from disks and not from root.  A build with sanitizers converts nothing.
 *
 * May be used by: worker/main.c, once, as root, with one thread, before there is any secret.
 */
#ifndef SHIELDVM_SANDBOX_SECRET_H
#define SHIELDVM_SANDBOX_SECRET_H

#include "base/protections.h"

/* Some 4.5 MiB of it are ever touched in a key generation, a save and a restore; all records in
 * flight and all stacks to their ends would take 8 (tests/unit/worker/test_sealed.c).  A migration
 * takes 784 KiB more for each of up to 8 disks and 17 channels for memory. */
#define SECRET_HEAP_BYTES  (32 * 1024 * 1024)
#define SECRET_STACK_BYTES (512 * 1024)

/*
 * Convert everything, then end the process with _exit(FN(ARG)), FN on the new stack.  BOUND: every
 * symbol is bound (the process was started with LD_BIND_NOW), so that the tables can go.  What
 * holds is set in HELD: PROTECTION_SECRET_MEMORY or PROTECTION_LOCKED_MEMORY,
 * PROTECTION_SEALED_TEXT. HELD, ARG and what it points to must not be on the old stack.
 */
_Noreturn void secret_run(int (*fn)(void *arg), void *arg, int bound, struct protections *held);

/* Why one of them does not hold, in a sentence; empty if all do. */
const char *secret_missing(void);

#endif
