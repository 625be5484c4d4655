/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/guardian/guardian_bed.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "guardian/certify.h"
#include "guardian/lease.h"

static const uint8_t VM[UUID_BYTES] = { 0xde, 0xad };
static const uint8_t WORKER[ATTEST_WORKER_KEY_BYTES] = { 4, 7 };
static struct jwk *owner, *stranger;
static char owner_id[JWK_THUMBPRINT_SIZE];
static struct buf certificate[4]; /* of the hosts 1, 2 and 3; 3 has no TPM */

/* The base point: any point on the curve will do. */
static const uint8_t X[32] = { 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6,
			       0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb,
			       0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96 };
static const uint8_t Y[32] = { 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb,
			       0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31,
			       0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5 };

/* Host N attests at AT, its TPM having been reset RESETS times. */
static void certify(unsigned n, uint32_t resets, int64_t at)
{
	struct certify_challenge ch;
	struct certify_case c;
	struct healthcert cert;
	struct certify_verdict v = { .healthy = 1, .reset_count = resets };
	memcpy(v.x, X, sizeof(X));
	memcpy(v.y, Y, sizeof(Y));
	memcpy(v.worker, WORKER, sizeof(WORKER));
	certify_case_init(&c);
	buf_done(&certificate[n]);
	certificate[n] = BUF_INIT(HEALTHCERT_MAX);
	DONE(certify_challenge(&g, bed_id(n), at, &ch, &why));
	DONE(certify_begin(&g, bed_id(n), &ch, at, &c, &why));
	DONE(certify_finish(&g, &c, &v, at, &certificate[n], &cert, &why));
	certify_case_done(&c);
}

static void add_keyed(unsigned n)
{
	uint8_t print[STORE_FINGERPRINT_BYTES];
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	h.mode = STORE_MODE_HOSTKEY;
	memcpy(h.id, bed_id(n), UUID_BYTES);
	strcpy(h.name, "keyed");
	GOOD(jwk_public_text(stranger, &h.host_key));
	GOOD_TX(g.store, store_host_add(g.store, &h, &f));
	GOOD(store_host_fingerprint(&h, print));
	DONE(admin_approve(&g, ANNA, bed_id(n), print, NOW, &why));
}

static int make(void **state)
{
	int64_t generation;
	if (guardian_make(state) < 0 || jwk_new(&owner, NULL) < 0 || jwk_new(&stranger, NULL) < 0)
		return -1;
	if (jwk_thumbprint(owner, owner_id) < 0)
		return -1;
	DONE(admin_policy(&g, ANNA, "{}", 2, 0, NOW, &generation, &why));
	bed_approve(1);
	bed_approve(2);
	add_keyed(3);
	for (unsigned n = 1; n <= 3; n++)
		certify(n, 1, NOW);
	return 0;
}

static int done(void **state)
{
	for (unsigned n = 1; n <= 3; n++)
		buf_done(&certificate[n]);
	jwk_free(owner);
	jwk_free(stranger);
	return guardian_done(state);
}

/* That the VM is to start on host N from VERSION. */
static struct lease_ask ask_of(unsigned n, int64_t version)
{
	struct lease_ask ask = {
		.owner = owner,
		.least = HEALTHCERT_TPM,
		.certificate = certificate[n].data,
		.certificate_bytes = certificate[n].len,
		.version = version,
		.request = { 9 },
	};
	memcpy(ask.vm, VM, sizeof(VM));
	memcpy(ask.host, bed_id(n), UUID_BYTES);
	memcpy(ask.worker, WORKER, sizeof(WORKER));
	return ask;
}

static int start(unsigned n, int64_t version, int64_t now, struct lease_grant *out,
		 struct refusal *why)
{
	struct lease_ask ask = ask_of(n, version);
	return lease_start(&g, &ask, now, out, why);
}

static int64_t taken, taken_until;

/* Host N, which the VM has come to, takes the lease with TOKEN. */
static int take(unsigned n, int64_t token, int64_t version, int64_t now, struct refusal *why)
{
	return lease_take(&g, bed_id(n), VM, token, version, now, &taken, &taken_until, why);
}

/* Refused, and the lease of OWNER's VM is as it was. */
#define TAKE_REFUSED(id, ...)                                                                      \
	do {                                                                                       \
		struct store_vm was = { 0 }, is = { 0 };                                           \
		int64_t records = bed_records(VM);                                                 \
		int had = store_vm_get(g.store, VM, owner_id, &was, NULL);                         \
		taken = taken_until = 99;                                                          \
		REFUSES(id, take(__VA_ARGS__, &why));                                              \
		assert_int_equal(store_vm_get(g.store, VM, owner_id, &is, NULL), had);             \
		assert_memory_equal(&was, &is, sizeof(is));                                        \
		assert_int_equal(bed_records(VM), records);                                        \
		assert_true(taken == 99 && taken_until == 99);                                     \
	} while (0)

static int await(unsigned n, int64_t now, struct lease_grant *out, struct refusal *why)
{
	struct lease_ask ask = ask_of(n, 0);
	return lease_incoming(&g, &ask, now, out, why);
}

static int collect(int64_t seq, const char *statement, size_t n, void *arg)
{
	(void)seq;
	return buf_addf(arg, "%.*s\n", (int)n, statement);
}

static int list(const struct ledger_record *r, void *arg)
{
	return buf_addf(arg, "%s/%lld/%lld/%u%s%s ", ledger_event_name(r->event),
			(long long)r->token, (long long)r->version, r->host[0], r->by[0] ? "/" : "",
			r->by);
}

/* The VM's log, verified as its owner does: "event/token/version/host[/admin] ...". */
static void log_of(const uint8_t vm[static UUID_BYTES], const char *whose, const char *want)
{
	struct ledger_head head;
	CLEANUP_BUF struct buf signed_head = BUF_INIT(8192), lines = BUF_INIT(1 << 20),
			       seen = BUF_INIT(1 << 16);
	GOOD(ledger_head_sign(g.store, bed_log_key, vm, whose, NOW, &signed_head, &f));
	GOOD(ledger_head_open(bed_log_key, buf_cstr(&signed_head), signed_head.len, &head, &f));
	GOOD(store_log_each(g.store, vm, whose, 1, 100000, collect, &lines, &f));
	GOOD(ledger_verify(bed_log_key, buf_cstr(&lines), lines.len, &head, NULL, list, &seen, &f));
	if (want)
		assert_string_equal(buf_cstr(&seen), want);
}

static void log_is(const uint8_t vm[static UUID_BYTES], const char *want)
{
	log_of(vm, owner_id, want);
}

