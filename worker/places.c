/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/places.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/paths.h"

#define OPEN_FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define BACKLOG	    17 /* QEMU's channels come all at once */

void places_done(struct places *p)
{
	fd_close(&p->host_key);
	fd_close(&p->state);
	fd_close(&p->log);
	fd_close(&p->launch_listener);
	fd_close(&p->control_listener);
	audit_free(p->audit);
	p->audit = NULL;
	fd_close(&p->qemu_listener);
	fd_close(&p->qemu_monitor);
	fd_close(&p->migrate_listener);
	fd_close(&p->sockets);
}

static int open_log(const char *uuid, int *log, struct fault *f)
{
	char name[UUID_TEXT_SIZE + 4];
	CLEANUP_FD int dir = open(PATH_LOG, OPEN_FOLDER);
	if (dir < 0)
		return fault_set(f, -errno, "%s: %s", PATH_LOG, err_text(-errno));
	snprintf(name, sizeof(name), "%s.log", uuid);
	*log = openat(dir, name,
		      O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK |
			      O_NOCTTY,
		      0600);
	if (*log < 0)
		return fault_set(f, -errno, "%s/%s: %s", PATH_LOG, name, err_text(-errno));
	return 0;
}

static int open_audit(struct audit **audit, struct fault *f)
{
	CLEANUP_FD int log = open(PATH_LOG, OPEN_FOLDER);
	CLEANUP_FD int registry = open(PATH_REGISTRY, OPEN_FOLDER);
	if (log < 0 || registry < 0)
		return fault_set(f, -errno, "the audit log: %s", err_text(-errno));
	return audit_open(log, registry, audit, f);
}

static int open_host_key(int *fd, struct fault *f)
{
	struct stat st;
	*fd = open(PATH_HOST_KEY, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	/* Whether that is a refusal is the protector's to say: a guardian may have the key. */
	if (*fd < 0 && errno == ENOENT)
		return 0;
	if (*fd < 0 || fstat(*fd, &st) < 0)
		return fault_set(f, -errno, "%s: %s", PATH_HOST_KEY, err_text(-errno));
	if (!S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & 077))
		return fault_set(f, ERR_STATE,
				 "%s must be a file of root's with mode 600; who could read it has "
				 "the keys of this host's VMs",
				 PATH_HOST_KEY);
	return 0;
}

static int open_state(const char *uuid, uid_t worker_uid, int *fd, struct fault *f)
{
	struct stat st;
	CLEANUP_FD int root = open(PATH_STATE, OPEN_FOLDER);
	if (root >= 0)
		*fd = openat(root, uuid, OPEN_FOLDER);
	if (*fd < 0 || fstat(*fd, &st) < 0)
		return fault_set(f, -errno, "%s/%s: %s", PATH_STATE, uuid, err_text(-errno));
	if (st.st_uid != worker_uid)
		return fault_set(f, ERR_STATE, "%s/%s belongs to uid %u instead of %u", PATH_STATE,
				 uuid, (unsigned int)st.st_uid, (unsigned int)worker_uid);
	return 0;
}

/* A listener of TYPE at NAME in the run folder, for connections of OWNER (and root). */
static int listen_at(int run, const char *uuid, const char *name, int type, uid_t owner, int *fd,
		     struct fault *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s/%s", PATH_RUN, uuid,
			 name);
	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return fault_set(f, -ENAMETOOLONG, "%s/%s/%s: %s", PATH_RUN, uuid, name,
				 err_text(-ENAMETOOLONG));
	if (unlinkat(run, name, 0) < 0 && errno != ENOENT)
		return fault_set(f, -errno, "%s: %s", address.sun_path, err_text(-errno));
	*fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The umask makes the socket 0700; it listens only when owner and mode are right. */
	if (*fd < 0 || bind(*fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    fchownat(run, name, owner, 0, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(run, name, 0600, 0) < 0 || listen(*fd, BACKLOG) < 0)
		return fault_set(f, -errno, "%s: %s", address.sun_path, err_text(-errno));
	return 0;
}

/*
 * QEMU's monitor: a listener with the worker's connection already in its queue.  The queue has room
 * for that one, so nobody else's is before it; and by the time QEMU listens with a longer one, the
 * name is gone.
 */
static int open_monitor(int run, const char *uuid, struct places *p, struct fault *f)
{
	static const char NAME[] = "qemu.sock";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s/%s", PATH_RUN, uuid, NAME);
	if (unlinkat(run, NAME, 0) < 0 && errno != ENOENT)
		return fault_set(f, -errno, "%s: %s", address.sun_path, err_text(-errno));
	p->qemu_listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	p->qemu_monitor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->qemu_listener < 0 || p->qemu_monitor < 0 ||
	    bind(p->qemu_listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(p->qemu_listener, 0) < 0 ||
	    connect(p->qemu_monitor, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    unlinkat(run, NAME, 0) < 0)
		return fault_set(f, -errno, "%s: %s", address.sun_path, err_text(-errno));
	return 0;
}

/* Where sockets are that libvirt names: nobody but root and the broker puts one there, or connects
 * to one.  Only root can put the folder itself there. */
static int open_sockets(int run, uid_t worker_uid, int *fd, struct fault *f)
{
	if (mkdirat(run, FOLDER_MIGRATION, 0700) < 0 && errno != EEXIST)
		return fault_set(f, -errno, "%s: %s", FOLDER_MIGRATION, err_text(-errno));
	*fd = openat(run, FOLDER_MIGRATION, OPEN_FOLDER);
	if (*fd < 0 || fchown(*fd, worker_uid, worker_uid) < 0 || fchmod(*fd, 0700) < 0)
		return fault_set(f, -errno, "%s: %s", FOLDER_MIGRATION, err_text(-errno));
	return 0;
}

int places_open(const uint8_t vm[static UUID_BYTES], uid_t worker_uid, uid_t qemu_uid,
		struct places *out, struct fault *f)
{
	struct places p CLEANUP(places_done) = PLACES_NONE;
	char uuid[UUID_TEXT_SIZE];
	uuid_format(vm, uuid);
	int rc = open_log(uuid, &out->log, f);
	if (rc >= 0)
		rc = open_host_key(&p.host_key, f);
	if (rc >= 0)
		rc = open_state(uuid, worker_uid, &p.state, f);
	if (rc >= 0)
		rc = open_audit(&p.audit, f);
	if (rc < 0)
		return rc;
	char run_path[sizeof(PATH_RUN) + UUID_TEXT_SIZE];
	snprintf(run_path, sizeof(run_path), "%s/%s", PATH_RUN, uuid);
	CLEANUP_FD int run = open(run_path, OPEN_FOLDER);
	if (run < 0)
		return fault_set(f, -errno, "%s: %s", run_path, err_text(-errno));
	rc = listen_at(run, uuid, "launch.sock", SOCK_SEQPACKET, qemu_uid, &p.launch_listener, f);
	if (rc >= 0)
		rc = listen_at(run, uuid, "control.sock", SOCK_SEQPACKET, 0, &p.control_listener,
			       f);
	if (rc >= 0)
		rc = listen_at(run, uuid, PLACES_MIGRATE, SOCK_STREAM, qemu_uid,
			       &p.migrate_listener, f);
	if (rc >= 0)
		rc = open_monitor(run, uuid, &p, f);
	if (rc >= 0)
		rc = open_sockets(run, worker_uid, &p.sockets, f);
	if (rc < 0)
		return rc;
	p.log = out->log;
	*out = p;
	p = PLACES_NONE;
	return 0;
}
