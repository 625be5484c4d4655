/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Post-copy over the monitor: the VM runs on the other host before all of it is there, and on one
 * host only, whatever becomes of the link.
 */
#include "tests/unit/worker/carry_pair.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "tests/unit/worker/memory_store.h"

#define RESUME                                                                                     \
	"{\"execute\":\"migrate\",\"arguments\":{\"detach\":true,\"uri\":\"fd:migrate\","          \
	"\"resume\":true},\"id\":\"m\"}\n"
#define CANCEL	"{\"execute\":\"migrate_cancel\"}\n"
#define MOVED	"shieldvm: migration.moved: "
#define MAY_RUN "the VM runs on the other host, or may: its migration can only go on\n"

/* libvirt has COMMAND, which QEMU gets and carries out. */
static void passes(struct bed *b, const char *command, const char *arguments)
{
	char line[256], name[64];
	snprintf(line, sizeof(line), "{\"execute\":\"%s\",\"arguments\":{%s}}\n", command,
		 arguments);
	snprintf(name, sizeof(name), "\"%s\"", command);
	say(b->libvirt, line);
	qemu_gets(b, name);
	qemu_answers(b, OK);
	libvirt_gets(b, OK);
}

static void refused(struct bed *b, const char *line, const char *rule)
{
	say(b->libvirt, line);
	libvirt_gets(b, rule);
	assert_null(strstr(b->from_qemu, "execute"));
}

#define tells(b, status)                                                                           \
	do {                                                                                       \
		say((b)->qemu, EVENT(status));                                                     \
		libvirt_gets((b), "\"" status "\"}}\r\n");                                         \
	} while (0)

/* Up to where the VM runs there. */
static void run_there(struct pair *p)
{
	begin_from(p);
	tells(&p->from, "active");
	passes(&p->from, "migrate-start-postcopy", "");
	tells(&p->from, "pre-switchover");
	passes(&p->from, "migrate-continue", "\"state\":\"pre-switchover\"");
	refused(&p->from, CANCEL, MOVED);
	tells(&p->from, "postcopy-active");
	refused(&p->from, CANCEL, MOVED);
	refused(&p->from, CONT, MOVED);
	/* Its QEMU has not got as far yet. */
	refused(&p->to, CONT, "shieldvm: state.unverified: ");
	tells(&p->to, "postcopy-active");
	passes(&p->to, "cont", "");
}

/* The rest of it. */
static void end_there(struct pair *p)
{
	cross(p);
	say(p->from.qemu, EVENT("completed"));
	say(p->to.qemu, EVENT("completed"));
	not_yet(&p->from, p->from.from_libvirt, "completed");
	query(&p->from, COMPLETED, "{\"status\": \"postcopy-active\"}");
	fd_close(&p->from.qemus_fd);
	fd_close(&p->to.qemus_fd);
	libvirt_gets(&p->from, "\"completed\"}}\r\n");
	libvirt_gets(&p->to, "\"completed\"}}\r\n");
}

static void test_postcopy(void **state)
{
	(void)state;
	struct pair p;
	pair_start(&p, &(struct making){ 0 });
	prepare_to(&p);
	/* Its QEMU is the only one so far to say so. */
	tells(&p.to, "postcopy-active");
	refused(&p.to, CONT, "shieldvm: state.unverified: ");
	run_there(&p);
	end_there(&p);
	passes(&p.to, "stop", "");
	passes(&p.to, "cont", "");
	/* What is left behind never runs again. */
	refused(&p.from, CONT, MOVED);
	refused(&p.from, CANCEL, MOVED);
	pair_end(&p);
	assert_string_equal(p.broker[0].records,
			    "the VM is to move to another host, sealed\n"
			    "the VM is to run on the other host\n" MAY_RUN MAY_RUN MAY_RUN
			    "the VM's state is on the other host\n" MAY_RUN MAY_RUN);
	assert_non_null(strstr(p.broker[1].records, "the VM has come from another host\n"
						    "all of the VM's memory has come\n"));
}

/* QEMU has all of the package, and has not given the vTPM its part yet: "cont" waits for it, and
 * the vTPM serves from then on. */
