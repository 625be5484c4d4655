/* SPDX-License-Identifier: BSD-3-Clause */
/* Each way in which a TPM's statement or key can be wrong, alone, has its own id. */
#include "tests/unit/attest/statements.h"

#include <string.h>

#include "tests/unit/test.h"

#define MASK ((1u << 0) | (1u << 4) | (1u << 7) | (1u << 10))

static EVP_PKEY *ec_key, *other_key, *rsa_key, *p384_key;
static struct pcrs pcrs;
static uint8_t extra[32];

static int set_up(void **state)
{
	(void)state;
	ec_key = EVP_EC_gen("P-256");
	other_key = EVP_EC_gen("P-256");
	p384_key = EVP_EC_gen("P-384");
	rsa_key = EVP_RSA_gen(2048);
	pcrs.bank = HASH_SHA256;
	pcrs.mask = MASK;
	for (size_t i = 0; i < PCR_COUNT; i++)
		memset(pcrs.value[i], (int)(i + 1), 32);
	memset(extra, 0xe1, sizeof(extra));
	return ec_key && other_key && p384_key && rsa_key ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	EVP_PKEY_free(ec_key);
	EVP_PKEY_free(other_key);
	EVP_PKEY_free(p384_key);
	EVP_PKEY_free(rsa_key);
	return 0;
}

/* A statement on its way to the verifier, and what happens to it there. */
struct trip {
	TPMT_PUBLIC ak;
	EVP_PKEY *signer;
	TPMS_ATTEST attest;
	size_t cut, append; /* bytes off, and onto, what is signed */
	TPMT_SIGNATURE sig;
	int own_sig; /* use sig as it is */
	uint8_t flip;
	size_t sig_append;
	struct bytes bk; /* what is sent along with a creation certificate */
};

static struct trip trip_of(EVP_PKEY *k)
{
	return (struct trip){ .ak = public_ak(k), .signer = k, .attest = quote_of(&pcrs, extra) };
}

static struct trip creation_trip(void)
{
	struct trip t = trip_of(ec_key);
	TPMT_PUBLIC bk = public_bk(other_key, &pcrs);
	t.bk = marshal_public(&bk);
	t.attest = creation_of(&t.bk, extra);
	return t;
}

static int travel(struct trip *t, int creation, struct quote_clock *clock, const char **id,
		  struct fault *f)
{
	struct bytes ak = marshal_public(&t->ak), text = marshal_attest(&t->attest);
	text.n = text.n - t->cut + t->append;
	TPMT_SIGNATURE sig = t->own_sig ? t->sig : sign_text(t->signer, &text);
	struct bytes signature = marshal_signature(&sig);
	signature.n += t->sig_append;
	text.data[20] ^= t->flip;
	if (creation)
		return creation_verify(blob_of(&ak), blob_of(&text), blob_of(&signature), extra,
				       blob_of(&t->bk), clock, id, f);
	return quote_verify(blob_of(&ak), blob_of(&text), blob_of(&signature), extra, &pcrs, clock,
			    id, f);
}

static void accepted(struct trip t, int creation)
{
	struct quote_clock clock = { 0 };
	const char *id = NULL;
	struct fault f = { 0 };
	if (travel(&t, creation, &clock, &id, &f) < 0)
		fail_msg("%s: %s", id, f.text);
	assert_int_equal(clock.reset_count, 5);
	assert_int_equal(clock.restart_count, 6);
	assert_int_equal(clock.clock_ms, 1234567);
	assert_int_equal(clock.safe, 1);
	assert_true(clock.firmware == 0x2019102300163636);
}

static void refused(struct trip t, int creation, int rc, const char *id)
{
	struct quote_clock clock = { .clock_ms = 99 };
	const char *got = NULL;
	struct fault f = { 0 };
	int got_rc = travel(&t, creation, &clock, &got, &f);
	if (got_rc != rc || !got || strcmp(got, id) != 0)
		fail_msg("%d %s (%s), wanted %d %s", got_rc, got ? got : "-", f.text, rc, id);
	assert_int_equal(f.rc, rc);
	assert_int_equal(clock.clock_ms, 99);
	assert_non_null(finding_meaning(id));
}

#define QUOTE_REFUSED(change, rc, id)                                                              \
	do {                                                                                       \
		struct trip t = trip_of(ec_key);                                                   \
		TPMS_QUOTE_INFO *q = &t.attest.attested.quote;                                     \
		TPMS_PCR_SELECTION *s = &q->pcrSelect.pcrSelections[0];                            \
		(void)s;                                                                           \
		change;                                                                            \
		refused(t, 0, rc, id);                                                             \
	} while (0)

