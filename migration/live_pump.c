/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/registers.h"
#include "migration/bell.h"
#include "migration/live_inner.h"

static void tell(struct live *l, enum live_state state)
{
	pthread_mutex_lock(&l->lock);
	l->now.is_open = 1;
	l->now.state = state;
	pthread_mutex_unlock(&l->lock);
	bell_ring(l->news);
}

/* How the job ends: FAILED for WHY, or DONE.  The channels are closed in the same instant, QEMU's
 * side of them unless it is KEPT: whoever learns from that, QEMU, or from the state finds both. One
 * that has only words left stays, after DONE. */
static void leave(struct live *l, const struct fault *why, const char *rule, int kept)
{
	pthread_mutex_lock(&l->lock);
	l->now.state = why ? LIVE_FAILED : LIVE_DONE;
	if (why && !l->aborted) {
		l->now.fault = *why;
		snprintf(l->now.rule, sizeof(l->now.rule), "%s", rule);
	}
	for (int i = 0; i < N_PLACES; i++) {
		if (!why && wire_state(l->places[i].wire) == WIRE_TALKING)
			continue;
		if (kept && l->places[i].number >= 0)
			wire_drop(l->places[i].wire);
		else
			wire_abort(l->places[i].wire);
	}
	for (int i = 0; i < LIVE_MORE_MAX; i++)
		fd_close(&l->next_net[i]);
	pthread_mutex_unlock(&l->lock);
	bell_ring(l->news);
}

static int is_aborted(struct live *l)
{
	pthread_mutex_lock(&l->lock);
	int aborted = l->aborted || l->stop;
	pthread_mutex_unlock(&l->lock);
	return aborted;
}

/* How many of the attempt's channels are in STATE. */
static unsigned int lanes_in(const struct live *l, enum wire_state state)
{
	unsigned int n = 0;
	for (unsigned int i = 0; i <= l->more; i++)
		n += l->lanes[i] && wire_state(l->lanes[i]->wire) == state;
	return n;
}

/* A connection that QEMU has made here, and the broker has looked at: the next channel's. */
static int take_qemus(struct live *l, struct fault *f)
{
	int fds[FD_PASS_MAX], rc = 0;
	size_t n_fds;
	char byte;
	ssize_t n = fd_recv(l->qemus, &byte, 1, fds, &n_fds);
	if (n == 1 && n_fds == 1 && l->attached <= l->more) {
		rc = fd_set_nonblock(fds[0], 1);
		if (rc >= 0) {
			int fd = fd_take(&fds[0]);
			wire_attach(l->lanes[l->attached++]->wire, fd, fd);
		}
	} else if (n == 0) {
		rc = -EPIPE;
	}
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(&fds[i]);
	return rc < 0 ? fault_set(f, rc, "QEMU's channels: %s", err_text(rc)) : 0;
}

/* What QEMU has connected here for a migration that is over. */
static void forget_qemus(const struct live *l)
{
	int fds[FD_PASS_MAX];
	size_t n_fds;
	char byte;
	while (l->qemus >= 0 && fd_recv(l->qemus, &byte, 1, fds, &n_fds) > 0) {
		for (size_t i = 0; i < FD_PASS_MAX; i++)
			fd_close(&fds[i]);
	}
}

/* Wait for what is next, for at most LIMIT_MS (-1: for ever), and serve the wires.  Who waits at
 * the listener then can have l->room. */
static int turn(struct live *l, int limit_ms, struct fault *f)
{
	struct pollfd slots[N_SLOTS];
	/* It was told to connect when all of the channels stood, and not before. */
	int wants_qemus = l->leaves && l->more && lanes_in(l, WIRE_OPEN);
	l->room = l->listener >= 0 ? wires_room(l->places, N_PLACES, &limit_ms) : NULL;
	slots[SLOT_WAKE] = (struct pollfd){ .fd = l->wake, .events = POLLIN };
	slots[SLOT_LISTENER] = (struct pollfd){ l->room ? l->listener : -1, POLLIN, 0 };
	slots[SLOT_QEMUS] = (struct pollfd){ wants_qemus && l->told ? l->qemus : -1, POLLIN, 0 };
	nfds_t n = SLOT_WIRES + wires_slots(l->places, N_PLACES, slots + SLOT_WIRES, &limit_ms);
	registers_clear();
	if (poll(slots, n, limit_ms) < 0) {
		for (nfds_t i = 0; i < n; i++)
			slots[i].revents = 0;
		if (errno != EINTR)
			return fault_set(f, -errno, "poll: %s", err_text(-errno));
	}
	if (slots[SLOT_WAKE].revents)
		bell_hush(l->wake);
	wires_serve(l->places, N_PLACES, slots + SLOT_WIRES);
	if (!slots[SLOT_LISTENER].revents)
		l->room = NULL;
	return slots[SLOT_QEMUS].revents ? take_qemus(l, f) : 0;
}

