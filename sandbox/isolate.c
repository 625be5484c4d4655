/* SPDX-License-Identifier: BSD-3-Clause */
#include "sandbox/isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/landlock.h"

#ifndef PR_SET_MDWE /* Linux 6.3 */
#define PR_SET_MDWE		 65
#define PR_MDWE_REFUSE_EXEC_GAIN (1UL << 0)
#define PR_GET_MDWE		 66
#endif

#define HOST_NAME    "shieldvm"
/* A folder that every host has (phases_early() needs it); what covers it is seen by nobody. */
#define COVERED	     "/dev"
#define NOTHING_RUNS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/* Note how it went: RC >= 0 or the reason. */
static void note(struct isolation *i, enum protection which, int rc)
{
	i->why[which] = rc < 0 ? rc : 0;
	if (rc >= 0)
		protections_set(&i->held, which);
	else
		i->held.held &= ~(UINT32_C(1) << which);
}

/* ---- The user namespace --------------------------------------------------------------------- */

static int write_to(const char *path, const char *text)
{
	CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
	size_t n = strlen(text);
	if (fd < 0)
		return -errno;
	ssize_t put = write(fd, text, n);
	return put == (ssize_t)n ? 0 : put < 0 ? -errno : -EIO;
}

/* In the child: a user namespace, kept until ENDS[0] is closed on the other side. */
static _Noreturn void be_namespace(int sock)
{
	int rc = unshare(CLONE_NEWUSER) < 0 ? -errno : 0;
	if (send(sock, &rc, sizeof(rc), MSG_NOSIGNAL) == sizeof(rc))
		(void)!recv(sock, &rc, 1, 0);
	_exit(0);
}

/* UID and the gid of the same number are the only ids in PID's namespace. */
static int map_ids(pid_t pid, uid_t uid)
{
	char path[64], map[64];
	snprintf(map, sizeof(map), "%u %u 1\n", (unsigned int)uid, (unsigned int)uid);
	snprintf(path, sizeof(path), "/proc/%d/setgroups", (int)pid);
	int rc = write_to(path, "deny");
	snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)pid);
	if (rc >= 0)
		rc = write_to(path, map);
	snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)pid);
	return rc < 0 ? rc : write_to(path, map);
}

/*
 * A descriptor of a new user namespace.  Only a process of the namespace above can say who is who
 * in it, so it is made by a child, and entered later.
 */
static int make_user_ns(uid_t uid)
{
	char path[64];
	int ends[2], fd = -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	pid_t pid = fork();
	int rc = pid < 0 ? -errno : 0;
	if (pid == 0) {
		close(ends[0]);
		be_namespace(ends[1]);
	}
	close(ends[1]);
	if (rc >= 0 && recv(ends[0], &rc, sizeof(rc), 0) != sizeof(rc))
		rc = -EIO;
	if (rc >= 0)
		rc = map_ids(pid, uid);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	if (rc >= 0) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		rc = fd < 0 ? -errno : 0;
	}
	close(ends[0]);
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
	return rc < 0 ? rc : fd;
}

/* ---- Steps ---------------------------------------------------------------------------------- */

