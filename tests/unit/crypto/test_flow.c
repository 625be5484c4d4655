/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/crypto/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "crypto/flow.h"

#define LIMIT_MS 60000

static const enum key_use KINDS[] = { KEY_USE_SAVED_STATE, KEY_USE_DUMP };
static struct pool *pool;
static struct flow *flow;
static struct stream_keys *keys; /* of small records */

static int make_all(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	if (make_owner(state) || pool_new(3, &pool) < 0 || flow_new(pool, &flow) < 0)
		return -1;
	keys = keys_for(&FACTS, 0, SMALL);
	return 0;
}

static int free_all(void **state)
{
	stream_keys_free(keys);
	flow_free(flow);
	pool_free(pool);
	return free_owner(state);
}

static int memory_file(const void *data, size_t n)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, data, n), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static void read_back(int fd, struct buf *out)
{
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(fd_read_all(fd, out), 0);
}

/* From memory to memory through regular files. */
static int through(struct stream_keys *k, int sealing, enum key_use purpose, const uint8_t *data,
		   size_t n, struct buf *out, struct fault *f)
{
	CLEANUP_FD int in = memory_file(data, n), to = memory_file("", 0);
	int rc = sealing ? flow_seal_start(flow, k, purpose, in, to, f)
			 : flow_open_start(flow, k, purpose, in, to, f);
	assert_int_equal(rc, 0);
	assert_int_equal(flow_state(flow), FLOW_RUNNING);
	rc = flow_run(flow, NULL, NULL, f);
	assert_int_equal(flow_state(flow), rc < 0 ? FLOW_FAILED : FLOW_DONE);
	read_back(to, out);
	struct flow_progress at = flow_progress(flow);
	assert_int_equal(at.out_bytes, out->len);
	if (rc >= 0) {
		assert_int_equal(at.in_bytes, n);
		assert_int_equal(at.plain_bytes, sealing ? n : out->len);
	}
	return rc;
}

/* A flow between two pipes, with somebody slow at both ends. */
struct pipes {
	int in[2], out[2];
	const uint8_t *src;
	size_t left, in_chunk, out_chunk;
	struct buf got;
};

