/* SPDX-License-Identifier: BSD-3-Clause */
/* What the sealed worker may do: talk over what it holds, store the vTPM's state, compute. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "sandbox/filter.h"
#include "sandbox/phases.h"

static const struct filter_row rows[] = {
	/* Talking. */
	ALLOW(write, "log lines; eventfd; state to libvirt's file or QEMU's pipe"),
	ALLOW(read, "eventfd; state from QEMU's pipe or libvirt's file"),
	ALLOW(recvfrom, "the guest's commands; the broker's end of file"),
	ALLOW(recvmsg, "control channel and monitor, with descriptors"),
	ALLOW(sendto, "replies; ready, to the hook and the broker"),
	ALLOW(sendmsg, "the same, as fd_send() does it"),
	ALLOW(poll, "event loop; data thread"),
	ALLOW(ppoll, "what poll(3) is on other architectures"),
	ALLOW_IF(accept4, "libvirt's monitor connection", IS(3, SOCK_NONBLOCK | SOCK_CLOEXEC)),
	ALLOW(shutdown, "wakes the data thread at the end"),
	ALLOW(close, "clients that have gone; descriptors nobody asked for"),
	ALLOW_IF(getsockopt, "is what came with SET_DATAFD a stream socket?", IS(1, SOL_SOCKET),
		 IS(2, SO_TYPE)),
	ALLOW_IF(fcntl, "O_NONBLOCK on the data channel", IS(1, F_GETFL)),
	ALLOW_IF(fcntl, "the same, not O_ASYNC", IS(1, F_SETFL), HAS(2, O_ASYNC, 0)),

	/* State on its way out or in. */
	ALLOW_IF(pipe2, "between QEMU and this process", IS(1, O_CLOEXEC)),
	ALLOW_IF(fcntl, "the same, larger", IS(1, F_SETPIPE_SZ)),
	ALLOW_IF(fcntl, "its writing end, kept until QEMU says that it is done",
		 IS(1, F_DUPFD_CLOEXEC)),

	/* The state. */
	ALLOW(pread64, "reads the state back"),
	ALLOW(pwrite64, "the state's next version"),
	ALLOW(ftruncate, "cuts off a longer older one"),
	ALLOW(fdatasync, "makes it durable"),
	ALLOW(fsync, "makes its name durable"),
	ALLOW_IF(renameat2, "swaps old and new", IS(4, RENAME_EXCHANGE)),
	ALLOW_IF(renameat2, "the first state gets its name", IS(4, RENAME_NOREPLACE)),
	ALLOW_IF(newfstatat, "fstat(3)", IS(3, AT_EMPTY_PATH)),
	ALLOW_IF(newfstatat, "which file has which name after a failed swap",
		 IS(3, AT_SYMLINK_NOFOLLOW)),
	ALLOW(fstat, "fstat(3) of older libraries"),

	/* Computing. */
	ALLOW(getrandom, "libcrypto's generator"),
	ALLOW(clock_gettime, "deadlines and log lines, where there is no vDSO"),
	ALLOW(gettimeofday, "libcrypto and libtpms, likewise"),
	ALLOW_IF(futex, "locks between the two threads: wait", HAS(1, 0x7f, 0)),
	ALLOW_IF(futex, "wake", HAS(1, 0x7f, 1)),
	ALLOW_IF(futex, "wait until", HAS(1, 0x7f, 9)),
	ALLOW(sched_yield, "a contended lock"),
	ALLOW(getpid, "libcrypto's and the log's look at who they are"),
	ALLOW(gettid, "abort(3)"),
	ALLOW(brk, "malloc(3)"),
	ALLOW_IF(mmap, "malloc(3): anonymous, private, never executable", HAS(2, PROT_EXEC, 0),
		 HAS(3, MAP_ANONYMOUS | MAP_PRIVATE | MAP_SHARED | MAP_FIXED,
		     MAP_ANONYMOUS | MAP_PRIVATE)),
	ALLOW_IF(mprotect, "malloc(3) of a second thread: never executable", HAS(2, PROT_EXEC, 0)),
	ALLOW(munmap, "free(3)"),
	ALLOW_IF(mremap, "realloc(3)", IS(3, MREMAP_MAYMOVE)),
	ALLOW_IF(madvise, "free(3); the end of a thread", IS(2, MADV_DONTNEED)),

	/* Ending. */
	ALLOW(exit, "the data thread's end"),
	ALLOW(exit_group, "the process' end"),
	ALLOW(restart_syscall, "after SIGSTOP and SIGCONT"),
	ALLOW(rt_sigreturn, "back from a handler, should a library set one"),
	ALLOW(rt_sigprocmask, "abort(3); the end of a thread"),
	ALLOW_IF(rt_sigaction, "abort(3) takes SIGABRT's handler away", IS(0, SIGABRT)),
	ALLOW_IF(tgkill, "abort(3)", IS(2, SIGABRT)),
};

const struct filter filter_worker = { "worker", rows, sizeof(rows) / sizeof(rows[0]) };
