/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Releases of a protector of version 2 that is not what the VM's owner signed, and of one whose
 * demands the host does not meet: each refused by its id, nothing released, nothing on record.
 */
#include "tests/unit/guardian/guardian_bed.h"

#include <jose/jws.h>

#include "crypto/jwk_form.h"
#include "guardian/certify.h"
#include "guardian/release.h"

enum { WITH_TPM = 1, WITHOUT_TPM = 2 }; /* hosts */

#define PIN	"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
#define URL	"https://guardian.example:8443#" PIN
#define SECOND	"https://second.example:8443#" PIN

#define EDITION 7

static const uint8_t VM[UUID_BYTES] = { 0xde, 0xad }, OTHER_VM[UUID_BYTES] = { 0xde, 0xae };
static const char OTHER_TEXT[] = "deae0000-0000-0000-0000-000000000000";
static struct jwk *owner, *host_key, *guardian_key, *second_key, *stranger, *bound_key, *worker_key;
static struct jwk **const KEYS[] = { &owner,	&host_key,  &guardian_key, &second_key,
				     &stranger, &bound_key, &worker_key };
#define N_KEYS (sizeof(KEYS) / sizeof(KEYS[0]))
static struct ecdh guardian_ecdh;
static struct vm_key vm_key;
static struct buf certificates[3], protector;
static uint8_t worker[RAWKEY_P256_POINT];

static void make_protector(enum healthcert_assurance least, int64_t edition, struct buf *out)
{
	struct protector_facts facts = { .level = LEVEL_SHIELDED,
					 .least = least,
					 .edition = edition };
	struct protector_guards guards = { 2, { guardian_key, second_key }, { URL, SECOND } };
	const struct jwk *hosts[] = { host_key };
	memcpy(facts.vm, VM, sizeof(VM));
	buf_done(out);
	*out = BUF_INIT(PROTECTOR_TEXT_MAX);
	GOOD(protector_make(&facts, &vm_key, owner, hosts, 1, &guards, out, &f));
}

static void certify(unsigned n)
{
	struct certify_challenge ch;
	struct certify_case c;
	struct healthcert cert;
	struct certify_verdict v = { .healthy = 1 };
	memcpy(v.x, jwk_x(bound_key), 32);
	memcpy(v.y, jwk_y(bound_key), 32);
	memcpy(v.worker, worker, sizeof(worker));
	certify_case_init(&c);
	certificates[n] = BUF_INIT(HEALTHCERT_MAX);
	DONE(certify_challenge(&g, bed_id(n), NOW, &ch, &why));
	DONE(certify_begin(&g, bed_id(n), &ch, NOW, &c, &why));
	DONE(certify_finish(&g, &c, &v, NOW, &certificates[n], &cert, &why));
	assert_int_equal(cert.assurance, n == WITH_TPM ? HEALTHCERT_TPM : HEALTHCERT_HOSTKEY);
	certify_case_done(&c);
}

static void add_without_tpm(void)
{
	uint8_t print[STORE_FINGERPRINT_BYTES];
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	h.mode = STORE_MODE_HOSTKEY;
	memcpy(h.id, bed_id(WITHOUT_TPM), UUID_BYTES);
	strcpy(h.name, "keyed");
	GOOD(jwk_public_text(host_key, &h.host_key));
	GOOD_TX(g.store, store_host_add(g.store, &h, &f));
	GOOD(store_host_fingerprint(&h, print));
	DONE(admin_approve(&g, ANNA, bed_id(WITHOUT_TPM), print, NOW, &why));
}

static int make(void **state)
{
	int64_t generation;
	if (guardian_make(state) < 0 || key_new(&vm_key) < 0)
		return -1;
	for (size_t i = 0; i < N_KEYS; i++)
		if (jwk_new(KEYS[i], NULL) < 0)
			return -1;
	if (ecdh_from_jwk(guardian_key, &guardian_ecdh) < 0)
		return -1;
	worker[0] = 4;
	memcpy(worker + 1, jwk_x(worker_key), 32);
	memcpy(worker + 33, jwk_y(worker_key), 32);
	make_protector(HEALTHCERT_TPM, EDITION, &protector);
	DONE(admin_policy(&g, ANNA, "{}", 2, 0, NOW, &generation, &why));
	bed_approve(WITH_TPM);
	add_without_tpm();
	certify(WITH_TPM);
	certify(WITHOUT_TPM);
	return 0;
}

