/* SPDX-License-Identifier: BSD-3-Clause */
#include "libvirt/control.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/paths.h"

#define KILL_WAIT_MS 3000

/* Connected to VM's broker, or -errno. */
static int open_control(const uint8_t vm[static UUID_BYTES])
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = 2 };
	char uuid[UUID_TEXT_SIZE];
	uuid_format(vm, uuid);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s/control.sock", PATH_RUN, uuid);
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* connect(2) waits as long as the broker's backlog is full. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return fd_take(&fd);
}

static int converse(int fd, enum control_kind kind, int timeout_ms, struct control_reply *reply)
{
	const struct control_request request = { SPAWN_MAGIC, SPAWN_VERSION, kind };
	int fds[FD_PASS_MAX];
	size_t n_fds;
	int rc = fd_send(fd, &request, sizeof(request), NULL, 0);
	if (rc < 0)
		return rc;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int64_t deadline = clock_ms() + timeout_ms;
	do
		rc = poll(&p, 1, clock_left_ms(deadline));
	while (rc < 0 && errno == EINTR);
	if (rc <= 0)
		return rc < 0 ? -errno : -ETIMEDOUT;
	ssize_t got = fd_recv(fd, reply, sizeof(*reply), fds, &n_fds);
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(&fds[i]);
	if (got < 0)
		return (int)got;
	if (got == 0)
		return -ECONNRESET;
	if (got != sizeof(*reply) || reply->magic != SPAWN_MAGIC || reply->version != SPAWN_VERSION)
		return ERR_VERSION;
	reply->text[sizeof(reply->text) - 1] = 0;
	reply->name[sizeof(reply->name) - 1] = 0;
	return 0;
}

static int no_broker(int rc)
{
	return rc == -ENOENT || rc == -ECONNREFUSED || rc == -ENOTDIR;
}

int control_ask(const uint8_t vm[static UUID_BYTES], enum control_kind kind,
		struct control_reply *reply, struct fault *f)
{
	struct control_reply answer;
	CLEANUP_FD int fd = open_control(vm);
	if (no_broker(fd))
		return fault_set(f, ERR_STATE, "this VM has no worker");
	if (fd < 0)
		return fault_set(f, fd, "the VM's broker cannot be reached: %s", err_text(fd));
	int rc = converse(fd, kind, CONTROL_TIMEOUT_MS, &answer);
	if (rc < 0)
		return fault_set(f, rc, "the VM's broker does not answer: %s", err_text(rc));
	*reply = answer;
	return answer.rc < 0 ? fault_set(f, answer.rc, "%s", answer.text) : 0;
}

int control_stop(const uint8_t vm[static UUID_BYTES], struct fault *f)
{
	struct control_reply reply;
	struct ucred who = { 0 };
	socklen_t size = sizeof(who);
	CLEANUP_FD int fd = open_control(vm);
	if (no_broker(fd))
		return 0;
	if (fd < 0)
		return fault_set(f, fd, "the VM's broker cannot be reached: %s", err_text(fd));
	/* Whoever called listen(2), and still holds the listener, or there were no connection. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0)
		return fault_set(f, -errno, "SO_PEERCRED: %s", err_text(-errno));
	CLEANUP_FD int broker = pidfd_open(who.pid, 0);
	if (broker < 0)
		return errno == ESRCH ? 0
				      : fault_set(f, -errno, "pidfd_open: %s", err_text(-errno));
	int rc = converse(fd, CONTROL_STOP, STOP_TIMEOUT_MS, &reply);
	if (rc >= 0 || rc == -ECONNRESET || rc == -EPIPE)
		return 0;
	if (pidfd_send_signal(broker, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return fault_set(f, -errno, "the VM's broker (pid %d) cannot be ended: %s",
				 (int)who.pid, err_text(-errno));
	struct pollfd p = { .fd = broker, .events = POLLIN };
	if (poll(&p, 1, KILL_WAIT_MS) <= 0)
		return fault_set(f, -ETIMEDOUT, "the VM's broker (pid %d) does not end",
				 (int)who.pid);
	return 0;
}
