/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/baseline.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "attest/form.h"

#define DBX_BYTES 32

enum rule { RULE_SET, RULE_ORDERED };

/* The PCRs whose events a structured baseline holds.  1 differs from machine to machine, 3, 5 and 6
 * are only replayed; 7 has its own form, 10 is IMA's. */
static const struct {
	unsigned pcr;
	enum rule rule;
} LISTS[] = {
	{ 0, RULE_SET },      { 2, RULE_SET },	    { 4, RULE_ORDERED },
	{ 8, RULE_ORDERED },  { 9, RULE_ORDERED },  { 11, RULE_ORDERED },
	{ 12, RULE_ORDERED }, { 13, RULE_ORDERED }, { 14, RULE_ORDERED },
};
static_assert(sizeof(LISTS) / sizeof(LISTS[0]) == BASELINE_LISTS, "a list for each row");
#define PCR_PHASES 11 /* the running system may have extended it: then it is left out */

void baseline_free(struct baseline *b)
{
	for (size_t i = 0; b && i < BASELINE_LISTS; i++)
		free(b->list[i].at);
	if (b) {
		free(b->authority.at);
		free(b->dbx.at);
	}
	free(b);
}

int baseline_check_name(const char *name, struct fault *f)
{
	size_t n = strlen(name);
	if (n == 0 || n > BASELINE_NAME_MAX ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != n)
		return fault_set(f, ERR_FORMAT,
				 "a baseline's name has 1 to %d of a-z, 0-9, '.' and '-'",
				 BASELINE_NAME_MAX);
	return 0;
}

int baseline_plain_name(const char *name)
{
	size_t n = strlen(name);
	return n > 0 && n < BASELINE_NAME_BYTES &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") ==
		       n;
}

static int digests_add(struct digests *d, const uint8_t *digest, size_t bytes)
{
	if (d->n == BASELINE_DIGESTS_MAX)
		return ERR_LIMIT;
	/* Grown by doubling: at 0, 1, 2, 4 ... digests. */
	if ((d->n & (d->n - 1)) == 0) {
		uint8_t *bigger = realloc(d->at, (d->n ? 2 * d->n : 1) * bytes);
		if (!bigger)
			return -ENOMEM;
		d->at = bigger;
	}
	memcpy(d->at + d->n++ * bytes, digest, bytes);
	return 0;
}

