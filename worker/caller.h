/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who is at the other end of a socket, and what a descriptor is that somebody has brought.
 *
 * Used by: worker/broker.c, which sees the host's processes and users.  System calls: getsockopt,
 * poll, pidfd_open (before Linux 6.5).
 */
#ifndef SHIELDVM_WORKER_CALLER_H
#define SHIELDVM_WORKER_CALLER_H

#include <sys/types.h>

#include "base/err.h"

/* A pidfd of whoever is connected over FD and has PID, or -errno. */
int caller_pidfd(int fd, pid_t pid) MUST_CHECK;

/* 1 if FD is a stream socket of root's (libvirtd's) that listens. */
int caller_is_listener(int fd);

#endif
