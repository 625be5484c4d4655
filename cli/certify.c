/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm attest --guardian: challenge, evidence, certificate.
 *
 * Who asks whom: the guardian's CA comes over the connection that is known by the guardian's key,
 * and a certificate counts only if that CA has signed it for this host's id and for the key that
 * this host's TPM has just made.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "attest/hosttpm.h"
#include "base/fd.h"
#include "base/paths.h"
#include "cli/attest.h"
#include "cli/remote.h"
#include "crypto/strict.h"
#include "guardian/certify.h"

static const uint8_t NO_WORKER[ATTEST_WORKER_KEY_BYTES];

/* What the certificate must be for. */
struct proof {
	uint8_t host[UUID_BYTES];
	enum healthcert_assurance assurance;
	uint8_t x[32], y[32]; /* the key that it certifies */
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

static int read_challenge(const json_t *o, struct challenge *out, struct fault *f)
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
static int add_evidence(json_t *body, struct hosttpm *t, const struct challenge *c,
			const struct attest_remote *o, struct proof *p, struct fault *f)
{
	struct evidence e CLEANUP(evidence_done) = { 0 };
	CLEANUP_BUF struct buf text = BUF_INIT(EVIDENCE_TEXT_MAX);
	const char *id = NULL;
	json_t *evidence = NULL;
	int rc = evidence_gather(t, c, p->host, NO_WORKER, o->eventlog, o->ima, &e, f);
	if (rc >= 0)
		rc = bk_check((struct blob){ e.bk_pub.data, e.bk_pub.len }, &e.pcrs, p->x, p->y,
			      &id, f);
	if (rc >= 0)
		rc = evidence_text(&e, &text, f);
	if (rc >= 0)
		rc = strict_json((const char *)text.data, text.len, "the evidence", &evidence, f);
	p->assurance = HEALTHCERT_TPM;
	return rc < 0 ? rc : add_member(body, "evidence", evidence, f);
}

/* The statement of a host without a TPM. */
static int add_statement(json_t *body, const struct jwk *key, const struct challenge *c,
			 struct proof *p, struct fault *f)
{
	CLEANUP_BUF struct buf statement = BUF_INIT(SIGN_TEXT_MAX);
	CLEANUP_BUF struct buf jws = BUF_INIT(SIGN_TEXT_MAX), text = BUF_INIT(JWK_FILE_MAX);
	CLEANUP_JSON json_t *pub = NULL;
	int rc = certify_statement(p->host, c->nonce, NO_WORKER, &statement);
	if (rc >= 0)
		rc = sign_make(key, CERTIFY_TYP, statement.data, statement.len, &jws, f);
	if (rc >= 0)
		rc = jwk_public_text(key, &text);
	if (rc >= 0)
		rc = strict_json((const char *)text.data, text.len, "the host's key", &pub, f);
	if (rc >= 0)
		rc = remote_take(pub, "x", p->x, sizeof(p->x), f);
	if (rc >= 0)
		rc = remote_take(pub, "y", p->y, sizeof(p->y), f);
	p->assurance = HEALTHCERT_HOSTKEY;
	if (rc >= 0)
		rc = add_member(body, "worker", remote_bytes(NO_WORKER, sizeof(NO_WORKER)), f);
	if (rc >= 0)
		rc = add_member(body, "statement", json_stringn((const char *)jws.data, jws.len),
				f);
	return rc < 0 ? fault_set(f, rc, "%s", err_text(rc)) : 0;
}

/* Is it for this host and its key, and by this CA? */
static int check_certificate(const json_t *info, const json_t *answer, const struct proof *p,
			     struct buf *der, struct healthcert *out, struct fault *f)
{
	CLEANUP_HEALTHCA struct healthca *ca = NULL;
	CLEANUP_BUF struct buf ca_der = BUF_INIT(8192);
	uint8_t worker[SIGN_SHA256_BYTES];
	struct healthcert c = { 0 };
	int rc = remote_take_buf(info, "ca", &ca_der, f);
	if (rc >= 0)
		rc = healthca_read_der(ca_der.data, ca_der.len, &ca, f);
	if (rc >= 0)
		rc = remote_take_buf(answer, "certificate", der, f);
	if (rc >= 0)
		rc = healthcert_open(ca, der->data, der->len, p->host, time(NULL), &c, f);
	if (rc >= 0)
		rc = sign_sha256(NO_WORKER, sizeof(NO_WORKER), worker);
	if (rc < 0)
		return fault_wrap(f, rc, "the certificate that the guardian sent");
	if (memcmp(c.x, p->x, sizeof(c.x)) != 0 || memcmp(c.y, p->y, sizeof(c.y)) != 0 ||
	    memcmp(c.worker_hash, worker, sizeof(worker)) != 0)
		return fault_set(f, ERR_AUTH,
				 "the certificate that the guardian sent is for another key than"
				 " this host's");
	if (c.assurance != p->assurance)
		return fault_set(f, ERR_AUTH,
				 "the certificate that the guardian sent says \"%s\" of a host that"
				 " attested as \"%s\"",
				 healthcert_assurance_name(c.assurance),
				 healthcert_assurance_name(p->assurance));
	*out = c;
	return 0;
}

/* One challenge and its answer. */
static int attest_once(struct remote *r, struct hosttpm *t, const struct attest_remote *o,
		       struct proof *p, json_t **answer, struct client_refusal *why,
		       struct fault *f)
{
	struct challenge c = { 0 };
	char uuid[UUID_TEXT_SIZE];
	CLEANUP_JSON json_t *challenge = NULL, *body = NULL;
	uuid_format(p->host, uuid);
	int rc = remote_post(r, "/v1/challenge", json_pack("{s:s}", "id", uuid), CLIENT_REPEATABLE,
			     &challenge, why, f);
	if (rc >= 0)
		rc = read_challenge(challenge, &c, f);
	if (rc < 0)
		return rc;
	body = begin_answer(p->host, challenge);
	if (!body)
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	rc = t ? add_evidence(body, t, &c, o, p, f) : add_statement(body, r->key, &c, p, f);
	return rc < 0 ? rc
		      : remote_post(r, "/v1/attest", json_incref(body), CLIENT_ONCE, answer, why,
				    f);
}

/* A challenge is good for one look: where a guardian was lost over it, the next one gets another.
 */
static int attest_somewhere(struct remote *r, struct hosttpm *t, const struct attest_remote *o,
			    struct proof *p, json_t **answer, struct client_refusal *why,
			    struct fault *f)
{
	struct fault one = { 0 };
	int rc = -ECONNABORTED;
	for (unsigned i = 0; i < CLIENT_URLS_MAX && rc < 0; i++) {
		const char *before = client_address(r->client);
		one = (struct fault){ 0 };
		rc = attest_once(r, t, o, p, answer, why, &one);
		if (rc != -ECONNABORTED &&
		    (rc != ERR_POLICY || client_address(r->client) == before))
			break;
	}
	return rc < 0 ? fault_set(f, rc, "%s", one.text) : rc;
}

static int write_certificate(const char *path, const struct buf *der, struct fault *f)
{
	return fd_write_file(AT_FDCWD, path, der->data, der->len, 0644, 1, f);
}

/* What was found, in a refusal or with a certificate. */
static int report(const struct attest_remote *o, const struct remote *r, const json_t *answer,
		  struct client_refusal *why, const struct healthcert *cert, struct fault *f)
{
	struct attest_by by = { .guardian = client_address(r->client), .certificate = cert };
	int rc = 0;
	if (answer)
		rc = client_findings(json_object_get(answer, "findings"), &why->findings, f);
	else
		by.refused = why->id;
	return rc < 0 ? rc : attest_report(&why->findings, &by, o->json, f);
}

static int certify(struct remote *r, struct hosttpm *t, const struct attest_remote *o,
		   struct client_refusal *why, struct fault *f)
{
	struct proof p = { 0 };
	struct healthcert cert;
	struct fault said = { 0 };
	CLEANUP_BUF struct buf der = BUF_INIT(HEALTHCERT_MAX);
	CLEANUP_JSON json_t *info = NULL, *answer = NULL;
	int rc = remote_host_id(0, p.host, f);
	if (rc >= 0)
		rc = remote_get(r, "/v1/info", &info, f);
	if (rc < 0)
		return rc;
	rc = attest_somewhere(r, t, o, &p, &answer, why, &said);
	if (rc == ERR_POLICY && why->id[0]) {
		rc = report(o, r, NULL, why, NULL, f);
		return fault_set(f, rc < 0 && rc != ERR_POLICY ? rc : ERR_POLICY, "%s", said.text);
	}
	if (rc < 0)
		return fault_set(f, rc, "%s", said.text);
	rc = check_certificate(info, answer, &p, &der, &cert, f);
	if (rc >= 0 && o->certificate)
		rc = write_certificate(o->certificate, &der, f);
	return rc < 0 ? rc : report(o, r, answer, why, &cert, f);
}

int attest_remotely(const struct attest_remote *o, struct fault *f)
{
	struct remote r CLEANUP_REMOTE = { 0 };
	struct hosttpm *t = NULL;
	struct client_refusal *why = calloc(1, sizeof(*why));
	if (!why)
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	int rc = remote_open(o->guardian, PATH_HOST_KEY, "attest", &r, f);
	if (rc >= 0 && !o->host_key_only)
		rc = hosttpm_open(o->tcti, &t, f);
	if (rc >= 0)
		rc = certify(&r, t, o, why, f);
	hosttpm_close(t);
	free(why);
	return rc;
}
