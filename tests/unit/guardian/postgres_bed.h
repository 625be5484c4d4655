/* SPDX-License-Identifier: BSD-3-Clause */
/* A private PostgreSQL for one test program: in a folder of its own, on a Unix socket only. */
#ifndef SHIELDVM_TESTS_UNIT_GUARDIAN_POSTGRES_BED_H
#define SHIELDVM_TESTS_UNIT_GUARDIAN_POSTGRES_BED_H

#include <stddef.h>

/* Start it if it does not run, and drop what an earlier test made; its address goes to URL.  Where
 * PostgreSQL is not installed the program ends with 77, or with 1 under MUST_WORK=1.  It ends with
 * the program. */
void postgres_bed_fresh(char *url, size_t size);

/* SIGKILL, and start it again. */
void postgres_bed_kill(void);
void postgres_bed_start(void);
/* Stop the server's processes where they are, or let them go on. */
void postgres_bed_freeze(int frozen);

/* Run SQL as the superuser, with x'..' for bytes; what the server said against it, or "". */
const char *postgres_bed_raw(const char *sql);

#endif
