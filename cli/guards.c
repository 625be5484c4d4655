/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/guards.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attest/client.h"
#include "cli/cli.h"

#define BEFORE_URLS "@https://"

void guard_list_done(struct guard_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		jwk_free(list->keys[i]);
		free(list->urls[i]);
	}
	list->n = 0;
}

/* Where K is, or N. */
static size_t find(const struct guard_list *list, const struct jwk *k)
{
	size_t i = 0;
	while (i < list->n && !jwk_same(list->keys[i], k))
		i++;
	return i;
}

int guard_list_has(const struct guard_list *list, const struct jwk *k)
{
	return find(list, k) < list->n;
}

int guard_list_set(struct guard_list *list, const struct jwk *k, const char *urls, struct fault *f)
{
	size_t i = find(list, k);
	if (i == PROTECTOR_GUARDIANS_MAX)
		return fault_set(f, ERR_LIMIT, "more than %d guardians", PROTECTOR_GUARDIANS_MAX);
	CLEANUP_FREE char *copy = strdup(urls);
	if (!copy)
		return -ENOMEM;
	if (i == list->n) {
		int rc = cli_copy_key(k, &list->keys[i], f);
		if (rc < 0)
			return rc;
		list->urls[i] = NULL;
		list->n++;
	}
	free(list->urls[i]);
	list->urls[i] = copy;
	copy = NULL;
	return 0;
}

static int check_different(const struct client_urls *urls, struct fault *f)
{
	for (size_t i = 0; i < urls->n; i++) {
		for (size_t j = 0; j < i; j++) {
			if (strcmp(urls->at[i].address, urls->at[j].address) == 0)
				return fault_set(f, ERR_USAGE,
						 "a guardian's address %s is given twice",
						 urls->at[i].address);
		}
	}
	return 0;
}

int guard_list_add_option(struct guard_list *list, const char *option, struct fault *f)
{
	CLEANUP_JWK struct jwk *k = NULL;
	struct client_urls urls;
	const char *at = strstr(option, BEFORE_URLS);
	if (!at || at == option)
		return fault_set(f, ERR_USAGE,
				 "'%s' names no guardian: it is PUB@https://HOST:PORT#THUMBPRINT, "
				 "with the file of the guardian's release.jwk.pub for PUB",
				 option);
	CLEANUP_FREE char *path = strndup(option, (size_t)(at - option));
	if (!path)
		return -ENOMEM;
	int rc = client_urls_parse(at + 1, &urls, f);
	if (rc >= 0)
		rc = jwk_read_file(path, 0, &k, f);
	if (rc < 0)
		return rc;
	rc = check_different(&urls, f);
	if (rc < 0)
		return rc;
	if (guard_list_has(list, k))
		return fault_set(f, ERR_USAGE,
				 "%s: this guardian is named twice; give all its addresses at once",
				 path);
	return guard_list_set(list, k, at + 1, f);
}

struct protector_guards guard_list_view(const struct guard_list *list)
{
	struct protector_guards view = { .n = list->n };
	for (size_t i = 0; i < list->n; i++) {
		view.keys[i] = list->keys[i];
		view.urls[i] = list->urls[i];
	}
	return view;
}

int guard_assurance(const char *text, enum healthcert_assurance *out, struct fault *f)
{
	return healthcert_assurance_parse(text, out) < 0
		       ? fault_set(f, ERR_USAGE, "--assurance %s: it is tpm or hostkey", text)
		       : 0;
}

int guard_offline(const char *text, uint32_t *out, struct fault *f)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long n = digits == strlen(text) && digits >= 1 && digits <= 3
				  ? strtoul(text, NULL, 10)
				  : PROTECTOR_OFFLINE_MAX + 1;
	if (n > PROTECTOR_OFFLINE_MAX)
		return fault_set(f, ERR_USAGE, "--offline-starts %s: it is a number from 0 to %d",
				 text, PROTECTOR_OFFLINE_MAX);
	*out = (uint32_t)n;
	return 0;
}

void guard_edition(struct protector_facts *facts, const struct guard_list *list)
{
	int64_t now = time(NULL), next = facts->edition + 1;
	int follows = next > now && next <= now + PROTECTOR_EDITION_AHEAD;
	facts->edition = list->n == 0 ? 0 : follows ? next : now;
}

int guard_say_edition(int64_t before, const struct protector_facts *facts,
		      const struct guard_list *list)
{
	if (list->n == 0 || facts->edition > before)
		return 0;
	fprintf(stderr,
		"Mind: by this machine's clock the former protector is from a time to come, so "
		"the new one is\nof a lower edition. If the clock is wrong, set it and do this "
		"again: guardians go on\nreleasing the key by the former one, and then by no lower "
		"one (protector.older).\n");
	return 1;
}

void guard_count(size_t hosts, size_t guardians, char text[static GUARD_COUNT_SIZE])
{
	char some_hosts[32] = "", some_guardians[32] = "";
	if (hosts > 0 || guardians == 0)
		snprintf(some_hosts, sizeof(some_hosts), "%zu host%s", hosts,
			 hosts == 1 ? "" : "s");
	if (guardians > 0)
		snprintf(some_guardians, sizeof(some_guardians), "%zu guardian%s", guardians,
			 guardians == 1 ? "" : "s");
	snprintf(text, GUARD_COUNT_SIZE, "%s%s%s", some_hosts, hosts && guardians ? " and " : "",
		 some_guardians);
}

void guard_list_say(const struct guard_list *list, const struct protector_facts *facts,
		    size_t n_hosts)
{
	for (size_t i = 0; i < list->n; i++) {
		char thumbprint[JWK_THUMBPRINT_SIZE];
		if (jwk_thumbprint(list->keys[i], thumbprint) < 0)
			continue;
		fprintf(stderr, "  guardian %s\n", thumbprint);
		for (const char *url = list->urls[i]; *url;) {
			size_t n = strcspn(url, ",");
			fprintf(stderr, "    %.*s\n", (int)n, url);
			url += n + (url[n] == ',');
		}
	}
	if (list->n == 0)
		return;
	fprintf(stderr,
		"Any one guardian releases the key, to a host that has just shown its health %s.\n",
		facts->least == HEALTHCERT_TPM
			? "with its TPM"
			: "with its TPM,\nor has no TPM and has shown who it is (nothing is "
			  "measured then)");
	if (facts->offline > 0)
		fprintf(stderr,
			"When no guardian answers, the host that had it last may start the VM %u "
			"more time%s.\n",
			facts->offline, facts->offline == 1 ? "" : "s");
	else
		fputs("When no guardian answers, the VM does not start; a running one goes on.\n",
		      stderr);
	if (n_hosts > 0)
		fprintf(stderr,
			"Mind: the %s above can open the key without any guardian, healthy or "
			"not.\n",
			n_hosts == 1 ? "host" : "hosts");
}
