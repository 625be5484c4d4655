/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parts of `shieldvm attest` and `shieldvm guardian`.
 */
#ifndef SHIELDVM_CLI_ATTEST_H
#define SHIELDVM_CLI_ATTEST_H

#include "attest/finding.h"
#include "guardian/policy.h"

/* Print FINDINGS as a table, each failure with what to do, or with JSON as one object. */
int attest_report(const struct findings *findings, const char *policy, int json,
		  struct fault *f) MUST_CHECK;

/* Read the policy in PATH, or in the guardian's own file if it is NULL; one that does not exist is
 * a new guardian's, unless MUST_EXIST.  *NAME is what it was read from. */
int guardian_policy_read(const char *path, int must_exist, struct policy **out, const char **name,
			 struct fault *f) MUST_CHECK;

/* Write P to that file, whole or not at all. */
int guardian_policy_write(const char *path, const struct policy *p, struct fault *f) MUST_CHECK;

#endif
