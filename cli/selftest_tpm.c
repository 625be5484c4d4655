/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/selftest_tpm.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/wipe.h"

#define ANSWER_MS  5000
#define REPLY_MAX  4096
#define NV_INDEX   0x01, 0x80, 0x51, 0x01
#define OWNER	   0x40, 0x00, 0x00, 0x01
#define RC_DEFINED 0x14c

/* An empty password session: its size, TPM_RS_PW, no nonce, no attributes, no password. */
#define PASSWORD   0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0

enum { CMD_INIT = 2, CMD_SET_DATAFD = 16 };

static const uint8_t STARTUP[] = { 0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0 };
static const uint8_t GET_RANDOM[] = { 0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 16 };
/* Owner and index password may read and write; no dictionary attack protection. */
static const uint8_t NV_DEFINE[] = { 0x80,  0x02,     0,    0, 0, 45, 0,	   0, 0x01, 0x2a,
				     OWNER, PASSWORD, 0,    0, 0, 14, NV_INDEX,	   0, 0x0b, 0x02,
				     0x06,  0x00,     0x06, 0, 0, 0,  TPM_NV_BYTES };
static const uint8_t NV_WRITE[] = { 0x80,     0x02, 0,		 0,    0,     35 + TPM_NV_BYTES,
				    0,	      0,    0x01,	 0x37, OWNER, NV_INDEX,
				    PASSWORD, 0,    TPM_NV_BYTES };
static const uint8_t NV_READ[] = { 0x80, 0x02,	0,	  0,	    0, 35,	     0, 0, 0x01,
				   0x4e, OWNER, NV_INDEX, PASSWORD, 0, TPM_NV_BYTES, 0, 0 };

static int wait_readable(int fd, int64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int rc;
	do
		rc = poll(&p, 1, clock_left_ms(deadline));
	while (rc < 0 && errno == EINTR);
	return rc > 0 ? 0 : rc < 0 ? -errno : -ETIMEDOUT;
}

ssize_t tpm_control(int ctrl, uint32_t cmd, const void *body, size_t n, int fd, void *reply,
		    size_t reply_max)
{
	uint8_t request[64];
	uint32_t be = htobe32(cmd);
	if (n > sizeof(request) - sizeof(be))
		return -EMSGSIZE;
	memcpy(request, &be, sizeof(be));
	if (n)
		memcpy(request + sizeof(be), body, n);
	int rc = fd_send(ctrl, request, sizeof(be) + n, &fd, fd >= 0 ? 1 : 0);
	if (rc >= 0)
		rc = wait_readable(ctrl, clock_ms() + ANSWER_MS);
	if (rc < 0)
		return rc;
	ssize_t got = recv(ctrl, reply, reply_max, MSG_DONTWAIT);
	return got < 0 ? -errno : got == 0 ? -ECONNRESET : got;
}

int64_t tpm_command(int data, const uint8_t *cmd, size_t n, uint8_t *reply, size_t *reply_n)
{
	int64_t deadline = clock_ms() + ANSWER_MS;
	uint32_t be;
	size_t got = 0;
	if (send(data, cmd, n, MSG_NOSIGNAL) != (ssize_t)n)
		return -errno;
	do {
		int rc = wait_readable(data, deadline);
		if (rc < 0)
			return rc;
		ssize_t more = recv(data, reply + got, REPLY_MAX - got, MSG_DONTWAIT);
		if (more <= 0)
			return more < 0 ? -errno : -ECONNRESET;
		got += (size_t)more;
		if (got >= 6)
			memcpy(&be, reply + 2, sizeof(be));
	} while (got < 10 || (got < be32toh(be) && got < REPLY_MAX));
	if (reply_n)
		*reply_n = got;
	memcpy(&be, reply + 6, sizeof(be));
	return be32toh(be);
}

