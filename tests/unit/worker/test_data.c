/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/worker/fixture.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

static int setup(void **state)
{
	static struct fixture x;
	signal(SIGPIPE, SIG_IGN);
	fixture_open(&x, 0xc1, 0xc2, 1);
	fixture_connect(&x);
	fixture_attach(&x);
	ctrl_talk(&x, "00000002 00000000", "00000000");
	assert_int_equal(tpm_talk(&x, TPM_STARTUP_CLEAR, NULL, NULL), 0);
	*state = &x;
	return 0;
}

static int teardown(void **state)
{
	fixture_done(*state);
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- the framing alone ---- */

static void frame_is(const char *hex, size_t n, enum frame_verdict verdict, uint32_t rc,
		     size_t take, size_t skip)
{
	static uint8_t bytes[2 * DATA_SWALLOW_MAX];
	struct frame fr;
	memset(bytes, 0, sizeof(bytes));
	hex_bytes(hex, bytes, 64);
	frame_next(bytes, n, &fr);
	assert_int_equal(fr.verdict, verdict);
	assert_int_equal(fr.rc, rc);
	assert_int_equal(fr.take, take);
	assert_int_equal(fr.skip, skip);
}

static void test_frames(void **state)
{
	(void)state;
	for (size_t n = 0; n < 12; n++)
		frame_is(TPM_GETRANDOM_16, n, FRAME_MORE, 0, 0, 0);
	frame_is(TPM_GETRANDOM_16, 12, FRAME_COMMAND, 0, 12, 0);
	frame_is(TPM_GETRANDOM_16, 13, FRAME_COMMAND, 0, 12, 0);
	frame_is("8002 0000000a", 10, FRAME_COMMAND, 0, 10, 0);
	frame_is("8001 00000009", 6, FRAME_BAD, 0x142, 6, 0);
	frame_is("8001 00000000", 20, FRAME_BAD, 0x142, 20, 0);
	frame_is("8001 00001000", 4095, FRAME_MORE, 0, 0, 0);
	frame_is("8001 00001000", 4096, FRAME_COMMAND, 0, 4096, 0);
	frame_is("8001 00001001", 6, FRAME_BAD, 0x142, 6, 4091);
	frame_is("8001 00001001", 4096, FRAME_BAD, 0x142, 4096, 1);
	frame_is("8001 00001001", 4097, FRAME_BAD, 0x142, 4097, 0);
	frame_is("8001 00001001", 5000, FRAME_BAD, 0x142, 4097, 0);
	frame_is("8001 00010000", 6, FRAME_BAD, 0x142, 6, 65530);
	frame_is("8001 00010001", 6, FRAME_BAD, 0x142, 6, 0);
	frame_is("8001 ffffffff", 6, FRAME_BAD, 0x142, 6, 0);
	frame_is("8000", 2, FRAME_BAD, 0x1e, 2, 0);
	frame_is("00c1 0000000a", 10, FRAME_BAD, 0x1e, 10, 0);
	frame_is("80", 1, FRAME_MORE, 0, 0, 0);
}

/* ---- on the channel ---- */

static uint32_t recv_reply(struct fixture *x, uint8_t *reply, size_t *n)
{
	uint8_t own[VTPM_BUFFER_MAX];
	if (!reply)
		reply = own;
	assert_int_equal(client_recv(x->dat, reply, 10, WAIT_MS), 0);
	size_t size = (size_t)reply[4] << 8 | reply[5];
	if (size > 10)
		assert_int_equal(client_recv(x->dat, reply + 10, size - 10, 5000), 0);
	if (n)
		*n = size;
	return (uint32_t)reply[8] << 8 | reply[9];
}

static void send_hex(struct fixture *x, const char *hex)
{
	uint8_t bytes[VTPM_BUFFER_MAX];
	client_send(x->dat, bytes, hex_bytes(hex, bytes, sizeof(bytes)), -1);
}

static void test_split(void **state)
{
	struct fixture *x = *state;
	uint8_t cmd[64];
	size_t n = hex_bytes(TPM_GETRANDOM_16, cmd, sizeof(cmd)), got;
	for (size_t cut = 1; cut < n; cut++) {
		client_send(x->dat, cmd, cut, -1);
		usleep(500);
		client_send(x->dat, cmd + cut, n - cut, -1);
		assert_int_equal(recv_reply(x, NULL, &got), 0);
		assert_int_equal(got, 28);
	}
	for (size_t i = 0; i < n; i++) {
		client_send(x->dat, cmd + i, 1, -1);
		usleep(500);
	}
	assert_int_equal(recv_reply(x, NULL, NULL), 0);
	client_silent(x->dat, 20);
}

static void test_pipelined(void **state)
{
	struct fixture *x = *state;
	uint8_t burst[8192], cmd[64], reply[VTPM_BUFFER_MAX];
	size_t n = 0, len;
	/* GetRandom of 1, 2, ... bytes: the sizes tell the order. */
	len = hex_bytes(TPM_GETRANDOM_16, cmd, sizeof(cmd));
	for (uint8_t i = 1; i <= 32; i++, n += len) {
		cmd[11] = i;
		memcpy(burst + n, cmd, len);
	}
	/* Whole, and in pieces that cut across the commands. */
	for (size_t piece = n; piece > 4; piece = piece * 2 / 3) {
		for (size_t at = 0; at < n; at += piece)
			client_send(x->dat, burst + at, n - at < piece ? n - at : piece, -1);
		for (size_t i = 1; i <= 32; i++) {
			assert_int_equal(recv_reply(x, reply, &len), 0);
			assert_int_equal(len, 12 + i);
		}
	}
	client_silent(x->dat, 20);
}

static void test_stray_bytes(void **state)
{
	struct fixture *x = *state;
	uint8_t reply[VTPM_BUFFER_MAX];
	send_hex(x, "6162636465");
	assert_int_equal(recv_reply(x, reply, NULL), 0x1e);
	assert_memory_equal(reply, "\x00\xc4\x00\x00\x00\x0a", 6);
	client_silent(x->dat, 20);
	assert_int_equal(tpm_talk(x, TPM_GETRANDOM_16, NULL, NULL), 0);
	send_hex(x, "8001 00000009 000000");
	assert_int_equal(recv_reply(x, reply, NULL), 0x142);
	assert_memory_equal(reply, "\x80\x01\x00\x00\x00\x0a", 6);
	assert_int_equal(tpm_talk(x, TPM_GETRANDOM_16, NULL, NULL), 0);
	/* behind a good command */
	send_hex(x, TPM_GETRANDOM_16 "ffffffffffffffffffff");
	assert_int_equal(recv_reply(x, NULL, NULL), 0);
	assert_int_equal(recv_reply(x, NULL, NULL), 0x1e);
	assert_int_equal(tpm_talk(x, TPM_GETRANDOM_16, NULL, NULL), 0);
}

static void test_oversized(void **state)
{
	struct fixture *x = *state;
	static uint8_t body[DATA_SWALLOW_MAX];
	static const uint32_t sizes[] = { 4097, 8191, 8192, 8193, DATA_SWALLOW_MAX };
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint8_t head[6] = { 0x80,
				    0x01,
				    (uint8_t)(sizes[i] >> 24),
				    (uint8_t)(sizes[i] >> 16),
				    (uint8_t)(sizes[i] >> 8),
				    (uint8_t)sizes[i] };
		memset(body, 0x80, sizeof(body)); /* would be tags */
		client_send(x->dat, head, 6, -1);
		client_send(x->dat, body, sizes[i] - 6, -1);
		send_hex(x, TPM_GETRANDOM_16);
		assert_int_equal(recv_reply(x, NULL, NULL), 0x142);
		assert_int_equal(recv_reply(x, NULL, NULL), 0);
	}
	/* the biggest that is none: libtpms itself finds it bad */
	memset(body, 0, sizeof(body));
	hex_bytes("8001 00001000 0000017b 0008", body, sizeof(body));
	client_send(x->dat, body, 4096, -1);
	assert_int_not_equal(recv_reply(x, NULL, NULL), 0);
	/* absurd: nothing is waited for */
	send_hex(x, "8001 7fffffff 0000017b");
	assert_int_equal(recv_reply(x, NULL, NULL), 0x142);
	assert_int_equal(tpm_talk(x, TPM_GETRANDOM_16, NULL, NULL), 0);
	/* announced, but the body never comes */
	send_hex(x, "8001 00002000 0000017b");
	assert_int_equal(recv_reply(x, NULL, NULL), 0x142);
	client_silent(x->dat, DATA_STALL_MS + 200);
	assert_int_equal(tpm_talk(x, TPM_GETRANDOM_16, NULL, NULL), 0);
}

