/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What crypto/stream.c (streams) and crypto/stream_key.c (key records) share, and what tests need
 * to make small streams.  Private to crypto/.
 */
#ifndef SHIELDVM_CRYPTO_STREAM_FORM_H
#define SHIELDVM_CRYPTO_STREAM_FORM_H

#include "crypto/stream.h"

/* Step 1 to 3 of FORMAT.md, "Reading a stream file": the kind of file and the size of its key
 * record, by the N bytes at P. */
int stream_head_check(const uint8_t *p, size_t n, enum key_use *purpose, size_t *key_bytes,
		      struct fault *f) MUST_CHECK;

/* The key record was shredded; it is whole. */
int stream_head_shredded(const uint8_t *record, size_t key_bytes);

/* Append the key record of a dump: KEY, wrapped to OWNER.  ERR_CRYPTO, errors of buf_reserve(). */
int stream_key_wrap(const struct jwk *owner, const struct stream_facts *facts,
		    const struct vm_key *key, struct buf *out, struct fault *f) MUST_CHECK;

/* What the key record of a dump says: its facts and its recipient.  It is whole and its head was
 * checked.  ERR_FORMAT, ERR_VERSION, ERR_AUTH. */
int stream_key_inspect(const uint8_t *record, size_t key_bytes, struct stream_facts *facts,
		       char recipient[static JWK_THUMBPRINT_SIZE], struct fault *f) MUST_CHECK;

/* Unwrap it.  WANTED may be NULL; FACTS are those of the dump.  Step 5 of FORMAT.md. */
int stream_key_unwrap(const struct ecdh *ecdh, const struct stream_facts *wanted,
		      const uint8_t *record, size_t key_bytes, struct stream_facts *facts,
		      struct vm_key *key, struct fault *f) MUST_CHECK;

/* For tests: streams of another record size and limit, which are in no valid file.  K seals and
 * opens nothing else from then on. */
void stream_keys_resize(struct stream_keys *k, uint32_t record_size, uint64_t records_max);

#endif
