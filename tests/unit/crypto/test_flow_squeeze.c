/* SPDX-License-Identifier: BSD-3-Clause */
/* Flows with compression between the descriptors and the records. */
#include "tests/unit/crypto/streams.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "crypto/flow.h"
#include "tests/unit/crypto/copies.h"

#define LIMIT_MS 60000
#define FRAME	 "\x28\xb5\x2f\xfd\x00\x40"
#define FRONT	 (STREAM_STATE_KEY_BYTES + STREAM_HEADER_BYTES)

static const enum key_use KINDS[] = { KEY_USE_SAVED_STATE, KEY_USE_DUMP };
static struct pool *pool;
static struct flow *flow;
static struct stream_keys *keys;  /* of small records */
static struct stream_keys *large; /* of real ones */

static int make_all(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	if (make_owner(state) || pool_new(3, &pool) < 0 || flow_new(pool, &flow) < 0)
		return -1;
	keys = keys_for(&FACTS, 0, SMALL);
	large = keys_for(&FACTS, 0, 0);
	stream_keys_compress(keys, STREAM_ZSTD);
	stream_keys_compress(large, STREAM_ZSTD);
	return 0;
}

static int free_all(void **state)
{
	stream_keys_free(keys);
	stream_keys_free(large);
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

static int start(struct stream_keys *k, int sealing, enum key_use use, int in, int out)
{
	return sealing ? flow_seal_start(flow, k, use, in, out, NULL)
		       : flow_open_start(flow, k, use, in, out, NULL);
}

/* From memory to memory through regular files. */
static int through(struct stream_keys *k, int sealing, enum key_use use, const uint8_t *data,
		   size_t n, struct buf *out, struct fault *f)
{
	CLEANUP_FD int in = memory_file(data, n), to = memory_file("", 0);
	assert_int_equal(start(k, sealing, use, in, to), 0);
	int rc = flow_run(flow, NULL, NULL, f);
	assert_int_equal(lseek(to, 0, SEEK_SET), 0);
	assert_int_equal(fd_read_all(to, out), 0);
	assert_int_equal(flow_progress(flow).out_bytes, out->len);
	return rc;
}

static void fill(uint8_t *p, size_t n, int kind)
{
	memset(p, 0, n);
	if (kind == 1)
		pattern(p, n);
	for (size_t i = 0; kind == 2 && i < n; i += 256)
		assert_true(getrandom(p + i, n - i < 256 ? n - i : 256, 0) > 0);
}

static void round_trip(struct stream_keys *k, enum key_use use, const uint8_t *plain, size_t n,
		       struct buf *file)
{
	CLEANUP_BUF struct buf out = BUF_INIT(FILE_MAX), packed = BUF_INIT(FILE_MAX);
	struct fault f = { 0 };
	if (through(k, 1, use, plain, n, file, &f) < 0)
		fail_msg("%zu: %s", n, f.text);
	struct flow_progress sealed = flow_progress(flow);
	/* The records are whole ones, and authentic in their order. */
	assert_int_equal(file_open(k, use, file->data, file->len, &packed, NULL), 0);
	assert_memory_equal(packed.data, FRAME, 6);
	if (through(k, 0, use, file->data, file->len, &out, &f) < 0)
		fail_msg("%zu: %s", n, f.text);
	assert_int_equal(out.len, n);
	assert_true(n == 0 || memcmp(out.data, plain, n) == 0);
	struct flow_progress opened = flow_progress(flow);
	assert_int_equal(sealed.plain_bytes, packed.len);
	assert_int_equal(opened.plain_bytes, packed.len);
	assert_int_equal(sealed.records, opened.records);
}

static void test_round_trips_with_small_records(void **state)
{
	(void)state;
	static const size_t SIZES[] = { 0, 1, 6, 7, 8, 15, 16, 17, 100, 900 };
	for (size_t i = 0; i < 6 * sizeof(SIZES) / sizeof(SIZES[0]); i++) {
		CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX);
		uint8_t plain[1024];
		size_t n = SIZES[i / 6];
		fill(plain, n, (int)(i % 3));
		round_trip(keys, KINDS[i % 2], plain, n, &file);
	}
}

