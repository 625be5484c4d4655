/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/guardian/guardian_bed.h"

#include <errno.h>

#include "guardian/certify.h"

static struct certify_case c; /* of the last attest() */

static int make(void **state)
{
	int64_t generation;
	if (guardian_make(state) < 0)
		return -1;
	certify_case_init(&c);
	bed_approve(1);
	bed_approve(2);
	DONE(admin_policy(&g, ANNA, "{\"policy\":1}", 12, 0, NOW, &generation, &why));
	return 0;
}

static int done(void **state)
{
	certify_case_done(&c);
	return guardian_done(state);
}

/* A point on the curve, and the rest of what a verifier says. */
static void judge(struct certify_verdict *v, uint32_t resets)
{
	static const uint8_t X[32] = { 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47,
				       0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2,
				       0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0,
				       0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96 };
	static const uint8_t Y[32] = { 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b,
				       0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16,
				       0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce,
				       0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5 };
	*v = (struct certify_verdict){ .healthy = 1, .reset_count = resets, .worker = { 4, 5 } };
	memcpy(v->x, X, sizeof(X));
	memcpy(v->y, Y, sizeof(Y));
}

/* Host N asks for a challenge and answers it. */
static int attest(unsigned n, struct refusal *why)
{
	struct certify_challenge ch;
	int rc = certify_challenge(&g, bed_id(n), NOW, &ch, why);
	return rc < 0 ? rc : certify_begin(&g, bed_id(n), &ch, NOW + 1, &c, why);
}

static void test_a_healthy_host_is_certified(void **state)
{
	(void)state;
	struct certify_challenge ch;
	struct certify_verdict v;
	struct healthcert cert, got;
	struct store_certificate row;
	CLEANUP_BUF struct buf der = BUF_INIT(HEALTHCERT_MAX);
	DONE(certify_challenge(&g, bed_id(1), NOW, &ch, &why));
	assert_int_equal(ch.challenge.bank, HASH_SHA256);
	assert_int_equal(ch.challenge.mask, CHALLENGE_MASK);
	/* Another guardian of the database goes on with it. */
	struct store *own = g.store;
	g.store = bed_open();
	DONE(certify_begin(&g, bed_id(1), &ch, NOW + CERTIFY_SECONDS - 1, &c, &why));
	store_close(g.store);
	g.store = own;
	assert_memory_equal(&c.challenge, &ch.challenge, sizeof(ch.challenge));
	assert_int_equal(c.mode, STORE_MODE_TPM);
	assert_int_equal(c.generation, 1);
	assert_string_equal(buf_cstr(&c.policy), "{\"policy\":1}");
	assert_string_equal(buf_cstr(&c.ak_pub), "ak 1");
	judge(&v, 3);
	v.restart_count = 8;
	DONE(certify_finish(&g, &c, &v, NOW + 70, &der, &cert, &why));
	GOOD(healthcert_open(g.ca, der.data, der.len, bed_id(1), NOW + 70, &got, &f));
	assert_memory_equal(&got, &cert, sizeof(got));
	assert_int_equal(got.assurance, HEALTHCERT_TPM);
	assert_int_equal(got.generation, 1);
	assert_int_equal(got.reset_count, 3);
	assert_int_equal(got.restart_count, 8);
	assert_int_equal(got.not_before, NOW + 70);
	assert_int_equal(got.not_after, NOW + 70 + HEALTHCERT_LIFETIME);
	assert_memory_equal(got.x, v.x, 32);
	uint8_t hash[32];
	GOOD(hash_data(HASH_SHA256, v.worker, sizeof(v.worker), hash));
	assert_memory_equal(got.worker_hash, hash, 32);
	GOOD(store_certificate_get(g.store, got.serial, &row, &f));
	assert_memory_equal(row.host, bed_id(1), UUID_BYTES);
	assert_memory_equal(row.worker_hash, hash, 32);
	assert_int_equal(row.not_after, got.not_after);
}

static void test_a_challenge_is_good_once(void **state)
{
	(void)state;
	struct certify_challenge ch, bad;
	DONE(certify_challenge(&g, bed_id(1), NOW, &ch, &why));
	REFUSES("challenge.foreign", certify_begin(&g, bed_id(2), &ch, NOW, &c, &why));
	for (int i = 0; i < 5; i++) {
		bad = ch;
		if (i == 0)
			bad.challenge.nonce[31] ^= 1;
		else if (i == 1)
			bad.challenge.mask &= ~(1u << 7);
		else if (i == 2)
			bad.challenge.bank = HASH_SHA1;
		else if (i == 3)
			bad.expires++;
		else
			bad.mac[0] ^= 1;
		REFUSES("challenge.foreign", certify_begin(&g, bed_id(1), &bad, NOW, &c, &why));
	}
	REFUSES("challenge.expired",
		certify_begin(&g, bed_id(1), &ch, NOW + CERTIFY_SECONDS, &c, &why));
	REFUSES("challenge.expired",
		certify_begin(&g, bed_id(1), &ch, NOW - HEALTHCERT_SKEW - 1, &c, &why));
	DONE(certify_begin(&g, bed_id(1), &ch, NOW, &c, &why));
	REFUSES("challenge.used", certify_begin(&g, bed_id(1), &ch, NOW, &c, &why));
	/* Also when the nonce was forgotten and the clock went back. */
	DONE(guardian_tend(&g, NOW + 2 * 3600, &why));
	REFUSES("challenge.expired", certify_begin(&g, bed_id(1), &ch, NOW, &c, &why));
	/* Another guardian, with other keys. */
	DONE(certify_challenge(&g, bed_id(1), NOW + 3 * 3600, &ch, &why));
	g.mac_key[0] ^= 1;
	REFUSES("challenge.foreign", certify_begin(&g, bed_id(1), &ch, NOW + 3 * 3600, &c, &why));
	g.mac_key[0] ^= 1;
	DONE(certify_begin(&g, bed_id(1), &ch, NOW + 3 * 3600, &c, &why));
}

