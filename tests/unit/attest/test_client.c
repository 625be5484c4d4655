/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client against guardians that are threads of this process, each with a key and a way of
 * answering.
 */
#include "attest/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "crypto/ossl.h"
#include "crypto/strict.h"
#include "crypto/tls.h"
#include "tests/unit/test.h"

#define REQUEST_MAX 65536

enum way {
	ANSWERS,    /* with STATUS and BODY */
	HANGS_UP,   /* when it has the request */
	IS_SILENT,  /* never says a word of TLS */
	STALLS,	    /* when it has the request */
	NEVER_ENDS, /* its answer */
	REDIRECTS,  /* to itself */
	HEADS_FOREVER,
	OLD_TLS,
};

struct server {
	enum way way;
	int status;
	const char *body;
	struct jwk *key;
	char pin[JWK_THUMBPRINT_SIZE];
	int listening, port;
	atomic_int stop, requests;
	char last[REQUEST_MAX]; /* request; written by the thread, read when it has answered */
	uint8_t peer[TLS_FINGERPRINT_BYTES];
	pthread_t thread;
};

static void say(SSL *ssl, const char *text)
{
	(void)!SSL_write(ssl, text, (int)strlen(text));
}

/* A whole request with a body as long as its Content-Length. */
static int read_request(struct server *s, SSL *ssl)
{
	size_t have = 0;
	for (;;) {
		int n = SSL_read(ssl, s->last + have, (int)(REQUEST_MAX - 1 - have));
		if (n <= 0)
			return 0;
		have += (size_t)n;
		s->last[have] = '\0';
		const char *end = strstr(s->last, "\r\n\r\n");
		const char *length = strcasestr(s->last, "\r\nContent-Length: ");
		if (end && have >= (size_t)(end + 4 - s->last) +
					   (length ? strtoul(length + 18, NULL, 10) : 0))
			return 1;
	}
}

static void answer(struct server *s, SSL *ssl)
{
	char head[256];
	static const char FILL[] = "                                                              ";
	switch (s->way) {
	case ANSWERS:
	case OLD_TLS:
		snprintf(head, sizeof(head),
			 "HTTP/1.1 %d x\r\nContent-Type: application/json\r\n"
			 "Content-Length: %zu\r\n\r\n",
			 s->status, strlen(s->body));
		say(ssl, head);
		say(ssl, s->body);
		break;
	case NEVER_ENDS:
		say(ssl, "HTTP/1.1 200 x\r\n\r\n{");
		while (!s->stop && SSL_write(ssl, FILL, sizeof(FILL) - 1) > 0)
			;
		break;
	case HEADS_FOREVER:
		say(ssl, "HTTP/1.1 200 x\r\n");
		while (!s->stop && SSL_write(ssl, "a: b\r\n", 6) > 0)
			;
		break;
	case REDIRECTS:
		snprintf(head, sizeof(head),
			 "HTTP/1.1 302 x\r\nLocation: https://127.0.0.1:%d/other\r\n"
			 "Content-Length: 0\r\n\r\n",
			 s->port);
		say(ssl, head);
		break;
	case STALLS:
		while (!s->stop)
			usleep(20000);
		break;
	case HANGS_UP:
	case IS_SILENT:
	default:
		break;
	}
}

static void serve(struct server *s, struct tls_server *tls, int fd)
{
	SSL *ssl = tls_session(tls);
	assert_non_null(ssl);
	SSL_set_fd(ssl, fd);
	if (s->way == OLD_TLS) {
		SSL_set_min_proto_version(ssl, TLS1_2_VERSION);
		SSL_set_max_proto_version(ssl, TLS1_2_VERSION);
	}
	if (SSL_accept(ssl) == 1 && tls_peer(ssl, s->peer) == 0) {
		while (read_request(s, ssl)) {
			s->requests++;
			answer(s, ssl);
			if (s->way != ANSWERS)
				break;
		}
	}
	SSL_free(ssl);
}

