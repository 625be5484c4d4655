/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This host proves its health to a guardian: challenge, evidence (or the statement of a host
 * without a TPM), certificate.
 *
 * Who asks whom: the guardian's CA comes over the connection that is known by the guardian's key,
 * and a certificate counts only if that CA has signed it for this host's id, for the key that this
 * host's TPM has just made and for the worker that it was asked for.
 *
 * May be used by: attest/ programs, cli/, as root.
 */
#ifndef SHIELDVM_ATTEST_HEALTH_H
#define SHIELDVM_ATTEST_HEALTH_H

#include "attest/conf.h"
#include "attest/evidence.h"
#include "attest/hosttpm.h"
#include "attest/remote.h"

/* Where no worker is to get a key. */
extern const uint8_t HEALTH_NO_WORKER[ATTEST_WORKER_KEY_BYTES];

/* What was certified. */
struct health {
	uint8_t host[UUID_BYTES];
	enum healthcert_assurance assurance;
	uint8_t point[RAWKEY_P256_POINT]; /* the host's key, to which a guardian seals */
	struct hosttpm_proof bound; /* with a TPM: that key, as far as hosttpm_ecdh() needs it */
	struct buf certificate;	    /* DER */
	struct healthcert says;
	int failed_here; /* of a failure: it was this host's id, TPM, logs or key */
};
void health_init(struct health *h);
void health_done(struct health *h);
#define CLEANUP_HEALTH CLEANUP(health_done)

/* What a guardian's answer O challenges to; its MAC and its end are sent back as they came.
 * ERR_FORMAT; OUT is then unspecified. */
int health_challenge(const json_t *o, struct challenge *out, struct fault *f) MUST_CHECK;

/*
 * Attest to the guardian of R for WORKER, into an initialised OUT.  T is this host's TPM, NULL in
 * host-key mode; HOW says where its logs are.  WHY gets the guardian's findings, also when it
 * certifies.  Errors of client_ask(); ERR_AUTH, ERR_RECIPIENT, ERR_FORMAT, ERR_LIMIT for a
 * certificate that is not this host's; -ENOENT if the host was never enrolled; errors of
 * evidence_gather().
 */
int health_attest(struct remote *r, struct hosttpm *t, const struct conf *how,
		  const uint8_t worker[static ATTEST_WORKER_KEY_BYTES], struct health *out,
		  struct client_refusal *why, struct fault *f) MUST_CHECK;

#endif
