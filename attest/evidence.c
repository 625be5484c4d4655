/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/evidence.h"

#include <string.h>

#include "attest/form.h"
#include "crypto/strict.h"

#define EVIDENCE_VERSION 1

/* The blobs, in the order of their names, which is the text's. */
static const struct part {
	const char *name;
	size_t offset, max;
} PARTS[] = {
	{ "bk_pub", offsetof(struct evidence, bk_pub), TPM_PUBLIC_MAX },
	{ "creation", offsetof(struct evidence, creation), TPM_ATTEST_MAX },
	{ "creation_signature", offsetof(struct evidence, creation_signature), TPM_SIGNATURE_MAX },
	{ "eventlog", offsetof(struct evidence, eventlog), EVENTLOG_BYTES_MAX },
	{ "ima", offsetof(struct evidence, ima), IMA_BYTES_MAX },
	{ "quote", offsetof(struct evidence, quote), TPM_ATTEST_MAX },
	{ "quote_signature", offsetof(struct evidence, quote_signature), TPM_SIGNATURE_MAX },
};
#define N_PARTS (sizeof(PARTS) / sizeof(PARTS[0]))

static struct buf *part_of(struct evidence *e, size_t i)
{
	return (struct buf *)((char *)e + PARTS[i].offset);
}

static const struct buf *const_part_of(const struct evidence *e, size_t i)
{
	return (const struct buf *)((const char *)e + PARTS[i].offset);
}

void evidence_done(struct evidence *e)
{
	for (size_t i = 0; e && i < N_PARTS; i++)
		buf_done(part_of(e, i));
}

void evidence_init(struct evidence *e)
{
	memset(e, 0, sizeof(*e));
	for (size_t i = 0; i < N_PARTS; i++)
		*part_of(e, i) = BUF_INIT(PARTS[i].max);
}

int evidence_check_sizes(const struct evidence *e, struct fault *f)
{
	for (size_t i = 0; i < N_PARTS; i++) {
		if (const_part_of(e, i)->len > PARTS[i].max)
			return fault_set(f, ERR_LIMIT, "%s is larger than %zu bytes", PARTS[i].name,
					 PARTS[i].max);
	}
	return 0;
}

static int put_b64(struct buf *out, const char *name, const void *data, size_t n)
{
	int rc = buf_addf(out, "\"%s\":\"", name);
	if (rc >= 0)
		rc = strict_b64_put(out, data, n);
	return rc < 0 ? rc : buf_addf(out, "\",");
}

int evidence_text(const struct evidence *e, struct buf *out, struct fault *f)
{
	char host[UUID_TEXT_SIZE];
	uuid_format(e->host, host);
	int rc = evidence_check_sizes(e, f);
	if (rc < 0)
		return rc;
	if (!hash_bytes(e->pcrs.bank))
		return fault_set(f, ERR_VERSION, "PCRs of an unknown bank");
	rc = buf_addf(out, "{\"bank\":\"%s\",", hash_name(e->pcrs.bank));
	for (size_t i = 0; rc >= 0 && i < N_PARTS; i++) {
		const struct buf *part = const_part_of(e, i);
		if (strcmp(PARTS[i].name, "quote") == 0) {
			rc = buf_addf(out, "\"host\":\"%s\",", host);
			if (rc >= 0)
				rc = put_b64(out, "nonce", e->nonce, sizeof(e->nonce));
			if (rc >= 0)
				rc = buf_addf(out, "\"pcrs\":");
			if (rc >= 0)
				rc = form_pcrs_put(out, &e->pcrs);
			if (rc >= 0)
				rc = buf_addf(out, ",");
		}
		if (rc >= 0)
			rc = put_b64(out, PARTS[i].name, part->data, part->len);
	}
	if (rc >= 0)
		rc = buf_addf(out, "\"v\":%d,", EVIDENCE_VERSION);
	if (rc >= 0)
		rc = put_b64(out, "worker", e->worker, sizeof(e->worker));
	if (rc < 0)
		return fault_set(f, rc, "the evidence cannot be written: %s", err_text(rc));
	out->data[out->len - 1] = '}'; /* in the place of the last comma */
	return 0;
}

