/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/credential_form.h"

#include <errno.h>
#include <string.h>

#include "crypto/rawkey_form.h"

/* Labels of Part 1, "Credential Protection" and "Secret Sharing"; the NUL is part of them. */
#define LABEL_SEED	"IDENTITY"
#define LABEL_STORAGE	"STORAGE"
#define LABEL_INTEGRITY "INTEGRITY"

#define KEY_MAX		32 /* AES-256 */
#define INFO_MAX	(sizeof(LABEL_SEED) + 2 * (size_t)RAWKEY_COORD_MAX)
#define IDENTITY_MAX	(2 + CREDENTIAL_SECRET_BYTES) /* TPM2B_DIGEST */

OSSL_CLEANUP_FN(kdf, EVP_KDF, EVP_KDF_free)

static int run_kdf(const char *name, const OSSL_PARAM *params, uint8_t *out, size_t out_n)
{
	CLEANUP(cleanup_kdf) EVP_KDF *kdf = EVP_KDF_fetch(NULL, name, NULL);
	CLEANUP(cleanup_kdf_ctx) EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	int ok = ctx && EVP_KDF_derive(ctx, out, out_n, params) == 1;
	ERR_clear_error();
	return ok ? 0 : ERR_CRYPTO;
}

/* FIRST, then SECOND, in TO, which holds TO_MAX bytes; the length in *N. */
static int join(const struct hash_part *first, const struct hash_part *second, uint8_t *to,
		size_t to_max, size_t *n)
{
	if (first->n > to_max || second->n > to_max - first->n)
		return ERR_LIMIT;
	if (first->n)
		memcpy(to, first->data, first->n);
	if (second->n)
		memcpy(to + first->n, second->data, second->n);
	*n = first->n + second->n;
	return 0;
}

int credential_kdfa(uint16_t alg, const struct hash_part *key, const char *label,
		    const struct hash_part *context_u, const struct hash_part *context_v,
		    uint8_t *out, size_t out_n)
{
	uint8_t context[2 * CREDENTIAL_NAME_MAX];
	size_t context_n;
	int rc = join(context_u, context_v, context, sizeof(context), &context_n);
	if (rc < 0)
		return rc;
	/* libcrypto's KBKDF: counter || label || 0 || context || length in bits, as KDFa has it;
	 * the 0 is the label's own NUL. */
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_MODE, (char *)"COUNTER", 0),
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_MAC, (char *)"HMAC", 0),
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)hash_name(alg), 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)key->data, key->n),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)label,
						  strlen(label)),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, context, context_n),
		OSSL_PARAM_construct_end(),
	};
	return run_kdf("KBKDF", params, out, out_n);
}

int credential_kdfe(uint16_t alg, const struct hash_part *z, const char *label,
		    const struct hash_part *party_u, const struct hash_part *party_v, uint8_t *out,
		    size_t out_n)
{
	uint8_t info[INFO_MAX];
	size_t label_n = strlen(label) + 1, parties_n;
	if (label_n > sizeof(LABEL_SEED))
		return ERR_LIMIT;
	memcpy(info, label, label_n);
	int rc = join(party_u, party_v, info + label_n, sizeof(info) - label_n, &parties_n);
	if (rc < 0)
		return rc;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)hash_name(alg), 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)z->data, z->n),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, label_n + parties_n),
		OSSL_PARAM_construct_end(),
	};
	return run_kdf("SSKDF", params, out, out_n);
}

/* AES in CFB mode, from an IV of zeros: the key is for this one message. */
static int encrypt(unsigned aes_bits, const uint8_t *key, const uint8_t *in, size_t n, uint8_t *out)
{
	static const uint8_t IV[16];
	int got = 0, end = 0;
	const EVP_CIPHER *cipher = aes_bits == 128 ? EVP_aes_128_cfb128() : EVP_aes_256_cfb128();
	CLEANUP(cleanup_cipher_ctx) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int ok = ctx && EVP_EncryptInit_ex(ctx, cipher, NULL, key, IV) == 1 &&
		 EVP_EncryptUpdate(ctx, out, &got, in, (int)n) == 1 &&
		 EVP_EncryptFinal_ex(ctx, out + got, &end) == 1 && got + end == (int)n;
	ERR_clear_error();
	return ok ? 0 : ERR_CRYPTO;
}

