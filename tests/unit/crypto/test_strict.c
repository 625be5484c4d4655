/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include "crypto/strict.h"

static void refused(const char *text, const char *says)
{
	json_t *j = NULL;
	struct fault f = { 0 };
	assert_int_equal(strict_json(text, strlen(text), "the test", &j, &f), ERR_FORMAT);
	assert_null(j);
	if (!strstr(f.text, says))
		fail_msg("\"%s\" does not say \"%s\"", f.text, says);
}

static void test_refuses_what_is_not_one_object(void **state)
{
	(void)state;
	refused("", "not valid JSON (line 1, column 0)");
	refused("[1]", "not a JSON object");
	refused("{", "not valid JSON");
	refused("{} ,", "not valid JSON");
	refused("{}{}", "not valid JSON");
	refused("{\"a\":1,\"a\":1}", "a member twice");
	refused("{\"a\":{\"b\":1,\"b\":2}}", "a member twice");
	refused("{\"a\":\"\\u0000\"}", "not valid JSON");
	refused("{\"a\":\"\xff\"}", "not valid JSON");
	refused("{\"a\":[[[[[[[[1]]]]]]]]}", "deeper than 8");
	refused("{\"secret\"", "the test is not valid JSON");

	/* Brackets in strings do not nest. */
	const char *text = "{\"[[[[[[[[[\\\"[\":[[[[[[[1]]]]]]]}";
	json_t *j = NULL;
	assert_int_equal(strict_json(text, strlen(text), "x", &j, NULL), 0);
	json_decref(j);
}

static void test_never_quotes_its_input(void **state)
{
	(void)state;
	json_t *j = NULL;
	struct fault f = { 0 };
	const char *text = "{\"d\":\"hunter2\" hunter2";
	assert_int_equal(strict_json(text, strlen(text), "x", &j, &f), ERR_FORMAT);
	assert_null(strstr(f.text, "hunter2"));
}

static void test_what_jansson_frees_is_wiped(void **state)
{
	(void)state;
	json_malloc_t allocate = NULL;
	json_free_t release = NULL;
	strict_init();
	json_get_alloc_funcs(&allocate, &release);
	assert_true(allocate == malloc);
	assert_true(release != NULL && release != free);
	release(NULL);
	release(allocate(100));
}

static void test_deep_nesting_is_cheap(void **state)
{
	(void)state;
	char text[60000];
	json_t *j = NULL;
	memset(text, '[', sizeof(text));
	assert_int_equal(strict_json(text, sizeof(text), "x", &j, NULL), ERR_FORMAT);
	memset(text, '{', sizeof(text));
	assert_int_equal(strict_json(text, sizeof(text), "x", &j, NULL), ERR_FORMAT);
}

static void test_members_are_exactly_the_named(void **state)
{
	(void)state;
	static const char *const NAMES[] = { "a", "b" };
	struct fault f = { 0 };
	CLEANUP_JSON json_t *j = json_pack("{s:i,s:i}", "a", 1, "b", 2);
	assert_int_equal(strict_members(j, "x", NAMES, 2, NULL), 0);
	assert_int_equal(strict_members(j, "x", NAMES, 1, &f), ERR_FORMAT);
	assert_string_equal(f.text, "x has 1 members more than are known");
	json_object_del(j, "b");
	f = (struct fault){ 0 };
	assert_int_equal(strict_members(j, "x", NAMES, 2, &f), ERR_FORMAT);
	assert_string_equal(f.text, "x has no \"b\"");
	assert_int_equal(strict_members(NULL, "x", NAMES, 2, NULL), ERR_FORMAT);
}

static void test_base64url_has_one_spelling(void **state)
{
	(void)state;
	static const char *const WRONG[] = { "QR",  "QQ==", "Q",   "QQ\n", " QQ", "Q+8",
					     "Q/8", "QUI",  "QQ=", "Q Q",  "",	  "QQR" };
	uint8_t out[1] = { 0 };
	assert_int_equal(strict_b64("QQ", 2, out, 1), 0);
	assert_int_equal(out[0], 'A');
	assert_int_equal(strict_b64("", 0, out, 0), 0);
	for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++)
		assert_int_equal(strict_b64(WRONG[i], strlen(WRONG[i]), out, 1), ERR_FORMAT);
}

static void test_base64url_round_trips(void **state)
{
	(void)state;
	uint8_t bytes[256];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 167);
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		CLEANUP_BUF struct buf text = BUF_INIT(512), back = BUF_INIT(256);
		assert_int_equal(strict_b64_put(&text, bytes, n), 0);
		assert_int_equal(strict_b64_buf((char *)text.data, text.len, &back), 0);
		assert_int_equal(back.len, n);
		if (n)
			assert_memory_equal(back.data, bytes, n);
	}
	CLEANUP_BUF struct buf small = BUF_INIT(2);
	assert_int_equal(strict_b64_put(&small, bytes, 2), ERR_LIMIT);
	assert_int_equal(strict_b64_buf("QUJD", 4, &small), ERR_LIMIT);
	assert_int_equal(strict_b64_buf("QU!D", 4, &small), ERR_FORMAT);
}

/* Each character at each place of four; nothing but the alphabet is taken. */
static void test_base64_alphabet(void **state)
{
	static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				       "0123456789-_";
	uint8_t out[3];
	(void)state;
	for (int place = 0; place < 4; place++) {
		for (int c = 0; c < 256; c++) {
			char text[] = "AAAA";
			const char *at = c ? strchr(ALPHABET, c) : NULL;
			text[place] = (char)c;
			assert_int_equal(strict_b64(text, 4, out, 3), at ? 0 : ERR_FORMAT);
			if (at)
				assert_int_equal(out[0] << 16 | out[1] << 8 | out[2],
						 (at - ALPHABET) << (18 - 6 * place));
		}
	}
	assert_int_equal(strict_b64("AAAAA", 5, out, 3), ERR_FORMAT);
	assert_int_equal(strict_b64("AAB", 3, out, 2), ERR_FORMAT);
	assert_int_equal(strict_b64("AB", 2, out, 1), ERR_FORMAT);
	assert_int_equal(strict_b64("AAAA", 4, out, 2), ERR_FORMAT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refuses_what_is_not_one_object),
		cmocka_unit_test(test_never_quotes_its_input),
		cmocka_unit_test(test_what_jansson_frees_is_wiped),
		cmocka_unit_test(test_deep_nesting_is_cheap),
		cmocka_unit_test(test_members_are_exactly_the_named),
		cmocka_unit_test(test_base64url_has_one_spelling),
		cmocka_unit_test(test_base64url_round_trips),
		cmocka_unit_test(test_base64_alphabet),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
