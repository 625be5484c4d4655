/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A migration channel on one machine: what one thread writes in pieces of 128 KiB, as QEMU does,
 * another reads, over loopback TCP, in one run and in turns.
 *
 *  plain: the two threads have the connection
 *  gnutls: the same with GnuTLS as QEMU has it: AES-256-GCM, and a TLS record for each element
 *      of QEMU's vectors, which are pages and their headers of 8 bytes by turns
 *  pumps: plain, through a pump at each end, as a worker is one
 *  tls: pumps that speak TLS 1.3 with libssl, AES-256-GCM
 *  wire: pumps that are migration/wire.h
 *
 * Usage: channel [--rounds N] [--mib N].  MB/s by the clock, and the CPU seconds of the whole
 * process for each GiB.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_GNUTLS
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#endif

#include "base/fd.h"
#include "crypto/ossl.h"
#include "migration/wire.h"

#define ROUNDS_MAX  100
#define PIECE	    (128 * 1024)
#define PAGE	    4096
#define PAGE_HEADER 8
#define CHUNK	    (256 * 1024)
#define RAM_BYTES   (32UL * 1024 * 1024)
#define BUFFER_SIZE (1024 * 1024) /* of sockets; as much of it as the kernel gives */

enum way { PLAIN, GNUTLS, PUMPS, TLS, WIRE, WAYS };
static const char *const NAMES[WAYS] = { "plain", "gnutls", "pumps", "tls", "wire" };

static uint8_t *ram;
static size_t total;
static struct channel_keys *keys;
static const uint8_t VM[UUID_BYTES] = { 1 };

/* One end of what is measured: QEMU's thread and, but for plain and gnutls, its pump. */
struct end {
	enum way way;
	int is_source;
	int qemu, pump, net; /* QEMU's socket, the pump's end of it, the connection */
	void *tls;
};

static void die(const char *what)
{
	fprintf(stderr, "bench channel: %s: %s\n", what, strerror(errno));
	exit(3);
}

static double now_s(void)
{
	struct timespec t;
	if (clock_gettime(CLOCK_MONOTONIC, &t) < 0)
		die("clock");
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_s(void)
{
	struct rusage r;
	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
	       (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), compare);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* ---- GnuTLS ---- */

#ifdef HAVE_GNUTLS
static gnutls_certificate_credentials_t credentials[2]; /* destination's, source's */

static void gnutls_set_up(void)
{
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t crt;
	if (gnutls_x509_privkey_init(&key) < 0 || gnutls_x509_crt_init(&crt) < 0 ||
	    gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
					 GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0) < 0 ||
	    gnutls_x509_crt_set_version(crt, 3) < 0 || gnutls_x509_crt_set_key(crt, key) < 0 ||
	    gnutls_x509_crt_set_serial(crt, "\1", 1) < 0 ||
	    gnutls_x509_crt_set_activation_time(crt, time(NULL) - 1) < 0 ||
	    gnutls_x509_crt_set_expiration_time(crt, time(NULL) + 86400) < 0 ||
	    gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0) < 0 ||
	    gnutls_certificate_allocate_credentials(&credentials[0]) < 0 ||
	    gnutls_certificate_allocate_credentials(&credentials[1]) < 0 ||
	    gnutls_certificate_set_x509_key(credentials[0], &crt, 1, key) < 0)
		die("a certificate");
}

static void gnutls_begin(struct end *e)
{
	gnutls_session_t s;
	int rc = gnutls_init(&s, e->is_source ? GNUTLS_CLIENT : GNUTLS_SERVER);
	if (rc < 0 || gnutls_priority_set_direct(s, "NORMAL", NULL) < 0 ||
	    gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, credentials[e->is_source]) < 0)
		die("gnutls");
	gnutls_transport_set_int(s, e->net);
	do {
		rc = gnutls_handshake(s);
	} while (rc < 0 && !gnutls_error_is_fatal(rc));
	if (rc < 0 || gnutls_cipher_get(s) != GNUTLS_CIPHER_AES_256_GCM)
		die("gnutls handshake");
	e->tls = s;
}

static ssize_t gnutls_io(struct end *e, uint8_t *at, size_t n)
{
	if (e->is_source) {
		n = n < PAGE ? n : PAGE;
		if (gnutls_record_send(e->tls, at, PAGE_HEADER) != PAGE_HEADER)
			die("gnutls");
	}
	ssize_t done = e->is_source ? gnutls_record_send(e->tls, at, n)
				    : gnutls_record_recv(e->tls, at, n);
	if (done < 0)
		die("gnutls");
	return done;
}
#endif

/* ---- QEMU ---- */

static ssize_t qemu_io(struct end *e, uint8_t *at, size_t n)
{
#ifdef HAVE_GNUTLS
	if (e->way == GNUTLS)
		return gnutls_io(e, at, n);
#endif
	int fd = e->way == PLAIN ? e->net : e->qemu;
	return e->is_source ? write(fd, at, n) : read(fd, at, n);
}

