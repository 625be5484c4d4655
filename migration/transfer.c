/* SPDX-License-Identifier: BSD-3-Clause */
#include "migration/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "crypto/flow.h"

#define THREAD_STACK_BYTES (256 * 1024)
#define PIPE_BYTES	   (1024 * 1024) /* what an unprivileged user may have */

/*
 * QEMU's pipe can be written as soon as QEMU has read one page of it, and a process that runs for
 * every page keeps QEMU from running.  So a turn that has moved little is followed by a pause in
 * which QEMU reads more, but not all that the pipe holds: at 2 GiB/s that takes twice as long.
 */
#define LITTLE_BYTES	   (128 * 1024)
#define PAUSE_NS	   (250 * 1000)

struct transfer {
	struct stream_keys *keys;
	struct pool *pool;
	struct flow *flow;
	pthread_t thread;
	int news, wake; /* eventfds: to the control thread, to ours */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under the lock. */
	int up, stop, job, aborted;
	enum transfer_kind kind;
	enum transfer_state state;
	struct fault fault;
	int writer; /* out: the pipe's writing end, until QEMU has written all; -1: none */
	int file;   /* libvirt's; only our thread closes it while there is a job */
	int pipe;   /* our end of QEMU's; likewise */
};

static void ring(int event_fd)
{
	uint64_t one = 1;
	/* Fails only if the counter is full: then it is readable anyway. */
	ssize_t n = write(event_fd, &one, sizeof(one));
	(void)n;
}

static void hush(int event_fd)
{
	uint64_t count;
	ssize_t n = read(event_fd, &count, sizeof(count));
	(void)n;
}

/* ---- The thread ----------------------------------------------------------------------------- */

static void enter(struct transfer *t, enum transfer_state state, const struct fault *why)
{
	pthread_mutex_lock(&t->lock);
	if (state == TRANSFER_FAILED && !t->aborted)
		t->fault = *why;
	t->state = state;
	if (state == TRANSFER_DONE || state == TRANSFER_FAILED) {
		t->job = 0;
		fd_close(&t->file);
		fd_close(&t->writer);
		/* See TRANSFER_FAILED. */
		if (state == TRANSFER_DONE || t->kind != TRANSFER_RESTORE)
			fd_close(&t->pipe);
	}
	pthread_mutex_unlock(&t->lock);
	ring(t->news);
}

static int is_aborted(struct transfer *t)
{
	pthread_mutex_lock(&t->lock);
	int aborted = t->aborted || t->stop;
	pthread_mutex_unlock(&t->lock);
	return aborted;
}

static int start(struct transfer *t, struct fault *f)
{
	switch (t->kind) {
	case TRANSFER_SAVE:
		return flow_seal_start(t->flow, t->keys, KEY_USE_SAVED_STATE, t->pipe, t->file, f);
	case TRANSFER_DUMP:
		return flow_seal_start(t->flow, t->keys, KEY_USE_DUMP, t->pipe, t->file, f);
	case TRANSFER_RESTORE:
		return flow_open_start(t->flow, t->keys, KEY_USE_SAVED_STATE, t->file, t->pipe, f);
	}
	return fault_set(f, ERR_USAGE, "no such transfer");
}

static uint64_t moved(const struct transfer *t)
{
	const struct flow_progress at = flow_progress(t->flow);
	return at.in_bytes + at.out_bytes;
}

/* Wait a little, or until somebody rings. */
static void pause_turn(const struct transfer *t)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	struct pollfd slot = { .fd = t->wake, .events = POLLIN };
	(void)!ppoll(&slot, 1, &pause, NULL);
}

/* Wait for what is next and serve it.  < 0: that does not come. */
static int turn(struct transfer *t, int64_t deadline, struct fault *f)
{
	struct pollfd slots[FLOW_SLOTS + 1];
	flow_slots(t->flow, slots);
	slots[FLOW_SLOTS] = (struct pollfd){ .fd = t->wake, .events = POLLIN };
	int opening = t->kind == TRANSFER_RESTORE && !flow_stream(t->flow);
	int n = poll(slots, FLOW_SLOTS + 1, opening ? clock_left_ms(deadline) : -1);
	if (n == 0)
		return fault_set(f, -ETIMEDOUT, "the file to restore from does not come");
	if (n < 0)
		return errno == EINTR ? 0 : fault_set(f, -errno, "poll: %s", err_text(-errno));
	if (slots[FLOW_SLOTS].revents)
		hush(t->wake);
	uint64_t before = moved(t);
	flow_serve(t->flow, slots);
	if (t->kind == TRANSFER_RESTORE && moved(t) - before < LITTLE_BYTES &&
	    flow_state(t->flow) == FLOW_RUNNING)
		pause_turn(t);
	if (opening && flow_stream(t->flow))
		enter(t, TRANSFER_RUNNING, NULL);
	return 0;
}

static void pump(struct transfer *t)
{
	struct fault f = { 0 };
	int64_t deadline = clock_ms() + TRANSFER_OPEN_MS;
	int rc = start(t, &f);
	while (rc >= 0 && flow_state(t->flow) == FLOW_RUNNING && !is_aborted(t))
		rc = turn(t, deadline, &f);
	if (rc >= 0 && flow_state(t->flow) == FLOW_DONE) {
		enter(t, TRANSFER_DONE, NULL);
		return;
	}
	if (rc >= 0 && flow_state(t->flow) == FLOW_FAILED)
		f = *flow_fault(t->flow);
	flow_abort(t->flow);
	enter(t, TRANSFER_FAILED, &f);
}