static void pipes_new(struct pipes *p, int capacity)
{
	*p = (struct pipes){ .got = BUF_INIT(FILE_MAX), .in_chunk = 4096, .out_chunk = 4096 };
	assert_int_equal(pipe2(p->in, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(pipe2(p->out, O_CLOEXEC | O_NONBLOCK), 0);
	if (capacity) {
		assert_true(fcntl(p->in[1], F_SETPIPE_SZ, capacity) > 0);
		assert_true(fcntl(p->out[1], F_SETPIPE_SZ, capacity) > 0);
	}
}

static void pipes_done(struct pipes *p)
{
	for (int i = 0; i < 2; i++) {
		fd_close(&p->in[i]);
		fd_close(&p->out[i]);
	}
	buf_done(&p->got);
}

static void feed(struct pipes *p, int may_close)
{
	while (p->in[1] >= 0 && p->left) {
		ssize_t n = write(p->in[1], p->src, p->left < p->in_chunk ? p->left : p->in_chunk);
		if (n <= 0)
			break;
		p->src += n;
		p->left -= (size_t)n;
		if (p->in_chunk < 64)
			break;
	}
	if (p->left == 0 && may_close)
		fd_close(&p->in[1]);
}

static void drain(struct pipes *p)
{
	uint8_t chunk[4096];
	ssize_t n;
	while ((n = read(p->out[0], chunk, p->out_chunk)) > 0) {
		assert_int_equal(buf_add(&p->got, chunk, (size_t)n), 0);
		if (p->out_chunk < 64)
			break;
	}
}

static int serve_once(int timeout_ms)
{
	struct pollfd slots[FLOW_SLOTS];
	flow_slots(flow, slots);
	int n = poll(slots, FLOW_SLOTS, timeout_ms);
	flow_serve(flow, slots);
	return n;
}

/* Serve until nothing happens any more, or the flow ends. */
static void serve_out(void)
{
	for (int quiet = 0; flow_state(flow) == FLOW_RUNNING && quiet < 3;)
		quiet = serve_once(20) > 0 ? 0 : quiet + 1;
}

static void pump(struct pipes *p)
{
	int64_t deadline = clock_ms() + LIMIT_MS;
	while (flow_state(flow) == FLOW_RUNNING && clock_left_ms(deadline)) {
		feed(p, 1);
		serve_once(p->left || p->in[1] >= 0 ? 0 : 1);
		drain(p);
	}
	p->out_chunk = 4096;
	drain(p);
}

static void test_round_trips_through_files(void **state)
{
	(void)state;
	static const size_t SIZES[] = { 0,	     1,	      15,      16,	    17,
					31,	     32,      33,      16 * 15,	    16 * 16,
					16 * 16 + 1, 16 * 17, 16 * 33, 16 * 63 + 9, 16 * 64 };
	uint8_t plain[16 * 64];
	for (size_t i = 0; i < 2 * sizeof(SIZES) / sizeof(SIZES[0]); i++) {
		CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX), made = BUF_INIT(FILE_MAX),
				       out = BUF_INIT(FILE_MAX), again = BUF_INIT(FILE_MAX);
		size_t n = SIZES[i / 2];
		enum key_use use = KINDS[i % 2];
		pattern(plain, n);
		/* The flow and the record by record way read each other's. */
		assert_int_equal(through(keys, 1, use, plain, n, &file, NULL), 0);
		assert_int_equal(file_open(keys, use, file.data, file.len, &out, NULL), 0);
		assert_int_equal(file_make(keys, use, plain, n, &made), 0);
		assert_int_equal(made.len, file.len);
		assert_int_equal(through(keys, 0, use, made.data, made.len, &again, NULL), 0);
		assert_int_equal(out.len, n);
		assert_int_equal(again.len, n);
		assert_true(n == 0 || memcmp(out.data, plain, n) == 0);
		assert_true(n == 0 || memcmp(again.data, plain, n) == 0);
		assert_int_equal(flow_progress(flow).records, n ? (n + 15) / 16 : 1);
	}
}

static void test_round_trips_through_slow_pipes(void **state)
{
	(void)state;
	static const size_t SIZES[] = { 0, 1, 16, 37, 64, 16 * 40, 1001 };
	static const size_t CHUNKS[] = { 1, 3, 16, 4096 };
	uint8_t plain[1024];
	for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]); i++) {
		for (size_t j = 0; j < 16; j++) {
			struct pipes p, q;
			size_t n = SIZES[i];
			pattern(plain, n);
			pipes_new(&p, 4096);
			p.src = plain;
			p.left = n;
			p.in_chunk = CHUNKS[j % 4];
			p.out_chunk = CHUNKS[j / 4];
			assert_int_equal(flow_seal_start(flow, keys, KEY_USE_SAVED_STATE, p.in[0],
							 p.out[1], NULL),
					 0);
			pump(&p);
			assert_int_equal(flow_state(flow), FLOW_DONE);
			pipes_new(&q, 4096);
			q.src = p.got.data;
			q.left = p.got.len;
			q.in_chunk = p.in_chunk;
			q.out_chunk = p.out_chunk;
			assert_int_equal(flow_open_start(flow, keys, KEY_USE_SAVED_STATE, q.in[0],
							 q.out[1], NULL),
					 0);
			pump(&q);
			assert_string_equal(flow_fault(flow)->text, "");
			assert_int_equal(flow_state(flow), FLOW_DONE);
			assert_int_equal(q.got.len, n);
			assert_true(n == 0 || memcmp(q.got.data, plain, n) == 0);
			pipes_done(&p);
			pipes_done(&q);
		}
	}
}

