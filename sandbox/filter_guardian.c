/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a guardian's sealed processes may do.  The verifier computes; the front talks over what it
 * holds and accepts; the keeper has its database's files, or connections to its server.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "sandbox/filter.h"
#include "sandbox/phases.h"

static const struct filter_row memory[] = {
	ALLOW(brk, "malloc(3)"),
	ALLOW_IF(mmap, "malloc(3): large pieces", HAS(2, PROT_EXEC, 0),
		 IS(3, MAP_PRIVATE | MAP_ANONYMOUS)),
	ALLOW(munmap, "the same, given back"),
	ALLOW_IF(mremap, "realloc(3)", IS(3, MREMAP_MAYMOVE)),
	RARE_IF(madvise, "free(3)", "allocators of other C libraries", IS(2, MADV_DONTNEED)),
	ALLOW(getrandom, "libcrypto's generator"),
	RARE(futex, "locks of the C library and libcrypto", "one thread does not wait for itself"),
	RARE(clock_gettime, "deadlines and log lines", "machines whose clock the vDSO cannot read"),
	ALLOW(getpid, "log lines; libcrypto looks for a fork(2)"),
	ALLOW(poll, "waits for its links"),
	ALLOW(write, "log lines"),
	ALLOW(recvfrom, "its links"),
	ALLOW_IF(sendto, "the same: no address", IS(4, 0)),
	ALLOW(exit_group, "the end"),
	RARE(restart_syscall, "after SIGSTOP and SIGCONT", "nobody stops it"),
};
const struct filter filter_memory = { "memory", memory, sizeof(memory) / sizeof(memory[0]) };

const struct filter filter_verifier = { "verifier", NULL, 0, &filter_memory };

static const struct filter_row front[] = {
	ALLOW(epoll_wait, "event loop"),
	ALLOW(epoll_ctl, "connections that come and go"),
	ALLOW_IF(accept4, "connections of hosts and admins", IS(3, SOCK_NONBLOCK | SOCK_CLOEXEC)),
	ALLOW(read, "TLS records"),
	ALLOW(readv, "the keeper's answers"),
	ALLOW(writev, "requests to the keeper"),
	ALLOW(close, "connections that have ended"),
	ALLOW(shutdown, "the same"),
	ALLOW_IF(ioctl, "how much the keeper has sent", IS(1, FIONREAD)),
	ALLOW_IF(fcntl, "connections do not block", IS(1, F_GETFL)),
	ALLOW_IF(fcntl, "the same, not O_ASYNC", IS(1, F_SETFL), HAS(2, O_ASYNC, 0)),
	ALLOW_IF(getsockopt, "how a connection ended", IS(1, SOL_SOCKET), IS(2, SO_ERROR)),
	ALLOW_IF(setsockopt, "a peer that is gone shows", IS(1, SOL_SOCKET), IS(2, SO_KEEPALIVE)),
	ALLOW_IF(setsockopt, "answers do not wait", IS(1, IPPROTO_TCP), IS(2, TCP_NODELAY)),
};
const struct filter filter_front = { "front", front, sizeof(front) / sizeof(front[0]),
				     &filter_memory };

static const struct filter_row keeper[] = {
	ALLOW(recvmsg, "its links' ends, from the parent"),
	ALLOW(sendmsg, "to the parent: the verifier is of no more use"),
	ALLOW_IF(openat, "the database, its log; SQLite opens anew when another guardian wrote",
		 HAS(2, O_PATH | O_TMPFILE, 0)),
	ALLOW(read, "a key's file"),
	ALLOW(pread64, "the database"),
	ALLOW(pwrite64, "the same"),
	ALLOW(lseek, "the same"),
	ALLOW(ftruncate, "its log"),
	ALLOW(fdatasync, "a decision counts when it is durable"),
	ALLOW(fsync, "the same"),
	ALLOW(close, "its files; links that have ended"),
	ALLOW_IF(fcntl, "locks of the database", IS(1, F_GETLK)),
	ALLOW_IF(fcntl, "the same", IS(1, F_SETLK)),
	ALLOW_IF(fcntl, "its files are its own", IS(1, F_GETFD)),
	ALLOW_IF(fcntl, "the same", IS(1, F_SETFD), IS(2, FD_CLOEXEC)),
	ALLOW_IF(mmap, "the index of the database's log", HAS(2, PROT_EXEC, 0), IS(3, MAP_SHARED)),
	ALLOW(newfstatat, "stat(3): is it still the same file?"),
	RARE(fstat, "the same", "C libraries before 2.33"),
	ALLOW_IF(access, "is there a journal of a crash?", HAS(1, ~7ULL, 0)),
	ALLOW(unlink, "the database's log, when the last guardian ends"),
	ALLOW(geteuid, "whose files they are"),
	RARE_IF(clock_nanosleep, "a database that another guardian has locked", "one guardian",
		IS(1, 0)),
};
const struct filter filter_keeper = { "keeper", keeper, sizeof(keeper) / sizeof(keeper[0]),
				      &filter_memory };

