/* SPDX-License-Identifier: BSD-3-Clause */
#include "migration/disks.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/registers.h"
#include "base/thread.h"
#include "migration/bell.h"
#include "migration/wires.h"

#define THREAD_STACK_BYTES (256 * 1024)
#define NOISE_MAX	   20

/* Those that were accepted, and those in their handshake. */
#define N_PLACES	   (DISKS_MAX + WIRES_OPENING)
enum { SLOT_WAKE, SLOT_LISTENER, SLOT_WIRES };
#define N_SLOTS (SLOT_WIRES + N_PLACES * WIRE_SLOTS)
static_assert(N_SLOTS == DISKS_SLOTS, "as the header says");

struct disks {
	struct channel_keys *keys;
	struct hello hello;
	uint8_t vm[UUID_BYTES];
	int64_t open_ms;
	struct thread *thread;
	int news, wake; /* eventfds: to the control thread, to ours */
	struct server
		server; /* QEMU's; none: this VM's disks cannot arrive.  Its fd: under the lock */

	/* Our thread's. */
	struct place places[N_PLACES];
	int listener;
	int noise;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under the lock. */
	int up, stop, shut, abort;
	int next_listener;		     /* for our thread, until it has it */
	int net[DISKS_MAX], link[DISKS_MAX]; /* likewise */
	int is_source;
	unsigned int
		n; /* disks of the attempt: on the host that has the VM, the next one's number */
	int has_attempt, anew;
	unsigned int generation; /* of attempts: what is left of an older one says nothing */
	uint8_t attempt[CHANNEL_ATTEMPT_BYTES];
	struct disks_news now[DISKS_MAX];
};

static int is_under_way(enum disks_state s)
{
	return s == DISKS_OPENING || s == DISKS_RUNNING;
}

/* ---- The thread ----------------------------------------------------------------------------- */

static void tell(struct disks *d, const struct place *p, enum disks_state state,
		 const struct fault *why, const char *rule)
{
	pthread_mutex_lock(&d->lock);
	struct disks_news *now = &d->now[p->number];
	if (p->generation == d->generation) {
		now->state = state;
		if (why)
			now->fault = *why;
		snprintf(now->rule, sizeof(now->rule), "%s", rule);
	}
	pthread_mutex_unlock(&d->lock);
	bell_ring(d->news);
}

/* Whoever comes to the listener must not fill the log. */
static void tell_stranger(struct disks *d, const struct fault *why)
{
	if (d->noise++ < NOISE_MAX)
		log_warning("a connection to copy a disk to here: %s", why->text);
}

static void fail_place(struct disks *d, struct place *p, const struct fault *why, const char *rule)
{
	if (p->number < 0) {
		tell_stranger(d, why);
	} else {
		log_warning("disk %d is not copied any further: %s", p->number, why->text);
		tell(d, p, DISKS_FAILED, why, rule);
	}
	wire_abort(p->wire);
	p->number = -1;
}

/*
 * One that breaks breaks all: the migration is over, and a QEMU that waits for a word about another
 * disk, on whose other end QEMU is busy with the broken one, would never answer libvirt again.
 */
static void fail_attempt(struct disks *d, struct place *broken, const struct fault *why,
			 const char *rule)
{
	struct fault f = { 0 };
	unsigned int generation = broken->generation;
	int is_disk = broken->number >= 0;
	fail_place(d, broken, why, rule);
	fault_set(&f, -ECANCELED, "another disk is not copied any further");
	for (int i = 0; is_disk && i < N_PLACES; i++) {
		struct place *p = &d->places[i];
		if (p->number >= 0 && p->generation == generation)
			fail_place(d, p, &f, "");
	}
}

/* Its channel is open: QEMU's side, on the host that gets it. */
static void enter_running(struct disks *d, struct place *p)
{
	struct fault f = { 0 };
	if (wire_state(p->wire) == WIRE_OPEN) {
		/* Its queue has room for all disks. */
		int fd = server_connect(&d->server);
		if (fd < 0) {
			fault_set(&f, fd, "QEMU does not take the disk: %s", err_text(fd));
			fail_place(d, p, &f, "");
			return;
		}
		wire_attach(p->wire, fd, fd);
	}
	p->running = 1;
	tell(d, p, DISKS_RUNNING, NULL, "");
}

/* Under the lock. */
static int any_failed(const struct disks *d)
{
	for (int i = 0; i < DISKS_MAX; i++) {
		if (d->now[i].state == DISKS_FAILED)
			return 1;
	}
	return 0;
}

