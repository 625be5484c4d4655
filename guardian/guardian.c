/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/guardian.h"

#include <errno.h>

#define KEEP_SECONDS 3600 /* what has expired is kept for a while, for whoever asks why */

int guardian_log(const struct guardian *g, struct ledger_record *r, struct refusal *why)
{
	return refuse_failed(why, "guardian.log",
			     ledger_append(g->store, g->log_key, r, &why->fault));
}

int guardian_commit(const struct guardian *g, struct refusal *why)
{
	return refuse_failed(why, "guardian.store", store_commit(g->store, &why->fault));
}

int guardian_approved(const struct guardian *g, const uint8_t id[static UUID_BYTES],
		      struct store_host *out, struct refusal *why)
{
	static const struct {
		const char *id, *says;
	} STATES[] = {
		[STORE_PENDING] = { "host.pending", "no admin has approved the host yet" },
		[STORE_REVOKED] = { "host.revoked", "the host is revoked" },
		[STORE_REPLACING] = { "host.replacing", "the host has to be enrolled again" },
	};
	int rc = store_host_get(g->store, id, out, &why->fault);
	if (rc == -ENOENT)
		return refuse_failed(why, "host.unknown", rc);
	if (rc < 0)
		return refuse_failed(why, "guardian.store", rc);
	if (out->state != STORE_APPROVED)
		return refuse(why, STATES[out->state].id, ERR_POLICY, "%s",
			      STATES[out->state].says);
	return 0;
}

int guardian_tend(const struct guardian *g, int64_t now, struct refusal *why)
{
	STORE_DECISION(s, g->store);
	int rc = store_begin(s, &why->fault);
	if (rc >= 0)
		rc = store_prune(s, now - KEEP_SECONDS, &why->fault);
	if (rc >= 0)
		rc = store_host_prune(s, now - STORE_PENDING_SECONDS, &why->fault);
	if (rc < 0)
		return refuse_failed(why, "guardian.store", rc);
	return guardian_commit(g, why);
}
