/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sealing of one small object (the vTPM's state, a state blob) in the format of docs/FORMAT.md: the
 * header of every sealed thing, then one final record.  AES-256-GCM under a key derived for this
 * object alone (fresh salt), with a key commitment in the header.
 *
 * May be used by: worker/, cli/.  Phases: all; no system call but what libcrypto's generator makes
 * (getrandom(2)).
 */
#ifndef SHIELDVM_CRYPTO_SEAL_H
#define SHIELDVM_CRYPTO_SEAL_H

#include "base/buf.h"
#include "crypto/key.h"

#define SEAL_PLAINTEXT_MAX  (1024 * 1024)
#define SEAL_OVERHEAD_BYTES 116 /* header, record length and tag; crypto/seal.c asserts it */
#define SEAL_CONTEXT_MAX    256
#define SEAL_FILE_MAX	    (SEAL_PLAINTEXT_MAX + SEAL_OVERHEAD_BYTES)

/*
 * A key that seals and opens objects of one use and one VM.  Opaque; made once, used many times, by
 * one thread at a time.  CONTEXT binds what belongs to the object beyond the VM (for the state
 * file: the vTPM's id); at most SEAL_CONTEXT_MAX bytes.  ERR_LIMIT, ERR_USAGE (a use of streams),
 * ERR_CRYPTO, -ENOMEM.
 */
struct seal;

int seal_new(const struct vm_key *key, enum key_use use, const uint8_t vm[static UUID_BYTES],
	     const uint8_t *context, size_t context_bytes, struct seal **out) MUST_CHECK;
void seal_free(struct seal *s);

/*
 * What belongs to the objects from here on, beyond CONTEXT: MORE stands behind it, and takes the
 * place of what was given before (0 bytes: nothing).  ERR_LIMIT if both are too long for one
 * context; it is then as it was.
 */
int seal_bind(struct seal *s, const uint8_t *more, size_t more_bytes) MUST_CHECK;

/*
 * Append the sealed form of PLAIN (PLAIN_BYTES <= SEAL_PLAINTEXT_MAX, for KEY_USE_STATE_KEY
 * KEY_BYTES; may be 0) to OUT, which may not alias it. 0, ERR_LIMIT, ERR_CRYPTO, -ENOMEM; OUT keeps
 * its length on failure.
 */
int seal_blob(struct seal *s, const uint8_t *plain, size_t plain_bytes, struct buf *out) MUST_CHECK;

/*
 * Open SEALED, a whole object and nothing behind it, and append the plaintext to OUT.  Nothing is
 * appended unless everything authenticates.  ERR_FORMAT, ERR_VERSION, ERR_PURPOSE, ERR_VM,
 * ERR_TRUNCATED, ERR_TRAILING, ERR_AUTH, ERR_LIMIT, ERR_CRYPTO, -ENOMEM; F (may be NULL) gets the
 * sentence, without the object's name: the caller fault_wrap()s that in.
 */
int seal_open(struct seal *s, const uint8_t *sealed, size_t sealed_bytes, struct buf *out,
	      struct fault *f) MUST_CHECK;

#endif
