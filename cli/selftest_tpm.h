/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vTPM as QEMU speaks to it: requests of swtpm's control channel, and a few commands.  Every
 * call waits for a few seconds at most.
 *
 * Used by: cli/selftest*.c.
 */
#ifndef SHIELDVM_CLI_SELFTEST_TPM_H
#define SHIELDVM_CLI_SELFTEST_TPM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define TPM_SEED_BYTES 64
#define TPM_NV_BYTES   64

/* One request of swtpm's control channel, FD (or -1) attached.  The reply's bytes, or -errno. */
ssize_t tpm_control(int ctrl, uint32_t cmd, const void *body, size_t n, int fd, void *reply,
		    size_t reply_max) MUST_CHECK;

/* Start the vTPM and hand it one end of a new data channel; *DATA is the other. */
int tpm_start(int ctrl, int *data) MUST_CHECK;

/* One command.  The response code, or -errno. */
int64_t tpm_command(int data, const uint8_t *cmd, size_t n, uint8_t *reply, size_t *reply_n);

int tpm_nv_write(int data, const uint8_t bytes[static TPM_NV_BYTES]) MUST_CHECK;
int tpm_nv_read(int data, uint8_t bytes[static TPM_NV_BYTES]) MUST_CHECK;
int tpm_get_random(int data) MUST_CHECK;
/* The command of tpm_nv_read(), for whoever wants its reply to stay unread. */
int tpm_send_nv_read(int data) MUST_CHECK;

/* The seeds out of the vTPM's state as libtpms stores it; how many were found (0 or 3). */
size_t tpm_find_seeds(const uint8_t *state, size_t n, const uint8_t *seeds[static 3]);

#endif
