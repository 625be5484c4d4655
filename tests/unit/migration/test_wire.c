/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/migration/wire_bed.h"

#define BYTES (3 * 1024 * 1024 + 17)

static uint8_t byte_at(int from, size_t i)
{
	return (uint8_t)(i * 31 / 7 + (size_t)from * 99);
}

/* Both QEMUs write WANTED bytes, and an end of it; and read. */
static void play_qemu(struct bed *b)
{
	static uint8_t chunk[100000];
	for (int i = 0; i < 2; i++) {
		size_t n = b->wanted - b->sent[i];
		if (n > sizeof(chunk))
			n = sizeof(chunk) - b->sent[i] % 777;
		for (size_t k = 0; k < n; k++)
			chunk[k] = byte_at(i, b->sent[i] + k);
		ssize_t put = n ? write(b->qemu[i], chunk, n) : 0;
		if (put > 0) {
			b->sent[i] += (size_t)put;
			if (b->sent[i] == b->wanted)
				assert_int_equal(shutdown(b->qemu[i], SHUT_WR), 0);
		}
		ssize_t got = read(b->qemu[i], chunk, sizeof(chunk));
		for (ssize_t k = 0; k < got; k++) {
			if (chunk[k] != byte_at(!i, b->got[i] + (size_t)k))
				fail_msg("byte %zu to %d is wrong", b->got[i] + (size_t)k, i);
		}
		b->got[i] += got > 0 ? (size_t)got : 0;
	}
}

static void test_both_ways_at_once(void **state)
{
	(void)state;
	for (int pipes = 0; pipes < 2; pipes++) {
		struct bed b;
		bed_new(&b);
		b.wanted = BYTES;
		bed_running(&b, pipes);
		int64_t deadline = clock_ms() + LIMIT_MS;
		while (!(ended(b.w[0]) && ended(b.w[1])) && clock_left_ms(deadline)) {
			play_qemu(&b);
			serve(b.w[0], 0);
			serve(b.w[1], 0);
		}
		for (int i = 0; i < 2; i++) {
			uint8_t byte;
			assert_int_equal(wire_state(b.w[i]), WIRE_TALKING);
			while (b.got[i] < BYTES)
				play_qemu(&b);
			assert_int_equal(wire_progress(b.w[i]).sent_bytes, BYTES);
			assert_int_equal(wire_progress(b.w[i]).received_bytes, BYTES);
			assert_int_equal(read(b.qemu[i], &byte, 1), 0);
		}
		bed_done(&b);
	}
}

/* A few bytes are there at once, with nothing behind them; one side ends, the other goes on. */
static void test_small_and_half_closed(void **state)
{
	(void)state;
	for (int first = 0; first < 2; first++) {
		struct bed b;
		char text[16];
		int second = !first;
		bed_new(&b);
		bed_running(&b, 0);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(write(b.qemu[first], "ping", 4), 4);
			if (i == 2)
				assert_int_equal(shutdown(b.qemu[first], SHUT_WR), 0);
			for (int k = 0; k < 4; k++)
				serve(b.w[k & 1 ? second : first], 50);
			assert_int_equal(read(b.qemu[second], text, sizeof(text)), 4);
		}
		for (int k = 0; k < 4; k++)
			serve(b.w[k & 1], 20);
		assert_int_equal(read(b.qemu[second], text, sizeof(text)), 0);
		assert_int_equal(read(b.qemu[first], text, sizeof(text)), -1);
		assert_int_equal(errno, EAGAIN);
		assert_int_equal(write(b.qemu[second], "pong", 4), 4);
		for (int k = 0; k < 4; k++)
			serve(b.w[k & 1], 20);
		assert_int_equal(read(b.qemu[first], text, sizeof(text)), 4);
		fd_close(&b.qemu[second]);
		serve_until(&b, WIRE_TALKING, WIRE_TALKING);
		assert_int_equal(read(b.qemu[first], text, sizeof(text)), 0);
		bed_done(&b);
	}
}

