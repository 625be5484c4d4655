/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/refusal.h"

#include "base/log.h"
#include "worker/report.h"

void refusal_record(int link, const char *rule, const char *request, const char *reason)
{
	struct broker_audit m;
	log_warning("refused: %s: %s over the monitor", rule, request);
	if (link < 0)
		return;
	report_init(&m, AUDIT_REFUSED, AUDIT_BY_MONITOR, AUDIT_NO, rule, request, reason);
	int rc = report_send(link, &m);
	if (rc < 0)
		log_error("the refusal is not in the audit log: %s", err_text(rc));
}
