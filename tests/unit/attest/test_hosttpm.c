/* SPDX-License-Identifier: BSD-3-Clause */
/* The host's side against a real software TPM, and what it says against the guardian's side. */
#include "tests/unit/attest/swtpm_bed.h"

#include <errno.h>
#include <time.h>

#include "attest/hosttpm.h"
#include "crypto/ekcert.h"
#include "crypto/ossl.h"
#include "crypto/protector.h"
#include "tests/unit/test.h"

#define MASK 0x7fffu

static struct swtpm_bed bed;

static const uint8_t NONCE[32] = "nonce", HOST[16] = "host", WORKER[65] = { 4, 1, 2 };

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

static struct hosttpm *open_tpm(void)
{
	struct hosttpm *t = NULL;
	struct fault f = { 0 };
	good(hosttpm_open(bed.tcti, &t, &f), &f);
	return t;
}

static struct blob blob(const struct buf *b)
{
	return (struct blob){ b->data, b->len };
}

static void test_open_without_a_tpm(void **state)
{
	(void)state;
	struct hosttpm *t = NULL;
	struct fault f = { 0 };
	assert_int_equal(hosttpm_open("swtpm:path=/nonexistent/socket", &t, &f), -ENODEV);
	assert_non_null(strstr(f.text, "swtpm:path=/nonexistent/socket cannot be reached ("));
	assert_null(strstr(f.text, "firmware"));
	f = (struct fault){ 0 };
	assert_int_equal(hosttpm_open("device:/nonexistent", &t, &f), -ENODEV);
	assert_non_null(strstr(f.text, "no TPM 2.0 at device:/nonexistent: enable it"));
	assert_null(t);
}

/* What the guardian does with a credential: made for EK and NAME; and what the TPM answers. */
static int activate(struct hosttpm *t, const struct hosttpm_identity *id,
		    const uint8_t name[static TPM_NAME_BYTES], uint8_t out[static 32])
{
	static const uint8_t SECRET[32] = "the secret of this enrolment";
	CLEANUP_BUF struct buf object = BUF_INIT(CREDENTIAL_ID_OBJECT_MAX);
	CLEANUP_BUF struct buf secret = BUF_INIT(CREDENTIAL_ENCRYPTED_MAX);
	struct credential_ek ek;
	const char *why = NULL;
	struct fault f = { 0 };
	good(ek_check(blob(&id->ek_pub), &ek, &why, &f), &f);
	good(credential_make(&ek, name, TPM_NAME_BYTES, SECRET, &object, &secret, &f), &f);
	int rc = hosttpm_activate(t, blob(&object), blob(&secret), out, &f);
	if (rc == 0)
		assert_memory_equal(out, SECRET, 32);
	return rc;
}

static void check_activation(struct hosttpm *t, const struct hosttpm_identity *id)
{
	uint8_t name[TPM_NAME_BYTES], out[32] = { 0 };
	static const uint8_t NOTHING[32];
	const char *why = NULL;
	struct fault f = { 0 };
	good(ak_check(blob(&id->ak_pub), &why, &f), &f);
	good(tpm_name(blob(&id->ak_pub), name, &f), &f);
	good(activate(t, id, name, out), &f);
	memset(out, 0, sizeof(out));
	name[33] ^= 1;
	assert_int_equal(activate(t, id, name, out), ERR_AUTH);
	assert_memory_equal(out, NOTHING, sizeof(out));
}

static void test_identity_without_certificates(void **state)
{
	(void)state;
	struct hosttpm_identity id = { 0 }, again = { 0 };
	struct fault f = { 0 };
	swtpm_bed_open(&bed, 0);
	swtpm_bed_start(&bed);
	struct hosttpm *t = open_tpm();
	good(hosttpm_identity(t, &id, &f), &f);
	assert_int_equal(id.n_certs, 0);
	check_activation(t, &id); /* P-256 */
	hosttpm_close(t);
	/* The same TPM after a reset is the same. */
	swtpm_bed_stop(&bed);
	swtpm_bed_start(&bed);
	t = open_tpm();
	good(hosttpm_identity(t, &again, &f), &f);
	assert_int_equal(again.ek_pub.len, id.ek_pub.len);
	assert_memory_equal(again.ek_pub.data, id.ek_pub.data, id.ek_pub.len);
	assert_int_equal(again.ak_pub.len, id.ak_pub.len);
	assert_memory_equal(again.ak_pub.data, id.ak_pub.data, id.ak_pub.len);
	hosttpm_identity_done(&id);
	hosttpm_identity_done(&again);
	hosttpm_close(t);
}

