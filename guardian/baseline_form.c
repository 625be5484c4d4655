/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A baseline in JSON, in one spelling: members and sets sorted, each thing once.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "attest/form.h"
#include "crypto/strict.h"
#include "guardian/baseline.h"

#define DBX_BYTES 32

static int put_digests(struct buf *out, const struct digests *d, size_t bytes)
{
	int rc = buf_addf(out, "[");
	for (size_t i = 0; rc >= 0 && i < d->n; i++) {
		rc = buf_addf(out, "%s\"", i ? "," : "");
		if (rc >= 0)
			rc = form_hex_put(out, d->at + i * bytes, bytes);
		if (rc >= 0)
			rc = buf_addf(out, "\"");
	}
	return rc < 0 ? rc : buf_addf(out, "]");
}

static int put_config(struct buf *out, const struct baseline *b)
{
	int rc = buf_addf(out, "\"config\":{");
	for (size_t i = 0; rc >= 0 && i < b->n_config; i++) {
		rc = buf_addf(out, "%s\"%s\":\"", i ? "," : "", b->config[i].name);
		if (rc >= 0)
			rc = form_hex_put(out, b->config[i].digest, hash_bytes(b->pcrs.bank));
		if (rc >= 0)
			rc = buf_addf(out, "\"");
	}
	return rc < 0 ? rc : buf_addf(out, "}");
}

static int put_events(struct buf *out, const struct baseline *b)
{
	const char *comma = "";
	int rc = buf_addf(out, "\"events\":{");
	for (size_t i = 0; rc >= 0 && i < BASELINE_LISTS; i++) {
		if (!(b->listed & (1U << i)))
			continue;
		rc = buf_addf(out, "%s\"%u\":", comma, baseline_list_pcr(i));
		if (rc >= 0)
			rc = put_digests(out, &b->list[i], hash_bytes(b->pcrs.bank));
		comma = ",";
	}
	return rc < 0 ? rc : buf_addf(out, "}");
}

static int put_structured(const struct baseline *b, struct buf *out)
{
	int rc = buf_addf(out, "{\"authority\":");
	if (rc >= 0)
		rc = put_digests(out, &b->authority, hash_bytes(b->pcrs.bank));
	if (rc >= 0)
		rc = buf_addf(out, ",\"bank\":\"%s\",", hash_name(b->pcrs.bank));
	if (rc >= 0)
		rc = put_config(out, b);
	if (rc >= 0)
		rc = buf_addf(out, ",\"dbx\":");
	if (rc >= 0)
		rc = put_digests(out, &b->dbx, DBX_BYTES);
	if (rc >= 0)
		rc = buf_addf(out, ",");
	if (rc >= 0)
		rc = put_events(out, b);
	return rc < 0 ? rc : buf_addf(out, ",\"kind\":\"structured\",\"name\":\"%s\"}", b->name);
}

int baseline_put(const struct baseline *b, struct buf *out)
{
	if (b->kind == BASELINE_STRUCTURED)
		return put_structured(b, out);
	int rc = buf_addf(out, "{\"bank\":\"%s\",\"kind\":\"exact\",\"name\":\"%s\",\"pcrs\":",
			  hash_name(b->pcrs.bank), b->name);
	if (rc >= 0)
		rc = form_pcrs_put(out, &b->pcrs);
	return rc < 0 ? rc : buf_addf(out, "}");
}

static int read_digests(const json_t *list, const char *what, size_t bytes, int sorted,
			struct digests *out, struct fault *f)
{
	if (!json_is_array(list))
		return fault_set(f, ERR_FORMAT, "\"%s\" is not a list", what);
	for (size_t i = 0; i < json_array_size(list); i++) {
		uint8_t digest[HASH_BYTES_MAX];
		int rc = form_hex(json_string_value(json_array_get(list, i)), bytes, digest);
		if (rc >= 0)
			rc = baseline_digests_add(out, digest, bytes, sorted);
		if (rc == ERR_FORMAT)
			return fault_set(f, rc, "\"%s\" is not%s digests of %zu bytes", what,
					 sorted ? " sorted" : "", bytes);
		if (rc < 0)
			return fault_set(f, rc, "\"%s\": %s", what, err_text(rc));
	}
	return 0;
}

