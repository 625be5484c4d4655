/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/tlsclient.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "crypto/ca_form.h"
#include "crypto/jwk_form.h"

/* A certificate that says nothing but its key. */
static const char EXTENSIONS[] = "[x]\n"
				 "basicConstraints=critical,CA:FALSE\n"
				 "keyUsage=critical,digitalSignature\n"
				 "extendedKeyUsage=clientAuth\n";

enum met { NOBODY, GUARDIAN, ANOTHER };

struct tlsclient {
	const struct jwk *key;
	char pin[JWK_THUMBPRINT_SIZE], found[JWK_THUMBPRINT_SIZE];
	enum met met;
};

int tlsclient_new(const struct jwk *key, const char pin[static JWK_THUMBPRINT_SIZE],
		  struct tlsclient **out, struct fault *f)
{
	if (!jwk_is_private(key))
		return fault_set(f, ERR_FORMAT, "a public key cannot answer for a client");
	struct tlsclient *t = calloc(1, sizeof(*t));
	if (!t)
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	t->key = key;
	memcpy(t->pin, pin, sizeof(t->pin));
	*out = t;
	return 0;
}

void tlsclient_free(struct tlsclient *t)
{
	free(t);
}

int tlsclient_met(const struct tlsclient *t, char found[static JWK_THUMBPRINT_SIZE])
{
	memcpy(found, t->found, sizeof(t->found));
	return t->met == GUARDIAN ? 1 : t->met == ANOTHER ? ERR_AUTH : 0;
}

/* The thumbprint of CERT's key, which must be of P-256. */
static int thumbprint(X509 *cert, char out[static JWK_THUMBPRINT_SIZE])
{
	uint8_t x[JWK_COORDINATE_BYTES], y[JWK_COORDINATE_BYTES];
	char group[32];
	CLEANUP(cleanup_bn) BIGNUM *bx = NULL;
	CLEANUP(cleanup_bn) BIGNUM *by = NULL;
	CLEANUP_JWK struct jwk *k = NULL;
	EVP_PKEY *pkey = X509_get0_pubkey(cert);
	if (!pkey || EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) != 1 ||
	    strcmp(group, SN_X9_62_prime256v1) != 0 ||
	    EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_EC_PUB_X, &bx) != 1 ||
	    EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, &by) != 1 ||
	    BN_bn2binpad(bx, x, sizeof(x)) != sizeof(x) ||
	    BN_bn2binpad(by, y, sizeof(y)) != sizeof(y))
		return ERR_FORMAT;
	int rc = jwk_from_point(x, y, &k);
	return rc < 0 ? rc : jwk_thumbprint(k, out);
}

/* In the place of libssl's own verification: the key is the pinned one.  That the peer holds it is
 * what the handshake then proves. */
static int verify(X509_STORE_CTX *store, void *arg)
{
	struct tlsclient *t = arg;
	X509 *cert = X509_STORE_CTX_get0_cert(store);
	t->met = ANOTHER;
	t->found[0] = '\0';
	if (cert && thumbprint(cert, t->found) >= 0 && strcmp(t->found, t->pin) == 0)
		t->met = GUARDIAN;
	if (t->met != GUARDIAN)
		X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
	ERR_clear_error();
	return t->met == GUARDIAN;
}

/* A certificate of KEY by KEY. */
static X509 *self_signed(EVP_PKEY *key)
{
	X509 *cert = X509_new();
	X509_NAME *name = cert ? X509_get_subject_name(cert) : NULL;
	if (name && ca_number(cert) == 0 &&
	    X509_gmtime_adj(X509_getm_notBefore(cert), -TLSCLIENT_SKEW_S) &&
	    X509_gmtime_adj(X509_getm_notAfter(cert), TLSCLIENT_VALID_S + TLSCLIENT_SKEW_S) &&
	    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"shieldvm", -1,
				       -1, 0) == 1 &&
	    X509_set_issuer_name(cert, name) == 1 && X509_set_pubkey(cert, key) == 1 &&
	    ca_add_extensions(cert, cert, EXTENSIONS) == 0 &&
	    X509_sign(cert, key, EVP_sha256()) > 0)
		return cert;
	X509_free(cert);
	return NULL;
}

int tlsclient_setup(struct tlsclient *t, void *context)
{
	SSL_CTX *c = context;
	CLEANUP(cleanup_pkey) EVP_PKEY *key = jwk_to_pkey(t->key, 1);
	CLEANUP(cleanup_x509) X509 *cert = key ? self_signed(key) : NULL;
	t->met = NOBODY;
	t->found[0] = '\0';
	if (!cert || SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_max_proto_version(c, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_use_certificate(c, cert) != 1 || SSL_CTX_use_PrivateKey(c, key) != 1)
		return ERR_CRYPTO;
	/* A resumed session would not be verified again. */
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(c, SSL_OP_NO_TICKET);
	/* libcurl writes session keys wherever the environment says. */
	SSL_CTX_set_keylog_callback(c, NULL);
	SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(c, verify, t);
	return 0;
}