static void test_a_life_of_a_vm(void **state)
{
	(void)state;
	struct lease_grant grant, second;
	struct store_vm v;
	int64_t expires = 0;
	DONE(start(1, 0, NOW, &grant, &why));
	assert_int_equal(grant.token, 1);
	assert_int_equal(grant.expires, NOW + LEASE_SECONDS);
	assert_int_equal(grant.spent, 0);
	assert_memory_equal(grant.health.x, X, 32);
	assert_memory_equal(grant.health.host, bed_id(1), UUID_BYTES);
	REFUSES("lease.held", start(2, 0, NOW, &second, &why));
	DONE(lease_report(&g, bed_id(1), VM, 1, 5, NOW + 100, &expires, &why));
	assert_int_equal(expires, NOW + 100 + LEASE_SECONDS);
	DONE(lease_report(&g, bed_id(1), VM, 1, 5, NOW + 200, &expires, &why));
	REFUSES("vm.version", lease_report(&g, bed_id(1), VM, 1, 4, NOW, &expires, &why));

	/* A migration: the source goes on having the lease until the VM is there. */
	struct lease_ask ask = ask_of(2, 0);
	DONE(lease_incoming(&g, &ask, NOW + 200, &second, &why));
	assert_int_equal(second.token, 1);
	assert_int_equal(second.expires, 0);
	assert_int_equal(second.spent, 5);
	assert_memory_equal(second.health.host, bed_id(2), UUID_BYTES);
	DONE(lease_report(&g, bed_id(1), VM, 1, 6, NOW + 201, &expires, &why));
	TAKE_REFUSED("vm.version", 2, 1, 5, NOW + 210);
	DONE(take(2, 1, 7, NOW + 210, &why));
	assert_int_equal(taken, 2);
	assert_int_equal(taken_until, NOW + 210 + LEASE_SECONDS);
	TAKE_REFUSED("lease.none", 2, 2, 7, NOW + 210);
	/* The source no longer counts. */
	REFUSES("lease.lost", lease_report(&g, bed_id(1), VM, 1, 9, NOW, &expires, &why));
	REFUSES("lease.lost", lease_report(&g, bed_id(1), VM, 2, 9, NOW, &expires, &why));
	REFUSES("lease.lost", lease_stop(&g, bed_id(1), VM, 1, 9, NOW, &why));
	REFUSES("lease.lost", lease_stop(&g, bed_id(2), VM, 1, 9, NOW, &why));
	DONE(lease_stop(&g, bed_id(2), VM, 2, 11, NOW + 300, &why));
	REFUSES("lease.lost", lease_stop(&g, bed_id(2), VM, 2, 11, NOW, &why));
	GOOD(store_vm_get(g.store, VM, owner_id, &v, &f));
	assert_int_equal(v.held, 0);
	assert_int_equal(v.version, 11);
	/* The next start, anywhere; and the holder may start again. */
	DONE(start(1, 11, NOW + 301, &grant, &why));
	assert_int_equal(grant.token, 3);
	DONE(start(1, 12, NOW + 302, &second, &why));
	assert_int_equal(second.token, 4);
	/* What it started from is remembered: nobody reported it before. */
	assert_int_equal(second.spent, 12);
	REFUSES("vm.version", start(1, 11, NOW + 302, &second, &why));
	REFUSES("vm.version", start(1, 13 + LEASE_VERSION_STEP, NOW + 302, &second, &why));
	REFUSES("lease.lost", lease_report(&g, bed_id(1), VM, 3, 13, NOW, &expires, &why));
	DONE(lease_report(&g, bed_id(1), VM, 4, 13, NOW, &expires, &why));
	uint8_t other[UUID_BYTES] = { 1 };
	REFUSES("lease.lost", lease_report(&g, bed_id(1), other, 1, 1, NOW, &expires, &why));
	REFUSES("lease.lost", lease_stop(&g, bed_id(1), other, 1, 1, NOW, &why));
	log_is(VM, "release/1/0/1 incoming/1/5/2 handover/2/7/2 stop/2/11/2 release/3/11/1 "
		   "release/4/12/1 ");
	log_is(other, "");
}

/* Files may be put back before the host has told that the VM has stopped. */
static void test_a_stop_with_state_that_was_set_back(void **state)
{
	(void)state;
	int64_t expires;
	struct lease_grant grant;
	struct store_vm v;
	DONE(start(1, 0, NOW, &grant, &why));
	DONE(lease_report(&g, bed_id(1), VM, 1, 5, NOW, &expires, &why));
	DONE(lease_stop(&g, bed_id(1), VM, 1, 3, NOW, &why));
	GOOD(store_vm_get(g.store, VM, owner_id, &v, &f));
	assert_int_equal(v.held, 0);
	assert_int_equal(v.version, 5);
	REFUSES("vm.version", start(1, 3, NOW, &grant, &why));
	log_is(VM, "release/1/0/1 stop/1/5/1 ");
}

static void refused_ask(const char *id, const struct lease_ask *ask, int64_t now)
{
	struct lease_grant grant = { .token = 99 };
	struct store_vm v;
	REFUSES(id, lease_start(&g, ask, now, &grant, &why));
	assert_int_equal(grant.token, 99);
	REFUSED(-ENOENT, "", store_vm_get(g.store, VM, owner_id, &v, &f));
	assert_int_equal(bed_records(VM), 0);
}

static void test_only_a_good_certificate_starts(void **state)
{
	(void)state;
	int64_t generation;
	struct lease_ask ask = ask_of(1, 0);
	ask.certificate_bytes--;
	refused_ask("certificate.invalid", &ask, NOW);
	ask = ask_of(1, 0);
	refused_ask("certificate.expired", &ask, NOW + HEALTHCERT_LIFETIME);
	refused_ask("certificate.expired", &ask, NOW - HEALTHCERT_SKEW - 1);
	memcpy(ask.host, bed_id(2), UUID_BYTES);
	refused_ask("certificate.host", &ask, NOW);
	ask = ask_of(1, 0);
	ask.worker[1]++;
	refused_ask("certificate.worker", &ask, NOW);
	ask = ask_of(3, 0);
	refused_ask("certificate.assurance", &ask, NOW);
	ask = ask_of(1, -1);
	refused_ask("request.format", &ask, NOW);
	/* By the same CA, for a host of another database. */
	struct healthcert cert = { .assurance = HEALTHCERT_TPM,
				   .generation = 1,
				   .reset_count = 1,
				   .not_before = NOW,
				   .not_after = NOW + HEALTHCERT_LIFETIME };
	CLEANUP_BUF struct buf der = BUF_INIT(HEALTHCERT_MAX);
	memcpy(cert.host, bed_id(1), UUID_BYTES);
	memcpy(cert.x, X, sizeof(X));
	memcpy(cert.y, Y, sizeof(Y));
	GOOD(hash_data(HASH_SHA256, WORKER, sizeof(WORKER), cert.worker_hash));
	GOOD(healthcert_issue(g.ca, &cert, &der, &f));
	ask = ask_of(1, 0);
	ask.certificate = der.data;
	ask.certificate_bytes = der.len;
	refused_ask("certificate.invalid", &ask, NOW);
	/* Of another CA. */
	char name[96];
	CLEANUP_HEALTHCA struct healthca *other = NULL;
	snprintf(name, sizeof(name), "%s/other", folder);
	GOOD(healthca_init(name, &f));
	GOOD(healthca_open(name, &other, &f));
	der.len = 0;
	GOOD(healthcert_issue(other, &cert, &der, &f));
	ask.certificate_bytes = der.len;
	refused_ask("certificate.invalid", &ask, NOW);
	/* From before a reset of the TPM. */
	CLEANUP_BUF struct buf old = BUF_INIT(HEALTHCERT_MAX);
	GOOD(buf_add(&old, certificate[1].data, certificate[1].len));
	certify(1, 2, NOW);
	ask = ask_of(1, 0);
	ask.certificate = old.data;
	ask.certificate_bytes = old.len;
	refused_ask("certificate.reset", &ask, NOW);
	/* From before the floor was raised: at once, and for all. */
	ask = ask_of(1, 0);
	DONE(admin_policy(&g, ANNA, "{}", 2, 1, NOW, &generation, &why));
	refused_ask("certificate.floor", &ask, NOW);
	certify(1, 2, NOW);
	ask = ask_of(1, 0);
	/* Revoked: at once. */
	DONE(admin_revoke(&g, ANNA, bed_id(1), NOW, &why));
	refused_ask("host.revoked", &ask, NOW);
	DONE(admin_replace(&g, ANNA, bed_id(1), NOW, &why));
	refused_ask("host.replacing", &ask, NOW);
	certify(2, 1, NOW);
	ask = ask_of(2, 0);
	struct lease_grant grant;
	DONE(lease_start(&g, &ask, NOW, &grant, &why));
}

