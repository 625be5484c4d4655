/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The audit log's anchor, outside the log: what its last acknowledged record is (docs/FORMAT.md,
 * "Audit log").  Two slots, written in turn, so that a write that is cut off leaves the other.
 *
 * May be used by: policy/audit*.c, `shieldvm audit`, tests.
 */
#ifndef SHIELDVM_POLICY_AUDIT_HEAD_H
#define SHIELDVM_POLICY_AUDIT_HEAD_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/sign.h"

#define AUDIT_SLOT_BYTES 512
#define AUDIT_HEAD_BYTES (2 * AUDIT_SLOT_BYTES)

struct audit_head {
	uint64_t turn; /* grows with every write; its lowest bit is the slot */
	uint64_t seq;  /* of the last record; 0: there is none */
	uint64_t gen;  /* the file's number: it becomes audit.jsonl.GEN */
	uint64_t size; /* bytes of the file up to and with that record */
	uint64_t drop; /* bytes that a rotation has yet to cut off the file, which begins with them
			*/
	uint8_t hash[SIGN_SHA256_BYTES]; /* of the last record's line */
};

/* The newer of the valid slots among the N bytes of an anchor file.  ERR_FORMAT if there is none.
 */
int audit_head_parse(const char *bytes, size_t n, struct audit_head *out) MUST_CHECK;

/* The same from FD; -ENODATA if the file is empty.  pread(2). */
int audit_head_read(int fd, struct audit_head *out) MUST_CHECK;

/* Make H, with its turn advanced, what FD says, durably.  pwrite(2), fdatasync(2). */
int audit_head_write(int fd, struct audit_head *h) MUST_CHECK;

#endif
