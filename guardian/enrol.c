/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/enrol.h"

#include <endian.h>
#include <errno.h>

#include "crypto/strict.h"

#define LABEL_BYTES 16
static const char TPM_LABEL[LABEL_BYTES] = "shieldvm enrol 1";
static const char KEY_LABEL[LABEL_BYTES] = "shieldvm enrolk1";

static int is_tpm(const struct enrolment *e)
{
	return !e->host_key;
}

static int check_sizes(const struct enrolment *e, struct refusal *why)
{
	int rc = store_name_check(e->name, &why->fault);
	if (rc < 0)
		return refuse_failed(why, "request.format", rc);
	int has_tpm = e->ek_pub.n > 0 && e->ak_pub.n > 0 && e->ek_cert.n > 0;
	int has_any = e->ek_pub.n > 0 || e->ak_pub.n > 0 || e->ek_cert.n > 0;
	if (is_tpm(e) ? !has_tpm : has_any)
		return refuse(why, "request.format", ERR_FORMAT,
			      "an enrolment has an EK, its certificate and an AK, or else a key");
	if (e->ek_pub.n > TPM_PUBLIC_MAX || e->ak_pub.n > TPM_PUBLIC_MAX ||
	    e->ek_cert.n > STORE_EK_CERT_MAX)
		return refuse(why, "request.format", ERR_LIMIT,
			      "a key or certificate is too large");
	return 0;
}

/* What identifies an EK: its type and its numbers. */
static int identify_ek(const struct rawkey *k, uint8_t id[static STORE_EK_ID_BYTES])
{
	uint8_t type = (uint8_t)k->type;
	size_t coord = rawkey_coord_bytes(k->type);
	const struct hash_part rsa[] = { { &type, 1 }, { k->n, sizeof(k->n) } };
	const struct hash_part ecc[] = { { &type, 1 }, { k->x, coord }, { k->y, coord } };
	return k->type == RAWKEY_RSA_2048 ? hash_parts(HASH_SHA256, rsa, 2, id)
					  : hash_parts(HASH_SHA256, ecc, 3, id);
}

/* The MAC over all that E and TICKET say: a TPM's secret, or the proof that a ticket is ours. */
static int make_secret(const struct guardian *g, const struct enrolment *e,
		       const struct enrol_ticket *ticket, uint8_t out[static MAC_BYTES])
{
	uint8_t hashes[4][32];
	uint64_t expires = htobe64((uint64_t)ticket->expires);
	CLEANUP_BUF struct buf key = BUF_INIT(STORE_HOST_KEY_MAX);
	int rc = is_tpm(e) ? 0 : jwk_public_text(e->host_key, &key);
	const struct blob parts[4] = { e->ek_pub, e->ak_pub, e->ek_cert, { key.data, key.len } };
	for (size_t i = 0; rc >= 0 && i < 4; i++)
		rc = hash_data(HASH_SHA256, parts[i].data, parts[i].n, hashes[i]);
	if (rc < 0)
		return rc;
	const struct hash_part all[] = {
		{ is_tpm(e) ? TPM_LABEL : KEY_LABEL, LABEL_BYTES },
		{ e->id, sizeof(e->id) },
		{ e->tls_key, sizeof(e->tls_key) },
		{ ticket->nonce, sizeof(ticket->nonce) },
		{ &expires, sizeof(expires) },
		{ hashes, sizeof(hashes) },
		{ e->name, strlen(e->name) },
	};
	return mac_parts(g->mac_key, all, sizeof(all) / sizeof(all[0]), out);
}

