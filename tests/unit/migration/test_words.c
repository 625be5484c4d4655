/* SPDX-License-Identifier: BSD-3-Clause */
/* What two workers say behind QEMU's ends, over wires; also to one that keeps to no order. */
#include "tests/unit/migration/wire_bed.h"

/* Both QEMUs are done. */
static void bed_talking(struct bed *b)
{
	bed_new(b);
	bed_running(b, 0);
	for (int i = 0; i < 2; i++)
		fd_close(&b->qemu[i]);
	serve_until(b, WIRE_TALKING, WIRE_TALKING);
	assert_int_equal(wire_heard(b->w[0]), WORD_END);
	assert_int_equal(wire_heard(b->w[1]), WORD_END);
	assert_int_equal(wire_timeout_ms(b->w[0]), -1);
}

/* Serve both for a while. */
static void serve_both(struct bed *b)
{
	for (int i = 0; i < 6; i++) {
		for (int k = 0; k < 2; k++) {
			if (wire_state(b->w[k]) == WIRE_TALKING)
				serve(b->w[k], 5);
		}
	}
}

/* Who says what, until both directions have ended by themselves. */
static void test_words(void **state)
{
	(void)state;
	enum { SOURCE, DESTINATION, HANGS_UP };
	static const struct {
		int who;
		enum word word;
	} TALKS[][4] = {
		{ { DESTINATION, WORD_ASK }, { SOURCE, WORD_YOURS }, { DESTINATION, WORD_RUNS } },
		{ { DESTINATION, WORD_ASK }, { SOURCE, WORD_YOURS }, { DESTINATION, WORD_NEVER } },
		{ { DESTINATION, WORD_ASK }, { DESTINATION, WORD_NEVER } },
		{ { DESTINATION, WORD_ASK }, { SOURCE, WORD_MINE } },
		{ { SOURCE, WORD_MINE } },
		{ { SOURCE, WORD_YOURS } },
		{ { HANGS_UP, WORD_NONE } },
	};
	for (size_t i = 0; i < sizeof(TALKS) / sizeof(TALKS[0]); i++) {
		struct bed b;
		bed_talking(&b);
		for (int k = 0; k < 4 && (TALKS[i][k].word || TALKS[i][k].who); k++) {
			int who = TALKS[i][k].who;
			assert_int_equal(wire_state(b.w[0]), WIRE_TALKING);
			if (who == HANGS_UP) {
				wire_hang_up(b.w[DESTINATION]);
			} else {
				assert_int_equal(wire_say(b.w[who], TALKS[i][k].word), 0);
				assert_int_equal(wire_timeout_ms(b.w[who]), 0);
			}
			serve_both(&b);
			if (who < HANGS_UP)
				assert_int_equal(wire_heard(b.w[!who]), TALKS[i][k].word);
		}
		assert_int_equal(wire_state(b.w[0]), WIRE_DONE);
		assert_int_equal(wire_state(b.w[1]), WIRE_DONE);
		/* Who asked for nothing, or in vain, has left it. */
		if (i == 3)
			assert_int_equal(wire_heard(b.w[0]), WORD_NEVER);
		if (i == 6)
			assert_int_equal(wire_heard(b.w[1]), WORD_MINE);
		bed_done(&b);
	}
}

/* What does not fit is not said; a question and an answer may cross. */
static void test_words_out_of_turn(void **state)
{
	(void)state;
	struct bed b;
	bed_new(&b);
	bed_running(&b, 0);
	assert_int_equal(wire_say(b.w[1], WORD_ASK), ERR_STATE);
	bed_done(&b);
	bed_talking(&b);
	for (int word = WORD_NONE; word <= WORD_NEVER + 1; word++) {
		if (word != WORD_YOURS && word != WORD_MINE)
			assert_int_equal(wire_say(b.w[0], (enum word)word), ERR_STATE);
		if (word != WORD_ASK)
			assert_int_equal(wire_say(b.w[1], (enum word)word), ERR_STATE);
	}
	assert_int_equal(wire_say(b.w[1], WORD_ASK), 0);
	/* Not before it may. */
	assert_int_equal(wire_say(b.w[1], WORD_RUNS), ERR_STATE);
	assert_int_equal(wire_say(b.w[0], WORD_YOURS), 0);
	serve_both(&b);
	assert_int_equal(wire_heard(b.w[1]), WORD_YOURS);
	assert_int_equal(wire_heard(b.w[0]), WORD_ASK);
	assert_int_equal(wire_say(b.w[0], WORD_MINE), ERR_STATE);
	assert_int_equal(wire_say(b.w[1], WORD_RUNS), 0);
	serve_both(&b);
	assert_int_equal(wire_heard(b.w[0]), WORD_RUNS);
	bed_done(&b);
	/* A break in between is one. */
	bed_talking(&b);
	assert_int_equal(wire_say(b.w[1], WORD_ASK), 0);
	serve_both(&b);
	wire_abort(b.w[1]);
	serve(b.w[0], 100);
	assert_int_equal(wire_state(b.w[0]), WIRE_FAILED);
	assert_int_equal(wire_fault(b.w[0])->rc, ERR_TRUNCATED);
	assert_int_equal(wire_heard(b.w[0]), WORD_ASK);
	bed_done(&b);
}

