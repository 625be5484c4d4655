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
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/registers.h"
#include "base/thread.h"
#include "crypto/flow.h"
#include "migration/bell.h"

#define THREAD_STACK_BYTES (256 * 1024)
#define PIPE_BYTES	   (1024 * 1024) /* what an unprivileged user may have */

/*
 * What may be on its way to QEMU; the kernel doubles it, and takes less where net.core.wmem_max is
 * less.  A socket can be written again when three quarters of it were read, so
 * that neither side wakes the other for every page.
 */
#define LINK_BYTES	   (1024 * 1024)

struct transfer {
	struct stream_keys *keys;
	struct pool *pool;
	struct flow *flow;
	struct thread *thread;
	int news, wake; /* eventfds: to the control thread, to ours */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under the lock. */
	int up, stop, job, aborted;
	enum transfer_kind kind;
	enum transfer_state state;
	struct fault fault;
	int writer; /* out: the link's writing end, until QEMU has written all; -1: none */
	int file;   /* libvirt's; only our thread closes it while there is a job */
	int link;   /* our end of it; likewise */
};

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
			fd_close(&t->link);
	}
	pthread_mutex_unlock(&t->lock);
	bell_ring(t->news);
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
		return flow_seal_start(t->flow, t->keys, KEY_USE_SAVED_STATE, t->link, t->file, f);
	case TRANSFER_DUMP:
		return flow_seal_start(t->flow, t->keys, KEY_USE_DUMP, t->link, t->file, f);
	case TRANSFER_RESTORE:
		return flow_open_start(t->flow, t->keys, KEY_USE_SAVED_STATE, t->file, t->link, f);
	}
	return fault_set(f, ERR_USAGE, "no such transfer");
}

/* Wait for what is next and serve it.  < 0: that does not come. */
static int turn(struct transfer *t, int64_t deadline, struct fault *f)
{
	struct pollfd slots[FLOW_SLOTS + 1];
	flow_slots(t->flow, slots);
	slots[FLOW_SLOTS] = (struct pollfd){ .fd = t->wake, .events = POLLIN };
	registers_clear();
	int opening = t->kind == TRANSFER_RESTORE && !flow_stream(t->flow);
	int n = poll(slots, FLOW_SLOTS + 1, opening ? clock_left_ms(deadline) : -1);
	if (n == 0)
		return fault_set(f, -ETIMEDOUT, "the file to restore from does not come");
	if (n < 0)
		return errno == EINTR ? 0 : fault_set(f, -errno, "poll: %s", err_text(-errno));
	if (slots[FLOW_SLOTS].revents)
		bell_hush(t->wake);
	flow_serve(t->flow, slots);
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

static void run(void *arg)
{
	struct transfer *t = arg;
	pthread_mutex_lock(&t->lock);
	t->up = 1;
	pthread_cond_broadcast(&t->changed);
	while (!t->stop) {
		if (!t->job) {
			registers_clear();
			pthread_cond_wait(&t->changed, &t->lock);
			continue;
		}
		pthread_mutex_unlock(&t->lock);
		pump(t);
		pthread_mutex_lock(&t->lock);
	}
	pthread_mutex_unlock(&t->lock);
}

/* ---- Life ----------------------------------------------------------------------------------- */

static int start_thread(struct transfer *t)
{
	int rc = thread_start(THREAD_STACK_BYTES, run, t, &t->thread);
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
	/* What comes in says itself whether it is compressed. */
	if (protector_allows(config->facts, PROTECTOR_COMPRESSION))
		stream_keys_compress(t->keys, STREAM_ZSTD);
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
	t->news = t->wake = t->writer = t->file = t->link = -1;
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
		bell_ring(t->wake);
		thread_join(t->thread);
	}
	flow_free(t->flow);
	pool_free(t->pool);
	stream_keys_free(t->keys);
	fd_close(&t->news);
	fd_close(&t->wake);
	fd_close(&t->writer);
	fd_close(&t->file);
	fd_close(&t->link);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* ---- One transfer --------------------------------------------------------------------------- */

/* The link between QEMU and us: [0] to read from, [1] to write to; OURS is non-blocking. */
static int make_link(int ends[static 2], int ours)
{
	const int bytes = LINK_BYTES;
	int inwards = ours == 1;
	int rc = inwards ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)
			 : pipe2(ends, O_CLOEXEC);
	if (rc < 0)
		return -errno;
	/* More at a time is faster, and nothing depends on it. */
	if (inwards)
		(void)setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	else
		(void)fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES);
	rc = inwards && shutdown(ends[0], SHUT_WR) < 0 ? -errno : fd_set_nonblock(ends[ours], 1);
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
		rc = make_link(ends, ours);
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
		fd_close(&t->link);
		t->link = ends[ours];
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
	bell_ring(t->wake);
}

int transfer_news_fd(const struct transfer *t)
{
	return t->news;
}

enum transfer_state transfer_look(struct transfer *t, struct fault *f)
{
	bell_hush(t->news);
	pthread_mutex_lock(&t->lock);
	enum transfer_state state = t->state;
	if (state == TRANSFER_FAILED)
		*f = t->fault;
	pthread_mutex_unlock(&t->lock);
	return state;
}
