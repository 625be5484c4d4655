/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Theory of operation.  docs/FORMAT.md, "Sealed objects", has the layout.  Every object draws a
 * fresh salt, and HKDF makes from the VM key, the salt and all other header fields one AES key and
 * one commitment.  So each AES key seals one object only, nonces may count from 0, every header
 * byte is bound, and an object that was sealed with another key, or whose header was changed, is
 * told by its commitment before any byte is decrypted.
 */
#include "crypto/seal.h"

#include <errno.h>

#include "crypto/ossl.h"

#define FORMAT_VERSION	 1
#define AEAD_AES_256_GCM 1
#define RECORD_SIZE	 SEAL_PLAINTEXT_MAX
#define RECORD_FINAL	 0x80000000U
#define CONTEXT_MAX	 256

#define SALT_BYTES	 32
#define COMMITMENT_BYTES 32
#define TAG_BYTES	 16
#define NONCE_BYTES	 12

/* Where the header's fields are. */
enum {
	AT_MAGIC = 0,
	AT_VERSION = 8,
	AT_PURPOSE = 9,
	AT_AEAD = 10,
	AT_RESERVED = 11,
	AT_RECORD_SIZE = 12,
	AT_VM = 16,
	AT_SALT = 32,
	AT_COMMITMENT = 64,
	HEADER_BYTES = 96,
	PREFIX_BYTES = 4, /* a record's length and final mark */
};
_Static_assert(SEAL_OVERHEAD_BYTES == HEADER_BYTES + PREFIX_BYTES + TAG_BYTES, "seal.h");

static const uint8_t MAGIC[] = { 'S', 'H', 'V', 'D', 'S', 'E', 'A', 'L' };
_Static_assert(sizeof(MAGIC) == AT_VERSION, "the magic fills its field");

static const char *const PURPOSES[] = {
	[KEY_USE_VTPM_STATE] = "the state of a vTPM",
	[KEY_USE_VTPM_BLOB_PERMANENT] = "a vTPM's permanent state blob",
	[KEY_USE_VTPM_BLOB_VOLATILE] = "a vTPM's volatile state blob",
	[KEY_USE_VTPM_BLOB_SAVESTATE] = "a vTPM's savestate blob",
};
#define PURPOSE_LAST (sizeof(PURPOSES) / sizeof(PURPOSES[0]) - 1)
_Static_assert(PURPOSE_LAST == KEY_USE_VTPM_BLOB_SAVESTATE, "a name per enum key_use");

struct seal {
	struct vm_key key;
	enum key_use use;
	uint8_t vm[UUID_BYTES];
	EVP_CIPHER *cipher;
	EVP_CIPHER_CTX *ctx;
	size_t context_bytes;
	uint8_t context[CONTEXT_MAX];
};

/* What one object is sealed with. */
struct object_keys {
	uint8_t aes[32];
	uint8_t commitment[COMMITMENT_BYTES];
};
_Static_assert(sizeof(struct object_keys) == 64, "filled by one derivation");

static void object_keys_done(struct object_keys *k)
{
	wipe(k, sizeof(*k));
}

static void put_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The keys of the object with HEADER, for whatever purpose and VM the header names (its purpose is
 * one of PURPOSES). */
static int derive(const struct seal *s, const uint8_t header[static HEADER_BYTES],
		  struct object_keys *out)
{
	uint8_t info[AT_VM + 2 + CONTEXT_MAX];
	size_t n = AT_VM;
	memcpy(info, header, AT_VM);
	info[n++] = (uint8_t)(s->context_bytes >> 8);
	info[n++] = (uint8_t)s->context_bytes;
	if (s->context_bytes)
		memcpy(info + n, s->context, s->context_bytes);
	n += s->context_bytes;
	return key_derive(&s->key, (enum key_use)header[AT_PURPOSE], header + AT_VM,
			  header + AT_SALT, SALT_BYTES, info, n, (uint8_t *)out, sizeof(*out));
}

/* 11 bytes of record number, big endian, and the final mark. */
static void make_nonce(uint32_t record, int final, uint8_t nonce[static NONCE_BYTES])
{
	memset(nonce, 0, NONCE_BYTES);
	put_be32(nonce + NONCE_BYTES - 5, record);
	nonce[NONCE_BYTES - 1] = final ? 1 : 0;
}

void seal_free(struct seal *s)
{
	if (!s)
		return;
	EVP_CIPHER_CTX_free(s->ctx);
	EVP_CIPHER_free(s->cipher);
	wipe_free(s, sizeof(*s));
}

/* Seal and open one empty object: whatever libcrypto loads on first use (its configuration, its
 * provider, its generator) is loaded now, while files can still be opened. */
static int warm_up(struct seal *s)
{
	CLEANUP_BUF struct buf sealed = BUF_INIT(SEAL_OVERHEAD_BYTES);
	CLEANUP_BUF struct buf plain = BUF_INIT(1);
	int rc = seal_blob(s, NULL, 0, &sealed);
	if (rc < 0)
		return rc;
	rc = seal_open(s, sealed.data, sealed.len, &plain, NULL);
	return rc < 0 ? ERR_CRYPTO : 0;
}

