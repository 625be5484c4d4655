/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/front.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "base/clock.h"
#include "base/log.h"
#include "guardian/http.h"
#include "guardian/refusal.h"
#include "guardian/route.h"

#define SPARE_FDS 32 /* besides those of connections */
#define GRANTS	  8192

/* What a connection is at; which list it is in. */
enum step {
	STEP_FIRST, /* handshake, first head */
	STEP_HEAD,  /* between requests */
	STEP_BODY,
	STEP_ASKED, /* the keeper has the request */
	STEP_ANSWER,
};

struct connection {
	struct front *front;
	enum step step;
	enum link_listener listener;
	uint64_t id; /* of its request, or of the one before; modulo FRONT_CONNECTIONS_MAX its slot
		      */
	struct bufferevent *bev;
	struct event *deadline;
	int known; /* the handshake is over */
	uint8_t peer[TLS_FINGERPRINT_BYTES];
	struct http_head head;
	enum route_id route;
	size_t *budget; /* what its body counts in, or NULL */
	TAILQ_ENTRY(connection) entry;
};
TAILQ_HEAD(connections, connection);

/* A client that may send one large body. */
struct grant {
	uint8_t peer[TLS_FINGERPRINT_BYTES];
	int64_t until_ms;
};

struct front {
	struct event_base *base;
	const struct tls_server *tls;
	struct evconnlistener *listeners[2];
	struct bufferevent *keeper;
	size_t n_connections, n_hosts, connections_max, n_first;
	struct connection *slots[FRONT_CONNECTIONS_MAX];
	size_t free_slots[FRONT_CONNECTIONS_MAX], n_free;
	struct connections first, idle;	    /* oldest first */
	size_t small_bytes[2], large_bytes; /* announced, by listener; granted */
	struct grant grants[GRANTS];
};

/* ---- Connections ---------------------------------------------------------------------------- */

static void set_deadline(struct connection *c, int64_t ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000 };
	/* A connection without a deadline is not kept. */
	if (event_add(c->deadline, &tv) < 0)
		event_active(c->deadline, EV_TIMEOUT, 0);
}

static int64_t transfer_ms(size_t n)
{
	return FRONT_TRANSFER_MS + (int64_t)(n / FRONT_TRANSFER_BYTES) * FRONT_PER_BYTES_MS;
}

static void enter(struct connection *c, enum step step, int64_t ms)
{
	struct front *f = c->front;
	if (c->step == STEP_FIRST) {
		TAILQ_REMOVE(&f->first, c, entry);
		f->n_first--;
	} else if (c->step == STEP_HEAD) {
		TAILQ_REMOVE(&f->idle, c, entry);
	}
	if (step == STEP_HEAD)
		TAILQ_INSERT_TAIL(&f->idle, c, entry);
	c->step = step;
	set_deadline(c, ms);
}

static void release_budget(struct connection *c)
{
	if (c->budget)
		*c->budget -= c->head.body_bytes;
	c->budget = NULL;
}

static void end(struct connection *c)
{
	struct front *f = c->front;
	enter(c, STEP_ANSWER, 0);
	release_budget(c);
	bufferevent_free(c->bev);
	event_free(c->deadline);
	size_t slot = (size_t)(c->id % FRONT_CONNECTIONS_MAX);
	f->slots[slot] = NULL;
	f->free_slots[f->n_free++] = slot;
	f->n_connections--;
	f->n_hosts -= c->listener == LINK_HOSTS;
	free(c);
}

/* Answer C with STATUS and the N bytes of BODY. */
static void answer(struct connection *c, unsigned status, const void *body, size_t n)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);
	release_budget(c);
	enter(c, STEP_ANSWER, transfer_ms(n));
	if (evbuffer_add_printf(out,
				"HTTP/1.1 %u %s\r\nContent-Type: application/json\r\n"
				"Content-Length: %zu\r\nCache-Control: no-store\r\n"
				"Connection: %s\r\n\r\n",
				status, http_reason(status), n,
				c->head.close ? "close" : "keep-alive") < 0 ||
	    evbuffer_add(out, body, n) < 0)
		set_deadline(c, 0);
}

