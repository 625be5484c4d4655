/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The same requests to our control and data channel and to the installed swtpm: what a client can
 * see is the same, but for the rows that say why not.  77 (skipped) without swtpm, unless
 * MUST_WORK=1.
 */
#include "tests/unit/worker/fixture.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

#define SWTPM "/usr/bin/swtpm"

struct peer {
	pid_t pid;
	char folder[64];
	int ctrl, dat;
};

static int setup(void **state)
{
	static struct fixture x;
	fixture_open(&x, 0xd1, 0xd2, 0);
	fixture_connect(&x);
	fixture_attach(&x);
	*state = &x;
	return 0;
}

static int teardown(void **state)
{
	fixture_done(*state);
	return 0;
}

static void peer_start(struct peer *p)
{
	static const uint8_t set_datafd[4] = { 0, 0, 0, 16 };
	uint8_t result[4];
	int ctrl[2], dat[2];
	char dir[80], arg[80];

	strcpy(p->folder, "/tmp/test-swtpm.XXXXXX");
	assert_non_null(mkdtemp(p->folder));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ctrl), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, dat), 0);
	snprintf(dir, sizeof(dir), "dir=%s", p->folder);
	snprintf(arg, sizeof(arg), "type=unixio,clientfd=%d", ctrl[1]);
	p->pid = fork();
	if (p->pid == 0) {
		close(ctrl[0]);
		execl(SWTPM, "swtpm", "socket", "--tpm2", "--tpmstate", dir, "--ctrl", arg,
		      (char *)NULL);
		_exit(127);
	}
	close(ctrl[1]);
	p->ctrl = ctrl[0];
	p->dat = dat[0];
	client_send(p->ctrl, set_datafd, 4, dat[1]);
	close(dat[1]);
	assert_int_equal(client_recv(p->ctrl, result, 4, 5000), 0);
	assert_memory_equal(result, "\0\0\0\0", 4);
}

static void peer_end(struct peer *p)
{
	char path[128];
	fd_close(&p->ctrl);
	fd_close(&p->dat);
	kill(p->pid, SIGKILL);
	waitpid(p->pid, NULL, 0);
	snprintf(path, sizeof(path), "%s/tpm2-00.permall", p->folder);
	unlink(path);
	snprintf(path, sizeof(path), "%s/.lock", p->folder);
	unlink(path);
	rmdir(p->folder);
}

/* Send, then take what comes until nothing has come for a while. */
static size_t exchange(int fd, const char *hex, uint8_t *reply, size_t max)
{
	uint8_t request[512];
	size_t n = 0;
	client_send(fd, request, hex_bytes(hex, request, sizeof(request)), -1);
	for (;;) {
		struct pollfd w = { .fd = fd, .events = POLLIN };
		if (poll(&w, 1, n ? 30 : 10000) != 1)
			return n;
		ssize_t got = recv(fd, reply + n, max - n, 0);
		if (got <= 0)
			return n;
		n += (size_t)got;
	}
}

static void print(const char *who, const uint8_t *p, size_t n)
{
	print_error("%s", who);
	for (size_t i = 0; i < n && i < 80; i++)
		print_error("%02x", p[i]);
	print_error("\n");
}