void isolate_begin(uid_t uid, struct isolation *out)
{
	int abi = landlock_abi();
	*out = (struct isolation){ .uid = uid, .user_ns = -1 };
	out->held.landlock_abi = abi > 0 ? (uint32_t)abi : 0;
	out->user_ns = make_user_ns(uid);
	note(out, PROTECTION_NS_USER, out->user_ns < 0 ? out->user_ns : -EAGAIN);
	/* Nothing that is started from here on is a program of its own. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		abi = -errno;
	if (abi >= LANDLOCK_ABI_SCOPE)
		abi = landlock_scope(LANDLOCK_ABSTRACT_SOCKETS | LANDLOCK_SIGNALS);
	else if (abi > 0)
		abi = -EOPNOTSUPP;
	note(out, PROTECTION_LANDLOCK_SCOPE, abi);
	note(out, PROTECTION_NS_PID, unshare(CLONE_NEWPID) < 0 ? -errno : -EAGAIN);
}

void isolate_done(struct isolation *i)
{
	fd_close(&i->user_ns);
}

/* Which namespace NAME this process is in; 0: unknown. */
static ino_t ns_id(const char *name)
{
	char path[64];
	struct stat st;
	snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
	return stat(path, &st) < 0 ? 0 : st.st_ino;
}

/* Seen, not believed: what comes next must not be done to the host's. */
static void leave(struct isolation *i, enum protection which, int flag, const char *name)
{
	ino_t before = ns_id(name);
	int rc = unshare(flag) < 0 ? -errno : 0;
	if (rc == 0 && ns_id(name) == before)
		rc = -ESRCH;
	note(i, which, rc);
}

void isolate_kernel(struct isolation *i, enum isolate_who who)
{
	if (who != ISOLATE_BROKER) {
		/* -EAGAIN: isolate_begin() asked for one that only a child gets. */
		if (i->why[PROTECTION_NS_PID] == -EAGAIN)
			note(i, PROTECTION_NS_PID, getpid() <= 2 ? 0 : -ESRCH);
		leave(i, PROTECTION_NS_NET, CLONE_NEWNET, "net");
	}
	leave(i, PROTECTION_NS_IPC, CLONE_NEWIPC, "ipc");
	leave(i, PROTECTION_NS_UTS, CLONE_NEWUTS, "uts");
	leave(i, PROTECTION_NS_CGROUP, CLONE_NEWCGROUP, "cgroup");
	/* A copy of the host's name is what a new one begins with. */
	if (protections_have(&i->held, PROTECTION_NS_UTS) &&
	    (sethostname(HOST_NAME, strlen(HOST_NAME)) < 0 || setdomainname("", 0) < 0))
		note(i, PROTECTION_NS_UTS, -errno);
}

static int cover_with_nothing(void)
{
	return mount("shieldvm", COVERED, "tmpfs", MS_RDONLY | NOTHING_RUNS,
		     "size=4096,nr_inodes=1,mode=0555");
}

/* ... or with the working folder. */
static int cover_with_folder(void)
{
	int rc = mount(".", COVERED, NULL, MS_BIND, NULL);
	return rc < 0 ? rc : mount(NULL, COVERED, NULL, MS_REMOUNT | MS_BIND | NOTHING_RUNS, NULL);
}

/* FOLDER, or an empty file system, as the root, and nothing of the host's behind it. */
static int leave_root(int folder)
{
	/* The working folder, unlike a descriptor, is one of the new namespace's then. */
	if (folder >= 0 && fchdir(folder) < 0)
		return -errno;
	/* No mount or unmount of the host's, and none of ours, goes through from here on. */
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    (folder < 0 ? cover_with_nothing() : cover_with_folder()) < 0 || chdir(COVERED) < 0)
		return -errno;
	/* The old root comes to lie upon the new one, and is taken off. */
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
		return -errno;
	return chdir("/") < 0 ? -errno : 0;
}

static int enter_user_ns(struct isolation *i)
{
	/* In there, nobody may change groups. */
	if (setgroups(0, NULL) < 0 || setns(i->user_ns, CLONE_NEWUSER) < 0)
		return -errno;
	return 0;
}

void isolate_files(struct isolation *i, enum isolate_who who, int folder)
{
	int abi = (int)i->held.landlock_abi;
	int root = who == ISOLATE_BROKER ? folder : -1;
	struct stat st = { 0 };
	int rc = root >= 0 && fstat(root, &st) < 0 ? -errno : leave_root(root);
	i->root_dev = st.st_dev;
	i->root_ino = st.st_ino;
	note(i, PROTECTION_NS_MOUNT, rc);
	/* After the mounts, so that those belong to the host and root inside could not change them;
	 * before Landlock, which forbids nothing of it, but is the innermost. */
	if (who != ISOLATE_BROKER && i->user_ns >= 0)
		note(i, PROTECTION_NS_USER, enter_user_ns(i));
	fd_close(&i->user_ns);
	/* The broker ends a worker that does not end by itself: isolate_begin()'s scope allows
	 * that, as both are in it. */
	unsigned int scopes = LANDLOCK_ABSTRACT_SOCKETS;
	if (who != ISOLATE_BROKER)
		scopes |= LANDLOCK_SIGNALS;
	/* It listens for the worker where a migration comes in, and connects where disks go out. */
	enum landlock_grant grant = who == ISOLATE_BROKER ? LANDLOCK_LISTEN : LANDLOCK_OPEN;
	rc = abi > 0 ? landlock_deny(abi, scopes, folder, grant) : -EOPNOTSUPP;
	note(i, PROTECTION_LANDLOCK_FILES, rc);
	if (who != ISOLATE_BROKER)
		note(i, PROTECTION_LANDLOCK_NET,
		     rc >= 0 && abi < LANDLOCK_ABI_NET ? -EOPNOTSUPP : rc);
	note(i, PROTECTION_MDWE,
	     prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) < 0 ? -errno : 0);
}

