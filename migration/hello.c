/* SPDX-License-Identifier: BSD-3-Clause */
#include "migration/hello.h"

#include <stdio.h>

#define HELLO_VERSION  2
#define ANSWER_VERSION 1 /* as long as a source of any version can read a refusal */
#define MAGIC_SIZE     8

/* docs/FORMAT.md, "Hello and answer". */
enum {
	AT_VERSION = MAGIC_SIZE,
	AT_LEVEL = 9,
	AT_RESERVED = 10,
	AT_FEATURES = 12,
	AT_TPM = 16,
	AT_POLICY = 32,

	AT_VERDICT = 9,
	AT_RULE = 10,
	ANSWER_BYTES_MIN = 13,
};
_Static_assert(AT_POLICY + PROTECTOR_POLICY_BYTES == HELLO_BYTES, "the policy is the last");
_Static_assert(ANSWER_BYTES_MIN + PROTECTOR_RULE_MAX - 1 + ANSWER_SENTENCE_SIZE - 1 ==
		       ANSWER_BYTES_MAX,
	       "the longest rule and sentence");

static const uint8_t HELLO_MAGIC[MAGIC_SIZE] = { 'S', 'H', 'V', 'D', 'H', 'E', 'L', 'O' };
static const uint8_t ANSWER_MAGIC[MAGIC_SIZE] = { 'S', 'H', 'V', 'D', 'A', 'N', 'S', 'W' };

/* What hello and answer have in common: magic, version, and at least MIN bytes. */
static int check_front(const char *what, const uint8_t magic[static MAGIC_SIZE], unsigned version,
		       size_t min, const uint8_t *p, size_t n, struct fault *f)
{
	if (memcmp(p, magic, n < MAGIC_SIZE ? n : MAGIC_SIZE) != 0)
		return fault_set(f, ERR_FORMAT, "what the other end sends is no %s", what);
	if (n <= AT_VERSION)
		return fault_set(f, ERR_TRUNCATED, "the other end's %s is cut off", what);
	if (p[AT_VERSION] != version)
		return fault_set(f, ERR_VERSION,
				 "the other end's %s has version %u; this build knows %u only",
				 what, p[AT_VERSION], version);
	if (n < min)
		return fault_set(f, ERR_TRUNCATED, "the other end's %s is cut off", what);
	return 0;
}

int hello_make(const struct protector_facts *facts, const struct jwk *owner, uint32_t features,
	       struct hello *h)
{
	h->level = facts->level;
	h->features = features;
	memcpy(h->tpm_id, facts->tpm_id, sizeof(h->tpm_id));
	return protector_policy(facts, owner, h->policy);
}

void hello_encode(const struct hello *h, uint8_t out[static HELLO_BYTES])
{
	memset(out, 0, HELLO_BYTES);
	memcpy(out, HELLO_MAGIC, MAGIC_SIZE);
	out[AT_VERSION] = HELLO_VERSION;
	out[AT_LEVEL] = (uint8_t)h->level;
	for (int i = 0; i < 4; i++)
		out[AT_FEATURES + i] = (uint8_t)(h->features >> (24 - 8 * i));
	memcpy(out + AT_TPM, h->tpm_id, sizeof(h->tpm_id));
	memcpy(out + AT_POLICY, h->policy, sizeof(h->policy));
}

int hello_parse(const uint8_t *p, size_t n, struct hello *h, struct fault *f)
{
	int rc = check_front("hello", HELLO_MAGIC, HELLO_VERSION, HELLO_BYTES, p, n, f);
	if (rc < 0)
		return rc;
	if (n > HELLO_BYTES)
		return fault_set(f, ERR_TRAILING, "the other end's hello has %zu bytes too many",
				 n - HELLO_BYTES);
	unsigned level = p[AT_LEVEL];
	uint32_t features = 0;
	for (int i = 0; i < 4; i++)
		features = features << 8 | p[AT_FEATURES + i];
	if ((level != LEVEL_ENCRYPTION_SUPPORTED && level != LEVEL_SHIELDED) || p[AT_RESERVED] ||
	    p[AT_RESERVED + 1])
		return fault_set(f, ERR_FORMAT, "the other end's hello is of no known level");
	if (features & ~(uint32_t)HELLO_FEATURES)
		return fault_set(f, ERR_VERSION,
				 "the other end wants a feature that this build does not know "
				 "(0x%x)",
				 features);
	h->level = (enum shield_level)level;
	h->features = features;
	memcpy(h->tpm_id, p + AT_TPM, sizeof(h->tpm_id));
	memcpy(h->policy, p + AT_POLICY, sizeof(h->policy));
	return 0;
}

