/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a migration comes in, and where disks and further channels go out: the worker has no
 * network, so the broker makes the listening socket, or the connection, and hands it over.
 *
 * The address is what libvirt names in migrate-incoming: "tcp:[::]:49152" without the "tcp:", that
 * is a numeric IPv4 address, or an IPv6 address in brackets, and a port from DOOR_PORT_MIN on; or
 * "unix:" and a path.  Such a socket is in the one folder of the VM's that is there for them
 * (door_folder()), which is the broker's root: only the name in it goes over the link.  A
 * listener's name is there until door_shut(), and takes the place of another socket's; a connection
 * goes to whatever forwards it (ssh -L).
 *
 * Used by: the worker's control thread; worker/broker.c.
 */
#ifndef SHIELDVM_WORKER_DOOR_H
#define SHIELDVM_WORKER_DOOR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/paths.h"
#include "base/uuid.h"

#define DOOR_MAGIC	   0x53485244U /* "SHRD" */
#define DOOR_WAIT_MS	   8000
#define DOOR_PORT_MIN	   1024
#define DOOR_BACKLOG	   64

#define DOOR_FOLDER_BYTES  (sizeof(PATH_RUN) + UUID_TEXT_SIZE + sizeof(FOLDER_MIGRATION))
#define DOOR_NAME_BYTES	   40 /* of a socket in it; with the folder it fits into a sockaddr_un */
#define DOOR_ADDRESS_BYTES (DOOR_FOLDER_BYTES + DOOR_NAME_BYTES + 8)

/* Of a VM that comes: one for its memory, one for its disks, and one more each time that the link
 * breaks in post-copy. */
#define DOOR_LISTENERS	   9

/* In DOOR_CONNECTS_MS: what libvirt begins twice with 8 disks, and 17 channels for memory. */
#define DOOR_CONNECTS	   50
#define DOOR_CONNECTS_MS   60000

enum door_kind {
	DOOR_LISTEN = 1,
	DOOR_CONNECT = 2, /* the socket comes at once, and is connected when it can be written */
	DOOR_SHUT = 3,	  /* a listener of AF_UNIX is done with; nothing comes */
};

/* Worker to broker. */
struct door_request {
	uint32_t magic, number;
	uint32_t kind;	 /* enum door_kind */
	uint32_t family; /* AF_INET, AF_INET6 or AF_UNIX */
	uint32_t port;
	uint8_t address[16]; /* of AF_INET, the first four; network order */
	/* AF_UNIX: [A-Za-z0-9._-], not beginning with a dot; what is not used of all these is 0. */
	char name[DOOR_NAME_BYTES];
};

/* Broker to worker; with the socket if RC is 0. */
struct door_reply {
	uint32_t magic, number;
	int32_t rc;
};

/* The worker's side. */
struct door {
	int link;			/* to the broker; -1: none (tests) */
	char folder[DOOR_FOLDER_BYTES]; /* door_folder(), or "": none (tests) */
};

/* The folder of VM's for sockets: PATH_RUN/UUID/FOLDER_MIGRATION. */
void door_folder(const uint8_t vm[static UUID_BYTES], char folder[static DOOR_FOLDER_BYTES]);

/* 1 if ADDRESS is a socket's path: then door_parse()'s sentence says what would be right. */
int door_is_path(const char *address);

/* ADDRESS as a request.  ERR_FORMAT with a sentence. */
int door_parse(const struct door *d, const char *address, struct door_request *out,
	       struct fault *f) MUST_CHECK;

/* Have the broker make a socket of KIND, LISTEN or CONNECT, at ADDRESS: *SOCK, non-blocking.
 * door_parse()'s errors, what bind(2) or connect(2) said, ERR_STATE, ERR_LIMIT, -ETIMEDOUT, -EPIPE.
 */
int door_ask(const struct door *d, enum door_kind kind, const char *address, int *sock,
	     struct fault *f) MUST_CHECK;

/* The listener at ADDRESS is closed: a socket's name goes away. */
void door_shut(const struct door *d, const char *address);

/*
 * The broker's side.  Who has taken over a worker is not to become a server of its own, nor to look
 * around in the network: it gets as many listeners as libvirt has a use for, and few connections in
 * a while.
 */
struct door_limits {
	unsigned int listeners;		    /* that may still be made */
	int64_t connects_ms[DOOR_CONNECTS]; /* when the last ones were made; 0: never */
	unsigned int n_connects;
	char names[DOOR_LISTENERS][DOOR_NAME_BYTES]; /* that listeners have here; "": none */
};

/* May the request M, of N bytes, be granted now?  ERR_FORMAT, ERR_STATE, ERR_LIMIT, -EADDRINUSE: it
 * has that listener already. */
int door_check(const struct door_limits *l, const struct door_request *m, size_t n) MUST_CHECK;

/* Grant it, in the working folder: the socket, or -1 if it was DOOR_SHUT.  -errno; -EEXIST: what
 * has the name is no socket. */
int door_make(struct door_limits *l, const struct door_request *m, int *sock) MUST_CHECK;

/*
 * The broker's side of what QEMU connects to, to migrate over several channels: take who waits at
 * LISTENER, and pass it to the worker over QEMUS, a message for each, if it is PID, which PIDFD is.
 * 0, 1 if it is somebody else (*PEER is its pid), -errno.
 */
int door_pass(int listener, pid_t pid, int pidfd, int qemus, pid_t *peer) MUST_CHECK;

/* 1 if the N bytes at M, received on the link, are such a reply: one that came too late. */
int door_is_reply(const void *m, size_t n);

#endif
