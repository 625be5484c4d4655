/* SPDX-License-Identifier: BSD-3-Clause */
#include "sandbox/guard.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define LOCK_WAIT_MS 5000

static int seize(pid_t pid, unsigned long options)
{
	return ptrace(PTRACE_SEIZE, pid, NULL, options) < 0 ? -errno : 0;
}

/* One int from the other side within MS; < 0: it said so, or has gone. */
static int hear(int sock, int ms)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	int64_t deadline = clock_ms() + ms;
	int said, rc;
	do
		rc = poll(&p, 1, clock_left_ms(deadline));
	while (rc < 0 && errno == EINTR);
	if (rc <= 0)
		return -ETIMEDOUT;
	return recv(sock, &said, sizeof(said), MSG_DONTWAIT) == sizeof(said) ? said : -EPIPE;
}

static int say(int sock, int what)
{
	return send(sock, &what, sizeof(what), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* The child's half; only what both hold is a lock. */
static int lock_as_guard(struct guard *g)
{
	int rc = hear(g->sock, LOCK_WAIT_MS);
	if (rc >= 0)
		rc = seize(g->pid, PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE);
	if (say(g->sock, rc) < 0 || rc < 0)
		_exit(1);
	return 1;
}

static int lock_as_worker(struct guard *g)
{
	int rc = seize(g->pid, PTRACE_O_EXITKILL);
	int told = say(g->sock, rc);
	return rc < 0 ? rc : told < 0 ? told : hear(g->sock, LOCK_WAIT_MS);
}

/* Who traces us already, or 0. */
static pid_t tracer(void)
{
	char line[128];
	int pid = 0;
	FILE *status = fopen("/proc/self/status", "re");
	if (!status)
		return 0;
	while (fgets(line, sizeof(line), status) && sscanf(line, "TracerPid: %d", &pid) != 1)
		;
	fclose(status);
	return pid;
}

static int give_up(struct guard *g, const sigset_t *before, int rc, struct fault *f)
{
	pid_t other = tracer();
	fd_close(&g->signals);
	/* It hears of the failure, or of this end, and ends. */
	fd_close(&g->sock);
	if (g->pid > 0)
		(void)waitpid(g->pid, NULL, __WALL);
	*g = GUARD_NONE;
	sigprocmask(SIG_SETMASK, before, NULL);
	if (other > 0)
		return fault_set(f, ERR_STATE, "process %d traces this one", (int)other);
	return fault_set(f, rc, "the kernel does not let worker and guard trace each other: %s",
			 err_text(rc));
}

int guard_start(struct guard *out, struct fault *f)
{
	sigset_t all, child, before;
	int ends[2];
	pid_t worker = getpid();
	*out = GUARD_NONE;
	sigfillset(&all);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return fault_set(f, -errno, "socketpair: %s", err_text(-errno));
	sigprocmask(SIG_SETMASK, &all, &before);
	pid_t pid = fork();
	if (pid == 0) {
		close(ends[0]);
		prctl(PR_SET_NAME, GUARD_NAME);
		*out = (struct guard){ worker, -1, ends[1] };
		return lock_as_guard(out);
	}
	close(ends[1]);
	out->sock = ends[0];
	out->pid = pid;
	int rc = pid < 0 ? -errno : 0;
	out->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (rc >= 0 && out->signals < 0)
		rc = -errno;
	if (rc >= 0)
		rc = lock_as_worker(out);
	return rc < 0 ? give_up(out, &before, rc, f) : 0;
}

void guard_keep(const struct guard *g, int keep)
{
	for (int fd = STDERR_FILENO + 1; fd < PHASES_NOFILE; fd++)
		if (fd != keep && fd != g->sock)
			close(fd);
}

int guard_ready(const struct sealed *sealed, struct guard *g)
{
	(void)sealed;
	return say(g->sock, 0);
}

int guard_wait(struct guard *g, int ms, struct fault *f)
{
	if (g->pid <= 0)
		return 0;
	int rc = hear(g->sock, ms);
	fd_close(&g->sock);
	return rc < 0 ? fault_set(f, ERR_STATE, "the guard did not start: %s", err_text(rc)) : 0;
}

/* What no program can go on from. */
static int is_fault(int sig)
{
	static const int FAULTS[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS };
	for (size_t i = 0; i < sizeof(FAULTS) / sizeof(FAULTS[0]); i++)
		if (FAULTS[i] == sig)
			return 1;
	return 0;
}

/*
 * Let PID, which has stopped with STATUS, go on without the signal that stopped it; if that was a
 * fault, return it.  A stop that is an event of ptrace(2)'s, such as a new thread, has bits above.
 */
static int release(pid_t pid, int status)
{
	if (status >> 16 == 0 && is_fault(WSTOPSIG(status)))
		return WSTOPSIG(status);
	(void)ptrace(PTRACE_CONT, pid, NULL, NULL);
	return 0;
}

int guard_watch(const struct sealed *sealed, const struct guard *g)
{
	(void)sealed;
	for (;;) {
		int status, sig = 0;
		pid_t pid = waitpid(-1, &status, __WALL);
		if (pid < 0 && errno == EINTR)
			continue;
		if (pid < 0 || (pid == g->pid && !WIFSTOPPED(status)))
			return 0;
		if (WIFSTOPPED(status))
			sig = release(pid, status);
		if (sig)
			return sig;
	}
}

int guard_serve(struct guard *g)
{
	struct signalfd_siginfo info;
	int status;
	/* One that is readable stands for any number of stops; wait4(2) knows the last. */
	while (read(g->signals, &info, sizeof(info)) == sizeof(info))
		;
	while (waitpid(g->pid, &status, WNOHANG | __WALL) == g->pid)
		if (!WIFSTOPPED(status) || release(g->pid, status))
			return ERR_STATE;
	return 0;
}