static int read_config(const json_t *o, struct baseline *b, struct fault *f)
{
	if (!json_is_object(o) || json_object_size(o) > BASELINE_CONFIG_MAX)
		return fault_set(f, ERR_FORMAT, "\"config\" is no object of at most %d variables",
				 BASELINE_CONFIG_MAX);
	json_t *object = (json_t *)(uintptr_t)o; /* not changed by going through it */
	for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
		const char *name = json_object_iter_key(at);
		size_t i = b->n_config;
		if (!baseline_plain_name(name) || strcmp(name, "dbx") == 0)
			return fault_set(f, ERR_FORMAT, "\"config\" has a name that is none");
		/* jansson keeps the file's order; ours is by name. */
		for (; i > 0 && strcmp(b->config[i - 1].name, name) > 0; i--)
			b->config[i] = b->config[i - 1];
		snprintf(b->config[i].name, sizeof(b->config[i].name), "%s", name);
		if (form_hex(json_string_value(json_object_iter_value(at)),
			     hash_bytes(b->pcrs.bank), b->config[i].digest) < 0)
			return fault_set(f, ERR_FORMAT, "\"config\" has no digest for %s", name);
		b->n_config++;
	}
	return 0;
}

static int read_events(const json_t *o, struct baseline *b, struct fault *f)
{
	size_t known = 0;
	if (!json_is_object(o))
		return fault_set(f, ERR_FORMAT, "\"events\" is not an object");
	for (size_t i = 0; i < BASELINE_LISTS; i++) {
		char name[16];
		snprintf(name, sizeof(name), "%u", baseline_list_pcr(i));
		const json_t *list = json_object_get(o, name);
		if (!list)
			continue;
		int rc = read_digests(list, "events", hash_bytes(b->pcrs.bank),
				      baseline_list_is_set(i), &b->list[i], f);
		if (rc < 0)
			return rc;
		b->listed |= 1U << i;
		known++;
	}
	if (known != json_object_size(o))
		return fault_set(f, ERR_FORMAT,
				 "\"events\" has what is none of PCRs 0, 2, 4, 8, 9, 11 to 14");
	return 0;
}

static int read_structured(const json_t *o, struct baseline *b, struct fault *f)
{
	static const char *const MEMBERS[] = { "authority", "bank", "config", "dbx",
					       "events",    "kind", "name" };
	int rc = strict_members(o, "a structured baseline", MEMBERS, 7, f);
	if (rc >= 0)
		rc = read_digests(json_object_get(o, "authority"), "authority",
				  hash_bytes(b->pcrs.bank), 1, &b->authority, f);
	if (rc >= 0)
		rc = read_config(json_object_get(o, "config"), b, f);
	if (rc >= 0)
		rc = read_digests(json_object_get(o, "dbx"), "dbx", DBX_BYTES, 1, &b->dbx, f);
	return rc < 0 ? rc : read_events(json_object_get(o, "events"), b, f);
}

static int read_exact(const json_t *o, struct baseline *b, struct fault *f)
{
	static const char *const MEMBERS[] = { "bank", "kind", "name", "pcrs" };
	int rc = strict_members(o, "an exact baseline", MEMBERS, 4, f);
	if (rc >= 0 && form_pcrs(json_object_get(o, "pcrs"), b->pcrs.bank, &b->pcrs) < 0)
		rc = fault_set(f, ERR_FORMAT, "\"pcrs\" does not hold values of PCRs");
	return rc;
}

static int read_any(const json_t *o, struct baseline *b, struct fault *f)
{
	if (!json_is_object(o))
		return fault_set(f, ERR_FORMAT, "not an object");
	const char *kind = strict_text(o, "kind"), *name = strict_text(o, "name");
	if (!kind || !name)
		return fault_set(f, ERR_FORMAT, "no \"kind\" or \"name\"");
	int rc = baseline_check_name(name, f);
	if (rc < 0)
		return rc;
	snprintf(b->name, sizeof(b->name), "%s", name);
	if (form_bank(strict_text(o, "bank"), &b->pcrs.bank) < 0)
		return fault_set(f, ERR_VERSION, "\"bank\" is not sha256, sha384 or sha512");
	b->kind = strcmp(kind, "structured") == 0 ? BASELINE_STRUCTURED : BASELINE_EXACT;
	if (b->kind == BASELINE_STRUCTURED)
		return read_structured(o, b, f);
	if (strcmp(kind, "exact") != 0)
		return fault_set(f, ERR_VERSION, "\"kind\" is not exact or structured");
	return read_exact(o, b, f);
}

int baseline_read(const json_t *o, struct baseline **out, struct fault *f)
{
	struct baseline *b = calloc(1, sizeof(*b));
	if (!b)
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	int rc = read_any(o, b, f);
	if (rc < 0) {
		baseline_free(b);
		return rc;
	}
	*out = b;
	return 0;
}