static int done(void **state)
{
	for (size_t i = 0; i < N_KEYS; i++)
		jwk_free(*KEYS[i]);
	for (size_t i = 0; i < 3; i++)
		buf_done(&certificates[i]);
	buf_done(&protector);
	return guardian_done(state);
}

static struct release_ask ask_of(unsigned host, const uint8_t vm[static UUID_BYTES],
				 const struct buf *text)
{
	struct release_ask ask = {
		.about = {
			.certificate = certificates[host].data,
			.certificate_bytes = certificates[host].len,
			.protector = (const char *)text->data,
			.protector_chars = text->len,
			.request = { 8 },
		},
	};
	memcpy(ask.about.vm, vm, UUID_BYTES);
	memcpy(ask.host, bed_id(host), UUID_BYTES);
	memcpy(ask.worker, worker, sizeof(worker));
	return ask;
}

static int release(const struct release_ask *ask, struct buf *out, struct refusal *why)
{
	struct lease_grant grant = { .token = 99 };
	CLEANUP_BUF struct buf copy = BUF_INIT(KEYRELEASE_INNER_BYTES);
	int rc = release_key(&g, &guardian_ecdh, ask, NOW, out, &copy, &grant, why);
	assert_int_equal(rc < 0, out->len == 0);
	assert_true(rc >= 0 || copy.len == 0);
	assert_int_equal(rc < 0, grant.token == 99);
	return rc;
}

static void refused(const char *id, unsigned host, const uint8_t vm[static UUID_BYTES],
		    const struct buf *text)
{
	CLEANUP_BUF struct buf out = BUF_INIT(KEYRELEASE_BYTES);
	struct release_ask ask = ask_of(host, vm, text);
	REFUSES(id, release(&ask, &out, &why));
	assert_int_equal(bed_records(vm), 0);
}

/* The payload of TEXT, to be changed. */
static json_t *payload_of(const struct buf *text)
{
	CLEANUP_BUF struct buf json = BUF_INIT(PROTECTOR_TEXT_MAX);
	const char *from = (const char *)memchr(text->data, '.', text->len) + 1;
	json_t *o = NULL;
	GOOD(strict_b64_buf(from, strcspn(from, "."), &json));
	GOOD(strict_json((const char *)json.data, json.len, "payload", &o, &f));
	return o;
}

/* PAYLOAD, signed by SIGNER in the name of KID; with SIGNATURE, not signed but given that one. */
static void put_jws(const json_t *payload, const struct jwk *signer, const struct jwk *kid,
		    const char *signature, struct buf *out)
{
	char name[JWK_THUMBPRINT_SIZE];
	CLEANUP_BUF struct buf b64 = BUF_INIT(PROTECTOR_TEXT_MAX);
	CLEANUP_FREE char *text = json_dumps(payload, JSON_COMPACT);
	assert_non_null(text);
	GOOD(strict_b64_put(&b64, text, strlen(text)));
	GOOD(jwk_thumbprint(kid, name));
	CLEANUP_JSON json_t *key = jwk_to_json(signer, 1);
	CLEANUP_JSON json_t *jws = json_pack("{s:s%}", "payload", b64.data, b64.len);
	CLEANUP_JSON json_t *sig = json_pack("{s:{s:s,s:s,s:s}}", "protected", "alg", "ES256",
					     "typ", "shieldvm-protector+jws", "kid", name);
	assert_true(jose_jws_sig(NULL, jws, sig, key));
	out->len = 0;
	GOOD(buf_addf(out, "%s.%s.%s", strict_text(jws, "protected"), buf_cstr(&b64),
		      signature ? signature : strict_text(jws, "signature")));
}