static void test_refusal(void **state)
{
	(void)state;
	struct hello ours = HELLO, theirs = HELLO;
	struct answer no;
	struct bed b;
	char byte;
	hello_judge(&ours, &theirs, &no);
	assert_int_equal(no.refused, 0);
	theirs.policy[31] ^= 1;
	hello_judge(&ours, &theirs, &no);
	assert_string_equal(no.rule, "migration.policy");
	theirs.tpm_id[0] ^= 1;
	hello_judge(&ours, &theirs, &no);
	assert_string_equal(no.rule, "migration.tpm");
	theirs.level = LEVEL_ENCRYPTION_SUPPORTED;
	hello_judge(&ours, &theirs, &no);
	assert_int_equal(no.refused, 1);
	assert_string_equal(no.rule, "migration.level");
	bed_new(&b);
	assert_int_equal(write(b.qemu[0], "secret", 6), 6);
	bed_start(&b, 0, 0, LIMIT_MS);
	attach(&b, 0);
	attach(&b, 1);
	serve_until(&b, WIRE_OPENING, WIRE_ASKED);
	wire_answer(b.w[1], &no);
	serve_until(&b, WIRE_FAILED, WIRE_FAILED);
	assert_int_equal(wire_fault(b.w[0])->rc, ERR_POLICY);
	assert_non_null(strstr(wire_fault(b.w[0])->text, "migration.level: the destination"));
	assert_string_equal(wire_refusal(b.w[0])->sentence, no.sentence);
	/* QEMU's is as it was: nothing was read, and it is not closed before the caller says so. */
	assert_int_equal(wire_progress(b.w[0]).sent_bytes, 0);
	assert_int_equal(read(b.qemu[0], &byte, 1), -1);
	assert_int_equal(errno, EAGAIN);
	wire_abort(b.w[0]);
	assert_true(read(b.qemu[0], &byte, 1) <= 0 && errno != EAGAIN);
	bed_done(&b);
}

/* A channel that is not the first has no hello; bytes that came before QEMU was there wait. */
static void test_other_channel(void **state)
{
	(void)state;
	struct bed b;
	char text[8];
	struct fault f = { 0 };
	struct channel_id id = id_of(1);
	bed_new(&b);
	assert_int_equal(wire_source(b.w[0], &id, &HELLO, -1, -1, 1000, &f), ERR_USAGE);
	bed_start(&b, 1, 0, LIMIT_MS);
	assert_int_equal(wire_source(b.w[0], &id, NULL, -1, -1, 1000, NULL), ERR_STATE);
	serve_until(&b, WIRE_OPEN, WIRE_OPEN);
	assert_null(wire_hello(b.w[1]));
	attach(&b, 0);
	assert_int_equal(write(b.qemu[0], "early", 5), 5);
	for (int i = 0; i < 3; i++)
		serve(b.w[0], 20);
	attach(&b, 1);
	for (int i = 0; i < 3; i++)
		serve(b.w[1], 20);
	assert_int_equal(read(b.qemu[1], text, sizeof(text)), 5);
	bed_done(&b);
}

/* A record that came in one piece with the handshake's end is passed on when QEMU is there, though
 * nothing more comes. */
static void test_early_record(void **state)
{
	(void)state;
	struct bed b;
	char text[8];
	bed_new(&b);
	bed_start(&b, 1, 0, LIMIT_MS);
	attach(&b, 0);
	assert_int_equal(write(b.qemu[0], "early", 5), 5);
	serve(b.w[0], 0);
	serve(b.w[1], 20);
	for (int i = 0; i < 4; i++)
		serve(b.w[0], 20);
	assert_int_equal(wire_progress(b.w[0]).sent_bytes, 5);
	serve(b.w[1], 20);
	assert_int_equal(wire_state(b.w[1]), WIRE_OPEN);
	assert_int_equal(wire_timeout_ms(b.w[1]), -1);
	attach(&b, 1);
	assert_int_equal(wire_timeout_ms(b.w[1]), 0);
	serve(b.w[1], 20);
	assert_int_equal(read(b.qemu[1], text, sizeof(text)), 5);
	assert_int_equal(wire_timeout_ms(b.w[1]), -1);
	bed_done(&b);
}

