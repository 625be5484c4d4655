/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM key from what swtpm's callers have: an AES key or a passphrase (docs/FORMAT.md, "Keys of
 * shieldvm-swtpm").  Nobody else has use for it: a shielded VM's key is random.
 *
 * May be used by: worker/ (shieldvm-swtpm), before sealing.
 */
#ifndef SHIELDVM_CRYPTO_SECRET_H
#define SHIELDVM_CRYPTO_SECRET_H

#include "crypto/key.h"

#define SECRET_PASSPHRASE_ROUNDS 210000 /* of PBKDF2-HMAC-SHA512; about 0.1 s */

enum secret_kind {
	SECRET_KEY,	   /* uniformly random: HKDF-SHA256 is enough */
	SECRET_PASSPHRASE, /* PBKDF2-HMAC-SHA512 with VM in its salt */
};

/*
 * Make KEY from SECRET (SECRET_BYTES >= 1).  The same secret as a key and as a passphrase, or for
 * two VMs as a passphrase, gives different keys.  0, ERR_LIMIT for an empty secret, ERR_CRYPTO.
 */
int secret_to_key(enum secret_kind kind, const uint8_t *secret, size_t secret_bytes,
		  const uint8_t vm[static UUID_BYTES], struct vm_key *key) MUST_CHECK;

#endif
