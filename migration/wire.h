/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One channel of a live migration between the network and QEMU: handshake, hello and answer, then
 * both directions at once (crypto/channel.h does what is secret about it).
 *
 * Theory of operation.  A wire has a network side and a QEMU side, each one socket, or two pipes.
 * It holds one record for each direction and nothing else: what QEMU has written is read, up to
 * 256 KiB, sealed and written at once; what has come is opened, record by record, and given to
 * QEMU.  Neither direction waits for the other.
 *
 *  half-close: When QEMU ends its writing side, the final record follows, and the network's side is
 *      shut down for writing.  When the peer's final record has come, and QEMU has got all in
 *      front of it, QEMU's side is.  DONE is both.
 *  words: On the first channel the word END is in the place of that final record, and TALKING in
 *      that of DONE: QEMU's side is closed, and the two workers may say more (migration/word.h).
 *      A direction ends, by the final record, when there is nothing more that it could have to
 *      say; DONE is both.
 *  broken: A connection that ends without the final record, or anything that does not
 *      authenticate, is WIRE_FAILED, and nothing that came after the last good record is passed.
 *  deaf: A source's QEMU may give its connection up with bytes in it (in post-copy, when libvirt
 *      has it paused).  They go over, with an orderly end: the VM may be whole there with them.
 *      What comes back for that QEMU is thrown away.
 *  before: Nothing of QEMU's is read before the handshake and, on a channel that greets, the
 *      answer; and not before wire_attach().  All of that has a deadline, so that a peer that
 *      says nothing, or a byte now and then, costs CHANNEL_OPENING_BYTES_MAX for that long.
 *
 * A QEMU that dies ends its writing side too, so DONE does not mean that the VM is over there:
 * QEMU's own stream says that.
 *
 * May be used by: worker/, by one thread at a time for each wire; wires may share their
 * channel_keys if one thread serves them all.  Phases: all, once the keys are made.  System calls:
 * read, write, shutdown, close, clock_gettime, getrandom, malloc(3)'s, poll (the caller's). SIGPIPE
 * is ignored.  TCP_NODELAY is set by whoever made the socket.
 */
#ifndef SHIELDVM_MIGRATION_WIRE_H
#define SHIELDVM_MIGRATION_WIRE_H

#include <poll.h>

#include "crypto/channel.h"
#include "migration/hello.h"
#include "migration/word.h"

#define WIRE_SLOTS   4
#define WIRE_OPEN_MS 10000 /* for handshake, hello and answer */

enum wire_state {
	WIRE_IDLE,    /* none was started, or it was aborted */
	WIRE_OPENING, /* handshake, hello and answer */
	WIRE_ASKED,   /* destination, if it greets: the hello has come, wire_answer() it */
	WIRE_OPEN,    /* authentic and accepted; waits for wire_attach() */
	WIRE_RUNNING,
	WIRE_TALKING, /* first channel: both of QEMU's directions were ended by both ends */
	WIRE_DONE,    /* both directions were ended by both ends; everything is closed */
	WIRE_FAILED,  /* wire_fault() says why.  The network's side is closed; QEMU's is open until
		       * wire_abort(), so that the caller decides when QEMU learns of it */
};

struct wire;

/* Takes few bytes; K must outlive it.  -ENOMEM. */
int wire_new(struct channel_keys *k, struct wire **out) MUST_CHECK;
void wire_free(struct wire *w); /* aborts; NULL is fine */

/*
 * Start channel ID over NET_IN and NET_OUT (non-blocking; the same descriptor if it is a socket),
 * taken over on success.  HELLO is for a channel that greets, else NULL.  It is open within OPEN_MS
 * or fails.  ERR_STATE (it runs), ERR_USAGE, ERR_CRYPTO, -ENOMEM.
 */
int wire_source(struct wire *w, const struct channel_id *id, const struct hello *hello, int net_in,
		int net_out, int64_t open_ms, struct fault *f) MUST_CHECK;

/* The same for the host that gets the VM: which channel it is, wire_id() tells. */
int wire_destination(struct wire *w, int net_in, int net_out, int64_t open_ms,
		     struct fault *f) MUST_CHECK;

/* The authentic identity; NULL before.  The caller refuses, by wire_abort(), a second channel of
 * the same number, one of another attempt, and one that comes before the first. */
const struct channel_id *wire_id(const struct wire *w);

/* What the source said; from WIRE_ASKED on, else NULL. */
const struct hello *wire_hello(const struct wire *w);

/* In WIRE_ASKED.  After a refusal the wire fails with it, once it is sent. */
void wire_answer(struct wire *w, const struct answer *a);

/*
 * QEMU's side (non-blocking; as NET_IN and NET_OUT), taken over.  At any time after the start,
 * once. A channel that is not the first must not be attached before the first is open.
 */
void wire_attach(struct wire *w, int qemu_in, int qemu_out);

/*
 * For poll(2): what is waited for now (fd -1 in slots not in use) and for how many ms at most (-1:
 * for ever); then what came of it, or of that time.  wire_serve() does a bounded amount of work.
 */
void wire_slots(const struct wire *w, struct pollfd slots[static WIRE_SLOTS]);
int wire_timeout_ms(const struct wire *w);
void wire_serve(struct wire *w, const struct pollfd slots[static WIRE_SLOTS]);

enum wire_state wire_state(const struct wire *w);

/*
 * In WIRE_TALKING.  Say WORD, if it fits behind what was said before; else ERR_STATE.  What the
 * peer said last: WORD_NONE before its END.  If a destination that has asked hears MINE, it says
 * NEVER itself; a source says MINE to one that has ended without asking.
 */
int wire_say(struct wire *w, enum word word) MUST_CHECK;
enum word wire_heard(const struct wire *w);

/* Nothing more is to be said here: end our direction, where that fits. */
void wire_hang_up(struct wire *w);

/* Why it failed: the errors of crypto/channel.h, migration/hello.h and migration/word.h,
 * -ETIMEDOUT, ERR_POLICY (the destination's refusal, with its rule and sentence), -errno.  Valid
 * until the next start. */
const struct fault *wire_fault(const struct wire *w);

/* The destination's refusal, if that is why it failed; else NULL. */
const struct answer *wire_refusal(const struct wire *w);

/* Close everything, without a final record: WIRE_IDLE.  The peer's wire fails. */
void wire_abort(struct wire *w);

/* The same of the network's side alone: WIRE_FAILED, without a reason of its own. */
void wire_drop(struct wire *w);

/* Bytes of QEMU's that went to the peer and came from it; kept until the next start. */
struct wire_progress {
	uint64_t sent_bytes, received_bytes;
};
struct wire_progress wire_progress(const struct wire *w);

#endif