static void test_broken_link(void **state)
{
	(void)state;
	for (int who = 0; who < 2; who++) {
		struct bed b;
		char text[8];
		bed_new(&b);
		bed_running(&b, 0);
		assert_int_equal(write(b.qemu[who], "half", 4), 4);
		serve(b.w[who], 20);
		wire_abort(b.w[who]); /* libvirt's abort, or a cut */
		assert_int_equal(wire_state(b.w[who]), WIRE_IDLE);
		for (int i = 0; i < 5 && !ended(b.w[!who]); i++)
			serve(b.w[!who], 20);
		assert_int_equal(wire_state(b.w[!who]), WIRE_FAILED);
		assert_int_equal(wire_fault(b.w[!who])->rc, ERR_TRUNCATED);
		/* What was whole has been passed, and no end with it. */
		assert_int_equal(read(b.qemu[!who], text, sizeof(text)), 4);
		assert_int_equal(read(b.qemu[!who], text, sizeof(text)), -1);
		assert_int_equal(errno, EAGAIN);
		bed_done(&b);
	}
}

static void test_qemu_goes(void **state)
{
	(void)state;
	struct bed b;
	bed_new(&b);
	bed_running(&b, 0);
	assert_int_equal(write(b.qemu[0], "for nobody", 10), 10);
	fd_close(&b.qemu[1]);
	serve_until(&b, WIRE_FAILED, WIRE_FAILED);
	assert_int_equal(wire_fault(b.w[1])->rc, -EPIPE);
	bed_done(&b);
	/* Gone before the channel is open: an end, as QEMU would give it. */
	bed_new(&b);
	bed_start(&b, 1, 0, LIMIT_MS);
	attach(&b, 0);
	attach(&b, 1);
	fd_close(&b.qemu[0]);
	fd_close(&b.qemu[1]);
	serve_until(&b, WIRE_DONE, WIRE_DONE);
	bed_done(&b);
}

/* The source's QEMU gives its connection up both ways, as it does when post-copy is paused, and the
 * other one has just asked for something: what it had written arrives, and its end. */