/* What becomes of the hello of channel ID. */
static void judge(struct disks *d, const struct channel_id *id, const struct hello *theirs,
		  struct answer *verdict)
{
	const char *why = NULL;
	hello_judge(&d->hello, theirs, verdict);
	if (verdict->refused)
		return;
	pthread_mutex_lock(&d->lock);
	if (theirs->features != HELLO_DISKS || id->kind != CHANNEL_DISK)
		why = "here only disks come in";
	else if (id->number >= DISKS_MAX)
		why = "the destination takes no more than 8 disks";
	else if (d->has_attempt && memcmp(d->attempt, id->attempt, sizeof(d->attempt)) != 0)
		why = "another migration's disks come in here";
	else if (d->now[id->number].state != DISKS_IDLE)
		why = "this disk has come in already";
	else if (any_failed(d))
		why = "another disk of this migration is not copied any further";
	if (!why) {
		d->has_attempt = 1;
		memcpy(d->attempt, id->attempt, sizeof(d->attempt));
		d->now[id->number].state = DISKS_OPENING;
		d->n++;
	}
	pthread_mutex_unlock(&d->lock);
	if (!why)
		return;
	verdict->refused = 1;
	snprintf(verdict->rule, sizeof(verdict->rule), "migration.form");
	snprintf(verdict->sentence, sizeof(verdict->sentence), "%s", why);
}

/* The wire has failed. */
static void look_why(struct disks *d, struct place *p)
{
	const struct answer *refusal = wire_refusal(p->wire);
	struct fault f = { 0 };
	if (refusal)
		fault_set(&f, ERR_POLICY, "the destination refuses: %s", refusal->sentence);
	else
		f = *wire_fault(p->wire);
	fail_attempt(d, p, &f, refusal ? refusal->rule : "");
}

static void look_at(struct disks *d, struct place *p)
{
	struct answer verdict;
	switch (wire_state(p->wire)) {
	case WIRE_ASKED:
		judge(d, wire_id(p->wire), wire_hello(p->wire), &verdict);
		if (!verdict.refused)
			p->number = wire_id(p->wire)->number;
		wire_answer(p->wire, &verdict);
		break;
	case WIRE_OPEN:
		/* One that does not greet is none of a disk. */
		if (p->number < 0)
			wire_abort(p->wire);
		else
			enter_running(d, p);
		break;
	case WIRE_RUNNING:
		if (!p->running)
			enter_running(d, p);
		break;
	case WIRE_DONE:
		tell(d, p, DISKS_DONE, NULL, "");
		wire_abort(p->wire);
		p->number = -1;
		break;
	case WIRE_FAILED:
		look_why(d, p);
		break;
	case WIRE_IDLE:
	case WIRE_OPENING:
	case WIRE_TALKING: /* memory's */
		break;
	}
}

static void start_one(struct disks *d, int number, int net, int link, const uint8_t *attempt,
		      unsigned int generation)
{
	struct channel_id id = { .kind = CHANNEL_DISK, .number = (uint16_t)number };
	struct place *p = &d->places[number];
	struct fault f = { 0 };
	memcpy(id.vm, d->vm, UUID_BYTES);
	memcpy(id.attempt, attempt, sizeof(id.attempt));
	wire_abort(p->wire);
	p->number = number;
	p->generation = generation;
	p->running = 0;
	if (wire_source(p->wire, &id, &d->hello, net, net, d->open_ms, &f) < 0) {
		fd_close(&net);
		fd_close(&link);
		fail_place(d, p, &f, "");
		return;
	}
	wire_attach(p->wire, link, link);
}

static void close_door(struct disks *d)
{
	fd_close(&d->listener);
	wires_clear(d->places, N_PLACES);
}

static void abort_all(struct disks *d)
{
	struct fault f = { 0 };
	fault_set(&f, -ECANCELED, "it was ended");
	close_door(d);
	for (int i = 0; i < N_PLACES; i++) {
		if (d->places[i].number >= 0)
			fail_place(d, &d->places[i], &f, "");
	}
}

