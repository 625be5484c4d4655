/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Attestation, as far as it is not looking into evidence: challenges, what a host is judged by, and
 * the health certificate at the end.
 *
 * Challenges are not remembered: host, nonce and time come back with a MAC of ours, to any guardian
 * of the database.  The nonce is spent, in a transaction of its own, before anything of the
 * evidence is looked at, so that one challenge buys one look, however that ends.  Between
 * certify_begin() and certify_finish() the verifier judges (guardian/appraise.h), which takes its
 * time; what may have changed meanwhile is looked at again in the transaction that notes the
 * certificate.
 */
#ifndef SHIELDVM_GUARDIAN_CERTIFY_H
#define SHIELDVM_GUARDIAN_CERTIFY_H

#include "attest/statement.h"
#include "guardian/guardian.h"
#include "guardian/store_vm.h"

#define CERTIFY_SECONDS	      60 /* a challenge is valid */
#define CERTIFY_JUDGE_SECONDS 60 /* and the verifier may take for its answer */

struct certify_challenge {
	struct challenge challenge;
	int64_t expires;
	uint8_t mac[MAC_BYTES];
};

/* A challenge for HOST, which must be approved: whoever got one may send the front a large body.
 * Refuses as host.*, guardian.keys, guardian.store. */
int certify_challenge(const struct guardian *g, const uint8_t host[static UUID_BYTES], int64_t now,
		      struct certify_challenge *out, struct refusal *why) MUST_CHECK;

/* What an answer is judged by.  Nothing of it comes from the evidence. */
struct certify_case {
	uint8_t host[UUID_BYTES];
	enum store_host_mode mode;
	uint8_t fingerprint[STORE_FINGERPRINT_BYTES]; /* of the enrolment */
	struct challenge challenge;
	int64_t judge_until;
	int64_t generation;
	struct buf policy;   /* its text */
	struct buf ak_pub;   /* TPMT_PUBLIC, of a host with a TPM */
	struct buf host_key; /* else its public JWK */
};
void certify_case_init(struct certify_case *c);
void certify_case_done(struct certify_case *c);
#define CLEANUP_CERTIFY_CASE CLEANUP(certify_case_done)

/*
 * HOST answers CHALLENGE: spend its nonce, and say in an initialised OUT what to judge the answer
 * by. Refuses as challenge.foreign, challenge.expired, challenge.used, host.*, guardian.policy,
 * guardian.store.
 */
int certify_begin(const struct guardian *g, const uint8_t host[static UUID_BYTES],
		  const struct certify_challenge *challenge, int64_t now, struct certify_case *out,
		  struct refusal *why) MUST_CHECK;

/* The verifier's answer.  A zero one is no. */
struct certify_verdict {
	int healthy; /* 1: appraise() has returned 0 */
	uint8_t x[32], y[32];
	uint8_t worker[ATTEST_WORKER_KEY_BYTES]; /* as the quote, or the host's key, signed it */
	uint32_t reset_count, restart_count;
};

/*
 * A host without a TPM: STATEMENT is a JWS of kind STATEMENT_ATTEST_TYP by its enrolled key over
 * statement_attest(), and nothing is measured.  Refuses as host.mode, host.key.
 */
int certify_by_key(const struct certify_case *c,
		   const uint8_t worker[static ATTEST_WORKER_KEY_BYTES], const char *statement,
		   size_t n, struct certify_verdict *out, struct refusal *why) MUST_CHECK;
/*
 * The certificate for what VERDICT says about C: its DER is appended to DER, what it says is *OUT.
 * Refuses as host.unhealthy, host.*, host.changed (the enrolment is another by now), host.reset
 * (the TPM's counts went back), certificate.floor (the policy no longer counts), challenge.expired
 * (the verifier took too long), guardian.*.
 */
int certify_finish(const struct guardian *g, const struct certify_case *c,
		   const struct certify_verdict *verdict, int64_t now, struct buf *der,
		   struct healthcert *out, struct refusal *why) MUST_CHECK;

#endif
