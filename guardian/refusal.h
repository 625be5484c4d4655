/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Why a guardian refuses: a named status, which programs look at, and a sentence for a person.
 *
 * Ids, and what to do, are in attest/refusal.h and attest/finding.h.
 *
 * May be used by: guardian/, cli/.  No allocation, no system call.
 */
#ifndef SHIELDVM_GUARDIAN_REFUSAL_H
#define SHIELDVM_GUARDIAN_REFUSAL_H

#include "attest/refusal.h"
#include "base/err.h"

/* A zero one refuses nothing. */
struct refusal {
	const char *id; /* static */
	struct fault fault;
};

/*
 * Refuse for the reason ID (in one of the two tables; abort() if not: a broken invariant), with RC
 * and a sentence.  The first reason and sentence win.  R is not NULL.  Returns RC.
 */
int refuse(struct refusal *r, const char *id, int rc, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* The same where R's sentence was left by what failed; an RC >= 0 refuses nothing. */
int refuse_failed(struct refusal *r, const char *id, int rc);

#endif
