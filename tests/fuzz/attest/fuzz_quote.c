/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Public areas and statements of arbitrary bytes.  The input: the byte that says what follows, then
 *   0  a public area, as AK, EK, PCR-bound key and for its name
 *   1  a quote's signature, by an AK that never signed it
 *   2  a statement, as quote and as creation certificate
 * No fuzzer finds a signature: 2 goes on where a good one leads to.
 */
#include <stdlib.h>
#include <string.h>

#include "attest/tpm_form.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The base point of P-256 as an AK. */
static const uint8_t GX[32] = { 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6,
				0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb,
				0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96 };
static const uint8_t GY[32] = { 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb,
				0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31,
				0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5 };

static struct pcrs pcrs = { .bank = HASH_SHA256, .mask = 0x7fff };
static uint8_t ak[TPM_PUBLIC_MAX];
static size_t ak_n;

static void set_up(void)
{
	TPMT_PUBLIC area = {
		.type = TPM2_ALG_ECC,
		.nameAlg = TPM2_ALG_SHA256,
		.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
				    TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_RESTRICTED |
				    TPMA_OBJECT_SIGN_ENCRYPT,
		.parameters.eccDetail = { .symmetric.algorithm = TPM2_ALG_NULL,
					  .scheme = { .scheme = TPM2_ALG_ECDSA,
						      .details.ecdsa.hashAlg = TPM2_ALG_SHA256 },
					  .curveID = TPM2_ECC_NIST_P256,
					  .kdf.scheme = TPM2_ALG_NULL },
		.unique.ecc = { .x.size = 32, .y.size = 32 },
	};
	memcpy(area.unique.ecc.x.buffer, GX, 32);
	memcpy(area.unique.ecc.y.buffer, GY, 32);
	const char *id;
	struct fault f = { 0 };
	if (Tss2_MU_TPMT_PUBLIC_Marshal(&area, ak, sizeof(ak), &ak_n) ||
	    ak_check((struct blob){ ak, ak_n }, &id, &f) < 0)
		abort();
}

/* What every refusal leaves: a known id, and a sentence. */
static void refused(int rc, const char *id, const struct fault *f)
{
	if (rc < 0 && (!id || !finding_meaning(id) || f->rc != rc || !f->text[0]))
		abort();
}

static void one_public(struct blob pub)
{
	struct credential_ek ek;
	uint8_t x[32], y[32], name[TPM_NAME_BYTES];
	const char *id = NULL;
	struct fault f[4] = { 0 };
	int rc = ak_check(pub, &id, &f[0]);
	refused(rc, id, &f[0]);
	rc = ek_check(pub, &ek, &id, &f[1]);
	refused(rc, id, &f[1]);
	if (rc == 0 && rawkey_check(&ek.key) < 0)
		abort();
	rc = bk_check(pub, &pcrs, x, y, &id, &f[2]);
	refused(rc, id, &f[2]);
	if (tpm_name(pub, name, &f[3]) == 0 && (name[0] != 0x00 || name[1] != 0x0b))
		abort();
}

static void one_signature(struct blob signature)
{
	static const uint8_t EXTRA[32];
	struct quote_clock clock;
	const char *id = NULL;
	struct fault f = { 0 };
	int rc = quote_verify((struct blob){ ak, ak_n }, (struct blob){ ak, ak_n }, signature,
			      EXTRA, &pcrs, &clock, &id, &f);
	refused(rc, id, &f);
	if (rc == 0)
		abort();
}

static void one_statement(struct blob attest)
{
	static const uint8_t EXTRA[32];
	struct quote_clock clock;
	const char *id = NULL;
	struct fault f[2] = { 0 };
	int rc = quote_judge(attest, EXTRA, &pcrs, &clock, &id, &f[0]);
	refused(rc, id, &f[0]);
	rc = creation_judge(attest, EXTRA, (struct blob){ ak, ak_n }, &clock, &id, &f[1]);
	refused(rc, id, &f[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!ak_n)
		set_up();
	if (size == 0)
		return 0;
	struct blob rest = { data + 1, size - 1 };
	if (data[0] == 0)
		one_public(rest);
	else if (data[0] == 1)
		one_signature(rest);
	else
		one_statement(rest);
	return 0;
}