static int put16(struct buf *out, size_t n)
{
	uint8_t size[2] = { (uint8_t)(n >> 8), (uint8_t)n };
	return buf_add(out, size, sizeof(size));
}

static int put_2b(struct buf *out, const uint8_t *data, size_t n)
{
	int rc = put16(out, n);
	return rc < 0 ? rc : buf_add(out, data, n);
}

/* The outer HMAC over the encrypted IDENTITY and NAME. */
static int integrity(uint16_t alg, const uint8_t *seed, const uint8_t *identity, size_t identity_n,
		     const uint8_t *name, size_t name_n, uint8_t *mac)
{
	static const struct hash_part NONE = { NULL, 0 };
	uint8_t key[HASH_BYTES_MAX], data[IDENTITY_MAX + CREDENTIAL_NAME_MAX];
	size_t n = hash_bytes(alg), data_n, got = 0;
	struct hash_part seed_part = { seed, n }, first = { identity, identity_n },
			 second = { name, name_n };
	int rc = credential_kdfa(alg, &seed_part, LABEL_INTEGRITY, &NONE, &NONE, key, n);
	if (rc >= 0)
		rc = join(&first, &second, data, sizeof(data), &data_n);
	if (rc >= 0 && (!EVP_Q_mac(NULL, "HMAC", NULL, hash_name(alg), NULL, key, n, data, data_n,
				   mac, HASH_BYTES_MAX, &got) ||
			got != n))
		rc = ERR_CRYPTO;
	wipe(key, sizeof(key));
	return rc;
}

int credential_seal(const struct credential_ek *ek, const uint8_t *seed, const uint8_t *name,
		    size_t name_n, const uint8_t secret[static CREDENTIAL_SECRET_BYTES],
		    struct buf *out)
{
	static const struct hash_part NONE = { NULL, 0 };
	uint8_t key[KEY_MAX], plain[IDENTITY_MAX] = { 0, CREDENTIAL_SECRET_BYTES };
	uint8_t identity[IDENTITY_MAX + 16], mac[HASH_BYTES_MAX];
	size_t seed_n = hash_bytes(ek->name_alg);
	struct hash_part seed_part = { seed, seed_n }, name_part = { name, name_n };
	memcpy(plain + 2, secret, CREDENTIAL_SECRET_BYTES);
	int rc = credential_kdfa(ek->name_alg, &seed_part, LABEL_STORAGE, &name_part, &NONE, key,
				 ek->aes_bits / 8);
	if (rc >= 0)
		rc = encrypt(ek->aes_bits, key, plain, sizeof(plain), identity);
	if (rc >= 0)
		rc = integrity(ek->name_alg, seed, identity, sizeof(plain), name, name_n, mac);
	if (rc >= 0)
		rc = put16(out, 2 + seed_n + sizeof(plain));
	if (rc >= 0)
		rc = put_2b(out, mac, seed_n);
	if (rc >= 0)
		rc = buf_add(out, identity, sizeof(plain));
	wipe(key, sizeof(key));
	wipe(plain, sizeof(plain));
	return rc;
}

/* A random seed for an RSA EK, and TPM2B_ENCRYPTED_SECRET of it: OAEP with the label's NUL. */
static int share_rsa(const struct credential_ek *ek, EVP_PKEY *pkey, uint8_t *seed, struct buf *out)
{
	uint8_t encrypted[RAWKEY_RSA_BYTES];
	size_t seed_n = hash_bytes(ek->name_alg), n = sizeof(encrypted);
	const char *md = hash_name(ek->name_alg);
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE,
						 (char *)OSSL_PKEY_RSA_PAD_MODE_OAEP, 0),
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, (char *)md, 0),
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST, (char *)md, 0),
		OSSL_PARAM_construct_octet_string(OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL,
						  (void *)LABEL_SEED, sizeof(LABEL_SEED)),
		OSSL_PARAM_construct_end(),
	};
	CLEANUP(cleanup_pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
	if (RAND_priv_bytes(seed, (int)seed_n) != 1 || !ctx ||
	    EVP_PKEY_encrypt_init_ex(ctx, params) != 1 ||
	    EVP_PKEY_encrypt(ctx, encrypted, &n, seed, seed_n) != 1 || n != sizeof(encrypted))
		return ERR_CRYPTO;
	return put_2b(out, encrypted, n);
}

