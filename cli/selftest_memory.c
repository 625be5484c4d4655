/* SPDX-License-Identifier: BSD-3-Clause */
/* Attacks that read a process's memory, or what the kernel tells and keeps of it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/paths.h"
#include "base/spawn.h"
#include "cli/selftest.h"
#include "cli/selftest_sweep.h"

#define PATTERN_MAX    256
#define DECOY_DEATH_MS 10000 /* it really writes a core */
#define MET_MAX	       256
#define GCORE_MS       8000
#define DEATH_MS       200
#define PROC_FILE_MAX  (1 << 20)

static ssize_t read_proc_mem(void *arg, uint64_t at, void *to, size_t n)
{
	return pread(*(int *)arg, to, n, (off_t)at);
}

ATTACK(proc_mem)
{
	struct sweep s = { .v = v, .out = out };
	for (size_t i = 0; i < v->n_pids; i++) {
		char path[64];
		snprintf(path, sizeof(path), "/proc/%d/mem", (int)v->pids[i]);
		CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			sweep_process(&s, v->pids[i], SWEEP_ALL, read_proc_mem, &fd);
	}
	sweep_finish(&s);
}

static ssize_t read_process_vm(void *arg, uint64_t at, void *to, size_t n)
{
	struct iovec local = { to, n }, remote = { (void *)(uintptr_t)at, n };
	return process_vm_readv(*(pid_t *)arg, &local, 1, &remote, 1, 0);
}

ATTACK(process_vm)
{
	struct sweep s = { .v = v, .out = out };
	for (size_t i = 0; i < v->n_pids; i++)
		sweep_process(&s, v->pids[i], SWEEP_ALL, read_process_vm, &v->pids[i]);
	sweep_finish(&s);
}

/* QEMU has the guest's memory.  The stand-in has none, but what it has is as open to root. */
ATTACK(qemu_memory)
{
	struct victim nothing = VICTIM_NONE;
	struct sweep s = { .v = &nothing, .out = out };
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)v->qemu);
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		sweep_process(&s, v->qemu, SWEEP_WRITABLE, read_proc_mem, &fd);
	if (s.bytes)
		find_open(out, "%zu kB of what QEMU's stand-in has could be read", s.bytes / 1024);
	find_closed(out, "%s cannot be read", path);
}

/* 1 if ST's file was not met before. */
static int is_new_file(const struct stat *st)
{
	static struct {
		dev_t dev;
		ino_t ino;
	} met[MET_MAX];
	static size_t n;
	for (size_t i = 0; i < n; i++)
		if (met[i].dev == st->st_dev && met[i].ino == st->st_ino)
			return 0;
	if (n < MET_MAX) {
		met[n].dev = st->st_dev;
		met[n++].ino = st->st_ino;
	}
	return 1;
}

ATTACK(map_files)
{
	size_t opened = 0, mapped = 0;
	struct stat st;
	for (size_t i = 0; i < v->n_pids; i++) {
		char folder[64];
		snprintf(folder, sizeof(folder), "/proc/%d/map_files", (int)v->pids[i]);
		DIR *dir = opendir(folder);
		for (struct dirent *e; dir && (e = readdir(dir));) {
			CLEANUP_FD int fd =
				openat(dirfd(dir), e->d_name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
			if (fd < 0 || e->d_name[0] == '.' || fstat(fd, &st) < 0 ||
			    !is_new_file(&st))
				continue;
			opened++;
			mapped += (size_t)sweep_descriptor(v, fd, e->d_name, out);
		}
		if (dir)
			closedir(dir);
	}
	if (opened)
		find_closed(out, "%zu files that are mapped opened, %zu readable, no canary",
			    opened, mapped);
	else
		find_closed(out, "none can be opened");
}

/* ---- Core dumps ----------------------------------------------------------------------------- */

/* Run ARGV, silent, for at most MS.  Its status, or -1. */
static int run_silently(char *const argv[], int ms)
{
	int64_t deadline = clock_ms() + ms;
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		for (int fd = 0; fd < 3; fd++)
			dup2(null, fd);
		execv(argv[0], argv);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, WNOHANG) == 0) {
		if (!clock_wait(deadline)) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
			return -1;
		}
	}
	return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

ATTACK(gcore)
{
	static char prefix[] = PATH_RUN "/gcore", gcore[] = "/usr/bin/gcore", flag[] = "-o";
	size_t written = 0;
	if (access(gcore, X_OK) < 0) {
		find_impossible(out, "%s is not installed", gcore);
		return;
	}
	/* The worker; the other processes have no keys. */
	char pid[16], path[sizeof(prefix) + 16];
	snprintf(pid, sizeof(pid), "%d", (int)v->worker);
	snprintf(path, sizeof(path), "%s.%s", prefix, pid);
	char *const argv[] = { gcore, flag, prefix, pid, NULL };
	int status = run_silently(argv, GCORE_MS);
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		written = (size_t)sweep_descriptor(v, fd, "gcore's file", out);
	(void)unlink(path);
	find_closed(out, written ? "its core has no canary" : "gcore got no core (status %d)",
		    status);
}

