/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/data.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/registers.h"
#include "base/thread.h"

#define THREAD_STACK_BYTES (1024 * 1024)

/* What the thread reads at once: a whole command, and others that were sent behind it. */
#define IN_BYTES	   (2 * VTPM_BUFFER_MAX)

struct data {
	struct vtpm *vtpm;
	struct thread *thread;
	int event_fd;

	/* Under the lock.  The thread closes what it serves, also under it, so that data_free()
	 * never shuts down a descriptor that has been given to something else. */
	pthread_mutex_t lock;
	pthread_cond_t wake, is_up;
	int up, stop, one_command;
	int client, listener; /* -1: none */

	/* The thread's own. */
	uint8_t in[IN_BYTES];
	uint8_t reply[VTPM_BUFFER_MAX];
};

/* ---- framing ---- */

#define TAG_NO_SESSIONS 0x8001
#define TAG_SESSIONS	0x8002

void frame_next(const uint8_t *bytes, size_t n, struct frame *out)
{
	uint16_t tag;
	uint32_t size;

	*out = (struct frame){ .verdict = FRAME_MORE };
	if (n < sizeof(tag))
		return;
	memcpy(&tag, bytes, sizeof(tag));
	tag = be16toh(tag);
	if (tag != TAG_NO_SESSIONS && tag != TAG_SESSIONS) {
		*out = (struct frame){ FRAME_BAD, VTPM_RC_BAD_TAG, n, 0 };
		return;
	}
	if (n < sizeof(tag) + sizeof(size))
		return;
	memcpy(&size, bytes + sizeof(tag), sizeof(size));
	size = be32toh(size);
	if (size < VTPM_HEADER_BYTES || size > DATA_SWALLOW_MAX)
		*out = (struct frame){ FRAME_BAD, VTPM_RC_COMMAND_SIZE, n, 0 };
	else if (size > VTPM_BUFFER_MAX)
		*out = (struct frame){ FRAME_BAD, VTPM_RC_COMMAND_SIZE, n < size ? n : size,
				       n < size ? size - n : 0 };
	else if (n >= size)
		*out = (struct frame){ FRAME_COMMAND, 0, size, 0 };
}

/* ---- one client ---- */

/* Send it all, waiting as long as the client does not read: only this thread waits. */
static int send_reply(int fd, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent >= 0) {
			p += sent;
			n -= (size_t)sent;
		} else if (errno == EAGAIN) {
			struct pollfd w = { .fd = fd, .events = POLLOUT };
			registers_clear();
			if (poll(&w, 1, -1) < 0 && errno != EINTR)
				return -errno;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

static int send_error(struct data *d, int fd, uint32_t rc)
{
	vtpm_error_reply(rc, d->reply);
	return send_reply(fd, d->reply, VTPM_HEADER_BYTES);
}

/*
 * Receive at most N bytes.  With TIMEOUT_MS >= 0 wait no longer than that: -ETIMEDOUT.  Returns 0
 * at the end.
 */
static ssize_t receive(int fd, uint8_t *p, size_t n, int timeout_ms)
{
	int flags = 0;
	registers_clear();
	for (;;) {
		if (timeout_ms >= 0 || flags) {
			struct pollfd w = { .fd = fd, .events = POLLIN };
			int rc = poll(&w, 1, timeout_ms);
			if (rc == 0)
				return -ETIMEDOUT;
			if (rc < 0 && errno != EINTR)
				return -errno;
			flags = MSG_DONTWAIT;
		}
		ssize_t got = recv(fd, p, n, flags);
		if (got >= 0)
			return got;
		if (errno == EAGAIN)
			flags = MSG_DONTWAIT; /* the descriptor is non-blocking: poll first */
		else if (errno != EINTR)
			return -errno;
	}
}

/*
 * Answer every whole command among the *HAVE bytes in d->in, and leave what is the start of one at
 * the front.  *SKIP becomes what is to be dropped of what comes next.  Returns the number of
 * replies, or -errno when the client does not take them.
 */
static int answer(struct data *d, int fd, size_t *have, size_t *skip, int one_command)
{
	size_t at = 0;
	int replies = 0, rc = 0;

	while (at < *have && !(one_command && replies)) {
		struct frame fr;
		frame_next(d->in + at, *have - at, &fr);
		if (fr.verdict == FRAME_MORE)
			break;
		if (fr.verdict == FRAME_COMMAND) {
			size_t n;
			vtpm_command(d->vtpm, d->in + at, fr.take, d->reply, &n);
			rc = send_reply(fd, d->reply, n);
		} else {
			rc = send_error(d, fd, fr.rc);
		}
		if (rc < 0)
			return rc;
		at += fr.take;
		*skip = fr.skip;
		replies++;
	}
	*have -= at;
	if (at && *have)
		memmove(d->in, d->in + at, *have);
	return replies;
}

static void serve_client(struct data *d, int fd, int one_command)
{
	size_t have = 0, skip = 0;

	for (;;) {
		int partial = have || skip;
		ssize_t n = receive(fd, d->in + have, sizeof(d->in) - have,
				    partial ? DATA_STALL_MS : -1);
		if (n == -ETIMEDOUT) {
			/* A swallowed command had its answer when its size was seen. */
			if (have && (send_error(d, fd, VTPM_RC_COMMAND_SIZE) < 0 || one_command))
				break;
			have = skip = 0;
			continue;
		}
		if (n <= 0)
			break;
		have += (size_t)n;
		if (skip) {
			size_t drop = have < skip ? have : skip;
			memmove(d->in, d->in + drop, have - drop);
			have -= drop;
			skip -= drop;
		}
		int replies = answer(d, fd, &have, &skip, one_command);
		if (replies < 0 || (replies && one_command))
			break;
	}
	wipe(d->in, sizeof(d->in));
	wipe(d->reply, sizeof(d->reply));
}

/* ---- the thread ---- */

/* Close *FD, which data_free() may look at. */
static void close_shared(struct data *d, int *fd)
{
	pthread_mutex_lock(&d->lock);
	fd_close(fd);
	pthread_mutex_unlock(&d->lock);
}

static void client_gone(struct data *d)
{
	uint64_t one = 1;
	close_shared(d, &d->client);
	/* Fails only if the counter is full: then it is readable anyway. */
	ssize_t n = write(d->event_fd, &one, sizeof(one));
	(void)n;
}

static void serve_listener(struct data *d, int listener, int one_command)
{
	for (;;) {
		registers_clear();
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0)
			break;
		pthread_mutex_lock(&d->lock);
		int stop = d->stop;
		d->client = fd;
		pthread_mutex_unlock(&d->lock);
		if (!stop)
			serve_client(d, fd, one_command);
		client_gone(d);
		if (stop)
			break;
	}
	close_shared(d, &d->listener);
}

