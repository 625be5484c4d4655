/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Children that convert their memory (sandbox/secret.h), and what they can do afterwards.
 *
 * Used by: test_secret.c, test_secret_limits.c, test_objects.c.
 */
#ifndef SHIELDVM_TESTS_UNIT_SANDBOX_SECRET_CHILD_H
#define SHIELDVM_TESTS_UNIT_SANDBOX_SECRET_CHILD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandbox/phases.h"

#define THREAD_STACK (128 * 1024)

/* What the conversion has said, in the child; whether every symbol is bound, as in a worker. */
extern struct protections held;
extern int bound;

/* A child with pipes to and from us, and its memory. */
struct child {
	pid_t pid;
	int in, out, mem;
};
struct child child_start(void (*fn)(void));
void child_hears(struct child *c, void *p, size_t n);
int child_end(struct child *c); /* its wait status */
void assert_exits(int status, int code);

/* The child's side of the pipes. */
void tell(const void *p, size_t n);
void wait_for_parent(void);

/* Run FN converted: in this child; in a new one, where it must return 0. */
void converted(int (*fn)(void));
void assert_converted(int (*fn)(void));

/* Threads, libcrypto, libtpms, the C library: 0, or which of them does not work; 1: the memory is
 * not secret. */
int everything_works(void);

#define TPM_RC_FAILURE 0x101U
#define STARTUP	       "80010000000c000001440000"
#define GET_RANDOM     "80010000000c0000017b0010"
/* CreatePrimary of a P-256 signing key under the owner hierarchy. */
#define CREATE_ECC                                                                                 \
	"80020000003f0000013140000001000000094000000900000000000004000000000016"                   \
	"0023000b00040072000000100018000b0003001000000000"                                         \
	"00000000"
int tpm_start(void);
uint32_t tpm(const char *hex); /* a command in hex; the response code of its reply */

/* malloc(3), which a compiler may leave out where the memory is not used. */
extern void *(*volatile take)(size_t);

/* main()'s beginning: 0, or the exit code. */
int secret_child_init(void);

#endif
