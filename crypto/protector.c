/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Theory of operation.  docs/FORMAT.md, "Key protector", has the format.  Parsing goes from the
 * outside in: the compact JWS's three parts, its header, the payload's version and owner, then the
 * owner's signature over all of it, and only then everything else.  Algorithm names are compared
 * here, with the one name each that there is, before libjose sees any of it.
 */
#include "crypto/protector.h"

#include <errno.h>
#include <stdio.h>

#include <jose/jws.h>

#include "crypto/protector_form.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const LEVELS[] = {
	[LEVEL_ENCRYPTION_SUPPORTED] = "encryption-supported",
	[LEVEL_SHIELDED] = "shielded",
};

const char *level_name(enum shield_level level)
{
	return level >= LEVEL_ENCRYPTION_SUPPORTED && level <= LEVEL_SHIELDED ? LEVELS[level]
									      : "unknown";
}

int level_parse(const char *text, enum shield_level *level)
{
	for (enum shield_level l = LEVEL_ENCRYPTION_SUPPORTED; l <= LEVEL_SHIELDED; l++) {
		if (strcmp(text, LEVELS[l]) == 0) {
			*level = l;
			return 0;
		}
	}
	return ERR_FORMAT;
}

void protector_free(struct protector *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < PROTECTOR_RECIPIENTS_MAX; i++)
		jwk_free(p->entries[i].key);
	jwk_free(p->owner);
	free(p->jwe_protected);
	free(p);
}

const struct protector_facts *protector_facts(const struct protector *p)
{
	return &p->facts;
}

const struct jwk *protector_owner(const struct protector *p)
{
	return p->owner;
}

size_t protector_n_recipients(const struct protector *p)
{
	return p->n_entries;
}

const char *protector_recipient(const struct protector *p, size_t i)
{
	return i < p->n_entries ? p->entries[i].thumbprint : NULL;
}

const struct jwk *protector_recipient_key(const struct protector *p, size_t i)
{
	return i < p->n_entries ? p->entries[i].key : NULL;
}

static void say_nothing(void *misc, const char *file, int line, uint64_t err, const char *fmt,
			va_list ap)
{
	(void)misc, (void)file, (void)line, (void)err, (void)fmt, (void)ap;
}

jose_cfg_t *protector_quiet_jose(void)
{
	strict_init();
	jose_cfg_t *cfg = jose_cfg();
	if (cfg)
		jose_cfg_set_err_func(cfg, say_nothing, NULL);
	return cfg;
}

int protector_rule_valid(const char *id)
{
	size_t n = strnlen(id, PROTECTOR_RULE_MAX);
	if (n == 0 || n == PROTECTOR_RULE_MAX)
		return 0;
	return strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789.-") == n;
}

/* The member NAME of O is the string WANTED.  RC otherwise. */
static int expect(const json_t *o, const char *what, const char *name, const char *wanted, int rc,
		  struct fault *f)
{
	const char *text = strict_text(o, name);
	if (!text)
		return fault_set(f, ERR_FORMAT, "%s's \"%s\" is not a string", what, name);
	if (strcmp(text, wanted) != 0)
		return fault_set(f, rc, "%s's \"%s\" is \"%.64s\"; it must be \"%s\"", what, name,
				 text, wanted);
	return 0;
}

/* Base64url of exactly OUT_BYTES in the member NAME of O. */
static int take_bytes(const json_t *o, const char *what, const char *name, uint8_t *out,
		      size_t out_bytes, struct fault *f)
{
	const char *text = strict_text(o, name);
	if (!text || strict_b64(text, strlen(text), out, out_bytes) < 0)
		return fault_set(f, ERR_FORMAT, "%s's \"%s\" is not %zu bytes in base64url", what,
				 name, out_bytes);
	return 0;
}

/* An object in base64url JSON with exactly the members NAMES. */
static int decode_object(const char *text, size_t n, const char *what, json_t **out,
			 struct fault *f)
{
	CLEANUP_BUF struct buf b = BUF_INIT(PROTECTOR_TEXT_MAX);
	int rc = strict_b64_buf(text, n, &b);
	if (rc == ERR_FORMAT)
		return fault_set(f, rc, "%s is not base64url without padding", what);
	if (rc < 0)
		return fault_set(f, rc, "%s: %s", what, err_text(rc));
	return strict_json((const char *)b.data, b.len, what, out, f);
}