static void *run(void *arg)
{
	struct server *s = arg;
	struct tls_server *tls = NULL;
	struct fault f = { 0 };
	assert_int_equal(tls_server_new(s->key, &tls, &f), 0);
	while (!s->stop) {
		struct pollfd p = { .fd = s->listening, .events = POLLIN };
		if (poll(&p, 1, 50) <= 0)
			continue;
		CLEANUP_FD int fd = accept(s->listening, NULL, NULL);
		if (fd < 0)
			continue;
		/* Nobody waits for ever. */
		struct timeval limit = { .tv_usec = 300000 };
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		if (s->way == IS_SILENT)
			while (!s->stop && recv(fd, s->last, 1, MSG_PEEK) != 0)
				usleep(20000);
		else
			serve(s, tls, fd);
	}
	tls_server_free(tls);
	return NULL;
}

static void start(struct server *s, enum way way, int status, const char *body)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(at);
	memset(s, 0, sizeof(*s));
	s->way = way;
	s->status = status;
	s->body = body;
	assert_int_equal(jwk_new(&s->key, NULL), 0);
	assert_int_equal(jwk_thumbprint(s->key, s->pin), 0);
	s->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->listening, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(s->listening, 8), 0);
	assert_int_equal(getsockname(s->listening, (struct sockaddr *)&at, &n), 0);
	s->port = ntohs(at.sin_port);
	assert_int_equal(pthread_create(&s->thread, NULL, run, s), 0);
}

static void stop(struct server *s)
{
	s->stop = 1;
	pthread_join(s->thread, NULL);
	close(s->listening);
	jwk_free(s->key);
}

/* ---- a client of some of them ---- */

struct fixture {
	struct jwk *key;
	struct client *c;
	struct fault f;
	struct client_refusal why;
	json_t *out;
};

static void open_client(struct fixture *t, struct server *const *servers, size_t n, int deadline_ms)
{
	struct client_urls urls = { .n = n };
	memset(t, 0, sizeof(*t));
	for (size_t i = 0; i < n; i++) {
		snprintf(urls.at[i].address, sizeof(urls.at[i].address), "https://127.0.0.1:%d",
			 servers[i]->port);
		snprintf(urls.at[i].pin, sizeof(urls.at[i].pin), "%s", servers[i]->pin);
	}
	assert_int_equal(jwk_new(&t->key, &t->f), 0);
	assert_int_equal(client_open(&urls, t->key, deadline_ms, &t->c, &t->f), 0);
}

static void close_client(struct fixture *t)
{
	json_decref(t->out);
	client_close(t->c);
	jwk_free(t->key);
}

static int ask(struct fixture *t, const char *body, enum client_repeat repeat)
{
	json_t *o = body ? json_loads(body, 0, NULL) : NULL;
	json_decref(t->out);
	t->out = NULL;
	t->f = (struct fault){ 0 };
	int rc = client_ask(t->c, "/v1/x?a=1", o, repeat, &t->out, &t->why, &t->f);
	json_decref(o);
	assert_true(rc < 0 ? !t->out && t->f.text[0] && t->f.rc == rc : t->out != NULL);
	return rc;
}

#define REFUSED                                                                                    \
	"{\"status\":\"refused\",\"id\":\"host.pending\",\"text\":\"not "                          \
	"yet\",\"remedy\":\"wait\","                                                               \
	"\"findings\":[{\"id\":\"quote.nonce\",\"verdict\":\"failed\",\"text\":\"another\"}]}"
#define BUSY "{\"status\":\"refused\",\"id\":\"guardian.store\",\"text\":\"locked\"}"

/* ---- the tests ---- */

