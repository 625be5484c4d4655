/* SPDX-License-Identifier: BSD-3-Clause */
/* QMP's text: what is one line of it, and what is not. */
#include "tests/unit/test.h"

#include <stdlib.h>
#include <string.h>

#include "worker/qmp.h"

static void test_scan_takes(void **state)
{
	static const char *const GOOD[] = {
		"{}",
		" {\t} \r",
		"{\"return\": {}, \"id\": \"libvirt-1\"}",
		"{\"a\":[1,-2,0,0.5,1e9,1E-9,1.5e+3],\"b\":[true,false,null]}",
		"{\"n\":18446744073709551615}",
		"{\"s\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00fF\"}",
		"{\"s\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"}",
		"{\"a\":{\"x\":1},\"b\":{\"x\":1}}",
	};
	struct qmp_line line;
	(void)state;
	for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++)
		if (qmp_scan(GOOD[i], strlen(GOOD[i]), &line) != 0)
			fail_msg("not taken: %s", GOOD[i]);
}

static void test_scan_refuses(void **state)
{
	static const char *const BAD[] = {
		"",
		" ",
		"[]",
		"1",
		"\"x\"",
		"null",
		"{",
		"}",
		"{}}",
		"{} {}",
		"{}x",
		"{\"a\"}",
		"{\"a\":}",
		"{\"a\":1,}",
		"{,}",
		"{a:1}",
		"{'a':1}",
		"{\"a\":01}",
		"{\"a\":+1}",
		"{\"a\":.5}",
		"{\"a\":1.}",
		"{\"a\":1e}",
		"{\"a\":-}",
		"{\"a\":NaN}",
		"{\"a\":tru}",
		"{\"a\":True}",
		"{\"a\":[1,]}",
		"{\"a\":[,]}",
		"{\"a\":[1 2]}",
		"{\"a\":\"}",
		"{\"a\":\"\\x\"}",
		"{\"a\":\"\\u12g4\"}",
		"{\"a\":\"\\u12",
		"{\"a\":\"\t\"}",
		"{\"a\":\"\x80\"}",
		"{\"a\":\"\xc0\x80\"}",
		"{\"a\":\"\xed\xa0\x80\"}",
		"{\"a\":\"\xf4\x90\x80\x80\"}",
		"{\"a\":\"\xe2\x82\"}",
		"{\"a\":\"\xff\"}",
		"{\"a\":1,\"a\":2}",
		"{/**/}",
		"{\"a\":1}//",
		"\xef\xbb\xbf{}",
	};
	struct qmp_line line;
	(void)state;
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
		if (qmp_scan(BAD[i], strlen(BAD[i]), &line) >= 0)
			fail_msg("taken: %s", BAD[i]);
	assert_int_equal(qmp_scan("{\"a\":\"\0\"}", 9, &line), ERR_FORMAT);
	/* Every beginning of a good line is a bad one; reading past it is the sanitizer's to see.
	 */
	static const char WHOLE[] = "{\"a\":[1.5e3,{\"b\":\"\\u00e9\xc3\xa9\"},true],\"c\":null}";
	for (size_t n = 0; n < sizeof(WHOLE) - 1; n++) {
		char *cut = malloc(n + 1);
		assert_non_null(cut);
		memcpy(cut, WHOLE, n);
		char *exact = n ? realloc(cut, n) : cut;
		assert_true(qmp_scan(exact, n, &line) < 0);
		free(exact);
	}
	assert_int_equal(qmp_scan(WHOLE, sizeof(WHOLE) - 1, &line), 0);
}

static void test_scan_limits(void **state)
{
	struct qmp_line line;
	char text[4 * QMP_DEPTH_MAX + 16];
	(void)state;
	for (int depth = QMP_DEPTH_MAX - 1; depth <= QMP_DEPTH_MAX + 1; depth++) {
		size_t n = 0;
		memcpy(text, "{\"a\":", 5);
		n = 5;
		memset(text + n, '[', (size_t)depth - 1);
		n += (size_t)depth - 1;
		memset(text + n, ']', (size_t)depth - 1);
		n += (size_t)depth - 1;
		text[n++] = '}';
		assert_int_equal(qmp_scan(text, n, &line), depth > QMP_DEPTH_MAX ? ERR_LIMIT : 0);
	}
	static const char MANY[] =
		"{\"1\":1,\"2\":1,\"3\":1,\"4\":1,\"5\":1,\"6\":1,\"7\":1,\"8\":1,"
		"\"9\":1}";
	assert_int_equal(qmp_scan(MANY, sizeof(MANY) - 1, &line), ERR_LIMIT);
	/* A deep one of 10 MiB ends at the limit, and not in the stack. */
	char *deep = malloc(QMP_REPLY_MAX);
	assert_non_null(deep);
	memset(deep, '[', QMP_REPLY_MAX);
	memcpy(deep, "{\"a\":", 5);
	assert_int_equal(qmp_scan(deep, QMP_REPLY_MAX, &line), ERR_LIMIT);
	free(deep);
}

