/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Key release: the VM key in a protector goes to one worker on one healthy host.
 *
 * In this order, fail closed: the protector is the owner's and has an entry for the guardian's key;
 * the host's certificate, enrolment, the policy floor, the VM's lease and its state's version allow
 * it (guardian/lease.h); the release is on record, durably; and only then is the entry unwrapped
 * and the key sealed to the host and its worker (crypto/keyrelease.h).  If that last step fails the
 * host keeps the lease, and may ask again: an instance that it started before may be live.
 *
 * Today's protectors name no lesser assurance that their owner is content with: the host must have
 * shown its health with a TPM.
 *
 * May be used by: guardian/.
 */
#ifndef SHIELDVM_GUARDIAN_RELEASE_H
#define SHIELDVM_GUARDIAN_RELEASE_H

#include "crypto/keyrelease.h"
#include "guardian/lease.h"

struct release_ask {
	struct keyrelease_about about;
	uint8_t host[UUID_BYTES]; /* as the transport knows it */
	uint8_t worker[ATTEST_WORKER_KEY_BYTES];
	int64_t version; /* as in struct lease_ask */
	const char *ticket;
	size_t ticket_chars;
};

/*
 * Append the sealed key, KEYRELEASE_BYTES, to OUT.  ECDH has the guardian's key, which the
 * protector names as a recipient.  Refuses as lease_start(), and as protector.invalid,
 * protector.vm, protector.recipient, protector.unwrap; OUT and GRANT are untouched then.
 */
int release_key(const struct guardian *g, const struct ecdh *ecdh, const struct release_ask *ask,
		int64_t now, struct buf *out, struct lease_grant *grant,
		struct refusal *why) MUST_CHECK;

#endif
