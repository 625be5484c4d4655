/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys and leases over the guardian's interface: each path, and what it refuses. */
#include "tests/unit/guardian/guardian_bed.h"

#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>

#include "crypto/jwk_form.h"
#include "crypto/sign.h"
#include "crypto/strict.h"
#include "crypto/tls.h"
#include "guardian/certify.h"
#include "guardian/release.h"
#include "guardian/service.h"

#define VM_ID	"dead0000-0000-4000-8000-000000000001"
#define HOST(n) "0" #n "000000-0000-0000-0000-000000000000"
static const uint8_t PEER[4][STORE_FINGERPRINT_BYTES] = { { 0 }, { 1 }, { 2 }, { 3 } };
static const uint8_t STRANGER[STORE_FINGERPRINT_BYTES] = { 8 };
static uint8_t vm[UUID_BYTES], worker[RAWKEY_P256_POINT];
static struct jwk *owner, *guardian_key, *bound_key, *worker_key, *other_key;
static struct ecdh guardian_ecdh;
static struct vm_key vm_key;
static struct buf protector, certificate[3]; /* of the hosts 1 and 2 */
static json_t *got;			     /* the last answer */
static unsigned status;
static struct fault own;

static void set_point(const struct jwk *k, uint8_t point[static RAWKEY_P256_POINT])
{
	point[0] = 4;
	memcpy(point + 1, jwk_x(k), 32);
	memcpy(point + 33, jwk_y(k), 32);
}

static void make_protector(const struct jwk *recipient)
{
	struct protector_facts facts = { .level = LEVEL_SHIELDED, .tpm_id = { 3 } };
	memcpy(facts.vm, vm, sizeof(vm));
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
	certificate[n] = BUF_INIT(HEALTHCERT_MAX);
	DONE(certify_challenge(&g, bed_id(n), NOW, &ch, &why));
	DONE(certify_begin(&g, bed_id(n), &ch, NOW, &c, &why));
	DONE(certify_finish(&g, &c, &v, NOW, &certificate[n], &cert, &why));
	certify_case_done(&c);
}

