/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/crypto/streams.h"

#include <jose/jwe.h>
#include <jose/jwk.h>

#include "crypto/jwk_form.h"
#include "crypto/seal.h"

static const enum key_use KINDS[] = { KEY_USE_SAVED_STATE, KEY_USE_DUMP };

static int open_rc(struct stream_keys *k, enum key_use purpose, const uint8_t *data, size_t n)
{
	CLEANUP_BUF struct buf out = BUF_INIT(FILE_MAX);
	struct fault f = { 0 };
	int rc = file_open(k, purpose, data, n, &out, &f);
	return rc;
}

static void test_round_trips(void **state)
{
	(void)state;
	static const size_t SIZES[] = { 0,
					1,
					SMALL - 1,
					SMALL,
					SMALL + 1,
					2 * SMALL - 1,
					2 * SMALL,
					2 * SMALL + 1,
					7 * SMALL,
					7 * SMALL + 3,
					64 * SMALL - 1,
					64 * SMALL };
	uint8_t plain[64 * SMALL];
	CLEANUP_STREAM_KEYS struct stream_keys *k = keys_for(&FACTS, 0, SMALL);
	for (size_t kind = 0; kind < 2; kind++) {
		for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]); i++) {
			CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX), out = BUF_INIT(FILE_MAX);
			struct fault f = { 0 };
			size_t n = SIZES[i], records = n == 0 ? 1 : (n + SMALL - 1) / SMALL, need;
			pattern(plain, n);
			assert_int_equal(file_make(k, KINDS[kind], plain, n, &file), 0);
			assert_int_equal(stream_front_need(file.data, file.len, &need, &f), 0);
			assert_int_equal(file.len, need + n + records * STREAM_RECORD_EXTRA);
			assert_int_equal(file_open(k, KINDS[kind], file.data, file.len, &out, &f),
					 0);
			assert_int_equal(out.len, n);
			assert_true(n == 0 || memcmp(out.data, plain, n) == 0);
			assert_int_equal(f.text[0], 0);
		}
	}
}

static void test_real_record_size(void **state)
{
	(void)state;
	CLEANUP_STREAM_KEYS struct stream_keys *k = keys_for(&FACTS, 0, 0);
	size_t n = 3 * STREAM_RECORD_BYTES + 5;
	CLEANUP_BUF struct buf plain = BUF_INIT(FILE_MAX), file = BUF_INIT(FILE_MAX),
			       out = BUF_INIT(FILE_MAX);
	struct stream_claims c;
	assert_int_equal(buf_reserve(&plain, n), 0);
	pattern(plain.data, n);
	assert_int_equal(file_make(k, KEY_USE_SAVED_STATE, plain.data, n, &file), 0);
	assert_int_equal(file.len, 148 + 96 + n + 4 * 20);
	assert_int_equal(file_open(k, KEY_USE_SAVED_STATE, file.data, file.len, &out, NULL), 0);
	assert_int_equal(out.len, n);
	assert_memory_equal(out.data, plain.data, n);
	assert_int_equal(stream_inspect(file.data, file.len, &c, NULL), 0);
	assert_int_equal(c.record_bytes, STREAM_RECORD_BYTES);
	assert_int_equal(c.purpose, KEY_USE_SAVED_STATE);
	assert_int_equal(c.front_bytes, 148 + 96);
	assert_memory_equal(c.vm, FACTS.vm, UUID_BYTES);
	assert_string_equal(c.recipient, "");
}

