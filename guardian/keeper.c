/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/keeper.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "guardian/service.h"

#define READ_MS 10000 /* for the rest of a message that has begun */
#define TELL_MS 60000 /* between lines about what fails here */

/* Evidence that is, or waits to be, judged. */
struct job {
	uint64_t id;	/* of the front's request */
	uint64_t front; /* which front asked */
	uint8_t peer[STORE_FINGERPRINT_BYTES];
	int sent;	     /* the verifier has it */
	int64_t deadline_ms; /* once it is the first */
	struct certify_case c;
	struct buf message; /* LINK_ASK, whose body has the evidence */
	size_t body_at, n_body;
};

struct keeper {
	const struct guardian *g;
	struct keys *keys;
	int parent, front, verifier;
	uint32_t number; /* the verifier's */
	uint64_t fronts, judgements;
	size_t n_jobs;
	struct job jobs[KEEPER_QUEUE_MAX]; /* the first is the verifier's */
	int64_t tend_ms, tell_ms;
	uint64_t failed; /* requests, since the log was told */
};

static void job_done(struct job *j)
{
	certify_case_done(&j->c);
	buf_done(&j->message);
}

static void lose_front(struct keeper *k)
{
	fd_close(&k->front);
	k->fronts++;
}

/* Of what failed here; seldom, since a process writes so much and no more. */
static void tell_failed(struct keeper *k, const struct fault *f)
{
	if (!*f->text)
		return;
	k->failed++;
	if (clock_ms() < k->tell_ms)
		return;
	log_error("%" PRIu64 " refused; the last: %s", k->failed, f->text);
	k->failed = 0;
	k->tell_ms = clock_ms() + TELL_MS;
}

/* Who asked may be gone; the decision stands then all the same. */
static void reply(struct keeper *k, uint64_t front, uint64_t id, const struct service_reply *r)
{
	struct link_answer a = { .status = r->status };
	const struct link_part parts[] = { { &a, sizeof(a) }, { r->body.data, r->body.len } };

	tell_failed(k, &r->own);
	if (k->front < 0 || front != k->fronts)
		return;
	int rc = link_write(k->front, LINK_ANSWER, id, parts, 2);
	if (rc < 0) {
		log_warning("the front does not listen: %s", err_text(rc));
		lose_front(k);
	}
}

static void drop_first(struct keeper *k)
{
	job_done(&k->jobs[0]);
	k->n_jobs--;
	memmove(&k->jobs[0], &k->jobs[1], k->n_jobs * sizeof(k->jobs[0]));
	if (k->n_jobs)
		k->jobs[0].deadline_ms = clock_ms() + CERTIFY_JUDGE_SECONDS * 1000;
}

/* The verifier is gone: refuse what it had. */
static void forget_verifier(struct keeper *k)
{
	fd_close(&k->verifier);
	if (k->n_jobs == 0 || !k->jobs[0].sent)
		return;
	CLEANUP_SERVICE_REPLY struct service_reply r;
	service_reply_init(&r);
	service_refuse(&r, "guardian.verifier", ERR_STATE,
		       "what looks into evidence ended over it; nothing was certified");
	reply(k, k->jobs[0].front, k->jobs[0].id, &r);
	drop_first(k);
}

/* The verifier is of no more use: have another one. */
static void lose_verifier(struct keeper *k, const char *why)
{
	const struct keeper_note note = { KEEPER_VERIFIER, k->number };
	log_error("the verifier %s", why);
	if (k->verifier >= 0 && fd_send(k->parent, &note, sizeof(note), NULL, 0) < 0)
		log_error("the parent does not listen");
	forget_verifier(k);
}

/* Who had the release key is of no more use: have another one. */
static void look_at_keys(struct keeper *k)
{
	const struct keeper_note note = { KEEPER_KEYS, k->keys->number };
	if (!k->keys->lost)
		return;
	k->keys->lost = 0;
	log_error("the release key cannot be used: nothing was released");
	if (fd_send(k->parent, &note, sizeof(note), NULL, 0) < 0)
		log_error("the parent does not listen");
}

/* Give the first job to the verifier, if both are there. */
static void send_first(struct keeper *k)
{
	struct job *j = &k->jobs[0];
	if (k->n_jobs == 0 || k->verifier < 0 || j->sent)
		return;
	struct link_judge head = {
		.challenge = j->c.challenge,
		.n_ak = (uint32_t)j->c.ak_pub.len,
		.n_policy = (uint32_t)j->c.policy.len,
		.n_body = (uint32_t)j->n_body,
	};
	memcpy(head.host, j->c.host, sizeof(head.host));
	const struct link_part parts[] = {
		{ &head, sizeof(head) },
		{ j->c.ak_pub.data, j->c.ak_pub.len },
		{ j->c.policy.data, j->c.policy.len },
		{ j->message.data + j->body_at, j->n_body },
	};
	j->sent = 1;
	if (link_write(k->verifier, LINK_JUDGE, ++k->judgements, parts, 4) < 0)
		lose_verifier(k, "takes no evidence");
}

