/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host TPM's keys, each a primary that is made again from its template whenever it is needed:
 * the same hierarchy seed and the same template give the same key.
 */
#include <errno.h>
#include <string.h>

#include "attest/hosttpm_form.h"

#define OWN (TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN)
#define EK_ATTRIBUTES                                                                              \
	(OWN | TPMA_OBJECT_ADMINWITHPOLICY | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT)

/* TCG EK Credential Profile, "Policy Digests": PolicyA of the low range's templates is
 * TPM2_PolicySecret(TPM_RH_ENDORSEMENT), PolicyB of the high range's allows that and the owner's
 * later choice. */
#define POLICY_A_SHA256                                                                            \
	{                                                                                          \
		.size = 32, .buffer = {                                                            \
			0x83,                                                                      \
			0x71,                                                                      \
			0x97,                                                                      \
			0x67,                                                                      \
			0x44,                                                                      \
			0x84,                                                                      \
			0xb3,                                                                      \
			0xf8,                                                                      \
			0x1a,                                                                      \
			0x90,                                                                      \
			0xcc,                                                                      \
			0x8d,                                                                      \
			0x46,                                                                      \
			0xa5,                                                                      \
			0xd7,                                                                      \
			0x24,                                                                      \
			0xfd,                                                                      \
			0x52,                                                                      \
			0xd7,                                                                      \
			0x6e,                                                                      \
			0x06,                                                                      \
			0x52,                                                                      \
			0x0b,                                                                      \
			0x64,                                                                      \
			0xf2,                                                                      \
			0xa1,                                                                      \
			0xda,                                                                      \
			0x1b,                                                                      \
			0x33,                                                                      \
			0x14,                                                                      \
			0x69,                                                                      \
			0xaa                                                                       \
		}                                                                                  \
	}
#define POLICY_B_SHA384                                                                            \
	{                                                                                          \
		.size = 48, .buffer = {                                                            \
			0xb2,                                                                      \
			0x6e,                                                                      \
			0x7d,                                                                      \
			0x28,                                                                      \
			0xd1,                                                                      \
			0x1a,                                                                      \
			0x50,                                                                      \
			0xbc,                                                                      \
			0x53,                                                                      \
			0xd8,                                                                      \
			0x82,                                                                      \
			0xbc,                                                                      \
			0xf5,                                                                      \
			0xfd,                                                                      \
			0x3a,                                                                      \
			0x1a,                                                                      \
			0x07,                                                                      \
			0x41,                                                                      \
			0x48,                                                                      \
			0xbb,                                                                      \
			0x35,                                                                      \
			0xd3,                                                                      \
			0xb4,                                                                      \
			0xe4,                                                                      \
			0xcb,                                                                      \
			0x1c,                                                                      \
			0x0a,                                                                      \
			0xd9,                                                                      \
			0xbd,                                                                      \
			0xe4,                                                                      \
			0x19,                                                                      \
			0xca,                                                                      \
			0xcb,                                                                      \
			0x47,                                                                      \
			0xba,                                                                      \
			0x09,                                                                      \
			0x69,                                                                      \
			0x96,                                                                      \
			0x46,                                                                      \
			0x15,                                                                      \
			0x0f,                                                                      \
			0x9f,                                                                      \
			0xc0,                                                                      \
			0x00,                                                                      \
			0xf3,                                                                      \
			0xf8,                                                                      \
			0x0e,                                                                      \
			0x12                                                                       \
		}                                                                                  \
	}
#define AES_CFB(bits)                                                                              \
	{                                                                                          \
		.algorithm = TPM2_ALG_AES, .keyBits.aes = (bits), .mode.aes = TPM2_ALG_CFB         \
	}

struct ek_kind {
	TPM2_HANDLE cert; /* NV index of its certificate */
	int with_password;
	TPMT_PUBLIC area;
};