static int simple(int data, const uint8_t *cmd, size_t n)
{
	uint8_t reply[REPLY_MAX];
	int64_t rc = tpm_command(data, cmd, n, reply, NULL);
	return rc == 0 ? 0 : rc < 0 ? (int)rc : -EIO;
}

int tpm_get_random(int data)
{
	return simple(data, GET_RANDOM, sizeof(GET_RANDOM));
}

int tpm_start(int ctrl, int *data)
{
	uint8_t reply[64];
	uint32_t flags = 0;
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	CLEANUP_FD int ours = ends[0];
	CLEANUP_FD int theirs = ends[1];
	static const uint8_t fine[4];
	ssize_t n = tpm_control(ctrl, CMD_SET_DATAFD, NULL, 0, theirs, reply, sizeof(reply));
	if (n >= 0 && (n != 4 || memcmp(reply, fine, 4) != 0))
		n = -EIO;
	if (n >= 0)
		n = tpm_control(ctrl, CMD_INIT, &flags, sizeof(flags), -1, reply, sizeof(reply));
	if (n >= 0 && (n != 4 || memcmp(reply, fine, 4) != 0))
		n = -EIO;
	int rc = n < 0 ? (int)n : simple(ours, STARTUP, sizeof(STARTUP));
	if (rc >= 0)
		*data = fd_take(&ours);
	return rc;
}

int tpm_nv_write(int data, const uint8_t bytes[static TPM_NV_BYTES])
{
	uint8_t reply[REPLY_MAX], cmd[sizeof(NV_WRITE) + TPM_NV_BYTES + 2] = { 0 };
	int64_t rc = tpm_command(data, NV_DEFINE, sizeof(NV_DEFINE), reply, NULL);
	if (rc < 0 || (rc != 0 && rc != RC_DEFINED))
		return rc < 0 ? (int)rc : -EIO;
	memcpy(cmd, NV_WRITE, sizeof(NV_WRITE));
	memcpy(cmd + sizeof(NV_WRITE), bytes, TPM_NV_BYTES);
	rc = simple(data, cmd, sizeof(cmd));
	wipe(cmd, sizeof(cmd));
	return (int)rc;
}

int tpm_send_nv_read(int data)
{
	return send(data, NV_READ, sizeof(NV_READ), MSG_NOSIGNAL) == sizeof(NV_READ) ? 0 : -errno;
}

int tpm_nv_read(int data, uint8_t bytes[static TPM_NV_BYTES])
{
	uint8_t reply[REPLY_MAX];
	size_t n = 0;
	int64_t rc = tpm_command(data, NV_READ, sizeof(NV_READ), reply, &n);
	/* Header, parameter size, TPM2B size. */
	if (rc != 0 || n < 16 + TPM_NV_BYTES)
		return rc < 0 ? (int)rc : -EIO;
	memcpy(bytes, reply + 16, TPM_NV_BYTES);
	wipe(reply, sizeof(reply));
	return 0;
}

/*
 * PERSISTENT_DATA has the endorsement, storage and platform seed one behind the other, each a TPM2B
 * of 64 bytes (TPM 2.0 Library part 4; libtpms keeps that order).
 */
size_t tpm_find_seeds(const uint8_t *state, size_t n, const uint8_t *seeds[static 3])
{
	enum { STEP = 2 + TPM_SEED_BYTES };
	static const uint8_t size[2] = { 0, TPM_SEED_BYTES }, zero[TPM_SEED_BYTES];
	for (size_t at = 0; at + 3 * STEP <= n; at++) {
		int fits = 1;
		for (size_t i = 0; i < 3 && fits; i++)
			fits = memcmp(state + at + i * STEP, size, 2) == 0 &&
			       memcmp(state + at + i * STEP + 2, zero, sizeof(zero)) != 0;
		if (!fits)
			continue;
		for (size_t i = 0; i < 3; i++)
			seeds[i] = state + at + i * STEP + 2;
		return 3;
	}
	return 0;
}
