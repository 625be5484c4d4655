/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/hpke_form.h"

#include <errno.h>
#include <string.h>

#include "crypto/hash.h"
#include "crypto/rawkey_form.h"

#define POINT_BYTES RAWKEY_P256_POINT
#define LABEL_MAX   192 /* bytes of a labelled info: suite, label and what follows */
#define MODE_BASE   0x00

OSSL_CLEANUP_FN(kdf, EVP_KDF, EVP_KDF_free)

/* RFC 9180, section 7: DHKEM(P-256, HKDF-SHA256) 0x0010, HKDF-SHA256 0x0001, AES-256-GCM 0x0002. */
static const uint8_t KEM_SUITE[] = { 'K', 'E', 'M', 0x00, 0x10 };
static const uint8_t HPKE_SUITE[] = { 'H', 'P', 'K', 'E', 0x00, 0x10, 0x00, 0x01, 0x00, 0x02 };

struct suite {
	const uint8_t *id;
	size_t n;
};
static const struct suite KEM = { KEM_SUITE, sizeof(KEM_SUITE) };
static const struct suite HPKE = { HPKE_SUITE, sizeof(HPKE_SUITE) };

/* LabeledExtract(): HMAC-SHA256, keyed with the salt (32 zeros without), of the labelled IKM. */
static int extract(struct suite suite, const uint8_t *salt, size_t salt_n, const char *label,
		   struct hpke_text ikm, uint8_t out[static 32])
{
	static const uint8_t ZERO[32];
	size_t got = 0;
	const struct hpke_text parts[] = {
		{ "HPKE-v1", 7 },
		{ suite.id, suite.n },
		{ label, strlen(label) },
		ikm,
	};
	CLEANUP_BUF struct buf text = BUF_INIT(HPKE_PLAINTEXT_MAX);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		int rc = buf_add(&text, parts[i].data, parts[i].n);
		if (rc < 0)
			return rc;
	}
	if (!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, salt_n ? salt : ZERO,
		       salt_n ? salt_n : sizeof(ZERO), text.data, text.len, out, 32, &got) ||
	    got != 32)
		return ERR_CRYPTO;
	return 0;
}

/* LabeledExpand(): L || "HPKE-v1" || suite || label || INFO. */
static int expand(struct suite suite, const uint8_t prk[static 32], const char *label,
		  struct hpke_text info, uint8_t *out, size_t out_n)
{
	uint8_t length[2] = { (uint8_t)(out_n >> 8), (uint8_t)out_n };
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
	CLEANUP_BUF struct buf text = BUF_INIT(LABEL_MAX);
	const struct hpke_text parts[] = {
		{ length, 2 }, { "HPKE-v1", 7 }, { suite.id, suite.n }, { label, strlen(label) },
		info,
	};
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		int rc = buf_add(&text, parts[i].data, parts[i].n);
		if (rc < 0)
			return rc;
	}
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)prk, 32),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, text.data, text.len),
		OSSL_PARAM_construct_end(),
	};
	CLEANUP(cleanup_kdf) EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	CLEANUP(cleanup_kdf_ctx) EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	return ctx && EVP_KDF_derive(ctx, out, out_n, params) == 1 ? 0 : ERR_CRYPTO;
}

int hpke_kem_secret(const uint8_t dh[static 32], const uint8_t enc[static HPKE_ENC_BYTES],
		    const uint8_t key[static RAWKEY_P256_POINT],
		    uint8_t secret[static HPKE_SECRET_BYTES])
{
	uint8_t prk[32], context[2 * POINT_BYTES];
	memcpy(context, enc, POINT_BYTES);
	memcpy(context + POINT_BYTES, key, POINT_BYTES);
	int rc = extract(KEM, NULL, 0, "eae_prk", (struct hpke_text){ dh, 32 }, prk);
	if (rc >= 0)
		rc = expand(KEM, prk, "shared_secret",
			    (struct hpke_text){ context, sizeof(context) }, secret,
			    HPKE_SECRET_BYTES);
	wipe(prk, sizeof(prk));
	return rc;
}

