/* SPDX-License-Identifier: BSD-3-Clause */
/* Public areas: what a key must be before anything that it signs or unwraps counts. */
#include <string.h>

#include "attest/tpm_form.h"

/* What every key of ours must have: made by its TPM, and never to leave it. */
#define ATTRIBUTES_OWN                                                                             \
	(TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN)

struct attributes_rule {
	const char *what;
	const char *format, *id; /* when it cannot be read, when it is not so */
	TPMA_OBJECT set, clear;
};

static const struct attributes_rule AK_RULE = {
	"attestation key",   "ak.format",
	"ak.attributes",     ATTRIBUTES_OWN | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_SIGN_ENCRYPT,
	TPMA_OBJECT_DECRYPT,
};
static const struct attributes_rule EK_RULE = {
	"endorsement key",	  "ek.format",
	"ek.attributes",	  ATTRIBUTES_OWN | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT,
	TPMA_OBJECT_SIGN_ENCRYPT,
};
/* userWithAuth would let it be used with its (empty) password, policy or not. */
static const struct attributes_rule BK_RULE = {
	"PCR-bound key",
	"key.format",
	"key.attributes",
	ATTRIBUTES_OWN | TPMA_OBJECT_DECRYPT,
	TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_USERWITHAUTH,
};

int tpm_read_public(struct blob pub, const char *what, TPMT_PUBLIC *out, struct fault *f)
{
	size_t at = 0;
	if (pub.n > TPM_PUBLIC_MAX)
		return fault_set(f, ERR_LIMIT, "the %s's public area has %zu bytes, over %d", what,
				 pub.n, TPM_PUBLIC_MAX);
	/* An all-zero start: the unmarshalling leaves the rest of fixed arrays alone. */
	memset(out, 0, sizeof(*out));
	if (Tss2_MU_TPMT_PUBLIC_Unmarshal(pub.data, pub.n, &at, out) != TSS2_RC_SUCCESS)
		return fault_set(f, ERR_FORMAT, "the %s's public area is not a TPMT_PUBLIC", what);
	if (at != pub.n)
		return fault_set(f, ERR_TRAILING, "%zu bytes stand behind the %s's public area",
				 pub.n - at, what);
	return 0;
}

int tpm_name(struct blob pub, uint8_t name[static TPM_NAME_BYTES], struct fault *f)
{
	TPMT_PUBLIC area;
	int rc = tpm_read_public(pub, "key", &area, f);
	if (rc < 0)
		return rc;
	if (area.nameAlg != TPM2_ALG_SHA256)
		return fault_set(f, ERR_FORMAT, "the key's name is not made with SHA-256");
	name[0] = TPM2_ALG_SHA256 >> 8;
	name[1] = TPM2_ALG_SHA256 & 0xff;
	rc = hash_data(HASH_SHA256, pub.data, pub.n, name + 2);
	return rc < 0 ? fault_set(f, rc, "libcrypto cannot hash: %s", err_text(rc)) : 0;
}

int tpm_pad(const uint8_t *src, size_t src_n, uint8_t *out, size_t n)
{
	if (src_n > n)
		return ERR_FORMAT;
	memset(out, 0, n - src_n);
	if (src_n)
		memcpy(out + n - src_n, src, src_n);
	return 0;
}

/* Read PUB and hold its attributes against RULE. */
static int read_ruled(struct blob pub, const struct attributes_rule *rule, TPMT_PUBLIC *area,
		      const char **id, struct fault *f)
{
	*id = rule->format;
	int rc = tpm_read_public(pub, rule->what, area, f);
	if (rc < 0)
		return rc;
	*id = rule->id;
	if ((area->objectAttributes & rule->set) != rule->set ||
	    (area->objectAttributes & rule->clear))
		return fault_set(f, ERR_POLICY,
				 "the %s has the attributes 0x%x: it must have 0x%x and none of "
				 "0x%x",
				 rule->what, area->objectAttributes, rule->set, rule->clear);
	return 0;
}

