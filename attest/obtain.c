/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/obtain.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "attest/copy.h"
#include "attest/health.h"
#include "attest/lease_note.h"
#include "attest/ticket.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/paths.h"
#include "crypto/sign.h"
#include "crypto/strict.h"

_Static_assert(SPAWN_INNER_BYTES == KEYRELEASE_INNER_BYTES, "what the worker opens");
_Static_assert(SPAWN_REQUEST_BYTES == KEYRELEASE_REQUEST_BYTES, "one id of a request");
_Static_assert(SPAWN_HEALTH_MAX == HEALTHCERT_MAX, "one maximum of certificates");
_Static_assert(SPAWN_POINT_BYTES == ATTEST_WORKER_KEY_BYTES, "one size of keys");

/* What stands in a sentence besides each guardian's part of it. */
#define SENTENCE_REST	 256
#define GIVE_BACK_MS	 5000
#define RULE_HOST	 "guardian.host"
#define RULE_UNREACHABLE "guardian.unreachable"
#define RULE_ANSWER	 "guardian.answer" /* it is none that this host could use */

/* What is needed all along. */
struct asking {
	const struct obtain *o;
	const struct protector *p;
	struct hosttpm *t; /* NULL in host-key mode */
	struct jwk *key;
	struct client_refusal *why;
	struct ask_reply *reply;
	char *rule;
};

/* What one guardian has released. */
struct released {
	struct keyrelease_about about; /* the certificate is HEALTH's */
	struct health health;
	struct buf sealed, copy;
	int64_t token, expires;
	uint64_t restore; /* to this version of the vTPM's state, by a ticket; 0: not asked for */
};

static void released_init(struct released *r)
{
	memset(r, 0, sizeof(*r));
	health_init(&r->health);
	r->sealed = BUF_INIT(KEYRELEASE_BYTES);
	r->copy = BUF_INIT(COPY_BYTES);
}

static void released_done(struct released *r)
{
	health_done(&r->health);
	buf_done(&r->sealed);
	buf_done(&r->copy);
}
#define CLEANUP_RELEASED CLEANUP(released_done)

/* RULE unless there is one; returns RC. */
static int ruled(const struct asking *a, const char *rule, int rc)
{
	if (rc < 0 && !a->rule[0])
		snprintf(a->rule, ASK_RULE_MAX, "%s", rule);
	return rc;
}

/* Why a question to a guardian has failed.  No rule: another guardian may be asked. */
static int judge(const struct asking *a, int failed_here, int rc)
{
	if (rc >= 0 || failed_here)
		return ruled(a, RULE_HOST, rc);
	if (a->why->unable)
		return rc;
	return ruled(a, rc == ERR_POLICY && a->why->id[0] ? a->why->id : RULE_ANSWER, rc);
}

/* ---- one guardian ---- */

static int put_ticket(json_t *body, const struct buf *ticket, uint64_t restore)
{
	int rc = json_object_set_new(body, "ticket",
				     json_stringn((const char *)ticket->data, ticket->len));
	if (rc == 0 && restore)
		rc = json_object_set_new(body, "restore", json_integer((json_int_t)restore));
	return rc;
}

/* TICKET: the owner's, or empty. */
static json_t *release_body(const struct asking *a, const struct released *r,
			    const struct buf *ticket)
{
	const struct ask_request *q = a->o->request;
	char host[UUID_TEXT_SIZE], vm[UUID_TEXT_SIZE];
	uuid_format(r->health.host, host);
	uuid_format(q->vm, vm);
	json_t *body =
		json_pack("{s:s, s:s, s:o, s:o, s:I, s:b, s:o, s:s%}", "id", host, "vm", vm,
			  "request", remote_bytes(r->about.request, sizeof(r->about.request)),
			  "worker", remote_bytes(q->worker, sizeof(q->worker)), "version",
			  q->comes ? (json_int_t)0 : (json_int_t)q->state_version, "incoming",
			  q->comes ? 1 : 0, "certificate",
			  remote_bytes(r->about.certificate, r->about.certificate_bytes),
			  "protector", a->o->protector, (size_t)q->protector_bytes);
	if (body && ticket->len && put_ticket(body, ticket, r->restore) < 0) {
		json_decref(body);
		return NULL;
	}
	return body;
}

