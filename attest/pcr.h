/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Values of a TPM's platform configuration registers, of one bank (TCG PC Client Platform TPM
 * Profile: 24 PCRs).
 */
#ifndef SHIELDVM_ATTEST_PCR_H
#define SHIELDVM_ATTEST_PCR_H

#include <stdint.h>

#include "crypto/hash.h"

#define PCR_COUNT	 24

/*
 * The PCRs that go on changing while a host runs, or that may: 10 is IMA's, 11, 12, 13 and 15 are
 * extended by the running system (UAPI Group, "Linux TPM PCR Registry").  A quote covers them like
 * any other; a key is never bound to them, since the next measurement would end its use.
 */
#define PCR_RUNNING_MASK ((1u << 10) | (1u << 11) | (1u << 12) | (1u << 13) | (1u << 15))

struct pcrs {
	uint16_t bank; /* HASH_SHA256 ... */
	uint32_t mask; /* bit N: value[N] is known */
	uint8_t value[PCR_COUNT][HASH_BYTES_MAX];
};

#endif
