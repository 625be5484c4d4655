/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/refusal.h"

#include <stdio.h>
#include <stdlib.h>

int refuse_failed(struct refusal *r, const char *id, int rc)
{
	if (rc >= 0)
		return rc;
	if (!refusal_remedy(id))
		abort();
	if (!r->id)
		r->id = id;
	return fault_set(&r->fault, rc, "%s", err_text(rc));
}

int refuse(struct refusal *r, const char *id, int rc, const char *fmt, ...)
{
	char text[FAULT_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fault_set(&r->fault, rc, "%s", text);
	return refuse_failed(r, id, rc);
}