static void test_round_trips_with_real_records(void **state)
{
	(void)state;
	static const size_t SIZES[] = { 0,
					1,
					131071,
					131072,
					131073,
					STREAM_RECORD_BYTES - 1,
					STREAM_RECORD_BYTES,
					STREAM_RECORD_BYTES + 1,
					(FLOW_RECORDS + 5) * STREAM_RECORD_BYTES + 1 };
	CLEANUP_BUF struct buf plain = BUF_INIT(FILE_MAX);
	assert_int_equal(buf_reserve(&plain, FILE_MAX), 0);
	for (size_t i = 0; i < 3 * sizeof(SIZES) / sizeof(SIZES[0]); i++) {
		CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX);
		size_t n = SIZES[i / 3];
		int kind = (int)(i % 3);
		fill(plain.data, n, kind);
		round_trip(large, KEY_USE_SAVED_STATE, plain.data, n, &file);
		/* What does not shrink hardly grows; what does saves its room. */
		assert_true(file.len <= FRONT + n + 20 + n / 5000 + 20);
		if (kind != 2)
			assert_true(file.len <= FRONT + 300 + n / 100);
	}
}

/* Between two pipes, with somebody slow at both ends. */
static void test_through_slow_pipes(void **state)
{
	(void)state;
	size_t n = 3 * STREAM_RECORD_BYTES + 77, chunk = 3000;
	CLEANUP_BUF struct buf plain = BUF_INIT(FILE_MAX), file = BUF_INIT(FILE_MAX),
			       back = BUF_INIT(FILE_MAX);
	assert_int_equal(buf_reserve(&plain, n), 0);
	for (int kind = 0; kind < 3; kind++) {
		fill(plain.data, n, kind);
		plain.len = n;
		buf_clear(&file);
		buf_clear(&back);
		for (int sealing = 1; sealing >= 0; sealing--) {
			struct buf *src = sealing ? &plain : &file, *dst = sealing ? &file : &back;
			int in[2], out[2];
			size_t at = 0;
			int64_t deadline = clock_ms() + LIMIT_MS;
			assert_int_equal(pipe2(in, O_CLOEXEC | O_NONBLOCK), 0);
			assert_int_equal(pipe2(out, O_CLOEXEC | O_NONBLOCK), 0);
			assert_true(fcntl(out[1], F_SETPIPE_SZ, 4096) > 0);
			assert_int_equal(start(large, sealing, KEY_USE_SAVED_STATE, in[0], out[1]),
					 0);
			while (flow_state(flow) == FLOW_RUNNING && clock_left_ms(deadline)) {
				struct pollfd slots[FLOW_SLOTS];
				size_t some = src->len - at < chunk ? src->len - at : chunk;
				ssize_t put = some ? write(in[1], src->data + at, some) : 0;
				at += put > 0 ? (size_t)put : 0;
				if (at == src->len)
					fd_close(&in[1]);
				flow_slots(flow, slots);
				poll(slots, FLOW_SLOTS, 1);
				flow_serve(flow, slots);
				assert_int_equal(buf_reserve(dst, chunk), 0);
				ssize_t got = read(out[0], dst->data + dst->len, chunk);
				dst->len += got > 0 ? (size_t)got : 0;
			}
			assert_string_equal(flow_fault(flow)->text, "");
			assert_int_equal(flow_state(flow), FLOW_DONE);
			for (ssize_t got = 1; got > 0;) {
				assert_int_equal(buf_reserve(dst, chunk), 0);
				got = read(out[0], dst->data + dst->len, chunk);
				dst->len += got > 0 ? (size_t)got : 0;
			}
			for (int i = 0; i < 2; i++) {
				fd_close(&in[i]);
				fd_close(&out[i]);
			}
		}
		assert_int_equal(back.len, n);
		assert_memory_equal(back.data, plain.data, n);
	}
}

