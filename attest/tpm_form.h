/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The TPM's structures in tss2's form, and what both sides of an attestation work out in the same
 * way.  Private to attest/.
 */
#ifndef SHIELDVM_ATTEST_TPM_FORM_H
#define SHIELDVM_ATTEST_TPM_FORM_H

#include <tss2/tss2_mu.h>

#include "attest/quote.h"

/* Unmarshal all of PUB; WHAT names it in the sentence.  ERR_FORMAT, ERR_TRAILING, ERR_LIMIT. */
int tpm_read_public(struct blob pub, const char *what, TPMT_PUBLIC *out,
		    struct fault *f) MUST_CHECK;

/* As ak_check(), and its key. */
int tpm_read_ak(struct blob pub, struct rawkey *key, const char **id, struct fault *f) MUST_CHECK;

/* quote_verify() and creation_verify() after the signature, apart for the fuzzer, which finds none.
 * Whatever they accept may be anybody's. */
int quote_judge(struct blob attest, const uint8_t extra[static QUOTE_EXTRA_BYTES],
		const struct pcrs *pcrs, struct quote_clock *clock, const char **id,
		struct fault *f) MUST_CHECK;
int creation_judge(struct blob attest, const uint8_t nonce[static QUOTE_EXTRA_BYTES],
		   struct blob bk, struct blob data, struct quote_clock *clock, const char **id,
		   struct fault *f) MUST_CHECK;
/* What creation_judge() makes of DATA once its hash is the signed one. */
int creation_data_judge(struct blob data, const char **id, struct fault *f) MUST_CHECK;

/* The selection of exactly MASK of BANK.  ERR_POLICY if either cannot be selected: nothing, more
 * than PCR_COUNT PCRs, or an unknown bank. */
int tpm_selection(uint16_t bank, uint32_t mask, TPML_PCR_SELECTION *out) MUST_CHECK;

/* SHA-256 over the values in PCRS of those in MASK, which PCRS must have: pcrDigest of a quote
 * (Part 3, TPM2_Quote), and of a policy. */
int tpm_pcr_digest(const struct pcrs *pcrs, uint32_t mask, uint8_t digest[static 32]) MUST_CHECK;

/* policyDigest of a new SHA-256 policy session after TPM2_PolicyPCR (Part 3) over MASK. */
int tpm_pcr_policy(const struct pcrs *pcrs, uint32_t mask, uint8_t policy[static 32]) MUST_CHECK;

/* TPM2B_ECC_PARAMETER and the like -> exactly N bytes, padded on the left.  ERR_FORMAT if it does
 * not fit. */
int tpm_pad(const uint8_t *src, size_t src_n, uint8_t *out, size_t n) MUST_CHECK;

#endif
