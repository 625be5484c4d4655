/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/migration/vm_bed.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "migration/live.h"
#include "migration/wire.h"

#define LIMIT_MS 20000
#define ROUNDS	 3000

static struct live *make(void)
{
	struct live *l;
	struct fault f = { 0 };
	const struct live_config config = {
		.key = &KEY, .facts = &FACTS, .owner = owner, .qemus = -1
	};
	assert_int_equal(live_new(&config, &l, &f), 0);
	return l;
}

/* Without a pause, so that what is seen is what its thread has done by then and no more. */
static void until_failed(struct live *l, struct live_news *news)
{
	int64_t deadline = clock_ms() + LIMIT_MS;
	do
		live_look(l, news);
	while (news->state != LIVE_FAILED && clock_left_ms(deadline));
	assert_int_equal(news->state, LIVE_FAILED);
}

/* When it is over, all of it is: the next one, which libvirt may have asked for already, finds
 * nothing that is still being closed. */
static void test_over_when_told(void **state)
{
	(void)state;
	struct live *l = make();
	struct live_news news;
	struct fault f = { 0 };
	for (int i = 0; i < ROUNDS; i++) {
		int net[2], qemus = -1;
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, net), 0);
		assert_int_equal(live_leave(l, LIVE_ANEW, net[0], 0, &qemus, &f), 0);
		if (i & 1)
			live_abort(l, "enough");
		else
			fd_close(&net[1]);
		until_failed(l, &news);
		struct pollfd p = { .fd = qemus };
		assert_int_equal(poll(&p, 1, 0), 1);
		assert_true(p.revents & POLLHUP);
		fd_close(&qemus);
		fd_close(&net[1]);
	}
	live_free(l);
}

/* A source, whose bytes go to the destination, and come from there, as the test wants it. */
struct source {
	struct wire *w;
	int qemu;    /* QEMU's end */
	int between; /* the other end of the wire's connection */
	int net;     /* to the destination */
};

static void pair_of(int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
}

static void source_new(struct source *s, const struct sockaddr_in *where)
{
	const struct channel_id id = { .kind = CHANNEL_MEMORY, .attempt = { 7 } };
	struct hello hello;
	int net[2], qemu[2];
	pair_of(net);
	pair_of(qemu);
	*s = (struct source){ .qemu = qemu[1], .between = net[1] };
	s->net = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(s->net, (const struct sockaddr *)where, sizeof(*where)), 0);
	assert_int_equal(fd_set_nonblock(s->net, 1), 0);
	assert_int_equal(hello_make(&FACTS, owner, 0, &hello), 0);
	assert_int_equal(wire_new(keys, &s->w), 0);
	assert_int_equal(wire_source(s->w, &id, &hello, net[0], net[0], LIMIT_MS, NULL), 0);
	wire_attach(s->w, qemu[0], qemu[0]);
}

static void source_free(struct source *s)
{
	wire_free(s->w);
	fd_close(&s->qemu);
	fd_close(&s->between);
	fd_close(&s->net);
}

static void pass_on(int from, int to)
{
	char bytes[65536];
	ssize_t n = read(from, bytes, sizeof(bytes));
	assert_true(n <= 0 || write(to, bytes, (size_t)n) == n);
}

/* The wire's turn; and what it says, and hears, goes on its way unless that is HELD. */
static void source_turn(struct source *s, int held)
{
	struct pollfd slots[WIRE_SLOTS];
	wire_slots(s->w, slots);
	assert_true(poll(slots, WIRE_SLOTS, 5) >= 0);
	wire_serve(s->w, slots);
	if (!held) {
		pass_on(s->between, s->net);
		pass_on(s->net, s->between);
	}
}

/* The source's end, its word and its final record come at once: then there is nothing left to be
 * said, before the destination has as much as seen that QEMU's part is over. */
static void test_all_comes_at_once(void **state)
{
	(void)state;
	struct live *l = make();
	struct live_news news = { 0 };
	struct fault f = { 0 };
	struct sockaddr_in where = { .sin_family = AF_INET,
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(where);
	struct source s;
	int qemus = -1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&where, size), 0);
	assert_int_equal(listen(listener, 8), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&where, &size), 0);
	assert_int_equal(live_arrive(l, LIVE_ANEW, listener, 0, &qemus, &f), 0);
	source_new(&s, &where);
	int64_t due = clock_ms() + LIMIT_MS;
	while (wire_state(s.w) != WIRE_RUNNING && clock_left_ms(due))
		source_turn(&s, 0);
	fd_close(&qemus);
	while (wire_heard(s.w) != WORD_END && clock_left_ms(due))
		source_turn(&s, 0);
	fd_close(&s.qemu);
	while (wire_state(s.w) != WIRE_TALKING && clock_left_ms(due))
		source_turn(&s, 1);
	assert_int_equal(wire_say(s.w, WORD_YOURS), 0);
	while (wire_timeout_ms(s.w) == 0 && clock_left_ms(due))
		source_turn(&s, 1);
	while (!news.parted && clock_left_ms(due)) {
		source_turn(&s, 0);
		live_look(l, &news);
	}
	assert_int_equal(news.state, LIVE_DONE);
	assert_true(news.parted);
	assert_int_equal(news.heard, WORD_YOURS);
	source_free(&s);
	live_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_over_when_told),
		cmocka_unit_test(test_all_comes_at_once),
	};
	return cmocka_run_group_tests(tests, make_all, free_all);
}
