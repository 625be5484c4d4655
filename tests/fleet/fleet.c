/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/fleet/fleet.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "crypto/mac.h"
#include "crypto/strict.h"
#include "tests/unit/test.h"

#define CMDLINE "root=/dev/vda2 lockdown=confidentiality intel_iommu=on nohibernate systemd.swap=0"

/* ---- What hosts and VMs are ------------------------------------------------------------------ */

void fleet_boot(struct host *boot, unsigned events, unsigned ima_entries)
{
	char text[160];
	host_usual(boot, 1, NULL, CMDLINE);
	/* As a boot loader's script is measured, line by line. */
	for (unsigned i = 0; i < events; i++) {
		snprintf(text, sizeof(text),
			 "grub_cmd: [ x%u = xy ] && set menuentry_id_option=--id,"
			 " insmod part_gpt && insmod ext2 && search --no-floppy %u",
			 i, i);
		host_event(boot, 8, EV_IPL, text, strlen(text), text + 10, strlen(text) - 10);
	}
	host_ima_aggregate(boot);
	for (unsigned i = 1; i < ima_entries; i++) {
		snprintf(text, sizeof(text), "/usr/lib/x86_64-linux-gnu/libmeasured-%u.so", i);
		host_ima(boot, text, NULL);
	}
	(void)host_measured(boot);
}

static void make_id(uint8_t id[static UUID_BYTES], char text[static UUID_TEXT_SIZE])
{
	assert_int_equal(mac_random(id, UUID_BYTES), 0);
	uuid_format(id, text);
}

void simhost_make(struct simhost *h, unsigned i, const struct maker *m, const struct host *boot)
{
	*h = (struct simhost){ .certificate = BUF_INIT(HEALTHCERT_MAX) };
	make_id(h->id, h->text);
	snprintf(h->name, sizeof(h->name), "host-%u", i);
	simtpm_make(&h->tpm, m, &boot->pcrs);
	assert_int_equal(jwk_new(&h->tls, NULL), 0);
}

void simhost_done(struct simhost *h)
{
	simhost_leave(h);
	simtpm_done(&h->tpm);
	jwk_free(h->tls);
	buf_done(&h->certificate);
	EVP_PKEY_free(h->worker);
}

void simhost_connect(struct simhost *h, const struct client_urls *urls, int deadline_ms)
{
	struct fault f = { 0 };
	simhost_leave(h);
	if (client_open(urls, h->tls, deadline_ms, &h->client, &f) < 0)
		fail_msg("%s", f.text);
}

void simhost_leave(struct simhost *h)
{
	client_close(h->client);
	h->client = NULL;
}

void simvm_make(struct simvm *v, unsigned i, const struct jwk *owner, const struct jwk *release)
{
	struct fault f = { 0 };
	struct protector_facts facts = { .level = LEVEL_SHIELDED };
	*v = (struct simvm){ .protector = BUF_INIT(PROTECTOR_TEXT_MAX) };
	make_id(v->id, v->text);
	memcpy(facts.vm, v->id, sizeof(facts.vm));
	memset(facts.tpm_id, (int)i, sizeof(facts.tpm_id));
	assert_int_equal(key_new(&v->key), 0);
	if (protector_make(&facts, &v->key, owner, &release, 1, NULL, &v->protector, &f) < 0)
		fail_msg("%s", f.text);
}

void simvm_done(struct simvm *v)
{
	key_done(&v->key);
	buf_done(&v->protector);
}

/* ---- Requests -------------------------------------------------------------------------------- */

static json_t *b64(const void *data, size_t n)
{
	CLEANUP_BUF struct buf text = BUF_INIT(EVIDENCE_TEXT_MAX);
	assert_int_equal(strict_b64_put(&text, data, n), 0);
	return json_stringn((const char *)text.data, text.len);
}

static json_t *b64_of(const struct bytes *b)
{
	return b64(b->data, b->n);
}

/* POST BODY, whose reference is taken. */
static int ask(struct client *c, const char *path, json_t *body, enum client_repeat repeat,
	       json_t **out, struct said *why)
{
	struct client_refusal refusal;
	CLEANUP_JSON json_t *b = body;
	assert_non_null(b);
	*why = (struct said){ 0 };
	int rc = client_ask(c, path, b, repeat, out, &refusal, &why->fault);
	memcpy(why->id, refusal.id, sizeof(why->id));
	for (unsigned i = 0; rc < 0 && i < refusal.findings.n; i++) {
		const struct finding *at = &refusal.findings.at[i];
		if (at->verdict != FINDING_FAILED)
			continue;
		why->fault = (struct fault){ 0 };
		return fault_set(&why->fault, rc, "%s (%s: %s)", why->id, at->id, at->evidence);
	}
	return rc;
}

static int wrong(struct said *why, const char *what)
{
	*why = (struct said){ 0 };
	return fault_set(&why->fault, ERR_AUTH, "%s", what);
}

static int take(const json_t *o, const char *name, struct buf *out)
{
	const char *text = strict_text(o, name);
	return text ? strict_b64_buf(text, strlen(text), out) : ERR_FORMAT;
}

