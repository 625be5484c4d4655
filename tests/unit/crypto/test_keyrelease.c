/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include "crypto/hash.h"
#include "crypto/jwk_form.h"
#include "crypto/keyrelease.h"

static struct jwk *host_key, *worker_key;
static uint8_t host[RAWKEY_P256_POINT], worker[RAWKEY_P256_POINT];
static struct ecdh host_ecdh, worker_ecdh;

static const uint8_t CERTIFICATE[] = "certificate";
static const char PROTECTOR[] = "protector";

static void set_point(const struct jwk *k, uint8_t point[static RAWKEY_P256_POINT])
{
	point[0] = 4;
	memcpy(point + 1, jwk_x(k), 32);
	memcpy(point + 33, jwk_y(k), 32);
}

static int make(void **state)
{
	(void)state;
	if (jwk_new(&host_key, NULL) < 0 || jwk_new(&worker_key, NULL) < 0 ||
	    ecdh_from_jwk(host_key, &host_ecdh) < 0 || ecdh_from_jwk(worker_key, &worker_ecdh) < 0)
		return -1;
	set_point(host_key, host);
	set_point(worker_key, worker);
	return 0;
}

static int done(void **state)
{
	(void)state;
	jwk_free(host_key);
	jwk_free(worker_key);
	return 0;
}

static struct keyrelease_about about(void)
{
	return (struct keyrelease_about){
		.certificate = CERTIFICATE,
		.certificate_bytes = sizeof(CERTIFICATE) - 1,
		.protector = PROTECTOR,
		.protector_chars = sizeof(PROTECTOR) - 1,
		.vm = { 1 },
		.request = { 2 },
	};
}

static struct keyrelease released(void)
{
	return (struct keyrelease){
		.key = { { 5, 6, [31] = 7 } }, .token = 3, .expires = INT64_MAX, .spent = 0
	};
}

static void seal(struct buf *out)
{
	struct keyrelease_about a = about();
	struct keyrelease r = released();
	*out = BUF_INIT(KEYRELEASE_BYTES);
	assert_int_equal(keyrelease_seal(host, worker, &a, &r, out, NULL), 0);
	assert_int_equal(out->len, KEYRELEASE_BYTES);
}

/* Both layers, for A; 0 or the first error. */
static int open_both(const struct keyrelease_about *a, const struct buf *sealed,
		     struct keyrelease *out)
{
	CLEANUP_BUF struct buf inner = BUF_INIT(KEYRELEASE_INNER_BYTES);
	int rc = keyrelease_unwrap(&host_ecdh, host, a, sealed->data, sealed->len, &inner, NULL);
	if (rc < 0)
		return rc;
	return keyrelease_open(&worker_ecdh, worker, a, inner.data, inner.len, out, NULL);
}

static void test_what_is_sealed_opens(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf sealed = { 0 }, again = { 0 };
	struct keyrelease_about a = about();
	struct keyrelease r = released(), got = { 0 };
	seal(&sealed);
	assert_int_equal(open_both(&a, &sealed, &got), 0);
	assert_memory_equal(got.key.bytes, r.key.bytes, KEY_BYTES);
	assert_int_equal(got.token, 3);
	assert_true(got.expires == INT64_MAX);
	assert_int_equal(got.spent, 0);
	seal(&again);
	assert_memory_not_equal(again.data, sealed.data, sealed.len);
	assert_null(memmem(sealed.data, sealed.len, r.key.bytes, KEY_BYTES));
}

static void test_it_is_for_one_request(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf sealed = { 0 };
	struct keyrelease got = { .token = 99 };
	seal(&sealed);
	for (int i = 0; i < 8; i++) {
		struct keyrelease_about a = about();
		if (i == 0)
			a.certificate = (const uint8_t *)"Certificate";
		else if (i == 1)
			a.certificate_bytes--;
		else if (i == 2)
			a.protector = "pRotector";
		else if (i == 3)
			a.protector_chars--;
		else if (i == 4)
			a.vm[15]++;
		else if (i == 5)
			a.request[15]++;
		else if (i == 6)
			a.restore++;
		else {
			/* The same bytes, cut elsewhere. */
			a.certificate = (const uint8_t *)"certificatep";
			a.certificate_bytes++;
			a.protector = "rotector";
			a.protector_chars--;
		}
		assert_int_equal(open_both(&a, &sealed, &got), ERR_AUTH);
	}
	assert_int_equal(got.token, 99);
}