/* P has channel NUMBER of the attempt from here on. */
static void enter_lane(struct live *l, struct place *p, unsigned int number)
{
	p->number = (int)number;
	l->lanes[number] = p;
}

static struct place *idle_place(struct live *l)
{
	for (int i = 0; i < N_PLACES; i++) {
		if (l->places[i].number < 0 && wire_state(l->places[i].wire) == WIRE_IDLE)
			return &l->places[i];
	}
	return NULL;
}

/* Source: channel NUMBER over NET, which is closed after an error. */
static int start_lane(struct live *l, unsigned int number, const struct hello *hello, int net,
		      struct fault *f)
{
	struct channel_id id = { .kind = CHANNEL_MEMORY, .number = (uint16_t)number };
	struct place *p = idle_place(l);
	memcpy(id.vm, l->vm, UUID_BYTES);
	memcpy(id.attempt, l->attempt, sizeof(id.attempt));
	int rc = p ? wire_source(p->wire, &id, hello, net, net, l->open_ms, f) : ERR_STATE;
	if (rc < 0) {
		fd_close(&net);
		return rc;
	}
	enter_lane(l, p, number);
	return 0;
}

/* Source: the connections that the control thread has got since. */
static int start_more(struct live *l, struct fault *f)
{
	int net[LIVE_MORE_MAX], rc = 0;
	pthread_mutex_lock(&l->lock);
	for (unsigned int i = 0; i < LIVE_MORE_MAX; i++)
		net[i] = fd_take(&l->next_net[i]);
	pthread_mutex_unlock(&l->lock);
	for (unsigned int i = 0; i < LIVE_MORE_MAX; i++) {
		if (rc >= 0 && net[i] >= 0)
			rc = start_lane(l, 1 + i, NULL, net[i], f);
		else
			fd_close(&net[i]);
	}
	return rc;
}

/* Destination: QEMU's side of the channel that P has. */
static int attach_server(struct live *l, struct place *p, struct fault *f)
{
	/* Its queue has room for all of them. */
	int fd = server_connect(&l->server);
	if (fd < 0)
		return fault_set(f, fd, "QEMU does not take the channel: %s", err_text(fd));
	wire_attach(p->wire, fd, fd);
	return 0;
}

/* Destination: may the one in P, who did not begin the attempt, be a channel of it? */
static int judge_more(struct live *l, struct place *p, struct fault *f)
{
	enum wire_state s = wire_state(p->wire);
	const struct channel_id *id = wire_id(p->wire);
	if (p->number >= 0 || (s != WIRE_OPEN && s != WIRE_ASKED))
		return 0;
	if (s == WIRE_ASKED || id->kind != CHANNEL_MEMORY || id->number > l->more ||
	    l->lanes[id->number] || memcmp(id->attempt, l->attempt, sizeof(l->attempt)) != 0) {
		wire_abort(p->wire);
		return 0;
	}
	enter_lane(l, p, id->number);
	return attach_server(l, p, f);
}

static void close_door(struct live *l)
{
	fd_close(&l->listener);
	wires_clear(l->places, N_PLACES);
}

/* Destination: those who come while not all of the channels are there. */
static int receive_more(struct live *l, struct fault *f)
{
	int rc = 0;
	for (int i = 0; rc >= 0 && i < N_PLACES; i++)
		rc = judge_more(l, &l->places[i], f);
	unsigned int there = 0;
	for (unsigned int i = 0; i <= l->more; i++)
		there += l->lanes[i] != NULL;
	if (rc < 0 || there == 1 + l->more)
		close_door(l);
	else if (clock_left_ms(l->due_ms) == 0)
		rc = fault_set(f, -ETIMEDOUT,
			       "of %u channels for memory %u have come: is --parallel-connections "
			       "the same on both hosts?",
			       1 + l->more, there);
	else if (l->room && l->room->number < 0)
		wires_accept(l->room, l->listener, l->open_ms);
	return rc;
}

