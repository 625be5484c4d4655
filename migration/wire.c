/* SPDX-License-Identifier: BSD-3-Clause */
#include "migration/wire_inner.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

enum { NET_IN, NET_OUT, QEMU_IN, QEMU_OUT };

static void side_close(struct side *s)
{
	if (s->out != s->in)
		fd_close(&s->out);
	fd_close(&s->in);
	*s = (struct side){ .in = -1, .out = -1 };
}

/* The other end gets no more from here. */
static void side_end(struct side *s)
{
	if (s->out_ended)
		return;
	s->out_ended = 1;
	if (s->out != s->in)
		fd_close(&s->out);
	else
		(void)shutdown(s->out, SHUT_WR); /* it fails when the other end has gone */
}

/* ---- the life of a wire ---- */

int wire_new(struct channel_keys *k, struct wire **out)
{
	struct wire *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->keys = k;
	w->net = w->qemu = (struct side){ .in = -1, .out = -1 };
	*out = w;
	return 0;
}

static void drop_channel(struct wire *w)
{
	channel_free(w->channel);
	w->channel = NULL;
	/* The peer learns of it, whoever else holds the connection. */
	if (w->net.in >= 0)
		(void)shutdown(w->net.in, SHUT_RDWR);
	side_close(&w->net);
}

void wire_abort(struct wire *w)
{
	drop_channel(w);
	side_close(&w->qemu);
	w->state = WIRE_IDLE;
}

void wire_drop(struct wire *w)
{
	drop_channel(w);
	w->state = WIRE_FAILED;
}

void wire_free(struct wire *w)
{
	if (!w)
		return;
	wire_abort(w);
	wipe_free(w, sizeof(*w));
}

static int is_up(const struct wire *w)
{
	return w->state == WIRE_OPENING || w->state == WIRE_ASKED || w->state == WIRE_OPEN ||
	       w->state == WIRE_RUNNING || w->state == WIRE_TALKING;
}

/* The end, with what fault_set() has said.  Why it ends here may be for the peer to know. */
void wire_fail(struct wire *w, int rc)
{
	const uint8_t *last;
	size_t n = w->net.out >= 0 ? channel_out(w->channel, &last) : 0;
	if (n && write(w->net.out, last, n) < 0)
		n = 0; /* then it is not */
	w->fault.rc = rc;
	drop_channel(w);
	w->state = WIRE_FAILED;
}

static void fail_errno(struct wire *w, const char *what)
{
	int rc = -errno;
	wire_fail(w, fault_set(&w->fault, rc, "%s: %s", what, err_text(rc)));
}

/* If the channel has failed, so has the wire. */
int wire_channel_lives(struct wire *w)
{
	if (channel_state(w->channel) != CHANNEL_FAILED)
		return 1;
	int rc = channel_fault(w->channel)->rc;
	if (rc == ERR_TRUNCATED && w->is_source && w->greeted && w->state == WIRE_OPENING)
		fault_set(&w->fault, rc,
			  "the other host's worker has ended the connection instead of answering: "
			  "is it of another version?");
	else
		w->fault = *channel_fault(w->channel);
	wire_fail(w, w->fault.rc);
	return 0;
}

static int start(struct wire *w, struct channel *c, int is_source, int greets, int net_in,
		 int net_out, int64_t open_ms)
{
	wire_abort(w);
	w->channel = c;
	w->is_source = is_source;
	w->greets = greets;
	w->greeted = 0;
	w->net = (struct side){ .in = net_in, .out = net_out };
	w->deadline_ms = clock_ms() + open_ms;
	w->fault = (struct fault){ 0 };
	w->answer = (struct answer){ 0 };
	w->progress = (struct wire_progress){ 0 };
	w->said = w->heard = WORD_NONE;
	w->n_saying = w->ending = w->deaf = 0;
	w->state = WIRE_OPENING;
	return 0;
}

int wire_source(struct wire *w, const struct channel_id *id, const struct hello *hello, int net_in,
		int net_out, int64_t open_ms, struct fault *f)
{
	struct channel *c = NULL;
	if (is_up(w))
		return fault_set(f, ERR_STATE, "this channel is in use");
	if ((hello != NULL) != channel_id_greets(id))
		return fault_set(f, ERR_USAGE,
				 "a hello belongs to the first channel and to a disk's");
	int rc = channel_source(w->keys, id, &c);
	if (rc < 0)
		return fault_set(f, rc, "a channel cannot be made: %s", err_text(rc));
	if (hello)
		w->hello = *hello;
	return start(w, c, 1, hello != NULL, net_in, net_out, open_ms);
}

