/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Key records: which kind there is at the start of a file, and that of a dump, a JWE in the compact
 * serialisation.  That of a saved state is an ordinary sealed object.
 */
#include "crypto/stream_form.h"

#include <errno.h>

#include "crypto/protector_form.h"
#include "crypto/record.h"

#define WRAP_JWE     1 /* the only wrapping there is */
#define WRAP_TYP     "shieldvm-dump-key+jwe"
#define WRAP_JWE_MAX (STREAM_DUMP_KEY_MAX - STREAM_HEAD_BYTES)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Where a dump's key record has what the header of a sealed object has not. */
enum { AT_WRAPPING = RECORD_AT_AEAD, AT_LENGTH = RECORD_AT_SIZE };
_Static_assert(STREAM_HEAD_BYTES == RECORD_AT_SALT, "the two kinds have the same head");

static const uint8_t MAGIC_SEAL[] = { 'S', 'H', 'V', 'D', 'S', 'E', 'A', 'L' };
static const uint8_t MAGIC_WRAP[] = { 'S', 'H', 'V', 'D', 'W', 'R', 'A', 'P' };
_Static_assert(sizeof(MAGIC_WRAP) == RECORD_AT_VERSION, "the magic fills its field");

static int begins_like(const uint8_t *p, size_t n, const uint8_t magic[static 8])
{
	return memcmp(p, magic, n < sizeof(MAGIC_WRAP) ? n : sizeof(MAGIC_WRAP)) == 0;
}

static int check_wrap_head(const uint8_t *p, size_t n, size_t *key_bytes, struct fault *f)
{
	if (n > RECORD_AT_VERSION && p[RECORD_AT_VERSION] != RECORD_FORMAT_VERSION)
		return fault_set(f, ERR_VERSION,
				 "sealed format version %u; this build knows version %d only",
				 p[RECORD_AT_VERSION], RECORD_FORMAT_VERSION);
	if (n < STREAM_HEAD_BYTES)
		return fault_set(f, ERR_TRUNCATED, "the key record's head is %zu bytes short",
				 STREAM_HEAD_BYTES - n);
	if (p[RECORD_AT_PURPOSE] != KEY_USE_DUMP)
		return fault_set(f, ERR_VERSION,
				 "a wrapped key for purpose %u, which this build does not know",
				 p[RECORD_AT_PURPOSE]);
	if (p[AT_WRAPPING] != WRAP_JWE)
		return fault_set(f, ERR_VERSION, "wrapping %u; this build knows %d (JWE) only",
				 p[AT_WRAPPING], WRAP_JWE);
	if (p[RECORD_AT_RESERVED] != 0)
		return fault_set(f, ERR_FORMAT,
				 "the key record's reserved byte is %u and must be 0",
				 p[RECORD_AT_RESERVED]);
	uint32_t length = record_get_be32(p + AT_LENGTH);
	if (length == 0 || length > WRAP_JWE_MAX)
		return fault_set(f, ERR_FORMAT, "a wrapped key of %u bytes, 1 to %d are allowed",
				 length, WRAP_JWE_MAX);
	*key_bytes = STREAM_HEAD_BYTES + length;
	return 0;
}

int stream_head_check(const uint8_t *p, size_t n, enum key_use *purpose, size_t *key_bytes,
		      struct fault *f)
{
	static const struct record_binding STATE_KEY = { .use = KEY_USE_STATE_KEY,
							 .record_size = KEY_BYTES };
	if (n == 0)
		return fault_set(f, ERR_TRUNCATED, "empty, where a sealed stream should be");
	if (begins_like(p, n, MAGIC_WRAP)) {
		*purpose = KEY_USE_DUMP;
		return check_wrap_head(p, n, key_bytes, f);
	}
	if (!begins_like(p, n, MAGIC_SEAL))
		return fault_set(f, ERR_FORMAT,
				 "not a sealed stream: it starts with neither \"%.8s\" nor "
				 "\"%.8s\"",
				 (const char *)MAGIC_SEAL, (const char *)MAGIC_WRAP);
	int rc = record_header_check(&STATE_KEY, p, n, STREAM_HEAD_BYTES, f);
	if (rc < 0)
		return rc;
	if (p[RECORD_AT_PURPOSE] != KEY_USE_STATE_KEY)
		return fault_set(f, ERR_PURPOSE,
				 "it starts with %s, where the key of a saved state should be",
				 record_purpose((enum key_use)p[RECORD_AT_PURPOSE]));
	*purpose = KEY_USE_SAVED_STATE;
	*key_bytes = STREAM_STATE_KEY_BYTES;
	return 0;
}

