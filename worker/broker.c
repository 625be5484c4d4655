/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/broker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "crypto/protector.h"
#include "worker/caller.h"
#include "worker/door.h"
#include "worker/report.h"

#define NOISE_MAX    100
#define REFUSALS_MAX 100 /* launchers on record, one by one */

enum channel { LAUNCH, CONTROL, N_CHANNELS };

struct client {
	int fd; /* -1: a free place */
	int64_t deadline_ms;
	int waits_for_end; /* has asked for CONTROL_STOP */
};

struct broker {
	struct broker_config config;
	int listener[N_CHANNELS];
	struct client clients[N_CHANNELS][BROKER_CLIENTS_MAX];
	int signals, worker_pidfd, qemu_pidfd;
	pid_t qemu;
	int64_t started_s, window_ms, grace_ms; /* the last two: deadlines, -1 for none */
	uint32_t level;
	struct protections worker;
	int ready, armed, launched, started, ending, ended, status;
	struct door_limits doors;
	const char *end_reason;
	int refusals; /* on record */
	int noise;    /* lines logged because of what clients did */
};

/* Log what a client did, but not so often that a client could use up the log. */
#define log_noise(b, ...)                                                                          \
	do {                                                                                       \
		if ((b)->noise++ < NOISE_MAX)                                                      \
			log_warning(__VA_ARGS__);                                                  \
	} while (0)

