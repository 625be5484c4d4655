/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "crypto/strict.h"
#include "guardian/baseline.h"
#include "guardian/checks.h"

#define POLICY_VERSION 1

struct policy {
	int demanded[CHECKS_MAX]; /* by the table's index */
	size_t n;
	struct baseline *at[POLICY_BASELINES_MAX]; /* sorted by name */
};

int policy_new(struct policy **out)
{
	struct policy *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	for (size_t i = 0; checks_at(i); i++)
		p->demanded[i] = checks_at(i)->by_default;
	*out = p;
	return 0;
}

void policy_free(struct policy *p)
{
	for (size_t i = 0; p && i < p->n; i++)
		baseline_free(p->at[i]);
	free(p);
}

/* Where NAME stands, or would. */
static size_t place_of(const struct policy *p, const char *name)
{
	size_t i = 0;
	while (i < p->n && strcmp(p->at[i]->name, name) < 0)
		i++;
	return i;
}

static int has(const struct policy *p, size_t place, const char *name)
{
	return place < p->n && strcmp(p->at[place]->name, name) == 0;
}

/* Room for a new baseline NAME? */
static int may_add(const struct policy *p, const char *name, struct fault *f)
{
	int rc = baseline_check_name(name, f);
	if (rc < 0)
		return rc;
	if (has(p, place_of(p, name), name))
		return fault_set(f, ERR_STATE, "there is a baseline '%s' already; remove it first",
				 name);
	if (p->n == POLICY_BASELINES_MAX)
		return fault_set(f, ERR_LIMIT, "a policy has at most %d baselines",
				 POLICY_BASELINES_MAX);
	return 0;
}

/* Takes B over. */
static void insert(struct policy *p, struct baseline *b)
{
	size_t place = place_of(p, b->name);
	memmove(&p->at[place + 1], &p->at[place], (p->n - place) * sizeof(p->at[0]));
	p->at[place] = b;
	p->n++;
}

int policy_learn(struct policy *p, const char *name, enum baseline_kind kind,
		 const struct measured *m, struct fault *f)
{
	struct baseline *b = NULL;
	int rc = may_add(p, name, f);
	if (rc >= 0)
		rc = baseline_learn(name, kind, m, &b, f);
	if (rc >= 0)
		insert(p, b);
	return rc;
}

int policy_add_exact(struct policy *p, const char *name, const struct pcrs *values, struct fault *f)
{
	int rc = may_add(p, name, f);
	if (rc < 0)
		return rc;
	if (values->mask == 0 || !hash_bytes(values->bank))
		return fault_set(f, ERR_FORMAT, "a baseline needs the value of one PCR at least");
	struct baseline *b = calloc(1, sizeof(*b));
	if (!b)
		return fault_set(f, -ENOMEM, "a baseline cannot be made: %s", err_text(-ENOMEM));
	snprintf(b->name, sizeof(b->name), "%s", name);
	b->kind = BASELINE_EXACT;
	b->pcrs = *values;
	insert(p, b);
	return 0;
}

int policy_remove(struct policy *p, const char *name, struct fault *f)
{
	size_t place = place_of(p, name);
	if (!has(p, place, name))
		return fault_set(f, ERR_STATE, "there is no baseline '%s'", name);
	baseline_free(p->at[place]);
	p->n--;
	memmove(&p->at[place], &p->at[place + 1], (p->n - place) * sizeof(p->at[0]));
	return 0;
}

int policy_demand(struct policy *p, const char *id, int wanted, struct fault *f)
{
	int i = checks_find(id);
	if (i < 0)
		return fault_set(f, ERR_USAGE, "there is no check '%s' (see shieldvm-attest(8))",
				 id);
	p->demanded[i] = wanted != 0;
	return 0;
}

int policy_demands(const struct policy *p, const char *id)
{
	int i = checks_find(id);
	return i >= 0 && p->demanded[i];
}

const char *policy_baseline(const struct policy *p, size_t i, enum baseline_kind *kind,
			    char about[static BASELINE_ABOUT_MAX])
{
	if (i >= p->n)
		return NULL;
	*kind = p->at[i]->kind;
	baseline_about(p->at[i], about);
	return p->at[i]->name;
}

const char *policy_check(size_t i)
{
	return checks_at(i) ? checks_at(i)->id : NULL;
}

int policy_text(const struct policy *p, struct buf *out, struct fault *f)
{
	const char *comma = "";
	int rc = buf_addf(out, "{\"baselines\":[");
	for (size_t i = 0; rc >= 0 && i < p->n; i++) {
		rc = buf_addf(out, "%s", i ? "," : "");
		if (rc >= 0)
			rc = baseline_put(p->at[i], out);
	}
	if (rc >= 0)
		rc = buf_addf(out, "],\"checks\":[");
	for (size_t i = 0; rc >= 0 && checks_at(i); i++) {
		if (!p->demanded[i])
			continue;
		rc = buf_addf(out, "%s\"%s\"", comma, checks_at(i)->id);
		comma = ",";
	}
	if (rc >= 0)
		rc = buf_addf(out, "],\"v\":%d}", POLICY_VERSION);
	if (rc >= 0 && out->len > POLICY_TEXT_MAX)
		rc = ERR_LIMIT;
	if (rc == ERR_LIMIT)
		return fault_set(f, rc, "a policy is at most %d bytes", POLICY_TEXT_MAX);
	return rc < 0 ? fault_set(f, rc, "the policy cannot be written: %s", err_text(rc)) : 0;
}