/* Many records of the real size, more than are in flight, through threads and pipes. */
static void test_real_record_size(void **state)
{
	(void)state;
	static const size_t MORE[] = { 0, 1, STREAM_RECORD_BYTES - 1 };
	struct stream_keys *k = keys_for(&FACTS, 0, 0);
	for (size_t i = 0; i < 3; i++) {
		CLEANUP_BUF struct buf plain = BUF_INIT(FILE_MAX), out = BUF_INIT(FILE_MAX);
		struct pipes p;
		size_t n = (FLOW_RECORDS + 5) * STREAM_RECORD_BYTES + MORE[i];
		assert_int_equal(buf_reserve(&plain, n), 0);
		pattern(plain.data, n);
		pipes_new(&p, 1024 * 1024);
		p.src = plain.data;
		p.left = n;
		assert_int_equal(flow_seal_start(flow, k, KEY_USE_DUMP, p.in[0], p.out[1], NULL),
				 0);
		pump(&p);
		assert_int_equal(flow_state(flow), FLOW_DONE);
		assert_int_equal(through(k, 0, KEY_USE_DUMP, p.got.data, p.got.len, &out, NULL), 0);
		assert_int_equal(out.len, n);
		assert_memory_equal(out.data, plain.data, n);
		pipes_done(&p);
	}
	stream_keys_free(k);
}

/* Whatever is wrong with a file, the flow says what the reader in streams.h says, and has written
 * what that reader lets one use: not a byte more. */
static void same_as_reader(enum key_use use, const uint8_t *data, size_t n, int *rc)
{
	CLEANUP_BUF struct buf a = BUF_INIT(FILE_MAX), b = BUF_INIT(FILE_MAX);
	struct fault f = { 0 };
	int wanted = file_open(keys, use, data, n, &a, NULL);
	*rc = through(keys, 0, use, data, n, &b, &f);
	if (*rc != wanted)
		fail_msg("%d (%s), wanted %d", *rc, f.text, wanted);
	assert_int_equal(f.text[0] == '\0', *rc >= 0);
	assert_int_equal(a.len, b.len);
	assert_true(a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static void test_every_bit_and_every_cut(void **state)
{
	(void)state;
	uint8_t plain[3 * SMALL + 5];
	int rc;
	pattern(plain, sizeof(plain));
	for (size_t kind = 0; kind < 2; kind++) {
		CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX);
		assert_int_equal(file_make(keys, KINDS[kind], plain, sizeof(plain), &file), 0);
		for (size_t i = 0; i < file.len; i++) {
			uint8_t bit = (uint8_t)(1 << i % 8);
			file.data[i] ^= bit;
			same_as_reader(KINDS[kind], file.data, file.len, &rc);
			assert_true(rc < 0);
			file.data[i] ^= bit;
			same_as_reader(KINDS[kind], file.data, i, &rc);
			assert_int_equal(rc, ERR_TRUNCATED);
		}
		assert_int_equal(buf_add(&file, "\0\0\0\0", 4), 0);
		for (size_t i = 0; i < 4; i++) {
			same_as_reader(KINDS[kind], file.data, file.len - i, &rc);
			assert_int_equal(rc, ERR_TRAILING);
		}
	}
}

/* Errors come in the order of the file, however many threads there are. */
static void test_first_error_wins(void **state)
{
	(void)state;
	uint8_t plain[12 * SMALL];
	int rc;
	CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX);
	pattern(plain, sizeof(plain));
	assert_int_equal(file_make(keys, KEY_USE_SAVED_STATE, plain, sizeof(plain), &file), 0);
	size_t front = STREAM_STATE_KEY_BYTES + STREAM_HEADER_BYTES;
	for (size_t bad = 0; bad < 12; bad++) {
		size_t at = front + bad * (SMALL + STREAM_RECORD_EXTRA) + 7;
		file.data[at] ^= 1;
		same_as_reader(KEY_USE_SAVED_STATE, file.data, file.len, &rc);
		assert_int_equal(rc, ERR_AUTH);
		/* With a cut behind it. */
		same_as_reader(KEY_USE_SAVED_STATE, file.data, file.len - 3, &rc);
		assert_int_equal(rc, bad == 11 ? ERR_TRUNCATED : ERR_AUTH);
		file.data[at] ^= 1;
	}
}

