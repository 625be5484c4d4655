/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sealed streams (docs/FORMAT.md, "Sealed stream files"): saved states, checkpoints and dumps of
 * any size, as records that are sealed and opened one by one, by several threads at a time.
 *
 * A file is a *front* (key record and stream header, at most STREAM_FRONT_MAX bytes) and records.
 * Every file has a stream key of its own.  The key record of a saved state wraps it under the VM
 * key; that of a dump wraps it to the owner's public key, and nobody else can open it: not the
 * VM key, not the host.  crypto/flow.h pumps whole files from descriptor to descriptor; this is
 * what it is made of.
 *
 * May be used by: migration/, worker/, cli/.  Phases: stream_keys_new() and stream_lane_new()
 * before sealing (they make libcrypto load what it loads lazily); everything else in all phases,
 * with no system call but getrandom(2) and malloc(3)'s.
 */
#ifndef SHIELDVM_CRYPTO_STREAM_H
#define SHIELDVM_CRYPTO_STREAM_H

#include "crypto/jwk.h"
#include "crypto/key.h"
#include "crypto/protector.h"

#define STREAM_RECORD_BYTES    (256 * 1024) /* plaintext in every record but the final one */
#define STREAM_RECORD_EXTRA    20 /* a record's prefix (4) in front, its tag (16) behind */
#define STREAM_PREFIX_BYTES    4
#define STREAM_PLAINTEXT_MAX   (16ULL << 40) /* in one stream, packed or not: one AES key's share */
#define STREAM_HEADER_BYTES    96
#define STREAM_STATE_KEY_BYTES 148  /* the key record of a saved state */
#define STREAM_HEAD_BYTES      32   /* what of a key record tells its kind and size */
#define STREAM_DUMP_KEY_MAX    1056 /* a dump's key record: head, and a JWE of at most 1024 */
#define STREAM_FRONT_MAX       (STREAM_DUMP_KEY_MAX + STREAM_HEADER_BYTES)
/* What its records hold: the plaintext, or what crypto/squeeze.h has made of it. */
enum stream_compression { STREAM_AS_IT_IS = 0, STREAM_ZSTD = 1 };
const char *stream_compression_name(enum stream_compression c); /* "none", "zstd" */

/* What a stream belongs to, besides its purpose; all of it is bound. */
struct stream_facts {
	uint8_t vm[UUID_BYTES];
	uint8_t tpm_id[PROTECTOR_TPM_ID_BYTES];
	enum shield_level level;
};

/*
 * What this process can make and open streams with.  FACTS: what is sealed belongs to these, and
 * only what belongs to these is opened; NULL: nothing is sealed, and no saved state opened.  KEY
 * (may be NULL): seals and opens saved states.  OWNER (public, may be NULL): dumps are sealed to
 * it. ECDH (may be NULL; must outlive the keys): opens dumps made for it.  All but ECDH are copied.
 * Everything is tried once, so that a sealed process finds all of libcrypto loaded.  Used by one
 * thread at a time.  ERR_CRYPTO, ERR_USAGE, -ENOMEM.
 */
struct stream_keys;
int stream_keys_new(const struct stream_facts *facts, const struct vm_key *key,
		    const struct jwk *owner, const struct ecdh *ecdh, struct stream_keys **out,
		    struct fault *f) MUST_CHECK;
void stream_keys_free(struct stream_keys *k); /* wipes; NULL is fine */
static inline void cleanup_stream_keys(struct stream_keys **k)
{
	stream_keys_free(*k);
}
#define CLEANUP_STREAM_KEYS CLEANUP(cleanup_stream_keys)
/* How what is sealed with K is compressed; at first it is not.  What is opened says so itself. */
void stream_keys_compress(struct stream_keys *k, enum stream_compression c);

/* One stream being sealed or opened.  Holds its keys; wiped by stream_free(). */
struct stream;
void stream_free(struct stream *s);
static inline void cleanup_stream(struct stream **s)
{
	stream_free(*s);
}
#define CLEANUP_STREAM CLEANUP(cleanup_stream)

enum key_use stream_purpose(const struct stream *s); /* KEY_USE_SAVED_STATE or KEY_USE_DUMP */
const struct stream_facts *stream_facts(const struct stream *s);
enum stream_compression stream_compression(const struct stream *s);
size_t stream_record_size(const struct stream *s);     /* STREAM_RECORD_BYTES, but in tests */
uint64_t stream_plaintext_max(const struct stream *s); /* STREAM_PLAINTEXT_MAX, likewise */

/*
 * Begin a new stream of PURPOSE under a fresh key: FRONT gets the *FRONT_BYTES that the file starts
 * with.  ERR_USAGE if K cannot seal that purpose, ERR_CRYPTO, -ENOMEM.
 */
