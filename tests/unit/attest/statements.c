/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/attest/statements.h"

#include <string.h>

#include "tests/unit/test.h"

/* The key's type, size and number. */
static void put_key(TPMT_PUBLIC *area, const EVP_PKEY *k)
{
	struct rawkey raw;
	assert_int_equal(rawkey_from_pkey(k, &raw), 0);
	size_t n = rawkey_coord_bytes(raw.type);
	if (raw.type == RAWKEY_RSA_2048) {
		area->type = TPM2_ALG_RSA;
		area->parameters.rsaDetail.keyBits = 2048;
		area->unique.rsa.size = sizeof(raw.n);
		memcpy(area->unique.rsa.buffer, raw.n, sizeof(raw.n));
		return;
	}
	area->type = TPM2_ALG_ECC;
	area->parameters.eccDetail.curveID =
		raw.type == RAWKEY_P256 ? TPM2_ECC_NIST_P256 : TPM2_ECC_NIST_P384;
	area->parameters.eccDetail.kdf.scheme = TPM2_ALG_NULL;
	area->unique.ecc.x.size = area->unique.ecc.y.size = (UINT16)n;
	memcpy(area->unique.ecc.x.buffer, raw.x, n);
	memcpy(area->unique.ecc.y.buffer, raw.y, n);
}

TPMT_PUBLIC public_ak(const EVP_PKEY *k)
{
	TPMT_PUBLIC area = { .nameAlg = TPM2_ALG_SHA256,
			     .objectAttributes = OWN_KEY | TPMA_OBJECT_USERWITHAUTH |
						 TPMA_OBJECT_RESTRICTED |
						 TPMA_OBJECT_SIGN_ENCRYPT };
	put_key(&area, k);
	area.parameters.asymDetail.symmetric.algorithm = TPM2_ALG_NULL;
	if (area.type == TPM2_ALG_RSA) {
		area.parameters.rsaDetail.scheme.scheme = TPM2_ALG_RSASSA;
		area.parameters.rsaDetail.scheme.details.rsassa.hashAlg = TPM2_ALG_SHA256;
	} else {
		area.parameters.eccDetail.scheme.scheme = TPM2_ALG_ECDSA;
		area.parameters.eccDetail.scheme.details.ecdsa.hashAlg = TPM2_ALG_SHA256;
	}
	return area;
}

TPMT_PUBLIC public_ek(const EVP_PKEY *k)
{
	TPMT_PUBLIC area = { .nameAlg = TPM2_ALG_SHA256,
			     .objectAttributes = OWN_KEY | TPMA_OBJECT_ADMINWITHPOLICY |
						 TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT };
	put_key(&area, k);
	area.parameters.asymDetail.symmetric = (TPMT_SYM_DEF_OBJECT){ .algorithm = TPM2_ALG_AES,
								      .keyBits.aes = 128,
								      .mode.aes = TPM2_ALG_CFB };
	if (area.type == TPM2_ALG_RSA)
		area.parameters.rsaDetail.scheme.scheme = TPM2_ALG_NULL;
	else
		area.parameters.eccDetail.scheme.scheme = TPM2_ALG_NULL;
	return area;
}

TPMT_PUBLIC public_bk(const EVP_PKEY *k, const struct pcrs *pcrs)
{
	TPMT_PUBLIC area = { .nameAlg = TPM2_ALG_SHA256,
			     .objectAttributes = OWN_KEY | TPMA_OBJECT_NODA | TPMA_OBJECT_DECRYPT };
	put_key(&area, k);
	area.parameters.eccDetail.symmetric.algorithm = TPM2_ALG_NULL;
	area.parameters.eccDetail.scheme.scheme = TPM2_ALG_ECDH;
	area.parameters.eccDetail.scheme.details.ecdh.hashAlg = TPM2_ALG_SHA256;
	area.authPolicy.size = 32;
	assert_int_equal(
		tpm_pcr_policy(pcrs, pcrs->mask & ~PCR_RUNNING_MASK, area.authPolicy.buffer), 0);
	return area;
}

struct bytes marshal_public(const TPMT_PUBLIC *area)
{
	struct bytes b = { 0 };
	assert_int_equal(Tss2_MU_TPMT_PUBLIC_Marshal(area, b.data, sizeof(b.data), &b.n), 0);
	return b;
}

