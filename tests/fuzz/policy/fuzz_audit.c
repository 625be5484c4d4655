/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The audit reader on arbitrary bytes: a line, a whole log, an anchor.  What is accepted is what
 * would be written, and a log is whole only if its records count up from one.
 */
#include <stdlib.h>
#include <string.h>

#include "policy/audit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count(const struct audit_record *r, const char *line, size_t n, void *arg)
{
	uint64_t *seen = arg;
	if (r->seq != *seen + 1 || n > AUDIT_LINE_MAX || line[n - 1] != '\n')
		abort();
	*seen = r->seq;
	return 0;
}

static void one_line(const char *text, size_t n)
{
	CLEANUP_BUF struct buf again = BUF_INIT(AUDIT_LINE_MAX);
	struct audit_record r;
	if (audit_line_read(text, n, &r) < 0)
		return;
	if (audit_line_put(&r, &again) < 0 || again.len != n || memcmp(again.data, text, n) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct audit_chain c = { 0 };
	struct audit_head head;
	struct fault f = { 0 };
	uint64_t seen = 0;
	/* Exactly as large as the input, so that a sanitizer sees a byte too far. */
	char *text = malloc(size ? size : 1);
	if (!text)
		return 0;
	memcpy(text, data, size);
	one_line(text, size);
	int rc = audit_chain_walk(&c, text, size, "log", count, &seen, &f);
	if (seen != c.seq || (rc < 0 && rc != ERR_AUTH) || (rc < 0 && !f.text[0]))
		abort();
	if (audit_head_parse(text, size, &head) == 0 && size < AUDIT_SLOT_BYTES)
		abort();
	free(text);
	return 0;
}
