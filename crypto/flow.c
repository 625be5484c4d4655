/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/flow_form.h"

#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define SLOT_IN	    0
#define SLOT_OUT    1
#define SLOT_EVENT  2

/* A record's prefix goes right in front of a cache line, so that its plaintext is aligned. */
#define LINE	    64
#define LEAD	    (LINE - STREAM_PREFIX_BYTES)
#define ROOM	    (LEAD + STREAM_RECORD_BYTES + STREAM_RECORD_EXTRA)
#define PAGE	    ((size_t)4096)
#define STRIDE	    ((ROOM + PAGE - 1) / PAGE * PAGE)
#define MEMORY	    (FLOW_RECORDS * STRIDE + FLOW_SIDE_BYTES)
#define PROGRESS_MS 100

/* ---- the life of a flow ---- */

static void run_seal(struct pool_job *job, struct stream_lane *lane)
{
	struct cell *c = (struct cell *)job;
	c->rc = stream_record_seal(c->stream, lane, c->number, c->final, c->record, c->have);
}

static void run_open(struct pool_job *job, struct stream_lane *lane)
{
	struct cell *c = (struct cell *)job;
	c->rc = stream_record_open(c->stream, lane, c->number, c->record, c->bytes);
}

int flow_new(struct pool *pool, struct flow **out)
{
	struct flow *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->pool = pool;
	w->in = w->out = -1;
	w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->memory = aligned_alloc(PAGE, MEMORY);
	int rc = w->event_fd < 0 || !w->memory || madvise(w->memory, MEMORY, MADV_DONTDUMP)
			 ? -errno
			 : squeeze_new(&w->squeeze);
	if (rc < 0) {
		flow_free(w);
		return rc;
	}
	w->side = w->memory + FLOW_RECORDS * STRIDE;
	for (size_t i = 0; i < FLOW_RECORDS; i++)
		w->cells[i].record = w->memory + i * STRIDE + LEAD;
	*out = w;
	return 0;
}

size_t flow_memory(const struct flow *w)
{
	return MEMORY + squeeze_bytes(w->squeeze);
}

/* Nothing of this flow is at work or in memory after this. */
static void settle(struct flow *w)
{
	for (size_t i = 0; i < FLOW_RECORDS && w->memory; i++) {
		struct cell *c = &w->cells[i];
		pool_settle(w->pool, &c->job);
		wipe(c->record, c->dirty);
		uint8_t *record = c->record;
		memset(c, 0, sizeof(*c));
		c->record = record;
	}
	flow_squeeze_end(w);
	stream_free(w->stream);
	w->stream = NULL;
	w->keys = NULL;
	w->in = w->out = -1;
	wipe(w->front, sizeof(w->front));
}

void flow_abort(struct flow *w)
{
	settle(w);
	w->state = FLOW_IDLE;
}

void flow_free(struct flow *w)
{
	if (!w)
		return;
	flow_abort(w);
	squeeze_free(w->squeeze);
	free(w->memory);
	fd_close(&w->event_fd);
	wipe_free(w, sizeof(*w));
}

void flow_fail(struct flow *w, int rc)
{
	w->fault.rc = rc;
	settle(w);
	w->state = FLOW_FAILED;
}

static void fail_errno(struct flow *w, const char *what)
{
	int rc = -errno;
	flow_fail(w, fault_set(&w->fault, rc, "%s: %s", what, err_text(rc)));
}

/* Forget the former flow.  W is not running. */
static void reset(struct flow *w, struct stream_keys *keys, enum key_use purpose, int in, int out)
{
	w->fault = w->late = (struct fault){ 0 };
	w->progress = (struct flow_progress){ 0 };
	w->keys = keys;
	w->purpose = purpose;
	w->in = in;
	w->out = out;
	w->head = w->tail = 0;
	w->front_have = 0;
	w->state = FLOW_RUNNING;
}

