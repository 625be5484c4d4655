/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The worker's main loop between a broker and a QEMU that this test plays, with a real vTPM.
 */
#include "tests/unit/worker/fixture.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/broker.h"
#include "worker/carry.h"
#include "worker/loop.h"
#include "worker/report.h"

static const uint8_t GET_CAPABILITY[4] = { 0, 0, 0, CTRL_GET_CAPABILITY };

struct bed {
	struct fixture x;
	struct carry *carry;
	struct monitor *monitor;
	struct guard guard;
	struct loop_config config;
	int link, lifeline, ctrl; /* the other ends */
	pthread_t thread;
	int rc;
};

static void *run(void *arg)
{
	struct bed *b = arg;
	b->rc = loop_run(NULL, &b->config);
	return NULL;
}

static void start(struct bed *b)
{
	const struct protector_facts facts = { .level = LEVEL_SHIELDED };
	int link[2], lifeline[2], ctrl[2];
	*b = (struct bed){ .rc = 1, .guard = GUARD_NONE };
	fixture_open(&b->x, 1, 2, 1);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, link), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, lifeline), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ctrl), 0);
	const struct carry_config carry = { .vtpm = b->x.vtpm, .link = -1 };
	assert_int_equal(carry_new(&carry, &b->carry), 0);
	assert_int_equal(monitor_new(-1, -1, &facts, b->carry, &b->monitor), 0);
	b->config = (struct loop_config){ .vtpm = b->x.vtpm,
					  .data = b->x.data,
					  .monitor = b->monitor,
					  .carry = b->carry,
					  .guard = &b->guard,
					  .ctrl = ctrl[1],
					  .link = link[1],
					  .lifeline = lifeline[1] };
	b->link = link[0];
	b->lifeline = lifeline[0];
	b->ctrl = ctrl[0];
	assert_int_equal(pthread_create(&b->thread, NULL, run, b), 0);
}

/* The loop ends by itself, and lets go of the control channel. */
static void end(struct bed *b)
{
	assert_true(client_closed(b->ctrl, WAIT_MS));
	assert_int_equal(pthread_join(b->thread, NULL), 0);
	assert_int_equal(b->rc, 0);
	fd_close(&b->link);
	fd_close(&b->lifeline);
	fd_close(&b->ctrl);
	close(b->config.link);
	close(b->config.lifeline);
	monitor_free(b->monitor);
	carry_free(b->carry);
	fixture_done(&b->x);
}

/* The broker's order, which says N_INCOMING, with N descriptors. */
static void order(struct bed *b, uint32_t kind, uint32_t n_incoming, size_t n)
{
	const struct broker_order o = { .kind = kind,
					.incoming = n_incoming > 0,
					.n_incoming = n_incoming };
	int fds[2] = { socket(AF_UNIX, SOCK_STREAM, 0), socket(AF_UNIX, SOCK_STREAM, 0) };
	assert_true(n <= 2 && fds[0] >= 0 && fds[1] >= 0);
	assert_int_equal(fd_send(b->link, &o, sizeof(o), fds, n), 0);
	close(fds[0]);
	close(fds[1]);
}

/* The vTPM answers nobody before it is known whether this is a start from state. */
static void test_silent_until_launched(void **state)
{
	(void)state;
	const struct broker_audited late = { .magic = REPORT_MAGIC, .number = 7 };
	uint8_t reply[8];
	struct bed b;
	start(&b);
	client_send(b.ctrl, GET_CAPABILITY, sizeof(GET_CAPABILITY), -1);
	client_silent(b.ctrl, 200);
	/* Nor because something else happens; and an answer that nobody waits for is no order. */
	assert_int_equal(fd_send(b.link, &late, sizeof(late), NULL, 0), 0);
	client_silent(b.ctrl, 200);
	order(&b, BROKER_LAUNCHED, 0, 1);
	assert_int_equal(client_recv(b.ctrl, reply, sizeof(reply), WAIT_MS), 0);
	/* And goes on doing so. */
	client_send(b.ctrl, GET_CAPABILITY, sizeof(GET_CAPABILITY), -1);
	assert_int_equal(client_recv(b.ctrl, reply, sizeof(reply), WAIT_MS), 0);
	fd_close(&b.lifeline);
	end(&b);
}

static void test_ends_with_qemu(void **state)
{
	(void)state;
	struct bed b;
	start(&b);
	fd_close(&b.lifeline);
	end(&b);
}

static void test_ends_with_the_broker(void **state)
{
	(void)state;
	struct bed b;
	start(&b);
	order(&b, BROKER_LAUNCHED, 0, 1);
	fd_close(&b.link);
	end(&b);
}

/* What makes no sense from the broker ends the VM, and nothing was launched by it. */
static void test_orders_that_make_no_sense(void **state)
{
	(void)state;
	static const struct {
		uint32_t kind, n_incoming;
		size_t n;
	} WRONG[] = { { 9, 0, 1 },
		      { BROKER_LAUNCHED, 0, 2 },
		      { BROKER_LAUNCHED, 1, 1 },
		      { BROKER_LAUNCHED, 0, 0 },
		      { BROKER_LAUNCHED, UINT32_MAX, 0 } };
	for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
		struct bed b;
		start(&b);
		order(&b, WRONG[i].kind, WRONG[i].n_incoming, WRONG[i].n);
		end(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_silent_until_launched),
		cmocka_unit_test(test_ends_with_qemu),
		cmocka_unit_test(test_ends_with_the_broker),
		cmocka_unit_test(test_orders_that_make_no_sense),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
