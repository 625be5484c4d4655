/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One end of a monitor: a non-blocking stream socket, the lines that come over it, and what is to
 * be sent, a descriptor with it.
 *
 * Used by: worker/monitor.c.  System calls: recvmsg, sendmsg, sendto, close.
 */
#ifndef SHIELDVM_WORKER_LINES_H
#define SHIELDVM_WORKER_LINES_H

#include "base/buf.h"
#include "base/err.h"

struct lines {
	int fd;		 /* -1: none */
	struct buf in;	 /* received */
	size_t taken;	 /* bytes of it whose lines were taken */
	size_t searched; /* bytes of it that hold no line end beyond those */
	struct buf out;	 /* to be sent */
	int out_fd;	 /* goes with out's first byte; -1: none */
};

/* Hang up and forget everything. */
void lines_close(struct lines *p);

/* Receive once.  > 0: something came; 0: nothing there; < 0: the peer has gone.  A descriptor that
 * came takes the place of *LAST; NULL: none is wanted. */
int lines_receive(struct lines *p, int *last) MUST_CHECK;

/* Send what can be sent now; < 0: the peer has gone. */
int lines_send(struct lines *p) MUST_CHECK;

/* Take the next whole line, without its line ending; valid until P receives.  NULL: none. */
const char *lines_next(struct lines *p, size_t *n);

/* 1 if it holds as much as it may, and no whole line. */
int lines_is_full(const struct lines *p);

#endif
