/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A token of SoftHSM, in a folder of its own, for one test program.  SoftHSM keeps keys in files:
 * it is what an HSM is like for a program, and protects nothing.
 */
#ifndef SHIELDVM_TESTS_UNIT_GUARDIAN_SOFTHSM_BED_H
#define SHIELDVM_TESTS_UNIT_GUARDIAN_SOFTHSM_BED_H

#include "crypto/jwk.h"

#define SOFTHSM_URI_MAX 512

/* Make a token "test" with the PIN 1234.  Where SoftHSM is not installed the program ends with 77,
 * or with 1 under MUST_WORK=1. */
void softhsm_bed_make(void);
void softhsm_bed_remove(void);
/* Take the token's files away, and put them back. */
void softhsm_bed_away(int away);

/* The address of OBJECT; the file with the PIN has PIN and MODE. */
const char *softhsm_bed_uri(const char *object, const char *pin, unsigned mode);

/* Import KEY under the name OBJECT and ID (hexadecimal). */
void softhsm_bed_import(const struct jwk *key, const char *object, const char *id);

#endif
