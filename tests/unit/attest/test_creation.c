/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PCR-bound keys that a real TPM makes and certifies, but elsewhere than in the NULL hierarchy: the
 * same template, the same policy, the same AK.
 */
#include "tests/unit/attest/swtpm_bed.h"

#include "attest/hosttpm_form.h"
#include "tests/unit/test.h"

static struct swtpm_bed bed;
static const uint8_t NONCE[32] = "nonce", HOST[16], WORKER[65];

static int open_bed(void **state)
{
	(void)state;
	swtpm_bed_open(&bed, 0);
	swtpm_bed_start(&bed);
	return 0;
}

static int close_bed(void **state)
{
	(void)state;
	swtpm_bed_done(&bed);
	return 0;
}

static void good(int rc, const struct fault *f)
{
	if (rc < 0)
		fail_msg("%d: %s", rc, f->text);
}

static struct blob blob(const struct buf *b)
{
	return (struct blob){ b->data, b->len };
}

static void set(struct buf *to, const void *data, size_t n)
{
	buf_clear(to);
	assert_int_equal(buf_add(to, data, n), 0);
}

/* The template of P's key. */
static TPM2B_PUBLIC template_of(const struct hosttpm_proof *p)
{
	TPM2B_PUBLIC pub = { 0 };
	size_t at = 0;
	assert_int_equal(
		Tss2_MU_TPMT_PUBLIC_Unmarshal(p->bk_pub.data, p->bk_pub.len, &at, &pub.publicArea),
		0);
	memset(&pub.publicArea.unique, 0, sizeof(pub.publicArea.unique));
	return pub;
}

/* What the AK certifies of the key BK, in the place of what is in P. */
static void certify(struct hosttpm *t, ESYS_TR bk, const TPMT_PUBLIC *area,
		    const struct creation *made, struct hosttpm_proof *p)
{
	CLEANUP_LOADED struct loaded ak = { 0 };
	CLEANUP_ESYS TPM2B_ATTEST *attest = NULL;
	CLEANUP_ESYS TPMT_SIGNATURE *signature = NULL;
	TPMT_SIG_SCHEME own = { .scheme = TPM2_ALG_NULL };
	TPM2B_DATA nonce = { .size = 32 };
	uint8_t bytes[2048];
	size_t n = 0;
	struct fault f = { 0 };
	memcpy(nonce.buffer, NONCE, 32);
	good(hosttpm_load_ak(t, &ak, NULL, &f), &f);
	assert_int_equal(Esys_CertifyCreation(t->esys, ak.tr, bk, ESYS_TR_PASSWORD, ESYS_TR_NONE,
					      ESYS_TR_NONE, &nonce, made->hash, &own, made->ticket,
					      &attest, &signature),
			 0);
	set(&p->creation, attest->attestationData, attest->size);
	assert_int_equal(Tss2_MU_TPMT_SIGNATURE_Marshal(signature, bytes, sizeof(bytes), &n), 0);
	set(&p->creation_signature, bytes, n);
	n = 0;
	assert_int_equal(Tss2_MU_TPMT_PUBLIC_Marshal(area, bytes, sizeof(bytes), &n), 0);
	set(&p->bk_pub, bytes, n);
	n = 0;
	assert_int_equal(Tss2_MU_TPMS_CREATION_DATA_Marshal(&made->data->creationData, bytes,
							    sizeof(bytes), &n),
			 0);
	set(&p->creation_data, bytes, n);
}

/* P's key made in HIERARCHY, with PCRS and OUTSIDE (both may be empty) in its creation data. */
static void make_in(struct hosttpm *t, ESYS_TR hierarchy, const TPML_PCR_SELECTION *pcrs,
		    const TPM2B_DATA *outside, struct hosttpm_proof *p)
{
	CLEANUP_LOADED struct loaded bk = { 0 };
	CLEANUP_CREATION struct creation made = { 0 };
	CLEANUP_ESYS TPM2B_PUBLIC *pub = NULL;
	TPM2B_PUBLIC template = template_of(p);
	TPM2B_SENSITIVE_CREATE no_secret = { 0 };
	assert_int_equal(Esys_CreatePrimary(t->esys, hierarchy, ESYS_TR_PASSWORD, ESYS_TR_NONE,
					    ESYS_TR_NONE, &no_secret, &template, outside, pcrs,
					    &bk.tr, &pub, &made.data, &made.hash, &made.ticket),
			 0);
	bk.t = t;
	certify(t, bk.tr, &pub->publicArea, &made, p);
}

static int verify(struct hosttpm *t, const struct hosttpm_proof *p, const char **id)
{
	struct hosttpm_identity who = { 0 };
	struct quote_clock clock;
	struct fault f = { 0 };
	uint8_t x[32], y[32];
	good(hosttpm_identity(t, &who, &f), &f);
	int rc =
		creation_verify(blob(&who.ak_pub), blob(&p->creation), blob(&p->creation_signature),
				NONCE, blob(&p->bk_pub), blob(&p->creation_data), &clock, id, &f);
	hosttpm_identity_done(&who);
	/* Whatever its hierarchy, the key itself looks the same. */
	const char *ignored;
	good(bk_check(blob(&p->bk_pub), &p->pcrs, x, y, &ignored, &f), &f);
	return rc;
}

