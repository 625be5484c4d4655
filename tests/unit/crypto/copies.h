/* SPDX-License-Identifier: BSD-3-Clause */
/* What is left of something in this process' memory.  Not under a sanitizer, which has memory that
 * cannot be searched. */
#ifndef SHIELDVM_TESTS_UNIT_CRYPTO_COPIES_H
#define SHIELDVM_TESTS_UNIT_CRYPTO_COPIES_H

#include <inttypes.h>
#include <stdio.h>

#include "tests/unit/test.h"

/* How often CANARY is in this process' memory, besides at itself.  N is a multiple of 8. */
static inline int copies(const uint8_t *canary, size_t n)
{
	char line[256];
	int found = 0;
	FILE *maps = fopen("/proc/self/maps", "re");
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		uintptr_t from, to;
		char mode[8];
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &from, &to, mode) != 3 ||
		    strncmp(mode, "rw-p", 4) != 0)
			continue;
		for (const uint8_t *p = (const uint8_t *)from, *end = (const uint8_t *)to;
		     (p = memmem(p, (size_t)(end - p), canary, n)); p++)
			found += p != canary;
	}
	fclose(maps);
	return found;
}

#endif
