/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VM key and everything derived from it (DESIGN section 4).
 *
 * A VM key is 32 random bytes, one per VM.  It is never used itself: HKDF-SHA256 (RFC 5869) makes a
 * key per use, with a distinct label, the VM's UUID and a salt.  May be used by: every layer above;
 * key_new() only where the owner shields a domain.
 */
#ifndef SHIELDVM_CRYPTO_KEY_H
#define SHIELDVM_CRYPTO_KEY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/uuid.h"
#include "base/wipe.h"

#define KEY_BYTES 32

struct vm_key {
	uint8_t bytes[KEY_BYTES];
};

/* What a derived key is for; each value has its own HKDF label (docs/FORMAT.md). Values are format,
 * never reused. */
enum key_use {
	KEY_USE_VTPM_STATE = 1,	     /* the vTPM's state file */
	KEY_USE_VTPM_BLOB_PERMANENT, /* GET_STATEBLOB type 1, inside QEMU's stream */
	KEY_USE_VTPM_BLOB_VOLATILE,  /* type 2 */
	KEY_USE_VTPM_BLOB_SAVESTATE, /* type 3 */
	KEY_USE_STATE_KEY,	     /* the stream key of a saved state */
	KEY_USE_SAVED_STATE,	     /* a saved state or checkpoint, from its own stream key */
	KEY_USE_DUMP,		     /* a dump, likewise */
	KEY_USE_CHANNEL,	     /* the PSK of a migration channel */
	KEY_USE_CHANNEL_RECORDS,     /* its records, from the handshake's secrets */
	KEY_USE_VTPM_BLOB_VERSIONED, /* GET_STATEBLOB type 1, with the state's version in it */
};
#define KEY_USE_LAST KEY_USE_VTPM_BLOB_VERSIONED

/* A fresh VM key from the library's generator; ERR_CRYPTO. */
int key_new(struct vm_key *key) MUST_CHECK;

/* Wipe. */
void key_done(struct vm_key *key);
#define CLEANUP_KEY CLEANUP(key_done)

/*
 * OUT = HKDF-SHA256(secret = KEY, salt = SALT, info = label(USE) || VM || CONTEXT), OUT_BYTES (<=
 * 255 * 32) long. CONTEXT may be NULL if its size is 0.  0 or ERR_CRYPTO.
 */
int key_derive(const struct vm_key *key, enum key_use use, const uint8_t vm[static UUID_BYTES],
	       const uint8_t *salt, size_t salt_bytes, const uint8_t *context, size_t context_bytes,
	       uint8_t *out, size_t out_bytes) MUST_CHECK;

#endif
