/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/lease.h"

#include <errno.h>
#include <inttypes.h>

#include "guardian/admin.h"
#include "guardian/store_vm.h"

static int begin(const struct guardian *g, struct refusal *why)
{
	return refuse_failed(why, "guardian.store", store_begin(g->store, &why->fault));
}

/* The certificate by itself, before the database is asked. */
static int open_certificate(const struct guardian *g, const struct lease_ask *ask, int64_t now,
			    struct healthcert *out, struct refusal *why)
{
	uint8_t hash[STORE_HASH_BYTES];
	int rc = healthcert_open(g->ca, ask->certificate, ask->certificate_bytes, ask->host, now,
				 out, &why->fault);
	if (rc < 0)
		return refuse_failed(why,
				     rc == ERR_POLICY	   ? "certificate.expired"
				     : rc == ERR_RECIPIENT ? "certificate.host"
							   : "certificate.invalid",
				     rc);
	rc = hash_data(HASH_SHA256, ask->worker, sizeof(ask->worker), hash);
	if (rc < 0)
		return refuse_failed(why, "guardian.keys", rc);
	if (memcmp(hash, out->worker_hash, sizeof(hash)) != 0)
		return refuse(why, "certificate.worker", ERR_AUTH,
			      "the host was certified for another worker's key");
	if (out->assurance != HEALTHCERT_TPM && ask->least != HEALTHCERT_HOSTKEY)
		return refuse(why, "certificate.assurance", ERR_POLICY,
			      "the VM's owner wants a host whose TPM has shown its health, and "
			      "this one only has a key");
	return 0;
}

/* What the database says about it, in the transaction that is open. */
static int check_certificate(const struct guardian *g, const struct healthcert *cert,
			     struct refusal *why)
{
	int64_t floor = INT64_MAX;
	struct store_certificate row;
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	int rc = guardian_approved(g, cert->host, &h, why);
	if (rc < 0)
		return rc;
	rc = store_certificate_get(g->store, cert->serial, &row, &why->fault);
	if (rc == -ENOENT)
		return refuse_failed(why, "certificate.invalid", rc);
	if (rc >= 0)
		rc = store_floor(g->store, &floor, &why->fault);
	if (rc < 0)
		return refuse_failed(why, "guardian.store", rc);
	if ((int64_t)cert->generation < floor)
		return refuse(why, "certificate.floor", ERR_POLICY,
			      "the host was judged by policy %" PRIu32 ", and only %" PRId64
			      " and later count",
			      cert->generation, floor);
	if ((h.mode == STORE_MODE_TPM) != (cert->assurance == HEALTHCERT_TPM))
		return refuse(why, "host.changed", ERR_STATE,
			      "the host was enrolled in another way meanwhile");
	if (cert->not_before < h.decided)
		return refuse(why, "host.changed", ERR_STATE,
			      "the certificate is older than the host's approval");
	if (h.mode == STORE_MODE_TPM &&
	    (h.reset_count != cert->reset_count || h.restart_count != cert->restart_count))
		return refuse(why, "certificate.reset", ERR_STATE,
			      "the host's TPM was restarted since this certificate");
	return 0;
}

/* The row of OWNER's VM, or a new one. */
static int get_vm(const struct guardian *g, const uint8_t vm[static UUID_BYTES], const char *owner,
		  struct store_vm *v, struct refusal *why)
{
	struct fault f = { 0 };
	int rc = store_vm_get(g->store, vm, owner, v, &f);
	if (rc == -ENOENT) {
		*v = (struct store_vm){ .held = 0 };
		memcpy(v->vm, vm, sizeof(v->vm));
		memcpy(v->owner, owner, strlen(owner) + 1);
		return 0;
	}
	return rc < 0 ? refuse(why, "guardian.store", rc, "%s", f.text) : 0;
}

/* The row of the VM that ASK is about, or a new one. */
static int get_asked(const struct guardian *g, const struct lease_ask *ask, struct store_vm *v,
		     struct refusal *why)
{
	char owner[JWK_THUMBPRINT_SIZE];
	int rc = jwk_thumbprint(ask->owner, owner);
	return rc < 0 ? refuse_failed(why, "guardian.keys", rc) : get_vm(g, ask->vm, owner, v, why);
}

