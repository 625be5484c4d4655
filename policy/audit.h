/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The audit log of a host: who was refused what, and what happened to VMs and their keys.
 *
 * Theory of operation.  PATH_LOG/audit.jsonl has one record a line, each with the SHA-256 of
 * the line before it.  What the last acknowledged record is stands outside, in the registry's
 * audit.head (policy/audit_head.h), and every hook call signs that with the host's key
 * (audit.signed).
 *
 * Several processes write: the hook, and each VM's broker with descriptors that were opened
 * before it gave up root.  An flock(2) on the anchor orders them.  An append is: read the
 * anchor; compare it with the log's end; write the line; fdatasync; write the anchor;
 * fdatasync.  It is acknowledged when all of it has succeeded.
 *
 *  The log is longer than the anchor says: an append was cut off (a crash, a full disk).
 *      Nothing is cut off the file: the next append puts a `repaired` record behind those
 *      bytes, which says how many they are and their hash.  They are nobody's record.
 *  The log is shorter, or its last record is another one: somebody changed it.  Nothing is
 *      appended any more, so that nothing hides what has happened; `shieldvm audit verify` says
 *      where.
 *
 * Rotation keeps the inode, so that brokers keep their descriptors: under the lock the hook copies
 * the log to audit.jsonl.GEN, durably, and empties it; the anchor carries the state in between, and
 * the next hook call finishes what was cut off.  The chain goes on across files.
 *
 * May be used by: the hook, the worker's broker; audit_append() also after sealing: flock, fstat,
 * pread64, write, pwrite64, fdatasync, clock_gettime, clock_nanosleep.
 */
#ifndef SHIELDVM_POLICY_AUDIT_H
#define SHIELDVM_POLICY_AUDIT_H

#include "crypto/jwk.h"
#include "policy/audit_chain.h"
#include "policy/audit_head.h"

#define AUDIT_LOG_NAME	   "audit.jsonl"
#define AUDIT_HEAD_NAME	   "audit.head"
#define AUDIT_SIGNED_NAME  "audit.signed"
#define AUDIT_SIGNED_TYP   "shieldvm-audit+jws"

#define AUDIT_ROTATE_BYTES (8 * 1024 * 1024)  /* a file this large is rotated */
#define AUDIT_FILE_MAX	   (64 * 1024 * 1024) /* and none ever gets larger */
#define AUDIT_LOCK_MS	   5000

struct audit;

/*
 * Open the log in the folder LOG_DIR and its anchor in ANCHOR_DIR (both the caller's); both are
 * made if neither is there.  ERR_AUTH with a sentence if one of them is missing, -errno.
 */
int audit_open(int log_dir, int anchor_dir, struct audit **out, struct fault *f) MUST_CHECK;
void audit_free(struct audit *a); /* NULL is fine */
static inline void cleanup_audit(struct audit **a)
{
	audit_free(*a);
}
#define CLEANUP_AUDIT CLEANUP(cleanup_audit)

/*
 * Append R, whose seq, time_ms and prev are set here.  0 when it is durable.  Otherwise R is not in
 * the log, and what it is about must not happen: -ETIMEDOUT (AUDIT_LOCK_MS), -ENOSPC and other
 * -errno, ERR_AUTH (the log was changed), ERR_STATE (a rotation was cut short), ERR_LIMIT.
 */
int audit_append(struct audit *a, struct audit_record *r, struct fault *f) MUST_CHECK;

/*
 * Finish a rotation that was cut short, and rotate if the log has MAX bytes or more.  Root.  0 also
 * if the copy could not be made (a full disk): the log then goes on in its file.
 */
int audit_rotate(struct audit *a, int log_dir, uint64_t max, struct fault *f) MUST_CHECK;

/* What was signed last. */
struct audit_signed {
	uint64_t seq, gen, size; /* as in struct audit_head */
	uint8_t hash[SIGN_SHA256_BYTES];
	int64_t time_ms;
};

/*
 * Sign the anchor with KEY (the host's, private) into ANCHOR_DIR, after looking whether everything
 * since the last signature is a chain.  ERR_AUTH with a sentence if it is not, or if the last
 * signature knows of later records or is another key's.
 */
int audit_sign(struct audit *a, int anchor_dir, const struct jwk *key, struct fault *f) MUST_CHECK;

/* Verify and read a signed anchor.  Errors of sign_open(). */
int audit_signed_parse(const struct jwk *key, const char *text, size_t n, struct audit_signed *out,
		       struct fault *f) MUST_CHECK;

#endif
