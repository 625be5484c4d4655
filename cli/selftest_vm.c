/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/selftest_vm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/paths.h"
#include "base/spawn.h"
#include "cli/selftest_tpm.h"
#include "crypto/seal.h"
#include "crypto/statehead.h"
#include "libvirt/control.h"
#include "libvirt/folders.h"
#include "libvirt/recorder.h"
#include "libvirt/spawner.h"

#define PROTECTOR_MAX PROTECTOR_TEXT_MAX
#define NEEDLE_BYTES  16
#define END_MS	      3000

/* ---- Canaries ------------------------------------------------------------------------------- */

const char *canary_in(const struct canaries *c, const void *mem, size_t n)
{
	for (size_t i = 0; i < c->n; i++)
		for (size_t at = 0; at + NEEDLE_BYTES <= c->of[i].n; at += NEEDLE_BYTES)
			if (memmem(mem, n, c->of[i].bytes + at, NEEDLE_BYTES))
				return c->of[i].name;
	return NULL;
}

static void canary_add(struct canaries *c, const char *name, const uint8_t *bytes, size_t n)
{
	if (c->n == SELFTEST_CANARIES_MAX || n > SELFTEST_CANARY_MAX)
		return;
	struct canary *new = &c->of[c->n++];
	snprintf(new->name, sizeof(new->name), "%s", name);
	memcpy(new->bytes, bytes, n);
	new->n = n;
}

/* ---- Its key -------------------------------------------------------------------------------- */

int victim_new(struct victim *v, unsigned int n, uid_t qemu_uid, const struct jwk *host,
	       const struct jwk *owner, struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(PROTECTOR_MAX);
	char path[sizeof(PATH_STATE) + UUID_TEXT_SIZE];
	*v = VICTIM_NONE;
	v->qemu_uid = qemu_uid;
	v->facts.level = LEVEL_SHIELDED;
	if (getrandom(v->facts.vm, UUID_BYTES, 0) != UUID_BYTES ||
	    getrandom(v->facts.tpm_id, sizeof(v->facts.tpm_id), 0) !=
		    (ssize_t)sizeof(v->facts.tpm_id))
		return fault_set(f, -errno, "getrandom: %s", err_text(-errno));
	uuid_format(v->facts.vm, v->uuid);
	/* From the end of the range that the hook gives out from its beginning: no VM of this host
	 * has this uid. */
	v->uid = WORKER_UID_BASE + WORKER_UID_COUNT - 1 - n;
	snprintf(path, sizeof(path), "%s/%s", PATH_STATE, v->uuid);
	if (mkdir(path, 0700) < 0 || chown(path, v->uid, v->uid) < 0)
		return fault_set(f, -errno, "%s: %s", path, err_text(-errno));
	int rc = key_new(&v->key);
	if (rc < 0)
		return fault_set(f, rc, "no VM key: %s", err_text(rc));
	rc = protector_make(&v->facts, &v->key, owner, &host, 1, NULL, &text, f);
	if (rc < 0)
		return rc;
	v->protector = strdup(buf_cstr(&text) ? buf_cstr(&text) : "");
	return v->protector ? 0 : -ENOMEM;
}

void victim_done(struct victim *v)
{
	victim_stop(v);
	key_done(&v->key);
	wipe(&v->canaries, sizeof(v->canaries));
	free(v->protector);
	v->protector = NULL;
}

/* ---- Its processes -------------------------------------------------------------------------- */

/* The owner of process PID; -1 if it has ended, also if nobody has asked yet how. */
static int64_t process_uid(const char *pid)
{
	char path[64], line[256];
	unsigned int uid;
	int64_t found = -1;
	snprintf(path, sizeof(path), "/proc/%s/status", pid);
	FILE *file = fopen(path, "re");
	while (file && found < 0 && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "State:\tZ", 8) == 0)
			break;
		if (sscanf(line, "Uid: %u", &uid) == 1)
			found = uid;
	}
	if (file)
		fclose(file);
	return found;
}

