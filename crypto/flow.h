/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A flow: pumps everything from one descriptor to another, sealing it into a stream file or opening
 * one (docs/FORMAT.md, "Sealed stream files"), with many records in flight over the crypto threads.
 *
 * Theory of operation.  FLOW_RECORDS buffers form a ring: record k is in buffer k mod FLOW_RECORDS.
 * Input is read straight into the buffer at the ring's head, a crypto thread seals or opens the
 * record in place, and the one at the tail is written when it is done.  So order is kept, and a
 * reader that stalls stops the input once the ring is full.  Nothing blocks but the disk under a
 * regular file.
 *
 *  sealing: The end of the input makes the final record.  Done when the output has taken the
 *      last byte.
 *  opening: A record's plaintext is written once it and all in front of it are authentic; that
 *      of the final record also only after the input has ended behind it, so that whoever reads
 *      the output never has all of a file that is to be refused.  Errors come in the file's
 *      order, whichever thread finds one first.
 *
 * A flow uses its two descriptors from start to done, failure or abort, and closes none.  They
 * are non-blocking, unless regular files; SIGPIPE is ignored.  One struct flow serves one file
 * after another: its memory (flow_memory()) is all allocated by flow_new(), and what was in it
 * wiped after every file.
 *
 * May be used by: migration/, worker/ (flow_new() and pool_new() before sealing, the rest after),
 * cli/, by one thread at a time.  After flow_new(): read, write, poll (the caller's), futex,
 * getrandom, malloc(3)'s.
 */
#ifndef SHIELDVM_CRYPTO_FLOW_H
#define SHIELDVM_CRYPTO_FLOW_H

#include <poll.h>

#include "crypto/pool.h"
#include "crypto/stream.h"

#define FLOW_RECORDS 16 /* in flight */
#define FLOW_SLOTS   3

enum flow_state {
	FLOW_IDLE, /* none was started, or the last one aborted */
	FLOW_RUNNING,
	FLOW_DONE,   /* everything was written and, if opened, authentic to the end of the input */
	FLOW_FAILED, /* flow_fault() says why; nothing is read or written any more */
};

struct flow;

/* POOL must outlive the flow; several flows may share it.  eventfd2(2), madvise(2).  -errno. */
int flow_new(struct pool *pool, struct flow **out) MUST_CHECK;
void flow_free(struct flow *w); /* aborts, wipes; NULL is fine */
static inline void cleanup_flow(struct flow **w)
{
	flow_free(*w);
}
#define CLEANUP_FLOW CLEANUP(cleanup_flow)

/* Bytes that flow_new() allocated for records. */
size_t flow_memory(const struct flow *w);

/*
 * Start to seal all of IN, to its end, into a stream file of PURPOSE on OUT.  W is not running;
 * its former result is forgotten.  Errors of stream_seal(), ERR_STATE (running); W is then as it
 * was.
 */
int flow_seal_start(struct flow *w, struct stream_keys *keys, enum key_use purpose, int in, int out,
		    struct fault *f) MUST_CHECK;

/*
 * Start to open the stream file on IN, which must be of PURPOSE, onto OUT; with OUT -1 it is
 * verified only.  KEYS must live until the front was read (flow_stream() is not NULL), W is not
 * running.  ERR_STATE (running); everything else shows while it runs.
 */
int flow_open_start(struct flow *w, struct stream_keys *keys, enum key_use purpose, int in, int out,
		    struct fault *f) MUST_CHECK;

/*
 * For poll(2): what is waited for now, fd -1 in slots not in use (all of them, unless it is
 * running); then what came of it.  flow_serve() does a bounded amount of work and may be called
 * with nothing ready.  Call both, in turns, while flow_state() is FLOW_RUNNING.
 */
void flow_slots(const struct flow *w, struct pollfd slots[static FLOW_SLOTS]);
void flow_serve(struct flow *w, const struct pollfd slots[static FLOW_SLOTS]);

enum flow_state flow_state(const struct flow *w);

/*
 * Why it failed: the errors of stream_open() and stream_record_open(), ERR_TRUNCATED, ERR_TRAILING,
 * ERR_LIMIT, or -errno of reading or writing (-EPIPE: whoever reads the output has gone).  Valid
 * until the next start.
 */
const struct fault *flow_fault(const struct flow *w);

/* Stop where it is and wipe: FLOW_IDLE.  Waits for the threads' present records (microseconds).
 * What was written so far is never a whole stream file. */
void flow_abort(struct flow *w);

/* The stream, while running and once its front was read or made; NULL before and after. */
const struct stream *flow_stream(const struct flow *w);

/* How far it is; kept until the next start. */
struct flow_progress {
	uint64_t in_bytes, out_bytes; /* read from IN, written to OUT (or, with OUT -1, verified) */
	uint64_t plain_bytes;	      /* of them in records: sealed and written, or authenticated */
	uint64_t records;	      /* the same */
};
struct flow_progress flow_progress(const struct flow *w);

/* poll(2) and serve until it is done or has failed; for those with nothing else to do.  0 or the
 * fault's rc, with its sentence in F.  PROGRESS (may be NULL) is called every 100 ms or so; a
 * result other than 0 aborts, and is returned. */
int flow_run(struct flow *w, int (*progress)(void *arg, const struct flow_progress *at), void *arg,
	     struct fault *f) MUST_CHECK;

#endif
