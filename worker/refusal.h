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
 * the log and, by the broker at the other end of LINK, durably into the audit log.  The request is
 * refused whether or not that works; what could not be recorded is said in the log.  LINK = -1: no
 * broker (tests).
 */
void refusal_record(int link, const char *rule, const char *request, const char *reason);

#endif