int simhost_enrol(struct simhost *h, char print[static 65], struct said *why)
{
	uint8_t secret[CREDENTIAL_SECRET_BYTES];
	CLEANUP_JSON json_t *begun = NULL;
	CLEANUP_JSON json_t *done = NULL;
	CLEANUP_BUF struct buf object = BUF_INIT(CREDENTIAL_ID_OBJECT_MAX),
			       encrypted = BUF_INIT(CREDENTIAL_ENCRYPTED_MAX);
	CLEANUP_JSON json_t *body =
		json_pack("{s:s,s:s,s:o,s:o,s:o,s:[]}", "id", h->text, "name", h->name, "ek_pub",
			  b64_of(&h->tpm.ek_pub), "ak_pub", b64_of(&h->tpm.ak_pub), "ek_cert",
			  b64_of(&h->tpm.ek_cert), "chain");
	int rc = ask(h->client, "/v1/enrol/begin", json_incref(body), CLIENT_REPEATABLE, &begun,
		     why);
	if (rc < 0)
		return rc;
	if (take(begun, "id_object", &object) < 0 || take(begun, "encrypted", &encrypted) < 0 ||
	    simtpm_activate(&h->tpm, &object, &encrypted, secret) < 0)
		return wrong(why, "the guardian's credential is not for this TPM");
	json_object_set(body, "nonce", json_object_get(begun, "nonce"));
	json_object_set(body, "expires", json_object_get(begun, "expires"));
	json_object_set(body, "mac", json_object_get(begun, "mac"));
	json_object_set_new(body, "secret", b64(secret, sizeof(secret)));
	rc = ask(h->client, "/v1/enrol/finish", json_incref(body), CLIENT_ONCE, &done, why);
	if (rc < 0)
		return rc;
	const char *said = strict_text(done, "fingerprint");
	if (!said || strlen(said) != 64)
		return wrong(why, "the guardian told no fingerprint");
	memcpy(print, said, 65);
	return 0;
}

static void new_worker(struct simhost *h, uint8_t point[static RAWKEY_P256_POINT])
{
	EVP_PKEY_free(h->worker);
	h->worker = EVP_EC_gen("P-256");
	assert_non_null(h->worker);
	simtpm_point(h->worker, point);
}

/* The answer to CHALLENGE, as a request. */
static json_t *prove(const struct simhost *h, const struct host *boot, const json_t *challenge,
		     const uint8_t worker[static RAWKEY_P256_POINT], struct said *why)
{
	struct challenge c = { .bank = HASH_SHA256, .mask = CHALLENGE_MASK };
	const char *nonce = strict_text(challenge, "nonce");
	struct evidence e CLEANUP(evidence_done);
	json_t *evidence = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(EVIDENCE_TEXT_MAX);
	evidence_init(&e);
	if (!nonce || strict_b64(nonce, strlen(nonce), c.nonce, sizeof(c.nonce)) < 0) {
		(void)wrong(why, "the guardian's challenge is none");
		return NULL;
	}
	simtpm_prove(&h->tpm, boot, &c, h->id, worker, &e);
	if (evidence_text(&e, &text, &why->fault) < 0 ||
	    strict_json((const char *)text.data, text.len, "the evidence", &evidence, &why->fault) <
		    0)
		fail_msg("%s", why->fault.text);
	return json_pack("{s:s,s:O,s:O,s:O,s:o}", "id", h->text, "nonce",
			 json_object_get(challenge, "nonce"), "expires",
			 json_object_get(challenge, "expires"), "mac",
			 json_object_get(challenge, "mac"), "evidence", evidence);
}

/* One challenge and its answer. */
static int attest_once(struct simhost *h, const struct host *boot, struct said *why)
{
	uint8_t worker[RAWKEY_P256_POINT];
	CLEANUP_JSON json_t *challenge = NULL;
	CLEANUP_JSON json_t *answer = NULL;
	int rc = ask(h->client, "/v1/challenge", json_pack("{s:s}", "id", h->text),
		     CLIENT_REPEATABLE, &challenge, why);
	if (rc < 0)
		return rc;
	new_worker(h, worker);
	json_t *body = prove(h, boot, challenge, worker, why);
	if (!body)
		return why->fault.rc;
	rc = ask(h->client, "/v1/attest", body, CLIENT_ONCE, &answer, why);
	buf_clear(&h->certificate);
	if (rc >= 0 && take(answer, "certificate", &h->certificate) < 0)
		rc = wrong(why, "the guardian's certificate is none");
	return rc;
}

/* As attest/health.c does it: a challenge is good for one look, and where a guardian was lost over
 * it, the next one gets another. */
int simhost_attest(struct simhost *h, const struct host *boot, struct said *why)
{
	int rc = -ECONNABORTED, again = 1;
	for (unsigned i = 0; i < CLIENT_URLS_MAX && again; i++) {
		rc = attest_once(h, boot, why);
		again = rc == -ECONNABORTED ||
			(rc == ERR_POLICY && strcmp(why->id, "challenge.used") == 0);
	}
	return rc;
}

