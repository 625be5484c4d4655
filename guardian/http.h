/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The head of an HTTP/1.1 request (RFC 9112), as far as the guardian takes it: one spelling of
 * everything, GET and POST, a body only by Content-Length.  libevent's own HTTP server hands over a
 * request when all of it is in memory; this way a body is refused, or allowed, by its head.
 *
 * May be used by: guardian/ (its front), tests.  No allocation, no system call.
 */
#ifndef SHIELDVM_GUARDIAN_HTTP_H
#define SHIELDVM_GUARDIAN_HTTP_H

#include "guardian/link.h"

#define HTTP_HEAD_MAX	 16384 /* bytes, with the empty line at the end */
#define HTTP_HEADERS_MAX 64

struct http_head {
	enum link_method method;
	char path[LINK_PATH_MAX + 1]; /* with its query */
	size_t body_bytes;
	int close;   /* the client asks nothing more over this connection */
	int expects; /* 100 Continue, before it sends the body */
};

/*
 * Parse the N bytes of HEAD, which end with its empty line.  ERR_FORMAT: not a request as above;
 * ERR_VERSION: of another HTTP; ERR_PURPOSE: another method, or another way of sending a body;
 * ERR_LIMIT: a path or body that is too long.
 */
int http_parse(const char *head, size_t n, struct http_head *out) MUST_CHECK;

/* The reason phrase of STATUS; "Error" for one that the guardian does not use. */
const char *http_reason(unsigned status);

#endif
