/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/service.h"

#include <errno.h>
#include <string.h>

#include "attest/form.h"
#include "guardian/service_form.h"

static service_fn *const ANSWERS[ROUTE_COUNT] = {
	[ROUTE_INFO] = service_info,
	[ROUTE_ENROL_BEGIN] = service_enrol_begin,
	[ROUTE_ENROL_FINISH] = service_enrol_finish,
	[ROUTE_CHALLENGE] = service_challenge,
	[ROUTE_ATTEST] = service_attest,
	[ROUTE_HOSTS] = service_hosts,
	[ROUTE_APPROVE] = service_approve,
	[ROUTE_REVOKE] = service_revoke,
	[ROUTE_REPLACE] = service_replace,
	[ROUTE_POLICY] = service_policy,
	[ROUTE_POLICY_SET] = service_policy_set,
	[ROUTE_LOG] = service_log,
	[ROUTE_ADMINS] = service_admins,
	[ROUTE_ADMIN_ADD] = service_admin_add,
	[ROUTE_ADMIN_REMOVE] = service_admin_remove,
	[ROUTE_RELEASE] = service_release,
	[ROUTE_TAKE] = service_take,
	[ROUTE_REPORT] = service_report,
	[ROUTE_STOP] = service_stop,
	[ROUTE_TAKEBACK] = service_takeback,
	[ROUTE_OWNER_LOG] = service_owner_log,
};

/* Which status of HTTP an id is: the first row that it begins with.  What has none is forbidden:
 * findings, hosts, admins, certificates. */
static const struct {
	const char *prefix;
	unsigned status;
} STATUSES[] = {
	{ "guardian.", 503 },	  { "request.path", 404 }, { "request.method", 405 },
	{ "request.size", 413 },  { "request.used", 409 }, { "request.rate", 429 },
	{ "request.", 400 },	  { "challenge.", 409 },   { "lease.", 409 },
	{ "host.taken", 409 },	  { "host.changed", 409 }, { "owner.several", 409 },
	{ "admin.compare", 409 },
};

static unsigned status_of(const char *id)
{
	for (size_t i = 0; i < sizeof(STATUSES) / sizeof(STATUSES[0]); i++)
		if (strncmp(id, STATUSES[i].prefix, strlen(STATUSES[i].prefix)) == 0)
			return STATUSES[i].status;
	return 403;
}

void service_reply_init(struct service_reply *r)
{
	*r = (struct service_reply){ .status = 503, .body = BUF_INIT(LINK_REPLY_MAX) };
}

void service_reply_done(struct service_reply *r)
{
	buf_done(&r->body);
}

/* The text of J into OUT; what does not fit is a 503 without a body. */
static void put(struct service_reply *out, unsigned status, const json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	buf_clear(&out->body);
	out->status = text && buf_add(&out->body, text, strlen(text)) >= 0 ? status : 503;
	free(text);
}

/* What is said instead of a failure of the guardian itself; NULL for any other id. */
static const char *instead(const char *id)
{
	static const struct {
		const char *id, *says;
	} OWN[] = {
		{ "guardian.store", "the guardian's database failed; the guardian's log says how" },
		{ "guardian.log", "no record could be written; the guardian's log says why" },
		{ "guardian.keys", "a key of the guardian failed; the guardian's log says how" },
	};
	for (size_t i = 0; i < sizeof(OWN) / sizeof(OWN[0]); i++)
		if (strcmp(id, OWN[i].id) == 0)
			return OWN[i].says;
	return NULL;
}

static void put_refusal(struct service_reply *out, const struct refusal *why,
			const struct findings *findings)
{
	const char *text = instead(why->id);
	if (text)
		fault_set(&out->own, why->fault.rc, "%s: %s", why->id, why->fault.text);
	CLEANUP_JSON json_t *j =
		json_pack("{s:s,s:s,s:s,s:s}", "status", "refused", "id", why->id, "text",
			  text ? text : why->fault.text, "remedy", refusal_remedy(why->id));
	if (j && findings && json_object_set_new(j, "findings", service_findings(findings)) < 0) {
		json_decref(j);
		j = NULL;
	}
	put(out, status_of(why->id), j);
}

void service_refuse(struct service_reply *out, const char *id, int rc, const char *text)
{
	struct refusal why = { 0 };
	if (refuse(&why, id, rc, "%s", text) < 0)
		put_refusal(out, &why, NULL);
}

