/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guardian's parent process: it starts front, keeper and verifier, joins them by links, and
 * starts another front or verifier when one ends.  It holds the listening sockets, to hand them to
 * a front, and reads nothing but one byte at a time from the keeper.
 *
 * May be used by: guardian/main.c.
 */
#ifndef SHIELDVM_GUARDIAN_SUPERVISE_H
#define SHIELDVM_GUARDIAN_SUPERVISE_H

#include "guardian/setup.h"

#define SUPERVISE_END_MS   5000 /* for the keeper to finish its decision */
#define SUPERVISE_PAUSE_MS 1000 /* between two verifiers, or fronts */
#define SUPERVISE_FRONTS   20	/* that may end in a row, none of which lived for a minute */

struct supervise {
	struct setup_from from;
	int listeners[2]; /* owned by the caller; by enum link_listener */
};

/* Run until SIGTERM or SIGINT: 0.  ERR_STATE if the keeper, or one front after the other, ends. */
int supervise_run(const struct supervise *s, struct fault *f) MUST_CHECK;

#endif
