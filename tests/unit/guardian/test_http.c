/* SPDX-License-Identifier: BSD-3-Clause */
/* Every way in which a request's head can be wrong, a row each; routes. */
#include "tests/unit/test.h"

#include <stdio.h>
#include <string.h>

#include "guardian/http.h"
#include "guardian/route.h"

#define GET  "GET /v1/info HTTP/1.1\r\nHost: x\r\n"
#define POST "POST /v1/challenge HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

static int parse(const char *text, struct http_head *out)
{
	return http_parse(text, strlen(text), out);
}

static void test_good(void **state)
{
	(void)state;
	struct http_head h;
	assert_int_equal(parse(GET "\r\n", &h), 0);
	assert_int_equal(h.method, LINK_GET);
	assert_string_equal(h.path, "/v1/info");
	assert_int_equal(h.body_bytes, 0);
	assert_false(h.close || h.expects);
	assert_int_equal(parse(POST "content-LENGTH: 17 \r\nExpect:100-Continue\r\n"
				    "Connection: \tclose\r\nX-y: \"(any)\"\r\n\r\n",
			       &h),
			 0);
	assert_int_equal(h.method, LINK_POST);
	assert_int_equal(h.body_bytes, 17);
	assert_true(h.close && h.expects);
	assert_int_equal(parse("GET /v1/log?vm=a-b&from=1 HTTP/1.1\r\nHost: x\r\n\r\n", &h), 0);
	assert_string_equal(h.path, "/v1/log?vm=a-b&from=1");
	char text[64];
	snprintf(text, sizeof(text), "Content-Length: %d\r\n\r\n", LINK_BODY_MAX);
	char all[256];
	snprintf(all, sizeof(all), POST "%s", text);
	assert_int_equal(parse(all, &h), 0);
	assert_int_equal(h.body_bytes, LINK_BODY_MAX);
}

