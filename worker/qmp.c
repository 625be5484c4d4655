/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/qmp.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- Scanning: a recursive descent, QMP_DEPTH_MAX deep at most ------------------------------- */

struct scan {
	const unsigned char *p, *end;
	struct qmp_line *line;
	int depth;
};

static int scan_value(struct scan *s);

static void skip_space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r' || *s->p == '\n'))
		s->p++;
}

static int take(struct scan *s, char c)
{
	if (s->p == s->end || *s->p != (unsigned char)c)
		return ERR_FORMAT;
	s->p++;
	return 0;
}

static int scan_escape(struct scan *s)
{
	if (s->p == s->end)
		return ERR_FORMAT;
	unsigned char c = *s->p++;
	if (c != 'u')
		return c && strchr("\"\\/bfnrt", c) ? 0 : ERR_FORMAT;
	for (int i = 0; i < 4; i++) {
		if (s->p == s->end || !*s->p || !strchr("0123456789abcdefABCDEF", *s->p))
			return ERR_FORMAT;
		s->p++;
	}
	return 0;
}

/* One character beyond ASCII, in its shortest form, no surrogate (RFC 3629). */
static int scan_utf8(struct scan *s)
{
	static const uint32_t LEAST[] = { 0, 0x80, 0x800, 0x10000 };
	unsigned char c = *s->p++;
	int more = c >= 0xf0 && c < 0xf5   ? 3
		   : c >= 0xe0 && c < 0xf0 ? 2
		   : c >= 0xc2 && c < 0xe0 ? 1
					   : 0;
	if (more == 0 || s->end - s->p < more)
		return ERR_FORMAT;
	uint32_t v = c & (0x3fU >> more);
	for (int i = 0; i < more; i++) {
		if ((*s->p & 0xc0) != 0x80)
			return ERR_FORMAT;
		v = v << 6 | (*s->p++ & 0x3fU);
	}
	return v < LEAST[more] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000) ? ERR_FORMAT : 0;
}

static int scan_string(struct scan *s)
{
	int rc = take(s, '"');
	while (rc == 0) {
		if (s->p == s->end || *s->p < 0x20)
			return ERR_FORMAT;
		if (*s->p == '"') {
			s->p++;
			return 0;
		}
		if (*s->p >= 0x80)
			rc = scan_utf8(s);
		else if (*s->p++ == '\\')
			rc = scan_escape(s);
	}
	return rc;
}

static int scan_digits(struct scan *s)
{
	const unsigned char *start = s->p;
	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return s->p == start ? ERR_FORMAT : 0;
}

static int scan_number(struct scan *s)
{
	(void)!take(s, '-');
	int rc = take(s, '0') == 0 ? 0 : scan_digits(s);
	if (rc == 0 && take(s, '.') == 0)
		rc = scan_digits(s);
	if (rc == 0 && s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		rc = scan_digits(s);
	}
	return rc;
}

static int scan_word(struct scan *s, const char *word)
{
	size_t n = strlen(word);
	if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
		return ERR_FORMAT;
	s->p += n;
	return 0;
}

static int same(const struct qmp_text *a, const struct qmp_text *b)
{
	return a->n == b->n && memcmp(a->at, b->at, a->n) == 0;
}

/* Note a member of the outermost object. */
static int note(struct scan *s, const struct qmp_text *name, const struct qmp_text *value)
{
	struct qmp_line *line = s->line;
	if (line->n_members == QMP_MEMBERS_MAX)
		return ERR_LIMIT;
	for (size_t i = 0; i < line->n_members; i++) {
		if (same(&line->members[i].name, name))
			return ERR_FORMAT;
	}
	line->members[line->n_members].name = *name;
	line->members[line->n_members++].value = *value;
	return 0;
}

static int scan_member(struct scan *s)
{
	struct qmp_text name, value;
	skip_space(s);
	name.at = (const char *)s->p + 1;
	int rc = scan_string(s);
	if (rc < 0)
		return rc;
	name.n = (size_t)((const char *)s->p - 1 - name.at);
	skip_space(s);
	rc = take(s, ':');
	skip_space(s);
	value.at = (const char *)s->p;
	if (rc == 0)
		rc = scan_value(s);
	value.n = (size_t)((const char *)s->p - value.at);
	return rc == 0 && s->depth == 1 ? note(s, &name, &value) : rc;
}

