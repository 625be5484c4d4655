/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The hook's hand in the audit log (policy/audit.h): its records, the host's signature under them,
 * and a copy for the journal where there is one.
 *
 * May be used by: the hook, as root.
 */
#ifndef SHIELDVM_LIBVIRT_RECORDER_H
#define SHIELDVM_LIBVIRT_RECORDER_H

#include "policy/audit.h"

struct recorder;

/*
 * Open the log, making what is missing of its folders, finish or begin a rotation if one is due,
 * and read the host's key, if there is one.  REQUEST is what the hook was called for; the peer is
 * the parent process.  Errors of audit_open() and audit_rotate() with a sentence.
 */
int recorder_open(const char *request, struct recorder **out, struct fault *f) MUST_CHECK;
void recorder_free(struct recorder *r); /* NULL is fine */
static inline void cleanup_recorder(struct recorder **r)
{
	recorder_free(*r);
}
#define CLEANUP_RECORDER CLEANUP(cleanup_recorder)

/* What further records are about; VM may be NULL.  LEVEL is a level's name or NULL. */
void recorder_about(struct recorder *r, const uint8_t *vm, const char *name, const char *level);

/* Append a record.  What audit_append() says; the operation must not happen if it fails. */
int recorder_write(struct recorder *r, enum audit_event event, enum audit_verdict verdict,
		   const char *rule, const char *reason, struct fault *f) MUST_CHECK;

/* Sign the log's anchor.  0 also on a host without a key, where only VMs start whose keys a
 * guardian has: it has a record of its own of each release. */
int recorder_sign(struct recorder *r, struct fault *f) MUST_CHECK;

/*
 * The rule id for a refusal: that of the sentence, if a domain rule was met (ERR_POLICY), else
 * RULE. BUF has AUDIT_RULE_MAX bytes.
 */
const char *recorder_rule(const struct fault *f, const char *rule, char *buf);

#endif
