/* SPDX-License-Identifier: BSD-3-Clause */
/* Attacks around a worker's start: its environment, its folders, its sockets, its callers. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/paths.h"
#include "base/spawn.h"
#include "cli/selftest.h"
#include "libvirt/control.h"

#define LD_MARK	  PATH_RUN "/ld"
#define PLANTED	  PATH_RUN "/openssl.cnf"
#define ANSWER_MS 5000
#define NOTICE_MS 1500
#define HOLD_S	  8

/* 1 if there is a file of the dynamic loader's for process PID: it has read our environment. */
static int loader_marked(pid_t pid)
{
	char path[sizeof(LD_MARK) + 16];
	snprintf(path, sizeof(path), "%s.%d", LD_MARK, (int)pid);
	return access(path, F_OK) == 0;
}

/* Does this loader do what we think?  A program of ours that inherits the environment tells. */
static int loader_marks(void)
{
	static char self[] = "/proc/self/exe", version[] = "--version";
	char *const argv[] = { self, version, NULL };
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 1);
		dup2(null, 2);
		execv(self, argv);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && loader_marked(pid);
}

/* 1 if the program at PATH names a dynamic loader, 0 if not, -1 if it cannot be read. */
static int has_loader(const char *path)
{
	Elf64_Ehdr head;
	Elf64_Phdr part;
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, &head, sizeof(head), 0) != sizeof(head) ||
	    memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64)
		return -1;
	for (unsigned int i = 0; i < head.e_phnum; i++) {
		off_t at = (off_t)(head.e_phoff + i * sizeof(part));
		if (pread(fd, &part, sizeof(part), at) != sizeof(part))
			return -1;
		if (part.p_type == PT_INTERP)
			return 1;
	}
	return 0;
}

/* Whoever starts the hook has an environment of their own. */
ATTACK(environment)
{
	static const char *const HOSTILE[][2] = {
		{ "LD_DEBUG", "all" },
		{ "LD_DEBUG_OUTPUT", LD_MARK },
		{ "LD_PRELOAD", PATH_RUN "/x.so" },
		{ "LD_AUDIT", PATH_RUN "/x.so" },
		{ "LD_LIBRARY_PATH", PATH_RUN },
		{ "GCONV_PATH", PATH_RUN },
		{ "OPENSSL_CONF", PLANTED },
		{ "OPENSSL_MODULES", PATH_RUN },
		{ "OPENSSL_ENGINES", PATH_RUN },
		{ "GLIBC_TUNABLES", "glibc.malloc.check=3" },
	};
	struct fault f = { 0 };
	victim_stop(v);
	for (size_t i = 0; i < sizeof(HOSTILE) / sizeof(HOSTILE[0]); i++)
		setenv(HOSTILE[i][0], HOSTILE[i][1], 1);
	if (!loader_marks()) {
		find_impossible(out, "this loader leaves no mark of reading LD_DEBUG_OUTPUT");
		return;
	}
	if (victim_start(v, &f) < 0) {
		find_open(out, "the VM does not start: %s", f.text);
		return;
	}
	for (size_t i = 0; i < v->n_pids; i++) {
		if (loader_marked(v->pids[i]))
			find_open(out, "the loader of process %d obeyed the hook's environment",
				  (int)v->pids[i]);
	}
	int loader = has_loader(PATH_LAUNCH);
	if (loader != 0)
		find_open(out, PATH_LAUNCH " %s",
			  loader > 0 ? "has a dynamic loader, which reads the domain's environment"
				     : "cannot be read");
	find_closed(out, "no process of the VM saw the %zu variables; the launcher has no loader",
		    sizeof(HOSTILE) / sizeof(HOSTILE[0]));
}

/* 1 if the inotify descriptor has something to tell. */
static int noticed(int notify)
{
	struct pollfd p = { .fd = notify, .events = POLLIN };
	return poll(&p, 1, 0) > 0;
}

