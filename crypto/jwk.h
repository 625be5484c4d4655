/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * P-256 key pairs as JSON Web Keys (RFC 7517): the owner's (signs and unwraps) and the host's
 * (unwraps).
 *
 * Private JWKs live in files of mode 0600; who may own them is checked on reading.  The public half
 * is a JWK without "d".  A key's name is its thumbprint (RFC 7638, SHA-256, base64url).  May be
 * used by: cli/, worker/ before it seals, libvirt/ (public keys only).
 */
#ifndef SHIELDVM_CRYPTO_JWK_H
#define SHIELDVM_CRYPTO_JWK_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define JWK_FILE_MAX	     4096
#define JWK_THUMBPRINT_SIZE  44 /* 43 characters and the NUL */
#define JWK_COORDINATE_BYTES 32
#define JWK_POINT_BYTES	     65 /* 0x04, x, y */

struct jwk; /* a P-256 key, public or private */

/* A new key pair.  ERR_CRYPTO, -ENOMEM. */
int jwk_new(struct jwk **out, struct fault *f) MUST_CHECK;
void jwk_free(struct jwk *k); /* wipes; NULL is fine */
static inline void cleanup_jwk(struct jwk **k)
{
	jwk_free(*k);
}
#define CLEANUP_JWK CLEANUP(cleanup_jwk)

/*
 * Parse TEXT.  Exactly one EC P-256 key whose point is on the curve (and whose "d" matches it, if
 * there is one); "kty", "crv", "x", "y", "d", "kid", "use", "alg", "key_ops" are known members and
 * others ignored.  ERR_FORMAT.
 */
int jwk_parse(const char *text, size_t n, struct jwk **out, struct fault *f) MUST_CHECK;

/*
 * Read from an open descriptor (the worker's way: root has opened it and looked whose it is; it is
 * read where root is nobody) or from a path (no symbolic link).  PRIVATE_WANTED: 1 refuses a public
 * key, and by path a file that others may use or that belongs to neither root nor the caller
 * (ERR_POLICY); 0 refuses a private key.
 * The path is in the sentence, what the file holds never is.  As jwk_parse(), -errno, ERR_LIMIT.
 */
int jwk_read_fd(int fd, int private_wanted, struct jwk **out, struct fault *f) MUST_CHECK;
int jwk_read_file(const char *path, int private_wanted, struct jwk **out,
		  struct fault *f) MUST_CHECK;

/* Write the private key to PATH (0600) and the public one to PATH.pub (0644); neither is ever
 * overwritten (-EEXIST), and on failure there is neither. */
int jwk_write_pair(const struct jwk *k, const char *path, struct fault *f) MUST_CHECK;

/* Append the public half as one line of JSON without a newline. */
int jwk_public_text(const struct jwk *k, struct buf *out) MUST_CHECK;

/* The RFC 7638 thumbprint. */
int jwk_thumbprint(const struct jwk *k, char out[static JWK_THUMBPRINT_SIZE]) MUST_CHECK;

int jwk_is_private(const struct jwk *k);

/* The public key as an uncompressed point (SEC 1, 2.3.3). */
void jwk_point(const struct jwk *k, uint8_t point[static JWK_POINT_BYTES]);

/* A public key from its coordinates, big endian.  ERR_FORMAT if the point is not on the curve. */
int jwk_from_point(const uint8_t x[static JWK_COORDINATE_BYTES],
		   const uint8_t y[static JWK_COORDINATE_BYTES], struct jwk **out) MUST_CHECK;

/* The coordinates, big endian; they belong to K. */
const uint8_t *jwk_x(const struct jwk *k);
const uint8_t *jwk_y(const struct jwk *k);

/* 1 if A and B are the same public key. */
int jwk_same(const struct jwk *a, const struct jwk *b);

#endif
