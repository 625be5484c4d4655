/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one place that every refusal of the sealed worker passes through.
 *
 * Used by: worker/monitor.c.
 */
#ifndef SHIELDVM_WORKER_REFUSAL_H
#define SHIELDVM_WORKER_REFUSAL_H

/* RULE refused REQUEST (a name of plain characters, no arguments) that came over CHANNEL. */
void refusal_record(const char *rule, const char *channel, const char *request);

#endif
