/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the monitor firewall adds to a QMP round trip: two QEMUs of one kind, paused, one with the
 * worker in front of it, asked the same in alternating blocks with libvirt's framing.
 *
 * The time is what the client sees, from its write to the last byte of the reply.  Answers are
 * compared: but for the VM's name they are the same both ways, and what the firewall refuses it
 * refuses here too, or this measures something else.
 *
 * Usage: monitor DIRECT-SOCKET SHIELD-SOCKET [--rounds N].  The exit status is 1 if a target is
 * missed, 3 if the answers are not what they have to be.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

#define REPLY_MAX   (1024 * 1024)
#define ROUNDS_MAX  400
#define BLOCK_MAX   50
#define SAMPLES_MAX (ROUNDS_MAX * BLOCK_MAX)
#define PATIENCE_S  30
#define ADDED_US    60 /* the target, for ordinary commands */
#define NAME_BYTES  6

enum { DIRECT, SHIELD, WAYS };

static const char *const NAMES[WAYS] = { "twin-a", "twin-b" };

/* One connection. */
struct way {
	int fd;
	unsigned long id; /* of the last command */
	char *reply;
	size_t n;
};

static struct question {
	const char *what, *command; /* what follows "execute", with its arguments */
	int block;		    /* how many at a time */
	double target_us;	    /* 0: none */
	double *us[WAYS];
	size_t n, reply_bytes;
} questions[] = {
	{ .what = "query-status", .command = "\"query-status\"", .block = 50 },
	{ .what = "qom-list /machine",
	  .command = "\"qom-list\",\"arguments\":{\"path\":\"/machine\"}",
	  .block = 50 },
	{ .what = "query-blockstats",
	  .command = "\"query-blockstats\",\"arguments\":{\"query-nodes\":true}",
	  .block = 50 },
	{ .what = "query-named-block-nodes",
	  .command = "\"query-named-block-nodes\",\"arguments\":{\"flat\":true}",
	  .block = 50 },
	{ .what = "query-qmp-schema", .command = "\"query-qmp-schema\"", .block = 5 },
};

#define N_QUESTIONS (sizeof(questions) / sizeof(questions[0]))

static void die(const char *what)
{
	fprintf(stderr, "bench monitor: %s: %s\n", what, strerror(errno));
	exit(3);
}

static void differs(const char *what, const struct way *w)
{
	fprintf(stderr, "bench monitor: %s: %.*s\n", what, (int)(w->n < 600 ? w->n : 600),
		w->reply);
	exit(3);
}

