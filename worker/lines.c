/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/lines.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"

#define CHUNK_BYTES 65536

void lines_close(struct lines *p)
{
	fd_close(&p->fd);
	fd_close(&p->out_fd);
	buf_done(&p->in);
	buf_done(&p->out);
	p->taken = p->searched = 0;
}

static void lines_compact(struct lines *p)
{
	buf_consume(&p->in, p->taken);
	p->searched -= p->taken;
	p->taken = 0;
}

int lines_receive(struct lines *p, int *last)
{
	int fds[FD_PASS_MAX];
	size_t n_fds;
	lines_compact(p);
	size_t room = p->in.max - p->in.len;
	size_t want = room < CHUNK_BYTES ? room : CHUNK_BYTES;
	int rc = buf_reserve(&p->in, want);
	if (rc < 0 || want == 0)
		return rc < 0 ? rc : ERR_LIMIT;
	ssize_t got = fd_recv(p->fd, p->in.data + p->in.len, want, fds, &n_fds);
	for (size_t i = 0; i < FD_PASS_MAX; i++) {
		if (last && fds[i] >= 0) {
			fd_close(last);
			*last = fd_take(&fds[i]);
		}
		fd_close(&fds[i]);
	}
	if (got == -EAGAIN || got == -EWOULDBLOCK)
		return 0;
	if (got <= 0)
		return got < 0 ? (int)got : -ECONNRESET;
	p->in.len += (size_t)got;
	return 1;
}

int lines_send(struct lines *p)
{
	while (p->fd >= 0 && p->out.len > 0) {
		ssize_t put;
		if (p->out_fd >= 0) {
			/* The descriptor travels with one byte, so that it cannot be sent twice. */
			int rc = fd_send(p->fd, p->out.data, 1, &p->out_fd, 1);
			put = rc < 0 ? rc : 1;
			if (put > 0)
				fd_close(&p->out_fd);
		} else {
			put = send(p->fd, p->out.data, p->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
			put = put < 0 ? -errno : put;
		}
		if (put == -EINTR)
			continue;
		if (put == -EAGAIN || put == -EWOULDBLOCK)
			return 0;
		if (put < 0)
			return (int)put;
		buf_consume(&p->out, (size_t)put);
	}
	return 0;
}

const char *lines_next(struct lines *p, size_t *n)
{
	if (p->in.len == p->searched)
		return NULL;
	const uint8_t *start = p->in.data + p->taken, *from = p->in.data + p->searched;
	const uint8_t *end = memchr(from, '\n', p->in.len - p->searched);
	if (!end) {
		p->searched = p->in.len;
		return NULL;
	}
	*n = (size_t)(end - start);
	p->taken = p->searched = (size_t)(end - p->in.data) + 1;
	if (*n > 0 && start[*n - 1] == '\r')
		--*n;
	return (const char *)start;
}

int lines_is_full(const struct lines *p)
{
	return p->in.len - p->taken == p->in.max;
}
