/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A TPM's public areas and signed statements, verified: names and attributes of keys, the quote,
 * the creation certificate (TPM 2.0 Library, Part 2, TPMT_PUBLIC, TPMS_ATTEST; Part 3, TPM2_Quote,
 * TPM2_CertifyCreation).  Unmarshalled by tss2-mu, judged in the order of shared/reference's
 * protocol, each refusal under its own id of attest/finding.h.
 *
 * tss2-mu writes what it cannot unmarshal to stderr: a program silences it in main(), as
 * attest/hosttpm.h says.
 *
 * May be used by: attest/, guardian/, cli/.  Nothing here talks to a TPM.
 */
#ifndef SHIELDVM_ATTEST_QUOTE_H
#define SHIELDVM_ATTEST_QUOTE_H

#include <stddef.h>

#include "attest/finding.h"
#include "attest/pcr.h"
#include "crypto/credential.h"

#define TPM_PUBLIC_MAX	  1024 /* bytes of a marshalled TPMT_PUBLIC */
#define TPM_ATTEST_MAX	  2048 /* of a TPMS_ATTEST */
#define TPM_SIGNATURE_MAX 1024
#define TPM_NAME_BYTES	  34 /* SHA-256 names: algorithm and digest */
#define QUOTE_EXTRA_BYTES 32

struct blob {
	const uint8_t *data;
	size_t n;
};

/* TPMT_PUBLIC -> its name (nameAlg SHA-256 only).  ERR_FORMAT, ERR_TRAILING,
 * ERR_LIMIT. */
int tpm_name(struct blob pub, uint8_t name[static TPM_NAME_BYTES], struct fault *f) MUST_CHECK;

/* The AK: restricted, fixedTPM, fixedParent, sensitiveDataOrigin, sign and no decrypt; P-256 with
 * ECDSA/SHA-256 or RSA-2048 with RSASSA/SHA-256.  Else ERR_POLICY ("ak.attributes"; "ak.format"
 * when it cannot be read). */
int ak_check(struct blob pub, const char **id, struct fault *f) MUST_CHECK;

/*
 * The PCR-bound key: P-256 ECDH, decrypt, fixedTPM, fixedParent, sensitiveDataOrigin, no
 * userWithAuth, no sign, no restricted ("key.attributes"; "key.format"), and authPolicy equal to
 * PolicyPCR of exactly the PCRs in PCRS->mask that are not in PCR_RUNNING_MASK, at least one, with
 * PCRS' values ("key.policy").  Gives its point.
 */
int bk_check(struct blob pub, const struct pcrs *pcrs, uint8_t x[static 32], uint8_t y[static 32],
	     const char **id, struct fault *f) MUST_CHECK;

/* The EK: restricted, fixedTPM, fixedParent, sensitiveDataOrigin, decrypt and no sign, with what
 * TPM2_MakeCredential needs to know of it; RSA-2048, P-256 or P-384.  "ek.attributes", "ek.format".
 */
int ek_check(struct blob pub, struct credential_ek *ek, const char **id,
	     struct fault *f) MUST_CHECK;

struct quote_clock {
	uint32_t reset_count, restart_count;
	uint64_t clock_ms;
	int safe;
	uint64_t firmware;
};

/*
 * Verify ATTEST with SIGNATURE (TPMT_SIGNATURE) by AK: signature, magic, type, extraData, pcrSelect
 * exactly PCRS->mask of PCRS->bank, nothing behind, pcrDigest over PCRS' values.  *ID on failure,
 * in this order: "quote.signature", "quote.magic", "quote.type", "quote.nonce", "quote.selection",
 * "quote.trailing", "quote.digest"; "quote.format" when it cannot be read, and ak_check()'s ids, by
 * which AK is held first.
 */
int quote_verify(struct blob ak, struct blob attest, struct blob signature,
		 const uint8_t extra[static QUOTE_EXTRA_BYTES], const struct pcrs *pcrs,
		 struct quote_clock *clock, const char **id, struct fault *f) MUST_CHECK;

/* Verify the creation certificate of the key BK: signed by AK, magic, type, extraData == NONCE, and
 * the name of BK.  Ids "creation.signature", ".magic", ".type", ".nonce", ".name", ".trailing",
 * ".format"; *clock as above. */
int creation_verify(struct blob ak, struct blob attest, struct blob signature,
		    const uint8_t nonce[static QUOTE_EXTRA_BYTES], struct blob bk,
		    struct quote_clock *clock, const char **id, struct fault *f) MUST_CHECK;

/* extraData of the quote: SHA256("q1" || nonce || name(BK) || W || host id), W the worker's
 * ephemeral key (65 bytes, uncompressed) or all zero where there is none.  ERR_CRYPTO. */
int quote_extra(const uint8_t nonce[static 32], const uint8_t bk_name[static TPM_NAME_BYTES],
		const uint8_t worker[static 65], const uint8_t host[static 16],
		uint8_t extra[static QUOTE_EXTRA_BYTES]) MUST_CHECK;

#endif
