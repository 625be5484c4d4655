/* SPDX-License-Identifier: BSD-3-Clause */
#include "migration/live.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/registers.h"
#include "base/thread.h"
#include "migration/bell.h"
#include "migration/live_inner.h"

#define THREAD_STACK_BYTES (256 * 1024)

/* ---- The thread ----------------------------------------------------------------------------- */

static void run(void *arg)
{
	struct live *l = arg;
	pthread_mutex_lock(&l->lock);
	l->up = 1;
	pthread_cond_broadcast(&l->changed);
	while (!l->stop) {
		if (!l->job) {
			registers_clear();
			pthread_cond_wait(&l->changed, &l->lock);
			continue;
		}
		pthread_mutex_unlock(&l->lock);
		if (l->leaves)
			live_pump_out(l);
		else
			live_pump_in(l);
		pthread_mutex_lock(&l->lock);
		l->job = 0;
		pthread_cond_broadcast(&l->changed);
	}
	pthread_mutex_unlock(&l->lock);
}

/* ---- Life ----------------------------------------------------------------------------------- */

static int make(struct live *l, const struct live_config *config, struct fault *f)
{
	memcpy(l->vm, config->facts->vm, UUID_BYTES);
	l->disks = config->disks;
	l->qemus = config->qemus;
	l->open_ms = config->open_ms ? config->open_ms : WIRE_OPEN_MS;
	int rc = hello_make(config->facts, config->owner, 0, &l->hello);
	if (rc < 0)
		return fault_set(f, rc, "migration: %s", err_text(rc));
	rc = channel_keys_new(config->key, config->facts->vm, &l->keys, f);
	if (rc < 0)
		return rc;
	rc = wires_init(l->places, N_PLACES, l->keys);
	if (rc >= 0 && config->alone)
		rc = server_make(LANES, &l->server);
	l->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (rc >= 0)
		rc = l->news < 0 || l->wake < 0
			     ? -errno
			     : thread_start(THREAD_STACK_BYTES, run, l, &l->thread);
	if (rc < 0)
		return fault_set(f, rc, "migration: %s", err_text(rc));
	/* A new thread makes system calls before it comes here that a sealed process may not. */
	pthread_mutex_lock(&l->lock);
	while (!l->up)
		pthread_cond_wait(&l->changed, &l->lock);
	pthread_mutex_unlock(&l->lock);
	return 0;
}

int live_new(const struct live_config *config, struct live **out, struct fault *f)
{
	struct live *l = calloc(1, sizeof(*l));
	if (!l)
		return fault_set(f, -ENOMEM, "migration: %s", err_text(-ENOMEM));
	l->news = l->wake = l->net = l->listener = l->link = -1;
	l->server = SERVER_NONE;
	for (int i = 0; i < LIVE_MORE_MAX; i++)
		l->next_net[i] = -1;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->changed, NULL);
	int rc = make(l, config, f);
	if (rc < 0) {
		live_free(l);
		return rc;
	}
	*out = l;
	return 0;
}

