/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The monitor firewall between a libvirt and a QEMU that this test plays, over real sockets and in
 * one thread: friendly, restarted, silent, flooding and nonsensical ones.
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

#include "base/clock.h"
#include "base/fd.h"
#include "worker/monitor.h"
#include "worker/qmp.h"

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n"
#define GREETED	 "{\"QMP\":{\"version\":{},\"capabilities\":[]}}\r\n"

struct bed {
	struct monitor *m;
	struct carry *carry;
	int qemu, libvirt;
	struct sockaddr_un name;
	socklen_t name_size;
};

/* Let the monitor do whatever it can do now. */
static void settle(struct bed *b)
{
	for (int i = 0; i < 100000; i++) {
		struct pollfd slots[MONITOR_SLOTS];
		monitor_slots(b->m, slots);
		if (poll(slots, MONITOR_SLOTS, 0) == 0)
			return;
		monitor_serve(b->m, slots);
	}
	fail_msg("the monitor never comes to rest");
}

static int connect_libvirt(const struct bed *b)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&b->name, b->name_size), 0);
	return fd;
}

static void put(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void put_with_fd(int fd, const char *text, int passed)
{
	assert_int_equal(fd_send(fd, text, strlen(text), &passed, 1), 0);
}

/* What has come, as text; "" for nothing, "EOF" for the end. */
static const char *got(int fd)
{
	static char text[8192];
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		return "EOF";
	text[n < 0 ? 0 : n] = 0;
	return text;
}

#define expect(b, fd, want)                                                                        \
	do {                                                                                       \
		settle(b);                                                                         \
		assert_string_equal(got(fd), want);                                                \
	} while (0)

static void start(struct bed *b, enum shield_level level)
{
	const struct protector_facts facts = { .level = level };
	int pair[2], listener = socket(AF_UNIX, SOCK_STREAM, 0);
	b->name = (struct sockaddr_un){ .sun_family = AF_UNIX };
	b->name_size = sizeof(b->name);
	assert_int_equal(bind(listener, (struct sockaddr *)&b->name, sizeof(sa_family_t)), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&b->name, &b->name_size), 0);
	assert_int_equal(listen(listener, 4), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	b->qemu = pair[1];
	assert_int_equal(carry_new(&(struct carry_config){ .link = -1 }, &b->carry), 0);
	assert_int_equal(monitor_new(pair[0], -1, &facts, b->carry, &b->m), 0);
	monitor_listen(b->m, listener);
}

static void handshake(struct bed *b)
{
	put(b->qemu, GREETING);
	expect(b, b->qemu, "{\"execute\":\"qmp_capabilities\",\"id\":1}\n");
	put(b->qemu, "{\"return\": {}, \"id\": 1}\r\n");
	settle(b);
}

static void negotiate(struct bed *b)
{
	expect(b, b->libvirt, GREETED);
	put(b->libvirt, "{\"execute\":\"qmp_capabilities\",\"id\":\"libvirt-1\"}\r\n");
	expect(b, b->libvirt, "{\"return\": {}, \"id\": \"libvirt-1\"}\r\n");
	expect(b, b->qemu, "");
}

static void start_ready(struct bed *b)
{
	start(b, LEVEL_SHIELDED);
	b->libvirt = connect_libvirt(b);
	handshake(b);
	negotiate(b);
}

static void end(struct bed *b)
{
	monitor_free(b->m);
	carry_free(b->carry);
	close(b->qemu);
	close(b->libvirt);
}

static void test_commands(void **state)
{
	(void)state;
	struct bed b;
	start(&b, LEVEL_SHIELDED);
	b.libvirt = connect_libvirt(&b);
	expect(&b, b.libvirt, ""); /* no greeting before QEMU's */
	handshake(&b);
	/* Whoever does not negotiate gets nothing else. */
	expect(&b, b.libvirt, GREETED);
	put(b.libvirt, "{\"execute\":\"query-status\"}\n");
	expect(&b, b.libvirt,
	       "{\"error\": {\"class\":\"CommandNotFound\",\"desc\":\"Expecting capabilities "
	       "negotiation with 'qmp_capabilities'\"}}\r\n");
	put(b.qemu, "{\"event\": \"STOP\"}\r\n");
	expect(&b, b.libvirt, "");
	put(b.libvirt, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}\n");
	settle(&b);
	assert_non_null(strstr(got(b.libvirt), "no capabilities"));
	put(b.libvirt, "{\"execute\":\"qmp_capabilities\"}\n");
	expect(&b, b.libvirt, "{\"return\": {}}\r\n");

	/* Written anew, and answered with libvirt's id whatever it is. */
	put(b.libvirt,
	    " { \"id\" : {\"x\":[1, 2]}, \"arguments\":{ \"b\" : 1.5 },\"execute\":\"stop\"}\r\n");
	expect(&b, b.qemu, "{\"execute\":\"stop\",\"id\":2,\"arguments\":{\"b\":1.5}}\n");
	put(b.qemu, "{\"return\": 18446744073709551615, \"id\": 2}\r\n");
	expect(&b, b.libvirt, "{\"return\": 18446744073709551615, \"id\": {\"x\":[1,2]}}\r\n");
	/* Out of band is in band here. */
	put(b.libvirt, "{\"exec-oob\":\"cont\",\"id\":1}\n");
	expect(&b, b.qemu, "{\"execute\":\"cont\",\"id\":3}\n");
	put(b.qemu, "{\"id\": 3, \"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\r\n");
	expect(&b, b.libvirt,
	       "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": 1}\r\n");
	/* An error without id is the answer to what QEMU could not parse. */
	put(b.libvirt, "{\"execute\":\"cont\",\"id\":2}\n");
	settle(&b);
	(void)got(b.qemu);
	put(b.qemu, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON\"}}\r\n");
	expect(&b, b.libvirt,
	       "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON\"}, \"id\": 2}\r\n");
	end(&b);
}

static void test_refusals(void **state)
{
	(void)state;
	struct bed b;
	start_ready(&b);
	put(b.libvirt,
	    "{\"execute\":\"screendump\",\"arguments\":{\"filename\":\"/x\"},\"id\":\"a\"}\r\n");
	expect(&b, b.libvirt,
	       "{\"error\": {\"class\":\"GenericError\",\"desc\":\"shieldvm: console.screenshot: "
	       "it "
	       "shows the guest's screen\"}, \"id\": \"a\"}\r\n");
	put(b.libvirt,
	    "{\"execute\":\"query-status\",\"arguments\":{\"x\":1,\"x\":2}}\r\nnonsense\n{\n");
	settle(&b);
	const char *text = got(b.libvirt);
	for (int i = 0; i < 3; i++) {
		text = strstr(text, "shieldvm: monitor.form: ");
		assert_non_null(text);
		text++;
	}
	expect(&b, b.qemu, "");
	/* A refused one keeps its place behind one that QEMU has not answered. */
	put(b.libvirt, "{\"execute\":\"stop\",\"id\":1}\n{\"execute\":\"quit\",\"id\":2}\n"
		       "{\"execute\":\"cont\",\"id\":3}\n");
	expect(&b, b.qemu, "{\"execute\":\"stop\",\"id\":2}\n");
	expect(&b, b.libvirt, "");
	put(b.qemu, "{\"return\": {}, \"id\": 2}\r\n");
	settle(&b);
	text = got(b.libvirt);
	assert_memory_equal(text, "{\"return\": {}, \"id\": 1}\r\n{\"error\": ", 35);
	assert_non_null(strstr(text, "shieldvm: monitor.unknown"));
	assert_string_equal(got(b.qemu), "{\"execute\":\"cont\",\"id\":3}\n");
	end(&b);
}

static void test_events(void **state)
{
	(void)state;
	struct bed b;
	static const char RESUME[] = "{\"timestamp\": {\"seconds\": 1}, \"event\": \"RESUME\", "
				     "\"data\": {\"n\": 18446744073709551615}}\r\n";
	start_ready(&b);
	put(b.qemu, RESUME);
	expect(&b, b.libvirt, RESUME);
	put(b.qemu, "{\"timestamp\": {\"seconds\": 1}, \"event\": \"GUEST_PANICKED\", \"data\": "
		    "{\"action\": \"pause\", \"info\": {\"type\": \"hyper-v\", \"arg1\": "
		    "18446744073709551615}}}\r\n");
	expect(&b, b.libvirt,
	       "{\"timestamp\": {\"seconds\": 1}, \"event\": \"GUEST_PANICKED\", \"data\": "
	       "{\"action\": \"pause\"}}\r\n");
	put(b.qemu, "{\"event\": \"GUEST_CRASHLOADED\", \"data\": 7}\r\n");
	expect(&b, b.libvirt, "{\"event\": \"GUEST_CRASHLOADED\", \"data\": {}}\r\n");
	/* In pieces. */
	put(b.qemu, "{\"event\": \"ST");
	expect(&b, b.libvirt, "");
	put(b.qemu, "OP\"}\r");
	expect(&b, b.libvirt, "");
	put(b.qemu, "\n");
	expect(&b, b.libvirt, "{\"event\": \"STOP\"}\r\n");
	end(&b);
}

/* libvirtd ends and starts anew: the greeting again, no answer of its predecessor's. */
static void test_restart(void **state)
{
	(void)state;
	struct bed b;
	start_ready(&b);
	put(b.libvirt, "{\"execute\":\"stop\",\"id\":1}\n{\"execute\":\"cont\",\"id\":2}\n");
	expect(&b, b.qemu, "{\"execute\":\"stop\",\"id\":2}\n");
	close(b.libvirt);
	settle(&b);
	put(b.qemu, "{\"event\": \"STOP\"}\r\n");
	settle(&b);
	b.libvirt = connect_libvirt(&b);
	expect(&b, b.libvirt, GREETED);
	put(b.libvirt, "{\"execute\":\"qmp_capabilities\",\"id\":2}\n"
		       "{\"execute\":\"query-status\",\"id\":3}\n");
	expect(&b, b.qemu, ""); /* QEMU still owes the old one */
	put(b.qemu, "{\"return\": {\"old\": 1}, \"id\": 2}\r\n");
	expect(&b, b.libvirt, "{\"return\": {}, \"id\": 2}\r\n");
	assert_string_equal(got(b.qemu), "{\"execute\":\"query-status\",\"id\":3}\n");
	put(b.qemu, "{\"return\": {\"new\": 1}, \"id\": 3}\r\n");
	expect(&b, b.libvirt, "{\"return\": {\"new\": 1}, \"id\": 3}\r\n");
	/* A second connection waits for the end of the first. */
	int second = connect_libvirt(&b);
	expect(&b, second, "");
	close(b.libvirt);
	b.libvirt = second;
	negotiate(&b);
	end(&b);
}

/* Who is the other end of FD? */
static ino_t inode(int fd)
{
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static int is_closed(int pipe_read)
{
	struct pollfd p = { .fd = pipe_read, .events = POLLIN };
	return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

static void test_descriptors(void **state)
{
	(void)state;
	struct bed b;
	int one[2], two[2], fds[FD_PASS_MAX];
	char text[256];
	size_t n_fds;
	start_ready(&b);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, one), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, two), 0);
	/* Sent again after a short write: the last one counts. */
	put_with_fd(b.libvirt, "{\"execute\":\"getfd\",", one[1]);
	put_with_fd(b.libvirt, "\"arguments\":{\"fdname\":\"x\"}}\r\n", two[1]);
	close(one[1]);
	settle(&b);
	assert_true(is_closed(one[0]));
	ssize_t n = fd_recv(b.qemu, text, 1, fds, &n_fds);
	assert_int_equal(n, 1);
	assert_int_equal(n_fds, 1);
	assert_int_equal(inode(fds[0]), inode(two[1]));
	fd_close(&fds[0]);
	expect(&b, b.qemu, "\"execute\":\"getfd\",\"id\":2,\"arguments\":{\"fdname\":\"x\"}}\n");
	end(&b);
	close(one[0]);
	close(two[0]);
	close(two[1]);
}