static int make(void **state)
{
	int64_t generation;
	struct jwk **keys[] = { &owner, &guardian_key, &bound_key, &worker_key, &other_key };
	if (guardian_make(state) < 0 || key_new(&vm_key) < 0 || uuid_parse(VM_ID, vm) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (jwk_new(keys[i], NULL) < 0)
			return -1;
	if (ecdh_from_jwk(guardian_key, &guardian_ecdh) < 0)
		return -1;
	g.release = &guardian_ecdh;
	set_point(worker_key, worker);
	make_protector(guardian_key);
	DONE(admin_policy(&g, ANNA, "{}", 2, 0, NOW, &generation, &why));
	for (unsigned n = 1; n <= 2; n++) {
		bed_approve(n);
		certify(n);
	}
	bed_add(g.store, 3);
	return 0;
}

static int done(void **state)
{
	struct jwk *keys[] = { owner, guardian_key, bound_key, worker_key, other_key };
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		jwk_free(keys[i]);
	buf_done(&protector);
	buf_done(&certificate[1]);
	buf_done(&certificate[2]);
	json_decref(got);
	got = NULL;
	return guardian_done(state);
}

static void send_ask(enum link_listener listener, enum link_method method, const uint8_t *peer,
		     const char *where, const char *body, int64_t now)
{
	struct service_ask q = {
		.listener = listener,
		.method = method,
		.path = where,
		.body = body,
		.n_body = strlen(body),
	};
	CLEANUP_CERTIFY_CASE struct certify_case c;
	CLEANUP_SERVICE_REPLY struct service_reply r;
	certify_case_init(&c);
	service_reply_init(&r);
	memcpy(q.peer, peer, sizeof(q.peer));
	assert_int_equal(service_ask(&g, &q, now, &c, &r), SERVICE_DONE);
	json_decref(got);
	got = json_loadb((const char *)r.body.data, r.body.len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(got);
	status = r.status;
	own = r.own;
	nothing_is_open();
}

static void post(const uint8_t *peer, const char *where, const char *body, int64_t now)
{
	send_ask(strcmp(where, "/v1/lease/takeback") == 0 ? LINK_ADMINS : LINK_HOSTS, LINK_POST,
		 peer, where, body, now);
}

static const char *text_of(const char *name)
{
	const char *text = json_string_value(json_object_get(got, name));
	return text ? text : "";
}

/* What failed in the guardian is in its own log, and no host's to know; anything else is. */
static void told_where_it_belongs(const char *id)
{
	int is_own = strcmp(id, "guardian.store") == 0 || strcmp(id, "guardian.log") == 0 ||
		     strcmp(id, "guardian.keys") == 0;
	assert_int_equal(*own.text != '\0', is_own);
	if (is_own && (strncmp(own.text, id, strlen(id)) != 0 || strchr(text_of("text"), '/') ||
		       strstr(own.text, text_of("text"))))
		fail_msg("\"%s\" is told as \"%s\"", own.text, text_of("text"));
}

static int64_t number_of(const char *name)
{
	const json_t *j = json_object_get(got, name);
	assert_true(json_is_integer(j));
	return json_integer_value(j);
}

static void well(void)
{
	if (status != 200)
		fail_msg("%u %s (%s)", status, text_of("id"), text_of("text"));
}

/* Refused, with nothing of a key, and RECORDS about the VM. */
static void refused(unsigned want, const char *id, int64_t records)
{
	if (status != want || strcmp(text_of("id"), id) != 0 ||
	    strcmp(text_of("status"), "refused") != 0 || !*text_of("text") || !*text_of("remedy"))
		fail_msg("%u %s (%s), wanted %u %s", status, text_of("id"), text_of("text"), want,
			 id);
	told_where_it_belongs(id);
	assert_null(json_object_get(got, "key"));
	assert_null(json_object_get(got, "token"));
	assert_int_equal(bed_records(vm), records);
}

/* A request as a host makes it. */
struct said {
	unsigned id;
	unsigned certificate; /* whose */
	unsigned request;
	int incoming;
	int64_t version;
	const char *ticket, *more; /* MORE: members */
};

static void ask(const uint8_t *peer, const struct said *s, int64_t now)
{
	uint8_t request[LEDGER_REQUEST_BYTES] = { 0 };
	const struct buf *cert = &certificate[s->certificate];
	CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);
	memcpy(request, &s->request, sizeof(s->request));
	char id[UUID_TEXT_SIZE];
	uuid_format(vm, id);
	GOOD(buf_addf(&b, "{\"id\":\"%02x000000-0000-0000-0000-000000000000\"", s->id));
	GOOD(buf_addf(&b, ",\"vm\":\"%s\",\"incoming\":%s,\"version\":%" PRId64 ",\"request\":\"",
		      id, s->incoming ? "true" : "false", s->version));
	GOOD(strict_b64_put(&b, request, sizeof(request)));
	GOOD(buf_addf(&b, "\",\"worker\":\""));
	GOOD(strict_b64_put(&b, worker, sizeof(worker)));
	GOOD(buf_addf(&b, "\",\"certificate\":\""));
	GOOD(strict_b64_put(&b, cert->data, cert->len));
	GOOD(buf_addf(&b, "\",\"protector\":\""));
	GOOD(buf_add(&b, protector.data, protector.len));
	if (s->ticket)
		GOOD(buf_addf(&b, "\",\"ticket\":\"%s", s->ticket));
	GOOD(buf_addf(&b, "\"%s}", s->more ? s->more : ""));
	post(peer, "/v1/release", buf_cstr(&b), now);
}

/* Host N asks for the key, from VERSION, as its request number REQUEST. */
static void start(unsigned n, unsigned request, int64_t version, int64_t now)
{
	const struct said s = { .id = n, .certificate = n, .request = request, .version = version };
	ask(PEER[n], &s, now);
}

static void tell(unsigned n, const char *where, int64_t token, int64_t version, int64_t now)
{
	char body[256];
	snprintf(body, sizeof(body),
		 "{\"id\":\"%02x000000-0000-0000-0000-000000000000\",\"vm\":\"" VM_ID
		 "\",\"token\":%" PRId64 ",\"version\":%" PRId64 "}",
		 n, token, version);
	post(PEER[n], where, body, now);
}
#define REPORT "/v1/lease/report"
#define STOP   "/v1/lease/stop"
#define TAKE   "/v1/lease/take"

/* KEY's owner, known by PEER, asks for the log of the VM with the UUID ID. */
static void read_log(const struct jwk *key, const uint8_t *peer, const char *id, const char *rest)
{
	CLEANUP_BUF struct buf b = BUF_INIT(8192), text = BUF_INIT(JWK_FILE_MAX);
	GOOD(jwk_public_text(key, &text));
	GOOD(buf_addf(&b, "{\"vm\":\"%s\",\"owner_key\":%s,%s}", id, buf_cstr(&text), rest));
	post(peer, "/v1/owner/log", buf_cstr(&b), NOW);
}

static size_t records(void)
{
	return json_array_size(json_object_get(got, "records"));
}

static void test_the_owner_reads_the_log(void **state)
{
	(void)state;
	static const char OTHER_ID[] = "00000000-0000-0000-0000-0000000000ff";
	uint8_t mine[STORE_FINGERPRINT_BYTES], theirs[STORE_FINGERPRINT_BYTES];
	CLEANUP_JWK struct jwk *other = NULL;
	CLEANUP_JWK struct jwk *public = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(JWK_FILE_MAX);
	GOOD(jwk_public_text(owner, &text));
	GOOD(jwk_parse((const char *)text.data, text.len, &public, &f));
	GOOD(jwk_new(&other, &f));
	GOOD(tls_fingerprint(owner, mine));
	GOOD(tls_fingerprint(other, theirs));
	read_log(public, mine, VM_ID, "\"from\":1");
	refused(403, "owner.unknown", 0);
	start(1, 5, 0, NOW);
	well();
	read_log(public, mine, VM_ID, "\"from\":1");
	well();
	assert_int_equal(records(), 1);
	assert_true(*text_of("head"));
	read_log(public, mine, VM_ID, "\"from\":2");
	well();
	assert_int_equal(records(), 0);
	/* Naming a key is not having it; and another owner's VM is none of his. */
	read_log(public, theirs, VM_ID, "\"from\":1");
	refused(403, "owner.certificate", 1);
	assert_int_equal(records(), 0);
	read_log(public, PEER[1], VM_ID, "\"from\":1");
	refused(403, "owner.certificate", 1);
	read_log(other, theirs, VM_ID, "\"from\":1");
	refused(403, "owner.unknown", 1);
	assert_int_equal(records(), 0);
	read_log(public, mine, OTHER_ID, "\"from\":1");
	refused(403, "owner.unknown", 1);
	read_log(public, mine, VM_ID, "\"from\":0");
	refused(400, "request.format", 1);
	read_log(public, mine, VM_ID, "\"from\":1,\"by\":1");
	refused(400, "request.format", 1);
}

/* ANNA asks for the log of the VM. */
static void admin_reads(const char *query)
{
	char where[256];
	snprintf(where, sizeof(where), "/v1/log?vm=" VM_ID "%s", query);
	send_ask(LINK_ADMINS, LINK_GET, ANNA, where, "", NOW);
}

/* The owner of another VM with the same UUID neither reads nor lengthens its log. */
static void test_owners_of_one_uuid_read_their_own(void **state)
{
	(void)state;
	uint8_t print[STORE_FINGERPRINT_BYTES];
	char mine[JWK_THUMBPRINT_SIZE], theirs[JWK_THUMBPRINT_SIZE], query[128];
	struct jwk *first = owner, *second = NULL;
	GOOD(jwk_new(&second, &f));
	GOOD(jwk_thumbprint(first, mine));
	GOOD(jwk_thumbprint(second, theirs));
	admin_reads("");
	well();
	assert_int_equal(records(), 0);
	start(1, 5, 0, NOW);
	well();
	admin_reads("");
	well();
	assert_int_equal(records(), 1);
	owner = second;
	make_protector(guardian_key);
	start(2, 6, 0, NOW);
	owner = first;
	well();
	tell(2, REPORT, 2, 1, NOW);
	well();
	tell(2, STOP, 2, 1, NOW);
	well();
	GOOD(tls_fingerprint(second, print));
	read_log(second, print, VM_ID, "\"from\":1");
	well();
	assert_int_equal(records(), 2);
	GOOD(tls_fingerprint(first, print));
	read_log(first, print, VM_ID, "\"from\":1");
	well();
	assert_int_equal(records(), 1);
	admin_reads("");
	refused(409, "owner.several", 3);
	if (!strstr(text_of("text"), mine) || !strstr(text_of("text"), theirs))
		fail_msg("%s", text_of("text"));
	snprintf(query, sizeof(query), "&owner=%s", theirs);
	admin_reads(query);
	well();
	assert_int_equal(records(), 2);
	snprintf(query, sizeof(query), "&owner=%s&from=2", theirs);
	admin_reads(query);
	well();
	assert_int_equal(records(), 1);
	admin_reads("&owner=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
	well();
	assert_int_equal(records(), 0);
	jwk_free(second);
}

/* A release to where the VM is to come to is one. */
static void test_the_owner_reads_of_a_vm_that_comes(void **state)
{
	(void)state;
	uint8_t mine[STORE_FINGERPRINT_BYTES];
	const struct said s = { .id = 1, .certificate = 1, .request = 5, .incoming = 1 };
	GOOD(tls_fingerprint(owner, mine));
	ask(PEER[1], &s, NOW);
	well();
	read_log(owner, mine, VM_ID, "\"from\":1");
	well();
	assert_int_equal(records(), 1);
}

/* What admins decided is on record under the UUID that is all zero, and so no VM has it. */
static void test_no_vm_has_the_log_of_admins(void **state)
{
	(void)state;
	static const char NIL[] = "00000000-0000-0000-0000-000000000000";
	uint8_t mine[STORE_FINGERPRINT_BYTES];
	GOOD(tls_fingerprint(owner, mine));
	memset(vm, 0, sizeof(vm));
	int64_t before = bed_records(vm);
	assert_true(before > 0);
	make_protector(guardian_key);
	struct said s = { .id = 1, .certificate = 1, .request = 5 };
	ask(PEER[1], &s, NOW);
	refused(403, "protector.vm", before);
	s.incoming = 1, s.request = 6;
	ask(PEER[1], &s, NOW);
	refused(403, "protector.vm", before);
	read_log(owner, mine, NIL, "\"from\":1");
	refused(403, "owner.unknown", before);
	assert_int_equal(records(), 0);
}

/* Open what came with the answer to request number REQUEST of host 1, for a start from RESTORE. */
static int open_key(uint8_t request, uint64_t restore, struct keyrelease *key)
{
	uint8_t host[RAWKEY_P256_POINT];
	struct ecdh bound, mine;
	CLEANUP_BUF struct buf sealed = BUF_INIT(KEYRELEASE_BYTES);
	CLEANUP_BUF struct buf inner = BUF_INIT(KEYRELEASE_INNER_BYTES);
	struct keyrelease_about about = {
		.certificate = certificate[1].data,
		.certificate_bytes = certificate[1].len,
		.protector = (const char *)protector.data,
		.protector_chars = protector.len,
		.request = { request },
		.restore = restore,
	};
	memcpy(about.vm, vm, sizeof(vm));
	GOOD(strict_b64_buf(text_of("key"), strlen(text_of("key")), &sealed));
	set_point(bound_key, host);
	GOOD(ecdh_from_jwk(bound_key, &bound));
	GOOD(ecdh_from_jwk(worker_key, &mine));
	int rc = keyrelease_unwrap(&bound, host, &about, sealed.data, sealed.len, &inner, NULL);
	return rc < 0 ? rc
		      : keyrelease_open(&mine, worker, &about, inner.data, inner.len, key, NULL);
}

static void test_a_key_and_its_lease(void **state)
{
	(void)state;
	struct keyrelease key = { .token = 0 };
	start(1, 5, 0, NOW);
	well();
	assert_int_equal(json_object_size(got), 4);
	assert_int_equal(number_of("token"), 1);
	assert_int_equal(number_of("expires"), NOW + LEASE_SECONDS);
	assert_int_equal(number_of("spent"), 0);
	assert_int_equal(bed_records(vm), 1);
	GOOD(open_key(5, 0, &key));
	opens_it(&key.key);

	tell(1, REPORT, 1, 7, NOW + 100);
	well();
	assert_int_equal(number_of("expires"), NOW + 100 + LEASE_SECONDS);
	tell(1, REPORT, 1, 6, NOW + 100);
	refused(403, "vm.version", 1);
	tell(1, REPORT, 2, 8, NOW + 100);
	refused(409, "lease.lost", 1);
	tell(2, REPORT, 1, 8, NOW + 100);
	refused(409, "lease.lost", 1);
	tell(2, STOP, 1, 8, NOW + 100);
	refused(409, "lease.lost", 1);
	start(2, 1, 7, NOW + 100);
	refused(409, "lease.held", 1);
	tell(1, STOP, 1, 8, NOW + 100);
	well();
	assert_string_equal(text_of("status"), "done");
	assert_int_equal(bed_records(vm), 2);
	tell(1, STOP, 1, 8, NOW + 100);
	refused(409, "lease.lost", 2);
	tell(1, REPORT, 1, 8, NOW + 100);
	refused(409, "lease.lost", 2);
	start(2, 2, 8, NOW + 100);
	well();
	assert_int_equal(number_of("spent"), 8);
}

static void test_who_may_ask(void **state)
{
	(void)state;
	struct said s = { .id = 1, .certificate = 1, .request = 1 };
	ask(STRANGER, &s, NOW);
	refused(403, "host.certificate", 0);
	/* Another approved host's. */
	ask(PEER[2], &s, NOW);
	refused(403, "host.certificate", 0);
	s.id = 2;
	ask(PEER[2], &s, NOW);
	refused(403, "certificate.host", 0);
	s.id = 3;
	ask(PEER[3], &s, NOW);
	refused(403, "host.pending", 0);
	s.id = 9;
	ask(PEER[3], &s, NOW);
	refused(403, "host.unknown", 0);
	start(1, 2, 0, NOW + HEALTHCERT_LIFETIME);
	refused(403, "certificate.expired", 0);
	worker[64] ^= 1;
	start(1, 3, 0, NOW);
	refused(403, "certificate.worker", 0);
	worker[64] ^= 1;
	make_protector(other_key);
	start(1, 4, 0, NOW);
	refused(403, "protector.recipient", 0);
	protector.len--;
	start(1, 5, 0, NOW);
	refused(403, "protector.invalid", 0);
	make_protector(guardian_key);
	g.release = NULL;
	start(1, 6, 0, NOW);
	refused(503, "guardian.keys", 0);
	g.release = &guardian_ecdh;
	start(1, 6, 0, NOW);
	well();
	/* Whoever is revoked starts nothing, and may still say how it ended; nobody else may. */
	DONE(admin_revoke(&g, ANNA, bed_id(1), NOW, &why));
	start(1, 7, 0, NOW);
	refused(403, "host.revoked", 1);
	post(PEER[2], STOP,
	     "{\"id\":\"" HOST(1) "\",\"vm\":\"" VM_ID "\",\"token\":1,\"version\":0}", NOW);
	refused(403, "host.certificate", 1);
	post(PEER[2], REPORT,
	     "{\"id\":\"" HOST(1) "\",\"vm\":\"" VM_ID "\",\"token\":1,\"version\":0}", NOW);
	refused(403, "host.certificate", 1);
	tell(1, STOP, 1, 0, NOW);
	well();
}

static void test_a_request_is_made_once(void **state)
{
	(void)state;
	start(1, 1, 0, NOW);
	well();
	start(1, 1, 0, NOW);
	refused(409, "request.used", 1);
	/* Another host's ids are its own; those of starts and of VMs to come are not. */
	struct said s = { .id = 1, .certificate = 1, .request = 1, .incoming = 1 };
	ask(PEER[1], &s, NOW);
	refused(409, "request.used", 1);
	start(2, 1, 0, NOW);
	refused(409, "lease.held", 1);
	/* A refused one is spent as well. */
	start(2, 1, 0, NOW);
	refused(409, "request.used", 1);
	/* For as long as its certificate could be used, whatever was forgotten. */
	DONE(guardian_tend(&g, NOW + HEALTHCERT_LIFETIME_MAX, &why));
	start(1, 1, 0, NOW + HEALTHCERT_LIFETIME - 1);
	refused(409, "request.used", 1);
	start(1, 2, 0, NOW + HEALTHCERT_LIFETIME - 1);
	well();
}

static void test_a_host_is_released_so_much(void **state)
{
	(void)state;
	const int64_t now = NOW + 1000; /* the challenge of make() has expired */
	for (unsigned i = 0; i < RELEASE_PER_HOST; i++) {
		start(1, 100 + i, 0, now);
		well();
	}
	start(1, 99, 0, now);
	refused(429, "request.rate", RELEASE_PER_HOST);
	struct said s = { .id = 1, .certificate = 1, .request = 98, .incoming = 1 };
	ask(PEER[1], &s, now);
	refused(429, "request.rate", RELEASE_PER_HOST);
	start(1, 99, 0, now + RELEASE_SECONDS - 1);
	refused(429, "request.rate", RELEASE_PER_HOST);
	/* It may tell of what it runs, and other hosts are not concerned. */
	tell(1, STOP, RELEASE_PER_HOST, 0, now);
	well();
	start(2, 1, 0, now);
	well();
	tell(2, STOP, RELEASE_PER_HOST + 1, 0, now);
	well();
	start(1, 99, 0, now + RELEASE_SECONDS);
	well();
}

static void test_a_vm_comes(void **state)
{
	(void)state;
	struct said s = { .id = 2, .certificate = 2, .request = 10, .incoming = 1 };
	tell(2, TAKE, 1, 0, NOW);
	refused(409, "lease.none", 0);
	start(1, 1, 0, NOW);
	well();
	tell(1, REPORT, 1, 5, NOW);
	tell(2, TAKE, 1, 5, NOW);
	refused(409, "lease.none", 1);
	/* Who may await it. */
	ask(PEER[1], &s, NOW);
	refused(403, "host.certificate", 1);
	s.certificate = 1;
	ask(PEER[2], &s, NOW);
	refused(403, "certificate.host", 1);
	s.certificate = 2, s.request = 12, s.ticket = "x";
	ask(PEER[2], &s, NOW);
	refused(400, "request.format", 1);
	s.ticket = NULL;
	make_protector(other_key);
	ask(PEER[2], &s, NOW);
	refused(403, "protector.recipient", 1);
	make_protector(guardian_key);
	s.request = 13;
	ask(PEER[2], &s, NOW);
	well();
	assert_int_equal(json_object_size(got), 4);
	assert_true(*text_of("key"));
	assert_int_equal(number_of("token"), 1);
	assert_int_equal(number_of("expires"), 0);
	assert_int_equal(number_of("spent"), 5);
	assert_int_equal(bed_records(vm), 2);
	/* The lease is the source's until it is taken. */
	tell(1, REPORT, 1, 6, NOW);
	well();
	tell(2, REPORT, 1, 6, NOW);
	refused(409, "lease.lost", 2);
	post(PEER[1], TAKE,
	     "{\"id\":\"" HOST(2) "\",\"vm\":\"" VM_ID "\",\"token\":1,\"version\":6}", NOW);
	refused(403, "host.certificate", 2);
	tell(1, TAKE, 1, 6, NOW);
	refused(409, "lease.none", 2);
	tell(2, TAKE, 3, 6, NOW);
	refused(409, "lease.lost", 2);
	tell(2, TAKE, 1, 5, NOW);
	refused(403, "vm.version", 2);
	tell(2, TAKE, 1, 6, NOW);
	well();
	assert_int_equal(json_object_size(got), 2);
	assert_int_equal(number_of("token"), 2);
	assert_int_equal(number_of("expires"), NOW + LEASE_SECONDS);
	assert_int_equal(bed_records(vm), 3);
	tell(1, REPORT, 1, 6, NOW);
	refused(409, "lease.lost", 3);
	tell(2, REPORT, 2, 6, NOW);
	well();
	/* Whoever was revoked meanwhile takes nothing. */
	s = (struct said){ .id = 1, .certificate = 1, .request = 20, .incoming = 1 };
	ask(PEER[1], &s, NOW);
	well();
	DONE(admin_revoke(&g, ANNA, bed_id(1), NOW, &why));
	tell(1, TAKE, 2, 6, NOW);
	refused(403, "host.revoked", 4);
	tell(2, REPORT, 2, 6, NOW);
	well();
}

static void sign(const char *typ, const struct buf *said, struct buf *jws)
{
	buf_clear(jws);
	GOOD(sign_make(owner, typ, said->data, said->len, jws, &f));
}

/* The owner's ticket for VERSION, with RESTORES used before. */
static void write_ticket(int64_t version, int64_t restores, struct buf *jws)
{
	CLEANUP_BUF struct buf said = BUF_INIT(1024);
	GOOD(lease_restore_text(vm, version, restores, &said));
	sign(LEASE_RESTORE_TYP, &said, jws);
}

static void test_older_state(void **state)
{
	(void)state;
	struct said s = { .id = 1, .certificate = 1, .request = 2, .version = 3 };
	struct keyrelease key;
	CLEANUP_BUF struct buf jws = BUF_INIT(4096);
	start(1, 1, 0, NOW);
	tell(1, REPORT, 1, 5, NOW);
	ask(PEER[1], &s, NOW);
	refused(403, "vm.version", 1);
	write_ticket(3, 0, &jws);
	s.ticket = "x", s.request = 3;
	ask(PEER[1], &s, NOW);
	refused(403, "ticket.invalid", 1);
	s.ticket = buf_cstr(&jws), s.request = 4;
	ask(PEER[1], &s, NOW);
	well();
	assert_int_equal(bed_records(vm), 3);
	/* And says so to the worker. */
	assert_int_equal(open_key(4, 0, &key), ERR_AUTH);
	assert_int_equal(open_key(4, 4, &key), ERR_AUTH);
	GOOD(open_key(4, 3, &key));
	assert_int_equal(key.spent, 5);
	s.request = 5;
	ask(PEER[1], &s, NOW);
	refused(403, "ticket.invalid", 3);
	/* For a start from nothing as well: without one no worker may take the release for it. */
	write_ticket(0, 1, &jws);
	s.ticket = buf_cstr(&jws), s.version = 0, s.request = 6;
	ask(PEER[1], &s, NOW);
	well();
	assert_int_equal(open_key(6, 0, &key), ERR_AUTH);
	GOOD(open_key(6, KEYRELEASE_FROM_NOTHING, &key));
	start(1, 7, 5, NOW);
	well();
	assert_int_equal(open_key(7, KEYRELEASE_FROM_NOTHING, &key), ERR_AUTH);
	GOOD(open_key(7, 0, &key));
}

static void test_older_saved_state(void **state)
{
	(void)state;
	struct said s = { .id = 1, .certificate = 1, .version = 5, .request = 2 };
	struct keyrelease key;
	CLEANUP_BUF struct buf jws = BUF_INIT(4096);
	start(1, 1, 0, NOW);
	tell(1, REPORT, 1, 5, NOW);
	write_ticket(3, 0, &jws);
	/* It is the ticket's, and a number. */
	s.more = ",\"restore\":3";
	ask(PEER[1], &s, NOW);
	refused(400, "request.format", 1);
	s.ticket = buf_cstr(&jws), s.more = ",\"restore\":\"3\"";
	ask(PEER[1], &s, NOW);
	refused(400, "request.format", 1);
	s.more = ",\"restore\":3", s.incoming = 1;
	ask(PEER[1], &s, NOW);
	refused(400, "request.format", 1);
	s.incoming = 0, s.more = ",\"restore\":4", s.request = 3;
	ask(PEER[1], &s, NOW);
	refused(403, "ticket.invalid", 1);
	s.more = ",\"restore\":3", s.request = 4;
	ask(PEER[1], &s, NOW);
	well();
	assert_int_equal(number_of("spent"), 5);
	assert_int_equal(bed_records(vm), 3);
	assert_int_equal(open_key(4, 0, &key), ERR_AUTH);
	assert_int_equal(open_key(4, 5, &key), ERR_AUTH);
	GOOD(open_key(4, 3, &key));
	s.request = 5;
	ask(PEER[1], &s, NOW);
	refused(403, "ticket.invalid", 3);
	/* As ever the ticket is not looked at where it is not needed. */
	s.more = NULL, s.request = 6;
	ask(PEER[1], &s, NOW);
	well();
	GOOD(open_key(6, 0, &key));
}

static void take_back(const uint8_t *by, const char *statement, const struct jwk *key,
		      unsigned want, const char *id)
{
	char thumbprint[JWK_THUMBPRINT_SIZE];
	CLEANUP_BUF struct buf body = BUF_INIT(16384), jwk = BUF_INIT(1024);
	GOOD(jwk_thumbprint(key, thumbprint));
	GOOD(jwk_public_text(key, &jwk));
	int64_t records = bed_records(vm);
	if (statement)
		GOOD(buf_addf(&body, "{\"vm\":\"" VM_ID "\",\"owner_key\":%s,\"statement\":\"%s\"}",
			      buf_cstr(&jwk), statement));
	else
		GOOD(buf_addf(&body, "{\"vm\":\"" VM_ID "\",\"owner\":\"%s\"}", thumbprint));
	post(by, "/v1/lease/takeback", buf_cstr(&body), NOW + LEASE_SECONDS);
	if (id) {
		refused(want, id, records);
		return;
	}
	well();
	assert_int_equal(bed_records(vm), records + 1);
}

static void test_a_lease_is_taken_back(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf said = BUF_INIT(1024), jws = BUF_INIT(4096);
	take_back(ANNA, NULL, owner, 409, "lease.none");
	start(1, 1, 0, NOW + 1);
	take_back(ANNA, NULL, owner, 409, "lease.running");
	start(1, 2, 0, NOW);
	take_back(STRANGER, NULL, owner, 403, "admin.unknown");
	take_back(RITA, NULL, owner, 403, "admin.role");
	take_back(ANNA, NULL, other_key, 409, "lease.none");
	take_back(ANNA, NULL, owner, 200, NULL);
	take_back(ANNA, NULL, owner, 409, "lease.none");
	start(2, 1, 0, NOW);
	GOOD(lease_takeback_text(vm, 2, &said));
	sign(LEASE_TAKEBACK_TYP, &said, &jws);
	take_back(RITA, buf_cstr(&jws), owner, 403, "ticket.invalid");
	buf_clear(&said);
	GOOD(lease_takeback_text(vm, 3, &said));
	sign(LEASE_RESTORE_TYP, &said, &jws);
	take_back(RITA, buf_cstr(&jws), owner, 403, "ticket.invalid");
	sign(LEASE_TAKEBACK_TYP, &said, &jws);
	take_back(STRANGER, buf_cstr(&jws), owner, 403, "admin.unknown");
	take_back(RITA, buf_cstr(&jws), other_key, 409, "lease.none");
	take_back(RITA, buf_cstr(&jws), owner, 200, NULL);
}

/* SQLite may write so often, and what it is told then; -1: as often as it likes. */
static int writes = -1, write_error;

static ssize_t limited_pwrite(int fd, const void *data, size_t n, off_t at)
{
	if (writes == 0) {
		errno = write_error;
		return -1;
	}
	writes -= writes > 0;
	return pwrite(fd, data, n, at);
}

static void limit_writes(int on)
{
	static const char *const CALLS[] = { "pwrite", "pwrite64" };
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
	writes = -1;
	for (size_t i = 0; i < 2; i++)
		if (vfs->xGetSystemCall(vfs, CALLS[i]))
			vfs->xSetSystemCall(vfs, CALLS[i],
					    on ? (sqlite3_syscall_ptr)limited_pwrite : NULL);
}

static struct said comes = { .id = 2, .certificate = 2, .incoming = 1 };
static void a_start(unsigned request)
{
	start(1, request, 0, NOW);
}
static void a_report(unsigned request)
{
	(void)request;
	tell(1, REPORT, 1, 5, NOW + 7);
}
static void a_release_ahead(unsigned request)
{
	comes.request = request;
	ask(PEER[2], &comes, NOW);
}
static void a_take(unsigned request)
{
	(void)request;
	tell(2, TAKE, 1, 6, NOW + 7);
}
static void a_stop(unsigned request)
{
	(void)request;
	tell(2, STOP, 2, 7, NOW + 7);
}

/*
 * A file system that has become read-only, or is full, at any of the writes that a request makes:
 * refused, and nothing of key, lease or log is there that was not before.  Where there is room for
 * all of it the same is done, once.
 */
static void test_a_database_that_cannot_be_written(void **state)
{
	(void)state;
	static const struct {
		void (*ask)(unsigned request);
		int64_t records; /* when it is done */
	} LIFE[] = { { a_start, 1 },
		     { a_report, 1 },
		     { a_release_ahead, 2 },
		     { a_take, 3 },
		     { a_stop, 4 } };
	static const int ERRORS[] = { EROFS, ENOSPC };
	char owner_id[JWK_THUMBPRINT_SIZE];
	uint8_t mine[STORE_FINGERPRINT_BYTES];
	unsigned request = 1;
	GOOD(jwk_thumbprint(owner, owner_id));
	GOOD(tls_fingerprint(owner, mine));
	for (size_t i = 0; i < sizeof(LIFE) / sizeof(LIFE[0]); i++) {
		struct store_vm was = { 0 }, is = { 0 };
		struct store_incoming awaited = { 0 }, awaits = { 0 };
		int had = store_vm_get(g.store, vm, owner_id, &was, NULL);
		int did = store_incoming_get(g.store, vm, bed_id(2), &awaited, NULL);
		int64_t records = bed_records(vm);
		unsigned n = 0;
		limit_writes(1);
		for (;; n++) {
			write_error = ERRORS[n % 2];
			writes = (int)n / 2;
			LIFE[i].ask(request++);
			writes = -1;
			if (status == 200)
				break;
			refused(503, "guardian.store", records);
			assert_non_null(strstr(own.text, "/guardian.db: "));
			assert_int_equal(store_vm_get(g.store, vm, owner_id, &is, NULL), had);
			assert_memory_equal(&was, &is, sizeof(is));
			assert_int_equal(store_incoming_get(g.store, vm, bed_id(2), &awaits, NULL),
					 did);
			assert_memory_equal(&awaited, &awaits, sizeof(awaits));
			/* Reading is what still goes. */
			writes = 0;
			if (had >= 0 && n < 2) {
				read_log(owner, mine, VM_ID, "\"from\":1");
				well();
				assert_int_equal(json_array_size(json_object_get(got, "records")),
						 records);
			}
			assert_true(n < 100);
		}
		limit_writes(0);
		assert_true(n >= 2);
		assert_int_equal(bed_records(vm), LIFE[i].records);
	}
	struct store_vm v = { 0 };
	GOOD(store_vm_get(g.store, vm, owner_id, &v, &f));
	assert_true(!v.held && v.token == 2 && v.version == 7);
	GOOD(store_check(g.store, &f));
}

/* Names of members, and a body without any one of them, with one more, or of the wrong kind. */
static void check_members(const char *where, const uint8_t *peer, const char *const *names,
			  size_t n)
{
	for (size_t skip = 0; skip <= n + 1; skip++) {
		CLEANUP_BUF struct buf b = BUF_INIT(4096);
		GOOD(buf_addf(&b, "{"));
		for (size_t i = 0; i < n; i++)
			if (i != skip)
				GOOD(buf_addf(&b, "\"%s\":[],", names[i]));
		GOOD(buf_addf(&b, skip == n ? "\"x\":1}" : "\"vm\":[]}"));
		post(peer, where, buf_cstr(&b), NOW);
		refused(400, "request.format", 0);
	}
}
#define CHECK_MEMBERS(where, peer, ...)                                                            \
	check_members(where, peer, (const char *const[]){ __VA_ARGS__ },                           \
		      sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *))

static void test_malformed(void **state)
{
	(void)state;
	static const char *const PATHS[] = { "/v1/release", TAKE, REPORT, STOP,
					     "/v1/lease/takeback" };
	static const char *const JUNK[] = {
		"", "x", "[]", "{}", "{\"id\":1}", "{\"id\":\"x\"} {}"
	};
	enum route_id id;
	static char big[1 << 18];
	memset(big, ' ', sizeof(big) - 1);
	for (size_t i = 0; i < sizeof(PATHS) / sizeof(PATHS[0]); i++) {
		enum link_listener listener = i == 4 ? LINK_ADMINS : LINK_HOSTS;
		for (size_t k = 0; k < sizeof(JUNK) / sizeof(JUNK[0]); k++) {
			post(PEER[1], PATHS[i], JUNK[k], NOW);
			refused(400, "request.format", 0);
		}
		GOOD(route_find(listener, LINK_POST, PATHS[i], &id));
		big[ROUTES[id].body_max] = 0;
		post(PEER[1], PATHS[i], big, NOW);
		refused(400, "request.format", 0);
		big[ROUTES[id].body_max] = ' ';
		post(PEER[1], PATHS[i], big, NOW);
		refused(413, "request.size", 0);
		assert_int_equal(route_find(listener, LINK_GET, PATHS[i], &id), ERR_PURPOSE);
		assert_int_equal(route_find(listener == LINK_HOSTS ? LINK_ADMINS : LINK_HOSTS,
					    LINK_POST, PATHS[i], &id),
				 ERR_USAGE);
	}
	CHECK_MEMBERS("/v1/release", PEER[1], "id", "vm", "request", "worker", "version",
		      "incoming", "certificate", "protector", "ticket");
	CHECK_MEMBERS(TAKE, PEER[1], "id", "vm", "token", "version");
	CHECK_MEMBERS(REPORT, PEER[1], "id", "vm", "token", "version");
	CHECK_MEMBERS(STOP, PEER[1], "id", "vm", "token", "version");
	CHECK_MEMBERS("/v1/lease/takeback", ANNA, "vm", "owner");
	CHECK_MEMBERS("/v1/lease/takeback", ANNA, "vm", "owner_key", "statement");
	tell(1, REPORT, -1, 0, NOW);
	refused(400, "request.format", 0);
	start(1, 1, -1, NOW);
	refused(400, "request.format", 0);
	/* All well but for a member that none of them has. */
	post(PEER[1], REPORT,
	     "{\"id\":\"" HOST(1) "\",\"vm\":\"" VM_ID "\",\"token\":1,\"version\":0,\"x\":1}",
	     NOW);
	refused(400, "request.format", 0);
	post(ANNA, "/v1/lease/takeback", "{\"vm\":\"" VM_ID "\",\"owner\":\"x\",\"x\":1}", NOW);
	refused(400, "request.format", 0);
	/* What was not understood has spent nothing. */
	start(1, 1, 0, NOW);
	well();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_owner_reads_the_log),
		TEST(test_owners_of_one_uuid_read_their_own),
		TEST(test_the_owner_reads_of_a_vm_that_comes),
		TEST(test_no_vm_has_the_log_of_admins),
		TEST(test_a_key_and_its_lease),
		TEST(test_who_may_ask),
		TEST(test_a_request_is_made_once),
		TEST(test_a_host_is_released_so_much),
		TEST(test_a_vm_comes),
		TEST(test_older_state),
		TEST(test_older_saved_state),
		TEST(test_a_lease_is_taken_back),
		TEST(test_a_database_that_cannot_be_written),
		TEST(test_malformed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