static int read_release(const struct asking *a, const json_t *answer, struct released *r,
			struct fault *f)
{
	const struct ask_request *q = a->o->request;
	int64_t spent;
	int rc = remote_take_buf(answer, "key", &r->sealed, f);
	if (rc >= 0 && r->sealed.len != KEYRELEASE_BYTES)
		rc = fault_set(f, ERR_FORMAT, "the guardian's answer has no right \"key\"");
	if (rc >= 0)
		rc = remote_take_number(answer, "token", &r->token, f);
	if (rc >= 0)
		rc = remote_take_number(answer, "expires", &r->expires, f);
	if (rc >= 0)
		rc = remote_take_number(answer, "spent", &spent, f);
	/* Older state is released by a ticket only, and what it is released for is sealed with it.
	 */
	if (rc >= 0)
		r->about.restore = r->restore ? r->restore
				   : !q->comes && q->state_version < (uint64_t)spent
					   ? keyrelease_restore(q->state_version)
					   : 0;
	if (rc < 0 || !json_object_get(answer, "copy"))
		return rc;
	if (protector_facts(a->p)->offline == 0 || a->o->request->comes)
		return fault_set(f, ERR_POLICY,
				 "the guardian sent a copy of the key for later, which the VM's"
				 " owner does not permit");
	rc = remote_take_buf(answer, "copy", &r->copy, f);
	if (rc >= 0 && r->copy.len != COPY_BYTES)
		rc = fault_set(f, ERR_FORMAT, "the guardian's answer has no right \"copy\"");
	return rc;
}

/* Ask, and where nobody knows what became of it the next node under a new request id: the holder of
 * a lease may ask again. */
static int release(const struct asking *a, struct remote *remote, struct released *r,
		   struct fault *f)
{
	int rc = a->o->request->comes ? -ENOENT : 0;
	CLEANUP_JSON json_t *answer = NULL;
	CLEANUP_BUF struct buf ticket = BUF_INIT(SIGN_TEXT_MAX);
	struct fault one = { 0 };
	size_t tries = 0;
	if (rc >= 0)
		rc = ticket_read(a->o->leases, a->o->request->vm, &ticket, f);
	if (rc < 0 && rc != -ENOENT)
		return ruled(a, RULE_HOST, rc);
	/* For a saved state that is older than the file; what else it may be is the file's own. */
	r->restore =
		ticket.len ? ticket_version(&ticket, protector_owner(a->p), a->o->request->vm) : 0;
	if (r->restore >= a->o->request->state_version)
		r->restore = 0;
	do {
		one = (struct fault){ 0 };
		if (getrandom(r->about.request, sizeof(r->about.request), 0) !=
		    (ssize_t)sizeof(r->about.request))
			return ruled(a, RULE_HOST,
				     fault_set(f, -EIO, "the kernel gives no random numbers"));
		rc = remote_post(remote, "/v1/release", release_body(a, r, &ticket), CLIENT_ONCE,
				 &answer, a->why, &one);
	} while (client_again(remote->client, ++tries, rc, a->why, "request.used"));
	if (rc >= 0)
		rc = read_release(a, answer, r, &one);
	return judge(a, 0, rc < 0 ? fault_set(f, rc, "%s", one.text) : 0);
}

/* Take the host's layer off. */
static int unwrap(const struct asking *a, struct released *r, struct fault *f)
{
	struct hosttpm_half half = { a->t, &r->health.bound, f };
	struct ecdh ecdh = hosttpm_ecdh_of(&half);
	CLEANUP_BUF struct buf inner = BUF_INIT(KEYRELEASE_INNER_BYTES);
	int rc = a->t ? 0 : ecdh_from_jwk(a->key, &ecdh);
	if (rc >= 0)
		rc = keyrelease_unwrap(&ecdh, r->health.point, &r->about, r->sealed.data,
				       r->sealed.len, &inner, f);
	if (rc >= 0)
		memcpy(a->reply->key.inner, inner.data, KEYRELEASE_INNER_BYTES);
	/* What does not open was sealed to another key, or for something else. */
	return ruled(a, rc == ERR_AUTH || rc == ERR_FORMAT ? RULE_ANSWER : RULE_HOST,
		     rc < 0 ? fault_set(f, rc, "%s", err_text(rc)) : 0);
}

