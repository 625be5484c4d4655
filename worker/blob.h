/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * State blobs as they travel in QEMU's migration stream: sealed with a key per blob type and bound
 * to the VM and its vTPM's id.  The permanent state's has its version in it (docs/FORMAT.md, "State
 * blobs"); one from before there were versions is read as version 0.
 *
 * Used by: worker/vtpm.c, under its lock.
 */
#ifndef SHIELDVM_WORKER_BLOB_H
#define SHIELDVM_WORKER_BLOB_H

#include "base/buf.h"
#include "crypto/key.h"

enum vtpm_blob { VTPM_BLOB_PERMANENT = 1, VTPM_BLOB_VOLATILE, VTPM_BLOB_SAVESTATE };

#define BLOB_VERSION_BYTES 8 /* in the permanent state's, before the state */

struct blob_keys;

/* Keys for the blobs of the vTPM TPM_ID (TPM_ID_BYTES; none for a VM that has no protector) of VM.
 * Nothing of the caller's is used after the call. */
int blob_keys_new(const struct vm_key *key, const uint8_t vm[static UUID_BYTES],
		  const uint8_t *tpm_id, size_t tpm_id_bytes, struct blob_keys **out) MUST_CHECK;
void blob_keys_free(struct blob_keys *k);

/*
 * Append the sealed form of STATE, or the plaintext of SEALED, to OUT.  VERSION is the permanent
 * state's, 0 if it has none or TYPE is another.  K = NULL: as it is, and without a version.  Errors
 * of seal_blob() and seal_open(); ERR_LIMIT for a version above STATEHEAD_VERSION_MAX.
 */
int blob_seal(struct blob_keys *k, enum vtpm_blob type, uint64_t version, const uint8_t *state,
	      size_t n, struct buf *out) MUST_CHECK;
int blob_open(struct blob_keys *k, enum vtpm_blob type, const uint8_t *sealed, size_t n,
	      uint64_t *version, struct buf *out, struct fault *f) MUST_CHECK;

#endif
