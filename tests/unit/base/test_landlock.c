/* SPDX-License-Identifier: BSD-3-Clause */
/* What is left to a process that is confined, in a child of its own each time. */
#include "base/landlock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/shieldvm-landlock-XXXXXX";
static uint16_t ports[2];
static int listeners[2];

static int open_under(const char *name, int flags)
{
	char path[64];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	int fd = open(path, flags, 0600);
	if (fd >= 0)
		close(fd);
	return fd < 0 ? -errno : 0;
}

static int reach(uint16_t port)
{
	const struct sockaddr_in to = { .sin_family = AF_INET,
					.sin_port = htons(port),
					.sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int rc = connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

/* Line of the first thing that is not so, or 0. */
#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x))                                                                          \
			return __LINE__;                                                           \
	} while (0)

static int confined(int abi, enum landlock_grant grant)
{
	int fd = open(folder, O_PATH | O_DIRECTORY);
	CHECK(fd >= 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(landlock_deny_but(abi, LANDLOCK_SIGNALS, fd, grant, ports, 1) == 0);
	CHECK(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES);
	CHECK(open_under("file", O_RDONLY) == 0);
	int may = grant == LANDLOCK_OPEN ? 0 : -EACCES;
	CHECK(open_under("file", O_WRONLY) == may);
	CHECK(open_under("new", O_WRONLY | O_CREAT) == may);
	CHECK(reach(ports[0]) == 0);
	CHECK(reach(ports[1]) == (abi >= LANDLOCK_ABI_NET ? -EACCES : 0));
	return 0;
}

static void test_what_is_left(void **state)
{
	(void)state;
	int abi = landlock_abi();
	if (abi < 0)
		skip();
	for (int i = 0; i < 2; i++) {
		enum landlock_grant grant = i ? LANDLOCK_OPEN : LANDLOCK_READ;
		pid_t pid = fork();
		if (pid == 0) {
			int line = confined(abi, grant);
			if (line)
				fprintf(stderr, "line %d\n", line);
			_exit(line != 0);
		}
		int status;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(folder) || open_under("file", O_WRONLY | O_CREAT) < 0)
		return -1;
	for (int i = 0; i < 2; i++) {
		struct sockaddr_in at = { .sin_family = AF_INET,
					  .sin_addr = { htonl(INADDR_LOOPBACK) } };
		socklen_t n = sizeof(at);
		listeners[i] = socket(AF_INET, SOCK_STREAM, 0);
		if (bind(listeners[i], (struct sockaddr *)&at, n) < 0 ||
		    listen(listeners[i], 8) < 0 ||
		    getsockname(listeners[i], (struct sockaddr *)&at, &n) < 0)
			return -1;
		ports[i] = ntohs(at.sin_port);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	static const char *const NAMES[] = { "file", "new", "." };
	char path[64];
	int rc = 0;
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, NAMES[i]);
		rc = i == 2 ? rmdir(folder) : unlink(path);
	}
	return rc;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_what_is_left) };
	return cmocka_run_group_tests(tests, setup, teardown);
}
