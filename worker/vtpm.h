/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The virtual TPM 2.0: libtpms behind a lock, its state in a store.  Only user of libtpms.
 *
 * One per process (libtpms keeps its state in globals).  Two threads use it: the data thread runs
 * commands (vtpm_command), the control thread everything else; each call takes the vTPM's lock,
 * except vtpm_cancel(), vtpm_running() and vtpm_set_locality(), which must answer while a command
 * runs.
 *
 * What libtpms is given comes from the store or from a state blob that authenticated, never from a
 * peer as it stands.  Volatile state is used once: the INIT that resumes from it consumes it, so
 * that no later INIT can bring old PCR values back.
 */
#ifndef SHIELDVM_WORKER_VTPM_H
#define SHIELDVM_WORKER_VTPM_H

#include "base/buf.h"
#include "crypto/key.h"
#include "worker/blob.h"
#include "worker/store.h"

#define VTPM_BUFFER_MAX	     4096 /* bytes of a command or reply, TPM2_PT_MAX_COMMAND_SIZE */
#define VTPM_HEADER_BYTES    10	  /* tag, size, command or response code */
#define VTPM_LOCALITY_MAX    4
#define VTPM_BLOB_MAX	     (512 * 1024)

/* TPM 2.0 Library part 2: what a command that never reaches libtpms is answered with. */
#define VTPM_RC_BAD_TAG	     0x01e
#define VTPM_RC_FAILURE	     0x101
#define VTPM_RC_COMMAND_SIZE 0x142
#define VTPM_RC_CANCELED     0x909
#define VTPM_RC_RETRY	     0x922

struct vtpm;

struct vtpm_config {
	struct store *store;	      /* permanent state */
	struct store *volatile_store; /* where STORE_VOLATILE goes; NULL: this process's memory */
	const struct vm_key *key;     /* state blobs are sealed with it; NULL: they travel in clear
					 (shieldvm-swtpm without --key) */
	const uint8_t *vm;	      /* UUID_BYTES; what sealed blobs are bound to */
	const uint8_t *tpm_id;	      /* likewise, unless its size is 0: the protector's vTPM id */
	size_t tpm_id_bytes;
	/* 1: state blobs are taken only until the guest's first command (a restore, an incoming
	 * migration).  A QEMU that was taken over could otherwise put back an older state again and
	 * again, and with it the counter that stands between a PIN and its guessing. */
	int no_rewind, keep_memory; /* keep_memory 1: it is secret, none can be given back */
	/* Versions of the permanent state (worker/store.h).  SPENT: what is here counts as this at
	 * least, and what is stored gets higher ones.  OLDEST: older state blobs are refused, but
	 * for those of version TICKET, by the owner's word; 0: there is none. */
	uint64_t spent, oldest, ticket;
};

/*
 * Register with libtpms.  The stores are borrowed and must outlive the vTPM; KEY and VM are not
 * used after the call.  Before sealing.  ERR_STATE if the process has a vTPM already.
 */
int vtpm_new(const struct vtpm_config *config, struct vtpm **out, struct fault *f) MUST_CHECK;
void vtpm_free(struct vtpm *t);

/*
 * CMD_INIT: stop if running, then start from the blobs set since, or else from the stores; absent
 * state is manufactured if the store allows a new one (store_open()).  What this changes in the
 * permanent state is in the store when it returns 0.  Volatile state is consumed whether or not the
 * client asks for that.  After a failure the vTPM is stopped, the blobs are forgotten, and the
 * permanent state is what it was.
 */
int vtpm_init(struct vtpm *t, struct fault *f) MUST_CHECK;

/*
 * Keep what would be stored in memory (vtpm_hold), then store it in one step (vtpm_commit; behind
 * store_mark_first() or not): a crash in between leaves nothing of it behind; or drop it
 * (vtpm_forget).  For provisioning, before any client is attached.
 */
void vtpm_hold(struct vtpm *t);
int vtpm_commit(struct vtpm *t, int mark_first, struct fault *f) MUST_CHECK;
void vtpm_forget(struct vtpm *t);

/*
 * This start is one from saved state: as vtpm_hold(), and commands fail with TPM_RC_FAILURE, until
 * vtpm_commit().  Otherwise whoever has the vTPM could try, with state that nobody has vouched for
 * and that is never stored, one PIN after the other.  Until vtpm_set_blob() has the permanent
 * state, vtpm_commit() is ERR_STATE: what is stored here may be of long ago.
 */
void vtpm_await(struct vtpm *t);
int vtpm_is_ready(struct vtpm *t); /* 1: it runs, and on what was awaited */