static void test_urls(void **state)
{
	static const char PIN[] = "#uRqLXcqoRAVDkeHmhTBsp4N7dgCPF5fnWKTP7JXTnm4";
	static const char *const GOOD[] = { "https://a:1", "https://a.b-c.example:65535",
					    "https://127.0.0.1:8787", "https://[::1]:8787",
					    "https://[fe80::1]:80" };
	static const char *const BAD[] = {
		"",
		"http://a:1",
		"HTTPS://a:1",
		"https://a",
		"https://a:",
		"https://a:0",
		"https://a:01",
		"https://a:65536",
		"https://a:99999999",
		"https://:1",
		"https://-a:1",
		"https://a:1/",
		"https://a:1/x",
		"https://u@a:1",
		"https://u:p@a:1",
		"https://a b:1",
		"https://[::1:80",
		"https://[]:80",
		"https://[::1]80",
		"https://a:1?x",
		"https://[a%eth0]:1",
		"https://a:1\n",
		"https://a_b:1",
		"file:///etc/passwd",
	};
	struct client_urls urls;
	char text[2048];
	(void)state;
	for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
		struct fault f = { 0 };
		snprintf(text, sizeof(text), "%s%s", GOOD[i], PIN);
		assert_int_equal(client_urls_parse(text, &urls, &f), 0);
		assert_int_equal(urls.n, 1);
		assert_string_equal(urls.at[0].address, GOOD[i]);
		assert_string_equal(urls.at[0].pin, PIN + 1);
	}
	urls.n = 77;
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
		struct fault f = { 0 };
		snprintf(text, sizeof(text), "%s%s", BAD[i], PIN);
		assert_int_equal(client_urls_parse(text, &urls, &f), ERR_USAGE);
		assert_non_null(strstr(f.text, "guardian's address"));
	}
	static const char *const BAD_PINS[] = {
		"https://a:1",
		"https://a:1#",
		"https://a:1#abc",
		/* One too long, an unused bit that is set, another alphabet. */
		"https://a:1#uRqLXcqoRAVDkeHmhTBsp4N7dgCPF5fnWKTP7JXTnm4A",
		"https://a:1#uRqLXcqoRAVDkeHmhTBsp4N7dgCPF5fnWKTP7JXTnm5",
		"https://a:1#uRqLXcqoRAVDkeHmhTBsp4N7dgCPF5fnWKTP7JXTn+4",
		"https://a:1##RqLXcqoRAVDkeHmhTBsp4N7dgCPF5fnWKTP7JXTnm4",
	};
	for (size_t i = 0; i < sizeof(BAD_PINS) / sizeof(BAD_PINS[0]); i++)
		assert_int_equal(client_urls_parse(BAD_PINS[i], &urls, NULL), ERR_USAGE);
	snprintf(text, sizeof(text), "https://a:1%s,", PIN);
	assert_int_equal(client_urls_parse(text, &urls, NULL), ERR_USAGE);
	assert_int_equal(urls.n, 77);
	/* In their order, and not too many. */
	size_t n = 0;
	for (unsigned i = 1; i <= CLIENT_URLS_MAX; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%shttps://h%u:%u%s",
				      i > 1 ? "," : "", i, i, PIN);
	assert_int_equal(client_urls_parse(text, &urls, NULL), 0);
	assert_int_equal(urls.n, CLIENT_URLS_MAX);
	assert_string_equal(urls.at[2].address, "https://h3:3");
	snprintf(text + n, sizeof(text) - n, ",https://a:1%s", PIN);
	assert_int_equal(client_urls_parse(text, &urls, NULL), ERR_USAGE);
}

static void test_asks(void **state)
{
	struct server s;
	struct fixture t;
	uint8_t print[TLS_FINGERPRINT_BYTES];
	(void)state;
	start(&s, ANSWERS, 200, "{\"a\":1}");
	open_client(&t, (struct server *[]){ &s }, 1, CLIENT_DEADLINE_MS);
	assert_int_equal(ask(&t, "{\"b\":[1,2]}", CLIENT_ONCE), 0);
	assert_int_equal(json_integer_value(json_object_get(t.out, "a")), 1);
	assert_memory_equal(s.last, "POST /v1/x?a=1 HTTP/1.1\r\n", 25);
	assert_non_null(strstr(s.last, "\r\nContent-Type: application/json\r\n"));
	assert_non_null(strstr(s.last, "\r\nContent-Length: 11\r\n"));
	assert_null(strstr(s.last, "Expect:"));
	assert_non_null(strstr(s.last, "\r\n\r\n{\"b\":[1,2]}"));
	/* Who asks is known by its key. */
	assert_int_equal(tls_fingerprint(t.key, print), 0);
	assert_memory_equal(s.peer, print, sizeof(print));
	assert_int_equal(ask(&t, NULL, CLIENT_REPEATABLE), 0);
	assert_memory_equal(s.last, "GET /v1/x?a=1 HTTP/1.1\r\n", 24);
	assert_int_equal(s.requests, 2);
	close_client(&t);
	stop(&s);
}