/* The best first.  The unique of the low range's templates is of zeros, not empty. */
static const struct ek_kind EKS[] = {
	{
		.cert = 0x01c0000a, /* L-2 */
		.area = {
			.type = TPM2_ALG_ECC,
			.nameAlg = TPM2_ALG_SHA256,
			.objectAttributes = EK_ATTRIBUTES,
			.authPolicy = POLICY_A_SHA256,
			.parameters.eccDetail = {
				.symmetric = AES_CFB(128),
				.scheme.scheme = TPM2_ALG_NULL,
				.curveID = TPM2_ECC_NIST_P256,
				.kdf.scheme = TPM2_ALG_NULL,
			},
			.unique.ecc = { .x.size = 32, .y.size = 32 },
		},
	},
	{
		.cert = 0x01c00016, /* H-3 */
		.with_password = 1,
		.area = {
			.type = TPM2_ALG_ECC,
			.nameAlg = TPM2_ALG_SHA384,
			.objectAttributes = EK_ATTRIBUTES | TPMA_OBJECT_USERWITHAUTH,
			.authPolicy = POLICY_B_SHA384,
			.parameters.eccDetail = {
				.symmetric = AES_CFB(256),
				.scheme.scheme = TPM2_ALG_NULL,
				.curveID = TPM2_ECC_NIST_P384,
				.kdf.scheme = TPM2_ALG_NULL,
			},
		},
	},
	{
		.cert = 0x01c00002, /* L-1 */
		.area = {
			.type = TPM2_ALG_RSA,
			.nameAlg = TPM2_ALG_SHA256,
			.objectAttributes = EK_ATTRIBUTES,
			.authPolicy = POLICY_A_SHA256,
			.parameters.rsaDetail = {
				.symmetric = AES_CFB(128),
				.scheme.scheme = TPM2_ALG_NULL,
				.keyBits = 2048,
			},
			.unique.rsa.size = 256,
		},
	},
};

/* Free of the dictionary attack's lockout: its password is empty, and a lockout would only keep the
 * host from attesting. */
static const TPMT_PUBLIC AK = {
	.type = TPM2_ALG_ECC,
	.nameAlg = TPM2_ALG_SHA256,
	.objectAttributes = OWN | TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_NODA |
			    TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_SIGN_ENCRYPT,
	.parameters.eccDetail = {
		.symmetric.algorithm = TPM2_ALG_NULL,
		.scheme = { .scheme = TPM2_ALG_ECDSA, .details.ecdsa.hashAlg = TPM2_ALG_SHA256 },
		.curveID = TPM2_ECC_NIST_P256,
		.kdf.scheme = TPM2_ALG_NULL,
	},
};

/* In the NULL hierarchy, whose seed is new after each TPM reset; its policy is filled in. */
static const TPMT_PUBLIC BK = {
	.type = TPM2_ALG_ECC,
	.nameAlg = TPM2_ALG_SHA256,
	.objectAttributes = OWN | TPMA_OBJECT_NODA | TPMA_OBJECT_DECRYPT,
	.authPolicy.size = 32,
	.parameters.eccDetail = {
		.symmetric.algorithm = TPM2_ALG_NULL,
		.scheme = { .scheme = TPM2_ALG_ECDH, .details.ecdh.hashAlg = TPM2_ALG_SHA256 },
		.curveID = TPM2_ECC_NIST_P256,
		.kdf.scheme = TPM2_ALG_NULL,
	},
};

int hosttpm_choose_ek(struct hosttpm *t, struct fault *f)
{
	for (size_t i = 0; !t->ek && i < sizeof(EKS) / sizeof(EKS[0]); i++) {
		TPM2_HANDLE found = 0;
		int rc = hosttpm_nv_next(t, EKS[i].cert, &found, f);
		if (rc < 0)
			return rc;
		if (found == EKS[i].cert) {
			t->ek = &EKS[i];
			t->ek_cert = found;
		}
	}
	/* Without a certificate no guardian takes the TPM's word, but host-key mode may show it. */
	if (!t->ek)
		t->ek = &EKS[0];
	return 0;
}

