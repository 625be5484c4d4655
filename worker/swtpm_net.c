/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/swtpm_net.h"

#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"

#define BACKLOG	     8
#define DEFAULT_MODE 0770 /* swtpm's */

static int listen_unix(const char *option, const struct swtpm_socket *s, struct fault *f)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct stat st;
	if (strlen(s->path) >= sizeof(a.sun_path))
		return fault_set(f, ERR_USAGE,
				 "%s: the socket's path is longer than the %zu bytes there may be",
				 option, sizeof(a.sun_path) - 1);
	strcpy(a.sun_path, s->path);
	if (lstat(s->path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			return fault_set(f, -EEXIST,
					 "%s: '%s' is there and is no socket; it is left alone",
					 option, s->path);
		(void)unlink(s->path);
	}
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* The folder's rights say who gets in before the mode is set: nobody else. */
	mode_t umask_before = umask(0177);
	int rc = fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
	(void)umask(umask_before);
	if (rc == 0 && (s->uid >= 0 || s->gid >= 0) &&
	    chown(s->path, (uid_t)s->uid, (gid_t)s->gid) < 0)
		rc = -errno;
	if (rc == 0 && (chmod(s->path, s->mode < 0 ? DEFAULT_MODE : (mode_t)s->mode) < 0 ||
			listen(fd, BACKLOG) < 0))
		rc = -errno;
	if (rc < 0)
		return fault_set(f, rc, "%s: no socket '%s': %s", option, s->path, err_text(rc));
	return fd_take(&fd);
}

static int listen_tcp(const char *option, const struct swtpm_socket *s, struct fault *f)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
					.ai_socktype = SOCK_STREAM };
	const char *address = s->address ? s->address : "127.0.0.1";
	struct addrinfo *list;
	const int on = 1;
	char port[16];
	snprintf(port, sizeof(port), "%d", s->port);
	if (getaddrinfo(address, port, &hints, &list) != 0)
		return fault_set(f, ERR_USAGE, "%s: '%s' is no IP address", option, address);
	if (list->ai_family == AF_INET6 && s->interface)
		((struct sockaddr_in6 *)(void *)list->ai_addr)->sin6_scope_id =
			if_nametoindex(s->interface);
	CLEANUP_FD int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = 0;
	/* TCP_NODELAY goes on to the accepted connections: a command is one small segment. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
	    bind(fd, list->ai_addr, list->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
		rc = -errno;
	freeaddrinfo(list);
	if (rc < 0)
		return fault_set(f, rc, "%s: no socket at %s port %d: %s", option, address, s->port,
				 err_text(rc));
	return fd_take(&fd);
}

int swtpm_check_socket(const char *option, int fd, int listening, struct fault *f)
{
	int type, accepts;
	socklen_t n = sizeof(int), m = sizeof(int);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0 || type != SOCK_STREAM ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &m) < 0)
		return fault_set(f, ERR_USAGE, "%s: descriptor %d is no stream socket", option, fd);
	if (!accepts != !listening)
		return fault_set(f, ERR_USAGE, "%s: descriptor %d is %s", option, fd,
				 listening ? "no listening socket" : "a listening socket");
	return 0;
}

int swtpm_listen(const char *option, const struct swtpm_socket *s, int polled, struct fault *f)
{
	int fd = s->fd, rc;
	if (fd >= 0)
		rc = swtpm_check_socket(option, fd, 1, f);
	else
		rc = fd = s->type == SOCKET_UNIX ? listen_unix(option, s, f)
						 : listen_tcp(option, s, f);
	if (rc >= 0)
		rc = fd_set_nonblock(fd, polled);
	return rc < 0 ? fault_set(f, rc, "%s: descriptor %d: %s", option, fd, err_text(rc)) : fd;
}
