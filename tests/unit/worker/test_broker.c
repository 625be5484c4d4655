/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The broker, unsealed and as a child of this test, with a worker that only waits for the end of
 * its link: friendly, slow, hostile and too many clients.
 */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "worker/broker.h"
#include "worker/door.h"

#define STRANGER_UID 12345U
#define QEMU_UID     23456U

static const uint8_t vm[UUID_BYTES] = { 1, 2, 3 };
static const uint8_t other_vm[UUID_BYTES] = { 9 };

static int root_listener; /* as libvirtd's */

struct bed {
	char dir[64];
	pid_t broker;
	int ctrl, lifeline; /* the worker's ends, as this test holds them */
	int told;	    /* what the worker tells of its link */
	int qemus;	    /* the worker's end of it */
};

struct options {
	int silent;  /* the worker does not say that it is ready */
	int hanging; /* it does not end either */
	int comes;   /* the VM is to come from another host */
	int window_ms, grace_ms;
};

/* As libvirtd's and QEMU's monitors are; bound to a name that the kernel chooses. */
static int stream_listener(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a.sun_family)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static int listen_at(const struct bed *bed, const char *name, int type)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/%s", bed->dir, name);
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(chmod(a.sun_path, 0666), 0);
	assert_int_equal(listen(fd, 64), 0);
	return fd;
}

static const struct protections WORKER_PROTECTIONS = { 0x2345, 6 };
static const struct protections BROKER_PROTECTIONS = { 0x1234, 7 };

/* Where a migration would come in: 1 if there is such a listener, 0 if it is refused. */
static int may_listen(int link)
{
	struct fault f = { 0 };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(a);
	int listener = -1, on = 0;
	char text[32];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(fd, (struct sockaddr *)&a, size) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &size) < 0)
		_exit(8);
	close(fd);
	snprintf(text, sizeof(text), "127.0.0.1:%d", ntohs(a.sin_port));
	const struct door door = { .link = link };
	int rc = door_ask(&door, DOOR_LISTEN, text, &listener, &f);
	size = sizeof(on);
	if (rc >= 0 && (getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &on, &size) < 0 || !on))
		_exit(8);
	fd_close(&listener);
	return rc >= 0;
}

/* How often may the worker at LINK? */
static unsigned int listeners(int link)
{
	unsigned int n = 0;
	while (n <= DOOR_LISTENERS && may_listen(link))
		n++;
	return n;
}

/* The worker tells of every order that it is given. */
static _Noreturn void be_worker(int link, int told, const struct options *o)
{
	const struct broker_news news = { .level = 2, .protections = WORKER_PROTECTIONS };
	struct broker_order order;
	int fds[FD_PASS_MAX];
	size_t n_fds;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!o->silent && fd_send(link, &news, sizeof(news), NULL, 0) < 0)
		_exit(9);
	while (fd_recv(link, &order, sizeof(order), fds, &n_fds) > 0) {
		char good = order.kind == BROKER_LAUNCHED && n_fds == 1 ? 'm' : '?';
		if (order.incoming && n_fds == 1 + order.n_incoming && n_fds == 3 &&
		    order.incoming_fd[0] == 23 && order.incoming_fd[1] == 29)
			good = 'i';
		/* So often, and only for a VM that waits for state. */
		if (listeners(link) != (good == 'i' ? DOOR_LISTENERS : 0))
			good = 'L';
		(void)!write(told, &good, 1);
		for (size_t i = 0; i < FD_PASS_MAX; i++)
			fd_close(&fds[i]);
	}
	while (o->hanging)
		pause();
	_exit(0);
}

static _Noreturn void be_broker(struct broker_config config, int link, int told,
				const struct options *o)
{
	struct fault f = { 0 };
	struct broker *b;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(50);
	config.worker = fork();
	if (config.worker == 0) {
		close(config.link);
		close(config.qemu_ctrl);
		close(config.qemu_lifeline);
		close(config.qemu_monitor);
		be_worker(link, told, o);
	}
	close(told);
	close(link);
	if (broker_new(&config, &b, &f) < 0)
		_exit(99);
	int status = broker_serve(NULL, b);
	broker_free(b);
	_exit(status);
}

