/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One baseline of a policy: learned, compared, and in JSON.
 *
 * Private to guardian/.  No system call but the allocator's.
 */
#ifndef SHIELDVM_GUARDIAN_BASELINE_H
#define SHIELDVM_GUARDIAN_BASELINE_H

#include "guardian/firmware.h"

#define BASELINE_CONFIG_MAX  16	  /* variables in PCR 7 before the separator */
#define BASELINE_DIGESTS_MAX 8192 /* in one list */
#define BASELINE_LISTS	     9
#define BASELINE_NAME_BYTES  64 /* of a variable, with the NUL */

struct digests {
	size_t n;
	uint8_t *at; /* owned; N digests, one behind the other */
};

struct baseline {
	char name[BASELINE_NAME_MAX + 1];
	enum baseline_kind kind;
	struct pcrs pcrs; /* exact: the values; structured: only the bank */

	/* Structured only. */
	size_t n_config;
	struct {
		char name[BASELINE_NAME_BYTES];
		uint8_t digest[HASH_BYTES_MAX];
	} config[BASELINE_CONFIG_MAX]; /* all but dbx, sorted by name */
	struct digests authority;      /* sorted; behind PCR 7's separator nothing else may be */
	struct digests dbx;	       /* sorted, SHA-256; all of them must be revoked */
	uint32_t listed;	       /* bit I: list[I] counts */
	struct digests list[BASELINE_LISTS];
};

void baseline_free(struct baseline *b);

/* 0, or ERR_FORMAT with a sentence if NAME is no baseline's. */
int baseline_check_name(const char *name, struct fault *f) MUST_CHECK;

/* Learn from what was measured and has replayed.  ERR_POLICY if it cannot be a baseline, with the
 * reason; -ENOMEM, ERR_LIMIT, ERR_CRYPTO. */
int baseline_learn(const char *name, enum baseline_kind kind, const struct measured *m,
		   struct baseline **out, struct fault *f) MUST_CHECK;

/* How many parts of M are not as B has them: 0 if it matches.  WHY is the first difference; empty
 * if there is none. */
unsigned baseline_differs(const struct baseline *b, const struct measured *m,
			  char why[static FINDING_TEXT_MAX]);

/* What it holds, in words. */
void baseline_about(const struct baseline *b, char about[static BASELINE_ABOUT_MAX]);

/* 1 if a variable's NAME can stand in a baseline. */
int baseline_plain_name(const char *name);

/* For guardian/baseline_form.c: what list I holds, and a digest more in D; ERR_FORMAT if it has to
 * be SORTED and would not be, ERR_LIMIT, -ENOMEM. */
unsigned baseline_list_pcr(size_t i);
int baseline_list_is_set(size_t i);
int baseline_digests_add(struct digests *d, const uint8_t *digest, size_t bytes,
			 int sorted) MUST_CHECK;

/* Append as one JSON object; errors of buf_reserve(). */
int baseline_put(const struct baseline *b, struct buf *out) MUST_CHECK;
/* Read such an object, strictly.  ERR_FORMAT, ERR_LIMIT, ERR_VERSION, -ENOMEM. */
int baseline_read(const json_t *o, struct baseline **out, struct fault *f) MUST_CHECK;

#endif
