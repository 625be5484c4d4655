/* SPDX-License-Identifier: BSD-3-Clause */
/* Which client certificates a guardian takes, and the handshake itself, between two ends in memory.
 */
#include "tests/unit/test.h"

#include <string.h>
#include <time.h>

#include "crypto/jwk_form.h"
#include "crypto/tls.h"

static struct fault f;
#define GOOD(call)                                                                                 \
	do {                                                                                       \
		if ((call) < 0)                                                                    \
			fail_msg("%s: %s", #call, f.text);                                         \
	} while (0)

/* How a certificate is made; zero is a good one. */
struct made {
	const char *curve; /* NULL: P-256 */
	const EVP_MD *md;
	long begins, ends; /* seconds from now; 0: an hour ago, in an hour */
	int foreign;	   /* signed by another key */
	int compressed;
};

static EVP_PKEY *new_key(const char *curve)
{
	EVP_PKEY *key = EVP_EC_gen(curve);
	assert_non_null(key);
	return key;
}

static X509 *make(const struct made *m, EVP_PKEY **out)
{
	EVP_PKEY *key = new_key(m->curve ? m->curve : "P-256"), *other = new_key("P-256");
	X509 *cert = X509_new();
	if (m->compressed)
		assert_int_equal(EVP_PKEY_set_utf8_string_param(
					 key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
					 OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_COMPRESSED),
				 1);
	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), m->begins ? m->begins : -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), m->ends ? m->ends : 3600);
	X509_set_pubkey(cert, key);
	assert_true(X509_sign(cert, m->foreign ? other : key, m->md ? m->md : EVP_sha256()) > 0);
	EVP_PKEY_free(other);
	if (out)
		*out = key;
	else
		EVP_PKEY_free(key);
	return cert;
}

static int check(const struct made *m, size_t cut, const char *more)
{
	uint8_t print[TLS_FINGERPRINT_BYTES], der[TLS_PEER_CERT_MAX + 8192];
	unsigned char *at = der;
	X509 *cert = make(m, NULL);
	int n = i2d_X509(cert, &at);
	assert_true(n > 0 && (size_t)n < TLS_PEER_CERT_MAX);
	memcpy(der + n, more, strlen(more));
	X509_free(cert);
	return tls_check_peer(der, (size_t)n - cut + strlen(more), time(NULL), print);
}

static void test_peers(void **state)
{
	(void)state;
	assert_int_equal(check(&(struct made){ 0 }, 0, ""), 0);
	assert_int_equal(check(&(struct made){ .curve = "P-384" }, 0, ""), ERR_FORMAT);
	assert_int_equal(check(&(struct made){ .curve = "secp256k1" }, 0, ""), ERR_FORMAT);
	assert_int_equal(check(&(struct made){ .compressed = 1 }, 0, ""), ERR_FORMAT);
	assert_int_equal(check(&(struct made){ .md = EVP_sha512() }, 0, ""), ERR_FORMAT);
	assert_int_equal(check(&(struct made){ .md = EVP_sha1() }, 0, ""), ERR_FORMAT);
	assert_int_equal(check(&(struct made){ .foreign = 1 }, 0, ""), ERR_AUTH);
	assert_int_equal(check(&(struct made){ .begins = 30 }, 0, ""), ERR_POLICY);
	assert_int_equal(check(&(struct made){ .ends = -30 }, 0, ""), ERR_POLICY);
	assert_int_equal(check(&(struct made){ 0 }, 1, ""), ERR_FORMAT);
	assert_int_equal(check(&(struct made){ 0 }, 0, "x"), ERR_FORMAT);
	static const uint8_t ZEROS[TLS_PEER_CERT_MAX + 1];
	uint8_t print[TLS_FINGERPRINT_BYTES];
	assert_int_equal(tls_check_peer(ZEROS, 0, 0, print), ERR_FORMAT);
	assert_int_equal(tls_check_peer(ZEROS, sizeof(ZEROS), 0, print), ERR_FORMAT);
}