/* The question comes when the final record is due, or gone: nobody is left to answer. */
static void test_question_behind_end(void **state)
{
	(void)state;
	for (int sent = 0; sent < 2; sent++) {
		struct bed b;
		bed_talking(&b);
		wire_hang_up(b.w[1]);
		if (sent)
			serve(b.w[1], 5);
		assert_int_equal(wire_state(b.w[1]), WIRE_TALKING);
		assert_int_equal(wire_say(b.w[1], WORD_ASK), ERR_STATE);
		serve_both(&b);
		assert_int_equal(wire_state(b.w[0]), WIRE_DONE);
		assert_int_equal(wire_state(b.w[1]), WIRE_DONE);
		assert_int_equal(wire_heard(b.w[0]), WORD_END);
		assert_int_equal(wire_heard(b.w[1]), WORD_MINE);
		bed_done(&b);
	}
}

/* A destination that has the key, and keeps to no order: its records, made by hand. */
struct rogue {
	struct wire *w;
	struct channel *c;
	int net, qemu;
};

static void rogue_turn(struct rogue *r)
{
	const uint8_t *src;
	uint8_t *dst;
	size_t n;
	while ((n = channel_out(r->c, &src))) {
		if (write(r->net, src, n) != (ssize_t)n) /* it has hung up already */
			return;
		channel_out_done(r->c, n);
	}
	serve(r->w, 5);
	ssize_t got = (n = channel_in(r->c, &dst)) ? read(r->net, dst, n) : 0;
	if (got > 0)
		channel_in_done(r->c, (size_t)got);
	while ((n = channel_recv(r->c, &src)))
		channel_recv_done(r->c, n);
}

static void rogue_says(struct rogue *r, const void *bytes, size_t n, int is_word)
{
	uint8_t *at;
	for (int i = 0; i < 20 && !channel_send(r->c, &at); i++)
		rogue_turn(r);
	if (!channel_send(r->c, &at))
		return;
	memcpy(at, bytes, n);
	assert_int_equal(is_word ? channel_send_word(r->c, *(const uint8_t *)bytes)
			 : n	 ? channel_send_done(r->c, n)
				 : channel_send_end(r->c),
			 0);
	rogue_turn(r);
}

static void test_words_of_a_rogue(void **state)
{
	(void)state;
	static const struct {
		const char *says; /* q: a byte of QEMU's, .: the final record, !: YOURS is said */
		int rc;
	} TALKS[] = {
		{ ".", ERR_FORMAT },	 { "\2", ERR_FORMAT },	   { "\1q", ERR_FORMAT },
		{ "\1\1", ERR_FORMAT },	 { "\1\5", ERR_FORMAT },   { "\1\2\5", ERR_FORMAT },
		{ "\1\2.", ERR_FORMAT }, { "\1\2!.", ERR_FORMAT }, { "\1\3", ERR_FORMAT },
		{ "\1\4", ERR_FORMAT },	 { "\1\2\2", ERR_FORMAT }, { "\1\7", ERR_VERSION },
		{ "\1\2!\5.", 0 },
	};
	for (size_t i = 0; i < sizeof(TALKS) / sizeof(TALKS[0]); i++) {
		struct channel_id id = id_of(0);
		struct rogue r;
		uint8_t bytes[ANSWER_BYTES_MAX];
		int net[2], qemu[2];
		pair_of(net);
		pair_of(qemu);
		r = (struct rogue){ .net = net[1], .qemu = qemu[1] };
		assert_int_equal(wire_new(keys, &r.w), 0);
		assert_int_equal(wire_source(r.w, &id, &HELLO, net[0], net[0], LIMIT_MS, NULL), 0);
		assert_int_equal(channel_destination(keys, &r.c), 0);
		wire_attach(r.w, qemu[0], qemu[0]);
		for (int k = 0; k < 10; k++)
			rogue_turn(&r);
		rogue_says(&r, bytes, answer_encode(&COME, bytes), 0);
		fd_close(&r.qemu);
		for (const char *p = TALKS[i].says; *p; p++) {
			if (*p == '!') {
				for (int k = 0; k < 50 && wire_state(r.w) != WIRE_TALKING; k++)
					rogue_turn(&r);
				assert_int_equal(wire_say(r.w, WORD_YOURS), 0);
			} else {
				rogue_says(&r, p, *p != '.', *p < ' ');
			}
		}
		for (int k = 0; k < 50 && wire_state(r.w) != WIRE_FAILED; k++)
			rogue_turn(&r);
		if (wire_fault(r.w)->rc != TALKS[i].rc)
			fail_msg("case %zu: %s", i, wire_fault(r.w)->text);
		assert_int_equal(wire_state(r.w), TALKS[i].rc ? WIRE_FAILED : WIRE_DONE);
		wire_free(r.w);
		channel_free(r.c);
		fd_close(&r.net);
	}
}