static void test_it_is_for_one_worker_on_one_host(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf sealed = { 0 };
	CLEANUP_BUF struct buf inner = BUF_INIT(KEYRELEASE_INNER_BYTES);
	struct keyrelease_about a = about();
	struct keyrelease got = { .token = 99 };
	seal(&sealed);
	/* The worker's key opens nothing of the host's layer, nor the other way round. */
	assert_int_equal(
		keyrelease_unwrap(&worker_ecdh, worker, &a, sealed.data, sealed.len, &inner, NULL),
		ERR_AUTH);
	assert_int_equal(inner.len, 0);
	assert_int_equal(
		keyrelease_unwrap(&host_ecdh, host, &a, sealed.data, sealed.len, &inner, NULL), 0);
	assert_int_equal(keyrelease_open(&host_ecdh, host, &a, inner.data, inner.len, &got, NULL),
			 ERR_AUTH);
	/* Every byte counts, and the size. */
	for (size_t i = 0; i < sealed.len; i += 5) {
		sealed.data[i] ^= 1;
		assert_true(open_both(&a, &sealed, &got) < 0);
		sealed.data[i] ^= 1;
	}
	sealed.len--;
	assert_int_equal(open_both(&a, &sealed, &got), ERR_TRUNCATED);
	assert_int_equal(
		keyrelease_open(&worker_ecdh, worker, &a, inner.data, inner.len - 1, &got, NULL),
		ERR_TRUNCATED);
	assert_int_equal(
		keyrelease_open(&worker_ecdh, worker, &a, sealed.data, sealed.len, &got, NULL),
		ERR_TRAILING);
	assert_int_equal(got.token, 99);
}

/* As docs/FORMAT.md has it, by hand.  The last 8 bytes are a ticket's, if there is one. */
static const uint8_t BOUND[] = "\0\0\0\0\0\0\0\013certificate\0\0\0\0\0\0\0\011protector"
			       "\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
			       "\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
			       "\1\2\3\4\5\6\7";
#define BOUND_RESTORE UINT64_C(0x0102030405060700)

static void test_the_format(void **state)
{
	(void)state;
	static const char HOST_INFO[] = "shieldvm key release to host 1",
			  WORKER_INFO[] = "shieldvm key release to worker 1";
	static const uint8_t NUMBERS[] = "\0\0\0\0\0\0\0\3\177\377\377\377\377\377\377\377"
					 "\0\0\0\0\0\0\0";
	uint8_t aad[32];
	CLEANUP_BUF struct buf sealed = { 0 };
	CLEANUP_BUF struct buf inner = BUF_INIT(KEYRELEASE_INNER_BYTES);
	CLEANUP_BUF struct buf plain = BUF_INIT(KEYRELEASE_PLAIN_BYTES);
	const struct hpke_text host_info = { HOST_INFO, sizeof(HOST_INFO) - 1 };
	const struct hpke_text worker_info = { WORKER_INFO, sizeof(WORKER_INFO) - 1 };
	const struct hpke_text bound = { aad, sizeof(aad) };
	seal(&sealed);
	assert_int_equal(hash_data(HASH_SHA256, BOUND, sizeof(BOUND) - 8, aad), 0);
	const struct hpke_text outer = { sealed.data, sealed.len };
	assert_int_equal(hpke_open(&host_ecdh, host, worker_info, bound, outer, &inner, NULL),
			 ERR_AUTH);
	assert_int_equal(hpke_open(&host_ecdh, host, host_info, bound, outer, &inner, NULL), 0);
	const struct hpke_text in = { inner.data, inner.len };
	assert_int_equal(hpke_open(&worker_ecdh, worker, worker_info, bound, in, &plain, NULL), 0);
	assert_int_equal(plain.len, 57);
	assert_int_equal(plain.data[0], 1);
	assert_memory_equal(plain.data + 1, released().key.bytes, KEY_BYTES);
	assert_memory_equal(plain.data + 33, NUMBERS, sizeof(NUMBERS));
	/* A later version is not read. */
	CLEANUP_BUF struct buf next = BUF_INIT(KEYRELEASE_INNER_BYTES);
	struct keyrelease_about a = about();
	struct keyrelease got = { .token = 99 };
	plain.data[0] = 2;
	const struct hpke_text changed = { plain.data, plain.len };
	assert_int_equal(hpke_seal(worker, worker_info, bound, changed, &next, NULL), 0);
	assert_int_equal(keyrelease_open(&worker_ecdh, worker, &a, next.data, next.len, &got, NULL),
			 ERR_VERSION);
	plain.data[0] = 1;
	plain.data[33] = 0x80;
	next.len = 0;
	assert_int_equal(hpke_seal(worker, worker_info, bound, changed, &next, NULL), 0);
	assert_int_equal(keyrelease_open(&worker_ecdh, worker, &a, next.data, next.len, &got, NULL),
			 ERR_FORMAT);
	assert_int_equal(got.token, 99);
}