/* A file of three records and a bit; every bit of it counts, and so does its length. */
static void test_every_bit_and_every_cut(void **state)
{
	(void)state;
	uint8_t plain[3 * SMALL + 5];
	CLEANUP_STREAM_KEYS struct stream_keys *k = keys_for(&FACTS, 0, SMALL);
	pattern(plain, sizeof(plain));
	for (size_t kind = 0; kind < 2; kind++) {
		CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX);
		assert_int_equal(file_make(k, KINDS[kind], plain, sizeof(plain), &file), 0);
		for (size_t i = 0; i < file.len; i++) {
			for (int bit = 0; bit < 8; bit++) {
				CLEANUP_BUF struct buf out = BUF_INIT(FILE_MAX);
				struct fault f = { 0 };
				file.data[i] ^= (uint8_t)(1 << bit);
				int rc = file_open(k, KINDS[kind], file.data, file.len, &out, &f);
				file.data[i] ^= (uint8_t)(1 << bit);
				if (rc >= 0)
					fail_msg("bit %d of byte %zu does not matter", bit, i);
				assert_true(out.len <= 3 * (size_t)SMALL);
				assert_true(out.len == 0 || memcmp(out.data, plain, out.len) == 0);
			}
		}
		for (size_t n = 0; n < file.len; n++) {
			int rc = open_rc(k, KINDS[kind], file.data, n);
			if (rc != ERR_TRUNCATED)
				fail_msg("cut at %zu: %d", n, rc);
		}
		assert_int_equal(buf_add(&file, "", 1), 0);
		assert_int_equal(open_rc(k, KINDS[kind], file.data, file.len), ERR_TRAILING);
	}
}

/* Files of COUNT records of SMALL bytes, whose records can be put together anew. */
struct parts {
	struct buf file;
	size_t front;
};
#define RECORD_BYTES ((size_t)SMALL + STREAM_RECORD_EXTRA)

static struct parts parts_of(struct stream_keys *k, enum key_use purpose, size_t count)
{
	struct parts p = { .file = BUF_INIT(FILE_MAX) };
	uint8_t plain[STREAMS_LIMIT * SMALL];
	pattern(plain, count * SMALL);
	assert_int_equal(file_make(k, purpose, plain, count * SMALL, &p.file), 0);
	assert_int_equal(stream_front_need(p.file.data, p.file.len, &p.front, NULL), 0);
	return p;
}

static const uint8_t *record_of(const struct parts *p, size_t i)
{
	return p->file.data + p->front + i * RECORD_BYTES;
}

/* Front of P, then the records whose numbers ORDER has, digit by digit; letters take them from Q.
 */
static int arranged(struct stream_keys *k, enum key_use purpose, const struct parts *p,
		    const struct parts *q, const char *order)
{
	CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX);
	assert_int_equal(buf_add(&file, p->file.data, p->front), 0);
	for (const char *c = order; *c; c++) {
		const uint8_t *r = *c >= 'a' ? record_of(q, (size_t)(*c - 'a'))
					     : record_of(p, (size_t)(*c - '0'));
		assert_int_equal(buf_add(&file, r, RECORD_BYTES), 0);
	}
	return open_rc(k, purpose, file.data, file.len);
}

static void test_records_stay_where_they_were(void **state)
{
	(void)state;
	struct stream_facts other_vm = FACTS;
	other_vm.vm[15] ^= 1;
	CLEANUP_STREAM_KEYS struct stream_keys *k = keys_for(&FACTS, 0, SMALL),
					       *other = keys_for(&other_vm, 0, SMALL);
	for (size_t kind = 0; kind < 2; kind++) {
		enum key_use use = KINDS[kind];
		struct parts p = parts_of(k, use, 4), same_vm = parts_of(k, use, 4),
			     foreign = parts_of(other, use, 4);
		static const struct {
			const char *order;
			int rc;
		} CASES[] = {
			{ "0123", 0 },	      /* the file as it is */
			{ "1023", ERR_AUTH }, /* swapped */
			{ "0213", ERR_AUTH },
			{ "0132", ERR_AUTH },
			{ "3012", ERR_AUTH },
			{ "00123", ERR_AUTH }, /* repeated */
			{ "01123", ERR_AUTH },
			{ "01233", ERR_TRAILING },
			{ "123", ERR_AUTH }, /* dropped */
			{ "013", ERR_AUTH },
			{ "012", ERR_TRUNCATED },
			{ "", ERR_TRUNCATED },
			{ "3", ERR_AUTH },
			{ "a123", ERR_AUTH },
			{ "0b23", ERR_AUTH }, /* spliced */
			{ "012d", ERR_AUTH },
			{ "abcd", ERR_AUTH },
			{ "0123a", ERR_TRAILING },
			{ "0123abcd", ERR_TRAILING },
			{ "01230123", ERR_TRAILING },
		};
		for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
			int a = arranged(k, use, &p, &same_vm, CASES[i].order);
			int b = arranged(k, use, &p, &foreign, CASES[i].order);
			if (a != CASES[i].rc || b != CASES[i].rc)
				fail_msg("%s: %d and %d", CASES[i].order, a, b);
		}
		buf_done(&p.file);
		buf_done(&same_vm.file);
		buf_done(&foreign.file);
	}
}

