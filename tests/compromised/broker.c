/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A broker that was taken over the moment it was sealed, as ./worker.c.  The first client of the
 * control socket tells it what to do; the hook's start comes too late.
 */
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/compromised/attacker.h"
#include "worker/broker.h"

int __real_broker_new(const struct broker_config *config, struct broker **out, struct fault *f);
int __wrap_broker_new(const struct broker_config *config, struct broker **out, struct fault *f);
int __wrap_broker_serve(const struct sealed *sealed, struct broker *b);

static struct broker_config known;

__attribute__((constructor)) static void name(void)
{
	attacker_name();
}

int __wrap_broker_new(const struct broker_config *config, struct broker **out, struct fault *f)
{
	known = *config;
	return __real_broker_new(config, out, f);
}

int __wrap_broker_serve(const struct sealed *sealed, struct broker *b)
{
	const int knows[ATTACK_KNOWS] = { known.link,
					  known.qemu_lifeline,
					  known.qemu_ctrl,
					  known.launch_listener,
					  known.control_listener,
					  known.qemu_monitor };
	struct pollfd p = { .fd = known.control_listener, .events = POLLIN };
	(void)sealed;
	(void)b;
	while (poll(&p, 1, -1) > 0) {
		/* Inherited flags or not: the client is to be waited for. */
		int fd = accept4(known.control_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct pollfd client = { .fd = fd, .events = POLLIN };
		if (fd < 0)
			continue;
		while (poll(&client, 1, -1) > 0 && !(client.revents & POLLHUP))
			attacker_serve(fd, knows);
		close(fd);
	}
	return 0;
}