static int take_public_key(const json_t *o, const char *what, struct jwk **out, struct fault *f)
{
	static const char *const NAMES[] = { "crv", "kty", "x", "y" };
	int rc = strict_members(o, what, NAMES, COUNT(NAMES), f);
	if (rc < 0)
		return rc;
	rc = jwk_from_json(o, out, f);
	return rc < 0 ? fault_wrap(f, rc, "%s", what) : 0;
}

/* The parts of a compact JWS (RFC 7515, section 7.1), pointing into it. */
struct jws {
	const char *header, *payload, *signature;
	size_t header_n, payload_n, signature_n;
};

static int split(const char *text, size_t n, struct jws *out, struct fault *f)
{
	const char *end = text + n;
	const char *first = memchr(text, '.', n);
	const char *second = first ? memchr(first + 1, '.', (size_t)(end - first - 1)) : NULL;
	if (!second || memchr(second + 1, '.', (size_t)(end - second - 1)))
		return fault_set(f, ERR_FORMAT,
				 "not a key protector: it must be three parts with a \".\" between "
				 "them");
	out->header = text;
	out->header_n = (size_t)(first - text);
	out->payload = first + 1;
	out->payload_n = (size_t)(second - first - 1);
	out->signature = second + 1;
	out->signature_n = (size_t)(end - second - 1);
	return 0;
}

/* The signed header: what this is, and the owner's thumbprint. */
static int check_jws_header(const struct jws *jws, char kid[static JWK_THUMBPRINT_SIZE],
			    struct fault *f)
{
	static const char *const NAMES[] = { "alg", "kid", "typ" };
	static const char WHAT[] = "the protector's header";
	CLEANUP_JSON json_t *h = NULL;
	int rc = decode_object(jws->header, jws->header_n, WHAT, &h, f);
	if (rc >= 0)
		rc = strict_members(h, WHAT, NAMES, COUNT(NAMES), f);
	if (rc >= 0)
		rc = expect(h, WHAT, "typ", PROTECTOR_JWS_TYP, ERR_FORMAT, f);
	if (rc >= 0)
		rc = expect(h, WHAT, "alg", PROTECTOR_JWS_ALG, ERR_VERSION, f);
	uint8_t digest[32];
	if (rc >= 0)
		rc = take_bytes(h, WHAT, "kid", digest, sizeof(digest), f);
	if (rc < 0)
		return rc;
	memcpy(kid, strict_text(h, "kid"), JWK_THUMBPRINT_SIZE);
	return 0;
}

static int check_signature(const struct jws *jws, const struct jwk *owner, struct fault *f)
{
	uint8_t signature[PROTECTOR_SIGNATURE_BYTES];
	if (strict_b64(jws->signature, jws->signature_n, signature, sizeof(signature)) < 0)
		return fault_set(f, ERR_FORMAT,
				 "the owner's signature is not %d bytes in base64url",
				 PROTECTOR_SIGNATURE_BYTES);
	jose_cfg_auto_t *cfg = protector_quiet_jose();
	CLEANUP_JSON json_t *key = jwk_to_json(owner, 0);
	CLEANUP_JSON json_t *flat = json_pack(
		"{s:s%,s:s%,s:s%}", "protected", jws->header, jws->header_n, "payload",
		jws->payload, jws->payload_n, "signature", jws->signature, jws->signature_n);
	if (!cfg || !key || !flat)
		return fault_set(f, -ENOMEM, "no memory to verify the protector");
	int ok = jose_jws_ver(cfg, flat, NULL, key, true);
	ERR_clear_error();
	if (!ok)
		return fault_set(f, ERR_AUTH,
				 "the owner's signature does not fit: the protector was altered "
				 "after it was made");
	return 0;
}

int protector_may_allow(enum shield_level level, const char *id)
{
	return level == LEVEL_ENCRYPTION_SUPPORTED || strcmp(id, PROTECTOR_COMPRESSION) == 0;
}