/* An entry for the stranger, as another protector has it. */
static json_t *strangers_entry(void)
{
	CLEANUP_BUF struct buf text = BUF_INIT(PROTECTOR_TEXT_MAX);
	struct protector_facts facts = { .level = LEVEL_SHIELDED };
	const struct jwk *hosts[] = { stranger };
	memcpy(facts.vm, VM, sizeof(VM));
	GOOD(protector_make(&facts, &vm_key, owner, hosts, 1, NULL, &text, &f));
	CLEANUP_JSON json_t *o = payload_of(&text);
	return json_incref(
		json_array_get(json_object_get(json_object_get(o, "key"), "recipients"), 1));
}

static json_t *recipients(json_t *o)
{
	return json_object_get(json_object_get(o, "key"), "recipients");
}

static json_t *guardians(json_t *o)
{
	return json_object_get(o, "guardians");
}

static int reverse(json_t *array)
{
	size_t n = json_array_size(array);
	for (size_t i = 1; i < n; i++) {
		json_t *last = json_incref(json_array_get(array, n - 1));
		if (json_array_remove(array, n - 1) < 0 ||
		    json_array_insert_new(array, i - 1, last) < 0)
			return -1;
	}
	return 0;
}

static int strip_recipient(json_t *o)
{
	return json_array_remove(recipients(o), 1);
}

static int add_recipient(json_t *o)
{
	return json_array_append_new(recipients(o), strangers_entry());
}

static int reorder_recipients(json_t *o)
{
	return reverse(recipients(o));
}

static int change_vm(json_t *o)
{
	return json_object_set_new(o, "vm", json_string(OTHER_TEXT));
}

static int lower_assurance(json_t *o)
{
	return json_object_set_new(o, "assurance", json_string("hostkey"));
}

static int raise_offline(json_t *o)
{
	return json_object_set_new(o, "offline", json_integer(9));
}

static int raise_edition(json_t *o)
{
	return json_object_set_new(o, "edition", json_integer(EDITION + 1));
}

static int strip_guardian(json_t *o)
{
	return json_array_remove(guardians(o), 1);
}

static int reorder_guardians(json_t *o)
{
	return reverse(guardians(o));
}

static json_t *urls_of_first(json_t *o)
{
	return json_object_get(json_array_get(guardians(o), 0), "urls");
}

static int change_url(json_t *o)
{
	return json_array_set_new(urls_of_first(o), 0,
				  json_string("https://guardian.example:8444#" PIN));
}

static int change_pin(json_t *o)
{
	char thumbprint[JWK_THUMBPRINT_SIZE];
	GOOD(jwk_thumbprint(stranger, thumbprint));
	return json_array_set_new(urls_of_first(o), 0,
				  json_sprintf("https://guardian.example:8443#%s", thumbprint));
}

static int say_version_1(json_t *o)
{
	return json_object_set_new(o, "v", json_integer(1)) | json_object_del(o, "guardians") |
	       json_object_del(o, "assurance") | json_object_del(o, "offline") |
	       json_object_del(o, "edition");
}

static int relabel_version_1(json_t *o)
{
	return json_object_set_new(o, "v", json_integer(1));
}

static int relabel_version_2(json_t *o)
{
	return say_version_1(o) | json_object_set_new(o, "v", json_integer(2));
}

static const struct alteration {
	const char *name;
	int (*change)(json_t *o);
	const uint8_t *vm; /* the VM that is asked for */
	const char *id;	   /* of the refusal */
} ALTERATIONS[] = {
	{ "a recipient is stripped", strip_recipient, VM, "protector.signature" },
	{ "a recipient is added", add_recipient, VM, "protector.signature" },
	{ "the recipients are reordered", reorder_recipients, VM, "protector.signature" },
	{ "it is for another VM", change_vm, OTHER_VM, "protector.signature" },
	{ "a lower assurance", lower_assurance, VM, "protector.signature" },
	{ "more offline starts", raise_offline, VM, "protector.signature" },
	{ "a newer edition", raise_edition, VM, "protector.signature" },
	{ "a guardian is stripped", strip_guardian, VM, "protector.signature" },
	{ "the guardians are reordered", reorder_guardians, VM, "protector.signature" },
	{ "another address", change_url, VM, "protector.signature" },
	{ "another pin", change_pin, VM, "protector.signature" },
	{ "its guardians are left out", say_version_1, VM, "protector.signature" },
	{ "said to be version 1", relabel_version_1, VM, "protector.invalid" },
	{ "version 1 said to be 2", relabel_version_2, VM, "protector.invalid" },
};