static void test_belongs_to_vm_tpm_level_and_key(void **state)
{
	(void)state;
	struct stream_facts facts[4] = { FACTS, FACTS, FACTS, FACTS };
	static const int RC[2][5] = { { 0, ERR_VM, ERR_AUTH, ERR_AUTH, ERR_AUTH },
				      { 0, ERR_VM, ERR_AUTH, ERR_AUTH, 0 } };
	facts[1].vm[0] ^= 1;
	facts[2].tpm_id[15] ^= 1;
	facts[3].level = LEVEL_ENCRYPTION_SUPPORTED;
	CLEANUP_STREAM_KEYS struct stream_keys *k = keys_for(&FACTS, 0, SMALL);
	for (size_t kind = 0; kind < 2; kind++) {
		struct parts p = parts_of(k, KINDS[kind], 2);
		for (size_t i = 0; i < 5; i++) {
			CLEANUP_STREAM_KEYS struct stream_keys *other =
				keys_for(&facts[i % 4], i == 4, SMALL);
			assert_int_equal(open_rc(other, KINDS[kind], p.file.data, p.file.len),
					 RC[kind][i]);
			assert_int_equal(open_rc(other, KINDS[1 - kind], p.file.data, p.file.len),
					 ERR_PURPOSE);
		}
		buf_done(&p.file);
	}
}

/* The key record is right, the stream behind it is not its own. */
static void test_stream_belongs_to_its_key_record(void **state)
{
	(void)state;
	CLEANUP_STREAM_KEYS struct stream_keys *k = keys_for(&FACTS, 0, SMALL);
	for (size_t kind = 0; kind < 2; kind++) {
		struct parts a = parts_of(k, KINDS[kind], 2), b = parts_of(k, KINDS[kind], 2);
		size_t key_bytes = a.front - STREAM_HEADER_BYTES;
		assert_int_equal(a.front, b.front);
		memcpy(a.file.data, b.file.data, key_bytes);
		assert_int_equal(open_rc(k, KINDS[kind], a.file.data, a.file.len), ERR_AUTH);
		buf_done(&a.file);
		buf_done(&b.file);
	}
}

/* A stream of PURPOSE that LABELLED says it is, under the right stream key. */
static int relabelled(enum key_use made, uint8_t labelled, struct stream_facts facts,
		      uint32_t record_size)
{
	CLEANUP_KEY struct vm_key key = counting_key(0), stream_key = counting_key(100);
	CLEANUP_STREAM_KEYS struct stream_keys *k = keys_for(&FACTS, 0, SMALL);
	CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX);
	struct seal *s = NULL;
	struct record_binding b = { .use = made,
				    .record_size = record_size,
				    .extra_bytes = PROTECTOR_TPM_ID_BYTES + 1 };
	struct record_keys keys;
	uint8_t extra[PROTECTOR_TPM_ID_BYTES + 1], header[RECORD_HEADER_BYTES];
	memcpy(extra, FACTS.tpm_id, PROTECTOR_TPM_ID_BYTES);
	extra[PROTECTOR_TPM_ID_BYTES] = (uint8_t)FACTS.level;
	memcpy(b.extra, facts.tpm_id, PROTECTOR_TPM_ID_BYTES);
	b.extra[PROTECTOR_TPM_ID_BYTES] = (uint8_t)facts.level;
	memcpy(b.vm, facts.vm, UUID_BYTES);
	assert_int_equal(seal_new(&key, KEY_USE_STATE_KEY, FACTS.vm, extra, sizeof(extra), &s), 0);
	assert_int_equal(seal_blob(s, stream_key.bytes, KEY_BYTES, &file), 0);
	seal_free(s);
	assert_int_equal(record_header_make(&stream_key, &b, header, &keys), 0);
	header[RECORD_AT_PURPOSE] = labelled;
	assert_int_equal(buf_add(&file, header, sizeof(header)), 0);

	uint8_t record[STREAM_RECORD_EXTRA];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	record_put_be32(record, RECORD_FINAL);
	assert_int_equal(
		record_encrypt(ctx, EVP_aes_256_gcm(), &keys, 0, record, NULL, 0, record + 4), 0);
	EVP_CIPHER_CTX_free(ctx);
	assert_int_equal(buf_add(&file, record, sizeof(record)), 0);
	return open_rc(k, KEY_USE_SAVED_STATE, file.data, file.len);
}