/* The key in AREA, one of RSA-2048, P-256, P-384. */
static int read_key(const TPMT_PUBLIC *area, struct rawkey *key)
{
	memset(key, 0, sizeof(*key));
	if (area->type == TPM2_ALG_RSA) {
		const TPMS_RSA_PARMS *p = &area->parameters.rsaDetail;
		key->type = RAWKEY_RSA_2048;
		/* 0 stands for 65537 (Part 2, TPMS_RSA_PARMS). */
		if (p->keyBits != 8 * RAWKEY_RSA_BYTES || (p->exponent && p->exponent != 65537) ||
		    area->unique.rsa.size != RAWKEY_RSA_BYTES)
			return ERR_POLICY;
		memcpy(key->n, area->unique.rsa.buffer, RAWKEY_RSA_BYTES);
		return rawkey_check(key);
	}
	if (area->type != TPM2_ALG_ECC)
		return ERR_POLICY;
	if (area->parameters.eccDetail.curveID == TPM2_ECC_NIST_P256)
		key->type = RAWKEY_P256;
	else if (area->parameters.eccDetail.curveID == TPM2_ECC_NIST_P384)
		key->type = RAWKEY_P384;
	else
		return ERR_POLICY;
	const TPMS_ECC_POINT *point = &area->unique.ecc;
	size_t n = rawkey_coord_bytes(key->type);
	if (tpm_pad(point->x.buffer, point->x.size, key->x, n) < 0 ||
	    tpm_pad(point->y.buffer, point->y.size, key->y, n) < 0)
		return ERR_FORMAT;
	return rawkey_check(key);
}

int tpm_read_ak(struct blob pub, struct rawkey *key, const char **id, struct fault *f)
{
	TPMT_PUBLIC area;
	int rc = read_ruled(pub, &AK_RULE, &area, id, f);
	if (rc < 0)
		return rc;
	const TPMT_ECC_SCHEME *ecc = &area.parameters.eccDetail.scheme;
	const TPMT_RSA_SCHEME *rsa = &area.parameters.rsaDetail.scheme;
	int good = area.nameAlg == TPM2_ALG_SHA256 && read_key(&area, key) == 0;
	if (good && key->type == RAWKEY_RSA_2048)
		good = rsa->scheme == TPM2_ALG_RSASSA &&
		       rsa->details.rsassa.hashAlg == TPM2_ALG_SHA256;
	else if (good)
		good = key->type == RAWKEY_P256 && ecc->scheme == TPM2_ALG_ECDSA &&
		       ecc->details.ecdsa.hashAlg == TPM2_ALG_SHA256;
	if (!good)
		return fault_set(
			f, ERR_POLICY,
			"the attestation key is neither P-256 with ECDSA nor RSA-2048 with "
			"RSASSA, of SHA-256");
	return 0;
}

int ak_check(struct blob pub, const char **id, struct fault *f)
{
	struct rawkey key;
	return tpm_read_ak(pub, &key, id, f);
}

int ek_check(struct blob pub, struct credential_ek *ek, const char **id, struct fault *f)
{
	TPMT_PUBLIC area;
	int rc = read_ruled(pub, &EK_RULE, &area, id, f);
	if (rc < 0)
		return rc;
	/* At the same place in every union of parameters (Part 2, TPMS_ASYM_PARMS). */
	const TPMT_SYM_DEF_OBJECT *sym = &area.parameters.asymDetail.symmetric;
	struct credential_ek got = { .name_alg = area.nameAlg };
	rc = read_key(&area, &got.key);
	if (rc < 0)
		return fault_set(f, rc,
				 "the endorsement key is no valid RSA-2048, P-256 or P-384 key");
	got.aes_bits = sym->keyBits.aes;
	if ((got.name_alg != HASH_SHA256 && got.name_alg != HASH_SHA384) ||
	    sym->algorithm != TPM2_ALG_AES || sym->mode.aes != TPM2_ALG_CFB ||
	    (got.aes_bits != 128 && got.aes_bits != 256))
		return fault_set(f, ERR_POLICY,
				 "the endorsement key does not protect with AES-128 or AES-256 in "
				 "CFB mode, and SHA-256 or SHA-384");
	*ek = got;
	return 0;
}