/* The x coordinate that PKEY (private) and PEER share. */
static int shared_x(EVP_PKEY *pkey, EVP_PKEY *peer, uint8_t *z, size_t coord)
{
	size_t n = coord;
	CLEANUP(cleanup_pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
	if (!ctx || EVP_PKEY_derive_init(ctx) != 1 || EVP_PKEY_derive_set_peer(ctx, peer) != 1 ||
	    EVP_PKEY_derive(ctx, z, &n) != 1 || n != coord)
		return ERR_CRYPTO;
	return 0;
}

/* The seed that an ephemeral key and an ECC EK share, and TPM2B_ENCRYPTED_SECRET of its point. */
static int share_ecc(const struct credential_ek *ek, EVP_PKEY *pkey, uint8_t *seed, struct buf *out)
{
	uint8_t z[RAWKEY_COORD_MAX];
	struct rawkey own;
	size_t coord = rawkey_coord_bytes(ek->key.type);
	CLEANUP(cleanup_pkey)
	EVP_PKEY *ephemeral = EVP_EC_gen(ek->key.type == RAWKEY_P256 ? "P-256" : "P-384");
	if (!ephemeral || rawkey_from_pkey(ephemeral, &own) < 0)
		return ERR_CRYPTO;
	int rc = shared_x(ephemeral, pkey, z, coord);
	struct hash_part z_part = { z, coord }, u = { own.x, coord }, v = { ek->key.x, coord };
	if (rc >= 0)
		rc = credential_kdfe(ek->name_alg, &z_part, LABEL_SEED, &u, &v, seed,
				     hash_bytes(ek->name_alg));
	wipe(z, sizeof(z));
	if (rc >= 0)
		rc = put16(out, 2 * (2 + coord));
	if (rc >= 0)
		rc = put_2b(out, own.x, coord);
	return rc < 0 ? rc : put_2b(out, own.y, coord);
}

int credential_make(const struct credential_ek *ek, const uint8_t *name, size_t name_n,
		    const uint8_t secret[static CREDENTIAL_SECRET_BYTES], struct buf *id_object,
		    struct buf *encrypted, struct fault *f)
{
	uint8_t seed[HASH_BYTES_MAX];
	if ((ek->name_alg != HASH_SHA256 && ek->name_alg != HASH_SHA384) ||
	    (ek->aes_bits != 128 && ek->aes_bits != 256))
		return fault_set(f, ERR_VERSION,
				 "no credential can be made for an endorsement key with AES-%u and "
				 "hash 0x%04x",
				 ek->aes_bits, ek->name_alg);
	if (name_n > CREDENTIAL_NAME_MAX)
		return fault_set(f, ERR_LIMIT, "the key's name has %zu bytes, over %d", name_n,
				 CREDENTIAL_NAME_MAX);
	CLEANUP(cleanup_pkey) EVP_PKEY *pkey = rawkey_to_pkey(&ek->key);
	if (!pkey)
		return fault_set(f, ERR_FORMAT, "the endorsement key is no valid key of its type");
	int rc = ek->key.type == RAWKEY_RSA_2048 ? share_rsa(ek, pkey, seed, encrypted)
						 : share_ecc(ek, pkey, seed, encrypted);
	if (rc >= 0)
		rc = credential_seal(ek, seed, name, name_n, secret, id_object);
	wipe(seed, sizeof(seed));
	ERR_clear_error();
	return rc < 0 ? fault_set(f, rc, "the credential could not be made: %s", err_text(rc)) : 0;
}