static void test_streams_header_is_bound(void **state)
{
	(void)state;
	struct stream_facts facts = FACTS;
	assert_int_equal(relabelled(KEY_USE_SAVED_STATE, 6, facts, SMALL), 0);
	assert_int_equal(relabelled(KEY_USE_DUMP, 7, facts, SMALL), ERR_FORMAT);
	assert_int_equal(relabelled(KEY_USE_DUMP, 7, facts, STREAM_RECORD_BYTES), ERR_PURPOSE);
	assert_int_equal(relabelled(KEY_USE_DUMP, 6, facts, SMALL), ERR_AUTH);
	assert_int_equal(relabelled(KEY_USE_VTPM_STATE, 1, facts, 1024 * 1024), ERR_PURPOSE);
	assert_int_equal(relabelled(KEY_USE_SAVED_STATE, 8, facts, SMALL), ERR_VERSION);
	assert_int_equal(relabelled(KEY_USE_SAVED_STATE, 6, facts, SMALL + 1), ERR_FORMAT);
	facts.vm[3] ^= 4;
	assert_int_equal(relabelled(KEY_USE_SAVED_STATE, 6, facts, SMALL), ERR_VM);
	facts = FACTS;
	facts.level = LEVEL_ENCRYPTION_SUPPORTED;
	assert_int_equal(relabelled(KEY_USE_SAVED_STATE, 6, facts, SMALL), ERR_AUTH);
	facts = FACTS;
	facts.tpm_id[0] ^= 1;
	assert_int_equal(relabelled(KEY_USE_SAVED_STATE, 6, facts, SMALL), ERR_AUTH);
}

static void test_dumps_are_for_their_owner_alone(void **state)
{
	(void)state;
	CLEANUP_STREAM_KEYS struct stream_keys *k = keys_for(&FACTS, 0, SMALL), *none = NULL,
					       *other = NULL, *owners = NULL;
	CLEANUP_KEY struct vm_key key = counting_key(0);
	CLEANUP_JWK struct jwk *somebody = NULL;
	CLEANUP_BUF struct buf out = BUF_INIT(FILE_MAX);
	struct ecdh ecdh;
	struct fault f = { 0 };
	struct parts p = parts_of(k, KEY_USE_DUMP, 3), q = parts_of(k, KEY_USE_SAVED_STATE, 3);
	/* All that a host has does not open it. */
	assert_int_equal(stream_keys_new(&FACTS, &key, owner, NULL, &none, NULL), 0);
	stream_keys_resize(none, SMALL, STREAMS_LIMIT);
	assert_int_equal(file_open(none, KEY_USE_DUMP, p.file.data, p.file.len, &out, &f),
			 ERR_RECIPIENT);
	assert_non_null(strstr(f.text, owner_ecdh.thumbprint));
	assert_int_equal(jwk_new(&somebody, NULL), 0);
	assert_int_equal(ecdh_from_jwk(somebody, &ecdh), 0);
	assert_int_equal(stream_keys_new(&FACTS, &key, owner, &ecdh, &other, NULL), 0);
	stream_keys_resize(other, SMALL, STREAMS_LIMIT);
	assert_int_equal(open_rc(other, KEY_USE_DUMP, p.file.data, p.file.len), ERR_RECIPIENT);
	/* Nor does saying to be the owner. */
	memcpy(ecdh.thumbprint, owner_ecdh.thumbprint, sizeof(ecdh.thumbprint));
	assert_int_equal(open_rc(other, KEY_USE_DUMP, p.file.data, p.file.len), ERR_AUTH);
	/* The owner needs no more than the private key. */
	assert_int_equal(stream_keys_new(NULL, NULL, NULL, &owner_ecdh, &owners, NULL), 0);
	stream_keys_resize(owners, SMALL, STREAMS_LIMIT);
	assert_int_equal(file_open(owners, KEY_USE_DUMP, p.file.data, p.file.len, &out, NULL), 0);
	assert_int_equal(out.len, 3 * SMALL);
	assert_int_equal(open_rc(owners, KEY_USE_SAVED_STATE, q.file.data, q.file.len), ERR_USAGE);
	buf_done(&p.file);
	buf_done(&q.file);
}