static TPMS_ATTEST statement(TPMI_ST_ATTEST type, const uint8_t extra[static 32])
{
	TPMS_ATTEST a = {
		.magic = TPM2_GENERATED_VALUE,
		.type = type,
		.qualifiedSigner.size = 34,
		.extraData.size = 32,
		.clockInfo = { .clock = 1234567, .resetCount = 5, .restartCount = 6, .safe = 1 },
		.firmwareVersion = 0x2019102300163636,
	};
	memcpy(a.extraData.buffer, extra, 32);
	return a;
}

TPMS_ATTEST quote_of(const struct pcrs *pcrs, const uint8_t extra[static 32])
{
	TPMS_ATTEST a = statement(TPM2_ST_ATTEST_QUOTE, extra);
	assert_int_equal(tpm_selection(pcrs->bank, pcrs->mask, &a.attested.quote.pcrSelect), 0);
	a.attested.quote.pcrDigest.size = 32;
	assert_int_equal(tpm_pcr_digest(pcrs, pcrs->mask, a.attested.quote.pcrDigest.buffer), 0);
	return a;
}

TPMS_CREATION_DATA creation_data(void)
{
	TPM2B_NAME null = { .size = 4, .name = { 0x40, 0, 0, 7 } };
	return (TPMS_CREATION_DATA){ .locality = TPMA_LOCALITY_TPM2_LOC_ZERO,
				     .parentNameAlg = TPM2_ALG_NULL,
				     .parentName = null,
				     .parentQualifiedName = null };
}

struct bytes marshal_creation_data(const TPMS_CREATION_DATA *data)
{
	struct bytes b = { 0 };
	assert_int_equal(Tss2_MU_TPMS_CREATION_DATA_Marshal(data, b.data, sizeof(b.data), &b.n), 0);
	return b;
}

TPMS_ATTEST creation_of(const struct bytes *bk, const uint8_t nonce[static 32])
{
	TPMS_ATTEST a = statement(TPM2_ST_ATTEST_CREATION, nonce);
	a.attested.creation.objectName.size = TPM_NAME_BYTES;
	assert_int_equal(tpm_name(blob_of(bk), a.attested.creation.objectName.name, NULL), 0);
	TPMS_CREATION_DATA data = creation_data();
	struct bytes b = marshal_creation_data(&data);
	a.attested.creation.creationHash.size = 32;
	assert_int_equal(
		hash_data(HASH_SHA256, b.data, b.n, a.attested.creation.creationHash.buffer), 0);
	return a;
}

struct bytes marshal_attest(const TPMS_ATTEST *attest)
{
	struct bytes b = { 0 };
	assert_int_equal(Tss2_MU_TPMS_ATTEST_Marshal(attest, b.data, sizeof(b.data), &b.n), 0);
	return b;
}

TPMT_SIGNATURE sign_text(EVP_PKEY *k, const struct bytes *text)
{
	uint8_t raw[512];
	size_t n = sizeof(raw);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, k, NULL), 1);
	assert_int_equal(EVP_DigestSign(ctx, raw, &n, text->data, text->n), 1);
	EVP_MD_CTX_free(ctx);
	TPMT_SIGNATURE sig = { 0 };
	if (EVP_PKEY_is_a(k, "RSA")) {
		sig.sigAlg = TPM2_ALG_RSASSA;
		sig.signature.rsassa.hash = TPM2_ALG_SHA256;
		sig.signature.rsassa.sig.size = (UINT16)n;
		memcpy(sig.signature.rsassa.sig.buffer, raw, n);
		return sig;
	}
	const uint8_t *p = raw;
	ECDSA_SIG *ec = d2i_ECDSA_SIG(NULL, &p, (long)n);
	sig.sigAlg = TPM2_ALG_ECDSA;
	TPMS_SIGNATURE_ECC *out = &sig.signature.ecdsa;
	out->hash = TPM2_ALG_SHA256;
	/* As short as the numbers are: a TPM does not pad either. */
	out->signatureR.size = (UINT16)BN_bn2bin(ECDSA_SIG_get0_r(ec), out->signatureR.buffer);
	out->signatureS.size = (UINT16)BN_bn2bin(ECDSA_SIG_get0_s(ec), out->signatureS.buffer);
	ECDSA_SIG_free(ec);
	return sig;
}

struct bytes marshal_signature(const TPMT_SIGNATURE *sig)
{
	struct bytes b = { 0 };
	assert_int_equal(Tss2_MU_TPMT_SIGNATURE_Marshal(sig, b.data, sizeof(b.data), &b.n), 0);
	return b;
}
