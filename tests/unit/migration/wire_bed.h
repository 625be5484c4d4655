/* SPDX-License-Identifier: BSD-3-Clause */
/* Two wires with a connection between them; for test_wire.c and test_words.c. */
#ifndef SHIELDVM_TESTS_UNIT_MIGRATION_WIRE_BED_H
#define SHIELDVM_TESTS_UNIT_MIGRATION_WIRE_BED_H

#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "migration/wire.h"

#define LIMIT_MS 30000

static const uint8_t VM[UUID_BYTES] = { 0x42 };
static const struct vm_key KEY = { { 1, 2, 3 } };
static const struct hello HELLO = { .level = LEVEL_SHIELDED, .tpm_id = { 5 }, .policy = { 6 } };
static const struct answer COME = { 0 };
static struct channel_keys *keys, *other_keys;

static inline int make_all(void **state)
{
	const struct vm_key other = { { 9 } };
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	return channel_keys_new(&KEY, VM, &keys, NULL) < 0 ||
	       channel_keys_new(&other, VM, &other_keys, NULL) < 0;
}

static inline int free_all(void **state)
{
	(void)state;
	channel_keys_free(keys);
	channel_keys_free(other_keys);
	return 0;
}

static inline struct channel_id id_of(uint16_t number)
{
	struct channel_id id = { .kind = CHANNEL_MEMORY, .number = number, .attempt = { 7 } };
	memcpy(id.vm, VM, sizeof(VM));
	return id;
}

/* Two wires with a connection between them, and somebody who plays each QEMU. */
struct bed {
	struct wire *w[2]; /* source, destination */
	int qemu[2];	   /* QEMU's ends */
	int theirs[2];	   /* the wires' ends of QEMU's sockets, until attached */
	size_t sent[2], got[2], wanted;
};

static inline void pair_of(int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
}

static inline void bed_new(struct bed *b)
{
	*b = (struct bed){ .qemu = { -1, -1 }, .theirs = { -1, -1 } };
	for (int i = 0; i < 2; i++) {
		int fds[2];
		assert_int_equal(wire_new(keys, &b->w[i]), 0);
		pair_of(fds);
		b->qemu[i] = fds[0];
		b->theirs[i] = fds[1];
	}
}

static inline void bed_start(struct bed *b, uint16_t number, int pipes, int64_t open_ms)
{
	struct channel_id id = id_of(number);
	int in[2], out[2], both[2];
	if (pipes) {
		assert_int_equal(pipe2(in, O_CLOEXEC | O_NONBLOCK), 0);
		assert_int_equal(pipe2(out, O_CLOEXEC | O_NONBLOCK), 0);
	} else {
		pair_of(both);
	}
	assert_int_equal(wire_source(b->w[0], &id, number ? NULL : &HELLO, pipes ? in[0] : both[0],
				     pipes ? out[1] : both[0], open_ms, NULL),
			 0);
	assert_int_equal(wire_destination(b->w[1], pipes ? out[0] : both[1],
					  pipes ? in[1] : both[1], open_ms, NULL),
			 0);
}

static inline void bed_done(struct bed *b)
{
	for (int i = 0; i < 2; i++) {
		wire_free(b->w[i]);
		fd_close(&b->qemu[i]);
		fd_close(&b->theirs[i]);
	}
}

static inline int serve(struct wire *w, int timeout_ms)
{
	struct pollfd slots[WIRE_SLOTS];
	int left = wire_timeout_ms(w);
	wire_slots(w, slots);
	int n = poll(slots, WIRE_SLOTS, left >= 0 && left < timeout_ms ? left : timeout_ms);
	wire_serve(w, slots);
	return n;
}

/* As far as QEMU is concerned. */
static inline int ended(const struct wire *w)
{
	return wire_state(w) == WIRE_TALKING || wire_state(w) == WIRE_DONE ||
	       wire_state(w) == WIRE_FAILED;
}

/* Serve both until each has state A and B, or neither has anything to do. */
static inline void serve_until(struct bed *b, enum wire_state source, enum wire_state destination)
{
	int64_t deadline = clock_ms() + LIMIT_MS;
	for (int quiet = 0; quiet < 200 && clock_left_ms(deadline);) {
		if (wire_state(b->w[0]) == source && wire_state(b->w[1]) == destination)
			return;
		quiet = serve(b->w[0], 0) + serve(b->w[1], 1) ? 0 : quiet + 1;
	}
	fail_msg("states %d %d: %s; %s", wire_state(b->w[0]), wire_state(b->w[1]),
		 wire_fault(b->w[0])->text, wire_fault(b->w[1])->text);
}

static inline void attach(struct bed *b, int i)
{
	wire_attach(b->w[i], b->theirs[i], b->theirs[i]);
	b->theirs[i] = -1;
}

static inline void bed_running(struct bed *b, int pipes)
{
	bed_start(b, 0, pipes, LIMIT_MS);
	serve_until(b, WIRE_OPENING, WIRE_ASKED);
	assert_memory_equal(wire_hello(b->w[1]), &HELLO, sizeof(HELLO));
	assert_int_equal(wire_id(b->w[1])->number, 0);
	assert_memory_equal(wire_id(b->w[1])->vm, VM, sizeof(VM));
	wire_answer(b->w[1], &COME);
	serve_until(b, WIRE_OPEN, WIRE_OPEN);
	attach(b, 0);
	attach(b, 1);
	assert_int_equal(wire_state(b->w[0]), WIRE_RUNNING);
}

#endif