static void start_with(struct bed *bed, const struct options *o)
{
	int link[2], ctrl[2], lifeline[2], told[2], qemus[2];
	snprintf(bed->dir, sizeof(bed->dir), "/tmp/test_broker.XXXXXX");
	assert_non_null(mkdtemp(bed->dir));
	assert_int_equal(chmod(bed->dir, 0755), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, link), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ctrl), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, lifeline), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, qemus), 0);
	assert_int_equal(pipe(told), 0);
	const struct broker_config config = {
		.vm = vm,
		.name = "dom",
		.qemu_uid = QEMU_UID,
		.worker_uid = 7,
		.comes = o->comes,
		.protections = BROKER_PROTECTIONS,
		.window_ms = o->window_ms ? o->window_ms : 40000,
		.grace_ms = o->grace_ms ? o->grace_ms : 20000,
		.launch_listener = listen_at(bed, "launch.sock", SOCK_SEQPACKET),
		.control_listener = listen_at(bed, "control.sock", SOCK_SEQPACKET),
		.link = link[0],
		.qemu_ctrl = ctrl[0],
		.qemu_lifeline = lifeline[0],
		.qemu_monitor = stream_listener(),
		.migrate_listener = listen_at(bed, "migrate.sock", SOCK_STREAM),
		.qemus = qemus[0]
	};
	bed->broker = fork();
	assert_true(bed->broker >= 0);
	if (bed->broker == 0) {
		close(ctrl[1]);
		close(lifeline[1]);
		close(told[0]);
		close(qemus[1]);
		be_broker(config, link[1], told[1], o);
	}
	close(told[1]);
	close(config.qemu_monitor);
	close(config.launch_listener);
	close(config.control_listener);
	close(config.migrate_listener);
	close(config.qemus);
	close(link[0]);
	close(link[1]);
	close(ctrl[0]);
	close(lifeline[0]);
	bed->ctrl = ctrl[1];
	bed->lifeline = lifeline[1];
	bed->told = told[0];
	bed->qemus = qemus[1];
}

static void remove_files(const struct bed *bed)
{
	char path[96];
	snprintf(path, sizeof(path), "%s/launch.sock", bed->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/control.sock", bed->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/migrate.sock", bed->dir);
	unlink(path);
	rmdir(bed->dir);
}

/* The broker ends by itself within LIMIT_MS; its wait status. */
static int wait_end(struct bed *bed, int limit_ms)
{
	int status;
	int64_t deadline = clock_ms() + limit_ms;
	while (waitpid(bed->broker, &status, WNOHANG) == 0) {
		if (!clock_wait(deadline)) {
			kill(bed->broker, SIGKILL);
			waitpid(bed->broker, &status, 0);
			remove_files(bed);
			fail_msg("the broker does not end");
		}
	}
	close(bed->ctrl);
	close(bed->lifeline);
	close(bed->qemus);
	remove_files(bed);
	return status;
}