static void test_bad(void **state)
{
	static const struct {
		const char *text;
		int rc;
	} ROWS[] = {
		{ "", ERR_FORMAT },
		{ "\r\n", ERR_FORMAT },
		{ GET, ERR_FORMAT },
		{ GET "\r\nx", ERR_FORMAT },
		{ "GET /v1/info HTTP/1.1\r\n\r\n", ERR_FORMAT },
		{ "GET /v1/info HTTP/1.1\nHost: x\r\n\r\n", ERR_FORMAT },
		{ "GET /v1/info HTTP/1.0\r\nHost: x\r\n\r\n", ERR_VERSION },
		{ "GET /v1/info HTTP/2\r\nHost: x\r\n\r\n", ERR_VERSION },
		{ "GET /v1/info\r\nHost: x\r\n\r\n", ERR_FORMAT },
		{ "GET  /v1/info HTTP/1.1\r\nHost: x\r\n\r\n", ERR_FORMAT },
		{ "GET /v1/info HTTP/1.1 \r\nHost: x\r\n\r\n", ERR_VERSION },
		{ "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", ERR_FORMAT },
		{ "GET /%2f HTTP/1.1\r\nHost: x\r\n\r\n", ERR_FORMAT },
		{ "get /v1/info HTTP/1.1\r\nHost: x\r\n\r\n", ERR_PURPOSE },
		{ "PUT /v1/info HTTP/1.1\r\nHost: x\r\n\r\n", ERR_PURPOSE },
		{ " GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n", ERR_FORMAT },
		{ GET "Host: y\r\n\r\n", ERR_FORMAT },
		{ GET " folded\r\n\r\n", ERR_FORMAT },
		{ GET "X : y\r\n\r\n", ERR_FORMAT },
		{ GET "X\r\n\r\n", ERR_FORMAT },
		{ GET ": y\r\n\r\n", ERR_FORMAT },
		{ GET "X: \x7f\r\n\r\n", ERR_FORMAT },
		{ GET "X: \x01\r\n\r\n", ERR_FORMAT },
		{ GET "X: y\rz\r\n\r\n", ERR_FORMAT },
		{ GET "Content-Length: 1\r\n\r\n", ERR_FORMAT },
		{ GET "Expect: 100-continue\r\n\r\n", ERR_FORMAT },
		{ GET "Connection: upgrade\r\n\r\n", ERR_FORMAT },
		{ GET "Transfer-Encoding: chunked\r\n\r\n", ERR_PURPOSE },
		{ GET "Upgrade: h2c\r\n\r\n", ERR_PURPOSE },
		{ "GET /v1/info HTTP/1.1\r\nHost:\r\n\r\n", ERR_FORMAT },
		{ POST "\r\n", ERR_FORMAT },
		{ POST "Content-Length:\r\n\r\n", ERR_FORMAT },
		{ POST "Content-Length: 1x\r\n\r\n", ERR_FORMAT },
		{ POST "Content-Length: -1\r\n\r\n", ERR_FORMAT },
		{ POST "Content-Length: +1\r\n\r\n", ERR_FORMAT },
		{ POST "Content-Length: 01\r\n\r\n", ERR_FORMAT },
		{ POST "Content-Length: 1, 1\r\n\r\n", ERR_FORMAT },
		{ POST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", ERR_FORMAT },
		{ POST "Content-Length: 14684161\r\n\r\n", ERR_LIMIT },
		{ POST "Content-Length: 18446744073709551617\r\n\r\n", ERR_LIMIT },
		{ POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", ERR_PURPOSE },
		{ POST "Content-Length: 1\r\nContent-Encoding: gzip\r\n\r\n", ERR_PURPOSE },
		{ POST "Content-Length: 1\r\nExpect: more\r\n\r\n", ERR_FORMAT },
		{ "POST /v1/info HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", ERR_FORMAT },
		{ "POST /v1/info HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
		  "Content-Type: text/plain\r\n\r\n",
		  ERR_FORMAT },
	};
	(void)state;
	_Static_assert(LINK_BODY_MAX == 14684160, "the row above is one more");
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		struct http_head h = { .body_bytes = 77 };
		int rc = parse(ROWS[i].text, &h);
		if (rc != ROWS[i].rc)
			fail_msg("row %zu: %d instead of %d:\n%s", i, rc, ROWS[i].rc, ROWS[i].text);
		assert_int_equal(h.body_bytes, 77);
	}
	/* A NUL is no text. */
	struct http_head h;
	assert_int_equal(http_parse("GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", 28, &h), ERR_FORMAT);
}

static void test_limits(void **state)
{
	(void)state;
	static char text[HTTP_HEAD_MAX + 64];
	struct http_head h;
	size_t n = (size_t)sprintf(text, GET);
	for (int i = 1; i < HTTP_HEADERS_MAX; i++)
		n += (size_t)sprintf(text + n, "X: y\r\n");
	strcpy(text + n, "\r\n");
	assert_int_equal(parse(text, &h), 0);
	strcpy(text + n, "X: y\r\n\r\n");
	assert_int_equal(parse(text, &h), ERR_LIMIT);
	for (int over = 0; over < 2; over++) {
		n = (size_t)sprintf(text, GET "X: ");
		while (n < HTTP_HEAD_MAX - 4 + (size_t)over)
			text[n++] = 'y';
		strcpy(text + n, "\r\n\r\n");
		assert_int_equal(parse(text, &h), over ? ERR_LIMIT : 0);
		n = (size_t)sprintf(text, "GET /");
		while (n < 4 + LINK_PATH_MAX + (size_t)over)
			text[n++] = 'y';
		strcpy(text + n, " HTTP/1.1\r\nHost: x\r\n\r\n");
		assert_int_equal(parse(text, &h), over ? ERR_LIMIT : 0);
	}
}

static void test_routes(void **state)
{
	(void)state;
	enum route_id id = ROUTE_COUNT;
	for (int i = 0; i < ROUTE_COUNT; i++) {
		const struct route *r = &ROUTES[i];
		assert_int_equal(route_find(r->listener, r->method, r->path, &id), 0);
		assert_int_equal(id, i);
		assert_int_equal(route_find(r->listener == LINK_HOSTS ? LINK_ADMINS : LINK_HOSTS,
					    r->method, r->path, &id),
				 ERR_USAGE);
		assert_true(r->method == LINK_POST || r->body_max == 0);
		assert_true(r->body_max <= LINK_BODY_MAX);
	}
	assert_int_equal(route_find(LINK_HOSTS, LINK_POST, "/v1/info", &id), ERR_PURPOSE);
	assert_int_equal(route_find(LINK_HOSTS, LINK_GET, "/v1/info?x", &id), ERR_USAGE);
	assert_int_equal(route_find(LINK_HOSTS, LINK_GET, "/v1/info/", &id), ERR_USAGE);
	assert_int_equal(route_find(LINK_HOSTS, LINK_GET, "/v1/inf", &id), ERR_USAGE);
	assert_int_equal(route_find(LINK_HOSTS, LINK_GET, "", &id), ERR_USAGE);
	assert_int_equal(route_find(LINK_ADMINS, LINK_GET, "/v1/log?vm=1", &id), 0);
	assert_string_equal(http_reason(200), "OK");
	assert_string_equal(http_reason(599), "Error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_routes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
