/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the sealed worker may do: talk over what it holds, store the vTPM's state, compute.  It gets
 * no memory: its heap has its final size since sandbox/secret.h, and malloc(3) that wants more is
 * told so.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "sandbox/filter.h"
#include "sandbox/phases.h"

static const struct filter_row calls[] = {
	/* Talking. */
	ALLOW(write, "log lines; eventfd; state to libvirt's file or QEMU"),
	ALLOW(read, "eventfds; signalfd; state from QEMU or libvirt's file"),
	ALLOW(recvfrom, "the guest's commands; the broker's end of file"),
	ALLOW(recvmsg, "control channel and monitor, with descriptors"),
	ALLOW_IF(sendto, "replies; ready, to the hook and the broker: no address", IS(4, 0)),
	ALLOW(sendmsg, "the same, as fd_send() does it"),
	ALLOW(poll, "event loop; data thread"),
	ALLOW_IF(accept4, "libvirt's monitor connection; a migration that comes in",
		 IS(3, SOCK_NONBLOCK | SOCK_CLOEXEC)),
	ALLOW(shutdown, "wakes the data thread at the end; state goes one way"),
	ALLOW(close, "clients that have gone; descriptors nobody asked for"),
	ALLOW_IF(getsockopt, "is what came with SET_DATAFD a stream socket?", IS(1, SOL_SOCKET),
		 IS(2, SO_TYPE)),
	ALLOW_IF(fcntl, "O_NONBLOCK on the data channel", IS(1, F_GETFL)),
	ALLOW_IF(fcntl, "the same, not O_ASYNC", IS(1, F_SETFL), HAS(2, O_ASYNC, 0)),

	/* State on its way out or in. */
	ALLOW_IF(pipe2, "from QEMU to this process", IS(1, O_CLOEXEC)),
	ALLOW_IF(fcntl, "the same and libvirt's, larger", IS(1, F_SETPIPE_SZ)),
	ALLOW_IF(fcntl, "its writing end, kept until QEMU says that it is done",
		 IS(1, F_DUPFD_CLOEXEC)),
	ALLOW_IF(socketpair, "from this process to QEMU, with nobody else", IS(0, AF_UNIX),
		 IS(1, SOCK_STREAM | SOCK_CLOEXEC), IS(2, 0)),
	ALLOW_IF(setsockopt, "the same, larger", IS(1, SOL_SOCKET), IS(2, SO_SNDBUF)),
	ALLOW_IF(setsockopt, "libvirt's connection to another host: the last bytes do not wait",
		 IS(1, IPPROTO_TCP), IS(2, TCP_NODELAY)),

	/* The state. */
	ALLOW(pread64, "reads the state back"),
	ALLOW(pwrite64, "the state's next version"),
	ALLOW(ftruncate, "cuts off a longer older one"),
	ALLOW(fdatasync, "makes it durable"),
	ALLOW(fsync, "makes its name durable"),
	ALLOW_IF(renameat2, "swaps old and new", IS(4, RENAME_EXCHANGE)),
	RARE_IF(renameat2, "the first state's second name",
		"a first start that was killed in between", IS(4, RENAME_NOREPLACE)),
	ALLOW_IF(newfstatat, "fstat(3)", IS(3, AT_EMPTY_PATH)),
	ALLOW_IF(newfstatat, "which file has which name after a failed swap",
		 IS(3, AT_SYMLINK_NOFOLLOW)),
	RARE(fstat, "fstat(3) of older libraries", "C libraries before 2.33"),

	/* Computing. */
	RARE_IF(lseek, "vdprintf(3): a message of libtpms', to where nobody gets it",
		"a vTPM that fails", IS(1, 0), IS(2, SEEK_CUR)),
	RARE(getrandom, "libcrypto's generator", "new seed after an hour, or 2^24 random numbers"),
	ALLOW(clock_gettime, "deadlines and log lines, where there is no vDSO"),
	RARE(gettimeofday, "libcrypto and libtpms, likewise",
	     "machines whose clock the vDSO cannot read"),
	ALLOW_IF(futex, "locks between the two threads: wait", HAS(1, 0x7f, 0)),
	ALLOW_IF(futex, "wake", HAS(1, 0x7f, 1)),
	ALLOW_IF(futex, "wait until", HAS(1, 0x7f, 9)),
	ALLOW(sched_yield, "a contended lock"),
	ALLOW(getpid, "libcrypto's and the log's look at who they are"),

	/* Ending.  abort(3) ends at its first call, with SIGSYS. */
	ALLOW(exit, "the data thread's end"),
	ALLOW(exit_group, "the process' end"),
	ALLOW(restart_syscall, "after SIGSTOP and SIGCONT"),
	ALLOW(rt_sigprocmask, "the end of a thread"),
};

const struct filter filter_calls = { "worker's calls", calls, sizeof(calls) / sizeof(calls[0]) };

static const struct filter_row own[] = {
	/* The guard (sandbox/guard.h). */
	ALLOW_IF(wait4, "was it stopped?", IS(2, WNOHANG | __WALL)),
	ALLOW_IF(ptrace, "then it goes on, without the signal that stopped it", IS(0, PTRACE_CONT),
		 IS(3, 0)),

	/* Disks and further channels that come in: this process' network namespace is empty but for
	   a listener of its own, and it sees no files, so there is nobody else. */
	ALLOW_IF(socket, "to QEMU's own listeners", IS(0, AF_UNIX),
		 IS(1, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK), IS(2, 0)),
	ALLOW_IF(connect, "the same", IS(2, sizeof(sa_family_t) + 6)),

	/* RLIMIT_DATA says no: brk(2) does that by its result, which no error of a filter can be.
	 */
	RARE(brk, "malloc(3), when the heap is used up",
	     "a vTPM with more objects than it may have"),
	REFUSE_IF(mmap, ENOMEM, "then it tries this", HAS(2, PROT_EXEC, 0),
		  HAS(3, MAP_ANONYMOUS | MAP_PRIVATE | MAP_SHARED | MAP_FIXED,
		      MAP_ANONYMOUS | MAP_PRIVATE)),
	REFUSE_IF(mprotect, ENOMEM, "thread_join(): the guard page stays one",
		  HAS(2, PROT_EXEC, 0)),
};

const struct filter filter_worker = { "worker", own, sizeof(own) / sizeof(own[0]), &filter_calls };