static int connect_as(const struct bed *bed, const char *name, int type)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/%s", bed->dir, name);
	int fd = socket(AF_UNIX, type, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static int connect_to(const struct bed *bed, const char *name)
{
	return connect_as(bed, name, SOCK_SEQPACKET);
}

/* One message, or 0 if the other side closed instead; within 10 s. */
static ssize_t get(int fd, void *p, size_t n, int fds[static FD_PASS_MAX], size_t *n_fds)
{
	struct pollfd w = { .fd = fd, .events = POLLIN };
	assert_int_equal(poll(&w, 1, 10000), 1);
	ssize_t got = fd_recv(fd, p, n, fds, n_fds);
	return got == -ECONNRESET ? 0 : got;
}

static struct control_reply control(const struct bed *bed, uint32_t kind)
{
	const struct control_request q = { SPAWN_MAGIC, SPAWN_VERSION, kind };
	struct control_reply r = { 0 };
	int fds[FD_PASS_MAX];
	size_t n_fds;
	int fd = connect_to(bed, "control.sock");
	assert_int_equal(fd_send(fd, &q, sizeof(q), NULL, 0), 0);
	assert_int_equal(get(fd, &r, sizeof(r), fds, &n_fds), sizeof(r));
	assert_int_equal(n_fds, 0);
	assert_int_equal(r.magic, SPAWN_MAGIC);
	close(fd);
	return r;
}

/* The worker's ready takes its time to arrive. */
static void arm(const struct bed *bed)
{
	int64_t deadline = clock_ms() + 10000;
	while (control(bed, CONTROL_ARM).rc < 0)
		assert_true(clock_wait(deadline));
}

/* Launch over FD with MONITOR; the reply's rc, and the descriptors if it is 0. */
static int launch_with(int fd, const uint8_t *id, int monitor, int fds[static FD_PASS_MAX])
{
	struct launch_request q = { .magic = SPAWN_MAGIC, .version = SPAWN_VERSION };
	struct launch_reply r = { 0 };
	size_t n_fds;
	memcpy(q.vm, id, UUID_BYTES);
	assert_int_equal(fd_send(fd, &q, sizeof(q), &monitor, 1), 0);
	assert_int_equal(get(fd, &r, sizeof(r), fds, &n_fds), sizeof(r));
	assert_int_equal(n_fds, r.rc == 0 ? LAUNCH_FDS : 0);
	if (r.rc < 0)
		assert_int_not_equal(r.text[0], 0);
	return r.rc;
}

/* The same with a listener of root's, whoever launches. */
static int launch_over(int fd, const uint8_t *id, int fds[static FD_PASS_MAX])
{
	return launch_with(fd, id, root_listener, fds);
}

static int launch(const struct bed *bed, const uint8_t *id)
{
	int fds[FD_PASS_MAX];
	int fd = connect_to(bed, "launch.sock");
	int rc = launch_over(fd, id, fds);
	close(fd);
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(&fds[i]);
	return rc;
}

/* The same from a process of UID, which ends at once. */
static int launch_as(const struct bed *bed, uid_t uid)
{
	int pipes[2], rc;
	assert_int_equal(pipe(pipes), 0);
	pid_t pid = fork();
	if (pid == 0) {
		rc = setresuid(uid, uid, uid) < 0 ? 1 : launch(bed, vm);
		_exit(write(pipes[1], &rc, sizeof(rc)) == sizeof(rc) ? 0 : 1);
	}
	close(pipes[1]);
	assert_int_equal(read(pipes[0], &rc, sizeof(rc)), sizeof(rc));
	close(pipes[0]);
	waitpid(pid, NULL, 0);
	return rc;
}

static void stop(struct bed *bed)
{
	assert_int_equal(control(bed, CONTROL_STOP).rc, 0);
	assert_int_equal(wait_end(bed, 10000), 0);
}

static void test_whole_life(void **state)
{
	(void)state;
	struct bed bed;
	int fds[FD_PASS_MAX];
	char c = 'x';
	start_with(&bed, &(struct options){ 0 });
	arm(&bed);
	assert_int_equal(control(&bed, CONTROL_LAUNCHED).rc, ERR_STATE);
	int fd = connect_to(&bed, "launch.sock");
	assert_int_equal(launch_over(fd, vm, fds), 0);
	/* The worker has libvirt's listener before the launcher has its reply. */
	assert_int_equal(read(bed.told, &c, 1), 1);
	assert_int_equal(c, 'm');
	c = 'x';
	int listens = 0;
	socklen_t size = sizeof(listens);
	assert_int_equal(
		getsockopt(fds[LAUNCH_FD_MONITOR], SOL_SOCKET, SO_ACCEPTCONN, &listens, &size), 0);
	assert_int_equal(listens, 1);
	close(fds[LAUNCH_FD_MONITOR]);
	/* They are the other ends of what the worker has, and nobody else has them. */
	assert_int_equal(write(bed.ctrl, &c, 1), 1);
	c = 0;
	assert_int_equal(read(fds[0], &c, 1), 1);
	assert_int_equal(c, 'x');
	/* Whoever has the vTPM now: only libvirt's word makes it the VM's QEMU. */
	struct control_reply r = control(&bed, CONTROL_STATUS);
	assert_int_equal(r.launched, 1);
	assert_int_equal(r.started, 0);
	r = control(&bed, CONTROL_LAUNCHED);
	assert_int_equal(r.rc, 0);
	assert_int_equal(r.launched, 1);
	assert_int_equal(r.started, 1);
	r = control(&bed, CONTROL_STATUS);
	assert_int_equal(r.rc, 0);
	assert_int_equal(r.level, 2);
	assert_memory_equal(&r.worker, &WORKER_PROTECTIONS, sizeof(r.worker));
	assert_memory_equal(&r.broker, &BROKER_PROTECTIONS, sizeof(r.broker));
	assert_int_equal(r.broker_pid, bed.broker);
	assert_int_equal(r.qemu_pid, getpid());
	assert_int_equal(r.worker_uid, 7);
	assert_string_equal(r.name, "dom");
	assert_int_equal(launch(&bed, vm), ERR_STATE);
	close(fds[0]);
	assert_int_equal(read(bed.ctrl, &c, 1), 0);
	close(fds[1]);
	assert_int_equal(read(bed.lifeline, &c, 1), 0);
	close(fd);
	stop(&bed);
}

/* A listener of somebody's who is not root. */
static int stranger_listener(void)
{
	int fds[FD_PASS_MAX], pair[2];
	size_t n_fds;
	char c = 'l';
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	pid_t pid = fork();
	if (pid == 0) {
		if (setresuid(STRANGER_UID, STRANGER_UID, STRANGER_UID) < 0)
			_exit(1);
		int fd = stream_listener();
		_exit(fd_send(pair[1], &c, 1, &fd, 1) < 0);
	}
	assert_int_equal(get(pair[0], &c, 1, fds, &n_fds), 1);
	waitpid(pid, NULL, 0);
	close(pair[0]);
	close(pair[1]);
	return fds[0];
}

static void test_refusals(void **state)
{
	(void)state;
	struct bed bed;
	start_with(&bed, &(struct options){ 0 });
	assert_int_equal(launch(&bed, vm), ERR_STATE); /* not announced */
	arm(&bed);
	assert_int_equal(launch(&bed, other_vm), ERR_VM);
	assert_int_equal(launch_as(&bed, STRANGER_UID), -EPERM);
	assert_int_equal(control(&bed, CONTROL_LAUNCHED).rc, ERR_STATE);
	assert_int_equal(control(&bed, 99).rc, ERR_USAGE);
	/* What a launcher says is libvirt's monitor has to be a listener of root's. */
	int fds[FD_PASS_MAX], pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	const int wrong[] = { pair[0], bed.told, socket(AF_UNIX, SOCK_STREAM, 0),
			      stranger_listener(), socket(AF_INET, SOCK_STREAM, 0) };
	assert_int_equal(listen(wrong[4], 1), 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		int fd = connect_to(&bed, "launch.sock");
		assert_int_equal(launch_with(fd, vm, wrong[i], fds), ERR_STATE);
		close(fd);
	}
	/* None of that has used up the one launch. */
	assert_int_equal(launch(&bed, vm), 0);
	stop(&bed);
}

static void test_not_ready_is_not_armed(void **state)
{
	(void)state;
	struct bed bed;
	start_with(&bed, &(struct options){ .silent = 1 });
	assert_int_equal(control(&bed, CONTROL_ARM).rc, ERR_STATE);
	assert_int_equal(launch(&bed, vm), ERR_STATE);
	stop(&bed);
}

/* One that is not passed on is closed. */
static int is_passed(const struct bed *bed, int fd)
{
	struct pollfd slots[] = { { .fd = bed->qemus, .events = POLLIN },
				  { .fd = fd, .events = POLLIN } };
	int fds[FD_PASS_MAX];
	size_t n_fds;
	char byte;
	assert_true(poll(slots, 2, 10000) > 0);
	if (slots[1].revents)
		return 0;
	assert_int_equal(fd_recv(bed->qemus, &byte, 1, fds, &n_fds), 1);
	assert_int_equal(n_fds, 1);
	/* It is the other end of FD. */
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(read(fds[0], &byte, 1), 1);
	close(fds[0]);
	return 1;
}

/* QEMU migrates over several channels; nobody else does so in its place, of whatever uid. */
static void test_qemus_connections(void **state)
{
	(void)state;
	struct bed bed;
	start_with(&bed, &(struct options){ 0 });
	int fd = connect_as(&bed, "migrate.sock", SOCK_STREAM);
	assert_int_equal(is_passed(&bed, fd), 0); /* there is no QEMU yet */
	close(fd);
	arm(&bed);
	assert_int_equal(launch(&bed, vm), 0);
	for (int i = 0; i < 3; i++) {
		fd = connect_as(&bed, "migrate.sock", SOCK_STREAM);
		assert_int_equal(is_passed(&bed, fd), 1);
		close(fd);
	}
	pid_t other = fork();
	if (other == 0) {
		fd = connect_as(&bed, "migrate.sock", SOCK_STREAM);
		_exit(is_passed(&bed, fd));
	}
	int status;
	assert_int_equal(waitpid(other, &status, 0), other);
	assert_int_equal(status, 0);
	stop(&bed);
}

static void test_qemu_ends(void **state)
{
	(void)state;
	struct bed bed;
	start_with(&bed, &(struct options){ 0 });
	arm(&bed);
	assert_int_equal(launch_as(&bed, QEMU_UID), 0);
	/* Its process has ended with that, and the worker follows, and the broker. */
	assert_int_equal(wait_end(&bed, 10000), 0);
}

static void test_no_launcher_comes(void **state)
{
	(void)state;
	struct bed bed;
	start_with(&bed, &(struct options){ .window_ms = 300 });
	assert_int_equal(wait_end(&bed, 10000), 0);
}

static void test_hanging_worker_is_killed(void **state)
{
	(void)state;
	struct bed bed;
	start_with(&bed, &(struct options){ .hanging = 1, .grace_ms = 300 });
	arm(&bed);
	assert_int_equal(control(&bed, CONTROL_STOP).rc, 0);
	int status = wait_end(&bed, 10000);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 128 + SIGKILL);
}

