/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checks that a policy may demand by name, what they look at, and when they hold.  What they
 * mean and what to do is in attest/finding.c under the same ids.
 *
 * Private to guardian/.  No system call but the allocator's.
 */
#ifndef SHIELDVM_GUARDIAN_CHECKS_H
#define SHIELDVM_GUARDIAN_CHECKS_H

#include "guardian/cmdline.h"

struct check {
	const char *id;
	int by_default; /* demanded by a new policy: every host can meet it */
	/* Whether it holds; what was seen, in TEXT (never empty). */
	enum finding_verdict (*judge)(const struct measured *m, const struct cmdline *c,
				      char text[static FINDING_TEXT_MAX]);
};

/* The checks, sorted by id; NULL behind the last. */
const struct check *checks_at(size_t i);
/* The index of check ID, or -1. */
int checks_find(const char *id);
#define CHECKS_MAX 16

#endif
