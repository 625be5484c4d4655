/* SPDX-License-Identifier: BSD-3-Clause */
/* Enrolment of a real software TPM, and of a host without one. */
#include "tests/unit/guardian/guardian_bed.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include "attest/hosttpm.h"
#include "base/fd.h"
#include "guardian/enrol.h"
#include "tests/unit/attest/swtpm_bed.h"

#define AT_AUTH_POLICY 10 /* in a TPMT_PUBLIC: type, nameAlg, attributes, size */

static struct swtpm_bed tpm_bed;
static struct hosttpm *tpm;
static struct hosttpm_identity identity;
static struct ekcert_roots *roots;
static struct buf issuer; /* the intermediate that swtpm leaves out of the NV memory */
static struct hash_part chain[1];
static int64_t now;

static int make(void **state)
{
	if (guardian_make(state) < 0)
		return -1;
	g.ek_roots = roots;
	now = time(NULL);
	return 0;
}

/* The certificate in DER that B's EK certificate is signed with. */
static void read_issuer(const struct swtpm_bed *b, struct buf *der)
{
	char line[512], name[96];
	*der = BUF_INIT(8192);
	snprintf(line, sizeof(line),
		 "openssl x509 -in %s/ca/issuercert.pem -outform DER -out %s/issuer.der", b->folder,
		 b->folder);
	assert_int_equal(system(line), 0);
	snprintf(name, sizeof(name), "%s/issuer.der", b->folder);
	GOOD(fd_read_file(AT_FDCWD, name, der, &f));
}

static struct blob blob_of(const struct buf *b)
{
	return (struct blob){ b->data, b->len };
}

/* The enrolment of host N with the TPM. */
static struct enrolment enrolment(unsigned n, const char *name)
{
	struct enrolment e = {
		.name = name,
		.ek_pub = blob_of(&identity.ek_pub),
		.ak_pub = blob_of(&identity.ak_pub),
		.ek_cert = blob_of(&identity.certs[0]),
		.chain = chain,
		.n_chain = 1,
	};
	memcpy(e.id, bed_id(n), sizeof(e.id));
	return e;
}

/* Begin, and let the TPM open the credential. */
static void open_credential(const struct enrolment *e, struct enrol_ticket *ticket,
			    uint8_t secret[static 32])
{
	CLEANUP_BUF struct buf object = BUF_INIT(CREDENTIAL_ID_OBJECT_MAX);
	CLEANUP_BUF struct buf encrypted = BUF_INIT(CREDENTIAL_ENCRYPTED_MAX);
	DONE(enrol_begin(&g, e, now, ticket, &object, &encrypted, &why));
	GOOD(hosttpm_activate(tpm, blob_of(&object), blob_of(&encrypted), secret, &f));
}

static void test_a_tpm_enrols(void **state)
{
	(void)state;
	struct enrol_ticket ticket;
	uint8_t secret[32], print[32], is[32];
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	struct enrolment e = enrolment(1, "host-1");
	open_credential(&e, &ticket, secret);
	/* The chain has done its work; any guardian of the database finishes. */
	e.chain = NULL;
	e.n_chain = 0;
	DONE(enrol_finish(&g, &e, &ticket, secret, now + ENROL_SECONDS - 1, print, &why));
	GOOD(store_host_get(g.store, e.id, &h, &f));
	assert_int_equal(h.state, STORE_PENDING);
	assert_int_equal(h.mode, STORE_MODE_TPM);
	assert_string_equal(h.name, "host-1");
	assert_int_equal(h.ak_pub.len, identity.ak_pub.len);
	assert_memory_equal(h.ak_pub.data, identity.ak_pub.data, h.ak_pub.len);
	assert_int_equal(h.ek_cert.len, identity.certs[0].len);
	GOOD(store_host_fingerprint(&h, is));
	assert_memory_equal(is, print, sizeof(is));

	/* Once: not again, not under another id, not with the EK described otherwise. */
	REFUSES("host.taken", enrol_finish(&g, &e, &ticket, secret, now, print, &why));
	e = enrolment(2, "host-2");
	open_credential(&e, &ticket, secret);
	REFUSES("host.taken", enrol_finish(&g, &e, &ticket, secret, now, print, &why));
	uint8_t described[TPM_PUBLIC_MAX];
	memcpy(described, identity.ek_pub.data, identity.ek_pub.len);
	described[AT_AUTH_POLICY] ^= 1;
	e.ek_pub.data = described;
	open_credential(&e, &ticket, secret);
	struct refusal why = { 0 };
	assert_true(enrol_finish(&g, &e, &ticket, secret, now, print, &why) < 0);
	assert_string_equal(why.id, "host.taken");
	assert_non_null(strstr(why.fault.text, "endorsement key"));
	REFUSED(-ENOENT, "", store_host_get(g.store, bed_id(2), &h, &f));
}

