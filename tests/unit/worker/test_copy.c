/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disks that go from one host to another before the memory does: what libvirt says about them, two
 * workers, and somebody who plays both QEMUs' NBD.
 */
#include "tests/unit/worker/carry_pair.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "migration/wires.h"

#define DISK_BYTES (3 * 1024 * 1024 + 11)

/* Two hosts, and where the second one's NBD server would be. */
struct copying {
	struct pair p;
	int port;
	int server; /* QEMU's listener */
};

static void set_up(struct bed *b, const char *pause)
{
	char line[200];
	snprintf(line, sizeof(line),
		 "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
		 "[{\"capability\":\"pause-before-switchover\",\"state\":%s}]}}\n",
		 pause);
	say(b->libvirt, line);
	qemu_gets(b, "migrate-set-capabilities");
	qemu_answers(b, OK);
	libvirt_gets(b, OK);
}

static void say_server(struct copying *c)
{
	char line[300];
	if (c->p.folder[0]) {
		say(c->p.to.libvirt,
		    "{\"execute\":\"nbd-server-start\",\"arguments\":{\"addr\":{\"type\":\"unix\","
		    "\"data\":{\"path\":\"" PAIR_FOLDER "/disks\"}}},\"id\":\"s\"}\n");
		return;
	}
	snprintf(line, sizeof(line),
		 "{\"execute\":\"nbd-server-start\",\"arguments\":{\"addr\":{\"type\":\"inet\","
		 "\"data\":{\"host\":\"127.0.0.1\",\"port\":\"%d\"}}},\"id\":\"s\"}\n",
		 c->port);
	say(c->p.to.libvirt, line);
}

static void copying_begin(struct copying *c, const struct making *there, int by_path)
{
	struct bed *to = &c->p.to;
	pair_start(&c->p, there);
	if (by_path)
		pair_by_path(&c->p);
	c->port = some_port();
	set_up(&c->p.from, "true");
	say_server(c);
	qemu_gets(to, "\"fdname\":\"shieldvm-disk\"}}\n");
	c->server = fd_take(&to->qemus_fd);
	qemu_answers(to, OK);
	qemu_gets(to, "{\"execute\":\"nbd-server-start\"");
	qemu_gets(to, "\"addr\":{\"type\":\"fd\",\"data\":{\"str\":\"shieldvm-disk\"}}");
	assert_null(strstr(to->from_libvirt, "return"));
	qemu_answers(to, OK);
	libvirt_gets(to, OK ", \"id\": \"s\"}");
}

static void copying_start(struct copying *c, const struct making *there)
{
	copying_begin(c, there, 0);
}

static void copying_end(struct copying *c)
{
	close(c->server);
	pair_end(&c->p);
}

static void say_client(struct bed *b, int port, int number)
{
	char line[300];
	snprintf(line, sizeof(line),
		 "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"nbd\",\"node-name\":"
		 "\"migration-%d-storage\",\"export\":\"drive-%d\",\"server\":{\"type\":\"inet\","
		 "\"host\":\"127.0.0.1\",\"port\":\"%d\"}},\"id\":\"c\"}\n",
		 number, number, port);
	say(b->libvirt, line);
}

static void say_path(struct bed *b, const char *path)
{
	char line[300];
	snprintf(line, sizeof(line),
		 "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"nbd\",\"node-name\":"
		 "\"migration-storage\",\"export\":\"drive\",\"server\":{\"type\":\"unix\","
		 "\"path\":\"%s\"}},\"id\":\"c\"}\n",
		 path);
	say(b->libvirt, line);
}

/* QEMU gets disk NUMBER's socket in the place of the address. */
static int client_gets(struct bed *b)
{
	qemu_gets(b, "\"fdname\":\"shieldvm-disk\"}}\n");
	int fd = fd_take(&b->qemus_fd);
	assert_true(fd >= 0);
	qemu_answers(b, OK);
	qemu_gets(b, "{\"execute\":\"blockdev-add\"");
	qemu_gets(b, "\"server\":{\"type\":\"fd\",\"str\":\"shieldvm-disk\"}");
	assert_null(strstr(b->from_libvirt, "return"));
	qemu_answers(b, OK);
	libvirt_gets(b, OK ", \"id\": \"c\"}");
	return fd;
}

static int server_accepts(struct copying *c)
{
	struct pollfd p = { .fd = c->server, .events = POLLIN };
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	int fd = accept(c->server, NULL, NULL);
	assert_true(fd >= 0);
	return fd;
}

