/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/worker/carry_pair.h"

#include <fcntl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "worker/report.h"

static void *broker_run(void *arg)
{
	struct broker *k = arg;
	union {
		struct broker_audit audit;
		struct door_request door;
	} m;
	int fds[FD_PASS_MAX];
	size_t n_fds;
	ssize_t n;
	while ((n = fd_recv(k->link, &m, sizeof(m), fds, &n_fds)) > 0) {
		struct broker_audited done = { REPORT_MAGIC, m.audit.number, 0 };
		struct door_reply reply = { DOOR_MAGIC, m.door.number, 0 };
		size_t have = strlen(k->records);
		int fd = -1;
		if (m.audit.magic == REPORT_MAGIC) {
			snprintf(k->records + have, sizeof(k->records) - have, "%s\n",
				 m.audit.reason);
			assert_int_equal(fd_send(k->link, &done, sizeof(done), NULL, 0), 0);
			continue;
		}
		reply.rc = door_check(&k->doors, &m.door, (size_t)n);
		if (reply.rc >= 0)
			reply.rc = door_make(&k->doors, &m.door, &fd);
		assert_int_equal(fd_send(k->link, &reply, sizeof(reply), &fd, fd >= 0), 0);
		fd_close(&fd);
	}
	return NULL;
}

static int broker_start(struct broker *k)
{
	int pair[2];
	*k = (struct broker){ .doors.listeners = DOOR_LISTENERS };
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	k->link = pair[0];
	assert_int_equal(pthread_create(&k->thread, NULL, broker_run, k), 0);
	return pair[1];
}

