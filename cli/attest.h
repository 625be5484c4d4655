/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parts of `shieldvm attest` and `shieldvm guardian`.
 */
#ifndef SHIELDVM_CLI_ATTEST_H
#define SHIELDVM_CLI_ATTEST_H

#include "attest/finding.h"
#include "crypto/healthcert.h"
#include "guardian/policy.h"

/* Who has judged: a dry run by the policy named POLICY, or else the guardian at that address, which
 * has certified (CERTIFICATE) or refused (the id REFUSED). */
struct attest_by {
	const char *policy;
	const char *guardian, *refused;
	const struct healthcert *certificate;
};

/* Print FINDINGS as a table, each failure with what to do, or with JSON as one object.  ERR_POLICY
 * with a sentence if one of them has failed. */
int attest_report(const struct findings *findings, const struct attest_by *by, int json,
		  struct fault *f) MUST_CHECK;

/* Attest to a guardian; the texts are NULL where the option was not given. */
struct attest_remote {
	const char *guardian; /* its addresses */
	const char *tcti, *eventlog, *ima;
	const char *certificate; /* where to write it */
	int host_key_only, json;
};
int attest_remotely(const struct attest_remote *o, struct fault *f) MUST_CHECK;

/* Read the policy in PATH, or in the guardian's own file if it is NULL; one that does not exist is
 * a new guardian's, unless MUST_EXIST.  *NAME is what it was read from. */
int guardian_policy_read(const char *path, int must_exist, struct policy **out, const char **name,
			 struct fault *f) MUST_CHECK;

/* Write P to that file, whole or not at all. */
int guardian_policy_write(const char *path, const struct policy *p, struct fault *f) MUST_CHECK;

/* shieldvm guardian policy push and fetch; as a command (cli/cli.h). */
int guardian_policy_remote(int argc, char **argv, struct fault *f) MUST_CHECK;

#endif
