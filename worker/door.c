/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/door.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/registers.h"

static int wrong(const char *what, struct fault *f)
{
	return fault_set(f, ERR_FORMAT, "the address for the migration has no %s", what);
}

/* TEXT as a port; 0 if it is none. */
static uint32_t parse_port(const char *text)
{
	uint32_t port = 0;
	size_t n = strlen(text);
	if (n == 0 || n > 5)
		return 0;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return 0;
		port = port * 10 + (uint32_t)(*text - '0');
	}
	return port >= DOOR_PORT_MIN && port <= UINT16_MAX ? port : 0;
}

static_assert(DOOR_FOLDER_BYTES + DOOR_NAME_BYTES <= sizeof(((struct sockaddr_un *)0)->sun_path),
	      "libvirt, and who forwards it, need the whole path");

void door_folder(const uint8_t vm[static UUID_BYTES], char folder[static DOOR_FOLDER_BYTES])
{
	char uuid[UUID_TEXT_SIZE];
	uuid_format(vm, uuid);
	snprintf(folder, DOOR_FOLDER_BYTES, "%s/%s/%s", PATH_RUN, uuid, FOLDER_MIGRATION);
}

static const char PATH[] = "unix:";

int door_is_path(const char *address)
{
	return strncmp(address, PATH, strlen(PATH)) == 0;
}

/* NAME, of at most DOOR_NAME_BYTES, is one that a socket may have. */
static int is_name(const char *name)
{
	static const char MAY[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				  "._-";
	size_t n = strnlen(name, DOOR_NAME_BYTES);
	return n > 0 && n < DOOR_NAME_BYTES && name[0] != '.' && strspn(name, MAY) == n;
}

static int parse_path(const struct door *d, const char *path, struct door_request *out,
		      struct fault *f)
{
	struct door_request r = { .magic = DOOR_MAGIC, .family = AF_UNIX };
	size_t n = strlen(d->folder);
	if (!d->folder[0] || strncmp(path, d->folder, n) != 0 || path[n] != '/' ||
	    !is_name(path + n + 1))
		return fault_set(f, ERR_FORMAT,
				 "the sockets of this VM's migrations are in one folder, the same "
				 "on both hosts; migrate with unix://%s/NAME, where NAME has at "
				 "most %d letters, digits and . _ - and does not begin with a dot",
				 d->folder, DOOR_NAME_BYTES - 1);
	snprintf(r.name, sizeof(r.name), "%s", path + n + 1);
	*out = r;
	return 0;
}

int door_parse(const struct door *d, const char *address, struct door_request *out, struct fault *f)
{
	struct door_request r = { .magic = DOOR_MAGIC, .family = AF_INET };
	if (door_is_path(address))
		return parse_path(d, address + strlen(PATH), out, f);
	char host[INET6_ADDRSTRLEN];
	const char *end = strrchr(address, ':');
	if (!end)
		return wrong("port", f);
	size_t n = (size_t)(end - address);
	if (n >= 2 && address[0] == '[' && end[-1] == ']') {
		r.family = AF_INET6;
		address++;
		n -= 2;
	}
	if (n == 0 || n >= sizeof(host))
		return wrong("numeric host", f);
	memcpy(host, address, n);
	host[n] = 0;
	if (inet_pton((int)r.family, host, r.address) != 1)
		return wrong("numeric host", f);
	r.port = parse_port(end + 1);
	if (r.port == 0)
		return wrong("port that an ordinary user may have", f);
	*out = r;
	return 0;
}

/* One reply without waiting: 0, -EAGAIN if there is none, -EPIPE at the end of LINK. */
static int receive(int link, uint32_t number, struct door_reply *reply, int *sock)
{
	int fds[FD_PASS_MAX];
	size_t n_fds;
	ssize_t n = fd_recv(link, reply, sizeof(*reply), fds, &n_fds);
	int mine = n > 0 && door_is_reply(reply, (size_t)n) && reply->number == number;
	if (mine && n_fds == 1 && reply->rc >= 0)
		*sock = fd_take(&fds[0]);
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(&fds[i]);
	if (n <= 0)
		return n == 0 ? -EPIPE : n == -EINTR ? -EAGAIN : (int)n;
	if (!mine) /* an audit record's answer that came too late */
		return -EAGAIN;
	return 0;
}

static int ask(int link, struct door_request *r, enum door_kind kind, int *sock)
{
	static uint32_t number;
	struct door_reply reply;
	int64_t deadline = clock_ms() + DOOR_WAIT_MS;
	r->number = ++number;
	r->kind = kind;
	int rc = link < 0 ? ERR_STATE : fd_send(link, r, sizeof(*r), NULL, 0);
	while (rc >= 0) {
		struct pollfd p = { .fd = link, .events = POLLIN };
		registers_clear();
		int n = poll(&p, 1, clock_left_ms(deadline));
		if (n == 0)
			return -ETIMEDOUT;
		if (n < 0 && errno != EINTR)
			return -errno;
		rc = n > 0 ? receive(link, r->number, &reply, sock) : -EAGAIN;
		if (rc == 0 && reply.rc >= 0 && *sock < 0 && r->kind != DOOR_SHUT)
			return ERR_FORMAT;
		if (rc == 0)
			return reply.rc;
		if (rc == -EAGAIN)
			rc = 0;
	}
	return rc;
}

/* Without waiting for the answer, which receive() passes over. */
static void shut_late(const struct door *d, struct door_request *r)
{
	r->number = 0;
	r->kind = DOOR_SHUT;
	if (r->family == AF_UNIX)
		(void)!fd_send(d->link, r, sizeof(*r), NULL, 0);
}

int door_ask(const struct door *d, enum door_kind kind, const char *address, int *sock,
	     struct fault *f)
{
	struct door_request r;
	int rc = door_parse(d, address, &r, f);
	if (rc < 0)
		return rc;
	rc = ask(d->link, &r, kind, sock);
	/* It may yet be made, for nobody. */
	if (rc == -ETIMEDOUT && kind == DOOR_LISTEN)
		shut_late(d, &r);
	return rc < 0 ? fault_set(f, rc, "cannot %s %s for the migration: %s",
				  kind == DOOR_LISTEN ? "listen on" : "connect to", address,
				  err_text(rc))
		      : 0;
}

void door_shut(const struct door *d, const char *address)
{
	struct door_request r;
	CLEANUP_FD int none = -1;
	if (door_is_path(address) && door_parse(d, address, &r, NULL) >= 0)
		(void)!ask(d->link, &r, DOOR_SHUT, &none);
}

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un path;
};