/* Fills v->pids, the worker before all others. */
static void find_processes(struct victim *v)
{
	DIR *dir = opendir("/proc");
	v->n_pids = 0;
	v->pids[v->n_pids++] = v->worker;
	for (struct dirent *e; dir && (e = readdir(dir));) {
		pid_t pid = atoi(e->d_name);
		if (pid > 0 && pid != v->worker && process_uid(e->d_name) == v->uid &&
		    v->n_pids < SELFTEST_PIDS_MAX)
			v->pids[v->n_pids++] = pid;
	}
	if (dir)
		closedir(dir);
}

int victim_has_ended(const struct victim *v, int patience_ms)
{
	int64_t deadline = clock_ms() + patience_ms;
	for (;;) {
		int alive = 0;
		/* The broker is this process's child; others are nobody's, or were. */
		(void)waitpid(v->broker, NULL, WNOHANG);
		for (size_t i = 0; i < v->n_pids; i++) {
			char pid[16];
			snprintf(pid, sizeof(pid), "%d", (int)v->pids[i]);
			alive |= process_uid(pid) == v->uid;
		}
		if (!alive || !clock_wait(deadline))
			return !alive;
	}
}

static int record_start(const struct victim *v, struct fault *f)
{
	CLEANUP_RECORDER struct recorder *recorder = NULL;
	int rc = recorder_open("selftest", &recorder, f);
	if (rc < 0)
		return rc;
	recorder_about(recorder, v->facts.vm, "selftest", level_name(v->facts.level));
	rc = recorder_write(recorder, AUDIT_START, AUDIT_DONE, "", "a throw-away VM", f);
	return rc < 0 ? rc : recorder_sign(recorder, f);
}

int victim_prepare(struct victim *v, struct fault *f)
{
	CLEANUP_FOLDERS struct folders folders = { -1, -1, -1, 0 };
	struct control_reply reply;
	struct spawner_outcome outcome;
	int rc = folders_open(v->facts.vm, &folders, f);
	if (rc >= 0)
		rc = record_start(v, f);
	if (rc < 0)
		return rc;
	const struct spawner_order order = { .vm = v->facts.vm,
					     .name = "selftest",
					     .protector = v->protector,
					     .protector_bytes = strlen(v->protector),
					     .worker_uid = folders.uid,
					     .qemu_uid = v->qemu_uid,
					     .may_be_new = 1,
					     .lock = folders.lock };
	rc = spawner_run(&order, &outcome, f);
	if (rc >= 0)
		rc = control_ask(v->facts.vm, CONTROL_STATUS, &reply, f);
	if (rc < 0)
		return rc;
	v->worker = reply.worker_pid;
	v->broker = reply.broker_pid;
	find_processes(v);
	return 0;
}

int become_user(uid_t uid)
{
	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	return 0;
}

int monitor_listener(void)
{
	struct sockaddr_un any = { .sun_family = AF_UNIX };
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(sa_family_t)) < 0 ||
	    listen(fd, 1) < 0)
		return -errno;
	return fd_take(&fd);
}

