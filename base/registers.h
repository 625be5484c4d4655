/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Vector registers without secrets in them.
 *
 * What a function computed stays in vector registers until something else uses them: AES round
 * keys, pieces of what memcpy(3) moved.  While the thread is blocked they lie in the kernel's copy
 * of its registers, which PTRACE_GETREGSET and core dumps show, secret memory or not.
 *
 * May be used by: every layer, in every phase.  No system call.
 */
#ifndef SHIELDVM_BASE_REGISTERS_H
#define SHIELDVM_BASE_REGISTERS_H

/*
 * Put x87, SSE, AVX and AVX-512 registers into their initial state, as if never used; the control
 * words get the values that every thread starts with.  Call it before whatever may wait (poll(2),
 * recv(2), fdatasync(2), pthread_cond_wait(3), a lock that is held for long) once there was
 * something secret to compute.  Some 50 ns.  A processor without XSAVE keeps only XMM clear.
 */
void registers_clear(void);

#endif