static void test_vtpm(void **state)
{
	(void)state;
	static const uint8_t STARTUP[] = "\x80\x01\0\0\0\x0c\0\0\x01\x44\0", vm[UUID_BYTES] = { 7 };
	static struct store disk;
	const struct vtpm_config config = { .store = &disk, .vm = vm };
	uint8_t reply[VTPM_BUFFER_MAX];
	size_t n;
	struct vtpm *vtpm;
	struct fault f = { 0 };
	struct pair p;
	CLEANUP_BUF struct buf blob = BUF_INIT(VTPM_BLOB_MAX);
	assert_int_equal(vtpm_new(&config, &vtpm, &f), 0);
	vtpm_make(vtpm, &blob);
	disk.saves = 0;
	pair_start(&p, &(struct making){ .vtpm = vtpm });
	prepare_to(&p);
	begin_from(&p);
	/* QEMU starts every vTPM, long before it has anything for it. */
	assert_int_equal(vtpm_init(vtpm, &f), 0);
	tells(&p.to, "postcopy-active");
	say(p.to.libvirt, CONT);
	not_yet(&p.to, p.to.from_qemu, "cont");
	assert_string_equal(p.to.from_libvirt, "");
	vtpm_comes(vtpm, &blob);
	vtpm_command(vtpm, STARTUP, sizeof(STARTUP), reply, &n);
	assert_int_equal(reply[8] << 8 | reply[9], VTPM_RC_FAILURE);
	assert_int_equal(disk.saves, 0);
	monitor_go_on(p.to.m);
	assert_int_equal(disk.saves, 1);
	qemu_gets(&p.to, "\"cont\"");
	qemu_answers(&p.to, OK);
	libvirt_gets(&p.to, OK);
	vtpm_command(vtpm, STARTUP, sizeof(STARTUP), reply, &n);
	assert_int_equal(reply[8] << 8 | reply[9], 0);
	pair_end(&p);
	vtpm_free(vtpm);
	buf_done(&disk.state);
}

/* Asked for, and then QEMU gives up: the VM stays. */
static void test_given_up(void **state)
{
	(void)state;
	struct pair p;
	pair_start(&p, &(struct making){ 0 });
	prepare_to(&p);
	begin_from(&p);
	passes(&p.from, "migrate-start-postcopy", "");
	passes(&p.from, "migrate-continue", "\"state\":\"pre-switchover\"");
	tells(&p.from, "failed");
	passes(&p.from, "cont", "");
	passes(&p.from, "migrate_cancel", "");
	pair_end(&p);
	assert_non_null(strstr(p.broker[0].records, "the VM is to run on the other host\n"
						    "the VM stays here: it was given up\n"));
}

/* The link breaks, and both QEMUs learn of it and wait. */
static void break_link(struct pair *p)
{
	char byte;
	assert_int_equal(shutdown(p->tcp, SHUT_RDWR), 0);
	fd_close(&p->tcp);
	int64_t deadline = clock_ms() + WAIT_MS;
	struct bed *both[] = { &p->from, &p->to };
	for (int i = 0; i < 2; i++) {
		while (recv(both[i]->qemus_fd, &byte, 1, MSG_DONTWAIT) != 0) {
			assert_true(clock_left_ms(deadline) > 0);
			step(both[i]);
		}
		tells(both[i], "postcopy-paused");
		query(both[i], "\"return\": {\"status\": \"postcopy-paused\"}",
		      "{\"status\": \"postcopy-paused\"}");
		fd_close(&both[i]->qemus_fd);
	}
}

/* QEMU has to run on what is not there, and cannot answer "cont" before it knows that the link
 * broke.
 */
static void test_broken_at_once(void **state)
{
	(void)state;
	struct pair p;
	char byte;
	pair_start(&p, &(struct making){ 0 });
	prepare_to(&p);
	begin_from(&p);
	tells(&p.to, "postcopy-active");
	say(p.to.libvirt, CONT);
	qemu_gets(&p.to, "\"cont\"");
	assert_int_equal(shutdown(p.tcp, SHUT_RDWR), 0);
	int64_t deadline = clock_ms() + WAIT_MS;
	while (recv(p.to.qemus_fd, &byte, 1, MSG_DONTWAIT) != 0) {
		assert_true(clock_left_ms(deadline) > 0);
		step(&p.to);
	}
	tells(&p.to, "postcopy-paused");
	qemu_answers(&p.to, OK);
	libvirt_gets(&p.to, OK);
	pair_end(&p);
}

