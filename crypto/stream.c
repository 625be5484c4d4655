/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/stream.h"

#include <errno.h>

#include "crypto/jwk_form.h"
#include "crypto/record.h"
#include "crypto/seal.h"
#include "crypto/stream_form.h"

#define RECORDS_MAX (STREAM_PLAINTEXT_MAX / STREAM_RECORD_BYTES)
#define EXTRA_BYTES (PROTECTOR_TPM_ID_BYTES + 1)

_Static_assert(STREAM_HEADER_BYTES == RECORD_HEADER_BYTES, "stream.h");
_Static_assert(STREAM_PREFIX_BYTES == RECORD_PREFIX_BYTES, "stream.h");
_Static_assert(STREAM_RECORD_EXTRA == RECORD_PREFIX_BYTES + RECORD_TAG_BYTES, "stream.h");
_Static_assert(STREAM_STATE_KEY_BYTES == KEY_BYTES + SEAL_OVERHEAD_BYTES, "stream.h");
_Static_assert(STREAM_ZSTD == RECORD_COMPRESSION_LAST, "record.h");
_Static_assert(RECORDS_MAX <= UINT32_MAX, "a record's number has 32 bits in record.h");

struct stream_keys {
	int has_facts;
	struct stream_facts facts;
	struct seal *state; /* of stream keys; NULL without the VM key */
	struct jwk *owner;  /* NULL without one */
	const struct ecdh *ecdh;
	enum stream_compression compression;
	uint32_t record_size;
	uint64_t records_max;
};

struct stream {
	enum key_use purpose;
	enum stream_compression compression;
	struct stream_facts facts;
	struct record_keys keys;
	uint32_t record_size;
	uint64_t records_max;
};

struct stream_lane {
	EVP_CIPHER *cipher;
	EVP_CIPHER_CTX *ctx;
};

/* ---- keys ---- */

void stream_keys_free(struct stream_keys *k)
{
	if (!k)
		return;
	seal_free(k->state);
	jwk_free(k->owner);
	wipe_free(k, sizeof(*k));
}

void stream_keys_compress(struct stream_keys *k, enum stream_compression c)
{
	k->compression = c;
}

const char *stream_compression_name(enum stream_compression c)
{
	return c == STREAM_ZSTD ? "zstd" : "none";
}

void stream_keys_resize(struct stream_keys *k, uint32_t size, uint64_t records_max)
{
	k->record_size = size;
	k->records_max = records_max;
}

static void put_extra(const struct stream_facts *facts, uint8_t extra[static EXTRA_BYTES])
{
	memcpy(extra, facts->tpm_id, PROTECTOR_TPM_ID_BYTES);
	extra[PROTECTOR_TPM_ID_BYTES] = (uint8_t)facts->level;
}

/* Seal what K can seal, and open it if K can: then all is loaded that these need. */
static int warm_up(struct stream_keys *k, struct fault *f)
{
	uint8_t front[STREAM_FRONT_MAX];
	size_t n = 0;
	int rc = 0;
	if (k->state) {
		CLEANUP_STREAM struct stream *made = NULL, *opened = NULL;
		rc = stream_seal(k, KEY_USE_SAVED_STATE, front, &n, &made, f);
		if (rc >= 0)
			rc = stream_open(k, KEY_USE_SAVED_STATE, front, n, &opened, f);
	}
	if (rc >= 0 && k->owner) {
		CLEANUP_STREAM struct stream *made = NULL;
		rc = stream_seal(k, KEY_USE_DUMP, front, &n, &made, f);
	}
	return rc;
}

int stream_keys_new(const struct stream_facts *facts, const struct vm_key *key,
		    const struct jwk *owner, const struct ecdh *ecdh, struct stream_keys **out,
		    struct fault *f)
{
	uint8_t extra[EXTRA_BYTES];
	if (!facts && (key || owner))
		return fault_set(f, ERR_USAGE, "a stream is sealed for a VM only");
	CLEANUP_STREAM_KEYS struct stream_keys *k = calloc(1, sizeof(*k));
	if (!k)
		return fault_set(f, -ENOMEM, "no memory for a stream's keys");
	int rc = 0;
	k->ecdh = ecdh;
	k->record_size = STREAM_RECORD_BYTES;
	k->records_max = RECORDS_MAX;
	if (facts) {
		k->has_facts = 1;
		k->facts = *facts;
		put_extra(facts, extra);
	}
	if (key)
		rc = seal_new(key, KEY_USE_STATE_KEY, facts->vm, extra, sizeof(extra), &k->state);
	if (rc >= 0 && owner)
		rc = jwk_from_point(jwk_x(owner), jwk_y(owner), &k->owner);
	if (rc >= 0)
		rc = warm_up(k, f);
	if (rc < 0)
		return fault_set(f, rc, "the keys of saved states and dumps: %s", err_text(rc));
	*out = k;
	k = NULL;
	return 0;
}

