/* SPDX-License-Identifier: BSD-3-Clause */
/* What hosts ask. */
#include <errno.h>
#include <string.h>

#include "base/paths.h"
#include "guardian/enrol.h"
#include "guardian/service_form.h"

/* An enrolment as it came in. */
struct enrol_in {
	struct enrolment e;
	struct buf ek_pub, ak_pub, ek_cert;
	size_t n_chain;
	struct buf chain[EKCERT_CHAIN_MAX];
	struct hash_part parts[EKCERT_CHAIN_MAX];
	struct jwk *key;
};

static void enrol_in_init(struct enrol_in *in)
{
	*in = (struct enrol_in){
		.ek_pub = BUF_INIT(TPM_PUBLIC_MAX),
		.ak_pub = BUF_INIT(TPM_PUBLIC_MAX),
		.ek_cert = BUF_INIT(EKCERT_DER_MAX),
	};
}

static void enrol_in_done(struct enrol_in *in)
{
	buf_done(&in->ek_pub);
	buf_done(&in->ak_pub);
	buf_done(&in->ek_cert);
	for (size_t i = 0; i < in->n_chain; i++)
		buf_done(&in->chain[i]);
	jwk_free(in->key);
}

int service_info(struct call *c)
{
	int64_t generation = 0;
	CLEANUP_BUF struct buf der = BUF_INIT(HEALTHCERT_MAX), text = BUF_INIT(STORE_POLICY_MAX);
	int rc = store_policy_latest(c->g->store, &generation, &text, &c->why.fault);
	if (rc < 0)
		return refuse_failed(&c->why, rc == -ENOENT ? "guardian.policy" : "guardian.store",
				     rc);
	rc = healthca_der(c->g->ca, &der);
	if (rc < 0)
		return refuse_failed(&c->why, "guardian.keys", rc);
	return call_answer(c, json_pack("{s:s,s:o,s:I}", "version", SHIELDVM_VERSION, "ca",
					service_b64(der.data, der.len), "generation",
					(json_int_t)generation));
}

static int read_chain(struct call *c, struct enrol_in *in)
{
	const json_t *list = json_object_get(c->in, "chain");
	size_t n = json_array_size(list);
	if (!json_is_array(list) || n > EKCERT_CHAIN_MAX)
		return refuse(&c->why, "request.format", ERR_LIMIT,
			      "\"chain\" is not a list of at most %d certificates",
			      EKCERT_CHAIN_MAX);
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(list, i));
		struct buf *b = &in->chain[in->n_chain++];
		*b = BUF_INIT(EKCERT_DER_MAX);
		if (!text || strict_b64_buf(text, strlen(text), b) < 0)
			return refuse(&c->why, "request.format", ERR_FORMAT,
				      "a certificate in \"chain\" is not in base64url, or too "
				      "large");
		in->parts[i] = (struct hash_part){ b->data, b->len };
	}
	in->e.chain = in->parts;
	in->e.n_chain = n;
	return 0;
}

/* What begin and finish have in common. */
static int read_enrolment(struct call *c, int tpm, struct enrol_in *in)
{
	int rc = call_id(c, "id", in->e.id);
	if (rc >= 0)
		rc = call_text(c, "name", &in->e.name);
	memcpy(in->e.tls_key, c->q->peer, sizeof(in->e.tls_key));
	if (rc >= 0 && !tpm) {
		rc = call_key(c, "host_key", &in->key);
		in->e.host_key = in->key;
	}
	if (rc < 0 || !tpm)
		return rc;
	rc = call_blob(c, "ek_pub", &in->ek_pub);
	if (rc >= 0)
		rc = call_blob(c, "ak_pub", &in->ak_pub);
	if (rc >= 0)
		rc = call_blob(c, "ek_cert", &in->ek_cert);
	if (rc >= 0)
		rc = read_chain(c, in);
	in->e.ek_pub = (struct blob){ in->ek_pub.data, in->ek_pub.len };
	in->e.ak_pub = (struct blob){ in->ak_pub.data, in->ak_pub.len };
	in->e.ek_cert = (struct blob){ in->ek_cert.data, in->ek_cert.len };
	return rc;
}

/* 1 if the request is of a host with a TPM; which members it then has to have is checked. */
static int is_tpm(const struct call *c)
{
	return !json_object_get(c->in, "host_key");
}

int service_enrol_begin(struct call *c)
{
	struct enrol_ticket t;
	CLEANUP_BUF struct buf id_object = BUF_INIT(CREDENTIAL_ID_OBJECT_MAX),
			       encrypted = BUF_INIT(CREDENTIAL_ENCRYPTED_MAX);
	CLEANUP(enrol_in_done) struct enrol_in in;
	enrol_in_init(&in);
	int tpm = is_tpm(c);
	int rc = tpm ? CALL_MEMBERS(c, "id", "name", "ek_pub", "ak_pub", "ek_cert", "chain")
		     : CALL_MEMBERS(c, "id", "name", "host_key");
	if (rc >= 0)
		rc = read_enrolment(c, tpm, &in);
	if (rc >= 0)
		rc = enrol_begin(c->g, &in.e, c->now, &t, &id_object, &encrypted, &c->why);
	if (rc < 0)
		return rc;
	return call_answer(c, json_pack("{s:o,s:I,s:o,s:o,s:o}", "nonce",
					service_b64(t.nonce, sizeof(t.nonce)), "expires",
					(json_int_t)t.expires, "mac",
					service_b64(t.mac, sizeof(t.mac)), "id_object",
					service_b64(id_object.data, id_object.len), "encrypted",
					service_b64(encrypted.data, encrypted.len)));
}

