/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keys that shieldvm-swtpm is given: --key and --migration-key.
 *
 * Used by: shieldvm-swtpm, before sealing.
 */
#ifndef SHIELDVM_WORKER_SWTPM_KEY_H
#define SHIELDVM_WORKER_SWTPM_KEY_H

#include "crypto/key.h"
#include "worker/swtpm_opts.h"

/* 1 if K was given. */
int swtpm_key_given(const struct swtpm_key *k);

/*
 * Read what K names (OPTION is its name in sentences) and derive KEY from it for VM; remove the
 * file if K says so.  ERR_FORMAT for what is no key, -errno, ERR_LIMIT, ERR_CRYPTO.
 */
int swtpm_key_read(const char *option, const struct swtpm_key *k,
		   const uint8_t vm[static UUID_BYTES], struct vm_key *key,
		   struct fault *f) MUST_CHECK;

/* What state is sealed with if there is no key: known to everybody. */
int swtpm_key_public(const uint8_t vm[static UUID_BYTES], struct vm_key *key) MUST_CHECK;

/*
 * A key in hex digits (KEY_HEX: optional 0x, white space behind it) or in binary, of WANTED bytes
 * (0: 16 or 32).  Returns its size with the bytes in OUT, or ERR_FORMAT.  A pure function.
 */
int swtpm_key_parse(const uint8_t *text, size_t n, enum swtpm_key_format format, int wanted,
		    uint8_t out[static KEY_BYTES]) MUST_CHECK;

#endif