static void test_the_last_record_waits_for_the_end(void **state)
{
	(void)state;
	uint8_t plain[3 * SMALL];
	for (int trailing = 0; trailing < 3; trailing++) {
		CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX);
		struct pipes p;
		pattern(plain, sizeof(plain));
		assert_int_equal(file_make(keys, KEY_USE_SAVED_STATE, plain, sizeof(plain), &file),
				 0);
		if (trailing == 2)
			assert_int_equal(buf_add(&file, "x", 1), 0);
		pipes_new(&p, 0);
		p.src = file.data;
		p.left = file.len;
		assert_int_equal(
			flow_open_start(flow, keys, KEY_USE_SAVED_STATE, p.in[0], p.out[1], NULL),
			0);
		feed(&p, 0);
		serve_out();
		drain(&p);
		assert_int_equal(p.got.len, 2 * SMALL);
		if (trailing < 2) {
			assert_int_equal(flow_state(flow), FLOW_RUNNING);
			assert_int_equal(write(p.in[1], "x", (size_t)trailing), trailing);
			fd_close(&p.in[1]);
			serve_out();
			drain(&p);
		}
		assert_int_equal(flow_state(flow), trailing ? FLOW_FAILED : FLOW_DONE);
		assert_int_equal(flow_fault(flow)->rc, trailing ? ERR_TRAILING : 0);
		assert_int_equal(p.got.len, trailing ? 2 * SMALL : 3 * SMALL);
		pipes_done(&p);
	}
}

static void test_a_stalled_reader_stalls_the_input(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf plain = BUF_INIT(FILE_MAX);
	struct stream_keys *k = keys_for(&FACTS, 0, 0);
	struct pipes p;
	struct pollfd slots[FLOW_SLOTS];
	size_t n = 3 * FLOW_RECORDS * STREAM_RECORD_BYTES / 2;
	assert_int_equal(buf_reserve(&plain, n), 0);
	pattern(plain.data, n);
	pipes_new(&p, 4096);
	CLEANUP_FD int in = memory_file(plain.data, n);
	assert_int_equal(flow_seal_start(flow, k, KEY_USE_SAVED_STATE, in, p.out[1], NULL), 0);
	serve_out();
	assert_int_equal(flow_state(flow), FLOW_RUNNING);
	assert_int_equal(flow_progress(flow).in_bytes, FLOW_RECORDS * STREAM_RECORD_BYTES);
	/* Nothing is left to do: a loop would sleep. */
	flow_slots(flow, slots);
	assert_int_equal(slots[0].fd, -1);
	assert_int_equal(poll(slots, FLOW_SLOTS, 0), 0);
	pump(&p);
	assert_int_equal(flow_state(flow), FLOW_DONE);
	assert_int_equal(flow_progress(flow).plain_bytes, n);
	pipes_done(&p);
	stream_keys_free(k);
}

static void test_reader_gone(void **state)
{
	(void)state;
	uint8_t plain[40 * SMALL] = { 0 };
	for (int late = 0; late < 3; late++) {
		struct pipes p;
		pipes_new(&p, 4096);
		p.src = plain;
		p.left = sizeof(plain);
		assert_int_equal(
			flow_seal_start(flow, keys, KEY_USE_SAVED_STATE, p.in[0], p.out[1], NULL),
			0);
		if (late == 1)
			feed(&p, 0);
		if (late == 2)
			serve_out(); /* idle: nothing to read, nothing to write */
		fd_close(&p.out[0]);
		serve_out();
		assert_int_equal(flow_state(flow), FLOW_FAILED);
		assert_int_equal(flow_fault(flow)->rc, -EPIPE);
		assert_non_null(strstr(flow_fault(flow)->text, "output"));
		assert_null(flow_stream(flow));
		pipes_done(&p);
	}
}

static void test_no_space(void **state)
{
	(void)state;
	uint8_t plain[40 * SMALL] = { 0 };
	CLEANUP_FD int in = memory_file(plain, sizeof(plain));
	CLEANUP_FD int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct fault f = { 0 };
	assert_true(full >= 0);
	assert_int_equal(flow_seal_start(flow, keys, KEY_USE_SAVED_STATE, in, full, &f), 0);
	assert_int_equal(flow_run(flow, NULL, NULL, &f), -ENOSPC);
	assert_non_null(strstr(f.text, "No space left"));
	assert_int_equal(flow_state(flow), FLOW_FAILED);
	struct pollfd slots[FLOW_SLOTS];
	flow_slots(flow, slots);
	for (size_t i = 0; i < FLOW_SLOTS; i++)
		assert_int_equal(slots[i].fd, -1);
}