int stream_head_shredded(const uint8_t *record, size_t key_bytes)
{
	for (size_t i = STREAM_HEAD_BYTES; i < key_bytes; i++) {
		if (record[i])
			return 0;
	}
	return 1;
}

/* The protected header in its one spelling. */
static int put_header(const struct jwk *epk, const char *kid, const struct stream_facts *facts,
		      struct buf *out)
{
	char vm[UUID_TEXT_SIZE], tpm[PROTECTOR_TPM_TEXT_SIZE];
	uuid_format(facts->vm, vm);
	protector_tpm_text(facts->tpm_id, tpm);
	int rc = buf_addf(out, "{\"alg\":\"%s\",\"enc\":\"%s\",\"epk\":", JWE_ALG, JWE_ENC);
	if (rc >= 0)
		rc = jwk_public_text(epk, out);
	return rc < 0 ? rc
		      : buf_addf(out,
				 ",\"kid\":\"%s\",\"level\":\"%s\",\"tpm\":\"%s\",\"typ\":\"%s\","
				 "\"vm\":\"%s\"}",
				 kid, level_name(facts->level), tpm, WRAP_TYP, vm);
}

static int put_part(struct buf *out, const void *data, size_t n)
{
	int rc = buf_add(out, ".", 1);
	return rc < 0 ? rc : strict_b64_put(out, data, n);
}

static void wipe_cek(uint8_t (*cek)[JWE_CEK_BYTES])
{
	wipe(*cek, JWE_CEK_BYTES);
}

/* The JWE, with its protected header in HEADER. */
static int put_jwe(const struct jwk *owner, const struct jwk *epk, const struct stream_facts *facts,
		   const struct vm_key *key, struct buf *out)
{
	CLEANUP_BUF struct buf header = BUF_INIT(WRAP_JWE_MAX);
	CLEANUP(wipe_cek) uint8_t cek[JWE_CEK_BYTES] = { 0 };
	char kid[JWK_THUMBPRINT_SIZE];
	uint8_t wrapped[JWE_WRAPPED_BYTES];
	struct jwe_content content;
	int rc = RAND_priv_bytes(cek, sizeof(cek)) == 1 ? 0 : ERR_CRYPTO;
	if (rc >= 0)
		rc = jwk_thumbprint(owner, kid);
	if (rc >= 0)
		rc = put_header(epk, kid, facts, &header);
	if (rc >= 0)
		rc = strict_b64_put(out, header.data, header.len);
	if (rc >= 0)
		rc = jwe_wrap(owner, epk, cek, wrapped);
	if (rc >= 0 && !buf_cstr(out))
		rc = -ENOMEM;
	if (rc >= 0)
		rc = jwe_encrypt(cek, (const char *)out->data, key->bytes, &content);
	if (rc >= 0)
		rc = put_part(out, wrapped, sizeof(wrapped));
	if (rc >= 0)
		rc = put_part(out, content.iv, sizeof(content.iv));
	if (rc >= 0)
		rc = put_part(out, content.ciphertext, sizeof(content.ciphertext));
	return rc < 0 ? rc : put_part(out, content.tag, sizeof(content.tag));
}

int stream_key_wrap(const struct jwk *owner, const struct stream_facts *facts,
		    const struct vm_key *key, struct buf *out, struct fault *f)
{
	CLEANUP_JWK struct jwk *epk = NULL;
	CLEANUP_BUF struct buf jwe = BUF_INIT(WRAP_JWE_MAX + 1);
	uint8_t head[STREAM_HEAD_BYTES] = { 0 };
	int rc = jwk_new(&epk, f);
	if (rc >= 0)
		rc = put_jwe(owner, epk, facts, key, &jwe);
	if (rc < 0)
		return fault_set(f, rc, "the key of a dump cannot be wrapped to the owner: %s",
				 err_text(rc));
	memcpy(head, MAGIC_WRAP, sizeof(MAGIC_WRAP));
	head[RECORD_AT_VERSION] = RECORD_FORMAT_VERSION;
	head[RECORD_AT_PURPOSE] = KEY_USE_DUMP;
	head[AT_WRAPPING] = WRAP_JWE;
	record_put_be32(head + AT_LENGTH, (uint32_t)jwe.len);
	memcpy(head + RECORD_AT_VM, facts->vm, UUID_BYTES);
	rc = buf_add(out, head, sizeof(head));
	if (rc >= 0)
		rc = buf_add(out, jwe.data, jwe.len);
	return rc < 0 ? fault_set(f, rc, "no room for the key of a dump") : 0;
}