/* Refuse for the reason ID, in words of ours, and end the connection: what follows in it may be the
 * rest of what was refused. */
static void refuse_here(struct connection *c, unsigned status, const char *id, const char *text)
{
	char body[512];
	int n = snprintf(body, sizeof(body),
			 "{\"status\":\"refused\",\"id\":\"%s\",\"text\":\"%s\",\"remedy\":\"%s\"}",
			 id, text, refusal_remedy(id));
	c->head.close = 1;
	answer(c, status, body, (size_t)n);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;
	(void)fd, (void)what;
	if (c->step == STEP_ASKED)
		refuse_here(c, 503, "guardian.busy", "the answer took too long");
	else
		end(c);
}

/* ---- Requests ------------------------------------------------------------------------------- */

static struct grant *grant_of(struct front *f, const uint8_t peer[static TLS_FINGERPRINT_BYTES])
{
	return &f->grants[(size_t)(peer[0] | peer[1] << 8) % GRANTS];
}

/* Evidence was asked for, which uses the grant up. */
static int take_grant(struct connection *c)
{
	struct grant *g = grant_of(c->front, c->peer);
	if (memcmp(g->peer, c->peer, sizeof(g->peer)) != 0 || clock_left_ms(g->until_ms) == 0)
		return 0;
	g->until_ms = 0;
	return 1;
}

/* 1 if C's client sends evidence already, or waits for its answer. */
static int has_granted(const struct connection *c)
{
	const struct front *f = c->front;
	for (size_t i = 0; i < FRONT_CONNECTIONS_MAX; i++) {
		const struct connection *o = f->slots[i];
		if (o && o->budget == &f->large_bytes &&
		    memcmp(o->peer, c->peer, sizeof(o->peer)) == 0)
			return 1;
	}
	return 0;
}

/* May the body that C's head announces come?  What it counts in is noted: strangers fill no bound
 * but their own, and the tiny ones are bounded by the number of connections. */
static int admit(struct connection *c)
{
	struct front *f = c->front;
	size_t n = c->head.body_bytes;
	int granted = c->route == ROUTE_ATTEST && n > FRONT_TINY_BODY && take_grant(c);
	size_t *budget = granted ? &f->large_bytes : &f->small_bytes[c->listener];
	size_t max = granted ? FRONT_LARGE_MAX : FRONT_BODIES_MAX;
	if (n > ROUTES[c->route].body_max ||
	    (c->route == ROUTE_ATTEST && n > FRONT_SMALL_BODY && !granted)) {
		refuse_here(c, 413, "request.size", "the request is too large here");
		return 0;
	}
	if (n <= FRONT_TINY_BODY)
		return 1;
	if (n > max - *budget || (granted && has_granted(c))) {
		refuse_here(c, 503, "guardian.busy", "too much is being sent to the guardian");
		return 0;
	}
	*budget += n;
	c->budget = budget;
	return 1;
}

/* All of the request is there: hand it on. */
static void ask(struct connection *c)
{
	struct evbuffer *to = bufferevent_get_output(c->front->keeper);
	struct evbuffer *in = bufferevent_get_input(c->bev);
	struct link_ask a = {
		.listener = (uint32_t)c->listener,
		.method = (uint32_t)c->head.method,
		.n_path = (uint32_t)strlen(c->head.path),
		.n_body = (uint32_t)c->head.body_bytes,
	};
	c->id += FRONT_CONNECTIONS_MAX;
	struct link_head head = {
		.magic = LINK_MAGIC,
		.op = LINK_ASK,
		.id = c->id,
		.n = sizeof(a) + a.n_path + a.n_body,
	};
	memcpy(a.peer, c->peer, sizeof(a.peer));
	enter(c, STEP_ASKED, FRONT_ANSWER_MS);
	bufferevent_disable(c->bev, EV_READ);
	/* Half a message would be the link's end, and the keeper's wait: this process' too. */
	if (evbuffer_add(to, &head, sizeof(head)) < 0 || evbuffer_add(to, &a, sizeof(a)) < 0 ||
	    evbuffer_add(to, c->head.path, a.n_path) < 0 ||
	    evbuffer_remove_buffer(in, to, a.n_body) != (int)a.n_body)
		event_base_loopbreak(c->front->base);
}