/* Opened by what the file says, whatever is set here; and the header counts. */
static void test_the_file_says_how(void **state)
{
	(void)state;
	struct stream_keys *plain_keys = keys_for(&FACTS, 0, SMALL);
	static const uint8_t TEXT[] = "the same text, and the same text, and the same text";
	for (int compressed = 0; compressed < 2; compressed++) {
		CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX), out = BUF_INIT(FILE_MAX);
		struct stream_claims claims;
		struct stream_keys *a = compressed ? keys : plain_keys;
		struct stream_keys *b = compressed ? plain_keys : keys;
		assert_int_equal(
			through(a, 1, KEY_USE_SAVED_STATE, TEXT, sizeof(TEXT), &file, NULL), 0);
		assert_int_equal(file.data[FRONT - STREAM_HEADER_BYTES + 11], compressed);
		assert_int_equal(
			through(b, 0, KEY_USE_SAVED_STATE, file.data, file.len, &out, NULL), 0);
		assert_int_equal(out.len, sizeof(TEXT));
		assert_memory_equal(out.data, TEXT, sizeof(TEXT));
		/* The size of small records is in no valid file. */
		file.data[FRONT - STREAM_HEADER_BYTES + 13] = 4;
		file.data[FRONT - STREAM_HEADER_BYTES + 15] = 0;
		assert_int_equal(stream_inspect(file.data, FRONT, &claims, NULL), 0);
		assert_int_equal(claims.compression, compressed);
	}
	stream_keys_free(plain_keys);
}

static void test_every_bit_and_every_cut(void **state)
{
	(void)state;
	uint8_t plain[900];
	fill(plain, sizeof(plain), 2);
	memset(plain, 'x', 850);
	CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX);
	round_trip(keys, KEY_USE_SAVED_STATE, plain, sizeof(plain), &file);
	for (size_t i = 0; i < 2 * file.len; i++) {
		CLEANUP_BUF struct buf out = BUF_INIT(FILE_MAX);
		size_t at = i / 2, n = i % 2 ? at : file.len;
		file.data[at] ^= (uint8_t)(1 << at % 8);
		int rc = through(keys, 0, KEY_USE_SAVED_STATE, file.data, n, &out, NULL);
		file.data[at] ^= (uint8_t)(1 << at % 8);
		assert_true(rc < 0);
		assert_true(i % 2 == 0 || rc == ERR_TRUNCATED);
		assert_true(out.len < sizeof(plain));
		assert_true(out.len == 0 || memcmp(out.data, plain, out.len) == 0);
	}
}

/* An authentic stream of what is in FRAME_BYTES. */
static int open_frame(const void *frame, size_t n, struct buf *out, struct fault *f)
{
	CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX);
	assert_int_equal(file_make(keys, KEY_USE_SAVED_STATE, frame, n, &file), 0);
	return through(keys, 0, KEY_USE_SAVED_STATE, file.data, file.len, out, f);
}

/* As nothing says where in a frame a record ends, the frame may be at its end, but for a block
 * without content, before the final record.  The last byte waits for that all the same. */
static void test_not_all_comes_out_before_the_end_is_known(void **state)
{
	(void)state;
	static const char WHOLE[] = FRAME "\x38\0\0abcdefg\1\0\0"; /* 16 bytes, and 3 */
	for (size_t cut = 0; cut < 2; cut++) {
		CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX), out = BUF_INIT(FILE_MAX);
		const uint8_t *frame = (const uint8_t *)WHOLE;
		assert_int_equal(sizeof(WHOLE) - 1, SMALL + 3);
		assert_int_equal(file_make(keys, KEY_USE_SAVED_STATE, frame, SMALL + 3, &file), 0);
		size_t n = cut ? FRONT + SMALL + STREAM_RECORD_EXTRA : file.len;
		int rc = through(keys, 0, KEY_USE_SAVED_STATE, file.data, n, &out, NULL);
		assert_int_equal(rc, cut ? ERR_TRUNCATED : 0);
		assert_int_equal(out.len, cut ? 6 : 7);
		assert_memory_equal(out.data, "abcdefg", out.len);
	}
}