int hpke_key_schedule(const uint8_t secret[static HPKE_SECRET_BYTES], struct hpke_text info,
		      struct hpke_schedule *out)
{
	/* mode, psk_id_hash, info_hash */
	uint8_t context[1 + 32 + 32] = { MODE_BASE }, prk[32];
	const struct hpke_text none = { NULL, 0 }, all = { context, sizeof(context) };
	int rc = extract(HPKE, NULL, 0, "psk_id_hash", none, context + 1);
	if (rc >= 0)
		rc = extract(HPKE, NULL, 0, "info_hash", info, context + 33);
	if (rc >= 0)
		rc = extract(HPKE, secret, HPKE_SECRET_BYTES, "secret", none, prk);
	if (rc >= 0)
		rc = expand(HPKE, prk, "key", all, out->key, sizeof(out->key));
	if (rc >= 0)
		rc = expand(HPKE, prk, "base_nonce", all, out->nonce, sizeof(out->nonce));
	wipe(prk, sizeof(prk));
	ERR_clear_error();
	return rc;
}

/* What both sides have after the KEM. */
static int agree(const uint8_t dh[static 32], const uint8_t *enc, const uint8_t *key,
		 struct hpke_text info, struct hpke_schedule *out)
{
	uint8_t secret[HPKE_SECRET_BYTES];
	int rc = hpke_kem_secret(dh, enc, key, secret);
	if (rc >= 0)
		rc = hpke_key_schedule(secret, info, out);
	wipe(secret, sizeof(secret));
	return rc;
}

/* A new ephemeral key: its point, and what it shares with KEY. */
static int encapsulate(const uint8_t *key, uint8_t enc[static HPKE_ENC_BYTES],
		       uint8_t dh[static 32])
{
	struct rawkey own;
	size_t n = 32;
	CLEANUP(cleanup_pkey) EVP_PKEY *peer = rawkey_point_to_pkey(key);
	CLEANUP(cleanup_pkey) EVP_PKEY *ephemeral = EVP_EC_gen("P-256");
	if (!peer)
		return ERR_FORMAT;
	CLEANUP(cleanup_pkey_ctx)
	EVP_PKEY_CTX *ctx = ephemeral ? EVP_PKEY_CTX_new_from_pkey(NULL, ephemeral, NULL) : NULL;
	if (!ctx || rawkey_from_pkey(ephemeral, &own) < 0 || EVP_PKEY_derive_init(ctx) != 1 ||
	    EVP_PKEY_derive_set_peer(ctx, peer) != 1 || EVP_PKEY_derive(ctx, dh, &n) != 1 ||
	    n != 32)
		return ERR_CRYPTO;
	enc[0] = POINT_CONVERSION_UNCOMPRESSED;
	memcpy(enc + 1, own.x, 32);
	memcpy(enc + 33, own.y, 32);
	return 0;
}

/* Encrypt into OUT, which holds plaintext->n + HPKE_TAG_BYTES. */
static int aead_seal(const struct hpke_schedule *s, struct hpke_text aad,
		     struct hpke_text plaintext, uint8_t *out)
{
	int n = 0, end = 0;
	CLEANUP(cleanup_cipher_ctx) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int ok = ctx && EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, s->key, s->nonce) == 1 &&
		 (!aad.n || EVP_EncryptUpdate(ctx, NULL, &n, aad.data, (int)aad.n) == 1);
	n = 0;
	ok = ok &&
	     (!plaintext.n ||
	      EVP_EncryptUpdate(ctx, out, &n, plaintext.data, (int)plaintext.n) == 1) &&
	     EVP_EncryptFinal_ex(ctx, out + n, &end) == 1 &&
	     (size_t)n + (size_t)end == plaintext.n &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, HPKE_TAG_BYTES, out + plaintext.n) ==
		     1;
	return ok ? 0 : ERR_CRYPTO;
}

/* Append what the N bytes before the tag in IN decrypt to; ERR_AUTH, and none of it stays then. */
static int aead_open(const struct hpke_schedule *s, struct hpke_text aad, const uint8_t *in,
		     size_t n, struct buf *out)
{
	int got = 0, end = 0;
	uint8_t tag[HPKE_TAG_BYTES];
	/* A byte of room at least, so that there is somewhere to decrypt nothing to. */
	CLEANUP_BUF struct buf plain = BUF_INIT(HPKE_PLAINTEXT_MAX);
	int rc = buf_reserve(&plain, n ? n : 1);
	if (rc < 0)
		return rc;
	memcpy(tag, in + n, sizeof(tag));
	CLEANUP(cleanup_cipher_ctx) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int ok = ctx && EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, s->key, s->nonce) == 1 &&
		 (!aad.n || EVP_DecryptUpdate(ctx, NULL, &got, aad.data, (int)aad.n) == 1);
	got = 0;
	ok = ok && (!n || EVP_DecryptUpdate(ctx, plain.data, &got, in, (int)n) == 1) &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, sizeof(tag), tag) == 1;
	if (!ok)
		return ERR_CRYPTO;
	if (EVP_DecryptFinal_ex(ctx, plain.data + got, &end) != 1)
		return ERR_AUTH;
	return buf_add(out, plain.data, n);
}

