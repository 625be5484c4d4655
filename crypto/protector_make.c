/* SPDX-License-Identifier: BSD-3-Clause */
/* Making a protector, with libjose: so that what it makes and what crypto/jwe.c reads
 * with libcrypto are two views of the standards, each checking the other. */
#include <errno.h>

#include <jose/jwe.h>
#include <jose/jws.h>

#include "crypto/protector_form.h"

/* What is put together, owned. */
struct making {
	jose_cfg_t *cfg;
	json_t *cek, *jwe, *recipients;
	size_t n;
	char thumbprints[PROTECTOR_RECIPIENTS_MAX][JWK_THUMBPRINT_SIZE];
};

static void making_done(struct making *m)
{
	json_decref(m->cek);
	json_decref(m->jwe);
	json_decref(m->recipients);
	jose_cfg_decref(m->cfg);
}

static int check_facts(const struct protector_facts *facts, struct fault *f)
{
	if (facts->level != LEVEL_ENCRYPTION_SUPPORTED && facts->level != LEVEL_SHIELDED)
		return fault_set(f, ERR_FORMAT, "%d is not a shield level", (int)facts->level);
	if (facts->n_allow > PROTECTOR_ALLOW_MAX)
		return fault_set(f, ERR_LIMIT, "%zu rules to allow, %d is the most", facts->n_allow,
				 PROTECTOR_ALLOW_MAX);
	for (size_t i = 0; i < facts->n_allow; i++) {
		if (!protector_rule_valid(facts->allow[i]))
			return fault_set(f, ERR_USAGE, "\"%.*s\" is not a rule id",
					 PROTECTOR_RULE_MAX, facts->allow[i]);
		if (!protector_may_allow(facts->level, facts->allow[i]))
			return fault_set(f, ERR_USAGE, "at level \"shielded\" %s cannot be allowed",
					 facts->allow[i]);
	}
	return 0;
}

/* Wrap the content key for K, unless that was done already. */
static int add_recipient(struct making *m, const struct jwk *k, struct fault *f)
{
	char thumbprint[JWK_THUMBPRINT_SIZE];
	int rc = jwk_thumbprint(k, thumbprint);
	if (rc < 0)
		return fault_set(f, rc, "a recipient's thumbprint: %s", err_text(rc));
	for (size_t i = 0; i < m->n; i++) {
		if (strcmp(m->thumbprints[i], thumbprint) == 0)
			return 0;
	}
	if (m->n == PROTECTOR_RECIPIENTS_MAX)
		return fault_set(f, ERR_LIMIT, "more than the %d recipients a protector can have",
				 PROTECTOR_RECIPIENTS_MAX);

	CLEANUP_JSON json_t *pub = jwk_to_json(k, 0);
	CLEANUP_JSON json_t *entry = pub ? json_pack("{s:{s:s,s:s,s:O}}", "header", "alg", JWE_ALG,
						     "kid", thumbprint, "jwk", pub)
					 : NULL;
	if (!entry)
		return fault_set(f, -ENOMEM, "no memory for a recipient");
	if (!jose_jwe_enc_jwk(m->cfg, m->jwe, entry, pub, m->cek))
		return fault_set(f, ERR_CRYPTO, "the VM key could not be wrapped for %s",
				 thumbprint);
	/* libjose also files ENTRY in the JWE, in a form that depends on how many there are; only
	 * the general one is ours. */
	if (json_array_append(m->recipients, entry) < 0)
		return fault_set(f, -ENOMEM, "no memory for a recipient");
	memcpy(m->thumbprints[m->n++], thumbprint, JWK_THUMBPRINT_SIZE);
	return 0;
}

/* The JWE: KEY, encrypted, and the content key wrapped for everybody.  A new reference. */
static int make_jwe(const struct protector_facts *facts, const struct vm_key *key,
		    const struct jwk *owner, const struct jwk *const *hosts, size_t n,
		    const struct protector_guards *guards, json_t **out, struct fault *f)
{
	CLEANUP(making_done) struct making m = { .cfg = protector_quiet_jose() };
	char vm[UUID_TEXT_SIZE], thumbprint[JWK_THUMBPRINT_SIZE];
	uuid_format(facts->vm, vm);
	int rc = jwk_thumbprint(owner, thumbprint);
	if (rc < 0)
		return fault_set(f, rc, "the owner's thumbprint: %s", err_text(rc));
	m.cek = json_object();
	m.recipients = json_array();
	m.jwe = json_pack("{s:{s:s,s:s,s:s,s:s}}", "protected", "enc", JWE_ENC, "typ",
			  PROTECTOR_JWE_TYP, "vm", vm, "owner", thumbprint);
	if (!m.cfg || !m.cek || !m.recipients || !m.jwe)
		return fault_set(f, -ENOMEM, "no memory for a protector");

	rc = add_recipient(&m, owner, f);
	for (size_t i = 0; i < n && rc >= 0; i++)
		rc = add_recipient(&m, hosts[i], f);
	for (size_t i = 0; i < guards->n && rc >= 0; i++)
		rc = add_recipient(&m, guards->keys[i], f);
	if (rc < 0)
		return rc;
	if (!jose_jwe_enc_cek(m.cfg, m.jwe, m.cek, key->bytes, KEY_BYTES))
		return fault_set(f, ERR_CRYPTO, "the VM key could not be encrypted");
	*out = json_pack("{s:O,s:O,s:O,s:O,s:O}", "protected", json_object_get(m.jwe, "protected"),
			 "recipients", m.recipients, "iv", json_object_get(m.jwe, "iv"),
			 "ciphertext", json_object_get(m.jwe, "ciphertext"), "tag",
			 json_object_get(m.jwe, "tag"));
	return *out ? 0 : fault_set(f, ERR_CRYPTO, "libjose left the wrapped key incomplete");
}