static void test_frames_that_end_too_late_or_too_early(void **state)
{
	(void)state;
	static const struct {
		int rc;
		size_t n, out;
		const char *frame;
	} CASES[] = {
		{ 0, 9, 0, FRAME "\1\0\0" },
		{ ERR_TRUNCATED, 0, 0, "" },
		{ ERR_TRUNCATED, 6, 0, FRAME },
		{ ERR_TRUNCATED, 16, 0, FRAME "\x38\0\0abcdefg" },
		{ ERR_TRUNCATED, 20, 6, FRAME "\x38\0\0abcdefg\x39\0\0a" },
		{ ERR_TRAILING, 17, 0, FRAME "\x39\0\0abcdefg\0" }, /* in one record, 1 behind */
		{ ERR_TRAILING, 18, 0, FRAME "\1\0\0" FRAME "\1\0\0" },
		{ ERR_FORMAT, 9, 0, "\x28\xb5\x2f\xfd\x00\x48\1\0\0" },
		{ ERR_FORMAT, 5, 0, "plain" },
	};
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		CLEANUP_BUF struct buf out = BUF_INIT(FILE_MAX);
		struct fault f = { 0 };
		int rc = open_frame(CASES[i].frame, CASES[i].n, &out, &f);
		if (rc != CASES[i].rc)
			fail_msg("case %zu: %d (%s)", i, rc, f.text);
		if (rc < 0)
			assert_non_null(strstr(f.text, "record "));
		assert_true(out.len <= 6);
		if (CASES[i].out)
			assert_int_equal(out.len, CASES[i].out);
	}
}

static void test_limits(void **state)
{
	(void)state;
	const size_t most = SMALL * STREAMS_LIMIT;
	static uint8_t plain[2 * SMALL * STREAMS_LIMIT];
	/* Blocks of MOST - 1, MOST and MOST + 1 times the same byte. */
	static const char *const FRAMES[] = { FRAME "\xfb\x1f\0a", FRAME "\x03\x20\0a",
					      FRAME "\x0b\x20\0a" };
	for (size_t i = 0; i < 3; i++) {
		CLEANUP_BUF struct buf out = BUF_INIT(FILE_MAX), file = BUF_INIT(FILE_MAX);
		size_t n = most - 1 + i;
		assert_int_equal(open_frame(FRAMES[i], 10, &out, NULL), i == 2 ? ERR_LIMIT : 0);
		assert_int_equal(out.len, i == 2 ? 0 : n);
		assert_int_equal(through(keys, 1, KEY_USE_DUMP, plain, n, &file, NULL),
				 i == 2 ? ERR_LIMIT : 0);
	}
	/* Of any size. */
	CLEANUP_BUF struct buf out = BUF_INIT(FILE_MAX);
	assert_int_equal(open_frame(FRAME "\2\0\20a\2\0\20a\3\0\20a", 18, &out, NULL), ERR_LIMIT);
	assert_int_equal(out.len, 0);
}

/* One record that holds 1 GiB: little at a time, and it can be ended. */
static void test_a_bomb_is_taken_in_turns(void **state)
{
	(void)state;
	static uint8_t bomb[6 + 4 * 8192];
	CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX);
	memcpy(bomb, FRAME, 6);
	for (size_t i = 0; i < 8192; i++)
		memcpy(bomb + 6 + 4 * i, i < 8191 ? "\2\0\20a" : "\3\0\20a", 4);
	assert_int_equal(file_make(large, KEY_USE_SAVED_STATE, bomb, sizeof(bomb), &file), 0);
	for (int whole = 0; whole < 2; whole++) {
		CLEANUP_FD int in = memory_file(file.data, file.len);
		uint64_t before = 0;
		int turns = 0;
		assert_int_equal(start(large, 0, KEY_USE_SAVED_STATE, in, -1), 0);
		while (flow_state(flow) == FLOW_RUNNING && (whole || turns < 100)) {
			struct pollfd slots[FLOW_SLOTS];
			flow_slots(flow, slots);
			assert_true(poll(slots, FLOW_SLOTS, LIMIT_MS) > 0);
			flow_serve(flow, slots);
			uint64_t now = flow_progress(flow).out_bytes;
			assert_true(now - before <= 4 * 1024 * 1024);
			before = now;
			turns++;
		}
		assert_int_equal(flow_state(flow), whole ? FLOW_DONE : FLOW_RUNNING);
		assert_int_equal(before == 8192ULL * 131072, whole);
		flow_abort(flow);
	}
	assert_true(flow_memory(flow) <= 6 * 1024 * 1024);
}