/* One disk, from its client to its server, and what the server says. */
static void disk_crosses(int client, int server, uint8_t first)
{
	static uint8_t disk[DISK_BYTES], copy[DISK_BYTES];
	int64_t deadline = clock_ms() + WAIT_MS;
	size_t put = 0, got = 0;
	char word[8] = "";
	for (size_t i = 0; i < DISK_BYTES; i++)
		disk[i] = (uint8_t)(first + i * i / 7);
	while (got < DISK_BYTES) {
		ssize_t w = send(client, disk + put, DISK_BYTES - put, MSG_DONTWAIT | MSG_NOSIGNAL);
		put += w > 0 ? (size_t)w : 0;
		ssize_t r = recv(server, copy + got, DISK_BYTES - got, MSG_DONTWAIT);
		got += r > 0 ? (size_t)r : 0;
		assert_true(clock_left_ms(deadline) > 0);
	}
	assert_memory_equal(disk, copy, DISK_BYTES);
	assert_int_equal(send(server, "done", 4, MSG_NOSIGNAL), 4);
	assert_int_equal(recv(client, word, sizeof(word), 0), 4);
	assert_string_equal(word, "done");
}

/* The other end of FD is closed, in order or not. */
static void is_closed(int fd)
{
	char byte;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

static int is_listening(int port)
{
	struct sockaddr_in a;
	int fd = tcp_socket(&a, port);
	int rc = connect(fd, (struct sockaddr *)&a, sizeof(a));
	close(fd);
	return rc == 0;
}

static void mirror(struct bed *b, const char *target, int passes)
{
	char line[200];
	snprintf(line, sizeof(line),
		 "{\"execute\":\"blockdev-mirror\",\"arguments\":{\"device\":\"disk\",\"sync\":"
		 "\"full\",\"target\":\"%s\"}}\n",
		 target);
	say(b->libvirt, line);
	if (passes) {
		qemu_gets(b, "blockdev-mirror");
		qemu_answers(b, OK);
		libvirt_gets(b, OK);
	} else {
		libvirt_gets(b, "shieldvm: migration.form: a disk is copied");
	}
}

/* Two disks, then the memory, among strangers; and nothing of it is left. */
static void test_copy(void **state)
{
	(void)state;
	struct copying c;
	int strangers[2 * WIRES_OPENING], client[2], server[2];
	copying_start(&c, &(struct making){ 0 });
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
		strangers[i] = connection(c.port);
		if (i & 1)
			say(strangers[i], "NBDMAGIC");
	}
	prepare_to(&c.p);
	for (int i = 0; i < 2; i++) {
		say_client(&c.p.from, c.port, i);
		client[i] = client_gets(&c.p.from);
		server[i] = server_accepts(&c);
	}
	mirror(&c.p.from, "migration-1-format", 0);
	say(c.p.from.libvirt, "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"raw\","
			      "\"node-name\":\"migration-1-format\",\"file\":"
			      "\"migration-1-storage\"}}\n");
	qemu_gets(&c.p.from, "blockdev-add");
	qemu_answers(&c.p.from, OK);
	libvirt_gets(&c.p.from, OK);
	mirror(&c.p.from, "migration-1-format", 1);
	mirror(&c.p.from, "migration-0-storage", 1);
	mirror(&c.p.from, "another", 0);
	mirror(&c.p.from, "", 0);
	disk_crosses(client[0], server[0], 1);
	disk_crosses(client[1], server[1], 2);
	begin_from(&c.p);
	/* Whoever has the memory has all disks. */
	int64_t deadline = clock_ms() + WAIT_MS;
	while (is_listening(c.port))
		assert_true(clock_left_ms(deadline) > 0);
	disk_crosses(client[0], server[0], 3);
	cross(&c.p);
	for (int i = 0; i < 2; i++) {
		close(client[i]);
		is_closed(server[i]);
		close(server[i]);
	}
	finish(&c.p);
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++)
		close(strangers[i]);
	struct pollfd more = { .fd = c.server, .events = POLLIN };
	assert_int_equal(poll(&more, 1, 0), 0);
	copying_end(&c);
	assert_non_null(strstr(c.p.broker[1].records, "disks are to come from another host\n"));
}

/* The same over sockets with paths, of which none is left: when the VM has come, or when libvirt
 * has the server end before. */
static void test_by_path(void **state)
{
	(void)state;
	struct copying c;
	copying_begin(&c, &(struct making){ 0 }, 1);
	prepare_to(&c.p);
	int stranger = path_connection("disks");
	say(stranger, "NBDMAGIC");
	say_path(&c.p.from, PAIR_FOLDER "/disks");
	int client = client_gets(&c.p.from);
	int server = server_accepts(&c);
	mirror(&c.p.from, "migration-storage", 1);
	disk_crosses(client, server, 1);
	begin_from(&c.p);
	cross(&c.p);
	close(client);
	is_closed(server);
	close(server);
	finish(&c.p);
	no_more(&c.p, "memory");
	no_more(&c.p, "disks");
	close(stranger);
	copying_end(&c);
	assert_non_null(strstr(c.p.broker[0].records, "the VM is to move to another host"));

	copying_begin(&c, &(struct making){ 0 }, 1);
	say(c.p.to.libvirt, "{\"execute\":\"nbd-server-stop\"}\n");
	qemu_gets(&c.p.to, "nbd-server-stop");
	no_more(&c.p, "disks");
	say_path(&c.p.from, PAIR_FOLDER "/disks");
	libvirt_gets(&c.p.from, "cannot connect to unix:" PAIR_FOLDER "/disks");
	copying_end(&c);
}