static void test_altered_protectors(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf text = BUF_INIT(PROTECTOR_TEXT_MAX);
	const char *signature = strrchr(buf_cstr(&protector), '.') + 1;
	CLEANUP_JSON json_t *public = jwk_to_json(stranger, 0);
	for (size_t i = 0; i < sizeof(ALTERATIONS) / sizeof(ALTERATIONS[0]); i++) {
		const struct alteration *a = &ALTERATIONS[i];
		CLEANUP_JSON json_t *o = payload_of(&protector);
		print_message("%s\n", a->name);
		assert_int_equal(a->change(o), 0);
		/* Under the owner's signature; signed by somebody else; who says so; who says that
		 * he is the owner.  Whichever host shows it. */
		for (unsigned host = WITH_TPM; host <= WITHOUT_TPM; host++) {
			put_jws(o, stranger, owner, signature, &text);
			refused(a->id, host, a->vm, &text);
			put_jws(o, stranger, owner, NULL, &text);
			refused(a->id, host, a->vm, &text);
			put_jws(o, stranger, stranger, NULL, &text);
			refused(a->id, host, a->vm, &text);
		}
		assert_int_equal(json_object_set(o, "owner", public), 0);
		put_jws(o, stranger, stranger, NULL, &text);
		refused(a->id, WITH_TPM, a->vm, &text);
	}
	/* And the one that was not altered is good: so are the rows' beginnings. */
	CLEANUP_BUF struct buf out = BUF_INIT(KEYRELEASE_BYTES);
	CLEANUP_JSON json_t *o = payload_of(&protector);
	put_jws(o, stranger, owner, signature, &text);
	struct release_ask ask = ask_of(WITH_TPM, VM, &text);
	DONE(release(&ask, &out, &why));
	assert_int_equal(bed_records(VM), 1);
}

/* The owner's own, shown for another VM; and without an entry for this guardian. */
static void test_protectors_of_elsewhere(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf text = BUF_INIT(PROTECTOR_TEXT_MAX);
	struct protector_facts facts = { .level = LEVEL_SHIELDED,
					 .least = HEALTHCERT_TPM,
					 .edition = EDITION };
	struct protector_guards guards = { 1, { second_key }, { SECOND } };
	memcpy(facts.vm, VM, sizeof(VM));
	refused("protector.vm", WITH_TPM, OTHER_VM, &protector);
	GOOD(protector_make(&facts, &vm_key, owner, NULL, 0, &guards, &text, &f));
	refused("protector.recipient", WITH_TPM, VM, &text);
}

/* The guardian goes by what the owner demands: a TPM, or less. */
static void test_the_owner_demands_an_assurance(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf out = BUF_INIT(KEYRELEASE_BYTES), less = BUF_INIT(1);
	refused("certificate.assurance", WITHOUT_TPM, VM, &protector);
	make_protector(HEALTHCERT_HOSTKEY, EDITION + 1, &less);
	struct release_ask ask = ask_of(WITHOUT_TPM, VM, &less);
	DONE(release(&ask, &out, &why));
	assert_int_equal(bed_records(VM), 1);
}

/* The owner's, of before he wanted more: with a lower assurance, or with nothing demanded at all.
 */
