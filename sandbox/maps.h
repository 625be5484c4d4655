/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What this process has mapped, as /proc/self/maps tells it.
 *
 * May be used by: sandbox/secret.c; tests.  open(2), read(2), close(2); no memory is allocated and
 * nothing but the result written.
 */
#ifndef SHIELDVM_SANDBOX_MAPS_H
#define SHIELDVM_SANDBOX_MAPS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define MAPS_MAX 192 /* a worker has about 60 */

enum map_kind {
	MAPPED_PRIVATE, /* program, libraries, heap, anything private */
	MAPPED_SHARED,
	MAPPED_STACK, /* the first thread's */
	MAPPED_VDSO,
	MAPPED_TABLES, /* given to maps_mark() */
	MAPPED_KERNEL  /* the vDSO's data, the vsyscall page: nobody's to write or unmap */
};

struct map {
	uint8_t *start, *end;
	int prot; /* PROT_* */
	enum map_kind kind;
};

struct maps {
	size_t n;
	struct map map[MAPS_MAX];
};

static inline size_t map_bytes(const struct map *m)
{
	return (size_t)(m->end - m->start);
}

/* -errno, ERR_LIMIT (more than MAPS_MAX), ERR_FORMAT. */
int maps_read(struct maps *out) MUST_CHECK;

/*
 * Make a map of kind MAPPED_TABLES of [START, END).  ERR_STATE if that is not within one map of
 * kind MAPPED_PRIVATE that can only be read; ERR_LIMIT.
 */
int maps_mark(struct maps *maps, uint8_t *start, uint8_t *end) MUST_CHECK;

/* One line, without its newline, LEN bytes. ERR_FORMAT. */
int maps_parse(const char *line, size_t len, struct map *out) MUST_CHECK;

#endif
