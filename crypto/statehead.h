/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The head of a vTPM's state file (docs/FORMAT.md, "The vTPM's state file"): the state's version,
 * in clear, so that who has no key can tell a guardian how far the vTPM has got.
 *
 * The version grows with everything that the vTPM stores for its guest.  The head is bound to the
 * sealed state behind it: an altered one, or another state's, does not open.  But only who has the
 * VM's key can see that; for everybody else the head is a claim.
 *
 * May be used by: worker/, attest/, cli/.
 */
#ifndef SHIELDVM_CRYPTO_STATEHEAD_H
#define SHIELDVM_CRYPTO_STATEHEAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define STATEHEAD_BYTES	      24
#define STATEHEAD_VERSION_MAX INT64_MAX /* guardians count with 63 bits */

/* VERSION: 1 to STATEHEAD_VERSION_MAX. */
void statehead_make(uint64_t version, uint8_t head[static STATEHEAD_BYTES]);

/*
 * The version in the first N bytes of a state file at P, and *BYTES, how long its head is: 0, with
 * version 0, for one from before there were heads.  ERR_TRUNCATED, ERR_FORMAT, ERR_VERSION; F gets
 * the sentence, without the file's name.
 */
int statehead_parse(const uint8_t *p, size_t n, uint64_t *version, size_t *bytes,
		    struct fault *f) MUST_CHECK;

/*
 * The version of the state NAME in the folder DIR, also while its worker replaces it: the version
 * is that of a state which NAME was, durably, when this returns.  As statehead_parse(); -errno with
 * a sentence: -ENOENT if there is no state, -ELOOP and -EINVAL for what is no plain file, -EBUSY if
 * the state is replaced faster than it can be read.  openat, fstat, pread64, newfstatat, fsync.
 */
int statehead_read(int dir, const char *name, uint64_t *version, struct fault *f) MUST_CHECK;

#endif
