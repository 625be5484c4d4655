/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/certify.h"

#include <endian.h>
#include <errno.h>

#include "crypto/strict.h"

static const char LABEL[16] = "shieldvm attest1";

void certify_case_init(struct certify_case *c)
{
	*c = (struct certify_case){
		.policy = BUF_INIT(STORE_POLICY_MAX),
		.ak_pub = BUF_INIT(STORE_AK_PUB_MAX),
		.host_key = BUF_INIT(STORE_HOST_KEY_MAX),
	};
}

void certify_case_done(struct certify_case *c)
{
	buf_done(&c->policy);
	buf_done(&c->ak_pub);
	buf_done(&c->host_key);
}

/* The MAC over all that is in C, for HOST. */
static int make_mac(const struct guardian *g, const uint8_t host[static UUID_BYTES],
		    const struct certify_challenge *c, uint8_t out[static MAC_BYTES])
{
	uint64_t expires = htobe64((uint64_t)c->expires);
	uint32_t selection[2] = { htobe32(c->challenge.bank), htobe32(c->challenge.mask) };
	const struct hash_part all[] = {
		{ LABEL, sizeof(LABEL) },
		{ host, UUID_BYTES },
		{ c->challenge.nonce, sizeof(c->challenge.nonce) },
		{ &expires, sizeof(expires) },
		{ selection, sizeof(selection) },
	};
	return mac_parts(g->mac_key, all, sizeof(all) / sizeof(all[0]), out);
}

int certify_challenge(const struct guardian *g, const uint8_t host[static UUID_BYTES], int64_t now,
		      struct certify_challenge *out, struct refusal *why)
{
	struct certify_challenge c = {
		.challenge = { .bank = HASH_SHA256, .mask = CHALLENGE_MASK },
		.expires = now + CERTIFY_SECONDS,
	};
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	int rc = guardian_approved(g, host, &h, why);
	if (rc < 0)
		return rc;
	rc = mac_random(c.challenge.nonce, sizeof(c.challenge.nonce));
	if (rc >= 0)
		rc = make_mac(g, host, &c, c.mac);
	if (rc < 0)
		return refuse_failed(why, "guardian.keys", rc);
	*out = c;
	return 0;
}

static int check_challenge(const struct guardian *g, const uint8_t host[static UUID_BYTES],
			   const struct certify_challenge *c, int64_t now, struct refusal *why)
{
	uint8_t mac[MAC_BYTES];
	int rc = make_mac(g, host, c, mac);
	if (rc < 0)
		return refuse_failed(why, "guardian.keys", rc);
	if (!mac_same(mac, c->mac, sizeof(mac)))
		return refuse(why, "challenge.foreign", ERR_AUTH,
			      "no guardian of this database has given this challenge to this host");
	if (now >= c->expires)
		return refuse(why, "challenge.expired", ERR_STATE,
			      "the challenge was valid for %d s and expired %lld s ago",
			      CERTIFY_SECONDS, (long long)(now - c->expires));
	/* Ours, and from the future: a clock was set back. */
	if (c->expires > now + CERTIFY_SECONDS + HEALTHCERT_SKEW)
		return refuse(why, "challenge.expired", ERR_STATE,
			      "the challenge is from the future: a guardian's clock is wrong");
	return 0;
}

/* What is known of the host and what it is judged by. */
static int read_case(const struct guardian *g, const uint8_t host[static UUID_BYTES],
		     struct certify_case *c, struct refusal *why)
{
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	int rc = guardian_approved(g, host, &h, why);
	if (rc < 0)
		return rc;
	rc = store_policy_latest(g->store, &c->generation, &c->policy, &why->fault);
	if (rc < 0)
		return refuse_failed(why, rc == -ENOENT ? "guardian.policy" : "guardian.store", rc);
	memcpy(c->host, host, sizeof(c->host));
	c->mode = h.mode;
	rc = store_host_fingerprint(&h, c->fingerprint);
	if (rc >= 0)
		rc = buf_add(&c->ak_pub, h.ak_pub.data, h.ak_pub.len);
	if (rc >= 0)
		rc = buf_add(&c->host_key, h.host_key.data, h.host_key.len);
	return refuse_failed(why, "guardian.store", rc);
}

