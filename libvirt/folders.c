/* SPDX-License-Identifier: BSD-3-Clause */
#include "libvirt/folders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/paths.h"

#define OPEN_FOLDER   (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define NAME_SIZE     (UUID_TEXT_SIZE + 8)
#define LOCK_ATTEMPTS 3

void folders_done(struct folders *o)
{
	fd_close(&o->registry);
	fd_close(&o->state);
	fd_close(&o->lock);
}

/* Open root's folder NAME under DIR_FD (or by absolute path), made with MODE if it is missing. */
static int root_folder(int dir_fd, const char *name, mode_t mode, struct fault *f)
{
	struct stat st;
	if (mkdirat(dir_fd, name, mode) == 0) {
		/* The umask is not ours to count on. */
		if (fchmodat(dir_fd, name, mode, 0) < 0)
			return fault_set(f, -errno, "%s: %s", name, err_text(-errno));
	} else if (errno != EEXIST) {
		return fault_set(f, -errno, "%s: %s", name, err_text(-errno));
	}
	CLEANUP_FD int fd = openat(dir_fd, name, OPEN_FOLDER);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fault_set(f, -errno, "%s: %s", name, err_text(-errno));
	if (st.st_uid != 0 || (st.st_mode & 022))
		return fault_set(f, ERR_STATE,
				 "%s belongs to uid %u with mode %o; it must be root's, and nobody "
				 "else may write there",
				 name, (unsigned int)st.st_uid, (unsigned int)(st.st_mode & 07777));
	return fd_take(&fd);
}

/* flock(2) with a deadline: blocking without one would keep libvirtd waiting. */
static int lock_until(int fd, int64_t deadline_ms)
{
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (!clock_wait(deadline_ms))
			return -ETIMEDOUT;
	}
	return 0;
}

/* PATH_REGISTRY, locked; the lock goes with the descriptor. */
static int lock_registry(struct fault *f)
{
	CLEANUP_FD int state = root_folder(AT_FDCWD, PATH_STATE, 0711, f);
	if (state < 0)
		return state;
	CLEANUP_FD int fd = root_folder(AT_FDCWD, PATH_REGISTRY, 0700, f);
	if (fd < 0)
		return fd;
	int rc = lock_until(fd, clock_ms() + FOLDERS_LOCK_MS);
	if (rc < 0)
		return fault_set(f, rc, "%s is busy with another VM's start: %s", PATH_REGISTRY,
				 err_text(rc));
	return fd_take(&fd);
}

int folders_audit(int *log_dir, int *registry, struct fault *f)
{
	CLEANUP_FD int state = root_folder(AT_FDCWD, PATH_STATE, 0711, f);
	if (state < 0)
		return state;
	CLEANUP_FD int log = root_folder(AT_FDCWD, PATH_LOG, 0750, f);
	if (log < 0)
		return log;
	int fd = root_folder(AT_FDCWD, PATH_REGISTRY, 0700, f);
	if (fd < 0)
		return fd;
	*registry = fd;
	*log_dir = fd_take(&log);
	return 0;
}

/* The lowest uid of the workers' range that no folder in ROOT belongs to. */
static int free_uid(int root, uid_t *uid, struct fault *f)
{
	static uint8_t taken[WORKER_UID_COUNT / 8];
	memset(taken, 0, sizeof(taken));
	int fd = openat(root, ".", OPEN_FOLDER);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		int rc = -errno;
		fd_close(&fd);
		return fault_set(f, rc, "%s: %s", PATH_STATE, err_text(rc));
	}
	errno = 0;
	for (struct dirent *e; (e = readdir(dir));) {
		struct stat st;
		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_uid - WORKER_UID_BASE < WORKER_UID_COUNT) {
			uint32_t n = st.st_uid - WORKER_UID_BASE;
			taken[n / 8] |= (uint8_t)(1U << n % 8);
		}
		errno = 0;
	}
	int rc = -errno;
	closedir(dir);
	if (rc < 0)
		return fault_set(f, rc, "%s: %s", PATH_STATE, err_text(rc));
	for (uint32_t n = 0; n < WORKER_UID_COUNT; n++) {
		if (!(taken[n / 8] & 1U << n % 8)) {
			*uid = WORKER_UID_BASE + n;
			return 0;
		}
	}
	return fault_set(f, ERR_LIMIT, "all %u uids for VMs are taken", WORKER_UID_COUNT);
}

