/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A jwk in the forms that the libraries take.  Private to crypto/.
 */
#ifndef SHIELDVM_CRYPTO_JWK_FORM_H
#define SHIELDVM_CRYPTO_JWK_FORM_H

#include "crypto/jwk.h"
#include "crypto/ossl.h"
#include "crypto/strict.h"

/* The members "kty", "crv", "x", "y" and, if PRIVATE_TOO, "d"; NULL when memory is out. */
json_t *jwk_to_json(const struct jwk *k, int private_too);

/* As jwk_parse(), of an object that is parsed already. */
int jwk_from_json(const json_t *object, struct jwk **out, struct fault *f) MUST_CHECK;

/* A new EVP_PKEY, with the private key if there is one and it is wanted; NULL on failure. */
EVP_PKEY *jwk_to_pkey(const struct jwk *k, int private_too);

#endif