/* A certificate of the bed's CA in DER. */
static void ca_der(const char *name, struct buf *der)
{
	CLEANUP_BUF struct buf pem = BUF_INIT(65536);
	swtpm_bed_cert(&bed, name, &pem);
	CLEANUP(cleanup_bio) BIO *in = BIO_new_mem_buf(pem.data, (int)pem.len);
	CLEANUP(cleanup_x509) X509 *cert = PEM_read_bio_X509(in, NULL, NULL, NULL);
	assert_non_null(cert);
	uint8_t *p = NULL;
	int n = i2d_X509(cert, &p);
	assert_true(n > 0);
	assert_int_equal(buf_add(der, p, (size_t)n), 0);
	OPENSSL_free(p);
}

static void same_bytes(const struct buf *got, const struct buf *want)
{
	assert_int_equal(got->len, want->len);
	assert_memory_equal(got->data, want->data, want->len);
}

/* Verify what the TPM gave against its CA's root alone. */
static int verify_certificate(const struct hosttpm_identity *id, const struct rawkey *ek)
{
	CLEANUP_BUF struct buf pem = BUF_INIT(65536);
	CLEANUP_EKCERT_ROOTS struct ekcert_roots *roots = NULL;
	struct hash_part parts[HOSTTPM_CERTS_MAX];
	struct fault f = { 0 };
	swtpm_bed_cert(&bed, "swtpm-localca-rootca-cert.pem", &pem);
	good(ekcert_roots_parse((char *)pem.data, pem.len, &roots, &f), &f);
	for (unsigned i = 0; i < id->n_certs; i++)
		parts[i] = (struct hash_part){ id->certs[i].data, id->certs[i].len };
	return ekcert_verify(roots, &parts[0], parts + 1, id->n_certs - 1, time(NULL), ek, NULL);
}

static void test_identity_with_certificates(void **state)
{
	(void)state;
	struct hosttpm_identity id = { 0 };
	CLEANUP_BUF struct buf root = BUF_INIT(8192);
	CLEANUP_BUF struct buf chain = BUF_INIT(8192);
	struct credential_ek ek;
	const char *why = NULL;
	struct fault f = { 0 };
	swtpm_bed_open(&bed, 1);
	swtpm_bed_start(&bed);
	struct hosttpm *t = open_tpm();
	good(hosttpm_identity(t, &id, &f), &f);
	assert_int_equal(id.n_certs, 1);
	good(ek_check(blob(&id.ek_pub), &ek, &why, &f), &f);
	assert_int_equal(ek.key.type, RAWKEY_P384); /* rather than its RSA EK */
	assert_int_equal(verify_certificate(&id, &ek.key), ERR_AUTH);
	check_activation(t, &id);
	hosttpm_identity_done(&id);
	hosttpm_close(t);

	/* The chain: unordered, not at the range's begin, one certificate across two indices. */
	ca_der("swtpm-localca-rootca-cert.pem", &root);
	ca_der("swtpm-localca-rootca-cert.pem", &chain);
	ca_der("issuercert.pem", &chain);
	size_t first = root.len + 100;
	swtpm_bed_store(&bed, 0x01c00103, chain.data, first, 0);
	swtpm_bed_store(&bed, 0x01c001f0, chain.data + first, chain.len - first, 1);
	swtpm_bed_store(&bed, 0x01c00200, chain.data, first, 0);
	t = open_tpm();
	good(hosttpm_identity(t, &id, &f), &f);
	assert_int_equal(id.n_certs, 3);
	same_bytes(&id.certs[1], &root);
	assert_int_equal(id.certs[1].len + id.certs[2].len, chain.len);
	assert_int_equal(verify_certificate(&id, &ek.key), 0);
	ek.key.x[3] ^= 1;
	assert_int_equal(verify_certificate(&id, &ek.key), ERR_RECIPIENT);
	hosttpm_identity_done(&id);
	hosttpm_close(t);
}

/* A locked TPM does not look at a credential for an EK with a password: it is not the credential
 * that is wrong. */
static void test_lockout(void **state)
{
	(void)state;
	struct hosttpm_identity id = { 0 };
	struct credential_ek ek;
	uint8_t name[TPM_NAME_BYTES], out[32];
	const char *why = NULL;
	struct fault f = { 0 };
	swtpm_bed_open(&bed, 1);
	swtpm_bed_start(&bed);
	struct hosttpm *t = open_tpm();
	good(hosttpm_identity(t, &id, &f), &f);
	good(ek_check(blob(&id.ek_pub), &ek, &why, &f), &f);
	assert_int_equal(ek.key.type, RAWKEY_P384);
	good(tpm_name(blob(&id.ak_pub), name, &f), &f);
	hosttpm_close(t);
	swtpm_bed_tries(&bed, 0);
	t = open_tpm();
	assert_int_equal(activate(t, &id, name, out), -EBUSY);
	hosttpm_close(t);
	swtpm_bed_tries(&bed, 3);
	t = open_tpm();
	assert_int_equal(activate(t, &id, name, out), 0);
	hosttpm_close(t);
	hosttpm_identity_done(&id);
}

