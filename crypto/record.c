/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/record.h"

#define AEAD_AES_256_GCM 1
#define SALT_BYTES	 32
#define COMMITMENT_BYTES 32
#define NONCE_BYTES	 12

static const uint8_t MAGIC[] = { 'S', 'H', 'V', 'D', 'S', 'E', 'A', 'L' };
_Static_assert(sizeof(MAGIC) == RECORD_AT_VERSION, "the magic fills its field");
_Static_assert(RECORD_AT_SALT + SALT_BYTES == RECORD_AT_COMMITMENT, "the salt fills its field");
_Static_assert(RECORD_AT_COMMITMENT + COMMITMENT_BYTES == RECORD_HEADER_BYTES,
	       "the commitment fills its field");
_Static_assert(sizeof(struct record_keys) == 64, "filled by one derivation");

/* Format: docs/FORMAT.md, "Header".  Uses without a name have no such objects. */
static const struct {
	const char *name;
	uint32_t record_size;
} PURPOSES[] = {
	[KEY_USE_VTPM_STATE] = { "the state of a vTPM", 1024 * 1024 },
	[KEY_USE_VTPM_BLOB_PERMANENT] = { "a vTPM's permanent state blob", 1024 * 1024 },
	[KEY_USE_VTPM_BLOB_VOLATILE] = { "a vTPM's volatile state blob", 1024 * 1024 },
	[KEY_USE_VTPM_BLOB_SAVESTATE] = { "a vTPM's savestate blob", 1024 * 1024 },
	[KEY_USE_STATE_KEY] = { "the key of a saved state", KEY_BYTES },
	[KEY_USE_SAVED_STATE] = { "a saved state", 256 * 1024 },
	[KEY_USE_DUMP] = { "a dump", 256 * 1024 },
	[KEY_USE_VTPM_BLOB_VERSIONED] = { "a vTPM's permanent state blob with a version",
					  1024 * 1024 },
};
_Static_assert(sizeof(PURPOSES) / sizeof(PURPOSES[0]) == KEY_USE_LAST + 1, "the last use has one");

void record_keys_done(struct record_keys *k)
{
	wipe(k, sizeof(*k));
}

uint32_t record_size(enum key_use use)
{
	return PURPOSES[use].record_size;
}

const char *record_purpose(enum key_use use)
{
	return PURPOSES[use].name;
}

void record_put_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

uint32_t record_get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The keys of the object with HEADER, for whatever purpose and VM the header names (its purpose is
 * one of PURPOSES). */
static int derive(const struct vm_key *key, const struct record_binding *b,
		  const uint8_t header[static RECORD_HEADER_BYTES], struct record_keys *out)
{
	uint8_t info[RECORD_AT_VM + 2 + RECORD_EXTRA_MAX];
	size_t n = RECORD_AT_VM;
	memcpy(info, header, RECORD_AT_VM);
	info[n++] = (uint8_t)(b->extra_bytes >> 8);
	info[n++] = (uint8_t)b->extra_bytes;
	memcpy(info + n, b->extra, b->extra_bytes);
	n += b->extra_bytes;
	return key_derive(key, (enum key_use)header[RECORD_AT_PURPOSE], header + RECORD_AT_VM,
			  header + RECORD_AT_SALT, SALT_BYTES, info, n, (uint8_t *)out,
			  sizeof(*out));
}

int record_header_make(const struct vm_key *key, const struct record_binding *b,
		       uint8_t header[static RECORD_HEADER_BYTES], struct record_keys *k)
{
	memcpy(header, MAGIC, sizeof(MAGIC));
	header[RECORD_AT_VERSION] = RECORD_FORMAT_VERSION;
	header[RECORD_AT_PURPOSE] = (uint8_t)b->use;
	header[RECORD_AT_AEAD] = AEAD_AES_256_GCM;
	header[RECORD_AT_COMPRESSION] = b->compression;
	record_put_be32(header + RECORD_AT_SIZE, b->record_size);
	memcpy(header + RECORD_AT_VM, b->vm, UUID_BYTES);
	if (RAND_bytes(header + RECORD_AT_SALT, SALT_BYTES) != 1)
		return ERR_CRYPTO;
	int rc = derive(key, b, header, k);
	if (rc < 0)
		return rc;
	memcpy(header + RECORD_AT_COMMITMENT, k->commitment, COMMITMENT_BYTES);
	return 0;
}

int record_header_check(const struct record_binding *b, const uint8_t *p, size_t n, size_t wanted,
			struct fault *f)
{
	if (n == 0)
		return fault_set(f, ERR_TRUNCATED, "empty, where a sealed object should be");
	if (memcmp(p, MAGIC, n < sizeof(MAGIC) ? n : sizeof(MAGIC)) != 0)
		return fault_set(f, ERR_FORMAT,
				 "not a sealed object: it does not start with \"%.8s\"",
				 (const char *)MAGIC);
	if (n > RECORD_AT_VERSION && p[RECORD_AT_VERSION] != RECORD_FORMAT_VERSION)
		return fault_set(f, ERR_VERSION,
				 "sealed format version %u; this build knows version %d only",
				 p[RECORD_AT_VERSION], RECORD_FORMAT_VERSION);
	if (n < wanted)
		return fault_set(f, ERR_TRUNCATED, "the header is %zu bytes short", wanted - n);
	enum key_use use = (enum key_use)p[RECORD_AT_PURPOSE];
	if (use > KEY_USE_LAST || !PURPOSES[use].name)
		return fault_set(f, ERR_VERSION, "purpose %u, which this build does not know",
				 p[RECORD_AT_PURPOSE]);
	if (p[RECORD_AT_AEAD] != AEAD_AES_256_GCM)
		return fault_set(f, ERR_VERSION, "AEAD %u; this build knows %d (AES-256-GCM) only",
				 p[RECORD_AT_AEAD], AEAD_AES_256_GCM);
	int is_stream = use == KEY_USE_SAVED_STATE || use == KEY_USE_DUMP;
	if (is_stream && p[RECORD_AT_COMPRESSION] > RECORD_COMPRESSION_LAST)
		return fault_set(f, ERR_VERSION, "compression %u, which this build does not know",
				 p[RECORD_AT_COMPRESSION]);
	if (!is_stream && p[RECORD_AT_RESERVED] != 0)
		return fault_set(f, ERR_FORMAT, "the header's reserved byte is %u and must be 0",
				 p[RECORD_AT_RESERVED]);
	uint32_t size = use == b->use ? b->record_size : PURPOSES[use].record_size;
	if (record_get_be32(p + RECORD_AT_SIZE) != size)
		return fault_set(f, ERR_FORMAT, "record size %u; %s has %u",
				 record_get_be32(p + RECORD_AT_SIZE), PURPOSES[use].name, size);
	return 0;
}

