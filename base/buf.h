/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A growing byte buffer with a hard maximum, wiped whenever its memory is given back.
 *
 * Whatever a peer or a file can make grow goes through one of these: the maximum is named where the
 * buffer is made.  May be used by: every layer, in every phase (realloc only).
 */
#ifndef SHIELDVM_BASE_BUF_H
#define SHIELDVM_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/wipe.h"

struct buf {
	uint8_t *data; /* owned; NULL while empty */
	size_t len;    /* bytes in use */
	size_t cap;    /* bytes allocated */
	size_t max;    /* bytes it may ever hold */
};

#define BUF_INIT(max_bytes) ((struct buf){ .max = (max_bytes) })

/* Wipe and free the contents; B can be used again.  B may be NULL. */
void buf_done(struct buf *b);
#define CLEANUP_BUF CLEANUP(buf_done)

/* Make room for N more bytes.  -ENOMEM, or ERR_LIMIT if len + N > max; B is then unchanged. */
int buf_reserve(struct buf *b, size_t n) MUST_CHECK;

/* Append N bytes of SRC, which may not point into B.  Errors as buf_reserve(). */
int buf_add(struct buf *b, const void *src, size_t n) MUST_CHECK;

/* Append formatted text without its NUL.  Errors as buf_reserve(). */
int buf_addf(struct buf *b, const char *fmt, ...) MUST_CHECK PRINTF_LIKE(2, 3);

/* Drop the first N (<= len) bytes, moving the rest down; the freed tail is wiped. */
void buf_consume(struct buf *b, size_t n);

/* Forget the contents (wiped) but keep the memory. */
void buf_clear(struct buf *b);

/* The contents as a C string: a NUL is put behind them, not counted in len.  NULL on -ENOMEM. */
char *buf_cstr(struct buf *b);

#endif