static void test_refusal(void **state)
{
	struct server s[2];
	struct fixture t;
	(void)state;
	start(&s[0], ANSWERS, 403, REFUSED);
	start(&s[1], ANSWERS, 200, "{}");
	open_client(&t, (struct server *[]){ &s[0], &s[1] }, 2, CLIENT_DEADLINE_MS);
	assert_int_equal(ask(&t, "{}", CLIENT_REPEATABLE), ERR_POLICY);
	assert_string_equal(t.why.id, "host.pending");
	assert_int_equal(t.why.findings.n, 1);
	assert_string_equal(t.why.findings.at[0].id, "quote.nonce");
	assert_int_equal(t.why.findings.at[0].verdict, FINDING_FAILED);
	assert_string_equal(t.why.findings.at[0].evidence, "another");
	assert_non_null(strstr(t.f.text, "host.pending): not yet"));
	/* Nobody else is asked. */
	assert_int_equal(s[1].requests, 0);
	close_client(&t);
	stop(&s[0]);
	stop(&s[1]);
}

static void test_next_one(void **state)
{
	static const struct {
		enum way way;
		int status;
		enum client_repeat repeat;
		int rc;
	} CASES[] = {
		{ ANSWERS, 503, CLIENT_ONCE, 0 },
		{ ANSWERS, 503, CLIENT_REPEATABLE, 0 },
		{ HANGS_UP, 0, CLIENT_REPEATABLE, 0 },
		/* What became of the request nobody knows. */
		{ HANGS_UP, 0, CLIENT_ONCE, -ECONNABORTED },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		struct server s[2];
		struct fixture t;
		start(&s[0], CASES[i].way, CASES[i].status, BUSY);
		start(&s[1], ANSWERS, 200, "{}");
		open_client(&t, (struct server *[]){ &s[0], &s[1] }, 2, CLIENT_DEADLINE_MS);
		assert_int_equal(ask(&t, "{}", CASES[i].repeat), CASES[i].rc);
		assert_int_equal(s[0].requests, 1);
		assert_int_equal(s[1].requests, CASES[i].rc == 0);
		/* The one that answered is asked first from now on. */
		assert_int_equal(ask(&t, "{}", CASES[i].repeat), 0);
		assert_int_equal(s[0].requests, 1);
		assert_int_equal(s[1].requests, 1 + (CASES[i].rc == 0));
		assert_non_null(strstr(client_address(t.c), "https://127.0.0.1:"));
		close_client(&t);
		stop(&s[0]);
		stop(&s[1]);
	}
}

/* Nobody listens at the first one's port: the second is asked, and alone it is told. */
static void test_unreachable(void **state)
{
	struct server s[2];
	struct fixture t;
	(void)state;
	start(&s[0], ANSWERS, 200, "{}");
	start(&s[1], ANSWERS, 200, "{}");
	stop(&s[0]);
	open_client(&t, (struct server *[]){ &s[0], &s[1] }, 2, CLIENT_DEADLINE_MS);
	assert_int_equal(ask(&t, "{}", CLIENT_ONCE), 0);
	close_client(&t);
	open_client(&t, (struct server *[]){ &s[0] }, 1, CLIENT_DEADLINE_MS);
	assert_int_equal(ask(&t, "{}", CLIENT_ONCE), -ECONNREFUSED);
	assert_non_null(strstr(t.f.text, "https://127.0.0.1:"));
	close_client(&t);
	stop(&s[1]);
}

