/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/route.h"

#include <string.h>

#include "crypto/protector.h"
#include "crypto/sign.h"

#define SMALL	4096
/* Keys, a certificate and a chain of EKCERT_CHAIN_MAX in base64url. */
#define ENROL	(256 * 1024)
/* A protector, a ticket, a health certificate. */
#define RELEASE (PROTECTOR_TEXT_MAX + SIGN_TEXT_MAX + SMALL)

const struct route ROUTES[ROUTE_COUNT] = {
	[ROUTE_INFO] = { LINK_HOSTS, LINK_GET, "/v1/info", 0, 0 },
	[ROUTE_ENROL_BEGIN] = { LINK_HOSTS, LINK_POST, "/v1/enrol/begin", ENROL, 0 },
	[ROUTE_ENROL_FINISH] = { LINK_HOSTS, LINK_POST, "/v1/enrol/finish", ENROL, 0 },
	[ROUTE_CHALLENGE] = { LINK_HOSTS, LINK_POST, "/v1/challenge", SMALL, 0 },
	[ROUTE_ATTEST] = { LINK_HOSTS, LINK_POST, "/v1/attest", LINK_BODY_MAX, 0 },
	[ROUTE_HOSTS] = { LINK_ADMINS, LINK_GET, "/v1/hosts", 0, 1 },
	[ROUTE_APPROVE] = { LINK_ADMINS, LINK_POST, "/v1/hosts/approve", SMALL, 0 },
	[ROUTE_REVOKE] = { LINK_ADMINS, LINK_POST, "/v1/hosts/revoke", SMALL, 0 },
	[ROUTE_REPLACE] = { LINK_ADMINS, LINK_POST, "/v1/hosts/replace", SMALL, 0 },
	[ROUTE_POLICY] = { LINK_ADMINS, LINK_GET, "/v1/policy", 0, 0 },
	[ROUTE_POLICY_SET] = { LINK_ADMINS, LINK_POST, "/v1/policy", STORE_POLICY_MAX + SMALL, 0 },
	[ROUTE_LOG] = { LINK_ADMINS, LINK_GET, "/v1/log", 0, 1 },
	[ROUTE_ADMINS] = { LINK_ADMINS, LINK_GET, "/v1/admins", 0, 0 },
	[ROUTE_ADMIN_ADD] = { LINK_ADMINS, LINK_POST, "/v1/admins", SMALL, 0 },
	[ROUTE_ADMIN_REMOVE] = { LINK_ADMINS, LINK_POST, "/v1/admins/remove", SMALL, 0 },
	[ROUTE_RELEASE] = { LINK_HOSTS, LINK_POST, "/v1/release", RELEASE, 0 },
	[ROUTE_TAKE] = { LINK_HOSTS, LINK_POST, "/v1/lease/take", SMALL, 0 },
	[ROUTE_REPORT] = { LINK_HOSTS, LINK_POST, "/v1/lease/report", SMALL, 0 },
	[ROUTE_STOP] = { LINK_HOSTS, LINK_POST, "/v1/lease/stop", SMALL, 0 },
	[ROUTE_OWNER_LOG] = { LINK_HOSTS, LINK_POST, "/v1/owner/log", SMALL, 0 },
	[ROUTE_TAKEBACK] = { LINK_ADMINS, LINK_POST, "/v1/lease/takeback", SIGN_TEXT_MAX + SMALL,
			     0 },
};

int route_find(enum link_listener listener, enum link_method method, const char *path,
	       enum route_id *out)
{
	size_t n = strcspn(path, "?");
	int rc = ERR_USAGE;
	for (int i = 0; i < ROUTE_COUNT; i++) {
		const struct route *r = &ROUTES[i];
		if (r->listener != listener || strlen(r->path) != n ||
		    memcmp(r->path, path, n) != 0 || (path[n] == '?' && !r->query_allowed))
			continue;
		rc = ERR_PURPOSE;
		if (r->method == method) {
			*out = (enum route_id)i;
			return 0;
		}
	}
	return rc;
}
