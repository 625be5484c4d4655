/* SPDX-License-Identifier: BSD-3-Clause */
/* A guardian's export: what comes out of it is what went in, or nothing. */
#include "guardian/archive.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/init.h"
#include "crypto/jwk.h"

#define HEAD	   113
#define PIECE	   (4 + 65 + 512 * 1024 + 16) /* of a sealed file */
#define DATABASE_N (1024 * 1024 + 12345)      /* three pieces */

static struct jwk *owner, *other;
static struct archive whole;
static struct buf sealed, again;

static int make(void **state)
{
	(void)state;
	static const uint8_t KEY[32] = { 7, 7, 7 };
	archive_init(&whole);
	if (jwk_new(&owner, NULL) < 0 || jwk_new(&other, NULL) < 0)
		return -1;
	for (int i = 1; i < ARCHIVE_FILES; i++) {
		if (i == ARCHIVE_RELEASE_PUB || i == ARCHIVE_DATABASE)
			continue;
		if (buf_add(&whole.files[i], KEY, (size_t)(20 + i)) < 0)
			return -1;
	}
	for (int i = 0; i < DATABASE_N; i++) {
		const uint8_t c = (uint8_t)(i >> 8 ^ i);
		if (buf_add(&whole.files[ARCHIVE_DATABASE], &c, 1) < 0)
			return -1;
	}
	sealed = BUF_INIT(2 * ARCHIVE_MAX);
	again = BUF_INIT(2 * ARCHIVE_MAX);
	return archive_seal(&whole, owner, &sealed, NULL) < 0 ||
			       archive_seal(&whole, owner, &again, NULL) < 0
		       ? -1
		       : 0;
}

static int done(void **state)
{
	(void)state;
	archive_done(&whole);
	buf_done(&sealed);
	buf_done(&again);
	jwk_free(owner);
	jwk_free(other);
	return 0;
}

static void same(const struct archive *a)
{
	for (int i = 1; i < ARCHIVE_FILES; i++) {
		assert_int_equal(a->files[i].len, whole.files[i].len);
		if (a->files[i].len)
			assert_memory_equal(a->files[i].data, whole.files[i].data, a->files[i].len);
	}
}

static void test_opens(void **state)
{
	(void)state;
	struct fault f = { 0 };
	CLEANUP_ARCHIVE struct archive a;
	archive_init(&a);
	assert_int_equal(sealed.len, HEAD + 3 * (PIECE - 512 * 1024) + DATABASE_N + 7 * 12 +
					     (6 * 20 + 1 + 2 + 3 + 4 + 5 + 7));
	if (archive_open(sealed.data, sealed.len, owner, &a, &f) < 0)
		fail_msg("%s", f.text);
	same(&a);
	/* Each is sealed anew. */
	assert_int_equal(again.len, sealed.len);
	assert_memory_not_equal(again.data + 16, sealed.data + 16, 32);
}

/* The N bytes of DATA do not open, and nothing comes out. */
static void refused(int want, const uint8_t *data, size_t n, const struct jwk *key)
{
	struct fault f = { 0 };
	CLEANUP_ARCHIVE struct archive a;
	archive_init(&a);
	int rc = archive_open(data, n, key, &a, &f);
	if (rc != want || !f.text[0])
		fail_msg("%d %s, wanted %d", rc, f.text, want);
	for (int i = 0; i < ARCHIVE_FILES; i++)
		assert_int_equal(a.files[i].len, 0);
}

static void test_altered(void **state)
{
	(void)state;
	static const size_t AT[] = { 16,
				     47,
				     48,
				     49,
				     112,
				     117,
				     118,
				     181,
				     182,
				     200,
				     600,
				     HEAD + PIECE - 1,
				     HEAD + PIECE + 4,
				     HEAD + 2 * PIECE + 100 };
	CLEANUP_BUF struct buf b = BUF_INIT(2 * ARCHIVE_MAX);
	assert_int_equal(buf_add(&b, sealed.data, sealed.len), 0);
	for (size_t i = 0; i < sizeof(AT) / sizeof(AT[0]); i++) {
		b.data[AT[i]] ^= 1;
		/* What names the recipient is looked at first; a point may be none. */
		struct fault f = { 0 };
		CLEANUP_ARCHIVE struct archive a;
		archive_init(&a);
		int rc = archive_open(b.data, b.len, owner, &a, &f);
		if (AT[i] >= 48 && AT[i] < HEAD)
			assert_int_equal(rc, ERR_RECIPIENT);
		else
			assert_true(rc == ERR_AUTH || rc == ERR_FORMAT);
		assert_int_equal(a.files[ARCHIVE_LOG].len, 0);
		b.data[AT[i]] ^= 1;
	}
	b.data[sealed.len - 1] ^= 1;
	refused(ERR_AUTH, b.data, b.len, owner);
	b.data[sealed.len - 1] ^= 1;
	b.data[0] ^= 1;
	refused(ERR_FORMAT, b.data, b.len, owner);
	b.data[0] ^= 1;
	b.data[15] ^= 3;
	refused(ERR_VERSION, b.data, b.len, owner);
	b.data[15] ^= 3;
	refused(ERR_RECIPIENT, b.data, b.len, other);
	/* Named as another's: the sealed pieces are not. */
	memcpy(b.data + 49, jwk_x(other), 32);
	memcpy(b.data + 81, jwk_y(other), 32);
	refused(ERR_AUTH, b.data, b.len, other);
}