static void test_stalled(void **state)
{
	struct fixture *x = *state;
	int64_t start = now_ms();
	send_hex(x, "8001 0000000c 0000017b");
	/* Meanwhile the control channel answers. */
	ctrl_talk(x, "00000004", "00000000 00 000000");
	assert_true(now_ms() - start < DATA_STALL_MS);
	assert_int_equal(recv_reply(x, NULL, NULL), 0x142);
	assert_true(now_ms() - start >= DATA_STALL_MS);
	assert_int_equal(tpm_talk(x, TPM_GETRANDOM_16, NULL, NULL), 0);
}

/* A client that sends without reading: the control channel does not notice. */
static void test_client_does_not_read(void **state)
{
	struct fixture *x = *state;
	uint8_t cmd[64];
	size_t n = hex_bytes("8001 0000000c 0000017b 0040", cmd, sizeof(cmd)), sent = 0;
	for (int tries = 0; tries < 20;) {
		ssize_t got = send(x->dat, cmd, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (got > 0) {
			assert_int_equal(got, (ssize_t)n);
			sent++;
			tries = 0;
		} else {
			assert_int_equal(errno, EAGAIN);
			usleep(5000);
			tries++;
		}
	}
	int64_t start = now_ms();
	ctrl_talk(x, "00000004", "00000000 00 000000");
	ctrl_talk(x, "0000000e", "00000000");
	ctrl_talk(x, "00000002 00000000", "00000000");
	assert_true(now_ms() - start < 2000);
	/* It gets every reply when it reads at last: to what ran before the reset, and after. */
	for (size_t i = 0; i < sent; i++) {
		uint32_t rc = recv_reply(x, NULL, NULL);
		assert_true(rc == 0 || rc == 0x100 || rc == 0x101);
	}
	client_silent(x->dat, 20);

	/* And the end of the process does not wait for such a client. */
	for (int tries = 0; tries < 20;) {
		if (send(x->dat, cmd, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
			usleep(5000);
			tries++;
		} else {
			tries = 0;
		}
	}
	start = now_ms();
	int keep = fd_take(&x->dat);
	fixture_close(x);
	assert_true(now_ms() - start < 2000);
	close(keep);
	fixture_reopen(x, 1);
}

static int connect_to(const struct sockaddr_un *to)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)to, sizeof(*to)), 0);
	return fd;
}