int seal_new(const struct vm_key *key, enum key_use use, const uint8_t vm[static UUID_BYTES],
	     const uint8_t *context, size_t context_bytes, struct seal **out)
{
	if (context_bytes > CONTEXT_MAX)
		return ERR_LIMIT;
	struct seal *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->key = *key;
	s->use = use;
	memcpy(s->vm, vm, UUID_BYTES);
	if (context_bytes)
		memcpy(s->context, context, context_bytes);
	s->context_bytes = context_bytes;
	s->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	s->ctx = EVP_CIPHER_CTX_new();
	int rc = s->cipher && s->ctx ? warm_up(s) : ERR_CRYPTO;
	if (rc < 0) {
		seal_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

/* Encrypt a record to DST (N bytes and the tag); its length prefix is the associated data. */
static int encrypt_record(struct seal *s, const struct object_keys *k, const uint8_t *prefix,
			  const uint8_t *src, size_t n, uint8_t *dst)
{
	uint8_t nonce[NONCE_BYTES];
	int got = 0, tail = 0;
	make_nonce(0, 1, nonce);
	if (EVP_EncryptInit_ex2(s->ctx, s->cipher, k->aes, nonce, NULL) != 1 ||
	    EVP_EncryptUpdate(s->ctx, NULL, &got, prefix, PREFIX_BYTES) != 1 ||
	    (n && EVP_EncryptUpdate(s->ctx, dst, &got, src, (int)n) != 1) ||
	    EVP_EncryptFinal_ex(s->ctx, dst + n, &tail) != 1 ||
	    EVP_CIPHER_CTX_ctrl(s->ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, dst + n) != 1)
		return ERR_CRYPTO;
	return 0;
}

int seal_blob(struct seal *s, const uint8_t *plain, size_t plain_bytes, struct buf *out)
{
	if (plain_bytes > SEAL_PLAINTEXT_MAX)
		return ERR_LIMIT;
	int rc = buf_reserve(out, plain_bytes + SEAL_OVERHEAD_BYTES);
	if (rc < 0)
		return rc;

	uint8_t *header = out->data + out->len;
	memcpy(header, MAGIC, sizeof(MAGIC));
	header[AT_VERSION] = FORMAT_VERSION;
	header[AT_PURPOSE] = (uint8_t)s->use;
	header[AT_AEAD] = AEAD_AES_256_GCM;
	header[AT_RESERVED] = 0;
	put_be32(header + AT_RECORD_SIZE, RECORD_SIZE);
	memcpy(header + AT_VM, s->vm, UUID_BYTES);
	if (RAND_bytes(header + AT_SALT, SALT_BYTES) != 1)
		return ERR_CRYPTO;

	CLEANUP(object_keys_done) struct object_keys k;
	rc = derive(s, header, &k);
	if (rc < 0)
		return rc;
	memcpy(header + AT_COMMITMENT, k.commitment, COMMITMENT_BYTES);

	uint8_t *record = header + HEADER_BYTES;
	put_be32(record, RECORD_FINAL | (uint32_t)plain_bytes);
	rc = encrypt_record(s, &k, record, plain, plain_bytes, record + PREFIX_BYTES);
	if (rc < 0)
		return rc;
	out->len += plain_bytes + SEAL_OVERHEAD_BYTES;
	return 0;
}

/* Everything about the header that needs no key. */
static int check_encoding(const uint8_t *p, size_t n, struct fault *f)
{
	if (n == 0)
		return fault_set(f, ERR_TRUNCATED, "empty, where a sealed object should be");
	if (memcmp(p, MAGIC, n < sizeof(MAGIC) ? n : sizeof(MAGIC)) != 0)
		return fault_set(f, ERR_FORMAT,
				 "not a sealed object: it does not start with \"%.8s\"",
				 (const char *)MAGIC);
	if (n > AT_VERSION && p[AT_VERSION] != FORMAT_VERSION)
		return fault_set(f, ERR_VERSION,
				 "sealed format version %u; this build knows version %d only",
				 p[AT_VERSION], FORMAT_VERSION);
	if (n < HEADER_BYTES)
		return fault_set(f, ERR_TRUNCATED, "the header is %zu bytes short",
				 HEADER_BYTES - n);
	if (p[AT_PURPOSE] < 1 || p[AT_PURPOSE] > PURPOSE_LAST)
		return fault_set(f, ERR_VERSION, "purpose %u, which this build does not know",
				 p[AT_PURPOSE]);
	if (p[AT_AEAD] != AEAD_AES_256_GCM)
		return fault_set(f, ERR_VERSION, "AEAD %u; this build knows %d (AES-256-GCM) only",
				 p[AT_AEAD], AEAD_AES_256_GCM);
	if (p[AT_RESERVED] != 0)
		return fault_set(f, ERR_FORMAT, "the header's reserved byte is %u and must be 0",
				 p[AT_RESERVED]);
	if (get_be32(p + AT_RECORD_SIZE) != RECORD_SIZE)
		return fault_set(f, ERR_FORMAT, "record size %u; %s has %u",
				 get_be32(p + AT_RECORD_SIZE), PURPOSES[p[AT_PURPOSE]],
				 RECORD_SIZE);
	return 0;
}

/*
 * Purpose and VM are as wanted, and the commitment is that of our key; K are then the object's
 * keys. The derivation takes purpose and VM from the header, so that an object in the wrong place
 * can still be said to be authentic, or not.
 */
static int check_header(struct seal *s, const uint8_t *header, struct object_keys *k,
			struct fault *f)
{
	int rc = derive(s, header, k);
	if (rc < 0)
		return fault_set(f, rc, "the key of a sealed object cannot be derived");
	int ours = CRYPTO_memcmp(k->commitment, header + AT_COMMITMENT, COMMITMENT_BYTES) == 0;
	const char *doubt = ours ? "" : " (so its header says; this VM's key does not confirm it)";

	if (header[AT_PURPOSE] != s->use)
		return fault_set(f, ERR_PURPOSE, "made as %s, wanted is %s%s",
				 PURPOSES[header[AT_PURPOSE]], PURPOSES[s->use], doubt);
	if (memcmp(header + AT_VM, s->vm, UUID_BYTES) != 0) {
		char theirs[UUID_TEXT_SIZE], wanted[UUID_TEXT_SIZE];
		uuid_format(header + AT_VM, theirs);
		uuid_format(s->vm, wanted);
		return fault_set(f, ERR_VM, "made for VM %s, wanted is VM %s%s", theirs, wanted,
				 doubt);
	}
	if (!ours)
		return fault_set(f, ERR_AUTH,
				 "sealed with another key%s, or its header was altered",
				 s->context_bytes ? " or for another vTPM" : "");
	return 0;
}

/* The one record's prefix against the N bytes that are there, prefix included. */
static int check_record(const uint8_t *record, size_t n, size_t *plain_bytes, struct fault *f)
{
	if (n < PREFIX_BYTES)
		return fault_set(f, ERR_TRUNCATED, "the record's length is %zu bytes short",
				 PREFIX_BYTES - n);
	uint32_t prefix = get_be32(record);
	if (!(prefix & RECORD_FINAL))
		return fault_set(f, ERR_FORMAT, "its only record is not marked as the final one");
	size_t size = prefix & ~RECORD_FINAL;
	if (size > RECORD_SIZE)
		return fault_set(f, ERR_FORMAT, "a record of %zu bytes, where %u is the most", size,
				 RECORD_SIZE);
	size_t whole = PREFIX_BYTES + size + TAG_BYTES;
	if (n < whole)
		return fault_set(f, ERR_TRUNCATED, "the final record is %zu bytes short",
				 whole - n);
	if (n > whole)
		return fault_set(f, ERR_TRAILING, "%zu bytes behind the final record", n - whole);
	*plain_bytes = size;
	return 0;
}

/* Decrypt N bytes and check their tag.  1 if authentic, 0 if not. */
static int decrypt_record(struct seal *s, const struct object_keys *k, const uint8_t *prefix,
			  size_t n, uint8_t *dst)
{
	const uint8_t *src = prefix + PREFIX_BYTES;
	uint8_t nonce[NONCE_BYTES], tail[TAG_BYTES];
	int got = 0;
	make_nonce(0, 1, nonce);
	return EVP_DecryptInit_ex2(s->ctx, s->cipher, k->aes, nonce, NULL) == 1 &&
	       EVP_DecryptUpdate(s->ctx, NULL, &got, prefix, PREFIX_BYTES) == 1 &&
	       (n == 0 || EVP_DecryptUpdate(s->ctx, dst, &got, src, (int)n) == 1) &&
	       EVP_CIPHER_CTX_ctrl(s->ctx, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES,
				   (void *)(uintptr_t)(src + n)) == 1 &&
	       EVP_DecryptFinal_ex(s->ctx, tail, &got) == 1;
}

int seal_open(struct seal *s, const uint8_t *sealed, size_t sealed_bytes, struct buf *out,
	      struct fault *f)
{
	CLEANUP(object_keys_done) struct object_keys k = { 0 };
	size_t n = 0;
	int rc = check_encoding(sealed, sealed_bytes, f);
	if (rc < 0)
		return rc;
	rc = check_header(s, sealed, &k, f);
	if (rc < 0)
		return rc;
	const uint8_t *record = sealed + HEADER_BYTES;
	rc = check_record(record, sealed_bytes - HEADER_BYTES, &n, f);
	if (rc < 0)
		return rc;
	rc = buf_reserve(out, n);
	if (rc < 0)
		return fault_set(f, rc, "no room for the %zu bytes in it: %s", n, err_text(rc));
	if (!decrypt_record(s, &k, record, n, out->data + out->len)) {
		wipe(out->data + out->len, n);
		ERR_clear_error();
		return fault_set(f, ERR_AUTH, "its contents were altered: the tag does not match");
	}
	out->len += n;
	return 0;
}
