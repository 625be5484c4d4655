/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One record of the audit log and its one spelling as a line of JSON (docs/FORMAT.md, "Audit log").
 *
 * Texts are bounded and printable ASCII; AUDIT_TEXT() makes them so.  What has a secret in it must
 * not be given to it.  May be used by: the writers (hook, broker), `shieldvm audit`.
 */
#ifndef SHIELDVM_POLICY_AUDIT_LINE_H
#define SHIELDVM_POLICY_AUDIT_LINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/uuid.h"
#include "crypto/sign.h"

#define AUDIT_VERSION	  1
#define AUDIT_LINE_MAX	  4096 /* bytes of a line with its newline */
#define AUDIT_NAME_MAX	  128  /* the texts' sizes, with the NUL */
#define AUDIT_LEVEL_MAX	  24
#define AUDIT_RULE_MAX	  64
#define AUDIT_REQUEST_MAX 512
#define AUDIT_REASON_MAX  512
#define AUDIT_UNIT_MAX	  128
#define AUDIT_HEX_SIZE	  (2 * SIGN_SHA256_BYTES + 1)

enum audit_event {
	AUDIT_REFUSED,	/* somebody asked for what a rule forbids */
	AUDIT_KEY_USE,	/* the worker unwrapped the VM key */
	AUDIT_TPM_MADE, /* ... and manufactured the vTPM */
	AUDIT_START,
	AUDIT_STOP,
	AUDIT_KILLED, /* the worker was, and the VM with it */
	AUDIT_SAVE,
	AUDIT_RESTORE,
	AUDIT_MIGRATE,
	AUDIT_REPAIRED, /* of the log: a write that was cut off is behind us */
	AUDIT_ROTATED,	/* of the log: the last record of its file */
};
#define AUDIT_N_EVENTS (AUDIT_ROTATED + 1)

/* Over what it was asked. */
enum audit_channel {
	AUDIT_BY_HOOK,
	AUDIT_BY_LAUNCH,
	AUDIT_BY_MONITOR,
	AUDIT_BY_VTPM,
	AUDIT_BY_CONTROL,
	AUDIT_BY_LOG
};
#define AUDIT_N_CHANNELS (AUDIT_BY_LOG + 1)

enum audit_verdict { AUDIT_DONE, AUDIT_NO }; /* "done", "refused" */

struct audit_record {
	enum audit_event event;
	enum audit_channel channel;
	enum audit_verdict verdict;
	int has_vm; /* 0: it was not told */
	uint8_t vm[UUID_BYTES];
	int64_t pid, uid; /* the peer's, -1: not known */
	char name[AUDIT_NAME_MAX], level[AUDIT_LEVEL_MAX], rule[AUDIT_RULE_MAX];
	char request[AUDIT_REQUEST_MAX], reason[AUDIT_REASON_MAX], unit[AUDIT_UNIT_MAX];
	/* Set by audit_append(). */
	uint64_t seq;
	int64_t time_ms; /* since the epoch */
	uint8_t prev[SIGN_SHA256_BYTES];
};

#define AUDIT_RECORD(ev, ch, ve)                                                                   \
	((struct audit_record){                                                                    \
		.event = (ev), .channel = (ch), .verdict = (ve), .pid = -1, .uid = -1 })

/* Copy TEXT (NULL is "") to DST, cut to SIZE with its NUL; other than printable ASCII becomes '?'.
 */
void audit_text(char *dst, size_t size, const char *text);
#define AUDIT_TEXT(field, text) audit_text((field), sizeof(field), (text))

const char *audit_event_name(enum audit_event event);
const char *audit_channel_name(enum audit_channel channel);
void audit_hex(const uint8_t hash[static SIGN_SHA256_BYTES], char text[static AUDIT_HEX_SIZE]);
/* The N characters of TEXT, lower case, exactly.  ERR_FORMAT. */
int audit_unhex(const char *text, size_t n, uint8_t hash[static SIGN_SHA256_BYTES]) MUST_CHECK;

/* RFC 3339 in UTC with milliseconds; and back ("2026-11-22", "2026-11-22T03:18:38Z" too). */
#define AUDIT_TIME_SIZE 32
void audit_time_text(int64_t time_ms, char text[static AUDIT_TIME_SIZE]);
int audit_time_parse(const char *text, int64_t *time_ms) MUST_CHECK;

/* Append R as a line with its newline.  Errors of buf_reserve(), ERR_LIMIT. */
int audit_line_put(const struct audit_record *r, struct buf *out) MUST_CHECK;

/* Read a line of N bytes, its newline with it; only what audit_line_put() writes is accepted.
 * ERR_FORMAT, -ENOMEM. */
int audit_line_read(const char *line, size_t n, struct audit_record *out) MUST_CHECK;

#endif