static void on_head(struct connection *c, const char *text, size_t n)
{
	int rc = http_parse(text, n, &c->head);
	if (rc < 0) {
		refuse_here(c, 400, "request.format", "this is not a request that is taken here");
		return;
	}
	rc = route_find(c->listener, c->head.method, c->head.path, &c->route);
	if (rc == ERR_PURPOSE) {
		refuse_here(c, 405, "request.method", "this path has another method");
	} else if (rc < 0) {
		refuse_here(c, 404, "request.path", "there is no such path here");
	} else if (admit(c)) {
		enter(c, STEP_BODY, transfer_ms(c->head.body_bytes));
		if (c->head.expects)
			bufferevent_write(c->bev, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	}
}

/* Look at what has come of C. */
static void look(struct connection *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	if (!c->known)
		return;
	if (c->step == STEP_FIRST || c->step == STEP_HEAD) {
		struct evbuffer_ptr at = evbuffer_search(in, "\r\n\r\n", 4, NULL);
		size_t n = at.pos < 0 ? evbuffer_get_length(in) : (size_t)at.pos + 4;
		if (n > HTTP_HEAD_MAX)
			refuse_here(c, 400, "request.format", "the request's head is too large");
		else if (at.pos >= 0) {
			const char *text = (const char *)evbuffer_pullup(in, (ev_ssize_t)n);
			if (!text) {
				end(c);
				return;
			}
			on_head(c, text, n);
			/* If it was refused the rest is of no use. */
			evbuffer_drain(in, c->step == STEP_BODY ? n : evbuffer_get_length(in));
		}
	}
	if (c->step == STEP_BODY) {
		size_t n = evbuffer_get_length(in);
		if (n > c->head.body_bytes)
			refuse_here(c, 400, "request.format", "one request at a time");
		else if (n == c->head.body_bytes)
			ask(c);
	} else if (c->step == STEP_ANSWER) {
		evbuffer_drain(in, evbuffer_get_length(in));
	}
}

static void on_read(struct bufferevent *bev, void *arg)
{
	(void)bev;
	look(arg);
}

/* Nothing follows.  A socket that is closed while something still comes takes back what the peer
 * has not read yet, so it is closed when the peer has, or a little later. */
static void linger(struct connection *c)
{
	tls_end(bufferevent_openssl_get_ssl(c->bev));
	set_deadline(c, FRONT_LINGER_MS);
	if (shutdown(bufferevent_getfd(c->bev), SHUT_WR) < 0 ||
	    bufferevent_enable(c->bev, EV_READ) < 0)
		set_deadline(c, 0);
}

/* All that was to be sent is sent. */
static void on_written(struct bufferevent *bev, void *arg)
{
	struct connection *c = arg;
	if (c->step != STEP_ANSWER || evbuffer_get_length(bufferevent_get_output(bev)) > 0)
		return;
	if (c->head.close) {
		linger(c);
		return;
	}
	enter(c, STEP_HEAD, FRONT_IDLE_MS);
	if (bufferevent_enable(bev, EV_READ) < 0)
		end(c);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct connection *c = arg;
	if (!(what & BEV_EVENT_CONNECTED) || c->known ||
	    tls_peer(bufferevent_openssl_get_ssl(bev), c->peer) < 0) {
		end(c);
		return;
	}
	c->known = 1;
	look(c);
}

/* Hosts' connections leave some to admins: a stranger who has them all keeps nobody from being
 * revoked. */
static int is_full(const struct front *f, enum link_listener listener)
{
	size_t of_hosts = f->connections_max - f->connections_max / FRONT_ADMINS_PART;
	return f->n_connections >= f->connections_max ||
	       (listener == LINK_HOSTS && f->n_hosts >= of_hosts);
}

/* Who has waited longest in LIST; of the hosts, if only they are too many. */
static struct connection *longest(const struct front *f, const struct connections *list)
{
	struct connection *c;
	TAILQ_FOREACH(c, list, entry)
	if (c->listener == LINK_HOSTS || f->n_connections >= f->connections_max)
		return c;
	return NULL;
}

/* Room for one more of LISTENER, if need be by ending who has waited longest without asking. */
static void make_room(struct front *f, enum link_listener listener)
{
	struct connection *c = NULL;
	if (f->n_first >= FRONT_UNFINISHED_MAX)
		c = TAILQ_FIRST(&f->first);
	else if (is_full(f, listener))
		c = longest(f, &f->idle) ? longest(f, &f->idle) : longest(f, &f->first);
	if (c)
		end(c);
}

static struct connection *connection_new(struct front *f, evutil_socket_t fd)
{
	struct connection *c = calloc(1, sizeof(*c));
	struct ssl_st *ssl = c ? tls_session(f->tls) : NULL;
	if (c) {
		c->deadline = evtimer_new(f->base, on_deadline, c);
		c->bev = ssl ? bufferevent_openssl_socket_new(f->base, fd, ssl,
							      BUFFEREVENT_SSL_ACCEPTING,
							      BEV_OPT_CLOSE_ON_FREE)
			     : NULL;
	}
	if (c && c->deadline && c->bev)
		return c;
	if (c && c->bev)
		bufferevent_free(c->bev);
	else
		evutil_closesocket(fd);
	if (c && c->deadline)
		event_free(c->deadline);
	free(c);
	return NULL;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from,
		      int from_bytes, void *arg)
{
	struct front *f = arg;
	(void)from, (void)from_bytes;
	enum link_listener at = listener == f->listeners[LINK_ADMINS] ? LINK_ADMINS : LINK_HOSTS;
	make_room(f, at);
	int full = is_full(f, at);
	struct connection *c = full ? NULL : connection_new(f, fd);
	if (full)
		evutil_closesocket(fd);
	if (!c)
		return;
	c->front = f;
	c->listener = at;
	c->id = f->free_slots[--f->n_free];
	f->slots[c->id] = c;
	f->n_connections++;
	f->n_hosts += at == LINK_HOSTS;
	f->n_first++;
	TAILQ_INSERT_TAIL(&f->first, c, entry);
	set_deadline(c, FRONT_FIRST_MS);
	bufferevent_setcb(c->bev, on_read, on_written, on_event, c);
	if (bufferevent_enable(c->bev, EV_READ | EV_WRITE) < 0)
		end(c);
}

/* ---- The keeper ----------------------------------------------------------------------------- */

/* A host that got a challenge may send evidence, once. */
static void note_answer(struct connection *c, unsigned status)
{
	struct grant *g = grant_of(c->front, c->peer);
	if (c->route != ROUTE_CHALLENGE || status != 200)
		return;
	memcpy(g->peer, c->peer, sizeof(g->peer));
	g->until_ms = clock_ms() + FRONT_GRANT_MS;
}

/* One answer off IN: 1, 0 if it is not all there yet, or ERR_FORMAT. */
static int take_answer(struct front *f, struct evbuffer *in)
{
	struct link_head h;
	struct link_answer a;
	if (evbuffer_copyout(in, &h, sizeof(h)) < (ev_ssize_t)sizeof(h))
		return 0;
	if (link_check(&h, LINK_ANSWER, LINK_REPLY_MAX + sizeof(a)) < 0 || h.n < sizeof(a))
		return ERR_FORMAT;
	if (evbuffer_get_length(in) < sizeof(h) + h.n)
		return 0;
	evbuffer_drain(in, sizeof(h));
	evbuffer_remove(in, &a, sizeof(a));
	size_t n = (size_t)h.n - sizeof(a);
	const unsigned char *body =
		n ? evbuffer_pullup(in, (ev_ssize_t)n) : (const unsigned char *)"";
	/* Whoever asked may have gone; his slot may be another's. */
	struct connection *c = f->slots[h.id % FRONT_CONNECTIONS_MAX];
	if (!body)
		return -ENOMEM;
	if (c && c->id == h.id && c->step == STEP_ASKED) {
		note_answer(c, a.status);
		answer(c, a.status, body, n);
	}
	evbuffer_drain(in, n);
	return 1;
}

static void on_keeper_read(struct bufferevent *bev, void *arg)
{
	struct front *f = arg;
	int rc;
	do
		rc = take_answer(f, bufferevent_get_input(bev));
	while (rc == 1);
	if (rc < 0)
		event_base_loopbreak(f->base);
}

static void on_keeper_event(struct bufferevent *bev, short what, void *arg)
{
	struct front *f = arg;
	(void)bev, (void)what;
	event_base_loopbreak(f->base);
}

/* ---- Start ---------------------------------------------------------------------------------- */

/* As many connections as there may be descriptors for. */
static size_t count_connections(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur <= SPARE_FDS)
		return 0;
	size_t n = (size_t)limit.rlim_cur - SPARE_FDS;
	return n < FRONT_CONNECTIONS_MAX ? n : FRONT_CONNECTIONS_MAX;
}

