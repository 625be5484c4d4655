/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "attest/remote.h"
#include "base/fd.h"
#include "crypto/strict.h"

#define SUFFIX	  ".copy"
#define ASIDE	  ".aside"
#define NAME_SIZE (UUID_TEXT_SIZE + sizeof(SUFFIX ASIDE))
#define WHAT	  "a sealed copy"
/* The values of the PCRs that a key may be bound to, SHA-256, one behind the other. */
#define PCRS_MAX  (PCR_COUNT * 32)

void copy_init(struct copy *c)
{
	*c = (struct copy){ .certificate = BUF_INIT(HEALTHCERT_MAX),
			    .bound.bk_pub = BUF_INIT(TPM_PUBLIC_MAX) };
}

void copy_done(struct copy *c)
{
	hosttpm_proof_done(&c->bound);
	buf_done(&c->certificate);
	copy_init(c);
}

static void name_of(const uint8_t vm[static UUID_BYTES], int aside, char out[static NAME_SIZE])
{
	char uuid[UUID_TEXT_SIZE];
	uuid_format(vm, uuid);
	snprintf(out, NAME_SIZE, "%s%s", uuid, aside ? SUFFIX ASIDE : SUFFIX);
}

/* ---- the text ---- */

/* Values of the bound PCRs, in order. */
static size_t put_pcrs(const struct pcrs *p, uint8_t out[static PCRS_MAX])
{
	size_t n = 0;
	for (unsigned i = 0; i < PCR_COUNT; i++) {
		if (p->mask >> i & 1) {
			memcpy(out + n, p->value[i], 32);
			n += 32;
		}
	}
	return n;
}

static int make_text(const struct copy *c, uint32_t left, struct buf *out)
{
	char vm[UUID_TEXT_SIZE];
	uint8_t values[PCRS_MAX];
	size_t n = put_pcrs(&c->bound.pcrs, values);
	uuid_format(c->vm, vm);
	strict_init();
	CLEANUP_JSON json_t *o = json_pack(
		"{s:i, s:s, s:I, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o}", "v", 1, "vm", vm, "left",
		(json_int_t)left, "protector", remote_bytes(c->protector, sizeof(c->protector)),
		"request", remote_bytes(c->request, sizeof(c->request)), "point",
		remote_bytes(c->point, sizeof(c->point)), "key",
		remote_bytes(c->bound.bk_pub.data, c->bound.bk_pub.len), "pcrs",
		(json_int_t)c->bound.pcrs.mask, "values", remote_bytes(values, n), "certificate",
		remote_bytes(c->certificate.data, c->certificate.len), "sealed",
		remote_bytes(c->sealed, sizeof(c->sealed)));
	char *line = o ? json_dumps(o, JSON_COMPACT) : NULL;
	int rc = line ? buf_addf(out, "%s\n", line) : -ENOMEM;
	free(line);
	return rc;
}

static int integer(const json_t *o, const char *name, json_int_t max, uint32_t *out)
{
	const json_t *value = json_object_get(o, name);
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    json_integer_value(value) > max)
		return ERR_FORMAT;
	*out = (uint32_t)json_integer_value(value);
	return 0;
}

static int bytes(const json_t *o, const char *name, uint8_t *out, size_t n)
{
	const char *text = strict_text(o, name);
	return text ? strict_b64(text, strlen(text), out, n) : ERR_FORMAT;
}

static int blob(const json_t *o, const char *name, struct buf *out)
{
	const char *text = strict_text(o, name);
	return text ? strict_b64_buf(text, strlen(text), out) : ERR_FORMAT;
}

static int take_pcrs(const json_t *o, struct pcrs *out)
{
	uint8_t values[PCRS_MAX];
	size_t n = 0;
	int rc = integer(o, "pcrs", (1 << PCR_COUNT) - 1, &out->mask);
	out->bank = HASH_SHA256;
	if (rc >= 0)
		rc = bytes(o, "values", values, 32 * (size_t)__builtin_popcount(out->mask));
	for (unsigned i = 0; rc >= 0 && i < PCR_COUNT; i++) {
		if (out->mask >> i & 1) {
			memcpy(out->value[i], values + n, 32);
			n += 32;
		}
	}
	return rc;
}

