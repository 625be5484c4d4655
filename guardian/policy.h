/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a host must show: the guardian's policy, a JSON document (docs/FORMAT.md, "Guardian's
 * policy") of the checks demanded and of baselines, at least one of which must match.
 *
 * A check is a row of a table (guardian/checks.c): id, what it looks at in a host's evidence, when
 * it holds.  A baseline is exact (values of PCRs) or structured (sets of digests per PCR and kind
 * of event, learned from a log).
 *
 * May be used by: guardian/, cli/.  No system call but the allocator's.
 */
#ifndef SHIELDVM_GUARDIAN_POLICY_H
#define SHIELDVM_GUARDIAN_POLICY_H

#include "attest/evidence.h"
#include "attest/finding.h"
#include "base/buf.h"

#define POLICY_TEXT_MAX	     (4 * 1024 * 1024)
#define POLICY_BASELINES_MAX 256
#define BASELINE_NAME_MAX    64

struct policy;

/* The policy of a new guardian: no baseline yet (so nobody passes), and the checks that every host
 * can meet demanded. */
int policy_new(struct policy **out) MUST_CHECK;
void policy_free(struct policy *p);

/* Strict; ERR_FORMAT, ERR_LIMIT, ERR_VERSION.  The text is one encoding: members sorted. */
int policy_parse(const char *text, size_t n, struct policy **out, struct fault *f) MUST_CHECK;
int policy_text(const struct policy *p, struct buf *out, struct fault *f) MUST_CHECK;

/* What the parts of evidence say, once the quote has been verified. */
struct measured {
	const struct pcrs *pcrs;    /* quoted */
	const struct eventlog *log; /* NULL: none that could be read */
	uint32_t proven;	    /* bit N: the log replays to the quoted PCR N */
	const struct ima *ima;	    /* NULL: none; cut to its matching prefix */
};

enum baseline_kind { BASELINE_EXACT, BASELINE_STRUCTURED };
/* The PCRs that an exact baseline learns: firmware, boot loader, Secure Boot.  Not 1 (differs from
 * machine to machine), nor 5 and 6 (boot order, wake reason). */
#define BASELINE_EXACT_MASK 0x9dU
/* Learn a baseline NAME from what was MEASURED; ERR_STATE if the name is taken, ERR_FORMAT for a
 * bad name ([a-z0-9.-]). */
int policy_learn(struct policy *p, const char *name, enum baseline_kind kind,
		 const struct measured *m, struct fault *f) MUST_CHECK;
/* Add an exact baseline of VALUES.  Errors as policy_learn(). */
int policy_add_exact(struct policy *p, const char *name, const struct pcrs *values,
		     struct fault *f) MUST_CHECK;
/* ERR_STATE if there is no baseline NAME. */
int policy_remove(struct policy *p, const char *name, struct fault *f) MUST_CHECK;
/* Demand check ID, or no longer.  ERR_USAGE for an unknown one. */
int policy_demand(struct policy *p, const char *id, int wanted, struct fault *f) MUST_CHECK;
/* 1 if check ID is demanded. */
int policy_demands(const struct policy *p, const char *id);

/* The ids of all checks, in order; NULL behind the last. */
const char *policy_check(size_t i);

/* The name of baseline I, in their order, or NULL behind the last; *KIND and what it holds, in
 * words, in ABOUT. */
#define BASELINE_ABOUT_MAX 160
const char *policy_baseline(const struct policy *p, size_t i, enum baseline_kind *kind,
			    char about[static BASELINE_ABOUT_MAX]);

/*
 * Judge: a finding for each check and for the baselines ("baseline.match": which one, or what
 * differs from the nearest).  A check that is demanded and does not hold, or that nothing shows, is
 * FAILED; one that is not demanded is OK or UNKNOWN, with "not demanded" in the text.  Never fails
 * by itself: what cannot be judged is a failed finding.
 */
void policy_judge(const struct policy *p, const struct measured *m, struct findings *out);

#endif