/* The token of the lease that somebody has; 0: nobody. */
static int64_t present_token(const struct store_vm *v)
{
	return v->held ? v->token : 0;
}

/* The VM whose lease HOST has with TOKEN. */
static int get_held(const struct guardian *g, const uint8_t host[static UUID_BYTES],
		    const uint8_t vm[static UUID_BYTES], int64_t token, struct store_vm *v,
		    struct refusal *why)
{
	int rc = store_vm_held(g->store, vm, host, token, v, &why->fault);
	return refuse_failed(why, rc == -ENOENT ? "lease.lost" : "guardian.store", rc);
}

int lease_takeback_text(const uint8_t vm[static UUID_BYTES], int64_t token, struct buf *out)
{
	char id[UUID_TEXT_SIZE];
	uuid_format(vm, id);
	return buf_addf(out, "{\"v\":1,\"vm\":\"%s\",\"token\":%" PRId64 "}", id, token);
}

int lease_restore_text(const uint8_t vm[static UUID_BYTES], int64_t version, int64_t restores,
		       struct buf *out)
{
	char id[UUID_TEXT_SIZE];
	uuid_format(vm, id);
	return buf_addf(out,
			"{\"v\":1,\"vm\":\"%s\",\"version\":%" PRId64 ",\"restores\":%" PRId64 "}",
			id, version, restores);
}

/* TICKET is the owner's, of kind TYP, and says WANT and nothing else. */
static int check_ticket(const struct jwk *owner, const char *typ, const char *ticket, size_t n,
			const struct buf *want, struct refusal *why)
{
	CLEANUP_BUF struct buf said = BUF_INIT(SIGN_TEXT_MAX);
	int rc = sign_open(owner, typ, ticket, n, &said, &why->fault);
	if (rc < 0)
		return refuse_failed(why, "ticket.invalid", rc);
	if (said.len != want->len || memcmp(said.data, want->data, want->len) != 0)
		return refuse(why, "ticket.invalid", ERR_AUTH,
			      "the ticket is for something else, or was used before");
	return 0;
}

/* Start a log record about ASK. */
static struct ledger_record record_of(const struct lease_ask *ask, const struct store_vm *v,
				      const struct healthcert *cert, enum ledger_event event,
				      int64_t now)
{
	struct ledger_record r = {
		.time = now,
		.event = event,
		.version = ask->version,
		.generation = cert->generation,
		.hostkey = cert->assurance == HEALTHCERT_HOSTKEY,
	};
	memcpy(r.vm, ask->vm, sizeof(r.vm));
	memcpy(r.owner, v->owner, sizeof(r.owner));
	memcpy(r.host, ask->host, sizeof(r.host));
	memcpy(r.certificate, cert->serial, sizeof(r.certificate));
	memcpy(r.request, ask->request, sizeof(r.request));
	return r;
}

/* Note a version that the holder reports. */
static int note_version(struct store_vm *v, int64_t version, struct refusal *why)
{
	if (version < v->version)
		return refuse(why, "vm.version", ERR_STATE,
			      "version %" PRId64 " is reported, and %" PRId64 " was before",
			      version, v->version);
	if (version - v->version > LEASE_VERSION_STEP || version >= LEASE_VERSION_MAX)
		return refuse(why, "vm.version", ERR_LIMIT,
			      "version %" PRId64 " is reported, and %" PRId64
			      " was before: no VM stores its state so often",
			      version, v->version);
	v->version = version;
	return 0;
}

/* The ticket of ASK is for VERSION, and is used up and logged. */
static int use_ticket(const struct guardian *g, const struct lease_ask *ask, int64_t version,
		      const struct healthcert *cert, int64_t now, struct store_vm *v,
		      struct refusal *why)
{
	CLEANUP_BUF struct buf want = BUF_INIT(SIGN_TEXT_MAX);
	int rc = lease_restore_text(ask->vm, version, v->restores, &want);
	if (rc < 0)
		return refuse_failed(why, "guardian.keys", rc);
	rc = check_ticket(ask->owner, LEASE_RESTORE_TYP, ask->ticket, ask->ticket_chars, &want,
			  why);
	if (rc < 0)
		return rc;
	v->restores++;
	struct ledger_record r = record_of(ask, v, cert, LEDGER_RESTORE, now);
	r.version = version;
	return guardian_log(g, &r, why);
}

