/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>

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

static void print_table(const struct findings *list, const char *policy)
{
	printf("%-8s %-24s %s\n", "VERDICT", "FINDING", "WHAT WAS SEEN");
	for (unsigned i = 0; i < list->n; i++) {
		const struct finding *at = &list->at[i];
		printf("%-8s %-24s %s\n", word(at->verdict), at->id, at->evidence);
		if (at->verdict == FINDING_FAILED)
			printf("%-8s %-24s %s\n", "", "  what to do:", finding_remedy(at->id));
	}
	printf("By %s a guardian would %s this host.\n", policy,
	       failures(list) ? "refuse" : "accept");
}

static int print_json(const struct findings *list, const char *policy, struct fault *f)
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
	json_t *o = all ? json_pack("{s:b, s:o, s:o}", "healthy", failures(list) == 0, "policy",
				    lint_json_text(policy), "findings", all)
			: NULL;
	return lint_json_print(o, f);
}

int attest_report(const struct findings *findings, const char *policy, int json, struct fault *f)
{
	unsigned n = failures(findings);
	int rc = 0;
	if (json)
		rc = print_json(findings, policy, f);
	else
		print_table(findings, policy);
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
