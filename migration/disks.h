/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The disks of a live migration, copied over NBD: a thread that pumps between QEMU's NBD clients
 * and server and the other host's worker, one channel (migration/wire.h) for each disk.
 *
 * Theory of operation.  Disks come before memory: libvirt has QEMU copy them, and moves the memory
 * when they are the same on both sides.  So each disk's channel says hello itself and is answered.
 *
 *  leave  QEMU's NBD client gets one end of a pair of sockets, and not a byte before the
 *	 destination's worker has proved that it has the VM key and has said "come".  The first disk
 *	 draws the attempt, which the others and then memory's first channel share.
 *  arrive  QEMU's NBD server gets a listener of ours and no other.  Its name is an abstract one in
 *	 this process' own network namespace, so that nobody else's connection reaches it; this
 *	 thread connects to it for a channel whose hello it has accepted.  On the network's listener
 *	 as many connections are in their handshake at a time as on that of memory, with the same
 *	 deadlines (migration/live.h).
 *
 * A disk whose channel fails is QEMU's to report: its connection is closed, the copy fails, and
 * libvirt ends the migration.
 *
 * May be used by: the worker.  disks_new() before sealing: it makes the thread and QEMU's listener.
 * System calls after it: accept4, socketpair, socket, connect, setsockopt, fcntl, read, write,
 * shutdown, poll, close, futex, getrandom.
 */
#ifndef SHIELDVM_MIGRATION_DISKS_H
#define SHIELDVM_MIGRATION_DISKS_H

#include "crypto/channel.h"
#include "crypto/protector.h"

#define DISKS_MAX   8	/* of one VM */
#define DISKS_SLOTS 130 /* that poll(2) gets: RLIMIT_NOFILE must not be less */

struct disks;

struct disks_config {
	const struct vm_key *key;
	const struct protector_facts *facts;
	const struct jwk *owner;
	int open_ms; /* for handshake, hello and answer; 0: WIRE_OPEN_MS */
	int alone;   /* this network namespace is this process' own; else nothing can arrive */
};

enum disks_state {
	DISKS_IDLE,
	DISKS_OPENING, /* the peer has not accepted it yet */
	DISKS_RUNNING,
	DISKS_DONE,
	DISKS_FAILED, /* both of its connections are closed */
};

struct disks_news {
	enum disks_state state;
	struct fault fault;	       /* DISKS_FAILED */
	char rule[PROTECTOR_RULE_MAX]; /* ... by this rule, of the peer's; else "" */
};

/* Before sealing.  Nothing of CONFIG is used after the call. */
int disks_new(const struct disks_config *config, struct disks **out, struct fault *f) MUST_CHECK;
void disks_free(struct disks *d);

/*
 * The host that has the VM: copy one more disk over NET, a stream socket that may not be connected
 * yet; taken over on success.  *NUMBER is which one it is, *QEMUS becomes the end of QEMU's client.
 * The first one, and the first one after disks_anew(), begins an attempt.  ERR_LIMIT: the attempt
 * has had DISKS_MAX; ERR_STATE: one of them has failed, and with it the attempt and all its others.
 */
int disks_leave(struct disks *d, int net, unsigned int *number, int *qemus,
		struct fault *f) MUST_CHECK;

/* Another migration begins, as yet without a disk; what is left of the last one's disks ends. */
void disks_anew(struct disks *d);

/* The host that gets it, once: with who comes to LISTENER (non-blocking), taken over on success.
 * *SERVER becomes the listener of QEMU's server.  ERR_STATE: not again, or not ALONE. */
int disks_arrive(struct disks *d, int listener, int *server, struct fault *f) MUST_CHECK;

/* No further disk comes: the listener and what has not been accepted are closed. */
void disks_shut(struct disks *d);

/* End all of them now: as DISKS_FAILED. */
void disks_abort(struct disks *d);

/* 1, and which, if disks are part of an attempt: on the host that has the VM, while one is under
 * way. */
int disks_attempt(struct disks *d, uint8_t attempt[static CHANNEL_ATTEMPT_BYTES]);

/* An eventfd that is readable after a change of state; disks_look() reads it. */
int disks_news_fd(const struct disks *d);
void disks_look(struct disks *d, unsigned int number, struct disks_news *out);

#endif
