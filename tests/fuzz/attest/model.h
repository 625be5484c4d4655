/* SPDX-License-Identifier: BSD-3-Clause */
/* What the targets of texts agree on: how a refusal looks, and base64url without our decoder. */
#ifndef SHIELDVM_TESTS_FUZZ_ATTEST_MODEL_H
#define SHIELDVM_TESTS_FUZZ_ATTEST_MODEL_H

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "crypto/strict.h"

static inline void must(int holds)
{
	if (!holds)
		abort();
}

/* What every refusal leaves: its number, and a sentence that a terminal may be shown. */
static inline void refused(int rc, const struct fault *f)
{
	must(rc < 0 && f->rc == rc && f->text[0]);
	for (const char *c = f->text; *c; c++)
		must((unsigned char)*c >= ' ' && *c != 0x7f);
}

/* One object of the strict reader, whose own target is not here; NULL if it is none. */
static inline json_t *strictly(const uint8_t *data, size_t n)
{
	json_t *o = NULL;
	return strict_json((const char *)data, n, "it", &o, NULL) < 0 ? NULL : o;
}

static inline int b64_value(char c)
{
	static const char ALPHABET[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const char *at = c ? strchr(ALPHABET, c) : NULL;
	return at ? (int)(at - ALPHABET) : -1;
}

/* The member NAME of O is base64url of LEAST to MOST bytes, in its one spelling. */
static inline int is_b64(const json_t *o, const char *name, size_t least, size_t most)
{
	const char *text = json_string_value(json_object_get(o, name));
	size_t n = text ? strlen(text) : 0, bytes = n / 4 * 3 + (n % 4 ? n % 4 - 1 : 0);
	if (!text || n % 4 == 1 || bytes < least || bytes > most)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (b64_value(text[i]) < 0)
			return 0;
	return n % 4 == 0 || (b64_value(text[n - 1]) & (n % 4 == 2 ? 15 : 3)) == 0;
}

#endif