/* ---- fronts ---- */

static struct record_binding bind(const struct stream_keys *k, enum key_use purpose,
				  const struct stream_facts *facts)
{
	struct record_binding b = { .use = purpose,
				    .record_size = k->record_size,
				    .compression = (uint8_t)k->compression,
				    .extra_bytes = EXTRA_BYTES };
	memcpy(b.vm, facts->vm, UUID_BYTES);
	put_extra(facts, b.extra);
	return b;
}

static struct stream *stream_alloc(const struct stream_keys *k, enum key_use purpose,
				   const struct stream_facts *facts)
{
	struct stream *s = calloc(1, sizeof(*s));
	if (s) {
		s->purpose = purpose;
		s->facts = *facts;
		s->record_size = k->record_size;
		s->records_max = k->records_max;
	}
	return s;
}

void stream_free(struct stream *s)
{
	wipe_free(s, sizeof(*s));
}

enum key_use stream_purpose(const struct stream *s)
{
	return s->purpose;
}

const struct stream_facts *stream_facts(const struct stream *s)
{
	return &s->facts;
}

enum stream_compression stream_compression(const struct stream *s)
{
	return s->compression;
}

size_t stream_record_size(const struct stream *s)
{
	return s->record_size;
}

uint64_t stream_plaintext_max(const struct stream *s)
{
	return s->records_max * s->record_size;
}

int stream_seal(struct stream_keys *k, enum key_use purpose, uint8_t front[static STREAM_FRONT_MAX],
		size_t *front_bytes, struct stream **out, struct fault *f)
{
	CLEANUP_KEY struct vm_key key = { { 0 } };
	CLEANUP_BUF struct buf b = BUF_INIT(STREAM_FRONT_MAX);
	if ((purpose != KEY_USE_SAVED_STATE || !k->state) && (purpose != KEY_USE_DUMP || !k->owner))
		return fault_set(f, ERR_USAGE, "there is no key to seal %s with",
				 record_purpose(purpose));
	CLEANUP_STREAM struct stream *s = stream_alloc(k, purpose, &k->facts);
	if (!s)
		return fault_set(f, -ENOMEM, "no memory for a stream");
	int rc = key_new(&key);
	if (rc >= 0)
		rc = purpose == KEY_USE_DUMP ? stream_key_wrap(k->owner, &k->facts, &key, &b, f)
					     : seal_blob(k->state, key.bytes, KEY_BYTES, &b);
	if (rc >= 0)
		rc = buf_reserve(&b, RECORD_HEADER_BYTES);
	if (rc >= 0) {
		struct record_binding binding = bind(k, purpose, &k->facts);
		rc = record_header_make(&key, &binding, b.data + b.len, &s->keys);
	}
	if (rc < 0)
		return fault_set(f, rc, "%s cannot be begun: %s", record_purpose(purpose),
				 err_text(rc));
	s->compression = k->compression;
	*front_bytes = b.len + RECORD_HEADER_BYTES;
	memcpy(front, b.data, *front_bytes);
	*out = s;
	s = NULL;
	return 0;
}

int stream_front_need(const uint8_t *front, size_t n, size_t *need, struct fault *f)
{
	enum key_use purpose;
	size_t key_bytes = 0;
	if (n < STREAM_HEAD_BYTES) {
		*need = STREAM_HEAD_BYTES;
		return 0;
	}
	int rc = stream_head_check(front, n, &purpose, &key_bytes, f);
	if (rc < 0)
		return rc;
	*need = key_bytes + STREAM_HEADER_BYTES;
	return 0;
}

