/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/fleet/tpm.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "crypto/credential_form.h"
#include "crypto/ekcert.h"
#include "tests/unit/test.h"

#define DAY 86400

/* As a TPM's maker writes it: no subject, and the TPM's model in a critical subjectAltName. */
static const char CA_EXTENSIONS[] =
	"[x]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n"
	"subjectKeyIdentifier=hash\n";
static const char EK_EXTENSIONS[] =
	"[x]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,keyAgreement\n"
	"subjectAltName=critical,dirName:tpm\nextendedKeyUsage=2.23.133.8.1\n"
	"[tpm]\na.2.23.133.2.1=id:49424D00\nb.2.23.133.2.2=m\nc.2.23.133.2.3=id:1\n";

/* A certificate of KEY by ISSUER, NULL for itself. */
static X509 *certify(EVP_PKEY *key, const struct maker *issuer, const char *subject,
		     const char *extensions)
{
	static long serial;
	X509 *cert = X509_new();
	X509V3_CTX ctx;
	BIO *in = BIO_new_mem_buf(extensions, -1);
	CONF *conf = NCONF_new(NULL);
	assert_int_equal(X509_set_version(cert, 2), 1);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(cert), -DAY);
	X509_gmtime_adj(X509_getm_notAfter(cert), DAY);
	if (subject)
		X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
					   (const uint8_t *)subject, -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(issuer ? issuer->cert : cert));
	X509_set_pubkey(cert, key);
	assert_int_equal(NCONF_load_bio(conf, in, NULL), 1);
	X509V3_set_ctx(&ctx, issuer ? issuer->cert : cert, cert, NULL, NULL, 0);
	X509V3_set_nconf(&ctx, conf);
	assert_int_equal(X509V3_EXT_add_nconf(conf, &ctx, "x", cert), 1);
	assert_true(X509_sign(cert, issuer ? issuer->key : key, EVP_sha256()) > 0);
	NCONF_free(conf);
	BIO_free(in);
	return cert;
}

void maker_make(struct maker *m)
{
	m->key = EVP_EC_gen("P-256");
	assert_non_null(m->key);
	m->cert = certify(m->key, NULL, "maker", CA_EXTENSIONS);
}

void maker_done(struct maker *m)
{
	EVP_PKEY_free(m->key);
	X509_free(m->cert);
}

void maker_write(const struct maker *m, const char *path)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, m->cert), 1);
	assert_int_equal(fclose(f), 0);
}

void simtpm_make(struct simtpm *t, const struct maker *m, const struct pcrs *boot)
{
	uint8_t *p = t->ek_cert.data;
	t->ek = EVP_EC_gen("P-256");
	t->ak = EVP_EC_gen("P-256");
	t->bk = EVP_EC_gen("P-256");
	assert_true(t->ek && t->ak && t->bk);
	const TPMT_PUBLIC ek = public_ek(t->ek), ak = public_ak(t->ak), bk = public_bk(t->bk, boot);
	t->ek_pub = marshal_public(&ek);
	t->ak_pub = marshal_public(&ak);
	t->bk_pub = marshal_public(&bk);
	X509 *cert = certify(t->ek, m, NULL, EK_EXTENSIONS);
	int n = i2d_X509(cert, NULL);
	assert_true(n > 0 && (size_t)n <= sizeof(t->ek_cert.data));
	t->ek_cert.n = (size_t)i2d_X509(cert, &p);
	X509_free(cert);
}

void simtpm_done(struct simtpm *t)
{
	EVP_PKEY_free(t->ek);
	EVP_PKEY_free(t->ak);
	EVP_PKEY_free(t->bk);
}

void simtpm_point(const EVP_PKEY *key, uint8_t point[static RAWKEY_P256_POINT])
{
	struct rawkey raw;
	assert_int_equal(rawkey_from_pkey(key, &raw), 0);
	point[0] = 4;
	memcpy(point + 1, raw.x, RAWKEY_P256_BYTES);
	memcpy(point + 1 + RAWKEY_P256_BYTES, raw.y, RAWKEY_P256_BYTES);
}

static int derive(void *arg, const uint8_t x[static JWK_COORDINATE_BYTES],
		  const uint8_t y[static JWK_COORDINATE_BYTES],
		  uint8_t z[static JWK_COORDINATE_BYTES])
{
	struct rawkey raw = { .type = RAWKEY_P256 };
	size_t n = JWK_COORDINATE_BYTES;
	memcpy(raw.x, x, RAWKEY_P256_BYTES);
	memcpy(raw.y, y, RAWKEY_P256_BYTES);
	CLEANUP(cleanup_pkey) EVP_PKEY *peer = rawkey_to_pkey(&raw);
	CLEANUP(cleanup_pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, arg, NULL);
	if (!peer || !ctx || EVP_PKEY_derive_init(ctx) != 1 ||
	    EVP_PKEY_derive_set_peer(ctx, peer) != 1 || EVP_PKEY_derive(ctx, z, &n) != 1)
		return ERR_CRYPTO;
	return 0;
}

