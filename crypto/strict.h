/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading JSON and base64url with one valid spelling: over jansson and libjose, which take more.
 * May be used by: crypto/, attest/, guardian/.
 *
 * No sentence from here quotes the input: it may be a private key.  The first use makes jansson
 * wipe whatever it frees, for the whole process, since parsed private keys live in its memory.
 */
#ifndef SHIELDVM_CRYPTO_STRICT_H
#define SHIELDVM_CRYPTO_STRICT_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

#define STRICT_DEPTH_MAX 8 /* nested objects and arrays */

static inline void cleanup_json(json_t **j)
{
	json_decref(*j);
}
#define CLEANUP_JSON CLEANUP(cleanup_json)

/* Call before anything else of jansson or libjose. */
void strict_init(void);

/* Parse N bytes of TEXT: one JSON object, no member twice, nothing behind it.  WHAT names it in the
 * sentence.  ERR_FORMAT; *OUT is a new reference. */
int strict_json(const char *text, size_t n, const char *what, json_t **out,
		struct fault *f) MUST_CHECK;

/* OBJECT is a JSON object with exactly the N members NAMES.  ERR_FORMAT, naming what is missing or
 * unknown. */
int strict_members(const json_t *object, const char *what, const char *const *names, size_t n,
		   struct fault *f) MUST_CHECK;

/* The string member NAME of OBJECT, borrowed; NULL if it is absent or not a string. */
const char *strict_text(const json_t *object, const char *name);

/* Decode N characters of base64url without padding, whose unused bits are zero, into exactly
 * OUT_BYTES.  ERR_FORMAT; OUT is then unspecified. */
int strict_b64(const char *text, size_t n, uint8_t *out, size_t out_bytes) MUST_CHECK;

/* The same, appended to OUT, however long.  ERR_FORMAT, or errors of buf_reserve(). */
int strict_b64_buf(const char *text, size_t n, struct buf *out) MUST_CHECK;

/* Append N bytes at SRC as base64url.  Errors of buf_reserve(). */
int strict_b64_put(struct buf *out, const void *src, size_t n) MUST_CHECK;

#endif
