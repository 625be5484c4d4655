/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/capture.h"

#include <errno.h>
#include <string.h>

#include "crypto/strict.h"

#define CAPTURE_VERSION 1

void capture_done(struct capture *c)
{
	buf_done(&c->ak);
	evidence_done(&c->evidence);
}

int capture_text(struct blob ak, const struct evidence *e, struct buf *out, struct fault *f)
{
	int rc = buf_addf(out, "{\"ak\":\"");
	if (rc >= 0)
		rc = strict_b64_put(out, ak.data, ak.n);
	if (rc >= 0)
		rc = buf_addf(out, "\",\"evidence\":");
	if (rc >= 0)
		rc = evidence_text(e, out, f);
	if (rc >= 0)
		rc = buf_addf(out, ",\"v\":%d}", CAPTURE_VERSION);
	return rc < 0 ? fault_set(f, rc, "the capture cannot be written: %s", err_text(rc)) : 0;
}

int capture_parse(const char *text, size_t n, struct capture *out, struct fault *f)
{
	static const char *const MEMBERS[] = { "ak", "evidence", "v" };
	json_t *o CLEANUP_JSON = NULL;
	struct capture c CLEANUP(capture_done) = { .ak = BUF_INIT(TPM_PUBLIC_MAX) };
	evidence_init(&c.evidence);
	if (n > CAPTURE_TEXT_MAX)
		return fault_set(f, ERR_LIMIT, "a capture is at most %d bytes", CAPTURE_TEXT_MAX);
	int rc = strict_json(text, n, "the capture", &o, f);
	if (rc < 0)
		return rc;
	const json_t *version = json_object_get(o, "v"), *ak = json_object_get(o, "ak");
	if (json_is_integer(version) && json_integer_value(version) != CAPTURE_VERSION)
		return fault_set(f, ERR_VERSION, "a capture of version %lld is not known here",
				 (long long)json_integer_value(version));
	rc = strict_members(o, "the capture", MEMBERS, 3, f);
	if (rc < 0)
		return rc;
	if (!json_is_integer(version) || !json_is_string(ak) ||
	    strict_b64_buf(json_string_value(ak), json_string_length(ak), &c.ak) < 0)
		return fault_set(f, ERR_FORMAT,
				 "\"v\" is no number, or \"ak\" no public area of"
				 " at most %d bytes in base64url",
				 TPM_PUBLIC_MAX);
	struct evidence e;
	rc = evidence_read(json_object_get(o, "evidence"), &e, f);
	if (rc < 0)
		return rc;
	*out = (struct capture){ .ak = c.ak, .evidence = e };
	c.ak = BUF_INIT(TPM_PUBLIC_MAX);
	return 0;
}

int capture_learn(const struct capture *c, struct policy *p, const char *name,
		  enum baseline_kind kind, struct fault *f)
{
	struct appraisal_of of = { .challenge = { .bank = c->evidence.pcrs.bank,
						  .mask = CHALLENGE_MASK },
				   .ak = { c->ak.data, c->ak.len } };
	struct appraisal *a = calloc(1, sizeof(*a));
	if (!a)
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	memcpy(of.challenge.nonce, c->evidence.nonce, sizeof(of.challenge.nonce));
	memcpy(of.host, c->evidence.host, sizeof(of.host));
	int rc = appraise_learn(&of, &c->evidence, p, name, kind, a, f);
	free(a);
	return rc;
}
