/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What admins decide: which hosts may attest, by which policy, and who else is an admin.  Each word
 * stands in the release log of the VM whose UUID is zero, with the admin's name, or does not count.
 *
 * BY is the SHA-256 of the admin's client certificate.  All refuse as admin.unknown, admin.role
 * (reviewers only look), guardian.store, guardian.log.
 */
#ifndef SHIELDVM_GUARDIAN_ADMIN_H
#define SHIELDVM_GUARDIAN_ADMIN_H

#include "guardian/guardian.h"

/* The pending host ID, whose FINGERPRINT the admin has compared, may attest.  host.unknown,
 * admin.compare if it is another one by now or not pending. */
int admin_approve(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
		  const uint8_t id[static UUID_BYTES],
		  const uint8_t fingerprint[static STORE_FINGERPRINT_BYTES], int64_t now,
		  struct refusal *why) MUST_CHECK;

/* The host may no longer attest, and what it was certified no longer counts, from now on. */
int admin_revoke(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
		 const uint8_t id[static UUID_BYTES], int64_t now, struct refusal *why) MUST_CHECK;

/* The next enrolment under this id replaces the host's keys, and waits for approval again. */
int admin_replace(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
		  const uint8_t id[static UUID_BYTES], int64_t now, struct refusal *why) MUST_CHECK;

/*
 * TEXT, which the caller has parsed (guardian/policy.h), is the policy from now on; *GENERATION is
 * its number.  With AT_ONCE, certificates by older ones no longer count.
 */
int admin_policy(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
		 const char *text, size_t n, int at_once, int64_t now, int64_t *generation,
		 struct refusal *why) MUST_CHECK;

/* Add A, or remove the admin NAME; not oneself, so that one is always left.  request.format. */
int admin_add(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
	      const struct store_admin *a, int64_t now, struct refusal *why) MUST_CHECK;
int admin_remove(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
		 const char *name, int64_t now, struct refusal *why) MUST_CHECK;

#endif
