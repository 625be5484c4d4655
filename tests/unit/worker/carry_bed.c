/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/worker/carry_bed.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

static const struct vm_key key = { { 1, 2, 3 } };
uint8_t state_bytes[STATE_BYTES];

void carry_bed_init(void)
{
	for (size_t i = 0; i < sizeof(state_bytes); i++)
		state_bytes[i] = (uint8_t)(i * 7 + i / 251);
	signal(SIGPIPE, SIG_IGN);
}

void turn(struct bed *b)
{
	struct pollfd slots[MONITOR_SLOTS];
	monitor_slots(b->m, slots);
	if (poll(slots, MONITOR_SLOTS, 10) >= 0)
		monitor_serve(b->m, slots);
}

/* Append to TEXT what has come over FD. */
static void take(int fd, char *text, size_t size, int *passed)
{
	int fds[FD_PASS_MAX];
	size_t n_fds, have = strlen(text);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	if (poll(&p, 1, 0) <= 0)
		return;
	ssize_t n = fd_recv(fd, text + have, size - 1 - have, fds, &n_fds);
	text[have + (n > 0 ? (size_t)n : 0)] = 0;
	for (size_t i = 0; i < FD_PASS_MAX; i++) {
		if (passed && fds[i] >= 0) {
			fd_close(passed);
			*passed = fd_take(&fds[i]);
		}
		fd_close(&fds[i]);
	}
}

void step(struct bed *b)
{
	turn(b);
	take(b->qemu, b->from_qemu, sizeof(b->from_qemu), &b->qemus_fd);
	take(b->libvirt, b->from_libvirt, sizeof(b->from_libvirt), NULL);
}

static void step_both(struct bed *b)
{
	step(b);
	if (b->other)
		step(b->other);
}

void await(struct bed *b, char *text, const char *want)
{
	int64_t deadline = clock_ms() + WAIT_MS;
	char *at;
	while (!(at = strstr(text, want))) {
		if (clock_left_ms(deadline) == 0)
			fail_msg("'%s' does not come; QEMU has '%s', libvirt '%s'", want,
				 b->from_qemu, b->from_libvirt);
		step_both(b);
	}
	memmove(text, at + strlen(want), strlen(at + strlen(want)) + 1);
}

void not_yet(struct bed *b, const char *text, const char *want)
{
	for (int i = 0; i < 20; i++)
		step_both(b);
	assert_null(strstr(text, want));
}

void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

void qemu_answers(struct bed *b, const char *value)
{
	char line[512];
	snprintf(line, sizeof(line), "{%s, \"id\": %d}\r\n", value, ++b->id);
	say(b->qemu, line);
}

#define OK "\"return\": {}"
void start_with(struct bed *b, enum shield_level level, const char *allow,
		const struct making *making)
{
	struct protector_facts facts = { .level = level, .tpm_id = { making->tpm } };
	struct fault f = { 0 };
	CLEANUP_JWK struct jwk *owner = NULL;
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	socklen_t size = sizeof(name);
	static const uint8_t vm[UUID_BYTES] = { 1 };
	int qemus[2], pair[2], listener = socket(AF_UNIX, SOCK_STREAM, 0);
	*b = (struct bed){ .qemus_fd = -1 };
	if (allow)
		snprintf(facts.allow[facts.n_allow++], sizeof(facts.allow[0]), "%s", allow);
	assert_int_equal(bind(listener, (struct sockaddr *)&name, sizeof(sa_family_t)), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&name, &size), 0);
	assert_int_equal(listen(listener, 4), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	b->qemu = pair[1];
	if (!making->owner)
		assert_int_equal(jwk_new(&owner, &f), 0);
	const struct disks_config disks = { .key = making->key ? making->key : &key,
					    .facts = &facts,
					    .owner = making->owner ? making->owner : owner,
					    .open_ms = making->open_ms,
					    .alone = 1 };
	assert_int_equal(disks_new(&disks, &b->disks, &f), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, qemus), 0);
	b->qemus_door = qemus[0];
	b->qemus = qemus[1];
	const struct live_config live = { .key = making->key ? making->key : &key,
					  .facts = &facts,
					  .owner = disks.owner,
					  .disks = b->disks,
					  .open_ms = making->open_ms,
					  .qemus = b->qemus,
					  .alone = 1 };
	assert_int_equal(live_new(&live, &b->live, &f), 0);
	const struct transfer_config config = { .key = &key, .facts = &facts, .owner = live.owner };
	assert_int_equal(transfer_new(&config, &b->transfer, &f), 0);
	const struct carry_config carry = { .transfer = b->transfer,
					    .live = b->live,
					    .disks = b->disks,
					    .comes = making->comes,
					    .vm = vm,
					    .vtpm = making->vtpm,
					    .link = making->link ? making->link : -1,
					    .word_ms = making->word_ms };
	assert_int_equal(carry_new(&carry, &b->carry), 0);
	assert_int_equal(monitor_new(pair[0], carry.link, &facts, b->carry, &b->m), 0);
	monitor_listen(b->m, listener);
	b->libvirt = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(b->libvirt, (struct sockaddr *)&name, size), 0);
	say(b->qemu, "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n");
	qemu_gets(b, "qmp_capabilities");
	qemu_answers(b, OK);
	libvirt_gets(b, "\r\n");
	say(b->libvirt, "{\"execute\":\"qmp_capabilities\"}\n");
	libvirt_gets(b, OK);
}

void start_as(struct bed *b, enum shield_level level, const char *allow)
{
	start_with(b, level, allow, &(struct making){ 0 });
}

void start(struct bed *b)
{
	start_as(b, LEVEL_SHIELDED, NULL);
}

void end(struct bed *b)
{
	monitor_free(b->m);
	carry_free(b->carry);
	transfer_free(b->transfer);
	live_free(b->live);
	disks_free(b->disks);
	close(b->qemu);
	close(b->libvirt);
	close(b->qemus);
	close(b->qemus_door);
	fd_close(&b->qemus_fd);
}

int temporary(void)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	return fd;
}

void hand_over(struct bed *b, const char *name, int fd)
{
	char line[128];
	snprintf(line, sizeof(line), "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"%s\"}}\n",
		 name);
	assert_int_equal(fd_send(b->libvirt, line, strlen(line), &fd, 1), 0);
}
void qemu_takes_over(struct bed *b)
{
	qemu_gets(b, "\"fdname\":\"shieldvm-state\"}}\n");
	qemu_answers(b, OK);
	qemu_gets(b, "{\"execute\":\"migrate-incoming\"");
	qemu_gets(b, "\"uri\":\"fd:shieldvm-state\"");
	qemu_answers(b, OK);
	libvirt_gets(b, OK ", \"id\": \"i\"}");
}

void query(struct bed *b, const char *qemu_says, const char *libvirt_hears)
{
	say(b->libvirt, "{\"execute\":\"query-migrate\"}\n");
	qemu_gets(b, "query-migrate");
	qemu_answers(b, qemu_says);
	libvirt_gets(b, libvirt_hears);
}