static void test_cut_and_joined(void **state)
{
	(void)state;
	static const size_t CUT[] = { 0, 8, HEAD - 1, HEAD, HEAD + 3, HEAD + 4, HEAD + 100 };
	CLEANUP_BUF struct buf b = BUF_INIT(3 * (size_t)ARCHIVE_MAX);
	for (size_t i = 0; i < sizeof(CUT) / sizeof(CUT[0]); i++)
		refused(CUT[i] < HEAD ? ERR_FORMAT : ERR_TRUNCATED, sealed.data, CUT[i], owner);
	refused(ERR_TRUNCATED, sealed.data, sealed.len - 1, owner);
	/* Whole pieces away, at the end: the last one was not made as the last. */
	refused(ERR_AUTH, sealed.data, HEAD + 2 * PIECE, owner);
	refused(ERR_AUTH, sealed.data, HEAD + PIECE, owner);
	/* ... and at the beginning. */
	assert_int_equal(buf_add(&b, sealed.data, HEAD), 0);
	assert_int_equal(buf_add(&b, sealed.data + HEAD + PIECE, sealed.len - HEAD - PIECE), 0);
	refused(ERR_AUTH, b.data, b.len, owner);
	/* Exchanged; another file's; twice; and something behind it. */
	b.len = 0;
	assert_int_equal(buf_add(&b, sealed.data, sealed.len), 0);
	memcpy(b.data + HEAD, sealed.data + HEAD + PIECE, PIECE);
	memcpy(b.data + HEAD + PIECE, sealed.data + HEAD, PIECE);
	refused(ERR_AUTH, b.data, b.len, owner);
	memcpy(b.data + HEAD, sealed.data + HEAD, PIECE);
	memcpy(b.data + HEAD + PIECE, again.data + HEAD + PIECE, PIECE);
	refused(ERR_AUTH, b.data, b.len, owner);
	memcpy(b.data + HEAD + PIECE, sealed.data + HEAD, PIECE);
	refused(ERR_AUTH, b.data, b.len, owner);
	memcpy(b.data + HEAD + PIECE, sealed.data + HEAD + PIECE, PIECE);
	assert_int_equal(buf_add(&b, "x", 1), 0);
	refused(ERR_FORMAT, b.data, b.len, owner);
}

/* FILE of N bytes, in the form that is sealed. */
static void put(struct buf *b, unsigned file, unsigned n)
{
	uint8_t head[12] = {
		0, 0, 0, (uint8_t)file, 0, 0, 0, 0, 0, 0, (uint8_t)(n >> 8), (uint8_t)n
	};
	assert_int_equal(buf_add(b, head, sizeof(head)), 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(buf_add(b, "k", 1), 0);
}

static void test_what_is_sealed(void **state)
{
	(void)state;
	static const struct {
		int rc;
		unsigned files[10];
	} CASES[] = {
		{ 0, { 1, 2, 3, 4, 5 } },
		{ 0, { 1, 2, 3, 4, 6 } },
		{ 0, { 1, 2, 3, 4, 5, 7, 8 } },
		{ ERR_FORMAT, { 0 } },
		{ ERR_FORMAT, { 1, 2, 3, 4 } },	      /* no release key */
		{ ERR_FORMAT, { 1, 2, 3, 4, 5, 6 } }, /* two */
		{ ERR_FORMAT, { 1, 2, 3, 5 } },	      /* a key is missing */
		{ ERR_FORMAT, { 1, 3, 2, 4, 5 } },    /* another order */
		{ ERR_FORMAT, { 1, 2, 3, 3, 4, 5 } }, /* twice */
		{ ERR_FORMAT, { 1, 2, 3, 4, 5, 9 } }, /* unknown */
		{ ERR_FORMAT, { 1, 2, 3, 4, 5, 200 } },
	};
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		struct fault f = { 0 };
		CLEANUP_BUF struct buf b = BUF_INIT(4096);
		CLEANUP_ARCHIVE struct archive a;
		archive_init(&a);
		for (int n = 0; CASES[i].files[n]; n++)
			put(&b, CASES[i].files[n], 9);
		int rc = archive_parse(b.data, b.len, &a, &f);
		if (rc != CASES[i].rc)
			fail_msg("case %zu: %d %s", i, rc, f.text);
		assert_int_equal(a.files[ARCHIVE_LOG].len, rc < 0 ? 0 : 9);
		/* Nothing shorter is good, and nothing longer. */
		for (size_t n = 1; rc >= 0 && i < 2 && n < b.len; n++) {
			CLEANUP_ARCHIVE struct archive cut;
			archive_init(&cut);
			assert_true(archive_parse(b.data, n, &cut, NULL) < 0);
		}
	}
	CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);
	CLEANUP_ARCHIVE struct archive a;
	archive_init(&a);
	put(&b, 1, 0);
	assert_int_equal(archive_parse(b.data, b.len, &a, NULL), ERR_FORMAT);
	/* A size that no key has, and one that is not there. */
	b.data[9] = 2;
	assert_int_equal(archive_parse(b.data, b.len, &a, NULL), ERR_LIMIT);
	b.data[4] = 0xff;
	assert_int_equal(archive_parse(b.data, b.len, &a, NULL), ERR_LIMIT);
	/* Nor is it sealed. */
	CLEANUP_BUF struct buf out = BUF_INIT(1 << 20);
	assert_int_equal(archive_seal(&a, owner, &out, NULL), ERR_STATE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opens),
		cmocka_unit_test(test_altered),
		cmocka_unit_test(test_cut_and_joined),
		cmocka_unit_test(test_what_is_sealed),
	};
	return crypto_init() < 0 ? 1 : cmocka_run_group_tests(tests, make, done);
}