/* A host that was replaced: what its old TPM was certified no longer counts, whatever the new one's
 * counts are. */
static void test_a_replaced_host_starts_anew(void **state)
{
	(void)state;
	uint8_t print[STORE_FINGERPRINT_BYTES];
	struct lease_grant grant;
	CLEANUP_BUF struct buf old = BUF_INIT(HEALTHCERT_MAX);
	CLEANUP_STORE_HOST struct store_host next, row;
	GOOD(buf_add(&old, certificate[1].data, certificate[1].len));
	store_host_init(&row);
	bed_host(&next, 1);
	next.ek_id[31] = 7;
	GOOD(buf_addf(&next.ak_pub, " new"));
	DONE(admin_replace(&g, ANNA, bed_id(1), NOW + 10, &why));
	GOOD_TX(g.store, store_host_add(g.store, &next, &f));
	GOOD(store_host_get(g.store, bed_id(1), &row, &f));
	GOOD(store_host_fingerprint(&row, print));
	DONE(admin_approve(&g, ANNA, bed_id(1), print, NOW + 10, &why));
	struct lease_ask ask = ask_of(1, 0);
	refused_ask("host.changed", &ask, NOW + 10);
	certify(1, 1, NOW + 10);
	ask.certificate = old.data;
	ask.certificate_bytes = old.len;
	refused_ask("host.changed", &ask, NOW + 10);
	DONE(start(1, 0, NOW + 10, &grant, &why));
}

static void test_the_owner_may_be_content_with_less(void **state)
{
	(void)state;
	struct lease_grant grant;
	struct lease_ask ask = ask_of(3, 0);
	ask.least = HEALTHCERT_HOSTKEY;
	DONE(lease_start(&g, &ask, NOW, &grant, &why));
	assert_int_equal(grant.health.assurance, HEALTHCERT_HOSTKEY);
}

/* A UUID is nobody's: who comes first with one keeps nobody else's VM from starting. */
static void test_owners_do_not_share_a_uuid(void **state)
{
	(void)state;
	struct lease_grant grant;
	int64_t expires;
	char stranger_id[JWK_THUMBPRINT_SIZE];
	struct lease_ask ask = ask_of(1, 0);
	ask.owner = stranger;
	DONE(lease_start(&g, &ask, NOW, &grant, &why));
	DONE(lease_report(&g, bed_id(1), VM, 1, 50, NOW, &expires, &why));
	/* Its token is its own, so that a holder of both is told apart by it. */
	DONE(start(1, 0, NOW, &grant, &why));
	assert_int_equal(grant.token, 2);
	DONE(lease_report(&g, bed_id(1), VM, 2, 1, NOW, &expires, &why));
	REFUSES("vm.version", lease_report(&g, bed_id(1), VM, 1, 1, NOW, &expires, &why));
	DONE(lease_stop(&g, bed_id(1), VM, 2, 2, NOW, &why));
	REFUSES("lease.lost", lease_stop(&g, bed_id(1), VM, 2, 2, NOW, &why));
	DONE(start(2, 2, NOW, &grant, &why));
	assert_int_equal(grant.token, 3);
	assert_int_equal(grant.spent, 2);
	DONE(lease_report(&g, bed_id(2), VM, 3, 3, NOW, &expires, &why));
	REFUSES("vm.version", lease_report(&g, bed_id(1), VM, 1, 3, NOW, &expires, &why));
	DONE(lease_stop(&g, bed_id(2), VM, 3, 4, NOW, &why));
	DONE(lease_stop(&g, bed_id(1), VM, 1, 51, NOW, &why));
	/* ... and nobody reads or lengthens another's log. */
	GOOD(jwk_thumbprint(stranger, stranger_id));
	log_is(VM, "release/2/0/1 stop/2/2/1 release/3/2/2 stop/3/4/2 ");
	log_of(VM, stranger_id, "release/1/0/1 stop/1/51/1 ");
}

static void test_a_revoked_holder_may_only_end(void **state)
{
	(void)state;
	struct lease_grant grant;
	int64_t expires = 0;
	DONE(start(1, 0, NOW, &grant, &why));
	DONE(admin_revoke(&g, ANNA, bed_id(1), NOW, &why));
	DONE(lease_report(&g, bed_id(1), VM, 1, 5, NOW + 500, &expires, &why));
	assert_int_equal(expires, NOW + LEASE_SECONDS);
	/* To a healthy host, or to an end; not to another start. */
	REFUSES("host.revoked", start(1, 5, NOW + 500, &grant, &why));
	DONE(await(2, NOW + 500, &grant, &why));
	DONE(take(2, 1, 6, NOW + 501, &why));
	DONE(admin_revoke(&g, ANNA, bed_id(2), NOW, &why));
	DONE(lease_stop(&g, bed_id(2), VM, 2, 7, NOW + 502, &why));
	REFUSES("host.revoked", start(2, 7, NOW + 503, &grant, &why));
}

