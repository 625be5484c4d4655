/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a PostgreSQL database is, as an operator says it: what its address must not have, and what
 * a confined process needs in order to reach it again after it was lost.
 *
 * libpq connects anew inside the confined keeper, so nothing of that may need what the keeper no
 * longer has: the resolver, the list of users, files of other folders.
 *
 * May be used by: guardian/.  No connection is made.
 */
#ifndef SHIELDVM_GUARDIAN_STORE_URL_H
#define SHIELDVM_GUARDIAN_STORE_URL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define STORE_URL_MAX	2048
#define STORE_PORTS_MAX 8

/*
 * ERR_POLICY for a URL with a password or a weaker sslmode than verify-full in it, and if
 * PGPASSWORD is set; ERR_USAGE if libpq does not understand it; ERR_LIMIT if it is too long.
 */
int store_url_check(const char *url, struct fault *f) MUST_CHECK;

/* TCP ports that are connected to; none if all its hosts are Unix sockets. */
struct store_ports {
	size_t n;
	uint16_t port[STORE_PORTS_MAX];
};

/*
 * The same, and whether a process that can read nothing but FOLDER can use URL: each host is a
 * folder of Unix sockets, a number, or has its number in hostaddr; ports are numbers; user and
 * database are named; every file that it names is in FOLDER; no service, no requirepeer.
 * ERR_USAGE with what to write instead.  Files that are not named are libpq's own under HOME.
 */
int store_url_confined(const char *url, const char *folder, struct store_ports *out,
		       struct fault *f) MUST_CHECK;

#endif
