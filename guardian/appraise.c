/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/appraise.h"

#include <stdio.h>
#include <string.h>

/* PCRs 0 to 9 and 11 to 14; 10 is IMA's. */
#define REPLAYED_MASK 0x7bffU
#define PCR_IMA	      10
#define PCR_PHASES    11

/* What systemd-pcrphase extends while a system starts (systemd-pcrphase.service(8)). */
static const char *const PHASES[] = { "enter-initrd", "leave-initrd", "sysinit", "ready" };
#define N_PHASES	     (sizeof(PHASES) / sizeof(PHASES[0]))
#define FIRST_WITHOUT_INITRD 2

/* The verdict of one step: its finding, and the first failure's error. */
static int step(struct appraisal *out, const char *id, int rc, const struct fault *f,
		const char *good)
{
	if (rc < 0)
		return finding_fail(&out->findings, id, rc, f);
	finding_add(&out->findings, id, FINDING_OK, "%s", good);
	return 0;
}

/* Is it an answer to the challenge, and this host's?  What is not signed is judged only to say so
 * plainly: the quote holds nonce and host too. */
static int check_frame(const struct appraisal_of *of, const struct evidence *e,
		       struct appraisal *out)
{
	struct fault f = { 0 };
	int rc = step(out, "evidence.size", evidence_check_sizes(e, &f), &f,
		      "all parts are within their sizes");
	if (rc < 0)
		return rc;
	if (memcmp(e->nonce, of->challenge.nonce, sizeof(e->nonce)) != 0)
		rc = fault_set(&f, ERR_AUTH, "the evidence answers another challenge");
	rc = step(out, "evidence.nonce", rc, &f, "the one that was given out");
	if (rc < 0)
		return rc;
	if (memcmp(e->host, of->host, sizeof(e->host)) != 0)
		rc = fault_set(&f, ERR_AUTH, "the evidence names another host");
	rc = step(out, "evidence.host", rc, &f, "the enrolled host");
	if (rc < 0)
		return rc;
	if (e->pcrs.bank != of->challenge.bank || e->pcrs.mask != of->challenge.mask)
		rc = fault_set(&f, ERR_POLICY, "PCRs 0x%x of %s were sent instead of 0x%x of %s",
			       e->pcrs.mask,
			       hash_bytes(e->pcrs.bank) ? hash_name(e->pcrs.bank) : "another bank",
			       of->challenge.mask, hash_name(of->challenge.bank));
	return step(out, "evidence.pcrs", rc, &f, "those that were asked for");
}

static struct blob of_buf(const struct buf *b)
{
	return (struct blob){ b->data, b->len };
}

static int check_quote(const struct appraisal_of *of, const struct evidence *e,
		       struct appraisal *out)
{
	struct fault f = { 0 };
	const char *id = "ak.attributes";
	int rc = step(out, "ak.attributes", ak_check(of->ak, &id, &f), &f,
		      "restricted, made in its TPM and bound to it");
	if (rc < 0)
		return rc;
	uint8_t extra[QUOTE_EXTRA_BYTES];
	rc = tpm_name(of_buf(&e->bk_pub), out->bk_name, &f);
	if (rc < 0)
		return step(out, "key.format", rc, &f, "");
	rc = quote_extra(e->nonce, out->bk_name, e->worker, e->host, extra);
	if (rc < 0)
		return step(out, "quote.nonce", rc, &f, "");
	id = "quote.format";
	rc = quote_verify(of->ak, of_buf(&e->quote), of_buf(&e->quote_signature), extra, &e->pcrs,
			  &out->clock, &id, &f);
	if (rc < 0)
		return step(out, id, rc, &f, "");
	return step(out, "quote.signature", 0, &f,
		    "signed by the attestation key, over this challenge, host and these PCRs");
}

