/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading the audit log's files, its rotated ones with it, and verifying all of them against the
 * anchor and the host's signature.
 *
 * May be used by: `shieldvm audit`, tests; on any machine, the log is not trusted.
 */
#ifndef SHIELDVM_POLICY_AUDIT_READ_H
#define SHIELDVM_POLICY_AUDIT_READ_H

#include "policy/audit.h"

struct audit_evidence {
	const char *log;	       /* path of the log; PATH.1, PATH.2 ... are its older files */
	const struct audit_head *head; /* or NULL: not at hand */
	const struct audit_signed *signd; /* or NULL */
};

struct audit_summary {
	uint64_t files, records, repairs;
	int64_t last_ms; /* time of the last record */
};

/*
 * Verify the log in EVIDENCE.  0 and *OUT, or ERR_AUTH with a sentence that says what is wrong and
 * where; -errno, ERR_LIMIT (a file over AUDIT_FILE_MAX).  With neither head nor signature a cut at
 * the end of a line is not seen.
 */
int audit_verify(const struct audit_evidence *evidence, struct audit_summary *out,
		 struct fault *f) MUST_CHECK;

/*
 * Hand every record of the log in PATH and its older files to FN, in their order and without
 * verifying the chain; *BAD counts lines that are no records.  FN's value if it is < 0, -errno.
 */
int audit_read(const char *path, audit_each_fn *fn, void *arg, uint64_t *bad,
	       struct fault *f) MUST_CHECK;

#endif
