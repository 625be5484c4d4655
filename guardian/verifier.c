/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/verifier.h"

#include <string.h>

#include "crypto/strict.h"
#include "guardian/appraise.h"

static void cleanup_policy(struct policy **p)
{
	policy_free(*p);
}

/* The evidence in the body of a request. */
static int read_evidence(const char *body, size_t n, struct evidence *e, struct findings *list)
{
	CLEANUP_JSON json_t *j = NULL;
	struct fault f = { 0 };
	int rc = strict_json(body, n, "the request", &j, &f);
	if (rc >= 0)
		rc = evidence_read(json_object_get(j, "evidence"), e, &f);
	if (rc < 0)
		finding_fail(list, "evidence.size", rc, &f);
	return rc;
}

static void say(const struct appraisal *a, const struct evidence *e, struct link_verdict *v)
{
	memcpy(v->x, a->bk_x, sizeof(v->x));
	memcpy(v->y, a->bk_y, sizeof(v->y));
	memcpy(v->worker, e->worker, sizeof(v->worker));
	v->reset_count = a->clock.reset_count;
	v->restart_count = a->clock.restart_count;
	v->healthy = 1;
}

int verifier_judge(const struct buf *m, struct link_verdict *v, struct findings *findings,
		   struct fault *f)
{
	size_t at = 0;
	struct link_judge j;
	const uint8_t *ak, *policy, *body;
	CLEANUP(cleanup_policy) struct policy *p = NULL;
	CLEANUP(evidence_done) struct evidence e;
	struct appraisal a = { 0 };
	struct fault why = { 0 };
	evidence_init(&e);
	*v = (struct link_verdict){ 0 };
	findings->n = 0;
	int rc = link_take(m, &at, &j, sizeof(j));
	if (rc >= 0)
		rc = link_piece(m, &at, j.n_ak, &ak);
	if (rc >= 0)
		rc = link_piece(m, &at, j.n_policy, &policy);
	if (rc >= 0)
		rc = link_piece(m, &at, j.n_body, &body);
	if (rc < 0 || at != m->len)
		return fault_set(f, ERR_FORMAT, "the keeper's message is malformed");
	rc = policy_parse((const char *)policy, j.n_policy, &p, f);
	if (rc < 0)
		return rc;
	if (read_evidence((const char *)body, j.n_body, &e, findings) < 0)
		return 0;
	struct appraisal_of of = { .challenge = j.challenge, .ak = { ak, j.n_ak }, .policy = p };
	memcpy(of.host, j.host, sizeof(of.host));
	rc = appraise(&of, &e, &a, &why);
	*findings = a.findings;
	if (rc == 0)
		say(&a, &e, v);
	return 0;
}

int verifier_run(int link, struct fault *f)
{
	static struct findings findings;
	static struct link_finding told[FINDINGS_MAX];
	for (;;) {
		uint64_t id;
		struct link_verdict v;
		CLEANUP_BUF struct buf m = BUF_INIT(LINK_JUDGE_MAX);
		int rc = link_read(link, LINK_JUDGE, 0, &id, &m);
		if (rc == ERR_STATE)
			return 0;
		if (rc >= 0)
			rc = verifier_judge(&m, &v, &findings, f);
		if (rc < 0)
			return fault_set(f, rc, "%s", err_text(rc));
		v.n_findings = findings.n;
		for (unsigned i = 0; i < findings.n; i++)
			link_finding_put(&findings.at[i], &told[i]);
		const struct link_part parts[] = { { &v, sizeof(v) },
						   { told, findings.n * sizeof(told[0]) } };
		rc = link_write(link, LINK_VERDICT, id, parts, 2);
		if (rc < 0)
			return fault_set(f, rc, "the keeper does not listen: %s", err_text(rc));
	}
}
