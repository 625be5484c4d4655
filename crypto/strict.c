/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/strict.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <string.h>

#include <jose/b64.h>

#include "crypto/ossl.h"

static void wiping_free(void *p)
{
	if (!p)
		return;
	wipe(p, malloc_usable_size(p));
	free(p);
}

static void set_allocator(void)
{
	json_set_alloc_funcs(malloc, wiping_free);
}

void strict_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, set_allocator);
}

/*
 * What jansson would make of TEXT, before it starts: it recurses per level, up to 2048 of them, and
 * allocates some forty times an element's two bytes, so that a text within its maximum could take
 * hundreds of megabytes.
 */
static int check_shape(const char *text, size_t n, const char *what, struct fault *f)
{
	size_t depth = 0, items = 0;
	int in_string = 0;
	for (size_t i = 0; i < n; i++) {
		if (in_string) {
			if (text[i] == '\\')
				i++;
			else if (text[i] == '"')
				in_string = 0;
		} else if (text[i] == '"') {
			in_string = 1;
		} else if (text[i] == '{' || text[i] == '[') {
			if (++depth > STRICT_DEPTH_MAX)
				return fault_set(f, ERR_FORMAT,
						 "%s is nested deeper than %d levels", what,
						 STRICT_DEPTH_MAX);
		} else if ((text[i] == '}' || text[i] == ']') && depth > 0) {
			depth--;
		} else if (text[i] == ',' && ++items >= STRICT_ITEMS_MAX) {
			return fault_set(f, ERR_LIMIT, "%s has more than %d members and elements",
					 what, STRICT_ITEMS_MAX);
		}
	}
	return 0;
}

int strict_json(const char *text, size_t n, const char *what, json_t **out, struct fault *f)
{
	strict_init();
	int rc = check_shape(text, n, what, f);
	if (rc < 0)
		return rc;
	json_error_t e;
	json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
	if (!j && json_error_code(&e) == json_error_out_of_memory)
		return fault_set(f, -ENOMEM, "%s: %s", what, err_text(-ENOMEM));
	if (!j && json_error_code(&e) == json_error_duplicate_key)
		return fault_set(f, ERR_FORMAT, "%s has a member twice (line %d, column %d)", what,
				 e.line, e.column);
	if (!j)
		return fault_set(f, ERR_FORMAT, "%s is not valid JSON (line %d, column %d)", what,
				 e.line, e.column);
	if (!json_is_object(j)) {
		json_decref(j);
		return fault_set(f, ERR_FORMAT, "%s is not a JSON object", what);
	}
	*out = j;
	return 0;
}

int strict_members(const json_t *object, const char *what, const char *const *names, size_t n,
		   struct fault *f)
{
	if (!json_is_object(object))
		return fault_set(f, ERR_FORMAT, "%s is not a JSON object", what);
	for (size_t i = 0; i < n; i++) {
		if (!json_object_get(object, names[i]))
			return fault_set(f, ERR_FORMAT, "%s has no \"%s\"", what, names[i]);
	}
	if (json_object_size(object) != n)
		return fault_set(f, ERR_FORMAT, "%s has %zu members more than are known", what,
				 json_object_size(object) - n);
	return 0;
}

const char *strict_text(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

/* What C of base64url is in base64 (RFC 4648, sections 5 and 4), or 0 if it is in neither. */
static char standard(char c)
{
	if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
		return c;
	return c == '-' ? '+' : c == '_' ? '/' : '\0';
}

/* The decoded size of N characters, or SIZE_MAX. */
static size_t decoded_bytes(size_t n)
{
	return n % 4 == 1 ? SIZE_MAX : n / 4 * 3 + (n % 4 ? n % 4 - 1 : 0);
}

#define GROUPS 256 /* of four characters, decoded in one go */

/* Decode N characters, at most GROUPS times four, to *BYTES, for which PLAIN has room. */
static int decode_some(const char *text, size_t n, uint8_t plain[static 3 * GROUPS], size_t *bytes)
{
	uint8_t chars[4 * GROUPS], again[5];
	size_t whole = (n + 3) / 4, used = 0;
	for (; used < n; used++) {
		chars[used] = (uint8_t)standard(text[used]);
		if (!chars[used])
			return ERR_FORMAT;
	}
	while (used < 4 * whole)
		chars[used++] = '=';
	int ok = EVP_DecodeBlock(plain, chars, (int)used) == (int)(3 * whole);
	*bytes = decoded_bytes(n);
	/* One encoding: the bits of the last character that are in no byte must be zero. */
	if (ok && n % 4) {
		size_t last = n / 4;
		EVP_EncodeBlock(again, plain + 3 * last, (int)(*bytes - 3 * last));
		ok = memcmp(again, chars + 4 * last, 4) == 0;
	}
	wipe(chars, sizeof(chars));
	wipe(again, sizeof(again));
	return ok ? 0 : ERR_FORMAT;
}

/* By libcrypto: libjose's skips or refuses other characters as its version goes, and looks each one
 * up from the alphabet's beginning, which took most of what a guardian spends on a host's logs. */
int strict_b64(const char *text, size_t n, uint8_t *out, size_t out_bytes)
{
	uint8_t plain[3 * GROUPS];
	int rc = decoded_bytes(n) == out_bytes ? 0 : ERR_FORMAT;
	while (n > 0 && rc == 0) {
		size_t some = n < sizeof(plain) / 3 * 4 ? n : sizeof(plain) / 3 * 4, bytes = 0;
		rc = decode_some(text, some, plain, &bytes);
		if (rc < 0)
			break;
		memcpy(out, plain, bytes);
		out += bytes;
		text += some;
		n -= some;
	}
	wipe(plain, sizeof(plain));
	return rc;
}

int strict_b64_buf(const char *text, size_t n, struct buf *out)
{
	size_t bytes = decoded_bytes(n);
	if (bytes == SIZE_MAX)
		return ERR_FORMAT;
	/* Before its size counts. */
	for (size_t i = 0; i < n; i++)
		if (!standard(text[i]))
			return ERR_FORMAT;
	int rc = buf_reserve(out, bytes);
	if (rc < 0)
		return rc;
	rc = strict_b64(text, n, bytes ? out->data + out->len : NULL, bytes);
	if (rc < 0)
		return rc;
	out->len += bytes;
	return 0;
}

int strict_b64_put(struct buf *out, const void *src, size_t n)
{
	size_t chars = n == 0 ? 0 : jose_b64_enc_buf(NULL, n, NULL, 0);
	int rc = chars == SIZE_MAX ? ERR_LIMIT : buf_reserve(out, chars);
	if (rc < 0 || n == 0)
		return rc;
	if (jose_b64_enc_buf(src, n, out->data + out->len, chars) != chars)
		return ERR_FORMAT;
	out->len += chars;
	return 0;
}