static void test_only_approved_hosts_are_looked_at(void **state)
{
	(void)state;
	struct certify_challenge before, none;
	bed_add(g.store, 5);
	/* Neither gets a challenge, nor answers the one that it got before. */
	REFUSES("host.pending", certify_challenge(&g, bed_id(5), NOW, &none, &why));
	DONE(certify_challenge(&g, bed_id(1), NOW, &before, &why));
	REFUSES("host.unknown", attest(4, &why));
	REFUSES("host.pending", attest(5, &why));
	DONE(admin_revoke(&g, ANNA, bed_id(1), NOW, &why));
	REFUSES("host.revoked", attest(1, &why));
	REFUSES("host.revoked", certify_begin(&g, bed_id(1), &before, NOW + 1, &c, &why));
	DONE(admin_replace(&g, ANNA, bed_id(1), NOW, &why));
	REFUSES("host.replacing", attest(1, &why));
	REFUSES("host.replacing", certify_begin(&g, bed_id(1), &before, NOW + 1, &c, &why));
	DONE(attest(2, &why));
}

static void test_without_a_policy_nobody_passes(void **state)
{
	(void)state;
	store_close(g.store);
	assert_int_equal(unlink(path), 0);
	GOOD(store_create(path, &f));
	struct store_admin anna = { .name = "anna", .fingerprint = { 1 } };
	g.store = bed_open();
	GOOD_TX(g.store, store_admin_add(g.store, &anna, &f));
	bed_approve(1);
	REFUSES("guardian.policy", attest(1, &why));
}

static void test_what_changes_meanwhile_counts(void **state)
{
	(void)state;
	int64_t generation;
	struct certify_verdict v, none = { 0 };
	struct healthcert cert = { .generation = 99 };
	CLEANUP_BUF struct buf der = BUF_INIT(HEALTHCERT_MAX);
	judge(&v, 3);
	DONE(attest(1, &why));
	REFUSES("host.unhealthy", certify_finish(&g, &c, &none, NOW, &der, &cert, &why));
	REFUSES("challenge.expired",
		certify_finish(&g, &c, &v, NOW + CERTIFY_SECONDS + CERTIFY_JUDGE_SECONDS, &der,
			       &cert, &why));
	/* A new policy leaves it good, one that counts at once does not. */
	DONE(admin_policy(&g, ANNA, "{}", 2, 0, NOW, &generation, &why));
	DONE(certify_finish(&g, &c, &v, NOW, &der, &cert, &why));
	assert_int_equal(cert.generation, 1);
	der.len = 0;
	cert.generation = 99;
	DONE(admin_policy(&g, ANNA, "{}", 2, 1, NOW, &generation, &why));
	REFUSES("certificate.floor", certify_finish(&g, &c, &v, NOW, &der, &cert, &why));

	/* The floor itself counts, one below it does not. */
	DONE(attest(1, &why));
	DONE(certify_finish(&g, &c, &v, NOW, &der, &cert, &why));
	assert_int_equal(cert.generation, 3);
	der.len = 0;
	cert.generation = 99;
	DONE(admin_policy(&g, ANNA, "{}", 2, 1, NOW, &generation, &why));
	REFUSES("certificate.floor", certify_finish(&g, &c, &v, NOW, &der, &cert, &why));

	DONE(attest(2, &why));
	DONE(admin_revoke(&g, ANNA, bed_id(2), NOW, &why));
	REFUSES("host.revoked", certify_finish(&g, &c, &v, NOW, &der, &cert, &why));
	CLEANUP_STORE_HOST struct store_host again, row;
	uint8_t print[STORE_FINGERPRINT_BYTES];
	store_host_init(&row);
	bed_host(&again, 2);
	GOOD(buf_addf(&again.ak_pub, " new"));
	DONE(admin_replace(&g, ANNA, bed_id(2), NOW, &why));
	GOOD_TX(g.store, store_host_add(g.store, &again, &f));
	REFUSES("host.pending", certify_finish(&g, &c, &v, NOW, &der, &cert, &why));
	GOOD(store_host_get(g.store, bed_id(2), &row, &f));
	GOOD(store_host_fingerprint(&row, print));
	DONE(admin_approve(&g, ANNA, bed_id(2), print, NOW, &why));
	REFUSES("host.changed", certify_finish(&g, &c, &v, NOW, &der, &cert, &why));
	assert_int_equal(der.len, 0);
	assert_int_equal(cert.generation, 99);
}

