/* SPDX-License-Identifier: BSD-3-Clause */
/* What migration/wire.c, which moves bytes, and migration/wire_words.c share. */
#ifndef SHIELDVM_MIGRATION_WIRE_INNER_H
#define SHIELDVM_MIGRATION_WIRE_INNER_H

#include "migration/wire.h"

#define SAYING_MAX 3 /* words that wait for the record before them to be written */

/* One side's descriptors: the same twice, or two. */
struct side {
	int in, out;
	int in_ended, out_ended;
};

struct wire {
	struct channel_keys *keys;
	struct channel *channel;
	enum wire_state state;
	struct fault fault;
	struct side net, qemu;
	int is_source;
	int greets, greeted; /* channel_id_greets(); the hello was sent (source) or has come */
	int attached;	     /* QEMU's side is new: what is there already can go on */
	int deaf;	     /* source: QEMU hears nothing any more */
	int64_t deadline_ms;
	struct hello hello;
	struct answer answer;
	struct wire_progress progress;
	enum word said, heard;	    /* last; what waits is said */
	uint8_t saying[SAYING_MAX]; /* what waits */
	int n_saying, ending;	    /* ... and whether the final record is behind it */
};

static inline int has_words(const struct wire *w)
{
	return channel_id_first(channel_id(w->channel));
}

/* ---- wire.c ---- */

/* The end, with what fault_set() has said.  Why it ends here may be for the peer to know. */
void wire_fail(struct wire *w, int rc);

/* If the channel has failed, so has the wire. */
int wire_channel_lives(struct wire *w);

/* ---- wire_words.c ---- */

/* The next record is a word. */
void wire_take_word(struct wire *w);

/* The peer's direction has ended: 1 where its words may, else the wire fails. */
int wire_ends_well(struct wire *w);

/* Is there anything left to be said here?  A question is the peer's to answer, or its caller's. */
void wire_look_for_last_word(struct wire *w);

/* What waits to be said, as far as there is room for it. */
void wire_send_words(struct wire *w);

#endif