static void *run(void *arg)
{
	struct transfer *t = arg;
	pthread_mutex_lock(&t->lock);
	t->up = 1;
	pthread_cond_broadcast(&t->changed);
	while (!t->stop) {
		if (!t->job) {
			pthread_cond_wait(&t->changed, &t->lock);
			continue;
		}
		pthread_mutex_unlock(&t->lock);
		pump(t);
		pthread_mutex_lock(&t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

/* ---- Life ----------------------------------------------------------------------------------- */

static int start_thread(struct transfer *t)
{
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);
	int rc = -pthread_create(&t->thread, &attr, run, t);
	pthread_attr_destroy(&attr);
	if (rc < 0)
		return rc;
	/* A new thread makes system calls before it comes here that a sealed process may not. */
	pthread_mutex_lock(&t->lock);
	while (!t->up)
		pthread_cond_wait(&t->changed, &t->lock);
	pthread_mutex_unlock(&t->lock);
	return 0;
}

static int make(struct transfer *t, const struct transfer_config *config, struct fault *f)
{
	struct stream_facts facts = { .level = config->facts->level };
	memcpy(facts.vm, config->facts->vm, UUID_BYTES);
	memcpy(facts.tpm_id, config->facts->tpm_id, sizeof(facts.tpm_id));
	int rc = stream_keys_new(&facts, config->key, config->owner, NULL, &t->keys, f);
	if (rc < 0)
		return rc;
	t->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = t->news < 0 || t->wake < 0 ? -errno : pool_new(0, &t->pool);
	if (rc >= 0)
		rc = flow_new(t->pool, &t->flow);
	if (rc >= 0)
		rc = start_thread(t);
	return rc < 0 ? fault_set(f, rc, "saved states: %s", err_text(rc)) : 0;
}

int transfer_new(const struct transfer_config *config, struct transfer **out, struct fault *f)
{
	struct transfer *t = calloc(1, sizeof(*t));
	if (!t)
		return fault_set(f, -ENOMEM, "saved states: %s", err_text(-ENOMEM));
	t->news = t->wake = t->writer = t->file = t->pipe = -1;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	int rc = make(t, config, f);
	if (rc < 0) {
		transfer_free(t);
		return rc;
	}
	*out = t;
	return 0;
}

void transfer_free(struct transfer *t)
{
	if (!t)
		return;
	if (t->up) {
		pthread_mutex_lock(&t->lock);
		t->stop = 1;
		pthread_cond_broadcast(&t->changed);
		pthread_mutex_unlock(&t->lock);
		ring(t->wake);
		pthread_join(t->thread, NULL);
	}
	flow_free(t->flow);
	pool_free(t->pool);
	stream_keys_free(t->keys);
	fd_close(&t->news);
	fd_close(&t->wake);
	fd_close(&t->writer);
	fd_close(&t->file);
	fd_close(&t->pipe);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* ---- One transfer --------------------------------------------------------------------------- */

/* The pipe between QEMU and us: [0] to read from, [1] to write to; OURS is non-blocking. */
static int make_pipe(int ends[static 2], int ours)
{
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	/* More at a time is faster, and nothing depends on it. */
	(void)fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES);
	int rc = fd_set_nonblock(ends[ours], 1);
	if (rc < 0) {
		fd_close(&ends[0]);
		fd_close(&ends[1]);
	}
	return rc;
}

int transfer_begin(struct transfer *t, enum transfer_kind kind, int libvirts, int *qemus,
		   struct fault *f)
{
	int ends[2], ours = kind == TRANSFER_RESTORE;
	pthread_mutex_lock(&t->lock);
	int rc = t->job ? -EBUSY : fd_set_nonblock(libvirts, 1);
	/* QEMU's reading end is closed by whoever gives it to QEMU; its writing end stays here too.
	 */
	if (rc >= 0)
		rc = make_pipe(ends, ours);
	if (rc >= 0 && !ours) {
		t->writer = fcntl(ends[1], F_DUPFD_CLOEXEC, 3);
		rc = t->writer < 0 ? -errno : 0;
		if (rc < 0) {
			fd_close(&ends[0]);
			fd_close(&ends[1]);
		}
	}
	if (rc >= 0) {
		/* It fails for a regular file, and need not succeed for a pipe. */
		(void)fcntl(libvirts, F_SETPIPE_SZ, PIPE_BYTES);
		fd_close(&t->pipe);
		t->pipe = ends[ours];
		*qemus = ends[!ours];
		t->file = libvirts;
		t->kind = kind;
		t->state = ours ? TRANSFER_OPENING : TRANSFER_RUNNING;
		t->aborted = 0;
		t->fault = (struct fault){ 0 };
		t->job = 1;
		pthread_cond_broadcast(&t->changed);
	}
	pthread_mutex_unlock(&t->lock);
	return rc < 0 ? fault_set(f, rc, "the state cannot be moved: %s", err_text(rc)) : 0;
}

void transfer_finish(struct transfer *t)
{
	pthread_mutex_lock(&t->lock);
	fd_close(&t->writer);
	pthread_mutex_unlock(&t->lock);
}

void transfer_abort(struct transfer *t, const char *why)
{
	pthread_mutex_lock(&t->lock);
	if (t->job && !t->aborted) {
		t->aborted = 1;
		fault_set(&t->fault, -ECANCELED, "%s", why);
	}
	pthread_mutex_unlock(&t->lock);
	ring(t->wake);
}

int transfer_news_fd(const struct transfer *t)
{
	return t->news;
}

enum transfer_state transfer_look(struct transfer *t, struct fault *f)
{
	hush(t->news);
	pthread_mutex_lock(&t->lock);
	enum transfer_state state = t->state;
	if (state == TRANSFER_FAILED)
		*f = t->fault;
	pthread_mutex_unlock(&t->lock);
	return state;
}
