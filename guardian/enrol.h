/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Enrolment: a host's keys get into the database, as pending, once the host has shown that they are
 * its own.
 *
 * A host with a TPM is sent a secret that only the TPM with its certified EK gives out, and only if
 * it holds the AK too (TPM2_MakeCredential, the AK's name worked out here).  Nothing is remembered
 * in between: the secret is a MAC over everything that the enrolment says, so that whoever brings
 * it back, within ENROL_SECONDS, proves that nothing of it was changed.  A host without a TPM signs
 * with its key.
 *
 * An EK is known by its key alone (type and numbers), not by its name: the name also covers parts
 * of the public area that no certificate vouches for and the credential does not test, so that one
 * TPM could have as many names as it liked.
 */
#ifndef SHIELDVM_GUARDIAN_ENROL_H
#define SHIELDVM_GUARDIAN_ENROL_H

#include "attest/quote.h"
#include "attest/statement.h"
#include "guardian/guardian.h"

#define ENROL_SECONDS 120

_Static_assert(STATEMENT_PRINT_BYTES == STORE_FINGERPRINT_BYTES, "one size of fingerprints");

/* What the host brings back with its answer. */
struct enrol_ticket {
	uint8_t nonce[32];
	int64_t expires;
	uint8_t mac[MAC_BYTES]; /* of a host without TPM only; else zero */
};

/*
 * Begin: check the keys and the EK certificate, and append the credential to ID_OBJECT and
 * ENCRYPTED (at least CREDENTIAL_ID_OBJECT_MAX and CREDENTIAL_ENCRYPTED_MAX; without a TPM
 * nothing). Refuses as request.format, ek.*, ak.*, guardian.keys.
 */
int enrol_begin(const struct guardian *g, const struct enrolment *e, int64_t now,
		struct enrol_ticket *ticket, struct buf *id_object, struct buf *encrypted,
		struct refusal *why) MUST_CHECK;

/*
 * Finish: E as it began, and the SECRET that its TPM gave out.  The host is pending then, and
 * FINGERPRINT is what an admin has to compare.  Refuses as activation.expired,
 * activation.credential, host.taken, request.format, guardian.store.
 */
int enrol_finish(const struct guardian *g, const struct enrolment *e,
		 const struct enrol_ticket *ticket, const uint8_t secret[static MAC_BYTES],
		 int64_t now, uint8_t fingerprint[static STORE_FINGERPRINT_BYTES],
		 struct refusal *why) MUST_CHECK;

/* The same for a host without a TPM: STATEMENT is a JWS of kind STATEMENT_ENROL_TYP by its key over
 * statement_enrol().  Refuses as host.key too. */
int enrol_finish_key(const struct guardian *g, const struct enrolment *e,
		     const struct enrol_ticket *ticket, const char *statement, size_t n,
		     int64_t now, uint8_t fingerprint[static STORE_FINGERPRINT_BYTES],
		     struct refusal *why) MUST_CHECK;

/* The fingerprint that E will have: the host works it out for itself, so that the guardian cannot
 * have an admin approve another host.  Refuses as enrol_begin() does for what is malformed. */
int enrol_fingerprint(const struct enrolment *e, uint8_t out[static STORE_FINGERPRINT_BYTES],
		      struct refusal *why) MUST_CHECK;

#endif
