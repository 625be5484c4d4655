/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm-launch: the <emulator> of a shielded domain.
 *
 * libvirt starts it where it would start QEMU, and it becomes QEMU: same pid, same descriptors.  A
 * capability probe goes straight through.  For a domain it checks the arguments, gives libvirt's
 * monitor listener, and the file to restore from if there is one, to the VM's broker, and fetches
 * from there QEMU's end of the vTPM's control channel, which it puts where the TPM's socket was
 * named, and another listener, which it puts in the place of libvirt's.
 *
 * It runs as QEMU's user with an environment and arguments that are somebody else's, and is not the
 * trust root: it holds no secret.  Statically linked, so that no loader looks at that environment
 * before main() does.
 *
 * The lifeline: a socket whose other end only the worker has.  Armed here, before the exec, with
 * O_ASYNC and SIGKILL for this process: if the worker ends, for whatever reason, the kernel kills
 * QEMU.  A shielded VM does not run without its TPM's owner.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/paths.h"
#include "base/spawn.h"
#include "libvirt/launchargs.h"
#include "libvirt/launchfence.h"

#define INCOMING_FD_MAX 1024 /* libvirt's numbers are small */

extern char **environ;

struct grant {
	int ctrl, lifeline, monitor;
};

static int connect_broker(const char *uuid, struct fault *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = LAUNCH_TIMEOUT_MS / 1000 };
	struct ucred who = { 0 };
	socklen_t size = sizeof(who);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s/launch.sock", PATH_RUN, uuid);
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	/* connect(2) waits as long as the broker's backlog is full. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
		return fault_set(f, -errno, "socket: %s", err_text(-errno));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int rc = -errno;
		if (rc == -ENOENT || rc == -ECONNREFUSED)
			return fault_set(
				f, ERR_STATE,
				"VM %s has no worker; is shieldvm's hook in place (shieldvm "
				"host init), and was libvirtd told of it?",
				uuid);
		return fault_set(f, rc, "%s: %s", address.sun_path, err_text(rc));
	}
	/* Whoever called listen(2): root, before it became the broker. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 || who.uid != 0)
		return fault_set(f, -EPERM, "%s is not root's", address.sun_path);
	return fd_take(&fd);
}

/* The broker's answer to a request already sent. */
static int receive_grant(int sock, struct grant *out, struct fault *f)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	struct launch_reply reply;
	int fds[FD_PASS_MAX], rc;
	size_t n_fds;
	int64_t deadline = clock_ms() + LAUNCH_TIMEOUT_MS;
	do
		rc = poll(&p, 1, clock_left_ms(deadline));
	while (rc < 0 && errno == EINTR);
	if (rc <= 0)
		return fault_set(f, -ETIMEDOUT, "the VM's broker does not answer");
	ssize_t got = fd_recv(sock, &reply, sizeof(reply), fds, &n_fds);
	if (got == sizeof(reply) && reply.magic == SPAWN_MAGIC && reply.version == SPAWN_VERSION &&
	    reply.rc == 0 && n_fds == LAUNCH_FDS) {
		*out = (struct grant){ fds[LAUNCH_FD_CTRL], fds[LAUNCH_FD_LIFELINE],
				       fds[LAUNCH_FD_MONITOR] };
		return 0;
	}
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(&fds[i]);
	if (got == sizeof(reply) && reply.magic == SPAWN_MAGIC && reply.rc < 0) {
		reply.text[sizeof(reply.text) - 1] = 0;
		return fault_set(f, reply.rc, "the VM's worker refuses: %s", reply.text);
	}
	return fault_set(f, ERR_STATE, "the VM's broker has gone, or is of another version");
}

/*
 * What libvirt lets QEMU inherit to restore from is a file or pipe to read, and no argument tells
 * of it.  The worker reads it; QEMU gets none of it.
 */
static int find_incoming(int argc, char *const *argv, struct launch_request *request,
			 int fds[static FD_PASS_MAX], struct fault *f)
{
	for (int fd = 3; fd < INCOMING_FD_MAX; fd++) {
		struct stat st;
		int flags = fcntl(fd, F_GETFL);
		if (flags < 0 || (flags & O_ACCMODE) != O_RDONLY || (flags & O_PATH) ||
		    fstat(fd, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode)) ||
		    launchargs_names_fd(argc, argv, fd))
			continue;
		if (request->n_incoming == LAUNCH_INCOMING_MAX)
			return fault_set(f, ERR_LIMIT,
					 "more than %d files were given to restore from",
					 LAUNCH_INCOMING_MAX);
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return fault_set(f, -errno, "F_SETFD: %s", err_text(-errno));
		request->incoming_fd[request->n_incoming++] = fd;
		fds[request->n_incoming] = fd;
	}
	return 0;
}

