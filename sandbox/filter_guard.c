/* SPDX-License-Identifier: BSD-3-Clause */
/* What the sealed guard may do: let the worker go on when it has stopped, and end. */
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "sandbox/filter.h"
#include "sandbox/phases.h"

static const struct filter_row rows[] = {
	ALLOW_IF(wait4, "a thread of the worker stops or ends", IS(2, __WALL)),
	ALLOW_IF(ptrace, "it goes on, without the signal that stopped it", IS(0, PTRACE_CONT),
		 IS(3, 0)),
	ALLOW_IF(sendto, "sealed, to the worker: no address", IS(4, 0)),
	ALLOW(write, "log lines"),
	RARE(clock_gettime, "log lines", "machines whose clock the vDSO cannot read"),
	ALLOW(exit_group, "the end, and the worker's"),
};

const struct filter filter_guard = { "guard", rows, sizeof(rows) / sizeof(rows[0]) };
