/* SPDX-License-Identifier: BSD-3-Clause */
/* The only other user of libpq: it alone knows what its addresses mean. */
#include "guardian/store_url.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/wipe.h"

#define HOST_MAX     256
#define DEFAULT_PORT 5432

static void free_options(PQconninfoOption **all)
{
	PQconninfoFree(*all);
}

/* What libpq reads URL as, without its defaults; NULL. */
static PQconninfoOption *parse(const char *url, struct fault *f)
{
	char *wrong = NULL;
	PQconninfoOption *all = PQconninfoParse(url, &wrong);
	PQfreemem(wrong); /* it may repeat the string, and a password in it */
	if (!all)
		(void)fault_set(f, ERR_USAGE,
				"the database's address is not one of PostgreSQL's "
				"(postgresql://HOST/DATABASE?...)");
	return all;
}

/* The value of NAME, or "". */
static const char *value(const PQconninfoOption *all, const char *name)
{
	for (const PQconninfoOption *o = all; o->keyword; o++)
		if (strcmp(o->keyword, name) == 0)
			return o->val ? o->val : "";
	return "";
}

/* It is in argv, which everyone on the machine can read; and over a network the server has to show
 * who it is. */
int store_url_check(const char *url, struct fault *f)
{
	CLEANUP(free_options) PQconninfoOption *all = parse(url, f);
	if (!all)
		return ERR_USAGE;
	const char *secret = NULL, *mode = value(all, "sslmode");
	if (value(all, "password")[0] || value(all, "sslpassword")[0])
		secret = "its address";
	if (getenv("PGPASSWORD"))
		secret = "the environment (PGPASSWORD)";
	if (secret)
		return fault_set(f, ERR_POLICY,
				 "the database's password is in %s, where others can read it: put "
				 "it into a file of mode 0600 and name that by passfile=",
				 secret);
	if (mode[0] && strcmp(mode, "verify-full") != 0)
		return fault_set(f, ERR_POLICY,
				 "%s: a guardian's database is reached with sslmode=verify-full or "
				 "by a Unix socket: leave sslmode out",
				 url);
	if (strlen(url) >= STORE_URL_MAX)
		return fault_set(f, ERR_LIMIT, "the database's address has at most %d characters",
				 STORE_URL_MAX - 1);
	return 0;
}

/* Item I of the LIST with commas, into OUT: 1, or 0 if there is none. */
static int item(const char *list, size_t i, char out[static HOST_MAX])
{
	for (; i; i--) {
		list = strchr(list, ',');
		if (!list)
			return 0;
		list++;
	}
	size_t n = strcspn(list, ",");
	if (n >= HOST_MAX)
		n = 0; /* no address is so long: as if it was missing */
	memcpy(out, list, n);
	out[n] = '\0';
	return 1;
}

static int is_number(const char *host)
{
	struct in6_addr a;
	return inet_pton(AF_INET, host, &a) == 1 || inet_pton(AF_INET6, host, &a) == 1;
}

/* The port of host I; libpq has one port for all, or one for each. */
static int port_of(const char *ports, size_t i, uint16_t *out, struct fault *f)
{
	char text[HOST_MAX], *end = text;
	if (!item(ports, i, text) && !item(ports, 0, text))
		text[0] = '\0';
	long n = text[0] ? strtol(text, &end, 10) : DEFAULT_PORT;
	if (*end || n <= 0 || n > UINT16_MAX)
		return fault_set(f, ERR_USAGE, "%s is no port of a database", text);
	*out = (uint16_t)n;
	return 0;
}

static int read_hosts(const PQconninfoOption *all, struct store_ports *out, struct fault *f)
{
	const char *hosts = value(all, "host"), *numbers = value(all, "hostaddr");
	char host[HOST_MAX], number[HOST_MAX];
	for (size_t i = 0;; i++) {
		int more = item(hosts, i, host), numbered = item(numbers, i, number);
		if (!more && !numbered)
			return 0;
		if (!more)
			host[0] = '\0';
		int known = numbered && number[0];
		/* Without any host it is a Unix socket in the folder that libpq was built with. */
		if (!known && (host[0] == '/' || !host[0]))
			continue;
		if (!is_number(known ? number : host))
			return fault_set(f, ERR_USAGE,
					 "the guardian looks no name up once it is confined: give "
					 "the number of %s as well, hostaddr=NUMBER",
					 known ? number : host);
		if (out->n == STORE_PORTS_MAX)
			return fault_set(f, ERR_LIMIT, "a database has at most %d hosts",
					 STORE_PORTS_MAX);
		int rc = port_of(value(all, "port"), i, &out->port[out->n], f);
		if (rc < 0)
			return rc;
		out->n++;
	}
}

static int is_in(const char *folder, const char *path)
{
	size_t n = strlen(folder);
	return strncmp(path, folder, n) == 0 && path[n] == '/' && !strstr(path, "/../");
}

int store_url_confined(const char *url, const char *folder, struct store_ports *out,
		       struct fault *f)
{
	static const char *const FILES[] = { "passfile", "sslrootcert", "sslcert",
					     "sslkey",	 "sslcrl",	"sslcrldir" };
	static const char *const NEVER[] = { "service", "requirepeer" };
	static const char *const NEEDED[] = { "user", "dbname" };
	int rc = store_url_check(url, f);
	if (rc < 0)
		return rc;
	CLEANUP(free_options) PQconninfoOption *all = parse(url, f);
	if (!all)
		return ERR_USAGE;
	for (size_t i = 0; i < sizeof(NEEDED) / sizeof(NEEDED[0]); i++)
		if (!value(all, NEEDED[i])[0])
			return fault_set(f, ERR_USAGE,
					 "the database's address must name its %s "
					 "(postgresql://USER@HOST/DATABASE)",
					 i ? "database" : "user");
	for (size_t i = 0; i < sizeof(NEVER) / sizeof(NEVER[0]); i++)
		if (value(all, NEVER[i])[0])
			return fault_set(f, ERR_USAGE,
					 "%s= needs files of the system that the guardian cannot "
					 "read once it is confined: leave it out",
					 NEVER[i]);
	for (size_t i = 0; i < sizeof(FILES) / sizeof(FILES[0]); i++) {
		const char *path = value(all, FILES[i]);
		if (path[0] && !is_in(folder, path))
			return fault_set(f, ERR_USAGE,
					 "%s=%s: once it is confined the guardian reads files in "
					 "%s only: put it there",
					 FILES[i], path, folder);
	}
	struct store_ports ports = { 0 };
	rc = read_hosts(all, &ports, f);
	if (rc >= 0)
		*out = ports;
	return rc;
}
