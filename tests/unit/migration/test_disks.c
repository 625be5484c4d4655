/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where disks come in, against a peer that has the VM's key and does not keep to the form.  The
 * rest is in tests/unit/worker/test_copy.c.
 */
#include "tests/unit/migration/vm_bed.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "migration/disks.h"
#include "migration/live.h"
#include "migration/wire.h"

#define LIMIT_MS 10000

static struct sockaddr_in where;

static struct disks *disks_of(int alone)
{
	const struct disks_config config = {
		.key = &KEY, .facts = &FACTS, .owner = owner, .open_ms = 2000, .alone = alone
	};
	struct disks *d = NULL;
	struct fault f = { 0 };
	assert_int_equal(disks_new(&config, &d, &f), 0);
	return d;
}

static int listener(void)
{
	socklen_t size = sizeof(where);
	where = (struct sockaddr_in){ .sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&where, size), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&where, &size), 0);
	return fd;
}

/* A source's channel: it is open, or WORDS are why not. */
static struct wire *comes_as(enum channel_kind kind, uint16_t number, uint8_t attempt,
			     uint32_t features, const char *words)
{
	struct channel_id id = { .kind = kind, .number = number, .attempt = { attempt } };
	struct hello hello;
	struct wire *w;
	struct fault f = { 0 };
	int64_t deadline = clock_ms() + LIMIT_MS;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&where, sizeof(where)), 0);
	assert_int_equal(fd_set_nonblock(fd, 1), 0);
	assert_int_equal(hello_make(&FACTS, owner, features, &hello), 0);
	assert_int_equal(wire_new(keys, &w), 0);
	assert_int_equal(wire_source(w, &id, &hello, fd, fd, LIMIT_MS, &f), 0);
	while (wire_state(w) == WIRE_OPENING) {
		struct pollfd slots[WIRE_SLOTS];
		wire_slots(w, slots);
		assert_true(clock_left_ms(deadline) > 0);
		(void)poll(slots, WIRE_SLOTS, 100);
		wire_serve(w, slots);
	}
	if (!words) {
		assert_int_equal(wire_state(w), WIRE_OPEN);
		return w;
	}
	if (wire_state(w) != WIRE_FAILED || !wire_refusal(w) ||
	    !strstr(wire_refusal(w)->sentence, words))
		fail_msg("disk %d of %d is not refused with '%s'", number, attempt, words);
	wire_free(w);
	return NULL;
}

static struct wire *comes(uint16_t number, uint8_t attempt, uint32_t features, const char *words)
{
	return comes_as(CHANNEL_DISK, number, attempt, features, words);
}

static int is_waiting(int server)
{
	struct pollfd p = { .fd = server, .events = POLLIN };
	return poll(&p, 1, 50) == 1;
}

static void test_numbers(void **state)
{
	(void)state;
	struct disks *d = disks_of(1);
	struct fault f = { 0 };
	uint8_t attempt[CHANNEL_ATTEMPT_BYTES] = { 0 };
	int server = -1, none;
	assert_int_equal(disks_arrive(d, listener(), &server, &f), 0);
	comes(DISKS_MAX, 7, HELLO_DISKS, "no more than 8 disks");
	comes(0, 7, 0, "only disks come in");
	comes(0, 7, HELLO_DISKS | HELLO_MORE_MEMORY, "only disks come in");
	assert_int_equal(disks_attempt(d, attempt), 0);
	assert_false(is_waiting(server));
	struct wire *first = comes(3, 7, HELLO_DISKS, NULL);
	assert_true(is_waiting(server));
	close(accept(server, NULL, NULL));
	comes(3, 7, HELLO_DISKS, "has come in already");
	comes(4, 8, HELLO_DISKS, "another migration's disks");
	assert_int_equal(disks_attempt(d, attempt), 1);
	assert_int_equal(attempt[0], 7);
	struct wire *second = comes(4, 7, HELLO_DISKS, NULL);
	assert_true(is_waiting(server));
	int fd = accept(server, NULL, NULL);
	/* When the first one has gone, so has the other, and nobody comes any more. */
	wire_free(first);
	char c;
	assert_int_equal(read(fd, &c, 1), 0);
	close(fd);
	comes(3, 7, HELLO_DISKS, "has come in already");
	comes(5, 7, HELLO_DISKS, "another disk of this migration");
	assert_false(is_waiting(server));
	wire_free(second);
	/* It is for once. */
	assert_int_equal(disks_arrive(d, -1, &none, &f), ERR_STATE);
	/* The VM leaves again, without its disks. */
	assert_int_equal(disks_attempt(d, attempt), 1);
	disks_anew(d);
	assert_int_equal(disks_attempt(d, attempt), 0);
	close(server);
	disks_free(d);
}

/* Where everybody on the host could reach QEMU's server, it gets none. */
static void test_not_alone(void **state)
{
	(void)state;
	struct disks *d = disks_of(0);
	struct fault f = { 0 };
	int server = -1;
	assert_int_equal(disks_arrive(d, -1, &server, &f), ERR_STATE);
	assert_non_null(strstr(f.text, "no network of its own"));
	assert_int_equal(server, -1);
	disks_free(d);
}

/* The memory is of the disks' attempt, and says whether there are any. */
static void test_memory(void **state)
{
	(void)state;
	static const char WHY[] = "do not come with the same migration";
	struct disks *d = disks_of(1);
	const struct live_config config = { .key = &KEY,
					    .facts = &FACTS,
					    .owner = owner,
					    .disks = d,
					    .open_ms = 2000,
					    .qemus = -1 };
	struct fault f = { 0 };
	struct live *l;
	int server = -1, qemus = -1;
	assert_int_equal(live_new(&config, &l, &f), 0);
	assert_int_equal(disks_arrive(d, listener(), &server, &f), 0);
	const struct sockaddr_in at_disks = where;
	assert_int_equal(live_arrive(l, LIVE_ANEW, listener(), 0, &qemus, &f), 0);
	const struct sockaddr_in at_memory = where;
	comes_as(CHANNEL_MEMORY, 0, 7, HELLO_DISKS, WHY);
	where = at_disks;
	struct wire *disk = comes(0, 7, HELLO_DISKS, NULL);
	where = at_memory;
	comes_as(CHANNEL_MEMORY, 0, 7, 0, WHY);
	comes_as(CHANNEL_MEMORY, 0, 8, HELLO_DISKS, WHY);
	wire_free(comes_as(CHANNEL_MEMORY, 0, 7, HELLO_DISKS, NULL));
	wire_free(disk);
	close(server);
	close(qemus);
	live_free(l);
	disks_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_not_alone),
		cmocka_unit_test(test_memory),
	};
	return cmocka_run_group_tests(tests, make_all, free_all);
}