static int put_public(const TPMT_PUBLIC *area, struct buf *out, struct fault *f)
{
	uint8_t bytes[TPM_PUBLIC_MAX];
	size_t at = 0;
	if (!out)
		return 0;
	if (Tss2_MU_TPMT_PUBLIC_Marshal(area, bytes, sizeof(bytes), &at) != TSS2_RC_SUCCESS)
		return fault_set(f, ERR_STATE, "the TPM's key cannot be marshalled");
	int rc = buf_add(out, bytes, at);
	return rc < 0 ? fault_set(f, rc, "no room for the TPM's key: %s", err_text(rc)) : 0;
}

/* Make the primary of AREA in HIERARCHY. */
static int load(struct hosttpm *t, ESYS_TR hierarchy, const TPMT_PUBLIC *area, const char *what,
		struct loaded *out, struct buf *pub, struct creation *how, struct fault *f)
{
	CLEANUP_ESYS TPM2B_PUBLIC *made = NULL;
	CLEANUP_CREATION struct creation unwanted = { 0 };
	struct creation *c = how ? how : &unwanted;
	TPM2B_SENSITIVE_CREATE no_secret = { 0 };
	TPM2B_PUBLIC template = { .publicArea = *area };
	TPM2B_DATA no_data = { 0 };
	TPML_PCR_SELECTION no_pcrs = { 0 };
	ESYS_TR tr = ESYS_TR_NONE;
	TSS2_RC answer = Esys_CreatePrimary(t->esys, hierarchy, ESYS_TR_PASSWORD, ESYS_TR_NONE,
					    ESYS_TR_NONE, &no_secret, &template, &no_data, &no_pcrs,
					    &tr, &made, &c->data, &c->hash, &c->ticket);
	if (answer != TSS2_RC_SUCCESS)
		return hosttpm_failed(f, answer, what);
	out->t = t;
	out->tr = tr;
	return put_public(&made->publicArea, pub, f);
}

int hosttpm_load_ek(struct hosttpm *t, struct loaded *out, struct buf *pub, struct fault *f)
{
	int rc = hosttpm_choose_ek(t, f);
	return rc < 0 ? rc
		      : load(t, ESYS_TR_RH_ENDORSEMENT, &t->ek->area, "making the endorsement key",
			     out, pub, NULL, f);
}

int hosttpm_load_ak(struct hosttpm *t, struct loaded *out, struct buf *pub, struct fault *f)
{
	return load(t, ESYS_TR_RH_ENDORSEMENT, &AK, "making the attestation key", out, pub, NULL,
		    f);
}

int hosttpm_load_bk(struct hosttpm *t, const uint8_t policy[static 32], struct loaded *out,
		    struct buf *pub, struct creation *made, struct fault *f)
{
	TPMT_PUBLIC area = BK;
	memcpy(area.authPolicy.buffer, policy, 32);
	return load(t, ESYS_TR_RH_NULL, &area, "making the PCR-bound key", out, pub, made, f);
}

int hosttpm_policy_session(struct hosttpm *t, struct loaded *out, struct fault *f)
{
	TPMT_SYM_DEF none = { .algorithm = TPM2_ALG_NULL };
	ESYS_TR tr = ESYS_TR_NONE;
	TSS2_RC answer = Esys_StartAuthSession(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
					       ESYS_TR_NONE, ESYS_TR_NONE, NULL, TPM2_SE_POLICY,
					       &none, TPM2_ALG_SHA256, &tr);
	if (answer != TSS2_RC_SUCCESS)
		return hosttpm_failed(f, answer, "starting a policy session");
	out->t = t;
	out->tr = tr;
	return 0;
}

int hosttpm_ek_session(struct hosttpm *t, struct loaded *out, struct fault *f)
{
	if (t->ek->with_password)
		return 0;
	int rc = hosttpm_policy_session(t, out, f);
	if (rc < 0)
		return rc;
	TSS2_RC answer =
		Esys_PolicySecret(t->esys, ESYS_TR_RH_ENDORSEMENT, out->tr, ESYS_TR_PASSWORD,
				  ESYS_TR_NONE, ESYS_TR_NONE, NULL, NULL, NULL, 0, NULL, NULL);
	return answer == TSS2_RC_SUCCESS
		       ? 0
		       : hosttpm_failed(f, answer, "using the endorsement hierarchy");
}