ATTACK(openssl_config)
{
	static const char *const CONFIGS[] = { "/usr/lib/ssl/openssl.cnf", "/etc/ssl/openssl.cnf",
					       "/etc/pki/tls/openssl.cnf" };
	static const char EVIL[] = "openssl_conf = a\n[a]\nengines = b\n[b]\ne = c\n[c]\n"
				   "engine_id = e\ndynamic_path = " PATH_RUN "/e.so\ninit = 1\n";
	struct fault f = { 0 };
	const char *config = NULL;
	for (size_t i = 0; i < sizeof(CONFIGS) / sizeof(CONFIGS[0]) && !config; i++)
		config = access(CONFIGS[i], F_OK) == 0 ? CONFIGS[i] : NULL;
	if (!config) {
		find_impossible(out, "this host has no openssl.cnf where it usually is");
		return;
	}
	victim_stop(v);
	int rc = fd_write_file(AT_FDCWD, PLANTED, EVIL, sizeof(EVIL) - 1, 0644, 1, &f);
	CLEANUP_FD int notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (rc < 0 || notify < 0 || mount(PLANTED, config, NULL, MS_BIND, NULL) < 0) {
		find_impossible(out, "%s cannot be replaced: %s", config,
				rc < 0 ? f.text : err_text(-errno));
		return;
	}
	int watch = inotify_add_watch(notify, config, IN_OPEN | IN_ACCESS);
	rc = victim_start(v, &f);
	if (noticed(notify))
		find_open(out, "the worker reads %s", config);
	/* Would it have been noticed? */
	CLEANUP_FD int fd = open(config, O_RDONLY | O_CLOEXEC);
	if (watch < 0 || fd < 0 || !noticed(notify))
		find_impossible(out, "who opens %s is not told here", config);
	umount2(config, MNT_DETACH);
	if (rc < 0)
		find_open(out, "the VM does not start: %s", f.text);
	find_closed(out, "nobody opened a planted %s", config);
}

/* ---- Folders -------------------------------------------------------------------------------- */

/* What a local user could do to NAME in FOLDER. */
static void meddle(const char *folder, const char *name, struct finding *out)
{
	char path[256], other[256];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	snprintf(other, sizeof(other), "%s/.planted", folder);
	CLEANUP_FD int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0)
		find_open(out, "QEMU's user can open %s", path);
	if (symlink("/etc/shadow", other) == 0 || mkdir(other, 0777) == 0)
		find_open(out, "QEMU's user can put something into %s", folder);
	if (link(path, other) == 0 || link(path, "/tmp/.planted") == 0)
		find_open(out, "QEMU's user can link %s", path);
	if (rename(path, other) == 0 || unlink(path) == 0)
		find_open(out, "QEMU's user can move or remove %s", path);
}

ATTACK(planted_links)
{
	char run[128], state[128];
	snprintf(run, sizeof(run), "%s/%s", PATH_RUN, v->uuid);
	snprintf(state, sizeof(state), "%s/%s", PATH_STATE, v->uuid);
	const char *const PLACES[][2] = {
		{ PATH_ETC, "host.jwk" },	 { PATH_EK_CA, "ca.key" },
		{ PATH_STATE, v->uuid },	 { state, "tpm2.state" },
		{ PATH_REGISTRY, "audit.head" }, { PATH_LOG, "audit.jsonl" },
		{ PATH_RUN, v->uuid },		 { run, "lock" },
		{ run, "control.sock" },	 { run, "launch.sock" },
		{ run, "migrate.sock" },	 { run, FOLDER_MIGRATION },
	};
	size_t n = sizeof(PLACES) / sizeof(PLACES[0]);
	for (size_t i = 0; i < n; i++) {
		/* Folders may be looked up, not into. */
		if (strcmp(PLACES[i][1], v->uuid) == 0)
			meddle(PLACES[i][0], ".", out);
		else
			meddle(PLACES[i][0], PLACES[i][1], out);
	}
	find_closed(out, "reading, linking, moving and planting refused in %zu places", n);
}

/* ---- Callers -------------------------------------------------------------------------------- */

/* A worker, started by QEMU's user with an order of their own. */
ATTACK(forged_order)
{
	static char name[] = "shieldvm-worker";
	char *const argv[] = { name, NULL };
	static uint8_t message[sizeof(struct spawn_request) + PROTECTOR_TEXT_MAX];
	struct spawn_request request = { .magic = SPAWN_MAGIC,
					 .version = SPAWN_VERSION,
					 .worker_uid = v->uid,
					 .qemu_uid = v->qemu_uid,
					 .protector_bytes = (uint32_t)strlen(v->protector) };
	struct spawn_reply reply = { 0 };
	int ends[2];
	memcpy(request.vm, v->facts.vm, UUID_BYTES);
	memcpy(message, &request, sizeof(request));
	memcpy(message + sizeof(request), v->protector, request.protector_bytes);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) < 0) {
		find_impossible(out, "socketpair: %s", err_text(-errno));
		return;
	}
	CLEANUP_FD int ours = ends[0];
	CLEANUP_FD int lock = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(ends[1], SPAWN_FD);
		(void)!fd_close_from(SPAWN_FD + 1);
		execv(PATH_WORKER, argv);
		_exit(127);
	}
	close(ends[1]);
	int rc = fd_send(ours, message, sizeof(request) + request.protector_bytes, &lock, 1);
	struct pollfd p = { .fd = ours, .events = POLLIN };
	ssize_t got = rc < 0 || poll(&p, 1, ANSWER_MS) <= 0
			      ? -1
			      : recv(ours, &reply, sizeof(reply), MSG_DONTWAIT);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	reply.text[sizeof(reply.text) - 1] = '\0';
	if (got == (ssize_t)sizeof(reply) && reply.kind != SPAWN_REFUSED)
		find_open(out, "the worker took the order of QEMU's user");
	else if (got == (ssize_t)sizeof(reply))
		find_closed(out, "refused: %.150s", reply.text);
	else
		find_closed(out, "it ended without an answer");
}

