/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/init.h"

#include <errno.h>
#include <jansson.h>
#include <unistd.h>

#include "crypto/ossl.h"

int crypto_init(void)
{
	/* jansson would open /dev/urandom for its tables, or use the time where that is missing. */
	size_t seed = 0;
	if (getentropy(&seed, sizeof(seed)) < 0)
		return -errno;
	json_object_seed(seed);
	return OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) == 1 ? 0 : ERR_CRYPTO;
}