/* Steps 1 to 4: head, kind, the whole key record. */
static int check_key_record(const uint8_t *front, size_t n, enum key_use wanted, size_t *key_bytes,
			    struct fault *f)
{
	enum key_use purpose;
	int rc = stream_head_check(front, n, &purpose, key_bytes, f);
	if (rc < 0)
		return rc;
	if (purpose != wanted)
		return fault_set(f, ERR_PURPOSE,
				 "made as %s, wanted is %s (so its first bytes say)",
				 record_purpose(purpose), record_purpose(wanted));
	if (n < *key_bytes)
		return fault_set(f, ERR_TRUNCATED, "the key record is %zu bytes short",
				 *key_bytes - n);
	if (stream_head_shredded(front, *key_bytes))
		return fault_set(f, ERR_STATE, "its key was shredded: nobody can open it any more");
	return 0;
}

/* Step 5 for a saved state. */
static int open_state_key(struct stream_keys *k, const uint8_t *front, struct vm_key *key,
			  struct fault *f)
{
	CLEANUP_BUF struct buf plain = BUF_INIT(KEY_BYTES);
	if (!k->state)
		return fault_set(f, ERR_USAGE,
				 "a saved state opens with its VM's key only, and "
				 "none is given");
	int rc = seal_open(k->state, front, STREAM_STATE_KEY_BYTES, &plain, f);
	if (rc < 0)
		return rc;
	memcpy(key->bytes, plain.data, KEY_BYTES);
	return 0;
}

int stream_open(struct stream_keys *k, enum key_use purpose, const uint8_t *front, size_t n,
		struct stream **out, struct fault *f)
{
	CLEANUP_KEY struct vm_key key = { { 0 } };
	struct stream_facts facts = k->facts;
	size_t key_bytes = 0;
	if (purpose != KEY_USE_SAVED_STATE && purpose != KEY_USE_DUMP)
		return fault_set(f, ERR_USAGE, "no such kind of stream");
	int rc = check_key_record(front, n, purpose, &key_bytes, f);
	if (rc < 0)
		return rc;
	rc = purpose == KEY_USE_DUMP ? stream_key_unwrap(k->ecdh, k->has_facts ? &k->facts : NULL,
							 front, key_bytes, &facts, &key, f)
				     : open_state_key(k, front, &key, f);
	if (rc < 0)
		return rc;

	CLEANUP_STREAM struct stream *s = stream_alloc(k, purpose, &facts);
	if (!s)
		return fault_set(f, -ENOMEM, "no memory for a stream");
	struct record_binding binding = bind(k, purpose, &facts);
	const uint8_t *header = front + key_bytes;
	rc = record_header_check(&binding, header, n - key_bytes, RECORD_HEADER_BYTES, f);
	if (rc >= 0)
		rc = record_header_open(&key, &binding, header, &s->keys, f);
	if (rc < 0)
		return rc;
	s->compression = (enum stream_compression)header[RECORD_AT_COMPRESSION];
	*out = s;
	s = NULL;
	return 0;
}

int stream_inspect(const uint8_t *front, size_t n, struct stream_claims *out, struct fault *f)
{
	struct stream_claims c = { 0 };
	struct stream_facts facts = { 0 };
	size_t key_bytes = 0;
	int rc = stream_head_check(front, n, &c.purpose, &key_bytes, f);
	if (rc >= 0 && n < key_bytes)
		rc = fault_set(f, ERR_TRUNCATED, "the key record is %zu bytes short",
			       key_bytes - n);
	if (rc < 0)
		return rc;
	memcpy(c.vm, front + RECORD_AT_VM, UUID_BYTES);
	c.front_bytes = key_bytes + STREAM_HEADER_BYTES;
	c.shredded = stream_head_shredded(front, key_bytes);
	if (!c.shredded) {
		struct record_binding b = { .use = c.purpose,
					    .record_size = record_size(c.purpose) };
		const uint8_t *header = front + key_bytes;
		if (c.purpose == KEY_USE_DUMP)
			rc = stream_key_inspect(front, key_bytes, &facts, c.recipient, f);
		if (rc >= 0)
			rc = record_header_check(&b, header, n - key_bytes, RECORD_HEADER_BYTES, f);
		if (rc < 0)
			return rc;
		c.record_bytes = record_get_be32(header + RECORD_AT_SIZE);
		c.compression = (enum stream_compression)header[RECORD_AT_COMPRESSION];
		memcpy(c.tpm_id, facts.tpm_id, sizeof(c.tpm_id));
		c.level = facts.level;
	}
	*out = c;
	return 0;
}