static int check_key(const struct appraisal_of *of, const struct evidence *e, struct appraisal *out)
{
	struct fault f = { 0 };
	struct quote_clock clock = { 0 };
	const char *id = "creation.format";
	int rc = creation_verify(of->ak, of_buf(&e->creation), of_buf(&e->creation_signature),
				 e->nonce, of_buf(&e->bk_pub), &clock, &id, &f);
	if (rc < 0)
		return step(out, id, rc, &f, "");
	rc = step(out, "creation.signature", 0, &f, "certified by the attestation key");
	if (clock.reset_count != out->clock.reset_count)
		rc = fault_set(&f, ERR_STATE,
			       "the TPM was reset between the key's making and the quote");
	rc = step(out, "creation.boot", rc, &f, "made since the TPM was last reset");
	if (rc < 0)
		return rc;
	id = "key.format";
	rc = bk_check(of_buf(&e->bk_pub), &e->pcrs, out->bk_x, out->bk_y, &id, &f);
	return rc < 0 ? step(out, id, rc, &f, "")
		      : step(out, "key.policy", 0, &f, "bound to the quoted PCRs");
}

/* Whether the quoted PCR 11 is what the log replays to, and then some phases of the system. */
static int phases_explain(const struct pcrs *replayed, const struct pcrs *quoted)
{
	const size_t bytes = hash_bytes(quoted->bank);
	for (size_t first = 0; first <= FIRST_WITHOUT_INITRD; first += FIRST_WITHOUT_INITRD) {
		uint8_t value[HASH_BYTES_MAX], digest[HASH_BYTES_MAX];
		memcpy(value, replayed->value[PCR_PHASES], bytes);
		for (size_t i = first; i < N_PHASES; i++) {
			if (hash_data(quoted->bank, PHASES[i], strlen(PHASES[i]), digest) < 0 ||
			    hash_extend(quoted->bank, value, digest) < 0)
				return 0;
			if (memcmp(value, quoted->value[PCR_PHASES], bytes) == 0)
				return 1;
		}
	}
	return 0;
}

/* Which of the quoted PCRs the log replays to. */
static int replay(const struct evidence *e, struct measured *m, struct appraisal *out)
{
	struct pcrs values;
	struct fault f = { 0 };
	int rc = eventlog_replay(m->log, &values);
	if (rc < 0)
		return step(out, "log.replay", rc, &f, "");
	const uint32_t mask = e->pcrs.mask & REPLAYED_MASK;
	const size_t bytes = hash_bytes(e->pcrs.bank);
	for (unsigned i = 0; i < PCR_COUNT; i++) {
		if ((mask & (1U << i)) && memcmp(values.value[i], e->pcrs.value[i], bytes) == 0)
			m->proven |= 1U << i;
	}
	int exact = (m->proven >> PCR_PHASES) & 1;
	if (!exact && (mask & (1U << PCR_PHASES)) && phases_explain(&values, &e->pcrs))
		m->proven |= 1U << PCR_PHASES;
	uint32_t differ = mask & ~m->proven;
	if (mask & (1U << PCR_PHASES) && differ & (1U << PCR_PHASES))
		finding_add(&out->findings, "log.runtime", FINDING_UNKNOWN,
			    "PCR 11 has more than the log and systemd's phases: what the log says"
			    " of it is not believed");
	else
		finding_add(&out->findings, "log.runtime", FINDING_OK, "PCR 11 is %s",
			    exact ? "what the log replays to"
				  : "what the log and systemd's phases replay to");
	differ &= ~(1U << PCR_PHASES);
	char list[64] = "";
	for (unsigned i = 0; i < PCR_COUNT; i++) {
		if (differ & (1U << i))
			snprintf(list + strlen(list), sizeof(list) - strlen(list), " %u", i);
	}
	if (differ)
		rc = fault_set(&f, ERR_AUTH, "the event log replays to other values in PCR%s",
			       list);
	return step(out, "log.replay", rc, &f, "every quoted PCR is what the log replays to");
}

static int check_log(const struct appraisal_of *of, const struct evidence *e, struct measured *m,
		     struct eventlog **log, struct appraisal *out)
{
	struct fault f = { 0 };
	const char *id = "log.header";
	if (e->eventlog.len == 0)
		return step(out, "log.absent",
			    fault_set(&f, ERR_POLICY, "there is no event log in the evidence"), &f,
			    "");
	int rc =
		eventlog_parse(e->eventlog.data, e->eventlog.len, of->challenge.bank, log, &id, &f);
	if (rc < 0)
		return step(out, id, rc, &f, "");
	m->log = *log;
	return replay(e, m, out);
}