static void broker_end(struct broker *k, int link)
{
	close(link);
	assert_int_equal(pthread_join(k->thread, NULL), 0);
	close(k->link);
}
int tcp_socket(struct sockaddr_in *a, int port)
{
	*a = (struct sockaddr_in){ .sin_family = AF_INET,
				   .sin_port = htons((uint16_t)port),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	return fd;
}

int some_port(void)
{
	struct sockaddr_in a;
	socklen_t size = sizeof(a);
	int fd = tcp_socket(&a, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
	close(fd);
	return ntohs(a.sin_port);
}

int connection(int port)
{
	struct sockaddr_in a;
	int fd = tcp_socket(&a, port);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

int path_connection(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

void pair_by_path(struct pair *p)
{
	snprintf(p->folder, sizeof(p->folder), "/tmp/carry.XXXXXX");
	assert_non_null(mkdtemp(p->folder));
	assert_int_equal(chdir(p->folder), 0);
	snprintf(p->uri, sizeof(p->uri), "unix:" PAIR_FOLDER "/memory");
}

void no_more(struct pair *p, const char *name)
{
	int64_t deadline = clock_ms() + WAIT_MS;
	while (access(name, F_OK) == 0) {
		assert_true(clock_left_ms(deadline) > 0);
		step(&p->from);
		step(&p->to);
	}
	assert_int_equal(errno, ENOENT);
}

void pair_start(struct pair *p, const struct making *there)
{
	static struct jwk *owner;
	struct fault f = { 0 };
	if (!owner)
		assert_int_equal(jwk_new(&owner, &f), 0);
	*p = (struct pair){ .tcp = -1 };
	for (int i = 0; i < 2; i++)
		p->link[i] = broker_start(&p->broker[i]);
	struct making to = *there, from = { .owner = owner,
					    .link = p->link[0],
					    .vtpm = there->from_vtpm,
					    .open_ms = 2000,
					    .word_ms = there->from_word_ms };
	to.owner = there->owner ? there->owner : owner;
	to.link = p->link[1];
	to.comes = 1;
	start_with(&p->from, LEVEL_SHIELDED, NULL, &from);
	start_with(&p->to, LEVEL_SHIELDED, NULL, &to);
	carry_launched(p->from.carry, 0, NULL, NULL, 0);
	carry_launched(p->to.carry, 1, NULL, NULL, 0);
	p->from.other = &p->to;
	p->to.other = &p->from;
	p->port = some_port();
	snprintf(p->uri, sizeof(p->uri), "tcp:127.0.0.1:%d", p->port);
}

void pair_end(struct pair *p)
{
	end(&p->from);
	end(&p->to);
	fd_close(&p->tcp);
	for (int i = 0; i < 2; i++)
		broker_end(&p->broker[i], p->link[i]);
	if (p->folder[0]) {
		assert_int_equal(chdir("/"), 0);
		assert_int_equal(rmdir(p->folder), 0);
	}
}

void prepare_to(struct pair *p)
{
	char line[256];
	say(p->to.libvirt, CONT);
	libvirt_gets(&p->to, "shieldvm: state.unverified: ");
	snprintf(line, sizeof(line),
		 "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"%s\"},"
		 "\"id\":\"i\"}\n",
		 p->uri);
	say(p->to.libvirt, line);
	qemu_takes_over(&p->to);
}

void ask_from(struct pair *p)
{
	int fd = p->folder[0] ? path_connection("memory") : connection(p->port);
	hand_over(&p->from, "migrate", fd);
	libvirt_gets(&p->from, OK);
	p->tcp = fd;
	say(p->from.libvirt, MIGRATE);
}

void begin_from(struct pair *p)
{
	ask_from(p);
	qemu_gets(&p->from, "\"fdname\":\"shieldvm-state\"}}\n");
	qemu_answers(&p->from, OK);
	qemu_gets(&p->from, "{\"execute\":\"migrate\"");
	qemu_gets(&p->from, "\"uri\":\"fd:shieldvm-state\"");
	assert_null(strstr(p->from.from_libvirt, "return"));
	qemu_answers(&p->from, OK);
	libvirt_gets(&p->from, OK ", \"id\": \"m\"}");
}

static uint8_t arrived[STATE_BYTES + 1];

void cross(struct pair *p)
{
	char word[8] = "";
	size_t n = 0;
	assert_int_equal(fcntl(p->from.qemus_fd, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(fcntl(p->to.qemus_fd, F_SETFL, O_NONBLOCK), 0);
	int64_t deadline = clock_ms() + WAIT_MS;
	for (size_t put = 0; n < STATE_BYTES;) {
		ssize_t w = write(p->from.qemus_fd, state_bytes + put, STATE_BYTES - put);
		put += w > 0 ? (size_t)w : 0;
		ssize_t r = read(p->to.qemus_fd, arrived + n, sizeof(arrived) - n);
		n += r > 0 ? (size_t)r : 0;
		assert_true(clock_left_ms(deadline) > 0);
	}
	assert_memory_equal(arrived, state_bytes, STATE_BYTES);
	assert_int_equal(write(p->to.qemus_fd, "back", 4), 4);
	while (read(p->from.qemus_fd, word, sizeof(word)) != 4)
		assert_true(clock_left_ms(deadline) > 0);
	assert_string_equal(word, "back");
}
void finish(struct pair *p)
{
	/* Both QEMUs are content, but the channel has not ended in order. */
	say(p->from.qemu, EVENT("completed"));
	say(p->to.qemu, EVENT("completed"));
	not_yet(&p->from, p->from.from_libvirt, "completed");
	not_yet(&p->to, p->to.from_libvirt, "completed");
	query(&p->from, COMPLETED, "{\"status\": \"active\"}");
	query(&p->to, COMPLETED, "{\"status\": \"active\"}");
	say(p->to.libvirt, CONT);
	libvirt_gets(&p->to, "shieldvm: state.unverified: ");
	/* One side alone is not the end. */
	fd_close(&p->from.qemus_fd);
	not_yet(&p->from, p->from.from_libvirt, "completed");
	not_yet(&p->to, p->to.from_libvirt, "completed");
	fd_close(&p->to.qemus_fd);
	libvirt_gets(&p->from, "\"completed\"}}\r\n");
	libvirt_gets(&p->to, "\"completed\"}}\r\n");
	query(&p->from, COMPLETED, "\"completed\"");
	say(p->to.libvirt, CONT);
	qemu_gets(&p->to, "\"cont\"");
	qemu_answers(&p->to, OK);
	libvirt_gets(&p->to, OK);
}

void vtpm_make(struct vtpm *vtpm, struct buf *blob)
{
	assert_int_equal(vtpm_init(vtpm, NULL), 0);
	assert_int_equal(vtpm_get_blob(vtpm, VTPM_BLOB_PERMANENT, blob), 0);
	vtpm_stop(vtpm);
}

void vtpm_comes(struct vtpm *vtpm, const struct buf *blob)
{
	vtpm_stop(vtpm);
	assert_int_equal(vtpm_set_blob(vtpm, VTPM_BLOB_PERMANENT, 0, blob->data, blob->len, NULL),
			 0);
	assert_int_equal(vtpm_init(vtpm, NULL), 0);
}
