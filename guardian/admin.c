/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/admin.h"

#include <errno.h>
#include <stdio.h>

int admin_begin(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
		struct store_admin *admin, struct refusal *why)
{
	int rc = store_begin(g->store, &why->fault);
	if (rc < 0)
		return refuse_failed(why, "guardian.store", rc);
	rc = store_admin_find(g->store, by, admin, &why->fault);
	if (rc < 0)
		return refuse_failed(why, rc == -ENOENT ? "admin.unknown" : "guardian.store", rc);
	if (admin->role != STORE_ADMIN)
		return refuse(why, "admin.role", ERR_POLICY, "%s is a reviewer", admin->name);
	return 0;
}

/* Log R as ADMIN's word and commit. */
static int finish(const struct guardian *g, const struct store_admin *admin, int64_t now,
		  struct ledger_record *r, struct refusal *why)
{
	r->time = now;
	memcpy(r->by, admin->name, sizeof(r->by));
	int rc = guardian_log(g, r, why);
	return rc < 0 ? rc : guardian_commit(g, why);
}

static int get_host(const struct guardian *g, const uint8_t id[static UUID_BYTES],
		    struct store_host *out, struct refusal *why)
{
	int rc = store_host_get(g->store, id, out, &why->fault);
	return refuse_failed(why, rc == -ENOENT ? "host.unknown" : "guardian.store", rc);
}

/* Change H's state and log it. */
static int change(const struct guardian *g, const struct store_admin *admin,
		  const struct store_host *h, enum store_host_state to, enum ledger_event event,
		  int64_t now, struct refusal *why)
{
	struct ledger_record r = { .event = event, .hostkey = h->mode == STORE_MODE_HOSTKEY };
	uint8_t print[STORE_FINGERPRINT_BYTES];
	memcpy(r.host, h->id, sizeof(r.host));
	int rc = store_host_fingerprint(h, print);
	if (rc < 0)
		return refuse_failed(why, "guardian.keys", rc);
	ledger_set_hash(&r, print);
	rc = store_host_decide(g->store, h->id, h->state, to, now, admin->name, &why->fault);
	if (rc < 0)
		return refuse_failed(why, "guardian.store", rc);
	return finish(g, admin, now, &r, why);
}

int admin_approve(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
		  const uint8_t id[static UUID_BYTES],
		  const uint8_t fingerprint[static STORE_FINGERPRINT_BYTES], int64_t now,
		  struct refusal *why)
{
	struct store_admin admin;
	uint8_t is[STORE_FINGERPRINT_BYTES];
	STORE_DECISION(s, g->store);
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	int rc = admin_begin(g, by, &admin, why);
	if (rc >= 0)
		rc = get_host(g, id, &h, why);
	if (rc < 0)
		return rc;
	rc = store_host_fingerprint(&h, is);
	if (rc < 0)
		return refuse_failed(why, "guardian.keys", rc);
	if (h.state != STORE_PENDING)
		return refuse(why, "admin.compare", ERR_STATE, "the host is %s, not pending",
			      store_host_state_name(h.state));
	if (!mac_same(is, fingerprint, sizeof(is)))
		return refuse(why, "admin.compare", ERR_AUTH,
			      "the pending host has other keys than those that were compared");
	return change(g, &admin, &h, STORE_APPROVED, LEDGER_APPROVE, now, why);
}

/* Revoke, or replace: from every other state. */
static int move(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
		const uint8_t id[static UUID_BYTES], enum store_host_state to,
		enum ledger_event event, int64_t now, struct refusal *why)
{
	struct store_admin admin;
	STORE_DECISION(s, g->store);
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	int rc = admin_begin(g, by, &admin, why);
	if (rc >= 0)
		rc = get_host(g, id, &h, why);
	return rc < 0 ? rc : change(g, &admin, &h, to, event, now, why);
}

int admin_revoke(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
		 const uint8_t id[static UUID_BYTES], int64_t now, struct refusal *why)
{
	return move(g, by, id, STORE_REVOKED, LEDGER_REVOKE, now, why);
}

int admin_replace(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
		  const uint8_t id[static UUID_BYTES], int64_t now, struct refusal *why)
{
	return move(g, by, id, STORE_REPLACING, LEDGER_REPLACE, now, why);
}

int admin_policy(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
		 const char *text, size_t n, int at_once, int64_t now, int64_t *generation,
		 struct refusal *why)
{
	struct store_admin admin;
	struct ledger_record r = { .event = at_once ? LEDGER_FLOOR : LEDGER_POLICY };
	uint8_t hash[STORE_HASH_BYTES];
	STORE_DECISION(s, g->store);
	int rc = refuse_failed(why, "guardian.keys", hash_data(HASH_SHA256, text, n, hash));
	if (rc >= 0)
		rc = admin_begin(g, by, &admin, why);
	if (rc < 0)
		return rc;
	ledger_set_hash(&r, hash);
	rc = store_policy_add(s, text, n, now, admin.name, &r.generation, &why->fault);
	if (rc >= 0 && at_once)
		rc = store_floor_raise(s, r.generation, &why->fault);
	if (rc < 0)
		return refuse_failed(why, "guardian.store", rc);
	rc = finish(g, &admin, now, &r, why);
	if (rc >= 0)
		*generation = r.generation;
	return rc;
}

int admin_add(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
	      const struct store_admin *a, int64_t now, struct refusal *why)
{
	struct store_admin admin;
	struct ledger_record r = { .event = LEDGER_ADMIN };
	STORE_DECISION(s, g->store);
	int rc = admin_begin(g, by, &admin, why);
	if (rc < 0)
		return rc;
	ledger_set_admin(&r, a);
	rc = store_admin_add(s, a, &why->fault);
	if (rc < 0)
		return refuse_failed(why,
				     rc == -EEXIST || rc == ERR_FORMAT ? "request.format"
								       : "guardian.store",
				     rc);
	return finish(g, &admin, now, &r, why);
}

int admin_remove(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
		 const char *name, int64_t now, struct refusal *why)
{
	struct store_admin admin;
	struct ledger_record r = { .event = LEDGER_ADMIN };
	STORE_DECISION(s, g->store);
	int rc = admin_begin(g, by, &admin, why);
	if (rc < 0)
		return rc;
	if (strcmp(admin.name, name) == 0)
		return refuse(why, "request.format", ERR_STATE,
			      "nobody removes himself: let another admin do it");
	snprintf(r.object, sizeof(r.object), "remove:%s", name);
	rc = store_admin_remove(s, name, &why->fault);
	if (rc < 0)
		return refuse_failed(why, rc == -ENOENT ? "request.format" : "guardian.store", rc);
	return finish(g, &admin, now, &r, why);
}
