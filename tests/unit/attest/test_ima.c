/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <string.h>

#include "attest/ima.h"
#include "base/buf.h"

#define ANY_MAX	  (2 * IMA_BYTES_MAX)
#define AGGREGATE "boot_aggregate"

static void put(struct buf *b, const void *data, size_t n)
{
	assert_int_equal(buf_add(b, data, n), 0);
}

static void put_u32(struct buf *b, size_t value)
{
	const uint8_t bytes[4] = { (uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
				   (uint8_t)(value >> 24) };
	put(b, bytes, 4);
}

static void put_field(struct buf *b, const void *data, size_t n)
{
	put_u32(b, n);
	put(b, data, n);
}

/* An entry of TEMPLATE with the DATA of its fields; SHA1 NULL: the right one. */
static void put_entry(struct buf *b, const char *template, const struct buf *data,
		      const uint8_t *sha1)
{
	uint8_t digest[HASH_BYTES_MAX];
	put_u32(b, 10);
	assert_int_equal(hash_data(HASH_SHA1, data->data, data->len, digest), 0);
	put(b, sha1 ? sha1 : digest, 20);
	put_field(b, template, strlen(template));
	put_field(b, data->data, data->len);
}

/* d-ng of "sha256" and n-ng. */
static void put_digest_name(struct buf *data, const uint8_t digest[static 32], const char *name)
{
	put_u32(data, 8 + 32);
	put(data, "sha256:", 8);
	put(data, digest, 32);
	put_field(data, name, strlen(name) + 1);
}

static void put_file(struct buf *b, const char *name, uint8_t digest)
{
	CLEANUP_BUF struct buf data = BUF_INIT(ANY_MAX);
	uint8_t bytes[32];
	memset(bytes, digest, 32);
	put_digest_name(&data, bytes, name);
	put_entry(b, "ima-ng", &data, NULL);
}

/* As Linux before 6.2 writes it (20 zeros), or since. */
static void put_violation(struct buf *b, const char *name, size_t zeros)
{
	static const uint8_t ZERO[32];
	CLEANUP_BUF struct buf data = BUF_INIT(ANY_MAX);
	put_u32(&data, 8 + zeros);
	put(&data, "sha256:", 8);
	put(&data, ZERO, zeros);
	put_field(&data, name, strlen(name) + 1);
	put_field(&data, NULL, 0);
	put_entry(b, "ima-sig", &data, ZERO);
}

static void put_list(struct buf *b)
{
	CLEANUP_BUF struct buf signature = BUF_INIT(ANY_MAX), buffer = BUF_INIT(ANY_MAX),
			       without = BUF_INIT(ANY_MAX);
	uint8_t digest[32] = { 7 };
	put_file(b, AGGREGATE, 1);
	put_digest_name(&signature, digest, "/usr/bin/signed");
	put_field(&signature, "\3sig", 4);
	put_entry(b, "ima-sig", &signature, NULL);
	put_digest_name(&without, digest, "/usr/bin/unsigned");
	put_field(&without, NULL, 0);
	put_entry(b, "ima-sig", &without, NULL);
	put_violation(b, "/var/log/messages", 20);
	put_violation(b, "/var/log/messages", 32);
	put_digest_name(&buffer, digest, "kexec-cmdline");
	put_field(&buffer, "ro quiet", 8);
	put_entry(b, "ima-buf", &buffer, NULL);
}
#define LIST_ENTRIES 6

static int parse(const struct buf *b, struct ima **out, const char **id)
{
	struct fault f = { 0 };
	*id = NULL;
	int rc = ima_parse(b->data, b->len, out, id, &f);
	if (rc < 0) {
		assert_non_null(*id);
		assert_non_null(finding_meaning(*id));
		assert_int_equal(f.rc, rc);
	}
	return rc;
}

static struct ima *good(const struct buf *b)
{
	struct ima *l = NULL;
	const char *id;
	assert_int_equal(parse(b, &l, &id), 0);
	return l;
}

#define refused(b, wanted_id, wanted_rc)                                                           \
	do {                                                                                       \
		struct ima *refused_list = NULL;                                                   \
		const char *refused_id;                                                            \
		assert_int_equal(parse(b, &refused_list, &refused_id), wanted_rc);                 \
		assert_string_equal(refused_id, wanted_id);                                        \
		assert_null(refused_list);                                                         \
	} while (0)

static void test_a_list_is_read(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
	put_list(&b);
	struct ima *l = good(&b);
	assert_int_equal(ima_count(l), LIST_ENTRIES);
	assert_null(ima_at(l, LIST_ENTRIES));
	const struct ima_entry *e = ima_at(l, 0);
	assert_int_equal(e->name_bytes, strlen(AGGREGATE));
	assert_string_equal(e->name, AGGREGATE);
	assert_int_equal(e->digest_alg, HASH_SHA256);
	assert_int_equal(e->digest[0], 1);
	assert_null(e->signature);
	assert_null(e->buffer);
	assert_false(e->violation);
	e = ima_at(l, 1);
	assert_string_equal(e->name, "/usr/bin/signed");
	assert_int_equal(e->signature_bytes, 4);
	assert_memory_equal(e->signature, "\3sig", 4);
	assert_null(e->buffer);
	e = ima_at(l, 2);
	assert_null(e->signature);
	assert_int_equal(e->signature_bytes, 0);
	for (size_t i = 3; i < 5; i++) {
		e = ima_at(l, i);
		assert_true(e->violation);
		assert_int_equal(e->digest_alg, 0);
		assert_string_equal(e->name, "/var/log/messages");
	}
	e = ima_at(l, 5);
	assert_int_equal(e->buffer_bytes, 8);
	assert_memory_equal(e->buffer, "ro quiet", 8);
	assert_null(e->signature);
	ima_free(l);
}

/* The templates' data begin behind 4 + 20 + 4 + name + 4 bytes, each of which is known here. */
static void replay(const struct buf *b, size_t n, uint16_t bank, uint8_t *value)
{
	size_t at = 0;
	memset(value, 0, HASH_BYTES_MAX);
	while (n-- > 0) {
		uint8_t digest[HASH_BYTES_MAX];
		static const uint8_t ZERO[20];
		const uint8_t *p = b->data + at;
		size_t name = p[24], bytes = (size_t)p[28 + name] | (size_t)p[29 + name] << 8;
		assert_int_equal(hash_data(bank, p + 32 + name, bytes, digest), 0);
		if (memcmp(p + 4, ZERO, 20) == 0)
			memset(digest, 0xff, sizeof(digest));
		assert_int_equal(hash_extend(bank, value, digest), 0);
		at += 32 + name + bytes;
	}
}

static void test_each_beginning_matches(void **state)
{
	(void)state;
	static const uint16_t BANKS[] = { HASH_SHA1, HASH_SHA256, HASH_SHA384, HASH_SHA512 };
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
	put_list(&b);
	for (size_t bank = 0; bank < 4; bank++)
		for (size_t wanted = 1; wanted <= LIST_ENTRIES; wanted++) {
			uint8_t value[HASH_BYTES_MAX];
			size_t n = 0;
			struct ima *l = good(&b);
			replay(&b, wanted, BANKS[bank], value);
			assert_int_equal(ima_match(l, BANKS[bank], value, &n, NULL), 0);
			assert_int_equal(n, wanted);
			assert_int_equal(ima_count(l), wanted);
			assert_non_null(ima_at(l, wanted - 1));
			assert_null(ima_at(l, wanted));
			/* What did not match before may be looked for again. */
			replay(&b, LIST_ENTRIES, BANKS[bank], value);
			assert_int_equal(ima_match(l, BANKS[bank], value, &n, NULL), 0);
			assert_int_equal(ima_count(l), LIST_ENTRIES);
			ima_free(l);
		}
}

static void test_nothing_else_matches(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX), empty = BUF_INIT(ANY_MAX);
	uint8_t value[HASH_BYTES_MAX] = { 0 };
	size_t n = 99;
	struct fault f = { 0 };
	put_list(&b);
	struct ima *l = good(&b);
	/* Not even the reset value: the kernel has extended the first entry. */
	assert_int_equal(ima_match(l, HASH_SHA256, value, &n, &f), ERR_AUTH);
	assert_true(f.text[0]);
	replay(&b, LIST_ENTRIES, HASH_SHA256, value);
	value[31] ^= 1;
	assert_int_equal(ima_match(l, HASH_SHA256, value, &n, NULL), ERR_AUTH);
	assert_int_equal(ima_match(l, 0x12, value, &n, NULL), ERR_VERSION);
	assert_int_equal(n, 99);
	assert_int_equal(ima_count(l), LIST_ENTRIES);
	ima_free(l);
	l = good(&empty);
	assert_int_equal(ima_count(l), 0);
	assert_int_equal(ima_match(l, HASH_SHA256, (uint8_t[HASH_BYTES_MAX]){ 0 }, &n, NULL),
			 ERR_AUTH);
	ima_free(l);
}