/* The EK's certificate says that it is a TPM's. */
static int check_ek(const struct guardian *g, const struct enrolment *e, int64_t now,
		    struct credential_ek *ek, struct refusal *why)
{
	const char *id = NULL;
	int rc = ek_check(e->ek_pub, ek, &id, &why->fault);
	if (rc < 0)
		return refuse_failed(why, id ? id : "ek.format", rc);
	if (!g->ek_roots)
		return refuse(why, "ek.chain", ERR_STATE,
			      "this guardian trusts no maker of TPMs yet");
	const struct hash_part cert = { e->ek_cert.data, e->ek_cert.n };
	rc = ekcert_verify(g->ek_roots, &cert, e->chain, e->n_chain, now, &ek->key, &why->fault);
	if (rc == ERR_PURPOSE)
		return refuse_failed(why, "ek.usage", rc);
	if (rc == ERR_RECIPIENT)
		return refuse_failed(why, "ek.key", rc);
	if (rc == ERR_FORMAT || rc == ERR_LIMIT)
		return refuse_failed(why, "ek.certificate", rc);
	return refuse_failed(why, "ek.chain", rc);
}

/* The secret in a credential that only the EK opens, where the AK is. */
static int make_credential(const struct enrolment *e, const struct credential_ek *ek,
			   const uint8_t secret[static MAC_BYTES], struct buf *id_object,
			   struct buf *encrypted, struct refusal *why)
{
	const char *id = NULL;
	uint8_t name[TPM_NAME_BYTES];
	int rc = ak_check(e->ak_pub, &id, &why->fault);
	if (rc >= 0)
		rc = tpm_name(e->ak_pub, name, &why->fault);
	if (rc < 0)
		return refuse_failed(why, id ? id : "ak.format", rc);
	rc = credential_make(ek, name, sizeof(name), secret, id_object, encrypted, &why->fault);
	return refuse_failed(why, "guardian.keys", rc);
}

int enrol_begin(const struct guardian *g, const struct enrolment *e, int64_t now,
		struct enrol_ticket *ticket, struct buf *id_object, struct buf *encrypted,
		struct refusal *why)
{
	uint8_t secret[MAC_BYTES];
	struct credential_ek ek;
	struct enrol_ticket t = { .expires = now + ENROL_SECONDS };
	int rc = check_sizes(e, why);
	if (rc >= 0 && is_tpm(e))
		rc = check_ek(g, e, now, &ek, why);
	if (rc < 0)
		return rc;
	rc = mac_random(t.nonce, sizeof(t.nonce));
	if (rc >= 0)
		rc = make_secret(g, e, &t, secret);
	if (rc < 0)
		return refuse_failed(why, "guardian.keys", rc);
	if (is_tpm(e))
		rc = make_credential(e, &ek, secret, id_object, encrypted, why);
	else
		memcpy(t.mac, secret, sizeof(t.mac));
	wipe(secret, sizeof(secret));
	if (rc < 0)
		return rc;
	*ticket = t;
	return 0;
}

/* 0 if SECRET is what belongs to E and TICKET, in time. */
static int check_secret(const struct guardian *g, const struct enrolment *e,
			const struct enrol_ticket *ticket, const uint8_t secret[static MAC_BYTES],
			int64_t now, struct refusal *why)
{
	uint8_t want[MAC_BYTES];
	int rc = check_sizes(e, why);
	if (rc < 0)
		return rc;
	if (now >= ticket->expires || ticket->expires > now + ENROL_SECONDS + HEALTHCERT_SKEW)
		return refuse(why, "activation.expired", ERR_STATE,
			      "the enrolment took longer than %d s, or its ticket is of another "
			      "time",
			      ENROL_SECONDS);
	rc = make_secret(g, e, ticket, want);
	if (rc < 0)
		return refuse_failed(why, "guardian.keys", rc);
	int same = mac_same(want, secret, sizeof(want));
	wipe(want, sizeof(want));
	return same ? 0
		    : refuse(why, "activation.credential", ERR_AUTH,
			     "the secret is not the one in the credential for this enrolment");
}

