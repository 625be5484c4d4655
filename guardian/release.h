/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Key release: the VM key in a protector goes to one worker on one healthy host.
 *
 * In this order, fail closed: the protector is the owner's and has an entry for the guardian's key;
 * that opens, so that no lease is lent for a key that cannot be had, an HSM being away, say; the
 * host's certificate, enrolment, the policy floor, the VM's lease and its state's version allow it
 * (guardian/lease.h); the release is on record, durably; and only then is the key sealed to the
 * host and its worker (crypto/keyrelease.h) and leaves.
 *
 * What the host must have shown its health with is the protector's word: a TPM, unless its owner is
 * content with less.
 *
 * A host that the VM is to come to by a migration has the key in the same way, and no lease by it
 * (lease_incoming()).  Where the owner permits starts without a guardian, the host that starts a VM
 * gets a copy to keep, sealed to itself; one that only awaits it does not.
 *
 * May be used by: guardian/.
 */
#ifndef SHIELDVM_GUARDIAN_RELEASE_H
#define SHIELDVM_GUARDIAN_RELEASE_H

#include "crypto/keyrelease.h"
#include "guardian/lease.h"

/* Releases that one host may ask for within RELEASE_SECONDS. */
#define RELEASE_PER_HOST STORE_NONCES_PER_HOST
#define RELEASE_SECONDS	 60

struct release_ask {
	struct keyrelease_about about; /* its `restore` is for whoever seals */
	uint8_t host[UUID_BYTES];      /* that is to run the VM */
	uint8_t worker[ATTEST_WORKER_KEY_BYTES];
	int64_t version; /* as in struct lease_ask */
	int incoming;	 /* 1: the VM is to come by a migration */
	const char *ticket;
	size_t ticket_chars;
	int64_t restore;
};

/*
 * Spend REQUEST, the id of what the host asks, durably and before anything else of it is looked at:
 * whatever comes of it, it is not asked again while a certificate may live.  This bounds what one
 * host can make the release log grow by.  Refuses as host.*, request.used, request.rate (over
 * RELEASE_PER_HOST), guardian.*.
 */
int release_request(const struct guardian *g, const uint8_t host[static UUID_BYTES],
		    const uint8_t request[static LEDGER_REQUEST_BYTES], int64_t now,
		    struct refusal *why) MUST_CHECK;

/*
 * Append the sealed key, KEYRELEASE_BYTES, to OUT, and the host's copy, KEYRELEASE_INNER_BYTES, to
 * COPY if it is to have one.  ECDH has the guardian's key, which the protector names as a
 * recipient.  Refuses as lease_start() or lease_incoming(), and as protector.invalid,
 * protector.signature (it is not what its owner signed), protector.vm, protector.recipient,
 * protector.unwrap; OUT, COPY and GRANT are untouched then.
 */
int release_key(const struct guardian *g, const struct ecdh *ecdh, const struct release_ask *ask,
		int64_t now, struct buf *out, struct buf *copy, struct lease_grant *grant,
		struct refusal *why) MUST_CHECK;

#endif