/* May the VM start from ask->version, or be restored to ask->restore?  OUT is told which of them
 * the owner's ticket was for, if it was needed. */
static int check_version(const struct guardian *g, const struct lease_ask *ask,
			 const struct healthcert *cert, int64_t now, struct store_vm *v,
			 struct lease_grant *out, struct refusal *why)
{
	if (ask->version < 0)
		return refuse(why, "request.format", ERR_FORMAT, "versions begin at 0");
	if (ask->restore < 0 ||
	    (ask->restore > 0 && (!ask->ticket || ask->restore >= ask->version)))
		return refuse(why, "request.format", ERR_FORMAT,
			      "what is restored is older, and takes a ticket");
	int older = ask->version < v->version;
	if (older && (!ask->ticket || ask->restore))
		return refuse(why, "vm.version", ERR_POLICY,
			      "the VM's state has version %" PRId64 ", and version %" PRId64
			      " was reported before: it was set back",
			      ask->version, v->version);
	/* Told by who is to start it: remembered, as what a holder reports. */
	int rc = older ? 0 : note_version(v, ask->version, why);
	if (rc < 0 || (!older && !ask->restore))
		return rc;
	out->by_ticket = 1;
	out->ticket = older ? ask->version : ask->restore;
	return use_ticket(g, ask, out->ticket, cert, now, v, why);
}

/* The lease of V goes to HOST, who TOOK the one with that token over or starts the VM (-1), with R
 * about it on record; commits. */
static int lend(const struct guardian *g, const uint8_t host[static UUID_BYTES], int64_t took,
		struct ledger_record *r, int64_t now, struct store_vm *v, struct refusal *why)
{
	/* No two VMs under one UUID have one token: it alone tells whose lease is meant. */
	int64_t last = v->token;
	int rc = store_vm_token(g->store, v->vm, &last, &why->fault);
	if (rc < 0)
		return refuse_failed(why, "guardian.store", rc);
	v->held = 1;
	v->took = took;
	v->token = last + 1;
	v->expires = now + LEASE_SECONDS;
	memcpy(v->holder, host, sizeof(v->holder));
	rc = store_vm_put(g->store, v, &why->fault);
	if (rc < 0)
		return refuse_failed(why, "guardian.store", rc);
	r->token = v->token;
	rc = guardian_log(g, r, why);
	return rc < 0 ? rc : guardian_commit(g, why);
}

/* The owner has made no newer protector that the guardian knows of; this one is remembered in V. */
static int check_edition(const struct lease_ask *ask, int64_t now, struct store_vm *v,
			 struct refusal *why)
{
	/* Remembered, it would keep out what is made once that clock goes right. */
	if (ask->edition > now + PROTECTOR_EDITION_AHEAD)
		return refuse(why, "protector.early", ERR_POLICY,
			      "the protector is edition %" PRId64 ", which is a time to come: the "
			      "clock was wrong where it was made",
			      ask->edition);
	if (ask->edition < v->edition)
		return refuse(why, "protector.older", ERR_POLICY,
			      "the protector is edition %" PRId64 ", and the VM's owner has made "
			      "edition %" PRId64 " since",
			      ask->edition, v->edition);
	v->edition = ask->edition;
	return 0;
}

static int check_free(const struct lease_ask *ask, const struct store_vm *v, int64_t now,
		      struct refusal *why)
{
	char holder[UUID_TEXT_SIZE];
	if (!v->held || memcmp(v->holder, ask->host, sizeof(v->holder)) == 0)
		return 0;
	uuid_format(v->holder, holder);
	if (now < v->expires)
		return refuse(why, "lease.held", ERR_STATE,
			      "the VM runs on host %s, whose lease is good for another %" PRId64
			      " s",
			      holder, v->expires - now);
	return refuse(why, "lease.held", ERR_STATE,
		      "the VM was started on host %s, which was not heard of since; once it is "
		      "certain that it does not run there, have the lease taken back",
		      holder);
}