static void test_what_a_dump_says(void **state)
{
	(void)state;
	CLEANUP_STREAM_KEYS struct stream_keys *k = keys_for(&FACTS, 0, 0);
	CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX);
	struct stream_claims c;
	assert_int_equal(file_make(k, KEY_USE_DUMP, (const uint8_t *)"x", 1, &file), 0);
	assert_int_equal(stream_inspect(file.data, file.len, &c, NULL), 0);
	assert_int_equal(c.purpose, KEY_USE_DUMP);
	assert_string_equal(c.recipient, owner_ecdh.thumbprint);
	assert_int_equal(c.level, LEVEL_SHIELDED);
	assert_memory_equal(c.tpm_id, FACTS.tpm_id, sizeof(c.tpm_id));
	assert_memory_equal(c.vm, FACTS.vm, UUID_BYTES);
	assert_int_equal(c.shredded, 0);
	assert_true(c.front_bytes <= STREAM_FRONT_MAX);
	assert_int_equal(stream_inspect(file.data, c.front_bytes - 1, &c, NULL), ERR_TRUNCATED);
	assert_int_equal(stream_inspect(file.data, 100, &c, NULL), ERR_TRUNCATED);
}

/* libjose, which knows the standards and nothing of ours, unwraps the stream key. */
static void test_dump_key_is_a_standard_jwe(void **state)
{
	(void)state;
	CLEANUP_KEY struct vm_key key = counting_key(9);
	CLEANUP_BUF struct buf record = BUF_INIT(STREAM_DUMP_KEY_MAX);
	assert_int_equal(stream_key_wrap(owner, &FACTS, &key, &record, NULL), 0);
	const char *parts[5];
	size_t lengths[5], n = 0;
	const char *at = (const char *)record.data + STREAM_HEAD_BYTES;
	const char *end = (const char *)record.data + record.len;
	while (n < 5) {
		const char *dot = memchr(at, '.', (size_t)(end - at));
		parts[n] = at;
		lengths[n++] = (size_t)((dot ? dot : end) - at);
		if (!dot)
			break;
		at = dot + 1;
	}
	assert_int_equal(n, 5);
	json_t *jwe = json_pack("{s:s%,s:s%,s:s%,s:s%,s:s%}", "protected", parts[0], lengths[0],
				"encrypted_key", parts[1], lengths[1], "iv", parts[2], lengths[2],
				"ciphertext", parts[3], lengths[3], "tag", parts[4], lengths[4]);
	json_t *jwk = jwk_to_json(owner, 1);
	size_t got = 0;
	char *plain = jose_jwe_dec(NULL, jwe, NULL, jwk, &got);
	assert_non_null(plain);
	assert_int_equal(got, KEY_BYTES);
	assert_memory_equal(plain, key.bytes, KEY_BYTES);
	free(plain);
	json_decref(jwe);
	json_decref(jwk);
}

static void test_shredding(void **state)
{
	(void)state;
	CLEANUP_STREAM_KEYS struct stream_keys *k = keys_for(&FACTS, 0, 0);
	for (size_t kind = 0; kind < 2; kind++) {
		CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX);
		struct stream_claims c;
		struct fault f = { 0 };
		size_t from = 0, bytes = 0;
		assert_int_equal(file_make(k, KINDS[kind], (const uint8_t *)"text", 4, &file), 0);
		assert_int_equal(stream_shred(file.data, 40, &from, &bytes, NULL), ERR_TRUNCATED);
		assert_int_equal(open_rc(k, KINDS[kind], file.data, file.len), 0);
		assert_int_equal(stream_shred(file.data, file.len, &from, &bytes, NULL), 0);
		assert_int_equal(from, STREAM_HEAD_BYTES);
		assert_int_equal(stream_inspect(file.data, file.len, &c, NULL), 0);
		assert_int_equal(c.shredded, 1);
		assert_int_equal(from + bytes + STREAM_HEADER_BYTES, c.front_bytes);
		for (size_t i = from; i < from + bytes; i++)
			assert_int_equal(file.data[i], 0);
		assert_int_equal(stream_open(k, KINDS[kind], file.data, c.front_bytes, NULL, &f),
				 ERR_STATE);
		assert_non_null(strstr(f.text, "shredded"));
		assert_int_equal(stream_shred(file.data, file.len, &from, &bytes, NULL), ERR_STATE);
		/* Half a shredding is none that could be told from an altered file. */
		file.data[from + bytes - 1] = 1;
		assert_true(open_rc(k, KINDS[kind], file.data, file.len) != ERR_STATE);
		assert_true(open_rc(k, KINDS[kind], file.data, file.len) < 0);
	}
}

