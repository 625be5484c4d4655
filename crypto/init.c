/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/init.h"

#include "crypto/ossl.h"

int crypto_init(void)
{
	return OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) == 1 ? 0 : ERR_CRYPTO;
}