int broker_new(const struct broker_config *config, struct broker **out, struct fault *f)
{
	sigset_t set;
	struct timespec now = { 0 };
	struct broker *b = calloc(1, sizeof(*b));
	if (!b)
		return fault_set(f, -ENOMEM, "the broker: %s", err_text(-ENOMEM));
	for (int c = 0; c < N_CHANNELS; c++)
		for (int i = 0; i < BROKER_CLIENTS_MAX; i++)
			b->clients[c][i].fd = -1;
	b->qemu_pidfd = b->signals = -1;
	b->worker_pidfd = pidfd_open(config->worker, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	/* A worker that does not read its answers must not keep us waiting. */
	int rc = fd_set_nonblock(config->link, 1);
	if (rc >= 0)
		rc = fd_set_nonblock(config->qemus, 1);
	if (rc >= 0 && b->worker_pidfd >= 0 && sigprocmask(SIG_BLOCK, &set, NULL) == 0)
		b->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (b->signals < 0) {
		rc = fault_set(f, -errno, "the broker: %s", err_text(-errno));
		fd_close(&b->worker_pidfd);
		free(b);
		return rc;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	b->config = *config;
	b->listener[LAUNCH] = config->launch_listener;
	b->listener[CONTROL] = config->control_listener;
	b->started_s = now.tv_sec;
	b->window_ms = clock_ms() + config->window_ms;
	b->grace_ms = -1;
	*out = b;
	return 0;
}

void broker_free(struct broker *b)
{
	if (!b)
		return;
	for (int c = 0; c < N_CHANNELS; c++) {
		fd_close(&b->listener[c]);
		for (int i = 0; i < BROKER_CLIENTS_MAX; i++)
			fd_close(&b->clients[c][i].fd);
	}
	audit_free(b->config.audit);
	fd_close(&b->config.link);
	fd_close(&b->config.qemu_ctrl);
	fd_close(&b->config.qemu_lifeline);
	fd_close(&b->config.qemu_monitor);
	fd_close(&b->config.migrate_listener);
	fd_close(&b->config.qemus);
	fd_close(&b->signals);
	fd_close(&b->worker_pidfd);
	fd_close(&b->qemu_pidfd);
	free(b);
}

/* ---- Audit ---------------------------------------------------------------------------------- */

/* Record R, which gets the VM it is about.  What audit_append() says. */
static int record(struct broker *b, struct audit_record *r)
{
	struct fault f = { 0 };
	if (!b->config.audit)
		return 0;
	r->has_vm = 1;
	memcpy(r->vm, b->config.vm, UUID_BYTES);
	AUDIT_TEXT(r->name, b->config.name);
	if (b->level == LEVEL_SHIELDED || b->level == LEVEL_ENCRYPTION_SUPPORTED)
		AUDIT_TEXT(r->level, level_name((enum shield_level)b->level));
	int rc = audit_append(b->config.audit, r, &f);
	if (rc < 0)
		log_error("no audit record: %s", f.text);
	return rc;
}

/* The worker has ended, the way STATUS says. */
static void record_end(struct broker *b, int status)
{
	int killed = WIFSIGNALED(status);
	struct audit_record r =
		AUDIT_RECORD(killed ? AUDIT_KILLED : AUDIT_STOP, AUDIT_BY_CONTROL, AUDIT_DONE);
	if (!b->ready) /* it never had the key, and the hook tells why */
		return;
	snprintf(r.request, sizeof(r.request), "%s", b->ending ? b->end_reason : "");
	snprintf(r.reason, sizeof(r.reason),
		 killed ? "the worker was killed by signal %d, and QEMU with it"
			: "the worker ended with status %d",
		 killed ? WTERMSIG(status) : WEXITSTATUS(status));
	r.pid = b->qemu > 0 ? b->qemu : -1;
	(void)!record(b, &r);
}

/* Ask the worker to end: it sees the end of file on the link.  Once. */
static void end(struct broker *b, const char *why)
{
	if (b->ending)
		return;
	log_info("ending: %s", why);
	b->ending = 1;
	b->end_reason = why;
	b->grace_ms = clock_ms() + b->config.grace_ms;
	b->window_ms = -1;
	fd_close(&b->config.link);
	fd_close(&b->config.qemu_ctrl);
	fd_close(&b->config.qemu_lifeline);
	fd_close(&b->config.qemu_monitor);
}

/* ---- Launch socket -------------------------------------------------------------------------- */

static void launch_refuse(struct broker *b, int fd, const struct ucred *who, int rc,
			  const char *rule, const char *text)
{
	struct audit_record r = AUDIT_RECORD(AUDIT_REFUSED, AUDIT_BY_LAUNCH, AUDIT_NO);
	struct launch_reply reply = { .magic = SPAWN_MAGIC, .version = SPAWN_VERSION, .rc = rc };
	snprintf(reply.text, sizeof(reply.text), "%s", text);
	log_noise(b, "launcher refused: %s", text);
	AUDIT_TEXT(r.rule, rule);
	AUDIT_TEXT(r.request, "the vTPM's control channel");
	AUDIT_TEXT(r.reason, text);
	r.pid = who->pid;
	r.uid = who->uid;
	/* Whoever has QEMU's uid can ask as often as it likes, and must not fill the disk. */
	if (b->refusals++ == REFUSALS_MAX)
		AUDIT_TEXT(r.reason,
			   "further refused launchers of this VM are not recorded one by one");
	if (b->refusals <= REFUSALS_MAX + 1)
		(void)!record(b, &r);
	(void)!fd_send(fd, &reply, sizeof(reply), NULL, 0);
}

/* FDS: libvirt's monitor listener, and what QEMU would restore from. */
static void launch(struct broker *b, int fd, const struct launch_request *request,
		   const int given[static FD_PASS_MAX])
{
	struct broker_order order = { .kind = BROKER_LAUNCHED,
				      .incoming = request->incoming,
				      .n_incoming = request->n_incoming };
	const struct launch_reply granted = { .magic = SPAWN_MAGIC, .version = SPAWN_VERSION };
	const int fds[] = { b->config.qemu_ctrl, b->config.qemu_lifeline, b->config.qemu_monitor };
	struct ucred who = { 0 };
	socklen_t size = sizeof(who);
	int known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0;
	if (memcmp(request->vm, b->config.vm, UUID_BYTES) != 0) {
		launch_refuse(b, fd, &who, ERR_VM, "launch.vm", "this worker is another VM's");
		return;
	}
	if (!known || (who.uid != b->config.qemu_uid && who.uid != 0)) {
		launch_refuse(b, fd, &who, -EPERM, "launch.user",
			      "only QEMU's user and root may launch this VM");
		return;
	}
	if (b->launched || b->ending) {
		launch_refuse(b, fd, &who, ERR_STATE, "launch.state",
			      b->launched ? "this VM's TPM has been handed out already"
					  : "this VM's worker is ending");
		return;
	}
	if (!b->armed) {
		launch_refuse(b, fd, &who, ERR_STATE, "launch.unannounced",
			      "libvirt has not announced this start");
		return;
	}
	/* There is no vTPM to start it with.  A migration of the definition alone (virsh migrate
	 * --offline) is announced by libvirt as any other is. */
	if (b->config.comes && !request->incoming) {
		launch_refuse(b, fd, &who, ERR_STATE, "launch.coming",
			      "libvirt announced less than a minute ago that this VM comes from "
			      "another host; if it is to start here all the same, start it again");
		return;
	}
	CLEANUP_FD int pidfd = caller_pidfd(fd, who.pid);
	if (pidfd < 0) {
		launch_refuse(b, fd, &who, pidfd, "launch.gone", "the launcher has ended");
		return;
	}
	if (!caller_is_listener(given[0])) {
		launch_refuse(b, fd, &who, ERR_STATE, "launch.monitor",
			      "the monitor is not a listener of libvirtd's");
		return;
	}
	/* Before the grant: whoever becomes QEMU has no other way to libvirt. */
	memcpy(order.incoming_fd, request->incoming_fd, sizeof(order.incoming_fd));
	int rc = fd_send(b->config.link, &order, sizeof(order), given, 1 + order.n_incoming);
	if (rc < 0) {
		launch_refuse(b, fd, &who, rc, "launch.state",
			      "the VM's worker does not take the monitor");
		return;
	}
	rc = fd_send(fd, &granted, sizeof(granted), fds, LAUNCH_FDS);
	if (rc < 0) {
		log_noise(b, "a launcher did not take its reply: %s", err_text(rc));
		return;
	}
	b->launched = 1;
	b->doors.listeners = request->incoming ? DOOR_LISTENERS : 0;
	b->window_ms = -1;
	b->qemu = who.pid;
	b->qemu_pidfd = fd_take(&pidfd);
	fd_close(&b->config.qemu_ctrl);
	fd_close(&b->config.qemu_lifeline);
	fd_close(&b->config.qemu_monitor);
	log_info("the vTPM was handed to pid %d of uid %u", (int)who.pid, (unsigned int)who.uid);
}

/* ---- Control socket ------------------------------------------------------------------------- */

static void control_answer(const struct broker *b, int fd, int rc, const char *text)
{
	struct control_reply reply = { .magic = SPAWN_MAGIC,
				       .version = SPAWN_VERSION,
				       .rc = rc,
				       .level = b->level,
				       .launched = (uint32_t)b->launched,
				       .started = (uint32_t)b->started,
				       .worker_pid = b->config.worker,
				       .broker_pid = getpid(),
				       .qemu_pid = b->qemu,
				       .worker_uid = b->config.worker_uid,
				       .started_s = (uint64_t)b->started_s,
				       .worker = b->worker,
				       .broker = b->config.protections };
	snprintf(reply.name, sizeof(reply.name), "%s", b->config.name);
	snprintf(reply.text, sizeof(reply.text), "%s", text);
	(void)!fd_send(fd, &reply, sizeof(reply), NULL, 0);
}

/* Answer KIND; 1 if the client is to be kept until the end. */
static int control(struct broker *b, int fd, uint32_t kind)
{
	switch (kind) {
	case CONTROL_ARM:
		if (!b->ready || b->ending) {
			control_answer(b, fd, ERR_STATE, "the VM's worker is not ready");
			return 0;
		}
		b->armed = 1;
		control_answer(b, fd, 0, "");
		return 0;
	case CONTROL_LAUNCHED:
		b->started = b->launched;
		if (!b->launched)
			control_answer(b, fd, ERR_STATE,
				       "the VM was started without shieldvm-launch: its <emulator> "
				       "is another program");
		else
			control_answer(b, fd, 0, "");
		return 0;
	case CONTROL_STOP:
		end(b, "asked to");
		return 1;
	case CONTROL_STATUS:
		control_answer(b, fd, 0, "");
		return 0;
	default:
		control_answer(b, fd, ERR_USAGE, "unknown request");
		return 0;
	}
}

/* ---- Clients -------------------------------------------------------------------------------- */

/* How many descriptors come with a request; if it makes no sense, more than can. */
static size_t descriptors_due(enum channel channel, const struct launch_request *launch)
{
	if (channel != LAUNCH)
		return 0;
	uint32_t most = launch->incoming ? LAUNCH_INCOMING_MAX : 0;
	if (launch->incoming > 1 || launch->n_incoming > most)
		return SIZE_MAX;
	return 1 + launch->n_incoming;
}

/* Read the one request of CLIENT and answer it. */
static void client_ready(struct broker *b, enum channel channel, struct client *client)
{
	union {
		struct launch_request launch;
		struct control_request control;
	} request = { 0 };
	/* Both begin with these two, and neither is as long as the other. */
	int fds[FD_PASS_MAX], keep = 0;
	size_t n_fds, want = channel == LAUNCH ? sizeof(request.launch) : sizeof(request.control);
	ssize_t got = fd_recv(client->fd, &request, want, fds, &n_fds);
	if (got == -EAGAIN)
		return;
	if (got == (ssize_t)want && n_fds == descriptors_due(channel, &request.launch) &&
	    !client->waits_for_end && request.control.magic == SPAWN_MAGIC &&
	    request.control.version == SPAWN_VERSION) {
		if (channel == LAUNCH)
			launch(b, client->fd, &request.launch, fds);
		else
			keep = control(b, client->fd, request.control.kind);
	} else if (got > 0) {
		log_noise(b, "a malformed request was dropped");
	}
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(&fds[i]);
	client->waits_for_end = keep;
	client->deadline_ms = -1;
	if (!keep)
		fd_close(&client->fd);
}

static void client_accept(struct broker *b, enum channel channel)
{
	struct client *place = NULL;
	int fd = accept4(b->listener[channel], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	for (int i = 0; i < BROKER_CLIENTS_MAX; i++) {
		struct client *c = &b->clients[channel][i];
		if (c->fd < 0) {
			place = c;
			break;
		}
		if (!c->waits_for_end && (!place || c->deadline_ms < place->deadline_ms))
			place = c;
	}
	if (!place) { /* everybody waits for the end, which is near */
		fd_close(&fd);
		return;
	}
	fd_close(&place->fd);
	*place = (struct client){ .fd = fd, .deadline_ms = clock_ms() + BROKER_CLIENT_MS };
}

static void clients_expire(struct broker *b)
{
	int64_t now = clock_ms();
	for (int c = 0; c < N_CHANNELS; c++) {
		for (int i = 0; i < BROKER_CLIENTS_MAX; i++) {
			struct client *client = &b->clients[c][i];
			if (client->fd >= 0 && client->deadline_ms >= 0 &&
			    client->deadline_ms <= now)
				fd_close(&client->fd);
		}
	}
}

/* ---- Loop ----------------------------------------------------------------------------------- */

/* The worker asks for a record; it waits for the answer. */
static void record_for_worker(struct broker *b, const struct broker_audit *m, size_t n)
{
	struct broker_audited answer = { .magic = REPORT_MAGIC, .number = m->number };
	struct audit_record r;
	answer.rc = report_take(m, n, &r);
	if (answer.rc >= 0)
		answer.rc = b->config.audit ? record(b, &r) : ERR_STATE;
	(void)!fd_send(b->config.link, &answer, sizeof(answer), NULL, 0);
}

/* The host is to know with whom the worker has had it connect. */
static int record_connection(struct broker *b, const struct door_request *m)
{
	struct audit_record r = AUDIT_RECORD(AUDIT_MIGRATE, AUDIT_BY_CONTROL, AUDIT_DONE);
	char host[INET6_ADDRSTRLEN] = "?", folder[DOOR_FOLDER_BYTES];
	(void)inet_ntop((int)m->family, m->address, host, sizeof(host));
	door_folder(b->config.vm, folder);
	if (m->family == AF_UNIX)
		snprintf(r.reason, sizeof(r.reason),
			 "a connection to %s/%s for a migration, sealed", folder, m->name);
	else
		snprintf(r.reason, sizeof(r.reason),
			 "a connection to %s port %u for a migration, sealed", host, m->port);
	return record(b, &r);
}

/* The worker wants a socket for a migration. */
static void open_door(struct broker *b, const struct door_request *m, size_t n)
{
	struct door_reply reply = { .magic = DOOR_MAGIC, .number = m->number };
	CLEANUP_FD int fd = -1;
	reply.rc = b->launched && !b->ending ? door_check(&b->doors, m, n) : ERR_STATE;
	if (reply.rc >= 0 && m->kind == DOOR_CONNECT)
		reply.rc = record_connection(b, m);
	if (reply.rc >= 0)
		reply.rc = door_make(&b->doors, m, &fd);
	(void)!fd_send(b->config.link, &reply, sizeof(reply), &fd, fd >= 0);
}

/* QEMU connects, to migrate over several channels; or somebody of its uid does. */
static void pass_qemu(struct broker *b)
{
	pid_t peer = 0;
	int rc = door_pass(b->config.migrate_listener, b->qemu, b->qemu_pidfd, b->config.qemus,
			   &peer);
	if (rc == 1)
		log_noise(b, "pid %d is not this VM's QEMU, and does not migrate it", (int)peer);
	else if (rc < 0)
		log_noise(b, "QEMU's connection is not passed on: %s", err_text(rc));
}

static void link_ready(struct broker *b)
{
	union {
		struct broker_news news;
		struct broker_audit audit;
		struct door_request door;
	} said = { 0 };
	int fds[FD_PASS_MAX];
	size_t n_fds;
	ssize_t got = fd_recv(b->config.link, &said, sizeof(said), fds, &n_fds);
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(&fds[i]);
	if (got == sizeof(said.news) && !b->ready) {
		b->ready = 1;
		b->level = said.news.level;
		b->worker = said.news.protections;
	} else if (got == sizeof(said.door) && b->ready && said.door.magic == DOOR_MAGIC) {
		open_door(b, &said.door, (size_t)got);
	} else if (got > 0 && b->ready) {
		record_for_worker(b, &said.audit, (size_t)got);
	} else if (got != -EAGAIN) {
		/* The worker is ending, and its pidfd will say how. */
		end(b, "the worker has closed its link");
	}
}

static void worker_ended(struct broker *b)
{
	int status;
	if (waitpid(b->config.worker, &status, WNOHANG) != b->config.worker)
		return;
	b->ended = 1;
	record_end(b, status);
	if (WIFSIGNALED(status)) {
		b->status = 128 + WTERMSIG(status);
		log_error("the worker was killed by signal %d; QEMU is killed with it",
			  WTERMSIG(status));
	} else {
		b->status = WEXITSTATUS(status);
		log_info("the worker ended with status %d", b->status);
	}
	for (int i = 0; i < BROKER_CLIENTS_MAX; i++)
		if (b->clients[CONTROL][i].fd >= 0 && b->clients[CONTROL][i].waits_for_end)
			control_answer(b, b->clients[CONTROL][i].fd, 0, "");
}

static void check_deadlines(struct broker *b)
{
	int64_t now = clock_ms();
	clients_expire(b);
	if (b->window_ms >= 0 && now >= b->window_ms)
		end(b, "no launcher has come");
	if (b->grace_ms >= 0 && now >= b->grace_ms) {
		log_error("the worker does not end by itself and is killed");
		b->grace_ms = -1;
		(void)pidfd_send_signal(b->worker_pidfd, SIGKILL, NULL, 0);
	}
}

static int next_timeout(const struct broker *b)
{
	int64_t next = -1;
	const int64_t own[] = { b->window_ms, b->grace_ms };
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (own[i] >= 0 && (next < 0 || own[i] < next))
			next = own[i];
	for (int c = 0; c < N_CHANNELS; c++) {
		for (int i = 0; i < BROKER_CLIENTS_MAX; i++) {
			const struct client *client = &b->clients[c][i];
			if (client->fd >= 0 && client->deadline_ms >= 0 &&
			    (next < 0 || client->deadline_ms < next))
				next = client->deadline_ms;
		}
	}
	return next < 0 ? -1 : clock_left_ms(next) + 1;
}

enum slot { SLOT_WORKER, SLOT_QEMU, SLOT_SIGNALS, SLOT_LINK, SLOT_MIGRATE, SLOT_LISTENERS };
#define SLOT_CLIENTS (SLOT_LISTENERS + N_CHANNELS)
#define N_SLOTS	     (SLOT_CLIENTS + N_CHANNELS * BROKER_CLIENTS_MAX)

static void fill_slots(const struct broker *b, struct pollfd slots[static N_SLOTS])
{
	/* poll(2) passes over descriptors that are -1. */
	const int own[] = { b->worker_pidfd, b->qemu_pidfd, b->signals, b->config.link,
			    b->config.migrate_listener };
	for (int i = 0; i < N_SLOTS; i++)
		slots[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
	for (int i = 0; i < SLOT_LISTENERS; i++)
		slots[i].fd = own[i];
	for (int c = 0; c < N_CHANNELS; c++) {
		slots[SLOT_LISTENERS + c].fd = b->listener[c];
		for (int i = 0; i < BROKER_CLIENTS_MAX; i++)
			slots[SLOT_CLIENTS + c * BROKER_CLIENTS_MAX + i].fd = b->clients[c][i].fd;
	}
}

static void serve_slots(struct broker *b, const struct pollfd slots[static N_SLOTS])
{
	struct signalfd_siginfo info;
	/* Clients before listeners: a place may be given to somebody else by accepting. */
	for (int c = 0; c < N_CHANNELS; c++)
		for (int i = 0; i < BROKER_CLIENTS_MAX; i++)
			if (slots[SLOT_CLIENTS + c * BROKER_CLIENTS_MAX + i].revents)
				client_ready(b, (enum channel)c, &b->clients[c][i]);
	for (int c = 0; c < N_CHANNELS; c++)
		if (slots[SLOT_LISTENERS + c].revents)
			client_accept(b, (enum channel)c);
	if (slots[SLOT_LINK].revents && b->config.link >= 0)
		link_ready(b);
	if (slots[SLOT_MIGRATE].revents)
		pass_qemu(b);
	if (slots[SLOT_SIGNALS].revents && read(b->signals, &info, sizeof(info)) > 0)
		end(b, "told to by a signal");
	if (slots[SLOT_QEMU].revents) {
		fd_close(&b->qemu_pidfd);
		end(b, "QEMU has ended");
	}
	if (slots[SLOT_WORKER].revents)
		worker_ended(b);
}

int broker_serve(const struct sealed *sealed, struct broker *b)
{
	(void)sealed;
	while (!b->ended) {
		struct pollfd slots[N_SLOTS];
		fill_slots(b, slots);
		int n = poll(slots, N_SLOTS, next_timeout(b));
		if (n < 0 && errno != EINTR)
			abort();
		if (n > 0)
			serve_slots(b, slots);
		check_deadlines(b);
	}
	return b->status;
}