static void test_limits(void **state)
{
	(void)state;
	uint8_t plain[(STREAMS_LIMIT + 1) * SMALL] = { 0 };
	CLEANUP_STREAM_KEYS struct stream_keys *k = keys_for(&FACTS, 0, SMALL);
	CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX), out = BUF_INIT(FILE_MAX);
	assert_int_equal(file_make(k, KEY_USE_SAVED_STATE, plain, sizeof(plain), &file), ERR_LIMIT);
	buf_clear(&file);
	/* One that somebody with another limit has made. */
	stream_keys_resize(k, SMALL, STREAMS_LIMIT + 1);
	assert_int_equal(file_make(k, KEY_USE_SAVED_STATE, plain, sizeof(plain), &file), 0);
	assert_int_equal(open_rc(k, KEY_USE_SAVED_STATE, file.data, file.len), 0);
	stream_keys_resize(k, SMALL, STREAMS_LIMIT);
	assert_int_equal(file_open(k, KEY_USE_SAVED_STATE, file.data, file.len, &out, NULL),
			 ERR_LIMIT);
	assert_int_equal(out.len, STREAMS_LIMIT * SMALL);
}

static void test_records_of_wrong_sizes(void **state)
{
	(void)state;
	uint8_t front[STREAM_FRONT_MAX], record[SMALL + 1 + STREAM_RECORD_EXTRA] = { 0 };
	size_t n, bytes;
	int final;
	CLEANUP_STREAM_KEYS struct stream_keys *k = keys_for(&FACTS, 0, SMALL);
	CLEANUP_STREAM struct stream *s = NULL;
	struct stream_lane *l = NULL;
	assert_int_equal(stream_seal(k, KEY_USE_SAVED_STATE, front, &n, &s, NULL), 0);
	assert_int_equal(stream_lane_new(&l), 0);
	assert_int_equal(stream_record_seal(s, l, 0, 0, record, SMALL - 1), ERR_USAGE);
	assert_int_equal(stream_record_seal(s, l, 0, 0, record, SMALL + 1), ERR_USAGE);
	assert_int_equal(stream_record_seal(s, l, 0, 1, record, SMALL + 1), ERR_USAGE);
	assert_int_equal(stream_record_seal(s, l, 1, 1, record, 0), ERR_USAGE);
	static const struct {
		uint32_t prefix;
		uint64_t number;
		int rc;
	} CASES[] = {
		{ SMALL, 0, 0 },
		{ SMALL, 3, 0 },
		{ RECORD_FINAL | SMALL, 3, 0 },
		{ RECORD_FINAL | 1, 3, 0 },
		{ RECORD_FINAL, 0, 0 },
		{ RECORD_FINAL, 1, ERR_FORMAT },
		{ 0, 0, ERR_FORMAT },
		{ SMALL - 1, 0, ERR_FORMAT },
		{ SMALL + 1, 0, ERR_FORMAT },
		{ RECORD_FINAL | (SMALL + 1), 0, ERR_FORMAT },
		{ UINT32_MAX, 0, ERR_FORMAT },
		{ 0x7fffffff, 0, ERR_FORMAT },
		{ SMALL, STREAMS_LIMIT - 1, 0 },
		{ SMALL, STREAMS_LIMIT, ERR_LIMIT },
		{ SMALL, UINT64_MAX, ERR_LIMIT },
	};
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		record_put_be32(record, CASES[i].prefix);
		assert_int_equal(
			stream_record_peek(s, CASES[i].number, record, &bytes, &final, NULL),
			CASES[i].rc);
	}
	/* A lane goes on after a failure, and after it was wiped. */
	assert_int_equal(stream_record_seal(s, l, 0, 1, record, SMALL), 0);
	record[SMALL] ^= 1;
	assert_int_equal(stream_record_open(s, l, 0, record, SMALL + STREAM_RECORD_EXTRA),
			 ERR_AUTH);
	for (size_t i = 0; i < SMALL + STREAM_RECORD_EXTRA; i++)
		assert_int_equal(record[i], 0);
	stream_lane_wipe(l);
	assert_int_equal(stream_record_seal(s, l, 0, 1, record, SMALL), 0);
	stream_lane_wipe(l);
	assert_int_equal(stream_record_open(s, l, 0, record, SMALL + STREAM_RECORD_EXTRA), 0);
	stream_lane_free(l);
}