/* What the control thread wants.  0: the end of this one. */
static int take_orders(struct disks *d)
{
	uint8_t attempt[CHANNEL_ATTEMPT_BYTES];
	int net[DISKS_MAX], link[DISKS_MAX];
	pthread_mutex_lock(&d->lock);
	int stop = d->stop, shut = d->shut, aborted = d->abort;
	d->shut = d->abort = 0;
	if (d->next_listener >= 0)
		d->listener = fd_take(&d->next_listener);
	for (int i = 0; i < DISKS_MAX; i++) {
		net[i] = fd_take(&d->net[i]);
		link[i] = fd_take(&d->link[i]);
	}
	memcpy(attempt, d->attempt, sizeof(attempt));
	unsigned int generation = d->generation;
	pthread_mutex_unlock(&d->lock);
	if (shut)
		close_door(d);
	if (aborted)
		abort_all(d);
	for (int i = 0; i < DISKS_MAX; i++) {
		if (net[i] >= 0)
			start_one(d, i, net[i], link[i], attempt, generation);
	}
	return !stop;
}

static void turn(struct disks *d)
{
	struct pollfd slots[N_SLOTS];
	int limit_ms = -1;
	struct place *room = d->listener >= 0 ? wires_room(d->places, N_PLACES, &limit_ms) : NULL;
	slots[SLOT_WAKE] = (struct pollfd){ .fd = d->wake, .events = POLLIN };
	slots[SLOT_LISTENER] = (struct pollfd){ .fd = room ? d->listener : -1, .events = POLLIN };
	nfds_t n = SLOT_WIRES + wires_slots(d->places, N_PLACES, slots + SLOT_WIRES, &limit_ms);
	registers_clear();
	if (poll(slots, n, limit_ms) < 0) {
		for (nfds_t i = 0; i < n; i++)
			slots[i].revents = 0;
	}
	if (slots[SLOT_WAKE].revents)
		bell_hush(d->wake);
	wires_serve(d->places, N_PLACES, slots + SLOT_WIRES);
	for (int i = 0; i < N_PLACES; i++)
		look_at(d, &d->places[i]);
	/* The place may have a disk by now. */
	if (room && room->number < 0 && slots[SLOT_LISTENER].revents)
		wires_accept(room, d->listener, d->open_ms);
}

static void run(void *arg)
{
	struct disks *d = arg;
	pthread_mutex_lock(&d->lock);
	d->up = 1;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
	while (take_orders(d))
		turn(d);
}

/* ---- Life ----------------------------------------------------------------------------------- */

static int make(struct disks *d, const struct disks_config *config, struct fault *f)
{
	memcpy(d->vm, config->facts->vm, UUID_BYTES);
	d->open_ms = config->open_ms ? config->open_ms : WIRE_OPEN_MS;
	int rc = hello_make(config->facts, config->owner, HELLO_DISKS, &d->hello);
	if (rc < 0)
		return fault_set(f, rc, "disks: %s", err_text(rc));
	rc = channel_keys_new(config->key, config->facts->vm, &d->keys, f);
	if (rc < 0)
		return rc;
	rc = wires_init(d->places, N_PLACES, d->keys);
	if (rc >= 0 && config->alone)
		rc = server_make(DISKS_MAX, &d->server);
	d->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (rc >= 0)
		rc = d->news < 0 || d->wake < 0
			     ? -errno
			     : thread_start(THREAD_STACK_BYTES, run, d, &d->thread);
	if (rc < 0)
		return fault_set(f, rc, "disks: %s", err_text(rc));
	/* As in live.c. */
	pthread_mutex_lock(&d->lock);
	while (!d->up)
		pthread_cond_wait(&d->changed, &d->lock);
	pthread_mutex_unlock(&d->lock);
	return 0;
}

int disks_new(const struct disks_config *config, struct disks **out, struct fault *f)
{
	struct disks *d = calloc(1, sizeof(*d));
	if (!d)
		return fault_set(f, -ENOMEM, "disks: %s", err_text(-ENOMEM));
	d->news = d->wake = d->listener = d->next_listener = -1;
	d->server = SERVER_NONE;
	for (int i = 0; i < DISKS_MAX; i++)
		d->net[i] = d->link[i] = -1;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->changed, NULL);
	d->anew = 1;
	int rc = make(d, config, f);
	if (rc < 0) {
		disks_free(d);
		return rc;
	}
	*out = d;
	return 0;
}

