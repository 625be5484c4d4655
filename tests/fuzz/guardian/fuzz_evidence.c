/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Evidence and captures from arbitrary bytes.  What is accepted is written and read again the same,
 * and appraised: nobody can sign for a key that there is not, so all of it is refused.
 */
#include <stdlib.h>
#include <string.h>

#include "guardian/capture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge(const struct evidence *e, struct blob ak)
{
	struct appraisal_of of = { .challenge = { .bank = e->pcrs.bank, .mask = e->pcrs.mask },
				   .ak = ak };
	struct appraisal *a = calloc(1, sizeof(*a));
	struct fault f = { 0 };
	if (!a || policy_new((struct policy **)(uintptr_t)&of.policy) < 0)
		abort();
	memcpy(of.challenge.nonce, e->nonce, sizeof(e->nonce));
	memcpy(of.host, e->host, sizeof(e->host));
	if (appraise(&of, e, a, &f) >= 0 || findings_good(&a->findings))
		abort();
	policy_free((struct policy *)(uintptr_t)of.policy);
	free(a);
}

static void one_evidence(const char *text, size_t n)
{
	struct evidence e CLEANUP(evidence_done) = { 0 };
	struct evidence again CLEANUP(evidence_done) = { 0 };
	struct fault f = { 0 };
	CLEANUP_BUF struct buf one = BUF_INIT(EVIDENCE_TEXT_MAX);
	CLEANUP_BUF struct buf two = BUF_INIT(EVIDENCE_TEXT_MAX);
	if (evidence_parse(text, n, &e, &f) < 0)
		return;
	if (evidence_text(&e, &one, &f) < 0 ||
	    evidence_parse((const char *)one.data, one.len, &again, &f) < 0 ||
	    evidence_text(&again, &two, &f) < 0 || one.len != two.len ||
	    memcmp(one.data, two.data, one.len) != 0)
		abort();
	judge(&e, (struct blob){ e.bk_pub.data, e.bk_pub.len });
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct capture c CLEANUP(capture_done) = { 0 };
	struct fault f = { 0 };
	const char *text = (const char *)data;
	one_evidence(text, size);
	if (capture_parse(text, size, &c, &f) >= 0)
		judge(&c.evidence, (struct blob){ c.ak.data, c.ak.len });
	return 0;
}
