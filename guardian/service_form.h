/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What answering a request works with.  Private to guardian/service*.c.
 */
#ifndef SHIELDVM_GUARDIAN_SERVICE_FORM_H
#define SHIELDVM_GUARDIAN_SERVICE_FORM_H

#include "crypto/strict.h"
#include "guardian/service.h"

/* A request that is being answered. */
struct call {
	const struct guardian *g;
	const struct service_ask *q;
	int64_t now;
	json_t *in;  /* the body; NULL for a GET */
	json_t *out; /* the reply, once there is one; a new reference */
	struct certify_case *judge;
	struct refusal why;
};

/* Returns an enum service_next, or < 0 with C's `why` set. */
typedef int service_fn(struct call *c);
service_fn service_info, service_enrol_begin, service_enrol_finish, service_challenge,
	service_attest;
service_fn service_hosts, service_approve, service_revoke, service_replace, service_policy,
	service_policy_set, service_log, service_admins, service_admin_add, service_admin_remove;
service_fn service_release, service_take, service_report, service_stop, service_takeback,
	service_owner_log;

/* OBJECT's members are exactly NAMES. */
int call_members(struct call *c, const char *const *names, size_t n) MUST_CHECK;
#define CALL_MEMBERS(c, ...)                                                                       \
	call_members(c, (const char *const[]){ __VA_ARGS__ },                                      \
		     sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *))

/* A member of the body; all refuse as request.format.  Texts are borrowed. */
int call_text(struct call *c, const char *name, const char **out) MUST_CHECK;
int call_id(struct call *c, const char *name, uint8_t id[static UUID_BYTES]) MUST_CHECK;
int call_integer(struct call *c, const char *name, int64_t *out) MUST_CHECK;
int call_boolean(struct call *c, const char *name, int *out) MUST_CHECK;
int call_bytes(struct call *c, const char *name, uint8_t *out, size_t n) MUST_CHECK;
int call_blob(struct call *c, const char *name, struct buf *out) MUST_CHECK;
int call_fingerprint(struct call *c, const char *name,
		     uint8_t out[static STORE_FINGERPRINT_BYTES]) MUST_CHECK;

/* A public JWK; *OUT becomes the caller's, on failure too. */
int call_key(struct call *c, const char *name, struct jwk **out) MUST_CHECK;

/* The host ID asks, by the certificate that it was enrolled with, whatever its state.  host.* */
int call_peer(struct call *c, const uint8_t id[static UUID_BYTES]) MUST_CHECK;

/* In the canonical spelling; ERR_FORMAT. */
int service_uuid(const char *text, uint8_t id[static UUID_BYTES]) MUST_CHECK;

/* A new JSON string of the bytes, in base64url or hexadecimal; NULL when memory is out. */
json_t *service_b64(const void *data, size_t n);
json_t *service_hex(const uint8_t *data, size_t n);
json_t *service_id(const uint8_t id[static UUID_BYTES]);
json_t *service_findings(const struct findings *f);

/* VM's log, from its record FROM on, is what C is answered; who may see it was decided. */
int call_answer_log(struct call *c, const uint8_t vm[static UUID_BYTES], const char *owner,
		    int64_t from) MUST_CHECK;

/* REPLY (taken; NULL when memory is out) is what C is answered. */
int call_answer(struct call *c, json_t *reply) MUST_CHECK;
/* ... that it was done. */
int call_done(struct call *c) MUST_CHECK;

#endif
