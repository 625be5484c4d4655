/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A rawkey in the form that libcrypto takes.  Private to crypto/.
 */
#ifndef SHIELDVM_CRYPTO_RAWKEY_FORM_H
#define SHIELDVM_CRYPTO_RAWKEY_FORM_H

#include "crypto/ossl.h"
#include "crypto/rawkey.h"

/* A new public EVP_PKEY, checked as rawkey_check() says; NULL if KEY is none of its type (or memory
 * is out).  libcrypto's error queue is left empty. */
EVP_PKEY *rawkey_to_pkey(const struct rawkey *key);

/* The same for an uncompressed point of P-256. */
EVP_PKEY *rawkey_point_to_pkey(const uint8_t point[static RAWKEY_P256_POINT]);

/* The other way, of a public or private key; ERR_FORMAT if it is of no type that is known. */
int rawkey_from_pkey(const EVP_PKEY *pkey, struct rawkey *out) MUST_CHECK;

#endif
