/* SPDX-License-Identifier: BSD-3-Clause */
/* What admins ask. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guardian/admin.h"
#include "guardian/policy.h"
#include "guardian/service_form.h"

#define OWNERS_TOLD 8 /* of one UUID, in a sentence */

static int list_host(const struct store_host *h, void *arg)
{
	uint8_t print[STORE_FINGERPRINT_BYTES];
	int rc = store_host_fingerprint(h, print);
	if (rc < 0)
		return rc;
	json_t *j = json_pack("{s:o,s:s,s:s,s:s,s:o,s:I,s:s}", "id", service_id(h->id), "name",
			      h->name, "state", store_host_state_name(h->state), "mode",
			      store_host_mode_name(h->mode), "fingerprint",
			      service_hex(print, sizeof(print)), "enrolled",
			      (json_int_t)h->enrolled, "approved_by", h->decided_by);
	return json_array_append_new(arg, j) < 0 ? -ENOMEM : 0;
}

/* Nothing, or "after=NAME": from the host behind the one with that name on. */
static int read_hosts_query(struct call *c, const char **after)
{
	const char *at = strchr(c->q->path, '?');
	*after = "";
	if (!at)
		return 0;
	*after = at + 7;
	return strncmp(at, "?after=", 7) == 0 && store_name_check(at + 7, NULL) >= 0
		       ? 0
		       : refuse(&c->why, "request.format", ERR_FORMAT,
				"the query is not after=NAME");
}

int service_hosts(struct call *c)
{
	const char *after;
	CLEANUP_JSON json_t *list = json_array();
	int rc = read_hosts_query(c, &after);
	if (rc < 0)
		return rc;
	rc = store_host_each(c->g->store, after, SERVICE_HOSTS, list_host, list, &c->why.fault);
	if (rc < 0)
		return refuse_failed(&c->why, "guardian.store", rc);
	return call_answer(c, json_pack("{s:O}", "hosts", list));
}

int service_approve(struct call *c)
{
	uint8_t id[UUID_BYTES], print[STORE_FINGERPRINT_BYTES];
	int rc = CALL_MEMBERS(c, "id", "fingerprint");
	if (rc >= 0)
		rc = call_id(c, "id", id);
	if (rc >= 0)
		rc = call_fingerprint(c, "fingerprint", print);
	if (rc >= 0)
		rc = admin_approve(c->g, c->q->peer, id, print, c->now, &c->why);
	return rc < 0 ? rc : call_done(c);
}

static int move(struct call *c, int (*decide)(const struct guardian *g,
					      const uint8_t by[static STORE_FINGERPRINT_BYTES],
					      const uint8_t id[static UUID_BYTES], int64_t now,
					      struct refusal *why))
{
	uint8_t id[UUID_BYTES];
	int rc = CALL_MEMBERS(c, "id");
	if (rc >= 0)
		rc = call_id(c, "id", id);
	if (rc >= 0)
		rc = decide(c->g, c->q->peer, id, c->now, &c->why);
	return rc < 0 ? rc : call_done(c);
}

int service_revoke(struct call *c)
{
	return move(c, admin_revoke);
}

int service_replace(struct call *c)
{
	return move(c, admin_replace);
}

int service_policy(struct call *c)
{
	int64_t generation = 0, floor = 0;
	CLEANUP_BUF struct buf text = BUF_INIT(STORE_POLICY_MAX);
	CLEANUP_JSON json_t *policy = NULL;
	int rc = store_policy_latest(c->g->store, &generation, &text, &c->why.fault);
	if (rc < 0)
		return refuse_failed(&c->why, rc == -ENOENT ? "guardian.policy" : "guardian.store",
				     rc);
	rc = store_floor(c->g->store, &floor, &c->why.fault);
	if (rc >= 0)
		rc = strict_json((const char *)text.data, text.len, "the policy", &policy,
				 &c->why.fault);
	if (rc < 0)
		return refuse_failed(&c->why, "guardian.store", rc);
	return call_answer(c, json_pack("{s:I,s:I,s:O}", "generation", (json_int_t)generation,
					"floor", (json_int_t)floor, "policy", policy));
}

