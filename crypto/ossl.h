/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * OpenSSL's headers, and cleanup attributes for its objects, so that ownership leaves a scope
 * visibly.  Private to crypto/, which includes them through this file only.
 */
#ifndef SHIELDVM_CRYPTO_OSSL_H
#define SHIELDVM_CRYPTO_OSSL_H

/* libcrypto has a type of the same name as one of ours in base/err.h; nothing here uses it. */
#define ERR_STATE OSSL_ERR_STATE
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/conf.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#undef ERR_STATE

#include "base/wipe.h"

#define OSSL_CLEANUP_FN(name, type, free_fn)                                                       \
	static inline void cleanup_##name(type **p)                                                \
	{                                                                                          \
		free_fn(*p);                                                                       \
	}

OSSL_CLEANUP_FN(bio, BIO, BIO_free_all)
OSSL_CLEANUP_FN(bn, BIGNUM, BN_clear_free)
OSSL_CLEANUP_FN(cipher_ctx, EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)
OSSL_CLEANUP_FN(kdf_ctx, EVP_KDF_CTX, EVP_KDF_CTX_free)
OSSL_CLEANUP_FN(pkey, EVP_PKEY, EVP_PKEY_free)
OSSL_CLEANUP_FN(pkey_ctx, EVP_PKEY_CTX, EVP_PKEY_CTX_free)
OSSL_CLEANUP_FN(x509, X509, X509_free)

#endif
