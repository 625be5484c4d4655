/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A domain's XML on arbitrary bytes: parsed, judged at both levels, shielded, written and read
 * again.  What shielding with --strip leaves without a refusal has to pass the check again after a
 * round trip through text.
 */
#include <string.h>

#include "libvirt/shield.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ignore_change(const char *text, void *arg)
{
	(void)arg;
	if (text[0] == '\0')
		abort();
}

static int count(const struct domain_finding *finding, void *arg)
{
	char text[FAULT_TEXT_MAX];
	domain_finding_text(finding, text, sizeof(text));
	if (strncmp(text, finding->rule->id, strlen(finding->rule->id)) != 0)
		abort();
	*(int *)arg += VERDICT_REFUSES(finding->verdict);
	return 0;
}

static struct domain *round_trip(const struct domain *d)
{
	CLEANUP_BUF struct buf text = BUF_INIT(16 * DOMAIN_XML_MAX);
	struct domain *again = NULL;
	struct fault f = { 0 };
	if (domain_text(d, &text) < 0)
		abort();
	/* Escapes may have made it longer than what is read; anything else has to be readable. */
	int rc = domain_parse((const char *)text.data, text.len, &again, &f);
	if (rc < 0 && rc != ERR_LIMIT)
		abort();
	return again;
}

static void judge(const struct domain *d, const struct protector_facts *facts)
{
	struct fault f = { 0 }, each = { 0 };
	int refusals = 0;
	int rc = domain_check(d, facts, &f);
	if (domain_check_each(d, facts, count, &refusals, &each) < 0)
		return; /* over the step limit */
	if ((rc == ERR_POLICY) != (refusals > 0) || (rc < 0) != (f.text[0] != '\0'))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_DOMAIN struct domain *d = NULL, *again = NULL;
	struct protector_facts facts = { .level = LEVEL_ENCRYPTION_SUPPORTED };
	struct fault f = { 0 };
	int refusals = 0;
	int rc = domain_parse((const char *)data, size, &d, &f);
	if ((rc < 0) != (d == NULL) || (rc < 0) != (f.text[0] != '\0'))
		abort();
	if (rc < 0)
		return 0;
	judge(d, &facts);
	facts.level = LEVEL_SHIELDED;
	judge(d, &facts);
	rc = shield_domain(d, &facts, 1, ignore_change, NULL, &f);
	if ((rc < 0) != (f.text[0] != '\0'))
		abort();
	if (rc < 0 || domain_check_each(d, &facts, count, &refusals, &f) < 0)
		return 0;
	if (domain_set_shield(d, "eyJ.eyJ.sig") < 0)
		abort();
	again = round_trip(d);
	if (!again)
		return 0;
	const char *text = domain_shield_text(again);
	if (!text || strcmp(text, "eyJ.eyJ.sig") != 0)
		abort();
	f = (struct fault){ 0 };
	if (refusals == 0 && domain_check(again, &facts, &f) < 0)
		abort();
	return 0;
}