static void test_input_that_cannot_be_read(void **state)
{
	(void)state;
	CLEANUP_FD int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_FD int to = memory_file("", 0);
	struct fault f = { 0 };
	for (int sealing = 0; sealing < 2; sealing++) {
		f.text[0] = '\0';
		int rc = sealing ? flow_seal_start(flow, keys, KEY_USE_SAVED_STATE, folder, to, &f)
				 : flow_open_start(flow, keys, KEY_USE_SAVED_STATE, folder, to, &f);
		assert_int_equal(rc, 0);
		assert_int_equal(flow_run(flow, NULL, NULL, &f), -EISDIR);
		assert_non_null(strstr(f.text, "input"));
	}
}

static void test_wrong_purpose_and_missing_keys(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX), out = BUF_INIT(FILE_MAX);
	CLEANUP_STREAM_KEYS struct stream_keys *none = NULL;
	struct fault f = { 0 };
	assert_int_equal(file_make(keys, KEY_USE_SAVED_STATE, (const uint8_t *)"x", 1, &file), 0);
	assert_int_equal(through(keys, 0, KEY_USE_DUMP, file.data, file.len, &out, &f),
			 ERR_PURPOSE);
	assert_int_equal(out.len, 0);
	assert_int_equal(stream_keys_new(NULL, NULL, NULL, NULL, &none, NULL), 0);
	CLEANUP_FD int in = memory_file("x", 1), to = memory_file("", 0);
	assert_int_equal(flow_seal_start(flow, none, KEY_USE_DUMP, in, to, NULL), ERR_USAGE);
	assert_int_equal(flow_state(flow), FLOW_FAILED); /* as it was */
	assert_int_equal(flow_fault(flow)->rc, ERR_PURPOSE);
}

static void test_verifying_alone(void **state)
{
	(void)state;
	uint8_t plain[30 * SMALL];
	CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX);
	pattern(plain, sizeof(plain));
	assert_int_equal(file_make(keys, KEY_USE_SAVED_STATE, plain, sizeof(plain), &file), 0);
	for (int bad = 0; bad < 2; bad++) {
		CLEANUP_FD int in = memory_file(file.data, file.len - (size_t)bad);
		assert_int_equal(flow_open_start(flow, keys, KEY_USE_SAVED_STATE, in, -1, NULL), 0);
		assert_int_equal(flow_run(flow, NULL, NULL, NULL), bad ? ERR_TRUNCATED : 0);
		assert_int_equal(flow_progress(flow).records, 30 - bad);
	}
}

static void test_abort_at_any_point(void **state)
{
	(void)state;
	uint8_t plain[60 * SMALL];
	CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX);
	int finished = 0;
	pattern(plain, sizeof(plain));
	assert_int_equal(file_make(keys, KEY_USE_SAVED_STATE, plain, sizeof(plain), &file), 0);
	for (int steps = 0; finished < 2; steps++) {
		finished = 0;
		for (int sealing = 0; sealing < 2; sealing++) {
			CLEANUP_FD int in = sealing ? memory_file(plain, sizeof(plain))
						    : memory_file(file.data, file.len);
			CLEANUP_FD int to = memory_file("", 0);
			CLEANUP_BUF struct buf got = BUF_INIT(FILE_MAX), out = BUF_INIT(FILE_MAX);
			int rc = sealing ? flow_seal_start(flow, keys, KEY_USE_SAVED_STATE, in, to,
							   NULL)
					 : flow_open_start(flow, keys, KEY_USE_SAVED_STATE, in, to,
							   NULL);
			assert_int_equal(rc, 0);
			for (int i = 0; i < steps && flow_state(flow) == FLOW_RUNNING; i++)
				serve_once(5);
			int done = flow_state(flow) == FLOW_DONE;
			finished += done;
			flow_abort(flow);
			assert_int_equal(flow_state(flow), FLOW_IDLE);
			read_back(to, &got);
			if (done)
				continue;
			/* What there is of it does not pass for a whole one. */
			if (sealing)
				assert_int_equal(file_open(keys, KEY_USE_SAVED_STATE, got.data,
							   got.len, &out, NULL),
						 ERR_TRUNCATED);
			else
				assert_true(got.len < sizeof(plain));
		}
		assert_true(steps < 1000);
	}
}

