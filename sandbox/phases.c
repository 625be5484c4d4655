/* SPDX-License-Identifier: BSD-3-Clause */
#include "sandbox/phases.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "sandbox/caps.h"
#include "sandbox/filter.h"
#include "sandbox/isolate.h"

#define LOWEST_WORKER_UID 65536

struct sealed {
	const struct filter *filter;
};

static int entered;

static int set_limit(int which, const char *name, rlim_t value, struct fault *f)
{
	struct rlimit limit;
	if (getrlimit((__rlimit_resource_t)which, &limit) < 0)
		return fault_set(f, -errno, "%s is not known: %s", name, err_text(-errno));
	/* A lower one stays: to raise it is not everywhere root's to do. */
	if (limit.rlim_max > value)
		limit.rlim_max = value;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit((__rlimit_resource_t)which, &limit) < 0)
		return fault_set(f, -errno, "%s cannot be limited: %s", name, err_text(-errno));
	return 0;
}

/* The default action for every signal, none blocked; what a parent left ignored is forgotten. */
static void reset_signals(void)
{
	sigset_t none;
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of write(2) */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int reset_descriptors(int keep_fd, struct fault *f)
{
	int null = open("/dev/null", O_RDWR | O_NOCTTY);
	if (null < 0)
		return fault_set(f, -errno, "/dev/null: %s", err_text(-errno));
	for (int fd = 0; fd < 3; fd++) {
		if (null != fd && dup2(null, fd) < 0)
			return fault_set(f, -errno, "descriptor %d: %s", fd, err_text(-errno));
	}
	if (keep_fd > 3 && close_range(3, (unsigned int)keep_fd - 1, 0) < 0)
		return fault_set(f, -errno, "close_range: %s", err_text(-errno));
	int rc = fd_close_from(keep_fd + 1);
	if (rc < 0)
		return fault_set(f, rc, "close_range: %s", err_text(rc));
	return 0;
}

int phases_early(int keep_fd, struct fault *f)
{
	int rc = reset_descriptors(keep_fd, f);
	if (rc < 0)
		return rc;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return fault_set(f, -errno, "PR_SET_DUMPABLE: %s", err_text(-errno));
	/* 1, not 0: no file can be so small, and a core_pattern that is a program, which 0 does not
	 * keep from running, is not run (core(5)). */
	rc = set_limit(RLIMIT_CORE, "the core size", 1, f);
	if (rc >= 0)
		rc = set_limit(RLIMIT_NOFILE, "the number of descriptors", PHASES_NOFILE, f);
	if (rc < 0)
		return rc;
	/* All threads out of one heap: where a thread has one of its own, glibc asks for the
	 * kernel's overcommit policy when it first gives memory back, in /proc. */
	if (mallopt(M_ARENA_MAX, 1) != 1)
		return fault_set(f, ERR_STATE, "malloc cannot be set up");
	reset_signals();
	if (clearenv() != 0 || chdir("/") < 0)
		return fault_set(f, -errno, "the environment cannot be left: %s", err_text(-errno));
	umask(077);
	return 0;
}

/* Looks at what the kernel made of it; a half-done drop of privileges must never be lived with. */
static int check_entered(uid_t uid, struct fault *f)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;
	if (getresuid(&r, &e, &s) < 0 || r != uid || e != uid || s != uid ||
	    getresgid(&rg, &eg, &sg) < 0 || rg != uid || eg != uid || sg != uid ||
	    getgroups(0, NULL) != 0)
		return fault_set(f, ERR_STATE, "uid, gid or groups are not those asked for");
	if (setresuid(0, 0, 0) == 0 || setresgid(0, 0, 0) == 0)
		return fault_set(f, ERR_STATE, "root can be had back after giving it up");
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return fault_set(f, ERR_STATE, "no_new_privs or dumpable are not as set");
	return caps_check(f);
}

int phases_enter(uid_t uid, const struct isolation *isolation, struct fault *f)
{
	if (uid < LOWEST_WORKER_UID)
		return fault_set(f, ERR_USAGE, "uid %u is not one for a worker", (unsigned int)uid);
	int rc = set_limit(RLIMIT_NPROC, "the number of processes", PHASES_NPROC, f);
	if (rc >= 0)
		rc = caps_bound(f);
	if (rc < 0)
		return rc;
	/* In a user namespace there is none, and nobody may ask for that. */
	if ((getgroups(0, NULL) != 0 && setgroups(0, NULL) < 0) || setresgid(uid, uid, uid) < 0 ||
	    setresuid(uid, uid, uid) < 0)
		return fault_set(f, -errno, "uid %u cannot be taken: %s", (unsigned int)uid,
				 err_text(-errno));
	rc = caps_drop(f);
	if (rc < 0)
		return rc;
	/* A change of uid makes a process dumpable again. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return fault_set(f, -errno, "no_new_privs: %s", err_text(-errno));
	rc = check_entered(uid, f);
	if (rc >= 0 && isolation)
		rc = isolate_check(isolation, f);
	if (rc >= 0)
		entered = 1;
	return rc;
}

int phases_stay(struct fault *f)
{
	/* Whoever has no privilege cannot lock securebits, and need not. */
	int rc = geteuid() == 0 ? caps_bound(f) : 0;
	if (rc >= 0)
		rc = caps_drop(f);
	if (rc < 0)
		return rc;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return fault_set(f, -errno, "no_new_privs: %s", err_text(-errno));
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return fault_set(f, ERR_STATE, "no_new_privs or dumpable are not as set");
	rc = geteuid() == 0 ? caps_check(f) : 0;
	if (rc >= 0)
		entered = 1;
	return rc;
}

int phases_follow_parent(pid_t parent, struct fault *f)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return fault_set(f, -errno, "PR_SET_PDEATHSIG: %s", err_text(-errno));
	/* A parent in another PID namespace is 0 in this one. */
	if (getppid() != parent && getppid() != 0)
		return fault_set(f, ERR_STATE, "the parent process has ended");
	return 0;
}

int phases_seal(const struct filter *filter, const struct sealed **out, struct fault *f)
{
	static struct sealed token;
	if (!entered || token.filter)
		return fault_set(f, ERR_STATE, "sealing comes once, after giving up root");
	int rc = filter_load(filter, f);
	if (rc < 0)
		return rc;
	token.filter = filter;
	*out = &token;
	return 0;
}
