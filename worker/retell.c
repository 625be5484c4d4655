/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/retell.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "policy/qmp_rules.h"

static int put_text(struct buf *out, const char *before, const struct qmp_text *text)
{
	int rc = buf_add(out, before, strlen(before));
	return rc < 0 ? rc : buf_add(out, text->at, text->n);
}

enum retell retell_what(const char *command)
{
	if (strcmp(command, "query-migrate") == 0)
		return RETELL_STATUS;
	return strcmp(command, "query-migrate-capabilities") == 0 ? RETELL_CAPABILITIES
								  : RETELL_NOTHING;
}

int retell_crash(const struct qmp_line *line, struct buf *out)
{
	const struct qmp_text *timestamp = qmp_member(line, "timestamp");
	const struct qmp_text *data = qmp_member(line, "data"), *action = NULL;
	struct qmp_line inner;
	if (data && qmp_scan(data->at, data->n, &inner) == 0)
		action = qmp_member(&inner, "action");
	int rc = buf_addf(out, "{");
	if (rc >= 0 && timestamp) {
		rc = put_text(out, "\"timestamp\": ", timestamp);
		if (rc >= 0)
			rc = buf_addf(out, ", ");
	}
	if (rc >= 0)
		rc = put_text(out, "\"event\": ", qmp_member(line, "event"));
	if (rc >= 0)
		rc = buf_addf(out, ", \"data\": {");
	if (rc >= 0 && action)
		rc = put_text(out, "\"action\": ", action);
	return rc < 0 ? rc : buf_addf(out, "}}\r\n");
}

/* Take JSON over. */
static int put_json(struct buf *out, json_t *json)
{
	int rc = json ? qmp_put_json(out, json) : -ENOMEM;
	json_decref(json);
	return rc;
}

int retell_status(const struct qmp_text *value, const char *status, const char *error,
		  struct buf *out)
{
	struct qmp_line inner;
	if (error)
		return put_json(out,
				json_pack("{s:s, s:s}", "status", status, "error-desc", error));
	int rc = qmp_scan(value->at, value->n, &inner);
	const struct qmp_text *was = rc < 0 ? NULL : qmp_member(&inner, "status");
	if (!was || !qmp_is_text(was, "completed"))
		return rc < 0 ? rc : buf_add(out, value->at, value->n);
	const char *behind = was->at + was->n;
	rc = buf_add(out, value->at, (size_t)(was->at - value->at));
	if (rc >= 0)
		rc = buf_addf(out, "\"%s\"", status);
	return rc < 0 ? rc : buf_add(out, behind, (size_t)(value->at + value->n - behind));
}

int retell_capabilities(const struct qmp_text *value, struct buf *out)
{
	json_t *list = json_loadb(value->at, value->n, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_array(list)) {
		json_decref(list);
		return ERR_FORMAT;
	}
	for (size_t i = json_array_size(list); i-- > 0;) {
		const json_t *name = json_object_get(json_array_get(list, i), "capability");
		if (qmp_hides_capability(json_string_value(name)))
			json_array_remove(list, i);
	}
	return put_json(out, list);
}

int retell_failure(const char *name, const char *error, struct buf *out)
{
	struct timespec now = { 0 };
	clock_gettime(CLOCK_REALTIME, &now);
	/* libvirt wants all of a dump's result, and an event's reason only there. */
	json_t *data = strcmp(name, "DUMP_COMPLETED") == 0
			       ? json_pack("{s:{s:s, s:i, s:i}, s:s}", "result", "status", "failed",
					   "completed", 0, "total", 0, "error", error)
			       : json_pack("{s:s}", "status", "failed");
	int rc = put_json(out,
			  json_pack("{s:{s:I, s:I}, s:s, s:o}", "timestamp", "seconds",
				    (json_int_t)now.tv_sec, "microseconds",
				    (json_int_t)(now.tv_nsec / 1000), "event", name, "data", data));
	return rc < 0 ? rc : buf_add(out, "\r\n", 2);
}

const struct qmp_text *retell_event_status(const struct qmp_line *line, struct qmp_line *inner)
{
	const struct qmp_text *data = qmp_member(line, "data");
	if (!data || qmp_scan(data->at, data->n, inner) < 0)
		return NULL;
	const struct qmp_text *result = qmp_member(inner, "result");
	if (result) {
		const struct qmp_text at = *result;
		if (qmp_scan(at.at, at.n, inner) < 0)
			return NULL;
	}
	return qmp_member(inner, "status");
}