static void put_key(struct spawn_key *out, const struct keyrelease_about *about)
{
	out->magic = SPAWN_MAGIC;
	out->version = SPAWN_VERSION;
	memcpy(out->request, about->request, sizeof(out->request));
	memcpy(out->certificate, about->certificate, about->certificate_bytes);
	out->certificate_bytes = (uint32_t)about->certificate_bytes;
	out->restore = about->restore;
}

/* ---- what is noted ---- */

static int note_copy(const struct asking *a, struct released *r, struct fault *f)
{
	const struct ask_request *q = a->o->request;
	struct copy c = { .left = protector_facts(a->p)->offline,
			  .bound = r->health.bound,
			  .certificate = r->health.certificate };
	memcpy(c.vm, q->vm, sizeof(c.vm));
	memcpy(c.request, r->about.request, sizeof(c.request));
	memcpy(c.point, r->health.point, sizeof(c.point));
	memcpy(c.sealed, r->copy.data, sizeof(c.sealed));
	int rc = sign_sha256(a->o->protector, q->protector_bytes, c.protector);
	return rc < 0 ? fault_set(f, rc, "%s", err_text(rc)) : copy_write(a->o->leases, &c, f);
}

/* 1 if G has leased the VM to this host again since R, as another start has noted.  The caller has
 * the lock. */
static int is_overtaken(const struct asking *a, const struct protector_guardian *g,
			const struct released *r)
{
	struct lease_note n;
	struct fault unreadable = { 0 };
	return lease_note_read(a->o->leases, a->o->request->vm, &n, &unreadable) >= 0 &&
	       !n.incoming && n.token > r->token &&
	       strcmp(n.guardian.thumbprint, g->thumbprint) == 0;
}

static int note(const struct asking *a, const struct protector_guardian *g, struct released *r,
		struct fault *f)
{
	CLEANUP_FD int lock = -1;
	const struct ask_request *q = a->o->request;
	struct lease_note n = { .incoming = q->comes ? 1 : 0,
				.token = r->token,
				.expires = q->comes ? 0 : r->expires,
				.guardian = *g };
	memcpy(n.vm, q->vm, sizeof(n.vm));
	int rc = lease_note_lock(a->o->leases, &lock, f);
	/* Whose hook was killed may be here later than the start that followed. */
	if (rc >= 0 && !q->comes && is_overtaken(a, g, r))
		rc = fault_set(f, ERR_STATE, "the VM was started again meanwhile");
	if (rc >= 0)
		rc = copy_remove(a->o->leases, q->vm, f);
	if (rc >= 0 && !q->comes)
		rc = ticket_remove(a->o->leases, q->vm, f);
	if (rc >= 0)
		rc = lease_note_write(a->o->leases, &n, f);
	if (rc >= 0 && r->copy.len)
		rc = note_copy(a, r, f);
	return ruled(a, RULE_HOST, rc < 0 ? fault_wrap(f, rc, "the lease cannot be noted") : 0);
}

/*
 * Give back the lease that R came with, and that this host can do nothing with: nobody else could
 * start the VM.  Without the sealed copy, which would start it here all the same.
 */
static void give_back(const struct asking *a, const struct protector_guardian *g,
		      struct remote *remote, const struct released *r)
{
	CLEANUP_FD int lock = -1;
	CLEANUP_JSON json_t *answer = NULL;
	char host[UUID_TEXT_SIZE], vm[UUID_TEXT_SIZE];
	const struct ask_request *q = a->o->request;
	struct client_refusal *why = calloc(1, sizeof(*why));
	struct fault ignored = { 0 };
	if (why && !q->comes && lease_note_lock(a->o->leases, &lock, &ignored) >= 0 &&
	    !is_overtaken(a, g, r) && copy_remove(a->o->leases, q->vm, &ignored) >= 0) {
		uuid_format(r->health.host, host);
		uuid_format(q->vm, vm);
		client_until(remote->client, clock_ms() + GIVE_BACK_MS);
		(void)!remote_post(remote, "/v1/lease/stop",
				   json_pack("{s:s, s:s, s:I, s:I}", "id", host, "vm", vm, "token",
					     (json_int_t)r->token, "version",
					     (json_int_t)q->state_version),
				   CLIENT_ONCE, &answer, why, &ignored);
	}
	free(why);
}