static int check_sizes(struct hpke_text info, struct hpke_text aad, size_t n, struct fault *f)
{
	/* Half, so that the labels in front of them have room too. */
	if (info.n > HPKE_PLAINTEXT_MAX / 2 || aad.n > HPKE_PLAINTEXT_MAX || n > HPKE_PLAINTEXT_MAX)
		return fault_set(f, ERR_LIMIT, "more than %d bytes cannot be sealed",
				 HPKE_PLAINTEXT_MAX);
	return 0;
}

int hpke_seal(const uint8_t key[static RAWKEY_P256_POINT], struct hpke_text info,
	      struct hpke_text aad, struct hpke_text plaintext, struct buf *out, struct fault *f)
{
	uint8_t dh[32], enc[HPKE_ENC_BYTES];
	struct hpke_schedule s;
	int rc = check_sizes(info, aad, plaintext.n, f);
	if (rc < 0)
		return rc;
	rc = encapsulate(key, enc, dh);
	if (rc >= 0)
		rc = agree(dh, enc, key, info, &s);
	if (rc >= 0)
		rc = buf_reserve(out, HPKE_OVERHEAD_BYTES + plaintext.n);
	if (rc >= 0)
		rc = aead_seal(&s, aad, plaintext, out->data + out->len + HPKE_ENC_BYTES);
	if (rc >= 0) {
		memcpy(out->data + out->len, enc, HPKE_ENC_BYTES);
		out->len += HPKE_OVERHEAD_BYTES + plaintext.n;
	}
	wipe(dh, sizeof(dh));
	wipe(&s, sizeof(s));
	ERR_clear_error();
	if (rc == ERR_FORMAT)
		return fault_set(f, rc, "the recipient's key is not on the curve");
	return rc < 0 ? fault_set(f, rc, "sealing failed: %s", err_text(rc)) : 0;
}

/* The recipient's half of the KEM. */
static int decapsulate(const struct ecdh *ecdh, const uint8_t *enc, uint8_t dh[static 32],
		       struct fault *f)
{
	/* Before any private key meets it, wherever that key lives. */
	CLEANUP(cleanup_pkey) EVP_PKEY *sender = rawkey_point_to_pkey(enc);
	if (!sender)
		return fault_set(f, ERR_FORMAT, "the sealed text's key is not on the curve");
	int rc = ecdh->derive(ecdh->arg, enc + 1, enc + 33, dh);
	return rc < 0 ? fault_set(f, rc, "the recipient's key could not be used: %s", err_text(rc))
		      : 0;
}

int hpke_open(const struct ecdh *ecdh, const uint8_t key[static RAWKEY_P256_POINT],
	      struct hpke_text info, struct hpke_text aad, struct hpke_text sealed, struct buf *out,
	      struct fault *f)
{
	uint8_t dh[32];
	struct hpke_schedule s = { 0 };
	const uint8_t *enc = sealed.data;
	if (sealed.n < HPKE_OVERHEAD_BYTES)
		return fault_set(f, ERR_TRUNCATED, "the sealed text has less than %d bytes",
				 HPKE_OVERHEAD_BYTES);
	size_t n = sealed.n - HPKE_OVERHEAD_BYTES;
	int rc = check_sizes(info, aad, n, f);
	if (rc >= 0)
		rc = decapsulate(ecdh, enc, dh, f);
	if (rc < 0)
		return rc;
	rc = agree(dh, enc, key, info, &s);
	if (rc >= 0)
		rc = aead_open(&s, aad, enc + HPKE_ENC_BYTES, n, out);
	wipe(dh, sizeof(dh));
	wipe(&s, sizeof(s));
	ERR_clear_error();
	return rc < 0 ? fault_set(f, rc, "the sealed text does not open: %s", err_text(rc)) : 0;
}