static void test_an_expired_lease_is_taken_back_by_a_word(void **state)
{
	(void)state;
	struct lease_grant grant;
	int64_t late = NOW + LEASE_SECONDS;
	CLEANUP_BUF struct buf text = BUF_INIT(1024), jws = BUF_INIT(8192), bad = BUF_INIT(8192),
			       kind = BUF_INIT(8192);
	REFUSES("lease.none", lease_takeback(&g, ANNA, VM, owner_id, NOW, &why));
	DONE(start(1, 0, NOW, &grant, &why));
	REFUSES("lease.running", lease_takeback(&g, ANNA, VM, owner_id, late - 1, &why));
	REFUSES("lease.held", start(2, 0, late, &grant, &why));
	REFUSES("admin.role", lease_takeback(&g, RITA, VM, owner_id, late, &why));
	DONE(lease_takeback(&g, ANNA, VM, owner_id, late, &why));
	REFUSES("lease.none", lease_takeback(&g, ANNA, VM, owner_id, late, &why));
	DONE(start(2, 0, late, &grant, &why));
	assert_int_equal(grant.token, 2);
	late += LEASE_SECONDS;

	GOOD(lease_takeback_text(VM, 2, &text));
	GOOD(sign_make(owner, LEASE_TAKEBACK_TYP, text.data, text.len, &jws, &f));
	GOOD(sign_make(stranger, LEASE_TAKEBACK_TYP, text.data, text.len, &bad, &f));
	GOOD(sign_make(owner, LEASE_RESTORE_TYP, text.data, text.len, &kind, &f));
	const char *good = buf_cstr(&jws);
#define BACK(who, said, n, at) lease_takeback_by_owner(&g, who, VM, said, n, at, &why)
	REFUSES("lease.running", BACK(owner, good, jws.len, late - 1));
	REFUSES("lease.none", BACK(stranger, buf_cstr(&bad), bad.len, late));
	REFUSES("ticket.invalid", BACK(owner, buf_cstr(&bad), bad.len, late));
	REFUSES("ticket.invalid", BACK(owner, buf_cstr(&kind), kind.len, late));
	DONE(BACK(owner, good, jws.len, late));
	/* It was for that lease, not for the next. */
	certify(1, 1, late);
	DONE(start(1, 0, late, &grant, &why));
	REFUSES("ticket.invalid", BACK(owner, good, jws.len, late + LEASE_SECONDS));
	log_is(VM, "release/1/0/1 takeback/1/0/1/anna release/2/0/2 takeback/2/0/2 release/3/0/1 ");
}

static void test_older_state_takes_a_ticket(void **state)
{
	(void)state;
	struct lease_grant grant;
	struct store_vm v;
	CLEANUP_BUF struct buf text = BUF_INIT(1024), jws = BUF_INIT(8192), bad = BUF_INIT(8192);
	DONE(start(1, 0, NOW, &grant, &why));
	DONE(lease_stop(&g, bed_id(1), VM, 1, 20, NOW, &why));
	REFUSES("vm.version", start(1, 19, NOW, &grant, &why));
	GOOD(lease_restore_text(VM, 15, 0, &text));
	GOOD(sign_make(owner, LEASE_RESTORE_TYP, text.data, text.len, &jws, &f));
	GOOD(sign_make(stranger, LEASE_RESTORE_TYP, text.data, text.len, &bad, &f));
	struct lease_ask ask = ask_of(1, 15);
	ask.ticket = buf_cstr(&bad);
	ask.ticket_chars = bad.len;
	REFUSES("ticket.invalid", lease_start(&g, &ask, NOW, &grant, &why));
	ask.ticket = buf_cstr(&jws);
	ask.ticket_chars = jws.len;
	ask.version = 14;
	REFUSES("ticket.invalid", lease_start(&g, &ask, NOW, &grant, &why));
	ask.version = 16;
	REFUSES("ticket.invalid", lease_start(&g, &ask, NOW, &grant, &why));
	ask.version = 15;
	DONE(lease_start(&g, &ask, NOW, &grant, &why));
	assert_true(grant.by_ticket && grant.ticket == 15);
	/* What was reported before stays spent, and the ticket was good once. */
	assert_int_equal(grant.spent, 20);
	int64_t expires;
	REFUSES("vm.version", lease_report(&g, bed_id(1), VM, 2, 16, NOW, &expires, &why));
	DONE(lease_report(&g, bed_id(1), VM, 2, 21, NOW, &expires, &why));
	REFUSES("ticket.invalid", lease_start(&g, &ask, NOW, &grant, &why));
	GOOD(store_vm_get(g.store, VM, owner_id, &v, &f));
	assert_int_equal(v.restores, 1);
	/* With state that is new enough it is not looked at. */
	ask.version = 21;
	DONE(lease_start(&g, &ask, NOW, &grant, &why));
	log_is(VM, "release/1/0/1 stop/1/20/1 restore/0/15/1 release/2/15/1 release/3/21/1 ");
}

/* The state is the newest, and what the ticket is for is a saved one. */
static void test_older_saved_state_takes_a_ticket(void **state)
{
	(void)state;
	struct lease_grant grant;
	struct store_vm v;
	CLEANUP_BUF struct buf text = BUF_INIT(1024), jws = BUF_INIT(8192), bad = BUF_INIT(8192);
	DONE(start(1, 0, NOW, &grant, &why));
	assert_int_equal(grant.by_ticket, 0);
	DONE(lease_stop(&g, bed_id(1), VM, 1, 20, NOW, &why));
	GOOD(lease_restore_text(VM, 15, 0, &text));
	GOOD(sign_make(owner, LEASE_RESTORE_TYP, text.data, text.len, &jws, &f));
	GOOD(sign_make(stranger, LEASE_RESTORE_TYP, text.data, text.len, &bad, &f));
	struct lease_ask ask = ask_of(1, 22);
	ask.restore = 15;
	REFUSES("request.format", lease_start(&g, &ask, NOW, &grant, &why));
	ask.ticket = buf_cstr(&bad);
	ask.ticket_chars = bad.len;
	REFUSES("ticket.invalid", lease_start(&g, &ask, NOW, &grant, &why));
	ask.ticket = buf_cstr(&jws);
	ask.ticket_chars = jws.len;
	static const int64_t OTHERS[] = { 1, 14, 16, 20, 21 };
	for (size_t i = 0; i < sizeof(OTHERS) / sizeof(OTHERS[0]); i++) {
		ask.restore = OTHERS[i];
		REFUSES("ticket.invalid", lease_start(&g, &ask, NOW, &grant, &why));
	}
	static const int64_t WRONG[] = { -1, INT64_MIN, 22, 23, INT64_MAX };
	for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
		ask.restore = WRONG[i];
		REFUSES("request.format", lease_start(&g, &ask, NOW, &grant, &why));
	}
	/* It is no word for the state that is there. */
	ask.restore = 15;
	ask.version = 19;
	REFUSES("vm.version", lease_start(&g, &ask, NOW, &grant, &why));
	GOOD(store_vm_get(g.store, VM, owner_id, &v, &f));
	assert_true(v.version == 20 && v.restores == 0 && !v.held);
	ask.version = 22;
	DONE(lease_start(&g, &ask, NOW, &grant, &why));
	assert_true(grant.by_ticket && grant.ticket == 15 && grant.spent == 22);
	GOOD(store_vm_get(g.store, VM, owner_id, &v, &f));
	assert_true(v.version == 22 && v.restores == 1);
	REFUSES("ticket.invalid", lease_start(&g, &ask, NOW, &grant, &why));
	/* Without it a start is one as ever. */
	ask.restore = 0;
	DONE(lease_start(&g, &ask, NOW, &grant, &why));
	assert_int_equal(grant.by_ticket, 0);
	log_is(VM, "release/1/0/1 stop/1/20/1 restore/0/15/1 release/2/22/1 release/3/22/1 ");
}

