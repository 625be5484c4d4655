/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one place that every refusal of the sealed worker passes through.
 *
 * Used by: worker/monitor.c.
 */
#ifndef SHIELDVM_WORKER_REFUSAL_H
#define SHIELDVM_WORKER_REFUSAL_H

/*
 * RULE refused, for REASON, the monitor's REQUEST (a name of plain characters, no arguments): into
 * the log and, by the broker at the other end of LINK, durably into the audit log.  0, or why the
 * audit log did not take it: the request is refused all the same, and whoever asked should be told.
 * Refusals that it did not take are counted, and the first that it takes again comes behind a
 * record "audit.unrecorded" that says how many.  LINK = -1: no broker (tests).
 */
int refusal_record(int link, const char *rule, const char *request, const char *reason);

#endif
