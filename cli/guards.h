/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guardians as `shieldvm shield` and `shieldvm key rewrap` take them: PUB@URL[,URL...], PUB being
 * the file of a guardian's release key (release.jwk.pub of its folder) and URL
 * https://HOST:PORT#THUMBPRINT (attest/client.h).
 *
 * Used by: cli/shield.c, cli/rewrap.c.
 */
#ifndef SHIELDVM_CLI_GUARDS_H
#define SHIELDVM_CLI_GUARDS_H

#include "crypto/protector.h"

/* Public keys and addresses, owned. */
struct guard_list {
	size_t n;
	struct jwk *keys[PROTECTOR_GUARDIANS_MAX];
	char *urls[PROTECTOR_GUARDIANS_MAX];
};

void guard_list_done(struct guard_list *list);
#define CLEANUP_GUARD_LIST CLEANUP(guard_list_done)

/* Add the guardian that OPTION names.  ERR_USAGE if it is there already, ERR_LIMIT, errors of
 * jwk_read_file() and client_urls_parse(). */
int guard_list_add_option(struct guard_list *list, const char *option, struct fault *f) MUST_CHECK;

/* Add a guardian with K and URLS, or give the one that has K these URLS.  ERR_LIMIT, -ENOMEM. */
int guard_list_set(struct guard_list *list, const struct jwk *k, const char *urls,
		   struct fault *f) MUST_CHECK;

int guard_list_has(const struct guard_list *list, const struct jwk *k);

/* LIST for protector_make(); valid until LIST is changed. */
struct protector_guards guard_list_view(const struct guard_list *list);

/* What --assurance and --offline-starts say; ERR_USAGE with a sentence. */
int guard_assurance(const char *text, enum healthcert_assurance *out, struct fault *f) MUST_CHECK;
int guard_offline(const char *text, uint32_t *out, struct fault *f) MUST_CHECK;

/* FACTS are to be those of the protector that follows the one that they are from, with LIST: the
 * time in seconds since 1970, so that those made from an older one do not fall behind either, or
 * one more than before.  One that is from a time to come no guardian has gone by, and none will. */
void guard_edition(struct protector_facts *facts, const struct guard_list *list);
/* Tell, on stderr, if FACTS, with LIST, are an edition that does not follow BEFORE, and return 1:
 * if it is this clock that is wrong, the former one is still in force. */
int guard_say_edition(int64_t before, const struct protector_facts *facts,
		      const struct guard_list *list);

/* "1 host", "2 guardians", "1 host and 2 guardians". */
#define GUARD_COUNT_SIZE 64
void guard_count(size_t hosts, size_t guardians, char text[static GUARD_COUNT_SIZE]);

/* Tell, on stderr, LIST's guardians and what FACTS demand of a host; N_HOSTS need none of them. */
void guard_list_say(const struct guard_list *list, const struct protector_facts *facts,
		    size_t n_hosts);

#endif
