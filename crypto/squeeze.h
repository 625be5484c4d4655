/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Squeezing: the plaintext of a compressed stream (docs/FORMAT.md, "Compression"), made and undone
 * piece by piece.
 *
 * It is one zstd frame (RFC 8878) with the one header SQUEEZE_HEADER: a window of SQUEEZE_WINDOW
 * bytes, neither dictionary nor content size nor checksum (the records are authenticated).  Level
 * 1: a larger window or a higher level gains a percent on memory images and costs half the speed.
 *
 * Theory of operation.  All that libzstd needs is in one piece of memory, allocated once: its
 * static contexts take the memory that they are given and never call malloc(3), whatever a frame
 * says.  (They are in libzstd's part for static linking, although every libzstd.so has had them
 * since 1.3.  Contexts of the stable part could be neither bounded by the caller nor wiped, and
 * would allocate in a sealed thread.)  It is wiped after every stream, and hardly touched before
 * the first: until then next to none of it is there.
 *
 * May be used by: crypto/flow.c, after the bytes to undo have authenticated; the only user of
 * <zstd.h>.  squeeze_new() before sealing (madvise(2)), the rest without system calls.  One thread.
 */
#ifndef SHIELDVM_CRYPTO_SQUEEZE_H
#define SHIELDVM_CRYPTO_SQUEEZE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SQUEEZE_WINDOW_LOG 18
#define SQUEEZE_WINDOW	   (1 << SQUEEZE_WINDOW_LOG)
#define SQUEEZE_BYTES_MAX  (2 * 1024 * 1024) /* a libzstd that needs more is not used */

struct squeeze;

/* Both ways are tried once.  -errno, ERR_LIMIT, ERR_CRYPTO. */
int squeeze_new(struct squeeze **out) MUST_CHECK;
void squeeze_free(struct squeeze *s); /* wipes; NULL is fine */
static inline void cleanup_squeeze(struct squeeze **s)
{
	squeeze_free(*s);
}
#define CLEANUP_SQUEEZE CLEANUP(cleanup_squeeze)

/* How much memory that is. */
size_t squeeze_bytes(const struct squeeze *s);

/* What a step takes and gives; USED and MADE are its results. */
struct squeeze_step {
	const uint8_t *src;
	size_t n, used;
	uint8_t *dst;
	size_t room, made; /* ROOM is not 0 */
};

/* Begin a frame, to be made or undone; what was not finished is forgotten.  ERR_CRYPTO. */
int squeeze_pack_begin(struct squeeze *s) MUST_CHECK;
int squeeze_unpack_begin(struct squeeze *s) MUST_CHECK;

/*
 * Take in some of SRC; give of the frame what is ready.  END: there is no more behind SRC.  1: the
 * frame has ended; 0: it has not, as ROOM is full or (without END) more is to come.  ERR_CRYPTO.
 */
int squeeze_pack(struct squeeze *s, struct squeeze_step *step, int end) MUST_CHECK;

/*
 * Take in some of SRC, of the frame; give what was in it.  With ROOM filled there may be more
 * without more of SRC.  1: the frame has ended, and all of it was given; 0: it has not.
 * ERR_FORMAT: not such a frame; ERR_TRAILING: something is behind it.  DST is then unspecified.
 */
int squeeze_unpack(struct squeeze *s, struct squeeze_step *step, struct fault *f) MUST_CHECK;

/* Forget the frame, and wipe. */
void squeeze_end(struct squeeze *s);

#endif