/* Exactly N bytes. */
static int get_exact(const json_t *o, const char *name, uint8_t *out, size_t n, struct fault *f)
{
	const json_t *value = json_object_get(o, name);
	if (!json_is_string(value) ||
	    strict_b64(json_string_value(value), json_string_length(value), out, n) < 0)
		return fault_set(f, ERR_FORMAT, "\"%s\" is not %zu bytes in base64url", name, n);
	return 0;
}

static int get_parts(const json_t *o, struct evidence *e, struct fault *f)
{
	for (size_t i = 0; i < N_PARTS; i++) {
		const json_t *value = json_object_get(o, PARTS[i].name);
		int rc = !json_is_string(value)
				 ? ERR_FORMAT
				 : strict_b64_buf(json_string_value(value),
						  json_string_length(value), part_of(e, i));
		if (rc == ERR_LIMIT)
			return fault_set(f, rc, "\"%s\" is larger than %zu bytes", PARTS[i].name,
					 PARTS[i].max);
		if (rc < 0)
			return fault_set(f, rc, "\"%s\" is not base64url", PARTS[i].name);
	}
	return 0;
}

int evidence_read(const json_t *o, struct evidence *out, struct fault *f)
{
	static const char *const MEMBERS[] = { "bank",	   "bk_pub", "creation",
					       "eventlog", "host",   "creation_signature",
					       "ima",	   "nonce",  "pcrs",
					       "quote",	   "v",	     "quote_signature",
					       "worker" };
	struct evidence e CLEANUP(evidence_done);
	uint16_t bank = 0;
	evidence_init(&e);
	const json_t *version = json_object_get(o, "v");
	if (json_is_integer(version) && json_integer_value(version) != EVIDENCE_VERSION)
		return fault_set(f, ERR_VERSION, "evidence of version %lld is not known here",
				 (long long)json_integer_value(version));
	int rc =
		strict_members(o, "the evidence", MEMBERS, sizeof(MEMBERS) / sizeof(MEMBERS[0]), f);
	if (rc < 0)
		return rc;
	if (!json_is_integer(version))
		return fault_set(f, ERR_FORMAT, "\"v\" is not a number");
	const char *host = strict_text(o, "host");
	char canonical[UUID_TEXT_SIZE] = "";
	if (host && uuid_parse(host, e.host) >= 0)
		uuid_format(e.host, canonical);
	if (!host || strcmp(host, canonical) != 0)
		return fault_set(f, ERR_FORMAT, "\"host\" is not a UUID in lower case");
	if (form_bank(strict_text(o, "bank"), &bank) < 0)
		return fault_set(f, ERR_VERSION, "\"bank\" is not sha256, sha384 or sha512");
	if (form_pcrs(json_object_get(o, "pcrs"), bank, &e.pcrs) < 0)
		return fault_set(f, ERR_FORMAT, "\"pcrs\" does not hold values of PCRs");
	rc = get_exact(o, "nonce", e.nonce, sizeof(e.nonce), f);
	if (rc >= 0)
		rc = get_exact(o, "worker", e.worker, sizeof(e.worker), f);
	if (rc >= 0)
		rc = get_parts(o, &e, f);
	if (rc < 0)
		return rc;
	*out = e;
	evidence_init(&e);
	return 0;
}

int evidence_parse(const char *text, size_t n, struct evidence *out, struct fault *f)
{
	json_t *o CLEANUP_JSON = NULL;
	if (n > EVIDENCE_TEXT_MAX)
		return fault_set(f, ERR_LIMIT, "evidence is larger than %d bytes",
				 EVIDENCE_TEXT_MAX);
	int rc = strict_json(text, n, "the evidence", &o, f);
	return rc < 0 ? rc : evidence_read(o, out, f);
}
