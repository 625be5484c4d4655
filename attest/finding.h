/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is found when a host's evidence is examined: named statuses, each with what it means and
 * what to do (attest/finding.c has the table, shieldvm-attest(8) prints it).  Ids are stable, like
 * rule ids, and are what programs look at; `boot.secure-boot`, `quote.nonce` ...
 *
 * May be used by: attest/, guardian/, cli/.  No allocation, no system call.
 */
#ifndef SHIELDVM_ATTEST_FINDING_H
#define SHIELDVM_ATTEST_FINDING_H

#include <stddef.h>

#include "base/err.h"

#define FINDINGS_MAX	 64
#define FINDING_TEXT_MAX 320

enum finding_verdict {
	FINDING_OK,
	FINDING_FAILED,	 /* shown to be wrong */
	FINDING_UNKNOWN, /* nothing in the evidence tells; counts as failed where it is demanded */
};

struct finding {
	const char *id; /* static */
	enum finding_verdict verdict;
	char evidence[FINDING_TEXT_MAX]; /* what was seen; printable */
};

struct findings {
	unsigned n;
	struct finding at[FINDINGS_MAX];
};

/*
 * Add a finding; ID must be in the table (abort() if not: a broken invariant).  More than
 * FINDINGS_MAX are dropped, but a failure then replaces the last OK, or the last UNKNOWN where
 * there is none.  The text is cut to its bound and made printable ASCII.
 */
void finding_add(struct findings *list, const char *id, enum finding_verdict verdict,
		 const char *fmt, ...) PRINTF_LIKE(4, 5);

/* Add a FINDING_FAILED with F's sentence as evidence; returns F's rc (or RC if F has none). */
int finding_fail(struct findings *list, const char *id, int rc, const struct fault *f);

/* 1 if none of LIST is FAILED (UNKNOWN does not count here). */
int findings_good(const struct findings *list);

/* The ids of those of LIST that have failed, with commas, as far as they go into SIZE characters;
 * "" if none has. */
void findings_failed(const struct findings *list, char *out, size_t size);

/* The finding with ID, or NULL. */
const struct finding *findings_get(const struct findings *list, const char *id);

/* What ID means, in a sentence, and what to do when it fails; static, never NULL for a known id. */
const char *finding_meaning(const char *id);
const char *finding_remedy(const char *id);

/* All ids in the table's order, for the manual and the tests; NULL behind the last. */
const char *finding_id(unsigned i);

#endif
