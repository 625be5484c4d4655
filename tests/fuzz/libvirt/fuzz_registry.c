/* SPDX-License-Identifier: BSD-3-Clause */
/* The registry's file: whatever is accepted is written back and read again as the same. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libvirt/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t vm[UUID_BYTES] = { 0x5e, 0x7f, 0x3c, 0x1a, 0x0b, 0x1d, 0x4a, 0x57,
						0x9d, 0x0e, 0x3a, 0x1f, 0x5c, 0x2b, 0x7d, 0x02 };
	struct registry r, next;
	enum registry_birth birth;
	struct fault f = { 0 };
	if (registry_parse((const char *)data, size, vm, &r, &f) < 0) {
		if (!f.text[0])
			abort();
		return 0;
	}
	if (r.n_past > REGISTRY_PAST_MAX || size > REGISTRY_FILE_MAX)
		abort();
	/* The present TPM is known or new, and a past one never comes back. */
	if (registry_admit(&r, r.owner, r.tpm, &next, &birth, &f) < 0 ||
	    birth == REGISTRY_REPLACES || memcmp(&r, &next, sizeof(r)) != 0)
		abort();
	for (size_t i = 0; i < r.n_past; i++)
		if (registry_admit(&r, r.owner, r.past[i], &next, &birth, &f) != ERR_STATE)
			abort();
	return 0;
}