/* Where DIGEST stands in the sorted D, or would; *FOUND. */
static size_t digests_place(const struct digests *d, const uint8_t *digest, size_t bytes,
			    int *found)
{
	size_t low = 0, high = d->n;
	*found = 0;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = memcmp(d->at + middle * bytes, digest, bytes);
		*found |= order == 0;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int digests_has(const struct digests *d, const uint8_t *digest, size_t bytes)
{
	int found;
	digests_place(d, digest, bytes, &found);
	return found;
}

/* Into a sorted D, once. */
static int digests_insert(struct digests *d, const uint8_t *digest, size_t bytes)
{
	uint8_t copy[HASH_BYTES_MAX];
	int found;
	memcpy(copy, digest, bytes);
	size_t place = digests_place(d, copy, bytes, &found);
	int rc = found ? 0 : digests_add(d, copy, bytes);
	if (found || rc < 0)
		return rc;
	memmove(d->at + (place + 1) * bytes, d->at + place * bytes, (d->n - 1 - place) * bytes);
	memcpy(d->at + place * bytes, copy, bytes);
	return 0;
}

/* What says only how far a boot came: a list holds what was started, not how often it was tried. */
static int is_progress(const struct measured *m, const struct event *e)
{
	static const char *const WORDS[] = { "Calling EFI Application from Boot Option",
					     "Returning from EFI Application from Boot Option" };
	return firmware_is_separator(m, e) || firmware_is(m, e, WORDS[0], strlen(WORDS[0])) ||
	       firmware_is(m, e, WORDS[1], strlen(WORDS[1]));
}

static int gather_list(const struct measured *m, size_t list, struct digests *out)
{
	int rc = 0;
	size_t bytes = hash_bytes(m->pcrs->bank);
	for (size_t i = 0; rc >= 0 && i < eventlog_count(m->log); i++) {
		const struct event *e = eventlog_event(m->log, i);
		if (e->pcr != LISTS[list].pcr || e->type == EV_NO_ACTION || is_progress(m, e))
			continue;
		rc = LISTS[list].rule == RULE_SET ? digests_insert(out, e->digest, bytes)
						  : digests_add(out, e->digest, bytes);
	}
	return rc;
}

static int is_action_of_pcr7(const struct measured *m, const struct event *e)
{
	static const char *const WORDS[] = { "UEFI Debug Mode", "DMA Protection Disabled" };
	return firmware_is(m, e, WORDS[0], strlen(WORDS[0])) ||
	       firmware_is(m, e, WORDS[1], strlen(WORDS[1]));
}

static int add_dbx(const uint8_t digest[static 32], void *arg)
{
	return digests_insert(arg, digest, DBX_BYTES);
}

/* A variable before PCR 7's separator. */
static int add_config(struct baseline *b, const struct measured *m, const struct event *e,
		      struct fault *f)
{
	struct efi_variable v;
	size_t i = 0;
	if (firmware_variable(m, e, &v) < 0)
		return fault_set(f, ERR_POLICY, "PCR 7 has an event that is no variable");
	if (!baseline_plain_name(v.name) || (v.which != EFI_DBX && strcmp(v.name, "dbx") == 0))
		return fault_set(f, ERR_POLICY, "PCR 7 has a variable with a strange name");
	if (v.which == EFI_DBX) {
		if (b->dbx.n)
			return fault_set(f, ERR_POLICY, "PCR 7 has dbx twice");
		int rc = firmware_signatures(&v, add_dbx, &b->dbx);
		return rc < 0 ? fault_set(f, rc == -ENOMEM ? rc : ERR_POLICY,
					  "dbx in PCR 7 cannot be read: %s", err_text(rc))
			      : 0;
	}
	while (i < b->n_config && strcmp(b->config[i].name, v.name) < 0)
		i++;
	if (i < b->n_config && strcmp(b->config[i].name, v.name) == 0)
		return fault_set(f, ERR_POLICY, "PCR 7 has %s twice", v.name);
	if (b->n_config == BASELINE_CONFIG_MAX)
		return fault_set(f, ERR_LIMIT, "PCR 7 has more than %d variables",
				 BASELINE_CONFIG_MAX);
	memmove(&b->config[i + 1], &b->config[i], (b->n_config - i) * sizeof(b->config[0]));
	snprintf(b->config[i].name, sizeof(b->config[i].name), "%s", v.name);
	memcpy(b->config[i].digest, e->digest, hash_bytes(m->pcrs->bank));
	b->n_config++;
	return 0;
}

/* PCR 7 into config, dbx and authority: every event of it is in one of them. */
static int gather_pcr7(const struct measured *m, struct baseline *b, struct fault *f)
{
	int rc = 0, behind = 0;
	for (size_t i = 0; rc >= 0 && i < eventlog_count(m->log); i++) {
		const struct event *e = eventlog_event(m->log, i);
		if (e->pcr != 7 || e->type == EV_NO_ACTION)
			continue;
		if (firmware_is_separator(m, e))
			behind = 1;
		else if (behind)
			rc = digests_insert(&b->authority, e->digest, hash_bytes(m->pcrs->bank));
		else if (!is_action_of_pcr7(m, e))
			rc = add_config(b, m, e, f);
	}
	if (rc >= 0 && !behind)
		return fault_set(f, ERR_POLICY, "PCR 7 has no separator");
	return rc < 0 ? fault_set(f, rc, "PCR 7's events: %s", err_text(rc)) : 0;
}

/* All that M has of what a structured baseline may hold. */
static int gather(const struct measured *m, struct baseline *b, struct fault *f)
{
	b->kind = BASELINE_STRUCTURED;
	b->pcrs.bank = m->pcrs->bank;
	if (!m->log)
		return fault_set(f, ERR_POLICY, "there is no event log that can be read");
	if (!(m->proven & (1U << 7)))
		return fault_set(f, ERR_POLICY, "the event log does not replay to PCR 7");
	int rc = gather_pcr7(m, b, f);
	for (size_t i = 0; rc >= 0 && i < BASELINE_LISTS; i++) {
		if (!(m->proven & (1U << LISTS[i].pcr)))
			continue;
		b->listed |= 1U << i;
		rc = gather_list(m, i, &b->list[i]);
		if (rc < 0)
			return fault_set(f, rc, "PCR %u's events: %s", LISTS[i].pcr, err_text(rc));
	}
	return rc;
}

static int learn_structured(const struct measured *m, struct baseline *b, struct fault *f)
{
	int rc = gather(m, b, f);
	for (size_t i = 0; rc >= 0 && i < BASELINE_LISTS; i++) {
		if (!(b->listed & (1U << i)) && LISTS[i].pcr != PCR_PHASES)
			return fault_set(f, ERR_POLICY, "the event log does not replay to PCR %u",
					 LISTS[i].pcr);
	}
	return rc;
}

int baseline_learn(const char *name, enum baseline_kind kind, const struct measured *m,
		   struct baseline **out, struct fault *f)
{
	struct baseline *b = calloc(1, sizeof(*b));
	int rc = 0;
	if (!b)
		return fault_set(f, -ENOMEM, "a baseline cannot be made: %s", err_text(-ENOMEM));
	snprintf(b->name, sizeof(b->name), "%s", name);
	b->kind = kind;
	if (kind == BASELINE_STRUCTURED) {
		rc = learn_structured(m, b, f);
	} else if ((m->pcrs->mask & BASELINE_EXACT_MASK) != BASELINE_EXACT_MASK) {
		rc = fault_set(f, ERR_POLICY, "not all of PCRs 0, 2, 3, 4 and 7 were quoted");
	} else {
		b->pcrs = *m->pcrs;
		b->pcrs.mask = BASELINE_EXACT_MASK;
	}
	if (rc < 0) {
		baseline_free(b);
		return rc;
	}
	*out = b;
	return 0;
}

/* Count a difference; the first is told. */
static void differ(unsigned *n, char why[static FINDING_TEXT_MAX], const char *fmt, ...)
	PRINTF_LIKE(3, 4);
static void differ(unsigned *n, char why[static FINDING_TEXT_MAX], const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if ((*n)++ == 0)
		vsnprintf(why, FINDING_TEXT_MAX, fmt, ap);
	va_end(ap);
}

/* The first digits of a digest, for a person. */
static const char *brief(const uint8_t *digest, char out[static 17])
{
	for (size_t i = 0; i < 8; i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
	return out;
}

static unsigned differs_exact(const struct baseline *b, const struct measured *m,
			      char why[static FINDING_TEXT_MAX])
{
	unsigned n = 0;
	char is[17], was[17];
	for (unsigned i = 0; i < PCR_COUNT; i++) {
		if (!(b->pcrs.mask & (1U << i)))
			continue;
		if (!(m->pcrs->mask & (1U << i)))
			differ(&n, why, "PCR %u was not quoted", i);
		else if (memcmp(m->pcrs->value[i], b->pcrs.value[i], hash_bytes(b->pcrs.bank)) != 0)
			differ(&n, why, "PCR %u is %s..., not %s...", i,
			       brief(m->pcrs->value[i], is), brief(b->pcrs.value[i], was));
	}
	return n;
}

static unsigned differs_config(const struct baseline *b, const struct baseline *h,
			       char why[static FINDING_TEXT_MAX])
{
	unsigned n = 0;
	size_t i = 0, k = 0;
	while (i < b->n_config || k < h->n_config) {
		int order = i == b->n_config   ? 1
			    : k == h->n_config ? -1
					       : strcmp(b->config[i].name, h->config[k].name);
		if (order < 0)
			differ(&n, why, "PCR 7: %s was not measured", b->config[i].name);
		else if (order > 0)
			differ(&n, why, "PCR 7: %s is not in the baseline", h->config[k].name);
		else if (memcmp(b->config[i].digest, h->config[k].digest,
				hash_bytes(b->pcrs.bank)) != 0)
			differ(&n, why, "PCR 7: %s has another value", h->config[k].name);
		i += order <= 0;
		k += order >= 0;
	}
	return n;
}

static unsigned differs_list(const struct baseline *b, const struct baseline *h, size_t i,
			     char why[static FINDING_TEXT_MAX])
{
	unsigned n = 0, pcr = LISTS[i].pcr;
	const struct digests *want = &b->list[i], *have = &h->list[i];
	size_t bytes = hash_bytes(b->pcrs.bank);
	char text[17];
	if (!(h->listed & (1U << i))) {
		differ(&n, why, "the event log does not replay to PCR %u", pcr);
	} else if (LISTS[i].rule == RULE_SET) {
		if (want->n && !have->n)
			differ(&n, why, "PCR %u: nothing was measured", pcr);
		for (size_t k = 0; k < have->n; k++) {
			const uint8_t *at = have->at + k * bytes;
			if (!digests_has(want, at, bytes))
				differ(&n, why, "PCR %u: %s... is not in the baseline", pcr,
				       brief(at, text));
		}
	} else {
		size_t k = 0;
		while (k < want->n && k < have->n &&
		       memcmp(want->at + k * bytes, have->at + k * bytes, bytes) == 0)
			k++;
		if (k < have->n)
			differ(&n, why, "PCR %u: event %zu, %s..., is another than the baseline's",
			       pcr, k + 1, brief(have->at + k * bytes, text));
		else if (k < want->n)
			differ(&n, why, "PCR %u: %zu events instead of %zu", pcr, have->n, want->n);
	}
	return n;
}

static unsigned differs_structured(const struct baseline *b, const struct measured *m,
				   char why[static FINDING_TEXT_MAX])
{
	struct fault f = { 0 };
	char text[17];
	unsigned n = 0;
	struct baseline *h = calloc(1, sizeof(*h));
	int rc = h ? gather(m, h, &f) : -ENOMEM;
	if (rc < 0) {
		/* All of it differs: another baseline may be nearer, none can match. */
		snprintf(why, FINDING_TEXT_MAX, "%s", f.text[0] ? f.text : err_text(rc));
		baseline_free(h);
		return BASELINE_DIGESTS_MAX;
	}
	const size_t bytes = hash_bytes(b->pcrs.bank);
	char other[FINDING_TEXT_MAX] = "";
	unsigned parts = differs_config(b, h, other);
	if (parts)
		differ(&n, why, "%s", other);
	n += parts ? parts - 1 : 0;
	for (size_t i = 0; i < h->authority.n; i++) {
		const uint8_t *at = h->authority.at + i * bytes;
		if (!digests_has(&b->authority, at, bytes))
			differ(&n, why, "PCR 7: %s... behind the separator is not in the baseline",
			       brief(at, text));
	}
	for (size_t i = 0; i < b->dbx.n; i++) {
		const uint8_t *at = b->dbx.at + i * DBX_BYTES;
		if (!digests_has(&h->dbx, at, DBX_BYTES))
			differ(&n, why, "PCR 7: dbx does not revoke %s...", brief(at, text));
	}
	for (size_t i = 0; i < BASELINE_LISTS; i++) {
		if (!(b->listed & (1U << i)))
			continue;
		parts = differs_list(b, h, i, other);
		if (parts)
			differ(&n, why, "%s", other);
		n += parts ? parts - 1 : 0;
	}
	baseline_free(h);
	return n;
}

unsigned baseline_differs(const struct baseline *b, const struct measured *m,
			  char why[static FINDING_TEXT_MAX])
{
	why[0] = '\0';
	if (b->pcrs.bank != m->pcrs->bank) {
		snprintf(why, FINDING_TEXT_MAX, "it is of bank %s", hash_name(b->pcrs.bank));
		return BASELINE_DIGESTS_MAX;
	}
	return b->kind == BASELINE_EXACT ? differs_exact(b, m, why) : differs_structured(b, m, why);
}

void baseline_about(const struct baseline *b, char about[static BASELINE_ABOUT_MAX])
{
	size_t n = 0, lists = 0;
	for (unsigned i = 0; i < PCR_COUNT; i++)
		n += (b->pcrs.mask >> i) & 1;
	for (size_t i = 0; i < BASELINE_LISTS; i++)
		lists += (b->listed >> i) & 1;
	if (b->kind == BASELINE_EXACT)
		snprintf(about, BASELINE_ABOUT_MAX, "%s, %zu PCR%s", hash_name(b->pcrs.bank), n,
			 n == 1 ? "" : "s");
	else
		snprintf(about, BASELINE_ABOUT_MAX,
			 "%s, %zu variables, %zu authorities, %zu revocations, events of %zu PCRs",
			 hash_name(b->pcrs.bank), b->n_config, b->authority.n, b->dbx.n, lists);
}

/* The rows of LISTS, for guardian/baseline_form.c. */
unsigned baseline_list_pcr(size_t i)
{
	return LISTS[i].pcr;
}

int baseline_list_is_set(size_t i)
{
	return LISTS[i].rule == RULE_SET;
}

int baseline_digests_add(struct digests *d, const uint8_t *digest, size_t bytes, int sorted)
{
	/* In a sorted one each stands once, in its one order. */
	if (sorted && d->n && memcmp(d->at + (d->n - 1) * bytes, digest, bytes) >= 0)
		return ERR_FORMAT;
	return digests_add(d, digest, bytes);
}