int isolate_narrow(struct isolation *i, int state)
{
	if (!protections_have(&i->held, PROTECTION_LANDLOCK_FILES))
		return 0;
	return landlock_deny((int)i->held.landlock_abi, 0, state, LANDLOCK_RENAME);
}

/* ---- Checks --------------------------------------------------------------------------------- */

/* The folder, where no mount is beside it, above it, or as the host has it. */
static int root_is_folder(const struct isolation *i)
{
	const unsigned long want = ST_NOSUID | ST_NODEV | ST_NOEXEC;
	struct statvfs fs;
	struct stat st;
	static const char *const WAYS[] = { "/", "/..", ".", ".." };
	for (size_t w = 0; w < sizeof(WAYS) / sizeof(WAYS[0]); w++) {
		if (stat(WAYS[w], &st) < 0 || st.st_dev != i->root_dev || st.st_ino != i->root_ino)
			return 0;
	}
	return statvfs("/", &fs) == 0 && (fs.f_flag & want) == want;
}

static int root_is_left(const struct isolation *i)
{
	struct statvfs st;
	struct stat proc;
	/* A name there may be left from before, even that of /proc. */
	if (i->root_ino)
		return root_is_folder(i);
	if (stat("/proc", &proc) == 0 || errno != ENOENT)
		return 0;
	return statvfs("/", &st) == 0 && (st.f_flag & ST_RDONLY) && st.f_files == 1;
}

static int files_are_denied(const struct isolation *i)
{
	(void)i;
	CLEANUP_FD int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 && errno == EACCES;
}

static int no_network(const struct isolation *i)
{
	(void)i;
	struct ifconf all = { 0 };
	CLEANUP_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	/* No address of any device; a kernel without IPv4 has none either. */
	return fd < 0 || (ioctl(fd, SIOCGIFCONF, &all) == 0 && all.ifc_len == 0);
}

static int no_ipc(const struct isolation *i)
{
	(void)i;
	struct shm_info info;
	int rc = shmctl(0, SHM_INFO, (struct shmid_ds *)&info);
	return rc < 0 || info.used_ids == 0;
}

static int own_name(const struct isolation *i)
{
	(void)i;
	struct utsname u;
	return uname(&u) == 0 && strcmp(u.nodename, HOST_NAME) == 0;
}

static int own_pids(const struct isolation *i)
{
	(void)i;
	return getpid() <= 2;
}

/* Of a user that does not exist in there the kernel says EINVAL, of a forbidden one EPERM. */
static int root_is_nobody(const struct isolation *i)
{
	(void)i;
	return setresuid(0, 0, 0) < 0 && errno == EINVAL;
}

static int code_is_fixed(const struct isolation *i)
{
	(void)i;
	return prctl(PR_GET_MDWE, 0, 0, 0, 0) == (int)PR_MDWE_REFUSE_EXEC_GAIN;
}

int isolate_check(const struct isolation *i, struct fault *f)
{
	static const struct {
		enum protection which;
		int (*holds)(const struct isolation *i);
	} CHECKS[] = {
		{ PROTECTION_NS_MOUNT, root_is_left },
		{ PROTECTION_NS_PID, own_pids },
		{ PROTECTION_NS_NET, no_network },
		{ PROTECTION_NS_IPC, no_ipc },
		{ PROTECTION_NS_UTS, own_name },
		{ PROTECTION_NS_USER, root_is_nobody },
		{ PROTECTION_LANDLOCK_FILES, files_are_denied },
		{ PROTECTION_MDWE, code_is_fixed },
	};
	for (size_t c = 0; c < sizeof(CHECKS) / sizeof(CHECKS[0]); c++)
		if (protections_have(&i->held, CHECKS[c].which) && !CHECKS[c].holds(i))
			return fault_set(f, ERR_STATE, "%s is said to hold, and does not",
					 protection_name(CHECKS[c].which));
	return 0;
}
