/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes from the front of a piece of memory, none of them twice and none from behind its end: what
 * the parsers of this folder read with.  Integers are little-endian, as TCG's event logs, UEFI and
 * the kernel write them on the machines there are.
 *
 * May be used by: attest/.  No allocation, no system call.
 */
#ifndef SHIELDVM_ATTEST_READER_H
#define SHIELDVM_ATTEST_READER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct reader {
	const uint8_t *at; /* belongs to the caller */
	size_t left;	   /* bytes from AT on */
};

/* The next N bytes, or NULL with R unchanged if there are fewer. */
static inline const uint8_t *MUST_CHECK reader_bytes(struct reader *r, size_t n)
{
	const uint8_t *p = r->at;
	if (n > r->left)
		return NULL;
	r->at += n;
	r->left -= n;
	return p;
}

/* The next N (1 to 8) bytes as a number in *OUT.  0, or ERR_TRUNCATED with R and OUT unchanged. */
static inline int MUST_CHECK reader_number(struct reader *r, size_t n, uint64_t *out)
{
	const uint8_t *p = reader_bytes(r, n);
	uint64_t value = 0;
	if (!p)
		return ERR_TRUNCATED;
	for (size_t i = n; i-- > 0;)
		value = value << 8 | p[i];
	*out = value;
	return 0;
}

/* As reader_number(), of two and four bytes. */
static inline int MUST_CHECK reader_u16(struct reader *r, uint16_t *out)
{
	uint64_t value;
	if (reader_number(r, sizeof(*out), &value) < 0)
		return ERR_TRUNCATED;
	*out = (uint16_t)value;
	return 0;
}

static inline int MUST_CHECK reader_u32(struct reader *r, uint32_t *out)
{
	uint64_t value;
	if (reader_number(r, sizeof(*out), &value) < 0)
		return ERR_TRUNCATED;
	*out = (uint32_t)value;
	return 0;
}

#endif
