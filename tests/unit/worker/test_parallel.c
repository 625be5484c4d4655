/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From one host to another over several channels, as libvirt's --parallel has QEMU do it.
 */
#include "tests/unit/worker/carry_pair.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define MORE		 3
#define CAPABILITY(name) "{\"capability\":\"" name "\",\"state\":true}"

/* libvirt sets it up at B: so many channels beside the first. */
static void set_up(struct bed *b, int more)
{
	char line[256];
	say(b->libvirt,
	    "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
	    "[" CAPABILITY("pause-before-switchover") "," CAPABILITY("multifd") "]}}\n");
	qemu_gets(b, "multifd");
	qemu_answers(b, OK);
	libvirt_gets(b, OK);
	snprintf(line, sizeof(line),
		 "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"multifd-channels\":%d}}"
		 "\n",
		 more);
	say(b->libvirt, line);
	qemu_gets(b, "multifd-channels");
	qemu_answers(b, OK);
	libvirt_gets(b, OK);
}

/* The destination's QEMU gets a listener. */
static void prepare(struct pair *p, int more)
{
	char line[256];
	set_up(&p->to, more);
	snprintf(line, sizeof(line),
		 "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"%s\"},"
		 "\"id\":\"i\"}\n",
		 p->uri);
	say(p->to.libvirt, line);
	qemu_gets(&p->to, "\"fdname\":\"shieldvm-state\"}}\n");
	qemu_answers(&p->to, OK);
	qemu_gets(&p->to, "\"uri\":\"tcp:fd:shieldvm-state\"");
	qemu_answers(&p->to, OK);
	libvirt_gets(&p->to, OK ", \"id\": \"i\"}");
	assert_int_equal(fcntl(p->to.qemus_fd, F_SETFL, O_NONBLOCK), 0);
}

static void ask(struct pair *p)
{
	char line[256];
	snprintf(line, sizeof(line),
		 "{\"execute\":\"migrate\",\"arguments\":{\"detach\":true,\"uri\":"
		 "\"%s\"},\"id\":\"m\"}\n",
		 p->uri);
	say(p->from.libvirt, line);
}

/* The source's connects: its end. */
static int connects(struct pair *p)
{
	int ends[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_int_equal(fd_send(p->from.qemus_door, "x", 1, &ends[1], 1), 0);
	close(ends[1]);
	assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	return ends[0];
}

/* ... as it is told. */
static void leave(struct pair *p, int qemus[static 1 + MORE])
{
	set_up(&p->from, MORE);
	ask(p);
	qemu_gets(&p->from, "{\"execute\":\"migrate\"");
	qemu_gets(&p->from, "\"uri\":\"unix:/");
	qemu_gets(&p->from, "/01000000-0000-0000-0000-000000000000/migrate.sock\"");
	qemu_answers(&p->from, OK);
	libvirt_gets(&p->from, OK ", \"id\": \"m\"}");
	for (int i = 0; i <= MORE; i++)
		qemus[i] = connects(p);
}

/* The next connection to the destination's QEMU. */
static int accepted(struct pair *p)
{
	int64_t deadline = clock_ms() + WAIT_MS;
	int fd;
	while ((fd = accept4(p->to.qemus_fd, NULL, NULL, SOCK_NONBLOCK)) < 0) {
		assert_true(clock_left_ms(deadline) > 0);
		step(&p->to);
		step(&p->from);
	}
	return fd;
}

/* TEXT goes in at FROM; where does it come out? */
static int comes_out(const char *text, int from, const int to[static 1 + MORE])
{
	struct pollfd slots[1 + MORE];
	char got[64];
	assert_int_equal(write(from, text, strlen(text)), strlen(text));
	for (int i = 0; i <= MORE; i++)
		slots[i] = (struct pollfd){ .fd = to[i], .events = POLLIN };
	assert_int_equal(poll(slots, 1 + MORE, WAIT_MS), 1);
	for (int i = 0; i <= MORE; i++) {
		if (!slots[i].revents)
			continue;
		assert_int_equal(read(to[i], got, sizeof(got)), strlen(text));
		assert_memory_equal(got, text, strlen(text));
		return i;
	}
	return -1;
}

static void until_end(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char byte;
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(read(fd, &byte, 1), 0);
}

/* A connection to where the VM came in. */
static int late_connection(const struct pair *p)
{
	struct sockaddr_un path = { .sun_family = AF_UNIX, .sun_path = "memory" };
	struct sockaddr_in a;
	int fd = tcp_socket(&a, p->port);
	int rc = p->folder[0] ? -1 : connect(fd, (struct sockaddr *)&a, sizeof(a));
	close(fd);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->folder[0])
		rc = connect(fd, (struct sockaddr *)&path, sizeof(path));
	close(fd);
	return rc;
}

