/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/worker/fixture.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

static int setup(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	static struct fixture x;
	fixture_open(&x, 0xa1, 0xb2, 1);
	fixture_connect(&x);
	*state = &x;
	return 0;
}

static int teardown(void **state)
{
	fixture_done(*state);
	return 0;
}

/* QEMU 7.2 with tpm-crb: the order and the bytes are its own (reference, section 1). */
static void qemu_starts(struct fixture *x)
{
	fixture_attach(x);
	/* Before INIT: QEMU tells a TPM 2 from the tag of this failure. */
	uint8_t reply[VTPM_BUFFER_MAX];
	size_t n;
	assert_int_equal(tpm_talk(x, "8001 0000000a 00000181", reply, &n), 0x101);
	assert_int_equal(n, 10);
	assert_memory_equal(reply, "\x80\x01", 2);
	ctrl_talk(x, "00000001", "00000000 00017fff");
	ctrl_talk(x, "0000000e", "00000000");
	ctrl_talk(x, "00000011 00000000", "00000000 00001000 00000af8 00001000");
	ctrl_talk(x, "0000000e", "00000000");
	ctrl_talk(x, "00000011 00000f80", "00000000 00000f80 00000af8 00001000");
}

static void qemu_inits(struct fixture *x)
{
	ctrl_talk(x, "00000002 00000000", "00000000");
	ctrl_talk(x, "00000004", "00000000 00 000000");
	ctrl_talk(x, "00000005 00000000", "00000000");
}

static void test_qemu_start_and_reset(void **state)
{
	struct fixture *x = *state;
	qemu_starts(x);
	qemu_inits(x);
	assert_int_equal(tpm_talk(x, TPM_STARTUP_CLEAR, NULL, NULL), 0);
	assert_int_equal(tpm_talk(x, TPM_PCR16_EXTEND, NULL, NULL), 0);
	for (int i = 0; i < 2; i++) {
		ctrl_talk(x, "0000000e", "00000000");
		ctrl_talk(x, "00000011 00000000", "00000000 00000f80 00000af8 00001000");
		ctrl_talk(x, "0000000e", "00000000");
		ctrl_talk(x, "00000011 00000f80", "00000000 00000f80 00000af8 00001000");
		ctrl_talk(x, "00000002 00000000", "00000000");
	}
	assert_int_equal(tpm_talk(x, TPM_STARTUP_CLEAR, NULL, NULL), 0);
	assert_int_equal(tpm_talk(x, TPM_GETRANDOM_16, NULL, NULL), 0);
	ctrl_talk(x, "00000003", "00000000");
	fixture_join(x);
	assert_int_equal(x->end, CTRL_SHUTDOWN_ASKED);
	assert_false(vtpm_running(x->vtpm));
}

/* ---- state blobs ---- */

struct blob {
	uint8_t head[16]; /* result, flags, total, length */
	uint8_t bytes[VTPM_BLOB_MAX];
	size_t n;
};
static struct blob permanent, volatile_, other;