int protector_allows(const struct protector_facts *facts, const char *id)
{
	for (size_t i = 0; i < facts->n_allow; i++) {
		if (strcmp(facts->allow[i], id) == 0)
			return 1;
	}
	return 0;
}

static int take_allow(const json_t *o, struct protector_facts *facts, struct fault *f)
{
	const json_t *allow = json_object_get(o, "allow");
	if (!json_is_array(allow))
		return fault_set(f, ERR_FORMAT, "the protector's \"allow\" is not an array");
	size_t n = json_array_size(allow);
	if (n > PROTECTOR_ALLOW_MAX)
		return fault_set(f, ERR_LIMIT, "the protector allows %zu rules, %d is the most", n,
				 PROTECTOR_ALLOW_MAX);
	for (size_t i = 0; i < n; i++) {
		const char *id = json_string_value(json_array_get(allow, i));
		if (!id || !protector_rule_valid(id))
			return fault_set(f, ERR_FORMAT, "\"allow\" number %zu is not a rule id",
					 i + 1);
		for (size_t j = 0; j < i; j++) {
			if (strcmp(facts->allow[j], id) == 0)
				return fault_set(f, ERR_FORMAT, "\"allow\" has \"%s\" twice", id);
		}
		if (!protector_may_allow(facts->level, id))
			return fault_set(f, ERR_FORMAT,
					 "the protector allows %s, which level \"shielded\" does "
					 "not",
					 id);
		memcpy(facts->allow[i], id, strlen(id) + 1);
	}
	facts->n_allow = n;
	return 0;
}

int protector_take_uuid(const char *text, uint8_t uuid[static UUID_BYTES])
{
	char again[UUID_TEXT_SIZE];
	if (!text || uuid_parse(text, uuid) < 0)
		return ERR_FORMAT;
	uuid_format(uuid, again);
	return strcmp(text, again) == 0 ? 0 : ERR_FORMAT;
}

