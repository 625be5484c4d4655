/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/tls.h"

#include <errno.h>
#include <time.h>

#include "crypto/ca_form.h"
#include "crypto/jwk_form.h"

#define CERTIFICATE_MAX 1024 /* of our own */

OSSL_CLEANUP_FN(ssl_ctx, SSL_CTX, SSL_CTX_free)

struct tls_server {
	SSL_CTX *ctx;
};

/* SHA-256 of the SubjectPublicKeyInfo, always with the uncompressed point: a client's own encoding
 * of the same key does not make it another client. */
static int fingerprint(EVP_PKEY *key, uint8_t out[static TLS_FINGERPRINT_BYTES])
{
	unsigned char *der = NULL;
	unsigned int got = 0;
	int n = i2d_PUBKEY(key, &der);
	int ok = n > 0 && EVP_Digest(der, (size_t)n, out, &got, EVP_sha256(), NULL) == 1 &&
		 got == TLS_FINGERPRINT_BYTES;
	OPENSSL_free(der);
	if (!ok)
		ERR_clear_error();
	return ok ? 0 : ERR_CRYPTO;
}

int tls_fingerprint(const struct jwk *key, uint8_t out[static TLS_FINGERPRINT_BYTES])
{
	CLEANUP(cleanup_pkey) EVP_PKEY *pkey = jwk_to_pkey(key, 0);
	return pkey ? fingerprint(pkey, out) : ERR_CRYPTO;
}

/* 1 if KEY is on P-256, by its name and as an uncompressed point. */
static int is_p256(const EVP_PKEY *key)
{
	char group[32] = "", form[32] = "";
	size_t n;
	return key && EVP_PKEY_is_a(key, "EC") &&
	       EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
					      &n) == 1 &&
	       strcmp(group, SN_X9_62_prime256v1) == 0 &&
	       EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, form,
					      sizeof(form), &n) == 1 &&
	       strcmp(form, OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_UNCOMPRESSED) == 0;
}

static int check_peer(X509 *cert, int64_t now, uint8_t out[static TLS_FINGERPRINT_BYTES])
{
	time_t at = (time_t)now;
	EVP_PKEY *key = X509_get0_pubkey(cert);
	if (!is_p256(key) || X509_get_signature_nid(cert) != NID_ecdsa_with_SHA256)
		return ERR_FORMAT;
	if (X509_verify(cert, key) != 1)
		return ERR_AUTH;
	/* 0 is an error: a time that cannot be read. */
	if (X509_cmp_time(X509_get0_notBefore(cert), &at) >= 0 ||
	    X509_cmp_time(X509_get0_notAfter(cert), &at) <= 0)
		return ERR_POLICY;
	return fingerprint(key, out);
}

int tls_check_peer(const uint8_t *der, size_t n, int64_t now,
		   uint8_t out[static TLS_FINGERPRINT_BYTES])
{
	const unsigned char *at = der;
	if (n == 0 || n > TLS_PEER_CERT_MAX)
		return ERR_FORMAT;
	CLEANUP(cleanup_x509) X509 *cert = d2i_X509(NULL, &at, (long)n);
	int rc = cert && at == der + n ? check_peer(cert, now, out) : ERR_FORMAT;
	ERR_clear_error();
	return rc;
}

static X509 *make_certificate(EVP_PKEY *key)
{
	CLEANUP(cleanup_x509) X509 *cert = X509_new();
	X509_NAME *name = cert ? X509_get_subject_name(cert) : NULL;
	if (!name || ca_number(cert) < 0 || ca_valid_forever(cert) < 0 ||
	    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"shieldvm",
				       -1, -1, 0) != 1 ||
	    X509_set_issuer_name(cert, name) != 1 || X509_set_pubkey(cert, key) != 1 ||
	    X509_sign(cert, key, EVP_sha256()) <= 0) {
		ERR_clear_error();
		return NULL;
	}
	X509 *made = cert;
	cert = NULL;
	return made;
}

int tls_certificate(const struct jwk *key, struct buf *der)
{
	CLEANUP(cleanup_pkey) EVP_PKEY *pkey = jwk_is_private(key) ? jwk_to_pkey(key, 1) : NULL;
	CLEANUP(cleanup_x509) X509 *cert = pkey ? make_certificate(pkey) : NULL;
	return cert ? ca_put_der(cert, CERTIFICATE_MAX, der) : ERR_CRYPTO;
}

/* Instead of libcrypto's chain building: the certificate stands for itself. */
static int verify(X509_STORE_CTX *store, void *arg)
{
	uint8_t who[TLS_FINGERPRINT_BYTES];
	X509 *cert = X509_STORE_CTX_get0_cert(store);
	STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(store);
	(void)arg;
	int rc = cert && sk_X509_num(sent) == 1 ? check_peer(cert, (int64_t)time(NULL), who)
						: ERR_FORMAT;
	ERR_clear_error();
	X509_STORE_CTX_set_error(store, rc == 0		   ? X509_V_OK
					: rc == ERR_POLICY ? X509_V_ERR_CERT_HAS_EXPIRED
							   : X509_V_ERR_CERT_REJECTED);
	return rc == 0;
}

static int configure(SSL_CTX *ctx, EVP_PKEY *key, X509 *cert)
{
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, verify, NULL);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(ctx,
			    SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_max_cert_list(ctx, TLS_PEER_CERT_MAX);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	return SSL_CTX_set_num_tickets(ctx, 0) == 1 && SSL_CTX_set_max_early_data(ctx, 0) == 1 &&
	       SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set1_groups_list(ctx, "X25519:P-256") == 1 &&
	       SSL_CTX_set1_sigalgs_list(ctx, "ecdsa_secp256r1_sha256") == 1 &&
	       SSL_CTX_set1_client_sigalgs_list(ctx, "ecdsa_secp256r1_sha256") == 1 &&
	       SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1;
}

int tls_server_new(const struct jwk *key, struct tls_server **out, struct fault *f)
{
	if (!jwk_is_private(key))
		return fault_set(f, ERR_USAGE, "a public key cannot serve");
	CLEANUP(cleanup_pkey) EVP_PKEY *pkey = jwk_to_pkey(key, 1);
	CLEANUP(cleanup_x509) X509 *cert = pkey ? make_certificate(pkey) : NULL;
	CLEANUP(cleanup_ssl_ctx) SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	if (!cert || !ctx || !configure(ctx, pkey, cert)) {
		ERR_clear_error();
		return fault_set(f, ERR_CRYPTO, "TLS cannot be set up");
	}
	struct tls_server *t = calloc(1, sizeof(*t));
	if (!t)
		return fault_set(f, -ENOMEM, "no memory for TLS");
	t->ctx = ctx;
	ctx = NULL;
	*out = t;
	return 0;
}

void tls_server_free(struct tls_server *t)
{
	if (!t)
		return;
	SSL_CTX_free(t->ctx);
	free(t);
}

struct ssl_st *tls_session(const struct tls_server *t)
{
	SSL *ssl = SSL_new(t->ctx);
	if (!ssl)
		ERR_clear_error();
	return ssl;
}

int tls_peer(const struct ssl_st *ssl, uint8_t out[static TLS_FINGERPRINT_BYTES])
{
	X509 *cert = SSL_is_init_finished(ssl) && SSL_get_verify_result(ssl) == X509_V_OK
			     ? SSL_get0_peer_certificate(ssl)
			     : NULL;
	return cert ? fingerprint(X509_get0_pubkey(cert), out) : ERR_STATE;
}

void tls_end(struct ssl_st *ssl)
{
	(void)SSL_shutdown(ssl);
	ERR_clear_error();
}
