/* SPDX-License-Identifier: BSD-3-Clause */
/* The open audit log.  Private to policy/audit*.c. */
#ifndef SHIELDVM_POLICY_AUDIT_FILE_H
#define SHIELDVM_POLICY_AUDIT_FILE_H

#include "policy/audit.h"

struct audit {
	int log;    /* O_APPEND */
	int anchor; /* whose flock(2) orders all writers */
};

/* The anchor, locked and read into *H; audit_unlock() gives it back.  -ETIMEDOUT, ERR_AUTH. */
int audit_lock(const struct audit *a, struct audit_head *h, struct fault *f) MUST_CHECK;
void audit_unlock(const struct audit *a);

/* As audit_append(), with the lock held and H what the anchor says, which is brought up to date. */
int audit_append_locked(const struct audit *a, struct audit_head *h, struct audit_record *r,
			struct fault *f) MUST_CHECK;

/* N bytes of the log from AT.  ERR_TRUNCATED, errors of buf_reserve(), -errno. */
int audit_read_at(const struct audit *a, uint64_t at, uint64_t n, struct buf *out) MUST_CHECK;

#endif