int service_enrol_finish(struct call *c)
{
	struct enrol_ticket t;
	uint8_t secret[MAC_BYTES], print[STORE_FINGERPRINT_BYTES];
	const char *statement = NULL;
	CLEANUP(enrol_in_done) struct enrol_in in;
	enrol_in_init(&in);
	int tpm = is_tpm(c);
	int rc = tpm ? CALL_MEMBERS(c, "id", "name", "ek_pub", "ak_pub", "ek_cert", "chain",
				    "nonce", "expires", "mac", "secret")
		     : CALL_MEMBERS(c, "id", "name", "host_key", "nonce", "expires", "mac",
				    "statement");
	if (rc >= 0)
		rc = read_enrolment(c, tpm, &in);
	if (rc >= 0)
		rc = call_bytes(c, "nonce", t.nonce, sizeof(t.nonce));
	if (rc >= 0)
		rc = call_integer(c, "expires", &t.expires);
	if (rc >= 0)
		rc = call_bytes(c, "mac", t.mac, sizeof(t.mac));
	if (rc >= 0)
		rc = tpm ? call_bytes(c, "secret", secret, sizeof(secret))
			 : call_text(c, "statement", &statement);
	if (rc < 0)
		return rc;
	rc = tpm ? enrol_finish(c->g, &in.e, &t, secret, c->now, print, &c->why)
		 : enrol_finish_key(c->g, &in.e, &t, statement, strlen(statement), c->now, print,
				    &c->why);
	if (rc < 0)
		return rc;
	return call_answer(c, json_pack("{s:s,s:o}", "status", "pending", "fingerprint",
					service_hex(print, sizeof(print))));
}

int service_challenge(struct call *c)
{
	struct certify_challenge t;
	uint8_t id[UUID_BYTES];
	int rc = CALL_MEMBERS(c, "id");
	if (rc >= 0)
		rc = call_id(c, "id", id);
	if (rc >= 0)
		rc = call_peer(c, id);
	if (rc >= 0)
		rc = certify_challenge(c->g, id, c->now, &t, &c->why);
	if (rc < 0)
		return rc;
	CLEANUP_JSON json_t *pcrs = json_array();
	for (int i = 0; pcrs && i < PCR_COUNT; i++) {
		if ((t.challenge.mask & (1U << i)) &&
		    json_array_append_new(pcrs, json_integer(i)) < 0)
			return call_answer(c, NULL);
	}
	return call_answer(c, json_pack("{s:o,s:I,s:o,s:s,s:O}", "nonce",
					service_b64(t.challenge.nonce, sizeof(t.challenge.nonce)),
					"expires", (json_int_t)t.expires, "mac",
					service_b64(t.mac, sizeof(t.mac)), "bank",
					hash_name(t.challenge.bank), "pcrs", pcrs));
}

/* A host without a TPM: nothing has to be judged. */
static int attest_by_key(struct call *c)
{
	uint8_t worker[ATTEST_WORKER_KEY_BYTES];
	const char *statement;
	struct certify_verdict verdict;
	struct healthcert cert;
	CLEANUP_BUF struct buf der = BUF_INIT(HEALTHCERT_MAX);
	int rc = call_bytes(c, "worker", worker, sizeof(worker));
	if (rc >= 0)
		rc = call_text(c, "statement", &statement);
	if (rc >= 0)
		rc = certify_by_key(c->judge, worker, statement, strlen(statement), &verdict,
				    &c->why);
	if (rc >= 0)
		rc = certify_finish(c->g, c->judge, &verdict, c->now, &der, &cert, &c->why);
	if (rc < 0)
		return rc;
	return call_answer(c, json_pack("{s:o,s:I,s:I,s:[]}", "certificate",
					service_b64(der.data, der.len), "generation",
					(json_int_t)cert.generation, "not_after",
					(json_int_t)cert.not_after, "findings"));
}

int service_attest(struct call *c)
{
	/* What certify_challenge() always asks for; its MAC covers both. */
	struct certify_challenge t = { .challenge = { .bank = HASH_SHA256,
						      .mask = CHALLENGE_MASK } };
	uint8_t id[UUID_BYTES];
	int tpm = json_object_get(c->in, "evidence") != NULL;
	int rc = tpm ? CALL_MEMBERS(c, "id", "nonce", "expires", "mac", "evidence")
		     : CALL_MEMBERS(c, "id", "nonce", "expires", "mac", "worker", "statement");
	if (rc >= 0)
		rc = call_id(c, "id", id);
	if (rc >= 0)
		rc = call_bytes(c, "nonce", t.challenge.nonce, sizeof(t.challenge.nonce));
	if (rc >= 0)
		rc = call_integer(c, "expires", &t.expires);
	if (rc >= 0)
		rc = call_bytes(c, "mac", t.mac, sizeof(t.mac));
	if (rc >= 0)
		rc = call_peer(c, id);
	if (rc >= 0)
		rc = certify_begin(c->g, id, &t, c->now, c->judge, &c->why);
	if (rc < 0)
		return rc;
	if (!tpm)
		return attest_by_key(c);
	if (c->judge->mode != STORE_MODE_TPM)
		return refuse(&c->why, "host.mode", ERR_POLICY,
			      "the host is enrolled without a TPM and has to sign");
	return SERVICE_JUDGE;
}
