/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Why a guardian refuses, and what to do then.
 *
 * What is wrong with a host's keys or evidence has the ids of attest/finding.h; what is wrong with
 * the request, the host's enrolment, the certificate, the lease or the guardian itself those of the
 * table in attest/refusal.c.  Ids are stable.
 *
 * May be used by: attest/ (tells), guardian/ (refuses: guardian/refusal.h), cli/.  No allocation,
 * no system call.
 */
#ifndef SHIELDVM_ATTEST_REFUSAL_H
#define SHIELDVM_ATTEST_REFUSAL_H

/* What to do when ID refuses; static, NULL for an id that is in neither table. */
const char *refusal_remedy(const char *id);

/* The ids of this table, for the manual and the tests; NULL behind the last. */
const char *refusal_id(unsigned i);

#endif