static double now_us(void)
{
	struct timespec t;
	if (clock_gettime(CLOCK_MONOTONIC, &t) < 0)
		die("clock");
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* ---- QMP ------------------------------------------------------------------------------------- */

/* One line, ending in CR LF as QEMU sends it. */
static void receive(struct way *w)
{
	w->n = 0;
	do {
		ssize_t got = recv(w->fd, w->reply + w->n, REPLY_MAX - w->n, 0);
		if (got <= 0)
			die("no reply");
		w->n += (size_t)got;
	} while (w->reply[w->n - 1] != '\n');
}

/* Ask; the reply is left in W.  Returns the microseconds from the write to the last byte. */
static double ask(struct way *w, const char *command)
{
	char line[256], id[64];
	int n = snprintf(line, sizeof(line), "{\"execute\":%s,\"id\":\"libvirt-%lu\"}\r\n", command,
			 ++w->id);
	int m = snprintf(id, sizeof(id), "\"id\": \"libvirt-%lu\"", w->id);
	double start = now_us();
	if (send(w->fd, line, (size_t)n, MSG_NOSIGNAL) != n)
		die("send");
	receive(w);
	double took = now_us() - start;
	if (!memmem(w->reply, w->n, id, (size_t)m))
		differs("a reply to something else", w);
	return took;
}

static int has(const struct way *w, const char *text)
{
	return memmem(w->reply, w->n, text, strlen(text)) != NULL;
}

static void greet(struct way *w, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	w->reply = malloc(REPLY_MAX);
	if (!w->reply || strlen(path) >= sizeof(address.sun_path))
		die(path);
	memcpy(address.sun_path, path, strlen(path));
	w->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (w->fd < 0 ||
	    setsockopt(w->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(w->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die(path);
	receive(w);
	if (!has(w, "\"QMP\""))
		differs("not QMP", w);
	ask(w, "\"qmp_capabilities\"");
	if (!has(w, "\"return\": {}"))
		differs("no handshake", w);
}

/* ---- Sanity ---------------------------------------------------------------------------------- */

/* The part of the reply that both have to have in common: the ids and the VM's name are not. */
static size_t common(const struct way *w, const char *name, char *out)
{
	char id[64];
	size_t n = 0,
	       id_bytes = (size_t)snprintf(id, sizeof(id), ", \"id\": \"libvirt-%lu\"", w->id);
	for (size_t i = 0; i < w->n;) {
		if (w->n - i >= NAME_BYTES && memcmp(w->reply + i, name, NAME_BYTES) == 0)
			i += NAME_BYTES;
		else if (w->n - i >= id_bytes && memcmp(w->reply + i, id, id_bytes) == 0)
			i += id_bytes;
		else
			out[n++] = w->reply[i++];
	}
	return n;
}

static void check_same(struct way ways[static WAYS], struct question *q)
{
	static char text[WAYS][REPLY_MAX];
	size_t n[WAYS];
	for (int i = 0; i < WAYS; i++) {
		ask(&ways[i], q->command);
		if (!has(&ways[i], "\"return\": "))
			differs(q->what, &ways[i]);
		n[i] = common(&ways[i], NAMES[i], text[i]);
	}
	q->reply_bytes = ways[DIRECT].n;
	if (n[0] != n[1] || memcmp(text[0], text[1], n[0]) != 0) {
		size_t at = 0;
		while (at < n[0] && at < n[1] && text[0][at] == text[1][at])
			at++;
		at = at < 60 ? 0 : at - 60;
		fprintf(stderr, "bench monitor: %s is answered in two ways:\n  %.200s\n  %.200s\n",
			q->what, text[0] + at, text[1] + at);
		exit(3);
	}
}

/* Each way is the one that it is taken for. */
static void check_ways(struct way ways[static WAYS])
{
	static const char HMP[] =
		"\"human-monitor-command\",\"arguments\":{\"command-line\":\"info status\"}";
	ask(&ways[DIRECT], HMP);
	if (!has(&ways[DIRECT], "paused"))
		differs("the direct QEMU is not paused, or not reached directly", &ways[DIRECT]);
	ask(&ways[SHIELD], HMP);
	if (!has(&ways[SHIELD], "shieldvm: debug.hmp: "))
		differs("the firewall is not in the way", &ways[SHIELD]);
}

/* ---- What is measured ------------------------------------------------------------------------ */

static void measure(struct way *w, struct question *q, int way, double *us)
{
	for (int i = 0; i < q->block; i++) {
		us[i] = ask(w, q->command);
		if (!has(w, "\"return\": ") || (way == DIRECT && w->n != q->reply_bytes &&
						labs((long)w->n - (long)q->reply_bytes) > 8))
			differs(q->what, w);
	}
}

static double at(const double *us, size_t n, double part)
{
	size_t i = (size_t)((double)n * part);
	return us[i < n ? i : n - 1];
}

static int report(struct question *q)
{
	double median[WAYS], p95[WAYS];
	for (int i = 0; i < WAYS; i++) {
		qsort(q->us[i], q->n, sizeof(double), compare);
		median[i] = at(q->us[i], q->n, 0.5);
		p95[i] = at(q->us[i], q->n, 0.95);
	}
	double added = median[SHIELD] - median[DIRECT];
	int miss = q->target_us > 0 && added > q->target_us;
	printf("%-26s %8zu %8.1f %8.1f %8.1f %8.1f   %s\n", q->what, q->reply_bytes, median[DIRECT],
	       median[SHIELD], added, p95[SHIELD] - p95[DIRECT],
	       q->target_us > 0 ? miss ? "<= 60: MISS" : "<= 60: PASS" : "-");
	return miss;
}

int main(int argc, char **argv)
{
	static struct way ways[WAYS];
	int rounds = 100, missed = 0;
	if (argc == 5 && strcmp(argv[3], "--rounds") == 0)
		rounds = (int)strtol(argv[4], NULL, 10);
	if ((argc != 3 && argc != 5) || rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: monitor DIRECT-SOCKET SHIELD-SOCKET [--rounds N]\n");
		return 2;
	}
	for (int i = 0; i < WAYS; i++)
		greet(&ways[i], argv[1 + i]);
	check_ways(ways);
	for (size_t k = 0; k < N_QUESTIONS; k++) {
		struct question *q = &questions[k];
		check_same(ways, q);
		q->target_us = k + 1 < N_QUESTIONS ? ADDED_US : 0;
		for (int i = 0; i < WAYS; i++) {
			q->us[i] = calloc(SAMPLES_MAX, sizeof(double));
			if (!q->us[i])
				die("memory");
		}
	}
	for (int r = 0; r < rounds; r++) {
		for (size_t k = 0; k < N_QUESTIONS; k++) {
			struct question *q = &questions[k];
			for (int i = 0; i < WAYS; i++) {
				int way = (r + i) % WAYS;
				measure(&ways[way], q, way, q->us[way] + q->n);
			}
			q->n += (size_t)q->block;
		}
	}
	printf("%-26s %8s %8s %8s %8s %8s\n", "QMP round trip, us", "bytes", "direct", "shieldvm",
	       "added", "p95 add");
	for (size_t k = 0; k < N_QUESTIONS; k++)
		missed |= report(&questions[k]);
	for (size_t k = 0; k < N_QUESTIONS; k++)
		check_same(ways, &questions[k]);
	return missed;
}