/* A parsed JWE. */
struct parsed {
	struct buf aad; /* the protected header in base64url, as a string */
	struct stream_facts facts;
	char kid[JWK_THUMBPRINT_SIZE];
	struct jwk *epk;
	uint8_t wrapped[JWE_WRAPPED_BYTES];
	struct jwe_content content;
};

static void parsed_done(struct parsed *p)
{
	buf_done(&p->aad);
	jwk_free(p->epk);
}

/* The values of the protected header, whose members are there. */
static int take_header(const json_t *o, struct parsed *p, struct fault *f)
{
	static const char *const EPK_NAMES[] = { "crv", "kty", "x", "y" };
	static const char WHAT[] = "the wrapped key's \"epk\"";
	const char *alg = strict_text(o, "alg"), *enc = strict_text(o, "enc");
	const char *kid = strict_text(o, "kid"), *level = strict_text(o, "level");
	const json_t *epk = json_object_get(o, "epk");
	uint8_t digest[32];
	if (!alg || !enc || strcmp(alg, JWE_ALG) != 0 || strcmp(enc, JWE_ENC) != 0)
		return fault_set(f, alg && enc ? ERR_VERSION : ERR_FORMAT,
				 "the key is wrapped in another way than with %s and %s", JWE_ALG,
				 JWE_ENC);
	int rc = strict_members(epk, WHAT, EPK_NAMES, COUNT(EPK_NAMES), f);
	if (rc >= 0)
		rc = jwk_from_json(epk, &p->epk, f);
	if (rc < 0)
		return fault_wrap(f, rc, "%s", WHAT);
	if (!kid || strict_b64(kid, strlen(kid), digest, sizeof(digest)) < 0)
		return fault_set(f, ERR_FORMAT, "the wrapped key's \"kid\" is not a thumbprint");
	memcpy(p->kid, kid, sizeof(p->kid));
	if (!level || level_parse(level, &p->facts.level) < 0 ||
	    protector_take_tpm_id(strict_text(o, "tpm"), p->facts.tpm_id) < 0 ||
	    protector_take_uuid(strict_text(o, "vm"), p->facts.vm) < 0)
		return fault_set(f, ERR_FORMAT,
				 "the wrapped key's \"level\", \"tpm\" or \"vm\" is not one");
	return 0;
}

static int parse_header(const char *text, size_t n, struct parsed *p, struct fault *f)
{
	static const char *const NAMES[] = {
		"alg", "enc", "epk", "kid", "level", "tpm", "typ", "vm"
	};
	static const char WHAT[] = "the wrapped key's header";
	CLEANUP_BUF struct buf raw = BUF_INIT(WRAP_JWE_MAX), again = BUF_INIT(WRAP_JWE_MAX);
	CLEANUP_JSON json_t *o = NULL;
	int rc = strict_b64_buf(text, n, &raw);
	if (rc < 0)
		return fault_set(f, rc, "%s is not base64url without padding", WHAT);
	rc = strict_json((const char *)raw.data, raw.len, WHAT, &o, f);
	if (rc >= 0)
		rc = strict_members(o, WHAT, NAMES, COUNT(NAMES), f);
	if (rc >= 0)
		rc = take_header(o, p, f);
	if (rc < 0)
		return rc;
	rc = put_header(p->epk, p->kid, &p->facts, &again);
	if (rc < 0)
		return fault_set(f, rc, "%s: %s", WHAT, err_text(rc));
	/* Which "typ" it is shows here, too. */
	if (again.len != raw.len || memcmp(again.data, raw.data, raw.len) != 0)
		return fault_set(f, ERR_FORMAT, "%s is not in the one valid spelling", WHAT);
	rc = buf_add(&p->aad, text, n);
	if (rc < 0 || !buf_cstr(&p->aad))
		return fault_set(f, -ENOMEM, "no memory for %s", WHAT);
	return 0;
}

