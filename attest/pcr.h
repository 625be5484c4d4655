/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Values of a TPM's platform configuration registers, of one bank (TCG PC Client Platform TPM
 * Profile: 24 PCRs).
 */
#ifndef SHIELDVM_ATTEST_PCR_H
#define SHIELDVM_ATTEST_PCR_H

#include <stdint.h>

#include "crypto/hash.h"

#define PCR_COUNT 24

struct pcrs {
	uint16_t bank; /* HASH_SHA256 ... */
	uint32_t mask; /* bit N: value[N] is known */
	uint8_t value[PCR_COUNT][HASH_BYTES_MAX];
};

#endif
