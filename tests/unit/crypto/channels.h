/* SPDX-License-Identifier: BSD-3-Clause */
/* Two ends of a migration channel in memory; for test_channel.c and test_channel_memory.c. */
#ifndef SHIELDVM_TESTS_UNIT_CRYPTO_CHANNELS_H
#define SHIELDVM_TESTS_UNIT_CRYPTO_CHANNELS_H

#include "base/buf.h"
#include "crypto/channel_form.h"
#include "tests/unit/test.h"

#define TAPE_MAX (64 * 1024)

static const uint8_t VM[UUID_BYTES] = { 0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe,
					0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef };
static const struct vm_key KEY = { { 1, 2, 3 } };
static struct channel_keys *keys;

static inline struct channel_id id_of(enum channel_kind kind, uint16_t number)
{
	struct channel_id id = { .kind = kind, .number = number, .attempt = { 7, 7 } };
	memcpy(id.vm, VM, sizeof(VM));
	return id;
}

static inline int make_all(void **state)
{
	(void)state;
	return channel_keys_new(&KEY, VM, &keys, NULL);
}

static inline int free_all(void **state)
{
	(void)state;
	channel_keys_free(keys);
	return 0;
}

/* Both ends, and what went over the wire in each direction. */
struct pair {
	struct channel *a, *b; /* source, destination */
	struct buf a_tape, b_tape;
};

static inline void pair_new(struct pair *p, struct channel_keys *source,
			    struct channel_keys *destination, const struct channel_id *id)
{
	*p = (struct pair){ .a_tape = BUF_INIT(TAPE_MAX), .b_tape = BUF_INIT(TAPE_MAX) };
	assert_int_equal(channel_source(source, id, &p->a), 0);
	assert_int_equal(channel_destination(destination, &p->b), 0);
}

static inline void pair_done(struct pair *p)
{
	channel_free(p->a);
	channel_free(p->b);
	buf_done(&p->a_tape);
	buf_done(&p->b_tape);
}

/* At most CHUNK bytes from A to B.  Returns how many. */
static inline size_t carry(struct channel *a, struct channel *b, size_t chunk, struct buf *tape)
{
	const uint8_t *src;
	uint8_t *dst;
	size_t n = channel_out(a, &src), room = channel_in(b, &dst);
	if (n > room)
		n = room;
	if (n > chunk)
		n = chunk;
	if (n == 0)
		return 0;
	if (tape)
		assert_int_equal(buf_add(tape, src, n), 0);
	memcpy(dst, src, n);
	channel_out_done(a, n);
	channel_in_done(b, n);
	return n;
}

static inline void settle(struct pair *p, size_t chunk)
{
	while (carry(p->a, p->b, chunk, &p->a_tape) + carry(p->b, p->a, chunk, &p->b_tape))
		;
}

static inline void pair_open(struct pair *p, const struct channel_id *id)
{
	pair_new(p, keys, keys, id);
	settle(p, SIZE_MAX);
	assert_int_equal(channel_state(p->a), CHANNEL_OPEN);
	assert_int_equal(channel_state(p->b), CHANNEL_OPEN);
}

static inline void put_in(struct channel *c, const uint8_t *src, size_t n)
{
	uint8_t *dst;
	while (n) {
		size_t room = channel_in(c, &dst);
		if (room == 0)
			return;
		if (room > n)
			room = n;
		memcpy(dst, src, room);
		channel_in_done(c, room);
		src += room;
		n -= room;
	}
}

#endif