static void prove(struct hosttpm *t, struct hosttpm_proof *p)
{
	struct fault f = { 0 };
	good(hosttpm_prove(t, HASH_SHA256, 0x7fff, NONCE, WORKER, HOST, p, &f), &f);
}

static void test_hierarchies(void **state)
{
	static const struct {
		ESYS_TR hierarchy;
		int rc;
	} ROWS[] = {
		{ ESYS_TR_RH_NULL, 0 },
		{ ESYS_TR_RH_OWNER, ERR_POLICY },
		{ ESYS_TR_RH_ENDORSEMENT, ERR_POLICY },
		{ ESYS_TR_RH_PLATFORM, ERR_POLICY },
	};
	static const TPML_PCR_SELECTION NO_PCRS;
	static const TPM2B_DATA NO_DATA;
	(void)state;
	struct hosttpm *t = NULL;
	struct fault f = { 0 };
	good(hosttpm_open(bed.tcti, &t, &f), &f);
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		struct hosttpm_proof p = { 0 };
		const char *id = "";
		prove(t, &p);
		make_in(t, ROWS[i].hierarchy, &NO_PCRS, &NO_DATA, &p);
		assert_int_equal(verify(t, &p, &id), ROWS[i].rc);
		if (ROWS[i].rc < 0)
			assert_string_equal(id, "creation.hierarchy");
		hosttpm_proof_done(&p);
	}
	hosttpm_close(t);
}

/* The owner's key with the creation data of one in the NULL hierarchy. */
static void test_foreign_data(void **state)
{
	static const TPML_PCR_SELECTION NO_PCRS;
	static const TPM2B_DATA NO_DATA;
	(void)state;
	struct hosttpm *t = NULL;
	struct hosttpm_proof p = { 0 }, own = { 0 };
	const char *id = "";
	struct fault f = { 0 };
	good(hosttpm_open(bed.tcti, &t, &f), &f);
	prove(t, &p);
	prove(t, &own);
	assert_int_equal(verify(t, &own, &id), 0);
	make_in(t, ESYS_TR_RH_OWNER, &NO_PCRS, &NO_DATA, &p);
	set(&p.creation_data, own.creation_data.data, own.creation_data.len);
	assert_int_equal(verify(t, &p, &id), ERR_AUTH);
	assert_string_equal(id, "creation.data");
	hosttpm_proof_done(&p);
	hosttpm_proof_done(&own);
	hosttpm_close(t);
}

/* In the NULL hierarchy, but with something said of it that the template does not say. */
static void test_other_data(void **state)
{
	TPML_PCR_SELECTION pcrs = { 0 };
	TPM2B_DATA outside = { 0 };
	(void)state;
	struct hosttpm *t = NULL;
	struct fault f = { 0 };
	good(hosttpm_open(bed.tcti, &t, &f), &f);
	for (int i = 0; i < 2; i++) {
		struct hosttpm_proof p = { 0 };
		const char *id = "";
		prove(t, &p);
		if (i == 0)
			assert_int_equal(tpm_selection(HASH_SHA256, 1, &pcrs), 0);
		else
			pcrs.count = 0;
		outside.size = (UINT16)i;
		make_in(t, ESYS_TR_RH_NULL, &pcrs, &outside, &p);
		assert_int_equal(verify(t, &p, &id), ERR_POLICY);
		assert_string_equal(id, "creation.data");
		hosttpm_proof_done(&p);
	}
	hosttpm_close(t);
}

/* Why it matters: the owner's key is the same after a reset, the NULL hierarchy's is not. */
static void test_only_the_null_hierarchy_ends(void **state)
{
	static const TPML_PCR_SELECTION NO_PCRS;
	static const TPM2B_DATA NO_DATA;
	(void)state;
	struct hosttpm_proof p[2][2] = { 0 };
	for (int boot = 0; boot < 2; boot++) {
		struct hosttpm *t = NULL;
		struct fault f = { 0 };
		good(hosttpm_open(bed.tcti, &t, &f), &f);
		for (int i = 0; i < 2; i++) {
			prove(t, &p[boot][i]);
			make_in(t, i ? ESYS_TR_RH_OWNER : ESYS_TR_RH_NULL, &NO_PCRS, &NO_DATA,
				&p[boot][i]);
		}
		hosttpm_close(t);
		swtpm_bed_stop(&bed);
		swtpm_bed_start(&bed);
	}
	for (int i = 0; i < 2; i++) {
		struct buf *a = &p[0][i].bk_pub, *b = &p[1][i].bk_pub;
		int same = a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
		assert_int_equal(same, i);
		hosttpm_proof_done(&p[0][i]);
		hosttpm_proof_done(&p[1][i]);
	}
}

int main(void)
{
	/* As a program does: the TSS2 would write each refusal to stderr. */
	setenv("TSS2_LOG", "all+none", 0);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_hierarchies, open_bed, close_bed),
		cmocka_unit_test_setup_teardown(test_foreign_data, open_bed, close_bed),
		cmocka_unit_test_setup_teardown(test_other_data, open_bed, close_bed),
		cmocka_unit_test_setup_teardown(test_only_the_null_hierarchy_ends, open_bed,
						close_bed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