/* With no_rewind: no state blob is taken any more, as this start is none from saved state. */
void vtpm_keep(struct vtpm *t);
/* store_set_moved(); vtpm_pause() is all but that.  Until MOVED is 0 again commands get
 * TPM_RC_RETRY: this vTPM is another host's now, and nothing that they change could be stored. */
int vtpm_set_moved(struct vtpm *t, int moved, struct fault *f) MUST_CHECK;
void vtpm_pause(struct vtpm *t, int pause);

/*
 * CMD_STOP, or the end: TPM2_Shutdown(STATE), else (CLEAR), unless that was the last command, so
 * that the guest is not charged with a dictionary attack (TPM 2.0 part 1, "Lockout").  Idempotent.
 */
void vtpm_stop(struct vtpm *t);
int vtpm_running(const struct vtpm *t);
/* 1 if the last vtpm_init() found no state and manufactured a TPM. */
int vtpm_was_made(const struct vtpm *t);

/*
 * Run one whole command (header's paramSize == N).  Always gives a reply (a TPM error reply when
 * not running), at most VTPM_BUFFER_MAX bytes; when it returns, state changes are durable.
 */
void vtpm_command(struct vtpm *t, const uint8_t *cmd, size_t n,
		  uint8_t reply[static VTPM_BUFFER_MAX], size_t *reply_n);

/* A reply of nothing but RC. */
void vtpm_error_reply(uint32_t rc, uint8_t reply[static VTPM_HEADER_BYTES]);

/*
 * CMD_CANCEL: the command that is running, or that has arrived and waits for the lock, ends with
 * TPM_RC_CANCELED if it can be cancelled.  No effect on later ones.  Takes no lock.  libtpms clears
 * its flag when it starts a command: a call in that very instant is lost, as if it had come late.
 */
void vtpm_cancel(struct vtpm *t);

/* CMD_SET_LOCALITY: for commands from now on.  ERR_LIMIT above VTPM_LOCALITY_MAX. */
int vtpm_set_locality(struct vtpm *t, unsigned int locality) MUST_CHECK;
/* CMD_GET_TPMESTABLISHED, CMD_RESET_TPMESTABLISHED (at LOCALITY, ERR_LIMIT as above).  ERR_STATE
 * when not running, -EIO if libtpms refuses. */
int vtpm_get_established(struct vtpm *t, int *bit) MUST_CHECK;
int vtpm_reset_established(struct vtpm *t, unsigned int locality) MUST_CHECK;
/* CMD_HASH_START, _DATA, _END.  ERR_STATE when not running, or out of sequence. */
int vtpm_hash_start(struct vtpm *t) MUST_CHECK;
int vtpm_hash_data(struct vtpm *t, const uint8_t *data, size_t n) MUST_CHECK;
int vtpm_hash_end(struct vtpm *t) MUST_CHECK;
/* CMD_SET_BUFFERSIZE: 0 asks.  ERR_STATE if WANTED and running. */
int vtpm_set_buffer_size(struct vtpm *t, uint32_t wanted, uint32_t *size, uint32_t *min,
			 uint32_t *max) MUST_CHECK;

/* CMD_GET_INFO: append libtpms' JSON for FLAGS and a NUL to OUT. */
int vtpm_info(struct vtpm *t, uint64_t flags, struct buf *out) MUST_CHECK;
int vtpm_has_blob_key(const struct vtpm *t); /* 1 if state blobs are sealed */

/*
 * CMD_GET_STATEBLOB: append the state of the running vTPM, sealed if there is a key, the permanent
 * one with its version.  ERR_STATE when not running, -ENOENT for a savestate (a TPM 2.0 has none),
 * ERR_FORMAT for another type.
 */
int vtpm_get_blob(struct vtpm *t, uint32_t type, struct buf *out) MUST_CHECK;

/*
 * CMD_SET_STATEBLOB, while stopped: keep DATA (N <= VTPM_BLOB_MAX) for the next vtpm_init().  With
 * a key, DATA must be a sealed blob of this type and VM (else what seal_open() says), whether or
 * not SEALED is set: swtpm_ioctl does not give the flag back.  Without one, SEALED gives
 * ERR_RECIPIENT.  N = 0: the state is empty.  ERR_POLICY (rule vtpm.older) for a permanent state
 * older than is allowed.  ERR_STATE when running, or if the vTPM has served its guest and is not to
 * be rewound; ERR_FORMAT for an unknown type.  A failure forgets the blob of that type set before.
 */
int vtpm_set_blob(struct vtpm *t, uint32_t type, int sealed, const uint8_t *data, size_t n,
		  struct fault *f) MUST_CHECK;

/* CMD_STORE_VOLATILE: the next vtpm_init() resumes from here (volatile_store: in any process). */
int vtpm_store_volatile(struct vtpm *t, struct fault *f) MUST_CHECK;

#endif