static void test_abort_at_any_point(void **state)
{
	(void)state;
	uint8_t plain[900];
	CLEANUP_BUF struct buf file = BUF_INIT(FILE_MAX);
	fill(plain, sizeof(plain), 2);
	round_trip(keys, KEY_USE_SAVED_STATE, plain, sizeof(plain), &file);
	for (int steps = 0, finished = 0; finished < 2; steps++) {
		finished = 0;
		for (int sealing = 0; sealing < 2; sealing++) {
			CLEANUP_FD int in = sealing ? memory_file(plain, sizeof(plain))
						    : memory_file(file.data, file.len);
			CLEANUP_FD int to = memory_file("", 0);
			CLEANUP_BUF struct buf got = BUF_INIT(FILE_MAX), out = BUF_INIT(FILE_MAX);
			assert_int_equal(start(keys, sealing, KEY_USE_SAVED_STATE, in, to), 0);
			for (int i = 0; i < steps && flow_state(flow) == FLOW_RUNNING; i++) {
				struct pollfd slots[FLOW_SLOTS];
				flow_slots(flow, slots);
				poll(slots, FLOW_SLOTS, 5);
				flow_serve(flow, slots);
			}
			int done = flow_state(flow) == FLOW_DONE;
			finished += done;
			flow_abort(flow);
			assert_int_equal(lseek(to, 0, SEEK_SET), 0);
			assert_int_equal(fd_read_all(to, &got), 0);
			if (done)
				continue;
			if (sealing)
				assert_int_equal(through(keys, 0, KEY_USE_SAVED_STATE, got.data,
							 got.len, &out, NULL),
						 ERR_TRUNCATED);
			else
				assert_true(got.len < sizeof(plain));
		}
		assert_true(steps < 1000);
	}
}

#ifndef SANITIZED
/* What was compressed is nowhere in memory once it has gone; while it is on its way, it is. */
static void test_it_is_wiped(void **state)
{
	(void)state;
	uint8_t canary[32];
	int ends[2];
	CLEANUP_FD int in = memory_file("", 0), file = memory_file("", 0);
	fill(canary, sizeof(canary), 2);
	for (size_t i = 0; i < 6 * STREAM_RECORD_BYTES; i += sizeof(canary)) {
		uint8_t noise[sizeof(canary)];
		fill(noise, sizeof(noise), 2);
		assert_int_equal(fd_write_full(in, i % 4096 ? noise : canary, sizeof(canary)), 0);
	}
	assert_int_equal(lseek(in, 0, SEEK_SET), 0);
	assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	assert_true(fcntl(ends[1], F_SETPIPE_SZ, 4096) > 0);
	for (int sealing = 1; sealing >= 0; sealing--) {
		for (int whole = 0; whole < 2; whole++) {
			int from = sealing ? in : file, to = whole ? sealing ? file : -1 : ends[1];
			assert_int_equal(lseek(from, 0, SEEK_SET), 0);
			assert_int_equal(start(large, sealing, KEY_USE_SAVED_STATE, from, to), 0);
			for (int i = 0; i < 20; i++) {
				struct pollfd slots[FLOW_SLOTS];
				flow_slots(flow, slots);
				poll(slots, FLOW_SLOTS, 2);
				flow_serve(flow, slots);
			}
			if (!whole) {
				assert_int_equal(flow_state(flow), FLOW_RUNNING);
				assert_true(copies(canary, sizeof(canary)) > 0);
				flow_abort(flow);
			} else {
				assert_int_equal(flow_run(flow, NULL, NULL, NULL), 0);
			}
			assert_int_equal(copies(canary, sizeof(canary)), 0);
		}
	}
	fd_close(&ends[0]);
	fd_close(&ends[1]);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips_with_small_records),
		cmocka_unit_test(test_round_trips_with_real_records),
		cmocka_unit_test(test_through_slow_pipes),
		cmocka_unit_test(test_the_file_says_how),
		cmocka_unit_test(test_every_bit_and_every_cut),
		cmocka_unit_test(test_not_all_comes_out_before_the_end_is_known),
		cmocka_unit_test(test_frames_that_end_too_late_or_too_early),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_a_bomb_is_taken_in_turns),
		cmocka_unit_test(test_abort_at_any_point),
#ifndef SANITIZED
		cmocka_unit_test(test_it_is_wiped),
#endif
	};
	return cmocka_run_group_tests(tests, make_all, free_all);
}
