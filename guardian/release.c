/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/release.h"

_Static_assert(KEYRELEASE_REQUEST_BYTES == LEDGER_REQUEST_BYTES, "one id of a request");
_Static_assert(ATTEST_WORKER_KEY_BYTES == RAWKEY_P256_POINT, "a worker's key is a point");

/* The owner's, for this VM and this guardian. */
static int open_protector(const struct ecdh *ecdh, const struct keyrelease_about *about,
			  struct protector **out, struct refusal *why)
{
	CLEANUP_PROTECTOR struct protector *p = NULL;
	int rc = protector_parse(about->protector, about->protector_chars, &p, &why->fault);
	if (rc < 0)
		return refuse_failed(why, "protector.invalid", rc);
	if (memcmp(protector_facts(p)->vm, about->vm, sizeof(about->vm)) != 0)
		return refuse(why, "protector.vm", ERR_VM, "the protector is another VM's");
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

/* Unwrap the key and seal it to whom GRANT names. */
static int seal(const struct ecdh *ecdh, const struct release_ask *ask, const struct protector *p,
		const struct lease_grant *grant, struct buf *out, struct refusal *why)
{
	CLEANUP_KEY struct vm_key key = { { 0 } };
	struct keyrelease r = { .token = grant->token,
				.expires = grant->expires,
				.spent = grant->spent };
	uint8_t host[RAWKEY_P256_POINT] = { 4 };
	memcpy(host + 1, grant->health.x, 32);
	memcpy(host + 33, grant->health.y, 32);
	int rc = protector_unwrap(p, ecdh, &key, &why->fault);
	if (rc < 0)
		return refuse_failed(why, "protector.unwrap", rc);
	r.key = key;
	rc = keyrelease_seal(host, ask->worker, &ask->about, &r, out, &why->fault);
	key_done(&r.key);
	return refuse_failed(why, "protector.unwrap", rc);
}

int release_key(const struct guardian *g, const struct ecdh *ecdh, const struct release_ask *ask,
		int64_t now, struct buf *out, struct lease_grant *grant, struct refusal *why)
{
	struct lease_grant given;
	CLEANUP_PROTECTOR struct protector *p = NULL;
	int rc = open_protector(ecdh, &ask->about, &p, why);
	if (rc < 0)
		return rc;
	struct lease_ask start = {
		.owner = protector_owner(p),
		.least = HEALTHCERT_TPM,
		.certificate = ask->about.certificate,
		.certificate_bytes = ask->about.certificate_bytes,
		.version = ask->version,
		.ticket = ask->ticket,
		.ticket_chars = ask->ticket_chars,
	};
	memcpy(start.vm, ask->about.vm, sizeof(start.vm));
	memcpy(start.host, ask->host, sizeof(start.host));
	memcpy(start.worker, ask->worker, sizeof(start.worker));
	memcpy(start.request, ask->about.request, sizeof(start.request));
	rc = lease_start(g, &start, now, &given, why);
	if (rc < 0)
		return rc;
	rc = seal(ecdh, ask, p, &given, out, why);
	if (rc < 0)
		return rc;
	*grant = given;
	return 0;
}
