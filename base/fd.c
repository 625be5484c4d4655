/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_CHUNK 16384

void fd_close(int *fd)
{
	int saved_errno = errno;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved_errno;
}

int fd_read_full(int fd, void *dst, size_t n)
{
	uint8_t *p = dst;
	while (n > 0) {
		ssize_t got = read(fd, p, n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return ERR_TRUNCATED;
		p += got;
		n -= (size_t)got;
	}
	return 0;
}

int fd_write_full(int fd, const void *src, size_t n)
{
	const uint8_t *p = src;
	while (n > 0) {
		ssize_t put = write(fd, p, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		p += put;
		n -= (size_t)put;
	}
	return 0;
}

int fd_read_all(int fd, struct buf *b)
{
	for (;;) {
		/* One byte over the maximum is asked for, so that a file of just the maximum is
		 * told from a longer. */
		size_t room = b->max - b->len;
		size_t want = room < READ_CHUNK ? room : READ_CHUNK;
		uint8_t over;
		int rc = buf_reserve(b, want);
		if (rc < 0)
			return rc;
		ssize_t got = read(fd, want ? b->data + b->len : &over, want ? want : 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return 0;
		if (want == 0)
			return ERR_LIMIT;
		b->len += (size_t)got;
	}
}

int fd_read_file(int dir_fd, const char *path, struct buf *b, struct fault *f)
{
	CLEANUP_FD int fd =
		openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return fault_set(f, -errno, "%s: %s", path, err_text(-errno));
	struct stat st;
	if (fstat(fd, &st) < 0)
		return fault_set(f, -errno, "%s: %s", path, err_text(-errno));
	if (!S_ISREG(st.st_mode))
		return fault_set(f, -EINVAL, "%s: not a regular file", path);
	int rc = fd_read_all(fd, b);
	if (rc == ERR_LIMIT)
		return fault_set(f, rc, "%s: larger than the %zu bytes it may have", path, b->max);
	if (rc < 0)
		return fault_set(f, rc, "%s: %s", path, err_text(rc));
	return 0;
}

/* fsync the folder that holds PATH, so that the new name survives a power loss. */
static int sync_folder_of(int dir_fd, const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	int n = slash == path ? snprintf(folder, sizeof(folder), "/")
		: slash	      ? snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path)
			      : snprintf(folder, sizeof(folder), ".");
	if (n < 0 || (size_t)n >= sizeof(folder))
		return -ENAMETOOLONG;
	CLEANUP_FD int fd = openat(dir_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

int fd_write_file(int dir_fd, const char *path, const void *data, size_t n, mode_t mode,
		  int replace, struct fault *f)
{
	char tmp[PATH_MAX];
	int len = snprintf(tmp, sizeof(tmp), "%s.tmp.%ld", path, (long)getpid());
	if (len < 0 || (size_t)len >= sizeof(tmp))
		return fault_set(f, -ENAMETOOLONG, "%s: %s", path, err_text(-ENAMETOOLONG));
	/* Of a process that had this one's number, and was killed here: in nobody's way. */
	(void)unlinkat(dir_fd, tmp, 0);
	CLEANUP_FD int fd =
		openat(dir_fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return fault_set(f, -errno, "%s: %s", tmp, err_text(-errno));
	int rc = fd_write_full(fd, data, n);
	/* fchmod: the mode asked for, whatever the umask. */
	if (rc >= 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
		rc = -errno;
	if (rc >= 0 && replace)
		rc = renameat(dir_fd, tmp, dir_fd, path) < 0 ? -errno : 0;
	else if (rc >= 0) {
		rc = linkat(dir_fd, tmp, dir_fd, path, 0) < 0 ? -errno : 0;
		unlinkat(dir_fd, tmp, 0);
	}
	if (rc >= 0) {
		rc = sync_folder_of(dir_fd, path);
		return rc < 0 ? fault_set(f, rc, "%s: %s", path, err_text(rc)) : 0;
	}
	unlinkat(dir_fd, tmp, 0);
	if (rc == -EEXIST)
		return fault_set(f, rc, "%s exists and is not overwritten", path);
	return fault_set(f, rc, "%s: %s", path, err_text(rc));
}

int fd_send(int sock, const void *data, size_t n, const int *fds, size_t n_fds)
{
	union {
		char space[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = n };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (n_fds > FD_PASS_MAX)
		return -EINVAL;
	if (n_fds > 0) {
		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * n_fds);
	}
	ssize_t put;
	do
		put = sendmsg(sock, &msg, MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	if (put < 0)
		return -errno;
	return (size_t)put == n ? 0 : -EMSGSIZE;
}

ssize_t fd_recv(int sock, void *data, size_t n, int fds[static FD_PASS_MAX], size_t *n_fds)
{
	/* Room for more than is accepted, so that too many are seen and closed rather than cut off
	 * by the kernel. */
	union {
		char space[CMSG_SPACE(sizeof(int) * FD_PASS_MAX * 2)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = data, .iov_len = n };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.space,
			      .msg_controllen = sizeof(control.space) };
	*n_fds = 0;
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fds[i] = -1;

	ssize_t got;
	do
		got = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;

	int too_many = (msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) != 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (*n_fds < FD_PASS_MAX) {
				fds[(*n_fds)++] = fd;
			} else {
				close(fd);
				too_many = 1;
			}
		}
	}
	if (!too_many)
		return got;
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(&fds[i]);
	*n_fds = 0;
	return -EMSGSIZE;
}

int fd_set_nonblock(int fd, int on)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0)
		return -errno;
	flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

int fd_close_from(int lowest)
{
	return close_range((unsigned int)lowest, ~0U, 0) < 0 ? -errno : 0;
}
