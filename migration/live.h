/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One live migration at a time, on its way out or in: a thread that pumps between QEMU and the
 * other host's worker (migration/wire.h), as migration/transfer.h does it for files.
 *
 * Theory of operation.  QEMU gets one end of a pair of sockets that is made here, never the
 * network's; it may have it at once, as nothing of QEMU's is read before the peer has proved that
 * it has the VM key and, on the source, has said "come".
 *
 *  leave  The socket that libvirt connected is the one channel.  OPENING until the destination
 *	 has answered, so that who is no worker, or refuses, is known before QEMU hears of it.
 *  arrive  On a listener a bounded number of connections is in its handshake at a time
 *	 (migration/wires.h).  The first whose hello is accepted has the VM; listener and all
 *	 others are closed.  Whoever fails before that changes nothing.
 *  more  QEMU may want further channels, for memory alone (multifd): how many, libvirt tells both
 *	 sides.  On the source QEMU then makes connections of its own, which the broker accepts and
 *	 hands over; it is told to when all of the channels stand.  On the destination QEMU gets a
 *	 listener, and the first channel's accepted hello opens the others' way in: those of the
 *	 same attempt, each number once.  One that fails fails all.
 *
 * An attempt whose link broke goes on over another one (QEMU's post-copy recovery): the same
 * attempt, by its number, between the same two workers; the hello says so.  Whoever goes on takes
 * nobody who begins, and the other way round.
 *
 * Disks (migration/disks.h) come before: memory then belongs to the same attempt, and says so.
 *
 * DONE is both directions' end, in order.  A QEMU that dies ends its direction too: whether the VM
 * is over there, QEMU's own stream and events say.  The connection stays for words
 * (migration/word.h): what is to be said, and when, is the caller's to know.
 *
 * May be used by: the worker.  live_new() before sealing: it makes the thread, QEMU's listener, and
 * libssl's handshake with itself.  System calls after it: accept4, socketpair, socket, connect,
 * setsockopt, fcntl, recvmsg, read, write, shutdown, poll, close, futex, getrandom.
 */
#ifndef SHIELDVM_MIGRATION_LIVE_H
#define SHIELDVM_MIGRATION_LIVE_H

#include "base/err.h"
#include "crypto/protector.h"
#include "migration/disks.h"
#include "migration/word.h"

#define LIVE_MORE_MAX 16  /* channels beside the first */
#define LIVE_SLOTS    167 /* that poll(2) gets: RLIMIT_NOFILE must not be less */

struct live;

struct live_config {
	const struct vm_key *key;
	const struct protector_facts *facts;
	const struct jwk *owner;
	struct disks *disks; /* borrowed; their attempt is the memory's.  NULL: none (tests) */
	int open_ms;	     /* for handshake, hello and answer; 0: WIRE_OPEN_MS */
	int qemus; /* SOCK_SEQPACKET, borrowed: a message for each connection that QEMU has made
		    * here, with it.  -1: none (tests) */
	int alone; /* this network namespace is this process' own; else nothing more arrives */
};

enum live_how {
	LIVE_ANEW,
	LIVE_AGAIN, /* it goes on with the last attempt; ERR_STATE if there was none */
};

enum live_state {
	LIVE_IDLE,
	LIVE_OPENING,  /* leave: the peer is not known yet; arrive: nobody has come yet */
	LIVE_ACCEPTED, /* leave with more channels: it has been accepted; live_more() is due */
	LIVE_RUNNING,
	LIVE_DONE,
	/* The network's side is closed.  QEMU's too if the VM leaves; if it arrives, QEMU waits for
	 * more until libvirt ends it, instead of ending before libvirt has heard why. */
	LIVE_FAILED,
};

/* What became of it. */
struct live_news {
	enum live_state state;
	struct fault fault;	       /* LIVE_FAILED */
	char rule[PROTECTOR_RULE_MAX]; /* ... by this rule, of the peer's; else "" */
	int is_open;		       /* it got as far as LIVE_RUNNING */
	enum word heard;	       /* LIVE_DONE: what the other host's worker said last */
	int parted;		       /* ... and there will be no more */
};

/* Before sealing.  Nothing of CONFIG is used after the call. */
int live_new(const struct live_config *config, struct live **out, struct fault *f) MUST_CHECK;
void live_free(struct live *l);

/*
 * Begin: over NET, a stream socket that may not be connected yet, or with whoever comes to LISTENER
 * (non-blocking); each is taken over on success.  MORE channels follow.  *QEMUS becomes the
 * caller's to give to QEMU: its end of the one channel; with more, a listener if the VM arrives
 * (once in the life of L), and -1 if it leaves.  -EBUSY while another one goes on, ERR_STATE,
 * ERR_LIMIT.
 */
int live_leave(struct live *l, enum live_how how, int net, unsigned int more, int *qemus,
	       struct fault *f) MUST_CHECK;
int live_arrive(struct live *l, enum live_how how, int listener, unsigned int more, int *qemus,
		struct fault *f) MUST_CHECK;

/* The next of the further channels is to be over NET, as above.  LIVE_RUNNING when all of them
 * stand.  ERR_STATE: none is due. */
int live_more(struct live *l, int net, struct fault *f) MUST_CHECK;

/* After LIVE_FAILED of a VM that arrives: QEMU is to learn of it now. */
void live_let_go(struct live *l);

/* End it now, as LIVE_FAILED with WHY, unless it has ended. */
void live_abort(struct live *l, const char *why);

/* The same, and come back when nobody listens any more. */
void live_end(struct live *l, const char *why);

/* After LIVE_DONE.  Say WORD, as wire_say(); nothing if it does not fit, or nobody listens. */
void live_say(struct live *l, enum word word);

/* After LIVE_DONE: what was said goes out, and both directions end, or LIMIT_MS have passed. */
void live_part(struct live *l, int limit_ms);

/* An eventfd that is readable after a change of any of it; live_look() reads it. */
int live_news_fd(const struct live *l);
void live_look(struct live *l, struct live_news *out);

#endif
