/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How far a long piece of work is, in one line on standard error that is written over and over:
 * only on a terminal, nothing at all in pipes and files.
 */
#ifndef SHIELDVM_CLI_PROGRESS_H
#define SHIELDVM_CLI_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

#define PROGRESS_TEXT_MAX 96

struct progress {
	int on, shown;
	uint64_t total; /* bytes; 0 if nobody knows */
	int64_t began_ms, last_ms;
};

void progress_begin(struct progress *p, uint64_t total);
void progress_show(struct progress *p, uint64_t done); /* a few times a second at most */
void progress_end(struct progress *p);		       /* takes the line away again */

/* The line for DONE of TOTAL (0: unknown) bytes after ELAPSED_MS: share, amounts, rate, time left.
 */
void progress_text(uint64_t done, uint64_t total, int64_t elapsed_ms,
		   char text[static PROGRESS_TEXT_MAX]);

/* BYTES in the unit that fits ("2.0 GiB"). */
#define BYTES_TEXT_SIZE 24
void bytes_text(uint64_t bytes, char text[static BYTES_TEXT_SIZE]);

#endif