static void cleanup_policy(struct policy **p)
{
	policy_free(*p);
}

int service_policy_set(struct call *c)
{
	int64_t generation = 0;
	CLEANUP(cleanup_policy) struct policy *p = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(STORE_POLICY_MAX);
	int at_once;
	int rc = CALL_MEMBERS(c, "policy", "at_once");
	if (rc >= 0)
		rc = call_boolean(c, "at_once", &at_once);
	if (rc < 0)
		return rc;
	char *said = json_dumps(json_object_get(c->in, "policy"), JSON_COMPACT | JSON_SORT_KEYS);
	rc = said ? policy_parse(said, strlen(said), &p, &c->why.fault)
		  : fault_set(&c->why.fault, ERR_FORMAT, "\"policy\" is no policy");
	free(said);
	/* What is kept is the one encoding. */
	if (rc >= 0)
		rc = policy_text(p, &text, &c->why.fault);
	if (rc < 0)
		return refuse_failed(&c->why, "request.format", rc);
	rc = admin_policy(c->g, c->q->peer, (const char *)text.data, text.len, at_once, c->now,
			  &generation, &c->why);
	if (rc < 0)
		return rc;
	return call_answer(c, json_pack("{s:I}", "generation", (json_int_t)generation));
}

static int list_record(int64_t seq, const char *statement, size_t n, void *arg)
{
	(void)seq;
	return json_array_append_new(arg, json_stringn(statement, n)) < 0 ? -ENOMEM : 0;
}

/* Take NAME=VALUE, of at most N - 1 characters and all of them in CHARS, from what *AT begins with.
 */
static int take_word(const char **at, const char *name, const char *chars, char *value, size_t n)
{
	size_t skip = strlen(name);
	if (strncmp(*at, name, skip) != 0)
		return 0;
	size_t len = strspn(*at + skip, chars);
	if (len == 0 || len >= n)
		return 0;
	memcpy(value, *at + skip, len);
	value[len] = 0;
	*at += skip + len;
	return 1;
}

#define DIGITS "0123456789"
#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* "vm=UUID", then "&owner=THUMBPRINT" and "&from=N" if they are wanted: from 1, without leading
 * zeros. */
static int read_log_query(struct call *c, uint8_t vm[static UUID_BYTES],
			  char owner[static STORE_OWNER_SIZE], int64_t *from)
{
	char id[UUID_TEXT_SIZE], number[19];
	const char *at = strchr(c->q->path, '?');
	owner[0] = 0;
	*from = 1;
	int ok = at && take_word(&at, "?vm=", DIGITS "abcdef-", id, sizeof(id)) &&
		 service_uuid(id, vm) >= 0;
	if (ok && take_word(&at, "&owner=", DIGITS LOWER UPPER "-_", owner, STORE_OWNER_SIZE))
		ok = strlen(owner) == STORE_OWNER_SIZE - 1;
	if (ok && take_word(&at, "&from=", DIGITS, number, sizeof(number))) {
		ok = number[0] != '0';
		*from = strtoll(number, NULL, 10);
	}
	return ok && !*at ? 0
			  : refuse(&c->why, "request.format", ERR_FORMAT,
				   "the query is not vm=UUID, owner=THUMBPRINT if it is wanted, "
				   "and from=NUMBER likewise");
}

/* The one owner of whose VM there are records; nobody if there are none. */
static int find_owner(struct call *c, const uint8_t vm[static UUID_BYTES],
		      char owner[static STORE_OWNER_SIZE])
{
	char all[OWNERS_TOLD][STORE_OWNER_SIZE], told[OWNERS_TOLD * (STORE_OWNER_SIZE + 1)] = "";
	size_t n;
	int rc = store_log_owners(c->g->store, vm, OWNERS_TOLD, all, &n, &c->why.fault);
	if (rc < 0)
		return refuse_failed(&c->why, "guardian.store", rc);
	if (n == 1)
		memcpy(owner, all[0], STORE_OWNER_SIZE);
	if (n <= 1)
		return 0;
	for (size_t i = 0, at = 0; i < n; i++, at = strlen(told))
		snprintf(told + at, sizeof(told) - at, "%s%s", i ? ", " : "", all[i]);
	return refuse(&c->why, "owner.several", ERR_STATE,
		      "VMs of several owners have this UUID, each with a log of its own: %s%s",
		      told, n == OWNERS_TOLD ? ", and perhaps others" : "");
}