static void crosses(int by_path)
{
	struct pair p;
	int from[1 + MORE], to[1 + MORE], seen = 0;
	pair_start(&p, &(struct making){ 0 });
	if (by_path)
		pair_by_path(&p);
	prepare(&p, MORE);
	leave(&p, from);
	/* QEMU takes the first that comes for the first. */
	for (int i = 0; i <= MORE; i++)
		to[i] = accepted(&p);
	assert_int_equal(comes_out("first", from[0], to), 0);
	for (int i = 1; i <= MORE; i++) {
		int at = comes_out("further", from[i], to);
		assert_int_equal(comes_out("back", to[at], from), i);
		seen |= 1 << at;
	}
	assert_int_equal(seen, (1 << MORE | ((1 << MORE) - 1)) & ~1);
	/* Nobody listens there any more. */
	assert_int_equal(late_connection(&p), -1);
	say(p.from.qemu, EVENT("completed"));
	say(p.to.qemu, EVENT("completed"));
	/* All of them but one are not the end. */
	for (int i = 0; i <= MORE; i++) {
		not_yet(&p.from, p.from.from_libvirt, "completed");
		not_yet(&p.to, p.to.from_libvirt, "completed");
		close(from[i]);
		close(to[i]);
	}
	libvirt_gets(&p.from, "\"completed\"}}\r\n");
	libvirt_gets(&p.to, "\"completed\"}}\r\n");
	say(p.to.libvirt, CONT);
	qemu_gets(&p.to, "\"cont\"");
	qemu_answers(&p.to, OK);
	libvirt_gets(&p.to, OK);
	if (by_path)
		no_more(&p, "memory");
	pair_end(&p);
	const char *at = p.broker[0].records;
	assert_non_null(strstr(at, "the VM is to move to another host, sealed\n"
				   "the VM is the other host's, which runs it\n"));
}

static void test_parallel(void **state)
{
	(void)state;
	crosses(0);
}

static void test_by_path(void **state)
{
	(void)state;
	crosses(1);
}

/* One that breaks breaks all: the source's QEMU hears of it on each, the destination's when libvirt
 * has. */
static void test_one_breaks(void **state)
{
	(void)state;
	for (int which = 0; which <= MORE; which++) {
		struct pair p;
		int from[1 + MORE], to[1 + MORE];
		pair_start(&p, &(struct making){ 0 });
		prepare(&p, MORE);
		leave(&p, from);
		for (int i = 0; i <= MORE; i++)
			to[i] = accepted(&p);
		/* QEMU does not take what comes. */
		int at = comes_out("further", from[which], to);
		close(to[at]);
		assert_int_equal(write(from[which], "lost", 4), 4);
		for (int i = 0; i <= MORE; i++)
			until_end(from[i]);
		libvirt_gets(&p.to, "\"status\":\"failed\"");
		for (int i = 0; i <= MORE; i++) {
			close(from[i]);
			if (i != at)
				close(to[i]);
		}
		say(p.from.qemu, EVENT("failed"));
		libvirt_gets(&p.from, "\"failed\"");
		say(p.from.libvirt, CONT);
		qemu_gets(&p.from, "\"cont\"");
		pair_end(&p);
	}
}

