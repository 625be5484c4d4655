/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/refusal.h"

#include <limits.h>
#include <stdio.h>

#include "base/log.h"
#include "worker/report.h"

/* Refusals that the audit log did not take. */
static unsigned int unrecorded;

static int send_refusal(int link, const char *rule, const char *request, const char *reason)
{
	struct broker_audit m;
	report_init(&m, AUDIT_REFUSED, AUDIT_BY_MONITOR, AUDIT_NO, rule, request, reason);
	return report_send(link, &m);
}

/* Say how many are missing. */
static int make_up(int link)
{
	char request[64];
	snprintf(request, sizeof(request), "%u refusals before this record", unrecorded);
	int rc = send_refusal(link, "audit.unrecorded", request,
			      "the audit log could not be written; the VM's own log names them");
	if (rc >= 0)
		unrecorded = 0;
	return rc;
}

int refusal_record(int link, const char *rule, const char *request, const char *reason)
{
	log_warning("refused: %s: %s over the monitor", rule, request);
	if (link < 0)
		return 0;
	int rc = unrecorded ? make_up(link) : 0;
	if (rc >= 0)
		rc = send_refusal(link, rule, request, reason);
	if (rc < 0) {
		unrecorded += unrecorded < UINT_MAX;
		log_error("the refusal is not in the audit log: %s", err_text(rc));
	}
	return rc;
}
