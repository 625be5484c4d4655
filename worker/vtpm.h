/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The virtual TPM 2.0: libtpms behind a lock, its state in a store.  Only user of libtpms.
 *
 * One per process (libtpms keeps its state in globals).  Two threads use it: the data thread runs
 * commands (vtpm_command), the control thread everything else; each call takes the vTPM's lock,
 * except vtpm_cancel(), which must not.
 */
#ifndef SHIELDVM_WORKER_VTPM_H
#define SHIELDVM_WORKER_VTPM_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "crypto/key.h"
#include "worker/store.h"

#define VTPM_BUFFER_MAX	  4096 /* bytes of a command or reply, TPM2_PT_MAX_COMMAND_SIZE */
#define VTPM_LOCALITY_MAX 4
#define VTPM_BLOB_MAX	  (512 * 1024)

enum vtpm_blob { VTPM_BLOB_PERMANENT = 1, VTPM_BLOB_VOLATILE, VTPM_BLOB_SAVESTATE };

struct vtpm;

/* Register with libtpms.  STORE and KEY (for state blobs; NULL = blobs travel in clear,
 * shieldvm-swtpm without
 * --key) are borrowed.  Before sealing. */
int vtpm_new(struct store *store, const struct vm_key *key, const uint8_t vm[static UUID_BYTES],
	     struct vtpm **out, struct fault *f) MUST_CHECK;
void vtpm_free(struct vtpm *t);

/* CMD_INIT: (re)start from stored state, or from blobs set since vtpm_stop(). */
int vtpm_init(struct vtpm *t, int delete_volatile, struct fault *f) MUST_CHECK;

/* CMD_STOP, or the end: TPM2_Shutdown unless that was the last command, then terminate. Idempotent.
 */
void vtpm_stop(struct vtpm *t);
int vtpm_running(const struct vtpm *t);

/* Run one whole command (header's paramSize == N).  Always gives a reply (a TPM error reply when
 * not running), at most VTPM_BUFFER_MAX bytes; when it returns, state changes are durable. */
void vtpm_command(struct vtpm *t, const uint8_t *cmd, size_t n,
		  uint8_t reply[static VTPM_BUFFER_MAX], size_t *reply_n);

#endif