/* What is offered follows the certificates; here any certificate, with padding behind it. */
static void test_choice(void **state)
{
	(void)state;
	struct hosttpm_identity id = { 0 };
	CLEANUP_BUF struct buf cert = BUF_INIT(8192);
	struct credential_ek ek;
	const char *why = NULL;
	struct fault f = { 0 };
	swtpm_bed_open(&bed, 1);
	ca_der("issuercert.pem", &cert);
	swtpm_bed_done(&bed);
	swtpm_bed_open(&bed, 0);
	swtpm_bed_start(&bed);
	size_t n = cert.len;
	assert_int_equal(buf_add(&cert, "\xff\xff\xff\xff", 4), 0);
	static const struct {
		uint32_t index;
		enum rawkey_type type;
		const char *name;
	} ROWS[] = {
		{ 0x01c00002, RAWKEY_RSA_2048, "rsa" },
		{ 0x01c00016, RAWKEY_P384, "ecc384" },
		{ 0x01c0000a, RAWKEY_P256, "ecc" },
	};
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		swtpm_bed_store(&bed, ROWS[i].index, cert.data, cert.len, 0);
		struct hosttpm *t = open_tpm();
		good(hosttpm_identity(t, &id, &f), &f);
		good(ek_check(blob(&id.ek_pub), &ek, &why, &f), &f);
		assert_int_equal(ek.key.type, ROWS[i].type);
		assert_int_equal(id.n_certs, 1);
		assert_int_equal(id.certs[0].len, n);
		check_activation(t, &id);
		hosttpm_close(t);
		CLEANUP_BUF struct buf other = BUF_INIT(TPM_PUBLIC_MAX);
		swtpm_bed_ek(&bed, ROWS[i].name, &other);
		same_bytes(&id.ek_pub, &other);
		hosttpm_identity_done(&id);
	}
	swtpm_bed_done(&bed);
	/* What is no certificate is not passed over. */
	swtpm_bed_open(&bed, 0);
	swtpm_bed_start(&bed);
	swtpm_bed_store(&bed, 0x01c0000a, (const uint8_t *)"nothing", 7, 0);
	struct hosttpm *t = open_tpm();
	assert_int_equal(hosttpm_identity(t, &id, &f), ERR_FORMAT);
	assert_non_null(strstr(f.text, "0x01c0000a"));
	hosttpm_close(t);
}

/* As the guardian verifies it; the PCR-bound key's point. */
static void verify(struct hosttpm *t, const struct hosttpm_proof *p, uint8_t x[static 32],
		   uint8_t y[static 32])
{
	struct hosttpm_identity id = { 0 };
	struct quote_clock quoted, created;
	uint8_t name[TPM_NAME_BYTES], extra[QUOTE_EXTRA_BYTES];
	const char *why = "";
	struct fault f = { 0 };
	good(hosttpm_identity(t, &id, &f), &f);
	good(tpm_name(blob(&p->bk_pub), name, &f), &f);
	good(quote_extra(NONCE, name, WORKER, HOST, extra), &f);
	good(quote_verify(blob(&id.ak_pub), blob(&p->quote), blob(&p->quote_signature), extra,
			  &p->pcrs, &quoted, &why, &f),
	     &f);
	good(creation_verify(blob(&id.ak_pub), blob(&p->creation), blob(&p->creation_signature),
			     NONCE, blob(&p->bk_pub), blob(&p->creation_data), &created, &why, &f),
	     &f);
	assert_int_equal(quoted.reset_count, created.reset_count);
	good(bk_check(blob(&p->bk_pub), &p->pcrs, x, y, &why, &f), &f);
	hosttpm_identity_done(&id);
}

static void prove(struct hosttpm *t, struct hosttpm_proof *p)
{
	struct fault f = { 0 };
	good(hosttpm_prove(t, HASH_SHA256, MASK, NONCE, WORKER, HOST, p, &f), &f);
	assert_int_equal(p->pcrs.bank, HASH_SHA256);
	assert_int_equal(p->pcrs.mask, MASK);
}

