/* SPDX-License-Identifier: BSD-3-Clause */
/* Attacks with what debuggers use, and with descriptors that can be duplicated. */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "cli/selftest.h"
#include "cli/selftest_sweep.h"

#define STOP_MS		1000
#define DESCRIPTORS_MAX 1024

/* Wait until TID has stopped for us: the death of who waits would be that of a locked tracee. */
static int wait_stop(pid_t tid)
{
	int64_t deadline = clock_ms() + STOP_MS;
	int status;
	do {
		if (waitpid(tid, &status, WNOHANG | __WALL) == tid)
			return WIFSTOPPED(status);
	} while (clock_wait(deadline));
	return 0;
}

static ssize_t peek(void *arg, uint64_t at, void *to, size_t n)
{
	size_t done = 0;
	for (; done + sizeof(long) <= n; done += sizeof(long)) {
		errno = 0;
		long word = ptrace(PTRACE_PEEKDATA, *(pid_t *)arg, at + done, 0);
		if (errno)
			break;
		memcpy((uint8_t *)to + done, &word, sizeof(word));
	}
	return done ? (ssize_t)done : -1;
}

enum way { ATTACH, SEIZE, INJECT };

/* Write a thread's registers back as they are: who can do that can put anything there. */
static int inject(pid_t tid)
{
	struct user_regs_struct regs;
	struct iovec iov = { &regs, sizeof(regs) };
	return ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &iov) == 0 &&
	       ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &iov) == 0;
}

static void try_thread(const struct victim *v, pid_t pid, pid_t tid, enum way way, int *why,
		       struct finding *out)
{
	struct sweep s = { .v = v, .out = out };
	if ((way == ATTACH ? ptrace(PTRACE_ATTACH, tid, 0, 0) : ptrace(PTRACE_SEIZE, tid, 0, 0)) <
	    0) {
		*why = errno;
		return;
	}
	if (way != ATTACH)
		(void)ptrace(PTRACE_INTERRUPT, tid, 0, 0);
	if (!wait_stop(tid)) {
		find_open(out, "thread %d of process %d is traced, but does not stop", (int)tid,
			  (int)pid);
	} else {
		if (way == ATTACH)
			sweep_process(&s, pid, SWEEP_WRITABLE, peek, &tid);
		if (way == INJECT && inject(tid))
			find_open(out, "the registers of thread %d of process %d can be set",
				  (int)tid, (int)pid);
		find_open(out, "thread %d of process %d can be traced", (int)tid, (int)pid);
	}
	(void)ptrace(PTRACE_DETACH, tid, 0, 0);
	kill(pid, SIGCONT);
}

/* Only processes with keys, or that may debug one that has: all of the VM's. */
static void try_all(struct victim *v, enum way way, struct finding *out)
{
	pid_t tids[THREADS_MAX];
	size_t tried = 0;
	int why = 0;
	for (size_t i = 0; i < v->n_pids; i++) {
		/* The broker has no secret, and holds none that has: nobody guards it. */
		if (v->pids[i] == v->broker)
			continue;
		size_t n = threads_of(v->pids[i], tids);
		for (size_t t = 0; t < n; t++, tried++)
			try_thread(v, v->pids[i], tids[t], way, &why, out);
	}
	find_closed(out, "%zu threads: %s", tried, err_text(-why));
}

ATTACK(ptrace_attach)
{
	try_all(v, ATTACH, out);
}

ATTACK(ptrace_seize)
{
	try_all(v, SEIZE, out);
}

ATTACK(ptrace_inject)
{
	try_all(v, INJECT, out);
}

/*
 * Write through /proc/PID/mem, with the bytes that are there: needs no ptrace(2), only the
 * permission for it.  The worker alone: a changed guard may still do nothing but let it go on
 * (sandbox/filter_guard.c), and the broker has no secret.
 */
ATTACK(write_memory)
{
	struct map_list maps = { 0 };
	size_t tried = 0;
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)v->worker);
	CLEANUP_FD int fd = open(path, O_RDWR | O_CLOEXEC);
	maps_read(v->worker, &maps);
	for (size_t m = 0; fd >= 0 && m < maps.n; m++) {
		uint8_t bytes[16];
		off_t at = (off_t)maps.of[m].start;
		/* The kernel's own page at the top of the address space is nobody's, and what
		 * cannot be touched at all is a guard page. */
		if (!(maps.of[m].flags & (CAN_READ | CAN_WRITE | CAN_EXECUTE)) || at < 0)
			continue;
		tried++;
		if (pread(fd, bytes, sizeof(bytes), at) == sizeof(bytes) &&
		    pwrite(fd, bytes, sizeof(bytes), at) == sizeof(bytes))
			find_open(out, "%s of the worker can be overwritten: %s",
				  maps.of[m].flags & CAN_EXECUTE ? "code" : "memory",
				  maps.of[m].name);
	}
	map_list_done(&maps);
	if (tried)
		find_closed(out, "%zu mappings, none can be written", tried);
	else
		find_closed(out, "%s cannot be opened for writing", path);
}

