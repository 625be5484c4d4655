/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/audit_line.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MEMBERS 16

static const char *const EVENTS[] = { "refused", "key-use",  "tpm-made", "start",
				      "stop",	 "killed",   "save",	 "restore",
				      "migrate", "repaired", "rotated" };
_Static_assert(sizeof(EVENTS) / sizeof(EVENTS[0]) == AUDIT_N_EVENTS, "a name per event");
static const char *const CHANNELS[] = { "hook", "launch", "monitor", "vtpm", "control", "log" };
_Static_assert(sizeof(CHANNELS) / sizeof(CHANNELS[0]) == AUDIT_N_CHANNELS, "a name per channel");
static const char *const VERDICTS[] = { "done", "refused" };

static void cleanup_json(json_t **j)
{
	json_decref(*j);
}

void audit_text(char *dst, size_t size, const char *text)
{
	size_t n = 0;
	for (; text && text[n] && n < size - 1; n++)
		dst[n] = text[n] >= 0x20 && text[n] < 0x7f ? text[n] : '?';
	memset(dst + n, 0, size - n);
}

const char *audit_event_name(enum audit_event event)
{
	return EVENTS[event];
}

const char *audit_channel_name(enum audit_channel channel)
{
	return CHANNELS[channel];
}

void audit_hex(const uint8_t hash[static SIGN_SHA256_BYTES], char text[static AUDIT_HEX_SIZE])
{
	for (size_t i = 0; i < SIGN_SHA256_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", hash[i]);
}

int audit_unhex(const char *text, size_t n, uint8_t hash[static SIGN_SHA256_BYTES])
{
	static const char DIGITS[] = "0123456789abcdef";
	if (n != AUDIT_HEX_SIZE - 1)
		return ERR_FORMAT;
	for (size_t i = 0; i < SIGN_SHA256_BYTES; i++) {
		const char *high = memchr(DIGITS, text[2 * i], 16);
		const char *low = memchr(DIGITS, text[2 * i + 1], 16);
		if (!high || !low)
			return ERR_FORMAT;
		hash[i] = (uint8_t)((high - DIGITS) << 4 | (low - DIGITS));
	}
	return 0;
}

void audit_time_text(int64_t time_ms, char text[static AUDIT_TIME_SIZE])
{
	struct tm tm = { 0 };
	time_t s = (time_t)(time_ms / 1000);
	gmtime_r(&s, &tm);
	size_t n = strftime(text, AUDIT_TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, AUDIT_TIME_SIZE - n, ".%03dZ", (int)(time_ms % 1000));
}

int audit_time_parse(const char *text, int64_t *time_ms)
{
	static const char *const FORMS[] = { "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d" };
	for (size_t i = 0; i < sizeof(FORMS) / sizeof(FORMS[0]); i++) {
		struct tm tm = { 0 };
		const char *rest = strptime(text, FORMS[i], &tm);
		int ms = 0, used = 0;
		if (!rest || tm.tm_year < 70 || tm.tm_year > 8000)
			continue;
		if (i == 0 && (sscanf(rest, ".%3dZ%n", &ms, &used) != 1 || used != 5 || ms < 0)) {
			ms = 0;
			used = strcmp(rest, "Z") == 0 ? 1 : 0;
		}
		if (rest[used] || (i == 0 && !used))
			continue;
		*time_ms = (int64_t)timegm(&tm) * 1000 + ms;
		return 0;
	}
	return ERR_FORMAT;
}

/* "NAME":"TEXT", with what JSON wants escaped. */
static int put_text(struct buf *out, const char *name, const char *text)
{
	int rc = buf_addf(out, ",\"%s\":\"", name);
	for (const char *p = text; rc >= 0 && *p; p++)
		rc = *p == '"' || *p == '\\' ? buf_addf(out, "\\%c", *p) : buf_add(out, p, 1);
	return rc < 0 ? rc : buf_add(out, "\"", 1);
}

static int put_number(struct buf *out, const char *name, int64_t n)
{
	return n < 0 ? buf_addf(out, ",\"%s\":null", name)
		     : buf_addf(out, ",\"%s\":%" PRId64, name, n);
}

int audit_line_put(const struct audit_record *r, struct buf *out)
{
	CLEANUP_BUF struct buf line = BUF_INIT(AUDIT_LINE_MAX);
	char time[AUDIT_TIME_SIZE], vm[UUID_TEXT_SIZE], prev[AUDIT_HEX_SIZE];
	audit_time_text(r->time_ms, time);
	uuid_format(r->vm, vm);
	audit_hex(r->prev, prev);
	const struct {
		const char *name, *text;
	} texts[] = { { "name", r->name },
		      { "level", r->level },
		      { "event", EVENTS[r->event] },
		      { "rule", r->rule },
		      { "channel", CHANNELS[r->channel] },
		      { "request", r->request },
		      { "reason", r->reason } };
	int rc = buf_addf(&line, "{\"v\":%d,\"seq\":%" PRIu64 ",\"time\":\"%s\"", AUDIT_VERSION,
			  r->seq, time);
	if (rc >= 0)
		rc = put_text(&line, "vm", r->has_vm ? vm : "");
	for (size_t i = 0; rc >= 0 && i < sizeof(texts) / sizeof(texts[0]); i++)
		rc = put_text(&line, texts[i].name, texts[i].text);
	if (rc >= 0)
		rc = put_number(&line, "pid", r->pid);
	if (rc >= 0)
		rc = put_number(&line, "uid", r->uid);
	if (rc >= 0)
		rc = put_text(&line, "unit", r->unit);
	if (rc >= 0)
		rc = buf_addf(&line, ",\"verdict\":\"%s\",\"prev\":\"%s\"}\n", VERDICTS[r->verdict],
			      prev);
	return rc < 0 ? rc : buf_add(out, line.data, line.len);
}

/* ---- Reading -------------------------------------------------------------------------------- */

static const char *text_of(const json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));
	return text ? text : "";
}