struct ecdh simtpm_ecdh(EVP_PKEY *key)
{
	return (struct ecdh){ .derive = derive, .arg = key };
}

/* AES-CFB from an IV of zeros. */
static int decrypt(const uint8_t key[static 16], const uint8_t *in, int n, uint8_t *out)
{
	static const uint8_t IV[16];
	int got = 0;
	CLEANUP(cleanup_cipher_ctx) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	return ctx && EVP_DecryptInit_ex(ctx, EVP_aes_128_cfb128(), NULL, key, IV) == 1 &&
			       EVP_DecryptUpdate(ctx, out, &got, in, n) == 1 && got == n
		       ? 0
		       : -1;
}

int simtpm_activate(const struct simtpm *t, const struct buf *id_object,
		    const struct buf *encrypted, uint8_t secret[static CREDENTIAL_SECRET_BYTES])
{
	enum { COORD = RAWKEY_P256_BYTES, SEED = 32, IDENTITY = 2 + CREDENTIAL_SECRET_BYTES };
	static const struct hash_part NONE = { NULL, 0 };
	struct credential_ek ek = { .name_alg = HASH_SHA256, .aes_bits = 128 };
	uint8_t z[COORD], seed[SEED], key[16], identity[IDENTITY], name[TPM_NAME_BYTES];
	CLEANUP_BUF struct buf again = BUF_INIT(CREDENTIAL_ID_OBJECT_MAX);
	/* Sizes, x and y; sizes, HMAC and identity. */
	if (encrypted->len != 2 + 2 * (2 + COORD) || id_object->len != 2 + 2 + SEED + IDENTITY)
		return -1;
	const uint8_t *x = encrypted->data + 4, *y = x + COORD + 2;
	assert_int_equal(rawkey_from_pkey(t->ek, &ek.key), 0);
	assert_int_equal(tpm_name(blob_of(&t->ak_pub), name, NULL), 0);
	if (derive(t->ek, x, y, z) < 0)
		return -1;
	struct hash_part zp = { z, COORD }, u = { x, COORD }, v = { ek.key.x, COORD };
	struct hash_part sp = { seed, SEED }, np = { name, sizeof(name) };
	if (credential_kdfe(HASH_SHA256, &zp, "IDENTITY", &u, &v, seed, SEED) < 0 ||
	    credential_kdfa(HASH_SHA256, &sp, "STORAGE", &np, &NONE, key, sizeof(key)) < 0 ||
	    decrypt(key, id_object->data + 4 + SEED, IDENTITY, identity) < 0)
		return -1;
	/* The HMAC too, by making the whole object again. */
	if (credential_seal(&ek, seed, name, sizeof(name), identity + 2, &again) < 0 ||
	    again.len != id_object->len || memcmp(again.data, id_object->data, again.len) != 0)
		return -1;
	memcpy(secret, identity + 2, CREDENTIAL_SECRET_BYTES);
	return 0;
}

static void put(struct buf *out, const void *data, size_t n)
{
	assert_int_equal(buf_add(out, data, n), 0);
}

/* A statement and its signature. */
static void put_signed(EVP_PKEY *ak, const TPMS_ATTEST *a, struct buf *out, struct buf *signature)
{
	const struct bytes text = marshal_attest(a);
	const TPMT_SIGNATURE sig = sign_text(ak, &text);
	const struct bytes made = marshal_signature(&sig);
	put(out, text.data, text.n);
	put(signature, made.data, made.n);
}

void simtpm_prove(const struct simtpm *t, const struct host *boot, const struct challenge *c,
		  const uint8_t id[static UUID_BYTES],
		  const uint8_t worker[static ATTEST_WORKER_KEY_BYTES], struct evidence *out)
{
	uint8_t name[TPM_NAME_BYTES], extra[QUOTE_EXTRA_BYTES];
	const TPMS_CREATION_DATA data = creation_data();
	const struct bytes creation = marshal_creation_data(&data);
	memcpy(out->host, id, UUID_BYTES);
	memcpy(out->nonce, c->nonce, sizeof(out->nonce));
	memcpy(out->worker, worker, ATTEST_WORKER_KEY_BYTES);
	out->pcrs = boot->pcrs;
	out->pcrs.mask = c->mask;
	assert_int_equal(tpm_name(blob_of(&t->bk_pub), name, NULL), 0);
	assert_int_equal(quote_extra(c->nonce, name, worker, id, extra), 0);
	const TPMS_ATTEST made = creation_of(&t->bk_pub, c->nonce);
	const TPMS_ATTEST quote = quote_of(&out->pcrs, extra);
	put_signed(t->ak, &made, &out->creation, &out->creation_signature);
	put_signed(t->ak, &quote, &out->quote, &out->quote_signature);
	put(&out->bk_pub, t->bk_pub.data, t->bk_pub.n);
	put(&out->creation_data, creation.data, creation.n);
	put(&out->eventlog, boot->log.data, boot->log.len);
	put(&out->ima, boot->ima.data, boot->ima.len);
}
