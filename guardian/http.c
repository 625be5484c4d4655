/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/http.h"

#include <string.h>
#include <strings.h>

/* What a header's name is made of (RFC 9110, section 5.6.2). */
static const char TOKEN[] = "!#$%&'*+-.^_`|~0123456789"
			    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
static const char PATH[] = "/-._~?=&0123456789"
			   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/* A piece of the head. */
struct span {
	const char *at;
	size_t n;
};

/* How many of S' first bytes are in SET. */
static size_t span_of(struct span s, const char *set)
{
	size_t n = 0;
	while (n < s.n && s.at[n] && strchr(set, s.at[n]))
		n++;
	return n;
}

static int is(struct span s, const char *text)
{
	return s.n == strlen(text) && strncasecmp(s.at, text, s.n) == 0;
}

/* The line that REST begins with, taken off it; ERR_FORMAT without a CR LF, or with other control
 * characters in it. */
static int take_line(struct span *rest, struct span *line)
{
	size_t n = 0;
	while (n < rest->n && ((unsigned char)rest->at[n] >= 0x20 || rest->at[n] == '\t') &&
	       rest->at[n] != 0x7f)
		n++;
	if (n + 2 > rest->n || rest->at[n] != '\r' || rest->at[n + 1] != '\n')
		return ERR_FORMAT;
	*line = (struct span){ rest->at, n };
	*rest = (struct span){ rest->at + n + 2, rest->n - n - 2 };
	return 0;
}

static int request_line(struct span line, struct http_head *out)
{
	static const char VERSION[] = " HTTP/1.1", ANY[] = " HTTP/";
	if (line.n > 4 && memcmp(line.at, "GET ", 4) == 0)
		out->method = LINK_GET;
	else if (line.n > 5 && memcmp(line.at, "POST ", 5) == 0)
		out->method = LINK_POST;
	else
		return span_of(line, TOKEN) > 0 ? ERR_PURPOSE : ERR_FORMAT;
	size_t skip = out->method == LINK_GET ? 4 : 5;
	struct span path = { line.at + skip, line.n - skip };
	size_t n = span_of(path, PATH);
	struct span version = { path.at + n, path.n - n };
	if (n == 0 || path.at[0] != '/')
		return ERR_FORMAT;
	if (n > LINK_PATH_MAX)
		return ERR_LIMIT;
	if (version.n != strlen(VERSION) || memcmp(version.at, VERSION, version.n) != 0)
		return version.n > strlen(ANY) && memcmp(version.at, ANY, strlen(ANY)) == 0
			       ? ERR_VERSION
			       : ERR_FORMAT;
	memcpy(out->path, path.at, n);
	out->path[n] = '\0';
	return 0;
}

/* Which headers were there, so that none is there twice. */
enum seen { SEEN_HOST = 1, SEEN_LENGTH = 2, SEEN_TYPE = 4, SEEN_CONNECTION = 8, SEEN_EXPECT = 16 };

static int length(struct span value, struct http_head *out)
{
	size_t n = span_of(value, "0123456789");
	if (n == 0 || n != value.n || (n > 1 && value.at[0] == '0'))
		return ERR_FORMAT;
	if (n > 9)
		return ERR_LIMIT;
	for (size_t i = 0; i < n; i++)
		out->body_bytes = out->body_bytes * 10 + (size_t)(value.at[i] - '0');
	return out->body_bytes > LINK_BODY_MAX ? ERR_LIMIT : 0;
}

static int connection(struct span value, struct http_head *out)
{
	out->close = is(value, "close");
	return out->close || is(value, "keep-alive") ? 0 : ERR_FORMAT;
}

static int expect(struct span value, struct http_head *out)
{
	out->expects = is(value, "100-continue");
	return out->expects ? 0 : ERR_FORMAT;
}

/* What says the same in every request. */
static int host(struct span value, struct http_head *out)
{
	(void)out;
	return value.n > 0 ? 0 : ERR_FORMAT;
}

static int type(struct span value, struct http_head *out)
{
	(void)out;
	return is(value, "application/json") ? 0 : ERR_FORMAT;
}

/* A coding would be a second way to say where the body ends. */
static int coding(struct span value, struct http_head *out)
{
	(void)value, (void)out;
	return ERR_PURPOSE;
}

static const struct {
	const char *name;
	unsigned seen;
	int (*take)(struct span value, struct http_head *out);
} HEADERS[] = {
	{ "host", SEEN_HOST, host },
	{ "content-length", SEEN_LENGTH, length },
	{ "content-type", SEEN_TYPE, type },
	{ "connection", SEEN_CONNECTION, connection },
	{ "expect", SEEN_EXPECT, expect },
	{ "transfer-encoding", 0, coding },
	{ "content-encoding", 0, coding },
	{ "trailer", 0, coding },
	{ "upgrade", 0, coding },
};

static int header(struct span line, unsigned *seen, struct http_head *out)
{
	struct span name = { line.at, span_of(line, TOKEN) };
	struct span value = { line.at + name.n + 1, line.n - name.n - 1 };
	if (name.n == 0 || name.n == line.n || line.at[name.n] != ':')
		return ERR_FORMAT;
	while (value.n && (value.at[0] == ' ' || value.at[0] == '\t'))
		value = (struct span){ value.at + 1, value.n - 1 };
	while (value.n && (value.at[value.n - 1] == ' ' || value.at[value.n - 1] == '\t'))
		value.n--;
	for (size_t i = 0; i < sizeof(HEADERS) / sizeof(HEADERS[0]); i++) {
		if (!is(name, HEADERS[i].name))
			continue;
		if (*seen & HEADERS[i].seen)
			return ERR_FORMAT;
		*seen |= HEADERS[i].seen;
		return HEADERS[i].take(value, out);
	}
	return 0; /* one that means nothing here */
}

int http_parse(const char *head, size_t n, struct http_head *out)
{
	struct span rest = { head, n }, line;
	struct http_head h = { 0 };
	unsigned seen = 0;
	if (n > HTTP_HEAD_MAX)
		return ERR_LIMIT;
	int rc = take_line(&rest, &line);
	if (rc >= 0)
		rc = request_line(line, &h);
	for (int headers = 0; rc >= 0; headers++) {
		rc = take_line(&rest, &line);
		if (rc < 0 || line.n == 0)
			break;
		rc = headers < HTTP_HEADERS_MAX ? header(line, &seen, &h) : ERR_LIMIT;
	}
	if (rc < 0)
		return rc;
	if (rest.n != 0 || !(seen & SEEN_HOST))
		return ERR_FORMAT;
	/* A body has a size and a type, and only a POST has one. */
	if (h.method == LINK_POST ? !(seen & SEEN_LENGTH) || !(seen & SEEN_TYPE)
				  : h.body_bytes > 0 || (seen & SEEN_EXPECT))
		return ERR_FORMAT;
	*out = h;
	return 0;
}

const char *http_reason(unsigned status)
{
	static const struct {
		unsigned status;
		const char *reason;
	} REASONS[] = {
		{ 200, "OK" },
		{ 400, "Bad Request" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 409, "Conflict" },
		{ 413, "Content Too Large" },
		{ 503, "Service Unavailable" },
	};
	for (size_t i = 0; i < sizeof(REASONS) / sizeof(REASONS[0]); i++)
		if (REASONS[i].status == status)
			return REASONS[i].reason;
	return "Error";
}
