/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/enlist.h"

#include <errno.h>
#include <string.h>

#include "attest/form.h"
#include "attest/hosttpm.h"
#include "crypto/sign.h"
#include "crypto/strict.h"

/* What is sent twice. */
static json_t *describe(const struct enrolment *e)
{
	char uuid[UUID_TEXT_SIZE];
	uuid_format(e->id, uuid);
	if (e->host_key) {
		CLEANUP_BUF struct buf text = BUF_INIT(JWK_FILE_MAX);
		json_t *key = jwk_public_text(e->host_key, &text) >= 0
				      ? json_loadb((const char *)text.data, text.len, 0, NULL)
				      : NULL;
		return json_pack("{s:s, s:s, s:o}", "id", uuid, "name", e->name, "host_key", key);
	}
	json_t *chain = json_array();
	for (size_t i = 0; chain && i < e->n_chain; i++) {
		if (json_array_append_new(chain, remote_bytes(e->chain[i].data, e->chain[i].n)) <
		    0) {
			json_decref(chain);
			chain = NULL;
		}
	}
	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "id", uuid, "name", e->name, "ek_pub",
			 remote_bytes(e->ek_pub.data, e->ek_pub.n), "ak_pub",
			 remote_bytes(e->ak_pub.data, e->ak_pub.n), "ek_cert",
			 remote_bytes(e->ek_cert.data, e->ek_cert.n), "chain", chain);
}

/* The TPM's proof that it is the one with this EK and AK. */
static json_t *activate(struct hosttpm *t, const json_t *begun, struct fault *f)
{
	uint8_t secret[32];
	CLEANUP_BUF struct buf object = BUF_INIT(CREDENTIAL_ID_OBJECT_MAX);
	CLEANUP_BUF struct buf encrypted = BUF_INIT(CREDENTIAL_ENCRYPTED_MAX);
	int rc = remote_take_buf(begun, "id_object", &object, f);
	if (rc >= 0)
		rc = remote_take_buf(begun, "encrypted", &encrypted, f);
	if (rc >= 0)
		rc = hosttpm_activate(t, (struct blob){ object.data, object.len },
				      (struct blob){ encrypted.data, encrypted.len }, secret, f);
	if (rc < 0)
		return NULL;
	json_t *text = remote_bytes(secret, sizeof(secret));
	if (!text)
		fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	wipe(secret, sizeof(secret));
	return text;
}

/* The host key's proof, where there is no TPM. */
static json_t *sign(const struct enrolment *e, const json_t *begun, struct fault *f)
{
	uint8_t nonce[STATEMENT_NONCE_BYTES];
	CLEANUP_BUF struct buf statement = BUF_INIT(SIGN_TEXT_MAX);
	CLEANUP_BUF struct buf jws = BUF_INIT(SIGN_TEXT_MAX);
	int rc = remote_take(begun, "nonce", nonce, sizeof(nonce), f);
	if (rc >= 0)
		rc = statement_enrol(e->id, e->name, nonce, &statement);
	if (rc >= 0)
		rc = sign_make(e->host_key, STATEMENT_ENROL_TYP, statement.data, statement.len,
			       &jws, f);
	json_t *text = rc >= 0 ? json_stringn((const char *)jws.data, jws.len) : NULL;
	if (!text)
		fault_set(f, rc < 0 ? rc : -ENOMEM, "%s", err_text(rc < 0 ? rc : -ENOMEM));
	return text;
}

/* BODY with what of BEGUN goes back unchanged, and with PROOF, which is taken over. */
static int answer(json_t *body, const json_t *begun, const char *name, json_t *proof,
		  struct fault *f)
{
	static const char *const BACK[] = { "nonce", "expires", "mac" };
	int rc = proof ? 0 : f->rc;
	for (size_t i = 0; rc >= 0 && i < 3; i++) {
		json_t *value = json_object_get(begun, BACK[i]);
		if (!value)
			rc = fault_set(f, ERR_FORMAT, "the guardian's answer has no \"%s\"",
				       BACK[i]);
		else if (json_object_set(body, BACK[i], value) < 0)
			rc = -ENOMEM;
	}
	if (rc < 0)
		json_decref(proof);
	else if (json_object_set_new(body, name, proof) < 0)
		rc = -ENOMEM;
	return rc < 0 ? fault_set(f, rc, "%s", err_text(rc)) : 0;
}

int enlist(struct remote *r, struct hosttpm *t, const struct enrolment *e,
	   const uint8_t print[static STATEMENT_PRINT_BYTES], struct fault *f)
{
	uint8_t theirs[STATEMENT_PRINT_BYTES];
	CLEANUP_JSON json_t *begun = NULL, *body = describe(e), *finished = NULL;
	int rc = remote_post(r, "/v1/enrol/begin", json_incref(body), CLIENT_REPEATABLE, &begun,
			     NULL, f);
	if (rc < 0)
		return rc;
	rc = t ? answer(body, begun, "secret", activate(t, begun, f), f)
	       : answer(body, begun, "statement", sign(e, begun, f), f);
	if (rc >= 0)
		rc = remote_post(r, "/v1/enrol/finish", json_incref(body), CLIENT_ONCE, &finished,
				 NULL, f);
	if (rc < 0)
		return rc;
	const char *hex = strict_text(finished, "fingerprint");
	if (form_hex(hex, sizeof(theirs), theirs) < 0 || memcmp(theirs, print, sizeof(theirs)) != 0)
		return fault_set(f, ERR_AUTH,
				 "the guardian has enrolled other keys than this host's; have its"
				 " admin revoke them and look after it");
	return 0;
}