/* A descriptor with anything else, or with what is refused, goes nowhere. */
static void test_unwanted_descriptors(void **state)
{
	(void)state;
	static const char *const LINES[] = { "{\"execute\":\"query-status\"}\n",
					     "{\"execute\":\"screendump\"}\n", "nonsense\n" };
	for (size_t i = 0; i < sizeof(LINES) / sizeof(LINES[0]); i++) {
		struct bed b;
		int pipes[2], fds[FD_PASS_MAX];
		size_t n_fds;
		char text[256];
		start_ready(&b);
		assert_int_equal(pipe(pipes), 0);
		put_with_fd(b.libvirt, LINES[i], pipes[1]);
		close(pipes[1]);
		settle(&b);
		assert_true(is_closed(pipes[0]));
		(void)!fd_recv(b.qemu, text, sizeof(text), fds, &n_fds);
		assert_int_equal(n_fds, 0);
		end(&b);
		close(pipes[0]);
	}
}

/* QEMU's end is libvirt's: after the last event, not before. */
static void test_qemu_ends(void **state)
{
	(void)state;
	struct bed b;
	start_ready(&b);
	put(b.qemu, "{\"event\": \"SHUTDOWN\"}\r\n");
	shutdown(b.qemu, SHUT_RDWR);
	monitor_drain(b.m, 2000);
	assert_string_equal(got(b.libvirt), "{\"event\": \"SHUTDOWN\"}\r\n");
	assert_string_equal(got(b.libvirt), "EOF");
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&b.name, b.name_size), -1);
	close(fd);
	end(&b);
	/* One that stays silent does not hold up the end. */
	start_ready(&b);
	int64_t begun = clock_ms();
	monitor_drain(b.m, 200);
	assert_true(clock_ms() - begun < 2000);
	assert_string_equal(got(b.libvirt), "EOF");
	end(&b);
}