static socklen_t address_of(const struct door_request *m, union address *a)
{
	memset(a, 0, sizeof(*a));
	if (m->family == AF_UNIX) {
		a->path.sun_family = AF_UNIX;
		snprintf(a->path.sun_path, sizeof(a->path.sun_path), "%.*s", DOOR_NAME_BYTES - 1,
			 m->name);
		return sizeof(a->path);
	}
	if (m->family == AF_INET6) {
		a->v6.sin6_family = AF_INET6;
		a->v6.sin6_port = htons((uint16_t)m->port);
		memcpy(&a->v6.sin6_addr, m->address, sizeof(a->v6.sin6_addr));
		return sizeof(a->v6);
	}
	a->v4.sin_family = AF_INET;
	a->v4.sin_port = htons((uint16_t)m->port);
	memcpy(&a->v4.sin_addr, m->address, sizeof(a->v4.sin_addr));
	return sizeof(a->v4);
}

/* What has the name may be left from before: as QEMU does, take it away, if it is a socket. */
static int make_room(const char *name)
{
	struct stat st;
	if (fstatat(AT_FDCWD, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	return unlink(name) < 0 ? -errno : 0;
}

static int listen_there(int fd, const struct door_request *m)
{
	union address a;
	socklen_t size = address_of(m, &a);
	int rc = bind(fd, &a.any, size) < 0 ? -errno : 0;
	if (rc == -EADDRINUSE && (rc = make_room(m->name)) >= 0)
		rc = bind(fd, &a.any, size) < 0 ? -errno : 0;
	if (rc >= 0 && listen(fd, DOOR_BACKLOG) < 0)
		rc = -errno;
	return rc;
}

static int listen_at(int fd, const struct door_request *m)
{
	const int on = 1, off = 0;
	union address a;
	socklen_t size = address_of(m, &a);
	if (m->family == AF_UNIX)
		return listen_there(fd, m);
	/* What is accepted has TCP_NODELAY from here. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
	    (m->family == AF_INET6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0))
		return -errno;
	if (bind(fd, &a.any, size) < 0 || listen(fd, DOOR_BACKLOG) < 0)
		return -errno;
	return 0;
}

/* Non-blocking: it has only begun. */
static int connect_to(int fd, const struct door_request *m)
{
	union address a;
	socklen_t size = address_of(m, &a);
	return connect(fd, &a.any, size) < 0 && errno != EINPROGRESS ? -errno : 0;
}

/* The place of NAME among the listeners' names, of "" a free one; -1: none. */
static int place_of(const struct door_limits *l, const char *name)
{
	for (int i = 0; i < DOOR_LISTENERS; i++) {
		if (strncmp(l->names[i], name, DOOR_NAME_BYTES) == 0)
			return i;
	}
	return -1;
}

static int is_address(const struct door_request *m)
{
	if (m->family == AF_UNIX)
		return m->port == 0 && is_name(m->name);
	return (m->family == AF_INET || m->family == AF_INET6) && m->port >= DOOR_PORT_MIN &&
	       m->port <= UINT16_MAX && !m->name[0] && m->kind != DOOR_SHUT;
}

int door_check(const struct door_limits *l, const struct door_request *m, size_t n)
{
	if (n != sizeof(*m) || m->magic != DOOR_MAGIC ||
	    (m->kind != DOOR_LISTEN && m->kind != DOOR_CONNECT && m->kind != DOOR_SHUT) ||
	    !is_address(m))
		return ERR_FORMAT;
	if (m->kind == DOOR_SHUT)
		return place_of(l, m->name) >= 0 ? 0 : ERR_STATE;
	if (m->kind == DOOR_LISTEN && m->family == AF_UNIX && place_of(l, m->name) >= 0)
		return -EADDRINUSE;
	if (m->kind == DOOR_LISTEN)
		return l->listeners > 0 ? 0 : ERR_STATE;
	int64_t first = l->connects_ms[l->n_connects % DOOR_CONNECTS];
	return first && clock_ms() - first < DOOR_CONNECTS_MS ? ERR_LIMIT : 0;
}

/* NAME, one of the listeners', goes away, and its place is free. */
static int shut(struct door_limits *l, const char *name)
{
	int at = place_of(l, name);
	if (at >= 0)
		l->names[at][0] = 0;
	return unlink(name) < 0 && errno != ENOENT ? -errno : 0;
}

/* There are as many places as there are listeners ever. */
static void keep_name(struct door_limits *l, const char *name)
{
	int at = place_of(l, "");
	if (at >= 0)
		snprintf(l->names[at], DOOR_NAME_BYTES, "%s", name);
}

int door_make(struct door_limits *l, const struct door_request *m, int *sock)
{
	*sock = -1;
	if (m->kind == DOOR_SHUT)
		return shut(l, m->name);
	CLEANUP_FD int fd = socket((int)m->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
				   m->family == AF_UNIX ? 0 : IPPROTO_TCP);
	if (fd < 0)
		return -errno;
	if (m->kind == DOOR_CONNECT)
		l->connects_ms[l->n_connects++ % DOOR_CONNECTS] = clock_ms();
	int rc = m->kind == DOOR_LISTEN ? listen_at(fd, m) : connect_to(fd, m);
	if (rc < 0)
		return rc;
	/* Where somebody else listens, it may ask for another address. */
	if (m->kind == DOOR_LISTEN)
		l->listeners--;
	if (m->kind == DOOR_LISTEN && m->family == AF_UNIX)
		keep_name(l, m->name);
	*sock = fd_take(&fd);
	return 0;
}

int door_pass(int listener, pid_t pid, int pidfd, int qemus, pid_t *peer)
{
	struct ucred who = { 0 };
	socklen_t size = sizeof(who);
	const char connection = 1;
	CLEANUP_FD int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0)
		return -errno;
	*peer = who.pid;
	/* Who connected had that pid then, and QEMU has it still. */
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	if (pidfd < 0 || who.pid != pid || poll(&p, 1, 0) != 0)
		return 1;
	return fd_send(qemus, &connection, sizeof(connection), &fd, 1);
}

int door_is_reply(const void *m, size_t n)
{
	const struct door_reply *reply = m;
	return n == sizeof(*reply) && reply->magic == DOOR_MAGIC;
}