/* The link of one disk breaks: both its ends are closed, and the other one goes on. */
static void test_broken_disk(void **state)
{
	(void)state;
	struct copying c;
	struct disks_news news;
	int client[2], server[2];
	copying_start(&c, &(struct making){ 0 });
	for (int i = 0; i < 2; i++) {
		say_client(&c.p.from, c.port, i);
		client[i] = client_gets(&c.p.from);
		server[i] = server_accepts(&c);
	}
	/* Its QEMU goes without a word. */
	close(server[0]);
	is_closed(client[0]);
	disk_crosses(client[1], server[1], 4);
	disks_abort(c.p.from.disks);
	is_closed(client[1]);
	is_closed(server[1]);
	disks_look(c.p.from.disks, 1, &news);
	assert_int_equal(news.state, DISKS_FAILED);
	/* No other one goes on; and the next migration is another attempt. */
	say_client(&c.p.from, c.port, 2);
	libvirt_gets(&c.p.from, "another disk of this migration is not copied any further");
	set_up(&c.p.from, "true");
	say_client(&c.p.from, c.port, 0);
	libvirt_gets(&c.p.from, "shieldvm: migration.form: the destination refuses: another "
				"migration's disks");
	for (int i = 0; i < 2; i++)
		close(client[i]);
	close(server[1]);
	copying_end(&c);
}

/* Whoever is there is not to have it: libvirt hears why, and neither QEMU gets a byte. */
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
		struct copying c;
		copying_start(&c, &PEERS[i].there);
		say_client(&c.p.from, c.port, 0);
		libvirt_gets(&c.p.from, PEERS[i].says);
		assert_null(strstr(c.p.from.from_qemu, "execute"));
		struct pollfd p = { .fd = c.server, .events = POLLIN };
		assert_int_equal(poll(&p, 1, 50), 0);
		copying_end(&c);
	}
	jwk_free(owner);
	/* Nobody at all. */
	struct copying c;
	copying_start(&c, &(struct making){ 0 });
	say_client(&c.p.from, some_port(), 0);
	libvirt_gets(&c.p.from, "\"desc\":\"shieldvm: migration.peer: ");
	copying_end(&c);
}

/* Memory at the disks' port, a disk at the memory's, and memory of another attempt. */
static void test_mixed_up(void **state)
{
	(void)state;
	struct copying c;
	copying_start(&c, &(struct making){ 0 });
	prepare_to(&c.p);
	int memory = c.p.port;
	c.p.port = c.port;
	ask_from(&c.p);
	libvirt_gets(&c.p.from, "shieldvm: migration.form: the destination refuses: here only "
				"disks come in");
	fd_close(&c.p.tcp);
	say_client(&c.p.from, memory, 0);
	libvirt_gets(&c.p.from, "shieldvm: migration.peer: ");
	/* Not while a disk of another attempt is here. */
	set_up(&c.p.from, "true");
	say_client(&c.p.from, c.port, 0);
	int client = client_gets(&c.p.from);
	int server = server_accepts(&c);
	close(client);
	is_closed(server);
	close(server);
	c.p.port = memory;
	struct disks_news news;
	int64_t deadline = clock_ms() + WAIT_MS;
	do {
		disks_look(c.p.from.disks, 0, &news);
		assert_true(clock_left_ms(deadline) > 0);
		usleep(1000);
	} while (news.state == DISKS_RUNNING);
	ask_from(&c.p);
	libvirt_gets(&c.p.from, "shieldvm: migration.form: the destination refuses: memory and "
				"disks do not come with the same migration");
	fd_close(&c.p.tcp);
	copying_end(&c);
}

static void refused(struct bed *b, const char *line, const char *why)
{
	say(b->libvirt, line);
	libvirt_gets(b, why);
	assert_null(strstr(b->from_qemu, "execute"));
}

#define ADD(members)                                                                               \
	"{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"nbd\",\"node-name\":\"n\","     \
	"\"server\":{" members "}}}\n"
#define START(members) "{\"execute\":\"nbd-server-start\",\"arguments\":{\"addr\":{" members "}}}\n"

