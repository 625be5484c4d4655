/* SPDX-License-Identifier: BSD-3-Clause */
/* The head of a request from arbitrary bytes: what is taken is one head, and nothing behind it. */
#include <stdlib.h>
#include <string.h>

#include "guardian/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_head h;
	char *text = malloc(size ? size : 1);
	memcpy(text, data, size);
	if (http_parse(text, size, &h) == 0) {
		const char *end = memmem(text, size, "\r\n\r\n", 4);
		if (end != text + size - 4 || h.path[0] != '/' || strlen(h.path) > LINK_PATH_MAX ||
		    h.body_bytes > LINK_BODY_MAX || (h.method == LINK_GET && h.body_bytes) ||
		    memchr(text, 0, size))
			abort();
	}
	free(text);
	return 0;
}