static void test_own_certificate(void **state)
{
	(void)state;
	CLEANUP_JWK struct jwk *key = NULL;
	CLEANUP_JWK struct jwk *public = NULL;
	CLEANUP_BUF struct buf der = BUF_INIT(4096), text = BUF_INIT(1024);
	uint8_t print[TLS_FINGERPRINT_BYTES], same[TLS_FINGERPRINT_BYTES];
	GOOD(jwk_new(&key, &f));
	GOOD(jwk_public_text(key, &text));
	GOOD(jwk_parse((const char *)text.data, text.len, &public, &f));
	GOOD(tls_certificate(key, &der));
	GOOD(tls_check_peer(der.data, der.len, time(NULL) + 1, print));
	GOOD(tls_fingerprint(public, same));
	assert_memory_equal(print, same, sizeof(print));
	buf_clear(&der);
	assert_true(tls_certificate(public, &der) < 0);
	struct tls_server *t = NULL;
	assert_int_equal(tls_server_new(public, &t, &f), ERR_USAGE);
	assert_null(t);
}

/* Shake hands until both are done or one refuses: 1 if the server takes the client. */
static int shake(SSL *server, SSL *client)
{
	BIO *a = NULL, *b = NULL;
	assert_int_equal(BIO_new_bio_pair(&a, 65536, &b, 65536), 1);
	SSL_set_bio(server, a, a);
	SSL_set_bio(client, b, b);
	SSL_set_connect_state(client);
	SSL_set_accept_state(server);
	for (int i = 0; i < 10; i++) {
		SSL_do_handshake(client);
		SSL_do_handshake(server);
	}
	ERR_clear_error();
	return SSL_is_init_finished(server) && SSL_is_init_finished(client);
}

/* A client of MAX version with the certificate M (NULL: none), and CHAIN more of them. */
static int connects(const struct made *m, int version, int chain)
{
	CLEANUP_JWK struct jwk *key = NULL;
	struct tls_server *t = NULL;
	EVP_PKEY *pkey = NULL;
	uint8_t print[TLS_FINGERPRINT_BYTES], want[TLS_FINGERPRINT_BYTES];
	GOOD(jwk_new(&key, &f));
	GOOD(tls_server_new(key, &t, &f));
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_min_proto_version(ctx, version);
	SSL_CTX_set_max_proto_version(ctx, version);
	X509 *cert = m ? make(m, &pkey) : NULL;
	if (cert) {
		SSL_CTX_use_certificate(ctx, cert);
		SSL_CTX_use_PrivateKey(ctx, pkey);
	}
	for (int i = 0; i < chain; i++)
		SSL_CTX_add1_chain_cert(ctx, cert);
	SSL *client = SSL_new(ctx), *server = tls_session(t);
	assert_int_equal(tls_peer(server, print), ERR_STATE);
	int ok = shake(server, client);
	if (ok) {
		unsigned char *der = NULL;
		int n = i2d_PUBKEY(pkey, &der);
		EVP_Digest(der, (size_t)n, want, NULL, EVP_sha256(), NULL);
		OPENSSL_free(der);
		GOOD(tls_peer(server, print));
		assert_memory_equal(print, want, sizeof(want));
		assert_int_equal(SSL_version(server), TLS1_3_VERSION);
		/* Nothing to come back with. */
		assert_false(SSL_session_reused(server));
		assert_false(SSL_SESSION_has_ticket(SSL_get0_session(client)));
		tls_end(server);
		char byte;
		assert_int_equal(SSL_read(client, &byte, 1), 0);
		assert_int_equal(SSL_get_error(client, 0), SSL_ERROR_ZERO_RETURN);
	} else {
		assert_int_equal(tls_peer(server, print), ERR_STATE);
	}
	SSL_free(client);
	SSL_free(server);
	SSL_CTX_free(ctx);
	X509_free(cert);
	EVP_PKEY_free(pkey);
	tls_server_free(t);
	return ok;
}

static void test_handshakes(void **state)
{
	(void)state;
	assert_true(connects(&(struct made){ 0 }, TLS1_3_VERSION, 0));
	assert_false(connects(&(struct made){ 0 }, TLS1_2_VERSION, 0));
	assert_false(connects(NULL, TLS1_3_VERSION, 0));
	assert_false(connects(&(struct made){ 0 }, TLS1_3_VERSION, 1));
	assert_false(connects(&(struct made){ .foreign = 1 }, TLS1_3_VERSION, 0));
	assert_false(connects(&(struct made){ .ends = -30 }, TLS1_3_VERSION, 0));
	assert_false(connects(&(struct made){ .begins = 30 }, TLS1_3_VERSION, 0));
	assert_false(connects(&(struct made){ .curve = "P-384" }, TLS1_3_VERSION, 0));
	tls_server_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_peers),
		cmocka_unit_test(test_own_certificate),
		cmocka_unit_test(test_handshakes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
