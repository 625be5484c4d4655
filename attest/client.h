/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Asking guardians: HTTP/1.1 with JSON over TLS 1.3, by libcurl, whose only user this is.
 *
 * There are several guardians over one database, and the next one is asked when one cannot be
 * reached or says that it cannot serve (503); what one refuses is refused.  A guardian is known by
 * the thumbprint of its key, which is part of its address, and by nothing else: no authority, no
 * name.  No proxy, no redirection, no other protocol, nothing from the environment.
 *
 * May be used by: cli/, the host's attestation daemon.  One thread at a time; blocks for at most
 * the deadline.
 */
#ifndef SHIELDVM_ATTEST_CLIENT_H
#define SHIELDVM_ATTEST_CLIENT_H

#include <jansson.h>

#include "attest/finding.h"
#include "base/buf.h"
#include "crypto/jwk.h"

#define CLIENT_URLS_MAX	   8
#define CLIENT_URL_MAX	   320 /* characters of an address, without thumbprint */
#define CLIENT_DEADLINE_MS 30000
#define CLIENT_CONNECT_MS  5000 /* for each guardian, within the deadline */
#define CLIENT_ANSWER_MAX  (16 * 1024 * 1024)
#define CLIENT_ID_MAX	   64

struct client_url {
	char address[CLIENT_URL_MAX + 1]; /* https://HOST:PORT */
	char pin[JWK_THUMBPRINT_SIZE];
};
struct client_urls {
	size_t n;
	struct client_url at[CLIENT_URLS_MAX];
};

/* "https://HOST:PORT#THUMBPRINT[,...]", in the order in which they are asked; HOST is a name, an
 * IPv4 address or an IPv6 address in brackets.  ERR_USAGE with a sentence. */
int client_urls_parse(const char *text, struct client_urls *out, struct fault *f) MUST_CHECK;

struct client;

/* KEY, the private key by which the guardian knows who asks, must live as long as *OUT.  A request
 * takes at most DEADLINE_MS, however many guardians are asked.  -ENOMEM, ERR_CRYPTO if libcurl has
 * another TLS library than ours, ERR_FORMAT for a public key. */
int client_open(const struct client_urls *urls, const struct jwk *key, int deadline_ms,
		struct client **out, struct fault *f) MUST_CHECK;
void client_close(struct client *c); /* NULL is fine */
static inline void cleanup_client(struct client **c)
{
	client_close(*c);
}
#define CLEANUP_CLIENT CLEANUP(cleanup_client)

/* What a guardian refuses with. */
struct client_refusal {
	char id[CLIENT_ID_MAX]; /* of attest/refusal.h or attest/finding.h; "" */
	int unable; /* 1: nobody has refused; none could be reached, or said that it can serve */
	struct findings findings;
};

/* No request of C goes on after UNTIL_MS (base/clock.h), whatever its deadline. */
void client_until(struct client *c, int64_t until_ms);

enum client_repeat {
	CLIENT_ONCE,	   /* does something: not asked twice */
	CLIENT_REPEATABLE, /* changes nothing */
};

/*
 * POST BODY, or GET if it is NULL, to PATH ("/v1/info", with its query) and parse the answer into
 * *OUT, a new reference.  ERR_POLICY if the guardian refuses, or cannot serve and says so (WHY says
 * which), with its reason in WHY (if not NULL) and its sentence in F.  Otherwise nothing was
 * answered, and F says why for each guardian: ERR_AUTH if one had another key, ERR_LIMIT and
 * ERR_FORMAT for an answer that is none, else -errno.  -ECONNABORTED goes before all others: a
 * request with CLIENT_ONCE was sent and nobody knows what became of it.
 */
int client_ask(struct client *c, const char *path, const json_t *body, enum client_repeat repeat,
	       json_t **out, struct client_refusal *why, struct fault *f) MUST_CHECK;

/*
 * What client_ask() makes of an answer of HTTP's STATUS with the body TEXT, from ADDRESS: *OUT, a
 * new reference, for 200; ERR_POLICY for a refusal, with its reason in WHY, which is zeroed or
 * NULL; ERR_FORMAT for what is neither, *OUT then being untouched as well.
 */
int client_answer(const char *address, long status, const struct buf *text, json_t **out,
		  struct client_refusal *why, struct fault *f) MUST_CHECK;

/*
 * 1 if the same is to be asked again in a new way (another challenge, another request id): after
 * TRIES of it ended with RC and WHY, nobody knows what became of it, and there is another guardian;
 * or one has refused it as USED, since another one that then could not serve had begun with it.
 */
int client_again(const struct client *c, size_t tries, int rc, const struct client_refusal *why,
		 const char *used);

/* The address of the guardian that answered last; it is asked first next time. */
const char *client_address(const struct client *c);

/* A list of findings in an answer.  ERR_FORMAT, also for a finding that is unknown here; OUT is
 * then unspecified. */
int client_findings(const json_t *list, struct findings *out, struct fault *f) MUST_CHECK;

/* When to attest again: at half of the certificate's life, a tenth of it earlier or later by
 * RANDOM, so that hosts that started together do not stay together. */
int64_t client_renew_at(int64_t not_before, int64_t not_after, uint32_t random);

#endif