static void *qemu(void *arg)
{
	struct end *e = arg;
	static uint8_t sink[PIECE];
#ifdef HAVE_GNUTLS
	if (e->way == GNUTLS)
		gnutls_begin(e);
#endif
	size_t all = total;
	if (e->way == GNUTLS && !e->is_source)
		all += total / PAGE * PAGE_HEADER;
	for (size_t done = 0; done < all;) {
		size_t at = done % RAM_BYTES, n = PIECE - at % PIECE;
		ssize_t moved = qemu_io(e, e->is_source ? ram + at : sink, n);
		if (moved <= 0)
			die(e->is_source ? "QEMU's write" : "QEMU's read");
		done += (size_t)moved;
	}
	if (e->way == PLAIN || e->way == GNUTLS)
		return NULL;
	shutdown(e->qemu, SHUT_WR);
	while (e->is_source && read(e->qemu, &e->way, 0) > 0)
		;
	return NULL;
}

/* ---- pumps ---- */

static SSL_SESSION *bench_session(SSL *ssl)
{
	static const uint8_t PSK[32] = { 1 }, SUITE[] = { 0x13, 0x02 };
	SSL_SESSION *s = SSL_SESSION_new();
	if (!s || SSL_SESSION_set1_master_key(s, PSK, sizeof(PSK)) != 1 ||
	    SSL_SESSION_set_cipher(s, SSL_CIPHER_find(ssl, SUITE)) != 1 ||
	    SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION) != 1)
		die("libssl");
	return s;
}

static int bench_use(SSL *ssl, const EVP_MD *md, const uint8_t **id, size_t *n, SSL_SESSION **out)
{
	(void)md;
	*id = VM;
	*n = sizeof(VM);
	*out = bench_session(ssl);
	return 1;
}

static int bench_find(SSL *ssl, const uint8_t *id, size_t n, SSL_SESSION **out)
{
	(void)id;
	(void)n;
	*out = bench_session(ssl);
	return 1;
}

static void pump_tls(struct end *e, uint8_t *chunk)
{
	SSL_CTX *ctx = SSL_CTX_new(e->is_source ? TLS_client_method() : TLS_server_method());
	SSL_CTX_set_psk_use_session_callback(ctx, bench_use);
	SSL_CTX_set_psk_find_session_callback(ctx, bench_find);
	SSL_CTX_set_ciphersuites(ctx, "TLS_AES_256_GCM_SHA384");
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, CHUNK);
	SSL *ssl = SSL_new(ctx);
	SSL_set_fd(ssl, e->net);
	if ((e->is_source ? SSL_connect(ssl) : SSL_accept(ssl)) != 1)
		die("libssl handshake");
	for (size_t done = 0; done < total;) {
		size_t n = 0;
		if (e->is_source) {
			ssize_t got = read(e->pump, chunk, CHUNK);
			if (got <= 0 || SSL_write_ex(ssl, chunk, (size_t)got, &n) != 1)
				die("pump");
		} else if (SSL_read_ex(ssl, chunk, CHUNK, &n) != 1 ||
			   fd_write_full(e->pump, chunk, n) < 0) {
			die("pump");
		}
		done += n;
	}
	SSL_free(ssl);
	SSL_CTX_free(ctx);
}

static void pump_plain(struct end *e, uint8_t *chunk)
{
	int in = e->is_source ? e->pump : e->net, out = e->is_source ? e->net : e->pump;
	for (size_t done = 0; done < total;) {
		ssize_t n = read(in, chunk, CHUNK);
		if (n <= 0 || fd_write_full(out, chunk, (size_t)n) < 0)
			die("pump");
		done += (size_t)n;
	}
}

static void pump_wire(struct end *e)
{
	const struct channel_id id = {
		.kind = CHANNEL_MEMORY, .number = 1, .vm = { 1 }, .attempt = { 1 }
	};
	struct wire *w = NULL;
	struct fault f = { 0 };
	if (fd_set_nonblock(e->net, 1) < 0 || fd_set_nonblock(e->pump, 1) < 0 ||
	    wire_new(keys, &w) < 0 ||
	    (e->is_source ? wire_source(w, &id, NULL, e->net, e->net, WIRE_OPEN_MS, &f)
			  : wire_destination(w, e->net, e->net, WIRE_OPEN_MS, &f)) < 0)
		die("a wire");
	wire_attach(w, e->pump, e->pump);
	e->net = e->pump = -1;
	while (wire_state(w) != WIRE_DONE && wire_state(w) != WIRE_FAILED) {
		struct pollfd slots[WIRE_SLOTS];
		wire_slots(w, slots);
		(void)!poll(slots, WIRE_SLOTS, wire_timeout_ms(w));
		wire_serve(w, slots);
	}
	if (wire_state(w) == WIRE_FAILED) {
		fprintf(stderr, "bench channel: %s\n", wire_fault(w)->text);
		exit(3);
	}
	wire_free(w);
}

