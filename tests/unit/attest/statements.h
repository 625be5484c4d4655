/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keys and statements as a TPM makes them, but made here: marshalled by tss2-mu and signed by
 * libcrypto, so that each can be wrong in any one place.
 */
#ifndef SHIELDVM_TESTS_UNIT_ATTEST_STATEMENTS_H
#define SHIELDVM_TESTS_UNIT_ATTEST_STATEMENTS_H

#include "crypto/rawkey_form.h"

#include "attest/tpm_form.h"

#define OWN_KEY (TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN)

struct bytes {
	uint8_t data[4096];
	size_t n;
};
static inline struct blob blob_of(const struct bytes *b)
{
	return (struct blob){ b->data, b->n };
}

/* Public areas, before they are marshalled; the key is K's. */
TPMT_PUBLIC public_ak(const EVP_PKEY *k);
TPMT_PUBLIC public_ek(const EVP_PKEY *k);
TPMT_PUBLIC public_bk(const EVP_PKEY *k, const struct pcrs *pcrs);
struct bytes marshal_public(const TPMT_PUBLIC *area);

/* What a TPM says of a primary's making in the NULL hierarchy, without PCRs. */
TPMS_CREATION_DATA creation_data(void);
struct bytes marshal_creation_data(const TPMS_CREATION_DATA *data);

/* Statements with EXTRA as extraData: of PCRS, of the key BK (and creation_data()). */
TPMS_ATTEST quote_of(const struct pcrs *pcrs, const uint8_t extra[static 32]);
TPMS_ATTEST creation_of(const struct bytes *bk, const uint8_t nonce[static 32]);
struct bytes marshal_attest(const TPMS_ATTEST *attest);

/* TPMT_SIGNATURE of TEXT by K: ECDSA or RSASSA with SHA-256. */
TPMT_SIGNATURE sign_text(EVP_PKEY *k, const struct bytes *text);
struct bytes marshal_signature(const TPMT_SIGNATURE *sig);

#endif