static void test_pin(void **state)
{
	struct server s[2];
	struct fixture t;
	char pin[JWK_THUMBPRINT_SIZE];
	(void)state;
	start(&s[0], ANSWERS, 200, "{}");
	start(&s[1], ANSWERS, 200, "{\"second\":1}");
	memcpy(pin, s[0].pin, sizeof(pin));
	memcpy(s[0].pin, s[1].pin, sizeof(pin));
	open_client(&t, (struct server *[]){ &s[0] }, 1, CLIENT_DEADLINE_MS);
	assert_int_equal(ask(&t, "{}", CLIENT_ONCE), ERR_AUTH);
	assert_non_null(strstr(t.f.text, "another key"));
	assert_non_null(strstr(t.f.text, pin));
	assert_int_equal(s[0].requests, 0);
	close_client(&t);
	/* Another guardian, who has his key, does as well; alone, none does. */
	open_client(&t, (struct server *[]){ &s[0], &s[1] }, 2, CLIENT_DEADLINE_MS);
	assert_int_equal(ask(&t, "{}", CLIENT_ONCE), 0);
	assert_non_null(json_object_get(t.out, "second"));
	close_client(&t);
	stop(&s[1]);
	open_client(&t, (struct server *[]){ &s[0], &s[1] }, 2, CLIENT_DEADLINE_MS);
	assert_int_equal(ask(&t, "{}", CLIENT_ONCE), ERR_AUTH);
	close_client(&t);
	stop(&s[0]);
}

/* It is one for all guardians, from the first to the last byte. */
static void test_deadline(void **state)
{
	(void)state;
	for (int stalls = 0; stalls < 2; stalls++) {
		struct server s[2];
		struct fixture t;
		start(&s[0], stalls ? STALLS : IS_SILENT, 0, NULL);
		start(&s[1], stalls ? STALLS : IS_SILENT, 0, NULL);
		open_client(&t, (struct server *[]){ &s[0], &s[1] }, 2, 2500);
		int64_t began = clock_ms();
		assert_true(ask(&t, "{}", CLIENT_REPEATABLE) < 0);
		int64_t took = clock_ms() - began;
		assert_in_range(took, 2400, 10000);
		assert_non_null(strstr(t.f.text, "took too long"));
		assert_int_equal(s[0].requests, stalls);
		assert_int_equal(s[1].requests, 0);
		close_client(&t);
		stop(&s[0]);
		stop(&s[1]);
	}
}

static void test_bad_answers(void **state)
{
	static const struct {
		enum way way;
		int status;
		const char *body;
		int rc;
	} CASES[] = {
		{ ANSWERS, 200, "", ERR_FORMAT },
		{ ANSWERS, 200, "[]", ERR_FORMAT },
		{ ANSWERS, 200, "{\"a\":1,\"a\":2}", ERR_FORMAT },
		{ ANSWERS, 200, "{} x", ERR_FORMAT },
		{ ANSWERS, 404, "<html>", ERR_FORMAT },
		{ ANSWERS, 403, "{}", ERR_FORMAT },
		{ ANSWERS, 403, "{\"status\":\"fine\",\"id\":\"x\",\"text\":\"y\"}", ERR_FORMAT },
		{ ANSWERS, 403,
		  "{\"status\":\"refused\",\"id\":\"host.unhealthy\",\"text\":\"y\",\"findings\":"
		  "[{\"id\":\"no.such\",\"verdict\":\"ok\",\"text\":\"z\"}]}",
		  ERR_FORMAT },
		{ ANSWERS, 403,
		  "{\"status\":\"refused\",\"id\":\"host.unhealthy\",\"text\":\"y\",\"findings\":"
		  "[{\"id\":\"quote.nonce\",\"verdict\":\"fine\",\"text\":\"z\"}]}",
		  ERR_FORMAT },
		{ ANSWERS, 200, NULL, ERR_LIMIT }, /* a long one */
		{ NEVER_ENDS, 200, "", ERR_LIMIT },
		{ HEADS_FOREVER, 200, "", ERR_LIMIT },
		{ REDIRECTS, 302, "", ERR_FORMAT },
		{ OLD_TLS, 200, "{}", -ECONNREFUSED },
	};
	(void)state;
	char *lots = malloc(CLIENT_ANSWER_MAX + 2);
	assert_non_null(lots);
	memset(lots, ' ', CLIENT_ANSWER_MAX + 1);
	lots[CLIENT_ANSWER_MAX + 1] = '\0';
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		struct server s;
		struct fixture t;
		start(&s, CASES[i].way, CASES[i].status, CASES[i].body ? CASES[i].body : lots);
		open_client(&t, (struct server *[]){ &s }, 1, CLIENT_DEADLINE_MS);
		int rc = ask(&t, "{}", CLIENT_REPEATABLE);
		if (rc != CASES[i].rc)
			print_error("case %zu: %d: %s\n", i, rc, t.f.text);
		assert_int_equal(rc, CASES[i].rc);
		assert_int_equal(s.requests, CASES[i].way == OLD_TLS ? 0 : 1);
		close_client(&t);
		stop(&s);
	}
	free(lots);
}