int call_answer_log(struct call *c, const uint8_t vm[static UUID_BYTES], const char *owner,
		    int64_t from)
{
	CLEANUP_BUF struct buf head = BUF_INIT(SIGN_TEXT_MAX);
	CLEANUP_JSON json_t *list = json_array();
	int rc = store_log_each(c->g->store, vm, owner, from, SERVICE_LOG_RECORDS, list_record,
				list, &c->why.fault);
	if (rc < 0)
		return refuse_failed(&c->why, "guardian.store", rc);
	/* Behind the records: what it says is at least as much. */
	rc = ledger_head_sign(c->g->store, c->g->log_key, vm, owner, c->now, &head, &c->why.fault);
	if (rc < 0)
		return refuse_failed(&c->why, "guardian.log", rc);
	return call_answer(c, json_pack("{s:O,s:o}", "records", list, "head",
					json_stringn((const char *)head.data, head.len)));
}

int service_log(struct call *c)
{
	uint8_t vm[UUID_BYTES];
	char owner[STORE_OWNER_SIZE];
	int64_t from;
	int rc = read_log_query(c, vm, owner, &from);
	if (rc >= 0 && !owner[0])
		rc = find_owner(c, vm, owner);
	return rc < 0 ? rc : call_answer_log(c, vm, owner, from);
}

static int list_admin(const struct store_admin *a, void *arg)
{
	json_t *j =
		json_pack("{s:s,s:s,s:o,s:I}", "name", a->name, "role", store_role_name(a->role),
			  "fingerprint", service_hex(a->fingerprint, sizeof(a->fingerprint)),
			  "added", (json_int_t)a->added);
	return json_array_append_new(arg, j) < 0 ? -ENOMEM : 0;
}

int service_admins(struct call *c)
{
	CLEANUP_JSON json_t *list = json_array();
	int rc = store_admin_each(c->g->store, list_admin, list, &c->why.fault);
	if (rc < 0)
		return refuse_failed(&c->why, "guardian.store", rc);
	return call_answer(c, json_pack("{s:O}", "admins", list));
}

/* A name into an array that it is known to fit. */
static int read_name(struct call *c, char out[static STORE_NAME_MAX])
{
	const char *name;
	int rc = call_text(c, "name", &name);
	if (rc >= 0)
		rc = refuse_failed(&c->why, "request.format",
				   store_name_check(name, &c->why.fault));
	if (rc >= 0)
		memcpy(out, name, strlen(name) + 1);
	return rc;
}

int service_admin_add(struct call *c)
{
	struct store_admin a = { .added = c->now };
	const char *role;
	int rc = CALL_MEMBERS(c, "name", "role", "fingerprint");
	if (rc >= 0)
		rc = read_name(c, a.name);
	if (rc >= 0)
		rc = call_text(c, "role", &role);
	if (rc >= 0)
		rc = call_fingerprint(c, "fingerprint", a.fingerprint);
	if (rc < 0)
		return rc;
	if (strcmp(role, store_role_name(STORE_REVIEWER)) == 0)
		a.role = STORE_REVIEWER;
	else if (strcmp(role, store_role_name(STORE_ADMIN)) != 0)
		return refuse(&c->why, "request.format", ERR_FORMAT,
			      "\"role\" is not \"admin\" or \"reviewer\"");
	rc = admin_add(c->g, c->q->peer, &a, c->now, &c->why);
	return rc < 0 ? rc : call_done(c);
}

int service_admin_remove(struct call *c)
{
	char name[STORE_NAME_MAX];
	int rc = CALL_MEMBERS(c, "name");
	if (rc >= 0)
		rc = read_name(c, name);
	if (rc >= 0)
		rc = admin_remove(c->g, c->q->peer, name, c->now, &c->why);
	return rc < 0 ? rc : call_done(c);
}