int launch_claim(const uint8_t vm[static UUID_BYTES], int monitor, int fds[static 3],
		 struct fault *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct launch_request request = { .magic = SPAWN_MAGIC, .version = SPAWN_VERSION };
	struct launch_reply reply = { 0 };
	int got_fds[FD_PASS_MAX];
	char uuid[UUID_TEXT_SIZE];
	size_t n_fds = 0;
	uuid_format(vm, uuid);
	memcpy(request.vm, vm, UUID_BYTES);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s/launch.sock", PATH_RUN, uuid);
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return fault_set(f, -errno, "the launch socket: %s", err_text(-errno));
	int rc = fd_send(fd, &request, sizeof(request), &monitor, 1);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	if (rc < 0 || poll(&p, 1, LAUNCH_TIMEOUT_MS / 2) <= 0)
		return fault_set(f, rc < 0 ? rc : -ETIMEDOUT, "the broker does not answer");
	ssize_t got = fd_recv(fd, &reply, sizeof(reply), got_fds, &n_fds);
	if (got == sizeof(reply) && reply.rc == 0 && n_fds == LAUNCH_FDS) {
		memcpy(fds, got_fds, LAUNCH_FDS * sizeof(fds[0]));
		return 0;
	}
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(&got_fds[i]);
	reply.text[sizeof(reply.text) - 1] = 0;
	return got == sizeof(reply) && reply.rc < 0
		       ? fault_set(f, reply.rc, "%s", reply.text)
		       : fault_set(f, ERR_STATE, "the broker closed the connection");
}

/* The stand-in for QEMU: launches, gives its descriptors to the parent, and is there. */
static _Noreturn void be_qemu(const struct victim *v, int sock)
{
	struct fault f = { 0 };
	struct launch_reply answer = { 0 };
	int fds[3] = { -1, -1, -1 };
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	/* Root makes it, as libvirtd would. */
	CLEANUP_FD int monitor = monitor_listener();
	int rc = monitor < 0 ? monitor : become_user(v->qemu_uid);
	if (rc >= 0)
		rc = launch_claim(v->facts.vm, monitor, fds, &f);
	/* As the launcher does it: this process ends with the worker. */
	if (rc >= 0 && (fcntl(fds[LAUNCH_FD_LIFELINE], F_SETOWN, getpid()) < 0 ||
			fcntl(fds[LAUNCH_FD_LIFELINE], F_SETSIG, SIGKILL) < 0 ||
			fcntl(fds[LAUNCH_FD_LIFELINE], F_SETFL, O_ASYNC | O_NONBLOCK) < 0))
		rc = -errno;
	answer.rc = rc;
	snprintf(answer.text, sizeof(answer.text), "%s", f.text[0] ? f.text : err_text(rc));
	rc = fd_send(sock, &answer, sizeof(answer), fds, rc < 0 ? 0 : 3);
	for (;;)
		pause();
}

static int launch(struct victim *v, struct fault *f)
{
	struct launch_reply answer;
	struct control_reply reply;
	int ends[2], fds[FD_PASS_MAX];
	size_t n = 0;
	int rc = control_ask(v->facts.vm, CONTROL_ARM, &reply, f);
	if (rc < 0)
		return rc;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return fault_set(f, -errno, "socketpair: %s", err_text(-errno));
	CLEANUP_FD int ours = ends[0];
	CLEANUP_FD int theirs = ends[1];
	v->qemu = fork();
	if (v->qemu < 0)
		return fault_set(f, -errno, "fork: %s", err_text(-errno));
	if (v->qemu == 0)
		be_qemu(v, theirs);
	fd_close(&theirs);
	struct pollfd p = { .fd = ours, .events = POLLIN };
	if (poll(&p, 1, LAUNCH_TIMEOUT_MS) <= 0 ||
	    fd_recv(ours, &answer, sizeof(answer), fds, &n) != sizeof(answer))
		return fault_set(f, ERR_STATE, "the stand-in for QEMU does not answer");
	if (answer.rc < 0 || n != 3)
		return fault_set(f, answer.rc < 0 ? answer.rc : ERR_STATE,
				 "the stand-in for QEMU gets no vTPM: %s", answer.text);
	v->ctrl = fds[LAUNCH_FD_CTRL];
	v->lifeline = fds[LAUNCH_FD_LIFELINE];
	v->monitor = fds[LAUNCH_FD_MONITOR];
	return control_ask(v->facts.vm, CONTROL_LAUNCHED, &reply, f);
}

