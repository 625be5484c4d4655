/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One channel of a live migration, in memory: a TLS 1.3 handshake with a PSK from the VM key, then
 * sealed records in both directions (docs/FORMAT.md, "Migration channels").  Whoever uses one moves
 * bytes between it and the network, and between it and QEMU (migration/wire.h).
 *
 * Theory of operation.  libssl makes the handshake and nothing else: it authenticates both ends by
 * the VM key, binds what the channel is (the PSK's identity), and its exporter gives a secret for
 * each direction.  Then it is freed.  The records are AES-256-GCM of up to 256 KiB, sealed and
 * opened in the buffers that are read from and written to; TLS records would be 16 KiB, and copied
 * twice on each side (docs/BENCHMARKS.md, "channel", has what that costs).
 *
 * Memory.  An opening channel has CHANNEL_OPENING_BYTES_MAX, libssl's included, whatever its peer
 * sends; an open one CHANNEL_OPEN_BYTES_MAX.  All from malloc(3), wiped.
 *
 * May be used by: migration/, worker/; channel_keys_new() before sealing, which makes a whole
 * handshake so that libssl and libcrypto load nothing later.  Then one thread at a time for each
 * channel; no system call but malloc's and the generator's (getrandom).
 */
#ifndef SHIELDVM_CRYPTO_CHANNEL_H
#define SHIELDVM_CRYPTO_CHANNEL_H

#include "crypto/key.h"

#define CHANNEL_ID_BYTES	  45
#define CHANNEL_ATTEMPT_BYTES	  16
#define CHANNEL_NUMBER_MAX	  1023
#define CHANNEL_RECORD_BYTES	  262144 /* the most of QEMU's in one record */
#define CHANNEL_HANDSHAKE_MAX	  4096	 /* bytes from either side */
#define CHANNEL_OPENING_BYTES_MAX (128 * 1024)
#define CHANNEL_OPEN_BYTES_MAX	  (784 * 1024)

enum channel_kind { CHANNEL_MEMORY = 1, CHANNEL_DISK = 2 };

/* Which channel this is. */
struct channel_id {
	uint8_t vm[UUID_BYTES];
	uint8_t attempt[CHANNEL_ATTEMPT_BYTES]; /* random; not all zeros */
	enum channel_kind kind;
	uint16_t number; /* <= CHANNEL_NUMBER_MAX */
};

/* The first channel of an attempt for memory: nothing of memory moves before it. */
static inline int channel_id_first(const struct channel_id *id)
{
	return id->kind == CHANNEL_MEMORY && id->number == 0;
}

/* A channel that begins with hello and answer: the first one; and a disk's, which comes before. */
static inline int channel_id_greets(const struct channel_id *id)
{
	return id->kind == CHANNEL_DISK || channel_id_first(id);
}

/* A random attempt.  ERR_CRYPTO. */
int channel_attempt_new(uint8_t attempt[static CHANNEL_ATTEMPT_BYTES]) MUST_CHECK;

/* The identity's bytes; and back: ERR_FORMAT, ERR_TRUNCATED, ERR_TRAILING, ERR_VERSION. */
void channel_id_encode(const struct channel_id *id, uint8_t out[static CHANNEL_ID_BYTES]);
int channel_id_parse(const uint8_t *p, size_t n, struct channel_id *id, struct fault *f) MUST_CHECK;

/* What all channels of one VM are made from: the VM key and libssl's two contexts. */
struct channel_keys;

/* Before sealing.  The key is copied.  Warms libssl up by a handshake with itself.  ERR_CRYPTO,
 * -ENOMEM. */
int channel_keys_new(const struct vm_key *key, const uint8_t vm[static UUID_BYTES],
		     struct channel_keys **out, struct fault *f) MUST_CHECK;
void channel_keys_free(struct channel_keys *k);

struct channel;

enum channel_state {
	CHANNEL_OPENING, /* in the handshake */
	CHANNEL_OPEN,	 /* the peer has the VM key; ID is authentic */
	CHANNEL_FAILED,	 /* channel_fault() says why; what channel_out() still has may be sent */
};

/* One end, for K, which must outlive it: of the host that has the VM (ID->vm is K's), or of the one
 * that gets it.  ERR_CRYPTO, ERR_USAGE (an ID of no channel of K's), -ENOMEM. */
int channel_source(struct channel_keys *k, const struct channel_id *id,
		   struct channel **out) MUST_CHECK;
int channel_destination(struct channel_keys *k, struct channel **out) MUST_CHECK;
void channel_free(struct channel *c);

enum channel_state channel_state(const struct channel *c);

/* ERR_AUTH (another key, or altered), ERR_FORMAT (no channel), ERR_VERSION (another TLS),
 * ERR_TRUNCATED, ERR_TRAILING, ERR_LIMIT, ERR_CRYPTO, -ENOMEM. */
const struct fault *channel_fault(const struct channel *c);

/* Which channel it is; NULL until it is open (destination). */
const struct channel_id *channel_id(const struct channel *c);

/*
 * The network's side.  channel_in() gives where bytes from it may be put, and how many (0: none
 * now); channel_in_done() says how many were, channel_in_end() that the connection has ended.
 * channel_out() gives what is to be written, channel_out_done() says how much of it was.
 */
size_t channel_in(struct channel *c, uint8_t **at);
void channel_in_done(struct channel *c, size_t n);
void channel_in_end(struct channel *c);
size_t channel_out(const struct channel *c, const uint8_t **at);
void channel_out_done(struct channel *c, size_t n);

/*
 * QEMU's side, once open.  channel_send() gives where plaintext for the peer may be put, and how
 * many bytes (0: not before channel_out() is written); channel_send_done() makes a record of them
 * (1 <= n), channel_send_end() the final one: a half-close.  ERR_CRYPTO, which ends the channel.
 */
size_t channel_send(struct channel *c, uint8_t **at);
int channel_send_done(struct channel *c, size_t n) MUST_CHECK;
int channel_send_end(struct channel *c) MUST_CHECK;

/* A record of one byte that is the workers' and not QEMU's (migration/word.h); ERR_USAGE on any
 * channel but the first.  As channel_send(), it has to wait for channel_out() to be written. */
int channel_send_word(struct channel *c, uint8_t word) MUST_CHECK;
int channel_send_ended(const struct channel *c);

/*
 * The next record's authentic plaintext that was not taken yet (0: none now), and taking N bytes of
 * it.  A record is the unit: it is given whole.  channel_recv_ended(): the peer's half-close came,
 * and all in front of it was taken.
 */
size_t channel_recv(struct channel *c, const uint8_t **at);
void channel_recv_done(struct channel *c, size_t n);
size_t channel_recv_left(const struct channel *c); /* of the record that is being taken */
int channel_recv_is_word(const struct channel *c); /* that record is the workers' */
int channel_recv_ended(const struct channel *c);

#endif
