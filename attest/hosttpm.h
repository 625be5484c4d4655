/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's TPM, through the TSS2's ESAPI: the one user of it.  Any TCTI: "device:/dev/tpmrm0",
 * "swtpm:path=...".  Keys are made afresh from pinned templates; nothing is made persistent, and
 * everything loaded is flushed.  A direct swtpm has three transient slots only.
 *
 * The TSS2 writes its own log to stderr, which a library must not silence for its process: main()
 * does, before its first call here, with setenv("TSS2_LOG", "all+none", 0).
 *
 * Commands and answers are not encrypted on their way to the TPM: who can listen on its bus while
 * the host runs learns what hosttpm_ecdh() gives.
 *
 * -EBUSY from any of them: the TPM is locked against guessing (TPM_RC_LOCKOUT), and has not looked
 * at what it was asked.
 *
 * May be used by: attest/, cli/, the host's attestation daemon; never a guardian.
 */
#ifndef SHIELDVM_ATTEST_HOSTTPM_H
#define SHIELDVM_ATTEST_HOSTTPM_H

#include "attest/quote.h"
#include "base/buf.h"
#include "crypto/protector.h"

#define HOSTTPM_CERTS_MAX  16
#define HOSTTPM_CERT_BYTES 4096

struct hosttpm;

/* TCTI: a TSS2 TCTI name and configuration, or NULL for /dev/tpmrm0.  -ENODEV with a sentence when
 * there is no TPM 2.0, or for a TCTI other than device: with the TSS's reason for not reaching it;
 * ERR_STATE if it does not answer as it should. */
int hosttpm_open(const char *tcti, struct hosttpm **out, struct fault *f) MUST_CHECK;
void hosttpm_close(struct hosttpm *t);

/* What an enrolment needs. */
struct hosttpm_identity {
	struct buf ek_pub, ak_pub;	     /* TPMT_PUBLIC, marshalled */
	unsigned n_certs;		     /* EK certificate first, then its chain's */
	struct buf certs[HOSTTPM_CERTS_MAX]; /* DER */
};
void hosttpm_identity_done(struct hosttpm_identity *id);

/* The EK: the first of P-256, P-384, RSA-2048 that has a certificate in the TPM's NV memory, by the
 * TCG's default template; P-256 and no certificates where there is none.  -EIO, ERR_STATE,
 * ERR_FORMAT, ERR_LIMIT; OUT is untouched on failure. */
int hosttpm_identity(struct hosttpm *t, struct hosttpm_identity *out, struct fault *f) MUST_CHECK;

/* TPM2_ActivateCredential: the secret that was made for this EK and AK.  BLOB is TPM2B_ID_OBJECT,
 * SECRET TPM2B_ENCRYPTED_SECRET, marshalled.  ERR_AUTH if the TPM refuses, -EBUSY if it is locked.
 */
int hosttpm_activate(struct hosttpm *t, struct blob id_object, struct blob secret,
		     uint8_t out[static 32], struct fault *f) MUST_CHECK;

/* The quote with the PCR-bound key, its creation data and their certificate; PCRS has bank and mask
 * going in, values coming out (quote and values agree, up to eight tries; else ERR_STATE). */
struct hosttpm_proof {
	struct buf bk_pub, creation, creation_data, creation_signature, quote, quote_signature;
	struct pcrs pcrs;
};
void hosttpm_proof_done(struct hosttpm_proof *p);
int hosttpm_prove(struct hosttpm *t, uint16_t bank, uint32_t mask, const uint8_t nonce[static 32],
		  const uint8_t worker[static 65], const uint8_t host[static 16],
		  struct hosttpm_proof *out, struct fault *f) MUST_CHECK;

/* ECDH with the PCR-bound key of the last hosttpm_prove() (made again from its template; Z is the
 * shared x coordinate).  ERR_POLICY if the PCRs are no longer those it is bound to, ERR_STATE after
 * a reset. */
int hosttpm_ecdh(struct hosttpm *t, const struct hosttpm_proof *bound, const uint8_t x[static 32],
		 const uint8_t y[static 32], uint8_t z[static 32], struct fault *f) MUST_CHECK;

/* The same as a struct ecdh, whose sentence is left in F.  All of *HALF must outlive it. */
struct hosttpm_half {
	struct hosttpm *t;
	const struct hosttpm_proof *bound;
	struct fault *f;
};
struct ecdh hosttpm_ecdh_of(struct hosttpm_half *half);

#endif
