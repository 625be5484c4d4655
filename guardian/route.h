/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What may be asked of a guardian: listener, method, path, and the most that a body may have.  One
 * table, which the front bounds bodies by and the keeper answers by.
 *
 * May be used by: guardian/.  No allocation, no system call.
 */
#ifndef SHIELDVM_GUARDIAN_ROUTE_H
#define SHIELDVM_GUARDIAN_ROUTE_H

#include "guardian/link.h"

enum route_id {
	ROUTE_INFO,
	ROUTE_ENROL_BEGIN,
	ROUTE_ENROL_FINISH,
	ROUTE_CHALLENGE,
	ROUTE_ATTEST,
	ROUTE_HOSTS,
	ROUTE_APPROVE,
	ROUTE_REVOKE,
	ROUTE_REPLACE,
	ROUTE_POLICY,
	ROUTE_POLICY_SET,
	ROUTE_LOG,
	ROUTE_ADMINS,
	ROUTE_ADMIN_ADD,
	ROUTE_ADMIN_REMOVE,
	ROUTE_RELEASE,
	ROUTE_TAKE,
	ROUTE_REPORT,
	ROUTE_STOP,
	ROUTE_TAKEBACK,
	ROUTE_OWNER_LOG,
	ROUTE_COUNT
};

struct route {
	enum link_listener listener;
	enum link_method method;
	const char *path;
	size_t body_max;   /* bytes; of a GET 0 */
	int query_allowed; /* something may stand behind a '?' */
};
extern const struct route ROUTES[ROUTE_COUNT];

/*
 * The route of PATH, which may have a query.  ERR_USAGE: there is no such path on this listener;
 * ERR_PURPOSE: not by this method.
 */
int route_find(enum link_listener listener, enum link_method method, const char *path,
	       enum route_id *out) MUST_CHECK;

#endif
