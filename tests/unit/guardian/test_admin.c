/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/guardian/guardian_bed.h"

#include "attest/form.h"

static const uint8_t NOBODY[STORE_FINGERPRINT_BYTES] = { 9 };
static const uint8_t NIL[UUID_BYTES];

static enum store_host_state state_of(unsigned n)
{
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	GOOD(store_host_get(g.store, bed_id(n), &h, &f));
	return h.state;
}

static void print_of(unsigned n, uint8_t print[static STORE_FINGERPRINT_BYTES])
{
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	GOOD(store_host_get(g.store, bed_id(n), &h, &f));
	GOOD(store_host_fingerprint(&h, print));
}

static void test_only_admins_decide(void **state)
{
	(void)state;
	int64_t generation = 77;
	uint8_t print[STORE_FINGERPRINT_BYTES];
	struct store_admin new = { .name = "new", .fingerprint = { 5 } };
	bed_add(g.store, 1);
	print_of(1, print);
	static const struct {
		const uint8_t *by;
		const char *id;
	} WHO[] = { { NOBODY, "admin.unknown" }, { RITA, "admin.role" } };
	for (size_t i = 0; i < 2; i++) {
		REFUSES(WHO[i].id, admin_approve(&g, WHO[i].by, bed_id(1), print, NOW, &why));
		REFUSES(WHO[i].id, admin_revoke(&g, WHO[i].by, bed_id(1), NOW, &why));
		REFUSES(WHO[i].id, admin_replace(&g, WHO[i].by, bed_id(1), NOW, &why));
		REFUSES(WHO[i].id, admin_policy(&g, WHO[i].by, "{}", 2, 1, NOW, &generation, &why));
		REFUSES(WHO[i].id, admin_add(&g, WHO[i].by, &new, NOW, &why));
		REFUSES(WHO[i].id, admin_remove(&g, WHO[i].by, "anna", NOW, &why));
	}
	assert_int_equal(state_of(1), STORE_PENDING);
	assert_int_equal(bed_records(NIL), 0);
	assert_int_equal(generation, 77);
}

static void test_what_is_approved_was_compared(void **state)
{
	(void)state;
	uint8_t print[STORE_FINGERPRINT_BYTES], other[STORE_FINGERPRINT_BYTES];
	bed_add(g.store, 1);
	bed_add(g.store, 2);
	print_of(1, print);
	print_of(2, other);
	REFUSES("host.unknown", admin_approve(&g, ANNA, bed_id(3), print, NOW, &why));
	REFUSES("admin.compare", admin_approve(&g, ANNA, bed_id(1), other, NOW, &why));
	assert_int_equal(state_of(1), STORE_PENDING);
	DONE(admin_approve(&g, ANNA, bed_id(1), print, NOW, &why));
	assert_int_equal(state_of(1), STORE_APPROVED);
	REFUSES("admin.compare", admin_approve(&g, ANNA, bed_id(1), print, NOW, &why));
	DONE(admin_revoke(&g, ANNA, bed_id(1), NOW, &why));
	assert_int_equal(state_of(1), STORE_REVOKED);
	REFUSES("admin.compare", admin_approve(&g, ANNA, bed_id(1), print, NOW, &why));

	/* A host that enrolled again in between is not the one that was compared. */
	CLEANUP_STORE_HOST struct store_host again;
	bed_host(&again, 1);
	again.ek_id[31] = 9;
	DONE(admin_replace(&g, ANNA, bed_id(1), NOW, &why));
	GOOD_TX(g.store, store_host_add(g.store, &again, &f));
	REFUSES("admin.compare", admin_approve(&g, ANNA, bed_id(1), print, NOW, &why));
	print_of(1, print);
	DONE(admin_approve(&g, ANNA, bed_id(1), print, NOW, &why));
	DONE(admin_revoke(&g, ANNA, bed_id(2), NOW, &why));
	REFUSES("host.unknown", admin_revoke(&g, ANNA, bed_id(3), NOW, &why));
}

static int last(int64_t seq, const char *statement, size_t n, void *arg)
{
	struct ledger_record *r = arg;
	struct ledger_head c = { .seq = r->seq };
	memcpy(c.hash, r->prev, sizeof(c.hash));
	assert_int_equal(seq, c.seq + 1);
	GOOD(ledger_next(&c, bed_log_key, statement, n, r, &f));
	memcpy(r->prev, c.hash, sizeof(c.hash));
	return 0;
}

/* The record after the one that R is, which must be EVENT. */
static void expect(struct ledger_record *r, enum ledger_event event, unsigned host)
{
	GOOD(store_log_each(g.store, NIL, "", r->seq + 1, 1, last, r, &f));
	assert_int_equal(r->event, event);
	assert_string_equal(r->by, "anna");
	assert_int_equal(r->time, NOW);
	assert_memory_equal(r->host, bed_id(host), UUID_BYTES);
}