static uint32_t be32_at(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void get_blob(struct fixture *x, unsigned int type, uint32_t offset, struct blob *b)
{
	char hex[64];
	uint8_t request[16];
	snprintf(hex, sizeof(hex), "0000000c 00000001 %08x %08x", type, offset);
	client_send(x->ctrl, request, hex_bytes(hex, request, sizeof(request)), -1);
	assert_int_equal(client_recv(x->ctrl, b->head, 16, WAIT_MS), 0);
	b->n = be32_at(b->head + 12);
	assert_int_equal(be32_at(b->head + 8), b->n);
	assert_true(b->n <= sizeof(b->bytes));
	if (b->n)
		assert_int_equal(client_recv(x->ctrl, b->bytes, b->n, WAIT_MS), 0);
	client_silent(x->ctrl, 0);
}

/* Header and body in two writes, as QEMU does. */
static uint32_t set_blob(struct fixture *x, uint32_t flags, unsigned int type, const uint8_t *bytes,
			 size_t n)
{
	char hex[64];
	uint8_t request[16], result[4];
	snprintf(hex, sizeof(hex), "0000000d %08x %08x %08zx", flags, type, n);
	client_send(x->ctrl, request, hex_bytes(hex, request, sizeof(request)), -1);
	if (n)
		client_send(x->ctrl, bytes, n, -1);
	assert_int_equal(client_recv(x->ctrl, result, 4, WAIT_MS), 0);
	client_silent(x->ctrl, 0);
	return be32_at(result);
}

static void start_tpm(struct fixture *x)
{
	qemu_starts(x);
	qemu_inits(x);
	assert_int_equal(tpm_talk(x, TPM_STARTUP_CLEAR, NULL, NULL), 0);
}

/* SHA-256 PCR 16 as PCR_Read gives it: the last 32 bytes; the update counter before it too. */
static void read_pcr16(struct fixture *x, uint8_t pcr[static 32])
{
	uint8_t reply[VTPM_BUFFER_MAX];
	size_t n;
	assert_int_equal(tpm_talk(x, TPM_PCR16_READ, reply, &n), 0);
	memcpy(pcr, reply + n - 32, 32);
}

static void test_save_and_restore(void **state)
{
	struct fixture *x = *state;
	uint8_t pcr[32], again[32];

	start_tpm(x);
	assert_int_equal(tpm_talk(x, TPM_PCR16_EXTEND, NULL, NULL), 0);
	read_pcr16(x, pcr);
	get_blob(x, 1, 0, &permanent);
	assert_int_equal(be32_at(permanent.head), 0);
	assert_int_equal(be32_at(permanent.head + 4),
			 2); /* ENCRYPTED, though DECRYPTED was asked */
	get_blob(x, 2, 0, &volatile_);
	assert_int_equal(be32_at(volatile_.head), 0);
	assert_int_equal(be32_at(volatile_.head + 4), 2);
	get_blob(x, 3, 0, &other);
	assert_int_equal(be32_at(other.head), 0x800);
	assert_int_equal(be32_at(other.head + 4), 0);
	assert_int_equal(other.n, 0);
	ctrl_talk(x, "00000003", "00000000");
	fixture_done(x);

	/* Another host: same VM and key, empty folder. */
	fixture_open(x, 0xa1, 0xb2, 1);
	fixture_connect(x);
	qemu_starts(x);
	ctrl_talk(x, "0000000e", "00000000");
	assert_int_equal(set_blob(x, 2, 1, permanent.bytes, permanent.n), 0);
	assert_int_equal(set_blob(x, 2, 2, volatile_.bytes, volatile_.n), 0);
	ctrl_talk(x, "00000002 00000001", "00000000");
	read_pcr16(x, again); /* no Startup: the guest goes on */
	assert_memory_equal(pcr, again, 32);
	assert_true(store_exists(x->store));

	/* The guest is reset: the volatile state does not come back. */
	ctrl_talk(x, "0000000e", "00000000");
	ctrl_talk(x, "00000002 00000000", "00000000");
	assert_int_equal(tpm_talk(x, TPM_PCR16_READ, NULL, NULL), 0x100);
	assert_int_equal(tpm_talk(x, TPM_STARTUP_CLEAR, NULL, NULL), 0);
	read_pcr16(x, again);
	assert_memory_not_equal(pcr, again, 32);
}

static void test_blobs_hide_the_state(void **state)
{
	struct fixture *x = *state;
	static const enum key_use use[] = { KEY_USE_VTPM_BLOB_VERSIONED,
					    KEY_USE_VTPM_BLOB_VOLATILE };
	start_tpm(x);
	for (unsigned int type = 1; type <= 2; type++) {
		CLEANUP_BUF struct buf plain = BUF_INIT(VTPM_BLOB_MAX);
		struct seal *seal;
		int windows = 0;
		get_blob(x, type, 0, &permanent);
		assert_int_equal(seal_new(&x->key, use[type - 1], x->vm, fixture_tpm_id,
					  sizeof(fixture_tpm_id), &seal),
				 0);
		assert_int_equal(seal_open(seal, permanent.bytes, permanent.n, &plain, NULL), 0);
		seal_free(seal);
		/* Seeds and proofs are 32 to 64 bytes each: any would show as such a window. */
		for (size_t i = 0; i + 16 <= plain.len; i += 8) {
			int zeros = 0;
			for (size_t j = 0; j < 16; j++)
				zeros += plain.data[i + j] == 0 || plain.data[i + j] == 0xff;
			if (zeros > 4)
				continue;
			windows++;
			assert_null(memmem(permanent.bytes, permanent.n, plain.data + i, 16));
		}
		assert_true(windows > 10);
	}
}

static void test_blob_in_pieces(void **state)
{
	struct fixture *x = *state;
	start_tpm(x);
	get_blob(x, 2, 0, &permanent);
	get_blob(x, 2, 100, &other);
	assert_int_equal(other.n, permanent.n - 100);
	assert_memory_equal(other.bytes, permanent.bytes + 100, other.n);
	get_blob(x, 2, (uint32_t)permanent.n, &other);
	assert_int_equal(be32_at(other.head), 0);
	assert_int_equal(other.n, 0);
	get_blob(x, 2, 0xffffffff, &other);
	assert_int_equal(other.n, 0);
	/* Another request in between: sealed anew, so never the same bytes. */
	ctrl_talk(x, "0000000f", "00000000 00000003");
	get_blob(x, 2, 100, &other);
	assert_int_equal(other.n, permanent.n - 100);
	assert_memory_not_equal(other.bytes, permanent.bytes + 100, other.n);
}

static void test_blobs_refused(void **state)
{
	struct fixture *x = *state;
	uint8_t pcr[32];

	start_tpm(x);
	assert_int_equal(tpm_talk(x, TPM_PCR16_EXTEND, NULL, NULL), 0);
	get_blob(x, 1, 0, &permanent);
	get_blob(x, 2, 0, &volatile_);
	get_blob(x, 9, 0, &other);
	assert_int_equal(be32_at(other.head), 3);
	ctrl_talk(x, "00000003", "00000000");
	fixture_done(x);

	for (int how = 0; how < 4; how++) {
		/* 0: this VM; 1: another VM with the same key; 2: the same VM with another key;
		 * 3: a new vTPM of the same VM */
		fixture_tpm_id[0] = how == 3;
		fixture_open(x, how == 1 ? 0xa2 : 0xa1, how == 2 ? 0xb3 : 0xb2, 1);
		fixture_connect(x);
		qemu_starts(x);
		if (how > 0) {
			assert_int_equal(set_blob(x, 2, 1, permanent.bytes, permanent.n), 0x21);
			assert_int_equal(set_blob(x, 2, 2, volatile_.bytes, volatile_.n), 0x21);
		} else {
			/* The seal decides, not the flag: swtpm_ioctl does not send it. */
			assert_int_equal(set_blob(x, 0, 1, permanent.bytes, permanent.n), 0);
			assert_int_equal(set_blob(x, 0, 1, permanent.bytes + 8, permanent.n - 8),
					 0x21);
			assert_int_equal(set_blob(x, 2, 2, permanent.bytes, permanent.n), 0x21);
			assert_int_equal(set_blob(x, 2, 1, permanent.bytes, permanent.n - 1), 0x21);
			assert_int_equal(set_blob(x, 2, 1, permanent.bytes, permanent.n + 1), 0x21);
			assert_int_equal(set_blob(x, 2, 1, permanent.bytes, 1), 0x21);
			permanent.bytes[permanent.n / 2] ^= 1;
			assert_int_equal(set_blob(x, 2, 1, permanent.bytes, permanent.n), 0x21);
			permanent.bytes[permanent.n / 2] ^= 1;
			assert_int_equal(set_blob(x, 2, 9, permanent.bytes, permanent.n), 3);
			/* A good one, then a bad one: neither is used. */
			assert_int_equal(set_blob(x, 2, 1, permanent.bytes, permanent.n), 0);
			assert_int_equal(set_blob(x, 2, 2, volatile_.bytes, volatile_.n), 0);
			assert_int_equal(set_blob(x, 2, 1, permanent.bytes, 1), 0x21);
			assert_int_equal(set_blob(x, 2, 2, volatile_.bytes, 1), 0x21);
		}
		/* Nothing of it is there: a new TPM starts, and needs its Startup. */
		ctrl_talk(x, "00000002 00000001", "00000000");
		assert_true(vtpm_was_made(x->vtpm));
		assert_int_equal(tpm_talk(x, TPM_PCR16_READ, NULL, NULL), 0x100);
		assert_int_equal(tpm_talk(x, TPM_STARTUP_CLEAR, NULL, NULL), 0);
		read_pcr16(x, pcr);
		assert_memory_equal(pcr, (uint8_t[32]){ 0 }, 32);
		if (how < 3)
			fixture_done(x);
	}
	fixture_tpm_id[0] = 0;
}

static void test_blob_too_long(void **state)
{
	struct fixture *x = *state;
	static uint8_t junk[64 * 1024];
	uint8_t head[16], result[4];
	uint32_t total = VTPM_BLOB_MAX + 1;

	/* Swallowed without being kept, then refused; the connection goes on. */
	client_send(x->ctrl, head,
		    hex_bytes("0000000d 00000002 00000001 00080001", head, sizeof(head)), -1);
	for (uint32_t sent = 0; sent < total;) {
		uint32_t n = total - sent < sizeof(junk) ? total - sent : sizeof(junk);
		client_send(x->ctrl, junk, n, -1);
		sent += n;
	}
	assert_int_equal(client_recv(x->ctrl, result, 4, WAIT_MS), 0);
	assert_int_equal(be32_at(result), 0x17);
	ctrl_talk(x, "0000000e", "00000000");
	/* One that is absurd ends the connection at once. */
	ctrl_talk(x, "0000000d 00000002 00000001 ffffffff", "00000017");
	assert_true(client_closed(x->ctrl, 1000));
}

static void test_empty_blob_makes_no_new_tpm(void **state)
{
	struct fixture *x = *state;
	start_tpm(x);
	ctrl_talk(x, "0000000e", "00000000");
	assert_int_equal(set_blob(x, 2, 1, NULL, 0), 0);
	assert_int_equal(set_blob(x, 0, 2, NULL, 0), 0);
	ctrl_talk(x, "00000002 00000000", "00000000");
	assert_false(vtpm_was_made(x->vtpm));
}

/* ---- the table ---- */

static void test_not_running(void **state)
{
	struct fixture *x = *state;
	ctrl_talk(x, "00000004", "0000000a 00000000");
	ctrl_talk(x, "0000000b 00", "0000000a");
	ctrl_talk(x, "00000006", "0000000a");
	ctrl_talk(x, "00000007 00000004 61626364", "0000000a");
	ctrl_talk(x, "00000008", "0000000a");
	ctrl_talk(x, "00000009", "0000000a");
	ctrl_talk(x, "0000000a", "0000000a");
	ctrl_talk(x, "0000000c 00000001 00000001 00000000", "0000000a 00000000 00000000 00000000");
	ctrl_talk(x, "0000000f", "00000000 00000003");
	ctrl_talk(x, "00000013 0000012c", "00000000");
	ctrl_talk(x, "00000005 05", "0000003d");
	ctrl_talk(x, "00000005 ff000000", "0000003d");
	ctrl_talk(x, "00000005 04", "00000000");
	ctrl_talk(x, "00000005 00000000", "00000000");
	ctrl_talk(x, "00000010", "00000003");
	/* unknown */
	ctrl_talk(x, "00000000", "0000000a");
	ctrl_talk(x, "00000014", "0000000a");
	ctrl_talk(x, "ffffffff 1234", "0000000a");
	/* a body where there is none, or of the wrong size */
	ctrl_talk(x, "0000000e 00", "00000003");
	ctrl_talk(x, "00000003 00", "00000003");
	ctrl_talk(x, "0000000f 00000000", "00000003");
	ctrl_talk(x, "00000002 00000000 00", "00000003");
	ctrl_talk(x, "0000000d 00000002 00000001 00000001 aabb", "00000003");
	assert_false(vtpm_running(x->vtpm));
}

static void test_running(void **state)
{
	struct fixture *x = *state;
	start_tpm(x);
	ctrl_talk(x, "0000000b 04", "00000000");
	ctrl_talk(x, "0000000b 00000000", "0000003d"); /* libtpms: 3 or 4 only */
	ctrl_talk(x, "0000000b 05", "0000003d");
	ctrl_talk(x, "00000009", "00000000");
	ctrl_talk(x, "0000000a", "00000000");
	ctrl_talk(x, "0000000d 00000002 00000001 00000001 aa", "0000000a");
	ctrl_talk(x, "00000011 00000f80", "0000000a");
	ctrl_talk(x, "00000011 00000000", "00000000 00000f80 00000af8 00001000");
	ctrl_talk(x, "00000004 00", "00000003 00000000");
	ctrl_talk(x, "00000008", "00000000");
	/* still the same TPM */
	assert_int_equal(tpm_talk(x, TPM_GETRANDOM_16, NULL, NULL), 0);
}

static void test_buffer_size_bounds(void **state)
{
	struct fixture *x = *state;
	ctrl_talk(x, "00000011 00000001", "00000000 00000af8 00000af8 00001000");
	ctrl_talk(x, "00000011 ffffffff", "00000000 00001000 00000af8 00001000");
}

static void test_info(void **state)
{
	struct fixture *x = *state;
	uint8_t request[32], reply[4096], part[4096];
	client_send(x->ctrl, request,
		    hex_bytes("00000012 0000000000000003 00000000 00000000", request, 32), -1);
	assert_int_equal(client_recv(x->ctrl, reply, 12, WAIT_MS), 0);
	uint32_t n = be32_at(reply + 4);
	assert_int_equal(be32_at(reply), 0);
	assert_int_equal(be32_at(reply + 8), n);
	assert_int_equal(client_recv(x->ctrl, reply, n, WAIT_MS), 0);
	assert_int_equal(reply[n - 1], 0);
	assert_non_null(strstr((char *)reply, "\"TPMSpecification\":{\"family\":\"2.0\""));
	client_send(x->ctrl, request,
		    hex_bytes("00000012 0000000000000003 00000010 00000000", request, 32), -1);
	assert_int_equal(client_recv(x->ctrl, part, 12, WAIT_MS), 0);
	assert_int_equal(be32_at(part + 4), n);
	assert_int_equal(be32_at(part + 8), n - 16);
	assert_int_equal(client_recv(x->ctrl, part, n - 16, WAIT_MS), 0);
	assert_memory_equal(part, reply + 16, n - 16);
	ctrl_talk(x, "00000012 0000000000000003 00001000 00000000", "00000003");
	ctrl_talk(x, "00000012 0000000000000003 ffffffff 00000000", "00000003");
}

/* HASH_* after Startup is a DRTM event at locality 4: PCR 17 starts from zero and is extended. */
static void pcr17_after_hash(struct fixture *x, size_t total, size_t piece, uint8_t pcr[static 32])
{
	uint8_t head[8], result[4], reply[VTPM_BUFFER_MAX], bytes[4096];
	char hex[32];
	size_t n;
	memset(bytes, 0x5a, sizeof(bytes));
	ctrl_talk(x, "00000006", "00000000");
	snprintf(hex, sizeof(hex), "00000007 %08zx", total);
	client_send(x->ctrl, head, hex_bytes(hex, head, sizeof(head)), -1);
	for (size_t sent = 0; sent < total; sent += n) {
		n = total - sent < piece ? total - sent : piece;
		client_send(x->ctrl, bytes, n, -1);
	}
	assert_int_equal(client_recv(x->ctrl, result, 4, WAIT_MS), 0);
	assert_int_equal(be32_at(result), 0);
	ctrl_talk(x, "00000008", "00000000");
	assert_int_equal(tpm_talk(x, "8001 00000014 0000017e 00000001 000b 03 000002", reply, &n),
			 0);
	memcpy(pcr, reply + n - 32, 32);
}

static void test_hash(void **state)
{
	struct fixture *x = *state;
	uint8_t none[32], whole[32], pieces[32], longer[32];
	start_tpm(x);
	memset(none, 0xff, sizeof(none)); /* PCR 17 before any DRTM event */
	pcr17_after_hash(x, 200000, 4096, whole);
	pcr17_after_hash(x, 200000, 777, pieces);
	pcr17_after_hash(x, 200001, 4096, longer);
	assert_memory_not_equal(whole, none, 32);
	assert_memory_equal(whole, pieces, 32);
	assert_memory_not_equal(whole, longer, 32);
	/* libtpms keeps the bit until it is reset. */
	ctrl_talk(x, "00000004", "00000000 01 000000");
	ctrl_talk(x, "0000000b 03", "00000000");
	ctrl_talk(x, "00000004", "00000000 00 000000");
	/* more than was declared */
	ctrl_talk(x, "00000006", "00000000");
	ctrl_talk(x, "00000007 00000001 6162", "00000003");
	ctrl_talk(x, "00000007 00000000", "00000000");
	ctrl_talk(x, "00000008", "00000000");
	ctrl_talk(x, "0000000b 04000000", "00000000");
}

static void test_incomplete_is_closed(void **state)
{
	struct fixture *x = *state;
	static const char *const starts[] = { "00",
					      "000000",
					      "00000002 0000",
					      "00000005",
					      "0000000c 00000001 00000001",
					      "0000000d 00000002 00000001 00000004 6162",
					      "00000007 00000004 6162" };
	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		uint8_t request[32];
		client_send(x->ctrl, request, hex_bytes(starts[i], request, sizeof(request)), -1);
		client_silent(x->ctrl, 200);
		assert_true(client_closed(x->ctrl, 2000));
		close(x->ctrl);
		fixture_join(x);
		assert_int_equal(x->end, CTRL_CLOSED);
		fixture_connect(x);
	}
	/* Slow but whole is answered. */
	client_send(x->ctrl, "\0\0", 2, -1);
	client_silent(x->ctrl, 100);
	client_send(x->ctrl, "\0\x0e", 2, -1);
	uint8_t result[4];
	assert_int_equal(client_recv(x->ctrl, result, 4, WAIT_MS), 0);
	assert_int_equal(be32_at(result), 0);
}

