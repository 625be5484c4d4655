/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/health.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "attest/statement.h"
#include "crypto/sign.h"
#include "crypto/strict.h"

const uint8_t HEALTH_NO_WORKER[ATTEST_WORKER_KEY_BYTES];

void health_init(struct health *h)
{
	*h = (struct health){ .certificate = BUF_INIT(HEALTHCERT_MAX) };
}

void health_done(struct health *h)
{
	hosttpm_proof_done(&h->bound);
	buf_done(&h->certificate);
	health_init(h);
}

/* Who attests, by what, for whom. */
struct attesting {
	struct remote *r;
	struct hosttpm *t;
	const struct conf *how;
	const uint8_t *worker;
	struct health *out;
	struct client_refusal *why;
};

/* The body's part that every answer to CHALLENGE has. */
static json_t *begin_answer(const uint8_t host[static UUID_BYTES], const json_t *challenge)
{
	char uuid[UUID_TEXT_SIZE];
	uuid_format(host, uuid);
	return json_pack("{s:s, s:O, s:O, s:O}", "id", uuid, "nonce",
			 json_object_get(challenge, "nonce"), "expires",
			 json_object_get(challenge, "expires"), "mac",
			 json_object_get(challenge, "mac"));
}

static int add_member(json_t *body, const char *name, json_t *value, struct fault *f)
{
	return json_object_set_new(body, name, value) == 0
		       ? 0
		       : fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
}

/* Which registers are to be quoted. */
static int read_pcrs(const json_t *list, uint32_t *mask)
{
	size_t i;
	json_t *at;
	uint32_t all = 0;
	json_array_foreach(list, i, at)
	{
		json_int_t n = json_is_integer(at) ? json_integer_value(at) : -1;
		if (n < 0 || n >= PCR_COUNT || all >> n)
			return ERR_FORMAT; /* not ascending */
		all |= 1U << n;
	}
	*mask = all;
	return all ? 0 : ERR_FORMAT;
}

int health_challenge(const json_t *o, struct challenge *out, struct fault *f)
{
	const char *bank = strict_text(o, "bank");
	int rc = remote_take(o, "nonce", out->nonce, sizeof(out->nonce), f);
	if (rc < 0)
		return rc;
	if (!bank || strcmp(bank, hash_name(HASH_SHA256)) != 0 ||
	    !json_is_string(json_object_get(o, "mac")) ||
	    !json_is_integer(json_object_get(o, "expires")) ||
	    read_pcrs(json_object_get(o, "pcrs"), &out->mask) < 0)
		return fault_set(f, ERR_FORMAT, "the guardian's challenge is none that is known");
	out->bank = HASH_SHA256;
	return 0;
}

/* Quote, logs and the new key, as the member "evidence". */
static int add_evidence(json_t *body, const struct challenge *c, const struct attesting *a,
			struct fault *f)
{
	struct health *h = a->out;
	uint8_t *point = h->point;
	struct evidence e CLEANUP(evidence_done) = { 0 };
	CLEANUP_BUF struct buf text = BUF_INIT(EVIDENCE_TEXT_MAX);
	const char *id = NULL;
	json_t *evidence = NULL;
	int rc = evidence_gather(a->t, c, h->host, a->worker, a->how->eventlog, a->how->ima, &e, f);
	if (rc >= 0)
		rc = bk_check((struct blob){ e.bk_pub.data, e.bk_pub.len }, &e.pcrs, point + 1,
			      point + 33, &id, f);
	if (rc >= 0)
		rc = evidence_text(&e, &text, f);
	if (rc >= 0)
		rc = strict_json((const char *)text.data, text.len, "the evidence", &evidence, f);
	if (rc < 0)
		return rc;
	h->assurance = HEALTHCERT_TPM;
	hosttpm_proof_done(&h->bound);
	h->bound = (struct hosttpm_proof){ .bk_pub = e.bk_pub, .pcrs = e.pcrs };
	e.bk_pub = BUF_INIT(0);
	return add_member(body, "evidence", evidence, f);
}

/* The statement of a host without a TPM. */
static int add_statement(json_t *body, const struct challenge *c, const struct attesting *a,
			 struct fault *f)
{
	struct health *h = a->out;
	CLEANUP_BUF struct buf statement = BUF_INIT(SIGN_TEXT_MAX);
	CLEANUP_BUF struct buf jws = BUF_INIT(SIGN_TEXT_MAX), text = BUF_INIT(JWK_FILE_MAX);
	CLEANUP_JSON json_t *pub = NULL;
	int rc = statement_attest(h->host, c->nonce, a->worker, &statement);
	if (rc >= 0)
		rc = sign_make(a->r->key, STATEMENT_ATTEST_TYP, statement.data, statement.len, &jws,
			       f);
	if (rc >= 0)
		rc = jwk_public_text(a->r->key, &text);
	if (rc >= 0)
		rc = strict_json((const char *)text.data, text.len, "the host's key", &pub, f);
	if (rc >= 0)
		rc = remote_take(pub, "x", h->point + 1, 32, f);
	if (rc >= 0)
		rc = remote_take(pub, "y", h->point + 33, 32, f);
	h->assurance = HEALTHCERT_HOSTKEY;
	if (rc >= 0)
		rc = add_member(body, "worker", remote_bytes(a->worker, ATTEST_WORKER_KEY_BYTES),
				f);
	if (rc >= 0)
		rc = add_member(body, "statement", json_stringn((const char *)jws.data, jws.len),
				f);
	return rc < 0 ? fault_set(f, rc, "%s", err_text(rc)) : 0;
}