/* Everything that the owner signs, as JSON. */
static int make_payload(const struct protector_facts *facts, const struct jwk *owner, json_t *jwe,
			const struct protector_guards *guards, struct buf *out, struct fault *f)
{
	char vm[UUID_TEXT_SIZE], tpm[PROTECTOR_TPM_TEXT_SIZE];
	CLEANUP_JSON json_t *allow = json_array();
	CLEANUP_JSON json_t *owner_json = jwk_to_json(owner, 0);
	uuid_format(facts->vm, vm);
	protector_tpm_text(facts->tpm_id, tpm);
	int ok = allow && owner_json;
	for (size_t i = 0; i < facts->n_allow && ok; i++)
		ok = json_array_append_new(allow, json_string(facts->allow[i])) == 0;
	CLEANUP_JSON json_t *o =
		ok ? json_pack("{s:i,s:s,s:s,s:O,s:s,s:O,s:O}", "v",
			       guards->n ? PROTECTOR_VERSION_GUARDED : PROTECTOR_VERSION, "vm", vm,
			       "level", level_name(facts->level), "allow", allow, "tpm", tpm,
			       "owner", owner_json, "key", jwe)
		   : NULL;
	int rc = o && guards->n ? protector_put_guardians(facts, guards, o, f) : 0;
	if (rc < 0)
		return rc;
	CLEANUP_FREE char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	if (!text)
		return fault_set(f, -ENOMEM, "no memory for a protector");
	rc = buf_add(out, text, strlen(text));
	return rc < 0 ? fault_set(f, rc, "the protector is over %d bytes long", PROTECTOR_TEXT_MAX)
		      : 0;
}

/* The compact JWS of PAYLOAD. */
static int sign(const struct jwk *owner, const struct buf *payload, struct buf *out,
		struct fault *f)
{
	char thumbprint[JWK_THUMBPRINT_SIZE];
	CLEANUP_BUF struct buf b64 = BUF_INIT(PROTECTOR_TEXT_MAX);
	jose_cfg_auto_t *cfg = protector_quiet_jose();
	int rc = jwk_thumbprint(owner, thumbprint);
	if (rc >= 0)
		rc = strict_b64_put(&b64, payload->data, payload->len);
	if (rc < 0)
		return fault_set(f, rc, "the protector cannot be written: %s", err_text(rc));
	CLEANUP_JSON json_t *key = jwk_to_json(owner, 1);
	CLEANUP_JSON json_t *jws = json_pack("{s:s%}", "payload", b64.data, b64.len);
	CLEANUP_JSON json_t *sig =
		json_pack("{s:{s:s,s:s,s:s}}", "protected", "alg", PROTECTOR_JWS_ALG, "typ",
			  PROTECTOR_JWS_TYP, "kid", thumbprint);
	if (!cfg || !key || !jws || !sig)
		return fault_set(f, -ENOMEM, "no memory for a protector");
	if (!jose_jws_sig(cfg, jws, sig, key))
		return fault_set(f, ERR_CRYPTO, "libjose could not sign the protector");
	const char *header = strict_text(jws, "protected");
	const char *signature = strict_text(jws, "signature");
	if (!header || !signature)
		return fault_set(f, ERR_CRYPTO, "libjose left the signature incomplete");
	rc = buf_addf(out, "%s.%s.%s", header, buf_cstr(&b64), signature);
	return rc < 0 ? fault_set(f, rc, "the protector is over %d bytes long", PROTECTOR_TEXT_MAX)
		      : 0;
}

int protector_make(const struct protector_facts *facts, const struct vm_key *key,
		   const struct jwk *owner, const struct jwk *const *hosts, size_t n,
		   const struct protector_guards *guards, struct buf *out, struct fault *f)
{
	static const struct protector_guards NONE = { 0 };
	CLEANUP_JSON json_t *jwe = NULL;
	CLEANUP_BUF struct buf payload = BUF_INIT(PROTECTOR_TEXT_MAX);
	CLEANUP_BUF struct buf text = BUF_INIT(PROTECTOR_TEXT_MAX);
	CLEANUP_PROTECTOR struct protector *again = NULL;
	if (!jwk_is_private(owner))
		return fault_set(f, ERR_USAGE, "the owner's private key is needed to sign");
	if (!guards)
		guards = &NONE;
	if (n == 0 && guards->n == 0)
		return fault_set(f, ERR_USAGE,
				 "neither a host nor a guardian is given: nothing could run the "
				 "VM");
	int rc = check_facts(facts, f);
	if (rc >= 0)
		rc = protector_check_guards(facts, guards, f);
	if (rc >= 0)
		rc = make_jwe(facts, key, owner, hosts, n, guards, &jwe, f);
	if (rc >= 0)
		rc = make_payload(facts, owner, jwe, guards, &payload, f);
	if (rc >= 0)
		rc = sign(owner, &payload, &text, f);
	/* What is handed out can be read back: a rule id given twice, say, ends here. */
	if (rc >= 0)
		rc = protector_parse((const char *)text.data, text.len, &again, f);
	if (rc < 0)
		return rc;
	rc = buf_add(out, text.data, text.len);
	return rc < 0 ? fault_set(f, rc, "no room for the protector: %s", err_text(rc)) : 0;
}
