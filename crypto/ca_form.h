/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A certification authority in a folder: ca.key (PKCS#8 in PEM, 0600) and ca.pem (0644), and the
 * parts of a certificate that all of ours share.  Private to crypto/.
 */
#ifndef SHIELDVM_CRYPTO_CA_FORM_H
#define SHIELDVM_CRYPTO_CA_FORM_H

#include "base/buf.h"
#include "crypto/ossl.h"

#define CA_PEM_MAX	16384
#define CA_SERIAL_BYTES 20 /* positive: the most that RFC 5280 allows */

/* What kind of authority: its key, its name, and what sentences say. */
struct ca_kind {
	const char *what;	 /* "EK CA" */
	const char *holds;	 /* "CA for EK certificates" */
	const char *made_by;	 /* the command that makes one */
	const char *curve;	 /* of a new one */
	const char *name_prefix; /* of its common name; 8 random bytes follow */
	const char *extensions;	 /* section [x] */
	const EVP_MD *(*md)(void);
};

struct ca {
	EVP_PKEY *key; /* NULL: only the certificate is known */
	X509 *cert;
};
void ca_done(struct ca *ca);

/* Make one in FOLDER, which is made if it is missing.  Existing ones are checked and left alone (0
 * too).  One file without the other is ERR_STATE; else as ca_open(). */
int ca_init(const struct ca_kind *kind, const char *folder, struct fault *f) MUST_CHECK;

/* Open the one in FOLDER, or an operator's own.  ERR_FORMAT, ERR_POLICY if others may use the key,
 * -ENOENT, -errno; OUT is untouched then. */
int ca_open(const struct ca_kind *kind, const char *folder, struct ca *out,
	    struct fault *f) MUST_CHECK;

/* Version 3 and a random serial number of CA_SERIAL_BYTES.  ERR_CRYPTO. */
int ca_number(X509 *cert) MUST_CHECK;

/* Valid from now on without end (RFC 5280, section 4.1.2.5).  ERR_CRYPTO. */
int ca_valid_forever(X509 *cert) MUST_CHECK;

/* Add the extensions of section [x] of TEXT, libcrypto's extension configuration, to CERT, which
 * ISSUER signs.  ERR_CRYPTO. */
int ca_add_extensions(X509 *cert, X509 *issuer, const char *text) MUST_CHECK;

/* Append the DER of CERT, at most MAX bytes of it.  ERR_LIMIT, ERR_CRYPTO, errors of buf_reserve().
 */
int ca_put_der(const X509 *cert, size_t max, struct buf *out) MUST_CHECK;

#endif