static void test_without_a_record_nothing_is_released(void **state)
{
	(void)state;
	struct lease_grant grant = { .token = 99 };
	struct store_vm v;
	CLEANUP_BUF struct buf text = BUF_INIT(1024);
	CLEANUP_JWK struct jwk *public = NULL;
	GOOD(jwk_public_text(bed_log_key, &text));
	GOOD(jwk_parse(buf_cstr(&text), text.len, &public, &f));
	g.log_key = public;
	REFUSES("guardian.log", start(1, 0, NOW, &grant, &why));
	assert_int_equal(grant.token, 99);
	REFUSED(-ENOENT, "", store_vm_get(g.store, VM, owner_id, &v, &f));
	g.log_key = bed_log_key;
	DONE(start(1, 0, NOW, &grant, &why));
	DONE(await(2, NOW, &grant, &why));
	g.log_key = public;
	REFUSES("guardian.log", await(1, NOW, &grant, &why));
	TAKE_REFUSED("guardian.log", 2, 1, 0, NOW);
	REFUSES("guardian.log", lease_stop(&g, bed_id(1), VM, 1, 1, NOW, &why));
	REFUSES("guardian.log", lease_takeback(&g, ANNA, VM, owner_id, NOW + LEASE_SECONDS, &why));
	GOOD(store_vm_get(g.store, VM, owner_id, &v, &f));
	assert_int_equal(v.held, 1);
	g.log_key = bed_log_key;
	DONE(take(2, 1, 0, NOW, &why));
	log_is(VM, "release/1/0/1 incoming/1/0/2 handover/2/0/2 ");
}

/* Who may await a VM: the same hosts that may start it. */
static void test_only_a_good_certificate_awaits(void **state)
{
	(void)state;
	int64_t generation;
	struct lease_grant grant = { .token = 99 };
	struct lease_ask ask = ask_of(3, 0);
	REFUSES("certificate.assurance", lease_incoming(&g, &ask, NOW, &grant, &why));
	ask = ask_of(2, 0);
	ask.worker[1]++;
	REFUSES("certificate.worker", lease_incoming(&g, &ask, NOW, &grant, &why));
	REFUSES("certificate.expired", await(2, NOW + HEALTHCERT_LIFETIME, &grant, &why));
	TAKE_REFUSED("lease.none", 2, 0, 0, NOW);
	DONE(admin_policy(&g, ANNA, "{}", 2, 1, NOW, &generation, &why));
	REFUSES("certificate.floor", await(2, NOW, &grant, &why));
	DONE(admin_revoke(&g, ANNA, bed_id(2), NOW, &why));
	REFUSES("host.revoked", await(2, NOW, &grant, &why));
	assert_int_equal(grant.token, 99);
	TAKE_REFUSED("host.revoked", 2, 0, 0, NOW);
	TAKE_REFUSED("lease.none", 1, 0, 0, NOW);
	assert_int_equal(bed_records(VM), 0);
}

static void test_a_lease_is_taken_by_who_awaits_it(void **state)
{
	(void)state;
	struct lease_grant grant;
	int64_t expires = 0;
	DONE(start(1, 0, NOW, &grant, &why));
	/* Nobody awaits it; and nobody else's note is his. */
	TAKE_REFUSED("lease.none", 2, 1, 0, NOW);
	DONE(await(2, NOW, &grant, &why));
	TAKE_REFUSED("lease.none", 3, 1, 0, NOW);
	TAKE_REFUSED("lease.none", 1, 1, 0, NOW);
	TAKE_REFUSED("host.unknown", 9, 1, 0, NOW);
	TAKE_REFUSED("lease.lost", 2, 2, 0, NOW);
	TAKE_REFUSED("lease.lost", 2, 0, 0, NOW);
	/* It has its time; a new note a new one. */
	TAKE_REFUSED("lease.none", 2, 1, 0, NOW + LEASE_INCOMING_SECONDS);
	DONE(guardian_tend(&g, NOW + LEASE_INCOMING_SECONDS, &why));
	certify(2, 1, NOW + LEASE_INCOMING_SECONDS);
	DONE(await(2, NOW + LEASE_INCOMING_SECONDS, &grant, &why));
	assert_int_equal(grant.token, 1);
	DONE(take(2, 1, 3, NOW + 2 * LEASE_INCOMING_SECONDS - 1, &why));
	assert_int_equal(taken, 2);
	REFUSES("lease.lost", lease_report(&g, bed_id(1), VM, 1, 3, NOW, &expires, &why));
	REFUSES("lease.lost", lease_stop(&g, bed_id(1), VM, 1, 3, NOW, &why));
	log_is(VM, "release/1/0/1 incoming/1/0/2 incoming/1/0/2 handover/2/3/2 ");
}

static void test_a_take_may_be_repeated(void **state)
{
	(void)state;
	struct lease_grant grant;
	struct store_vm v;
	int64_t expires = 0;
	DONE(start(1, 0, NOW, &grant, &why));
	DONE(await(2, NOW, &grant, &why));
	DONE(take(2, 1, 3, NOW, &why));
	int64_t before = bed_records(VM);
	/* As often as it takes; a report each time. */
	for (int64_t i = 1; i <= 2; i++) {
		int64_t at = NOW + i * 60;
		taken = taken_until = 99;
		DONE(take(2, 1, 3 + i, at, &why));
		assert_int_equal(taken, 2);
		assert_int_equal(taken_until, at + LEASE_SECONDS);
		GOOD(store_vm_get(g.store, VM, owner_id, &v, &f));
		assert_true(v.version == 3 + i && v.expires == taken_until && v.token == 2);
	}
	assert_int_equal(bed_records(VM), before);
	TAKE_REFUSED("vm.version", 2, 1, 4, NOW);
	TAKE_REFUSED("vm.version", 2, 1, 6 + LEASE_VERSION_STEP, NOW);
	/* Nobody else's word, and no other token. */
	TAKE_REFUSED("lease.none", 1, 1, 5, NOW);
	TAKE_REFUSED("lease.none", 3, 1, 5, NOW);
	TAKE_REFUSED("lease.none", 2, 2, 5, NOW);
	TAKE_REFUSED("lease.none", 2, 0, 5, NOW);
	TAKE_REFUSED("lease.none", 2, -1, 5, NOW);
	/* It has gone on. */
	DONE(await(1, NOW, &grant, &why));
	DONE(take(1, 2, 5, NOW, &why));
	TAKE_REFUSED("lease.none", 2, 1, 5, NOW);
	DONE(take(1, 2, 5, NOW, &why));
	assert_int_equal(taken, 3);
	/* Its holder starts the VM anew: that instance came from nobody. */
	DONE(start(1, 5, NOW, &grant, &why));
	assert_int_equal(grant.token, 4);
	TAKE_REFUSED("lease.none", 1, 2, 5, NOW);
	TAKE_REFUSED("lease.none", 1, 3, 5, NOW);
	TAKE_REFUSED("lease.none", 1, -1, 5, NOW);
	DONE(lease_report(&g, bed_id(1), VM, 4, 5, NOW, &expires, &why));
	/* It was stopped, or taken back. */
	DONE(await(2, NOW, &grant, &why));
	DONE(take(2, 4, 5, NOW, &why));
	DONE(lease_stop(&g, bed_id(2), VM, 5, 5, NOW, &why));
	TAKE_REFUSED("lease.none", 2, 4, 5, NOW);
	DONE(await(2, NOW, &grant, &why));
	DONE(take(2, 0, 5, NOW, &why));
	/* ... long after the note would have been too old. */
	int64_t late = NOW + 2 * LEASE_INCOMING_SECONDS;
	DONE(guardian_tend(&g, late, &why));
	DONE(take(2, 0, 5, late, &why));
	assert_int_equal(taken, 6);
	DONE(lease_takeback(&g, ANNA, VM, owner_id, late + LEASE_SECONDS, &why));
	TAKE_REFUSED("lease.none", 2, 0, 5, late);
}