static void test_worker_dies(void **state)
{
	(void)state;
	struct bed bed;
	start_with(&bed, &(struct options){ .hanging = 1 });
	arm(&bed);
	kill(control(&bed, CONTROL_STATUS).worker_pid, SIGUSR2);
	int status = wait_end(&bed, 10000);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 128 + SIGUSR2);
}

static void test_sigterm_is_orderly(void **state)
{
	(void)state;
	struct bed bed;
	start_with(&bed, &(struct options){ 0 });
	arm(&bed);
	kill(bed.broker, SIGTERM);
	assert_int_equal(wait_end(&bed, 10000), 0);
}

/* What QEMU would restore from reaches the worker, with its numbers. */
static void test_incoming(void **state)
{
	(void)state;
	struct bed bed;
	struct launch_request q = { .magic = SPAWN_MAGIC,
				    .version = SPAWN_VERSION,
				    .incoming = 1,
				    .n_incoming = 2,
				    .incoming_fd = { 23, 29 } };
	struct launch_reply r = { 0 };
	int fds[FD_PASS_MAX];
	const int given[] = { root_listener, 0, 0 };
	size_t n_fds;
	char c = 0;
	start_with(&bed, &(struct options){ 0 });
	arm(&bed);
	memcpy(q.vm, vm, UUID_BYTES);
	int fd = connect_to(&bed, "launch.sock");
	assert_int_equal(fd_send(fd, &q, sizeof(q), given, 3), 0);
	assert_int_equal(get(fd, &r, sizeof(r), fds, &n_fds), sizeof(r));
	assert_int_equal(r.rc, 0);
	assert_int_equal(read(bed.told, &c, 1), 1);
	assert_int_equal(c, 'i');
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(&fds[i]);
	close(fd);
	stop(&bed);
}

