/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/tracer.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
	long call;
	const char *name;
} STORE_CALLS[] = {
	{ __NR_openat, "openat" },	 { __NR_fchmod, "fchmod" },
	{ __NR_flock, "flock" },	 { __NR_newfstatat, "newfstatat" },
	{ __NR_pread64, "pread64" },	 { __NR_pwrite64, "pwrite64" },
	{ __NR_ftruncate, "ftruncate" }, { __NR_fdatasync, "fdatasync" },
	{ __NR_renameat2, "renameat2" }, { __NR_fsync, "fsync" },
	{ __NR_unlinkat, "unlinkat" },
};

const char *trace_call_name(long call)
{
	for (size_t i = 0; i < sizeof(STORE_CALLS) / sizeof(STORE_CALLS[0]); i++)
		if (STORE_CALLS[i].call == call)
			return STORE_CALLS[i].name;
	return NULL;
}

int trace_is_store_call(long call)
{
	return trace_call_name(call) != NULL;
}

size_t trace_read(pid_t pid, uint64_t at, void *dst, size_t n)
{
	struct iovec here = { dst, n };
	struct iovec there = { (void *)at, n }; // NOLINT: an address in the child
	ssize_t got = process_vm_readv(pid, &here, 1, &there, 1, 0);
	return got < 0 ? 0 : (size_t)got;
}

static int set_result(pid_t pid, int skip)
{
	struct user_regs_struct regs;
	if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) < 0)
		return -errno;
	if (skip)
		regs.orig_rax = ~0ULL; /* no such call: the kernel skips it and keeps rax */
	regs.rax = (unsigned long long)-EIO;
	return ptrace(PTRACE_SETREGS, pid, NULL, &regs) < 0 ? -errno : 0;
}

/* Ask WATCH about the stop that PID is at, and do what it says. */
static int at_stop(pid_t pid, struct trace_stop *stop, int *skipping, trace_watch watch, void *arg)
{
	struct __ptrace_syscall_info info;
	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) < 0)
		return -errno;
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
		stop->pid = pid;
		stop->call = (long)info.entry.nr;
		stop->entry = 1;
		stop->result = 0;
		for (int i = 0; i < 6; i++)
			stop->args[i] = info.entry.args[i];
	} else if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
		stop->entry = 0;
		stop->result = info.exit.rval;
		if (*skipping) {
			*skipping = 0;
			return set_result(pid, 0);
		}
	} else {
		return 0;
	}
	switch (watch(arg, stop)) {
	case TRACE_GO:
		return 0;
	case TRACE_KILL:
		return kill(pid, SIGKILL) < 0 ? -errno : 0;
	case TRACE_FAIL:
		*skipping = stop->entry;
		return set_result(pid, stop->entry);
	}
	return -EINVAL;
}

int trace_run(void (*body)(void *arg), void *body_arg, trace_watch watch, void *watch_arg)
{
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(99);
		(void)raise(SIGSTOP);
		body(body_arg);
		_exit(0);
	}
	int status, skipping = 0, rc = 0;
	struct trace_stop stop = { 0 };
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	if (!WIFSTOPPED(status))
		return status;
	if (ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) < 0)
		rc = -errno;
	while (rc == 0) {
		if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) < 0 && errno != ESRCH) {
			rc = -errno;
			break;
		}
		if (waitpid(pid, &status, 0) != pid)
			return -errno;
		if (!WIFSTOPPED(status))
			return status;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			rc = at_stop(pid, &stop, &skipping, watch, watch_arg);
	}
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	return rc;
}
