/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The broker's doors: which addresses they take, and how many of them there are.
 */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "worker/door.h"

static const uint8_t vm[UUID_BYTES] = { 1, 2, 3 };

/* What libvirt names in migrate-incoming. */
static void test_addresses(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint32_t family, port;
	} GOOD[] = {
		{ "[::]:49152", AF_INET6, 49152 },
		{ "0.0.0.0:49215", AF_INET, 49215 },
		{ "[fd00::1:2]:1024", AF_INET6, 1024 },
		{ "10.1.2.3:65535", AF_INET, 65535 },
	};
	static const char *const BAD[] = {
		"",
		":",
		"49152",
		":49152",
		"[]:49152",
		"::1:49152",
		"[::1]49152",
		"[::1]:",
		"[::1]:1023",
		"[::1]:65536",
		"[::1]:1e4",
		"[::1]:-49152",
		"[::1]: 49152",
		"[::1]:0049152",
		"localhost:49152",
		"[1.2.3.4]:49152",
		"1.2.3:49152",
		"[::1]x:49152",
		"[fe80::1%eth0]:49152",
		"[0000:0000:0000:0000:0000:0000:0000:0000:0000]:49152",
	};
	struct door_request r;
	struct fault f = { 0 };
	const struct door none = { .link = -1 };
	for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
		assert_int_equal(door_parse(&none, GOOD[i].text, &r, &f), 0);
		assert_int_equal(r.family, GOOD[i].family);
		assert_int_equal(r.port, GOOD[i].port);
	}
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
		if (door_parse(&none, BAD[i], &r, &f) != ERR_FORMAT)
			fail_msg("'%s' is taken for an address", BAD[i]);
	/* The broker looks for itself. */
	struct door_limits l = { .listeners = 1 };
	assert_int_equal(door_parse(&none, "127.0.0.1:1024", &r, &f), 0);
	r.kind = DOOR_LISTEN;
	assert_int_equal(door_check(&l, &r, sizeof(r)), 0);
	assert_int_equal(door_check(&l, &r, sizeof(r) - 1), ERR_FORMAT);
	r.port = 1023;
	assert_int_equal(door_check(&l, &r, sizeof(r)), ERR_FORMAT);
	r.port = 65536 + 1024;
	assert_int_equal(door_check(&l, &r, sizeof(r)), ERR_FORMAT);
	r.port = 1024;
	r.family = AF_UNIX;
	assert_int_equal(door_check(&l, &r, sizeof(r)), ERR_FORMAT);
	r.family = AF_INET;
	strcpy(r.name, "x");
	assert_int_equal(door_check(&l, &r, sizeof(r)), ERR_FORMAT);
	r.name[0] = 0;
	r.kind = DOOR_SHUT;
	assert_int_equal(door_check(&l, &r, sizeof(r)), ERR_FORMAT);
	r.kind = 4;
	assert_int_equal(door_check(&l, &r, sizeof(r)), ERR_FORMAT);
	r.kind = DOOR_LISTEN;
	r.magic++;
	assert_int_equal(door_check(&l, &r, sizeof(r)), ERR_FORMAT);
}

#define FOLDER PATH_RUN "/01020300-0000-0000-0000-000000000000/migration"