/* Counts that do not fit the descriptors, or each other. */
/* libvirt said that it comes, and starts it as if it were here: the VM's TPM is not. */
static void test_comes_and_is_started(void **state)
{
	(void)state;
	struct bed bed;
	start_with(&bed, &(struct options){ .comes = 1 });
	arm(&bed);
	assert_int_equal(launch(&bed, vm), ERR_STATE);
	assert_int_equal(control(&bed, CONTROL_STATUS).launched, 0);
	stop(&bed);
}

static void test_incoming_malformed(void **state)
{
	(void)state;
	static const struct {
		uint32_t incoming, n_incoming;
		size_t n_fds;
	} WRONG[] = { { 1, 1, 1 }, { 1, 0, 2 }, { 0, 1, 2 },	      { 2, 0, 1 },
		      { 1, 2, 2 }, { 1, 4, 4 }, { 1, UINT32_MAX, 1 }, { 1, UINT32_MAX, 0 } };
	struct bed bed;
	struct launch_reply r = { 0 };
	int fds[FD_PASS_MAX];
	const int given[] = { root_listener, 0, 0, 0 };
	size_t n_fds;
	start_with(&bed, &(struct options){ 0 });
	arm(&bed);
	for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
		struct launch_request q = { .magic = SPAWN_MAGIC,
					    .version = SPAWN_VERSION,
					    .incoming = WRONG[i].incoming,
					    .n_incoming = WRONG[i].n_incoming };
		memcpy(q.vm, vm, UUID_BYTES);
		int fd = connect_to(&bed, "launch.sock");
		assert_int_equal(fd_send(fd, &q, sizeof(q), given, WRONG[i].n_fds), 0);
		assert_int_equal(get(fd, &r, sizeof(r), fds, &n_fds), 0);
		close(fd);
	}
	assert_int_equal(launch(&bed, vm), 0);
	stop(&bed);
}