/* The keeper over PostgreSQL: no file that it writes, but sockets.  Landlock says to which ports.
 */
static const struct filter_row keeper_postgres[] = {
	ALLOW(recvmsg, "its links' ends, from the parent"),
	ALLOW(sendmsg, "to the parent: the verifier is of no more use"),
	ALLOW_IF(openat, "password and certificates, for a connection that was lost",
		 HAS(2, O_ACCMODE | O_CREAT | O_TRUNC | O_PATH | O_TMPFILE, O_RDONLY)),
	ALLOW(read, "the same"),
	ALLOW(newfstatat, "stat(3): does it belong to others as well?"),
	RARE(fstat, "the same", "C libraries before 2.33"),
	ALLOW(lseek, "the same, by libcrypto"),
	ALLOW(close, "its files; links and connections that have ended"),
	/* With SOCK_CLOEXEC and SOCK_NONBLOCK since libpq 17. */
	ALLOW_IF(socket, "a new connection", IS(0, AF_UNIX), HAS(1, 0xf, SOCK_STREAM), IS(2, 0)),
	ALLOW_IF(socket, "the same, over a network", IS(0, AF_INET), HAS(1, 0xf, SOCK_STREAM),
		 IS(2, 0)),
	RARE_IF(socket, "the same", "databases behind IPv6", IS(0, AF_INET6),
		HAS(1, 0xf, SOCK_STREAM), IS(2, 0)),
	ALLOW_IF(connect, "the same", IS(2, sizeof(struct sockaddr_un))),
	ALLOW_IF(connect, "the same", IS(2, sizeof(struct sockaddr_in))),
	RARE_IF(connect, "the same", "databases behind IPv6", IS(2, sizeof(struct sockaddr_in6))),
	ALLOW(getsockname, "the same"),
	ALLOW_IF(getsockopt, "how connecting ended", IS(1, SOL_SOCKET), IS(2, SO_ERROR)),
	ALLOW_IF(setsockopt, "a server that is gone shows", IS(1, SOL_SOCKET), IS(2, SO_KEEPALIVE)),
	ALLOW_IF(setsockopt, "the same", IS(1, IPPROTO_TCP), IS(2, TCP_KEEPIDLE)),
	ALLOW_IF(setsockopt, "the same", IS(1, IPPROTO_TCP), IS(2, TCP_KEEPINTVL)),
	ALLOW_IF(setsockopt, "the same", IS(1, IPPROTO_TCP), IS(2, TCP_KEEPCNT)),
	ALLOW_IF(setsockopt, "the same", IS(1, IPPROTO_TCP), IS(2, TCP_USER_TIMEOUT)),
	ALLOW_IF(setsockopt, "statements do not wait", IS(1, IPPROTO_TCP), IS(2, TCP_NODELAY)),
	ALLOW_IF(fcntl, "connections do not block", IS(1, F_GETFL)),
	ALLOW_IF(fcntl, "the same, not O_ASYNC", IS(1, F_SETFL), HAS(2, O_ASYNC, 0)),
	ALLOW_IF(fcntl, "connections are its own", IS(1, F_SETFD), IS(2, FD_CLOEXEC)),
	RARE(geteuid, "whose a key's file is", "keys that libpq finds elsewhere"),
};
const struct filter filter_keeper_postgres = { "keeper-postgres", keeper_postgres,
					       sizeof(keeper_postgres) / sizeof(keeper_postgres[0]),
					       &filter_memory };