/* The next part of a compact JWE, up to a "." or the end of the text; NULL if there is none. */
static const char *next_part(const char **rest, const char *end, size_t *n)
{
	const char *part = *rest;
	if (!part)
		return NULL;
	const char *dot = memchr(part, '.', (size_t)(end - part));
	*n = (size_t)((dot ? dot : end) - part);
	*rest = dot ? dot + 1 : NULL;
	return part;
}

static int parse(const uint8_t *record, size_t key_bytes, struct parsed *p, struct fault *f)
{
	const char *rest = (const char *)record + STREAM_HEAD_BYTES;
	const char *end = (const char *)record + key_bytes;
	const struct {
		uint8_t *out;
		size_t n;
	} PARTS[] = { { p->wrapped, sizeof(p->wrapped) },
		      { p->content.iv, sizeof(p->content.iv) },
		      { p->content.ciphertext, sizeof(p->content.ciphertext) },
		      { p->content.tag, sizeof(p->content.tag) } };
	size_t header_n = 0, n = 0;
	const char *header = next_part(&rest, end, &header_n);
	for (size_t i = 0; i < COUNT(PARTS); i++) {
		const char *part = next_part(&rest, end, &n);
		if (!part || strict_b64(part, n, PARTS[i].out, PARTS[i].n) < 0)
			return fault_set(f, ERR_FORMAT,
					 "part %zu of the wrapped key is not %zu bytes in "
					 "base64url",
					 i + 2, PARTS[i].n);
	}
	if (rest)
		return fault_set(f, ERR_FORMAT, "the wrapped key has more than five parts");
	int rc = parse_header(header, header_n, p, f);
	if (rc < 0)
		return rc;
	if (memcmp(p->facts.vm, record + RECORD_AT_VM, UUID_BYTES) != 0)
		return fault_set(f, ERR_AUTH,
				 "the wrapped key names another VM than the file's first bytes");
	return 0;
}

int stream_key_inspect(const uint8_t *record, size_t key_bytes, struct stream_facts *facts,
		       char recipient[static JWK_THUMBPRINT_SIZE], struct fault *f)
{
	CLEANUP(parsed_done) struct parsed p = { .aad = BUF_INIT(WRAP_JWE_MAX + 1) };
	int rc = parse(record, key_bytes, &p, f);
	if (rc < 0)
		return rc;
	*facts = p.facts;
	memcpy(recipient, p.kid, JWK_THUMBPRINT_SIZE);
	return 0;
}

int stream_key_unwrap(const struct ecdh *ecdh, const struct stream_facts *wanted,
		      const uint8_t *record, size_t key_bytes, struct stream_facts *facts,
		      struct vm_key *key, struct fault *f)
{
	CLEANUP(parsed_done) struct parsed p = { .aad = BUF_INIT(WRAP_JWE_MAX + 1) };
	int rc = parse(record, key_bytes, &p, f);
	if (rc < 0)
		return rc;
	if (wanted && memcmp(p.facts.vm, wanted->vm, UUID_BYTES) != 0) {
		char theirs[UUID_TEXT_SIZE], ours[UUID_TEXT_SIZE];
		uuid_format(p.facts.vm, theirs);
		uuid_format(wanted->vm, ours);
		return fault_set(f, ERR_VM, "a dump of VM %s (so it says), wanted is VM %s", theirs,
				 ours);
	}
	if (!ecdh)
		return fault_set(f, ERR_RECIPIENT,
				 "a dump opens with its owner's private key %s only, and none is "
				 "given",
				 p.kid);
	if (strcmp(p.kid, ecdh->thumbprint) != 0)
		return fault_set(f, ERR_RECIPIENT, "the dump is sealed to the key %s, not to %s",
				 p.kid, ecdh->thumbprint);
	rc = jwe_open(ecdh, "the key of the dump", jwk_x(p.epk), jwk_y(p.epk), p.wrapped,
		      (const char *)p.aad.data, &p.content, key->bytes, f);
	if (rc < 0)
		return rc;
	if (wanted && (memcmp(p.facts.tpm_id, wanted->tpm_id, sizeof(wanted->tpm_id)) != 0 ||
		       p.facts.level != wanted->level))
		return fault_set(f, ERR_AUTH, "a dump of the VM with another vTPM or level");
	*facts = p.facts;
	return 0;
}
