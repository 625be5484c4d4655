/* SPDX-License-Identifier: BSD-3-Clause */
/* From the protector to the worker; and the whole way with a software TPM. */
#include "tests/unit/guardian/guardian_bed.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include "attest/hosttpm.h"
#include "base/fd.h"
#include "crypto/jwk_form.h"
#include "guardian/certify.h"
#include "guardian/enrol.h"
#include "guardian/release.h"
#include "tests/unit/attest/swtpm_bed.h"

#define URL "https://guardian.test:8787#bkgHgBeI1XZHoEIQYDnPz5uK7NqLzKz5uCwv7p8h3gU"
static const uint8_t VM[UUID_BYTES] = { 0xde, 0xad };
static struct jwk *owner, *guardian_key, *bound_key, *worker_key, *other_key;
static struct ecdh guardian_ecdh;
static struct vm_key vm_key;
static struct buf protector, certificate, copy;
static uint8_t worker[RAWKEY_P256_POINT];

static void set_point(const struct jwk *k, uint8_t point[static RAWKEY_P256_POINT])
{
	point[0] = 4;
	memcpy(point + 1, jwk_x(k), 32);
	memcpy(point + 33, jwk_y(k), 32);
}

static void make_protector(const struct jwk *recipient)
{
	struct protector_facts facts = { .level = LEVEL_SHIELDED, .tpm_id = { 3 } };
	memcpy(facts.vm, VM, sizeof(VM));
	buf_done(&protector);
	protector = BUF_INIT(PROTECTOR_TEXT_MAX);
	GOOD(protector_make(&facts, &vm_key, owner, &recipient, 1, NULL, &protector, &f));
}

/* K is what opens the protector, and in it is the VM key. */
static void opens_it(const struct content_key *k)
{
	struct vm_key key;
	CLEANUP_PROTECTOR struct protector *p = NULL;
	GOOD(protector_parse((const char *)protector.data, protector.len, &p, &f));
	GOOD(protector_open(p, k, &key, &f));
	assert_memory_equal(key.bytes, vm_key.bytes, KEY_BYTES);
	assert_memory_not_equal(k->bytes, vm_key.bytes, KEY_BYTES);
}

/* A verdict on host ID becomes its certificate. */
static void certify(const uint8_t id[static UUID_BYTES], const struct certify_verdict *v,
		    int64_t now)
{
	struct certify_challenge ch;
	struct certify_case c;
	struct healthcert cert;
	certify_case_init(&c);
	buf_done(&certificate);
	certificate = BUF_INIT(HEALTHCERT_MAX);
	DONE(certify_challenge(&g, id, now, &ch, &why));
	DONE(certify_begin(&g, id, &ch, now, &c, &why));
	DONE(certify_finish(&g, &c, v, now, &certificate, &cert, &why));
	certify_case_done(&c);
}