/* The verifier's word, looked at like a stranger's. */
static int read_verdict(const struct buf *m, struct certify_verdict *v, struct findings *list)
{
	struct link_verdict said;
	struct link_finding told;
	size_t at = 0;
	int rc = link_take(m, &at, &said, sizeof(said));
	if (rc >= 0 && (said.healthy > 1 || said.n_findings > FINDINGS_MAX))
		rc = ERR_FORMAT;
	for (uint32_t i = 0; rc >= 0 && i < said.n_findings; i++) {
		rc = link_take(m, &at, &told, sizeof(told));
		if (rc >= 0)
			rc = link_finding_get(&told, list);
	}
	if (rc < 0 || at != m->len)
		return ERR_FORMAT;
	/* No host is healthy of which something is shown to be wrong. */
	v->healthy = said.healthy == 1 && findings_good(list);
	memcpy(v->x, said.x, sizeof(v->x));
	memcpy(v->y, said.y, sizeof(v->y));
	memcpy(v->worker, said.worker, sizeof(v->worker));
	v->reset_count = said.reset_count;
	v->restart_count = said.restart_count;
	return 0;
}

static void hear_verifier(struct keeper *k)
{
	static struct findings list;
	struct certify_verdict v = { 0 };
	uint64_t id = 0;
	CLEANUP_BUF struct buf m = BUF_INIT(LINK_VERDICT_MAX);
	list.n = 0;
	int rc = link_read(k->verifier, LINK_VERDICT, clock_ms() + READ_MS, &id, &m);
	if (rc == ERR_STATE || rc == ERR_TRUNCATED || rc == -ECONNRESET) {
		lose_verifier(k, "has ended");
		return;
	}
	if (rc < 0 || k->n_jobs == 0 || !k->jobs[0].sent || id != k->judgements ||
	    read_verdict(&m, &v, &list) < 0) {
		lose_verifier(k, "says what it was not asked");
		return;
	}
	CLEANUP_SERVICE_REPLY struct service_reply r;
	service_reply_init(&r);
	service_judged(k->g, &k->jobs[0].c, &v, &list, (int64_t)time(NULL), &r);
	reply(k, k->jobs[0].front, k->jobs[0].id, &r);
	drop_first(k);
}

/* What the front sent, as a request; it ends with a NUL that was not sent. */
static int read_ask(struct buf *m, struct service_ask *q, char path[static LINK_PATH_MAX + 1],
		    size_t *body_at)
{
	struct link_ask a;
	const uint8_t *text, *body;
	size_t at = 0;
	int rc = link_take(m, &at, &a, sizeof(a));
	if (rc < 0 || a.n_path > LINK_PATH_MAX || a.listener > LINK_ADMINS || a.method > LINK_POST)
		return ERR_FORMAT;
	rc = link_piece(m, &at, a.n_path, &text);
	*body_at = at;
	if (rc >= 0)
		rc = link_piece(m, &at, a.n_body, &body);
	if (rc < 0 || at != m->len || memchr(text, 0, a.n_path))
		return ERR_FORMAT;
	memcpy(path, text, a.n_path);
	path[a.n_path] = '\0';
	*q = (struct service_ask){
		.listener = (enum link_listener)a.listener,
		.method = (enum link_method)a.method,
		.path = path,
		.body = (const char *)body,
		.n_body = a.n_body,
	};
	memcpy(q->peer, a.peer, sizeof(q->peer));
	return 0;
}

static int is_attest(const struct service_ask *q)
{
	enum route_id route;
	return route_find(q->listener, q->method, q->path, &route) == 0 && route == ROUTE_ATTEST;
}

/* May evidence of Q's host wait too?  One host's own must not fill the queue. */
static int has_room(const struct keeper *k, const struct service_ask *q)
{
	size_t bytes = q->n_body;
	for (size_t i = 0; i < k->n_jobs; i++) {
		if (memcmp(k->jobs[i].peer, q->peer, sizeof(q->peer)) == 0)
			return 0;
		bytes += k->jobs[i].message.len + k->jobs[i].c.policy.len;
	}
	return k->n_jobs < KEEPER_QUEUE_MAX && bytes <= KEEPER_QUEUE_BYTES;
}