static void test_the_tpms_clock_goes_forward(void **state)
{
	(void)state;
	struct certify_verdict v;
	struct healthcert cert;
	struct store_certificate row;
	CLEANUP_BUF struct buf der = BUF_INIT(HEALTHCERT_MAX);
	judge(&v, 3);
	DONE(attest(1, &why));
	DONE(certify_finish(&g, &c, &v, NOW, &der, &cert, &why));
	v.reset_count = 2;
	struct healthcert kept = cert;
	DONE(attest(1, &why));
	REFUSES("host.reset", certify_finish(&g, &c, &v, NOW, &der, &cert, &why));
	assert_memory_equal(&cert, &kept, sizeof(cert));
	v.reset_count = 4;
	der.len = 0;
	DONE(certify_finish(&g, &c, &v, NOW, &der, &cert, &why));
	/* A key that is none is nobody's mistake but the verifier's. */
	v.y[0] ^= 1;
	REFUSES("guardian.keys", certify_finish(&g, &c, &v, NOW, &der, &cert, &why));
	/* Nothing is given out that is not on record. */
	GOOD(store_certificate_get(g.store, cert.serial, &row, &f));
}

static void test_a_host_without_a_tpm(void **state)
{
	(void)state;
	struct certify_verdict v;
	struct healthcert cert;
	uint8_t print[STORE_FINGERPRINT_BYTES], worker[ATTEST_WORKER_KEY_BYTES] = { 4, 1 };
	CLEANUP_JWK struct jwk *key = NULL;
	CLEANUP_JWK struct jwk *other = NULL;
	CLEANUP_STORE_HOST struct store_host h;
	CLEANUP_BUF struct buf text = BUF_INIT(1024), jws = BUF_INIT(8192),
			       der = BUF_INIT(HEALTHCERT_MAX);
	store_host_init(&h);
	GOOD(jwk_new(&key, &f));
	GOOD(jwk_new(&other, &f));
	memcpy(h.id, bed_id(7), UUID_BYTES);
	strcpy(h.name, "keyed");
	h.mode = STORE_MODE_HOSTKEY;
	GOOD(jwk_public_text(key, &h.host_key));
	GOOD_TX(g.store, store_host_add(g.store, &h, &f));
	GOOD(store_host_fingerprint(&h, print));
	DONE(admin_approve(&g, ANNA, bed_id(7), print, NOW, &why));
	DONE(attest(7, &why));
	assert_int_equal(c.mode, STORE_MODE_HOSTKEY);
	GOOD(statement_attest(bed_id(7), c.challenge.nonce, worker, &text));
	GOOD(sign_make(key, STATEMENT_ATTEST_TYP, text.data, text.len, &jws, &f));
	DONE(certify_by_key(&c, worker, buf_cstr(&jws), jws.len, &v, &why));
	DONE(certify_finish(&g, &c, &v, NOW, &der, &cert, &why));
	assert_int_equal(cert.assurance, HEALTHCERT_HOSTKEY);
	GOOD(healthcert_open(g.ca, der.data, der.len, bed_id(7), NOW, &cert, &f));
	assert_int_equal(cert.assurance, HEALTHCERT_HOSTKEY);

	/* Another worker, nonce, key, kind of statement. */
	struct certify_verdict kept = { 0 };
	worker[1] ^= 1;
	REFUSES("host.key", certify_by_key(&c, worker, buf_cstr(&jws), jws.len, &kept, &why));
	worker[1] ^= 1;
	DONE(attest(7, &why));
	REFUSES("host.key", certify_by_key(&c, worker, buf_cstr(&jws), jws.len, &kept, &why));
	text.len = jws.len = 0;
	GOOD(statement_attest(bed_id(7), c.challenge.nonce, worker, &text));
	GOOD(sign_make(other, STATEMENT_ATTEST_TYP, text.data, text.len, &jws, &f));
	REFUSES("host.key", certify_by_key(&c, worker, buf_cstr(&jws), jws.len, &kept, &why));
	jws.len = 0;
	GOOD(sign_make(key, "shieldvm-enrol+jws", text.data, text.len, &jws, &f));
	REFUSES("host.key", certify_by_key(&c, worker, buf_cstr(&jws), jws.len, &kept, &why));
	/* A host with a TPM cannot choose the weaker way. */
	DONE(attest(1, &why));
	REFUSES("host.mode", certify_by_key(&c, worker, buf_cstr(&jws), jws.len, &kept, &why));
	assert_int_equal(kept.healthy, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_healthy_host_is_certified),
		TEST(test_a_challenge_is_good_once),
		TEST(test_only_approved_hosts_are_looked_at),
		TEST(test_without_a_policy_nobody_passes),
		TEST(test_what_changes_meanwhile_counts),
		TEST(test_the_tpms_clock_goes_forward),
		TEST(test_a_host_without_a_tpm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