/* Of two that await a VM one has it in the end, and its lease is one at each time. */
static void test_two_await_and_one_takes(void **state)
{
	(void)state;
	struct lease_grant grant;
	struct store_vm v;
	DONE(start(1, 0, NOW, &grant, &why));
	DONE(await(2, NOW, &grant, &why));
	/* The holder itself may await it: it comes back from elsewhere. */
	DONE(await(1, NOW, &grant, &why));
	DONE(take(2, 1, 0, NOW, &why));
	TAKE_REFUSED("lease.lost", 1, 1, 0, NOW);
	TAKE_REFUSED("lease.lost", 1, 2, 0, NOW);
	DONE(lease_stop(&g, bed_id(2), VM, 2, 0, NOW, &why));
	TAKE_REFUSED("lease.none", 1, 0, 0, NOW);
	TAKE_REFUSED("lease.none", 1, 2, 0, NOW);
	GOOD(store_vm_get(g.store, VM, owner_id, &v, &f));
	assert_int_equal(v.held, 0);
	assert_int_equal(v.token, 2);
}

/* What happens to the source's lease in between ends what was to come from it. */
static void test_what_ends_a_lease_ends_what_awaits_it(void **state)
{
	(void)state;
	struct lease_grant grant;
	int64_t late = NOW + LEASE_SECONDS;
	/* The source starts the VM anew. */
	DONE(start(1, 0, NOW, &grant, &why));
	DONE(await(2, NOW, &grant, &why));
	DONE(start(1, 0, NOW, &grant, &why));
	TAKE_REFUSED("lease.lost", 2, 1, 0, NOW);
	TAKE_REFUSED("lease.lost", 2, 2, 0, NOW);
	/* It stops. */
	DONE(await(2, NOW, &grant, &why));
	DONE(lease_stop(&g, bed_id(1), VM, 2, 0, NOW, &why));
	TAKE_REFUSED("lease.none", 2, 2, 0, NOW);
	TAKE_REFUSED("lease.none", 2, 0, 0, NOW);
	/* ... and another host starts it. */
	DONE(start(1, 0, NOW, &grant, &why));
	TAKE_REFUSED("lease.none", 2, 2, 0, NOW);
	/* It is taken back. */
	DONE(await(2, NOW, &grant, &why));
	DONE(lease_takeback(&g, ANNA, VM, owner_id, late, &why));
	TAKE_REFUSED("lease.none", 2, 3, 0, late);
	TAKE_REFUSED("lease.none", 2, 0, 0, late);
	log_is(VM, "release/1/0/1 incoming/1/0/2 release/2/0/1 incoming/2/0/2 stop/2/0/1 "
		   "release/3/0/1 incoming/3/0/2 takeback/3/0/1/anna ");
}

/* A VM that nobody has leased: its source did not need the guardian. */
static void test_what_nobody_has_is_taken_too(void **state)
{
	(void)state;
	struct lease_grant grant = { .token = 99, .expires = 99, .spent = 99 };
	DONE(await(2, NOW, &grant, &why));
	assert_true(grant.token == 0 && grant.expires == 0 && grant.spent == 0);
	DONE(start(1, 0, NOW, &grant, &why));
	TAKE_REFUSED("lease.lost", 2, 0, 0, NOW);
	TAKE_REFUSED("lease.lost", 2, 1, 0, NOW);
	DONE(lease_stop(&g, bed_id(1), VM, 1, 4, NOW, &why));
	TAKE_REFUSED("lease.none", 2, 0, 4, NOW);
	DONE(await(2, NOW, &grant, &why));
	assert_true(grant.token == 0 && grant.spent == 4);
	DONE(take(2, 0, 9, NOW, &why));
	assert_int_equal(taken, 2);
	REFUSES("lease.held", start(1, 9, NOW, &grant, &why));
	log_is(VM, "incoming/0/0/2 release/1/0/1 stop/1/4/1 incoming/0/4/2 handover/2/9/2 ");
}

/* Of a VM that was never started here its release to where it comes to is remembered too. */
static void test_the_edition_of_what_is_awaited(void **state)
{
	(void)state;
	struct lease_grant grant;
	struct store_vm v;
	struct lease_ask ask = ask_of(2, 0);
	ask.edition = 5;
	DONE(lease_incoming(&g, &ask, NOW, &grant, &why));
	GOOD(store_vm_get(g.store, VM, owner_id, &v, &f));
	assert_true(v.edition == 5 && v.token == 0 && !v.held);
	ask.edition = 4;
	REFUSES("protector.older", lease_incoming(&g, &ask, NOW, &grant, &why));
	REFUSES("protector.older", lease_start(&g, &ask, NOW, &grant, &why));
	DONE(take(2, 0, 3, NOW, &why));
	GOOD(store_vm_get(g.store, VM, owner_id, &v, &f));
	assert_true(v.edition == 5 && v.held && v.version == 3);
	ask.version = 3;
	REFUSES("protector.older", lease_start(&g, &ask, NOW, &grant, &why));
	ask.edition = 5;
	DONE(lease_start(&g, &ask, NOW, &grant, &why));
	log_is(VM, "incoming/0/0/2 handover/1/3/2 release/2/3/2 ");
}