/* Answer the request in M, or keep it for the verifier: 1, M is then taken. */
static int answer(struct keeper *k, uint64_t id, struct buf *m, struct service_reply *r)
{
	char path[LINK_PATH_MAX + 1];
	struct service_ask q;
	struct certify_case c;
	size_t body_at;
	if (read_ask(m, &q, path, &body_at) < 0)
		return ERR_FORMAT;
	/* Before the challenge is spent for nothing. */
	if (is_attest(&q) && !has_room(k, &q)) {
		service_refuse(r, "guardian.busy", ERR_LIMIT,
			       "too many hosts, or this one already, are being looked at: ask "
			       "again in a moment");
		return 0;
	}
	certify_case_init(&c);
	if (service_ask(k->g, &q, (int64_t)time(NULL), &c, r) == SERVICE_DONE) {
		certify_case_done(&c);
		return 0;
	}
	struct job *j = &k->jobs[k->n_jobs++];
	*j = (struct job){
		.id = id,
		.front = k->fronts,
		.deadline_ms = clock_ms() + CERTIFY_JUDGE_SECONDS * 1000,
		.c = c,
		.message = *m,
		.body_at = body_at,
		.n_body = q.n_body,
	};
	memcpy(j->peer, q.peer, sizeof(j->peer));
	return 1;
}

static void hear_front(struct keeper *k)
{
	uint64_t id = 0;
	struct buf m = BUF_INIT(LINK_ASK_MAX);
	CLEANUP_SERVICE_REPLY struct service_reply r;
	service_reply_init(&r);
	int rc = link_read(k->front, LINK_ASK, clock_ms() + READ_MS, &id, &m);
	if (rc >= 0)
		rc = answer(k, id, &m, &r);
	if (rc == 1)
		return;
	buf_done(&m);
	if (rc == 0) {
		reply(k, k->fronts, id, &r);
		return;
	}
	log_error("the front %s", rc == ERR_STATE ? "has ended" : "says what it may not");
	lose_front(k);
}

/* A new end of a link.  1 at the parent's end. */
static int hear_parent(struct keeper *k)
{
	int fds[FD_PASS_MAX];
	size_t n_fds = 0;
	struct keeper_note note = { 0 };
	ssize_t n = fd_recv(k->parent, &note, sizeof(note), fds, &n_fds);
	if (n != (ssize_t)sizeof(note) || n_fds != 1)
		return 1;
	if (note.word == KEEPER_FRONT) {
		lose_front(k);
		k->front = fds[0];
	} else if (note.word == KEEPER_KEYS) {
		fd_close(&k->keys->link);
		k->keys->link = fds[0];
		k->keys->number = note.number;
		k->keys->lost = 0;
	} else {
		/* The end of the one before may not have been seen yet. */
		forget_verifier(k);
		k->verifier = fds[0];
		k->number = note.number;
	}
	return 0;
}

static void look_at_time(struct keeper *k)
{
	if (k->n_jobs && clock_left_ms(k->jobs[0].deadline_ms) == 0) {
		/* One that never came to a verifier is refused like one that did. */
		k->jobs[0].sent = 1;
		lose_verifier(k, "takes too long");
	}
	if (clock_left_ms(k->tend_ms) == 0) {
		struct refusal why = { 0 };
		if (guardian_tend(k->g, (int64_t)time(NULL), &why) < 0)
			log_error("old challenges and certificates stay: %s", why.fault.text);
		k->tend_ms = clock_ms() + KEEPER_TEND_MS;
	}
}

int keeper_run(const struct guardian *g, struct keys *keys, int parent, struct fault *f)
{
	static struct keeper k;
	k = (struct keeper){ .g = g, .keys = keys, .parent = parent, .front = -1, .verifier = -1 };
	for (;;) {
		look_at_time(&k);
		look_at_keys(&k);
		send_first(&k);
		struct pollfd p[] = {
			{ .fd = k.parent, .events = POLLIN },
			{ .fd = k.verifier, .events = POLLIN },
			{ .fd = k.front, .events = POLLIN },
		};
		int64_t until = k.tend_ms;
		if (k.n_jobs && k.jobs[0].deadline_ms < until)
			until = k.jobs[0].deadline_ms;
		if (poll(p, 3, clock_left_ms(until)) < 0 && errno != EINTR)
			return fault_set(f, -errno, "poll: %s", err_text(-errno));
		if (p[0].revents && hear_parent(&k))
			return 0;
		if (p[0].revents)
			continue; /* the others may be new ones */
		if (p[1].revents)
			hear_verifier(&k);
		else if (p[2].revents)
			hear_front(&k);
	}
}