/* Both sides of an ECDH with the key at X, Y: an own key's, and the TPM's. */
static int ecdh_both(struct hosttpm *t, const struct hosttpm_proof *p, struct fault *f)
{
	uint8_t z[32];
	/* The base point of P-256: the shared x is then the x of the TPM's own point. */
	static const uint8_t GX[32] = { 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47,
					0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2,
					0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0,
					0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96 };
	static const uint8_t GY[32] = { 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b,
					0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16,
					0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce,
					0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5 };
	uint8_t x[32], y[32];
	const char *why = "";
	int rc = hosttpm_ecdh(t, p, GX, GY, z, f);
	if (rc < 0)
		return rc;
	good(bk_check(blob(&p->bk_pub), &p->pcrs, x, y, &why, f), f);
	assert_memory_equal(z, x, 32);
	return 0;
}

static void test_proof(void **state)
{
	(void)state;
	struct hosttpm_proof p = { 0 }, later = { 0 }, reset = { 0 };
	uint8_t x[32], y[32];
	struct fault f = { 0 };
	swtpm_bed_open(&bed, 0);
	swtpm_bed_start(&bed);
	swtpm_bed_extend(&bed, 7, 0x77);
	swtpm_bed_extend(&bed, 14, 0x14);
	struct hosttpm *t = open_tpm();
	prove(t, &p);
	verify(t, &p, x, y);
	good(ecdh_both(t, &p, &f), &f);
	hosttpm_close(t);

	/* What goes on changing does not end the key's use, but the next quote shows it. */
	swtpm_bed_extend(&bed, 10, 0x10);
	t = open_tpm();
	good(ecdh_both(t, &p, &f), &f);
	prove(t, &later);
	verify(t, &later, x, y);
	assert_memory_equal(later.bk_pub.data, p.bk_pub.data, p.bk_pub.len);
	assert_memory_not_equal(later.pcrs.value[10], p.pcrs.value[10], 32);
	hosttpm_close(t);

	/* Anything else does. */
	swtpm_bed_extend(&bed, 4, 0x44);
	t = open_tpm();
	assert_int_equal(ecdh_both(t, &p, &f), ERR_POLICY);
	hosttpm_close(t);

	/* And after a reset the same PCRs make another key. */
	swtpm_bed_stop(&bed);
	swtpm_bed_start(&bed);
	swtpm_bed_extend(&bed, 7, 0x77);
	swtpm_bed_extend(&bed, 14, 0x14);
	t = open_tpm();
	assert_int_equal(ecdh_both(t, &p, NULL), ERR_STATE);
	prove(t, &reset);
	assert_memory_equal(reset.pcrs.value, p.pcrs.value, sizeof(p.pcrs.value));
	assert_memory_not_equal(reset.bk_pub.data, p.bk_pub.data, p.bk_pub.len);
	verify(t, &reset, x, y);
	hosttpm_close(t);
	hosttpm_proof_done(&p);
	hosttpm_proof_done(&later);
	hosttpm_proof_done(&reset);
}

static void test_refused_selections(void **state)
{
	(void)state;
	struct hosttpm_proof p = { 0 };
	swtpm_bed_open(&bed, 0);
	swtpm_bed_start(&bed);
	struct hosttpm *t = open_tpm();
	static const struct {
		uint16_t bank;
		uint32_t mask;
		int rc;
	} ROWS[] = {
		{ HASH_SHA256, 0, ERR_POLICY }, { HASH_SHA256, 1u << 24, ERR_POLICY },
		{ 0x0012, MASK, ERR_POLICY },	{ HASH_SHA256, 1u << 10, ERR_POLICY },
		{ HASH_SHA256, 1u << 23, 0 },
	};
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		struct fault f = { 0 };
		assert_int_equal(
			hosttpm_prove(t, ROWS[i].bank, ROWS[i].mask, NONCE, WORKER, HOST, &p, &f),
			ROWS[i].rc);
		if (ROWS[i].rc == 0)
			hosttpm_proof_done(&p);
		else
			assert_int_equal(f.rc, ROWS[i].rc);
	}
	hosttpm_close(t);
}

int main(void)
{
	/* As a program does: the TSS2 would write each refusal to stderr. */
	setenv("TSS2_LOG", "all+none", 0);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_without_a_tpm),
		cmocka_unit_test_teardown(test_identity_without_certificates, close_bed),
		cmocka_unit_test_teardown(test_identity_with_certificates, close_bed),
		cmocka_unit_test_teardown(test_lockout, close_bed),
		cmocka_unit_test_teardown(test_choice, close_bed),
		cmocka_unit_test_teardown(test_proof, close_bed),
		cmocka_unit_test_teardown(test_refused_selections, close_bed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