/* The index of TEXT among N NAMES, or -1. */
static int index_of(const char *text, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], text) == 0)
			return i;
	return -1;
}

static int64_t number_of(const json_t *o, const char *name)
{
	const json_t *j = json_object_get(o, name);
	return json_is_integer(j) ? json_integer_value(j) : -1;
}

static int from_json(const json_t *o, struct audit_record *r)
{
	const char *vm = text_of(o, "vm"), *prev = text_of(o, "prev");
	int event = index_of(text_of(o, "event"), EVENTS, AUDIT_N_EVENTS);
	int channel = index_of(text_of(o, "channel"), CHANNELS, AUDIT_N_CHANNELS);
	int verdict = index_of(text_of(o, "verdict"), VERDICTS, 2);
	int64_t seq = number_of(o, "seq");
	if (json_object_size(o) != MEMBERS || event < 0 || channel < 0 || verdict < 0 || seq < 1)
		return ERR_FORMAT;
	r->event = (enum audit_event)event;
	r->channel = (enum audit_channel)channel;
	r->verdict = (enum audit_verdict)verdict;
	r->seq = (uint64_t)seq;
	r->pid = number_of(o, "pid");
	r->uid = number_of(o, "uid");
	r->has_vm = *vm != '\0';
	AUDIT_TEXT(r->name, text_of(o, "name"));
	AUDIT_TEXT(r->level, text_of(o, "level"));
	AUDIT_TEXT(r->rule, text_of(o, "rule"));
	AUDIT_TEXT(r->request, text_of(o, "request"));
	AUDIT_TEXT(r->reason, text_of(o, "reason"));
	AUDIT_TEXT(r->unit, text_of(o, "unit"));
	int rc = r->has_vm ? uuid_parse(vm, r->vm) : 0;
	if (rc >= 0)
		rc = audit_time_parse(text_of(o, "time"), &r->time_ms);
	return rc < 0 ? rc : audit_unhex(prev, strlen(prev), r->prev);
}

int audit_line_read(const char *line, size_t n, struct audit_record *out)
{
	CLEANUP_BUF struct buf again = BUF_INIT(AUDIT_LINE_MAX);
	struct audit_record r = { 0 };
	if (n < 2 || n > AUDIT_LINE_MAX || line[n - 1] != '\n')
		return ERR_FORMAT;
	json_t *o CLEANUP(cleanup_json) = json_loadb(line, n - 1, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(o) || from_json(o, &r) < 0)
		return ERR_FORMAT;
	/* One spelling: what would not be written like this was not written by us. */
	int rc = audit_line_put(&r, &again);
	if (rc < 0)
		return rc == -ENOMEM ? rc : ERR_FORMAT;
	if (again.len != n || memcmp(again.data, line, n) != 0)
		return ERR_FORMAT;
	*out = r;
	return 0;
}
