/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The whole firewall between two hostile ends.  The input is records of {who and how (1 byte),
 * length (1 byte), bytes}: lines for libvirt's end or QEMU's, a new libvirt.  QEMU must never be
 * sent what the rules refuse.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "policy/qmp_rules.h"
#include "worker/monitor.h"
#include "worker/qmp.h"

#define GREETING "{\"QMP\": {}}\n{\"return\": {}, \"id\": 1}\n"
#define HELLO	 "{\"execute\":\"qmp_capabilities\"}\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct protector_facts facts = { .level = LEVEL_SHIELDED };

struct ends {
	int qemu, libvirt;
	struct sockaddr_un name;
	socklen_t name_size;
	struct buf seen; /* by QEMU, not yet a line */
};

static void look_at(const char *line, size_t n)
{
	struct qmp_request r;
	if (qmp_parse_request(line, n, &r) < 0)
		abort();
	if (strcmp(r.command, "qmp_capabilities") != 0 &&
	    qmp_rules_judge(r.command, r.arguments, &facts))
		abort();
	qmp_request_done(&r);
}

static void read_ends(struct ends *e)
{
	char text[4096];
	ssize_t got;
	while ((got = recv(e->qemu, text, sizeof(text), MSG_DONTWAIT)) > 0)
		if (buf_add(&e->seen, text, (size_t)got) < 0)
			abort();
	for (const char *end; e->seen.len && (end = memchr(e->seen.data, '\n', e->seen.len));) {
		size_t n = (size_t)(end - (const char *)e->seen.data);
		look_at((const char *)e->seen.data, n);
		buf_consume(&e->seen, n + 1);
	}
	while (e->libvirt >= 0 && recv(e->libvirt, text, sizeof(text), MSG_DONTWAIT) > 0)
		continue;
}

static void settle(struct monitor *m, struct ends *e)
{
	struct pollfd slots[MONITOR_SLOTS];
	for (int i = 0; i < 1000; i++) {
		monitor_slots(m, slots);
		if (poll(slots, MONITOR_SLOTS, 0) <= 0)
			break;
		monitor_serve(m, slots);
	}
	read_ends(e);
}

static void connect_libvirt(struct ends *e)
{
	fd_close(&e->libvirt);
	e->libvirt = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	(void)!connect(e->libvirt, (struct sockaddr *)&e->name, e->name_size);
	(void)!send(e->libvirt, HELLO, sizeof(HELLO) - 1, MSG_NOSIGNAL);
}

static void play(struct monitor *m, struct ends *e, const uint8_t *p, const uint8_t *end)
{
	while (end - p >= 2) {
		size_t n = p[1];
		int how = p[0] & 7, to = how & 1 ? e->qemu : e->libvirt;
		p += 2;
		n = n < (size_t)(end - p) ? n : (size_t)(end - p);
		if (how == 6)
			connect_libvirt(e);
		else if (how == 4 && n > 0)
			(void)!fd_send(to, p, n, &e->qemu, 1);
		else
			(void)!send(to, p, n, MSG_NOSIGNAL);
		p += n;
		settle(m, e);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ends e = { .libvirt = -1,
			  .name = { .sun_family = AF_UNIX },
			  .name_size = sizeof(e.name),
			  .seen = BUF_INIT(4 * QMP_REQUEST_MAX) };
	struct carry *carry;
	struct monitor *m;
	int pair[2], listener = socket(AF_UNIX, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&e.name, sizeof(sa_family_t)) < 0 ||
	    getsockname(listener, (struct sockaddr *)&e.name, &e.name_size) < 0 ||
	    listen(listener, 1) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) < 0 ||
	    carry_new(&(struct carry_config){ .link = -1 }, &carry) < 0 ||
	    monitor_new(pair[0], -1, &facts, carry, &m) < 0)
		abort();
	e.qemu = pair[1];
	monitor_listen(m, listener);
	connect_libvirt(&e);
	if (!(size && data[0] & 8))
		(void)!send(e.qemu, GREETING, sizeof(GREETING) - 1, MSG_NOSIGNAL);
	settle(m, &e);
	play(m, &e, data, data + size);
	monitor_free(m);
	carry_free(carry);
	fd_close(&e.qemu);
	fd_close(&e.libvirt);
	buf_done(&e.seen);
	return 0;
}