/* What came of a release: both layers off, and what is in it. */
static int open_key(const struct simhost *h, const struct simvm *v,
		    const struct keyrelease_about *about, const struct buf *sealed,
		    const struct simgrant *g, struct said *why)
{
	uint8_t host[RAWKEY_P256_POINT], worker[RAWKEY_P256_POINT];
	const struct ecdh by_tpm = simtpm_ecdh(h->tpm.bk), by_worker = simtpm_ecdh(h->worker);
	struct keyrelease r;
	CLEANUP_BUF struct buf inner = BUF_INIT(KEYRELEASE_INNER_BYTES);
	simtpm_point(h->tpm.bk, host);
	simtpm_point(h->worker, worker);
	int rc = keyrelease_unwrap(&by_tpm, host, about, sealed->data, sealed->len, &inner,
				   &why->fault);
	if (rc >= 0)
		rc = keyrelease_open(&by_worker, worker, about, inner.data, inner.len, &r,
				     &why->fault);
	if (rc < 0)
		return wrong(why, "the released key does not open");
	CLEANUP_PROTECTOR struct protector *p = NULL;
	CLEANUP_KEY struct vm_key key = { { 0 } };
	rc = protector_parse((const char *)v->protector.data, v->protector.len, &p, &why->fault);
	if (rc >= 0)
		rc = protector_open(p, &r.key, &key, &why->fault);
	int same = rc >= 0 && memcmp(key.bytes, v->key.bytes, KEY_BYTES) == 0 &&
		   r.token == g->token && r.expires == g->expires && r.spent == g->spent;
	wipe(&r, sizeof(r));
	return same ? 0 : wrong(why, "another key was released, or another lease than was told");
}

int simhost_release(struct simhost *h, const struct simvm *v, int64_t version,
		    const uint8_t request[static KEYRELEASE_REQUEST_BYTES], struct simgrant *out,
		    struct said *why)
{
	uint8_t worker[RAWKEY_P256_POINT];
	struct keyrelease_about about = { .certificate = h->certificate.data,
					  .certificate_bytes = h->certificate.len,
					  .protector = (const char *)v->protector.data,
					  .protector_chars = v->protector.len };
	CLEANUP_JSON json_t *answer = NULL;
	CLEANUP_BUF struct buf sealed = BUF_INIT(KEYRELEASE_BYTES);
	json_int_t token = 0, expires = 0, spent = 0;
	memcpy(about.vm, v->id, sizeof(about.vm));
	memcpy(about.request, request, sizeof(about.request));
	simtpm_point(h->worker, worker);
	int rc = ask(h->client, "/v1/release",
		     json_pack("{s:s,s:s,s:o,s:o,s:I,s:b,s:o,s:o}", "id", h->text, "vm", v->text,
			       "request", b64(request, KEYRELEASE_REQUEST_BYTES), "worker",
			       b64(worker, sizeof(worker)), "version", (json_int_t)version,
			       "incoming", 0, "certificate",
			       b64(h->certificate.data, h->certificate.len), "protector",
			       json_stringn((const char *)v->protector.data, v->protector.len)),
		     CLIENT_ONCE, &answer, why);
	if (rc < 0)
		return rc;
	if (take(answer, "key", &sealed) < 0 ||
	    json_unpack(answer, "{s:I,s:I,s:I}", "token", &token, "expires", &expires, "spent",
			&spent) < 0)
		return wrong(why, "the guardian's release is none");
	*out = (struct simgrant){ token, expires, spent };
	return open_key(h, v, &about, &sealed, out, why);
}

int simhost_stop(struct simhost *h, const struct simvm *v, int64_t token, int64_t version,
		 struct said *why)
{
	CLEANUP_JSON json_t *answer = NULL;
	return ask(h->client, "/v1/lease/stop",
		   json_pack("{s:s,s:s,s:I,s:I}", "id", h->text, "vm", v->text, "token",
			     (json_int_t)token, "version", (json_int_t)version),
		   CLIENT_ONCE, &answer, why);
}

int fleet_policy(struct client *c, const struct host *boot, struct said *why)
{
	struct policy *p = NULL;
	json_t *j = NULL;
	CLEANUP_JSON json_t *answer = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(POLICY_TEXT_MAX);
	struct fault f = { 0 };
	if (policy_new(&p) < 0 || policy_learn(p, "base", BASELINE_STRUCTURED, &boot->m, &f) < 0 ||
	    policy_text(p, &text, &f) < 0 ||
	    strict_json((const char *)text.data, text.len, "the policy", &j, &f) < 0)
		fail_msg("%s", f.text);
	policy_free(p);
	return ask(c, "/v1/policy", json_pack("{s:o,s:b}", "policy", j, "at_once", 0), CLIENT_ONCE,
		   &answer, why);
}

int fleet_approve(struct client *c, const struct simhost *h, const char *print, struct said *why)
{
	CLEANUP_JSON json_t *answer = NULL;
	return ask(c, "/v1/hosts/approve",
		   json_pack("{s:s,s:s}", "id", h->text, "fingerprint", print), CLIENT_ONCE,
		   &answer, why);
}
