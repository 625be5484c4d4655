/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The framing of the data channel over a stream: whatever comes, every step makes progress, stays
 * within what there is, and never asks for more than a buffer holds.
 */
#include <stdlib.h>

#include "worker/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (size_t at = 0; at < size;) {
		struct frame fr;
		size_t left = size - at;
		frame_next(data + at, left, &fr);
		if (fr.verdict == FRAME_MORE) {
			if (left >= VTPM_BUFFER_MAX || fr.take || fr.skip)
				abort();
			break;
		}
		if (fr.take == 0 || fr.take > left || fr.skip > DATA_SWALLOW_MAX)
			abort();
		if (fr.verdict == FRAME_COMMAND &&
		    (fr.take < VTPM_HEADER_BYTES || fr.take > VTPM_BUFFER_MAX || fr.skip))
			abort();
		at += fr.take;
	}
	return 0;
}