static void test_no_two_files_share_anything(void **state)
{
	(void)state;
	CLEANUP_STREAM_KEYS struct stream_keys *k = keys_for(&FACTS, 0, SMALL);
	for (size_t kind = 0; kind < 2; kind++) {
		struct parts a = parts_of(k, KINDS[kind], 2), b = parts_of(k, KINDS[kind], 2);
		size_t header = a.front - STREAM_HEADER_BYTES;
		/* Key record, salt, commitment, every record. */
		assert_memory_not_equal(a.file.data + 32, b.file.data + 32, 116);
		assert_memory_not_equal(a.file.data + header + 32, b.file.data + header + 32, 32);
		assert_memory_not_equal(a.file.data + header + 64, b.file.data + header + 64, 32);
		assert_memory_not_equal(record_of(&a, 0) + 4, record_of(&b, 0) + 4, SMALL);
		assert_memory_not_equal(record_of(&a, 0) + 4, record_of(&a, 1) + 4, SMALL);
		buf_done(&a.file);
		buf_done(&b.file);
	}
}

static void test_what_keys_are_needed(void **state)
{
	(void)state;
	CLEANUP_KEY struct vm_key key = counting_key(0);
	CLEANUP_STREAM_KEYS struct stream_keys *k = NULL;
	CLEANUP_STREAM struct stream *s = NULL;
	uint8_t front[STREAM_FRONT_MAX];
	size_t n;
	struct fault f = { 0 };
	assert_int_equal(stream_keys_new(NULL, &key, NULL, NULL, &k, NULL), ERR_USAGE);
	assert_int_equal(stream_keys_new(NULL, NULL, owner, NULL, &k, NULL), ERR_USAGE);
	assert_int_equal(stream_keys_new(&FACTS, &key, NULL, NULL, &k, NULL), 0);
	assert_int_equal(stream_seal(k, KEY_USE_DUMP, front, &n, &s, &f), ERR_USAGE);
	assert_int_equal(stream_seal(k, KEY_USE_VTPM_STATE, front, &n, &s, &f), ERR_USAGE);
	assert_int_equal(stream_open(k, KEY_USE_STATE_KEY, front, 0, &s, &f), ERR_USAGE);
	assert_int_equal(stream_seal(k, KEY_USE_SAVED_STATE, front, &n, &s, NULL), 0);
	assert_int_equal(stream_purpose(s), KEY_USE_SAVED_STATE);
	assert_memory_equal(stream_facts(s), &FACTS, sizeof(FACTS));
	assert_int_equal(n, STREAM_STATE_KEY_BYTES + STREAM_HEADER_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_real_record_size),
		cmocka_unit_test(test_every_bit_and_every_cut),
		cmocka_unit_test(test_records_stay_where_they_were),
		cmocka_unit_test(test_belongs_to_vm_tpm_level_and_key),
		cmocka_unit_test(test_stream_belongs_to_its_key_record),
		cmocka_unit_test(test_streams_header_is_bound),
		cmocka_unit_test(test_dumps_are_for_their_owner_alone),
		cmocka_unit_test(test_what_a_dump_says),
		cmocka_unit_test(test_dump_key_is_a_standard_jwe),
		cmocka_unit_test(test_shredding),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_records_of_wrong_sizes),
		cmocka_unit_test(test_no_two_files_share_anything),
		cmocka_unit_test(test_what_keys_are_needed),
	};
	return cmocka_run_group_tests(tests, make_owner, free_owner);
}
