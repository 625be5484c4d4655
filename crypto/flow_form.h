/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What crypto/flow.c (descriptors, records, order) and crypto/flow_squeeze.c (compression between
 * the two) share.  Private to crypto/.
 */
#ifndef SHIELDVM_CRYPTO_FLOW_FORM_H
#define SHIELDVM_CRYPTO_FLOW_FORM_H

#include "crypto/flow.h"
#include "crypto/squeeze.h"

#define FLOW_SIDE_BYTES ((size_t)128 * 1024) /* plaintext before it is packed, or unpacked */

/* One record in flight. */
struct cell {
	struct pool_job job; /* first: run() gets a pointer to it */
	const struct stream *stream;
	uint8_t *record; /* STREAM_RECORD_BYTES and STREAM_RECORD_EXTRA of room */
	size_t have;	 /* bytes read: of plaintext when sealing, else of the record */
	size_t bytes;	 /* the whole record's, once known */
	size_t written;	 /* of what goes out */
	size_t dirty;	 /* bytes at RECORD that were in use since they were wiped */
	uint64_t number;
	int peeked, final;
	int spent; /* nothing more can be unpacked from it */
	int given; /* to the pool, at least once */
	int rc;	   /* what came of it */
};

/* What the input is at. */
enum stage { AT_FRONT, AT_RECORDS, AT_END, ENDED };

struct flow {
	struct pool *pool;
	int event_fd;
	uint8_t *memory;
	enum flow_state state;
	struct fault fault;

	/* While it runs. */
	struct stream_keys *keys;
	enum key_use purpose;
	int sealing, in, out;
	struct stream *stream;
	enum stage stage;
	size_t front_have, front_bytes; /* read (opening) or written (sealing), of how many */
	uint64_t head;			/* the record that is being read */
	uint64_t tail;			/* the record that is to be written next */
	struct fault late;		/* what is wrong with the input from record HEAD on */
	struct flow_progress progress;
	uint8_t front[STREAM_FRONT_MAX];
	struct cell cells[FLOW_RECORDS];

	/* A compressed stream: from SIDE to the records, or from them to it. */
	struct squeeze *squeeze;
	uint8_t *side;		   /* SIDE_BYTES */
	size_t side_have, side_at; /* bytes in it; of these taken in, or written */
	uint64_t unpacked;	   /* bytes that have come out of the records */
	int side_ended;		   /* the input has */
};

static inline struct cell *flow_cell(struct flow *w, uint64_t number)
{
	return &w->cells[number % FLOW_RECORDS];
}

static inline int flow_has_room(const struct flow *w)
{
	return w->head - w->tail < FLOW_RECORDS;
}

/* ---- crypto/flow.c ---- */

/* The end, with what fault_set() or fault_wrap() has said. */
void flow_fail(struct flow *w, int rc);

/* Read at most N bytes.  > 0, or 0 if there is no more now; at the end of the input *ENDED is set.
 * Failing to read ends the flow. */
size_t flow_take(struct flow *w, uint8_t *dst, size_t n, int *ended);

/* Hand record NUMBER, which is in its cell, to the threads. */
void flow_give(struct flow *w, uint64_t number, int final);

/* Write of the N bytes at SRC those behind the first *DONE.  1 when all is written. */
int flow_put(struct flow *w, const uint8_t *src, size_t n, size_t *done);

/* ---- crypto/flow_squeeze.c ---- */

int flow_is_packed(const struct flow *w); /* W->stream is set */

/* Begin to pack or unpack, if W->stream is packed; be done with it.  ERR_CRYPTO. */
int flow_squeeze_begin(struct flow *w) MUST_CHECK;
void flow_squeeze_end(struct flow *w);

/* Sealing: there is something to pack, whatever the input has. */
int flow_has_backlog(const struct flow *w);

/* Sealing: from the input through the side into records. */
void flow_pack(struct flow *w);

/*
 * Opening: unpack the record at the tail, which may go, and write that, but not the last byte so
 * far: as of an uncompressed stream, something stays here until all of it is known to be sound.  1
 * when all of the record is out.
 */
int flow_unpack(struct flow *w, struct cell *c);

#endif
