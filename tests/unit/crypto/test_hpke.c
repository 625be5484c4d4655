/* SPDX-License-Identifier: BSD-3-Clause */
/* Limits and whose errors come through; known answers are in vectors/crypto. */
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

#include "crypto/hpke.h"
#include "crypto/jwk_form.h"

static const struct hpke_text NONE = { NULL, 0 };
static struct jwk *key;
static struct ecdh ecdh;
static uint8_t point[RAWKEY_P256_POINT] = { 4 };

static int set_up(void **state)
{
	(void)state;
	if (jwk_new(&key, NULL) < 0 || ecdh_from_jwk(key, &ecdh) < 0)
		return -1;
	memcpy(point + 1, jwk_x(key), 32);
	memcpy(point + 33, jwk_y(key), 32);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	jwk_free(key);
	return 0;
}

static int calls;

static int fails(void *arg, const uint8_t x[static 32], const uint8_t y[static 32],
		 uint8_t z[static 32])
{
	(void)arg;
	(void)x;
	(void)y;
	(void)z;
	calls++;
	return ERR_POLICY;
}

static void test_the_holders_refusal(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf sealed = BUF_INIT(4096);
	CLEANUP_BUF struct buf out = BUF_INIT(4096);
	struct ecdh other = { .derive = fails };
	struct fault f = { 0 };
	struct hpke_text text = { "text", 4 };
	assert_int_equal(hpke_seal(point, NONE, NONE, text, &sealed, NULL), 0);
	assert_int_equal(hpke_open(&other, point, NONE, NONE,
				   (struct hpke_text){ sealed.data, sealed.len }, &out, &f),
			 ERR_POLICY);
	assert_int_equal(calls, 1);
	assert_int_equal(out.len, 0);
	/* A point that is not on the curve never reaches the private key. */
	sealed.data[64] ^= 1;
	assert_int_equal(hpke_open(&other, point, NONE, NONE,
				   (struct hpke_text){ sealed.data, sealed.len }, &out, NULL),
			 ERR_FORMAT);
	assert_int_equal(calls, 1);
}

static void test_limits(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf big = BUF_INIT(2 * HPKE_PLAINTEXT_MAX);
	CLEANUP_BUF struct buf sealed = BUF_INIT(2 * HPKE_PLAINTEXT_MAX);
	CLEANUP_BUF struct buf out = BUF_INIT(2 * HPKE_PLAINTEXT_MAX);
	CLEANUP_BUF struct buf small = BUF_INIT(HPKE_OVERHEAD_BYTES + 3);
	assert_int_equal(buf_reserve(&big, HPKE_PLAINTEXT_MAX + 1), 0);
	memset(big.data, 7, HPKE_PLAINTEXT_MAX + 1);
	struct hpke_text most = { big.data, HPKE_PLAINTEXT_MAX };
	struct hpke_text over = { big.data, HPKE_PLAINTEXT_MAX + 1 };
	struct hpke_text info = { big.data, HPKE_PLAINTEXT_MAX / 2 };
	assert_int_equal(hpke_seal(point, info, most, most, &sealed, NULL), 0);
	struct hpke_text text = { sealed.data, sealed.len };
	assert_int_equal(hpke_open(&ecdh, point, info, most, text, &out, NULL), 0);
	assert_int_equal(out.len, HPKE_PLAINTEXT_MAX);
	assert_memory_equal(out.data, big.data, out.len);
	assert_int_equal(hpke_seal(point, most, NONE, NONE, &sealed, NULL), ERR_LIMIT);
	assert_int_equal(hpke_seal(point, NONE, over, NONE, &sealed, NULL), ERR_LIMIT);
	assert_int_equal(hpke_seal(point, NONE, NONE, over, &sealed, NULL), ERR_LIMIT);
	assert_int_equal(sealed.len, HPKE_PLAINTEXT_MAX + HPKE_OVERHEAD_BYTES);
	text.n += 1;
	assert_int_equal(hpke_open(&ecdh, point, NONE, NONE, text, &out, NULL), ERR_LIMIT);
	/* The caller's buffer has its own maximum. */
	assert_int_equal(
		hpke_seal(point, NONE, NONE, (struct hpke_text){ "four", 4 }, &small, NULL),
		ERR_LIMIT);
	assert_int_equal(small.len, 0);
	assert_int_equal(hpke_seal(point, NONE, NONE, (struct hpke_text){ "thr", 3 }, &small, NULL),
			 0);
}

static void test_bad_recipient(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf out = BUF_INIT(4096);
	uint8_t wrong[RAWKEY_P256_POINT];
	struct fault f = { 0 };
	memcpy(wrong, point, sizeof(wrong));
	wrong[10] ^= 1;
	assert_int_equal(hpke_seal(wrong, NONE, NONE, NONE, &out, &f), ERR_FORMAT);
	memcpy(wrong, point, sizeof(wrong));
	wrong[0] = 2;
	assert_int_equal(hpke_seal(wrong, NONE, NONE, NONE, &out, NULL), ERR_FORMAT);
	assert_int_equal(out.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_holders_refusal),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_bad_recipient),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