/* Make NAME in ROOT with an owner from the first moment at which it has that name. */
static int make_state_folder(int root, const char *name, struct fault *f)
{
	char fresh[NAME_SIZE];
	uid_t uid = (uid_t)-1;
	int rc = free_uid(root, &uid, f);
	if (rc < 0)
		return rc;
	snprintf(fresh, sizeof(fresh), ".new.%s", name);
	(void)unlinkat(root, fresh, AT_REMOVEDIR); /* of an interrupted call */
	if (mkdirat(root, fresh, 0700) < 0)
		return fault_set(f, -errno, "%s/%s: %s", PATH_STATE, fresh, err_text(-errno));
	CLEANUP_FD int fd = openat(root, fresh, OPEN_FOLDER);
	if (fd < 0 || fchown(fd, uid, uid) < 0 || fchmod(fd, 0700) < 0 || fsync(fd) < 0 ||
	    renameat(root, fresh, root, name) < 0 || fsync(root) < 0)
		return fault_set(f, -errno, "%s/%s: %s", PATH_STATE, name, err_text(-errno));
	return 0;
}

static int open_state(const char *name, struct folders *o, struct fault *f)
{
	struct stat st;
	CLEANUP_FD int root = root_folder(AT_FDCWD, PATH_STATE, 0711, f);
	if (root < 0)
		return root;
	if (faccessat(root, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT) {
		int rc = make_state_folder(root, name, f);
		if (rc < 0)
			return rc;
	}
	o->state = openat(root, name, OPEN_FOLDER);
	if (o->state < 0 || fstat(o->state, &st) < 0)
		return fault_set(f, -errno, "%s/%s: %s", PATH_STATE, name, err_text(-errno));
	if (st.st_uid - WORKER_UID_BASE >= WORKER_UID_COUNT || st.st_gid != st.st_uid ||
	    (st.st_mode & 077))
		return fault_set(f, ERR_STATE,
				 "%s/%s belongs to %u:%u with mode %o, which is not a VM's own",
				 PATH_STATE, name, (unsigned int)st.st_uid, (unsigned int)st.st_gid,
				 (unsigned int)(st.st_mode & 07777));
	o->uid = st.st_uid;
	return 0;
}

/* PATH_RUN/UUID. */
static int run_folder(const char *name, struct fault *f)
{
	CLEANUP_FD int root = root_folder(AT_FDCWD, PATH_RUN, 0711, f);
	if (root < 0)
		return root;
	int fd = root_folder(root, name, 0711, f);
	return fd < 0 ? fault_wrap(f, fd, "%s", PATH_RUN) : fd;
}

/* 1 if FD is still what `lock` in DIR_FD is: a release may have removed it while we waited. */
static int is_linked(int dir_fd, int fd)
{
	struct stat held, named;
	return fstat(fd, &held) == 0 && held.st_nlink > 0 &&
	       fstatat(dir_fd, "lock", &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

/* Take the VM's lock: nobody has it unless a worker lives, or another hook call starts one. */
static int take_lock(const char *name, struct folders *o, struct fault *f)
{
	int64_t deadline = clock_ms() + FOLDERS_BUSY_MS;
	for (int attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
		CLEANUP_FD int dir = run_folder(name, f);
		if (dir < 0)
			return dir;
		CLEANUP_FD int fd =
			openat(dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0 && errno == ENOENT) /* the folder was just removed */
			continue;
		if (fd < 0)
			return fault_set(f, -errno, "%s/%s/lock: %s", PATH_RUN, name,
					 err_text(-errno));
		int rc = lock_until(fd, deadline);
		if (rc == -ETIMEDOUT)
			return fault_set(
				f, ERR_STATE,
				"another worker of this VM still runs; see shieldvm status");
		if (rc < 0)
			return fault_set(f, rc, "%s/%s/lock: %s", PATH_RUN, name, err_text(rc));
		if (is_linked(dir, fd)) {
			o->lock = fd_take(&fd);
			return 0;
		}
	}
	return fault_set(f, ERR_STATE, "%s/%s is removed again and again", PATH_RUN, name);
}

int folders_open(const uint8_t vm[static UUID_BYTES], struct folders *out, struct fault *f)
{
	CLEANUP_FOLDERS struct folders o = { -1, -1, -1, 0 };
	char name[UUID_TEXT_SIZE];
	uuid_format(vm, name);
	CLEANUP_FD int log = root_folder(AT_FDCWD, PATH_LOG, 0750, f);
	if (log < 0)
		return log;
	/* The VM's lock first: whoever holds the registry's must not wait for anything. */
	int rc = take_lock(name, &o, f);
	if (rc < 0)
		return rc;
	o.registry = lock_registry(f);
	if (o.registry < 0)
		return o.registry;
	rc = open_state(name, &o, f);
	if (rc < 0)
		return rc;
	if (flock(o.registry, LOCK_UN) < 0)
		return fault_set(f, -errno, "%s: %s", PATH_REGISTRY, err_text(-errno));
	*out = o;
	o = (struct folders){ -1, -1, -1, 0 };
	return 0;
}

int folders_set_aside(int state_fd, const char *suffix, struct fault *f)
{
	enum { NEXT, SPARE, MOVED, STATE };
	static const char *const NAMES[] = {
		[NEXT] = "tpm2.state.next",
		[SPARE] = "tpm2.state.spare",
		[MOVED] = "tpm2.state.moved",
		[STATE] = "tpm2.state",
	};
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
		char aside[128];
		snprintf(aside, sizeof(aside), "%s.%s", NAMES[i], suffix);
		/*
		 * Of what an interrupted call set aside, only the state itself is worth a refusal:
		 * the VM may have run since, and made itself a new spare.
		 */
		unsigned int flags = i == STATE ? RENAME_NOREPLACE : 0;
		if (renameat2(state_fd, NAMES[i], state_fd, aside, flags) < 0 && errno != ENOENT)
			return fault_set(f, -errno, "%s cannot be set aside as %s: %s", NAMES[i],
					 aside, err_text(-errno));
	}
	if (fsync(state_fd) < 0)
		return fault_set(f, -errno, "the state folder: %s", err_text(-errno));
	return 0;
}

/* The name in PATH_RUN of the note that VM is to come. */
static void note_name(const uint8_t vm[static UUID_BYTES], char name[static NAME_SIZE])
{
	char uuid[UUID_TEXT_SIZE];
	uuid_format(vm, uuid);
	snprintf(name, NAME_SIZE, "%s.coming", uuid);
}

int folders_expect(const uint8_t vm[static UUID_BYTES], struct fault *f)
{
	char name[NAME_SIZE];
	note_name(vm, name);
	CLEANUP_FD int root = root_folder(AT_FDCWD, PATH_RUN, 0711, f);
	return root < 0 ? root : fd_write_file(root, name, "", 0, 0600, 1, f);
}

int folders_is_expected(const uint8_t vm[static UUID_BYTES], struct fault *f)
{
	char name[NAME_SIZE];
	struct stat st;
	struct timespec now = { 0 };
	note_name(vm, name);
	CLEANUP_FD int root = root_folder(AT_FDCWD, PATH_RUN, 0711, f);
	if (root < 0)
		return root;
	if (fstatat(root, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || unlinkat(root, name, 0) < 0)
		return errno == ENOENT ? 0
				       : fault_set(f, -errno, "%s/%s: %s", PATH_RUN, name,
						   err_text(-errno));
	clock_gettime(CLOCK_REALTIME, &now);
	time_t age = now.tv_sec - st.st_mtim.tv_sec;
	return S_ISREG(st.st_mode) && st.st_uid == 0 && age >= -1 && age <= FOLDERS_EXPECT_S;
}

/* What is in NAME, a folder of the worker's, and itself; what is not a file stays. */
static int clear_folder(int dir_fd, const char *name, struct fault *f)
{
	int fd = openat(dir_fd, name, OPEN_FOLDER);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		int rc = -errno;
		fd_close(&fd);
		return rc == -ENOENT ? 0 : fault_set(f, rc, "%s: %s", name, err_text(rc));
	}
	/* A broker that was taken over and lives on may make more: some kernels list those too. */
	int64_t deadline = clock_ms() + FOLDERS_BUSY_MS;
	for (struct dirent *e; clock_ms() < deadline && (e = readdir(dir));)
		(void)unlinkat(dirfd(dir), e->d_name, 0);
	closedir(dir);
	if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT && errno != ENOTEMPTY)
		return fault_set(f, -errno, "%s: %s", name, err_text(-errno));
	return 0;
}

int folders_clear_run(const uint8_t vm[static UUID_BYTES], struct fault *f)
{
	static const char *const NAMES[] = { "launch.sock", "control.sock", "migrate.sock",
					     "lock" };
	char name[UUID_TEXT_SIZE];
	uuid_format(vm, name);
	CLEANUP_FD int root = root_folder(AT_FDCWD, PATH_RUN, 0711, f);
	if (root < 0)
		return root;
	CLEANUP_FD int dir = openat(root, name, OPEN_FOLDER);
	if (dir < 0)
		return errno == ENOENT ? 0
				       : fault_set(f, -errno, "%s/%s: %s", PATH_RUN, name,
						   err_text(-errno));
	CLEANUP_FD int lock = openat(dir, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (lock >= 0) {
		int rc = lock_until(lock, clock_ms() + FOLDERS_BUSY_MS);
		if (rc < 0)
			return fault_set(f, ERR_STATE, "a worker of this VM does not end");
		if (!is_linked(dir, lock))
			return 0; /* somebody else was faster; what is there now is a new start's */
	}
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
		if (unlinkat(dir, NAMES[i], 0) < 0 && errno != ENOENT)
			return fault_set(f, -errno, "%s/%s/%s: %s", PATH_RUN, name, NAMES[i],
					 err_text(-errno));
	}
	if (clear_folder(dir, FOLDER_MIGRATION, f) < 0)
		return fault_wrap(f, f->rc, "%s/%s", PATH_RUN, name);
	if (unlinkat(root, name, AT_REMOVEDIR) < 0 && errno != ENOENT && errno != ENOTEMPTY)
		return fault_set(f, -errno, "%s/%s: %s", PATH_RUN, name, err_text(-errno));
	return 0;
}