int flow_seal_start(struct flow *w, struct stream_keys *keys, enum key_use purpose, int in, int out,
		    struct fault *f)
{
	struct stream *s = NULL;
	size_t front_bytes = 0;
	if (w->state == FLOW_RUNNING)
		return fault_set(f, ERR_STATE, "a stream is on its way already");
	int rc = stream_seal(keys, purpose, w->front, &front_bytes, &s, f);
	if (rc < 0)
		return rc;
	reset(w, keys, purpose, in, out);
	w->sealing = 1;
	w->stream = s;
	w->stage = AT_RECORDS;
	w->front_bytes = front_bytes;
	rc = flow_squeeze_begin(w);
	if (rc < 0) {
		flow_abort(w);
		return fault_set(f, rc, "the compression cannot be begun");
	}
	return 0;
}

int flow_open_start(struct flow *w, struct stream_keys *keys, enum key_use purpose, int in, int out,
		    struct fault *f)
{
	if (w->state == FLOW_RUNNING)
		return fault_set(f, ERR_STATE, "a stream is on its way already");
	reset(w, keys, purpose, in, out);
	w->sealing = 0;
	w->stage = AT_FRONT;
	w->front_bytes = STREAM_HEAD_BYTES;
	return 0;
}

/* ---- input ---- */

size_t flow_take(struct flow *w, uint8_t *dst, size_t n, int *ended)
{
	ssize_t got;
	do {
		got = read(w->in, dst, n);
	} while (got < 0 && errno == EINTR);
	*ended = got == 0;
	if (got < 0 && errno != EAGAIN)
		fail_errno(w, "the input cannot be read");
	if (got <= 0)
		return 0;
	w->progress.in_bytes += (uint64_t)got;
	return (size_t)got;
}

void flow_give(struct flow *w, uint64_t number, int final)
{
	struct cell *c = flow_cell(w, number);
	c->stream = w->stream;
	c->number = number;
	c->final = final;
	c->given = 1;
	c->job.run = w->sealing ? run_seal : run_open;
	c->job.notify_fd = w->event_fd;
	pool_submit(w->pool, &c->job);
}

/* A whole record is held back until there is a byte behind it, or the end: it may be the last. */
static void seal_input(struct flow *w)
{
	for (size_t i = 0; i < FLOW_RECORDS && w->stage == AT_RECORDS && flow_has_room(w); i++) {
		struct cell *c = flow_cell(w, w->head);
		size_t size = stream_record_size(w->stream);
		int ended = 0;
		size_t n = flow_take(w, c->record + STREAM_PREFIX_BYTES + c->have, size - c->have,
				     &ended);
		if (n == 0 && !ended)
			return;
		if (ended) {
			w->stage = ENDED;
			if (c->have == 0 && w->head > 0)
				w->head--;
			flow_give(w, w->head++, 1);
			return;
		}
		if (c->have == 0 && w->head > 0)
			flow_give(w, w->head - 1, 0);
		c->have += n;
		c->dirty = c->have + STREAM_RECORD_EXTRA;
		if (c->have == size)
			w->head++;
	}
}

/* The front grows to what it says itself that it needs. */
static void open_front(struct flow *w)
{
	while (w->state == FLOW_RUNNING && w->stage == AT_FRONT) {
		int ended = 0, rc = 0;
		size_t n = flow_take(w, w->front + w->front_have, w->front_bytes - w->front_have,
				     &ended);
		if (n == 0 && !ended)
			return;
		w->front_have += n;
		if (!ended && w->front_have == w->front_bytes)
			rc = stream_front_need(w->front, w->front_have, &w->front_bytes, &w->fault);
		if (rc >= 0 && (ended || w->front_have == w->front_bytes)) {
			rc = stream_open(w->keys, w->purpose, w->front, w->front_have, &w->stream,
					 &w->fault);
			if (rc >= 0 && flow_squeeze_begin(w) < 0)
				rc = fault_set(&w->fault, ERR_CRYPTO,
					       "the decompression cannot be begun");
			w->stage = AT_RECORDS;
		}
		if (rc < 0)
			flow_fail(w, rc);
	}
}

/* The input is of no use from record HEAD on; what is in front of it is still to be looked at. */
static void stop_reading(struct flow *w)
{
	w->stage = ENDED;
}