static const struct row {
	int data; /* on the data channel */
	const char *request;
	size_t compare;	  /* only so many bytes; 0: all, and the length */
	const char *ours; /* what we reply instead */
	const char *why;
} rows[] = {
	{ 0, "00000001", 0, "00000000 00017fff",
	  "no command prefix on our data channel; LOCK_STORAGE as since swtpm 0.8" },
	{ 0, "0000000e" },
	{ 0, "0000000e 00" },
	{ 0, "00000011 00000000" },
	{ 0, "00000011 00000001" },
	{ 0, "00000011 00000f80" },
	{ 0, "00000011 ffffffff" },
	{ 1, "8001 0000000a 00000181" },
	{ 0, "00000004", 0, "0000000a 00000000", "newer QEMU and 7.2 both read 8 bytes" },
	{ 0, "0000000c 00000001 00000001 00000000", 0, "0000000a 00000000 00000000 00000000",
	  "likewise 16" },
	{ 0, "00000005 00000000" },
	{ 0, "00000005 04" },
	{ 0, "00000005 05" },
	{ 0, "00000005 00" },
	{ 0, "0000000b 00" },
	{ 0, "00000006" },
	{ 0, "00000007 00000001 61" },
	{ 0, "00000008" },
	{ 0, "00000009" },
	{ 0, "0000000a" },
	{ 0, "0000000f" },
	{ 0, "00000010", 0, NULL, NULL },
	{ 0, "00000012 0000000000000003 00000000 00000000" },
	{ 0, "00000012 0000000000000003 00000020 00000000" },
	{ 0, "00000012 0000000000000003 00002000 00000000" },
	{ 0, "00000014" },
	{ 0, "deadbeef" },
	{ 0, "00000002 00000000 00" },
	{ 0, "00000002 00000000" },
	{ 0, "00000004" },
	{ 0, "00000004 00", 0, "00000003 00000000", "8 bytes, as above" },
	{ 0, "0000000b 00" },
	{ 0, "0000000b 03000000" },
	{ 0, "0000000b 04" },
	{ 0, "0000000b 05" },
	{ 0, "00000009" },
	{ 0, "00000011 00000000" },
	{ 0, "00000011 00000f80" },
	{ 0, "0000000d 00000000 00000001 00000001 61" },
	{ 0, "0000000c 00000001 00000003 00000000" },
	{ 1, TPM_GETRANDOM_16 },
	{ 1, TPM_STARTUP_CLEAR },
	{ 1, TPM_STARTUP_CLEAR },
	{ 1, TPM_GETRANDOM_16, 12 },
	{ 1, TPM_PCR16_READ },
	{ 1, TPM_PCR16_EXTEND },
	{ 1, TPM_PCR16_READ },
	{ 0, "00000006" },
	{ 0, "00000007 00000005 6162636465" },
	{ 0, "00000008" },
	{ 1, "8001 00000014 0000017e 00000001 000b 03 000002" },
	{ 0, "00000004" },
	{ 0, "0000000b 04" },
	/* PCR_Reset(21) by locality */
	{ 1, "8002 0000001b 0000013d 00000015 00000009 40000009 0000 00 0000" },
	{ 0, "00000005 02000000" },
	{ 1, "8002 0000001b 0000013d 00000015 00000009 40000009 0000 00 0000" },
	{ 0, "00000005 00000000" },
	/* properties, algorithms, commands, PCR banks */
	{ 1, "8001 00000016 0000017a 00000006 00000100 0000007f", 0 },
	{ 1, "8001 00000016 0000017a 00000000 00000000 0000007f" },
	{ 1, "8001 00000016 0000017a 00000002 00000000 000000ff" },
	{ 1, "8001 00000016 0000017a 00000005 00000000 00000040" },
	{ 1, "8001 0000000c 0000ffff 0000" },
	{ 0, "0000000e" },
	{ 0, "00000011 00001000" },
	{ 0, "00000003" },
};

static void test_same_replies(void **state)
{
	struct fixture *x = *state;
	struct peer p;
	int differ = 0;

	peer_start(&p);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		uint8_t ours[4096], theirs[4096], want[256];
		size_t n = exchange(r->data ? x->dat : x->ctrl, r->request, ours, sizeof(ours));
		size_t m = exchange(r->data ? p.dat : p.ctrl, r->request, theirs, sizeof(theirs));
		int same = n == m && memcmp(ours, theirs, r->compare ? r->compare : n) == 0;
		int good = same;
		if (r->ours) /* a row whose difference has gone is wrong too */
			good = !same && n == hex_bytes(r->ours, want, sizeof(want)) &&
			       memcmp(ours, want, n) == 0;
		if (!good) {
			print_error("%s request %s\n", r->data ? "data" : "ctrl", r->request);
			print("  ours  ", ours, n);
			print("  swtpm ", theirs, m);
			differ++;
		}
	}
	peer_end(&p);
	assert_int_equal(differ, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_same_replies, setup, teardown),
	};
	if (access(SWTPM, X_OK) < 0) {
		const char *must = getenv("MUST_WORK");
		fprintf(stderr, "%s is not installed\n", SWTPM);
		return must && strcmp(must, "1") == 0 ? 1 : 77;
	}
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