static void test_impossible_ones_are_not_made(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf out = BUF_INIT(KEYRELEASE_BYTES);
	struct keyrelease_about a = about();
	struct keyrelease r = released();
	uint8_t bad[RAWKEY_P256_POINT];
	r.spent = -1;
	assert_int_equal(keyrelease_seal(host, worker, &a, &r, &out, NULL), ERR_FORMAT);
	r = released();
	r.token = -1;
	assert_int_equal(keyrelease_seal(host, worker, &a, &r, &out, NULL), ERR_FORMAT);
	r = released();
	memcpy(bad, worker, sizeof(bad));
	bad[64] ^= 1;
	assert_int_equal(keyrelease_seal(host, bad, &a, &r, &out, NULL), ERR_FORMAT);
	assert_int_equal(keyrelease_seal(bad, worker, &a, &r, &out, NULL), ERR_FORMAT);
	assert_int_equal(out.len, 0);
}

/* Open as a copy on the host; and as the worker's layer. */
static int open_copy(const struct buf *b, const struct keyrelease_about *a, struct keyrelease *out)
{
	return keyrelease_open_copy(&host_ecdh, host, a, b->data, b->len, out, NULL);
}

static int open_inner(const struct buf *b, const struct keyrelease_about *a, struct keyrelease *out)
{
	return keyrelease_open(&worker_ecdh, worker, a, b->data, b->len, out, NULL);
}

/* What an owner's ticket lets a start have is that version, and only with this release. */
static void test_it_is_for_one_older_version(void **state)
{
	(void)state;
	struct keyrelease_about a = about(), other = about();
	struct keyrelease r = released(), got = { .token = 99 };
	CLEANUP_BUF struct buf sealed = BUF_INIT(KEYRELEASE_BYTES);
	CLEANUP_BUF struct buf copy = BUF_INIT(KEYRELEASE_INNER_BYTES);
	a.restore = BOUND_RESTORE;
	assert_int_equal(keyrelease_seal(host, worker, &a, &r, &sealed, NULL), 0);
	for (unsigned bit = 0; bit < 64; bit++) {
		other.restore = a.restore ^ UINT64_C(1) << bit;
		assert_int_equal(open_both(&other, &sealed, &got), ERR_AUTH);
	}
	other.restore = 0;
	assert_int_equal(open_both(&other, &sealed, &got), ERR_AUTH);
	assert_int_equal(got.token, 99);
	assert_int_equal(open_both(&a, &sealed, &got), 0);
	assert_int_equal(got.token, 3);
	uint8_t aad[32];
	CLEANUP_BUF struct buf inner = BUF_INIT(KEYRELEASE_INNER_BYTES);
	static const char HOST_INFO[] = "shieldvm key release to host 1";
	assert_int_equal(hash_data(HASH_SHA256, BOUND, sizeof(BOUND), aad), 0);
	assert_int_equal(hpke_open(&host_ecdh, host,
				   (struct hpke_text){ HOST_INFO, sizeof(HOST_INFO) - 1 },
				   (struct hpke_text){ aad, sizeof(aad) },
				   (struct hpke_text){ sealed.data, sealed.len }, &inner, NULL),
			 0);
	/* Its copy is for none. */
	assert_int_equal(keyrelease_seal_copy(host, &a, &r, &copy, NULL), 0);
	assert_int_equal(open_copy(&copy, &a, &got), ERR_AUTH);
	other.restore = 0;
	assert_int_equal(open_copy(&copy, &other, &got), 0);
}

/* From a copy that was kept to a worker that was not there when it was made. */
static void test_a_copy_is_sealed_again_for_a_worker(void **state)
{
	(void)state;
	struct keyrelease_about a = about();
	struct keyrelease r = released(), kept = { 0 }, got = { 0 };
	CLEANUP_BUF struct buf copy = BUF_INIT(KEYRELEASE_INNER_BYTES);
	CLEANUP_BUF struct buf inner = BUF_INIT(KEYRELEASE_INNER_BYTES);
	assert_int_equal(keyrelease_seal_copy(host, &a, &r, &copy, NULL), 0);
	assert_int_equal(copy.len, KEYRELEASE_INNER_BYTES);
	assert_null(memmem(copy.data, copy.len, r.key.bytes, KEY_BYTES));
	assert_int_equal(open_copy(&copy, &a, &kept), 0);
	assert_memory_equal(kept.key.bytes, r.key.bytes, KEY_BYTES);
	assert_int_equal(kept.token, 3);
	assert_true(kept.expires == INT64_MAX);
	assert_int_equal(kept.spent, 0);
	kept.spent = 8;
	assert_int_equal(keyrelease_seal_inner(worker, &a, &kept, &inner, NULL), 0);
	assert_int_equal(inner.len, KEYRELEASE_INNER_BYTES);
	assert_int_equal(open_inner(&inner, &a, &got), 0);
	assert_memory_equal(got.key.bytes, r.key.bytes, KEY_BYTES);
	assert_int_equal(got.spent, 8);
}