static int attest(const struct asking *a, struct remote *remote, struct health *h, struct fault *f)
{
	char failed[FAULT_TEXT_MAX / 2];
	struct fault why = { 0 };
	int rc = health_attest(remote, a->t, a->o->conf, a->o->request->worker, h, a->why, &why);
	if (rc < 0) {
		findings_failed(&a->why->findings, failed, sizeof(failed));
		rc = fault_set(f, rc, "%s%s%s", failed, failed[0] ? ": " : "", why.text);
	}
	return judge(a, h->failed_here, rc);
}

/* All of it with the guardian G. */
static int ask_one(const struct asking *a, const struct protector_guardian *g, struct fault *f)
{
	struct remote remote CLEANUP_REMOTE = { 0 };
	CLEANUP_RELEASED struct released r;
	const struct ask_request *q = a->o->request;
	released_init(&r);
	int rc = ruled(a, RULE_HOST,
		       remote_open(g->urls, PATH_HOST_KEY, "the protector", &remote, f));
	if (rc < 0)
		return rc;
	client_until(remote.client, a->o->until_ms);
	rc = attest(a, &remote, &r.health, f);
	if (rc < 0)
		return rc;
	r.about.certificate = r.health.certificate.data;
	r.about.certificate_bytes = r.health.certificate.len;
	r.about.protector = a->o->protector;
	r.about.protector_chars = q->protector_bytes;
	memcpy(r.about.vm, q->vm, sizeof(r.about.vm));
	rc = release(a, &remote, &r, f);
	if (rc < 0)
		return rc;
	rc = unwrap(a, &r, f);
	if (rc >= 0)
		rc = note(a, g, &r, f);
	if (rc < 0) {
		give_back(a, g, &remote, &r);
		return rc;
	}
	snprintf(a->reply->guardian, sizeof(a->reply->guardian), "%s",
		 client_address(remote.client));
	put_key(&a->reply->key, &r.about);
	return 0;
}

/* ---- all of them ---- */

static int ask_in_order(const struct asking *a, struct fault *f)
{
	struct fault all = { 0 };
	size_t n = protector_n_guardians(a->p), used = 0;
	for (size_t i = 0; i < n; i++) {
		struct fault one = { 0 };
		int rc = ask_one(a, protector_guardian(a->p, i), &one);
		if (rc >= 0 || a->rule[0])
			return rc < 0 ? fault_set(f, rc, "%s", one.text) : 0;
		/* Each gets its part of the sentence. */
		int room = (int)((sizeof(all.text) - SENTENCE_REST) / n);
		used += (size_t)snprintf(all.text + used, sizeof(all.text) - used, "%s%.*s",
					 i ? "; " : "", room, one.text);
		used = used < sizeof(all.text) ? used : sizeof(all.text) - 1;
	}
	return ruled(a, RULE_UNREACHABLE,
		     fault_set(f, -EHOSTUNREACH, "no guardian can be reached: %s", all.text));
}

/* ---- none of them ---- */

/* Open COPY, and seal what is in it for the worker. */
static int reseal(const struct asking *a, const struct copy *c, struct fault *f)
{
	const struct ask_request *q = a->o->request;
	struct hosttpm_half half = { a->t, &c->bound, f };
	struct ecdh ecdh = hosttpm_ecdh_of(&half);
	struct keyrelease key = { 0 };
	struct keyrelease_about about = { .certificate = c->certificate.data,
					  .certificate_bytes = c->certificate.len,
					  .protector = a->o->protector,
					  .protector_chars = q->protector_bytes };
	CLEANUP_BUF struct buf inner = BUF_INIT(KEYRELEASE_INNER_BYTES);
	memcpy(about.vm, q->vm, sizeof(about.vm));
	memcpy(about.request, c->request, sizeof(about.request));
	if (!a->t != (c->bound.bk_pub.len == 0))
		return fault_set(f, ERR_STATE,
				 "the sealed copy of its key is of another way to attest");
	int rc = a->t ? 0 : ecdh_from_jwk(a->key, &ecdh);
	if (rc >= 0)
		rc = keyrelease_open_copy(&ecdh, c->point, &about, c->sealed, sizeof(c->sealed),
					  &key, f);
	if (rc >= 0)
		rc = keyrelease_seal_inner(q->worker, &about, &key, &inner, f);
	wipe(&key, sizeof(key));
	if (rc < 0)
		return fault_set(f, rc, "%s", err_text(rc));
	memcpy(a->reply->key.inner, inner.data, KEYRELEASE_INNER_BYTES);
	put_key(&a->reply->key, &about);
	return 0;
}