static void test_source_hears_nothing(void **state)
{
	(void)state;
	static uint8_t bytes[400000], got[sizeof(bytes)];
	struct bed b;
	size_t put = 0, n = 0;
	bed_new(&b);
	bed_running(&b, 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = byte_at(0, i);
	while (put < sizeof(bytes)) {
		ssize_t more = write(b.qemu[0], bytes + put, sizeof(bytes) - put);
		assert_true(more > 0 || errno == EAGAIN);
		put += more > 0 ? (size_t)more : 0;
		if (put < sizeof(bytes))
			serve(b.w[0], 0);
	}
	assert_int_equal(write(b.qemu[1], "more?", 5), 5);
	serve(b.w[1], 20);
	assert_int_equal(shutdown(b.qemu[0], SHUT_RDWR), 0);
	int64_t deadline = clock_ms() + LIMIT_MS;
	ssize_t more = -1;
	while (more != 0 && clock_left_ms(deadline)) {
		serve(b.w[0], 1);
		serve(b.w[1], 1);
		more = read(b.qemu[1], got + n, sizeof(got) - n);
		assert_true(more >= 0 || errno == EAGAIN);
		assert_int_not_equal(wire_state(b.w[0]), WIRE_FAILED);
		n += more > 0 ? (size_t)more : 0;
		if (n == sizeof(got) && more > 0)
			assert_int_equal(write(b.qemu[1], "thanks", 6), 6);
	}
	assert_int_equal(more, 0);
	assert_int_equal(n, sizeof(bytes));
	assert_memory_equal(got, bytes, sizeof(bytes));
	fd_close(&b.qemu[1]);
	serve_until(&b, WIRE_TALKING, WIRE_TALKING);
	bed_done(&b);
}

/* Somebody else is at the other end: MORE bytes of it, then silence or the end. */
static void against(const char *bytes, size_t n, int then_ends, int is_source, int rc)
{
	struct wire *w = NULL;
	struct channel_id id = id_of(0);
	int net[2], qemu[2];
	char byte;
	pair_of(net);
	pair_of(qemu);
	assert_int_equal(wire_new(keys, &w), 0);
	assert_int_equal(is_source ? wire_source(w, &id, &HELLO, net[0], net[0], 200, NULL)
				   : wire_destination(w, net[0], net[0], 200, NULL),
			 0);
	wire_attach(w, qemu[1], qemu[1]);
	assert_int_equal(write(qemu[0], "secret", 6), 6);
	int64_t began = clock_ms();
	if (n)
		assert_int_equal(write(net[1], bytes, n), n);
	if (then_ends)
		shutdown(net[1], SHUT_WR);
	while (!ended(w) && clock_ms() < began + LIMIT_MS)
		serve(w, 1000);
	assert_int_equal(wire_state(w), WIRE_FAILED);
	assert_int_equal(wire_fault(w)->rc, rc);
	assert_true(clock_ms() - began < 5000);
	assert_int_equal(wire_progress(w).sent_bytes, 0);
	assert_int_equal(read(qemu[0], &byte, 1), -1);
	wire_free(w);
	fd_close(&net[1]);
	fd_close(&qemu[0]);
}

static void test_no_worker_there(void **state)
{
	(void)state;
	for (int is_source = 0; is_source < 2; is_source++) {
		against("", 0, 0, is_source, -ETIMEDOUT);
		against("", 0, 1, is_source, ERR_TRUNCATED);
		against("QEVM\0\0\0\3", 8, 0, is_source, ERR_FORMAT);
		against("\x16\x03", 2, 0, is_source, -ETIMEDOUT);
	}
}

/* A byte now and then does not move the deadline. */
static void test_slow_loris(void **state)
{
	(void)state;
	struct wire *w = NULL;
	int net[2];
	static const uint8_t HEAD[] = { 0x16, 3, 1, 0x0f, 0, 1, 0, 0x0e, 0xfc, 3, 3 };
	pair_of(net);
	assert_int_equal(wire_new(keys, &w), 0);
	assert_int_equal(wire_destination(w, net[0], net[0], 300, NULL), 0);
	int64_t began = clock_ms();
	for (size_t i = 0; !ended(w) && clock_ms() < began + 5000; i++) {
		(void)!write(net[1], i < sizeof(HEAD) ? &HEAD[i] : HEAD, 1);
		serve(w, 10);
		usleep(10000);
	}
	assert_int_equal(wire_fault(w)->rc, -ETIMEDOUT);
	assert_true(clock_ms() - began < 3000);
	wire_free(w);
	fd_close(&net[1]);
}

static void test_wrong_key(void **state)
{
	(void)state;
	struct bed b;
	bed_new(&b);
	wire_free(b.w[0]);
	assert_int_equal(wire_new(other_keys, &b.w[0]), 0);
	bed_start(&b, 0, 0, LIMIT_MS);
	serve_until(&b, WIRE_FAILED, WIRE_FAILED);
	assert_int_equal(wire_fault(b.w[0])->rc, ERR_AUTH);
	assert_int_equal(wire_fault(b.w[1])->rc, ERR_AUTH);
	assert_non_null(strstr(wire_fault(b.w[0])->text, "this VM's key"));
	bed_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways_at_once),
		cmocka_unit_test(test_small_and_half_closed),
		cmocka_unit_test(test_refusal),
		cmocka_unit_test(test_other_channel),
		cmocka_unit_test(test_early_record),
		cmocka_unit_test(test_broken_link),
		cmocka_unit_test(test_qemu_goes),
		cmocka_unit_test(test_source_hears_nothing),
		cmocka_unit_test(test_no_worker_there),
		cmocka_unit_test(test_slow_loris),
		cmocka_unit_test(test_wrong_key),
	};
	return cmocka_run_group_tests(tests, make_all, free_all);
}