/* As far as the source's QEMU is concerned: it is stuck, as libvirt had it pause when it had
 * nothing left to send. */
static void stays_away(struct pair *p)
{
	libvirt_gets(&p->to, "\"completed\"}}\r\n");
	query(&p->to, COMPLETED, "\"completed\"");
	query(&p->from, "\"return\": {\"status\": \"postcopy-active\"}",
	      "{\"status\": \"postcopy-active\"}");
	refused(&p->from, CONT, MOVED);
	refused(&p->from, CANCEL, MOVED);
	passes(&p->to, "stop", "");
	passes(&p->to, "cont", "");
}

/* libvirt has the source's QEMU give its connection up when that had written all. */
static void test_paused_too_late(void **state)
{
	(void)state;
	struct pair p;
	char byte;
	pair_start(&p, &(struct making){ 0 });
	prepare_to(&p);
	run_there(&p);
	cross(&p);
	assert_int_equal(write(p.from.qemus_fd, "end", 3), 3);
	assert_int_equal(shutdown(p.from.qemus_fd, SHUT_RDWR), 0);
	assert_int_equal(write(p.to.qemus_fd, "had", 3), 3);
	int64_t deadline = clock_ms() + WAIT_MS;
	while (read(p.to.qemus_fd, &byte, 1) != 0) {
		assert_true(clock_left_ms(deadline) > 0);
		step(&p.from);
	}
	say(p.to.qemu, EVENT("completed"));
	fd_close(&p.to.qemus_fd);
	stays_away(&p);
	pair_end(&p);
	assert_non_null(strstr(p.broker[1].records, "all of the VM's memory has come\n"));
}

/* The link breaks behind all of it: QEMU says what it has, before or after that. */
static void test_broken_too_late(void **state)
{
	(void)state;
	for (int before = 0; before < 2; before++) {
		struct pair p;
		char byte;
		pair_start(&p, &(struct making){ 0 });
		prepare_to(&p);
		run_there(&p);
		cross(&p);
		if (before)
			say(p.to.qemu, EVENT("completed"));
		not_yet(&p.to, p.to.from_libvirt, "completed");
		assert_int_equal(shutdown(p.tcp, SHUT_RDWR), 0);
		int64_t deadline = clock_ms() + WAIT_MS;
		while (!before && recv(p.to.qemus_fd, &byte, 1, MSG_DONTWAIT) != 0) {
			assert_true(clock_left_ms(deadline) > 0);
			step(&p.to);
		}
		if (!before)
			say(p.to.qemu, EVENT("completed"));
		stays_away(&p);
		pair_end(&p);
		assert_non_null(strstr(p.broker[1].records, "all of the VM's memory has come\n"));
	}
}

/* All of it is in, but it does not run yet, or libvirt gives it up: that is the old story. */
static void test_whole_and_not_wanted(void **state)
{
	(void)state;
	for (int runs = 0; runs < 2; runs++) {
		struct pair p;
		pair_start(&p, &(struct making){ 0 });
		prepare_to(&p);
		if (runs) {
			run_there(&p);
		} else {
			begin_from(&p);
			tells(&p.to, "postcopy-active");
		}
		cross(&p);
		say(p.to.qemu, EVENT("completed"));
		not_yet(&p.to, p.to.from_libvirt, "completed");
		if (runs)
			say(p.to.libvirt, CANCEL);
		else
			assert_int_equal(shutdown(p.tcp, SHUT_RDWR), 0);
		libvirt_gets(&p.to, "\"failed\"}}\r\n");
		pair_end(&p);
		assert_null(strstr(p.broker[1].records, "all of the VM's memory has come\n"));
	}
}