static void test_malformed_requests(void **state)
{
	(void)state;
	static const struct launch_request good = { SPAWN_MAGIC, SPAWN_VERSION, { 1, 2, 3 } };
	struct bed bed;
	uint8_t raw[64] = { 0 };
	/* One more than either socket takes. */
	int two[2] = { stream_listener(), stream_listener() }, fds[FD_PASS_MAX];
	size_t n_fds;
	start_with(&bed, &(struct options){ 0 });
	arm(&bed);
	for (int channel = 0; channel < 2; channel++) {
		const char *name = channel ? "control.sock" : "launch.sock";
		memcpy(raw, &good, sizeof(good));
		for (size_t n = 1; n < sizeof(raw); n++) {
			/* Also the right size of each, with a descriptor that nobody asked for. */
			int fd = connect_to(&bed, name);
			(void)!fd_send(fd, raw, n, two, channel ? 1 : 2);
			struct control_reply r;
			assert_int_equal(get(fd, &r, sizeof(r), fds, &n_fds), 0);
			close(fd);
		}
		for (size_t wrong = 0; wrong < 8; wrong += 4) {
			memcpy(raw, &good, sizeof(good));
			raw[wrong] ^= 1; /* magic, version */
			int fd = connect_to(&bed, name);
			size_t n = channel ? sizeof(struct control_request) : sizeof(good);
			assert_int_equal(fd_send(fd, raw, n, two, channel ? 0 : 1), 0);
			struct control_reply r;
			assert_int_equal(get(fd, &r, sizeof(r), fds, &n_fds), 0);
			close(fd);
		}
	}
	close(two[0]);
	close(two[1]);
	assert_int_equal(launch(&bed, vm), 0);
	stop(&bed);
}

