/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The last step of a release, rehearsed: what a guardian seals to an appraised PCR-bound key, the
 * host's TPM has to open.
 *
 * May be used by: cli/ (`shieldvm attest --dry-run`).
 */
#ifndef SHIELDVM_ATTEST_DRILL_H
#define SHIELDVM_ATTEST_DRILL_H

#include "attest/evidence.h"
#include "attest/hosttpm.h"

/*
 * Seal a random secret to the point X, Y, which the appraisal of E gave (guardian/appraise.h), and
 * open it with T, which made E: finding "key.release", FAILED with what is in the way (the PCRs
 * have changed, the TPM was reset, ...).  The secret is for nothing else, and wiped.  An error only
 * where nothing could be sealed: -EIO, ERR_CRYPTO, ERR_FORMAT, -ENOMEM.
 */
int drill_release(struct hosttpm *t, const struct evidence *e, const uint8_t x[static 32],
		  const uint8_t y[static 32], struct findings *out, struct fault *f) MUST_CHECK;

#endif