static int spend(const struct guardian *g, const uint8_t host[static UUID_BYTES],
		 const struct certify_challenge *challenge, int64_t now, struct refusal *why)
{
	int rc = store_nonce_use(g->store, STORE_NONCE_CHALLENGE, challenge->challenge.nonce, host,
				 now, challenge->expires, &why->fault);
	if (rc == -EEXIST) {
		why->fault = (struct fault){ 0 };
		return refuse(why, "challenge.used", rc, "the challenge was answered before");
	}
	if (rc == ERR_LIMIT)
		return refuse_failed(why, "challenge.used", rc);
	if (rc == ERR_STATE)
		return refuse_failed(why, "challenge.expired", rc);
	return refuse_failed(why, "guardian.store", rc);
}

int certify_begin(const struct guardian *g, const uint8_t host[static UUID_BYTES],
		  const struct certify_challenge *challenge, int64_t now, struct certify_case *out,
		  struct refusal *why)
{
	struct certify_case c;
	int rc = check_challenge(g, host, challenge, now, why);
	if (rc < 0)
		return rc;
	certify_case_init(&c);
	c.challenge = challenge->challenge;
	c.judge_until = challenge->expires + CERTIFY_JUDGE_SECONDS;
	STORE_DECISION(s, g->store);
	rc = refuse_failed(why, "guardian.store", store_begin(s, &why->fault));
	if (rc >= 0)
		rc = read_case(g, host, &c, why);
	if (rc >= 0)
		rc = spend(g, host, challenge, now, why);
	if (rc >= 0)
		rc = guardian_commit(g, why);
	if (rc < 0) {
		certify_case_done(&c);
		return rc;
	}
	certify_case_done(out);
	*out = c;
	return 0;
}

/* The point of a key that has been parsed as one. */
static int read_point(const struct buf *key, struct certify_verdict *v, struct fault *f)
{
	CLEANUP_JSON json_t *j = NULL;
	int rc = strict_json((const char *)key->data, key->len, "the host's key", &j, f);
	if (rc < 0)
		return rc;
	const char *x = strict_text(j, "x"), *y = strict_text(j, "y");
	if (!x || !y || strict_b64(x, strlen(x), v->x, sizeof(v->x)) < 0 ||
	    strict_b64(y, strlen(y), v->y, sizeof(v->y)) < 0)
		return fault_set(f, ERR_FORMAT, "the host's key has no coordinates");
	return 0;
}

int certify_by_key(const struct certify_case *c,
		   const uint8_t worker[static ATTEST_WORKER_KEY_BYTES], const char *statement,
		   size_t n, struct certify_verdict *out, struct refusal *why)
{
	struct certify_verdict v = { .healthy = 1 };
	CLEANUP_JWK struct jwk *key = NULL;
	CLEANUP_BUF struct buf said = BUF_INIT(SIGN_TEXT_MAX), want = BUF_INIT(SIGN_TEXT_MAX);
	if (c->mode != STORE_MODE_HOSTKEY)
		return refuse(why, "host.mode", ERR_POLICY,
			      "the host is enrolled with its TPM and has to show its evidence");
	int rc = jwk_parse((const char *)c->host_key.data, c->host_key.len, &key, &why->fault);
	if (rc >= 0)
		rc = read_point(&c->host_key, &v, &why->fault);
	if (rc >= 0)
		rc = statement_attest(c->host, c->challenge.nonce, worker, &want);
	if (rc < 0)
		return refuse_failed(why, "guardian.store", rc);
	rc = sign_open(key, STATEMENT_ATTEST_TYP, statement, n, &said, &why->fault);
	if (rc < 0)
		return refuse_failed(why, "host.key", rc);
	if (said.len != want.len || memcmp(said.data, want.data, want.len) != 0)
		return refuse(why, "host.key", ERR_AUTH,
			      "the host's key signed another answer than the one to this "
			      "challenge");
	memcpy(v.worker, worker, sizeof(v.worker));
	*out = v;
	return 0;
}

