/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's command line, as far as it was measured: in PCR 8 by GRUB, in PCR 12 by
 * systemd-stub.
 *
 * An event's text is taken only if it hashes to the event's digest, and only if all events of its
 * PCR can be read that way: else what is not readable could be the real one.  Which of a PCR's
 * texts is the command line is not measured, so a demand must hold for each of them.  Other
 * commands of GRUB are told apart by their text, never by the log's label.
 *
 * May be used by: guardian/.  No system call but the allocator's.
 */
#ifndef SHIELDVM_GUARDIAN_CMDLINE_H
#define SHIELDVM_GUARDIAN_CMDLINE_H

#include "guardian/policy.h"

#define CMDLINE_TEXTS_MAX 16
#define CMDLINE_BYTES_MAX 4096 /* of one; more than the kernel takes on x86 */

struct cmdline {
	size_t n;	 /* texts; 0: not known */
	const char *why; /* it is not known; static */
	unsigned pcr;
	char text[CMDLINE_TEXTS_MAX][CMDLINE_BYTES_MAX];
};

/* What was measured of it.  Never fails: what cannot be read is not known. */
void cmdline_find(const struct measured *m, struct cmdline *out);

/*
 * The value of parameter NAME in text I: the last one's, as the kernel does, "" where it stands
 * without '='; NULL if it is not there.  Hyphens and underscores are the same, as they are to the
 * kernel.  VALUE holds what fits; a longer one is cut.
 */
const char *cmdline_value(const struct cmdline *c, size_t i, const char *name, char *value,
			  size_t size);

#endif