static void test_a_copy_is_nothing_else(void **state)
{
	(void)state;
	struct keyrelease_about a = about(), other = about();
	struct keyrelease r = released(), got = { .token = 99 };
	CLEANUP_BUF struct buf copy = BUF_INIT(KEYRELEASE_INNER_BYTES);
	CLEANUP_BUF struct buf inner = BUF_INIT(KEYRELEASE_INNER_BYTES);
	CLEANUP_BUF struct buf none = BUF_INIT(KEYRELEASE_BYTES);
	assert_int_equal(keyrelease_seal_copy(host, &a, &r, &copy, NULL), 0);
	/* Sealed to a worker's key it is no worker's layer, nor a worker's layer for the host's
	 * key a copy. */
	CLEANUP_BUF struct buf swapped = BUF_INIT(2 * KEYRELEASE_INNER_BYTES);
	assert_int_equal(keyrelease_seal_copy(worker, &a, &r, &swapped, NULL), 0);
	assert_int_equal(open_inner(&swapped, &a, &got), ERR_AUTH);
	buf_clear(&swapped);
	assert_int_equal(keyrelease_seal_inner(host, &a, &r, &swapped, NULL), 0);
	assert_int_equal(open_copy(&swapped, &a, &got), ERR_AUTH);
	assert_int_equal(open_inner(&copy, &a, &got), ERR_AUTH);
	/* Nor is either what the host takes its layer off. */
	assert_int_equal(keyrelease_unwrap(&host_ecdh, host, &a, copy.data, copy.len, &none, NULL),
			 ERR_TRUNCATED);
	assert_int_equal(none.len, 0);
	/* For one request, on one host, whole. */
	other.request[0]++;
	assert_int_equal(open_copy(&copy, &other, &got), ERR_AUTH);
	assert_int_equal(keyrelease_seal_inner(worker, &a, &r, &inner, NULL), 0);
	assert_int_equal(open_inner(&inner, &other, &got), ERR_AUTH);
	assert_int_equal(
		keyrelease_open_copy(&worker_ecdh, worker, &a, copy.data, copy.len, &got, NULL),
		ERR_AUTH);
	for (size_t i = 0; i < copy.len; i += 5) {
		copy.data[i] ^= 1;
		assert_true(open_copy(&copy, &a, &got) < 0);
		copy.data[i] ^= 1;
	}
	copy.len--;
	assert_int_equal(open_copy(&copy, &a, &got), ERR_TRUNCATED);
	assert_int_equal(got.token, 99);
	r.token = -1;
	assert_int_equal(keyrelease_seal_copy(host, &a, &r, &none, NULL), ERR_FORMAT);
	assert_int_equal(keyrelease_seal_inner(worker, &a, &r, &none, NULL), ERR_FORMAT);
	assert_int_equal(none.len, 0);
}

/* The copy's label, as docs/FORMAT.md has it. */
static void test_the_format_of_a_copy(void **state)
{
	(void)state;
	static const char INFO[] = "shieldvm key release to keep 1";
	struct keyrelease_about a = about();
	struct keyrelease r = released();
	uint8_t aad[32];
	CLEANUP_BUF struct buf copy = BUF_INIT(KEYRELEASE_INNER_BYTES);
	CLEANUP_BUF struct buf plain = BUF_INIT(KEYRELEASE_PLAIN_BYTES);
	assert_int_equal(hash_data(HASH_SHA256, BOUND, sizeof(BOUND) - 8, aad), 0);
	assert_int_equal(keyrelease_seal_copy(host, &a, &r, &copy, NULL), 0);
	assert_int_equal(hpke_open(&host_ecdh, host, (struct hpke_text){ INFO, sizeof(INFO) - 1 },
				   (struct hpke_text){ aad, sizeof(aad) },
				   (struct hpke_text){ copy.data, copy.len }, &plain, NULL),
			 0);
	assert_int_equal(plain.len, 57);
	assert_int_equal(plain.data[0], 1);
	assert_memory_equal(plain.data + 1, r.key.bytes, KEY_BYTES);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_is_sealed_opens),
		TEST(test_it_is_for_one_request),
		TEST(test_it_is_for_one_worker_on_one_host),
		TEST(test_the_format),
		TEST(test_impossible_ones_are_not_made),
		TEST(test_it_is_for_one_older_version),
		TEST(test_a_copy_is_sealed_again_for_a_worker),
		TEST(test_a_copy_is_nothing_else),
		TEST(test_the_format_of_a_copy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