static void test_every_truncation_is_found(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
	uint8_t whole[HASH_BYTES_MAX];
	size_t entries = LIST_ENTRIES;
	put_list(&b);
	replay(&b, LIST_ENTRIES, HASH_SHA256, whole);
	for (size_t n = b.len; n-- > 0;) {
		CLEANUP_BUF struct buf part = BUF_INIT(ANY_MAX); /* its end is the memory's */
		struct ima *l = NULL;
		const char *id;
		size_t got;
		put(&part, b.data, n);
		int rc = parse(&part, &l, &id);
		if (rc < 0) {
			assert_int_equal(rc, ERR_TRUNCATED);
			assert_string_equal(id, "ima.truncated");
			continue;
		}
		entries--;
		assert_int_equal(ima_count(l), entries);
		assert_int_equal(ima_match(l, HASH_SHA256, whole, &got, NULL), ERR_AUTH);
		ima_free(l);
	}
	assert_int_equal(entries, 0);
}

static void test_headers(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
	static const char *const BAD[] = {
		"ima",	     "ima-n",	   "ima-ngv2",
		"ima-sigv2", "ima-modsig", "evm-sig",
		"d-ng|n-ng", "",	   "a-template-with-a-name-of-33-byte"
	};
	put_file(&b, AGGREGATE, 1);
	b.data[0] = 11;
	refused(&b, "ima.pcr", ERR_FORMAT);
	b.data[0] = 10;
	b.data[1] = 1;
	refused(&b, "ima.pcr", ERR_FORMAT);
	b.data[1] = 0;
	b.data[4] ^= 1;
	refused(&b, "ima.digest", ERR_AUTH);
	b.data[4] ^= 1;
	b.data[b.len - 4] ^= 1; /* of the name */
	refused(&b, "ima.digest", ERR_AUTH);
	memset(b.data + 4, 0, 20);
	refused(&b, "ima.format", ERR_FORMAT); /* a violation with a digest */
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
		CLEANUP_BUF struct buf list = BUF_INIT(ANY_MAX), data = BUF_INIT(ANY_MAX);
		put_digest_name(&data, (uint8_t[32]){ 1 }, "name");
		put_entry(&list, BAD[i], &data, NULL);
		refused(&list, "ima.template", ERR_VERSION);
	}
	/* The old template has no size in front of its data: digest, name's size, name. */
	CLEANUP_BUF struct buf old = BUF_INIT(ANY_MAX);
	put_u32(&old, 10);
	put(&old, "01234567890123456789", 20);
	put_field(&old, "ima", 3);
	put(&old, "01234567890123456789", 20);
	put_field(&old, "name", 4);
	refused(&old, "ima.template", ERR_VERSION);
}