static void test_listener(void **state)
{
	struct fixture *x = *state;
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	(void)snprintf(to.sun_path, sizeof(to.sun_path), "%s/sock", x->folder);

	for (int one_command = 0; one_command < 2; one_command++) {
		int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		unlink(to.sun_path);
		assert_int_equal(bind(listener, (struct sockaddr *)&to, sizeof(to)), 0);
		assert_int_equal(listen(listener, 4), 0);
		if (one_command == 0) /* setup's client is there */
			assert_int_equal(data_serve(x->data, listener, 0), -EBUSY);
		fixture_close(x);
		fixture_reopen(x, 1);
		assert_int_equal(vtpm_init(x->vtpm, NULL), 0);
		assert_int_equal(data_serve(x->data, listener, one_command), 0);
		assert_true(data_busy(x->data));
		for (int i = 0; i < 3; i++) {
			x->dat = connect_to(&to);
			assert_int_equal(tpm_talk(x, TPM_STARTUP_CLEAR, NULL, NULL), i ? 0x100 : 0);
			if (one_command)
				assert_true(client_closed(x->dat, 5000));
			else
				assert_int_equal(tpm_talk(x, TPM_GETRANDOM_16, NULL, NULL), 0);
			fd_close(&x->dat);
		}
	}
	/* Ends while it waits for a client: teardown hangs otherwise. */
}

static void test_end_while_idle(void **state)
{
	struct fixture *x = *state;
	int keep = fd_take(&x->dat);
	int64_t start = now_ms();
	fixture_close(x);
	assert_true(now_ms() - start < 2000);
	close(keep);
	fixture_reopen(x, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames), T(test_split),	  T(test_pipelined),
		T(test_stray_bytes),	       T(test_oversized), T(test_stalled),
		T(test_client_does_not_read),  T(test_listener),  T(test_end_while_idle),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