void disks_free(struct disks *d)
{
	if (!d)
		return;
	if (d->up) {
		pthread_mutex_lock(&d->lock);
		d->stop = 1;
		pthread_mutex_unlock(&d->lock);
		bell_ring(d->wake);
		thread_join(d->thread);
	}
	wires_done(d->places, N_PLACES);
	for (int i = 0; i < DISKS_MAX; i++) {
		fd_close(&d->net[i]);
		fd_close(&d->link[i]);
	}
	channel_keys_free(d->keys);
	fd_close(&d->news);
	fd_close(&d->wake);
	fd_close(&d->listener);
	fd_close(&d->next_listener);
	fd_close(&d->server.fd);
	pthread_cond_destroy(&d->changed);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

/* ---- One migration -------------------------------------------------------------------------- */

static int any_under_way(const struct disks *d)
{
	for (int i = 0; i < DISKS_MAX; i++) {
		if (is_under_way(d->now[i].state))
			return 1;
	}
	return 0;
}

/* Under the lock: the next disk's number. */
static int next_number(struct disks *d, unsigned int *number)
{
	if (d->anew) {
		int rc = channel_attempt_new(d->attempt);
		if (rc < 0)
			return rc;
		memset(d->now, 0, sizeof(d->now));
		d->anew = 0;
		d->n = 0;
		d->generation++;
		d->is_source = d->has_attempt = 1;
	}
	if (any_failed(d))
		return ERR_STATE;
	if (d->n >= DISKS_MAX)
		return ERR_LIMIT;
	*number = d->n;
	return 0;
}

int disks_leave(struct disks *d, int net, unsigned int *number, int *qemus, struct fault *f)
{
	int ends[2] = { -1, -1 };
	int rc = wires_net(net);
	if (rc < 0)
		return fault_set(f, rc, "the connection to the other host: %s", err_text(rc));
	pthread_mutex_lock(&d->lock);
	rc = next_number(d, number);
	if (rc >= 0)
		rc = wires_pair(ends);
	if (rc >= 0) {
		d->net[*number] = net;
		d->link[*number] = ends[0];
		d->now[*number] = (struct disks_news){ .state = DISKS_OPENING };
		d->n++;
		*qemus = ends[1];
	}
	pthread_mutex_unlock(&d->lock);
	if (rc == ERR_LIMIT)
		return fault_set(f, rc, "no more than %d disks are copied", DISKS_MAX);
	if (rc == ERR_STATE)
		return fault_set(f, rc, "another disk of this migration is not copied any further");
	if (rc < 0)
		return fault_set(f, rc, "the disk cannot be copied: %s", err_text(rc));
	bell_ring(d->wake);
	return 0;
}

int disks_arrive(struct disks *d, int listener, int *server, struct fault *f)
{
	pthread_mutex_lock(&d->lock);
	int there = d->server.fd >= 0;
	if (there) {
		*server = fd_take(&d->server.fd);
		d->next_listener = listener;
	}
	pthread_mutex_unlock(&d->lock);
	if (!there)
		return fault_set(f, ERR_STATE, "no disks can be copied to here%s",
				 d->server.name_bytes ? " again"
						      : ": the worker has no network of its own");
	bell_ring(d->wake);
	return 0;
}

void disks_shut(struct disks *d)
{
	pthread_mutex_lock(&d->lock);
	d->shut = 1;
	pthread_mutex_unlock(&d->lock);
	bell_ring(d->wake);
}

void disks_abort(struct disks *d)
{
	pthread_mutex_lock(&d->lock);
	d->abort = 1;
	/* Those that the thread has not begun with. */
	for (int i = 0; i < DISKS_MAX; i++) {
		if (d->net[i] >= 0)
			d->now[i].state = DISKS_FAILED;
		fd_close(&d->net[i]);
		fd_close(&d->link[i]);
	}
	pthread_mutex_unlock(&d->lock);
	bell_ring(d->wake);
}

void disks_anew(struct disks *d)
{
	disks_abort(d);
	pthread_mutex_lock(&d->lock);
	d->anew = 1;
	d->has_attempt = 0; /* by which the VM may have come itself */
	pthread_mutex_unlock(&d->lock);
}

int disks_attempt(struct disks *d, uint8_t attempt[static CHANNEL_ATTEMPT_BYTES])
{
	pthread_mutex_lock(&d->lock);
	int part = d->has_attempt && (!d->is_source || any_under_way(d));
	if (part)
		memcpy(attempt, d->attempt, CHANNEL_ATTEMPT_BYTES);
	pthread_mutex_unlock(&d->lock);
	return part;
}

int disks_news_fd(const struct disks *d)
{
	return d->news;
}

void disks_look(struct disks *d, unsigned int number, struct disks_news *out)
{
	bell_hush(d->news);
	pthread_mutex_lock(&d->lock);
	*out = d->now[number];
	pthread_mutex_unlock(&d->lock);
}