/* What is due besides the wires' own work. */
static int go_on(struct live *l, struct fault *f)
{
	if (!l->told &&
	    lanes_in(l, WIRE_RUNNING) + lanes_in(l, WIRE_DONE) + lanes_in(l, WIRE_TALKING) >
		    l->more) {
		l->told = 1;
		tell(l, LIVE_RUNNING);
	}
	if (!l->more)
		return 0;
	if (!l->leaves) {
		/* It has begun, and is whole when all have come. */
		if (!l->told && wire_state(l->lanes[0]->wire) == WIRE_RUNNING) {
			l->told = 1;
			tell(l, LIVE_RUNNING);
		}
		return l->listener >= 0 ? receive_more(l, f) : 0;
	}
	if (!l->accepted && wire_state(l->lanes[0]->wire) == WIRE_OPEN) {
		l->accepted = 1;
		tell(l, LIVE_ACCEPTED);
	}
	if (!l->told && lanes_in(l, WIRE_OPEN) > l->more) {
		l->told = 1;
		tell(l, LIVE_RUNNING);
	}
	return l->accepted && !l->told ? start_more(l, f) : 0;
}

/* One of the channels that has failed, or NULL. */
static const struct place *failed_lane(const struct live *l)
{
	for (unsigned int i = 0; i <= l->more; i++) {
		if (l->lanes[i] && wire_state(l->lanes[i]->wire) == WIRE_FAILED)
			return l->lanes[i];
	}
	return NULL;
}

/* What is to be said, is; what was heard, is told.  How long to wait, in ms; 0: it is over. */
static int talk_on(struct live *l, struct wire *w)
{
	int left = -1;
	pthread_mutex_lock(&l->lock);
	for (int i = 0; i < l->n_saying; i++)
		(void)!wire_say(w, l->saying[i]);
	l->n_saying = 0;
	int news = l->now.heard != wire_heard(w);
	l->now.heard = wire_heard(w);
	if (l->parts) {
		wire_hang_up(w);
		left = clock_left_ms(l->part_ms);
	}
	pthread_mutex_unlock(&l->lock);
	if (news)
		bell_ring(l->news);
	return left;
}

/* QEMU's part is over on both sides: the words, until the connection ends. */
static void talk(struct live *l)
{
	struct wire *w = l->lanes[0]->wire;
	struct fault ignored = { 0 };
	int left = -1, rc = 0;
	do {
		left = talk_on(l, w);
		if (wire_state(w) != WIRE_TALKING)
			break;
		rc = turn(l, left, &ignored);
	} while (rc >= 0 && left != 0 && !is_aborted(l));
	pthread_mutex_lock(&l->lock);
	l->now.parted = 1;
	l->now.heard = wire_heard(w);
	wire_abort(w);
	pthread_mutex_unlock(&l->lock);
	bell_ring(l->news);
}

/* All of QEMU's is over on both sides; of the first channel the words may be, too. */
static int is_over(const struct live *l)
{
	return lanes_in(l, WIRE_TALKING) + lanes_in(l, WIRE_DONE) == 1 + l->more;
}

/* lanes[0] has the VM: everything until its end.  KEEPS_QEMU: see LIVE_FAILED. */
static void pump(struct live *l, int keeps_qemu)
{
	const struct place *failed = NULL;
	const struct answer *refusal = NULL;
	struct fault f = { 0 };
	int rc = 0, done = 0;
	l->told = l->accepted = 0;
	for (;;) {
		failed = failed_lane(l);
		if (!failed)
			rc = go_on(l, &f);
		done = is_over(l);
		if (failed || done || rc < 0 || is_aborted(l))
			break;
		rc = turn(l, l->listener >= 0 ? clock_left_ms(l->due_ms) : -1, &f);
		if (rc < 0)
			break;
	}
	if (failed)
		refusal = wire_refusal(failed->wire);
	if (refusal)
		fault_set(&f, ERR_POLICY, "the destination refuses: %s", refusal->sentence);
	else if (failed)
		f = *wire_fault(failed->wire);
	close_door(l);
	leave(l, done ? NULL : &f, refusal ? refusal->rule : "", keeps_qemu && (failed || rc < 0));
	if (done)
		talk(l);
}

/* 1 if disks are copied; then ATTEMPT is theirs. */
static int disks_of(const struct live *l, uint8_t attempt[static CHANNEL_ATTEMPT_BYTES])
{
	return l->disks ? disks_attempt(l->disks, attempt) : 0;
}