int bk_check(struct blob pub, const struct pcrs *pcrs, uint8_t x[static 32], uint8_t y[static 32],
	     const char **id, struct fault *f)
{
	TPMT_PUBLIC area;
	struct rawkey key;
	uint8_t policy[32];
	int rc = read_ruled(pub, &BK_RULE, &area, id, f);
	if (rc < 0)
		return rc;
	TPMI_ALG_ECC_SCHEME scheme = area.parameters.eccDetail.scheme.scheme;
	if (area.nameAlg != TPM2_ALG_SHA256 || read_key(&area, &key) < 0 ||
	    key.type != RAWKEY_P256 || (scheme != TPM2_ALG_ECDH && scheme != TPM2_ALG_NULL))
		return fault_set(f, ERR_POLICY, "the PCR-bound key is not for ECDH with P-256");
	*id = "key.policy";
	rc = tpm_pcr_policy(pcrs, pcrs->mask & ~PCR_RUNNING_MASK, policy);
	if (rc < 0)
		return fault_set(f, rc, "there is no policy over the PCRs 0x%x: %s", pcrs->mask,
				 err_text(rc));
	if (area.authPolicy.size != sizeof(policy) ||
	    memcmp(area.authPolicy.buffer, policy, sizeof(policy)) != 0)
		return fault_set(f, ERR_POLICY,
				 "the PCR-bound key is not bound to the PCRs' quoted values");
	memcpy(x, key.x, 32);
	memcpy(y, key.y, 32);
	return 0;
}

int tpm_selection(uint16_t bank, uint32_t mask, TPML_PCR_SELECTION *out)
{
	if (!mask || mask >> PCR_COUNT || !hash_bytes(bank))
		return ERR_POLICY;
	memset(out, 0, sizeof(*out));
	out->count = 1;
	out->pcrSelections[0].hash = bank;
	out->pcrSelections[0].sizeofSelect = PCR_COUNT / 8;
	for (unsigned i = 0; i < PCR_COUNT / 8; i++)
		out->pcrSelections[0].pcrSelect[i] = (BYTE)(mask >> (8 * i));
	return 0;
}

int tpm_pcr_digest(const struct pcrs *pcrs, uint32_t mask, uint8_t digest[static 32])
{
	struct hash_part parts[PCR_COUNT];
	size_t n = 0;
	if (mask & ~pcrs->mask || mask >> PCR_COUNT || !hash_bytes(pcrs->bank))
		return ERR_POLICY;
	for (unsigned i = 0; i < PCR_COUNT; i++)
		if (mask >> i & 1)
			parts[n++] = (struct hash_part){ pcrs->value[i], hash_bytes(pcrs->bank) };
	return hash_parts(HASH_SHA256, parts, n, digest);
}

int tpm_pcr_policy(const struct pcrs *pcrs, uint32_t mask, uint8_t policy[static 32])
{
	static const uint8_t START[32];
	TPML_PCR_SELECTION selection;
	uint8_t command[4 + sizeof(selection)], digest[32];
	size_t at = 0;
	int rc = tpm_selection(pcrs->bank, mask, &selection);
	if (rc >= 0)
		rc = tpm_pcr_digest(pcrs, mask, digest);
	if (rc < 0)
		return rc;
	if (Tss2_MU_UINT32_Marshal(TPM2_CC_PolicyPCR, command, sizeof(command), &at) ||
	    Tss2_MU_TPML_PCR_SELECTION_Marshal(&selection, command, sizeof(command), &at))
		return ERR_FORMAT;
	struct hash_part parts[] = { { START, sizeof(START) },
				     { command, at },
				     { digest, sizeof(digest) } };
	return hash_parts(HASH_SHA256, parts, 3, policy);
}
