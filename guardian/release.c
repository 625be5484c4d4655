/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/release.h"

#include <errno.h>

_Static_assert(KEYRELEASE_REQUEST_BYTES == LEDGER_REQUEST_BYTES, "one id of a request");
_Static_assert(ATTEST_WORKER_KEY_BYTES == RAWKEY_P256_POINT, "a worker's key is a point");

/* The owner's, for this VM and this guardian. */
static int open_protector(const struct ecdh *ecdh, const struct keyrelease_about *about,
			  struct protector **out, struct refusal *why)
{
	CLEANUP_PROTECTOR struct protector *p = NULL;
	int rc = protector_parse(about->protector, about->protector_chars, &p, &why->fault);
	if (rc < 0)
		return refuse_failed(
			why, rc == ERR_AUTH ? "protector.signature" : "protector.invalid", rc);
	if (memcmp(protector_facts(p)->vm, about->vm, sizeof(about->vm)) != 0)
		return refuse(why, "protector.vm", ERR_VM, "the protector is another VM's");
	/* Its release log is the admins' (guardian/ledger.h): none is written to, or read, as a
	 * VM's. */
	static const uint8_t NO_VM[UUID_BYTES] = { 0 };
	if (memcmp(about->vm, NO_VM, sizeof(NO_VM)) == 0)
		return refuse(why, "protector.vm", ERR_VM, "no VM has a UUID that is all zero");
	size_t i = 0;
	while (i < protector_n_recipients(p) &&
	       strcmp(protector_recipient(p, i), ecdh->thumbprint) != 0)
		i++;
	if (i == protector_n_recipients(p))
		return refuse(why, "protector.recipient", ERR_RECIPIENT,
			      "the protector has no entry for this guardian's key");
	*out = p;
	p = NULL;
	return 0;
}

/* R for whom ASK names, at HOST's key, and a copy for the host if it is to keep one; both or
 * neither. */
static int seal_both(const uint8_t host[static RAWKEY_P256_POINT], const struct release_ask *ask,
		     int keep, const struct keyrelease *r, struct buf *out, struct buf *copy,
		     struct fault *f)
{
	CLEANUP_BUF struct buf kept = BUF_INIT(KEYRELEASE_INNER_BYTES);
	int rc = keep ? keyrelease_seal_copy(host, &ask->about, r, &kept, f) : 0;
	if (rc >= 0)
		rc = buf_reserve(copy, kept.len);
	if (rc >= 0)
		rc = keyrelease_seal(host, ask->worker, &ask->about, r, out, f);
	return rc < 0 || !keep ? rc : buf_add(copy, kept.data, kept.len);
}

/* What ECDH's entry of P has: before anything is recorded or lent for it, since it may fail. */
static int unwrap(const struct ecdh *ecdh, const struct protector *p, struct content_key *key,
		  struct refusal *why)
{
	int rc = protector_unwrap_content_key(p, ecdh, key, &why->fault);
	/* The entry is not at fault if the key could not be used at all. */
	return refuse_failed(why, rc > -4096 ? "guardian.keys" : "protector.unwrap", rc);
}

/* Seal KEY to whom GRANT names. */
static int seal(const struct release_ask *ask, const struct protector *p,
		const struct content_key *key, const struct lease_grant *grant, struct buf *out,
		struct buf *copy, struct refusal *why)
{
	struct release_ask granted = *ask;
	granted.about.restore = grant->by_ticket ? keyrelease_restore((uint64_t)grant->ticket) : 0;
	struct keyrelease r = {
		.key = *key, .token = grant->token, .expires = grant->expires, .spent = grant->spent
	};
	uint8_t host[RAWKEY_P256_POINT] = { 4 };
	memcpy(host + 1, grant->health.x, 32);
	memcpy(host + 33, grant->health.y, 32);
	int rc = seal_both(host, &granted, !ask->incoming && protector_facts(p)->offline > 0, &r,
			   out, copy, &why->fault);
	wipe(&r, sizeof(r));
	return refuse_failed(why, "guardian.keys", rc);
}

int release_request(const struct guardian *g, const uint8_t host[static UUID_BYTES],
		    const uint8_t request[static LEDGER_REQUEST_BYTES], int64_t now,
		    struct refusal *why)
{
	static const char LABEL[] = "shieldvm/1/request";
	uint8_t id[STORE_HASH_BYTES];
	const struct hash_part parts[] = { { LABEL, sizeof(LABEL) },
					   { host, UUID_BYTES },
					   { request, LEDGER_REQUEST_BYTES } };
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	STORE_DECISION(s, g->store);
	int rc = refuse_failed(why, "guardian.keys", hash_parts(HASH_SHA256, parts, 3, id));
	if (rc >= 0)
		rc = refuse_failed(why, "guardian.store", store_begin(s, &why->fault));
	if (rc >= 0)
		rc = guardian_approved(g, host, &h, why);
	if (rc < 0)
		return rc;
	rc = store_nonce_use(s, STORE_NONCE_REQUEST, id, host, now, now + RELEASE_SECONDS,
			     &why->fault);
	if (rc == -EEXIST || rc == ERR_LIMIT)
		why->fault = (struct fault){ 0 };
	if (rc == -EEXIST)
		return refuse(why, "request.used", rc, "the request was made before");
	if (rc == ERR_LIMIT)
		return refuse(why, "request.rate", rc,
			      "the host has asked for %d releases in the last %d s",
			      RELEASE_PER_HOST, RELEASE_SECONDS);
	rc = refuse_failed(why, "guardian.store", rc);
	return rc < 0 ? rc : guardian_commit(g, why);
}

/* What ASK, whose protector P is, asks of the lease. */
static struct lease_ask lease_of(const struct release_ask *ask, const struct protector *p)
{
	struct lease_ask l = {
		.owner = protector_owner(p),
		.least = protector_facts(p)->least,
		.edition = protector_facts(p)->edition,
		.certificate = ask->about.certificate,
		.certificate_bytes = ask->about.certificate_bytes,
		.version = ask->version,
		.ticket = ask->ticket,
		.ticket_chars = ask->ticket_chars,
		.restore = ask->restore,
	};
	memcpy(l.vm, ask->about.vm, sizeof(l.vm));
	memcpy(l.host, ask->host, sizeof(l.host));
	memcpy(l.worker, ask->worker, sizeof(l.worker));
	memcpy(l.request, ask->about.request, sizeof(l.request));
	return l;
}

int release_key(const struct guardian *g, const struct ecdh *ecdh, const struct release_ask *ask,
		int64_t now, struct buf *out, struct buf *copy, struct lease_grant *grant,
		struct refusal *why)
{
	struct lease_grant given;
	CLEANUP_PROTECTOR struct protector *p = NULL;
	struct content_key key;
	int rc = open_protector(ecdh, &ask->about, &p, why);
	if (rc >= 0)
		rc = unwrap(ecdh, p, &key, why);
	if (rc < 0)
		return rc;
	struct lease_ask start = lease_of(ask, p);
	rc = ask->incoming ? lease_incoming(g, &start, now, &given, why)
			   : lease_start(g, &start, now, &given, why);
	if (rc >= 0)
		rc = seal(ask, p, &key, &given, out, copy, why);
	wipe(&key, sizeof(key));
	if (rc < 0)
		return rc;
	*grant = given;
	return 0;
}
