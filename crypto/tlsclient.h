/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client's end of TLS with a guardian: whom it takes for the guardian, and what it shows of
 * itself.  Nobody's authority counts on either side: the guardian is known by the thumbprint of its
 * public key (RFC 7638), which came with its address, and the client by its own key, in a
 * certificate that it signs itself, made for each connection.  TLS 1.3 only, no resumption.
 *
 * The connection is made by whoever has libssl's context, libcurl for one.  May be used by:
 * attest/client.c.
 */
#ifndef SHIELDVM_CRYPTO_TLSCLIENT_H
#define SHIELDVM_CRYPTO_TLSCLIENT_H

#include "crypto/jwk.h"

#define TLSCLIENT_SKEW_S  3600 /* that the guardian's clock may be behind or ahead */
#define TLSCLIENT_VALID_S 3600

struct tlsclient;

/* KEY: the client's private key, which must live as long as *OUT; PIN: the guardian's thumbprint.
 * ERR_FORMAT for a public key, -ENOMEM. */
int tlsclient_new(const struct jwk *key, const char pin[static JWK_THUMBPRINT_SIZE],
		  struct tlsclient **out, struct fault *f) MUST_CHECK;
void tlsclient_free(struct tlsclient *t); /* NULL is fine */

/*
 * Make CONTEXT, an SSL_CTX of libssl that is not used yet, the client end described above.  After a
 * failure (ERR_CRYPTO) the context must not be used.
 */
int tlsclient_setup(struct tlsclient *t, void *context) MUST_CHECK;

/* Whom the last handshake met: 1 the guardian; 0 nobody, or no certificate; ERR_AUTH another key,
 * whose thumbprint is in FOUND ("" if it is no P-256 key). */
int tlsclient_met(const struct tlsclient *t, char found[static JWK_THUMBPRINT_SIZE]) MUST_CHECK;

#endif