json_t *service_b64(const void *data, size_t n)
{
	CLEANUP_BUF struct buf text = BUF_INIT(LINK_REPLY_MAX);
	if (strict_b64_put(&text, data, n) < 0)
		return NULL;
	return json_stringn(text.data ? (const char *)text.data : "", text.len);
}

json_t *service_hex(const uint8_t *data, size_t n)
{
	CLEANUP_BUF struct buf text = BUF_INIT(256);
	return form_hex_put(&text, data, n) < 0 ? NULL
						: json_stringn((const char *)text.data, text.len);
}

json_t *service_id(const uint8_t id[static UUID_BYTES])
{
	char text[UUID_TEXT_SIZE];
	uuid_format(id, text);
	return json_string(text);
}

json_t *service_findings(const struct findings *f)
{
	static const char *const VERDICTS[] = { "ok", "failed", "unknown" };
	CLEANUP_JSON json_t *list = json_array();
	for (unsigned i = 0; list && i < f->n; i++) {
		const struct finding *at = &f->at[i];
		json_t *j = json_pack("{s:s,s:s,s:s}", "id", at->id, "verdict",
				      VERDICTS[at->verdict], "text", at->evidence);
		if (json_array_append_new(list, j) < 0)
			return NULL;
	}
	json_t *made = list;
	list = NULL;
	return made;
}

int service_uuid(const char *text, uint8_t id[static UUID_BYTES])
{
	char again[UUID_TEXT_SIZE];
	uint8_t got[UUID_BYTES];
	if (uuid_parse(text, got) < 0)
		return ERR_FORMAT;
	uuid_format(got, again);
	if (strcmp(text, again) != 0)
		return ERR_FORMAT;
	memcpy(id, got, sizeof(got));
	return 0;
}

static int wrong(struct call *c, const char *name, const char *what)
{
	return refuse(&c->why, "request.format", ERR_FORMAT, "\"%s\" is not %s", name, what);
}

int call_members(struct call *c, const char *const *names, size_t n)
{
	return refuse_failed(&c->why, "request.format",
			     strict_members(c->in, "the request", names, n, &c->why.fault));
}

int call_text(struct call *c, const char *name, const char **out)
{
	*out = strict_text(c->in, name);
	return *out ? 0 : wrong(c, name, "a text");
}

int call_id(struct call *c, const char *name, uint8_t id[static UUID_BYTES])
{
	const char *text;
	int rc = call_text(c, name, &text);
	if (rc < 0)
		return rc;
	return service_uuid(text, id) < 0 ? wrong(c, name, "a UUID in its canonical spelling") : 0;
}

int call_integer(struct call *c, const char *name, int64_t *out)
{
	const json_t *j = json_object_get(c->in, name);
	if (!json_is_integer(j) || json_integer_value(j) < 0)
		return wrong(c, name, "a number from 0 on");
	*out = json_integer_value(j);
	return 0;
}

int call_boolean(struct call *c, const char *name, int *out)
{
	const json_t *j = json_object_get(c->in, name);
	if (!json_is_boolean(j))
		return wrong(c, name, "true or false");
	*out = json_is_true(j);
	return 0;
}

int call_bytes(struct call *c, const char *name, uint8_t *out, size_t n)
{
	const char *text;
	int rc = call_text(c, name, &text);
	if (rc < 0)
		return rc;
	return strict_b64(text, strlen(text), out, n) < 0
		       ? wrong(c, name, "in base64url, or of another size")
		       : 0;
}

int call_blob(struct call *c, const char *name, struct buf *out)
{
	const char *text;
	int rc = call_text(c, name, &text);
	if (rc < 0)
		return rc;
	return strict_b64_buf(text, strlen(text), out) < 0
		       ? wrong(c, name, "in base64url, or too large")
		       : 0;
}

int call_fingerprint(struct call *c, const char *name, uint8_t out[static STORE_FINGERPRINT_BYTES])
{
	const char *text;
	int rc = call_text(c, name, &text);
	if (rc < 0)
		return rc;
	return form_hex(text, STORE_FINGERPRINT_BYTES, out) < 0
		       ? wrong(c, name, "a fingerprint in lower-case hexadecimal digits")
		       : 0;
}

