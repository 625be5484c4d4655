/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/worker/fixture.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

size_t hex_bytes(const char *hex, uint8_t *out, size_t max)
{
	size_t n = 0;
	for (; *hex; hex++) {
		char pair[3] = { 0 };
		if (isspace((unsigned char)*hex))
			continue;
		assert_true(n < max && isxdigit((unsigned char)hex[1]));
		memcpy(pair, hex++, 2);
		out[n++] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return n;
}

uint8_t fixture_tpm_id[16];

static void open_vtpm(struct fixture *x, int sealed)
{
	struct fault f = { 0 };
	int dir = open(x->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	assert_int_equal(seal_new(&x->key, KEY_USE_VTPM_STATE, x->vm, NULL, 0, &x->seal), 0);
	if (store_open(dir, "permall", x->seal, STORE_MAY_BE_NEW, &x->store, &f) < 0)
		fail_msg("%s", f.text);
	struct vtpm_config config = { .store = x->store,
				      .key = sealed ? &x->key : NULL,
				      .vm = x->vm,
				      .tpm_id = fixture_tpm_id,
				      .tpm_id_bytes = sizeof(fixture_tpm_id) };
	if (vtpm_new(&config, &x->vtpm, &f) < 0 || data_new(x->vtpm, &x->data, &f) < 0)
		fail_msg("%s", f.text);
	x->ctrl = x->dat = -1;
}

void fixture_open(struct fixture *x, uint8_t vm_byte, uint8_t key_byte, int sealed)
{
	memset(x, 0, sizeof(*x));
	memset(x->vm, vm_byte, sizeof(x->vm));
	memset(x->key.bytes, key_byte, sizeof(x->key.bytes));
	strcpy(x->folder, "/tmp/test-worker.XXXXXX");
	assert_non_null(mkdtemp(x->folder));
	open_vtpm(x, sealed);
}

void fixture_close(struct fixture *x)
{
	fd_close(&x->ctrl);
	fd_close(&x->dat);
	fixture_join(x);
	data_free(x->data);
	vtpm_free(x->vtpm);
	store_free(x->store);
	seal_free(x->seal);
}

void fixture_reopen(struct fixture *x, int sealed)
{
	open_vtpm(x, sealed);
}

void fixture_done(struct fixture *x)
{
	fixture_close(x);
	DIR *dir = opendir(x->folder);
	assert_non_null(dir);
	for (struct dirent *e; (e = readdir(dir));)
		if (e->d_name[0] != '.')
			unlinkat(dirfd(dir), e->d_name, 0);
	closedir(dir);
	assert_int_equal(rmdir(x->folder), 0);
}

static void *loop(void *arg)
{
	struct fixture *x = arg;
	do {
		struct pollfd w = { .fd = ctrl_fd(x->conn), .events = ctrl_events(x->conn) };
		poll(&w, 1, ctrl_timeout_ms(x->conn));
		x->end = ctrl_step(x->conn);
	} while (x->end == CTRL_OPEN);
	ctrl_free(x->conn);
	return NULL;
}

void fixture_connect(struct fixture *x)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	struct ctrl_config config = { .vtpm = x->vtpm, .data = x->data };
	assert_int_equal(ctrl_new(&config, pair[1], &x->conn), 0);
	x->ctrl = pair[0];
	assert_int_equal(pthread_create(&x->loop, NULL, loop, x), 0);
	x->loop_runs = 1;
}

void fixture_join(struct fixture *x)
{
	if (x->loop_runs)
		pthread_join(x->loop, NULL);
	x->loop_runs = 0;
}

void client_send(int fd, const void *request, size_t n, int attach)
{
	if (attach >= 0)
		assert_int_equal(fd_send(fd, request, n, &attach, 1), 0);
	else
		assert_int_equal(send(fd, request, n, MSG_NOSIGNAL), (ssize_t)n);
}

int client_recv(int fd, void *reply, size_t n, int timeout_ms)
{
	for (size_t have = 0; have < n;) {
		struct pollfd w = { .fd = fd, .events = POLLIN };
		int rc = poll(&w, 1, have ? 5000 : timeout_ms);
		if (rc == 0 && have == 0)
			return -1;
		if (rc <= 0)
			fail_msg("reply stops after %zu of %zu bytes", have, n);
		ssize_t got = recv(fd, (uint8_t *)reply + have, n - have, 0);
		if (got <= 0)
			fail_msg("peer closed after %zu of %zu bytes", have, n);
		have += (size_t)got;
	}
	return 0;
}

int client_closed(int fd, int timeout_ms)
{
	uint8_t byte;
	struct pollfd w = { .fd = fd, .events = POLLIN };
	return poll(&w, 1, timeout_ms) == 1 && recv(fd, &byte, 1, 0) <= 0;
}

void client_silent(int fd, int ms)
{
	struct pollfd w = { .fd = fd, .events = POLLIN };
	assert_int_equal(poll(&w, 1, ms), 0);
}

void ctrl_talk(struct fixture *x, const char *request, const char *reply)
{
	uint8_t out[256], want[256], got[256];
	size_t n = hex_bytes(request, out, sizeof(out));
	client_send(x->ctrl, out, n, -1);
	n = hex_bytes(reply, want, sizeof(want));
	assert_int_equal(client_recv(x->ctrl, got, n, WAIT_MS), 0);
	if (memcmp(got, want, n) != 0) {
		print_error("request %s\nwanted  %s\ngot     ", request, reply);
		for (size_t i = 0; i < n; i++)
			print_error("%02x", got[i]);
		fail_msg(" ");
	}
	/* Not a byte more: the next reply would be misread. */
	assert_true(recv(x->ctrl, got, 1, MSG_DONTWAIT) <= 0);
}

uint32_t tpm_talk(struct fixture *x, const char *command, uint8_t *reply, size_t *reply_n)
{
	uint8_t cmd[VTPM_BUFFER_MAX], own[VTPM_BUFFER_MAX];
	uint32_t v;
	if (!reply)
		reply = own;
	client_send(x->dat, cmd, hex_bytes(command, cmd, sizeof(cmd)), -1);
	assert_int_equal(client_recv(x->dat, reply, VTPM_HEADER_BYTES, WAIT_MS), 0);
	memcpy(&v, reply + 2, 4);
	v = be32toh(v);
	assert_true(v >= VTPM_HEADER_BYTES && v <= VTPM_BUFFER_MAX);
	if (v > VTPM_HEADER_BYTES)
		assert_int_equal(
			client_recv(x->dat, reply + VTPM_HEADER_BYTES, v - VTPM_HEADER_BYTES, 5000),
			0);
	if (reply_n)
		*reply_n = v;
	memcpy(&v, reply + 6, 4);
	return be32toh(v);
}

void fixture_attach(struct fixture *x)
{
	static const uint8_t set_datafd[4] = { 0, 0, 0, 16 };
	uint8_t result[4];
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	client_send(x->ctrl, set_datafd, 4, pair[1]);
	close(pair[1]);
	assert_int_equal(client_recv(x->ctrl, result, 4, WAIT_MS), 0);
	assert_memory_equal(result, "\0\0\0\0", 4);
	x->dat = pair[0];
}
