/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/ossl.h"
#include "crypto/protector.h"

#define RULE_BYTES_MAX (1 + PROTECTOR_RULE_MAX)
#define TEXT_MAX       (256 + PROTECTOR_ALLOW_MAX * RULE_BYTES_MAX)

static int compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int add_short(struct buf *b, const char *text)
{
	uint8_t n = (uint8_t)strlen(text);
	int rc = buf_add(b, &n, 1);
	return rc < 0 ? rc : buf_add(b, text, n);
}

int protector_policy(const struct protector_facts *facts, const struct jwk *owner,
		     uint8_t hash[static PROTECTOR_POLICY_BYTES])
{
	CLEANUP_BUF struct buf b = BUF_INIT(TEXT_MAX);
	char thumbprint[JWK_THUMBPRINT_SIZE];
	uint8_t level = (uint8_t)facts->level;
	const uint8_t count[2] = { (uint8_t)(facts->n_allow >> 8), (uint8_t)facts->n_allow };
	/* Whichever order the owner gave them: a copy. */
	char rules[PROTECTOR_ALLOW_MAX][PROTECTOR_RULE_MAX];
	memcpy(rules, facts->allow, sizeof(rules));
	qsort(rules, facts->n_allow, sizeof(rules[0]), compare);

	int rc = jwk_thumbprint(owner, thumbprint);
	if (rc < 0)
		return rc;
	if ((rc = add_short(&b, "shieldvm/1/policy")) < 0 ||
	    (rc = buf_add(&b, facts->vm, UUID_BYTES)) < 0 || (rc = buf_add(&b, &level, 1)) < 0 ||
	    (rc = buf_add(&b, facts->tpm_id, PROTECTOR_TPM_ID_BYTES)) < 0 ||
	    (rc = buf_add(&b, thumbprint, JWK_THUMBPRINT_SIZE - 1)) < 0 ||
	    (rc = buf_add(&b, count, sizeof(count))) < 0)
		return rc;
	for (size_t i = 0; i < facts->n_allow; i++) {
		rc = add_short(&b, rules[i]);
		if (rc < 0)
			return rc;
	}
	return EVP_Digest(b.data, b.len, hash, NULL, EVP_sha256(), NULL) == 1 ? 0 : ERR_CRYPTO;
}