void live_pump_out(struct live *l)
{
	struct fault f = { 0 };
	struct hello hello = l->hello;
	int disks = l->goes_on ? 0 : disks_of(l, l->attempt);
	int rc = l->goes_on || disks ? 0 : channel_attempt_new(l->attempt);
	hello.features = (l->goes_on ? HELLO_RECOVERY
			  : disks    ? HELLO_DISKS
				     : 0U) |
			 (l->more ? HELLO_MORE_MEMORY : 0U);
	forget_qemus(l);
	if (rc < 0) {
		fault_set(&f, rc, "no number for this migration: %s", err_text(rc));
		fd_close(&l->net);
	} else {
		rc = start_lane(l, 0, &hello, fd_take(&l->net), &f);
	}
	if (rc < 0) {
		fd_close(&l->link);
		leave(l, &f, "", 0);
		return;
	}
	int link = fd_take(&l->link);
	if (!l->more)
		wire_attach(l->lanes[0]->wire, link, link);
	pump(l, 0);
}

/* Why memory does not come in over channel ID, with a hello of these FEATURES; or NULL. */
static const char *wrong_form(const struct live *l, const struct channel_id *id, uint32_t features)
{
	uint8_t attempt[CHANNEL_ATTEMPT_BYTES];
	if (l->goes_on)
		return features != HELLO_RECOVERY ||
				       memcmp(id->attempt, l->attempt, sizeof(l->attempt)) != 0
			       ? "the destination waits for a migration whose link broke, and for "
				 "no other"
			       : NULL;
	if (features & HELLO_RECOVERY)
		return "the destination has nothing of a migration whose link broke";
	if ((features & HELLO_MORE_MEMORY) && !l->more)
		return "the destination takes one channel for memory";
	if (!(features & HELLO_MORE_MEMORY) && l->more)
		return "the destination waits for more channels for memory than one";
	int disks = disks_of(l, attempt);
	if (disks != ((features & HELLO_DISKS) != 0) ||
	    (disks && memcmp(attempt, id->attempt, sizeof(attempt)) != 0))
		return "memory and disks do not come with the same migration";
	return NULL;
}

/* What the one in P says: 1 if it has the VM now. */
static int judge(struct live *l, struct place *p)
{
	struct answer verdict;
	enum wire_state s = wire_state(p->wire);
	/* Authentic, but no first channel. */
	if (s == WIRE_OPEN || (s == WIRE_ASKED && !channel_id_first(wire_id(p->wire))))
		wire_abort(p->wire);
	if (wire_state(p->wire) != WIRE_ASKED)
		return 0;
	const struct hello *theirs = wire_hello(p->wire);
	hello_judge(&l->hello, theirs, &verdict);
	const char *why = wrong_form(l, wire_id(p->wire), theirs->features);
	if (!verdict.refused && why) {
		verdict.refused = 1;
		snprintf(verdict.rule, sizeof(verdict.rule), "migration.form");
		snprintf(verdict.sentence, sizeof(verdict.sentence), "%s", why);
	}
	if (!verdict.refused)
		memcpy(l->attempt, wire_id(p->wire)->attempt, sizeof(l->attempt));
	wire_answer(p->wire, &verdict);
	return !verdict.refused;
}

/* Until somebody has the VM.  < 0: nobody will. */
static int receive(struct live *l, struct fault *f)
{
	while (!is_aborted(l)) {
		int rc = turn(l, -1, f);
		if (rc < 0)
			return rc;
		for (int i = 0; i < N_PLACES; i++) {
			if (judge(l, &l->places[i])) {
				enter_lane(l, &l->places[i], 0);
				return 0;
			}
		}
		if (l->room)
			wires_accept(l->room, l->listener, l->open_ms);
	}
	return fault_set(f, -ECANCELED, "it was ended");
}

void live_pump_in(struct live *l)
{
	struct fault f = { 0 };
	int rc = receive(l, &f);
	/* Who came before the first channel is none of the attempt's. */
	wires_clear(l->places, N_PLACES);
	if (rc >= 0 && l->disks)
		disks_shut(l->disks);
	if (rc >= 0 && l->more)
		rc = attach_server(l, l->lanes[0], &f);
	if (rc < 0) {
		close_door(l);
		leave(l, &f, "", 0);
		return;
	}
	if (!l->more) {
		int link = fd_take(&l->link);
		wire_attach(l->lanes[0]->wire, link, link);
		fd_close(&l->listener);
	}
	l->due_ms = clock_ms() + l->open_ms;
	pump(l, 1);
}
