/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Wiping of memory that held a secret, and the cleanup attributes that do it when a scope is left.
 *
 * May be used by: every layer, in every phase.  No system call.
 */
#ifndef SHIELDVM_BASE_WIPE_H
#define SHIELDVM_BASE_WIPE_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Overwrite SIZE_BYTES at P with zeros in a way the compiler does not remove.  P may be NULL if the
 * size is 0. */
static inline void wipe(void *p, size_t size_bytes)
{
	if (size_bytes)
		explicit_bzero(p, size_bytes);
}

/* Wipe and free P, of SIZE_BYTES.  P may be NULL. */
static inline void wipe_free(void *p, size_t size_bytes)
{
	if (p)
		wipe(p, size_bytes);
	free(p);
}

static inline void cleanup_free_fn(void *pp)
{
	free(*(void **)pp);
}

/* On a pointer variable: free() when the scope is left. */
#define CLEANUP_FREE __attribute__((cleanup(cleanup_free_fn)))

/* On a struct variable: call FN(&variable) when the scope is left. */
#define CLEANUP(fn)  __attribute__((cleanup(fn)))

#endif
