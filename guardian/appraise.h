/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A host's evidence, examined from its first byte to the verdict, fail closed and in the order of
 * the protocol: sizes, nonce, AK of the enrolled host, quote, PCR-bound key, logs replayed to the
 * quoted values, policy.
 *
 * May be used by: guardian/ (in its sandboxed verifier), cli/ (`shieldvm attest --dry-run`).  No
 * system call but the allocator's.
 */
#ifndef SHIELDVM_GUARDIAN_APPRAISE_H
#define SHIELDVM_GUARDIAN_APPRAISE_H

#include "attest/evidence.h"
#include "guardian/policy.h"

/* What the guardian knows by itself; nothing of it comes from the evidence. */
struct appraisal_of {
	struct challenge challenge; /* bank, and the one nonce that was given out */
	uint8_t host[UUID_BYTES];   /* whose enrolment this is */
	struct blob ak;		    /* TPMT_PUBLIC of that enrolment */
	const struct policy *policy;
};

struct appraisal {
	uint8_t bk_x[32], bk_y[32]; /* the PCR-bound key */
	uint8_t bk_name[TPM_NAME_BYTES];
	struct quote_clock clock;
	struct findings findings; /* all of them: a host's operator sees everything at once */
};

/*
 * 0 if the host is healthy: no finding FAILED and none UNKNOWN that the policy demands. ERR_POLICY,
 * ERR_AUTH, ERR_FORMAT ... by the first failure otherwise; findings are complete as far as evidence
 * could be trusted: after a failed quote nothing behind it is judged.
 */
int appraise(const struct appraisal_of *of, const struct evidence *e, struct appraisal *out,
	     struct fault *f) MUST_CHECK;

/*
 * Examine E as appraise() does, but for the policy, and learn baseline NAME from it into P.  OF's
 * policy is not looked at.  The errors of appraise() and of policy_learn(); P is then unchanged.
 */
int appraise_learn(const struct appraisal_of *of, const struct evidence *e, struct policy *p,
		   const char *name, enum baseline_kind kind, struct appraisal *out,
		   struct fault *f) MUST_CHECK;

#endif
