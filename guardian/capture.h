/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A host's evidence in a file, to learn a baseline from (docs/FORMAT.md, "Capture"): with the
 * attestation key that signed it, so that it can be seen to be whole.  Whose TPM that key is in
 * nobody vouches for but who captured it and carried it to the guardian.
 *
 * May be used by: guardian/, cli/.  No system call but the allocator's.
 */
#ifndef SHIELDVM_GUARDIAN_CAPTURE_H
#define SHIELDVM_GUARDIAN_CAPTURE_H

#include "guardian/appraise.h"

#define CAPTURE_TEXT_MAX (EVIDENCE_TEXT_MAX + 4096)

struct capture {
	struct buf ak; /* TPMT_PUBLIC */
	struct evidence evidence;
};
void capture_done(struct capture *c);

/* Append as JSON; errors of evidence_text(). */
int capture_text(struct blob ak, const struct evidence *e, struct buf *out,
		 struct fault *f) MUST_CHECK;
/* Read, strictly.  As evidence_parse(). */
int capture_parse(const char *text, size_t n, struct capture *out, struct fault *f) MUST_CHECK;

/* Verify C by itself and learn baseline NAME from it: appraise_learn(), with the challenge and the
 * host that it names.  C must have the values of CHALLENGE_MASK. */
int capture_learn(const struct capture *c, struct policy *p, const char *name,
		  enum baseline_kind kind, struct fault *f) MUST_CHECK;

#endif
