/* SPDX-License-Identifier: BSD-3-Clause */
/* What channels take of malloc(3), whatever a stranger sends. */
#include <malloc.h>

#include "tests/unit/crypto/channels.h"
#include "tests/unit/crypto/copies.h"

static size_t in_use(void)
{
	struct mallinfo2 m = mallinfo2();
	return m.uordblks + m.hblkhd;
}

static void test_memory(void **state)
{
	(void)state;
	enum { N = 32 };
	struct channel *c[N];
	struct pair p;
	struct channel_id id = id_of(CHANNEL_MEMORY, 0);
	size_t before = in_use();
	for (int i = 0; i < N; i++) {
		uint8_t hello[300] = { 0x16, 3, 1, 0x0f, 0, 1, 0, 0x0e, 0xfc, 3, 3 };
		assert_int_equal(channel_destination(keys, &c[i]), 0);
		put_in(c[i], hello, sizeof(hello));
		assert_int_equal(channel_state(c[i]), CHANNEL_OPENING);
	}
	size_t each = (in_use() - before) / N;
	assert_true(each > 1000 && each <= CHANNEL_OPENING_BYTES_MAX);
	for (int i = 0; i < N; i++)
		channel_free(c[i]);
	before = in_use();
	pair_open(&p, &id);
	buf_done(&p.a_tape);
	buf_done(&p.b_tape);
	each = (in_use() - before) / 2;
	assert_true(each > CHANNEL_RECORD_BYTES && each <= CHANNEL_OPEN_BYTES_MAX);
	pair_done(&p);
	/* What comes and goes leaves nothing. */
	for (int i = 0; i < 50; i++) {
		if (i == 10)
			before = in_use();
		assert_int_equal(channel_destination(keys, &c[0]), 0);
		put_in(c[0], (const uint8_t *)"\x16\x03\x01 junk that is none", 24);
		channel_in_end(c[0]);
		channel_free(c[0]);
		pair_open(&p, &id);
		pair_done(&p);
	}
	assert_true(in_use() <= before + 4096);
}

/* Whatever has passed, as much as that was. */
static void test_it_is_wiped(void **state)
{
	(void)state;
	struct channel_id id = id_of(CHANNEL_MEMORY, 0);
	uint8_t canary[32];
	/* What is freed stays mapped, as in a worker. */
	assert_int_equal(mallopt(M_MMAP_MAX, 0) & mallopt(M_TRIM_THRESHOLD, INT32_MAX), 1);
	for (size_t n = sizeof(canary); n <= CHANNEL_RECORD_BYTES; n *= 64) {
		struct pair p;
		uint8_t *at;
		const uint8_t *got;
		for (size_t i = 0; i < sizeof(canary); i++)
			canary[i] = (uint8_t)(0xa7 * i + n);
		pair_open(&p, &id);
		assert_true(channel_send(p.a, &at) >= n);
		memset(at, 0, n);
		memcpy(at + n - sizeof(canary), canary, sizeof(canary));
		assert_int_equal(copies(canary, sizeof(canary)), 1);
		assert_int_equal(channel_send_done(p.a, n), 0);
		while (carry(p.a, p.b, SIZE_MAX, NULL) > 0)
			;
		assert_int_equal(channel_recv(p.b, &got), n);
		assert_true(copies(canary, sizeof(canary)) > 0);
		pair_done(&p);
		assert_int_equal(copies(canary, sizeof(canary)), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_it_is_wiped),
	};
	return cmocka_run_group_tests(tests, make_all, free_all);
}
