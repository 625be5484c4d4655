/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/squeeze.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#include "base/wipe.h"

#define LEVEL	     1
#define PAGE	     ((size_t)4096)
#define HEADER_BYTES 6

/* Magic number; frame header descriptor: none of the optional fields; window descriptor. */
static const uint8_t HEADER[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, (SQUEEZE_WINDOW_LOG - 10) << 3 };
_Static_assert(sizeof(HEADER) == HEADER_BYTES, "the whole header");

struct squeeze {
	uint8_t *memory;
	size_t bytes;
	int in_use;
	size_t header; /* how much of it was seen */
	int ended;     /* unpacking: the frame has */
	ZSTD_CCtx *pack;
	ZSTD_DCtx *unpack;
};

static ZSTD_compressionParameters parameters(void)
{
	ZSTD_compressionParameters p = ZSTD_getCParams(LEVEL, 0, 0);
	p.windowLog = SQUEEZE_WINDOW_LOG;
	return p;
}

size_t squeeze_bytes(const struct squeeze *s)
{
	return s->bytes;
}

void squeeze_end(struct squeeze *s)
{
	s->pack = NULL;
	s->unpack = NULL;
	if (!s->in_use)
		return;
	s->in_use = 0;
	wipe(s->memory, s->bytes);
}

void squeeze_free(struct squeeze *s)
{
	if (!s)
		return;
	squeeze_end(s);
	free(s->memory);
	free(s);
}

int squeeze_pack_begin(struct squeeze *s)
{
	ZSTD_inBuffer none = { 0 };
	ZSTD_outBuffer nowhere = { 0 };
	squeeze_end(s);
	s->in_use = 1;
	s->pack = ZSTD_initStaticCCtx(s->memory, s->bytes);
	if (!s->pack ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(s->pack, ZSTD_c_windowLog, SQUEEZE_WINDOW_LOG)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(s->pack, ZSTD_c_compressionLevel, LEVEL)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(s->pack, ZSTD_c_contentSizeFlag, 0)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(s->pack, ZSTD_c_checksumFlag, 0)) ||
	    /* Were the first step the last as well, the window would be that of its size. */
	    ZSTD_isError(ZSTD_compressStream2(s->pack, &nowhere, &none, ZSTD_e_continue)))
		return ERR_CRYPTO;
	return 0;
}

int squeeze_unpack_begin(struct squeeze *s)
{
	squeeze_end(s);
	s->in_use = 1;
	s->ended = 0;
	s->header = 0;
	s->unpack = ZSTD_initStaticDCtx(s->memory, s->bytes);
	if (!s->unpack || ZSTD_isError(ZSTD_DCtx_setParameter(s->unpack, ZSTD_d_windowLogMax,
							      SQUEEZE_WINDOW_LOG)))
		return ERR_CRYPTO;
	return 0;
}

int squeeze_pack(struct squeeze *s, struct squeeze_step *step, int end)
{
	ZSTD_inBuffer in = { .src = step->src, .size = step->n };
	ZSTD_outBuffer out = { .dst = step->dst, .size = step->room };
	size_t left = ZSTD_compressStream2(s->pack, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
	if (ZSTD_isError(left))
		return ERR_CRYPTO;
	step->used = in.pos;
	step->made = out.pos;
	return end && left == 0;
}

int squeeze_unpack(struct squeeze *s, struct squeeze_step *step, struct fault *f)
{
	step->used = step->made = 0;
	if (s->ended && step->n)
		return fault_set(f, ERR_TRAILING, "there are bytes behind the compressed frame");
	if (s->ended)
		return 1;
	/* Other frames, skippable ones among them, are none: there is one encoding. */
	for (size_t i = 0; i < step->n && s->header < HEADER_BYTES; i++) {
		if (step->src[i] != HEADER[s->header++])
			return fault_set(f, ERR_FORMAT, "it is not compressed as its header says");
	}
	ZSTD_inBuffer in = { .src = step->src, .size = step->n };
	ZSTD_outBuffer out = { .dst = step->dst, .size = step->room };
	size_t left = ZSTD_decompressStream(s->unpack, &out, &in);
	if (ZSTD_isError(left))
		return fault_set(f, ERR_FORMAT, "the compressed frame is malformed: %s",
				 ZSTD_getErrorName(left));
	step->used = in.pos;
	step->made = out.pos;
	s->ended = left == 0;
	if (s->ended && step->used < step->n)
		return fault_set(f, ERR_TRAILING, "there are bytes behind the compressed frame");
	return s->ended;
}

/* A few bytes through both ways.  They are no secret: wiping would touch all of the memory. */
static int try_out(struct squeeze *s)
{
	static const uint8_t TEXT[] = "squeeze";
	uint8_t frame[64], back[sizeof(TEXT)];
	struct squeeze_step in = {
		.src = TEXT, .n = sizeof(TEXT), .dst = frame, .room = sizeof(frame)
	};
	int rc = squeeze_pack_begin(s);
	if (rc >= 0)
		rc = squeeze_pack(s, &in, 1);
	s->in_use = 0;
	if (rc != 1 || in.used != sizeof(TEXT))
		return ERR_CRYPTO;
	struct squeeze_step out = { .src = frame, .n = in.made, .dst = back, .room = sizeof(back) };
	rc = squeeze_unpack_begin(s);
	if (rc >= 0)
		rc = squeeze_unpack(s, &out, NULL);
	s->in_use = 0;
	squeeze_end(s);
	return rc == 1 && out.made == sizeof(TEXT) && memcmp(back, TEXT, sizeof(TEXT)) == 0
		       ? 0
		       : ERR_CRYPTO;
}

int squeeze_new(struct squeeze **out)
{
	size_t pack = ZSTD_estimateCStreamSize_usingCParams(parameters());
	size_t unpack = ZSTD_estimateDStreamSize(SQUEEZE_WINDOW);
	if (ZSTD_isError(pack) || ZSTD_isError(unpack))
		return ERR_CRYPTO;
	if (pack > SQUEEZE_BYTES_MAX || unpack > SQUEEZE_BYTES_MAX)
		return ERR_LIMIT;
	struct squeeze *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->bytes = ((pack > unpack ? pack : unpack) + PAGE - 1) / PAGE * PAGE;
	s->memory = aligned_alloc(PAGE, s->bytes);
	int rc =
		!s->memory || madvise(s->memory, s->bytes, MADV_DONTDUMP) < 0 ? -errno : try_out(s);
	if (rc < 0) {
		squeeze_free(s);
		return rc;
	}
	*out = s;
	return 0;
}
