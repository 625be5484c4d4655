/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TPM2_MakeCredential in software (TPM 2.0 Library, Part 1, "Credential Protection"): a secret that
 * only the TPM with this EK gives out, and only if it holds the object of this name too.
 *
 * May be used by: guardian/.  getrandom() through libcrypto.
 */
#ifndef SHIELDVM_CRYPTO_CREDENTIAL_H
#define SHIELDVM_CRYPTO_CREDENTIAL_H

#include "base/buf.h"
#include "crypto/hash.h"
#include "crypto/rawkey.h"

#define CREDENTIAL_SECRET_BYTES	 32
#define CREDENTIAL_NAME_MAX	 66  /* of the object: algorithm and digest */
#define CREDENTIAL_ID_OBJECT_MAX 256 /* marshalled TPM2B_ID_OBJECT */
#define CREDENTIAL_ENCRYPTED_MAX 512 /* marshalled TPM2B_ENCRYPTED_SECRET */

/* What has to be known of an EK: its key, and how it protects what is below it. */
struct credential_ek {
	struct rawkey key;
	uint16_t name_alg; /* HASH_SHA256, HASH_SHA384 */
	unsigned aes_bits; /* 128, 256; always in CFB mode */
};

/*
 * Append to ID_OBJECT and ENCRYPTED the marshalled TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET that
 * hold SECRET for EK and the object with NAME.  ERR_FORMAT if EK is no key of its type,
 * ERR_VERSION for another name_alg or aes_bits, ERR_LIMIT, ERR_CRYPTO, errors of buf_reserve(); the
 * buffers are then unspecified.
 */
int credential_make(const struct credential_ek *ek, const uint8_t *name, size_t name_n,
		    const uint8_t secret[static CREDENTIAL_SECRET_BYTES], struct buf *id_object,
		    struct buf *encrypted, struct fault *f) MUST_CHECK;

#endif
