/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/caller.h"

#include <errno.h>
#include <poll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "base/fd.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

int caller_pidfd(int fd, pid_t pid)
{
	int pidfd = -1;
	socklen_t size = sizeof(pidfd);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0)
		return pidfd;
	/* The peer has ended, and PID may be somebody else's while others hold its socket. */
	if (errno != ENOPROTOOPT)
		return -errno;
	CLEANUP_FD int opened = pidfd_open(pid, 0);
	if (opened < 0)
		return -errno;
	/* As far as an older kernel lets us see. */
	struct pollfd p = { .fd = fd };
	if (poll(&p, 1, 0) != 0)
		return -ESRCH;
	return fd_take(&opened);
}

int caller_is_listener(int fd)
{
	int domain = 0, type = 0, listens = 0;
	struct ucred who = { .uid = 1 };
	socklen_t int_size = sizeof(int), who_size = sizeof(who);
	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &int_size) == 0 &&
	       domain == AF_UNIX && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &int_size) == 0 &&
	       type == SOCK_STREAM &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &int_size) == 0 && listens &&
	       getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &who_size) == 0 && who.uid == 0;
}