/* There are new bytes in the cell at the head. */
static void open_record(struct flow *w, struct cell *c)
{
	if (c->have < STREAM_PREFIX_BYTES)
		return;
	if (!c->peeked) {
		w->late.rc = stream_record_peek(w->stream, w->head, c->record, &c->bytes, &c->final,
						&w->late);
		if (w->late.rc < 0) {
			stop_reading(w);
			return;
		}
		c->peeked = 1;
	}
	if (c->have < c->bytes)
		return;
	if (c->final) {
		w->stage = AT_END;
		if (c->have > c->bytes) {
			w->late.rc = fault_set(&w->late, ERR_TRAILING,
					       "there are bytes behind the final record");
			stop_reading(w);
		}
	}
	flow_give(w, w->head++, c->final);
}

static void open_records(struct flow *w)
{
	for (size_t i = 0; i < FLOW_RECORDS && w->stage == AT_RECORDS && flow_has_room(w); i++) {
		struct cell *c = flow_cell(w, w->head);
		size_t whole = stream_record_size(w->stream) + STREAM_RECORD_EXTRA;
		int ended = 0;
		size_t n = flow_take(w, c->record + c->have, whole - c->have, &ended);
		if (ended) {
			w->late.rc = fault_set(
				&w->late, ERR_TRUNCATED,
				c->have ? "it was cut off in record %llu"
					: "it was cut off in front of record %llu: the final one "
					  "has not come yet",
				(unsigned long long)w->head);
			stop_reading(w);
		}
		if (n == 0)
			return;
		c->have += n;
		c->dirty = c->have;
		open_record(w, c);
	}
}

/* Is anything behind the final record? */
static void open_end(struct flow *w)
{
	uint8_t byte;
	int ended = 0;
	size_t n = flow_take(w, &byte, 1, &ended);
	if (n > 0)
		w->late.rc = fault_set(&w->late, ERR_TRAILING,
				       "there are bytes behind the final record");
	if (n > 0 || ended)
		stop_reading(w);
}

static void serve_input(struct flow *w)
{
	if (w->sealing && flow_is_packed(w))
		flow_pack(w);
	else if (w->sealing)
		seal_input(w);
	if (w->sealing)
		return;
	if (w->stage == AT_FRONT)
		open_front(w);
	if (w->state == FLOW_RUNNING && w->stage == AT_RECORDS)
		open_records(w);
	if (w->state == FLOW_RUNNING && w->stage == AT_END)
		open_end(w);
}

/* ---- output ---- */

int flow_put(struct flow *w, const uint8_t *src, size_t n, size_t *done)
{
	while (*done < n && w->out >= 0) {
		ssize_t put = write(w->out, src + *done, n - *done);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && errno != EAGAIN)
			fail_errno(w, "the output cannot be written");
		if (put < 0)
			return 0;
		*done += (size_t)put;
		w->progress.out_bytes += (uint64_t)put;
	}
	if (w->out < 0) {
		w->progress.out_bytes += n - *done;
		*done = n;
	}
	return 1;
}

/* May the record at the tail go out?  If not and it never will, the flow has failed. */
static int may_go(struct flow *w, struct cell *c)
{
	if (!c->given || !pool_done(&c->job))
		return 0;
	if (c->rc < 0) {
		flow_fail(w, fault_set(&w->fault, c->rc,
				       c->rc == ERR_AUTH
					       ? "record %llu is not authentic: it was altered, "
						 "or belongs elsewhere"
					       : "record %llu: %s",
				       (unsigned long long)c->number, err_text(c->rc)));
		return 0;
	}
	if (w->sealing || !c->final)
		return 1;
	if (w->late.rc < 0) {
		w->fault = w->late;
		flow_fail(w, w->late.rc);
		return 0;
	}
	return w->stage == ENDED;
}

/* The record at the tail is out. */
static void retire(struct flow *w, struct cell *c)
{
	w->progress.plain_bytes += w->sealing ? c->have : c->bytes - STREAM_RECORD_EXTRA;
	w->progress.records++;
	int final = c->final;
	c->have = c->bytes = c->written = 0;
	c->peeked = c->given = c->final = c->spent = 0;
	w->tail++;
	if (!final)
		return;
	settle(w);
	w->state = FLOW_DONE;
}