/* The seeds are in the state file, and the VM key opens that. */
static int read_seeds(struct victim *v, struct fault *f)
{
	static const char *const NAMES[] = { "the endorsement seed", "the storage seed",
					     "the platform seed" };
	CLEANUP_BUF struct buf file = BUF_INIT(STATEHEAD_BYTES + SEAL_FILE_MAX);
	CLEANUP_BUF struct buf state = BUF_INIT(SEAL_PLAINTEXT_MAX);
	char path[sizeof(PATH_STATE) + UUID_TEXT_SIZE + 16];
	const uint8_t *seeds[3];
	uint64_t version;
	size_t head;
	struct seal *seal;
	snprintf(path, sizeof(path), "%s/%s/tpm2.state", PATH_STATE, v->uuid);
	int rc = fd_read_file(AT_FDCWD, path, &file, f);
	if (rc >= 0)
		rc = statehead_parse(file.data, file.len, &version, &head, f);
	if (rc < 0)
		return rc;
	rc = seal_new(&v->key, KEY_USE_VTPM_STATE, v->facts.vm, v->facts.tpm_id,
		      sizeof(v->facts.tpm_id), &seal);
	if (rc < 0)
		return fault_set(f, rc, "no key for the vTPM's state: %s", err_text(rc));
	rc = seal_bind(seal, file.data, head);
	if (rc >= 0)
		rc = seal_open(seal, file.data + head, file.len - head, &state, f);
	seal_free(seal);
	if (rc < 0)
		return rc;
	if (!memmem(state.data, state.len, v->canaries.of[1].bytes, TPM_NV_BYTES))
		return fault_set(f, ERR_STATE, "what was written to the vTPM is not in its state");
	if (tpm_find_seeds(state.data, state.len, seeds) != 3)
		return fault_set(f, ERR_FORMAT, "the vTPM's state has its seeds somewhere else");
	for (size_t i = 0; i < 3; i++)
		canary_add(&v->canaries, NAMES[i], seeds[i], TPM_SEED_BYTES);
	return 0;
}

static int plant(struct victim *v, struct fault *f)
{
	uint8_t nv[TPM_NV_BYTES], back[TPM_NV_BYTES];
	v->canaries.n = 0;
	if (getrandom(nv, sizeof(nv), 0) != (ssize_t)sizeof(nv))
		return fault_set(f, -errno, "getrandom: %s", err_text(-errno));
	canary_add(&v->canaries, "the VM key", v->key.bytes, KEY_BYTES);
	canary_add(&v->canaries, "the NV index", nv, sizeof(nv));
	int rc = tpm_nv_write(v->data, nv);
	if (rc >= 0)
		rc = tpm_nv_read(v->data, back);
	/* The last thing the vTPM does before it blocks is something without secrets. */
	if (rc >= 0 && memcmp(nv, back, sizeof(nv)) != 0)
		rc = ERR_STATE;
	if (rc < 0)
		return fault_set(f, rc, "the vTPM does not keep an NV index: %s", err_text(rc));
	return read_seeds(v, f);
}

int victim_start(struct victim *v, struct fault *f)
{
	int rc = victim_prepare(v, f);
	if (rc >= 0)
		rc = launch(v, f);
	if (rc < 0)
		return rc;
	rc = tpm_start(v->ctrl, &v->data);
	if (rc < 0)
		return fault_set(f, rc, "the vTPM does not start: %s", err_text(rc));
	rc = plant(v, f);
	if (rc >= 0)
		find_processes(v);
	return rc;
}

static void signal_processes(const struct victim *v, int sig)
{
	for (size_t i = 0; i < v->n_pids; i++) {
		char pid[16];
		snprintf(pid, sizeof(pid), "%d", (int)v->pids[i]);
		if (process_uid(pid) == v->uid)
			kill(v->pids[i], sig);
	}
}