static void test_the_secret_covers_everything(void **state)
{
	(void)state;
	struct enrol_ticket ticket, other;
	uint8_t secret[32], print[32], changed[8192];
	struct enrolment e = enrolment(1, "host-1"), bad;
	open_credential(&e, &ticket, secret);
	static const char WRONG[] = "activation.credential";
	for (int i = 0; i < 8; i++) {
		bad = e;
		other = ticket;
		secret[31] ^= i == 0;
		if (i == 1)
			bad.id[0]++;
		else if (i == 2)
			bad.name = "host-2";
		else if (i == 3)
			other.nonce[0] ^= 1;
		else if (i == 4)
			other.expires--;
		else if (i == 7)
			bad.tls_key[31] = 1;
		if (i == 5 || i == 6) {
			struct blob *part = i == 5 ? &bad.ek_cert : &bad.ak_pub;
			memcpy(changed, part->data, part->n);
			changed[part->n - 1] ^= 1;
			part->data = changed;
		}
		REFUSES(WRONG, enrol_finish(&g, &bad, &other, secret, now, print, &why));
		secret[31] ^= i == 0;
	}
	bad = e;
	bad.ek_pub.n--;
	REFUSES(WRONG, enrol_finish(&g, &bad, &ticket, secret, now, print, &why));
	static const uint8_t NOTHING[32];
	REFUSES(WRONG, enrol_finish(&g, &e, &ticket, NOTHING, now, print, &why));
	g.mac_key[5] ^= 1;
	REFUSES(WRONG, enrol_finish(&g, &e, &ticket, secret, now, print, &why));
	g.mac_key[5] ^= 1;
	REFUSES("activation.expired",
		enrol_finish(&g, &e, &ticket, secret, now + ENROL_SECONDS, print, &why));
	REFUSES("activation.expired",
		enrol_finish(&g, &e, &ticket, secret, now - HEALTHCERT_SKEW - 1, print, &why));
	other = ticket;
	other.expires = INT64_MAX;
	REFUSES("activation.expired", enrol_finish(&g, &e, &other, secret, now, print, &why));
	DONE(enrol_finish(&g, &e, &ticket, secret, now, print, &why));
}

static void begins_not(const char *id, const struct enrolment *e)
{
	struct enrol_ticket ticket;
	CLEANUP_BUF struct buf object = BUF_INIT(CREDENTIAL_ID_OBJECT_MAX);
	CLEANUP_BUF struct buf encrypted = BUF_INIT(CREDENTIAL_ENCRYPTED_MAX);
	REFUSES(id, enrol_begin(&g, e, now, &ticket, &object, &encrypted, &why));
}

