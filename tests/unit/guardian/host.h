/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A host that never was: event by event, with the PCRs that they would give.  Everything fails the
 * test by itself.
 */
#ifndef SHIELDVM_TESTS_UNIT_GUARDIAN_HOST_H
#define SHIELDVM_TESTS_UNIT_GUARDIAN_HOST_H

#include "guardian/policy.h"

struct host {
	struct buf log, ima;
	struct pcrs pcrs;
	struct eventlog *parsed;
	struct ima *list;
	struct measured m;
};

/* Empty: PCRs at their reset values, and the log's header. */
void host_open(struct host *h);
void host_done(struct host *h);

/* Measure MEASURED, and tell DATA of it in the log. */
void host_event(struct host *h, uint32_t pcr, uint32_t type, const void *data, size_t n,
		const void *measured, size_t measured_n);
/* What is measured is what is told. */
void host_text(struct host *h, uint32_t pcr, uint32_t type, const char *text);
/* A variable of the global GUID (db and dbx: the security database's) into PCR 7. */
void host_variable(struct host *h, uint32_t type, const char *name, const void *data, size_t n);
/* A dbx with the N SHA-256 signatures that begin with FIRST, FIRST + 1 ... */
void host_dbx(struct host *h, uint8_t first, unsigned n);
void host_separators(struct host *h);
/* GRUB's command line in PCR 8, and the command that loads the kernel with it. */
void host_cmdline(struct host *h, const char *text);
/* An entry of IMA's list with a file's NAME, or with BUFFER if it is not NULL (ima-buf). */
void host_ima(struct host *h, const char *name, const char *buffer);
/* The same with the FILE's digest; and what the list of a kernel begins with. */
void host_ima_file(struct host *h, const char *name, const uint8_t file[static 32],
		   const char *buffer);
void host_ima_aggregate(struct host *h);

/* A usual one: firmware, Secure Boot, loader, kernel; what SecureBoot is, more text before PCR 7's
 * separator (NULL: none), and the command line (NULL: none). */
void host_usual(struct host *h, int secure_boot, const char *firmware_says, const char *cmdline);

/* Parse, and take all PCRs of the log for quoted and replayed. */
const struct measured *host_measured(struct host *h);

#endif
