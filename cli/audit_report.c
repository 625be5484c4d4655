/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/audit.h"
#include "cli/cli.h"

#define ROWS_MAX 65536
#define DAY_SIZE 11 /* 2026-11-22 */

struct row {
	char day[DAY_SIZE], vm[UUID_TEXT_SIZE], name[AUDIT_NAME_MAX], rule[AUDIT_RULE_MAX];
	enum audit_event event;
	uint64_t count;
};

struct report {
	size_t n, room;
	struct row *rows;
};

static int compare(const struct row *a, const struct row *b)
{
	int order = strcmp(a->day, b->day);
	if (!order)
		order = strcmp(a->vm, b->vm);
	if (!order)
		order = (int)a->event - (int)b->event;
	return order ? order : strcmp(a->rule, b->rule);
}

/* Count R in its row; rows are kept in order. */
static int count_one(const struct audit_record *r, const char *line, size_t n, void *arg)
{
	struct report *report = arg;
	struct row row = { .event = r->event, .count = 1 };
	char time[AUDIT_TIME_SIZE];
	(void)line;
	(void)n;
	audit_time_text(r->time_ms, time);
	snprintf(row.day, sizeof(row.day), "%.10s", time);
	if (r->has_vm)
		uuid_format(r->vm, row.vm);
	memcpy(row.name, r->name, sizeof(row.name));
	memcpy(row.rule, r->rule, sizeof(row.rule));
	size_t low = 0, high = report->n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = compare(&row, &report->rows[middle]);
		if (order == 0) {
			report->rows[middle].count++;
			return 0;
		}
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	if (report->n == ROWS_MAX)
		return ERR_LIMIT;
	if (report->n == report->room) {
		size_t room = report->room ? 2 * report->room : 64;
		struct row *rows = reallocarray(report->rows, room, sizeof(*rows));
		if (!rows)
			return -ENOMEM;
		report->rows = rows;
		report->room = room;
	}
	memmove(&report->rows[low + 1], &report->rows[low], (report->n - low) * sizeof(row));
	report->rows[low] = row;
	report->n++;
	return 0;
}

static void print_table(const struct report *report)
{
	if (report->n == 0) {
		puts("No records.");
		return;
	}
	printf("%-10s  %-36s  %-16s  %-8s  %-24s  %s\n", "DAY", "VM", "NAME", "EVENT", "RULE",
	       "COUNT");
	for (size_t i = 0; i < report->n; i++) {
		const struct row *r = &report->rows[i];
		printf("%-10s  %-36s  %-16s  %-8s  %-24s  %" PRIu64 "\n", r->day,
		       r->vm[0] ? r->vm : "-", r->name, audit_event_name(r->event),
		       r->rule[0] ? r->rule : "-", r->count);
	}
}

static int print_json(const struct report *report)
{
	json_t *list = json_array();
	int failed = !list;
	for (size_t i = 0; !failed && i < report->n; i++) {
		const struct row *r = &report->rows[i];
		failed = json_array_append_new(
				 list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "day", r->day,
						 "vm", r->vm, "name", r->name, "event",
						 audit_event_name(r->event), "rule", r->rule,
						 "count", (json_int_t)r->count)) < 0;
	}
	failed = failed || json_dumpf(list, stdout, JSON_INDENT(2)) < 0 || putchar('\n') == EOF;
	json_decref(list);
	return failed ? -ENOMEM : 0;
}

int cmd_audit_report(int argc, char **argv, struct fault *f)
{
	struct audit_options o;
	struct report report = { 0 };
	int rc = audit_options(argc, argv, "vsjl", &o, f);
	if (rc != 0)
		return rc;
	rc = audit_select(&o, count_one, &report, f);
	if (rc >= 0 && o.json)
		rc = print_json(&report);
	else if (rc >= 0)
		print_table(&report);
	free(report.rows);
	return rc;
}