/*
 * Who has an HSM's module loaded.  The module is somebody else's, so besides what SoftHSM's does in
 * the tests there is what one must do that reaches its HSM over a network; no program, no thread
 * and no device from here on.
 */
static const struct filter_row keys[] = {
	REFUSE_IF(openat, EACCES, "no new file, which a module may try on a token that is gone",
		  HAS(2, O_CREAT, O_CREAT)),
	ALLOW_IF(openat, "a token in files",
		 HAS(2, O_CREAT | O_TRUNC | O_PATH | (O_TMPFILE & ~O_DIRECTORY), 0)),
	ALLOW(read, "the same"),
	ALLOW(newfstatat, "the same"),
	ALLOW(getdents64, "which files a token has"),
	RARE(fstat, "the same", "C libraries before 2.33"),
	RARE(pread64, "the same", "modules that do not use stdio"),
	RARE(lseek, "the same", "modules that use stdio for both"),
	ALLOW(close, "the same"),
	ALLOW_IF(fcntl, "the same: stdio looks at what it is given", IS(1, F_GETFL)),
	ALLOW_IF(fcntl, "several programs have one token", IS(1, F_SETLK)),
	ALLOW_IF(fcntl, "the same", IS(1, F_SETLKW)),
	RARE_IF(fcntl, "connections do not block", "HSMs over a network", IS(1, F_SETFL),
		HAS(2, O_ASYNC, 0)),
	RARE_IF(fcntl, "connections are its own", "HSMs over a network", IS(1, F_SETFD),
		IS(2, FD_CLOEXEC)),
	REFUSE_IF(socket, EACCES, "no syslog, which modules complain to", IS(0, AF_UNIX),
		  HAS(1, 0xf, SOCK_DGRAM)),
	RARE_IF(socket, "a connection that was lost", "HSMs over a network", IS(0, AF_UNIX),
		HAS(1, 0xf, SOCK_STREAM), IS(2, 0)),
	RARE_IF(socket, "the same", "HSMs over a network", IS(0, AF_INET),
		HAS(1, 0xf, SOCK_STREAM)),
	RARE_IF(socket, "the same", "HSMs over a network", IS(0, AF_INET6),
		HAS(1, 0xf, SOCK_STREAM)),
	RARE_IF(connect, "the same", "HSMs over a network", IS(2, sizeof(struct sockaddr_un))),
	RARE_IF(connect, "the same", "HSMs over a network", IS(2, sizeof(struct sockaddr_in))),
	RARE_IF(connect, "the same", "HSMs over a network", IS(2, sizeof(struct sockaddr_in6))),
	RARE(getsockname, "the same", "HSMs over a network"),
	RARE_IF(getsockopt, "how connecting ended", "HSMs over a network", IS(1, SOL_SOCKET),
		IS(2, SO_ERROR)),
	RARE_IF(setsockopt, "requests do not wait", "HSMs over a network", IS(1, IPPROTO_TCP),
		IS(2, TCP_NODELAY)),
	RARE_IF(setsockopt, "a peer that is gone shows", "HSMs over a network", IS(1, SOL_SOCKET),
		IS(2, SO_KEEPALIVE)),
	RARE(recvmsg, "an HSM's answer", "HSMs over a network"),
	RARE(sendmsg, "a request", "HSMs over a network"),
	RARE(shutdown, "the end of a connection", "HSMs over a network"),
	RARE(rt_sigprocmask, "no signal amid a request", "modules with threads"),
	RARE(nanosleep, "waiting for the HSM", "modules that poll"),
	RARE_IF(clock_nanosleep, "the same", "modules that poll", IS(1, 0)),
	RARE(gettid, "log lines", "modules with threads"),
	RARE(geteuid, "whose files they are", "modules that look"),
};
const struct filter filter_keys = { "keys", keys, sizeof(keys) / sizeof(keys[0]), &filter_memory };
