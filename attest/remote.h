/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What those that talk to a guardian share: a client with a key, refusals that say what to do, and
 * members of answers.
 *
 * May be used by: attest/, cli/ (`shieldvm attest --guardian`, `host enrol`, `guardian ...`).
 */
#ifndef SHIELDVM_ATTEST_REMOTE_H
#define SHIELDVM_ATTEST_REMOTE_H

#include "attest/client.h"
#include "base/uuid.h"

/* A client of the guardians in URLS with the private key in the file KEY_PATH; COMMAND is for
 * sentences.  remote_done() gives both back. */
struct remote {
	struct jwk *key;
	struct client *client;
};
int remote_open(const char *urls, const char *key_path, const char *command, struct remote *out,
		struct fault *f) MUST_CHECK;
void remote_done(struct remote *r);
#define CLEANUP_REMOTE CLEANUP(remote_done)

/* As client_ask(); BODY is taken over, and NULL means that memory is out.  In a refusal's sentence
 * is also what to do.  WHY may be NULL. */
int remote_post(struct remote *r, const char *path, json_t *body, enum client_repeat repeat,
		json_t **out, struct client_refusal *why, struct fault *f) MUST_CHECK;
int remote_get(struct remote *r, const char *path, json_t **out, struct client_refusal *why,
	       struct fault *f) MUST_CHECK;

/* N bytes in base64url, as a JSON string; NULL on -ENOMEM. */
json_t *remote_bytes(const void *data, size_t n);

/* Members of an answer: ERR_FORMAT with a sentence.  The first is exactly N bytes, the second as
 * many as OUT takes, the third no less than 0, the fourth borrowed. */
int remote_take(const json_t *o, const char *name, uint8_t *out, size_t n,
		struct fault *f) MUST_CHECK;
int remote_take_buf(const json_t *o, const char *name, struct buf *out, struct fault *f) MUST_CHECK;
int remote_take_number(const json_t *o, const char *name, int64_t *out, struct fault *f) MUST_CHECK;
int remote_take_text(const json_t *o, const char *name, const char **out,
		     struct fault *f) MUST_CHECK;

/* This host's id, made first with MAKE; else -ENOENT with a sentence when there is none. */
int remote_host_id(int make, uint8_t id[static UUID_BYTES], struct fault *f) MUST_CHECK;

#endif
