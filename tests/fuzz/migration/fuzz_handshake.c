/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a stranger may send to a destination, or answer to a source (first byte odd), in pieces of
 * the first byte's upper half.  Nobody without the key ever opens a channel.
 */
#include "crypto/channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct channel_id ID = { .kind = CHANNEL_MEMORY, .vm = { 1 }, .attempt = { 1 } };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct channel_keys *keys;
	const struct vm_key key = { { 1, 2, 3 } };
	struct channel *c = NULL;
	if (!keys && channel_keys_new(&key, ID.vm, &keys, NULL) < 0)
		abort();
	if (size == 0)
		return 0;
	size_t piece = data[0] >> 1 ? data[0] >> 1 : 4096;
	if ((data[0] & 1 ? channel_source(keys, &ID, &c) : channel_destination(keys, &c)) < 0)
		abort();
	for (size_t at = 1; at < size;) {
		uint8_t *dst;
		const uint8_t *src;
		size_t room = channel_in(c, &dst), n = size - at;
		if (room == 0)
			break;
		if (n > room)
			n = room;
		if (n > piece)
			n = piece;
		memcpy(dst, data + at, n);
		channel_in_done(c, n);
		at += n;
		channel_out_done(c, channel_out(c, &src));
	}
	channel_in_end(c);
	if (channel_state(c) != CHANNEL_FAILED || !channel_fault(c)->text[0])
		abort();
	channel_free(c);
	return 0;
}
