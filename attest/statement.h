/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a host says of itself when it enrols, and what one without a TPM signs with its key then and
 * when it attests (docs/FORMAT.md): the host makes these texts, and the guardian makes them again
 * and compares.
 *
 * May be used by: attest/, guardian/, cli/.  No system call.
 */
#ifndef SHIELDVM_ATTEST_STATEMENT_H
#define SHIELDVM_ATTEST_STATEMENT_H

#include "attest/evidence.h"
#include "crypto/jwk.h"

#define STATEMENT_ENROL_TYP   "shieldvm-enrol+jws"
#define STATEMENT_ATTEST_TYP  "shieldvm-attest+jws"
#define STATEMENT_NONCE_BYTES 32
#define STATEMENT_PRINT_BYTES 32 /* of a key's, or an enrolment's, fingerprint */

/* What a host says of itself when it enrols.  All of it belongs to the caller. */
struct enrolment {
	uint8_t id[UUID_BYTES];
	const char *name;
	struct blob ek_pub, ak_pub;    /* TPMT_PUBLIC */
	struct blob ek_cert;	       /* DER */
	const struct hash_part *chain; /* intermediates, DER; only to begin with */
	size_t n_chain;
	const struct jwk *host_key;		/* instead of all that, without a TPM */
	uint8_t tls_key[STATEMENT_PRINT_BYTES]; /* of the client certificate, by the transport */
};

/* Append the text.  NAME is the host's, which needs no escaping in JSON.  Errors of buf_reserve().
 */
int statement_enrol(const uint8_t host[static UUID_BYTES], const char *name,
		    const uint8_t nonce[static STATEMENT_NONCE_BYTES], struct buf *out) MUST_CHECK;
int statement_attest(const uint8_t host[static UUID_BYTES],
		     const uint8_t nonce[static STATEMENT_NONCE_BYTES],
		     const uint8_t worker[static ATTEST_WORKER_KEY_BYTES],
		     struct buf *out) MUST_CHECK;

#endif
