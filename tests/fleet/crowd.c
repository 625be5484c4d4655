/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/fleet/crowd.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "crypto/ossl.h"

#include "base/clock.h"
#include "tests/unit/test.h"

#define TRICKLE_MS 1000
#define WAIT_S	   20

enum kind { IDLE, IN_HANDSHAKE, IN_HEAD, IN_BODY };

struct one {
	enum kind kind;
	int fd; /* -1: not open */
	SSL *ssl;
	size_t sent; /* bytes of what it trickles */
};

static struct one all[CROWD_MAX];
static unsigned n_all, port_of;
static pthread_t threads[CROWD_THREADS];
static size_t numbers[CROWD_THREADS];
static atomic_int leaving, running;
static atomic_uint open_idle, open_loris;
static atomic_ulong ended, refused;
static SSL_CTX *context;

/* ---- One connection -------------------------------------------------------------------------- */

/* As a host shows itself: a certificate that its key signed itself. */
static SSL_CTX *make_context(void)
{
	SSL_CTX *c = SSL_CTX_new(TLS_client_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	assert_true(c && key && cert);
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	X509_set_pubkey(cert, key);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	assert_true(SSL_CTX_use_certificate(c, cert) == 1 && SSL_CTX_use_PrivateKey(c, key) == 1 &&
		    SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) == 1);
	SSL_CTX_set_verify(c, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	X509_free(cert);
	EVP_PKEY_free(key);
	return c;
}

static int dial(unsigned port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct timeval wait = { .tv_sec = WAIT_S };
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) == 0 &&
	    connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void shut(struct one *c)
{
	SSL_free(c->ssl);
	if (c->fd >= 0)
		close(c->fd);
	*c = (struct one){ .kind = c->kind, .fd = -1 };
}

/* Connected, and with TLS if C's kind has come so far. */
static int open_one(struct one *c, unsigned port)
{
	c->fd = dial(port);
	c->sent = 0;
	if (c->fd < 0)
		return -1;
	if (c->kind == IN_HANDSHAKE)
		return 0;
	c->ssl = SSL_new(context);
	if (c->ssl && SSL_set_fd(c->ssl, c->fd) == 1 && SSL_connect(c->ssl) == 1)
		return 0;
	ERR_clear_error();
	shut(c);
	return -1;
}

/* GET PATH and read the answer: all there is at once, which is all of a small one. */
static int get(struct one *c, const char *path)
{
	char text[256], answer[16384];
	int n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: guardian\r\n\r\n", path);
	if (SSL_write(c->ssl, text, n) == n && SSL_read(c->ssl, answer, sizeof(answer)) > 0)
		return 0;
	ERR_clear_error();
	return -1;
}

/* The next byte of what C never gets done. */
static int trickle(struct one *c)
{
	static const char HEAD[] = "GET /v1/info HTTP/1.1\r\nHost: guardian\r\nX-Slow: ";
	static const char BODY[] = "POST /v1/challenge HTTP/1.1\r\nHost: guardian\r\n"
				   "Content-Type: application/json\r\nContent-Length: 4000\r\n\r\n";
	/* A TLS record of 512 bytes that begins a ClientHello. */
	static const unsigned char HELLO[] = { 22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3 };
	size_t at = c->sent++, n = 1;
	if (c->kind == IN_HANDSHAKE) {
		unsigned char byte = at < sizeof(HELLO) ? HELLO[at] : (unsigned char)at;
		return send(c->fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 ? 0 : -1;
	}
	const char *what = at < sizeof(HEAD) - 1 ? HEAD + at : "x";
	if (c->kind == IN_BODY) {
		what = at == 0 ? BODY : " ";
		n = at == 0 ? sizeof(BODY) - 1 : 1;
	}
	if (SSL_write(c->ssl, what, (int)n) == (int)n)
		return 0;
	ERR_clear_error();
	return -1;
}

static atomic_uint *count_of(const struct one *c)
{
	return c->kind == IDLE ? &open_idle : &open_loris;
}

/* ---- All of them ----------------------------------------------------------------------------- */

static void come(struct one *c)
{
	if (open_one(c, port_of) < 0 || (c->kind == IDLE && get(c, "/v1/info") < 0)) {
		refused++;
		shut(c);
		return;
	}
	(*count_of(c))++;
}

/* 1 if the guardian has ended C: what else there may be to read are TLS' tickets. */
static int has_ended(const struct one *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLRDHUP };
	return poll(&p, 1, 0) > 0;
}

static void *serve(void *arg)
{
	size_t first = *(const size_t *)arg;
	while (!leaving) {
		int64_t until = clock_ms() + TRICKLE_MS;
		for (size_t i = first; i < n_all && !leaving; i += CROWD_THREADS) {
			struct one *c = &all[i];
			if (c->fd >= 0 && (has_ended(c) || (c->kind != IDLE && trickle(c) < 0))) {
				ended++;
				(*count_of(c))--;
				shut(c);
			}
			if (c->fd < 0)
				come(c);
		}
		if (!leaving)
			usleep((useconds_t)clock_left_ms(until) * 1000);
	}
	for (size_t i = first; i < n_all; i += CROWD_THREADS)
		shut(&all[i]);
	return NULL;
}

void crowd_come(unsigned port, unsigned n_idle, unsigned n_loris)
{
	assert_true(n_idle + n_loris <= CROWD_MAX && !running);
	if (!context)
		context = make_context();
	port_of = port;
	n_all = n_idle + n_loris;
	for (unsigned i = 0; i < n_all; i++)
		all[i] = (struct one){ .fd = -1,
				       .kind = i < n_idle ? IDLE
							  : (enum kind)(IN_HANDSHAKE + i % 3) };
	open_idle = open_loris = 0;
	ended = refused = 0;
	leaving = 0;
	running = 1;
	for (size_t i = 0; i < CROWD_THREADS; i++) {
		numbers[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, serve, &numbers[i]), 0);
	}
}

struct crowd_state crowd_look(void)
{
	return (struct crowd_state){ open_idle, open_loris, ended, refused };
}

void crowd_leave(void)
{
	leaving = 1;
	for (int i = 0; running && i < CROWD_THREADS; i++)
		pthread_join(threads[i], NULL);
	running = 0;
}

/* ---- Handshakes ------------------------------------------------------------------------------ */

struct shaker {
	pthread_t thread;
	unsigned port;
	const char *path;
	int64_t until_ms;
	unsigned long done;
};

static void *shake(void *arg)
{
	struct shaker *s = arg;
	while (clock_left_ms(s->until_ms) > 0) {
		struct one c = { .kind = IN_HEAD, .fd = -1 };
		s->done += open_one(&c, s->port) == 0 && get(&c, s->path) == 0;
		shut(&c);
	}
	return NULL;
}

double crowd_handshakes(unsigned port, const char *path, unsigned n, double seconds)
{
	struct shaker s[16];
	unsigned long done = 0;
	int64_t began = clock_ms();
	if (!context)
		context = make_context();
	assert_true(n <= sizeof(s) / sizeof(s[0]));
	for (unsigned i = 0; i < n; i++) {
		s[i] = (struct shaker){ .port = port, .path = path };
		s[i].until_ms = began + (int64_t)(seconds * 1000);
		assert_int_equal(pthread_create(&s[i].thread, NULL, shake, &s[i]), 0);
	}
	for (unsigned i = 0; i < n; i++) {
		pthread_join(s[i].thread, NULL);
		done += s[i].done;
	}
	return (double)done * 1000 / (double)(clock_ms() - began);
}