int lease_start(const struct guardian *g, const struct lease_ask *ask, int64_t now,
		struct lease_grant *out, struct refusal *why)
{
	struct store_vm v;
	struct healthcert cert;
	struct lease_grant given = { .by_ticket = 0 };
	int rc = open_certificate(g, ask, now, &cert, why);
	if (rc < 0)
		return rc;
	STORE_DECISION(s, g->store);
	rc = begin(g, why);
	if (rc >= 0)
		rc = check_certificate(g, &cert, why);
	if (rc >= 0)
		rc = get_asked(g, ask, &v, why);
	if (rc >= 0)
		rc = check_edition(ask, now, &v, why);
	if (rc >= 0)
		rc = check_free(ask, &v, now, why);
	if (rc >= 0)
		rc = check_version(g, ask, &cert, now, &v, &given, why);
	if (rc < 0)
		return rc;
	struct ledger_record r = record_of(ask, &v, &cert, LEDGER_RELEASE, now);
	rc = lend(g, ask->host, -1, &r, now, &v, why);
	if (rc < 0)
		return rc;
	given.token = v.token;
	given.expires = v.expires;
	given.spent = v.version;
	given.health = cert;
	*out = given;
	return 0;
}

/* Note that the host of ASK awaits V, which is on record as R, and V, which may never have been
 * leased: its edition counts from now on, and its owner may read of it; commits. */
static int await(const struct guardian *g, const struct lease_ask *ask, struct ledger_record *r,
		 int64_t now, const struct store_vm *v, struct refusal *why)
{
	struct store_incoming i = { .token = present_token(v),
				    .expires = now + LEASE_INCOMING_SECONDS };
	memcpy(i.vm, v->vm, sizeof(i.vm));
	memcpy(i.host, ask->host, sizeof(i.host));
	memcpy(i.owner, v->owner, sizeof(i.owner));
	int rc =
		refuse_failed(why, "guardian.store", store_incoming_put(g->store, &i, &why->fault));
	if (rc >= 0)
		rc = refuse_failed(why, "guardian.store", store_vm_put(g->store, v, &why->fault));
	r->token = i.token;
	r->version = v->version;
	if (rc >= 0)
		rc = guardian_log(g, r, why);
	return rc < 0 ? rc : guardian_commit(g, why);
}

int lease_incoming(const struct guardian *g, const struct lease_ask *ask, int64_t now,
		   struct lease_grant *out, struct refusal *why)
{
	struct store_vm v;
	struct healthcert cert;
	int rc = open_certificate(g, ask, now, &cert, why);
	if (rc < 0)
		return rc;
	STORE_DECISION(s, g->store);
	rc = begin(g, why);
	if (rc >= 0)
		rc = check_certificate(g, &cert, why);
	if (rc >= 0)
		rc = get_asked(g, ask, &v, why);
	if (rc >= 0)
		rc = check_edition(ask, now, &v, why);
	if (rc < 0)
		return rc;
	struct ledger_record r = record_of(ask, &v, &cert, LEDGER_INCOMING, now);
	rc = await(g, ask, &r, now, &v, why);
	if (rc < 0)
		return rc;
	*out = (struct lease_grant){ .token = r.token, .spent = v.version, .health = cert };
	return 0;
}

/* One word of HOST more about its leases. */
static int count_word(const struct guardian *g, const uint8_t host[static UUID_BYTES], int64_t now,
		      struct refusal *why)
{
	int rc = store_word(g->store, host, now, &why->fault);
	return refuse_failed(why, rc == ERR_LIMIT ? "request.rate" : "guardian.store", rc);
}

/* The note by which H awaits VM, while it is good. */
static int get_incoming(const struct guardian *g, const struct store_host *h,
			const uint8_t vm[static UUID_BYTES], int64_t now, struct store_incoming *i,
			struct refusal *why)
{
	int rc = store_incoming_get(g->store, vm, h->id, i, &why->fault);
	if (rc < 0)
		return refuse_failed(why, rc == -ENOENT ? "lease.none" : "guardian.store", rc);
	if (now >= i->expires)
		return refuse(why, "lease.none", ERR_STATE,
			      "the host awaited this VM, and it did not come within %d hours",
			      LEASE_INCOMING_SECONDS / 3600);
	/* The one that was asked for with a health certificate was the host before it. */
	if (i->expires - LEASE_INCOMING_SECONDS < h->decided)
		return refuse(why, "lease.none", ERR_STATE,
			      "the host awaited this VM before it was replaced");
	return 0;
}

/* V's lease is still the one that I is about, and TOKEN. */
static int check_present(const struct store_vm *v, const struct store_incoming *i, int64_t token,
			 struct refusal *why)
{
	if (i->token == token && present_token(v) == token)
		return 0;
	return refuse(why, "lease.lost", ERR_STATE,
		      "the VM's lease has changed hands since it was to come here");
}

