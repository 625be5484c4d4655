/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The data channel: TPM commands from a stream socket to the vTPM, replies back.
 *
 * Theory of operation.  One thread, made by data_new() before sealing, owns the channel for its
 * life; data_start() hands it a connected socket, data_serve() a listener on which it takes one
 * client at a time.  In the steady state a command costs one recv(2) and one send(2).  The reply is
 * sent after the vTPM's lock is released, so that a client that does not read its replies blocks
 * this thread and nothing else.
 *
 * Framing (frame_next()).  A command is as long as its paramSize says, however the bytes arrive;
 * pipelined commands are answered in order.  What cannot be a command gets one TPM error reply and
 * is dropped:
 *   - paramSize < 10: TPM_RC_COMMAND_SIZE; everything received so far is dropped with it, as there
 *     is no telling where the next command starts.
 *   - another tag than TPM_ST_(NO_)SESSIONS: TPM_RC_BAD_TAG (with TPM_ST_RSP_COMMAND, TPM 2.0
 *     Library part 2), likewise.
 *   - paramSize > VTPM_BUFFER_MAX: TPM_RC_COMMAND_SIZE; up to DATA_SWALLOW_MAX the declared body is
 *     read and dropped, so that the next command is found; above it, as for paramSize < 10.
 *   - the rest of a command does not come for DATA_STALL_MS: TPM_RC_COMMAND_SIZE, and it is
 * dropped.
 *
 * System calls of the thread: recvfrom, sendto, poll, accept4, close, shutdown, futex, write (its
 * eventfd), and what the vTPM uses.  Its registers are cleared before it waits for a client.
 */
#ifndef SHIELDVM_WORKER_DATA_H
#define SHIELDVM_WORKER_DATA_H

#include "worker/vtpm.h"

#define DATA_STALL_MS	 500
#define DATA_SWALLOW_MAX (64 * 1024)

struct data;

/* Make the channel and its thread (pthread_create(3): before sealing).  T is borrowed. */
int data_new(struct vtpm *t, struct data **out, struct fault *f) MUST_CHECK;

/* End client, listener and thread; waits for a command that is running.  D may be NULL. */
void data_free(struct data *d);

/*
 * Serve FD, a connected stream socket, taken over on success.  -EBUSY if there is a client or a
 * listener, -ENOTSOCK if it is no stream socket.
 */
int data_start(struct data *d, int fd) MUST_CHECK;

/*
 * Serve clients of LISTENER (taken over on success) one after the other.  With ONE_COMMAND each
 * connection is closed after its first reply (swtpm's --server ...,disconnect).  Errors as
 * data_start().
 */
int data_serve(struct data *d, int listener, int one_command) MUST_CHECK;

/* 1 while there is a client or a listener: data_start() would say -EBUSY. */
int data_busy(struct data *d);

/* An eventfd (owned by D) that becomes readable whenever a client has gone; the caller reads it. */
int data_event_fd(const struct data *d);

/* The framing, a pure function. */
enum frame_verdict {
	FRAME_MORE,    /* no whole command yet */
	FRAME_COMMAND, /* the first `take` bytes are one */
	FRAME_BAD, /* answer with `rc`; drop `take` bytes now and `skip` that are still to come */
};
struct frame {
	enum frame_verdict verdict;
	uint32_t rc;
	size_t take, skip;
};
void frame_next(const uint8_t *bytes, size_t n, struct frame *out);

#endif
