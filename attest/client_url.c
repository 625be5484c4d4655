/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "attest/client.h"
#include "crypto/strict.h"

#define SCHEME	       "https://"
#define THUMBPRINT_MAX 32 /* bytes of it */

static int bad(struct fault *f, const char *text, const char *why)
{
	return fault_set(f, ERR_USAGE,
			 "'%s' is not a guardian's address: %s (it is https://HOST:PORT#THUMBPRINT,"
			 " as shieldvm-guardian init tells it)",
			 text, why);
}

/* A port's number, to the end of TEXT. */
static int is_port(const char *text)
{
	unsigned port = 0;
	size_t n = strspn(text, "0123456789");
	if (n == 0 || n > 5 || text[n] != '\0' || text[0] == '0')
		return 0;
	for (size_t i = 0; i < n; i++)
		port = 10 * port + (unsigned)(text[i] - '0');
	return port <= 65535;
}

/* HOST:PORT */
static int is_host_and_port(char *text)
{
	static const char NAME[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789.-";
	size_t n = text[0] == '[' ? 1 + strspn(text + 1, "0123456789abcdefABCDEF:.")
				  : strspn(text, NAME);
	if (text[0] == '[' && (n < 3 || text[n++] != ']'))
		return 0;
	return n > 0 && text[0] != '-' && text[n] == ':' && is_port(text + n + 1);
}

/* One address, which is changed. */
static int parse(char *text, struct client_url *out, struct fault *f)
{
	uint8_t pin[THUMBPRINT_MAX];
	char *mark = strchr(text, '#');
	if (strncmp(text, SCHEME, strlen(SCHEME)) != 0)
		return bad(f, text, "it does not begin with " SCHEME);
	if (!mark)
		return bad(f, text, "its key's thumbprint is missing");
	if (strlen(mark + 1) != JWK_THUMBPRINT_SIZE - 1 ||
	    strict_b64(mark + 1, JWK_THUMBPRINT_SIZE - 1, pin, sizeof(pin)) < 0)
		return bad(f, text, "what is behind the # is no thumbprint");
	*mark = '\0';
	if (strlen(text) > CLIENT_URL_MAX)
		return bad(f, text, "it is too long");
	if (!is_host_and_port(text + strlen(SCHEME)))
		return bad(f, text, "host or port is wrong or missing");
	snprintf(out->address, sizeof(out->address), "%s", text);
	snprintf(out->pin, sizeof(out->pin), "%s", mark + 1);
	return 0;
}

int client_urls_parse(const char *text, struct client_urls *out, struct fault *f)
{
	struct client_urls urls = { 0 };
	char *copy = strdup(text), *rest = copy;
	int rc = copy ? 0 : fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	for (char *one; rc >= 0 && (one = strsep(&rest, ","));) {
		if (urls.n == CLIENT_URLS_MAX)
			rc = fault_set(f, ERR_USAGE, "more than %d guardians", CLIENT_URLS_MAX);
		else
			rc = parse(one, &urls.at[urls.n++], f);
	}
	free(copy);
	if (rc >= 0)
		*out = urls;
	return rc;
}