/* A new way in. */
static void recover_to(struct pair *p)
{
	char line[160];
	snprintf(line, sizeof(line),
		 "{\"execute\":\"migrate-recover\",\"arguments\":{\"uri\":\"tcp:127.0.0.1:%d\"},"
		 "\"id\":\"i\"}\n",
		 p->port);
	say(p->to.libvirt, line);
	qemu_gets(&p->to, "\"fdname\":\"shieldvm-state\"}}\n");
	qemu_answers(&p->to, OK);
	qemu_gets(&p->to, "{\"execute\":\"migrate-recover\"");
	qemu_gets(&p->to, "\"uri\":\"fd:shieldvm-state\"");
	qemu_answers(&p->to, OK);
	libvirt_gets(&p->to, OK ", \"id\": \"i\"}");
}

/* libvirt connects, and asks the source for LINE. */
static void connect_from(struct pair *p, const char *line)
{
	int fd = connection(p->port);
	hand_over(&p->from, "migrate", fd);
	libvirt_gets(&p->from, OK);
	fd_close(&p->tcp);
	p->tcp = fd;
	say(p->from.libvirt, line);
}

/* libvirt has QEMU connect by itself, as newer ones do for all post-copy. */
static void resume_to_address(struct pair *p)
{
	char line[160];
	snprintf(line, sizeof(line),
		 "{\"execute\":\"migrate\",\"arguments\":{\"detach\":true,\"uri\":"
		 "\"tcp:127.0.0.1:%d\",\"resume\":true},\"id\":\"m\"}\n",
		 p->port);
	say(p->from.libvirt, line);
}

static void goes_on(struct pair *p)
{
	qemu_gets(&p->from, "\"fdname\":\"shieldvm-state\"}}\n");
	qemu_answers(&p->from, OK);
	qemu_gets(&p->from, "\"resume\":true");
	/* From 9.1 on it says this first, and that is no end of the wait either. */
	tells(&p->from, "postcopy-recover-setup");
	qemu_answers(&p->from, OK);
	not_yet(&p->from, p->from.from_libvirt, "return");
	tells(&p->from, "postcopy-recover");
	/* libvirt would ask the other host, whose QEMU may have said nothing yet. */
	not_yet(&p->from, p->from.from_libvirt, "return");
	tells(&p->to, "postcopy-recover");
	tells(&p->to, "postcopy-active");
	tells(&p->from, "postcopy-active");
	libvirt_gets(&p->from, OK ", \"id\": \"m\"}");
}

static void recover_from(struct pair *p)
{
	connect_from(p, RESUME);
	goes_on(p);
}

static void test_recovery(void **state)
{
	(void)state;
	struct pair p;
	pair_start(&p, &(struct making){ 0 });
	prepare_to(&p);
	run_there(&p);
	for (int again = 0; again < 2; again++) {
		break_link(&p);
		/* It can only go on: nobody runs it here, saves it, or sends it elsewhere. */
		refused(&p.from, CONT, MOVED);
		refused(&p.from, CANCEL, MOVED);
		refused(&p.from, "{\"execute\":\"system_wakeup\"}\n", MOVED);
		hand_over(&p.from, "migrate", p.from.libvirt);
		libvirt_gets(&p.from, OK);
		refused(&p.from, MIGRATE, MOVED);
		/* A way in that nobody takes gives way to another. */
		recover_to(&p);
		fd_close(&p.to.qemus_fd);
		recover_to(&p);
		recover_from(&p);
	}
	end_there(&p);
	/* Then it is over. */
	refused(&p.to,
		"{\"execute\":\"migrate-recover\",\"arguments\":{\"uri\":\"tcp:127.0.0.1:9999\"}}"
		"\n",
		"shieldvm: migration.form: there is no broken");
	pair_end(&p);
	assert_non_null(strstr(p.broker[0].records, "its link broke"));
}

