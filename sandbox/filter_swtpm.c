/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What shieldvm-swtpm may do besides what a worker may: take clients in, get memory, which is not
 * secret, and tidy up at the end.
 */
#include <sys/mman.h>
#include <sys/socket.h>

#include "sandbox/filter.h"
#include "sandbox/phases.h"

static const struct filter_row rows[] = {
	ALLOW_IF(accept4, "a client of the data channel", IS(3, SOCK_CLOEXEC)),
	ALLOW(brk, "malloc(3)"),
	ALLOW_IF(mmap, "malloc(3): anonymous, private, never executable", HAS(2, PROT_EXEC, 0),
		 HAS(3, MAP_ANONYMOUS | MAP_PRIVATE | MAP_SHARED | MAP_FIXED,
		     MAP_ANONYMOUS | MAP_PRIVATE)),
	ALLOW_IF(mprotect, "thread_join(): never executable", HAS(2, PROT_EXEC, 0)),
	ALLOW(munmap, "free(3)"),
	RARE_IF(mremap, "realloc(3)", "what grows beyond 128 KiB", IS(3, MREMAP_MAYMOVE)),
	ALLOW_IF(madvise, "free(3)", IS(2, MADV_DONTNEED)),
	ALLOW(unlink, "its sockets and pid file, at the end"),
};

const struct filter filter_swtpm = { "swtpm", rows, sizeof(rows) / sizeof(rows[0]), &filter_calls };