static int make_row(const struct enrolment *e, int64_t now, struct store_host *h,
		    struct refusal *why)
{
	struct credential_ek ek;
	int rc = 0;
	h->mode = is_tpm(e) ? STORE_MODE_TPM : STORE_MODE_HOSTKEY;
	h->enrolled = now;
	memcpy(h->id, e->id, sizeof(h->id));
	memcpy(h->tls_key, e->tls_key, sizeof(h->tls_key));
	memcpy(h->name, e->name, strlen(e->name) + 1);
	if (is_tpm(e)) {
		const char *id = NULL;
		rc = ek_check(e->ek_pub, &ek, &id, &why->fault);
		if (rc < 0)
			return refuse_failed(why, id ? id : "ek.format", rc);
		rc = identify_ek(&ek.key, h->ek_id);
		if (rc >= 0)
			rc = buf_add(&h->ek_cert, e->ek_cert.data, e->ek_cert.n);
		if (rc >= 0)
			rc = buf_add(&h->ak_pub, e->ak_pub.data, e->ak_pub.n);
	} else {
		rc = jwk_public_text(e->host_key, &h->host_key);
	}
	return refuse_failed(why, "guardian.keys", rc);
}

static int add(const struct guardian *g, const struct enrolment *e, int64_t now,
	       uint8_t fingerprint[static STORE_FINGERPRINT_BYTES], struct refusal *why)
{
	uint8_t print[STORE_FINGERPRINT_BYTES];
	STORE_DECISION(s, g->store);
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	int rc = make_row(e, now, &h, why);
	if (rc < 0)
		return rc;
	rc = store_host_fingerprint(&h, print);
	if (rc >= 0)
		rc = store_begin(s, &why->fault);
	if (rc >= 0)
		rc = store_host_add(s, &h, &why->fault);
	if (rc < 0)
		return refuse_failed(why, rc == -EEXIST ? "host.taken" : "guardian.store", rc);
	rc = guardian_commit(g, why);
	if (rc >= 0)
		memcpy(fingerprint, print, sizeof(print));
	return rc;
}

int enrol_finish(const struct guardian *g, const struct enrolment *e,
		 const struct enrol_ticket *ticket, const uint8_t secret[static MAC_BYTES],
		 int64_t now, uint8_t fingerprint[static STORE_FINGERPRINT_BYTES],
		 struct refusal *why)
{
	/* The same MAC stands in the ticket of a host without a TPM, for all to see. */
	if (!is_tpm(e))
		return refuse(why, "host.mode", ERR_FORMAT, "a host without a TPM signs");
	int rc = check_secret(g, e, ticket, secret, now, why);
	return rc < 0 ? rc : add(g, e, now, fingerprint, why);
}

int enrol_finish_key(const struct guardian *g, const struct enrolment *e,
		     const struct enrol_ticket *ticket, const char *statement, size_t n,
		     int64_t now, uint8_t fingerprint[static STORE_FINGERPRINT_BYTES],
		     struct refusal *why)
{
	CLEANUP_BUF struct buf said = BUF_INIT(SIGN_TEXT_MAX), want = BUF_INIT(SIGN_TEXT_MAX);
	if (is_tpm(e))
		return refuse(why, "host.mode", ERR_FORMAT, "a host with a TPM has no key to show");
	int rc = check_secret(g, e, ticket, ticket->mac, now, why);
	if (rc < 0)
		return rc;
	rc = sign_open(e->host_key, STATEMENT_ENROL_TYP, statement, n, &said, &why->fault);
	if (rc < 0)
		return refuse_failed(why, "host.key", rc);
	rc = statement_enrol(e->id, e->name, ticket->nonce, &want);
	if (rc < 0)
		return refuse_failed(why, "guardian.keys", rc);
	if (said.len != want.len || memcmp(said.data, want.data, want.len) != 0)
		return refuse(why, "host.key", ERR_AUTH, "the key signed another enrolment");
	return add(g, e, now, fingerprint, why);
}

int enrol_fingerprint(const struct enrolment *e, uint8_t out[static STORE_FINGERPRINT_BYTES],
		      struct refusal *why)
{
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	int rc = check_sizes(e, why);
	if (rc >= 0)
		rc = make_row(e, 0, &h, why);
	if (rc < 0)
		return rc;
	rc = store_host_fingerprint(&h, out);
	return rc < 0 ? refuse_failed(why, "request.format", rc) : 0;
}
