/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vTPM with its two channels in this process, and a client's view of them.
 *
 * The state is in the real store, in a folder of its own.  A thread runs the control connections as
 * the programs' main loops do.  Every wait is bounded; what does not answer fails the test.
 */
#ifndef SHIELDVM_TESTS_UNIT_WORKER_FIXTURE_H
#define SHIELDVM_TESTS_UNIT_WORKER_FIXTURE_H

#include "tests/unit/test.h"

#include <pthread.h>

#include "crypto/seal.h"
#include "worker/ctrl.h"

#define WAIT_MS 60000 /* an RSA key may take this long on a busy machine */

struct fixture {
	char folder[64];
	uint8_t vm[UUID_BYTES];
	struct vm_key key;
	struct seal *seal;
	struct store *store;
	struct vtpm *vtpm;
	struct data *data;

	int ctrl; /* the client's ends */
	int dat;

	pthread_t loop;
	int loop_runs;
	struct ctrl *conn;
	enum ctrl_event end; /* how the loop ended */
};

/* A vTPM of the VM whose UUID is 16 times VM_BYTE, its key KEY_BYTE; SEALED: blobs are sealed. */
void fixture_open(struct fixture *x, uint8_t vm_byte, uint8_t key_byte, int sealed);
/* The vTPM's id that the next fixture_open() gives. */
extern uint8_t fixture_tpm_id[16];
/* Destroy the vTPM but keep its folder; then, again, as a new process would. */
void fixture_close(struct fixture *x);
void fixture_reopen(struct fixture *x, int sealed);
/* And its folder. */
void fixture_done(struct fixture *x);

/* Connect a control client (x->ctrl), and wait for the loop to have ended. */
void fixture_connect(struct fixture *x);
void fixture_join(struct fixture *x);

/* Send REQUEST on FD; with ATTACH >= 0, that descriptor too. */
void client_send(int fd, const void *request, size_t n, int attach);
/* Receive exactly N bytes, or fail; returns -1 instead if nothing comes for TIMEOUT_MS. */
int client_recv(int fd, void *reply, size_t n, int timeout_ms);
/* 1 if the peer closes without another byte within TIMEOUT_MS. */
int client_closed(int fd, int timeout_ms);
/* Nothing comes for MS. */
void client_silent(int fd, int ms);

/* A control request of hex digits (blanks allowed) and the reply it must get. */
void ctrl_talk(struct fixture *x, const char *request, const char *reply);
/* A TPM command in hex, its reply's response code.  REPLY (may be NULL) has room for 4096. */
uint32_t tpm_talk(struct fixture *x, const char *command, uint8_t *reply, size_t *reply_n);

/* SET_DATAFD, then x->dat. */
void fixture_attach(struct fixture *x);

size_t hex_bytes(const char *hex, uint8_t *out, size_t max);

#define TPM_STARTUP_CLEAR  "8001 0000000c 00000144 0000"
#define TPM_STARTUP_STATE  "8001 0000000c 00000144 0001"
#define TPM_SHUTDOWN_CLEAR "8001 0000000c 00000145 0000"
#define TPM_GETRANDOM_16   "8001 0000000c 0000017b 0010"
/* PCR_Read(SHA-256, PCR 16), PCR_Extend(PCR 16, SHA-256, 32 x 0x11) */
#define TPM_PCR16_READ	   "8001 00000014 0000017e 00000001 000b 03 000001"
#define TPM_PCR16_EXTEND                                                                           \
	"8002 00000041 00000182 00000010 00000009 40000009 0000 00 0000 00000001 000b"             \
	"1111111111111111111111111111111111111111111111111111111111111111"

#endif