int call_key(struct call *c, const char *name, struct jwk **out)
{
	char *text = json_dumps(json_object_get(c->in, name), JSON_COMPACT);
	int rc = text ? jwk_parse(text, strlen(text), out, &c->why.fault)
		      : fault_set(&c->why.fault, ERR_FORMAT, "\"%s\" is not a key", name);
	if (rc >= 0 && jwk_is_private(*out))
		rc = fault_set(&c->why.fault, ERR_FORMAT,
			       "\"%s\" is a private key: keep it, and make a new one", name);
	if (text)
		wipe_free(text, strlen(text));
	return refuse_failed(&c->why, "request.format", rc);
}

int call_peer(struct call *c, const uint8_t id[static UUID_BYTES])
{
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	int rc = store_host_get(c->g->store, id, &h, &c->why.fault);
	if (rc < 0)
		return refuse_failed(&c->why, rc == -ENOENT ? "host.unknown" : "guardian.store",
				     rc);
	if (!mac_same(h.tls_key, c->q->peer, sizeof(h.tls_key)))
		return refuse(&c->why, "host.certificate", ERR_AUTH,
			      "the client certificate is not the one that this host was enrolled "
			      "with");
	return 0;
}

int call_done(struct call *c)
{
	return call_answer(c, json_pack("{s:s}", "status", "done"));
}

int call_answer(struct call *c, json_t *reply)
{
	if (!reply)
		return refuse(&c->why, "guardian.busy", -ENOMEM, "no memory for the answer");
	c->out = reply;
	return SERVICE_DONE;
}

/* Who is no admin gets no further; what a reviewer may is admin.h's to say. */
static int check_admin(struct call *c)
{
	struct store_admin a;
	if (c->q->listener != LINK_ADMINS)
		return 0;
	int rc = store_admin_find(c->g->store, c->q->peer, &a, &c->why.fault);
	return refuse_failed(&c->why, rc == -ENOENT ? "admin.unknown" : "guardian.store", rc);
}

static int read_body(struct call *c, const struct route *r)
{
	const struct service_ask *q = c->q;
	if (q->n_body > r->body_max)
		return refuse(&c->why, "request.size", ERR_LIMIT,
			      "%s takes at most %zu bytes, not %zu", r->path, r->body_max,
			      q->n_body);
	if (r->method == LINK_GET)
		return 0;
	int rc = strict_json(q->body, q->n_body, "the request", &c->in, &c->why.fault);
	return refuse_failed(&c->why, rc == -ENOMEM ? "guardian.busy" : "request.format", rc);
}

static int answer(struct call *c)
{
	enum route_id id;
	int rc = route_find(c->q->listener, c->q->method, c->q->path, &id);
	if (rc == ERR_PURPOSE)
		return refuse(&c->why, "request.method", rc, "this path has another method");
	if (rc < 0)
		return refuse(&c->why, "request.path", rc, "there is no such path here");
	rc = check_admin(c);
	if (rc >= 0)
		rc = read_body(c, &ROUTES[id]);
	return rc < 0 ? rc : ANSWERS[id](c);
}

enum service_next service_ask(const struct guardian *g, const struct service_ask *q, int64_t now,
			      struct certify_case *judge, struct service_reply *out)
{
	struct call c = { .g = g, .q = q, .now = now, .judge = judge };
	int rc = answer(&c);
	if (rc < 0)
		put_refusal(out, &c.why, NULL);
	else if (rc == SERVICE_DONE)
		put(out, 200, c.out);
	json_decref(c.in);
	json_decref(c.out);
	return rc == SERVICE_JUDGE ? SERVICE_JUDGE : SERVICE_DONE;
}

void service_judged(const struct guardian *g, const struct certify_case *c,
		    const struct certify_verdict *verdict, const struct findings *findings,
		    int64_t now, struct service_reply *out)
{
	struct healthcert cert;
	struct refusal why = { 0 };
	CLEANUP_BUF struct buf der = BUF_INIT(HEALTHCERT_MAX);
	int rc = certify_finish(g, c, verdict, now, &der, &cert, &why);
	if (rc < 0) {
		put_refusal(out, &why, findings);
		return;
	}
	CLEANUP_JSON json_t *j =
		json_pack("{s:o,s:I,s:I,s:o}", "certificate", service_b64(der.data, der.len),
			  "generation", (json_int_t)cert.generation, "not_after",
			  (json_int_t)cert.not_after, "findings", service_findings(findings));
	put(out, 200, j);
}