static void test_data_fd(void **state)
{
	struct fixture *x = *state;
	static const uint8_t set_datafd[4] = { 0, 0, 0, 16 };
	uint8_t result[4];
	int pair[2];

	/* not a socket */
	int pipes[2];
	assert_int_equal(pipe(pipes), 0);
	client_send(x->ctrl, set_datafd, 4, pipes[0]);
	assert_int_equal(client_recv(x->ctrl, result, 4, WAIT_MS), 0);
	assert_int_equal(be32_at(result), 3);
	close(pipes[0]);
	/* The vTPM has closed its copy too. */
	assert_int_equal(write(pipes[1], "x", 1), -1);
	close(pipes[1]);

	fixture_attach(x);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	client_send(x->ctrl, set_datafd, 4, pair[1]);
	close(pair[1]);
	assert_int_equal(client_recv(x->ctrl, result, 4, WAIT_MS), 0);
	assert_int_equal(be32_at(result), 0x1f);
	assert_true(client_closed(pair[0], 1000));
	close(pair[0]);

	/* The first one still works; after it has gone, another is taken. */
	assert_int_equal(tpm_talk(x, TPM_GETRANDOM_16, NULL, NULL), 0x101);
	uint64_t count;
	close(x->dat);
	struct pollfd w = { .fd = data_event_fd(x->data), .events = POLLIN };
	assert_int_equal(poll(&w, 1, 5000), 1);
	assert_int_equal(read(w.fd, &count, sizeof(count)), (ssize_t)sizeof(count));
	assert_false(data_busy(x->data));
	fixture_attach(x);
	assert_int_equal(tpm_talk(x, TPM_GETRANDOM_16, NULL, NULL), 0x101);
}