static void test_fields(void **state)
{
	(void)state;
#define DIGEST "0123456789abcdef0123456789abcdef"
#define OK     "\x28\0\0\0sha256:\0" DIGEST
#define NAME   "\3\0\0\0ab\0"
	static const struct {
		const char *template;
		const char *data;
		size_t n;
		const char *id;
	} ROWS[] = {
#define ROW(template, data, id) { template, data, sizeof(data) - 1, id }
		ROW("ima-ng", OK NAME, NULL),
		ROW("ima-sig", OK NAME "\0\0\0\0", NULL),
		ROW("ima-buf", OK NAME "\1\0\0\0x", NULL),
		ROW("ima-ng",
		    "\x1c\0\0\0sha1:\0"
		    "0123456789abcdefghij" NAME,
		    "ima.format"),
		ROW("ima-ng",
		    "\x1a\0\0\0sha1:\0"
		    "0123456789abcdefghij" NAME,
		    NULL),
		ROW("ima-ng", "", "ima.format"),
		ROW("ima-ng", "\x28\0\0", "ima.format"),
		ROW("ima-ng", OK, "ima.format"),
		ROW("ima-ng", "\0\0\0\0" NAME, "ima.format"),
		ROW("ima-ng", OK NAME "x", "ima.format"),
		ROW("ima-ng", "\x29\0\0\0sha256:\0x" DIGEST NAME, "ima.format"),
		ROW("ima-ng", OK NAME "\0\0\0\0", "ima.format"),
		ROW("ima-sig", OK NAME, "ima.format"),
		ROW("ima-sig", OK NAME "\1\0\0\0", "ima.format"),
		ROW("ima-sig", OK NAME "\1\0\0\0xy", "ima.format"),
		ROW("ima-buf", OK NAME "\0\0\0", "ima.format"),
		ROW("ima-buf", OK NAME "\xff\xff\xff\xff", "ima.format"),
		ROW("ima-ng", "\x27\0\0\0sha256\0" DIGEST NAME, "ima.format"),
		ROW("ima-ng", "\x27\0\0\0sha256:" DIGEST NAME, "ima.format"),
		ROW("ima-ng", "\x22\0\0\0:\0" DIGEST NAME, "ima.format"),
		ROW("ima-ng", "\x21\0\0\0\0" DIGEST NAME, "ima.format"),
		ROW("ima-ng", "\x31\0\0\0sha256sha256sha:\0" DIGEST NAME, "ima.algorithm"),
		ROW("ima-ng", "\x32\0\0\0sha256sha256sha2:\0" DIGEST NAME, "ima.format"),
		ROW("ima-ng", "\x28\0\0\0sha512:\0" DIGEST NAME, "ima.format"),
		ROW("ima-ng", "\x28\0\0\0sha257:\0" DIGEST NAME, "ima.algorithm"),
		ROW("ima-ng", "\x25\0\0\0md5:\0" DIGEST NAME, "ima.algorithm"),
		ROW("ima-ng", "\x27\0\0\0sha25:\0" DIGEST NAME, "ima.algorithm"),
		ROW("ima-ng", "\x28\0\0\0SHA256:\0" DIGEST NAME, "ima.algorithm"),
		ROW("ima-ng", OK "\0\0\0\0", "ima.format"),
		ROW("ima-ng", OK "\1\0\0\0\0", "ima.format"),
		ROW("ima-ng", OK "\2\0\0\0ab", "ima.format"),
		ROW("ima-ng", OK "\4\0\0\0a\0b\0", "ima.format"),
		ROW("ima-ng", OK "\4\0\0\0ab\0\0", "ima.format"),
		ROW("ima-ng", OK "\x01\x10\0\0ab\0", "ima.format"),
	};
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		CLEANUP_BUF struct buf list = BUF_INIT(ANY_MAX), data = BUF_INIT(ANY_MAX);
		put(&data, ROWS[i].data, ROWS[i].n);
		put_entry(&list, ROWS[i].template, &data, NULL);
		if (!ROWS[i].id)
			ima_free(good(&list));
		else
			refused(&list, ROWS[i].id,
				strcmp(ROWS[i].id, "ima.format") == 0 ? ERR_FORMAT : ERR_VERSION);
	}
}