static void test_hostile_qemu(void **state)
{
	(void)state;
	static const char *const KILLS[] = {
		"garbage\r\n",
		"{\"return\": {}, \"return\": {}}\r\n",
		"{\"return\": {}, \"event\": \"X\"}\r\n",
		"{\"what\": 1}\r\n",
		"{\"event\": \"GUEST_PANICK\\u0045D\"}\r\n",
		"{\"event\": {}}\r\n",
		"{\"return\": \"\x80\"}\r\n",
	};
	for (size_t i = 0; i < sizeof(KILLS) / sizeof(KILLS[0]); i++) {
		struct bed b;
		start_ready(&b);
		put(b.qemu, KILLS[i]);
		settle(&b);
		assert_string_equal(got(b.libvirt), "EOF");
		end(&b);
	}
	/* Answers that nobody asked for, or to something else, go nowhere. */
	struct bed b;
	start_ready(&b);
	put(b.qemu, "{\"return\": {}, \"id\": 1}\r\n{\"return\": {}}\r\n{\"error\": {}}\r\n");
	expect(&b, b.libvirt, "");
	put(b.libvirt, "{\"execute\":\"stop\",\"id\":1}\n");
	settle(&b);
	put(b.qemu, "{\"return\": {}, \"id\": 3}\r\n{\"return\": {}}\r\n"
		    "{\"return\": {}, \"id\": \"2\"}\r\n{\"return\": 5, \"id\": 2}\r\n"
		    "{\"return\": 6, \"id\": 2}\r\n");
	expect(&b, b.libvirt, "{\"return\": 5, \"id\": 1}\r\n");
	end(&b);
	/* No greeting, a wrong one, a refused handshake. */
	static const char *const GREETINGS[] = { "{\"event\": \"X\"}\r\n", "{\"QMP\": 1}\r\n",
						 GREETING "{\"error\": {}, \"id\": 1}\r\n" };
	for (size_t i = 0; i < sizeof(GREETINGS) / sizeof(GREETINGS[0]); i++) {
		start(&b, LEVEL_SHIELDED);
		b.libvirt = connect_libvirt(&b);
		put(b.qemu, GREETINGS[i]);
		settle(&b);
		assert_string_equal(got(b.libvirt), "EOF");
		end(&b);
	}
}