/* CreatePrimary of an RSA 3072 key, which takes the longest; N makes each another key. */
static void send_slow_command(struct fixture *x, int n)
{
	uint8_t cmd[512];
	char hex[512];
	snprintf(hex, sizeof(hex),
		 "8002 0000004d 00000131 40000001 00000009 40000009 0000 00 0000"
		 "0008 0000 0004 %08x"
		 "001a 0001 000b 00030072 0000 0006 0080 0043 0010 0c00 00000000 0000"
		 "0000 00000000",
		 n);
	size_t bytes = hex_bytes(hex, cmd, sizeof(cmd));
	cmd[5] = (uint8_t)bytes;
	client_send(x->dat, cmd, bytes, -1);
}

static void test_cancel(void **state)
{
	struct fixture *x = *state;
	int cancelled = 0;
	start_tpm(x);
	for (int n = 0; n < 40 && !cancelled; n++) {
		uint8_t head[VTPM_HEADER_BYTES], rest[VTPM_BUFFER_MAX];
		send_slow_command(x, n);
		usleep(5000);
		ctrl_talk(x, "00000009", "00000000");
		assert_int_equal(client_recv(x->dat, head, sizeof(head), WAIT_MS), 0);
		uint32_t rc = be32_at(head + 6), size = be32_at(head + 2);
		if (size > sizeof(head))
			assert_int_equal(client_recv(x->dat, rest, size - sizeof(head), WAIT_MS),
					 0);
		if (rc == VTPM_RC_CANCELED)
			cancelled = 1;
		else
			assert_int_equal(rc, 0);
		/* Made and not cancelled: it takes a slot. */
		tpm_talk(x, "8001 0000000e 00000165 80000000", NULL, NULL);
	}
	assert_true(cancelled);
	/* The next command is not. */
	assert_int_equal(tpm_talk(x, TPM_GETRANDOM_16, NULL, NULL), 0);
}

