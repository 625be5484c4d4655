/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every path of the guardian's interface and its refusals, as text; and a host without a TPM from
 * its enrolment to its certificate.
 */
#include "tests/unit/guardian/guardian_bed.h"

#include <inttypes.h>

#include "attest/form.h"
#include "crypto/healthcert.h"
#include "crypto/strict.h"
#include "guardian/enrol.h"
#include "guardian/policy.h"
#include "guardian/service.h"

#define HOST_ID	 "11111111-2222-4333-8444-555555555555"
#define OTHER_ID "11111111-2222-4333-8444-666666666666"
static const uint8_t PEER[STORE_FINGERPRINT_BYTES] = { 7 },
		     STRANGER[STORE_FINGERPRINT_BYTES] = { 8 };
static const char ZEROS43[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/* The last answer, parsed. */
static json_t *got;
static unsigned status;

static enum service_next ask(enum link_listener listener, enum link_method method,
			     const uint8_t *peer, const char *where, const char *body, int64_t now)
{
	struct service_ask q = { .listener = listener,
				 .method = method,
				 .path = where,
				 .body = body,
				 .n_body = strlen(body) };
	CLEANUP_CERTIFY_CASE struct certify_case c;
	CLEANUP_SERVICE_REPLY struct service_reply r;
	certify_case_init(&c);
	service_reply_init(&r);
	memcpy(q.peer, peer, sizeof(q.peer));
	enum service_next next = service_ask(&g, &q, now, &c, &r);
	json_decref(got);
	got = NULL;
	status = r.status;
	if (next == SERVICE_DONE) {
		got = json_loadb((const char *)r.body.data, r.body.len, JSON_REJECT_DUPLICATES,
				 NULL);
		assert_non_null(got);
	}
	nothing_is_open();
	return next;
}

static const char *text_of(const char *name)
{
	const char *text = json_string_value(json_object_get(got, name));
	return text ? text : "";
}

static void refused(unsigned want, const char *id)
{
	if (status != want || strcmp(text_of("id"), id) != 0 ||
	    strcmp(text_of("status"), "refused") != 0 || !*text_of("text") || !*text_of("remedy"))
		fail_msg("%u %s (%s), wanted %u %s", status, text_of("id"), text_of("text"), want,
			 id);
}

#define TICKET "\"nonce\":\"%1$s\",\"expires\":9,\"mac\":\"%1$s\""

static void test_refusals(void **state)
{
	static const struct {
		enum link_listener listener;
		enum link_method method;
		const uint8_t *peer;
		const char *path, *body; /* %1$s: 32 zero bytes */
		unsigned status;
		const char *id;
	} ROWS[] = {
		{ LINK_HOSTS, LINK_GET, PEER, "/v1/hosts", "", 404, "request.path" },
		{ LINK_HOSTS, LINK_GET, ANNA, "/v1/log", "", 404, "request.path" },
		{ LINK_ADMINS, LINK_GET, ANNA, "/v1/info", "", 404, "request.path" },
		{ LINK_ADMINS, LINK_POST, ANNA, "/v1/challenge", "{}", 404, "request.path" },
		{ LINK_HOSTS, LINK_GET, PEER, "/v1/challenge", "", 405, "request.method" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/info", "{}", 405, "request.method" },
		{ LINK_HOSTS, LINK_GET, PEER, "/v1/info", "{}", 413, "request.size" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/challenge", "", 400, "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/challenge", "[]", 400, "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/challenge", "{}", 400, "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/challenge", "{\"id\":1}", 400,
		  "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/challenge", "{\"id\":\"x\"}", 400,
		  "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/challenge",
		  "{\"id\":\"11111111-2222-4333-8444-55555555555A\"}", 400, "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/challenge",
		  "{\"id\":\"" HOST_ID "\",\"id\":\"" HOST_ID "\"}", 400, "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/challenge", "{\"id\":\"" HOST_ID "\",\"x\":1}",
		  400, "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/challenge", "{\"id\":\"" OTHER_ID "\"}", 403,
		  "host.unknown" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/attest", "{\"id\":\"" HOST_ID "\"}", 400,
		  "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/attest",
		  "{\"id\":\"" OTHER_ID "\"," TICKET ",\"evidence\":{}}", 403, "host.unknown" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/attest",
		  "{\"id\":\"" HOST_ID "\"," TICKET ",\"evidence\":{},\"worker\":\"\"}", 400,
		  "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/attest",
		  "{\"id\":\"" HOST_ID "\",\"nonce\":\"%1$s=\",\"expires\":9,\"mac\":\"%1$s\","
		  "\"evidence\":{}}",
		  400, "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/attest",
		  "{\"id\":\"" HOST_ID "\",\"nonce\":\"%1$s\",\"expires\":-9,\"mac\":\"%1$s\","
		  "\"evidence\":{}}",
		  400, "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/enrol/begin", "{}", 400, "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/enrol/begin",
		  "{\"id\":\"" HOST_ID "\",\"name\":\"a\",\"host_key\":{}}", 400,
		  "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/enrol/begin",
		  "{\"id\":\"" HOST_ID "\",\"name\":\"a\",\"ek_pub\":\"AA\",\"ak_pub\":\"AA\","
		  "\"ek_cert\":\"AA\",\"chain\":{}}",
		  400, "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/enrol/begin",
		  "{\"id\":\"" HOST_ID "\",\"name\":\"a\",\"ek_pub\":\"AA\",\"ak_pub\":\"AA\","
		  "\"ek_cert\":\"AA\",\"chain\":[1]}",
		  400, "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/enrol/begin",
		  "{\"id\":\"" HOST_ID "\",\"name\":\"a\",\"ek_pub\":\"AA\",\"ak_pub\":\"AA\","
		  "\"ek_cert\":\"AA\",\"chain\":[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\","
		  "\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"]}",
		  400, "request.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/enrol/begin",
		  "{\"id\":\"" HOST_ID "\",\"name\":\"a\",\"ek_pub\":\"AA\",\"ak_pub\":\"AA\","
		  "\"ek_cert\":\"AA\",\"chain\":[]}",
		  403, "ek.format" },
		{ LINK_HOSTS, LINK_POST, PEER, "/v1/enrol/finish", "{}", 400, "request.format" },
		{ LINK_ADMINS, LINK_GET, STRANGER, "/v1/hosts", "", 403, "admin.unknown" },
		{ LINK_ADMINS, LINK_GET, PEER, "/v1/policy", "", 403, "admin.unknown" },
		{ LINK_ADMINS, LINK_GET, PEER, "/v1/admins", "", 403, "admin.unknown" },
		{ LINK_ADMINS, LINK_GET, PEER, "/v1/log?vm=" HOST_ID, "", 403, "admin.unknown" },
		{ LINK_ADMINS, LINK_POST, PEER, "/v1/hosts/approve", "x", 403, "admin.unknown" },
		{ LINK_ADMINS, LINK_POST, PEER, "/v1/hosts/revoke", "x", 403, "admin.unknown" },
		{ LINK_ADMINS, LINK_POST, PEER, "/v1/hosts/replace", "x", 403, "admin.unknown" },
		{ LINK_ADMINS, LINK_POST, PEER, "/v1/policy", "x", 403, "admin.unknown" },
		{ LINK_ADMINS, LINK_POST, PEER, "/v1/admins", "x", 403, "admin.unknown" },
		{ LINK_ADMINS, LINK_POST, PEER, "/v1/admins/remove", "x", 403, "admin.unknown" },
		{ LINK_ADMINS, LINK_GET, ANNA, "/v1/hosts?", "", 400, "request.format" },
		{ LINK_ADMINS, LINK_GET, ANNA, "/v1/hosts?after=", "", 400, "request.format" },
		{ LINK_ADMINS, LINK_GET, ANNA, "/v1/hosts?after=A", "", 400, "request.format" },
		{ LINK_ADMINS, LINK_GET, ANNA, "/v1/hosts?behind=a", "", 400, "request.format" },
		{ LINK_ADMINS, LINK_POST, ANNA, "/v1/hosts/approve", "x", 400, "request.format" },
		{ LINK_ADMINS, LINK_POST, ANNA, "/v1/hosts/approve",
		  "{\"id\":\"" HOST_ID "\",\"fingerprint\":\"00\"}", 400, "request.format" },
		{ LINK_ADMINS, LINK_POST, RITA, "/v1/hosts/revoke", "{\"id\":\"" HOST_ID "\"}", 403,
		  "admin.role" },
		{ LINK_ADMINS, LINK_POST, ANNA, "/v1/hosts/revoke", "{\"id\":\"" OTHER_ID "\"}",
		  403, "host.unknown" },
		{ LINK_ADMINS, LINK_POST, ANNA, "/v1/policy", "{\"policy\":{},\"at_once\":true}",
		  400, "request.format" },
		{ LINK_ADMINS, LINK_POST, ANNA, "/v1/policy", "{\"policy\":{},\"at_once\":1}", 400,
		  "request.format" },
		{ LINK_ADMINS, LINK_GET, ANNA, "/v1/policy", "", 503, "guardian.policy" },
		{ LINK_HOSTS, LINK_GET, PEER, "/v1/info", "", 503, "guardian.policy" },
		{ LINK_ADMINS, LINK_GET, ANNA, "/v1/log", "", 400, "request.format" },
		{ LINK_ADMINS, LINK_GET, ANNA, "/v1/log?vm=1", "", 400, "request.format" },
		{ LINK_ADMINS, LINK_GET, ANNA, "/v1/log?vm=" HOST_ID "&from=0", "", 400,
		  "request.format" },
		{ LINK_ADMINS, LINK_GET, ANNA, "/v1/log?vm=" HOST_ID "&from=1x", "", 400,
		  "request.format" },
		{ LINK_ADMINS, LINK_GET, ANNA, "/v1/log?vm=" HOST_ID "x", "", 400,
		  "request.format" },
		{ LINK_ADMINS, LINK_GET, ANNA, "/v1/log?vm=" HOST_ID "&owner=", "", 400,
		  "request.format" },
		{ LINK_ADMINS, LINK_GET, ANNA, "/v1/log?vm=" HOST_ID "&owner=short", "", 400,
		  "request.format" },
		{ LINK_ADMINS, LINK_GET, ANNA,
		  "/v1/log?vm=" HOST_ID "&owner=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "",
		  400, "request.format" },
		{ LINK_ADMINS, LINK_GET, ANNA,
		  "/v1/log?vm=" HOST_ID "&owner=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.", "",
		  400, "request.format" },
		{ LINK_ADMINS, LINK_GET, ANNA,
		  "/v1/log?vm=" HOST_ID "&from=1&owner=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		  "", 400, "request.format" },
		{ LINK_ADMINS, LINK_GET, ANNA, "/v1/log?vm=" HOST_ID "&from=1234567890123456789",
		  "", 400, "request.format" },
		{ LINK_ADMINS, LINK_POST, ANNA, "/v1/admins",
		  "{\"name\":\"Otto\",\"role\":\"admin\",\"fingerprint\":\"\"}", 400,
		  "request.format" },
		{ LINK_ADMINS, LINK_POST, ANNA, "/v1/admins/remove", "{\"name\":\"anna\"}", 400,
		  "request.format" },
		{ LINK_ADMINS, LINK_POST, ANNA, "/v1/admins/remove", "{\"name\":\"otto\"}", 400,
		  "request.format" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		CLEANUP_BUF struct buf body = BUF_INIT(4096);
		const char *p = ROWS[i].body, *at;
		for (; (at = strstr(p, "%1$s")); p = at + 4) {
			GOOD(buf_add(&body, p, (size_t)(at - p)));
			GOOD(buf_add(&body, ZEROS43, 43));
		}
		GOOD(buf_add(&body, p, strlen(p) + 1));
		assert_int_equal(ask(ROWS[i].listener, ROWS[i].method, ROWS[i].peer, ROWS[i].path,
				     (const char *)body.data, NOW),
				 SERVICE_DONE);
		if (status != ROWS[i].status || strcmp(text_of("id"), ROWS[i].id) != 0)
			print_error("row %zu: %s\n", i, ROWS[i].path);
		refused(ROWS[i].status, ROWS[i].id);
	}
	assert_int_equal(bed_records(STRANGER), 0);
}

static void make_policy(void)
{
	struct policy *p = NULL;
	int64_t generation;
	CLEANUP_BUF struct buf text = BUF_INIT(POLICY_TEXT_MAX);
	GOOD(policy_new(&p));
	GOOD(policy_text(p, &text, &f));
	policy_free(p);
	GOOD_TX(g.store, store_policy_add(g.store, (const char *)text.data, text.len, NOW, "anna",
					  &generation, &f));
}

/* POST a body made by FORMAT. */
#define POST(listener, peer, where, ...)                                                           \
	do {                                                                                       \
		char body_[8192];                                                                  \
		snprintf(body_, sizeof(body_), __VA_ARGS__);                                       \
		assert_int_equal(ask(listener, LINK_POST, peer, where, body_, NOW), SERVICE_DONE); \
	} while (0)

/* The ticket of the last answer. */
static void take_ticket(char nonce[static 64], char mac[static 64], json_int_t *expires)
{
	assert_int_equal(status, 200);
	snprintf(nonce, 64, "%s", text_of("nonce"));
	snprintf(mac, 64, "%s", text_of("mac"));
	*expires = json_integer_value(json_object_get(got, "expires"));
}

static void test_a_host_without_a_tpm(void **state)
{
	(void)state;
	char nonce[64], mac[64], print[65];
	json_int_t expires;
	uint8_t id[UUID_BYTES], worker[ATTEST_WORKER_KEY_BYTES] = { 4, 1 }, bytes[32];
	struct healthcert cert;
	CLEANUP_JWK struct jwk *key = NULL;
	CLEANUP_BUF struct buf jwk = BUF_INIT(1024), said = BUF_INIT(1024), jws = BUF_INIT(4096),
			       w = BUF_INIT(128), der = BUF_INIT(HEALTHCERT_MAX);
	make_policy();
	GOOD(uuid_parse(HOST_ID, id));
	GOOD(jwk_new(&key, &f));
	GOOD(jwk_public_text(key, &jwk));
	const char *public = buf_cstr(&jwk);

	POST(LINK_HOSTS, PEER, "/v1/enrol/begin",
	     "{\"id\":\"" HOST_ID "\",\"name\":\"one\",\"host_key\":%s}", public);
	take_ticket(nonce, mac, &expires);
	assert_string_equal(text_of("id_object"), "");
	struct enrol_ticket t = { .expires = expires };
	struct enrolment e = { .name = "one", .host_key = key };
	memcpy(e.id, id, sizeof(id));
	GOOD(strict_b64(nonce, strlen(nonce), t.nonce, sizeof(t.nonce)));
	GOOD(statement_enrol(e.id, e.name, t.nonce, &said));
	GOOD(sign_make(key, STATEMENT_ENROL_TYP, said.data, said.len, &jws, &f));
#define FINISH                                                                                     \
	"{\"id\":\"" HOST_ID "\",\"name\":\"one\",\"host_key\":%s,\"nonce\":\"%s\","               \
	"\"expires\":%" PRId64 ",\"mac\":\"%s\",\"statement\":\"%s\"}"
	/* The certificate that began it is the one that is enrolled. */
	POST(LINK_HOSTS, STRANGER, "/v1/enrol/finish", FINISH, public, nonce, (int64_t)expires, mac,
	     buf_cstr(&jws));
	refused(403, "activation.credential");
	POST(LINK_HOSTS, PEER, "/v1/enrol/finish", FINISH, public, nonce, (int64_t)expires, mac,
	     buf_cstr(&jws));
	assert_int_equal(status, 200);
	assert_string_equal(text_of("status"), "pending");
	snprintf(print, sizeof(print), "%s", text_of("fingerprint"));
	assert_int_equal(strlen(print), 64);

	/* Another's certificate is not this host's, whatever its state. */
	POST(LINK_HOSTS, STRANGER, "/v1/challenge", "{\"id\":\"" HOST_ID "\"}");
	refused(403, "host.certificate");
	POST(LINK_ADMINS, ANNA, "/v1/hosts/approve",
	     "{\"id\":\"" HOST_ID "\",\"fingerprint\":\"%s%c\"}", "00", 0);
	refused(400, "request.format");
	print[0] ^= 1;
	POST(LINK_ADMINS, ANNA, "/v1/hosts/approve",
	     "{\"id\":\"" HOST_ID "\",\"fingerprint\":\"%s\"}", print);
	if (status != 400)
		refused(409, "admin.compare");
	print[0] ^= 1;
	POST(LINK_ADMINS, RITA, "/v1/hosts/approve",
	     "{\"id\":\"" HOST_ID "\",\"fingerprint\":\"%s\"}", print);
	refused(403, "admin.role");
	POST(LINK_ADMINS, ANNA, "/v1/hosts/approve",
	     "{\"id\":\"" HOST_ID "\",\"fingerprint\":\"%s\"}", print);
	assert_int_equal(status, 200);

	POST(LINK_HOSTS, PEER, "/v1/challenge", "{\"id\":\"" HOST_ID "\"}");
	take_ticket(nonce, mac, &expires);
	assert_string_equal(text_of("bank"), "sha256");
	assert_int_equal(json_array_size(json_object_get(got, "pcrs")), 15);
	GOOD(strict_b64(nonce, strlen(nonce), bytes, sizeof(bytes)));
	buf_clear(&said);
	buf_clear(&jws);
	GOOD(statement_attest(id, bytes, worker, &said));
	GOOD(sign_make(key, STATEMENT_ATTEST_TYP, said.data, said.len, &jws, &f));
	GOOD(strict_b64_put(&w, worker, sizeof(worker)));
#define ATTEST                                                                                     \
	"{\"id\":\"" HOST_ID "\",\"nonce\":\"%s\",\"expires\":%" PRId64 ",\"mac\":\"%s\","         \
	"\"worker\":\"%s\",\"statement\":\"%s\"}"
	POST(LINK_HOSTS, STRANGER, "/v1/attest", ATTEST, nonce, (int64_t)expires, mac, buf_cstr(&w),
	     buf_cstr(&jws));
	refused(403, "host.certificate");
	POST(LINK_HOSTS, PEER, "/v1/attest", ATTEST, nonce, (int64_t)expires, mac, buf_cstr(&w),
	     buf_cstr(&jws));
	assert_int_equal(status, 200);
	const char *b64 = text_of("certificate");
	GOOD(strict_b64_buf(b64, strlen(b64), &der));
	GOOD(healthcert_open(bed_ca, der.data, der.len, id, NOW, &cert, &f));
	assert_int_equal(cert.assurance, HEALTHCERT_HOSTKEY);
	assert_int_equal(json_integer_value(json_object_get(got, "generation")), 1);
	POST(LINK_HOSTS, PEER, "/v1/attest", ATTEST, nonce, (int64_t)expires, mac, buf_cstr(&w),
	     buf_cstr(&jws));
	refused(409, "challenge.used");
	/* Evidence of a host without a TPM is not looked into. */
	POST(LINK_HOSTS, PEER, "/v1/challenge", "{\"id\":\"" HOST_ID "\"}");
	take_ticket(nonce, mac, &expires);
	POST(LINK_HOSTS, PEER, "/v1/attest",
	     "{\"id\":\"" HOST_ID "\",\"nonce\":\"%s\",\"expires\":%" PRId64 ",\"mac\":\"%s\","
	     "\"evidence\":{}}",
	     nonce, (int64_t)expires, mac);
	refused(403, "host.mode");
}

static void test_what_admins_see(void **state)
{
	(void)state;
	char body[256];
	make_policy();
	bed_approve(1);
	assert_int_equal(ask(LINK_HOSTS, LINK_GET, STRANGER, "/v1/info", "", NOW), SERVICE_DONE);
	assert_int_equal(status, 200);
	assert_true(strlen(text_of("ca")) > 300 && strlen(text_of("version")) > 0);
	ask(LINK_ADMINS, LINK_GET, RITA, "/v1/hosts", "", NOW);
	const json_t *host = json_array_get(json_object_get(got, "hosts"), 0);
	assert_string_equal(json_string_value(json_object_get(host, "name")), "host-1");
	assert_string_equal(json_string_value(json_object_get(host, "state")), "approved");
	assert_string_equal(json_string_value(json_object_get(host, "approved_by")), "anna");
	POST(LINK_ADMINS, ANNA, "/v1/admins",
	     "{\"name\":\"otto\",\"role\":\"reviewer\",\"fingerprint\":\"%064d\"}", 7);
	assert_int_equal(status, 200);
	ask(LINK_ADMINS, LINK_GET, RITA, "/v1/admins", "", NOW);
	assert_int_equal(json_array_size(json_object_get(got, "admins")), 3);
	POST(LINK_ADMINS, ANNA, "/v1/admins/remove", "{\"name\":\"otto\"}");
	assert_int_equal(status, 200);
	ask(LINK_ADMINS, LINK_GET, RITA, "/v1/admins", "", NOW);
	assert_int_equal(json_array_size(json_object_get(got, "admins")), 2);
	ask(LINK_ADMINS, LINK_GET, RITA, "/v1/policy", "", NOW);
	char *policy = json_dumps(json_object_get(got, "policy"), 0);
	snprintf(body, sizeof(body), "%s", "{\"policy\":");
	CLEANUP_BUF struct buf set = BUF_INIT(POLICY_TEXT_MAX);
	GOOD(buf_addf(&set, "{\"policy\":%s,\"at_once\":true}", policy));
	free(policy);
	ask(LINK_ADMINS, LINK_POST, RITA, "/v1/policy", buf_cstr(&set), NOW);
	refused(403, "admin.role");
	ask(LINK_ADMINS, LINK_POST, ANNA, "/v1/policy", buf_cstr(&set), NOW);
	assert_int_equal(json_integer_value(json_object_get(got, "generation")), 2);
	ask(LINK_ADMINS, LINK_GET, RITA, "/v1/policy", "", NOW);
	assert_int_equal(json_integer_value(json_object_get(got, "floor")), 2);
	ask(LINK_ADMINS, LINK_GET, RITA, "/v1/log?vm=00000000-0000-0000-0000-000000000000&from=2",
	    "", NOW);
	assert_int_equal(json_array_size(json_object_get(got, "records")), 3);
	snprintf(body, sizeof(body), "{\"id\":\"%s\"}", "01000000-0000-0000-0000-000000000000");
	ask(LINK_ADMINS, LINK_POST, ANNA, "/v1/hosts/replace", body, NOW);
	assert_int_equal(status, 200);
	ask(LINK_ADMINS, LINK_POST, ANNA, "/v1/hosts/revoke", body, NOW);
	assert_int_equal(status, 200);
}

/* A host with a TPM: its case goes to the verifier, and what that says decides. */
static void test_judged(void **state)
{
	(void)state;
	uint8_t peer[STORE_FINGERPRINT_BYTES] = { 1 }; /* as bed_host() has it */
	char body[1024], nonce[64], mac[64];
	json_int_t expires;
	static struct findings list;
	make_policy();
	bed_approve(1);
	for (int healthy = 0; healthy < 2; healthy++) {
		POST(LINK_HOSTS, peer, "/v1/challenge",
		     "{\"id\":\"01000000-0000-0000-0000-000000000000\"}");
		take_ticket(nonce, mac, &expires);
		snprintf(body, sizeof(body),
			 "{\"id\":\"01000000-0000-0000-0000-000000000000\",\"nonce\":\"%s\","
			 "\"expires\":%" PRId64 ",\"mac\":\"%s\",\"evidence\":{}}",
			 nonce, (int64_t)expires, mac);
		struct service_ask q = { .method = LINK_POST,
					 .path = "/v1/attest",
					 .body = body,
					 .n_body = strlen(body) };
		memcpy(q.peer, peer, sizeof(q.peer));
		CLEANUP_CERTIFY_CASE struct certify_case c;
		CLEANUP_SERVICE_REPLY struct service_reply r;
		certify_case_init(&c);
		service_reply_init(&r);
		assert_int_equal(service_ask(&g, &q, NOW, &c, &r), SERVICE_JUDGE);
		assert_string_equal(buf_cstr(&c.ak_pub), "ak 1");
		struct certify_verdict v = { .healthy = healthy };
		/* Some point of the curve. */
		static const char X[] = "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY";
		static const char Y[] = "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU";
		GOOD(strict_b64(X, 43, v.x, 32));
		GOOD(strict_b64(Y, 43, v.y, 32));
		list.n = 0;
		finding_add(&list, "evidence.host", healthy ? FINDING_OK : FINDING_FAILED, "x");
		service_judged(&g, &c, &v, &list, NOW, &r);
		json_decref(got);
		got = json_loadb((const char *)r.body.data, r.body.len, 0, NULL);
		status = r.status;
		assert_int_equal(json_array_size(json_object_get(got, "findings")), 1);
		if (!healthy)
			refused(403, "host.unhealthy");
		else
			assert_int_equal(status, 200);
	}
	CLEANUP_SERVICE_REPLY struct service_reply r;
	service_reply_init(&r);
	service_refuse(&r, "guardian.verifier", ERR_STATE, "it ended");
	assert_int_equal(r.status, 503);
}

static void test_hosts_come_in_pages(void **state)
{
	(void)state;
	GOOD(store_begin(g.store, &f));
	for (unsigned n = 1; n <= SERVICE_HOSTS + 3; n++) {
		CLEANUP_STORE_HOST struct store_host h;
		bed_host(&h, n);
		snprintf(h.name, sizeof(h.name), "host-%04u", n);
		GOOD(store_host_add(g.store, &h, &f));
	}
	GOOD(store_commit(g.store, &f));
	assert_int_equal(ask(LINK_ADMINS, LINK_GET, RITA, "/v1/hosts", "", NOW), SERVICE_DONE);
	const json_t *hosts = json_object_get(got, "hosts");
	assert_int_equal(json_array_size(hosts), SERVICE_HOSTS);
	assert_string_equal(json_string_value(json_object_get(
				    json_array_get(hosts, SERVICE_HOSTS - 1), "name")),
			    "host-0256");
	assert_int_equal(ask(LINK_ADMINS, LINK_GET, RITA, "/v1/hosts?after=host-0256", "", NOW),
			 SERVICE_DONE);
	hosts = json_object_get(got, "hosts");
	assert_int_equal(json_array_size(hosts), 3);
	assert_int_equal(ask(LINK_ADMINS, LINK_GET, RITA, "/v1/hosts?after=zz", "", NOW),
			 SERVICE_DONE);
	assert_int_equal(json_array_size(json_object_get(got, "hosts")), 0);
	assert_int_equal(status, 200);
}

static int done(void **state)
{
	json_decref(got);
	got = NULL;
	return guardian_done(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_refusals, guardian_make, done),
		cmocka_unit_test_setup_teardown(test_hosts_come_in_pages, guardian_make, done),
		cmocka_unit_test_setup_teardown(test_a_host_without_a_tpm, guardian_make, done),
		cmocka_unit_test_setup_teardown(test_what_admins_see, guardian_make, done),
		cmocka_unit_test_setup_teardown(test_judged, guardian_make, done),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