/* How a process ended, from Linux 6.15 on (pidfd_info in linux/pidfd.h). */
struct pidfd_exit_info {
	uint64_t mask, cgroup;
	uint32_t ids[11];
	int32_t exit_code;
};
#define PIDFD_EXIT_BIT	0x8U
#define PIDFD_INFO_CALL _IOWR(0xff, 11, struct pidfd_exit_info)

/* 1 if the kernel says that PIDFD's process left a core. */
static int left_core(int pidfd)
{
	struct pidfd_exit_info info = { .mask = PIDFD_EXIT_BIT };
	return ioctl(pidfd, PIDFD_INFO_CALL, &info) == 0 && (info.mask & PIDFD_EXIT_BIT) &&
	       WCOREDUMP(info.exit_code);
}

/* Where core files go; empty if a program gets them. */
static void read_core_pattern(char pattern[static PATTERN_MAX])
{
	CLEANUP_FD int fd = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, pattern, PATTERN_MAX - 1);
	pattern[n > 0 && pattern[0] != '|' ? n : 0] = '\0';
}

/* Core files in the folder where they would go: how many, and whether they leak. */
static size_t look_for_cores(const struct victim *v, struct finding *out)
{
	char pattern[PATTERN_MAX], folder[PATTERN_MAX];
	size_t n = 0;
	read_core_pattern(pattern);
	if (!pattern[0])
		return 0;
	char *slash = pattern[0] == '/' ? strrchr(pattern, '/') : NULL;
	if (slash)
		slash[slash == pattern ? 1 : 0] = '\0';
	snprintf(folder, sizeof(folder), "%s", slash ? pattern : v->is_decoy ? DECOY_FOLDER : ".");
	DIR *dir = opendir(folder);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		struct stat st;
		CLEANUP_FD int core = openat(dirfd(dir), e->d_name,
					     O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
		if (core < 0 || fstat(core, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != v->uid)
			continue;
		n++;
		sweep_descriptor(v, core, "a core file", out);
		(void)unlinkat(dirfd(dir), e->d_name, 0);
	}
	if (dir)
		closedir(dir);
	return n;
}

ATTACK(core_dump)
{
	static const int SIGNALS[] = { SIGQUIT, SIGILL,	 SIGTRAP, SIGABRT, SIGBUS,
				       SIGFPE,	SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS };
	const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	char pattern[PATTERN_MAX];
	read_core_pattern(pattern);
	if (v->is_decoy && !pattern[0]) {
		/* Not into the host's collection of crashes. */
		find_open(out, "a program gets the cores; no control was made");
		return;
	}
	size_t deaths = 0, n = v->is_decoy ? 1 : sizeof(SIGNALS) / sizeof(SIGNALS[0]);
	struct fault f = { 0 };
	for (size_t i = 0; i < n && out->outcome == OUTCOME_CLOSED; i++) {
		if (v->worker == 0 && victim_start(v, &f) < 0) {
			find_open(out, "after signal %d it does not start: %s", SIGNALS[i - 1],
				  f.text);
			return;
		}
		CLEANUP_FD int pidfd = pidfd_open(v->worker, 0);
		/* Root may give back the core size that the worker gave up. */
		(void)prlimit(v->worker, RLIMIT_CORE, &all, NULL);
		if (pidfd < 0 || kill(v->worker, SIGNALS[i]) < 0)
			continue;
		struct pollfd p = { .fd = pidfd, .events = POLLIN };
		int died = poll(&p, 1, v->is_decoy ? DECOY_DEATH_MS : DEATH_MS) > 0;
		deaths += (size_t)died;
		int cores = died && left_core(pidfd);
		if (look_for_cores(v, out) || cores)
			find_open(out, "signal %d left a core", SIGNALS[i]);
		if (died && !v->is_decoy)
			victim_stop(v);
	}
	find_closed(out, "%zu signals ended it, none left a core", deaths);
}

/* ---- What /proc tells ----------------------------------------------------------------------- */

/* Read PATH, at most PROC_FILE_MAX of it, and look for canaries; its size. */
static size_t look_into(const struct victim *v, int dir, const char *name, struct finding *out)
{
	static char text[PROC_FILE_MAX];
	size_t n = 0;
	CLEANUP_FD int fd = openat(dir, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	for (ssize_t got; fd >= 0 && n < sizeof(text); n += (size_t)got) {
		got = read(fd, text + n, sizeof(text) - n);
		if (got <= 0)
			break;
	}
	find_canary(v, text, n, name, out);
	return n;
}

ATTACK(proc_environ)
{
	for (size_t i = 0; i < v->n_pids; i++) {
		char path[64];
		snprintf(path, sizeof(path), "/proc/%d", (int)v->pids[i]);
		CLEANUP_FD int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		size_t environment = look_into(v, dir, "environ", out);
		/* The two variables that the spawner gives. */
		if (environment > sizeof(SPAWN_ENVIRONMENT) + sizeof(SPAWN_BIND "=1"))
			find_open(out, "process %d has an environment of %zu bytes",
				  (int)v->pids[i], environment);
		look_into(v, dir, "cmdline", out);
		look_into(v, dir, "auxv", out);
		look_into(v, dir, "comm", out);
	}
	find_closed(out,
		    "nothing but " SPAWN_ENVIRONMENT ", " SPAWN_BIND " and the program's name");
}

static void look_into_folder(const struct victim *v, const char *path, size_t *files,
			     struct finding *out)
{
	/* Memory itself, and addresses of it by the page; kernel logs would wait. */
	static const char *const OTHERS[] = { "mem", "pagemap", "clear_refs" };
	DIR *dir = opendir(path);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		int other = e->d_type != DT_REG;
		for (size_t i = 0; i < sizeof(OTHERS) / sizeof(OTHERS[0]); i++)
			other |= strcmp(e->d_name, OTHERS[i]) == 0;
		if (!other)
			*files += look_into(v, dirfd(dir), e->d_name, out) > 0;
	}
	if (dir)
		closedir(dir);
}

ATTACK(proc_files)
{
	size_t files = 0;
	for (size_t i = 0; i < v->n_pids; i++) {
		char path[300];
		snprintf(path, sizeof(path), "/proc/%d", (int)v->pids[i]);
		look_into_folder(v, path, &files, out);
		snprintf(path, sizeof(path), "/proc/%d/task", (int)v->pids[i]);
		DIR *tasks = opendir(path);
		for (struct dirent *e; tasks && (e = readdir(tasks));) {
			snprintf(path, sizeof(path), "/proc/%d/task/%s", (int)v->pids[i],
				 e->d_name);
			if (e->d_name[0] != '.')
				look_into_folder(v, path, &files, out);
		}
		if (tasks)
			closedir(tasks);
	}
	find_closed(out, "%zu files read, no canary", files);
}

/* ---- Swap and KSM --------------------------------------------------------------------------- */

static void page_out(pid_t pid, const struct map *m)
{
	struct iovec range = { (void *)(uintptr_t)m->start, (size_t)(m->end - m->start) };
	CLEANUP_FD int pidfd = pidfd_open(pid, 0);
	if (pidfd >= 0)
		(void)syscall(SYS_process_madvise, pidfd, &range, 1UL, MADV_PAGEOUT, 0UL);
}

/*
 * Of what the worker can write, only the stack that it began on is let be: name and environment are
 * on it, and no secret, as the attacks show that read it.
 */
static int holds_data(const struct map *m)
{
	return (m->flags & CAN_WRITE) && strcmp(m->name, "[stack]") != 0;
}

/* What the worker runs: whoever can write to the swap device can change it there. */
static int holds_code(const struct map *m)
{
	return strncmp(m->name, "/memfd:", strlen("/memfd:")) == 0;
}

ATTACK(swap)
{
	struct map_list maps = { 0 };
	size_t kept = 0, unlocked = 0, swapped = 0;
	smaps_read(v->worker, &maps);
	for (size_t i = 0; i < maps.n; i++)
		page_out(v->worker, &maps.of[i]);
	smaps_read(v->worker, &maps);
	for (size_t i = 0; i < maps.n; i++) {
		const struct map *m = &maps.of[i];
		if (!holds_data(m) && !holds_code(m))
			continue;
		/* Of code also what is not there just now: it has been, to be copied. */
		size_t kb =
			holds_code(m) ? (size_t)(m->end - m->start) / 1024 : m->rss_kb + m->swap_kb;
		kept += kb;
		if (!(m->flags & IS_LOCKED))
			unlocked += kb;
		swapped += m->swap_kb;
	}
	if (maps.n == 0)
		find_impossible(out, "/proc/%d/smaps cannot be read", (int)v->worker);
	else if (unlocked || swapped)
		find_open(out, "%zu of %zu kB can be swapped (%zu kB are)", unlocked, kept,
			  swapped);
	else
		find_closed(out, "all %zu kB are locked or never swapped", kept);
	map_list_done(&maps);
}

ATTACK(ksm)
{
	struct map_list maps = { 0 };
	size_t mergeable = 0, huge = 0;
	smaps_read(v->worker, &maps);
	for (size_t i = 0; i < maps.n; i++) {
		if (!holds_data(&maps.of[i]))
			continue;
		/* Locked memory of a file is nothing that KSM looks at. */
		mergeable += maps.of[i].flags & IS_MERGEABLE && !(maps.of[i].flags & IS_LOCKED);
		huge += maps.of[i].huge_kb;
	}
	if (maps.n == 0)
		find_impossible(out, "/proc/%d/smaps cannot be read", (int)v->worker);
	else if (mergeable || huge)
		find_open(out, "%zu writable mappings can be merged, %zu kB are in huge pages",
			  mergeable, huge);
	else
		find_closed(out, "no writable mapping can be merged, none is in huge pages");
	map_list_done(&maps);
}
