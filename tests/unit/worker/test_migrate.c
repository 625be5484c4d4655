/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From one host to another, over the monitor: two of carry_bed.h's, and a network.
 */
#include "tests/unit/worker/carry_pair.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "migration/wires.h"

static void test_migration(void **state)
{
	(void)state;
	struct pair p;
	pair_start(&p, &(struct making){ 0 });
	prepare_to(&p);
	begin_from(&p);
	say(p.from.qemu, EVENT("pre-switchover"));
	libvirt_gets(&p.from, "\"pre-switchover\"}}\r\n");
	say(p.from.libvirt, "{\"execute\":\"migrate-continue\",\"arguments\":{\"state\":"
			    "\"pre-switchover\"}}\n");
	qemu_gets(&p.from, "\"migrate-continue\"");
	qemu_answers(&p.from, OK);
	libvirt_gets(&p.from, OK);
	cross(&p);
	finish(&p);
	/* The way in was for once. */
	say(p.to.libvirt, "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":"
			  "\"tcp:127.0.0.1:9999\"}}\n");
	libvirt_gets(&p.to, "shieldvm: migration.unsealed: ");
	pair_end(&p);
	assert_string_equal(p.broker[0].records, "the VM is to move to another host, sealed\n"
						 "the VM is the other host's, which runs it\n");
	assert_non_null(strstr(p.broker[1].records, "the VM is to come from another host\n"
						    "the VM's state has not come in"));
	assert_non_null(strstr(p.broker[1].records, "the VM has come from another host\n"
						    "the VM is this host's\n"));
}

/* Strangers come first, more of them than there are places. */
static void test_strangers(void **state)
{
	(void)state;
	struct pair p;
	int strangers[3 * WIRES_OPENING];
	pair_start(&p, &(struct making){ 0 });
	prepare_to(&p);
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
		strangers[i] = connection(p.port);
		if (i % 3 == 0)
			say(strangers[i], "GET / HTTP/1.0\r\n\r\n");
		if (i % 3 == 1) /* the front of a handshake, and nothing behind it */
			assert_int_equal(write(strangers[i], "\x16\x03\x01\x01", 4), 4);
	}
	begin_from(&p);
	cross(&p);
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++)
		close(strangers[i]);
	finish(&p);
	/* Nobody listens there any more. */
	struct sockaddr_in a;
	int late = tcp_socket(&a, p.port);
	assert_int_equal(connect(late, (struct sockaddr *)&a, sizeof(a)), -1);
	close(late);
	pair_end(&p);
}

/* Whoever is there is not to have it: libvirt hears why, and QEMU nothing. */
static void test_wrong_peer(void **state)
{
	(void)state;
	static const struct vm_key other = { { 3, 2, 1 } };
	struct jwk *owner;
	struct fault f = { 0 };
	assert_int_equal(jwk_new(&owner, &f), 0);
	const struct {
		struct making there;
		const char *says;
	} PEERS[] = {
		{ { .key = &other }, "\"desc\":\"shieldvm: migration.peer: " },
		{ { .tpm = 1 }, "\"desc\":\"shieldvm: migration.tpm: the destination refuses: " },
		{ { .owner = owner },
		  "\"desc\":\"shieldvm: migration.policy: the destination refuses: " },
	};
	for (size_t i = 0; i < sizeof(PEERS) / sizeof(PEERS[0]); i++) {
		struct pair p;
		pair_start(&p, &PEERS[i].there);
		prepare_to(&p);
		ask_from(&p);
		libvirt_gets(&p.from, PEERS[i].says);
		assert_null(strstr(p.from.from_qemu, "execute"));
		not_yet(&p.to, p.to.from_libvirt, "MIGRATION");
		pair_end(&p);
		assert_non_null(strstr(p.broker[0].records, "\n"));
	}
	jwk_free(owner);
	/* A plain QEMU, which waits for what comes; and one that hangs up. */
	for (int hangs_up = 0; hangs_up < 2; hangs_up++) {
		struct pair p;
		int ends[2];
		pair_start(&p, &(struct making){ 0 });
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
		hand_over(&p.from, "migrate", ends[0]);
		libvirt_gets(&p.from, OK);
		close(ends[0]);
		say(p.from.libvirt, MIGRATE);
		if (hangs_up)
			fd_close(&ends[1]);
		libvirt_gets(&p.from, "\"desc\":\"shieldvm: migration.peer: ");
		assert_null(strstr(p.from.from_qemu, "execute"));
		fd_close(&ends[1]);
		pair_end(&p);
	}
}