static void serve_output(struct flow *w)
{
	if (w->sealing && w->front_have < w->front_bytes &&
	    !flow_put(w, w->front, w->front_bytes, &w->front_have))
		return;
	for (size_t i = 0; i < FLOW_RECORDS && w->state == FLOW_RUNNING && w->tail < w->head; i++) {
		struct cell *c = flow_cell(w, w->tail);
		if (!may_go(w, c))
			return;
		const uint8_t *src = c->record + (w->sealing ? 0 : STREAM_PREFIX_BYTES);
		size_t n =
			w->sealing ? c->have + STREAM_RECORD_EXTRA : c->bytes - STREAM_RECORD_EXTRA;
		int out = !w->sealing && flow_is_packed(w) ? flow_unpack(w, c)
							   : flow_put(w, src, n, &c->written);
		if (!out)
			return;
		retire(w, c);
	}
	if (w->state == FLOW_RUNNING && w->tail == w->head && w->late.rc < 0) {
		w->fault = w->late;
		flow_fail(w, w->late.rc);
	}
}

/* ---- the loop ---- */

static int wants_input(const struct flow *w)
{
	return w->stage == AT_FRONT || w->stage == AT_END ||
	       (w->stage == AT_RECORDS && flow_has_room(w));
}

static int has_output(const struct flow *w)
{
	if (w->sealing && w->front_have < w->front_bytes)
		return 1;
	if (w->tail == w->head)
		return 0;
	struct cell *c = flow_cell((struct flow *)(uintptr_t)w, w->tail);
	return c->given && pool_done(&c->job) && (w->sealing || !c->final || w->stage == ENDED);
}

void flow_slots(const struct flow *w, struct pollfd slots[static FLOW_SLOTS])
{
	int running = w->state == FLOW_RUNNING;
	slots[SLOT_IN] =
		(struct pollfd){ .fd = running && wants_input(w) ? w->in : -1, .events = POLLIN };
	/* Always watched while it runs: a reader that has gone shows. */
	slots[SLOT_OUT] = (struct pollfd){ .fd = running ? w->out : -1,
					   .events = running && has_output(w) ? POLLOUT : 0 };
	slots[SLOT_EVENT] = (struct pollfd){ .fd = running ? w->event_fd : -1, .events = POLLIN };
}

void flow_serve(struct flow *w, const struct pollfd slots[static FLOW_SLOTS])
{
	uint64_t count;
	if (w->state != FLOW_RUNNING)
		return;
	if (slots[SLOT_EVENT].revents && read(w->event_fd, &count, sizeof(count)) < 0 &&
	    errno != EAGAIN && errno != EINTR) {
		fail_errno(w, "the crypto threads' eventfd");
		return;
	}
	/* What waits for room longer than this goes on with the input: its end is always ready. */
	if (slots[SLOT_IN].revents || flow_has_backlog(w))
		serve_input(w);
	if (w->state == FLOW_RUNNING)
		serve_output(w);
	if (w->state == FLOW_RUNNING && !has_output(w) &&
	    (slots[SLOT_OUT].revents & (POLLERR | POLLHUP | POLLNVAL)))
		flow_fail(w, fault_set(&w->fault, -EPIPE,
				       "the output cannot be written: its reader has gone"));
}

enum flow_state flow_state(const struct flow *w)
{
	return w->state;
}

const struct fault *flow_fault(const struct flow *w)
{
	return &w->fault;
}

const struct stream *flow_stream(const struct flow *w)
{
	return w->stream;
}

struct flow_progress flow_progress(const struct flow *w)
{
	return w->progress;
}

int flow_run(struct flow *w, int (*progress)(void *arg, const struct flow_progress *at), void *arg,
	     struct fault *f)
{
	int64_t next = clock_ms();
	while (w->state == FLOW_RUNNING) {
		struct pollfd slots[FLOW_SLOTS];
		flow_slots(w, slots);
		if (poll(slots, FLOW_SLOTS, progress ? clock_left_ms(next) : -1) < 0) {
			if (errno != EINTR) {
				fail_errno(w, "poll");
				break;
			}
			continue;
		}
		flow_serve(w, slots);
		if (!progress || clock_left_ms(next) > 0)
			continue;
		int rc = progress(arg, &w->progress);
		if (rc) {
			flow_abort(w);
			return rc;
		}
		next = clock_ms() + PROGRESS_MS;
	}
	if (w->state != FLOW_DONE)
		return fault_set(f, w->fault.rc, "%s", w->fault.text);
	return 0;
}