/* The derivation takes purpose and VM from the header, so that an object in the wrong place can
 * still be said to be authentic, or not. */
int record_header_open(const struct vm_key *key, const struct record_binding *b,
		       const uint8_t header[static RECORD_HEADER_BYTES], struct record_keys *k,
		       struct fault *f)
{
	int rc = derive(key, b, header, k);
	if (rc < 0)
		return fault_set(f, rc, "the key of a sealed object cannot be derived");
	int ours =
		CRYPTO_memcmp(k->commitment, header + RECORD_AT_COMMITMENT, COMMITMENT_BYTES) == 0;
	const char *doubt = ours ? "" : " (so its header says; this VM's key does not confirm it)";

	if (header[RECORD_AT_PURPOSE] != b->use)
		return fault_set(f, ERR_PURPOSE, "made as %s, wanted is %s%s",
				 PURPOSES[header[RECORD_AT_PURPOSE]].name, PURPOSES[b->use].name,
				 doubt);
	if (memcmp(header + RECORD_AT_VM, b->vm, UUID_BYTES) != 0) {
		char theirs[UUID_TEXT_SIZE], wanted[UUID_TEXT_SIZE];
		uuid_format(header + RECORD_AT_VM, theirs);
		uuid_format(b->vm, wanted);
		return fault_set(f, ERR_VM, "made for VM %s, wanted is VM %s%s", theirs, wanted,
				 doubt);
	}
	if (!ours)
		return fault_set(f, ERR_AUTH,
				 "sealed with another key%s, or its header was altered",
				 b->extra_bytes == 0 ? ""
				 : b->use >= KEY_USE_STATE_KEY && b->use <= KEY_USE_DUMP
					 ? " or for another vTPM or level"
					 : " or for another vTPM");
	return 0;
}

/* 11 bytes of record number, big endian, and the final mark. */
static void make_nonce(uint32_t number, int final, uint8_t nonce[static NONCE_BYTES])
{
	memset(nonce, 0, NONCE_BYTES);
	record_put_be32(nonce + NONCE_BYTES - 5, number);
	nonce[NONCE_BYTES - 1] = final ? 1 : 0;
}

/* What CTX has to be told of CIPHER: nothing, once it has it.  Telling it again would allocate. */
static const EVP_CIPHER *first_time(const EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher)
{
	return EVP_CIPHER_CTX_get0_cipher(ctx) ? NULL : cipher;
}

int record_encrypt(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, const struct record_keys *k,
		   uint32_t number, const uint8_t prefix[static RECORD_PREFIX_BYTES],
		   const uint8_t *src, size_t n, uint8_t *dst)
{
	uint8_t nonce[NONCE_BYTES];
	int got = 0, tail = 0;
	make_nonce(number, (record_get_be32(prefix) & RECORD_FINAL) != 0, nonce);
	if (EVP_EncryptInit_ex2(ctx, first_time(ctx, cipher), k->aes, nonce, NULL) != 1 ||
	    EVP_EncryptUpdate(ctx, NULL, &got, prefix, RECORD_PREFIX_BYTES) != 1 ||
	    (n && EVP_EncryptUpdate(ctx, dst, &got, src, (int)n) != 1) ||
	    EVP_EncryptFinal_ex(ctx, dst + n, &tail) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, RECORD_TAG_BYTES, dst + n) != 1)
		return ERR_CRYPTO;
	return 0;
}

int record_decrypt(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, const struct record_keys *k,
		   uint32_t number, const uint8_t prefix[static RECORD_PREFIX_BYTES],
		   const uint8_t *src, size_t n, uint8_t *dst)
{
	uint8_t nonce[NONCE_BYTES], tail[RECORD_TAG_BYTES];
	int got = 0;
	make_nonce(number, (record_get_be32(prefix) & RECORD_FINAL) != 0, nonce);
	int ok = EVP_DecryptInit_ex2(ctx, first_time(ctx, cipher), k->aes, nonce, NULL) == 1 &&
		 EVP_DecryptUpdate(ctx, NULL, &got, prefix, RECORD_PREFIX_BYTES) == 1 &&
		 (n == 0 || EVP_DecryptUpdate(ctx, dst, &got, src, (int)n) == 1) &&
		 EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, RECORD_TAG_BYTES,
				     (void *)(uintptr_t)(src + n)) == 1 &&
		 EVP_DecryptFinal_ex(ctx, tail, &got) == 1;
	if (!ok)
		ERR_clear_error();
	return ok;
}