/* V is what H awaits, whose present lease has TOKEN. */
static int get_awaited(const struct guardian *g, const struct store_host *h,
		       const uint8_t vm[static UUID_BYTES], int64_t token, int64_t now,
		       struct store_vm *v, struct refusal *why)
{
	struct store_incoming i;
	int rc = get_incoming(g, h, vm, now, &i, why);
	if (rc >= 0)
		rc = get_vm(g, vm, i.owner, v, why);
	return rc < 0 ? rc : check_present(v, &i, token, why);
}

/* The lease of V goes to H, which awaits the one with TOKEN; commits. */
static int hand_over(const struct guardian *g, const struct store_host *h, int64_t token,
		     int64_t now, struct store_vm *v, struct refusal *why)
{
	struct ledger_record r = { .time = now,
				   .event = LEDGER_HANDOVER,
				   .version = v->version,
				   .hostkey = h->mode == STORE_MODE_HOSTKEY };
	memcpy(r.vm, v->vm, sizeof(r.vm));
	memcpy(r.owner, v->owner, sizeof(r.owner));
	memcpy(r.host, h->id, sizeof(r.host));
	int rc = refuse_failed(why, "guardian.store",
			       store_incoming_drop(g->store, v->vm, h->id, &why->fault));
	return rc < 0 ? rc : lend(g, h->id, token, &r, now, v, why);
}

/* V's lease is good for its time again, and what was noted of it stays; commits. */
static int renew(const struct guardian *g, int64_t now, struct store_vm *v, struct refusal *why)
{
	v->expires = now + LEASE_SECONDS;
	int rc = refuse_failed(why, "guardian.store", store_vm_put(g->store, v, &why->fault));
	return rc < 0 ? rc : guardian_commit(g, why);
}

int lease_take(const struct guardian *g, const uint8_t host[static UUID_BYTES],
	       const uint8_t vm[static UUID_BYTES], int64_t token, int64_t version, int64_t now,
	       int64_t *new_token, int64_t *expires, struct refusal *why)
{
	struct store_vm v;
	int has_it = 0;
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	STORE_DECISION(s, g->store);
	int rc = begin(g, why);
	if (rc >= 0)
		rc = guardian_approved(g, host, &h, why);
	if (rc < 0)
		return rc;
	rc = get_awaited(g, &h, vm, token, now, &v, why);
	/* The answer to its first take did not reach it: its note is used up, the lease is its. */
	if (rc < 0 && token >= 0 && strcmp(why->id, "guardian.store") != 0) {
		struct fault f = { 0 };
		int took = store_vm_took(s, vm, host, token, &v, &f);
		if (took != -ENOENT) {
			*why = (struct refusal){ .fault = f };
			rc = refuse_failed(why, "guardian.store", took);
		}
		has_it = took >= 0;
	}
	if (rc >= 0)
		rc = count_word(g, host, now, why);
	if (rc >= 0)
		rc = note_version(&v, version, why);
	if (rc >= 0)
		rc = has_it ? renew(g, now, &v, why) : hand_over(g, &h, token, now, &v, why);
	if (rc < 0)
		return rc;
	*new_token = v.token;
	*expires = v.expires;
	return 0;
}

/* 1 if HOST may still hold leases. */
static int is_approved(const struct guardian *g, const uint8_t host[static UUID_BYTES])
{
	struct refusal unused = { 0 };
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	return guardian_approved(g, host, &h, &unused) >= 0;
}

int lease_report(const struct guardian *g, const uint8_t host[static UUID_BYTES],
		 const uint8_t vm[static UUID_BYTES], int64_t token, int64_t version, int64_t now,
		 int64_t *expires, struct refusal *why)
{
	struct store_vm v;
	STORE_DECISION(s, g->store);
	int rc = begin(g, why);
	if (rc >= 0)
		rc = get_held(g, host, vm, token, &v, why);
	if (rc >= 0)
		rc = count_word(g, host, now, why);
	if (rc >= 0)
		rc = note_version(&v, version, why);
	if (rc < 0)
		return rc;
	if (is_approved(g, host))
		v.expires = now + LEASE_SECONDS;
	rc = refuse_failed(why, "guardian.store", store_vm_put(s, &v, &why->fault));
	if (rc >= 0)
		rc = guardian_commit(g, why);
	if (rc >= 0)
		*expires = v.expires;
	return rc;
}