static int parse(const struct buf *text, const uint8_t vm[static UUID_BYTES], struct copy *out,
		 struct fault *f)
{
	static const char *const MEMBERS[] = { "v",	  "vm",		 "left",  "protector",
					       "request", "point",	 "key",	  "pcrs",
					       "values",  "certificate", "sealed" };
	CLEANUP_JSON json_t *o = NULL;
	uint32_t version = 0;
	int rc = strict_json((const char *)text->data, text->len, WHAT, &o, f);
	if (rc >= 0)
		rc = strict_members(o, WHAT, MEMBERS, sizeof(MEMBERS) / sizeof(MEMBERS[0]), f);
	if (rc < 0)
		return rc;
	if (integer(o, "v", UINT32_MAX, &version) < 0 || version != 1)
		return fault_set(f, ERR_VERSION, WHAT " of a version that is not known here");
	const char *id = strict_text(o, "vm");
	if (!id || uuid_parse(id, out->vm) < 0 || memcmp(out->vm, vm, UUID_BYTES) != 0)
		return fault_set(f, ERR_FORMAT, WHAT " of another VM than its name says");
	if (integer(o, "left", PROTECTOR_OFFLINE_MAX, &out->left) < 0 ||
	    bytes(o, "protector", out->protector, sizeof(out->protector)) < 0 ||
	    bytes(o, "request", out->request, sizeof(out->request)) < 0 ||
	    bytes(o, "point", out->point, sizeof(out->point)) < 0 ||
	    blob(o, "key", &out->bound.bk_pub) < 0 || take_pcrs(o, &out->bound.pcrs) < 0 ||
	    blob(o, "certificate", &out->certificate) < 0 ||
	    bytes(o, "sealed", out->sealed, sizeof(out->sealed)) < 0)
		return fault_set(f, ERR_FORMAT, WHAT " with a member that is none");
	return 0;
}

/* ---- the file ---- */

static int store(int dir, const struct copy *c, uint32_t left, struct fault *f)
{
	char name[NAME_SIZE];
	CLEANUP_BUF struct buf text = BUF_INIT(COPY_TEXT_MAX);
	name_of(c->vm, 0, name);
	int rc = make_text(c, left, &text);
	return rc < 0 ? fault_set(f, rc, "%s: %s", name, err_text(rc))
		      : fd_write_file(dir, name, text.data, text.len, 0600, 1, f);
}

int copy_write(int dir, const struct copy *c, struct fault *f)
{
	return store(dir, c, c->left, f);
}

int copy_read(int dir, const uint8_t vm[static UUID_BYTES], struct copy *out, struct fault *f)
{
	char name[NAME_SIZE];
	struct fault why = { 0 };
	CLEANUP_BUF struct buf text = BUF_INIT(COPY_TEXT_MAX);
	CLEANUP_COPY struct copy c;
	copy_init(&c);
	name_of(vm, 0, name);
	int rc = fd_read_file(dir, name, &text, &why);
	if (rc >= 0)
		rc = parse(&text, vm, &c, &why);
	if (rc < 0)
		return rc == -ENOENT ? fault_set(f, rc, "there is no sealed copy of its key")
				     : fault_set(f, rc, "%s: %s", name,
						 why.text[0] ? why.text : err_text(rc));
	copy_done(out);
	*out = c;
	copy_init(&c);
	return 0;
}

int copy_spend(int dir, const uint8_t vm[static UUID_BYTES], const char *protector, size_t n,
	       struct copy *out, struct fault *f)
{
	uint8_t hash[SIGN_SHA256_BYTES];
	CLEANUP_COPY struct copy c;
	copy_init(&c);
	int rc = copy_read(dir, vm, &c, f);
	if (rc < 0)
		return rc;
	rc = sign_sha256(protector, n, hash);
	if (rc < 0)
		return fault_set(f, rc, "the protector: %s", err_text(rc));
	if (memcmp(hash, c.protector, sizeof(hash)) != 0)
		return fault_set(f, ERR_POLICY,
				 "the sealed copy of its key is for another protector of the VM");
	if (c.left == 0)
		return fault_set(f, ERR_LIMIT, "no start from the sealed copy of its key is left");
	c.left--;
	rc = store(dir, &c, c.left, f);
	if (rc < 0)
		return rc;
	copy_done(out);
	*out = c;
	copy_init(&c);
	return 0;
}

int copy_aside(int dir, const uint8_t vm[static UUID_BYTES], int aside, struct fault *f)
{
	char from[NAME_SIZE], to[NAME_SIZE];
	name_of(vm, !aside, from);
	name_of(vm, aside, to);
	/* A copy that was put aside is older than one that is there. */
	int moved = renameat2(dir, from, dir, to, aside ? 0 : RENAME_NOREPLACE) == 0;
	if (!moved && errno != ENOENT && (aside || errno != EEXIST))
		return fault_set(f, -errno, "%s: %s", from, err_text(-errno));
	return fsync(dir) < 0 ? fault_set(f, -errno, "%s: %s", to, err_text(-errno)) : moved;
}

int copy_remove(int dir, const uint8_t vm[static UUID_BYTES], struct fault *f)
{
	char name[NAME_SIZE];
	for (int aside = 0; aside < 2; aside++) {
		name_of(vm, aside, name);
		if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
			return fault_set(f, -errno, "%s: %s", name, err_text(-errno));
	}
	return fsync(dir) < 0 ? fault_set(f, -errno, "%s: %s", name, err_text(-errno)) : 0;
}
