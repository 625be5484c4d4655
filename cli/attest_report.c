/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <time.h>

#include "cli/attest.h"
#include "cli/lint.h"

static const char *word(enum finding_verdict v)
{
	return v == FINDING_OK ? "ok" : v == FINDING_FAILED ? "failed" : "unknown";
}

static unsigned failures(const struct findings *list)
{
	unsigned n = 0;
	for (unsigned i = 0; i < list->n; i++)
		n += list->at[i].verdict == FINDING_FAILED;
	return n;
}

/* "2026-11-23 04:05:06 UTC" */
static void time_text(int64_t at, char out[static 32])
{
	struct tm tm = { 0 };
	time_t t = (time_t)at;
	out[0] = '\0';
	if (gmtime_r(&t, &tm))
		strftime(out, 32, "%F %T UTC", &tm);
}

static void print_end(const struct findings *list, const struct attest_by *by)
{
	char until[32];
	if (by->policy) {
		printf("By %s a guardian would %s this host.\n", by->policy,
		       failures(list) ? "refuse" : "accept");
	} else if (by->certificate) {
		time_text(by->certificate->not_after, until);
		printf("%s certifies this host until %s (assurance %s, policy generation %u).\n",
		       by->guardian, until, healthcert_assurance_name(by->certificate->assurance),
		       by->certificate->generation);
	} else {
		printf("%s refuses this host (%s).\n", by->guardian, by->refused);
	}
}

static void print_table(const struct findings *list, const struct attest_by *by)
{
	if (list->n > 0)
		printf("%-8s %-24s %s\n", "VERDICT", "FINDING", "WHAT WAS SEEN");
	for (unsigned i = 0; i < list->n; i++) {
		const struct finding *at = &list->at[i];
		printf("%-8s %-24s %s\n", word(at->verdict), at->id, at->evidence);
		if (at->verdict == FINDING_FAILED)
			printf("%-8s %-24s %s\n", "", "  what to do:", finding_remedy(at->id));
	}
	print_end(list, by);
}

static json_t *findings_json(const struct findings *list)
{
	json_t *all = json_array();
	for (unsigned i = 0; all && i < list->n; i++) {
		const struct finding *at = &list->at[i];
		json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", at->id, "verdict",
				      word(at->verdict), "evidence", at->evidence, "meaning",
				      finding_meaning(at->id), "remedy", finding_remedy(at->id));
		if (json_array_append_new(all, o) < 0) {
			json_decref(all);
			all = NULL;
		}
	}
	return all;
}

static int print_json(const struct findings *list, const struct attest_by *by, struct fault *f)
{
	const struct healthcert *c = by->certificate;
	json_t *all = findings_json(list), *o = NULL;
	if (all && by->policy)
		o = json_pack("{s:b, s:o, s:o}", "healthy", failures(list) == 0, "policy",
			      lint_json_text(by->policy), "findings", all);
	else if (all && c)
		o = json_pack("{s:b, s:s, s:{s:s, s:I, s:I, s:I}, s:o}", "healthy", 1, "guardian",
			      by->guardian, "certificate", "assurance",
			      healthcert_assurance_name(c->assurance), "generation",
			      (json_int_t)c->generation, "not_before", (json_int_t)c->not_before,
			      "not_after", (json_int_t)c->not_after, "findings", all);
	else if (all)
		o = json_pack("{s:b, s:s, s:s, s:o}", "healthy", 0, "guardian", by->guardian,
			      "refused", by->refused, "findings", all);
	return lint_json_print(o, f);
}

int attest_report(const struct findings *findings, const struct attest_by *by, int json,
		  struct fault *f)
{
	unsigned n = failures(findings);
	int rc = 0;
	if (json)
		rc = print_json(findings, by, f);
	else
		print_table(findings, by);
	if (rc < 0 || n == 0)
		return rc;
	for (unsigned i = 0; i < findings->n; i++) {
		const struct finding *at = &findings->at[i];
		if (at->verdict == FINDING_FAILED)
			return fault_set(f, ERR_POLICY,
					 "refused for %u reason%s, first of all %s: %s", n,
					 n == 1 ? "" : "s", at->id, at->evidence);
	}
	return rc;
}