/* Nobody holds the lease of V any more; logged as EVENT, of BY; commits. */
static int let_go(const struct guardian *g, struct store_vm *v, enum ledger_event event,
		  const char *by, int64_t now, struct refusal *why)
{
	struct ledger_record r = {
		.time = now, .event = event, .token = v->token, .version = v->version
	};
	memcpy(r.vm, v->vm, sizeof(r.vm));
	memcpy(r.owner, v->owner, sizeof(r.owner));
	memcpy(r.host, v->holder, sizeof(r.host));
	memcpy(r.by, by, strlen(by) + 1);
	v->held = 0;
	int rc = refuse_failed(why, "guardian.store", store_vm_put(g->store, v, &why->fault));
	/* Who awaited this instance awaits it in vain. */
	if (rc >= 0)
		rc = refuse_failed(why, "guardian.store",
				   store_incoming_void(g->store, v->vm, v->owner, &why->fault));
	if (rc >= 0)
		rc = guardian_log(g, &r, why);
	return rc < 0 ? rc : guardian_commit(g, why);
}

int lease_stop(const struct guardian *g, const uint8_t host[static UUID_BYTES],
	       const uint8_t vm[static UUID_BYTES], int64_t token, int64_t version, int64_t now,
	       struct refusal *why)
{
	struct store_vm v;
	STORE_DECISION(s, g->store);
	int rc = begin(g, why);
	if (rc >= 0)
		rc = get_held(g, host, vm, token, &v, why);
	if (rc >= 0)
		rc = count_word(g, host, now, why);
	/* State that was set back after the VM had stopped is the next start's concern. */
	if (rc >= 0 && version > v.version)
		rc = note_version(&v, version, why);
	return rc < 0 ? rc : let_go(g, &v, LEDGER_STOP, "", now, why);
}

/* The lease of OWNER's VM, which has expired. */
static int get_expired(const struct guardian *g, const uint8_t vm[static UUID_BYTES],
		       const char *owner, int64_t now, struct store_vm *v, struct refusal *why)
{
	int rc = store_vm_get(g->store, vm, owner, v, &why->fault);
	if (rc < 0)
		return refuse_failed(why, rc == -ENOENT ? "lease.none" : "guardian.store", rc);
	if (!v->held)
		return refuse(why, "lease.none", ERR_STATE, "nobody holds the VM's lease");
	if (now < v->expires)
		return refuse(why, "lease.running", ERR_STATE,
			      "the VM's lease is good for another %" PRId64 " s", v->expires - now);
	return 0;
}

int lease_takeback(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
		   const uint8_t vm[static UUID_BYTES], const char *owner, int64_t now,
		   struct refusal *why)
{
	struct store_vm v;
	struct store_admin admin;
	STORE_DECISION(s, g->store);
	int rc = admin_begin(g, by, &admin, why);
	if (rc >= 0)
		rc = get_expired(g, vm, owner, now, &v, why);
	return rc < 0 ? rc : let_go(g, &v, LEDGER_TAKEBACK, admin.name, now, why);
}

int lease_takeback_by_owner(const struct guardian *g, const struct jwk *owner,
			    const uint8_t vm[static UUID_BYTES], const char *statement, size_t n,
			    int64_t now, struct refusal *why)
{
	struct store_vm v;
	char thumbprint[JWK_THUMBPRINT_SIZE];
	CLEANUP_BUF struct buf want = BUF_INIT(SIGN_TEXT_MAX);
	STORE_DECISION(s, g->store);
	int rc = refuse_failed(why, "guardian.keys", jwk_thumbprint(owner, thumbprint));
	if (rc >= 0)
		rc = begin(g, why);
	if (rc >= 0)
		rc = get_expired(g, vm, thumbprint, now, &v, why);
	if (rc >= 0)
		rc = refuse_failed(why, "guardian.keys", lease_takeback_text(vm, v.token, &want));
	if (rc >= 0)
		rc = check_ticket(owner, LEASE_TAKEBACK_TYP, statement, n, &want, why);
	return rc < 0 ? rc : let_go(g, &v, LEDGER_TAKEBACK, "", now, why);
}