static void test_members(void **state)
{
	static const char TEXT[] = "{\"id\": \"sv-7\" , \"return\":{\"id\":1}}";
	struct qmp_line line;
	(void)state;
	assert_int_equal(qmp_scan(TEXT, sizeof(TEXT) - 1, &line), 0);
	assert_int_equal(line.n_members, 2);
	const struct qmp_text *value = qmp_member(&line, "return");
	assert_non_null(value);
	assert_int_equal(value->n, 8);
	assert_memory_equal(value->at, "{\"id\":1}", 8);
	assert_null(qmp_member(&line, "error"));
	assert_null(qmp_member(&line, "returns"));
	value = qmp_member(&line, "id");
	assert_true(qmp_is_text(value, "sv-7"));
	assert_false(qmp_is_text(value, "sv-77"));
	assert_false(qmp_is_text(value, "sv-"));
	assert_false(qmp_is_text(qmp_member(&line, "return"), "id"));
}

static int parse(const char *text, struct qmp_request *r)
{
	return qmp_parse_request(text, strlen(text), r);
}

static void test_requests(void **state)
{
	static const char LONG[] = "{\"execute\":\"a234567890123456789012345678901234567890123"
				   "456789012345678901234\"}";
	static const char *const BAD[] = {
		LONG,
		"{}",
		"{\"execute\":7}",
		"{\"execute\":\"\"}",
		"{\"execute\":\"a b\"}",
		"{\"execute\":\"a\\u0000b\"}",
		"{\"execute\":\"a\\nb\"}",
		"{\"execute\":\"a\",\"more\":1}",
		"{\"execute\":\"a\",\"arguments\":[]}",
		"{\"execute\":\"a\",\"arguments\":null}",
		"{\"execute\":\"a\",\"exec-oob\":\"b\"}",
		"{\"execute\":\"a\",\"execute\":\"b\"}",
		"{\"execute\":\"a\",\"ex\\u0065cute\":\"b\"}",
		"{\"execute\":\"a\",\"arguments\":{\"x\":1,\"x\":2}}",
		"{\"execute\":\"a\",\"arguments\":{\"x\":1,\"\\u0078\":2}}",
		"{\"execute\":\"a\",\"arguments\":{\"y\":{\"x\":1,\"x\":2}}}",
		"{\"execute\":\"a\",\"arguments\":{\"x\":18446744073709551615}}",
		"{\"execute\":\"a\",\"arguments\":{\"x\":\"\\ud800\"}}",
	};
	struct qmp_request r;
	(void)state;
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
		if (parse(BAD[i], &r) >= 0)
			fail_msg("taken: %s", BAD[i]);
		qmp_request_done(&r);
	}
	assert_int_equal(
		parse("{\"exec-oob\":\"query-x\",\"id\":[1],\"arguments\":{\"b\":1,\"a\":2}}", &r),
		0);
	assert_string_equal(r.command, "query-x");
	CLEANUP_BUF struct buf text = BUF_INIT(256);
	assert_int_equal(qmp_put_json(&text, r.arguments), 0);
	assert_int_equal(qmp_put_json(&text, r.id), 0);
	assert_string_equal(buf_cstr(&text), "{\"b\":1,\"a\":2}[1]");
	qmp_request_done(&r);
	CLEANUP_BUF struct buf small = BUF_INIT(4);
	assert_int_equal(parse("{\"execute\":\"a\",\"id\":\"12345\"}", &r), 0);
	assert_int_equal(qmp_put_json(&small, r.id), ERR_LIMIT);
	qmp_request_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan_takes),  cmocka_unit_test(test_scan_refuses),
		cmocka_unit_test(test_scan_limits), cmocka_unit_test(test_members),
		cmocka_unit_test(test_requests),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