/* What may have changed while the verifier was at work. */
static int check_unchanged(const struct guardian *g, const struct certify_case *c,
			   struct refusal *why)
{
	int64_t floor = INT64_MAX;
	uint8_t is[STORE_FINGERPRINT_BYTES];
	CLEANUP_STORE_HOST struct store_host h;
	store_host_init(&h);
	int rc = guardian_approved(g, c->host, &h, why);
	if (rc < 0)
		return rc;
	rc = store_host_fingerprint(&h, is);
	if (rc >= 0)
		rc = store_floor(g->store, &floor, &why->fault);
	if (rc < 0)
		return refuse_failed(why, "guardian.store", rc);
	if (memcmp(is, c->fingerprint, sizeof(is)) != 0 || h.mode != c->mode)
		return refuse(why, "host.changed", ERR_STATE,
			      "the host was enrolled with other keys meanwhile");
	if (c->generation < floor)
		return refuse(why, "certificate.floor", ERR_POLICY,
			      "the host was judged by policy %lld, and only %lld and later count",
			      (long long)c->generation, (long long)floor);
	return 0;
}

/* Note what CERT says, and that the TPM's clock goes forward. */
static int note(const struct guardian *g, const struct certify_case *c,
		const struct healthcert *cert, struct refusal *why)
{
	struct store_certificate row = {
		.generation = cert->generation,
		.reset_count = cert->reset_count,
		.restart_count = cert->restart_count,
		.not_after = cert->not_after,
	};
	const struct hash_part point[] = { { cert->x, sizeof(cert->x) },
					   { cert->y, sizeof(cert->y) } };
	memcpy(row.serial, cert->serial, sizeof(row.serial));
	memcpy(row.host, cert->host, sizeof(row.host));
	memcpy(row.worker_hash, cert->worker_hash, sizeof(row.worker_hash));
	int rc = hash_parts(HASH_SHA256, point, 2, row.bk_hash);
	if (rc >= 0)
		rc = store_certificate_add(g->store, &row, &why->fault);
	if (rc < 0)
		return refuse_failed(why, "guardian.store", rc);
	if (c->mode != STORE_MODE_TPM)
		return 0;
	rc = store_host_counts(g->store, c->host, cert->reset_count, cert->restart_count,
			       &why->fault);
	return refuse_failed(why, rc == ERR_STATE ? "host.reset" : "guardian.store", rc);
}

static int describe(const struct certify_case *c, const struct certify_verdict *v, int64_t now,
		    struct healthcert *out, struct refusal *why)
{
	*out = (struct healthcert){
		.assurance = c->mode == STORE_MODE_TPM ? HEALTHCERT_TPM : HEALTHCERT_HOSTKEY,
		.generation = (uint32_t)c->generation,
		.reset_count = v->reset_count,
		.restart_count = v->restart_count,
		.not_before = now,
		.not_after = now + HEALTHCERT_LIFETIME,
	};
	memcpy(out->host, c->host, sizeof(out->host));
	memcpy(out->x, v->x, sizeof(out->x));
	memcpy(out->y, v->y, sizeof(out->y));
	if (c->generation < 1 || c->generation > UINT32_MAX)
		return refuse(why, "guardian.policy", ERR_LIMIT, "too many policies");
	int rc = hash_data(HASH_SHA256, v->worker, sizeof(v->worker), out->worker_hash);
	return refuse_failed(why, "guardian.keys", rc);
}

int certify_finish(const struct guardian *g, const struct certify_case *c,
		   const struct certify_verdict *verdict, int64_t now, struct buf *der,
		   struct healthcert *out, struct refusal *why)
{
	struct healthcert cert;
	CLEANUP_BUF struct buf made = BUF_INIT(HEALTHCERT_MAX);
	if (verdict->healthy != 1)
		return refuse(why, "host.unhealthy", ERR_POLICY, "the host is not healthy");
	if (now >= c->judge_until)
		return refuse(why, "challenge.expired", ERR_STATE,
			      "looking at the host's answer took too long");
	int rc = describe(c, verdict, now, &cert, why);
	if (rc < 0)
		return rc;
	STORE_DECISION(s, g->store);
	rc = refuse_failed(why, "guardian.store", store_begin(s, &why->fault));
	if (rc >= 0)
		rc = check_unchanged(g, c, why);
	if (rc >= 0)
		rc = refuse_failed(why, "guardian.keys",
				   healthcert_issue(g->ca, &cert, &made, &why->fault));
	if (rc >= 0)
		rc = note(g, c, &cert, why);
	if (rc >= 0)
		rc = guardian_commit(g, why);
	if (rc >= 0)
		rc = refuse_failed(why, "guardian.keys", buf_add(der, made.data, made.len));
	if (rc < 0)
		return rc;
	*out = cert;
	return 0;
}