int front_new(const struct tls_server *tls, const struct front_fds *fds, struct front **out,
	      struct fault *fault)
{
	struct front *f = calloc(1, sizeof(*f));
	struct event_config *config = event_config_new();
	if (!f || !config)
		return fault_set(fault, -ENOMEM, "no memory to serve with");
	/* Nothing of the environment decides how it polls. */
	if (event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV | EVENT_BASE_FLAG_NOLOCK) < 0)
		return fault_set(fault, ERR_STATE, "libevent cannot be set up");
	f->base = event_base_new_with_config(config);
	event_config_free(config);
	f->tls = tls;
	f->connections_max = count_connections();
	TAILQ_INIT(&f->first);
	TAILQ_INIT(&f->idle);
	while (f->n_free < FRONT_CONNECTIONS_MAX) {
		f->free_slots[f->n_free] = FRONT_CONNECTIONS_MAX - 1 - f->n_free;
		f->n_free++;
	}
	if (!f->base || f->connections_max == 0)
		return fault_set(fault, ERR_STATE, "no descriptors or memory to serve with");
	f->keeper = bufferevent_socket_new(f->base, fds->keeper, 0);
	for (int i = 0; f->keeper && i < 2; i++)
		f->listeners[i] = evconnlistener_new(f->base, on_accept, f, LEV_OPT_CLOSE_ON_EXEC,
						     0, fds->listeners[i]);
	if (!f->keeper || !f->listeners[0] || !f->listeners[1])
		return fault_set(fault, -ENOMEM, "no memory to serve with");
	bufferevent_setcb(f->keeper, on_keeper_read, NULL, on_keeper_event, f);
	if (bufferevent_enable(f->keeper, EV_READ | EV_WRITE) < 0)
		return fault_set(fault, ERR_STATE, "the keeper cannot be listened to");
	*out = f;
	return 0;
}

int front_run(struct front *f, struct fault *fault)
{
	if (event_base_dispatch(f->base) < 0)
		return fault_set(fault, ERR_STATE, "the event loop has failed");
	return fault_set(fault, ERR_STATE, "the keeper has ended");
}