/* Feed QEMU's end until the monitor takes no more; how much it took, at most LIMIT. */
static size_t flood(struct bed *b, const char *text, size_t limit)
{
	size_t n = strlen(text), sum = 0;
	for (int idle = 0; idle < 3 && sum < limit;) {
		size_t at = sum % n; /* whole lines, however they are cut */
		ssize_t put = send(b->qemu, text + at, n - at, MSG_DONTWAIT | MSG_NOSIGNAL);
		idle = put > 0 ? 0 : idle + 1;
		sum += put > 0 ? (size_t)put : 0;
		settle(b);
	}
	return sum;
}

static void test_floods(void **state)
{
	(void)state;
	struct bed b;
	char *chunk = malloc(65537);
	assert_non_null(chunk);
	/* A line without end: given up at the limit. */
	start_ready(&b);
	memset(chunk, 'x', 65536);
	chunk[65536] = 0;
	size_t sum = flood(&b, chunk, 100UL * 1024 * 1024);
	assert_true(sum < 2 * QMP_REPLY_MAX);
	assert_string_equal(got(b.libvirt), "EOF");
	end(&b);
	/* Events to a libvirt that does not read: QEMU has to wait, and is served again after. */
	start_ready(&b);
	static const char EVENT[] =
		"{\"event\": \"RTC_CHANGE\", \"data\": \"0123456789012345678\"}\r\n";
	for (size_t i = 0; i + sizeof(EVENT) <= 65536; i += sizeof(EVENT) - 1)
		strcpy(chunk + i, EVENT);
	sum = flood(&b, chunk, 100UL * 1024 * 1024);
	assert_true(sum > MONITOR_BACKLOG_MAX);
	assert_true(sum < MONITOR_BACKLOG_MAX + 2 * QMP_REPLY_MAX);
	size_t seen = 0, n;
	do {
		settle(&b);
		n = strlen(got(b.libvirt));
		seen += n;
	} while (n > 0);
	assert_true(seen + 65536 >= sum);
	/* With nobody there they are dropped. */
	close(b.libvirt);
	settle(&b);
	if (sum % strlen(chunk))
		put(b.qemu, chunk + sum % strlen(chunk));
	assert_true(flood(&b, chunk, 8UL * 1024 * 1024) >= 8UL * 1024 * 1024);
	b.libvirt = connect_libvirt(&b);
	end(&b);
	free(chunk);
}