/* What is not the form. */
static void test_other_forms(void **state)
{
	(void)state;
	static const char NUMBERS[] = "shieldvm: migration.form: a disk is copied to a TCP address";
	static const char WHERE[] = "shieldvm: migration.form: the sockets of this VM's migrations "
				    "are in one folder, the same on both hosts; migrate with "
				    "unix://" PAIR_FOLDER "/NAME";
	struct pair p;
	pair_start(&p, &(struct making){ 0 });
	set_up(&p.from, "true");
	refused(&p.from, ADD("\"type\":\"inet\",\"host\":\"localhost\",\"port\":\"49153\""),
		NUMBERS);
	refused(&p.from, ADD("\"type\":\"inet\",\"host\":\"127.0.0.1\",\"port\":\"22\""), NUMBERS);
	refused(&p.from, ADD("\"type\":\"unix\",\"path\":\"/tmp/x\""), WHERE);
	refused(&p.from, ADD("\"type\":\"unix\""), WHERE);
	refused(&p.from, ADD("\"type\":\"unix\",\"path\":\"" PAIR_FOLDER "/../x\""), WHERE);
	refused(&p.from,
		ADD("\"type\":\"unix\",\"path\":\"" PAIR_FOLDER
		    "/1234567890123456789012345678901234567890123456789012345678901234567890\""),
		WHERE);
	refused(&p.from, ADD("\"type\":\"fd\",\"str\":\"x\""), NUMBERS);
	refused(&p.from,
		"{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"nbd\",\"tls-creds\":"
		"\"x\",\"server\":{\"type\":\"inet\",\"host\":\"127.0.0.1\",\"port\":\"49153\"}}}"
		"\n",
		"shieldvm: migration.form: the disks are encrypted already");
	refused(&p.from,
		"{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"raw\",\"file\":{"
		"\"driver\":\"nbd\",\"server\":{\"type\":\"inet\",\"host\":\"127.0.0.1\","
		"\"port\":\"49153\"}}}}\n",
		"shieldvm: migration.form: not the form");
	refused(&p.to, START("\"type\":\"inet\",\"data\":{\"host\":\"localhost\",\"port\":\"49\"}"),
		NUMBERS);
	refused(&p.to, START("\"type\":\"unix\",\"data\":{\"path\":\"/tmp/x\"}"), WHERE);
	/* Without a migration it is a disk that the guest has encrypted, and QEMU's to copy. */
	set_up(&p.from, "false");
	say(p.from.libvirt, ADD("\"type\":\"inet\",\"host\":\"h\",\"port\":\"49153\""));
	qemu_gets(&p.from, "\"host\":\"h\"");
	pair_end(&p);
}

/* As many as there may be, then one more; and QEMU that does not take one. */
static void test_many(void **state)
{
	(void)state;
	struct copying c;
	int client[DISKS_MAX], server[DISKS_MAX];
	copying_start(&c, &(struct making){ 0 });
	refused(&c.p.to,
		START("\"type\":\"inet\",\"data\":{\"host\":\"127.0.0.1\",\"port\":"
		      "\"49\"}"),
		"shieldvm: migration.form: ");
	for (int i = 0; i < DISKS_MAX; i++) {
		say_client(&c.p.from, c.port, i);
		client[i] = client_gets(&c.p.from);
		server[i] = server_accepts(&c);
	}
	say_client(&c.p.from, c.port, DISKS_MAX);
	libvirt_gets(&c.p.from, "shieldvm: migration.form: no more than 8 disks");
	for (int i = 0; i < DISKS_MAX; i++) {
		disk_crosses(client[i], server[i], (uint8_t)i);
		close(client[i]);
		is_closed(server[i]);
		close(server[i]);
	}
	copying_end(&c);

	copying_start(&c, &(struct making){ 0 });
	say_client(&c.p.from, c.port, 0);
	qemu_gets(&c.p.from, "\"fdname\":\"shieldvm-disk\"}}\n");
	client[0] = fd_take(&c.p.from.qemus_fd);
	qemu_answers(&c.p.from, OK);
	qemu_gets(&c.p.from, "{\"execute\":\"blockdev-add\"");
	qemu_answers(&c.p.from, "\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}");
	libvirt_gets(&c.p.from, "\"desc\": \"no\"");
	is_closed(client[0]);
	server[0] = server_accepts(&c);
	is_closed(server[0]);
	close(client[0]);
	close(server[0]);
	copying_end(&c);
}

int main(void)
{
	carry_bed_init();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy),	    cmocka_unit_test(test_broken_disk),
		cmocka_unit_test(test_wrong_peer),  cmocka_unit_test(test_mixed_up),
		cmocka_unit_test(test_other_forms), cmocka_unit_test(test_many),
		cmocka_unit_test(test_by_path),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