/* QEMU is to connect by itself, first and when the link has broken. */
static void test_recovery_to_address(void **state)
{
	(void)state;
	struct pair p;
	pair_start(&p, &(struct making){ 0 });
	passes(&p.from, "migrate-set-capabilities",
	       "\"capabilities\":[{\"capability\":\"pause-before-switchover\",\"state\":true}]");
	resume_to_address(&p);
	libvirt_gets(&p.from, "shieldvm: migration.form: there is no broken");
	prepare_to(&p);
	run_there(&p);
	resume_to_address(&p);
	libvirt_gets(&p.from, MOVED);
	break_link(&p);
	refused(&p.from,
		"{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"tcp:127.0.0.1:9999\"}}\n",
		MOVED);
	refused(&p.from,
		"{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"tcp:h:1\",\"resume\":true}}\n",
		"--migrateuri tcp://ADDRESS");
	recover_to(&p);
	resume_to_address(&p);
	goes_on(&p);
	end_there(&p);
	pair_end(&p);
	assert_non_null(strstr(p.broker[0].records, "its link broke"));
}

/* The new link breaks at once, too: QEMU, from 9.1 on, says that it tried and waits again, before
 * it answers or after. */
static void test_recovery_fails_early(void **state)
{
	(void)state;
	struct pair p;
	pair_start(&p, &(struct making){ 0 });
	prepare_to(&p);
	run_there(&p);
	break_link(&p);
	for (int answers_first = 0; answers_first < 2; answers_first++) {
		recover_to(&p);
		connect_from(&p, RESUME);
		qemu_gets(&p.from, "\"fdname\":\"shieldvm-state\"}}\n");
		qemu_answers(&p.from, OK);
		qemu_gets(&p.from, "\"resume\":true");
		tells(&p.from, "postcopy-recover-setup");
		if (answers_first)
			qemu_answers(&p.from, OK);
		not_yet(&p.from, p.from.from_libvirt, "return");
		tells(&p.from, "postcopy-paused");
		if (!answers_first)
			qemu_answers(&p.from, OK);
		libvirt_gets(&p.from, OK ", \"id\": \"m\"}");
		fd_close(&p.from.qemus_fd);
		/* It came as far as to the other host, whose QEMU never noticed. */
		refused(&p.from, CONT, MOVED);
		fd_close(&p.to.qemus_fd);
	}
	recover_to(&p);
	recover_from(&p);
	end_there(&p);
	pair_end(&p);
}

/* Who begins and who goes on are no pair; nor are two who go on with different ones. */
static void test_wrong_attempt(void **state)
{
	(void)state;
	struct pair p, other;
	pair_start(&p, &(struct making){ 0 });
	refused(&p.from, "{\"execute\":\"migrate-recover\",\"arguments\":{\"uri\":\"tcp:h:1\"}}\n",
		"shieldvm: migration.form: ");
	hand_over(&p.from, "migrate", p.from.libvirt);
	libvirt_gets(&p.from, OK);
	refused(&p.from, RESUME, "shieldvm: migration.form: there is no broken");
	prepare_to(&p);
	run_there(&p);
	break_link(&p);
	pair_start(&other, &(struct making){ 0 });
	/* To one who has nothing yet. */
	prepare_to(&other);
	int port = p.port;
	p.port = other.port;
	connect_from(&p, RESUME);
	libvirt_gets(&p.from,
		     "migration.form: the destination refuses: the destination has nothing");
	/* From one who begins. */
	p.port = port;
	recover_to(&p);
	int others = other.port;
	other.port = port;
	connect_from(&other, MIGRATE);
	libvirt_gets(&other.from, "migration.form: the destination refuses: the destination waits");
	/* From one who goes on with another. */
	other.port = others;
	run_there(&other);
	break_link(&other);
	other.port = port;
	connect_from(&other, RESUME);
	libvirt_gets(&other.from, "migration.form: the destination refuses: the destination waits");
	/* The true one is still welcome. */
	recover_from(&p);
	end_there(&p);
	pair_end(&p);
	pair_end(&other);
}

int main(void)
{
	carry_bed_init();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_postcopy),
		cmocka_unit_test(test_vtpm),
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_broken_at_once),
		cmocka_unit_test(test_recovery),
		cmocka_unit_test(test_recovery_to_address),
		cmocka_unit_test(test_recovery_fails_early),
		cmocka_unit_test(test_wrong_attempt),
		cmocka_unit_test(test_paused_too_late),
		cmocka_unit_test(test_broken_too_late),
		cmocka_unit_test(test_whole_and_not_wanted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