static int never_extended(const struct pcrs *p, unsigned pcr)
{
	for (size_t i = 0; i < hash_bytes(p->bank); i++) {
		if (p->value[pcr][i])
			return 0;
	}
	return 1;
}

static int check_ima(const struct evidence *e, struct measured *m, struct ima **list,
		     struct appraisal *out)
{
	struct fault f = { 0 };
	const char *id = "ima.format";
	size_t n = 0;
	if (!(e->pcrs.mask & (1U << PCR_IMA)))
		return 0;
	/* A kernel without IMA: what a policy demands of it is not shown. */
	if (e->ima.len == 0 && never_extended(&e->pcrs, PCR_IMA)) {
		finding_add(&out->findings, "ima.absent", FINDING_UNKNOWN,
			    "this kernel measures nothing: PCR 10 was never extended");
		return 0;
	}
	if (e->ima.len == 0)
		return step(out, "ima.absent",
			    fault_set(&f, ERR_POLICY,
				      "PCR 10 was extended, and there is no measurement list"),
			    &f, "");
	int rc = ima_parse(e->ima.data, e->ima.len, list, &id, &f);
	if (rc < 0)
		return step(out, id, rc, &f, "");
	rc = ima_match(*list, e->pcrs.bank, e->pcrs.value[PCR_IMA], &n, &f);
	rc = step(out, "ima.replay", rc, &f, "a prefix of the list replays to the quoted PCR 10");
	if (rc < 0)
		return rc;
	m->ima = *list;
	rc = ima_check_aggregate(*list, &e->pcrs, &f);
	if (rc != ERR_VERSION)
		return step(out, "ima.boot-aggregate", rc, &f, "it is of the quoted PCRs");
	finding_add(&out->findings, "ima.boot-aggregate", FINDING_UNKNOWN, "%s", f.text);
	return 0;
}

/* What is examined of a host's evidence, and given back when it was judged. */
struct examined {
	struct eventlog *log;
	struct ima *ima;
	struct measured m;
	int trusted; /* what the TPM has signed holds: the rest can be judged */
};

static void examined_done(struct examined *x)
{
	ima_free(x->ima);
	eventlog_free(x->log);
}

/* All but the policy. */
static int examine(const struct appraisal_of *of, const struct evidence *e, struct examined *x,
		   struct appraisal *out)
{
	memset(out, 0, sizeof(*out));
	int rc = check_frame(of, e, out);
	if (rc >= 0)
		rc = check_quote(of, e, out);
	if (rc >= 0)
		rc = check_key(of, e, out);
	if (rc < 0)
		return rc;
	x->trusted = 1;
	x->m.pcrs = &e->pcrs;
	/* From here on everything is told, as the evidence is the host's. */
	rc = check_log(of, e, &x->m, &x->log, out);
	int ima_rc = check_ima(e, &x->m, &x->ima, out);
	return rc < 0 ? rc : ima_rc;
}

/* RC, or ERR_POLICY if a finding failed all the same; F gets the first that did. */
static int verdict(const struct findings *list, int rc, struct fault *f)
{
	for (unsigned i = 0; i < list->n; i++) {
		if (list->at[i].verdict == FINDING_FAILED)
			return fault_set(f, rc < 0 ? rc : ERR_POLICY, "%s: %s", list->at[i].id,
					 list->at[i].evidence);
	}
	return rc;
}

int appraise(const struct appraisal_of *of, const struct evidence *e, struct appraisal *out,
	     struct fault *f)
{
	struct examined x CLEANUP(examined_done) = { 0 };
	int rc = examine(of, e, &x, out);
	if (x.trusted)
		policy_judge(of->policy, &x.m, &out->findings);
	return verdict(&out->findings, rc, f);
}

int appraise_learn(const struct appraisal_of *of, const struct evidence *e, struct policy *p,
		   const char *name, enum baseline_kind kind, struct appraisal *out,
		   struct fault *f)
{
	struct examined x CLEANUP(examined_done) = { 0 };
	int rc = examine(of, e, &x, out);
	rc = verdict(&out->findings, rc, f);
	return rc < 0 ? rc : policy_learn(p, name, kind, &x.m, f);
}