/* An object or an array, behind its first character. */
static int scan_many(struct scan *s, int is_object)
{
	const char end = is_object ? '}' : ']';
	int rc = 0;
	if (++s->depth > QMP_DEPTH_MAX)
		return ERR_LIMIT;
	skip_space(s);
	if (take(s, end) < 0) {
		do {
			rc = is_object ? scan_member(s) : scan_value(s);
			skip_space(s);
		} while (rc == 0 && take(s, ',') == 0);
		if (rc == 0)
			rc = take(s, end);
	}
	s->depth--;
	return rc;
}

static int scan_value(struct scan *s)
{
	skip_space(s);
	if (s->p == s->end)
		return ERR_FORMAT;
	switch (*s->p) {
	case '{':
	case '[':
		return scan_many(s, *s->p++ == '{');
	case '"':
		return scan_string(s);
	case 't':
		return scan_word(s, "true");
	case 'f':
		return scan_word(s, "false");
	case 'n':
		return scan_word(s, "null");
	default:
		return scan_number(s);
	}
}

int qmp_scan(const char *line, size_t n, struct qmp_line *out)
{
	const unsigned char *p = (const unsigned char *)line;
	struct scan s = { .p = p, .end = p + n, .line = out };
	out->n_members = 0;
	skip_space(&s);
	if (s.p == s.end || *s.p != '{')
		return ERR_FORMAT;
	int rc = scan_value(&s);
	skip_space(&s);
	return rc == 0 && s.p != s.end ? ERR_FORMAT : rc;
}

const struct qmp_text *qmp_member(const struct qmp_line *line, const char *name)
{
	const struct qmp_text want = { name, strlen(name) };
	for (size_t i = 0; i < line->n_members; i++) {
		if (same(&line->members[i].name, &want))
			return &line->members[i].value;
	}
	return NULL;
}

int qmp_is_text(const struct qmp_text *text, const char *want)
{
	size_t n = strlen(want);
	return text->n == n + 2 && text->at[0] == '"' && memcmp(text->at + 1, want, n) == 0;
}

/* ---- Requests ------------------------------------------------------------------------------- */

static int take_command(const json_t *name, char out[static QMP_COMMAND_MAX])
{
	const char *text = json_string_value(name);
	size_t n = json_string_length(name);
	if (!text || n == 0 || n >= QMP_COMMAND_MAX)
		return ERR_FORMAT;
	for (size_t i = 0; i < n; i++) {
		char c = text[i];
		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
		    c != '_' && c != '-' && c != '.')
			return ERR_FORMAT;
	}
	memcpy(out, text, n + 1);
	return 0;
}

static int take_members(json_t *root, struct qmp_request *out)
{
	const json_t *command = NULL;
	const char *key;
	json_t *value;
	int rc = 0;
	json_object_foreach(root, key, value)
	{
		if (strcmp(key, "id") == 0) {
			out->id = json_incref(value);
		} else if (strcmp(key, "arguments") == 0 && json_is_object(value)) {
			out->arguments = json_incref(value);
		} else if (!command &&
			   (strcmp(key, "execute") == 0 || strcmp(key, "exec-oob") == 0)) {
			command = value;
		} else {
			rc = ERR_FORMAT;
		}
	}
	return rc < 0 ? rc : take_command(command, out->command);
}

int qmp_parse_request(const char *line, size_t n, struct qmp_request *out)
{
	struct qmp_line scanned;
	json_error_t error;
	*out = (struct qmp_request){ 0 };
	int rc = qmp_scan(line, n, &scanned);
	if (rc < 0)
		return rc;
	json_t *root = json_loadb(line, n, JSON_REJECT_DUPLICATES, &error);
	if (!root)
		return ERR_FORMAT;
	rc = take_members(root, out);
	json_decref(root);
	return rc;
}

void qmp_request_done(struct qmp_request *r)
{
	json_decref(r->arguments);
	json_decref(r->id);
	*r = (struct qmp_request){ 0 };
}

static int put_piece(const char *text, size_t n, void *arg)
{
	return buf_add(arg, text, n) < 0 ? -1 : 0;
}

int qmp_put_json(struct buf *out, const json_t *json)
{
	return json_dump_callback(json, put_piece, out,
				  JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17)) < 0
		       ? ERR_LIMIT
		       : 0;
}

void qmp_init(void)
{
	json_object_seed(0);
}
