/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TLS as the guardian serves it: version 1.3 only, and both sides known by their P-256 keys alone.
 *
 * The server's certificate is made from its key at each start, self-signed: clients pin the key. A
 * client must show a certificate that it signed itself; any is taken that is one certificate of a
 * P-256 key, valid now, with a right signature over SHA-256.  Who that is, and what he may do, is
 * decided by tls_peer()'s fingerprint and nothing else in the certificate.  Sessions are not
 * resumed, so that each connection shows its certificate.
 *
 * May be used by: guardian/.  After tls_server_new() no file is opened.
 */
#ifndef SHIELDVM_CRYPTO_TLS_H
#define SHIELDVM_CRYPTO_TLS_H

#include "base/buf.h"
#include "crypto/jwk.h"

#define TLS_FINGERPRINT_BYTES 32
#define TLS_PEER_CERT_MAX     4096 /* bytes of what a client shows */

/* The key's fingerprint: SHA-256 of its SubjectPublicKeyInfo in DER.  ERR_CRYPTO. */
int tls_fingerprint(const struct jwk *key, uint8_t out[static TLS_FINGERPRINT_BYTES]) MUST_CHECK;

/* Append a certificate of KEY (private) by itself, valid from now on without end, in DER.
 * ERR_CRYPTO, errors of buf_reserve(). */
int tls_certificate(const struct jwk *key, struct buf *der) MUST_CHECK;

/*
 * 0 if the N bytes of DER are what a client may show at the time NOW (seconds since 1970), and its
 * fingerprint in OUT.  ERR_FORMAT (no certificate, something behind it, another kind of key),
 * ERR_AUTH (not signed by its own key), ERR_POLICY (expired, or not valid yet), ERR_CRYPTO.
 */
int tls_check_peer(const uint8_t *der, size_t n, int64_t now,
		   uint8_t out[static TLS_FINGERPRINT_BYTES]) MUST_CHECK;

/* What KEY (private) serves with.  ERR_CRYPTO, ERR_USAGE (a public key), -ENOMEM. */
struct tls_server;
int tls_server_new(const struct jwk *key, struct tls_server **out, struct fault *f) MUST_CHECK;
void tls_server_free(struct tls_server *t); /* NULL is fine */

/* A new connection's state, to be given to what moves its bytes (libevent's bufferevent_openssl,
 * which frees it); NULL when memory is out. */
struct ssl_st;
struct ssl_st *tls_session(const struct tls_server *t);

/* Whose certificate the finished handshake of SSL has shown.  ERR_STATE before its end, ERR_CRYPTO.
 */
int tls_peer(const struct ssl_st *ssl, uint8_t out[static TLS_FINGERPRINT_BYTES]) MUST_CHECK;

/* Tell the peer that nothing follows, if the connection still takes it.  What the peer sends can
 * still be read. */
void tls_end(struct ssl_st *ssl);

#endif