static int make(void **state)
{
	int64_t generation;
	struct jwk **keys[] = { &owner, &guardian_key, &bound_key, &worker_key, &other_key };
	if (guardian_make(state) < 0 || key_new(&vm_key) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (jwk_new(keys[i], NULL) < 0)
			return -1;
	copy = BUF_INIT(KEYRELEASE_INNER_BYTES);
	if (ecdh_from_jwk(guardian_key, &guardian_ecdh) < 0)
		return -1;
	set_point(worker_key, worker);
	make_protector(guardian_key);
	DONE(admin_policy(&g, ANNA, "{}", 2, 0, NOW, &generation, &why));
	return 0;
}

static int done(void **state)
{
	struct jwk *keys[] = { owner, guardian_key, bound_key, worker_key, other_key };
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		jwk_free(keys[i]);
	buf_done(&protector);
	buf_done(&certificate);
	buf_done(&copy);
	return guardian_done(state);
}

static void approve_software_host(void)
{
	struct certify_verdict v = { .healthy = 1 };
	memcpy(v.x, jwk_x(bound_key), 32);
	memcpy(v.y, jwk_y(bound_key), 32);
	memcpy(v.worker, worker, sizeof(worker));
	bed_approve(1);
	certify(bed_id(1), &v, NOW);
}

static struct release_ask ask_of(const uint8_t id[static UUID_BYTES])
{
	struct release_ask ask = {
		.about = {
			.certificate = certificate.data,
			.certificate_bytes = certificate.len,
			.protector = (const char *)protector.data,
			.protector_chars = protector.len,
			.request = { 8 },
		},
	};
	memcpy(ask.about.vm, VM, sizeof(VM));
	memcpy(ask.host, id, UUID_BYTES);
	memcpy(ask.worker, worker, sizeof(worker));
	return ask;
}

static void test_the_worker_gets_the_key(void **state)
{
	(void)state;
	struct lease_grant grant;
	struct keyrelease got = { .token = 0 };
	struct ecdh bound, mine;
	uint8_t host[RAWKEY_P256_POINT];
	CLEANUP_BUF struct buf sealed = BUF_INIT(KEYRELEASE_BYTES);
	CLEANUP_BUF struct buf inner = BUF_INIT(KEYRELEASE_INNER_BYTES);
	approve_software_host();
	struct release_ask ask = ask_of(bed_id(1));
	DONE(release_key(&g, &guardian_ecdh, &ask, NOW, &sealed, &copy, &grant, &why));
	assert_int_equal(bed_records(VM), 1);
	set_point(bound_key, host);
	GOOD(ecdh_from_jwk(bound_key, &bound));
	GOOD(ecdh_from_jwk(worker_key, &mine));
	GOOD(keyrelease_unwrap(&bound, host, &ask.about, sealed.data, sealed.len, &inner, &f));
	GOOD(keyrelease_open(&mine, worker, &ask.about, inner.data, inner.len, &got, &f));
	opens_it(&got.key);
	assert_int_equal(got.token, 1);
	assert_int_equal(got.expires, NOW + LEASE_SECONDS);
	assert_int_equal(got.spent, 0);
	assert_int_equal(grant.token, 1);
	/* The owner permits no start without a guardian. */
	assert_int_equal(copy.len, 0);
}

/* Refused as ID; nothing is released, and nothing on record. */
static void refused(const char *id, const struct release_ask *ask, int64_t now)
{
	struct lease_grant grant = { .token = 99 };
	CLEANUP_BUF struct buf sealed = BUF_INIT(KEYRELEASE_BYTES);
	REFUSES(id, release_key(&g, &guardian_ecdh, ask, now, &sealed, &copy, &grant, &why));
	assert_int_equal(sealed.len, 0);
	assert_int_equal(copy.len, 0);
	assert_int_equal(grant.token, 99);
	assert_int_equal(bed_records(VM), 0);
}

static void test_refusals_release_nothing(void **state)
{
	(void)state;
	int64_t generation;
	approve_software_host();
	struct release_ask ask = ask_of(bed_id(1));
	/* The protector: cut, of another VM, for another guardian, with a recipient put in. */
	ask.about.protector_chars--;
	refused("protector.invalid", &ask, NOW);
	ask = ask_of(bed_id(1));
	ask.about.vm[15]++;
	refused("protector.vm", &ask, NOW);
	make_protector(other_key);
	ask = ask_of(bed_id(1));
	refused("protector.recipient", &ask, NOW);
	make_protector(guardian_key);
	/* Within the signature. */
	uint8_t *last = protector.data + protector.len - 10;
	*last = *last == 'A' ? 'B' : 'A';
	ask = ask_of(bed_id(1));
	refused("protector.signature", &ask, NOW);
	make_protector(guardian_key);
	/* What lease_start() looks at is looked at. */
	ask = ask_of(bed_id(1));
	refused("certificate.expired", &ask, NOW + HEALTHCERT_LIFETIME);
	ask.worker[64] ^= 1;
	refused("certificate.worker", &ask, NOW);
	ask = ask_of(bed_id(2));
	refused("certificate.host", &ask, NOW);
	ask = ask_of(bed_id(1));
	DONE(admin_policy(&g, ANNA, "{}", 2, 1, NOW, &generation, &why));
	refused("certificate.floor", &ask, NOW);
	DONE(admin_revoke(&g, ANNA, bed_id(1), NOW, &why));
	refused("host.revoked", &ask, NOW);
}

static void test_without_a_record_no_key_leaves(void **state)
{
	(void)state;
	struct lease_grant grant;
	CLEANUP_BUF struct buf text = BUF_INIT(1024), sealed = BUF_INIT(KEYRELEASE_BYTES);
	CLEANUP_JWK struct jwk *public = NULL;
	approve_software_host();
	struct release_ask ask = ask_of(bed_id(1));
	GOOD(jwk_public_text(bed_log_key, &text));
	GOOD(jwk_parse(buf_cstr(&text), text.len, &public, &f));
	g.log_key = public;
	refused("guardian.log", &ask, NOW);
	g.log_key = bed_log_key;
	DONE(release_key(&g, &guardian_ecdh, &ask, NOW, &sealed, &copy, &grant, &why));
}

/* The owner's choices in a protector that names the guardian. */
static void make_guarded(enum healthcert_assurance least, uint32_t offline)
{
	struct protector_facts facts = {
		.level = LEVEL_SHIELDED,
		.tpm_id = { 3 },
		.least = least,
		.offline = offline,
		.edition = 1,
	};
	struct protector_guards guards = { .n = 1, .keys = { guardian_key }, .urls = { URL } };
	memcpy(facts.vm, VM, sizeof(VM));
	buf_done(&protector);
	protector = BUF_INIT(PROTECTOR_TEXT_MAX);
	GOOD(protector_make(&facts, &vm_key, owner, NULL, 0, &guards, &protector, &f));
}

static void test_a_copy_for_starts_without_a_guardian(void **state)
{
	(void)state;
	struct lease_grant grant;
	struct keyrelease got = { .token = 0 };
	struct ecdh bound;
	uint8_t host[RAWKEY_P256_POINT];
	CLEANUP_BUF struct buf sealed = BUF_INIT(KEYRELEASE_BYTES);
	approve_software_host();
	make_guarded(HEALTHCERT_TPM, 3);
	struct release_ask ask = ask_of(bed_id(1));
	DONE(release_key(&g, &guardian_ecdh, &ask, NOW, &sealed, &copy, &grant, &why));
	set_point(bound_key, host);
	GOOD(ecdh_from_jwk(bound_key, &bound));
	GOOD(keyrelease_open_copy(&bound, host, &ask.about, copy.data, copy.len, &got, &f));
	opens_it(&got.key);
	assert_int_equal(got.token, 1);
	/* Whoever only awaits the VM has no lease, and starts nothing by itself. */
	buf_clear(&copy);
	buf_clear(&sealed);
	ask.incoming = 1;
	DONE(release_key(&g, &guardian_ecdh, &ask, NOW, &sealed, &copy, &grant, &why));
	assert_int_equal(sealed.len, KEYRELEASE_BYTES);
	assert_int_equal(copy.len, 0);
	assert_int_equal(grant.token, 1);
	assert_int_equal(grant.expires, 0);
}

static void test_the_owner_says_which_assurance_is_enough(void **state)
{
	(void)state;
	struct lease_grant grant;
	struct certify_verdict v = { .healthy = 1 };
	CLEANUP_BUF struct buf sealed = BUF_INIT(KEYRELEASE_BYTES);
	CLEANUP_STORE_HOST struct store_host h;
	uint8_t print[STORE_FINGERPRINT_BYTES];
	store_host_init(&h);
	h.mode = STORE_MODE_HOSTKEY;
	memcpy(h.id, bed_id(6), UUID_BYTES);
	strcpy(h.name, "keyed");
	GOOD(jwk_public_text(bound_key, &h.host_key));
	GOOD_TX(g.store, store_host_add(g.store, &h, &f));
	GOOD(store_host_fingerprint(&h, print));
	DONE(admin_approve(&g, ANNA, bed_id(6), print, NOW, &why));
	memcpy(v.x, jwk_x(bound_key), 32);
	memcpy(v.y, jwk_y(bound_key), 32);
	memcpy(v.worker, worker, sizeof(worker));
	certify(bed_id(6), &v, NOW);
	make_guarded(HEALTHCERT_TPM, 0);
	for (int incoming = 0; incoming < 2; incoming++) {
		struct release_ask ask = ask_of(bed_id(6));
		ask.incoming = incoming;
		refused("certificate.assurance", &ask, NOW);
	}
	make_guarded(HEALTHCERT_HOSTKEY, 0);
	struct release_ask ask = ask_of(bed_id(6));
	DONE(release_key(&g, &guardian_ecdh, &ask, NOW, &sealed, &copy, &grant, &why));
	assert_int_equal(copy.len, 0);
}

static int failing(void *arg, const uint8_t *x, const uint8_t *y, uint8_t *z)
{
	(void)arg, (void)x, (void)y, (void)z;
	return -EIO;
}

/* Nothing is lent for a key that the guardian cannot use now. */
static void test_a_guardian_without_its_key(void **state)
{
	(void)state;
	struct lease_grant grant = { .token = 99 };
	char owner_id[JWK_THUMBPRINT_SIZE];
	struct store_vm v;
	struct ecdh broken = guardian_ecdh;
	CLEANUP_BUF struct buf sealed = BUF_INIT(KEYRELEASE_BYTES);
	approve_software_host();
	struct release_ask ask = ask_of(bed_id(1));
	broken.derive = failing;
	REFUSES("guardian.keys", release_key(&g, &broken, &ask, NOW, &sealed, &copy, &grant, &why));
	assert_int_equal(sealed.len, 0);
	assert_int_equal(copy.len, 0);
	assert_int_equal(grant.token, 99);
	assert_int_equal(bed_records(VM), 0);
	GOOD(jwk_thumbprint(owner, owner_id));
	REFUSED(-ENOENT, "", store_vm_get(g.store, VM, owner_id, &v, &f));
	DONE(release_key(&g, &guardian_ecdh, &ask, NOW, &sealed, &copy, &grant, &why));
	assert_int_equal(grant.token, 1);
	assert_int_equal(bed_records(VM), 1);
}

static struct blob blob_of(const struct buf *b)
{
	return (struct blob){ b->data, b->len };
}

/* Enrol the TPM as host 5 and have it approved. */
static void enrol(struct swtpm_bed *bed, struct hosttpm *tpm, const struct hosttpm_identity *id,
		  int64_t now)
{
	char line[512], name[96];
	struct enrol_ticket ticket;
	uint8_t secret[32], print[STORE_FINGERPRINT_BYTES];
	CLEANUP_BUF struct buf issuer = BUF_INIT(8192), pem = BUF_INIT(65536);
	CLEANUP_BUF struct buf object = BUF_INIT(CREDENTIAL_ID_OBJECT_MAX);
	CLEANUP_BUF struct buf encrypted = BUF_INIT(CREDENTIAL_ENCRYPTED_MAX);
	CLEANUP_EKCERT_ROOTS struct ekcert_roots *roots = NULL;
	snprintf(line, sizeof(line),
		 "openssl x509 -in %s/ca/issuercert.pem -outform DER -out %s/issuer.der",
		 bed->folder, bed->folder);
	assert_int_equal(system(line), 0);
	snprintf(name, sizeof(name), "%s/issuer.der", bed->folder);
	GOOD(fd_read_file(AT_FDCWD, name, &issuer, &f));
	swtpm_bed_cert(bed, "swtpm-localca-rootca-cert.pem", &pem);
	GOOD(ekcert_roots_parse((const char *)pem.data, pem.len, &roots, &f));
	const struct hash_part chain = { issuer.data, issuer.len };
	struct enrolment e = {
		.name = "host-5",
		.ek_pub = blob_of(&id->ek_pub),
		.ak_pub = blob_of(&id->ak_pub),
		.ek_cert = blob_of(&id->certs[0]),
		.chain = &chain,
		.n_chain = 1,
	};
	memcpy(e.id, bed_id(5), sizeof(e.id));
	g.ek_roots = roots;
	DONE(enrol_begin(&g, &e, now, &ticket, &object, &encrypted, &why));
	g.ek_roots = NULL;
	GOOD(hosttpm_activate(tpm, blob_of(&object), blob_of(&encrypted), secret, &f));
	DONE(enrol_finish(&g, &e, &ticket, secret, now, print, &why));
	DONE(admin_approve(&g, ANNA, e.id, print, now, &why));
}

/* What a verifier finds in P, as an answer to C. */
static void verify(const struct certify_case *c, const struct hosttpm_proof *p,
		   struct certify_verdict *v)
{
	const char *id = NULL;
	struct quote_clock clock, created;
	uint8_t name[TPM_NAME_BYTES], extra[QUOTE_EXTRA_BYTES];
	struct blob ak = blob_of(&c->ak_pub), bk = blob_of(&p->bk_pub);
	*v = (struct certify_verdict){ .healthy = 0 };
	GOOD(tpm_name(bk, name, &f));
	GOOD(quote_extra(c->challenge.nonce, name, worker, c->host, extra));
	assert_int_equal(p->pcrs.mask, c->challenge.mask);
	GOOD(quote_verify(ak, blob_of(&p->quote), blob_of(&p->quote_signature), extra, &p->pcrs,
			  &clock, &id, &f));
	GOOD(bk_check(bk, &p->pcrs, v->x, v->y, &id, &f));
	GOOD(creation_verify(ak, blob_of(&p->creation), blob_of(&p->creation_signature),
			     c->challenge.nonce, bk, blob_of(&p->creation_data), &created, &id,
			     &f));
	memcpy(v->worker, worker, sizeof(worker));
	v->reset_count = clock.reset_count;
	v->restart_count = clock.restart_count;
	v->healthy = 1;
}

/* A struct ecdh over the TPM's bound key. */
struct tpm_ecdh {
	struct hosttpm *tpm;
	const struct hosttpm_proof *proof;
};

static int derive(void *arg, const uint8_t *x, const uint8_t *y, uint8_t *z)
{
	struct tpm_ecdh *t = arg;
	return hosttpm_ecdh(t->tpm, t->proof, x, y, z, NULL);
}

static void test_the_whole_way_with_a_tpm(void **state)
{
	(void)state;
	struct swtpm_bed bed;
	struct hosttpm *tpm = NULL;
	struct hosttpm_identity id = { 0 };
	struct hosttpm_proof proof = { .pcrs = { 0 } };
	struct certify_challenge ch;
	struct certify_case c;
	struct certify_verdict v;
	struct healthcert cert;
	struct lease_grant grant;
	struct keyrelease got = { .token = 0 };
	CLEANUP_BUF struct buf sealed = BUF_INIT(KEYRELEASE_BYTES);
	CLEANUP_BUF struct buf inner = BUF_INIT(KEYRELEASE_INNER_BYTES);
	swtpm_bed_open(&bed, 1);
	swtpm_bed_start(&bed);
	GOOD(hosttpm_open(bed.tcti, &tpm, &f));
	GOOD(hosttpm_identity(tpm, &id, &f));
	int64_t now = time(NULL);
	enrol(&bed, tpm, &id, now);

	certify_case_init(&c);
	certificate = BUF_INIT(HEALTHCERT_MAX);
	DONE(certify_challenge(&g, bed_id(5), now, &ch, &why));
	GOOD(hosttpm_prove(tpm, ch.challenge.bank, ch.challenge.mask, ch.challenge.nonce, worker,
			   bed_id(5), &proof, &f));
	DONE(certify_begin(&g, bed_id(5), &ch, now, &c, &why));
	verify(&c, &proof, &v);
	DONE(certify_finish(&g, &c, &v, now, &certificate, &cert, &why));
	assert_int_equal(cert.assurance, HEALTHCERT_TPM);

	struct release_ask ask = ask_of(bed_id(5));
	DONE(release_key(&g, &guardian_ecdh, &ask, now, &sealed, &copy, &grant, &why));
	struct tpm_ecdh arg = { tpm, &proof };
	struct ecdh bound = { .derive = derive, .arg = &arg }, mine;
	uint8_t host[RAWKEY_P256_POINT] = { 4 };
	memcpy(host + 1, cert.x, 32);
	memcpy(host + 33, cert.y, 32);
	GOOD(ecdh_from_jwk(worker_key, &mine));
	GOOD(keyrelease_unwrap(&bound, host, &ask.about, sealed.data, sealed.len, &inner, &f));
	GOOD(keyrelease_open(&mine, worker, &ask.about, inner.data, inner.len, &got, &f));
	opens_it(&got.key);

	/* Once something else is measured on the host, it opens no more. */
	inner.len = 0;
	swtpm_bed_extend(&bed, 7, 0x55);
	assert_true(keyrelease_unwrap(&bound, host, &ask.about, sealed.data, sealed.len, &inner,
				      NULL) < 0);
	assert_int_equal(inner.len, 0);
	certify_case_done(&c);
	hosttpm_proof_done(&proof);
	hosttpm_identity_done(&id);
	hosttpm_close(tpm);
	swtpm_bed_done(&bed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_worker_gets_the_key),
		TEST(test_refusals_release_nothing),
		TEST(test_without_a_record_no_key_leaves),
		TEST(test_a_guardian_without_its_key),
		TEST(test_the_whole_way_with_a_tpm),
		TEST(test_a_copy_for_starts_without_a_guardian),
		TEST(test_the_owner_says_which_assurance_is_enough),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
