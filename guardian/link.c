/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

_Static_assert(LINK_JUDGE_MAX > LINK_ASK_MAX, "what is judged was asked, and more");

/* The most that any message has. */
#define ANY_MAX ((size_t)LINK_JUDGE_MAX)

int link_check(const struct link_head *h, enum link_op op, size_t max)
{
	if (h->magic != LINK_MAGIC || h->op != (uint32_t)op)
		return ERR_FORMAT;
	return h->n > max ? ERR_LIMIT : 0;
}

/* Wait for EVENTS on FD: 0, -ETIMEDOUT, -errno. */
static int wait_for(int fd, short events, int64_t deadline_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	for (;;) {
		int n = poll(&p, 1, deadline_ms ? clock_left_ms(deadline_ms) : -1);
		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

/* N bytes into DST; *GOT says how many came also when it fails. */
static int read_some(int fd, void *dst, size_t n, int64_t deadline_ms, size_t *got)
{
	for (*got = 0; *got < n;) {
		int rc = wait_for(fd, POLLIN, deadline_ms);
		if (rc < 0)
			return rc;
		ssize_t r = recv(fd, (char *)dst + *got, n - *got, MSG_DONTWAIT);
		if (r == 0)
			return ERR_TRUNCATED;
		if (r > 0)
			*got += (size_t)r;
		else if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
	return 0;
}

int link_read(int fd, enum link_op op, int64_t deadline_ms, uint64_t *id, struct buf *b)
{
	struct link_head h;
	size_t got;
	int rc = read_some(fd, &h, sizeof(h), deadline_ms, &got);
	if (rc == ERR_TRUNCATED && got == 0)
		return ERR_STATE;
	if (rc >= 0)
		rc = link_check(&h, op, b->max - b->len);
	if (rc >= 0)
		rc = buf_reserve(b, (size_t)h.n);
	if (rc >= 0 && h.n > 0)
		rc = read_some(fd, b->data + b->len, (size_t)h.n, deadline_ms, &got);
	if (rc < 0)
		return rc;
	b->len += (size_t)h.n;
	*id = h.id;
	return 0;
}

static int write_all(int fd, const void *data, size_t n, int64_t deadline_ms)
{
	for (size_t done = 0; done < n;) {
		int rc = wait_for(fd, POLLOUT, deadline_ms);
		if (rc < 0)
			return rc;
		ssize_t w =
			send(fd, (const char *)data + done, n - done, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (w >= 0)
			done += (size_t)w;
		else if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
	return 0;
}

int link_write(int fd, enum link_op op, uint64_t id, const struct link_part *parts, size_t n_parts)
{
	struct link_head h = { .magic = LINK_MAGIC, .op = (uint32_t)op, .id = id };
	int64_t deadline = clock_ms() + LINK_WRITE_MS;
	for (size_t i = 0; i < n_parts; i++) {
		if (parts[i].n > ANY_MAX)
			return ERR_LIMIT;
		h.n += parts[i].n;
	}
	if (h.n > ANY_MAX)
		return ERR_LIMIT;
	int rc = write_all(fd, &h, sizeof(h), deadline);
	for (size_t i = 0; rc >= 0 && i < n_parts; i++)
		rc = write_all(fd, parts[i].data, parts[i].n, deadline);
	return rc;
}

int link_piece(const struct buf *m, size_t *at, size_t n, const uint8_t **out)
{
	if (*at > m->len || n > m->len - *at)
		return ERR_TRUNCATED;
	*out = m->data + *at;
	*at += n;
	return 0;
}

int link_take(const struct buf *m, size_t *at, void *out, size_t n)
{
	const uint8_t *piece;
	int rc = link_piece(m, at, n, &piece);
	if (rc >= 0)
		memcpy(out, piece, n);
	return rc;
}

void link_finding_put(const struct finding *in, struct link_finding *out)
{
	memset(out, 0, sizeof(*out));
	strncpy(out->id, in->id, sizeof(out->id) - 1);
	out->verdict = (uint32_t)in->verdict;
	memcpy(out->evidence, in->evidence, sizeof(out->evidence));
	out->evidence[sizeof(out->evidence) - 1] = '\0';
}

int link_finding_get(const struct link_finding *in, struct findings *out)
{
	const char *id = NULL;
	if (!memchr(in->id, 0, sizeof(in->id)) || in->verdict > FINDING_UNKNOWN ||
	    !memchr(in->evidence, 0, sizeof(in->evidence)) || out->n >= FINDINGS_MAX)
		return ERR_FORMAT;
	for (unsigned i = 0; (id = finding_id(i)) && strcmp(id, in->id) != 0; i++)
		;
	if (!id)
		return ERR_FORMAT;
	/* Makes it printable once more. */
	finding_add(out, id, (enum finding_verdict)in->verdict, "%s", in->evidence);
	return 0;
}
