/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys and leases: what hosts that run VMs ask, the word that takes a lease back, and what an owner
 * may read of it. */
#include <errno.h>
#include <string.h>

#include "crypto/mac.h"
#include "crypto/tls.h"
#include "guardian/release.h"
#include "guardian/service_form.h"

/* A release as it came in. */
struct release_in {
	struct release_ask ask;
	struct buf certificate;
};

static void release_in_done(struct release_in *in)
{
	buf_done(&in->certificate);
}

static int read_ticket(struct call *c, struct release_in *in)
{
	int rc = call_text(c, "ticket", &in->ask.ticket);
	if (rc < 0)
		return rc;
	in->ask.ticket_chars = strlen(in->ask.ticket);
	if (json_object_get(c->in, "restore"))
		rc = call_integer(c, "restore", &in->ask.restore);
	if (rc < 0)
		return rc;
	if (in->ask.incoming)
		return refuse(&c->why, "request.format", ERR_FORMAT,
			      "a ticket is for a start, and not for a VM that is to come");
	return 0;
}

static int read_release(struct call *c, struct release_in *in)
{
	struct keyrelease_about *about = &in->ask.about;
	int ticket = json_object_get(c->in, "ticket") != NULL;
	int restore = ticket && json_object_get(c->in, "restore") != NULL;
	int rc = restore  ? CALL_MEMBERS(c, "id", "vm", "request", "worker", "version", "incoming",
					 "certificate", "protector", "ticket", "restore")
		 : ticket ? CALL_MEMBERS(c, "id", "vm", "request", "worker", "version", "incoming",
					 "certificate", "protector", "ticket")
			  : CALL_MEMBERS(c, "id", "vm", "request", "worker", "version", "incoming",
					 "certificate", "protector");
	if (rc >= 0)
		rc = call_id(c, "id", in->ask.host);
	if (rc >= 0)
		rc = call_id(c, "vm", about->vm);
	if (rc >= 0)
		rc = call_bytes(c, "request", about->request, sizeof(about->request));
	if (rc >= 0)
		rc = call_bytes(c, "worker", in->ask.worker, sizeof(in->ask.worker));
	if (rc >= 0)
		rc = call_integer(c, "version", &in->ask.version);
	if (rc >= 0)
		rc = call_boolean(c, "incoming", &in->ask.incoming);
	if (rc >= 0)
		rc = call_blob(c, "certificate", &in->certificate);
	if (rc >= 0)
		rc = call_text(c, "protector", &about->protector);
	if (rc >= 0 && ticket)
		rc = read_ticket(c, in);
	if (rc < 0)
		return rc;
	about->protector_chars = strlen(about->protector);
	about->certificate = in->certificate.data;
	about->certificate_bytes = in->certificate.len;
	return 0;
}

/* The host asks, may ask, and asks this for the first time. */
static int begin(struct call *c, const struct release_in *in)
{
	int rc = call_peer(c, in->ask.host);
	if (rc < 0)
		return rc;
	if (!c->g->release)
		return refuse(&c->why, "guardian.keys", ERR_STATE,
			      "this guardian has no key that protectors can name");
	return release_request(c->g, in->ask.host, in->ask.about.request, c->now, &c->why);
}

int service_release(struct call *c)
{
	struct lease_grant grant;
	CLEANUP_BUF struct buf sealed = BUF_INIT(KEYRELEASE_BYTES);
	CLEANUP_BUF struct buf copy = BUF_INIT(KEYRELEASE_INNER_BYTES);
	CLEANUP(release_in_done)
	struct release_in in = { .certificate = BUF_INIT(HEALTHCERT_MAX) };
	int rc = read_release(c, &in);
	if (rc >= 0)
		rc = begin(c, &in);
	if (rc >= 0)
		rc = release_key(c->g, c->g->release, &in.ask, c->now, &sealed, &copy, &grant,
				 &c->why);
	if (rc < 0)
		return rc;
	json_t *answer = json_pack("{s:o,s:I,s:I,s:I}", "key", service_b64(sealed.data, sealed.len),
				   "token", (json_int_t)grant.token, "expires",
				   (json_int_t)grant.expires, "spent", (json_int_t)grant.spent);
	if (answer && copy.len > 0 &&
	    json_object_set_new(answer, "copy", service_b64(copy.data, copy.len)) < 0) {
		json_decref(answer);
		answer = NULL;
	}
	return call_answer(c, answer);
}

/* A host's word about the instance that it runs. */
struct holder {
	uint8_t id[UUID_BYTES], vm[UUID_BYTES];
	int64_t token, version;
};

