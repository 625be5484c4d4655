/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/flow.h"

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
#define PROGRESS_MS 100

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
};

static struct cell *cell_of(struct flow *w, uint64_t number)
{
	return &w->cells[number % FLOW_RECORDS];
}

static int has_room(const struct flow *w)
{
	return w->head - w->tail < FLOW_RECORDS;
}

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
	w->memory = mmap(NULL, flow_memory(w), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	if (w->memory == MAP_FAILED)
		w->memory = NULL;
	if (w->event_fd < 0 || !w->memory || madvise(w->memory, flow_memory(w), MADV_DONTDUMP)) {
		int rc = -errno;
		flow_free(w);
		return rc;
	}
	for (size_t i = 0; i < FLOW_RECORDS; i++)
		w->cells[i].record = w->memory + i * STRIDE + LEAD;
	*out = w;
	return 0;
}

size_t flow_memory(const struct flow *w)
{
	(void)w;
	return FLOW_RECORDS * STRIDE;
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
	if (w->memory)
		munmap(w->memory, flow_memory(w));
	fd_close(&w->event_fd);
	wipe_free(w, sizeof(*w));
}

/* The end, with what fault_set() or fault_wrap() has said. */
static void fail(struct flow *w, int rc)
{
	w->fault.rc = rc;
	settle(w);
	w->state = FLOW_FAILED;
}

static void fail_errno(struct flow *w, const char *what)
{
	int rc = -errno;
	fail(w, fault_set(&w->fault, rc, "%s: %s", what, err_text(rc)));
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

/* Read at most N bytes.  > 0, or 0 if there is no more now; at the end of the input *ENDED is set.
 * Failing to read ends the flow. */
static size_t take(struct flow *w, uint8_t *dst, size_t n, int *ended)
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

static void give(struct flow *w, uint64_t number, int final)
{
	struct cell *c = cell_of(w, number);
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
	for (size_t i = 0; i < FLOW_RECORDS && w->stage == AT_RECORDS && has_room(w); i++) {
		struct cell *c = cell_of(w, w->head);
		size_t size = stream_record_size(w->stream);
		int ended = 0;
		size_t n =
			take(w, c->record + STREAM_PREFIX_BYTES + c->have, size - c->have, &ended);
		if (n == 0 && !ended)
			return;
		if (ended) {
			w->stage = ENDED;
			if (c->have == 0 && w->head > 0)
				w->head--;
			give(w, w->head++, 1);
			return;
		}
		if (c->have == 0 && w->head > 0)
			give(w, w->head - 1, 0);
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
		size_t n =
			take(w, w->front + w->front_have, w->front_bytes - w->front_have, &ended);
		if (n == 0 && !ended)
			return;
		w->front_have += n;
		if (!ended && w->front_have == w->front_bytes)
			rc = stream_front_need(w->front, w->front_have, &w->front_bytes, &w->fault);
		if (rc >= 0 && (ended || w->front_have == w->front_bytes)) {
			rc = stream_open(w->keys, w->purpose, w->front, w->front_have, &w->stream,
					 &w->fault);
			w->stage = AT_RECORDS;
		}
		if (rc < 0)
			fail(w, rc);
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
	give(w, w->head++, c->final);
}

static void open_records(struct flow *w)
{
	for (size_t i = 0; i < FLOW_RECORDS && w->stage == AT_RECORDS && has_room(w); i++) {
		struct cell *c = cell_of(w, w->head);
		size_t whole = stream_record_size(w->stream) + STREAM_RECORD_EXTRA;
		int ended = 0;
		size_t n = take(w, c->record + c->have, whole - c->have, &ended);
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
	size_t n = take(w, &byte, 1, &ended);
	if (n > 0)
		w->late.rc = fault_set(&w->late, ERR_TRAILING,
				       "there are bytes behind the final record");
	if (n > 0 || ended)
		stop_reading(w);
}

static void serve_input(struct flow *w)
{
	if (w->sealing) {
		seal_input(w);
		return;
	}
	if (w->stage == AT_FRONT)
		open_front(w);
	if (w->state == FLOW_RUNNING && w->stage == AT_RECORDS)
		open_records(w);
	if (w->state == FLOW_RUNNING && w->stage == AT_END)
		open_end(w);
}

/* ---- output ---- */

/* Write of the N bytes at SRC those behind the first *DONE.  1 when all is written. */
static int put(struct flow *w, const uint8_t *src, size_t n, size_t *done)
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
		fail(w,
		     fault_set(&w->fault, c->rc,
			       c->rc == ERR_AUTH ? "record %llu is not authentic: it was altered, "
						   "or belongs elsewhere"
						 : "record %llu: %s",
			       (unsigned long long)c->number, err_text(c->rc)));
		return 0;
	}
	if (w->sealing || !c->final)
		return 1;
	if (w->late.rc < 0) {
		w->fault = w->late;
		fail(w, w->late.rc);
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
	c->peeked = c->given = c->final = 0;
	w->tail++;
	if (!final)
		return;
	settle(w);
	w->state = FLOW_DONE;
}

static void serve_output(struct flow *w)
{
	if (w->sealing && w->front_have < w->front_bytes &&
	    !put(w, w->front, w->front_bytes, &w->front_have))
		return;
	for (size_t i = 0; i < FLOW_RECORDS && w->state == FLOW_RUNNING && w->tail < w->head; i++) {
		struct cell *c = cell_of(w, w->tail);
		if (!may_go(w, c))
			return;
		const uint8_t *src = c->record + (w->sealing ? 0 : STREAM_PREFIX_BYTES);
		size_t n =
			w->sealing ? c->have + STREAM_RECORD_EXTRA : c->bytes - STREAM_RECORD_EXTRA;
		if (!put(w, src, n, &c->written))
			return;
		retire(w, c);
	}
	if (w->state == FLOW_RUNNING && w->tail == w->head && w->late.rc < 0) {
		w->fault = w->late;
		fail(w, w->late.rc);
	}
}

/* ---- the loop ---- */

static int wants_input(const struct flow *w)
{
	return w->stage == AT_FRONT || w->stage == AT_END ||
	       (w->stage == AT_RECORDS && has_room(w));
}

static int has_output(const struct flow *w)
{
	if (w->sealing && w->front_have < w->front_bytes)
		return 1;
	if (w->tail == w->head)
		return 0;
	struct cell *c = cell_of((struct flow *)(uintptr_t)w, w->tail);
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
	if (slots[SLOT_IN].revents)
		serve_input(w);
	if (w->state == FLOW_RUNNING)
		serve_output(w);
	if (w->state == FLOW_RUNNING && !has_output(w) &&
	    (slots[SLOT_OUT].revents & (POLLERR | POLLHUP | POLLNVAL)))
		fail(w, fault_set(&w->fault, -EPIPE,
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