/* Is it for this host, its key and the worker, and by this CA? */
static int check_certificate(const json_t *info, const json_t *answer, const struct attesting *a,
			     struct fault *f)
{
	CLEANUP_HEALTHCA struct healthca *ca = NULL;
	CLEANUP_BUF struct buf ca_der = BUF_INIT(8192);
	uint8_t worker[SIGN_SHA256_BYTES];
	struct health *h = a->out;
	struct healthcert c = { 0 };
	buf_clear(&h->certificate);
	int rc = remote_take_buf(info, "ca", &ca_der, f);
	if (rc >= 0)
		rc = healthca_read_der(ca_der.data, ca_der.len, &ca, f);
	if (rc >= 0)
		rc = remote_take_buf(answer, "certificate", &h->certificate, f);
	if (rc >= 0)
		rc = healthcert_open(ca, h->certificate.data, h->certificate.len, h->host,
				     time(NULL), &c, f);
	if (rc >= 0)
		rc = sign_sha256(a->worker, ATTEST_WORKER_KEY_BYTES, worker);
	if (rc < 0)
		return fault_wrap(f, rc, "the certificate that the guardian sent");
	if (memcmp(c.x, h->point + 1, sizeof(c.x)) != 0 ||
	    memcmp(c.y, h->point + 33, sizeof(c.y)) != 0 ||
	    memcmp(c.worker_hash, worker, sizeof(worker)) != 0)
		return fault_set(f, ERR_AUTH,
				 "the certificate that the guardian sent is for another key than"
				 " this host's");
	if (c.assurance != h->assurance)
		return fault_set(f, ERR_AUTH,
				 "the certificate that the guardian sent says \"%s\" of a host that"
				 " attested as \"%s\"",
				 healthcert_assurance_name(c.assurance),
				 healthcert_assurance_name(h->assurance));
	h->says = c;
	return 0;
}

/* One challenge and its answer. */
static int attest_once(const struct attesting *a, json_t **answer, struct fault *f)
{
	struct challenge c = { 0 };
	char uuid[UUID_TEXT_SIZE];
	CLEANUP_JSON json_t *challenge = NULL, *body = NULL;
	uuid_format(a->out->host, uuid);
	int rc = remote_post(a->r, "/v1/challenge", json_pack("{s:s}", "id", uuid),
			     CLIENT_REPEATABLE, &challenge, a->why, f);
	if (rc >= 0)
		rc = health_challenge(challenge, &c, f);
	if (rc < 0)
		return rc;
	body = begin_answer(a->out->host, challenge);
	if (!body)
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	rc = a->t ? add_evidence(body, &c, a, f) : add_statement(body, &c, a, f);
	a->out->failed_here = rc < 0;
	return rc < 0 ? rc
		      : remote_post(a->r, "/v1/attest", json_incref(body), CLIENT_ONCE, answer,
				    a->why, f);
}

/* A challenge is good for one look: where a guardian was lost over it, the next one gets another.
 */
static int attest_somewhere(const struct attesting *a, json_t **answer, struct fault *f)
{
	struct fault one = { 0 };
	size_t tries = 0;
	int rc;
	do {
		one = (struct fault){ 0 };
		rc = attest_once(a, answer, &one);
	} while (!a->out->failed_here &&
		 client_again(a->r->client, ++tries, rc, a->why, "challenge.used"));
	return rc < 0 ? fault_set(f, rc, "%s", one.text) : rc;
}

int health_attest(struct remote *r, struct hosttpm *t, const struct conf *how,
		  const uint8_t worker[static ATTEST_WORKER_KEY_BYTES], struct health *out,
		  struct client_refusal *why, struct fault *f)
{
	const struct attesting a = { r, t, how, worker, out, why };
	CLEANUP_JSON json_t *info = NULL, *answer = NULL;
	memset(why, 0, sizeof(*why));
	out->point[0] = 4;
	int rc = remote_host_id(0, out->host, f);
	out->failed_here = rc < 0;
	if (rc >= 0)
		rc = remote_get(r, "/v1/info", &info, why, f);
	if (rc >= 0)
		rc = attest_somewhere(&a, &answer, f);
	if (rc >= 0)
		rc = check_certificate(info, answer, &a, f);
	if (rc >= 0)
		rc = client_findings(json_object_get(answer, "findings"), &why->findings, f);
	return rc;
}
