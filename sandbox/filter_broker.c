/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the broker may do: answer on two listeners, hand over two descriptors once, watch two
 * processes, end one.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "sandbox/filter.h"
#include "sandbox/phases.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

static const struct filter_row rows[] = {
	/* Talking. */
	ALLOW(poll, "event loop"),
	ALLOW(ppoll, "what poll(3) is on other architectures"),
	ALLOW_IF(accept4, "a launcher, the hook, or shieldvm", IS(3, SOCK_NONBLOCK | SOCK_CLOEXEC)),
	ALLOW_IF(getsockopt, "who is it?", IS(1, SOL_SOCKET), IS(2, SO_PEERCRED)),
	ALLOW_IF(getsockopt, "a pidfd of it", IS(1, SOL_SOCKET), IS(2, SO_PEERPIDFD)),
	ALLOW_IF(getsockopt, "is what it brings libvirt's monitor?", IS(1, SOL_SOCKET),
		 IS(2, SO_DOMAIN)),
	ALLOW_IF(getsockopt, "the same", IS(1, SOL_SOCKET), IS(2, SO_TYPE)),
	ALLOW_IF(getsockopt, "the same", IS(1, SOL_SOCKET), IS(2, SO_ACCEPTCONN)),
	ALLOW(recvmsg, "requests; the worker's ready"),
	ALLOW(sendmsg, "replies, one of them with QEMU's descriptors"),
	ALLOW(close, "clients that have been answered"),
	ALLOW(read, "signalfd"),
	ALLOW(write, "log lines; audit records"),

	/* Audit records: it holds the log for appending and its anchor. */
	ALLOW_IF(flock, "one writer at a time", IS(1, LOCK_EX | LOCK_NB)),
	ALLOW_IF(flock, "the next one", IS(1, LOCK_UN)),
	ALLOW(pread64, "anchor; the last record"),
	ALLOW(pwrite64, "anchor"),
	ALLOW(fdatasync, "a record counts when it is durable"),
	ALLOW_IF(newfstatat, "fstat(3): the log's size", IS(3, AT_EMPTY_PATH)),
	ALLOW(fstat, "fstat(3) of older libraries"),
	ALLOW_IF(clock_nanosleep, "a lock that another writer has", IS(1, 0)),
	ALLOW_IF(mremap, "realloc(3)", IS(3, MREMAP_MAYMOVE)),

	/* Watching. */
	ALLOW_IF(pidfd_open, "of a launcher, where SO_PEERPIDFD is missing", IS(1, 0)),
	ALLOW_IF(pidfd_send_signal, "ends a worker that does not end by itself", IS(1, SIGKILL)),
	ALLOW_IF(wait4, "how the worker ended", IS(2, WNOHANG)),

	/* Computing and ending. */
	ALLOW(clock_gettime, "deadlines and log lines, where there is no vDSO"),
	ALLOW(getpid, "status"),
	ALLOW(gettid, "abort(3)"),
	ALLOW(brk, "malloc(3)"),
	ALLOW_IF(mmap, "malloc(3): anonymous, private, never executable", HAS(2, PROT_EXEC, 0),
		 HAS(3, MAP_ANONYMOUS | MAP_PRIVATE | MAP_SHARED | MAP_FIXED,
		     MAP_ANONYMOUS | MAP_PRIVATE)),
	ALLOW(munmap, "free(3)"),
	ALLOW(exit_group, "the end"),
	ALLOW(restart_syscall, "after SIGSTOP and SIGCONT"),
	ALLOW(rt_sigreturn, "back from a handler, should a library set one"),
	ALLOW(rt_sigprocmask, "abort(3)"),
	ALLOW_IF(rt_sigaction, "abort(3) takes SIGABRT's handler away", IS(0, SIGABRT)),
	ALLOW_IF(tgkill, "abort(3)", IS(2, SIGABRT)),
};

const struct filter filter_broker = { "broker", rows, sizeof(rows) / sizeof(rows[0]) };