int stream_seal(struct stream_keys *k, enum key_use purpose, uint8_t front[static STREAM_FRONT_MAX],
		size_t *front_bytes, struct stream **out, struct fault *f) MUST_CHECK;

/*
 * How much of a file's front there is to read: *NEED is its whole length, or STREAM_HEAD_BYTES as
 * long as N is less than that.  What can be checked without a key in the N bytes at FRONT is
 * checked: ERR_FORMAT, ERR_VERSION, ERR_LIMIT.
 */
int stream_front_need(const uint8_t *front, size_t n, size_t *need, struct fault *f) MUST_CHECK;

/*
 * Open the front of a file (N bytes, as many as stream_front_need() says; fewer give the error that
 * a file cut there has) that must be of PURPOSE.  The errors of FORMAT.md, "Reading a stream file";
 * ERR_STATE: its key was shredded; ERR_RECIPIENT: a dump, sealed to another key than K's, or K has
 * none.
 */
int stream_open(struct stream_keys *k, enum key_use purpose, const uint8_t *front, size_t n,
		struct stream **out, struct fault *f) MUST_CHECK;

/* What a front says to somebody without a key.  Claims: nothing of it is authenticated. */
struct stream_claims {
	enum key_use purpose;
	uint8_t vm[UUID_BYTES];
	size_t front_bytes;
	int shredded;			     /* then nothing of what follows is set */
	size_t record_bytes;		     /* plaintext in a record */
	enum stream_compression compression; /* of it */
	char recipient[JWK_THUMBPRINT_SIZE]; /* dumps: the owner's key; "" else, as the next two */
	uint8_t tpm_id[PROTECTOR_TPM_ID_BYTES];
	enum shield_level level;
};

/* As far as possible without a key; N as for stream_open(), with its errors. */
int stream_inspect(const uint8_t *front, size_t n, struct stream_claims *out,
		   struct fault *f) MUST_CHECK;

/*
 * Make the key record in the N bytes at FRONT, a saved state's or a dump's, unusable for good: all
 * of it behind its first STREAM_HEAD_BYTES becomes zero.  *FROM and *BYTES say what of FRONT the
 * caller has to write over the file, and to fsync.  ERR_FORMAT, ERR_VERSION, ERR_TRUNCATED,
 * ERR_STATE (is shredded already).
 */
int stream_shred(uint8_t *front, size_t n, size_t *from, size_t *bytes, struct fault *f) MUST_CHECK;

/* What one thread needs to seal or open records, of any number of streams. */
struct stream_lane;
int stream_lane_new(struct stream_lane **out) MUST_CHECK; /* ERR_CRYPTO, -ENOMEM */
void stream_lane_free(struct stream_lane *l);
void stream_lane_wipe(struct stream_lane *l); /* forgets the last stream's key */

/*
 * Seal record NUMBER (from 0) in place: PLAIN_BYTES are at RECORD + STREAM_PREFIX_BYTES, with room
 * for 16 more behind them; RECORD is PLAIN_BYTES + STREAM_RECORD_EXTRA bytes then.  A record that
 * is not FINAL holds exactly stream_record_size(), the final one 1 byte or more unless it is record
 * 0. A number is sealed once: the nonce is made from it.  Any thread, each with its lane, in any
 * order.  ERR_LIMIT over STREAM_PLAINTEXT_MAX, ERR_USAGE, ERR_CRYPTO; RECORD is then unspecified.
 */
int stream_record_seal(const struct stream *s, struct stream_lane *l, uint64_t number, int final,
		       uint8_t *record, size_t plain_bytes) MUST_CHECK;

/*
 * What PREFIX, the first bytes of record NUMBER, says: the whole record's *RECORD_BYTES, and
 * whether it is the final one.  ERR_FORMAT, ERR_LIMIT.
 */
int stream_record_peek(const struct stream *s, uint64_t number,
		       const uint8_t prefix[static STREAM_PREFIX_BYTES], size_t *record_bytes,
		       int *final, struct fault *f) MUST_CHECK;

/*
 * Open record NUMBER, RECORD_BYTES as stream_record_peek() has them, in place: its plaintext
 * (RECORD_BYTES - STREAM_RECORD_EXTRA) is at RECORD + STREAM_PREFIX_BYTES.  ERR_AUTH: RECORD was
 * wiped.  Any thread, each with its lane, in any order; but no plaintext may be used before that of
 * all records in front of it.
 */
int stream_record_open(const struct stream *s, struct stream_lane *l, uint64_t number,
		       uint8_t *record, size_t record_bytes) MUST_CHECK;

#endif
