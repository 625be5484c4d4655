/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who comes to a listener of a migration, and has not shown yet who it is; and QEMU's own listener,
 * where what has been accepted is connected to.
 *
 * A place has one channel (migration/wire.h): either one of the attempt's, with its number, or
 * somebody's who is in the handshake.  Of those there are at most WIRES_OPENING at a time.  When
 * there are as many, the one that came first gives way, but not before WIRES_SILENT_MS, or
 * WIRES_SPOKEN_MS if it has sent anything: until then nobody is accepted.  The times are for a
 * true one on a busy machine, whose libvirt has connected and not yet told QEMU to begin.
 *
 * May be used by: migration/, by one thread for each array.  System calls: accept4, socket,
 * connect, socketpair, setsockopt, fcntl, and those of migration/wire.h.
 */
#ifndef SHIELDVM_MIGRATION_WIRES_H
#define SHIELDVM_MIGRATION_WIRES_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "migration/wire.h"

#define WIRES_OPENING	24
#define WIRES_SILENT_MS 60
#define WIRES_SPOKEN_MS 1500

struct place {
	struct wire *wire;
	int number;	  /* which of the attempt's channels it has; -1: none of them yet */
	int64_t since_ms; /* when it was accepted */
	int spoken;	  /* something has come from it */
	int slot;	  /* its first one, in the array that was polled last; -1: it had none */
	int running;	  /* for the caller */
	unsigned int generation; /* likewise */
};

/* -ENOMEM; wires_done() in any case. */
int wires_init(struct place *p, size_t n, struct channel_keys *k) MUST_CHECK;
void wires_done(struct place *p, size_t n);

/* What they wait for, from SLOTS on, which has room for WIRE_SLOTS each; *LIMIT_MS is made shorter
 * where needed.  Returns how many slots. */
nfds_t wires_slots(struct place *p, size_t n, struct pollfd *slots, int *limit_ms);

/* What came of it, in the same SLOTS. */
void wires_serve(struct place *p, size_t n, const struct pollfd *slots);

/* A place for somebody new, or NULL; then *LIMIT_MS is made short enough to ask again. */
struct place *wires_room(struct place *p, size_t n, int *limit_ms);

/* Who waits at LISTENER gets P, and OPEN_MS. */
void wires_accept(struct place *p, int listener, int64_t open_ms);

/* Close those that have no number. */
void wires_clear(struct place *p, size_t n);

/* The sooner of two times to wait; -1 is never. */
int wires_sooner(int a, int b);

/* A pair of sockets: ENDS[0], non-blocking, is ours, ENDS[1] is QEMU's.  -errno. */
int wires_pair(int ends[static 2]) MUST_CHECK;

/* NET is to be a channel's: it does not wait, and neither do the last bytes of a direction for an
 * answer to the ones before.  -errno. */
int wires_net(int net) MUST_CHECK;

/*
 * A listener that QEMU gets.  Its name is an abstract one in this process' own network namespace,
 * so that nobody else's connection reaches it.
 */
struct server {
	int fd; /* until QEMU has it, else -1 */
	struct sockaddr_un name;
	socklen_t name_bytes; /* 0: there is none */
};

#define SERVER_NONE ((struct server){ .fd = -1 })

/* Before sealing.  -errno. */
int server_make(int backlog, struct server *s) MUST_CHECK;

/* A non-blocking socket that is connected to it, or -errno. */
int server_connect(const struct server *s) MUST_CHECK;

#endif