/*
 * Start from the sealed copy: no guardian could be reached, and the lease is this host's, as far as
 * its own note says.  The count goes down first, whatever becomes of the start.
 */
static int start_offline(const struct asking *a, struct fault *f)
{
	const struct ask_request *q = a->o->request;
	struct lease_note n;
	CLEANUP_FD int lock = -1;
	CLEANUP_COPY struct copy c;
	copy_init(&c);
	if (q->comes)
		return fault_set(f, ERR_STATE, "it comes from another host");
	int rc = lease_note_lock(a->o->leases, &lock, f);
	if (rc >= 0)
		rc = lease_note_read(a->o->leases, q->vm, &n, f);
	if (rc == -ENOENT || (rc >= 0 && n.incoming))
		return fault_set(f, ERR_STATE, "this host has not got the VM's lease");
	if (rc >= 0)
		rc = copy_spend(a->o->leases, q->vm, a->o->protector, q->protector_bytes, &c, f);
	if (rc >= 0)
		rc = reseal(a, &c, f);
	if (rc < 0)
		return rc;
	a->reply->offline_left = c.left;
	return 0;
}

/* All of it, in the order of the headers. */
static int ask_or_copy(const struct asking *a, struct fault *f)
{
	struct fault unreachable = { 0 }, offline = { 0 };
	int rc = ask_in_order(a, &unreachable);
	if (rc >= 0)
		return rc;
	if (strcmp(a->rule, RULE_UNREACHABLE) != 0 || protector_facts(a->p)->offline == 0)
		return fault_set(f, rc, "%s", unreachable.text);
	if (start_offline(a, &offline) < 0)
		return fault_set(f, rc, "%s; and offline: %s", unreachable.text, offline.text);
	a->rule[0] = '\0';
	return 0;
}

static int check(const struct asking *a, struct fault *f)
{
	const struct ask_request *q = a->o->request;
	if (memcmp(protector_facts(a->p)->vm, q->vm, sizeof(q->vm)) != 0)
		return ruled(a, "protector.vm",
			     fault_set(f, ERR_VM, "the protector is another VM's"));
	if (protector_n_guardians(a->p) == 0)
		return ruled(a, "protector.recipient",
			     fault_set(f, ERR_RECIPIENT, "the protector names no guardian"));
	if (q->state_version > INT64_MAX)
		return ruled(a, "vm.version",
			     fault_set(f, ERR_LIMIT, "the vTPM's state has an impossible version"));
	return 0;
}

int obtain_key(const struct obtain *o, struct ask_reply *reply, char rule[static ASK_RULE_MAX],
	       struct fault *f)
{
	CLEANUP_PROTECTOR struct protector *p = NULL;
	CLEANUP_JWK struct jwk *key = NULL;
	struct client_refusal *why = calloc(1, sizeof(*why));
	struct asking a = { .o = o, .why = why, .reply = reply, .rule = rule };
	rule[0] = '\0';
	if (!why)
		return ruled(&a, RULE_HOST, fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM)));
	int rc = protector_parse(o->protector, o->request->protector_bytes, &p, f);
	a.p = p;
	rc = rc < 0 ? ruled(&a, "protector.invalid", rc) : check(&a, f);
	if (rc >= 0) {
		rc = jwk_read_file(PATH_HOST_KEY, 1, &key, f);
		if (rc >= 0 && o->conf->mode == HEALTHCERT_TPM)
			rc = hosttpm_open(o->conf->tcti, &a.t, f);
		rc = ruled(&a, RULE_HOST, rc);
	}
	a.key = key;
	if (rc >= 0)
		rc = ask_or_copy(&a, f);
	hosttpm_close(a.t);
	free(why);
	return rc;
}
