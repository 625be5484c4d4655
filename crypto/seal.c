/* SPDX-License-Identifier: BSD-3-Clause */
/* One object with one record; header and records are those of crypto/record.h. */
#include "crypto/seal.h"

#include <errno.h>

#include "crypto/record.h"

_Static_assert(SEAL_OVERHEAD_BYTES == RECORD_HEADER_BYTES + RECORD_PREFIX_BYTES + RECORD_TAG_BYTES,
	       "seal.h");
_Static_assert(SEAL_CONTEXT_MAX == RECORD_EXTRA_MAX, "seal.h");

struct seal {
	struct vm_key key;
	struct record_binding binding;
	size_t context_bytes; /* of the binding's extra; seal_bind()'s are behind them */
	EVP_CIPHER *cipher;
	EVP_CIPHER_CTX *ctx;
};

void seal_free(struct seal *s)
{
	if (!s)
		return;
	EVP_CIPHER_CTX_free(s->ctx);
	EVP_CIPHER_free(s->cipher);
	wipe_free(s, sizeof(*s));
}

/* Seal and open one empty object: whatever libcrypto loads on first use (its configuration, its
 * provider, its generator) is loaded now, while files can still be opened. */
static int warm_up(struct seal *s)
{
	CLEANUP_BUF struct buf sealed = BUF_INIT(SEAL_OVERHEAD_BYTES);
	CLEANUP_BUF struct buf plain = BUF_INIT(1);
	int rc = seal_blob(s, NULL, 0, &sealed);
	if (rc < 0)
		return rc;
	rc = seal_open(s, sealed.data, sealed.len, &plain, NULL);
	return rc < 0 ? ERR_CRYPTO : 0;
}

int seal_new(const struct vm_key *key, enum key_use use, const uint8_t vm[static UUID_BYTES],
	     const uint8_t *context, size_t context_bytes, struct seal **out)
{
	if (context_bytes > SEAL_CONTEXT_MAX)
		return ERR_LIMIT;
	if ((use < KEY_USE_VTPM_STATE || use > KEY_USE_STATE_KEY) &&
	    use != KEY_USE_VTPM_BLOB_VERSIONED)
		return ERR_USAGE;
	struct seal *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->key = *key;
	s->binding.use = use;
	s->binding.record_size = record_size(use);
	memcpy(s->binding.vm, vm, UUID_BYTES);
	if (context_bytes)
		memcpy(s->binding.extra, context, context_bytes);
	s->binding.extra_bytes = s->context_bytes = context_bytes;
	s->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	s->ctx = EVP_CIPHER_CTX_new();
	int rc = s->cipher && s->ctx ? warm_up(s) : ERR_CRYPTO;
	if (rc < 0) {
		seal_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

int seal_bind(struct seal *s, const uint8_t *more, size_t more_bytes)
{
	if (more_bytes > SEAL_CONTEXT_MAX - s->context_bytes)
		return ERR_LIMIT;
	if (more_bytes)
		memcpy(s->binding.extra + s->context_bytes, more, more_bytes);
	s->binding.extra_bytes = s->context_bytes + more_bytes;
	return 0;
}

int seal_blob(struct seal *s, const uint8_t *plain, size_t plain_bytes, struct buf *out)
{
	if (plain_bytes > s->binding.record_size)
		return ERR_LIMIT;
	int rc = buf_reserve(out, plain_bytes + SEAL_OVERHEAD_BYTES);
	if (rc < 0)
		return rc;
	CLEANUP(record_keys_done) struct record_keys k = { 0 };
	uint8_t *header = out->data + out->len;
	rc = record_header_make(&s->key, &s->binding, header, &k);
	if (rc < 0)
		return rc;
	uint8_t *record = header + RECORD_HEADER_BYTES;
	record_put_be32(record, RECORD_FINAL | (uint32_t)plain_bytes);
	rc = record_encrypt(s->ctx, s->cipher, &k, 0, record, plain, plain_bytes,
			    record + RECORD_PREFIX_BYTES);
	if (rc < 0)
		return rc;
	out->len += plain_bytes + SEAL_OVERHEAD_BYTES;
	return 0;
}

/* The one record's prefix against the N bytes that are there, prefix included. */
static int check_record(const struct seal *s, const uint8_t *record, size_t n, size_t *plain_bytes,
			struct fault *f)
{
	if (n < RECORD_PREFIX_BYTES)
		return fault_set(f, ERR_TRUNCATED, "the record's length is %zu bytes short",
				 RECORD_PREFIX_BYTES - n);
	uint32_t prefix = record_get_be32(record);
	if (!(prefix & RECORD_FINAL))
		return fault_set(f, ERR_FORMAT, "its only record is not marked as the final one");
	size_t size = prefix & ~RECORD_FINAL;
	if (size > s->binding.record_size)
		return fault_set(f, ERR_FORMAT, "a record of %zu bytes, where %u is the most", size,
				 s->binding.record_size);
	size_t whole = RECORD_PREFIX_BYTES + size + RECORD_TAG_BYTES;
	if (n < whole)
		return fault_set(f, ERR_TRUNCATED, "the final record is %zu bytes short",
				 whole - n);
	if (n > whole)
		return fault_set(f, ERR_TRAILING, "%zu bytes behind the final record", n - whole);
	*plain_bytes = size;
	return 0;
}

int seal_open(struct seal *s, const uint8_t *sealed, size_t sealed_bytes, struct buf *out,
	      struct fault *f)
{
	CLEANUP(record_keys_done) struct record_keys k = { 0 };
	size_t n = 0;
	int rc = record_header_check(&s->binding, sealed, sealed_bytes, RECORD_HEADER_BYTES, f);
	if (rc < 0)
		return rc;
	rc = record_header_open(&s->key, &s->binding, sealed, &k, f);
	if (rc < 0)
		return rc;
	const uint8_t *record = sealed + RECORD_HEADER_BYTES;
	rc = check_record(s, record, sealed_bytes - RECORD_HEADER_BYTES, &n, f);
	if (rc < 0)
		return rc;
	rc = buf_reserve(out, n);
	if (rc < 0)
		return fault_set(f, rc, "no room for the %zu bytes in it: %s", n, err_text(rc));
	if (!record_decrypt(s->ctx, s->cipher, &k, 0, record, record + RECORD_PREFIX_BYTES, n,
			    out->data + out->len)) {
		wipe(out->data + out->len, n);
		return fault_set(f, ERR_AUTH, "its contents were altered: the tag does not match");
	}
	out->len += n;
	return 0;
}