/* While a command runs, what needs no TPM is answered. */
static void test_control_during_command(void **state)
{
	struct fixture *x = *state;
	uint8_t head[VTPM_HEADER_BYTES];
	start_tpm(x);
	send_slow_command(x, 77);
	usleep(2000);
	ctrl_talk(x, "00000001", "00000000 00017fff");
	ctrl_talk(x, "00000005 00000000", "00000000");
	ctrl_talk(x, "0000000f", "00000000 00000003");
	assert_int_equal(client_recv(x->dat, head, sizeof(head), WAIT_MS), 0);
}

static void test_locality(void **state)
{
	struct fixture *x = *state;
	/* PCR_Reset(PCR 21) is for locality 2. */
	static const char reset21[] =
		"8002 0000001b 0000013d 00000015 00000009 40000009 0000 00 0000";
	start_tpm(x);
	assert_int_equal(tpm_talk(x, reset21, NULL, NULL), 0x907);
	ctrl_talk(x, "00000005 02000000", "00000000");
	assert_int_equal(tpm_talk(x, reset21, NULL, NULL), 0);
	ctrl_talk(x, "00000005 07", "0000003d");
	assert_int_equal(tpm_talk(x, reset21, NULL, NULL), 0);
	ctrl_talk(x, "00000005 00000000", "00000000");
	assert_int_equal(tpm_talk(x, reset21, NULL, NULL), 0x907);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_qemu_start_and_reset),
		T(test_save_and_restore),
		T(test_blobs_hide_the_state),
		T(test_blob_in_pieces),
		T(test_blobs_refused),
		T(test_blob_too_long),
		T(test_empty_blob_makes_no_new_tpm),
		T(test_not_running),
		T(test_running),
		T(test_buffer_size_bounds),
		T(test_info),
		T(test_hash),
		T(test_incomplete_is_closed),
		T(test_data_fd),
		T(test_cancel),
		T(test_control_during_command),
		T(test_locality),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