static void test_older_protectors(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf weak = BUF_INIT(1), plain = BUF_INIT(PROTECTOR_TEXT_MAX),
			       newer = BUF_INIT(1), out = BUF_INIT(KEYRELEASE_BYTES);
	struct protector_facts facts = { .level = LEVEL_SHIELDED };
	const struct jwk *hosts[] = { guardian_key };
	memcpy(facts.vm, VM, sizeof(VM));
	make_protector(HEALTHCERT_HOSTKEY, EDITION - 1, &weak);
	GOOD(protector_make(&facts, &vm_key, owner, hosts, 1, NULL, &plain, &f));
	struct release_ask ask = ask_of(WITH_TPM, VM, &protector);
	DONE(release(&ask, &out, &why));
	for (int incoming = 0; incoming <= 1; incoming++) {
		for (unsigned host = WITH_TPM; host <= WITHOUT_TPM; host++) {
			const struct buf *older[] = { &weak, &plain };
			for (size_t i = 0; i < 2; i++) {
				/* What the older one demands is met, and it is too late. */
				if (host == WITHOUT_TPM && older[i] == &plain)
					continue;
				out.len = 0;
				ask = ask_of(host, VM, older[i]);
				ask.incoming = incoming;
				REFUSES("protector.older", release(&ask, &out, &why));
				assert_int_equal(bed_records(VM), 1);
			}
		}
	}
	/* One of a time to come would keep all others out. */
	make_protector(HEALTHCERT_TPM, NOW + PROTECTOR_EDITION_AHEAD + 1, &newer);
	out.len = 0;
	ask = ask_of(WITH_TPM, VM, &newer);
	REFUSES("protector.early", release(&ask, &out, &why));
	ask.incoming = 1;
	REFUSES("protector.early", release(&ask, &out, &why));
	assert_int_equal(bed_records(VM), 1);
	/* A host that awaits the VM has shown the newest one, too. */
	make_protector(HEALTHCERT_TPM, EDITION + 1, &newer);
	out.len = 0;
	ask = ask_of(WITH_TPM, VM, &newer);
	ask.incoming = 1;
	DONE(release(&ask, &out, &why));
	out.len = 0;
	ask = ask_of(WITH_TPM, VM, &protector);
	REFUSES("protector.older", release(&ask, &out, &why));
	ask = ask_of(WITH_TPM, VM, &newer);
	DONE(release(&ask, &out, &why));
	assert_int_equal(bed_records(VM), 3);
}

/*
 * Somebody who makes himself the owner throughout, in the wrapped key's header too: it is a
 * protector, of another owner's VM with this UUID, and the key in it is not his to have.
 */
static void test_a_usurper_gets_nothing(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf text = BUF_INIT(PROTECTOR_TEXT_MAX), b64 = BUF_INIT(4096);
	CLEANUP_BUF struct buf out = BUF_INIT(KEYRELEASE_BYTES), again = BUF_INIT(KEYRELEASE_BYTES);
	char uuid[UUID_TEXT_SIZE], name[JWK_THUMBPRINT_SIZE], header[512];
	CLEANUP_JSON json_t *o = payload_of(&protector);
	uuid_format(VM, uuid);
	GOOD(jwk_thumbprint(stranger, name));
	snprintf(
		header, sizeof(header),
		"{\"enc\":\"A256GCM\",\"typ\":\"shieldvm-key+jwe\",\"vm\":\"%s\",\"owner\":\"%s\"}",
		uuid, name);
	GOOD(strict_b64_put(&b64, header, strlen(header)));
	assert_int_equal(json_object_set_new(json_object_get(o, "key"), "protected",
					     json_string(buf_cstr(&b64))),
			 0);
	assert_int_equal(json_object_set_new(o, "owner", jwk_to_json(stranger, 0)), 0);
	assert_int_equal(add_recipient(o), 0);
	put_jws(o, stranger, stranger, NULL, &text);
	struct release_ask ask = ask_of(WITH_TPM, VM, &text);
	REFUSES("protector.unwrap", release(&ask, &out, &why));
	assert_int_equal(out.len, 0);
	assert_int_equal(bed_records(VM), 0);
	/* The owner's VM is not held by it. */
	ask = ask_of(WITH_TPM, VM, &protector);
	DONE(release(&ask, &again, &why));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_altered_protectors),
		TEST(test_protectors_of_elsewhere),
		TEST(test_the_owner_demands_an_assurance),
		TEST(test_older_protectors),
		TEST(test_a_usurper_gets_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
