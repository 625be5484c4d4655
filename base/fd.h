/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File descriptors: ownership, whole reads and writes, bounded whole files, and passing them
 * (SCM_RIGHTS).
 *
 * May be used by: every layer.  The phase decides which of the system calls named here are still
 * allowed.
 */
#ifndef SHIELDVM_BASE_FD_H
#define SHIELDVM_BASE_FD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/* Close *FD if it is >= 0 and set it to -1; errno is left alone. */
void fd_close(int *fd);
#define CLEANUP_FD CLEANUP(fd_close)

/* Take the fd out of a variable that would close it. */
static inline int fd_take(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}

/*
 * Read exactly N bytes, going on after EINTR and short reads.  Returns 0, ERR_TRUNCATED at end of
 * file, or -errno (read(2); a non-blocking FD gives -EAGAIN).  DST is unspecified on failure.
 */
int fd_read_full(int fd, void *dst, size_t n) MUST_CHECK;

/* Write exactly N bytes.  Returns 0 or -errno (write(2)). */
int fd_write_full(int fd, const void *src, size_t n) MUST_CHECK;

/* Append everything up to end of file to B.  ERR_LIMIT when B's maximum is passed, -errno
 * (read(2)), -ENOMEM. */
int fd_read_all(int fd, struct buf *b) MUST_CHECK;

/*
 * Append a whole regular file to B.  Symbolic links in the last component, devices and pipes are
 * refused
 * (-ELOOP, -EINVAL).  F gets a sentence with the path.  openat(2), fstat(2), read(2).
 */
int fd_read_file(int dir_fd, const char *path, struct buf *b, struct fault *f) MUST_CHECK;

/*
 * Create PATH with MODE and exactly DATA in it, durably: an O_EXCL temporary beside it, write,
 * fsync, link or rename into place, fsync of the folder.  If REPLACE is 0 an existing PATH is left
 * alone and -EEXIST returned. On failure nothing is left behind.  F gets a sentence with the path.
 */
int fd_write_file(int dir_fd, const char *path, const void *data, size_t n, mode_t mode,
		  int replace, struct fault *f) MUST_CHECK;

/*
 * Send N bytes (1 <= N) as one message with N_FDS (<= FD_PASS_MAX) descriptors attached;
 * sendmsg(2), MSG_NOSIGNAL.  The caller keeps its descriptors.  Returns 0 or -errno (-EMSGSIZE for
 * a short send).
 */
#define FD_PASS_MAX 4
int fd_send(int sock, const void *data, size_t n, const int *fds, size_t n_fds) MUST_CHECK;

/*
 * Receive at most N bytes with the descriptors attached, all O_CLOEXEC and owned by the caller.
 * Returns the byte count (0 = end of file) and sets *N_FDS (unused slots are -1); recvmsg(2).  More
 * than FD_PASS_MAX descriptors, or a truncated message: everything received is closed and -EMSGSIZE
 * returned.
 */
ssize_t fd_recv(int sock, void *data, size_t n, int fds[static FD_PASS_MAX],
		size_t *n_fds) MUST_CHECK;

/* Set or clear O_NONBLOCK; fcntl(2).  0 or -errno. */
int fd_set_nonblock(int fd, int on) MUST_CHECK;

/* Close every descriptor >= LOWEST; close_range(2).  0 or -errno. */
int fd_close_from(int lowest) MUST_CHECK;

#endif