void victim_stop(struct victim *v)
{
	struct fault ignored = { 0 };
	fd_close(&v->ctrl);
	fd_close(&v->data);
	fd_close(&v->lifeline);
	fd_close(&v->monitor);
	if (v->qemu > 0) {
		kill(v->qemu, SIGKILL);
		waitpid(v->qemu, NULL, 0);
		v->qemu = 0;
	}
	if (v->broker > 0) {
		/* It ends with its QEMU; what has none yet, or stands still, is told to. */
		(void)victim_has_ended(v, END_MS);
		signal_processes(v, SIGCONT);
		(void)!control_stop(v->facts.vm, &ignored);
		if (!victim_has_ended(v, END_MS))
			signal_processes(v, SIGKILL);
	}
	if (v->broker > 0)
		(void)!folders_clear_run(v->facts.vm, &ignored);
	v->broker = v->worker = 0;
	v->n_pids = 0;
}

int victim_answers(const struct victim *v, int patience_ms)
{
	struct control_reply reply;
	int64_t deadline = clock_ms() + patience_ms;
	do {
		if (tpm_get_random(v->data) == 0 &&
		    control_ask(v->facts.vm, CONTROL_STATUS, &reply, NULL) == 0)
			return 1;
	} while (clock_wait(deadline));
	return 0;
}

/* ---- The decoy ------------------------------------------------------------------------------ */

/* Keeps the canaries where a careless worker would, and goes to sleep again and again. */
static _Noreturn void be_decoy(const struct canaries *secrets, uid_t uid, int sock)
{
	struct canaries on_stack = *secrets;
	struct canaries *on_heap = malloc(sizeof(*on_heap));
	int file = memfd_create("decoy", MFD_CLOEXEC);
	struct pollfd p = { .fd = sock, .events = POLLIN };
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (become_user(uid) < 0)
		_exit(EXIT_ENVIRONMENT);
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	signal(SIGQUIT, SIG_DFL); /* a shell's background job ignores it */
	if (!on_heap || file < 0 || chdir(DECOY_FOLDER) < 0)
		_exit(EXIT_ENVIRONMENT);
	*on_heap = on_stack;
	(void)!write(file, on_heap, sizeof(*on_heap));
	/* To itself: what nobody reads stays queued. */
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0)
		(void)!write(ends[0], on_heap, sizeof(*on_heap));
	(void)!write(sock, "", 1);
	while (poll(&p, 1, 5) == 0)
		continue;
	_exit((int)(on_stack.n + on_heap->n) & 0);
}

int decoy_start(const struct victim *like, struct victim *decoy, struct fault *f)
{
	int ends[2];
	char byte;
	*decoy = VICTIM_NONE;
	decoy->canaries = like->canaries;
	decoy->is_decoy = 1;
	decoy->uid = like->uid - 2; /* one is the other VM's */
	if ((mkdir(DECOY_FOLDER, 0700) < 0 && errno != EEXIST) ||
	    chown(DECOY_FOLDER, decoy->uid, decoy->uid) < 0)
		return fault_set(f, -errno, DECOY_FOLDER ": %s", err_text(-errno));
	decoy->qemu_uid = like->qemu_uid;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return fault_set(f, -errno, "socketpair: %s", err_text(-errno));
	decoy->data = ends[0];
	CLEANUP_FD int theirs = ends[1];
	decoy->worker = fork();
	if (decoy->worker < 0)
		return fault_set(f, -errno, "fork: %s", err_text(-errno));
	if (decoy->worker == 0) {
		close(ends[0]);
		be_decoy(&like->canaries, decoy->uid, theirs);
	}
	decoy->pids[decoy->n_pids++] = decoy->worker;
	fd_close(&theirs);
	return read(decoy->data, &byte, 1) == 1
		       ? 0
		       : fault_set(f, ERR_STATE, "the decoy does not start");
}

void decoy_stop(struct victim *decoy)
{
	fd_close(&decoy->data);
	if (decoy->worker > 0) {
		kill(decoy->worker, SIGKILL);
		waitpid(decoy->worker, NULL, 0);
		decoy->worker = 0;
	}
}