/* ---- Descriptors ---------------------------------------------------------------------------- */

ATTACK(pidfd_getfd)
{
	size_t taken = 0, gave = 0;
	int why = 0;
	for (size_t i = 0; i < v->n_pids; i++) {
		CLEANUP_FD int pidfd = pidfd_open(v->pids[i], 0);
		for (int n = 0; pidfd >= 0 && n < DESCRIPTORS_MAX; n++) {
			char where[64], link[64];
			snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)v->pids[i], n);
			ssize_t len = readlink(link, where, sizeof(where) - 1);
			if (len < 0)
				continue;
			where[len] = '\0';
			CLEANUP_FD int fd = (int)syscall(SYS_pidfd_getfd, pidfd, n, 0U);
			if (fd < 0) {
				why = errno;
				continue;
			}
			taken++;
			if (strstr(where, "secretmem"))
				find_open(out, "descriptor %d is of secret memory", n);
			gave += (size_t)sweep_descriptor(v, fd, where, out);
		}
	}
	if (taken)
		find_closed(out, "%zu descriptors taken, %zu have something to read, no canary",
			    taken, gave);
	else
		find_closed(out, "%s", err_text(-why));
}

ATTACK(proc_fd)
{
	size_t opened = 0, gave = 0;
	for (size_t i = 0; i < v->n_pids; i++) {
		char path[64];
		snprintf(path, sizeof(path), "/proc/%d/fd", (int)v->pids[i]);
		DIR *dir = opendir(path);
		for (struct dirent *e; dir && (e = readdir(dir));) {
			struct stat st;
			/* Only files and devices can be opened anew; a terminal could hang. */
			if (fstatat(dirfd(dir), e->d_name, &st, 0) < 0 || !S_ISREG(st.st_mode))
				continue;
			CLEANUP_FD int fd = openat(dirfd(dir), e->d_name,
						   O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
			if (fd < 0)
				continue;
			opened++;
			gave += (size_t)sweep_descriptor(v, fd, "an open file", out);
		}
		if (dir)
			closedir(dir);
	}
	find_closed(out, "%zu files opened, %zu readable, no canary", opened, gave);
}

/* What the guest gets from its vTPM passes through a socket, as it passes through its memory. */
ATTACK(in_flight)
{
	struct pollfd p = { .fd = v->data, .events = POLLIN };
	uint8_t reply[4096];
	if (tpm_send_nv_read(v->data) < 0 || poll(&p, 1, STOP_MS) <= 0) {
		find_impossible(out, "the vTPM does not answer");
		return;
	}
	/* Nobody has read it yet, and root takes QEMU's end. */
	ssize_t n = recv(v->data, reply, sizeof(reply), MSG_PEEK | MSG_DONTWAIT);
	if (n > 0)
		find_canary(v, reply, (size_t)n, "the reply to the guest", out);
	(void)!recv(v->data, reply, sizeof(reply), MSG_DONTWAIT);
	find_closed(out, "no reply could be seen");
}

/* ---- As QEMU -------------------------------------------------------------------------------- */

ATTACK(debug_as_qemu)
{
	for (size_t i = 0; i < v->n_pids; i++) {
		pid_t pid = v->pids[i];
		char path[64], byte;
		struct iovec local = { &byte, 1 }, remote = { (void *)&byte, 1 };
		snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
		CLEANUP_FD int mem = open(path, O_RDONLY | O_CLOEXEC);
		snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
		CLEANUP_FD int environment = open(path, O_RDONLY | O_CLOEXEC);
		snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
		DIR *fds = opendir(path);
		CLEANUP_FD int pidfd = pidfd_open(pid, 0);
		CLEANUP_FD int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, 0, 0U);
		if (mem >= 0 || environment >= 0 || fds)
			find_open(out, "QEMU's user can open %s of process %d",
				  mem >= 0 ? "mem"
				  : fds	   ? "fd"
					   : "environ",
				  (int)pid);
		if (fd >= 0)
			find_open(out, "QEMU's user gets descriptors of process %d", (int)pid);
		if (process_vm_readv(pid, &local, 1, &remote, 1, 0) >= 0 || errno != EPERM)
			find_open(out, "QEMU's user reads process %d: %s", (int)pid,
				  err_text(-errno));
		if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0)
			find_open(out, "QEMU's user traces process %d", (int)pid);
		if (kill(pid, 0) == 0 || kill(pid, SIGSTOP) == 0)
			find_open(out, "QEMU's user may signal process %d", (int)pid);
		if (fds)
			closedir(fds);
	}
	find_closed(out, "memory, descriptors, tracing and signals of %zu processes refused",
		    v->n_pids);
}
