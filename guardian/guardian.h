/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the guardian's decisions stand on.  Each decision (enrol.h, admin.h, certify.h, lease.h) is
 * a function of this, its arguments and the time it is given; it is one transaction, and what it
 * says no to says why in a struct refusal.
 *
 * Who asks is known by the transport: a host's id by its client certificate, an admin by the hash
 * of his, on a listener of its own.  Correctness does not rest on the transport for more than that.
 */
#ifndef SHIELDVM_GUARDIAN_GUARDIAN_H
#define SHIELDVM_GUARDIAN_GUARDIAN_H

#include "crypto/ekcert.h"
#include "crypto/healthcert.h"
#include "crypto/jwk.h"
#include "crypto/mac.h"
#include "crypto/protector.h"
#include "guardian/ledger.h"
#include "guardian/refusal.h"
#include "guardian/store_host.h"

/* All of it belongs to the caller.  Guardians over one database have the same keys, so that each
 * can go on with what another began. */
struct guardian {
	struct store *store;
	const struct healthca *ca;
	const struct jwk *log_key; /* private */
	const struct ekcert_roots
		*ek_roots;	    /* makers of TPMs; NULL: hosts with TPMs cannot enrol */
	const struct ecdh *release; /* the key that protectors name; NULL: releases nothing */
	uint8_t mac_key[MAC_KEY_BYTES];
};

/* Append R to the release log, in the transaction that is open. */
int guardian_log(const struct guardian *g, struct ledger_record *r, struct refusal *why) MUST_CHECK;

/* Commit, or refuse as "guardian.store". */
int guardian_commit(const struct guardian *g, struct refusal *why) MUST_CHECK;

/* The host with ID into an initialised OUT; refuses unless it is enrolled and approved. */
int guardian_approved(const struct guardian *g, const uint8_t id[static UUID_BYTES],
		      struct store_host *out, struct refusal *why) MUST_CHECK;

/* Now and then: forget what expired an hour ago. */
int guardian_tend(const struct guardian *g, int64_t now, struct refusal *why) MUST_CHECK;

#endif
