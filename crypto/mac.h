/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HMAC-SHA256 (RFC 2104) with a key of 32 bytes, comparison in constant time, random bytes, and the
 * file that such a key is kept in.
 *
 * May be used by: guardian/.  getrandom(2) through libcrypto.
 */
#ifndef SHIELDVM_CRYPTO_MAC_H
#define SHIELDVM_CRYPTO_MAC_H

#include "base/buf.h"
#include "crypto/hash.h"

#define MAC_BYTES     32
#define MAC_KEY_BYTES 32

/* The MAC of the N_PARTS one behind the other: what varies in size must be the last, or have its
 * size before it.  ERR_CRYPTO. */
int mac_parts(const uint8_t key[static MAC_KEY_BYTES], const struct hash_part *parts,
	      size_t n_parts, uint8_t out[static MAC_BYTES]) MUST_CHECK;

/* 1 if the N bytes of A and B are the same; how long it takes does not depend on them. */
int mac_same(const uint8_t *a, const uint8_t *b, size_t n) MUST_CHECK;

/* N random bytes.  ERR_CRYPTO. */
int mac_random(uint8_t *out, size_t n) MUST_CHECK;

/* Make a new key in PATH (0600), which must not exist (-EEXIST); read it.  ERR_POLICY if others may
 * use the file, ERR_FORMAT if it is not of MAC_KEY_BYTES, -errno. */
int mac_key_make(const char *path, struct fault *f) MUST_CHECK;
int mac_key_read(const char *path, uint8_t key[static MAC_KEY_BYTES], struct fault *f) MUST_CHECK;

#endif
