/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a host without a TPM signs with its key when it enrols and when it attests (docs/FORMAT.md):
 * the host makes these texts, and the guardian makes them again and compares.
 *
 * May be used by: attest/, guardian/, cli/.  No system call.
 */
#ifndef SHIELDVM_ATTEST_STATEMENT_H
#define SHIELDVM_ATTEST_STATEMENT_H

#include "attest/evidence.h"

#define STATEMENT_ENROL_TYP   "shieldvm-enrol+jws"
#define STATEMENT_ATTEST_TYP  "shieldvm-attest+jws"
#define STATEMENT_NONCE_BYTES 32

/* Append the text.  NAME is the host's, which needs no escaping in JSON.  Errors of buf_reserve().
 */
int statement_enrol(const uint8_t host[static UUID_BYTES], const char *name,
		    const uint8_t nonce[static STATEMENT_NONCE_BYTES], struct buf *out) MUST_CHECK;
int statement_attest(const uint8_t host[static UUID_BYTES],
		     const uint8_t nonce[static STATEMENT_NONCE_BYTES],
		     const uint8_t worker[static ATTEST_WORKER_KEY_BYTES],
		     struct buf *out) MUST_CHECK;

#endif