void live_free(struct live *l)
{
	if (!l)
		return;
	if (l->up) {
		pthread_mutex_lock(&l->lock);
		l->stop = 1;
		pthread_cond_broadcast(&l->changed);
		pthread_mutex_unlock(&l->lock);
		bell_ring(l->wake);
		thread_join(l->thread);
	}
	wires_done(l->places, N_PLACES);
	channel_keys_free(l->keys);
	fd_close(&l->news);
	fd_close(&l->wake);
	fd_close(&l->net);
	fd_close(&l->listener);
	fd_close(&l->link);
	fd_close(&l->server.fd);
	for (int i = 0; i < LIVE_MORE_MAX; i++)
		fd_close(&l->next_net[i]);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

/* ---- One migration -------------------------------------------------------------------------- */

static int has_ended(const struct live *l)
{
	return l->now.state == LIVE_DONE || l->now.state == LIVE_FAILED;
}

/* Our thread may be about to close what the last one had, which takes no time.  Under the lock. */
static void await_last(struct live *l)
{
	if (l->job && has_ended(l) && !l->parts) {
		l->parts = 1;
		l->part_ms = clock_ms();
		bell_ring(l->wake);
	}
	while (l->job && (l->aborted || has_ended(l))) {
		registers_clear();
		pthread_cond_wait(&l->changed, &l->lock);
	}
}

/* QEMU's end, or its listener; -1 where it makes connections itself. */
static int make_qemus(struct live *l, int leaves, unsigned int more, int *qemus)
{
	int ends[2];
	if (more > LIVE_MORE_MAX)
		return ERR_LIMIT;
	*qemus = -1;
	if (more && leaves)
		return l->qemus < 0 ? ERR_STATE : 0;
	if (more) {
		*qemus = fd_take(&l->server.fd);
		return *qemus < 0 ? ERR_STATE : 0;
	}
	int rc = wires_pair(ends);
	if (rc >= 0) {
		l->link = ends[0];
		*qemus = ends[1];
	}
	return rc;
}

static int begin(struct live *l, enum live_how how, int net, int listener, unsigned int more,
		 int *qemus, struct fault *f)
{
	static const uint8_t NONE[CHANNEL_ATTEMPT_BYTES];
	pthread_mutex_lock(&l->lock);
	await_last(l);
	int rc = l->job ? -EBUSY : 0;
	if (rc >= 0 && how == LIVE_AGAIN && memcmp(l->attempt, NONE, sizeof(NONE)) == 0)
		rc = ERR_STATE;
	if (rc >= 0) {
		fd_close(&l->link);
		rc = make_qemus(l, listener < 0, more, qemus);
	}
	if (rc >= 0) {
		for (int i = 0; i < N_PLACES; i++) {
			wire_abort(l->places[i].wire);
			l->places[i].number = -1;
		}
		memset(l->lanes, 0, sizeof(l->lanes));
		l->net = net;
		l->listener = listener;
		l->leaves = listener < 0;
		l->more = more;
		l->given = 0;
		l->attached = 0;
		l->goes_on = how == LIVE_AGAIN;
		l->aborted = l->parts = l->n_saying = 0;
		l->now = (struct live_news){ .state = LIVE_OPENING };
		l->job = 1;
		pthread_cond_broadcast(&l->changed);
	}
	pthread_mutex_unlock(&l->lock);
	return rc < 0 ? fault_set(f, rc, "the migration cannot begin: %s", err_text(rc)) : 0;
}

static int check_net(int net, struct fault *f)
{
	int rc = wires_net(net);
	return rc < 0 ? fault_set(f, rc, "the connection to the other host: %s", err_text(rc)) : 0;
}

int live_leave(struct live *l, enum live_how how, int net, unsigned int more, int *qemus,
	       struct fault *f)
{
	int rc = check_net(net, f);
	return rc < 0 ? rc : begin(l, how, net, -1, more, qemus, f);
}

int live_more(struct live *l, int net, struct fault *f)
{
	int rc = check_net(net, f);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&l->lock);
	int due = l->job && l->now.state == LIVE_ACCEPTED && l->given < l->more;
	if (due)
		l->next_net[l->given++] = net;
	pthread_mutex_unlock(&l->lock);
	if (!due)
		return fault_set(f, ERR_STATE, "no further channel is due");
	bell_ring(l->wake);
	return 0;
}

int live_arrive(struct live *l, enum live_how how, int listener, unsigned int more, int *qemus,
		struct fault *f)
{
	return begin(l, how, -1, listener, more, qemus, f);
}

void live_let_go(struct live *l)
{
	pthread_mutex_lock(&l->lock);
	await_last(l);
	for (int i = 0; l->now.state == LIVE_FAILED && i < N_PLACES; i++)
		wire_abort(l->places[i].wire);
	pthread_mutex_unlock(&l->lock);
}

void live_abort(struct live *l, const char *why)
{
	pthread_mutex_lock(&l->lock);
	if (l->job && !l->aborted && !has_ended(l)) {
		l->aborted = 1;
		fault_set(&l->now.fault, -ECANCELED, "%s", why);
	}
	pthread_mutex_unlock(&l->lock);
	bell_ring(l->wake);
}

void live_end(struct live *l, const char *why)
{
	live_abort(l, why);
	pthread_mutex_lock(&l->lock);
	await_last(l);
	pthread_mutex_unlock(&l->lock);
}

void live_say(struct live *l, enum word word)
{
	pthread_mutex_lock(&l->lock);
	if (l->job && l->now.state == LIVE_DONE && l->n_saying < LIVE_SAYING_MAX)
		l->saying[l->n_saying++] = word;
	pthread_mutex_unlock(&l->lock);
	bell_ring(l->wake);
}

void live_part(struct live *l, int limit_ms)
{
	pthread_mutex_lock(&l->lock);
	if (l->job && l->now.state == LIVE_DONE && !l->parts) {
		l->parts = 1;
		l->part_ms = clock_ms() + limit_ms;
		bell_ring(l->wake);
	}
	await_last(l);
	pthread_mutex_unlock(&l->lock);
}

int live_news_fd(const struct live *l)
{
	return l->news;
}

void live_look(struct live *l, struct live_news *out)
{
	bell_hush(l->news);
	pthread_mutex_lock(&l->lock);
	*out = l->now;
	pthread_mutex_unlock(&l->lock);
}
