/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A P-256 key in an HSM, by PKCS#11: the private half never leaves the token, which computes the
 * shared secret itself (C_DeriveKey, CKM_ECDH1_DERIVE with CKD_NULL).  What is derived may be read:
 * it is the secret of one exchange, which the KDF of the caller goes on with.
 *
 * The module is a library of the HSM's maker, with whatever it does: it is loaded in a process of
 * its own (guardian/keys.h).  SoftHSM keeps its tokens in files and is not an HSM.
 *
 * May be used by: guardian/, tests.  One thread; one session.
 */
#ifndef SHIELDVM_GUARDIAN_PKCS11_H
#define SHIELDVM_GUARDIAN_PKCS11_H

#include "crypto/protector.h"

#define PKCS11_PIN_MAX 256

int pkcs11_is_uri(const char *text);

/*
 * Open the key that URI (RFC 7512, read by p11-kit) names: module-path=/..., token=...,
 * object=... and/or id=..., pin-source=file:/...: a file of its owner's alone with the PIN, read
 * once, logged in with once.  Exactly one token and one key must fit.
 *
 * ERR_USAGE for a URI that lacks one of these or has the PIN in it, and for a PIN that the token
 * refuses, which must not be tried again: tokens lock up; ERR_POLICY if others may read the file
 * with the PIN; -ENODEV if the module or the token is not there, -ENOENT if the key is not;
 * ERR_LIMIT if several fit; -EIO and a sentence for whatever the module says.
 */
struct pkcs11;
int pkcs11_open(const char *uri, struct pkcs11 **out, struct fault *f) MUST_CHECK;

/* The same, but a key that is not there is made, so that it cannot be read: 1. */
int pkcs11_make(const char *uri, struct pkcs11 **out, struct fault *f) MUST_CHECK;

void pkcs11_close(struct pkcs11 *p); /* NULL is fine */
static inline void cleanup_pkcs11(struct pkcs11 **p)
{
	pkcs11_close(*p);
}
#define CLEANUP_PKCS11 CLEANUP(cleanup_pkcs11)

/* The public half, which the token has beside the private one.  -ENOENT, -EIO, ERR_FORMAT. */
int pkcs11_public(struct pkcs11 *p, struct jwk **out, struct fault *f) MUST_CHECK;

/* An ecdh over P, which must outlive it, that says it is KEY's: shown by an exchange with a new key
 * of ours.  ERR_AUTH if it is another's; -EIO.  Its derive() fails with -EIO. */
int pkcs11_ecdh(struct pkcs11 *p, const struct jwk *key, struct ecdh *out,
		struct fault *f) MUST_CHECK;

#endif
