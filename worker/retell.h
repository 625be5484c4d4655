/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What libvirt is told in place of what QEMU has said.
 *
 * Each function appends JSON to OUT; -ENOMEM, ERR_LIMIT, ERR_FORMAT if what QEMU has said makes no
 * sense.  Used by: worker/monitor.c.  No system call but malloc(3)'s.
 */
#ifndef SHIELDVM_WORKER_RETELL_H
#define SHIELDVM_WORKER_RETELL_H

#include "worker/qmp.h"

/* Which of COMMAND's replies are. */
enum retell { RETELL_NOTHING, RETELL_STATUS, RETELL_CAPABILITIES };
enum retell retell_what(const char *command);

/* The event of a crashed guest, without the registers that it may carry; with its line end. */
int retell_crash(const struct qmp_line *line, struct buf *out) MUST_CHECK;

/* query-migrate's reply VALUE: with ERROR, that STATUS and ERROR; else VALUE with STATUS in place
 * of "completed". */
int retell_status(const struct qmp_text *value, const char *status, const char *error,
		  struct buf *out) MUST_CHECK;

/* query-migrate-capabilities' reply VALUE, without those that would have QEMU write a file past the
 * worker. */
int retell_capabilities(const struct qmp_text *value, struct buf *out) MUST_CHECK;

/* Event NAME (MIGRATION or DUMP_COMPLETED) of a failure for the reason ERROR; with its line end. */
int retell_failure(const char *name, const char *error, struct buf *out) MUST_CHECK;

/* data.status or data.result.status of an event, or NULL; INNER is what it is found in. */
const struct qmp_text *retell_event_status(const struct qmp_line *line, struct qmp_line *inner);

#endif