static void test_good_quotes(void **state)
{
	(void)state;
	/* Often enough that r or s of fewer than 32 bytes occur. */
	for (int i = 0; i < 600; i++)
		accepted(trip_of(ec_key), 0);
	accepted(trip_of(rsa_key), 0);
	accepted(creation_trip(), 1);
}

static void test_quote_signature(void **state)
{
	(void)state;
	QUOTE_REFUSED(t.signer = other_key, ERR_AUTH, "quote.signature");
	QUOTE_REFUSED(t.signer = rsa_key, ERR_AUTH, "quote.signature");
	QUOTE_REFUSED(t.flip = 1, ERR_AUTH, "quote.signature");
	QUOTE_REFUSED(
		{
			t.own_sig = 1;
			t.sig.sigAlg = TPM2_ALG_NULL;
		},
		ERR_AUTH, "quote.signature");
	for (int i = 0; i < 5; i++) {
		struct trip t = trip_of(ec_key);
		struct bytes text = marshal_attest(&t.attest);
		t.sig = sign_text(ec_key, &text);
		t.own_sig = 1;
		TPMS_SIGNATURE_ECC *e = &t.sig.signature.ecdsa;
		if (i == 0) /* the digest would be another one, or is said to be */
			e->hash = TPM2_ALG_SHA384;
		else if (i == 1)
			e->hash = TPM2_ALG_SHA1;
		else if (i == 2)
			t.sig.sigAlg = TPM2_ALG_ECDAA;
		else if (i == 3)
			e->signatureR.size = e->signatureS.size = 0;
		else
			e->signatureR.size = 48;
		refused(t, 0, ERR_AUTH, "quote.signature");
	}
	QUOTE_REFUSED(t.sig_append = 1, ERR_FORMAT, "quote.format");
}

static void test_quote_rsa_signature(void **state)
{
	(void)state;
	struct trip t = trip_of(rsa_key);
	struct bytes text = marshal_attest(&t.attest);
	t.sig = sign_text(rsa_key, &text);
	t.own_sig = 1;
	t.sig.signature.rsassa.hash = TPM2_ALG_SHA1;
	refused(t, 0, ERR_AUTH, "quote.signature");
	t.sig.signature.rsassa.hash = TPM2_ALG_SHA256;
	t.sig.signature.rsassa.sig.size = 255;
	refused(t, 0, ERR_AUTH, "quote.signature");
	t.sig.signature.rsassa.sig.size = 256;
	t.sig.sigAlg = TPM2_ALG_RSAPSS;
	refused(t, 0, ERR_AUTH, "quote.signature");
}

static void test_quote_contents(void **state)
{
	(void)state;
	QUOTE_REFUSED(t.attest.magic = 0, ERR_AUTH, "quote.magic");
	QUOTE_REFUSED(t.attest.magic = TPM2_GENERATED_VALUE + 1, ERR_AUTH, "quote.magic");
	QUOTE_REFUSED(t.attest = creation_trip().attest, ERR_PURPOSE, "quote.type");
	QUOTE_REFUSED(t.attest.type = TPM2_ST_ATTEST_TIME, ERR_PURPOSE, "quote.type");
	QUOTE_REFUSED(t.attest.extraData.buffer[31] ^= 1, ERR_AUTH, "quote.nonce");
	QUOTE_REFUSED(t.attest.extraData.size = 31, ERR_AUTH, "quote.nonce");
	QUOTE_REFUSED(t.attest.extraData.size = 33, ERR_AUTH, "quote.nonce");
	QUOTE_REFUSED(t.attest.extraData.size = 0, ERR_AUTH, "quote.nonce");
	/* PCR 23, which anyone can reset, in place of PCR 7, with PCR 7's value. */
	QUOTE_REFUSED(
		{
			s->pcrSelect[0] &= (BYTE)~0x80;
			s->pcrSelect[2] |= 0x80;
		},
		ERR_POLICY, "quote.selection");
	QUOTE_REFUSED(s->pcrSelect[1] = 0, ERR_POLICY, "quote.selection");
	QUOTE_REFUSED(s->pcrSelect[0] |= 2, ERR_POLICY, "quote.selection");
	QUOTE_REFUSED(s->hash = TPM2_ALG_SHA1, ERR_POLICY, "quote.selection");
	QUOTE_REFUSED(s->hash = TPM2_ALG_SHA384, ERR_POLICY, "quote.selection");
	QUOTE_REFUSED(q->pcrSelect.count = 0, ERR_POLICY, "quote.selection");
	QUOTE_REFUSED(s->sizeofSelect = 4, ERR_POLICY, "quote.selection");
	QUOTE_REFUSED(
		{
			q->pcrSelect.count = 2;
			q->pcrSelect.pcrSelections[1] = *s;
		},
		ERR_POLICY, "quote.selection");
	QUOTE_REFUSED(t.append = 1, ERR_TRAILING, "quote.trailing");
	QUOTE_REFUSED(t.append = 64, ERR_TRAILING, "quote.trailing");
	QUOTE_REFUSED(q->pcrDigest.buffer[0] ^= 1, ERR_AUTH, "quote.digest");
	QUOTE_REFUSED(q->pcrDigest.size = 33, ERR_AUTH, "quote.digest");
	QUOTE_REFUSED(q->pcrDigest.size = 0, ERR_AUTH, "quote.digest");
	for (size_t cut = 1; cut < 100; cut += 7)
		QUOTE_REFUSED(t.cut = cut, ERR_FORMAT, "quote.format");
	QUOTE_REFUSED(t.append = TPM_ATTEST_MAX, ERR_LIMIT, "quote.format");
}