int wire_destination(struct wire *w, int net_in, int net_out, int64_t open_ms, struct fault *f)
{
	struct channel *c = NULL;
	if (is_up(w))
		return fault_set(f, ERR_STATE, "this channel is in use");
	int rc = channel_destination(w->keys, &c);
	if (rc < 0)
		return fault_set(f, rc, "a channel cannot be made: %s", err_text(rc));
	return start(w, c, 0, 0, net_in, net_out, open_ms);
}

const struct channel_id *wire_id(const struct wire *w)
{
	return w->channel ? channel_id(w->channel) : NULL;
}

const struct hello *wire_hello(const struct wire *w)
{
	return !w->is_source && w->greeted ? &w->hello : NULL;
}

const struct answer *wire_refusal(const struct wire *w)
{
	return w->state == WIRE_FAILED && w->answer.refused ? &w->answer : NULL;
}

/* ---- hello and answer ---- */

static void send_record(struct wire *w, const uint8_t *src, size_t n)
{
	uint8_t *at;
	if (channel_send(w->channel, &at) < n) {
		wire_fail(w, fault_set(&w->fault, ERR_STATE, "a record is on its way already"));
		return;
	}
	memcpy(at, src, n);
	if (channel_send_done(w->channel, n) < 0)
		(void)wire_channel_lives(w);
}

static void enter_open(struct wire *w)
{
	w->state = w->qemu.in >= 0 ? WIRE_RUNNING : WIRE_OPEN;
}

void wire_attach(struct wire *w, int qemu_in, int qemu_out)
{
	side_close(&w->qemu);
	w->qemu = (struct side){ .in = qemu_in, .out = qemu_out };
	w->attached = 1;
	if (w->state == WIRE_OPEN)
		w->state = WIRE_RUNNING;
}

static void fail_refused(struct wire *w)
{
	wire_fail(w,
		  fault_set(&w->fault, ERR_POLICY, "%s: %s%s", w->answer.rule,
			    w->is_source ? "the destination refuses: " : "", w->answer.sentence));
}

void wire_answer(struct wire *w, const struct answer *a)
{
	uint8_t bytes[ANSWER_BYTES_MAX];
	if (w->state != WIRE_ASKED)
		return;
	w->answer = *a;
	w->state = WIRE_OPENING;
	send_record(w, bytes, answer_encode(a, bytes));
}

/* The source is of another version, whose worker hears why nothing comes of it. */
static void refuse_version(struct wire *w)
{
	struct answer no;
	hello_refuse_version(&no);
	w->greeted = 1;
	w->state = WIRE_ASKED;
	wire_answer(w, &no);
}

/* Is the handshake over?  Where there is one, the source then says hello. */
static void look_at_handshake(struct wire *w)
{
	uint8_t bytes[HELLO_BYTES];
	const uint8_t *at;
	if (!wire_channel_lives(w) || channel_state(w->channel) != CHANNEL_OPEN)
		return;
	w->greets = channel_id_greets(channel_id(w->channel));
	if (!w->greets) {
		enter_open(w);
		return;
	}
	if (w->is_source && !w->greeted && !channel_out(w->channel, &at)) {
		hello_encode(&w->hello, bytes);
		send_record(w, bytes, sizeof(bytes));
		w->greeted = 1;
	}
}

/* The first record of a channel that greets has come. */
static void take_greeting(struct wire *w)
{
	const uint8_t *at;
	size_t n = channel_recv(w->channel, &at);
	if (!wire_channel_lives(w))
		return;
	if (channel_recv_ended(w->channel)) {
		wire_fail(w, fault_set(&w->fault, ERR_FORMAT,
				       "the other end has ended the channel without a word"));
		return;
	}
	if (n == 0)
		return;
	int rc = w->is_source ? answer_parse(at, n, &w->answer, &w->fault)
			      : hello_parse(at, n, &w->hello, &w->fault);
	channel_recv_done(w->channel, n);
	if (rc == ERR_VERSION && !w->is_source) {
		refuse_version(w);
		return;
	}
	if (rc < 0) {
		wire_fail(w, rc);
		return;
	}
	w->greeted = 1;
	if (!w->is_source)
		w->state = WIRE_ASKED;
	else if (w->answer.refused)
		fail_refused(w);
	else
		enter_open(w);
}