static void run(void *arg)
{
	struct data *d = arg;

	pthread_mutex_lock(&d->lock);
	d->up = 1;
	pthread_cond_signal(&d->is_up);
	for (;;) {
		registers_clear();
		while (!d->stop && d->client < 0 && d->listener < 0)
			pthread_cond_wait(&d->wake, &d->lock);
		if (d->stop)
			break;
		int client = d->client, listener = d->listener, one_command = d->one_command;
		pthread_mutex_unlock(&d->lock);
		if (listener >= 0) {
			serve_listener(d, listener, one_command);
		} else {
			serve_client(d, client, 0);
			client_gone(d);
		}
		pthread_mutex_lock(&d->lock);
	}
	pthread_mutex_unlock(&d->lock);
}

int data_new(struct vtpm *t, struct data **out, struct fault *f)
{
	struct data *d = calloc(1, sizeof(*d));
	if (!d)
		return fault_set(f, -ENOMEM, "no memory for the data channel");
	d->vtpm = t;
	d->client = d->listener = -1;
	d->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->event_fd < 0) {
		int rc = -errno;
		free(d);
		return fault_set(f, rc, "no eventfd for the data channel: %s", err_text(rc));
	}
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->wake, NULL);
	pthread_cond_init(&d->is_up, NULL);
	int rc = thread_start(THREAD_STACK_BYTES, run, d, &d->thread);
	if (rc < 0) {
		fd_close(&d->event_fd);
		free(d);
		return fault_set(f, rc, "no thread for the data channel: %s", err_text(rc));
	}
	/* A new thread makes system calls before it comes here that a sealed process may not. */
	pthread_mutex_lock(&d->lock);
	while (!d->up)
		pthread_cond_wait(&d->is_up, &d->lock);
	pthread_mutex_unlock(&d->lock);
	*out = d;
	return 0;
}

void data_free(struct data *d)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	d->stop = 1;
	if (d->client >= 0)
		shutdown(d->client, SHUT_RDWR);
	if (d->listener >= 0)
		shutdown(d->listener, SHUT_RDWR);
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->lock);
	vtpm_cancel(d->vtpm);
	thread_join(d->thread);
	fd_close(&d->client);
	fd_close(&d->listener);
	fd_close(&d->event_fd);
	pthread_cond_destroy(&d->is_up);
	pthread_cond_destroy(&d->wake);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

/* Hand FD to the thread as SLOT (client or listener). */
static int hand_over(struct data *d, int *slot, int fd, int one_command)
{
	int type, rc = 0;
	socklen_t n = sizeof(type);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0 || type != SOCK_STREAM)
		return -ENOTSOCK;
	pthread_mutex_lock(&d->lock);
	if (d->client >= 0 || d->listener >= 0) {
		rc = -EBUSY;
	} else {
		*slot = fd;
		d->one_command = one_command;
		pthread_cond_signal(&d->wake);
	}
	pthread_mutex_unlock(&d->lock);
	return rc;
}

int data_start(struct data *d, int fd)
{
	return hand_over(d, &d->client, fd, 0);
}

int data_serve(struct data *d, int listener, int one_command)
{
	return hand_over(d, &d->listener, listener, one_command);
}

int data_busy(struct data *d)
{
	pthread_mutex_lock(&d->lock);
	int busy = d->client >= 0 || d->listener >= 0;
	pthread_mutex_unlock(&d->lock);
	return busy;
}

int data_event_fd(const struct data *d)
{
	return d->event_fd;
}