static void test_every_word_is_logged(void **state)
{
	(void)state;
	int64_t generation = 0;
	struct ledger_record r = { 0 };
	struct store_admin new = { .name = "new", .fingerprint = { 5 } };
	bed_approve(1);
	DONE(admin_revoke(&g, ANNA, bed_id(1), NOW, &why));
	DONE(admin_replace(&g, ANNA, bed_id(1), NOW, &why));
	DONE(admin_policy(&g, ANNA, "{}", 2, 0, NOW, &generation, &why));
	DONE(admin_policy(&g, ANNA, "{ }", 3, 1, NOW, &generation, &why));
	assert_int_equal(generation, 2);
	DONE(admin_add(&g, ANNA, &new, NOW, &why));
	DONE(admin_remove(&g, ANNA, "new", NOW, &why));
	expect(&r, LEDGER_APPROVE, 1);
	assert_memory_equal(r.object, "sha256:", 7);
	uint8_t print[STORE_FINGERPRINT_BYTES], said[STORE_FINGERPRINT_BYTES];
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	GOOD(store_host_get(g.store, bed_id(1), &h, &f));
	GOOD(store_host_fingerprint(&h, print));
	GOOD(form_hex(r.object + 7, sizeof(said), said));
	assert_memory_equal(said, print, sizeof(said));
	expect(&r, LEDGER_REVOKE, 1);
	expect(&r, LEDGER_REPLACE, 1);
	expect(&r, LEDGER_POLICY, 0);
	assert_int_equal(r.generation, 1);
	/* printf '{}' | sha256sum */
	assert_string_equal(r.object, "sha256:44136fa355b3678a1146ad16f7e8649e"
				      "94fb4fc21fe77e8310c060f61caaff8a");
	expect(&r, LEDGER_FLOOR, 0);
	assert_int_equal(r.generation, 2);
	/* printf '{ }' | sha256sum */
	assert_string_equal(
		r.object,
		"sha256:257c1be96ae69f4b01c2c69bdb6d78605f59175819fb007d0bf245bf48444c4a");
	expect(&r, LEDGER_ADMIN, 0);
	assert_string_equal(r.object,
			    "add:admin:new:0500000000000000000000000000000000000000000000000000"
			    "000000000000");
	expect(&r, LEDGER_ADMIN, 0);
	assert_string_equal(r.object, "remove:new");
	assert_int_equal(bed_records(NIL), 7);

	/* What cannot be logged is not done: here, for want of a private key. */
	CLEANUP_BUF struct buf text = BUF_INIT(1024);
	CLEANUP_JWK struct jwk *public = NULL;
	GOOD(jwk_public_text(bed_log_key, &text));
	GOOD(jwk_parse(buf_cstr(&text), text.len, &public, &f));
	g.log_key = public;
	REFUSES("guardian.log", admin_revoke(&g, ANNA, bed_id(1), NOW, &why));
	REFUSES("guardian.log", admin_policy(&g, ANNA, "{}", 2, 1, NOW, &generation, &why));
	REFUSES("guardian.log", admin_add(&g, ANNA, &new, NOW, &why));
	assert_int_equal(state_of(1), STORE_REPLACING);
	assert_int_equal(bed_records(NIL), 7);
	GOOD(store_floor(g.store, &generation, &f));
	assert_int_equal(generation, 2);
}

static void test_one_admin_is_always_left(void **state)
{
	(void)state;
	struct store_admin a = { .name = "anna", .fingerprint = { 5 } };
	REFUSES("request.format", admin_remove(&g, ANNA, "anna", NOW, &why));
	REFUSES("request.format", admin_remove(&g, ANNA, "none", NOW, &why));
	REFUSES("request.format", admin_add(&g, ANNA, &a, NOW, &why));
	strcpy(a.name, "Bad name");
	REFUSES("request.format", admin_add(&g, ANNA, &a, NOW, &why));
	DONE(admin_remove(&g, ANNA, "rita", NOW, &why));
	strcpy(a.name, "bert");
	DONE(admin_add(&g, ANNA, &a, NOW, &why));
	DONE(admin_remove(&g, a.fingerprint, "anna", NOW, &why));
	REFUSES("admin.unknown", admin_revoke(&g, ANNA, bed_id(1), NOW, &why));
}

static void test_each_reason_has_a_remedy(void **state)
{
	(void)state;
	unsigned n = 0;
	for (; refusal_id(n); n++) {
		const char *remedy = refusal_remedy(refusal_id(n));
		assert_non_null(remedy);
		assert_true(strlen(remedy) > 10 && remedy[strlen(remedy) - 1] == '.');
		for (unsigned i = 0; i < n; i++)
			assert_string_not_equal(refusal_id(i), refusal_id(n));
	}
	assert_true(n > 20);
	assert_null(refusal_remedy("no.such"));
	assert_non_null(refusal_remedy("ek.chain"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guardian_make, guardian_done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_only_admins_decide),	     TEST(test_what_is_approved_was_compared),
		TEST(test_every_word_is_logged),     TEST(test_one_admin_is_always_left),
		TEST(test_each_reason_has_a_remedy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
