/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the broker may do: answer on two listeners, make listeners and connections for its worker,
 * hand over two descriptors once, watch two processes, end one.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "sandbox/filter.h"
#include "sandbox/phases.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

static const struct filter_row rows[] = {
	/* Talking. */
	ALLOW(poll, "event loop"),
	ALLOW_IF(accept4, "a launcher, the hook, shieldvm, or QEMU",
		 IS(3, SOCK_NONBLOCK | SOCK_CLOEXEC)),
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

	/* Where a migration comes in, and its disks go out. */
	ALLOW_IF(socket, "a listener for the worker, which has no network", IS(0, AF_INET6),
		 IS(1, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK), IS(2, IPPROTO_TCP)),
	ALLOW_IF(socket, "a connection for it; a listener on a host without IPv6", IS(0, AF_INET),
		 IS(1, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK), IS(2, IPPROTO_TCP)),
	ALLOW_IF(connect, "to the other host's worker, where QEMU was to connect",
		 IS(2, sizeof(struct sockaddr_in))),
	RARE_IF(connect, "the same", "migrations over IPv6", IS(2, sizeof(struct sockaddr_in6))),
	ALLOW_IF(socket, "either of the two in the VM's own folder, which is all that it has",
		 IS(0, AF_UNIX), IS(1, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK), IS(2, 0)),
	ALLOW_IF(connect, "to a forwarder there", IS(2, sizeof(struct sockaddr_un))),
	ALLOW_IF(newfstatat, "lstat(3): is what is there already a socket?",
		 IS(3, AT_SYMLINK_NOFOLLOW)),
	ALLOW(unlink, "that one; a listener that is done with"),
	ALLOW_IF(setsockopt, "the port of the migration before", IS(1, SOL_SOCKET),
		 IS(2, SO_REUSEADDR)),
	ALLOW_IF(setsockopt, "IPv4 on an IPv6 listener, as QEMU's", IS(1, IPPROTO_IPV6),
		 IS(2, IPV6_V6ONLY)),
	ALLOW_IF(setsockopt, "for what is accepted: the last bytes do not wait", IS(1, IPPROTO_TCP),
		 IS(2, TCP_NODELAY)),
	/* With its length, hardly an abstract name is left: those are the host's. */
	ALLOW_IF(bind, "the address that libvirt names", IS(2, sizeof(struct sockaddr_in6))),
	RARE_IF(bind, "the same", "migrations to an IPv4 address",
		IS(2, sizeof(struct sockaddr_in))),
	ALLOW_IF(bind, "a name in the VM's own folder", IS(2, sizeof(struct sockaddr_un))),
	ALLOW_IF(listen, "with a queue that is bounded", IS(1, 64)),

	/* Audit records: it holds the log for appending and its anchor. */
	ALLOW_IF(flock, "one writer at a time", IS(1, LOCK_EX | LOCK_NB)),
	ALLOW_IF(flock, "the next one", IS(1, LOCK_UN)),
	ALLOW(pread64, "anchor; the last record"),
	ALLOW(pwrite64, "anchor"),
	ALLOW(fdatasync, "a record counts when it is durable"),
	ALLOW_IF(newfstatat, "fstat(3): the log's size", IS(3, AT_EMPTY_PATH)),
	RARE(fstat, "fstat(3) of older libraries", "C libraries before 2.33"),
	ALLOW_IF(clock_nanosleep, "a lock that another writer has", IS(1, 0)),

	/* Watching. */
	RARE_IF(pidfd_open, "of a launcher, where SO_PEERPIDFD is missing", "Linux before 6.5",
		IS(1, 0)),
	RARE_IF(pidfd_send_signal, "ends a worker that does not end by itself",
		"somebody stopped worker and guard in the same instant", IS(1, SIGKILL)),
	ALLOW_IF(wait4, "how the worker ended", IS(2, WNOHANG)),

	/* Computing and ending; abort(3) ends it at its first call. */
	RARE(clock_gettime, "deadlines and log lines", "machines whose clock the vDSO cannot read"),
	ALLOW(getpid, "status"),
	RARE(brk, "malloc(3)", "what the heap has when it is sealed is enough for all it does"),
	ALLOW(exit_group, "the end"),
	ALLOW(restart_syscall, "after SIGSTOP and SIGCONT"),
};

const struct filter filter_broker = { "broker", rows, sizeof(rows) / sizeof(rows[0]) };