static int read_checks(const json_t *list, struct policy *p, struct fault *f)
{
	int last = -1;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *id = json_string_value(json_array_get(list, i));
		int at = id ? checks_find(id) : -1;
		/* A check that this build does not know cannot be left out: it was demanded. */
		if (at < 0)
			return fault_set(f, ERR_VERSION,
					 "\"checks\" demands '%s', which is not"
					 " known here",
					 id ? id : "(not a text)");
		if (at <= last)
			return fault_set(f, ERR_FORMAT, "\"checks\" is not sorted, each once");
		last = at;
		p->demanded[at] = 1;
	}
	return 0;
}

static int read_baselines(const json_t *list, struct policy *p, struct fault *f)
{
	if (json_array_size(list) > POLICY_BASELINES_MAX)
		return fault_set(f, ERR_LIMIT, "a policy has at most %d baselines",
				 POLICY_BASELINES_MAX);
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct baseline *b = NULL;
		int rc = baseline_read(json_array_get(list, i), &b, f);
		if (rc < 0)
			return fault_wrap(f, rc, "baseline %zu", i + 1);
		if (i && strcmp(p->at[i - 1]->name, b->name) >= 0) {
			rc = fault_set(f, ERR_FORMAT, "baseline '%s' is there twice, or not sorted",
				       b->name);
			baseline_free(b);
			return rc;
		}
		insert(p, b);
	}
	return 0;
}

static int read_policy(const json_t *o, struct policy *p, struct fault *f)
{
	static const char *const MEMBERS[] = { "baselines", "checks", "v" };
	const json_t *version = json_object_get(o, "v");
	if (json_is_integer(version) && json_integer_value(version) != POLICY_VERSION)
		return fault_set(f, ERR_VERSION, "a policy of version %lld is not known here",
				 (long long)json_integer_value(version));
	int rc = strict_members(o, "the policy", MEMBERS, 3, f);
	if (rc < 0)
		return rc;
	const json_t *baselines = json_object_get(o, "baselines");
	const json_t *checks = json_object_get(o, "checks");
	if (!json_is_integer(version) || !json_is_array(baselines) || !json_is_array(checks))
		return fault_set(f, ERR_FORMAT,
				 "\"v\" is no number, or \"baselines\" or \"checks\" no list");
	memset(p->demanded, 0, sizeof(p->demanded));
	rc = read_checks(checks, p, f);
	return rc < 0 ? rc : read_baselines(baselines, p, f);
}

int policy_parse(const char *text, size_t n, struct policy **out, struct fault *f)
{
	json_t *o CLEANUP_JSON = NULL;
	struct policy *p = NULL;
	if (n > POLICY_TEXT_MAX)
		return fault_set(f, ERR_LIMIT, "a policy is at most %d bytes", POLICY_TEXT_MAX);
	int rc = strict_json(text, n, "the policy", &o, f);
	if (rc < 0)
		return rc;
	rc = policy_new(&p);
	if (rc < 0)
		return fault_set(f, rc, "the policy cannot be read: %s", err_text(rc));
	rc = read_policy(o, p, f);
	if (rc < 0) {
		policy_free(p);
		return rc;
	}
	*out = p;
	return 0;
}

static void judge_baselines(const struct policy *p, const struct measured *m, struct findings *out)
{
	char why[FINDING_TEXT_MAX] = "", nearest[FINDING_TEXT_MAX] = "";
	unsigned least = 0;
	const char *name = NULL;
	for (size_t i = 0; i < p->n; i++) {
		unsigned n = baseline_differs(p->at[i], m, why);
		if (n == 0) {
			finding_add(out, "baseline.match", FINDING_OK, "%s", p->at[i]->name);
			return;
		}
		if (name && n >= least)
			continue;
		least = n;
		name = p->at[i]->name;
		snprintf(nearest, sizeof(nearest), "%s", why);
	}
	if (!name)
		finding_add(out, "baseline.match", FINDING_FAILED, "the policy has no baseline");
	else
		finding_add(out, "baseline.match", FINDING_FAILED,
			    "none of %zu; nearest is %s, from which %u part%s differ%s: %s", p->n,
			    name, least, least == 1 ? "" : "s", least == 1 ? "s" : "", nearest);
}

void policy_judge(const struct policy *p, const struct measured *m, struct findings *out)
{
	struct cmdline *c = calloc(1, sizeof(*c));
	judge_baselines(p, m, out);
	if (c)
		cmdline_find(m, c);
	for (size_t i = 0; checks_at(i); i++) {
		const struct check *check = checks_at(i);
		char text[FINDING_TEXT_MAX] = "there was no memory to judge it";
		enum finding_verdict v = c ? check->judge(m, c, text) : FINDING_UNKNOWN;
		if (p->demanded[i])
			finding_add(out, check->id, v == FINDING_OK ? v : FINDING_FAILED, "%s%s",
				    v == FINDING_UNKNOWN ? "not shown: " : "", text);
		else
			finding_add(out, check->id, v == FINDING_OK ? v : FINDING_UNKNOWN,
				    "not demanded: %s", text);
	}
	free(c);
}
