/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection of swtpm's control channel: requests in, the vTPM driven, replies out.
 *
 * Used by the main thread's poll loop; never blocks except for the vTPM's lock (a command that
 * runs), and CANCEL, SET_LOCALITY, GET_CAPABILITY, GET_CONFIG and SET_DATAFD not even for that.
 *
 * A request is a big-endian u32 and its body; a client sends the next one when it has the reply, so
 * whatever arrives with a request belongs to it (swtpm's reading too: its clients pad some bodies).
 * A request that stays incomplete for CTRL_STALL_MS is not answered; the connection closes.
 *
 * System calls: recvmsg, sendto, close, getsockopt (SET_DATAFD), clock_gettime, and the vTPM's.
 */
#ifndef SHIELDVM_WORKER_CTRL_H
#define SHIELDVM_WORKER_CTRL_H

#include <stdint.h>

#include "worker/data.h"
#include "worker/vtpm.h"

#define CTRL_STALL_MS	 500
#define CTRL_SWALLOW_MAX (16 * 1024 * 1024) /* of a state blob that is too long */

enum ctrl_cmd {
	CTRL_GET_CAPABILITY = 1,
	CTRL_INIT,
	CTRL_SHUTDOWN,
	CTRL_GET_TPMESTABLISHED,
	CTRL_SET_LOCALITY,
	CTRL_HASH_START,
	CTRL_HASH_DATA,
	CTRL_HASH_END,
	CTRL_CANCEL,
	CTRL_STORE_VOLATILE,
	CTRL_RESET_TPMESTABLISHED,
	CTRL_GET_STATEBLOB,
	CTRL_SET_STATEBLOB,
	CTRL_STOP,
	CTRL_GET_CONFIG,
	CTRL_SET_DATAFD,
	CTRL_SET_BUFFERSIZE,
	CTRL_GET_INFO,
	CTRL_LOCK_STORAGE,
};

/* What a client may rely on (GET_CAPABILITY): one bit a command or group, only implemented ones. */
#define CTRL_CAPABILITIES 0x17fffU

enum ctrl_event {
	CTRL_OPEN,   /* go on polling */
	CTRL_CLOSED, /* the peer has gone, or was thrown out; the caller frees the connection */
	CTRL_SHUTDOWN_ASKED, /* CMD_SHUTDOWN was done and answered; the vTPM is stopped */
};

struct ctrl_config {
	struct vtpm *vtpm;     /* borrowed */
	struct data *data;     /* borrowed; where SET_DATAFD goes */
	int reject_locality_4; /* swtpm's --locality reject-locality-4 */
};

struct ctrl;

/* Serve FD, a connected stream socket, taken over on success and made non-blocking. */
int ctrl_new(const struct ctrl_config *config, int fd, struct ctrl **out) MUST_CHECK;

/* Close the connection.  C may be NULL.  The vTPM is left as it is. */
void ctrl_free(struct ctrl *c);

/* For poll(2): the descriptor, its events, and the milliseconds until ctrl_step() is due even
 * without events (-1: never). */
int ctrl_fd(const struct ctrl *c);
short ctrl_events(const struct ctrl *c);
int ctrl_timeout_ms(const struct ctrl *c);

/* Do what can be done now. To be called when poll(2) reports an event or the timeout has passed. */
enum ctrl_event ctrl_step(struct ctrl *c);

/* The protocol without its socket.  A pure function: how many bytes the request that starts with
 * the N at BYTES has, as far as can be told from them (N < 4: 4; HASH_DATA and SET_STATEBLOB: their
 * header, and with it known, also the declared length). */
uint64_t ctrl_request_bytes(const uint8_t *bytes, size_t n);

#endif
