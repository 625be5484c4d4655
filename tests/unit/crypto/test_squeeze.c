/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <string.h>
#include <sys/random.h>

#include "base/buf.h"
#include "crypto/squeeze.h"

#define MOST   (4 * 1024 * 1024)
#define WINDOW "\x28\xb5\x2f\xfd\x00\x40" /* the one header */

static struct squeeze *squeeze;

static int set_up(void **state)
{
	(void)state;
	return squeeze_new(&squeeze);
}

static int tear_down(void **state)
{
	(void)state;
	squeeze_free(squeeze);
	return 0;
}

/* All of SRC in pieces of IN bytes, to pieces of ROOM. */
static int run(int packing, const uint8_t *src, size_t n, size_t in, size_t room, struct buf *out)
{
	int rc = packing ? squeeze_pack_begin(squeeze) : squeeze_unpack_begin(squeeze);
	assert_int_equal(rc, 0);
	for (size_t at = 0, quiet = 0; quiet < 3;) {
		size_t piece = n - at < in ? n - at : in;
		assert_int_equal(buf_reserve(out, room), 0);
		struct squeeze_step step = {
			.src = src + at, .n = piece, .dst = out->data + out->len, .room = room
		};
		rc = packing ? squeeze_pack(squeeze, &step, at + piece == n)
			     : squeeze_unpack(squeeze, &step, NULL);
		if (rc < 0)
			break;
		assert_true(step.used <= piece && step.made <= room);
		at += step.used;
		out->len += step.made;
		if (rc == 1 && (packing || at == n))
			break;
		quiet = step.used || step.made ? 0 : quiet + 1;
	}
	squeeze_end(squeeze);
	return rc;
}

static void fill(uint8_t *p, size_t n, int kind)
{
	if (kind == 0)
		memset(p, 0, n);
	for (size_t i = 0; kind == 1 && i < n; i++)
		p[i] = (uint8_t)(i * i >> 9 ^ i);
	for (size_t i = 0; kind == 2 && i < n; i += 256)
		assert_true(getrandom(p + i, n - i < 256 ? n - i : 256, 0) > 0);
}

static void test_round_trips(void **state)
{
	(void)state;
	static const size_t SIZES[] = { 0,	1,	5,	131071,	 131072, 131073,
					262144, 262145, 393217, 1048576, 3000000 };
	static const size_t PIECES[] = { 131072, 16, 262144 };
	for (size_t i = 0; i < 3 * sizeof(SIZES) / sizeof(SIZES[0]); i++) {
		for (int kind = 0; kind < 3; kind++) {
			CLEANUP_BUF struct buf plain = BUF_INIT(MOST), frame = BUF_INIT(MOST),
					       back = BUF_INIT(MOST);
			size_t n = SIZES[i / 3], piece = PIECES[i % 3];
			if (piece == 16 && n > 300000)
				continue;
			assert_int_equal(buf_reserve(&plain, n + 1), 0);
			fill(plain.data, n, kind);
			assert_int_equal(run(1, plain.data, n, 131072, piece, &frame), 1);
			assert_memory_equal(frame.data, WINDOW, 6);
			/* Three bytes a block, a last empty one, and the header. */
			assert_true(frame.len <= n + 9 + 3 * (n / 131072 + 1));
			if (kind == 0)
				assert_true(frame.len <= 40 + n / 5000);
			assert_int_equal(run(0, frame.data, frame.len, piece, 131072, &back), 1);
			assert_int_equal(back.len, n);
			assert_memory_equal(back.data, plain.data, n);
		}
	}
}