static void test_keys_are_looked_at_first(void **state)
{
	(void)state;
	uint8_t changed[8192];
	struct enrolment e = enrolment(1, "Host 1");
	begins_not("request.format", &e);
	e = enrolment(1, "host-1");
	e.ek_cert.n = 0;
	begins_not("request.format", &e);
	e = enrolment(1, "host-1");
	e.ak_pub.n = TPM_PUBLIC_MAX + 1;
	begins_not("request.format", &e);
	e = enrolment(1, "host-1");
	e.host_key = bed_log_key;
	begins_not("request.format", &e);
	/* The AK offered as EK and the other way round, a key cut short. */
	e = enrolment(1, "host-1");
	e.ek_pub = e.ak_pub;
	begins_not("ek.attributes", &e);
	e = enrolment(1, "host-1");
	e.ak_pub = e.ek_pub;
	begins_not("ak.attributes", &e);
	e = enrolment(1, "host-1");
	e.ek_pub.n--;
	begins_not("ek.format", &e);
	/* Certificates: changed, of another key, of another maker, none trusted. */
	e = enrolment(1, "host-1");
	memcpy(changed, e.ek_cert.data, e.ek_cert.n);
	changed[e.ek_cert.n - 1] ^= 1;
	e.ek_cert.data = changed;
	begins_not("ek.chain", &e);
	e = enrolment(1, "host-1");
	e.ek_cert = blob_of(&identity.ak_pub);
	begins_not("ek.certificate", &e);
	CLEANUP_BUF struct buf pem = BUF_INIT(65536);
	CLEANUP(cleanup_ekcert_roots) struct ekcert_roots *others = NULL;
	char name[96];
	snprintf(name, sizeof(name), "%s/ca.pem", folder);
	GOOD(fd_read_file(AT_FDCWD, name, &pem, &f));
	GOOD(ekcert_roots_parse((const char *)pem.data, pem.len, &others, &f));
	e = enrolment(1, "host-1");
	g.ek_roots = others;
	begins_not("ek.chain", &e);
	g.ek_roots = NULL;
	begins_not("ek.chain", &e);
	g.ek_roots = roots;
	e.n_chain = 0;
	begins_not("ek.chain", &e);
}

static void test_another_tpms_certificate(void **state)
{
	(void)state;
	struct swtpm_bed second;
	struct hosttpm *t = NULL;
	struct hosttpm_identity id = { 0 };
	CLEANUP_BUF struct buf its_issuer = { 0 };
	swtpm_bed_open(&second, 1);
	swtpm_bed_start(&second);
	GOOD(hosttpm_open(second.tcti, &t, &f));
	GOOD(hosttpm_identity(t, &id, &f));
	hosttpm_close(t);
	CLEANUP_BUF struct buf pem = BUF_INIT(65536);
	CLEANUP(cleanup_ekcert_roots) struct ekcert_roots *both = NULL;
	swtpm_bed_cert(&tpm_bed, "swtpm-localca-rootca-cert.pem", &pem);
	swtpm_bed_cert(&second, "swtpm-localca-rootca-cert.pem", &pem);
	read_issuer(&second, &its_issuer);
	swtpm_bed_done(&second);
	GOOD(ekcert_roots_parse((const char *)pem.data, pem.len, &both, &f));
	g.ek_roots = both;
	now = time(NULL);
	struct enrolment e = enrolment(1, "host-1");
	e.ek_cert = blob_of(&id.certs[0]);
	struct hash_part more = { its_issuer.data, its_issuer.len };
	e.chain = &more;
	begins_not("ek.key", &e);
	/* The other TPM's AK: this TPM does not open the credential. */
	struct enrol_ticket ticket;
	uint8_t secret[32];
	CLEANUP_BUF struct buf object = BUF_INIT(CREDENTIAL_ID_OBJECT_MAX);
	CLEANUP_BUF struct buf encrypted = BUF_INIT(CREDENTIAL_ENCRYPTED_MAX);
	e = enrolment(1, "host-1");
	e.ak_pub = blob_of(&id.ak_pub);
	DONE(enrol_begin(&g, &e, now, &ticket, &object, &encrypted, &why));
	assert_int_equal(hosttpm_activate(tpm, blob_of(&object), blob_of(&encrypted), secret, NULL),
			 ERR_AUTH);
	hosttpm_identity_done(&id);
}