/* A host awaits one VM with a UUID, the one that it named last. */
static void test_the_owner_of_what_is_awaited(void **state)
{
	(void)state;
	struct lease_grant grant;
	struct store_vm v;
	char stranger_id[JWK_THUMBPRINT_SIZE];
	struct lease_ask ask = ask_of(2, 0);
	GOOD(jwk_thumbprint(stranger, stranger_id));
	DONE(start(1, 0, NOW, &grant, &why));
	DONE(await(2, NOW, &grant, &why));
	ask.owner = stranger;
	DONE(lease_incoming(&g, &ask, NOW, &grant, &why));
	assert_int_equal(grant.token, 0);
	TAKE_REFUSED("lease.lost", 2, 1, 0, NOW);
	DONE(take(2, 0, 0, NOW, &why));
	assert_int_equal(taken, 2);
	GOOD(store_vm_get(g.store, VM, stranger_id, &v, &f));
	assert_int_equal(v.held, 1);
	GOOD(store_vm_get(g.store, VM, owner_id, &v, &f));
	assert_true(v.held == 1 && v.token == 1 && v.holder[0] == 1);
}

/* The note was asked for by the host's old TPM. */
static void test_a_replaced_host_awaits_nothing(void **state)
{
	(void)state;
	uint8_t print[STORE_FINGERPRINT_BYTES];
	struct lease_grant grant;
	CLEANUP_STORE_HOST struct store_host next, row;
	store_host_init(&row);
	DONE(start(1, 0, NOW, &grant, &why));
	DONE(await(2, NOW, &grant, &why));
	bed_host(&next, 2);
	next.ek_id[31] = 7;
	GOOD(buf_addf(&next.ak_pub, " new"));
	DONE(admin_replace(&g, ANNA, bed_id(2), NOW + 10, &why));
	TAKE_REFUSED("host.replacing", 2, 1, 0, NOW + 10);
	GOOD_TX(g.store, store_host_add(g.store, &next, &f));
	TAKE_REFUSED("host.pending", 2, 1, 0, NOW + 10);
	GOOD(store_host_get(g.store, bed_id(2), &row, &f));
	GOOD(store_host_fingerprint(&row, print));
	DONE(admin_approve(&g, ANNA, bed_id(2), print, NOW + 10, &why));
	TAKE_REFUSED("lease.none", 2, 1, 0, NOW + 10);
}

static void test_versions_do_not_leap(void **state)
{
	(void)state;
	struct lease_grant grant;
	int64_t expires = 0, at = LEASE_VERSION_STEP;
	DONE(start(1, 0, NOW, &grant, &why));
	REFUSES("vm.version", lease_report(&g, bed_id(1), VM, 1, INT64_MAX, NOW, &expires, &why));
	REFUSES("vm.version", lease_report(&g, bed_id(1), VM, 1, at + 1, NOW, &expires, &why));
	REFUSES("vm.version", lease_stop(&g, bed_id(1), VM, 1, at + 1, NOW, &why));
	DONE(await(2, NOW, &grant, &why));
	TAKE_REFUSED("vm.version", 2, 1, at + 1, NOW);
	DONE(lease_report(&g, bed_id(1), VM, 1, at, NOW, &expires, &why));
	DONE(take(2, 1, 2 * at, NOW, &why));
	/* As if it had been done often enough. */
	struct store_vm v;
	GOOD(store_vm_get(g.store, VM, owner_id, &v, &f));
	v.version = LEASE_VERSION_MAX - 2;
	GOOD_TX(g.store, store_vm_put(g.store, &v, &f));
	REFUSES("vm.version",
		lease_report(&g, bed_id(2), VM, 2, LEASE_VERSION_MAX, NOW, &expires, &why));
	DONE(lease_report(&g, bed_id(2), VM, 2, LEASE_VERSION_MAX - 1, NOW, &expires, &why));
}

#define VMS 30

static void vm_id(uint8_t n, uint8_t vm[static UUID_BYTES])
{
	memset(vm, 0, UUID_BYTES);
	vm[0] = 0xf0;
	vm[1] = n;
}

/* Start each of the VMs on host N; the number that did.  A child's: with its own connection. */
static int start_all(unsigned n)
{
	int won = 0;
	struct lease_grant grant;
	if (store_open(path, &g.store, NULL) < 0)
		return 255;
	for (uint8_t i = 0; i < VMS; i++) {
		struct refusal why = { 0 };
		struct lease_ask ask = ask_of(n, 0);
		vm_id(i, ask.vm);
		if (lease_start(&g, &ask, NOW, &grant, &why) >= 0)
			won++;
		else if (strcmp(why.id, "lease.held") != 0)
			return 255;
	}
	return won;
}

/* Start and stop the VMs until killed. */
static int churn(void)
{
	if (store_open(path, &g.store, NULL) < 0)
		return 255;
	for (unsigned i = 0;; i = (i + 1) % VMS) {
		struct refusal why = { 0 };
		struct lease_grant grant;
		struct lease_ask ask = ask_of(1, 0);
		vm_id((uint8_t)i, ask.vm);
		if (lease_start(&g, &ask, NOW, &grant, &why) < 0 ||
		    lease_stop(&g, ask.host, ask.vm, grant.token, 0, NOW, &why) < 0)
			return 255;
	}
}

static pid_t child(int (*fn)(unsigned), unsigned n)
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		alarm(60);
		_exit(fn ? fn(n) : churn());
	}
	assert_true(pid > 0);
	return pid;
}

static void test_two_guardians_never_give_two_leases(void **state)
{
	(void)state;
	int status[2];
	pid_t pids[2];
	/* A connection may not be carried across fork(2). */
	store_close(g.store);
	g.store = NULL;
	for (unsigned i = 0; i < 2; i++)
		pids[i] = child(start_all, i + 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(waitpid(pids[i], &status[i], 0), pids[i]);
		assert_true(WIFEXITED(status[i]) && WEXITSTATUS(status[i]) != 255);
	}
	assert_int_equal(WEXITSTATUS(status[0]) + WEXITSTATUS(status[1]), VMS);
	g.store = bed_open();
	for (uint8_t i = 0; i < VMS; i++) {
		uint8_t vm[UUID_BYTES];
		vm_id(i, vm);
		assert_int_equal(bed_records(vm), 1);
	}
}

/* Take each of the VMs on host N; the number that did.  A child's. */
static int take_all(unsigned n)
{
	int won = 0;
	if (store_open(path, &g.store, NULL) < 0)
		return 255;
	for (uint8_t i = 0; i < VMS; i++) {
		struct refusal why = { 0 };
		uint8_t vm[UUID_BYTES];
		vm_id(i, vm);
		if (lease_take(&g, bed_id(n), vm, 0, 0, NOW, &taken, &taken_until, &why) >= 0)
			won++;
		else if (strcmp(why.id, "lease.lost") != 0)
			return 255;
	}
	return won;
}