static const struct {
	const char *what;
	int rc;
	size_t n;
	const char *frame;
} FRAMES[] = {
	{ "empty content", 1, 9, WINDOW "\1\0\0" },
	{ "three raw bytes", 1, 12, WINDOW "\x19\0\0abc" },
	{ "a byte 300 times", 1, 10, WINDOW "\x63\x09\0a" },
	{ "nothing", 0, 0, "" },
	{ "cut in the header", 0, 5, WINDOW },
	{ "no block", 0, 6, WINDOW },
	{ "cut in a block's head", 0, 8, WINDOW "\1\0" },
	{ "cut in a block", 0, 11, WINDOW "\x19\0\0ab" },
	{ "no last block", 0, 12, WINDOW "\x18\0\0abc" },
	{ "another magic", ERR_FORMAT, 9, "\x28\xb5\x2f\xfe\x00\x40\1\0\0" },
	{ "a skippable frame in front", ERR_FORMAT, 17,
	  "\x50\x2a\x4d\x18\0\0\0\0" WINDOW "\1\0\0" },
	{ "a smaller window", ERR_FORMAT, 9, "\x28\xb5\x2f\xfd\x00\x38\1\0\0" },
	{ "one an eighth larger", ERR_FORMAT, 9, "\x28\xb5\x2f\xfd\x00\x41\1\0\0" },
	{ "one twice as large", ERR_FORMAT, 9, "\x28\xb5\x2f\xfd\x00\x48\1\0\0" },
	{ "the largest there is", ERR_FORMAT, 9, "\x28\xb5\x2f\xfd\x00\xff\1\0\0" },
	{ "a single segment", ERR_FORMAT, 9, "\x28\xb5\x2f\xfd\x20\0\1\0\0" },
	{ "a content size", ERR_FORMAT, 11, "\x28\xb5\x2f\xfd\x40\x40\0\0\1\0\0" },
	{ "a checksum", ERR_FORMAT, 13, "\x28\xb5\x2f\xfd\x04\x40\1\0\0\x99\xe9\xd8\x51" },
	{ "a dictionary", ERR_FORMAT, 10, "\x28\xb5\x2f\xfd\x01\x40\1\1\0\0" },
	{ "a reserved bit", ERR_FORMAT, 9, "\x28\xb5\x2f\xfd\x08\x40\1\0\0" },
	{ "the unused bit", ERR_FORMAT, 9, "\x28\xb5\x2f\xfd\x10\x40\1\0\0" },
	{ "a reserved block", ERR_FORMAT, 9, WINDOW "\7\0\0" },
	{ "a block over 128 KiB", ERR_FORMAT, 10,
	  WINDOW "\x0b\0\x10"
		 "a" },
	{ "nonsense in a compressed block", ERR_FORMAT, 13, WINDOW "\x25\0\0\xff\xff\xff\xff" },
	{ "a byte behind", ERR_TRAILING, 10, WINDOW "\1\0\0\0" },
	{ "a second frame", ERR_TRAILING, 18, WINDOW "\1\0\0" WINDOW "\1\0\0" },
	{ "a skippable frame behind", ERR_TRAILING, 17, WINDOW "\1\0\0\x50\x2a\x4d\x18\0\0\0\0" },
};

/* In one piece, in two, and byte by byte. */
static void test_frames(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(FRAMES) / sizeof(FRAMES[0]); i++) {
		const uint8_t *frame = (const uint8_t *)FRAMES[i].frame;
		for (size_t piece = 1; piece <= FRAMES[i].n + 1; piece++) {
			CLEANUP_BUF struct buf out = BUF_INIT(MOST);
			int rc = run(0, frame, FRAMES[i].n, piece, 1 + i % 3, &out);
			if (rc != FRAMES[i].rc)
				fail_msg("%s, by %zu: %d", FRAMES[i].what, piece, rc);
		}
	}
}

/* Far more comes out than went in, and no more at a time than there is room for. */
static void test_a_bomb_takes_no_memory(void **state)
{
	(void)state;
	static uint8_t bomb[6 + 4 * 8192], room[65536];
	memcpy(bomb, WINDOW, 6);
	for (size_t i = 0; i < 8192; i++)
		memcpy(bomb + 6 + 4 * i, i < 8191 ? "\2\0\20a" : "\3\0\20a", 4);
	uint64_t made = 0;
	size_t at = 0;
	int rc;
	assert_int_equal(squeeze_unpack_begin(squeeze), 0);
	do {
		struct squeeze_step step = {
			.src = bomb + at, .n = sizeof(bomb) - at, .dst = room, .room = sizeof(room)
		};
		rc = squeeze_unpack(squeeze, &step, NULL);
		at += step.used;
		made += step.made;
		assert_true(step.made <= sizeof(room));
	} while (rc == 0);
	squeeze_end(squeeze);
	assert_int_equal(rc, 1);
	assert_int_equal(made, 8192ULL * 131072);
	assert_true(squeeze_bytes(squeeze) <= 1280 * 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_a_bomb_takes_no_memory),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