int stream_shred(uint8_t *front, size_t n, size_t *from, size_t *bytes, struct fault *f)
{
	enum key_use purpose;
	size_t key_bytes = 0;
	int rc = stream_head_check(front, n, &purpose, &key_bytes, f);
	if (rc >= 0)
		rc = check_key_record(front, n, purpose, &key_bytes, f);
	if (rc < 0)
		return rc;
	wipe(front + STREAM_HEAD_BYTES, key_bytes - STREAM_HEAD_BYTES);
	*from = STREAM_HEAD_BYTES;
	*bytes = key_bytes - STREAM_HEAD_BYTES;
	return 0;
}

/* ---- records ---- */

void stream_lane_free(struct stream_lane *l)
{
	if (!l)
		return;
	EVP_CIPHER_CTX_free(l->ctx);
	EVP_CIPHER_free(l->cipher);
	free(l);
}

void stream_lane_wipe(struct stream_lane *l)
{
	static const struct record_keys NONE;
	uint8_t record[RECORD_PREFIX_BYTES + RECORD_TAG_BYTES] = { 0 };
	/* A record under a key of zeros takes the place of the former key and its powers. */
	if (record_encrypt(l->ctx, l->cipher, &NONE, 0, record, NULL, 0,
			   record + RECORD_PREFIX_BYTES) < 0)
		EVP_CIPHER_CTX_reset(l->ctx);
}

int stream_lane_new(struct stream_lane **out)
{
	static const struct record_keys NONE;
	uint8_t record[RECORD_PREFIX_BYTES + 1 + RECORD_TAG_BYTES] = { 0 };
	uint8_t *body = record + RECORD_PREFIX_BYTES;
	struct stream_lane *l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	l->ctx = EVP_CIPHER_CTX_new();
	/* A failure, too: the thread's error queue is made at its first. */
	if (!l->cipher || !l->ctx ||
	    record_encrypt(l->ctx, l->cipher, &NONE, 0, record, body, 1, body) < 0 ||
	    record_decrypt(l->ctx, l->cipher, &NONE, 1, record, body, 1, body)) {
		stream_lane_free(l);
		return ERR_CRYPTO;
	}
	*out = l;
	return 0;
}

int stream_record_peek(const struct stream *s, uint64_t number,
		       const uint8_t prefix[static STREAM_PREFIX_BYTES], size_t *record_bytes,
		       int *final, struct fault *f)
{
	uint32_t v = record_get_be32(prefix), n = v & ~RECORD_FINAL;
	int is_final = (v & RECORD_FINAL) != 0;
	if (!is_final && n != s->record_size)
		return fault_set(f, ERR_FORMAT, "record %llu has %u bytes, where there must be %u",
				 (unsigned long long)number, n, s->record_size);
	if (n > s->record_size)
		return fault_set(f, ERR_FORMAT, "a final record of %u bytes, where %u is the most",
				 n, s->record_size);
	if (n == 0 && number > 0)
		return fault_set(f, ERR_FORMAT, "the final record is empty, behind %llu others",
				 (unsigned long long)number);
	if (number >= s->records_max)
		return fault_set(f, ERR_LIMIT, "more than the %llu records a stream can have",
				 (unsigned long long)s->records_max);
	*record_bytes = n + STREAM_RECORD_EXTRA;
	*final = is_final;
	return 0;
}

int stream_record_seal(const struct stream *s, struct stream_lane *l, uint64_t number, int final,
		       uint8_t *record, size_t plain_bytes)
{
	if (final ? plain_bytes > s->record_size || (plain_bytes == 0 && number > 0)
		  : plain_bytes != s->record_size)
		return ERR_USAGE;
	if (number >= s->records_max)
		return ERR_LIMIT;
	uint8_t *body = record + RECORD_PREFIX_BYTES;
	record_put_be32(record, (uint32_t)plain_bytes | (final ? RECORD_FINAL : 0));
	return record_encrypt(l->ctx, l->cipher, &s->keys, (uint32_t)number, record, body,
			      plain_bytes, body);
}

int stream_record_open(const struct stream *s, struct stream_lane *l, uint64_t number,
		       uint8_t *record, size_t record_bytes)
{
	size_t bytes = 0;
	int final = 0;
	if (stream_record_peek(s, number, record, &bytes, &final, NULL) < 0 ||
	    bytes != record_bytes)
		return ERR_USAGE;
	uint8_t *body = record + RECORD_PREFIX_BYTES;
	if (!record_decrypt(l->ctx, l->cipher, &s->keys, (uint32_t)number, record, body,
			    record_bytes - STREAM_RECORD_EXTRA, body)) {
		wipe(record, record_bytes);
		return ERR_AUTH;
	}
	return 0;
}