/* Destination: the answer is on its way. */
static void finish_answer(struct wire *w)
{
	const uint8_t *at;
	if (channel_out(w->channel, &at))
		return;
	if (!w->answer.refused)
		enter_open(w);
	else if (channel_send_ended(w->channel))
		fail_refused(w);
	else if (channel_send_end(w->channel) < 0)
		(void)wire_channel_lives(w);
}

static void open_channel(struct wire *w)
{
	if (channel_state(w->channel) != CHANNEL_OPEN || !w->greets || w->is_source)
		look_at_handshake(w);
	if (w->state != WIRE_OPENING || !w->greets)
		return;
	if (!w->is_source && w->greeted)
		finish_answer(w);
	else
		take_greeting(w);
}

/* ---- bytes ---- */

static void net_read(struct wire *w)
{
	uint8_t *at;
	size_t room = w->net.in_ended ? 0 : channel_in(w->channel, &at);
	if (room == 0)
		return;
	ssize_t n = read(w->net.in, at, room);
	if (n > 0) {
		channel_in_done(w->channel, (size_t)n);
	} else if (n == 0) {
		w->net.in_ended = 1;
		channel_in_end(w->channel);
	} else if (errno != EAGAIN && errno != EINTR) {
		fail_errno(w, w->state == WIRE_OPENING
				      ? "the other end broke the connection in the handshake: is "
					"it a shieldvm worker of this VM?"
				      : "the connection to the other host");
	}
}

static void net_write(struct wire *w)
{
	const uint8_t *at;
	size_t n;
	while (is_up(w) && (n = channel_out(w->channel, &at))) {
		ssize_t put = write(w->net.out, at, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && errno == EAGAIN)
			return;
		if (put < 0) {
			fail_errno(w, "the connection to the other host");
			return;
		}
		channel_out_done(w->channel, (size_t)put);
	}
	if (is_up(w) && channel_send_ended(w->channel) && !w->answer.refused)
		side_end(&w->net);
}

static void qemu_read(struct wire *w)
{
	uint8_t *at;
	size_t room = w->qemu.in_ended ? 0 : channel_send(w->channel, &at);
	if (room == 0)
		return;
	ssize_t n = read(w->qemu.in, at, room);
	if (n > 0) {
		w->progress.sent_bytes += (uint64_t)n;
		if (channel_send_done(w->channel, (size_t)n) < 0)
			(void)wire_channel_lives(w);
	} else if (n == 0) {
		w->qemu.in_ended = 1;
		if (has_words(w))
			w->said = WORD_END;
		if ((has_words(w) ? channel_send_word(w->channel, WORD_END)
				  : channel_send_end(w->channel)) < 0)
			(void)wire_channel_lives(w);
	} else if (errno != EAGAIN && errno != EINTR) {
		fail_errno(w, "QEMU's side of the channel cannot be read");
	}
}

static void qemu_write(struct wire *w)
{
	const uint8_t *at;
	size_t n;
	while ((n = channel_recv(w->channel, &at))) {
		if (channel_recv_is_word(w->channel)) {
			wire_take_word(w);
			if (!is_up(w))
				return;
			continue;
		}
		if (w->heard != WORD_NONE) {
			wire_fail(w, fault_set(&w->fault, ERR_FORMAT,
					       "the other end's QEMU goes on behind its end"));
			return;
		}
		ssize_t put = w->deaf ? (ssize_t)n : write(w->qemu.out, at, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && errno == EAGAIN)
			return;
		if (put < 0 && errno == EPIPE && w->is_source) {
			w->deaf = 1;
			continue;
		}
		if (put < 0) {
			fail_errno(w, "QEMU does not take what comes from the other host");
			return;
		}
		channel_recv_done(w->channel, (size_t)put);
		w->progress.received_bytes += (uint64_t)put;
	}
	if (!wire_channel_lives(w))
		return;
	if (channel_recv_ended(w->channel) && has_words(w) && !wire_ends_well(w))
		return;
	if (w->state == WIRE_RUNNING && (channel_recv_ended(w->channel) || w->heard != WORD_NONE))
		side_end(&w->qemu);
}