/* The link breaks while it moves: the source's QEMU meets a closed connection and goes on. */
static void test_broken_link(void **state)
{
	(void)state;
	struct pair p;
	char byte;
	pair_start(&p, &(struct making){ 0 });
	prepare_to(&p);
	begin_from(&p);
	cross(&p);
	assert_int_equal(shutdown(p.tcp, SHUT_RDWR), 0);
	int64_t deadline = clock_ms() + WAIT_MS;
	while (read(p.from.qemus_fd, &byte, 1) != 0)
		assert_true(clock_left_ms(deadline) > 0);
	not_yet(&p.from, p.from.from_libvirt, "MIGRATION");
	say(p.from.qemu, EVENT("failed"));
	libvirt_gets(&p.from, "\"failed\"}}\r\n");
	query(&p.from, "\"return\": {\"status\": \"failed\"}", "\"error-desc\":\"shieldvm: ");
	say(p.from.libvirt, CONT);
	qemu_gets(&p.from, "\"cont\"");
	qemu_answers(&p.from, OK);
	libvirt_gets(&p.from, OK);
	/* The destination's waits, until libvirt has heard why and ends it. */
	libvirt_gets(&p.to, "\"event\":\"MIGRATION\",\"data\":{\"status\":\"failed\"}}");
	query(&p.to, "\"return\": {\"status\": \"active\"}", "\"error-desc\":\"shieldvm: ");
	assert_int_equal(read(p.to.qemus_fd, &byte, 1), -1);
	say(p.to.libvirt, CONT);
	libvirt_gets(&p.to, "shieldvm: state.unverified: ");
	pair_end(&p);
}

/* libvirt gives it up, early and late. */
static void test_migration_cancelled(void **state)
{
	(void)state;
	for (int late = 0; late < 2; late++) {
		struct pair p;
		pair_start(&p, &(struct making){ 0 });
		prepare_to(&p);
		begin_from(&p);
		cross(&p);
		if (late)
			say(p.from.qemu, EVENT("completed"));
		not_yet(&p.from, p.from.from_libvirt, "completed");
		say(p.from.libvirt, "{\"execute\":\"migrate_cancel\"}\n");
		qemu_gets(&p.from, "migrate_cancel");
		qemu_answers(&p.from, OK);
		if (!late)
			say(p.from.qemu, EVENT("cancelled"));
		libvirt_gets(&p.from, late ? "\"status\":\"failed\"" : "\"cancelled\"}}\r\n");
		libvirt_gets(&p.to, "\"event\":\"MIGRATION\",\"data\":{\"status\":\"failed\"}}");
		pair_end(&p);
		assert_null(strstr(p.broker[0].records, "is the other host's"));
	}
}

/* libvirt has the guest run before it has heard that all is over there: then it stays. */
static void test_run_too_early(void **state)
{
	(void)state;
	for (int over = 0; over < 2; over++) {
		struct pair p;
		pair_start(&p, &(struct making){ 0 });
		prepare_to(&p);
		begin_from(&p);
		cross(&p);
		/* The channel may be over, though QEMU has not said that it is done. */
		if (over) {
			fd_close(&p.from.qemus_fd);
			fd_close(&p.to.qemus_fd);
			not_yet(&p.from, p.from.from_libvirt, "MIGRATION");
		}
		say(p.from.libvirt, CONT);
		qemu_gets(&p.from, "\"cont\"");
		say(p.from.qemu, EVENT("completed"));
		qemu_answers(&p.from, OK);
		libvirt_gets(&p.from, OK);
		libvirt_gets(&p.from, "\"event\":\"MIGRATION\",\"data\":{\"status\":\"failed\"}}");
		query(&p.from, COMPLETED, "libvirt runs the VM here again before it has left");
		pair_end(&p);
		assert_null(strstr(p.broker[0].records, "is the other host's"));
	}
}

/* libvirt's tunnel, where it comes out. */
static void test_tunnel(void **state)
{
	(void)state;
	struct pair p;
	int pipes[2];
	const int32_t number = 23;
	pair_start(&p, &(struct making){ 0 });
	assert_int_equal(pipe(pipes), 0);
	carry_launched(p.to.carry, 1, &pipes[0], &number, 1);
	say(p.to.libvirt, INCOMING);
	libvirt_gets(&p.to, "shieldvm: migration.form: libvirt's tunnel goes one way");
	assert_null(strstr(p.to.from_qemu, "execute"));
	close(pipes[1]);
	pair_end(&p);
}

int main(void)
{
	carry_bed_init();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_migration),
		cmocka_unit_test(test_strangers),
		cmocka_unit_test(test_wrong_peer),
		cmocka_unit_test(test_broken_link),
		cmocka_unit_test(test_migration_cancelled),
		cmocka_unit_test(test_run_too_early),
		cmocka_unit_test(test_tunnel),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
