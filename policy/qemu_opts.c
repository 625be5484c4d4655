/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/qemu_opts.h"

#include <string.h>

static const char *skip_space(const char *p)
{
	while (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')
		p++;
	return p;
}

/* P is at a '"': returns what follows the closing one, or NULL. */
static const char *skip_string(const char *p)
{
	for (p++; *p && *p != '"'; p++) {
		if ((unsigned char)*p < 0x20)
			return NULL;
		if (*p == '\\' && *++p == '\0')
			return NULL;
	}
	return *p == '"' ? p + 1 : NULL;
}

static int is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == 'E' || c == '+' ||
	       c == '-' || c == '.';
}

/*
 * P is at a JSON value: returns what follows it, or NULL.  Brackets must match; what is between
 * them is QEMU's to judge, since nothing but strings can hide a bracket from it.
 */
static const char *skip_value(const char *p)
{
	char open[QEMU_OPTS_DEPTH_MAX];
	size_t depth = 0;
	do {
		p = skip_space(p);
		if (*p == '"') {
			p = skip_string(p);
			if (!p)
				return NULL;
		} else if (*p == '{' || *p == '[') {
			if (depth == QEMU_OPTS_DEPTH_MAX)
				return NULL;
			open[depth++] = *p++;
		} else if (*p == '}' || *p == ']') {
			if (depth == 0 || open[depth - 1] != (*p == '}' ? '{' : '['))
				return NULL;
			depth--;
			p++;
		} else if (depth > 0 && (*p == ',' || *p == ':')) {
			p++;
		} else if (is_word(*p)) {
			while (is_word(*p))
				p++;
		} else {
			return NULL;
		}
	} while (depth > 0);
	return p;
}

static int each_in_json(const char *p, qemu_opts_fn *fn, void *arg)
{
	p = skip_space(p + 1);
	if (*p == '}')
		return p[1] == '\0' ? 0 : ERR_FORMAT;
	for (;;) {
		if (*p != '"')
			return ERR_FORMAT;
		const char *key = p + 1;
		p = skip_string(p);
		if (!p)
			return ERR_FORMAT;
		size_t key_bytes = (size_t)(p - key) - 1;
		if (memchr(key, '\\', key_bytes))
			return ERR_FORMAT;
		p = skip_space(p);
		if (*p++ != ':')
			return ERR_FORMAT;
		const char *value = skip_space(p);
		p = skip_value(value);
		if (!p)
			return ERR_FORMAT;
		size_t value_bytes = (size_t)(p - value);
		if (*value == '"') {
			value++;
			value_bytes -= 2;
		}
		int rc = fn(key, key_bytes, value, value_bytes, arg);
		if (rc < 0)
			return rc;
		p = skip_space(p);
		if (*p == '}')
			return *skip_space(p + 1) == '\0' ? 0 : ERR_FORMAT;
		if (*p != ',')
			return ERR_FORMAT;
		p = skip_space(p + 1);
	}
}

/* The end of the part at P: its ',' or NUL.  A doubled comma belongs to the part. */
static const char *part_end(const char *p)
{
	for (; *p; p++) {
		if (*p != ',')
			continue;
		if (p[1] != ',')
			return p;
		p++;
	}
	return p;
}

static int each_in_parts(const char *p, const char *implied, qemu_opts_fn *fn, void *arg)
{
	for (int first = 1;; first = 0) {
		const char *end = part_end(p);
		size_t bytes = (size_t)(end - p);
		const char *equals = memchr(p, '=', bytes);
		int rc;
		if (bytes == 0)
			return ERR_FORMAT;
		if (equals)
			rc = fn(p, (size_t)(equals - p), equals + 1, (size_t)(end - equals) - 1,
				arg);
		else if (first && implied)
			rc = fn(implied, strlen(implied), p, bytes, arg);
		else
			rc = fn(p, bytes, "on", 2, arg);
		if (rc < 0 || *end == '\0')
			return rc < 0 ? rc : 0;
		p = end + 1;
	}
}

int qemu_opts_each(const char *value, const char *implied, qemu_opts_fn *fn, void *arg)
{
	return value[0] == '{' ? each_in_json(value, fn, arg)
			       : each_in_parts(value, implied, fn, arg);
}

struct get {
	const char *key;
	char *out;
	int found;
};

static int get_member(const char *key, size_t key_bytes, const char *value, size_t value_bytes,
		      void *arg)
{
	struct get *get = arg;
	if (key_bytes != strlen(get->key) || memcmp(key, get->key, key_bytes) != 0)
		return 0;
	if (get->found || value_bytes >= QEMU_OPTS_MEMBER_MAX || memchr(value, '\\', value_bytes) ||
	    memchr(value, ',', value_bytes))
		return ERR_FORMAT;
	memcpy(get->out, value, value_bytes);
	get->out[value_bytes] = '\0';
	get->found = 1;
	return 0;
}

int qemu_opts_get(const char *value, const char *implied, const char *key,
		  char out[static QEMU_OPTS_MEMBER_MAX])
{
	struct get get = { .key = key, .out = out };
	out[0] = '\0';
	int rc = qemu_opts_each(value, implied, get_member, &get);
	return rc < 0 ? rc : get.found;
}
