/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Starting the crypto library in a process that will be sealed.
 *
 * May be used by: worker/, first of everything in crypto/, before sealing.
 */
#ifndef SHIELDVM_CRYPTO_INIT_H
#define SHIELDVM_CRYPTO_INIT_H

#include "base/err.h"

/*
 * Start libcrypto without its configuration file: what a worker computes with does not depend on
 * openssl.cnf, and nothing opens it later, when no file can be opened.  jansson's tables are
 * seeded, for the same reason.  ERR_CRYPTO, -errno.
 */
int crypto_init(void) MUST_CHECK;

#endif