/* Of sockets' paths, those in the VM's folder, and only their names go on. */
static void test_paths(void **state)
{
	(void)state;
	static const char *const GOOD[] = { "m", "memory", "disks.1", "A-Z_09",
					    "123456789012345678901234567890123456789" };
	static const char *const BAD[] = {
		"unix:",
		"unix:m",
		"unix:/m",
		"unix:/tmp/m",
		"unix:" FOLDER,
		"unix:" FOLDER "/",
		"unix:" FOLDER "m",
		"unix:" FOLDER "xm",
		"unix:" FOLDER "//m",
		"unix:" FOLDER "/.",
		"unix:" FOLDER "/..",
		"unix:" FOLDER "/.m",
		"unix:" FOLDER "/../lock",
		"unix:" FOLDER "/m/n",
		"unix:" FOLDER "/m ",
		"unix:" FOLDER "/m\n",
		"unix:" FOLDER "/m,server=on",
		"unix:" FOLDER "/\xc3\xa4",
		"unix:" FOLDER "/1234567890123456789012345678901234567890",
		"unix:" PATH_RUN "/01020300-0000-0000-0000-000000000001/migration/m",
		"unix:." FOLDER "/m",
		"Unix:" FOLDER "/m",
		FOLDER "/m",
	};
	const struct door nowhere = { .link = -1 };
	struct door door = { .link = -1 };
	struct door_limits l = { .listeners = 1 };
	struct door_request r;
	struct fault f = { 0 };
	char text[256];
	door_folder(vm, door.folder);
	assert_string_equal(door.folder, FOLDER);
	for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
		snprintf(text, sizeof(text), "unix:" FOLDER "/%s", GOOD[i]);
		assert_int_equal(door_parse(&door, text, &r, &f), 0);
		assert_string_equal(r.name, GOOD[i]);
		assert_int_equal(r.family, AF_UNIX);
		r.kind = DOOR_LISTEN;
		assert_int_equal(door_check(&l, &r, sizeof(r)), 0);
		assert_int_equal(door_parse(&nowhere, text, &r, &f), ERR_FORMAT);
	}
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
		if (door_parse(&door, BAD[i], &r, &f) != ERR_FORMAT)
			fail_msg("'%s' is taken for an address", BAD[i]);
	f = (struct fault){ 0 };
	assert_int_equal(door_parse(&door, "unix:/tmp/m", &r, &f), ERR_FORMAT);
	assert_non_null(strstr(f.text, "unix://" FOLDER "/NAME"));
	/* The broker looks for itself. */
	static const char *const NAMES[] = { "", ".", "..", ".m", "/m", "../m", "m/", "m n" };
	r = (struct door_request){ .magic = DOOR_MAGIC, .kind = DOOR_LISTEN, .family = AF_UNIX };
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
		snprintf(r.name, sizeof(r.name), "%s", NAMES[i]);
		if (door_check(&l, &r, sizeof(r)) != ERR_FORMAT)
			fail_msg("the broker takes '%s' for a name", NAMES[i]);
	}
	memset(r.name, 'm', sizeof(r.name)); /* without an end */
	assert_int_equal(door_check(&l, &r, sizeof(r)), ERR_FORMAT);
	strcpy(r.name, "m");
	r.port = 49152;
	assert_int_equal(door_check(&l, &r, sizeof(r)), ERR_FORMAT);
	r.port = 0;
	r.kind = DOOR_SHUT; /* it is none of its own */
	assert_int_equal(door_check(&l, &r, sizeof(r)), ERR_STATE);
}

/* What a request for NAME of KIND comes to, in the working folder. */
static int at_name(struct door_limits *l, enum door_kind kind, const char *name, int *sock)
{
	struct door_request r = { .magic = DOOR_MAGIC, .kind = kind, .family = AF_UNIX };
	snprintf(r.name, sizeof(r.name), "%s", name);
	int rc = door_check(l, &r, sizeof(r));
	return rc < 0 ? rc : door_make(l, &r, sock);
}