static void *pump(void *arg)
{
	struct end *e = arg;
	uint8_t *chunk = malloc(CHUNK);
	if (!chunk)
		die("memory");
	if (e->way == WIRE)
		pump_wire(e);
	else if (e->way == TLS)
		pump_tls(e, chunk);
	else
		pump_plain(e, chunk);
	free(chunk);
	return NULL;
}

/* ---- one run ---- */

static void enlarge(int fd)
{
	int n = BUFFER_SIZE;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &n, sizeof(n));
}

static void connection(int fds[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t n = sizeof(a);
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&a, n) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&a, &n) < 0 ||
	    connect(fds[0], (struct sockaddr *)&a, n) < 0 ||
	    (fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
		die("a connection");
	for (int i = 0; i < 2; i++)
		(void)setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	close(listener);
}

struct cost {
	double rate, cpu; /* MB/s, CPU seconds for each GiB */
};

static struct cost run(enum way way)
{
	struct end e[2];
	pthread_t threads[4];
	int net[2], n = 0;
	connection(net);
	for (int i = 0; i < 2; i++) {
		int local[2];
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, local) < 0)
			die("socketpair");
		enlarge(local[0]);
		enlarge(local[1]);
		e[i] = (struct end){ .way = way,
				     .is_source = !i,
				     .qemu = local[0],
				     .pump = local[1],
				     .net = net[i] };
	}
	double began = now_s(), cpu = cpu_s();
	for (int i = 0; i < 2; i++) {
		if (pthread_create(&threads[n++], NULL, qemu, &e[i]) ||
		    (way >= PUMPS && pthread_create(&threads[n++], NULL, pump, &e[i])))
			die("a thread");
	}
	while (n > 0)
		pthread_join(threads[--n], NULL);
	struct cost c = { (double)total / 1e6 / (now_s() - began),
			  (cpu_s() - cpu) * 1073741824.0 / (double)total };
	for (int i = 0; i < 2; i++) {
		fd_close(&e[i].qemu);
		fd_close(&e[i].pump);
		fd_close(&e[i].net);
	}
	return c;
}

static int missed;

static void target(const char *what, double ratio, double least)
{
	printf("%-44s %6.2f  >= %.2f %s\n", what, ratio, least, ratio >= least ? "PASS" : "MISSED");
	missed |= ratio < least;
}

int main(int argc, char **argv)
{
	static double rate[WAYS][ROUNDS_MAX], cpu[WAYS][ROUNDS_MAX];
	double rates[WAYS] = { 0 }, cpus[WAYS] = { 0 };
	struct vm_key key = { { 1 } };
	int rounds = 5, mib = 1024;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
			rounds = atoi(argv[++i]);
		else if (strcmp(argv[i], "--mib") == 0 && i + 1 < argc)
			mib = atoi(argv[++i]);
		else
			rounds = 0;
	}
	if (rounds < 1 || rounds > ROUNDS_MAX || mib < 1) {
		fprintf(stderr, "usage: channel [--rounds N] [--mib N]\n");
		return 2;
	}
	total = (size_t)mib * 1024 * 1024;
	signal(SIGPIPE, SIG_IGN);
	ram = malloc(RAM_BYTES);
	if (!ram || channel_keys_new(&key, VM, &keys, NULL) < 0)
		die("keys");
	for (size_t i = 0; i < RAM_BYTES; i += 256)
		(void)!getrandom(ram + i, 256, 0);
#ifdef HAVE_GNUTLS
	gnutls_set_up();
#endif
	for (size_t r = 0; r < (size_t)rounds; r++) {
		for (enum way way = PLAIN; way < WAYS; way++) {
#ifndef HAVE_GNUTLS
			if (way == GNUTLS)
				continue;
#endif
			struct cost c = run(way);
			rate[way][r] = c.rate;
			cpu[way][r] = c.cpu;
		}
	}
	printf("%-10s %9s %12s\n", "medians", "MB/s", "CPU s/GiB");
	for (enum way way = PLAIN; way < WAYS; way++) {
		rates[way] = median(rate[way], (size_t)rounds);
		cpus[way] = median(cpu[way], (size_t)rounds);
		if (rates[way] > 0)
			printf("%-10s %9.0f %12.3f\n", NAMES[way], rates[way], cpus[way]);
	}
	printf("\n");
	target("wire : plain, MB/s", rates[WIRE] / rates[PLAIN], 0.5);
	if (rates[GNUTLS] > 0)
		target("wire : gnutls, MB/s", rates[WIRE] / rates[GNUTLS], 3);
	else
		printf("no GnuTLS in this build: no ratio to QEMU's own TLS\n");
	target("CPU for a byte, tls : wire", cpus[TLS] / cpus[WIRE], 1.15);
	return missed;
}