ATTACK(control_socket)
{
	struct control_reply reply;
	struct fault f = { 0 };
	static const enum control_kind KINDS[] = { CONTROL_STATUS, CONTROL_ARM, CONTROL_STOP };
	for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); i++)
		if (control_ask(v->facts.vm, KINDS[i], &reply, &f) == 0)
			find_open(out, "the broker answers QEMU's user (request %d)",
				  (int)KINDS[i]);
	find_closed(out, "%.150s", f.text);
}

/* The VM has its QEMU; here comes another one. */
ATTACK(second_launcher)
{
	struct fault f = { 0 };
	int fds[3];
	CLEANUP_FD int monitor = monitor_listener();
	if (launch_claim(v->facts.vm, monitor, fds, &f) == 0)
		find_open(out, "a second launcher gets the vTPM");
	find_closed(out, "%.150s", f.text);
}

/* Ask for the launch, and be gone before the answer; somebody else keeps the connection. */
static _Noreturn void claim_and_die(const struct victim *v)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct launch_request request = { .magic = SPAWN_MAGIC, .version = SPAWN_VERSION };
	memcpy(request.vm, v->facts.vm, UUID_BYTES);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s/launch.sock", PATH_RUN,
		 v->uuid);
	int monitor = monitor_listener(), fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	int rc = become_user(v->qemu_uid);
	if (rc < 0 || monitor < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    fd_send(fd, &request, sizeof(request), &monitor, 1) < 0)
		_exit(1);
	if (fork() == 0) {
		sleep(HOLD_S);
		_exit(0);
	}
	_exit(0);
}

/* A process with the id PID, which is free. */
static pid_t process_with_id(pid_t pid)
{
	struct clone_args args = { .exit_signal = SIGCHLD,
				   .set_tid = (uint64_t)(uintptr_t)&pid,
				   .set_tid_size = 1 };
	pid_t child = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (child == 0)
		for (;;)
			pause();
	return child;
}

/*
 * The launcher dies while the broker sleeps, and somebody else gets its process id: they must not
 * be taken for QEMU, nor be killed for it.
 */
ATTACK(pid_reuse)
{
	struct control_reply reply = { 0 };
	struct fault f = { 0 };
	int status = 1;
	victim_stop(v);
	if (victim_prepare(v, &f) < 0 || control_ask(v->facts.vm, CONTROL_ARM, &reply, &f) < 0) {
		find_open(out, "the VM does not start: %s", f.text);
		return;
	}
	kill(v->broker, SIGSTOP);
	pid_t launcher = fork();
	if (launcher == 0)
		claim_and_die(v);
	waitpid(launcher, &status, 0);
	pid_t bystander = process_with_id(launcher);
	kill(v->broker, SIGCONT);
	if (status != 0 || bystander != launcher) {
		find_impossible(out, "process id %d cannot be had again: %s", (int)launcher,
				err_text(-errno));
	} else {
		int ended = victim_has_ended(v, NOTICE_MS);
		int rc = ended ? ERR_STATE : control_ask(v->facts.vm, CONTROL_STATUS, &reply, &f);
		if (rc >= 0 && reply.launched && reply.qemu_pid == bystander)
			find_open(out, "the broker takes a stranger with its id for QEMU");
		if (waitpid(bystander, NULL, WNOHANG) != 0)
			find_open(out, "the stranger with QEMU's id was killed");
		find_closed(out, ended ? "the VM ended with its launcher"
				       : "the broker waits for another launcher");
	}
	if (bystander > 0) {
		kill(bystander, SIGKILL);
		waitpid(bystander, NULL, 0);
	}
}
