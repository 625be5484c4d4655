/* SPDX-License-Identifier: BSD-3-Clause */
/* What an export has sealed: anybody can seal something for a guardian's key. */
#include <stdint.h>
#include <stdlib.h>

#include "guardian/archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	size_t held = 0;
	CLEANUP_ARCHIVE struct archive a;
	archive_init(&a);
	int rc = archive_parse(data, n, &a, NULL);
	for (int i = 1; i < ARCHIVE_FILES; i++)
		held += a.files[i].len + (a.files[i].len ? 12 : 0);
	/* All of it, or nothing. */
	if (held != (rc < 0 ? 0 : n))
		abort();
	return 0;
}
