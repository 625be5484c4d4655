/* SPDX-License-Identifier: BSD-3-Clause */
#include "migration/wires.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"

/* What may be on its way to QEMU; the kernel doubles it, and takes less where it must. */
#define LINK_BYTES (1024 * 1024)

int wires_init(struct place *p, size_t n, struct channel_keys *k)
{
	int rc = 0;
	for (size_t i = 0; i < n; i++)
		p[i] = (struct place){ .number = -1, .slot = -1 };
	for (size_t i = 0; rc >= 0 && i < n; i++)
		rc = wire_new(k, &p[i].wire);
	return rc;
}

void wires_done(struct place *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		wire_free(p[i].wire);
}

int wires_sooner(int a, int b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

nfds_t wires_slots(struct place *p, size_t n, struct pollfd *slots, int *limit_ms)
{
	nfds_t used = 0;
	for (size_t i = 0; i < n; i++) {
		p[i].slot = -1;
		if (wire_state(p[i].wire) == WIRE_IDLE)
			continue;
		p[i].slot = (int)used;
		wire_slots(p[i].wire, slots + used);
		used += WIRE_SLOTS;
		*limit_ms = wires_sooner(*limit_ms, wire_timeout_ms(p[i].wire));
	}
	return used;
}

void wires_serve(struct place *p, size_t n, const struct pollfd *slots)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i].slot < 0)
			continue;
		const struct pollfd *own = slots + p[i].slot;
		p[i].spoken |= own[0].revents != 0;
		wire_serve(p[i].wire, own);
	}
}

static int64_t due_ms(const struct place *p)
{
	return p->since_ms + (p->spoken ? WIRES_SPOKEN_MS : WIRES_SILENT_MS);
}

struct place *wires_room(struct place *p, size_t n, int *limit_ms)
{
	struct place *first = NULL, *idle = NULL;
	int opening = 0;
	for (size_t i = 0; i < n; i++) {
		enum wire_state s = wire_state(p[i].wire);
		if (p[i].number >= 0)
			continue;
		if (s == WIRE_IDLE || s == WIRE_FAILED) {
			idle = &p[i];
			continue;
		}
		opening++;
		if (!first || due_ms(&p[i]) < due_ms(first))
			first = &p[i];
	}
	if (opening < WIRES_OPENING)
		return idle;
	int wait_ms = clock_left_ms(due_ms(first));
	if (wait_ms == 0)
		return first;
	*limit_ms = wires_sooner(*limit_ms, wait_ms);
	return NULL;
}

void wires_accept(struct place *p, int listener, int64_t open_ms)
{
	struct fault ignored = { 0 };
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	wire_abort(p->wire);
	p->since_ms = clock_ms();
	p->spoken = p->running = 0;
	if (wire_destination(p->wire, fd, fd, open_ms, &ignored) < 0)
		fd_close(&fd);
}

void wires_clear(struct place *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i].number < 0)
			wire_abort(p[i].wire);
	}
}

/* More at a time is faster, and nothing depends on it. */
static void enlarge(int fd)
{
	const int bytes = LINK_BYTES;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

int wires_pair(int ends[static 2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	int rc = fd_set_nonblock(ends[0], 1);
	if (rc < 0) {
		fd_close(&ends[0]);
		fd_close(&ends[1]);
		return rc;
	}
	enlarge(ends[0]);
	enlarge(ends[1]);
	return 0;
}

int wires_net(int net)
{
	const int on = 1;
	int rc = fd_set_nonblock(net, 1);
	/* It fails where there is no TCP. */
	if (rc >= 0)
		(void)setsockopt(net, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return rc;
}

int server_make(int backlog, struct server *s)
{
	/* The kernel gives the name. */
	const struct sockaddr_un any = { .sun_family = AF_UNIX };
	socklen_t size = sizeof(s->name);
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || bind(s->fd, (const struct sockaddr *)&any, sizeof(any.sun_family)) < 0 ||
	    listen(s->fd, backlog) < 0 ||
	    getsockname(s->fd, (struct sockaddr *)&s->name, &size) < 0)
		return -errno;
	s->name_bytes = size;
	return 0;
}

int server_connect(const struct server *s)
{
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&s->name, s->name_bytes) < 0)
		return -errno;
	enlarge(fd);
	return fd_take(&fd);
}