static void test_violations(void **state)
{
	(void)state;
	static const uint8_t ZERO[20];
	static const size_t ZEROS[] = { 0, 16, 19, 21, 31, 33, 48 };
	for (size_t i = 0; i < sizeof(ZEROS) / sizeof(ZEROS[0]); i++) {
		CLEANUP_BUF struct buf list = BUF_INIT(ANY_MAX), data = BUF_INIT(ANY_MAX);
		uint8_t zeros[64] = { 0 };
		put_u32(&data, 8 + ZEROS[i]);
		put(&data, "sha256:", 8);
		put(&data, zeros, ZEROS[i]);
		put_field(&data, "name", 5);
		put_entry(&list, "ima-ng", &data, ZERO);
		refused(&list, "ima.format", ERR_FORMAT);
	}
}

static void test_maxima(void **state)
{
	(void)state;
	static char name[IMA_NAME_MAX + 1];
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX), many = BUF_INIT(ANY_MAX),
			       huge = BUF_INIT(ANY_MAX), claimed = BUF_INIT(ANY_MAX);
	memset(name, 'n', sizeof(name) - 2);
	put_file(&b, name, 1);
	ima_free(good(&b));
	memset(name, 'n', sizeof(name) - 1);
	put_file(&b, name, 1);
	refused(&b, "ima.size", ERR_LIMIT);

	/* Entries as small as any. */
	for (size_t i = 0; i < IMA_ENTRIES_MAX; i++)
		put_file(&many, "n", (uint8_t)i);
	struct ima *l = good(&many);
	assert_int_equal(ima_count(l), IMA_ENTRIES_MAX);
	ima_free(l);
	put_file(&many, "n", 1);
	refused(&many, "ima.count", ERR_LIMIT);

	put_file(&claimed, "n", 1);
	memcpy(claimed.data + 34, "\0\0\0\xc0", 4); /* the data's size: three gigabytes */
	refused(&claimed, "ima.truncated", ERR_TRUNCATED);
	assert_int_equal(buf_reserve(&huge, IMA_BYTES_MAX + 1), 0);
	huge.len = IMA_BYTES_MAX + 1;
	memset(huge.data, 0, huge.len);
	refused(&huge, "ima.size", ERR_LIMIT);
}

