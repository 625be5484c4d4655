/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hello and answer: what the two workers tell each other on the first channel of a migration before
 * a byte of QEMU's passes (docs/FORMAT.md, "Hello and answer").
 *
 * May be used by: migration/, worker/, in every phase.  No allocation, no system call.
 */
#ifndef SHIELDVM_MIGRATION_HELLO_H
#define SHIELDVM_MIGRATION_HELLO_H

#include "crypto/protector.h"

#define HELLO_BYTES	     64
#define ANSWER_BYTES_MAX     587
#define ANSWER_SENTENCE_SIZE 512 /* with the NUL */

enum {
	HELLO_MORE_MEMORY = 1, /* more memory channels follow (multifd, preemption) */
	HELLO_DISKS = 2,       /* disk channels */
	HELLO_RECOVERY = 4,    /* this goes on with an attempt whose link broke */
	HELLO_FEATURES = 7,
};

struct hello {
	enum shield_level level;
	uint32_t features;
	uint8_t tpm_id[PROTECTOR_TPM_ID_BYTES];
	uint8_t policy[PROTECTOR_POLICY_BYTES]; /* protector_policy() */
};

struct answer {
	int refused; /* else all else is empty */
	char rule[PROTECTOR_RULE_MAX];
	char sentence[ANSWER_SENTENCE_SIZE];
};

/* What this host says of a VM with FACTS, of OWNER.  ERR_CRYPTO. */
int hello_make(const struct protector_facts *facts, const struct jwk *owner, uint32_t features,
	       struct hello *h) MUST_CHECK;

void hello_encode(const struct hello *h, uint8_t out[static HELLO_BYTES]);

/* ERR_FORMAT, ERR_VERSION, ERR_TRUNCATED, ERR_TRAILING; H is then as it was. */
int hello_parse(const uint8_t *p, size_t n, struct hello *h, struct fault *f) MUST_CHECK;

/* The destination's verdict on what the source says, THEIRS, when it would say OURS itself: the
 * same level, vTPM and policy.  The features are the caller's to judge. */
void hello_judge(const struct hello *ours, const struct hello *theirs, struct answer *verdict);

/* The verdict on a hello of another version, or with features of another one. */
void hello_refuse_version(struct answer *verdict);

/* How many bytes it has.  Characters that may not be in it are replaced. */
size_t answer_encode(const struct answer *a, uint8_t out[static ANSWER_BYTES_MAX]);

/* As hello_parse(). */
int answer_parse(const uint8_t *p, size_t n, struct answer *a, struct fault *f) MUST_CHECK;

#endif
