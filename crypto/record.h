/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The header and the records of docs/FORMAT.md, "Sealed objects": what one small object
 * (crypto/seal.h) and a stream (crypto/stream.h) have in common.  Private to crypto/.
 *
 * Theory of operation.  Every object draws a fresh salt, and HKDF makes from the key, the salt and
 * all other header fields one AES key and one commitment.  So each AES key seals one object only,
 * nonces may count from 0, every header byte is bound, and an object that was sealed with another
 * key, or whose header was changed, is told by its commitment before any byte is decrypted.
 */
#ifndef SHIELDVM_CRYPTO_RECORD_H
#define SHIELDVM_CRYPTO_RECORD_H

#include "crypto/key.h"
#include "crypto/ossl.h"

#define RECORD_FORMAT_VERSION	1
#define RECORD_FINAL		0x80000000U
#define RECORD_EXTRA_MAX	256
#define RECORD_TAG_BYTES	16
#define RECORD_COMPRESSION_LAST 1 /* zstd */

/* Where the header's fields are. */
enum {
	RECORD_AT_MAGIC = 0,
	RECORD_AT_VERSION = 8,
	RECORD_AT_PURPOSE = 9,
	RECORD_AT_AEAD = 10,
	RECORD_AT_RESERVED = 11,
	RECORD_AT_COMPRESSION = 11, /* in a stream's header */
	RECORD_AT_SIZE = 12,
	RECORD_AT_VM = 16,
	RECORD_AT_SALT = 32,
	RECORD_AT_COMMITMENT = 64,
	RECORD_HEADER_BYTES = 96,
	RECORD_PREFIX_BYTES = 4, /* a record's length and final mark */
};

/* What an object belongs to. */
struct record_binding {
	enum key_use use;
	uint8_t vm[UUID_BYTES];
	uint32_t record_size; /* of this use; record_size(use) but in tests */
	uint8_t compression;  /* of a stream that is made; what is read may have any */
	size_t extra_bytes;
	uint8_t extra[RECORD_EXTRA_MAX];
};

/* What one object is sealed with. */
struct record_keys {
	uint8_t aes[32];
	uint8_t commitment[32];
};
void record_keys_done(struct record_keys *k);

/* The most plaintext bytes in a record of USE, and what USE is in a sentence. */
uint32_t record_size(enum key_use use);
const char *record_purpose(enum key_use use);

void record_put_be32(uint8_t *p, uint32_t v);
uint32_t record_get_be32(const uint8_t *p);

/* Write a header with a fresh salt, and its keys to K.  ERR_CRYPTO. */
int record_header_make(const struct vm_key *key, const struct record_binding *b,
		       uint8_t header[static RECORD_HEADER_BYTES],
		       struct record_keys *k) MUST_CHECK;

/* Everything about a header that needs no key, of the N bytes at P: steps 1 to 3 of FORMAT.md,
 * "Reading", with its errors.  WANTED of them must be there: RECORD_HEADER_BYTES, or the
 * RECORD_AT_SALT that these steps look at. */
int record_header_check(const struct record_binding *b, const uint8_t *p, size_t n, size_t wanted,
			struct fault *f) MUST_CHECK;

/*
 * Purpose and VM are B's, and the commitment is that of KEY (steps 4 and 5); K are then the
 * object's keys.  ERR_PURPOSE, ERR_VM, ERR_AUTH, ERR_CRYPTO.
 */
int record_header_open(const struct vm_key *key, const struct record_binding *b,
		       const uint8_t header[static RECORD_HEADER_BYTES], struct record_keys *k,
		       struct fault *f) MUST_CHECK;

/*
 * Encrypt record NUMBER of N bytes at SRC to DST, which may be SRC and has room for the tag behind
 * them; PREFIX, which is in front of it in the object, is the associated data.  ERR_CRYPTO.
 */
int record_encrypt(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, const struct record_keys *k,
		   uint32_t number, const uint8_t prefix[static RECORD_PREFIX_BYTES],
		   const uint8_t *src, size_t n, uint8_t *dst) MUST_CHECK;

/* The reverse; the tag is behind the N bytes at SRC.  1 if authentic; if not, 0, DST is unspecified
 * and libcrypto's error queue empty. */
int record_decrypt(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, const struct record_keys *k,
		   uint32_t number, const uint8_t prefix[static RECORD_PREFIX_BYTES],
		   const uint8_t *src, size_t n, uint8_t *dst) MUST_CHECK;

#endif