static void test_one_at_a_time(void **state)
{
	(void)state;
	CLEANUP_FD int in = memory_file("x", 1), to = memory_file("", 0);
	struct fault f = { 0 };
	assert_int_equal(flow_seal_start(flow, keys, KEY_USE_SAVED_STATE, in, to, NULL), 0);
	assert_non_null(flow_stream(flow));
	assert_int_equal(flow_seal_start(flow, keys, KEY_USE_SAVED_STATE, in, to, &f), ERR_STATE);
	assert_int_equal(flow_open_start(flow, keys, KEY_USE_SAVED_STATE, in, to, &f), ERR_STATE);
	assert_int_equal(flow_run(flow, NULL, NULL, NULL), 0);
	assert_null(flow_stream(flow));
}

static void test_over_the_limit(void **state)
{
	(void)state;
	uint8_t plain[STREAMS_LIMIT * SMALL + 1] = { 0 };
	CLEANUP_BUF struct buf out = BUF_INIT(FILE_MAX), file = BUF_INIT(FILE_MAX);
	assert_int_equal(through(keys, 1, KEY_USE_SAVED_STATE, plain, sizeof(plain), &out, NULL),
			 ERR_LIMIT);
	stream_keys_resize(keys, SMALL, STREAMS_LIMIT + 1);
	assert_int_equal(file_make(keys, KEY_USE_SAVED_STATE, plain, sizeof(plain), &file), 0);
	stream_keys_resize(keys, SMALL, STREAMS_LIMIT);
	buf_clear(&out);
	assert_int_equal(through(keys, 0, KEY_USE_SAVED_STATE, file.data, file.len, &out, NULL),
			 ERR_LIMIT);
	assert_int_equal(out.len, STREAMS_LIMIT * SMALL);
}

/* Two flows with one pool, by turns. */
static void test_two_flows_share_the_threads(void **state)
{
	(void)state;
	uint8_t plain[2][60 * SMALL];
	struct flow *flows[2] = { flow, NULL };
	int in[2], to[2];
	assert_int_equal(flow_new(pool, &flows[1]), 0);
	for (int i = 0; i < 2; i++) {
		memset(plain[i], i + 1, sizeof(plain[i]));
		in[i] = memory_file(plain[i], sizeof(plain[i]));
		to[i] = memory_file("", 0);
		assert_int_equal(flow_seal_start(flows[i], keys, KINDS[i], in[i], to[i], NULL), 0);
	}
	while (flow_state(flows[0]) == FLOW_RUNNING || flow_state(flows[1]) == FLOW_RUNNING) {
		struct pollfd slots[2 * FLOW_SLOTS];
		flow_slots(flows[0], slots);
		flow_slots(flows[1], slots + FLOW_SLOTS);
		assert_true(poll(slots, 2 * FLOW_SLOTS, LIMIT_MS) > 0);
		flow_serve(flows[0], slots);
		flow_serve(flows[1], slots + FLOW_SLOTS);
	}
	for (int i = 0; i < 2; i++) {
		CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX), out = BUF_INIT(FILE_MAX);
		assert_int_equal(flow_state(flows[i]), FLOW_DONE);
		read_back(to[i], &file);
		assert_int_equal(file_open(keys, KINDS[i], file.data, file.len, &out, NULL), 0);
		assert_int_equal(out.len, sizeof(plain[i]));
		assert_memory_equal(out.data, plain[i], sizeof(plain[i]));
		close(in[i]);
		close(to[i]);
	}
	flow_free(flows[1]);
}

struct calls {
	int n, stop_at;
};

static int called(void *arg, const struct flow_progress *at)
{
	struct calls *c = arg;
	assert_non_null(at);
	return ++c->n == c->stop_at ? -ECANCELED : 0;
}

static void test_progress_may_stop_it(void **state)
{
	(void)state;
	struct calls c = { .stop_at = 2 };
	struct pipes p;
	struct fault f = { 0 };
	pipes_new(&p, 0);
	assert_int_equal(write(p.in[1], "x", 1), 1);
	assert_int_equal(flow_seal_start(flow, keys, KEY_USE_SAVED_STATE, p.in[0], p.out[1], NULL),
			 0);
	int64_t before = clock_ms();
	assert_int_equal(flow_run(flow, called, &c, &f), -ECANCELED);
	assert_in_range(clock_ms() - before, 50, LIMIT_MS);
	assert_int_equal(c.n, 2);
	assert_int_equal(flow_state(flow), FLOW_IDLE);
	pipes_done(&p);
}