static void test_two_guardians_never_have_one_lease_taken_twice(void **state)
{
	(void)state;
	int status[2];
	pid_t pids[2];
	for (uint8_t i = 0; i < VMS; i++) {
		for (unsigned n = 1; n <= 2; n++) {
			struct lease_grant grant;
			struct lease_ask ask = ask_of(n, 0);
			vm_id(i, ask.vm);
			DONE(lease_incoming(&g, &ask, NOW, &grant, &why));
		}
	}
	store_close(g.store);
	g.store = NULL;
	for (unsigned i = 0; i < 2; i++)
		pids[i] = child(take_all, i + 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(waitpid(pids[i], &status[i], 0), pids[i]);
		assert_true(WIFEXITED(status[i]) && WEXITSTATUS(status[i]) != 255);
	}
	assert_int_equal(WEXITSTATUS(status[0]) + WEXITSTATUS(status[1]), VMS);
	g.store = bed_open();
	for (uint8_t i = 0; i < VMS; i++) {
		uint8_t vm[UUID_BYTES];
		vm_id(i, vm);
		assert_int_equal(bed_records(vm), 3);
	}
}

static int count_tokens(const struct ledger_record *r, void *arg)
{
	int64_t *last = arg;
	if (r->event == LEDGER_RELEASE)
		assert_int_equal(r->token, ++*last);
	return 0;
}

/* Killed wherever it was: what is leased is on record, token by token. */
static void test_a_killed_guardian_leaves_no_lease_without_a_record(void **state)
{
	(void)state;
	int status;
	store_close(g.store);
	g.store = NULL;
	for (int i = 0; i < 25; i++) {
		pid_t pid = child(NULL, 0);
		usleep((useconds_t)(5000 + i * 1777 % 20000));
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	g.store = bed_open();
	GOOD(store_check(g.store, &f));
	int64_t all = 0;
	for (uint8_t i = 0; i < VMS; i++) {
		struct store_vm v = { 0 };
		struct ledger_head head;
		int64_t last = 0;
		uint8_t vm[UUID_BYTES];
		CLEANUP_BUF struct buf text = BUF_INIT(8192), lines = BUF_INIT(1 << 24);
		vm_id(i, vm);
		GOOD(ledger_head_sign(g.store, bed_log_key, vm, owner_id, NOW, &text, &f));
		GOOD(ledger_head_open(bed_log_key, buf_cstr(&text), text.len, &head, &f));
		GOOD(store_log_each(g.store, vm, owner_id, 1, INT64_MAX, collect, &lines, &f));
		GOOD(ledger_verify(bed_log_key, lines.len ? buf_cstr(&lines) : "", lines.len, &head,
				   NULL, count_tokens, &last, &f));
		if (store_vm_get(g.store, vm, owner_id, &v, NULL) >= 0)
			assert_int_equal(v.token, last);
		else
			assert_int_equal(head.seq, 0);
		all += last;
	}
	assert_true(all > 0);
}

/* A database that is full, in a child: what it refuses is not done, and goes once there is room. */
static int start_when_full(void)
{
	struct lease_grant grant = { .token = 99 };
	struct refusal why = { 0 }, then = { 0 };
	struct lease_ask ask = ask_of(1, 0);
	struct rlimit limit;
	struct store_vm v;
	signal(SIGXFSZ, SIG_IGN);
	if (store_open(path, &g.store, NULL) < 0 || getrlimit(RLIMIT_FSIZE, &limit) < 0)
		return 1;
	rlim_t lifted = limit.rlim_cur;
	limit.rlim_cur = 0;
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
		return 2;
	if (lease_start(&g, &ask, NOW, &grant, &why) >= 0 ||
	    strcmp(why.id, "guardian.store") != 0 || grant.token != 99)
		return 3;
	if (store_vm_get(g.store, VM, owner_id, &v, NULL) != -ENOENT)
		return 4;
	limit.rlim_cur = lifted;
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
		return 5;
	if (lease_start(&g, &ask, NOW, &grant, &then) < 0 || grant.token != 1)
		return 6;
	if (bed_records(VM) != 1)
		return 7;
	/* And so of taking it over. */
	why = then = (struct refusal){ 0 };
	if (await(2, NOW, &grant, &then) < 0)
		return 8;
	limit.rlim_cur = 0;
	taken = 99;
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0 || take(2, 1, 0, NOW, &why) >= 0 ||
	    strcmp(why.id, "guardian.store") != 0 || taken != 99)
		return 9;
	limit.rlim_cur = lifted;
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0 ||
	    store_vm_get(g.store, VM, owner_id, &v, NULL) < 0 || v.token != 1)
		return 10;
	return take(2, 1, 0, NOW, &then) < 0 || taken != 2;
}

static void test_a_full_or_locked_database_releases_nothing(void **state)
{
	(void)state;
	int status;
	struct lease_grant grant = { .token = 99 };
	store_close(g.store);
	g.store = NULL;
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		alarm(60);
		_exit(start_when_full());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	g.store = bed_open();
	struct store *other = bed_open();
	GOOD(store_begin(other, &f));
	struct refusal why = { 0 };
	assert_int_equal(start(1, 0, NOW, &grant, &why), -EBUSY);
	assert_string_equal(why.id, "guardian.store");
	assert_int_equal(grant.token, 99);
	store_close(other);
	why = (struct refusal){ 0 };
	assert_int_equal(start(2, 0, NOW, &grant, &why), 0);
	assert_int_equal(grant.token, 3);
	assert_int_equal(await(1, NOW, &grant, &why), 0);
	other = bed_open();
	GOOD(store_begin(other, &f));
	why = (struct refusal){ 0 };
	assert_int_equal(take(1, 3, 0, NOW, &why), -EBUSY);
	assert_string_equal(why.id, "guardian.store");
	store_close(other);
	why = (struct refusal){ 0 };
	assert_int_equal(take(1, 3, 0, NOW, &why), 0);
	log_is(VM, "release/1/0/1 incoming/1/0/2 handover/2/0/2 release/3/0/2 incoming/3/0/1 "
		   "handover/4/0/1 ");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_life_of_a_vm),
		TEST(test_a_stop_with_state_that_was_set_back),
		TEST(test_only_a_good_certificate_starts),
		TEST(test_a_replaced_host_starts_anew),
		TEST(test_the_owner_may_be_content_with_less),
		TEST(test_owners_do_not_share_a_uuid),
		TEST(test_a_revoked_holder_may_only_end),
		TEST(test_an_expired_lease_is_taken_back_by_a_word),
		TEST(test_older_saved_state_takes_a_ticket),
		TEST(test_older_state_takes_a_ticket),
		TEST(test_only_a_good_certificate_awaits),
		TEST(test_a_lease_is_taken_by_who_awaits_it),
		TEST(test_a_take_may_be_repeated),
		TEST(test_two_await_and_one_takes),
		TEST(test_what_ends_a_lease_ends_what_awaits_it),
		TEST(test_what_nobody_has_is_taken_too),
		TEST(test_the_edition_of_what_is_awaited),
		TEST(test_the_owner_of_what_is_awaited),
		TEST(test_a_replaced_host_awaits_nothing),
		TEST(test_versions_do_not_leap),
		TEST(test_two_guardians_never_have_one_lease_taken_twice),
		TEST(test_without_a_record_nothing_is_released),
		TEST(test_a_full_or_locked_database_releases_nothing),
		TEST(test_two_guardians_never_give_two_leases),
		TEST(test_a_killed_guardian_leaves_no_lease_without_a_record),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