/* What is wrong in two places is refused for the first in the documented order. */
static void test_quote_order(void **state)
{
	(void)state;
	struct trip t = trip_of(ec_key);
	TPMS_QUOTE_INFO *q = &t.attest.attested.quote;
	q->pcrDigest.buffer[0] ^= 1;
	refused(t, 0, ERR_AUTH, "quote.digest");
	t.append = 1;
	refused(t, 0, ERR_TRAILING, "quote.trailing");
	q->pcrSelect.pcrSelections[0].pcrSelect[2] = 0x80;
	refused(t, 0, ERR_POLICY, "quote.selection");
	t.attest.extraData.buffer[0] ^= 1;
	refused(t, 0, ERR_AUTH, "quote.nonce");
	t.attest.type = TPM2_ST_ATTEST_CREATION;
	t.attest.attested = (TPMU_ATTEST){ 0 };
	refused(t, 0, ERR_PURPOSE, "quote.type");
	t.attest.magic = 0;
	refused(t, 0, ERR_AUTH, "quote.magic");
	t.signer = other_key;
	refused(t, 0, ERR_AUTH, "quote.signature");
	t.ak.objectAttributes &= ~(TPMA_OBJECT)TPMA_OBJECT_RESTRICTED;
	refused(t, 0, ERR_POLICY, "ak.attributes");
}

static void test_creation(void **state)
{
	(void)state;
	struct trip t = creation_trip();
	t.attest.attested.creation.objectName.name[33] ^= 1;
	refused(t, 1, ERR_AUTH, "creation.name");
	t = creation_trip();
	t.attest.attested.creation.objectName.size = 35;
	refused(t, 1, ERR_AUTH, "creation.name");
	t = creation_trip();
	TPMT_PUBLIC bk = public_bk(ec_key, &pcrs);
	t.bk = marshal_public(&bk);
	refused(t, 1, ERR_AUTH, "creation.name");
	t = creation_trip();
	t.bk.n++;
	refused(t, 1, ERR_TRAILING, "creation.name");
	t = creation_trip();
	t.attest.extraData.buffer[0] ^= 1;
	refused(t, 1, ERR_AUTH, "creation.nonce");
	t = creation_trip();
	t.attest = quote_of(&pcrs, extra);
	refused(t, 1, ERR_PURPOSE, "creation.type");
	t = creation_trip();
	t.attest.magic = 0;
	refused(t, 1, ERR_AUTH, "creation.magic");
	t = creation_trip();
	t.signer = other_key;
	refused(t, 1, ERR_AUTH, "creation.signature");
	t = creation_trip();
	t.append = 1;
	refused(t, 1, ERR_TRAILING, "creation.trailing");
	t = creation_trip();
	t.cut = 1;
	refused(t, 1, ERR_FORMAT, "creation.format");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_quotes),	    cmocka_unit_test(test_quote_signature),
		cmocka_unit_test(test_quote_rsa_signature), cmocka_unit_test(test_quote_contents),
		cmocka_unit_test(test_quote_order),	    cmocka_unit_test(test_creation),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