/* A source of the version before, which knows no words: it is told why nothing comes of it. */
static void test_older_source(void **state)
{
	(void)state;
	struct channel_id id = id_of(0);
	struct rogue r = { .qemu = -1 };
	struct answer verdict = { 0 };
	uint8_t hello[HELLO_BYTES];
	const uint8_t *src;
	uint8_t *dst;
	int net[2];
	pair_of(net);
	r.net = net[1];
	assert_int_equal(wire_new(keys, &r.w), 0);
	assert_int_equal(wire_destination(r.w, net[0], net[0], LIMIT_MS, NULL), 0);
	assert_int_equal(channel_source(keys, &id, &r.c), 0);
	hello_encode(&HELLO, hello);
	hello[8] = 1;
	for (int i = 0; i < 10; i++)
		rogue_turn(&r);
	assert_true(channel_send(r.c, &dst) >= sizeof(hello));
	memcpy(dst, hello, sizeof(hello));
	assert_int_equal(channel_send_done(r.c, sizeof(hello)), 0);
	size_t n = channel_out(r.c, &src);
	assert_int_equal(write(r.net, src, n), n);
	n = 0;
	for (int i = 0; i < 50 && !n; i++) {
		serve(r.w, 5);
		size_t room = channel_in(r.c, &dst);
		ssize_t got = room ? read(r.net, dst, room) : 0;
		if (got > 0)
			channel_in_done(r.c, (size_t)got);
		n = channel_recv(r.c, &src);
	}
	assert_int_equal(answer_parse(src, n, &verdict, NULL), 0);
	assert_string_equal(verdict.rule, "migration.version");
	for (int i = 0; i < 50 && wire_state(r.w) != WIRE_FAILED; i++)
		serve(r.w, 5);
	assert_int_equal(wire_state(r.w), WIRE_FAILED);
	assert_int_equal(wire_fault(r.w)->rc, ERR_POLICY);
	wire_free(r.w);
	channel_free(r.c);
	fd_close(&r.net);
}

/* A destination of the version before hangs up. */
static void test_older_destination(void **state)
{
	(void)state;
	struct channel_id id = id_of(0);
	struct rogue r = { .qemu = -1 };
	int net[2];
	pair_of(net);
	r.net = net[1];
	assert_int_equal(wire_new(keys, &r.w), 0);
	assert_int_equal(wire_source(r.w, &id, &HELLO, net[0], net[0], LIMIT_MS, NULL), 0);
	assert_int_equal(channel_destination(keys, &r.c), 0);
	for (int i = 0; i < 10; i++)
		rogue_turn(&r);
	fd_close(&r.net);
	serve(r.w, 1000);
	assert_int_equal(wire_state(r.w), WIRE_FAILED);
	assert_non_null(strstr(wire_fault(r.w)->text, "is it of another version?"));
	wire_free(r.w);
	channel_free(r.c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_words_out_of_turn),
		cmocka_unit_test(test_question_behind_end),
		cmocka_unit_test(test_words_of_a_rogue),
		cmocka_unit_test(test_older_source),
		cmocka_unit_test(test_older_destination),
	};
	return cmocka_run_group_tests(tests, make_all, free_all);
}