static int ask_broker(int argc, char *const *argv, const struct qemu_args *args, struct grant *out,
		      struct fault *f)
{
	struct launch_request request = { .magic = SPAWN_MAGIC,
					  .version = SPAWN_VERSION,
					  .incoming = (uint32_t)args->incoming };
	int fds[FD_PASS_MAX] = { args->monitor_fd };
	char uuid[UUID_TEXT_SIZE];
	uuid_format(args->vm, uuid);
	CLEANUP_FD int sock = connect_broker(uuid, f);
	if (sock < 0)
		return sock;
	memcpy(request.vm, args->vm, UUID_BYTES);
	int rc = args->incoming ? find_incoming(argc, argv, &request, fds, f) : 0;
	if (rc < 0)
		return rc;
	rc = fd_send(sock, &request, sizeof(request), fds, 1 + request.n_incoming);
	if (rc < 0)
		return fault_set(f, rc, "the VM's broker cannot be asked: %s", err_text(rc));
	return receive_grant(sock, out, f);
}

/* From here on this process, as QEMU, ends with the worker. */
static int arm_lifeline(int fd, struct fault *f)
{
	struct pollfd p = { .fd = fd };
	if (fcntl(fd, F_SETOWN, getpid()) < 0 || fcntl(fd, F_SETSIG, SIGKILL) < 0 ||
	    fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK) < 0)
		return fault_set(f, -errno, "the lifeline cannot be armed: %s", err_text(-errno));
	/* A worker that ended before this would not be heard of any more. */
	if (poll(&p, 1, 0) != 0)
		return fault_set(f, ERR_STATE, "the VM's worker has ended");
	return 0;
}

static int become_qemu(char *const *argv, struct fault *f)
{
	char **env = launchargs_environment(environ);
	if (!env || !argv)
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	execve(PATH_QEMU, argv, env);
	return fault_set(f, -errno, "%s: %s", PATH_QEMU, err_text(-errno));
}

static int run(int argc, char **argv, struct fault *f)
{
	struct qemu_args args;
	struct grant grant = { -1, -1, -1 };
	static char qemu[] = PATH_QEMU;
	if (launchargs_kind(argc, argv) != LAUNCHARGS_SHIELDED) {
		argv[0] = qemu;
		return become_qemu(argv, f);
	}
	int rc = qemu_args_check(argc, argv, &args, f);
	if (rc >= 0)
		rc = ask_broker(argc, argv, &args, &grant, f);
	if (rc >= 0)
		rc = arm_lifeline(grant.lifeline, f);
	if (rc < 0)
		return rc;
	/* Both are QEMU's: one by its number in the arguments, one just to be there. */
	if (fcntl(grant.ctrl, F_SETFD, 0) < 0 || fcntl(grant.lifeline, F_SETFD, 0) < 0)
		return fault_set(f, -errno, "F_SETFD: %s", err_text(-errno));
	/* QEMU finds the worker where its arguments name libvirt's listener. */
	if (dup2(grant.monitor, args.monitor_fd) < 0)
		return fault_set(f, -errno, "dup2: %s", err_text(-errno));
	rc = launchfence_raise(f);
	/* An older kernel has no Landlock; QEMU's log tells. */
	if (rc == -ENOSYS || rc == -EOPNOTSUPP)
		fprintf(stderr, "shieldvm-launch: %s\n", f->text);
	else if (rc < 0)
		return rc;
	return become_qemu(launchargs_vector(argc, argv, qemu, &args, grant.ctrl), f);
}

int main(int argc, char **argv)
{
	struct fault f = { 0 };
	if (argc < 1)
		return EXIT_USAGE;
	int rc = run(argc, argv, &f);
	fprintf(stderr, "shieldvm-launch: %s\n", f.text[0] ? f.text : err_text(rc));
	return (int)err_exit_code(rc);
}
