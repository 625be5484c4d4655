/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/keyask.h"

#include "crypto/jwk.h"

_Static_assert(SPAWN_POINT_BYTES == JWK_POINT_BYTES && SPAWN_POINT_BYTES == RAWKEY_P256_POINT,
	       "base/spawn.h cannot ask crypto/");
_Static_assert(SPAWN_INNER_BYTES == KEYRELEASE_INNER_BYTES, "base/spawn.h");
_Static_assert(SPAWN_REQUEST_BYTES == KEYRELEASE_REQUEST_BYTES, "base/spawn.h");
_Static_assert(SPAWN_HEALTH_MAX == HEALTHCERT_MAX, "base/spawn.h");

/* What it was released for must be this VM, this protector and this ephemeral key. */
static int open_inner(const struct order *order, const struct ecdh *mine,
		      const uint8_t point[static JWK_POINT_BYTES], const struct spawn_key *answer,
		      struct keyrelease *out, struct fault *f)
{
	struct fault why = { 0 };
	struct keyrelease_about about = { .certificate = answer->certificate,
					  .certificate_bytes = answer->certificate_bytes,
					  .protector = (const char *)order->protector.data,
					  .protector_chars = order->protector.len,
					  .restore = answer->restore };
	memcpy(about.vm, order->vm, UUID_BYTES);
	memcpy(about.request, answer->request, sizeof(about.request));
	int rc = keyrelease_open(mine, point, &about, answer->inner, sizeof(answer->inner), out,
				 &why);
	if (rc < 0)
		return fault_set(f, ERR_POLICY,
				 "guardian.key: what came for this worker from a guardian does not "
				 "open: %s",
				 why.text[0] ? why.text : err_text(rc));
	return 0;
}

void keyask_done(struct keyask *k)
{
	key_done(&k->key);
}

static void release_done(struct keyrelease *r)
{
	wipe(r, sizeof(*r));
}

int keyask(struct order *order, const struct protector *protector, uint64_t state_version,
	   struct keyask *out, struct fault *f)
{
	CLEANUP_JWK struct jwk *key = NULL;
	CLEANUP(release_done) struct keyrelease release = { 0 };
	struct fault why = { 0 };
	uint8_t point[JWK_POINT_BYTES];
	struct spawn_key answer;
	struct ecdh mine;
	int rc = jwk_new(&key, f);
	if (rc < 0)
		return rc;
	rc = ecdh_from_jwk(key, &mine);
	if (rc < 0)
		return fault_set(f, rc, "the worker's key cannot be used: %s", err_text(rc));
	jwk_point(key, point);
	rc = order_ask_key(order, point, state_version, &answer, f);
	if (rc >= 0)
		rc = open_inner(order, &mine, point, &answer, &release, f);
	if (rc < 0)
		return rc;
	/* Of what comes from another host, the guardian knows by that one. */
	uint64_t oldest = (uint64_t)release.spent;
	if (!order->comes && state_version < oldest &&
	    answer.restore != keyrelease_restore(state_version))
		return fault_set(
			f, ERR_POLICY,
			"vtpm.older: the vTPM's state is of version %llu, and the guardian "
			"knows of version %llu",
			(unsigned long long)state_version, (unsigned long long)oldest);
	if (oldest < state_version)
		oldest = state_version;
	rc = protector_open(protector, &release.key, &out->key, &why);
	if (rc < 0)
		return fault_set(f, ERR_POLICY,
				 "guardian.key: what came for this worker from a guardian is not "
				 "the key of its VM: %s",
				 why.text);
	out->token = release.token;
	out->spent = release.spent;
	out->oldest = oldest;
	out->ticket = answer.restore == KEYRELEASE_FROM_NOTHING ? 0 : answer.restore;
	return 0;
}
