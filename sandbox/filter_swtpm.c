/* SPDX-License-Identifier: BSD-3-Clause */
/* What shieldvm-swtpm may do besides what a worker may: take clients in, and tidy up at the end. */
#include <sys/socket.h>

#include "sandbox/filter.h"
#include "sandbox/phases.h"

static const struct filter_row rows[] = {
	ALLOW_IF(accept4, "a client of the data channel", IS(3, SOCK_CLOEXEC)),
	ALLOW(read, "the data channel's eventfd"),
	ALLOW(unlink, "its sockets and pid file, at the end"),
};

const struct filter filter_swtpm = { "swtpm", rows, sizeof(rows) / sizeof(rows[0]),
				     &filter_worker };
