/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guardian's policy from arbitrary bytes: what is accepted is written, read and written again the
 * same.
 */
#include <stdlib.h>
#include <string.h>

#include "guardian/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy *p = NULL, *again = NULL;
	struct fault f = { 0 };
	CLEANUP_BUF struct buf one = BUF_INIT(POLICY_TEXT_MAX + 4096);
	CLEANUP_BUF struct buf two = BUF_INIT(POLICY_TEXT_MAX + 4096);
	int rc = policy_parse((const char *)data, size, &p, &f);
	if (rc < 0) {
		if (!f.text[0] || p)
			abort();
		return 0;
	}
	rc = policy_text(p, &one, &f);
	if (rc == ERR_LIMIT) {
		policy_free(p);
		return 0;
	}
	if (rc < 0 || policy_parse((const char *)one.data, one.len, &again, &f) < 0 ||
	    policy_text(again, &two, &f) < 0 || one.len != two.len ||
	    memcmp(one.data, two.data, one.len) != 0)
		abort();
	policy_free(p);
	policy_free(again);
	return 0;
}