void protector_tpm_text(const uint8_t id[static PROTECTOR_TPM_ID_BYTES],
			char text[static PROTECTOR_TPM_TEXT_SIZE])
{
	for (size_t i = 0; i < PROTECTOR_TPM_ID_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", id[i]);
}

int protector_take_tpm_id(const char *text, uint8_t id[static PROTECTOR_TPM_ID_BYTES])
{
	size_t n = 0;
	if (!text || strlen(text) != (size_t)2 * PROTECTOR_TPM_ID_BYTES ||
	    strspn(text, "0123456789abcdef") != (size_t)2 * PROTECTOR_TPM_ID_BYTES)
		return ERR_FORMAT;
	return OPENSSL_hexstr2buf_ex(id, PROTECTOR_TPM_ID_BYTES, &n, text, '\0') == 1 ? 0
										      : ERR_FORMAT;
}

static int take_facts(const json_t *o, struct protector_facts *facts, struct fault *f)
{
	const char *level = strict_text(o, "level");
	if (protector_take_uuid(strict_text(o, "vm"), facts->vm) < 0)
		return fault_set(f, ERR_FORMAT,
				 "the protector's \"vm\" is not a UUID in lower-case letters");
	if (!level || level_parse(level, &facts->level) < 0)
		return fault_set(f, ERR_FORMAT,
				 "the protector's \"level\" is neither \"shielded\" nor "
				 "\"encryption-supported\"");
	if (protector_take_tpm_id(strict_text(o, "tpm"), facts->tpm_id) < 0)
		return fault_set(f, ERR_FORMAT,
				 "the protector's \"tpm\" is not %d lower-case hexadecimal digits",
				 2 * PROTECTOR_TPM_ID_BYTES);
	facts->least = HEALTHCERT_TPM;
	return take_allow(o, facts, f);
}

/* The JWE's protected header: it names the VM and the owner again, under the content key. */
static int check_jwe_header(const char *text, const struct protector *p, const char *owner,
			    struct fault *f)
{
	static const char *const NAMES[] = { "enc", "owner", "typ", "vm" };
	static const char WHAT[] = "the wrapped key's header";
	CLEANUP_JSON json_t *h = NULL;
	char vm[UUID_TEXT_SIZE];
	uuid_format(p->facts.vm, vm);
	int rc = decode_object(text, strlen(text), WHAT, &h, f);
	if (rc >= 0)
		rc = strict_members(h, WHAT, NAMES, COUNT(NAMES), f);
	if (rc >= 0)
		rc = expect(h, WHAT, "typ", PROTECTOR_JWE_TYP, ERR_FORMAT, f);
	if (rc >= 0)
		rc = expect(h, WHAT, "enc", JWE_ENC, ERR_VERSION, f);
	if (rc >= 0)
		rc = expect(h, WHAT, "vm", vm, ERR_AUTH, f);
	if (rc >= 0)
		rc = expect(h, WHAT, "owner", owner, ERR_AUTH, f);
	return rc;
}

static int take_entry(const json_t *o, struct protector *p, struct fault *f)
{
	static const char *const NAMES[] = { "encrypted_key", "header" };
	static const char *const HEADER_NAMES[] = { "alg", "epk", "jwk", "kid" };
	struct protector_entry *e = &p->entries[p->n_entries];
	const json_t *h = json_object_get(o, "header");
	CLEANUP_JWK struct jwk *epk = NULL;
	char thumbprint[JWK_THUMBPRINT_SIZE];

	int rc = strict_members(o, "a recipient", NAMES, COUNT(NAMES), f);
	if (rc >= 0)
		rc = strict_members(h, "a recipient's header", HEADER_NAMES, COUNT(HEADER_NAMES),
				    f);
	if (rc >= 0)
		rc = expect(h, "a recipient's header", "alg", JWE_ALG, ERR_VERSION, f);
	if (rc >= 0)
		rc = take_public_key(json_object_get(h, "jwk"), "a recipient's \"jwk\"", &e->key,
				     f);
	if (rc >= 0)
		rc = jwk_thumbprint(e->key, thumbprint);
	if (rc >= 0)
		rc = expect(h, "a recipient's header", "kid", thumbprint, ERR_FORMAT, f);
	if (rc >= 0)
		rc = take_bytes(o, "a recipient", "encrypted_key", e->wrapped, sizeof(e->wrapped),
				f);
	if (rc >= 0)
		rc = take_public_key(json_object_get(h, "epk"), "a recipient's \"epk\"", &epk, f);
	if (rc < 0)
		return rc;
	memcpy(e->thumbprint, thumbprint, JWK_THUMBPRINT_SIZE);
	memcpy(e->epk_x, jwk_x(epk), JWK_COORDINATE_BYTES);
	memcpy(e->epk_y, jwk_y(epk), JWK_COORDINATE_BYTES);
	for (size_t i = 0; i < p->n_entries; i++) {
		if (strcmp(p->entries[i].thumbprint, e->thumbprint) == 0)
			return fault_set(f, ERR_FORMAT, "the recipient %s is there twice",
					 e->thumbprint);
	}
	p->n_entries++;
	return 0;
}

static int take_jwe(const json_t *jwe, struct protector *p, const char *owner, struct fault *f)
{
	static const char *const NAMES[] = { "ciphertext", "iv", "protected", "recipients", "tag" };
	static const char WHAT[] = "the wrapped key";
	int rc = strict_members(jwe, WHAT, NAMES, COUNT(NAMES), f);
	if (rc < 0)
		return rc;
	const char *header = strict_text(jwe, "protected");
	if (!header)
		return fault_set(f, ERR_FORMAT, "%s's \"protected\" is not a string", WHAT);
	rc = check_jwe_header(header, p, owner, f);
	if (rc >= 0)
		rc = take_bytes(jwe, WHAT, "iv", p->content.iv, sizeof(p->content.iv), f);
	if (rc >= 0)
		rc = take_bytes(jwe, WHAT, "ciphertext", p->content.ciphertext,
				sizeof(p->content.ciphertext), f);
	if (rc >= 0)
		rc = take_bytes(jwe, WHAT, "tag", p->content.tag, sizeof(p->content.tag), f);
	if (rc < 0)
		return rc;
	p->jwe_protected = strdup(header);
	if (!p->jwe_protected)
		return fault_set(f, -ENOMEM, "no memory for a protector");

	const json_t *recipients = json_object_get(jwe, "recipients");
	if (!json_is_array(recipients))
		return fault_set(f, ERR_FORMAT, "%s's \"recipients\" is not an array", WHAT);
	size_t n = json_array_size(recipients);
	if (n > PROTECTOR_RECIPIENTS_MAX)
		return fault_set(f, ERR_LIMIT, "the protector has %zu recipients, %d is the most",
				 n, PROTECTOR_RECIPIENTS_MAX);
	int owner_is_one = 0;
	for (size_t i = 0; i < n; i++) {
		rc = take_entry(json_array_get(recipients, i), p, f);
		if (rc < 0)
			return rc;
		owner_is_one |= strcmp(p->entries[i].thumbprint, owner) == 0;
	}
	if (!owner_is_one)
		return fault_set(f, ERR_FORMAT,
				 "the owner is not among the protector's recipients");
	return 0;
}

/* Everything in the payload once its owner is known. */
static int take_payload(const struct jws *jws, const char *kid, struct protector *p,
			struct fault *f)
{
	static const char *const NAMES[] = { "allow", "key", "level", "owner", "tpm", "v", "vm" };
	static const char *const GUARDED[] = { "allow", "assurance", "edition", "guardians",
					       "key",	"level",     "offline", "owner",
					       "tpm",	"v",	     "vm" };
	static const char WHAT[] = "the protector's payload";
	char owner[JWK_THUMBPRINT_SIZE];
	CLEANUP_JSON json_t *o = NULL;
	int rc = decode_object(jws->payload, jws->payload_n, WHAT, &o, f);
	if (rc < 0)
		return rc;
	/* The version first: another one may well have other members. */
	const json_t *v = json_object_get(o, "v");
	if (!json_is_integer(v))
		return fault_set(f, ERR_FORMAT, "%s has no version \"v\"", WHAT);
	int guarded = json_integer_value(v) == PROTECTOR_VERSION_GUARDED;
	if (!guarded && json_integer_value(v) != PROTECTOR_VERSION)
		return fault_set(f, ERR_VERSION,
				 "protector version %lld; this build knows versions %d and %d only",
				 (long long)json_integer_value(v), PROTECTOR_VERSION,
				 PROTECTOR_VERSION_GUARDED);
	rc = guarded ? strict_members(o, WHAT, GUARDED, COUNT(GUARDED), f)
		     : strict_members(o, WHAT, NAMES, COUNT(NAMES), f);
	if (rc >= 0)
		rc = take_public_key(json_object_get(o, "owner"), "the protector's \"owner\"",
				     &p->owner, f);
	if (rc >= 0)
		rc = jwk_thumbprint(p->owner, owner);
	if (rc < 0)
		return fault_set(f, rc, "%s: %s", WHAT, err_text(rc));
	if (strcmp(owner, kid) != 0)
		return fault_set(f, ERR_AUTH, "signed by %s, but it names the owner %s", kid,
				 owner);
	rc = check_signature(jws, p->owner, f);
	if (rc >= 0)
		rc = take_facts(o, &p->facts, f);
	if (rc >= 0)
		rc = take_jwe(json_object_get(o, "key"), p, owner, f);
	if (rc >= 0 && guarded)
		rc = protector_take_guardians(o, p, f);
	return rc;
}

int protector_parse(const char *text, size_t n, struct protector **out, struct fault *f)
{
	struct jws jws = { 0 };
	char kid[JWK_THUMBPRINT_SIZE];
	if (n > PROTECTOR_TEXT_MAX)
		return fault_set(f, ERR_LIMIT,
				 "the protector is %zu bytes long, %d is the most it may be", n,
				 PROTECTOR_TEXT_MAX);
	int rc = split(text, n, &jws, f);
	if (rc >= 0)
		rc = check_jws_header(&jws, kid, f);
	if (rc < 0)
		return rc;
	CLEANUP_PROTECTOR struct protector *p = calloc(1, sizeof(*p));
	if (!p)
		return fault_set(f, -ENOMEM, "no memory for a protector");
	rc = take_payload(&jws, kid, p, f);
	if (rc < 0)
		return rc;
	*out = p;
	p = NULL;
	return 0;
}