/* What one side wants and the other does not. */
static void test_one_side_only(void **state)
{
	(void)state;
	for (int there = 0; there < 2; there++) {
		struct pair p;
		pair_start(&p, &(struct making){ 0 });
		if (there) {
			prepare(&p, MORE);
			ask_from(&p);
			libvirt_gets(&p.from, "shieldvm: migration.form: the destination refuses: "
					      "the destination waits for more");
		} else {
			prepare_to(&p);
			set_up(&p.from, MORE);
			ask(&p);
			libvirt_gets(&p.from, "shieldvm: migration.form: the destination refuses: "
					      "the destination takes one");
		}
		pair_end(&p);
	}
}

/* Nor does the VM go when there are not as many there as here. */
static void test_fewer(void **state)
{
	(void)state;
	struct pair p;
	pair_start(&p, &(struct making){ .open_ms = 500 });
	prepare(&p, MORE);
	set_up(&p.from, MORE - 1);
	ask(&p);
	qemu_gets(&p.from, "\"uri\":\"unix:/");
	libvirt_gets(&p.to, "\"status\":\"failed\"");
	query(&p.to, COMPLETED, "of 4 channels for memory 3 have come");
	pair_end(&p);
}

/* The one too many may have been told so only after the source took it for well. */
static void test_more(void **state)
{
	(void)state;
	struct pair p;
	int qemus[2 + MORE];
	pair_start(&p, &(struct making){ 0 });
	prepare(&p, MORE);
	set_up(&p.from, MORE + 1);
	ask(&p);
	int64_t deadline = clock_ms() + WAIT_MS;
	while (!strstr(p.from.from_libvirt, "migration.peer") &&
	       !strstr(p.from.from_qemu, "\"uri\":\"unix:/")) {
		assert_true(clock_left_ms(deadline) > 0);
		step(&p.from);
		step(&p.to);
	}
	int told = strstr(p.from.from_qemu, "\"uri\":\"unix:/") != NULL;
	for (int i = 0; told && i <= MORE + 1; i++)
		qemus[i] = connects(&p);
	for (int i = 0; told && i <= MORE + 1; i++) {
		until_end(qemus[i]);
		close(qemus[i]);
	}
	pair_end(&p);
}

static void refused(struct bed *b, const char *line, const char *why)
{
	say(b->libvirt, line);
	libvirt_gets(b, why);
}

static void test_refused(void **state)
{
	(void)state;
	static const char AT_NAME[] =
		"{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"tcp:host:49152\"}}\n";
	static const char WHERE[] = "shieldvm: migration.form: the sockets of this VM's migrations "
				    "are in one folder, the same on both hosts; migrate with "
				    "unix://" PAIR_FOLDER "/NAME";
	struct pair p;
	pair_start(&p, &(struct making){ 0 });
	/* Nobody has set up a migration. */
	refused(&p.from, AT_NAME, "shieldvm: migration.form: not the form");
	set_up(&p.from, LIVE_MORE_MAX);
	refused(&p.from, AT_NAME, "--migrateuri tcp://ADDRESS");
	refused(&p.from, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:/tmp/m\"}}\n",
		WHERE);
	refused(&p.from,
		"{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:" PAIR_FOLDER "/../m\"}}\n",
		WHERE);
	refused(&p.to,
		"{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"unix:/tmp/m\"}}\n",
		WHERE);
	refused(&p.from,
		"{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"multifd-channels\":17}}"
		"\n",
		"shieldvm: migration.form: no more than 16");
	refused(&p.from,
		"{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"multifd-channels\":0}}\n",
		"shieldvm: migration.form: no more than 16");
	refused(&p.from,
		"{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
		"[" CAPABILITY("postcopy-ram") "]}}\n",
		"shieldvm: migration.form: post-copy is not sealed");
	refused(&p.from,
		"{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
		"[" CAPABILITY("zero-copy-send") "]}}\n",
		"shieldvm: migration.form: ");
	/* There is nobody. */
	ask(&p);
	libvirt_gets(&p.from, "shieldvm: migration.peer: ");
	pair_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parallel),      cmocka_unit_test(test_one_breaks),
		cmocka_unit_test(test_one_side_only), cmocka_unit_test(test_fewer),
		cmocka_unit_test(test_more),	      cmocka_unit_test(test_refused),
		cmocka_unit_test(test_by_path),
	};
	carry_bed_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