static void test_hostile_libvirt(void **state)
{
	(void)state;
	struct bed b;
	size_t sum = 0;
	char *chunk = malloc(65537);
	assert_non_null(chunk);
	start_ready(&b);
	memset(chunk, 'x', 65536);
	chunk[65536] = 0;
	for (ssize_t put = 1; put > 0 && sum < 64 * QMP_REQUEST_MAX;) {
		put = send(b.libvirt, chunk, 65536, MSG_DONTWAIT | MSG_NOSIGNAL);
		sum += put > 0 ? (size_t)put : 0;
		settle(&b);
	}
	assert_true(sum < 2 * QMP_REQUEST_MAX);
	close(b.libvirt);
	/* Refused commands whose answers it does not read: it has to wait. */
	b.libvirt = connect_libvirt(&b);
	negotiate(&b);
	for (size_t i = 0; i < 65536; i += 4)
		memcpy(chunk + i, "{}\r\n", 4);
	sum = 0;
	for (int idle = 0; idle < 3 && sum < 64UL * 1024 * 1024;) {
		ssize_t put = send(b.libvirt, chunk, 65536, MSG_DONTWAIT | MSG_NOSIGNAL);
		idle = put > 0 ? 0 : idle + 1;
		sum += put > 0 ? (size_t)put : 0;
		settle(&b);
	}
	assert_true(sum < 4 * QMP_REQUEST_MAX);
	close(b.libvirt);
	/* Its going away in any state leaves the next one served. */
	static const char *const PARTS[] = { "", "{", "{\"execute\":\"stop\"}\n{", "\n\n\n" };
	settle(&b);
	for (size_t i = 0; i < sizeof(PARTS) / sizeof(PARTS[0]); i++) {
		b.libvirt = connect_libvirt(&b);
		put(b.libvirt, PARTS[i][0] ? PARTS[i] : "\n");
		close(b.libvirt);
		settle(&b);
	}
	b.libvirt = connect_libvirt(&b);
	negotiate(&b);
	end(&b);
	free(chunk);
}

static void test_new_listener(void **state)
{
	(void)state;
	struct bed b;
	start_ready(&b);
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	b.name = (struct sockaddr_un){ .sun_family = AF_UNIX };
	b.name_size = sizeof(b.name);
	assert_int_equal(bind(listener, (struct sockaddr *)&b.name, sizeof(sa_family_t)), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&b.name, &b.name_size), 0);
	assert_int_equal(listen(listener, 4), 0);
	monitor_listen(b.m, listener);
	expect(&b, b.libvirt, "EOF");
	close(b.libvirt);
	b.libvirt = connect_libvirt(&b);
	negotiate(&b);
	end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),     cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_events),	     cmocka_unit_test(test_restart),
		cmocka_unit_test(test_descriptors),  cmocka_unit_test(test_unwanted_descriptors),
		cmocka_unit_test(test_qemu_ends),    cmocka_unit_test(test_hostile_qemu),
		cmocka_unit_test(test_floods),	     cmocka_unit_test(test_hostile_libvirt),
		cmocka_unit_test(test_new_listener),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