/* How often NEEDLE is in this process' memory. */
static int in_memory(const uint8_t *needle, size_t n)
{
	char line[512];
	int hits = 0;
	CLEANUP_FD int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	FILE *maps = fopen("/proc/self/maps", "re");
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		unsigned long from, to;
		char mode[5];
		if (sscanf(line, "%lx-%lx %4s", &from, &to, mode) != 3 || mode[1] != 'w')
			continue;
		uint8_t *copy = mmap(NULL, to - from, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ssize_t got = pread(mem, copy, to - from, (off_t)from);
		for (uint8_t *at = copy;
		     got > 0 && (at = memmem(at, (size_t)(copy + got - at), needle, n)); at++)
			hits++;
		munmap(copy, to - from);
	}
	fclose(maps);
	return hits;
}

static void test_leaves_nothing_in_memory(void **state)
{
	(void)state;
	uint8_t canary[SMALL], plain[30 * SMALL];
	struct pipes p;
	assert_int_equal(getrandom(canary, sizeof(canary), 0), sizeof(canary));
	for (int abort = 0; abort < 2; abort++) {
		for (size_t i = 0; i < sizeof(plain); i += SMALL)
			memcpy(plain + i, canary, SMALL);
		/* What is read but cannot be sealed yet stays in the clear until then. */
		pipes_new(&p, 0);
		assert_int_equal(write(p.in[1], plain, sizeof(plain)), sizeof(plain));
		wipe(plain, sizeof(plain));
		assert_int_equal(
			flow_seal_start(flow, keys, KEY_USE_SAVED_STATE, p.in[0], p.out[1], NULL),
			0);
		serve_out();
		assert_int_equal(in_memory(canary, SMALL), 2); /* its own copy, the last record */
		if (abort) {
			flow_abort(flow);
		} else {
			fd_close(&p.in[1]);
			serve_out();
			assert_int_equal(flow_state(flow), FLOW_DONE);
		}
		assert_int_equal(in_memory(canary, SMALL), 1);
		if (!abort) {
			drain(&p);
			CLEANUP_FD int in = memory_file(p.got.data, p.got.len);
			CLEANUP_FD int to = memory_file("", 0);
			assert_int_equal(
				flow_open_start(flow, keys, KEY_USE_SAVED_STATE, in, to, NULL), 0);
			assert_int_equal(flow_run(flow, NULL, NULL, NULL), 0);
			assert_int_equal(in_memory(canary, SMALL), 1);
		}
		pipes_done(&p);
	}
}

static void test_memory_is_bounded(void **state)
{
	(void)state;
	assert_in_range(flow_memory(flow), FLOW_RECORDS * STREAM_RECORD_BYTES, 64 * 1024 * 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips_through_files),
		cmocka_unit_test(test_round_trips_through_slow_pipes),
		cmocka_unit_test(test_real_record_size),
		cmocka_unit_test(test_every_bit_and_every_cut),
		cmocka_unit_test(test_first_error_wins),
		cmocka_unit_test(test_the_last_record_waits_for_the_end),
		cmocka_unit_test(test_a_stalled_reader_stalls_the_input),
		cmocka_unit_test(test_reader_gone),
		cmocka_unit_test(test_no_space),
		cmocka_unit_test(test_input_that_cannot_be_read),
		cmocka_unit_test(test_wrong_purpose_and_missing_keys),
		cmocka_unit_test(test_verifying_alone),
		cmocka_unit_test(test_abort_at_any_point),
		cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_over_the_limit),
		cmocka_unit_test(test_two_flows_share_the_threads),
		cmocka_unit_test(test_progress_may_stop_it),
		cmocka_unit_test(test_leaves_nothing_in_memory),
		cmocka_unit_test(test_memory_is_bounded),
	};
	return cmocka_run_group_tests(tests, make_all, free_all);
}