static void refuse(struct answer *a, const char *rule, const char *sentence)
{
	a->refused = 1;
	snprintf(a->rule, sizeof(a->rule), "%s", rule);
	snprintf(a->sentence, sizeof(a->sentence), "%s", sentence);
}

void hello_refuse_version(struct answer *verdict)
{
	*verdict = (struct answer){ 0 };
	refuse(verdict, "migration.version",
	       "the source's shieldvm speaks another version of migrations than the one on this "
	       "host: install the same on both");
}

void hello_judge(const struct hello *ours, const struct hello *theirs, struct answer *verdict)
{
	*verdict = (struct answer){ 0 };
	if (theirs->level != ours->level)
		refuse(verdict, "migration.level",
		       "the protector on this host has another level than on the source: define "
		       "the domain with the same one on both");
	else if (memcmp(theirs->tpm_id, ours->tpm_id, sizeof(ours->tpm_id)) != 0)
		refuse(verdict, "migration.tpm",
		       "the protector on this host names another vTPM than on the source: define "
		       "the domain with the same one on both");
	else if (memcmp(theirs->policy, ours->policy, sizeof(ours->policy)) != 0)
		refuse(verdict, "migration.policy",
		       "the owner's choices in the protector on this host are not those on the "
		       "source: define the domain with the same one on both");
}

static int rule_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
}

static int sentence_byte(uint8_t c)
{
	return c >= 0x20 && c < 0x7f;
}

/* Put TEXT to DST, or OTHERWISE if it is empty.  Returns its length. */
static size_t put(uint8_t *dst, const char *text, const char *otherwise, int (*valid)(uint8_t),
		  uint8_t replacement)
{
	size_t n = 0;
	for (const char *p = *text ? text : otherwise; *p; p++, n++)
		dst[n] = valid((uint8_t)*p) ? (uint8_t)*p : replacement;
	return n;
}

size_t answer_encode(const struct answer *a, uint8_t out[static ANSWER_BYTES_MAX])
{
	size_t rule = 0, sentence = 0;
	memcpy(out, ANSWER_MAGIC, MAGIC_SIZE);
	out[AT_VERSION] = ANSWER_VERSION;
	out[AT_VERDICT] = a->refused ? 1 : 0;
	if (a->refused)
		rule = put(out + AT_RULE + 1, a->rule, "migration.refused", rule_byte, '-');
	out[AT_RULE] = (uint8_t)rule;
	uint8_t *p = out + AT_RULE + 1 + rule;
	if (a->refused)
		sentence = put(p + 2, a->sentence, "no reason was given", sentence_byte, '?');
	p[0] = (uint8_t)(sentence >> 8);
	p[1] = (uint8_t)sentence;
	return ANSWER_BYTES_MIN + rule + sentence;
}

/* Take N bytes to the text DST of SIZE.  0 if they may not be there. */
static int take(char *dst, size_t size, const uint8_t *src, size_t n, int (*valid)(uint8_t))
{
	if (n >= size)
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (!valid(src[i]))
			return 0;
	}
	memcpy(dst, src, n);
	dst[n] = '\0';
	return 1;
}

int answer_parse(const uint8_t *p, size_t n, struct answer *a, struct fault *f)
{
	struct answer got = { 0 };
	int rc = check_front("answer", ANSWER_MAGIC, ANSWER_VERSION, ANSWER_BYTES_MIN, p, n, f);
	if (rc < 0)
		return rc;
	size_t rule = p[AT_RULE];
	if (n < ANSWER_BYTES_MIN + rule)
		return fault_set(f, ERR_TRUNCATED, "the other end's answer is cut off");
	const uint8_t *q = p + AT_RULE + 1 + rule;
	size_t sentence = (size_t)q[0] << 8 | q[1];
	if (n != ANSWER_BYTES_MIN + rule + sentence)
		return fault_set(
			f, n < ANSWER_BYTES_MIN + rule + sentence ? ERR_TRUNCATED : ERR_TRAILING,
			"the other end's answer has not the size that it says");
	if (p[AT_VERDICT] > 1)
		return fault_set(
			f, ERR_VERSION,
			"the other end's answer is a verdict that this build does not know "
			"(%u)",
			p[AT_VERDICT]);
	got.refused = p[AT_VERDICT];
	if ((rule > 0) != got.refused || (sentence > 0) != got.refused ||
	    !take(got.rule, sizeof(got.rule), p + AT_RULE + 1, rule, rule_byte) ||
	    !take(got.sentence, sizeof(got.sentence), q + 2, sentence, sentence_byte))
		return fault_set(f, ERR_FORMAT, "the other end's answer is not well-formed");
	*a = got;
	return 0;
}