static void test_a_host_without_a_tpm_enrols(void **state)
{
	(void)state;
	struct enrol_ticket ticket, later;
	uint8_t print[32];
	CLEANUP_JWK struct jwk *key = NULL;
	CLEANUP_JWK struct jwk *other = NULL;
	CLEANUP_BUF struct buf none = BUF_INIT(16), text = BUF_INIT(1024), jws = BUF_INIT(8192),
			       foreign = BUF_INIT(8192), kind = BUF_INIT(8192);
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	GOOD(jwk_new(&key, &f));
	GOOD(jwk_new(&other, &f));
	struct enrolment e = { .name = "keyed", .host_key = key }, bad;
	memcpy(e.id, bed_id(1), sizeof(e.id));
	DONE(enrol_begin(&g, &e, now, &ticket, &none, &none, &why));
	assert_int_equal(none.len, 0);
	GOOD(statement_enrol(e.id, e.name, ticket.nonce, &text));
	GOOD(sign_make(key, STATEMENT_ENROL_TYP, text.data, text.len, &jws, &f));
	GOOD(sign_make(other, STATEMENT_ENROL_TYP, text.data, text.len, &foreign, &f));
	GOOD(sign_make(key, "shieldvm-attest+jws", text.data, text.len, &kind, &f));
	const char *good = buf_cstr(&jws);
#define FINISH(with, t, said, n, at) enrol_finish_key(&g, with, t, said, n, at, print, &why)
	REFUSES("host.key", FINISH(&e, &ticket, buf_cstr(&foreign), foreign.len, now));
	REFUSES("host.key", FINISH(&e, &ticket, buf_cstr(&kind), kind.len, now));
	REFUSES("host.key", FINISH(&e, &ticket, good, jws.len - 1, now));
	bad = e;
	bad.host_key = other;
	REFUSES("activation.credential",
		FINISH(&bad, &ticket, buf_cstr(&foreign), foreign.len, now));
	bad = e;
	bad.name = "other";
	REFUSES("activation.credential", FINISH(&bad, &ticket, good, jws.len, now));
	REFUSES("activation.expired", FINISH(&e, &ticket, good, jws.len, now + ENROL_SECONDS));
	/* A signature of before is not for this enrolment. */
	DONE(enrol_begin(&g, &e, now, &later, &none, &none, &why));
	REFUSES("host.key", FINISH(&e, &later, good, jws.len, now));
	/* Nobody gets round signing by showing the ticket. */
	REFUSES("host.mode", enrol_finish(&g, &e, &ticket, ticket.mac, now, print, &why));
	bad = enrolment(1, "keyed");
	REFUSES("host.mode", FINISH(&bad, &ticket, good, jws.len, now));
	DONE(FINISH(&e, &ticket, good, jws.len, now));
	GOOD(store_host_get(g.store, e.id, &h, &f));
	assert_int_equal(h.mode, STORE_MODE_HOSTKEY);
	assert_int_equal(h.state, STORE_PENDING);
	/* The same key under another id. */
	e.id[0]++;
	e.name = "keyed-too";
	jws.len = text.len = 0;
	DONE(enrol_begin(&g, &e, now, &ticket, &none, &none, &why));
	GOOD(statement_enrol(e.id, e.name, ticket.nonce, &text));
	GOOD(sign_make(key, STATEMENT_ENROL_TYP, text.data, text.len, &jws, &f));
	REFUSES("host.taken", FINISH(&e, &ticket, buf_cstr(&jws), jws.len, now));
}

static int start_tpm(void **state)
{
	(void)state;
	struct fault f = { 0 };
	CLEANUP_BUF struct buf pem = BUF_INIT(65536);
	swtpm_bed_open(&tpm_bed, 1);
	swtpm_bed_start(&tpm_bed);
	swtpm_bed_cert(&tpm_bed, "swtpm-localca-rootca-cert.pem", &pem);
	if (hosttpm_open(tpm_bed.tcti, &tpm, &f) < 0 || hosttpm_identity(tpm, &identity, &f) < 0 ||
	    ekcert_roots_parse((const char *)pem.data, pem.len, &roots, &f) < 0) {
		fprintf(stderr, "%s\n", f.text);
		return -1;
	}
	read_issuer(&tpm_bed, &issuer);
	chain[0] = (struct hash_part){ issuer.data, issuer.len };
	return 0;
}

static int stop_tpm(void **state)
{
	(void)state;
	buf_done(&issuer);
	hosttpm_identity_done(&identity);
	hosttpm_close(tpm);
	ekcert_roots_free(roots);
	swtpm_bed_done(&tpm_bed);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, guardian_done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_tpm_enrols),
		TEST(test_the_secret_covers_everything),
		TEST(test_keys_are_looked_at_first),
		TEST(test_another_tpms_certificate),
		TEST(test_a_host_without_a_tpm_enrols),
	};
	return cmocka_run_group_tests(tests, start_tpm, stop_tpm);
}
