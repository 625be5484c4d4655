/* SPDX-License-Identifier: BSD-3-Clause */
/* Links between the guardian's processes, with peers that do not keep to them. */
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "guardian/link.h"

static int ends[2];

static int make(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
}

static int unmake(void **state)
{
	(void)state;
	close(ends[0]);
	close(ends[1]);
	return 0;
}

/* Read a LINK_ASK of at most MAX bytes, without waiting for long. */
static int take(size_t max, uint64_t *id)
{
	CLEANUP_BUF struct buf b = BUF_INIT(max);
	return link_read(ends[1], LINK_ASK, clock_ms() + 200, id, &b);
}

static void say(const void *data, size_t n)
{
	assert_int_equal(send(ends[0], data, n, MSG_NOSIGNAL), n);
}

static void test_a_message(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(64);
	const struct link_part parts[] = { { "abc", 3 }, { NULL, 0 }, { "de", 2 } };
	uint64_t id = 0;
	assert_int_equal(link_write(ends[0], LINK_ASK, 1ULL << 40, parts, 3), 0);
	assert_int_equal(link_read(ends[1], LINK_ASK, clock_ms() + 200, &id, &b), 0);
	assert_true(id == 1ULL << 40);
	assert_int_equal(b.len, 5);
	assert_memory_equal(b.data, "abcde", 5);
	assert_int_equal(link_write(ends[0], LINK_ASK, 2, parts, 0), 0);
	assert_int_equal(take(0, &id), 0);
	assert_true(id == 2);
}

static void test_bad_heads(void **state)
{
	(void)state;
	const struct link_head good = { LINK_MAGIC, LINK_ASK, 7, 4 };
	struct link_head h;
	h = good;
	assert_int_equal(link_check(&h, LINK_ASK, 4), 0);
	assert_int_equal(link_check(&h, LINK_ASK, 3), ERR_LIMIT);
	assert_int_equal(link_check(&h, LINK_ANSWER, 4), ERR_FORMAT);
	h.magic ^= 1;
	assert_int_equal(link_check(&h, LINK_ASK, 4), ERR_FORMAT);
	h = good;
	h.n = UINT64_MAX;
	assert_int_equal(link_check(&h, LINK_ASK, LINK_ASK_MAX), ERR_LIMIT);
}

static void test_hostile_peers(void **state)
{
	(void)state;
	uint64_t id = 99;
	struct link_head h = { LINK_MAGIC, LINK_ASK, 7, 4 };
	/* Too large, and of another kind: nothing of it is read. */
	say(&h, sizeof(h));
	assert_int_equal(take(3, &id), ERR_LIMIT);
	h.op = LINK_VERDICT;
	say(&h, sizeof(h));
	assert_int_equal(take(64, &id), ERR_FORMAT);
	/* A part of a head, and then nothing; a head without its rest. */
	h.op = LINK_ASK;
	say(&h, 5);
	assert_int_equal(take(64, &id), -ETIMEDOUT);
	unmake(NULL);
	make(NULL);
	say(&h, sizeof(h));
	say("ab", 2);
	assert_int_equal(take(64, &id), -ETIMEDOUT);
	unmake(NULL);
	make(NULL);
	say(&h, sizeof(h));
	say("ab", 2);
	assert_int_equal(shutdown(ends[0], SHUT_WR), 0);
	assert_int_equal(take(64, &id), ERR_TRUNCATED);
	assert_int_equal(take(64, &id), ERR_STATE);
	assert_true(id == 99);
}

static void test_nobody_reads(void **state)
{
	(void)state;
	static uint8_t much[4 * 1024 * 1024];
	const struct link_part part = { much, sizeof(much) };
	int64_t began = clock_ms();
	assert_int_equal(link_write(ends[0], LINK_ASK, 1, &part, 1), -ETIMEDOUT);
	assert_in_range(clock_ms() - began, LINK_WRITE_MS - 100, LINK_WRITE_MS + 3000);
	const struct link_part huge = { much, SIZE_MAX }, half = { much, LINK_JUDGE_MAX };
	assert_int_equal(link_write(ends[0], LINK_ASK, 1, &huge, 1), ERR_LIMIT);
	const struct link_part two[] = { half, half };
	assert_int_equal(link_write(ends[0], LINK_ASK, 1, two, 2), ERR_LIMIT);
	close(ends[1]);
	ends[1] = dup(ends[0]);
	assert_int_equal(link_write(ends[0], LINK_ASK, 1, &part, 1), -EPIPE);
}

static void test_pieces(void **state)
{
	(void)state;
	uint8_t data[8] = "abcdefgh", out[8];
	const struct buf m = { .data = data, .len = 8, .max = 8 };
	const uint8_t *piece;
	size_t at = 6;
	assert_int_equal(link_take(&m, &at, out, 3), ERR_TRUNCATED);
	assert_int_equal(at, 6);
	assert_int_equal(link_piece(&m, &at, SIZE_MAX, &piece), ERR_TRUNCATED);
	assert_int_equal(link_piece(&m, &at, 2, &piece), 0);
	assert_ptr_equal(piece, data + 6);
	assert_int_equal(link_take(&m, &at, out, 0), 0);
	at = 9;
	assert_int_equal(link_piece(&m, &at, 0, &piece), ERR_TRUNCATED);
}

static void test_findings(void **state)
{
	(void)state;
	static struct findings in, out;
	struct link_finding t;
	finding_add(&in, "evidence.nonce", FINDING_FAILED, "an old one");
	link_finding_put(&in.at[0], &t);
	assert_int_equal(link_finding_get(&t, &out), 0);
	assert_int_equal(out.n, 1);
	assert_string_equal(out.at[0].id, "evidence.nonce");
	assert_string_equal(out.at[0].evidence, "an old one");
	assert_int_equal(out.at[0].verdict, FINDING_FAILED);
	struct link_finding bad = t;
	strcpy(bad.id, "evidence.none");
	assert_int_equal(link_finding_get(&bad, &out), ERR_FORMAT);
	bad = t;
	memset(bad.id, 'x', sizeof(bad.id));
	assert_int_equal(link_finding_get(&bad, &out), ERR_FORMAT);
	bad = t;
	bad.verdict = FINDING_UNKNOWN + 1;
	assert_int_equal(link_finding_get(&bad, &out), ERR_FORMAT);
	bad = t;
	memset(bad.evidence, 'x', sizeof(bad.evidence));
	assert_int_equal(link_finding_get(&bad, &out), ERR_FORMAT);
	bad = t;
	strcpy(bad.evidence, "\x1b[2J");
	assert_int_equal(link_finding_get(&bad, &out), 0);
	assert_null(strchr(out.at[1].evidence, 0x1b));
	out.n = FINDINGS_MAX;
	assert_int_equal(link_finding_get(&t, &out), ERR_FORMAT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_message, make, unmake),
		cmocka_unit_test(test_bad_heads),
		cmocka_unit_test_setup_teardown(test_hostile_peers, make, unmake),
		cmocka_unit_test_setup_teardown(test_nobody_reads, make, unmake),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_findings),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