/* Nothing of the environment leads elsewhere. */
static void test_environment(void **state)
{
	static const char *const NAMES[] = { "https_proxy", "HTTPS_PROXY", "all_proxy",
					     "ALL_PROXY" };
	char keys[] = "/tmp/test_client.XXXXXX";
	struct server s;
	struct fixture t;
	(void)state;
	CLEANUP_FD int fd = mkstemp(keys);
	assert_true(fd >= 0);
	setenv("SSLKEYLOGFILE", keys, 1);
	for (size_t i = 0; i < 4; i++)
		setenv(NAMES[i], "http://127.0.0.1:1", 1);
	start(&s, ANSWERS, 200, "{}");
	open_client(&t, (struct server *[]){ &s }, 1, CLIENT_DEADLINE_MS);
	assert_int_equal(ask(&t, "{}", CLIENT_ONCE), 0);
	close_client(&t);
	stop(&s);
	for (size_t i = 0; i < 4; i++)
		unsetenv(NAMES[i]);
	unsetenv("SSLKEYLOGFILE");
	char byte;
	assert_int_equal(read(fd, &byte, 1), 0); /* no session's keys in there */
	unlink(keys);
}

static void test_public_key(void **state)
{
	struct client_urls urls = { .n = 1 };
	CLEANUP_JWK struct jwk *k = NULL, *pub = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(JWK_FILE_MAX);
	struct client *c = NULL;
	(void)state;
	assert_int_equal(jwk_new(&k, NULL), 0);
	assert_int_equal(jwk_public_text(k, &text), 0);
	assert_int_equal(jwk_parse((const char *)text.data, text.len, &pub, NULL), 0);
	assert_int_equal(client_open(&urls, pub, 1000, &c, NULL), ERR_FORMAT);
	assert_null(c);
}

static void test_renewal(void **state)
{
	(void)state;
	int64_t least = INT64_MAX, most = 0;
	for (uint32_t i = 0; i < 20000; i++) {
		int64_t at = client_renew_at(1000, 1000 + 2700, i * 2654435761U);
		least = at < least ? at : least;
		most = at > most ? at : most;
	}
	assert_int_equal(least, 1000 + 1350 - 270);
	assert_int_equal(most, 1000 + 1350 + 270);
	assert_int_equal(client_renew_at(1000, 1000, 5), 1000);
	assert_int_equal(client_renew_at(1000, 900, 5), 1000);
	assert_int_equal(client_renew_at(1000, 1002, 5), 1001);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First: libcurl looks into the environment when it starts. */
		cmocka_unit_test(test_environment), cmocka_unit_test(test_urls),
		cmocka_unit_test(test_asks),	    cmocka_unit_test(test_refusal),
		cmocka_unit_test(test_next_one),    cmocka_unit_test(test_unreachable),
		cmocka_unit_test(test_pin),	    cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_bad_answers), cmocka_unit_test(test_public_key),
		cmocka_unit_test(test_renewal),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
