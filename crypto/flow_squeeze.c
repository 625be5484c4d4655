/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/flow_form.h"

#include <unistd.h>

/* The most that one turn makes of a stream, in pieces of FLOW_SIDE_BYTES: a record may hold
 * gigabytes. */
#define STEPS 16

int flow_is_packed(const struct flow *w)
{
	return stream_compression(w->stream) == STREAM_ZSTD;
}

int flow_squeeze_begin(struct flow *w)
{
	w->side_have = w->side_at = 0;
	w->unpacked = 0;
	w->side_ended = 0;
	if (!flow_is_packed(w))
		return 0;
	return w->sealing ? squeeze_pack_begin(w->squeeze) : squeeze_unpack_begin(w->squeeze);
}

void flow_squeeze_end(struct flow *w)
{
	if (!w->stream || !flow_is_packed(w))
		return;
	squeeze_end(w->squeeze);
	wipe(w->side, FLOW_SIDE_BYTES);
	w->side_have = w->side_at = 0;
	w->side_ended = 0;
}

/* Have flow_serve() called again, though no descriptor will be ready for it. */
static void again(const struct flow *w)
{
	uint64_t one = 1;
	/* Fails only if the counter is full: then it is readable anyway. */
	ssize_t n = write(w->event_fd, &one, sizeof(one));
	(void)n;
}

static int too_long(const struct flow *w, uint64_t bytes, struct fault *f)
{
	unsigned long long most = stream_plaintext_max(w->stream);
	return bytes <= most ? 0
			     : fault_set(f, ERR_LIMIT,
					 "more than the %llu bytes that a stream can have", most);
}

/* ---- Sealing -------------------------------------------------------------------------------- */

int flow_has_backlog(const struct flow *w)
{
	return w->sealing && w->stage == AT_RECORDS && (w->side_at < w->side_have || w->side_ended);
}

/* Fill the side from the input, if it has anything. */
static void fill_side(struct flow *w)
{
	struct fault why = { 0 };
	w->side_at = 0;
	w->side_have = flow_take(w, w->side, FLOW_SIDE_BYTES, &w->side_ended);
	if (w->state != FLOW_RUNNING)
		return;
	int rc = too_long(w, w->progress.in_bytes, &why);
	if (rc < 0)
		flow_fail(w, fault_set(&w->fault, rc, "%s", why.text));
}

/* Of what is at the side, all, or until the record at the head is full or the frame ends. */
static void pack(struct flow *w)
{
	struct cell *c = flow_cell(w, w->head);
	size_t size = stream_record_size(w->stream);
	struct squeeze_step step = { .src = w->side + w->side_at,
				     .n = w->side_have - w->side_at,
				     .dst = c->record + STREAM_PREFIX_BYTES + c->have,
				     .room = size - c->have };
	int rc = squeeze_pack(w->squeeze, &step, w->side_ended);
	if (rc < 0) {
		flow_fail(w, fault_set(&w->fault, rc, "it cannot be compressed"));
		return;
	}
	w->side_at += step.used;
	c->have += step.made;
	c->dirty = c->have + STREAM_RECORD_EXTRA;
	if (rc == 1)
		w->stage = ENDED;
	if (rc == 1 || c->have == size)
		flow_give(w, w->head++, rc == 1);
}

void flow_pack(struct flow *w)
{
	for (size_t i = 0; i < STEPS && w->stage == AT_RECORDS && flow_has_room(w); i++) {
		if (!flow_has_backlog(w))
			fill_side(w);
		if (w->state != FLOW_RUNNING || !flow_has_backlog(w))
			return;
		pack(w);
		if (w->state != FLOW_RUNNING)
			return;
	}
}

/* ---- Opening -------------------------------------------------------------------------------- */

/* Unpack some more of C to the side, which has room. */
static void unpack(struct flow *w, struct cell *c)
{
	struct fault why = { 0 };
	size_t n = c->bytes - STREAM_RECORD_EXTRA;
	struct squeeze_step step = { .src = c->record + STREAM_PREFIX_BYTES + c->written,
				     .n = n - c->written,
				     .dst = w->side + w->side_have,
				     .room = FLOW_SIDE_BYTES - w->side_have };
	int rc = squeeze_unpack(w->squeeze, &step, &why);
	c->written += step.used;
	w->side_have += step.made;
	w->unpacked += step.made;
	c->spent = rc == 1 || (c->written == n && step.made < step.room);
	if (rc == 0 && c->spent && c->final)
		rc = fault_set(&why, ERR_TRUNCATED, "the compressed frame was cut off");
	if (rc >= 0)
		rc = too_long(w, w->unpacked, &why);
	if (rc < 0)
		flow_fail(w, fault_set(&w->fault, rc, "record %llu: %s",
				       (unsigned long long)c->number, why.text));
}

int flow_unpack(struct flow *w, struct cell *c)
{
	for (size_t i = 0; i < STEPS; i++) {
		size_t held = w->side_have && !(c->spent && c->final);
		if (!flow_put(w, w->side, w->side_have - held, &w->side_at))
			return 0;
		if (held)
			w->side[0] = w->side[w->side_have - 1];
		w->side_have = held;
		w->side_at = 0;
		if (c->spent)
			return 1;
		unpack(w, c);
		if (w->state != FLOW_RUNNING)
			return 0;
	}
	again(w);
	return 0;
}