/* Clients that connect and say nothing: the next one is served all the same, and at once. */
static void test_silent_crowd(void **state)
{
	(void)state;
	struct bed bed;
	enum { CROWD = 40 };
	int crowd[2][CROWD];
	start_with(&bed, &(struct options){ 0 });
	for (int i = 0; i < CROWD; i++) {
		crowd[0][i] = connect_to(&bed, "launch.sock");
		crowd[1][i] = connect_to(&bed, "control.sock");
	}
	int64_t begun = clock_ms();
	arm(&bed);
	assert_int_equal(launch(&bed, vm), 0);
	assert_true(clock_ms() - begun < 1500);
	/* And the silent ones are thrown out in time. */
	char c;
	for (int i = 0; i < CROWD; i++) {
		for (int j = 0; j < 2; j++) {
			struct pollfd w = { .fd = crowd[j][i], .events = POLLIN };
			assert_int_equal(poll(&w, 1, 2 * BROKER_CLIENT_MS), 1);
			assert_true(recv(crowd[j][i], &c, 1, 0) <= 0);
			close(crowd[j][i]);
		}
	}
	stop(&bed);
}

/* A launcher that closes before its reply has not used up the launch... or has got it. */
static void test_impatient_launchers(void **state)
{
	(void)state;
	struct bed bed;
	struct launch_request q = { .magic = SPAWN_MAGIC, .version = SPAWN_VERSION };
	memcpy(q.vm, other_vm, UUID_BYTES);
	start_with(&bed, &(struct options){ 0 });
	arm(&bed);
	int monitor = stream_listener();
	for (int i = 0; i < 50; i++) {
		int fd = connect_to(&bed, "launch.sock");
		assert_int_equal(fd_send(fd, &q, sizeof(q), &monitor, 1), 0);
		close(fd);
	}
	close(monitor);
	assert_int_equal(launch(&bed, vm), 0);
	stop(&bed);
}

/* More waiting for the end than there are places: all get an answer or are closed. */
static void test_many_stops(void **state)
{
	(void)state;
	struct bed bed;
	const struct control_request q = { SPAWN_MAGIC, SPAWN_VERSION, CONTROL_STOP };
	enum { N = 2 * BROKER_CLIENTS_MAX };
	int fds[FD_PASS_MAX], stops[N], answered = 0;
	size_t n_fds;
	start_with(&bed, &(struct options){ .hanging = 1, .grace_ms = 500 });
	arm(&bed);
	for (int i = 0; i < N; i++) {
		stops[i] = connect_to(&bed, "control.sock");
		/* It may be closed already. */
		int rc = fd_send(stops[i], &q, sizeof(q), NULL, 0);
		assert_true(rc == 0 || rc == -EPIPE);
	}
	for (int i = 0; i < N; i++) {
		struct control_reply r;
		ssize_t got = get(stops[i], &r, sizeof(r), fds, &n_fds);
		assert_true(got == 0 || got == sizeof(r));
		answered += got > 0;
		close(stops[i]);
	}
	assert_int_equal(answered, BROKER_CLIENTS_MAX);
	wait_end(&bed, 10000);
}

int main(void)
{
	root_listener = stream_listener();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_life),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_not_ready_is_not_armed),
		cmocka_unit_test(test_qemus_connections),
		cmocka_unit_test(test_qemu_ends),
		cmocka_unit_test(test_no_launcher_comes),
		cmocka_unit_test(test_hanging_worker_is_killed),
		cmocka_unit_test(test_worker_dies),
		cmocka_unit_test(test_sigterm_is_orderly),
		cmocka_unit_test(test_malformed_requests),
		cmocka_unit_test(test_incoming),
		cmocka_unit_test(test_incoming_malformed),
		cmocka_unit_test(test_comes_and_is_started),
		cmocka_unit_test(test_silent_crowd),
		cmocka_unit_test(test_impatient_launchers),
		cmocka_unit_test(test_many_stops),
	};
	if (geteuid() != 0) {
		fprintf(stderr, "test_broker: needs root, to connect as other users\n");
		return 77;
	}
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
