/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of streams and flows share: keys with small records, files made and read record by
 * record, in order, in memory.
 */
#ifndef SHIELDVM_TESTS_UNIT_CRYPTO_STREAMS_H
#define SHIELDVM_TESTS_UNIT_CRYPTO_STREAMS_H

#include "tests/unit/test.h"

#include "crypto/record.h"
#include "crypto/stream_form.h"

#define SMALL	      16 /* record size of most tests */
#define STREAMS_LIMIT 64 /* and the most records */
#define FILE_MAX      (8 * 1024 * 1024)

static const struct stream_facts FACTS = {
	.vm = { 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd,
		0xee, 0xff },
	.tpm_id = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 },
	.level = LEVEL_SHIELDED,
};

static inline struct vm_key counting_key(uint8_t first)
{
	struct vm_key key;
	for (size_t i = 0; i < KEY_BYTES; i++)
		key.bytes[i] = (uint8_t)(first + i);
	return key;
}

/* The owner of every dump here, made once. */
static struct jwk *owner;
static struct ecdh owner_ecdh;

static inline int make_owner(void **state)
{
	(void)state;
	return jwk_new(&owner, NULL) < 0 || ecdh_from_jwk(owner, &owner_ecdh) < 0;
}

static inline int free_owner(void **state)
{
	(void)state;
	jwk_free(owner);
	return 0;
}

/* Keys of both kinds for FACTS with records of SIZE; 0: the real size. */
static inline struct stream_keys *keys_for(const struct stream_facts *facts, uint8_t key_first,
					   uint32_t size)
{
	struct stream_keys *k = NULL;
	struct fault f = { 0 };
	CLEANUP_KEY struct vm_key key = counting_key(key_first);
	if (stream_keys_new(facts, &key, owner, &owner_ecdh, &k, &f) < 0)
		fail_msg("%s", f.text);
	if (size)
		stream_keys_resize(k, size, STREAMS_LIMIT);
	return k;
}

static inline void pattern(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 167 + (i >> 8) + n);
}

/* Append a file of PLAIN to OUT. */
static inline int file_make(struct stream_keys *k, enum key_use purpose, const uint8_t *plain,
			    size_t n, struct buf *out)
{
	uint8_t front[STREAM_FRONT_MAX];
	size_t front_bytes = 0;
	CLEANUP_STREAM struct stream *s = NULL;
	struct stream_lane *l = NULL;
	assert_int_equal(stream_seal(k, purpose, front, &front_bytes, &s, NULL), 0);
	assert_int_equal(stream_lane_new(&l), 0);
	assert_int_equal(buf_add(out, front, front_bytes), 0);
	size_t size = stream_record_size(s);
	int rc = 0, final = 0;
	for (uint64_t number = 0; rc >= 0 && !final; number++) {
		size_t part = n < size ? n : size;
		final = part == n;
		assert_int_equal(buf_reserve(out, part + STREAM_RECORD_EXTRA), 0);
		uint8_t *record = out->data + out->len;
		if (part)
			memcpy(record + STREAM_PREFIX_BYTES, plain, part);
		rc = stream_record_seal(s, l, number, final, record, part);
		if (rc >= 0)
			out->len += part + STREAM_RECORD_EXTRA;
		plain += part;
		n -= part;
	}
	stream_lane_free(l);
	return rc;
}

/* What a reader of docs/FORMAT.md does with a whole file in memory: the plaintext that may be used
 * goes to OUT. */
static inline int file_open(struct stream_keys *k, enum key_use purpose, const uint8_t *data,
			    size_t n, struct buf *out, struct fault *f)
{
	size_t need = 0;
	CLEANUP_STREAM struct stream *s = NULL;
	struct stream_lane *l = NULL;
	int rc = stream_front_need(data, n, &need, f);
	if (rc < 0)
		return rc;
	if (n >= STREAM_HEAD_BYTES && n > need)
		rc = stream_open(k, purpose, data, need, &s, f);
	else
		rc = stream_open(k, purpose, data, n, &s, f);
	if (rc < 0)
		return rc;
	assert_int_equal(stream_lane_new(&l), 0);
	const uint8_t *at = data + need;
	size_t left = n - need;
	CLEANUP_BUF struct buf copy = BUF_INIT(FILE_MAX);
	int final = 0;
	for (uint64_t number = 0; rc >= 0 && !final; number++) {
		size_t bytes = 0;
		if (left < STREAM_PREFIX_BYTES) {
			rc = ERR_TRUNCATED;
			break;
		}
		rc = stream_record_peek(s, number, at, &bytes, &final, f);
		if (rc < 0)
			break;
		if (left < bytes) {
			rc = ERR_TRUNCATED;
			break;
		}
		buf_clear(&copy);
		assert_int_equal(buf_add(&copy, at, bytes), 0);
		rc = stream_record_open(s, l, number, copy.data, bytes);
		at += bytes;
		left -= bytes;
		if (rc >= 0 && final && left)
			rc = ERR_TRAILING;
		if (rc >= 0)
			assert_int_equal(buf_add(out, copy.data + STREAM_PREFIX_BYTES,
						 bytes - STREAM_RECORD_EXTRA),
					 0);
	}
	stream_lane_free(l);
	return rc;
}

#endif
