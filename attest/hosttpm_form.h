/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the parts of hosttpm share: the TPM, and keys that are flushed when their scope is left.
 * Private to attest/hosttpm*.c.
 */
#ifndef SHIELDVM_ATTEST_HOSTTPM_FORM_H
#define SHIELDVM_ATTEST_HOSTTPM_FORM_H

#include <tss2/tss2_esys.h>

#include "attest/hosttpm.h"
#include "attest/tpm_form.h"

struct ek_kind;

struct hosttpm {
	TSS2_TCTI_CONTEXT *tcti;
	ESYS_CONTEXT *esys;
	const struct ek_kind *ek; /* the EK that is offered; NULL until it is looked for */
	TPM2_HANDLE ek_cert;	  /* its certificate's NV index, 0 without */
};

/* On a pointer that ESAPI has allocated. */
static inline void cleanup_esys_free(void *pp)
{
	Esys_Free(*(void **)pp);
}
#define CLEANUP_ESYS CLEANUP(cleanup_esys_free)

/* A transient object or session in the TPM. */
struct loaded {
	struct hosttpm *t; /* NULL: nothing is loaded */
	ESYS_TR tr;
};
void hosttpm_flush(struct loaded *l);
#define CLEANUP_LOADED CLEANUP(hosttpm_flush)

/* What a creation certificate needs of a key's making. */
struct creation {
	TPM2B_CREATION_DATA *data;
	TPM2B_DIGEST *hash;
	TPMT_TK_CREATION *ticket;
};
void hosttpm_creation_done(struct creation *c);
#define CLEANUP_CREATION CLEANUP(hosttpm_creation_done)

/* Put into F what the TPM answered to WHAT; the error for it: -EIO when it was not reached,
 * ERR_POLICY for a policy that does not hold, ERR_AUTH for an authorisation, -EBUSY for a lockout,
 * ERR_STATE. */
int hosttpm_failed(struct fault *f, TSS2_RC answer, const char *what);

/* 1 if ANSWER is the TPM's own format-one error CODE (TPM2_RC_VALUE ...), whatever parameter it
 * names. */
int hosttpm_is(TSS2_RC answer, TSS2_RC code);

/* Look for the EK to offer, unless it was already: sets T->ek and T->ek_cert. */
int hosttpm_choose_ek(struct hosttpm *t, struct fault *f) MUST_CHECK;

/* The first NV index at or behind FROM, 0 if there is none. */
int hosttpm_nv_next(struct hosttpm *t, TPM2_HANDLE from, TPM2_HANDLE *found,
		    struct fault *f) MUST_CHECK;

/* Add the EK's certificate and its chain's to OUT; nothing without a certificate. */
int hosttpm_certs(struct hosttpm *t, struct hosttpm_identity *out, struct fault *f) MUST_CHECK;

/* Load the EK that was chosen, or the AK; PUB (may be NULL) gets the TPMT_PUBLIC. */
int hosttpm_load_ek(struct hosttpm *t, struct loaded *out, struct buf *pub,
		    struct fault *f) MUST_CHECK;
int hosttpm_load_ak(struct hosttpm *t, struct loaded *out, struct buf *pub,
		    struct fault *f) MUST_CHECK;

/* The session that authorises the EK's use; leaves OUT empty where its (empty) password does. */
int hosttpm_ek_session(struct hosttpm *t, struct loaded *out, struct fault *f) MUST_CHECK;

/* Load the PCR-bound key for the policy; MADE (may be NULL) gets how it was made. */
int hosttpm_load_bk(struct hosttpm *t, const uint8_t policy[static 32], struct loaded *out,
		    struct buf *pub, struct creation *made, struct fault *f) MUST_CHECK;

/* A new SHA-256 policy session. */
int hosttpm_policy_session(struct hosttpm *t, struct loaded *out, struct fault *f) MUST_CHECK;

#endif
