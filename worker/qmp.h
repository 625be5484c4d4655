/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QMP's text: one JSON object a line.
 *
 * qmp_scan() is a strict look at a line without building anything: RFC 8259's grammar and UTF-8, at
 * most QMP_DEPTH_MAX deep, an object outside, no member twice at the top.  What it accepts is
 * either passed on byte for byte (QEMU's replies, whose 64-bit numbers jansson cannot hold), or
 * goes on to qmp_parse_request(), which builds a tree and refuses members given twice at any depth.
 *
 * Used by: worker/monitor.c.  No system call but malloc(3)'s; no sentence quotes the input.
 */
#ifndef SHIELDVM_WORKER_QMP_H
#define SHIELDVM_WORKER_QMP_H

#include <jansson.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

#define QMP_DEPTH_MAX	64
#define QMP_MEMBERS_MAX 8		   /* of the outermost object; QMP has four */
#define QMP_REQUEST_MAX (1024 * 1024)	   /* bytes of a line from libvirt */
#define QMP_REPLY_MAX	(10 * 1024 * 1024) /* bytes of a line from QEMU: libvirt takes no more */
#define QMP_COMMAND_MAX 64		   /* bytes of a command's name, with the NUL */

/* A piece of the scanned line. */
struct qmp_text {
	const char *at;
	size_t n;
};

struct qmp_line {
	size_t n_members;
	struct {
		struct qmp_text name; /* between its quotes, escapes left as they are */
		struct qmp_text value;
	} members[QMP_MEMBERS_MAX];
};

/* Scan the N bytes of LINE, without its line ending.  ERR_FORMAT, ERR_LIMIT. */
int qmp_scan(const char *line, size_t n, struct qmp_line *out) MUST_CHECK;

/* The value of member NAME, or NULL. */
const struct qmp_text *qmp_member(const struct qmp_line *line, const char *name);

/* 1 if TEXT is the JSON string of the plain characters in WANT. */
int qmp_is_text(const struct qmp_text *text, const char *want);

/* What libvirt asks. */
struct qmp_request {
	char command[QMP_COMMAND_MAX];
	json_t *arguments; /* an object or NULL */
	json_t *id;	   /* anything or NULL */
};

/*
 * Parse a line from libvirt: "execute" or "exec-oob" with a name of QMP's alphabet, "arguments" an
 * object, "id"; nothing else.  ERR_FORMAT, ERR_LIMIT; OUT->id may then be set all the same.  To be
 * given to qmp_request_done() in any case.
 */
int qmp_parse_request(const char *line, size_t n, struct qmp_request *out) MUST_CHECK;
void qmp_request_done(struct qmp_request *r);

/* Append JSON to OUT in one line, without a line ending.  -ENOMEM, ERR_LIMIT. */
int qmp_put_json(struct buf *out, const json_t *json) MUST_CHECK;

/* jansson reads its hash seed from a file; have it do so now, before sealing. */
void qmp_init(void);

#endif