static void look_for_end(struct wire *w)
{
	const uint8_t *at;
	int is_over = channel_send_ended(w->channel) && channel_recv_ended(w->channel);
	if (channel_out(w->channel, &at))
		return;
	if (w->state == WIRE_RUNNING && w->qemu.out_ended && (is_over || w->said != WORD_NONE)) {
		side_close(&w->qemu);
		w->state = has_words(w) ? WIRE_TALKING : WIRE_DONE;
	} else if (w->state == WIRE_TALKING && is_over) {
		w->state = WIRE_DONE;
	}
	if (w->state == WIRE_DONE)
		drop_channel(w);
}

/* There is something that can be said at once. */
static int may_say(const struct wire *w)
{
	const uint8_t *at;
	return w->state == WIRE_TALKING && !channel_send_ended(w->channel) &&
	       !channel_out(w->channel, &at) && (w->n_saying || w->ending);
}

static void talk(struct wire *w)
{
	qemu_write(w);
	if (is_up(w))
		wire_look_for_last_word(w);
	while (may_say(w)) {
		wire_send_words(w);
		if (is_up(w))
			net_write(w);
	}
	if (is_up(w))
		look_for_end(w);
}

/* ---- the loop ---- */

void wire_slots(const struct wire *w, struct pollfd slots[static WIRE_SLOTS])
{
	const uint8_t *at;
	uint8_t *room;
	for (int i = 0; i < WIRE_SLOTS; i++)
		slots[i] = (struct pollfd){ .fd = -1, .events = i & 1 ? POLLOUT : POLLIN };
	if (!is_up(w))
		return;
	/* Only what is wanted: a descriptor whose other end has gone is always ready. */
	if (!w->net.in_ended && w->state != WIRE_ASKED && w->state != WIRE_OPEN &&
	    channel_in(w->channel, &room))
		slots[NET_IN].fd = w->net.in;
	if (channel_out(w->channel, &at))
		slots[NET_OUT].fd = w->net.out;
	if (w->state != WIRE_RUNNING)
		return;
	if (!w->qemu.in_ended && channel_send(w->channel, &room))
		slots[QEMU_IN].fd = w->qemu.in;
	if (channel_recv_left(w->channel))
		slots[QEMU_OUT].fd = w->qemu.out;
}

static int has_deadline(const struct wire *w)
{
	return w->state == WIRE_OPENING || w->state == WIRE_ASKED;
}

int wire_timeout_ms(const struct wire *w)
{
	if ((w->state == WIRE_RUNNING && w->attached) || may_say(w))
		return 0;
	return has_deadline(w) ? clock_left_ms(w->deadline_ms) : -1;
}

void wire_serve(struct wire *w, const struct pollfd slots[static WIRE_SLOTS])
{
	if (is_up(w) && slots[NET_IN].revents)
		net_read(w);
	if (is_up(w))
		net_write(w);
	if (w->state == WIRE_OPENING) {
		open_channel(w);
		if (is_up(w))
			net_write(w);
	}
	if (w->state == WIRE_RUNNING) {
		w->attached = 0;
		qemu_write(w);
	}
	if (w->state == WIRE_RUNNING && slots[QEMU_IN].revents) {
		qemu_read(w);
		if (is_up(w))
			net_write(w);
	}
	if (w->state == WIRE_RUNNING)
		look_for_end(w);
	if (w->state == WIRE_TALKING)
		talk(w);
	if (has_deadline(w) && clock_left_ms(w->deadline_ms) == 0)
		wire_fail(w,
			  fault_set(&w->fault, -ETIMEDOUT,
				    w->is_source
					    ? "the other end does not answer as a shieldvm worker "
					      "does: is there one?"
					    : "the handshake was not finished in time"));
}

enum wire_state wire_state(const struct wire *w)
{
	return w->state;
}

const struct fault *wire_fault(const struct wire *w)
{
	return &w->fault;
}

struct wire_progress wire_progress(const struct wire *w)
{
	return w->progress;
}