static void put_aggregate(struct buf *b, uint16_t alg, const struct pcrs *pcrs, size_t n)
{
	CLEANUP_BUF struct buf data = BUF_INIT(ANY_MAX), values = BUF_INIT(ANY_MAX);
	uint8_t digest[HASH_BYTES_MAX];
	const char *name = hash_name(alg);
	size_t bytes = hash_bytes(alg);
	for (size_t i = 0; i < n; i++)
		put(&values, pcrs->value[i], bytes);
	assert_int_equal(hash_data(alg, values.data, values.len, digest), 0);
	put_u32(&data, strlen(name) + 2 + bytes);
	put(&data, name, strlen(name));
	put(&data, ":", 2);
	put(&data, digest, bytes);
	put_field(&data, AGGREGATE, sizeof(AGGREGATE));
	put_entry(b, "ima-ng", &data, NULL);
}

static void test_boot_aggregate(void **state)
{
	(void)state;
	static const struct {
		uint16_t alg;
		size_t n;
	} GOOD[] = {
		{ HASH_SHA1, 8 }, { HASH_SHA256, 10 }, { HASH_SHA384, 10 }, { HASH_SHA512, 10 }
	};
	struct pcrs pcrs = { .mask = 0x3ff };
	for (uint8_t i = 0; i < PCR_COUNT; i++)
		memset(pcrs.value[i], i + 1, HASH_BYTES_MAX);
	for (size_t i = 0; i < 4; i++) {
		pcrs.bank = GOOD[i].alg;
		for (size_t n = 7; n < 12; n++) {
			CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
			put_aggregate(&b, GOOD[i].alg, &pcrs, n);
			struct ima *l = good(&b);
			assert_int_equal(ima_check_aggregate(l, &pcrs, NULL),
					 n == GOOD[i].n ? 0 : ERR_AUTH);
			pcrs.value[3][5] ^= 1; /* of another boot */
			assert_int_equal(ima_check_aggregate(l, &pcrs, NULL), ERR_AUTH);
			pcrs.value[3][5] ^= 1;
			ima_free(l);
		}
	}
	pcrs.bank = HASH_SHA256;
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX), other = BUF_INIT(ANY_MAX),
			       violation = BUF_INIT(ANY_MAX), empty = BUF_INIT(ANY_MAX);
	put_aggregate(&b, HASH_SHA256, &pcrs, 10);
	struct ima *l = good(&b);
	pcrs.mask &= ~(1u << 9);
	assert_int_equal(ima_check_aggregate(l, &pcrs, NULL), ERR_STATE);
	pcrs.mask |= 1u << 9;
	pcrs.bank = HASH_SHA384;
	assert_int_equal(ima_check_aggregate(l, &pcrs, NULL), ERR_VERSION);
	pcrs.bank = HASH_SHA256;
	ima_free(l);

	/* Not the first, not that name, a violation, nothing. */
	put_file(&other, "boot_aggregat", 1);
	put_aggregate(&other, HASH_SHA256, &pcrs, 10);
	put_violation(&violation, AGGREGATE, 32);
	const struct buf *bad[] = { &other, &violation, &empty };
	for (size_t i = 0; i < 3; i++) {
		l = good(bad[i]);
		assert_int_equal(ima_check_aggregate(l, &pcrs, NULL), ERR_AUTH);
		ima_free(l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_list_is_read),
		cmocka_unit_test(test_each_beginning_matches),
		cmocka_unit_test(test_nothing_else_matches),
		cmocka_unit_test(test_every_truncation_is_found),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_violations),
		cmocka_unit_test(test_maxima),
		cmocka_unit_test(test_boot_aggregate),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