static int read_holder(struct call *c, struct holder *h)
{
	int rc = CALL_MEMBERS(c, "id", "vm", "token", "version");
	if (rc >= 0)
		rc = call_id(c, "id", h->id);
	if (rc >= 0)
		rc = call_id(c, "vm", h->vm);
	if (rc >= 0)
		rc = call_integer(c, "token", &h->token);
	if (rc >= 0)
		rc = call_integer(c, "version", &h->version);
	return rc < 0 ? rc : call_peer(c, h->id);
}

int service_report(struct call *c)
{
	struct holder h;
	int64_t expires;
	int rc = read_holder(c, &h);
	if (rc >= 0)
		rc = lease_report(c->g, h.id, h.vm, h.token, h.version, c->now, &expires, &c->why);
	if (rc < 0)
		return rc;
	return call_answer(c, json_pack("{s:I}", "expires", (json_int_t)expires));
}

int service_take(struct call *c)
{
	struct holder h;
	int64_t token, expires;
	int rc = read_holder(c, &h);
	if (rc >= 0)
		rc = lease_take(c->g, h.id, h.vm, h.token, h.version, c->now, &token, &expires,
				&c->why);
	if (rc < 0)
		return rc;
	return call_answer(c, json_pack("{s:I,s:I}", "token", (json_int_t)token, "expires",
					(json_int_t)expires));
}

int service_stop(struct call *c)
{
	struct holder h;
	int rc = read_holder(c, &h);
	if (rc >= 0)
		rc = lease_stop(c->g, h.id, h.vm, h.token, h.version, c->now, &c->why);
	return rc < 0 ? rc : call_done(c);
}

/* By the owner's word, which any admin or reviewer may bring. */
static int takeback_by_owner(struct call *c)
{
	uint8_t vm[UUID_BYTES];
	const char *statement;
	CLEANUP_JWK struct jwk *owner = NULL;
	int rc = CALL_MEMBERS(c, "vm", "owner_key", "statement");
	if (rc >= 0)
		rc = call_id(c, "vm", vm);
	if (rc >= 0)
		rc = call_key(c, "owner_key", &owner);
	if (rc >= 0)
		rc = call_text(c, "statement", &statement);
	if (rc >= 0)
		rc = lease_takeback_by_owner(c->g, owner, vm, statement, strlen(statement), c->now,
					     &c->why);
	return rc < 0 ? rc : call_done(c);
}

int service_takeback(struct call *c)
{
	uint8_t vm[UUID_BYTES];
	const char *owner;
	if (json_object_get(c->in, "statement"))
		return takeback_by_owner(c);
	int rc = CALL_MEMBERS(c, "vm", "owner");
	if (rc >= 0)
		rc = call_id(c, "vm", vm);
	if (rc >= 0)
		rc = call_text(c, "owner", &owner);
	if (rc >= 0)
		rc = lease_takeback(c->g, c->q->peer, vm, owner, c->now, &c->why);
	return rc < 0 ? rc : call_done(c);
}

/* Who asks has KEY, and KEY's is a VM with the UUID VM that was released here. */
/* KEY is of who asks, and of the owner of a VM that was released; its thumbprint. */
static int check_owner(struct call *c, const struct jwk *key, const uint8_t vm[static UUID_BYTES],
		       char owner[static JWK_THUMBPRINT_SIZE])
{
	uint8_t print[TLS_FINGERPRINT_BYTES];
	struct store_vm row;
	int rc = tls_fingerprint(key, print);
	if (rc >= 0)
		rc = jwk_thumbprint(key, owner);
	if (rc < 0)
		return refuse_failed(&c->why, "guardian.keys", rc);
	if (!mac_same(print, c->q->peer, sizeof(print)))
		return refuse(&c->why, "owner.certificate", ERR_AUTH,
			      "the client certificate is not of the owner's key that is named");
	rc = store_vm_get(c->g->store, vm, owner, &row, &c->why.fault);
	if (rc == -ENOENT)
		return refuse(&c->why, "owner.unknown", rc,
			      "no VM of this owner's with this UUID was released here");
	return refuse_failed(&c->why, "guardian.store", rc);
}

int service_owner_log(struct call *c)
{
	uint8_t vm[UUID_BYTES];
	int64_t from;
	char thumbprint[JWK_THUMBPRINT_SIZE];
	CLEANUP_JWK struct jwk *owner = NULL;
	int rc = CALL_MEMBERS(c, "vm", "owner_key", "from");
	if (rc >= 0)
		rc = call_id(c, "vm", vm);
	if (rc >= 0)
		rc = call_key(c, "owner_key", &owner);
	if (rc >= 0)
		rc = call_integer(c, "from", &from);
	if (rc >= 0 && from < 1)
		return refuse(&c->why, "request.format", ERR_FORMAT, "records begin at 1");
	if (rc >= 0)
		rc = check_owner(c, owner, vm, thumbprint);
	return rc < 0 ? rc : call_answer_log(c, vm, thumbprint, from);
}