/* Listeners with a name take a left-over's place, and leave none behind. */
static void test_names(void **state)
{
	(void)state;
	char dir[] = "/tmp/test_broker.XXXXXX", byte = 0;
	struct door_limits l = { .listeners = DOOR_LISTENERS };
	int listener = -1, out = -1, in, old = -1, none = -1;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(at_name(&l, DOOR_CONNECT, "m", &out), -ENOENT);
	assert_int_equal(at_name(&l, DOOR_LISTEN, "m", &listener), 0);
	assert_int_equal(l.listeners, DOOR_LISTENERS - 1);
	assert_int_equal(at_name(&l, DOOR_CONNECT, "m", &out), 0);
	in = accept(listener, NULL, NULL);
	assert_int_equal(write(out, "x", 1), 1);
	assert_int_equal(read(in, &byte, 1), 1);
	close(in);
	close(out);
	/* Its own is not in the way of another of its own. */
	assert_int_equal(at_name(&l, DOOR_LISTEN, "m", &none), -EADDRINUSE);
	close(listener);
	assert_int_equal(at_name(&l, DOOR_CONNECT, "m", &out), -ECONNREFUSED);
	assert_int_equal(at_name(&l, DOOR_SHUT, "m", &none), 0);
	assert_int_equal(none, -1);
	assert_int_equal(access("m", F_OK), -1);
	assert_int_equal(at_name(&l, DOOR_SHUT, "m", &none), ERR_STATE);
	/* Somebody else's. */
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "m" };
	old = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(old, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(at_name(&l, DOOR_LISTEN, "m", &listener), 0);
	assert_int_equal(at_name(&l, DOOR_CONNECT, "m", &out), 0);
	close(out);
	close(listener);
	close(old);
	assert_int_equal(at_name(&l, DOOR_SHUT, "m", &none), 0);
	/* What is no socket stays. */
	close(open("file", O_WRONLY | O_CREAT, 0600));
	assert_int_equal(symlink("nowhere", "link"), 0);
	assert_int_equal(mkdir("folder", 0700), 0);
	static const char *const OTHERS[] = { "file", "link", "folder" };
	for (size_t i = 0; i < sizeof(OTHERS) / sizeof(OTHERS[0]); i++) {
		assert_int_equal(at_name(&l, DOOR_LISTEN, OTHERS[i], &listener), -EEXIST);
		assert_int_equal(at_name(&l, DOOR_SHUT, OTHERS[i], &none), ERR_STATE);
		assert_int_equal(remove(OTHERS[i]), 0);
	}
	/* Nor more of them than there may be of listeners. */
	int all[DOOR_LISTENERS];
	unsigned int n = 0;
	char name[8];
	while (l.listeners > 0) {
		snprintf(name, sizeof(name), "n%u", n);
		assert_int_equal(at_name(&l, DOOR_LISTEN, name, &all[n++]), 0);
	}
	assert_int_equal(n, DOOR_LISTENERS - 2);
	assert_int_equal(at_name(&l, DOOR_LISTEN, "more", &listener), ERR_STATE);
	while (n-- > 0) {
		snprintf(name, sizeof(name), "n%u", n);
		assert_int_equal(at_name(&l, DOOR_SHUT, name, &none), 0);
		close(all[n]);
	}
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(rmdir(dir), 0);
}

/* So many of each, and no more. */
static void test_door_limits(void **state)
{
	(void)state;
	struct door_limits l = { .listeners = DOOR_LISTENERS };
	struct door_request r;
	struct fault f = { 0 };
	int listener[DOOR_LISTENERS], out;
	char text[32];
	const struct door none = { .link = -1 };
	for (int i = 0; i < DOOR_LISTENERS; i++) {
		snprintf(text, sizeof(text), "127.0.0.1:%d", 41000 + getpid() % 20000 + i);
		assert_int_equal(door_parse(&none, text, &r, &f), 0);
		r.kind = DOOR_LISTEN;
		assert_int_equal(door_check(&l, &r, sizeof(r)), 0);
		assert_int_equal(door_make(&l, &r, &listener[i]), 0);
		/* The same one again is not to be had, and does not count. */
		if (i == 0)
			assert_int_equal(door_make(&l, &r, &out), -EADDRINUSE);
	}
	assert_int_equal(door_check(&l, &r, sizeof(r)), ERR_STATE);
	r.kind = DOOR_CONNECT;
	for (int i = 0; i < DOOR_CONNECTS; i++) {
		struct pollfd p = { .events = POLLOUT };
		assert_int_equal(door_check(&l, &r, sizeof(r)), 0);
		assert_int_equal(door_make(&l, &r, &out), 0);
		p.fd = out;
		assert_int_equal(poll(&p, 1, 5000), 1);
		assert_int_equal(p.revents, POLLOUT);
		close(out);
	}
	assert_int_equal(door_check(&l, &r, sizeof(r)), ERR_LIMIT);
	/* After a while, one more for each that is that old. */
	l.connects_ms[0] -= DOOR_CONNECTS_MS;
	assert_int_equal(door_check(&l, &r, sizeof(r)), 0);
	assert_int_equal(door_make(&l, &r, &out), 0);
	close(out);
	assert_int_equal(door_check(&l, &r, sizeof(r)), ERR_LIMIT);
	for (int i = 0; i < DOOR_LISTENERS; i++)
		close(listener[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_door_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
