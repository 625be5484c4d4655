/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm-worker: one per running shielded VM, started by shieldvm-hook.
 *
 * main() passes through the phases of sandbox/phases.h in their order.  It splits into the broker
 * (the parent, worker/broker.h) and the worker (the child), which has the VM's key and its vTPM;
 * the worker has the guard for a child, which keeps debuggers from it (sandbox/guard.h).
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/registers.h"
#include "crypto/init.h"
#include "crypto/protector.h"
#include "crypto/seal.h"
#include "crypto/statehead.h"
#include "sandbox/guard.h"
#include "sandbox/isolate.h"
#include "sandbox/phases.h"
#include "sandbox/secret.h"
#include "worker/broker.h"
#include "worker/keyask.h"
#include "worker/loop.h"
#include "worker/order.h"
#include "worker/places.h"
#include "worker/provision.h"

#define STATE_NAME	 "tpm2.state"
#define BROKER_WAIT_MS	 10000
#define GUARD_WAIT_MS	 10000
#define EXIT_BROKER_FAIL 4
#define EXIT_GUARD_FAIL	 5

/* What broker and worker have between them: [0] is the broker's or QEMU's end, [1] the worker's. */
struct channels {
	int link[2], ctrl[2], lifeline[2], qemus[2];
};

static int channels_open(struct channels *c, struct fault *f)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, c->link) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c->ctrl) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, c->lifeline) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, c->qemus) < 0)
		return fault_set(f, -errno, "socketpair: %s", err_text(-errno));
	return 0;
}

static void channels_close(struct channels *c, int end)
{
	fd_close(&c->link[end]);
	fd_close(&c->ctrl[end]);
	fd_close(&c->lifeline[end]);
	fd_close(&c->qemus[end]);
}

/* Say what this host does not give, and why. */
static void log_missing(const struct isolation *i, enum protections_of of)
{
	for (enum protection which = 0; which < PROTECTIONS_N; which++)
		if (protections_miss(&i->held, of, which) && i->why[which] < 0)
			log_warning("%s is missing on this host (%s): %s", protection_name(which),
				    protection_meaning(which), err_text(i->why[which]));
}

static int refuse(struct order *order, int rc, const struct fault *f)
{
	order_refuse(order, rc, f);
	return (int)err_exit_code(rc);
}

/* ---- The broker ----------------------------------------------------------------------------- */

/*
 * The parent: still root, and key-less: nothing has been read from the host key's descriptor, which
 * goes away here.
 */
static int broker_main(struct order *order, struct places *places, struct channels *channels,
		       struct isolation *isolation, pid_t worker)
{
	struct fault f = { 0 };
	const struct sealed *sealed;
	struct broker *broker;
	const char ready = 1;
	fd_close(&order->sock);
	buf_done(&order->protector);
	fd_close(&places->host_key);
	fd_close(&places->state);
	fd_close(&places->qemu_monitor);
	channels_close(channels, 1);

	log_open(places->log, "broker", LOG_LEVEL_INFO);
	isolate_kernel(isolation, ISOLATE_BROKER);
	isolate_files(isolation, ISOLATE_BROKER, places->sockets);
	fd_close(&places->sockets);
	log_missing(isolation, PROTECTIONS_OF_BROKER);
	const struct broker_config config = { .vm = order->vm,
					      .name = order->name,
					      .qemu_uid = order->qemu_uid,
					      .worker_uid = order->worker_uid,
					      .worker = worker,
					      .comes = order->comes,
					      .protections = isolation->held,
					      .window_ms = LAUNCH_WINDOW_MS,
					      .grace_ms = BROKER_GRACE_MS,
					      .launch_listener = places->launch_listener,
					      .control_listener = places->control_listener,
					      .link = channels->link[0],
					      .qemu_ctrl = channels->ctrl[0],
					      .qemu_lifeline = channels->lifeline[0],
					      .qemu_monitor = places->qemu_listener,
					      .migrate_listener = places->migrate_listener,
					      .qemus = channels->qemus[0],
					      .audit = places->audit };
	int rc = phases_enter(order->worker_uid, isolation, &f);
	if (rc >= 0)
		rc = broker_new(&config, &broker, &f);
	if (rc >= 0)
		rc = phases_seal(&filter_broker, &sealed, &f);
	if (rc >= 0)
		rc = fd_send(config.link, &ready, 1, NULL, 0);
	if (rc < 0) {
		/* The worker is killed when this process ends, and the hook sees that. */
		log_error("the broker cannot start: %s", f.text[0] ? f.text : err_text(rc));
		return EXIT_BROKER_FAIL;
	}
	int status = broker_serve(sealed, broker);
	broker_free(broker);
	return status;
}

/* ---- The guard ------------------------------------------------------------------------------ */

/*
 * The worker's child: still root, and key-less too.  It is there so that nobody else traces the
 * worker, and ends with it.
 */
static int guard_main(const struct order *order, const struct places *places,
		      struct isolation *isolation, struct guard *guard)
{
	struct fault f = { 0 };
	const struct sealed *sealed;
	log_open(places->log, "guard", LOG_LEVEL_INFO);
	isolate_files(isolation, ISOLATE_GUARD, -1);
	guard_keep(guard, places->log);
	int rc = phases_enter(order->worker_uid, isolation, &f);
	if (rc >= 0)
		rc = phases_seal(&filter_guard, &sealed, &f);
	if (rc >= 0)
		rc = guard_ready(sealed, guard);
	if (rc < 0) {
		/* The worker is killed when this process ends. */
		log_error("the guard cannot start: %s", f.text[0] ? f.text : err_text(rc));
		return EXIT_GUARD_FAIL;
	}
	int sig = guard_watch(sealed, guard);
	if (sig)
		log_error("the worker is ended by signal %d", sig);
	return EXIT_DONE;
}

/* ---- The worker ----------------------------------------------------------------------------- */

static_assert(DISKS_SLOTS <= PHASES_NOFILE && LIVE_SLOTS <= PHASES_NOFILE, "poll(2) takes no more");

/* What came with a key from a guardian; all 0 without one. */
struct lease {
	uint64_t asked;		 /* the version of the vTPM's state that the guardian was told */
	uint64_t spent;		 /* the highest that it knows of */
	uint64_t oldest, ticket; /* worker/keyask.h */
};

struct worker {
	struct lease lease;
	struct seal *seal;
	struct store *store;
	struct vtpm *vtpm;
	struct data *data;
	struct transfer *transfer;
	struct disks *disks;
	struct live *live;
	struct carry *carry;
	struct monitor *monitor;
	struct isolation *isolation; /* borrowed */
	enum shield_level level;
	int made;
};

static void worker_done(struct worker *w)
{
	monitor_free(w->monitor);
	carry_free(w->carry);
	live_free(w->live);
	disks_free(w->disks);
	transfer_free(w->transfer);
	data_free(w->data);
	vtpm_free(w->vtpm);
	store_free(w->store);
	seal_free(w->seal);
}

/*
 * The VM key, for this host, by the protector's word.  The host's key is read, used and forgotten.
 * ERR_RECIPIENT and -ENOENT where the host's key cannot unwrap it: the protector has no entry for
 * it, or there is none.
 */
static int unwrap(const struct protector *protector, int *host_key_fd, struct vm_key *key,
		  struct fault *f)
{
	CLEANUP_JWK struct jwk *host = NULL;
	struct ecdh ecdh;
	if (*host_key_fd < 0)
		return fault_set(f, -ENOENT, "this host has no key (%s); run: shieldvm host init",
				 PATH_HOST_KEY);
	int rc = jwk_read_fd(*host_key_fd, 1, &host, f);
	fd_close(host_key_fd);
	if (rc < 0)
		return fault_wrap(f, rc, "this host's key (%s)", PATH_HOST_KEY);
	rc = ecdh_from_jwk(host, &ecdh);
	if (rc < 0)
		return fault_set(f, rc, "this host's key cannot be used: %s", err_text(rc));
	return protector_unwrap(protector, &ecdh, key, f);
}

static enum store_birth birth_of(const struct order *order)
{
	return order->comes ? STORE_COMES : order->may_be_new ? STORE_MAY_BE_NEW : STORE_MUST_EXIST;
}

/* The VM key from a guardian, for the vTPM's state as it is here. */
static int ask(struct order *order, int state, const struct protector *protector,
	       struct lease *lease, struct vm_key *key, struct fault *f)
{
	CLEANUP_KEYASK struct keyask got = { 0 };
	uint64_t version = 0;
	int rc = store_may_open(state, STATE_NAME, birth_of(order), f);
	if (rc < 0)
		return rc;
	/* Of what comes from another host this one has nothing, or something of long ago. */
	rc = order->comes ? -ENOENT : statehead_read(state, STATE_NAME, &version, f);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	rc = keyask(order, protector, version, &got, f);
	if (rc < 0)
		return rc;
	*key = got.key;
	*lease = (struct lease){ .asked = version,
				 .spent = (uint64_t)got.spent,
				 .oldest = got.oldest,
				 .ticket = got.ticket };
	log_info("a guardian has released the VM's key (lease %lld)", (long long)got.token);
	return 0;
}

static int get_key(struct order *order, struct places *places, const struct protector *protector,
		   struct lease *lease, struct vm_key *key, struct fault *f)
{
	struct fault why = { 0 };
	int rc = unwrap(protector, &places->host_key, key, &why);
	if ((rc == ERR_RECIPIENT || rc == -ENOENT) && protector_n_guardians(protector) > 0)
		return ask(order, places->state, protector, lease, key, f);
	return rc < 0 ? fault_set(f, rc, "%s", why.text) : 0;
}

static int open_vtpm(struct order *order, struct places *places, const struct vm_key *key,
		     const struct protector_facts *facts, struct worker *w, struct fault *f)
{
	int state = places->state;
	enum store_birth birth = birth_of(order);
	int rc = seal_new(key, KEY_USE_VTPM_STATE, order->vm, facts->tpm_id, sizeof(facts->tpm_id),
			  &w->seal);
	if (rc < 0)
		return fault_set(f, rc, "no key for the vTPM's state: %s", err_text(rc));
	rc = store_open(places->state, STATE_NAME, w->seal, birth, &w->store, f);
	if (rc < 0)
		return rc;
	places->state = -1;
	/* Only now is it known that the head told the truth, and of this very file. */
	if (!order->comes &&
	    !keyask_takes(w->lease.asked, w->lease.oldest, store_version(w->store)))
		return fault_set(f, ERR_POLICY,
				 "vtpm.older: the vTPM's state was replaced by an older one while "
				 "the guardian was asked");
	const struct vtpm_config config = { .store = w->store,
					    .key = key,
					    .vm = order->vm,
					    .tpm_id = facts->tpm_id,
					    .tpm_id_bytes = sizeof(facts->tpm_id),
					    .no_rewind = 1,
					    .keep_memory = 1,
					    .spent = w->lease.spent,
					    .oldest = w->lease.oldest,
					    .ticket = w->lease.ticket };
	rc = isolate_narrow(w->isolation, state);
	if (rc < 0)
		return fault_set(f, rc, "Landlock: %s", err_text(rc));
	rc = vtpm_new(&config, &w->vtpm, f);
	if (rc < 0 || order->comes)
		return rc;
	/* Started by its owner's ticket: it counts as new from here on, whatever becomes of it. */
	if (store_exists(w->store))
		return store_renew(w->store, f);
	rc = provision_eks(w->vtpm, order_sign, order, f);
	if (rc < 0)
		return fault_wrap(f, rc, "the new vTPM gets no endorsement keys");
	w->made = 1;
	return 0;
}

static int open_monitor(const struct order *order, struct places *places, int link,
			const struct protector_facts *facts, struct worker *w, struct fault *f)
{
	const struct carry_config carry = { .transfer = w->transfer,
					    .live = w->live,
					    .disks = w->disks,
					    .comes = order->comes,
					    .vm = order->vm,
					    .vtpm = w->vtpm,
					    .link = link };
	int rc = carry_new(&carry, &w->carry);
	if (rc >= 0)
		rc = monitor_new(places->qemu_monitor, link, facts, w->carry, &w->monitor);
	if (rc < 0)
		return fault_set(f, rc, "the monitor: %s", err_text(rc));
	places->qemu_monitor = -1;
	return 0;
}

/* Phase load. */
static int load(struct order *order, struct places *places, const struct channels *channels,
		struct worker *w, struct fault *f)
{
	CLEANUP_PROTECTOR struct protector *protector = NULL;
	CLEANUP_KEY struct vm_key key = { 0 };
	int rc = crypto_init();
	if (rc < 0)
		return fault_set(f, rc, "libcrypto does not start");
	rc = protector_parse((const char *)order->protector.data, order->protector.len, &protector,
			     f);
	if (rc < 0)
		return rc;
	const struct protector_facts *facts = protector_facts(protector);
	if (memcmp(facts->vm, order->vm, UUID_BYTES) != 0)
		return fault_set(f, ERR_VM, "the protector is another VM's");
	w->level = facts->level;
	rc = get_key(order, places, protector, &w->lease, &key, f);
	if (rc >= 0)
		rc = open_vtpm(order, places, &key, facts, w, f);
	if (rc >= 0)
		rc = data_new(w->vtpm, &w->data, f);
	const struct transfer_config transfer = { .key = &key,
						  .facts = facts,
						  .owner = protector_owner(protector) };
	if (rc >= 0)
		rc = transfer_new(&transfer, &w->transfer, f);
	const struct disks_config disks = {
		.key = &key,
		.facts = facts,
		.owner = protector_owner(protector),
		.alone = protections_have(&w->isolation->held, PROTECTION_NS_NET),
	};
	if (rc >= 0)
		rc = disks_new(&disks, &w->disks, f);
	const struct live_config live = { .key = &key,
					  .facts = facts,
					  .owner = protector_owner(protector),
					  .disks = w->disks,
					  .qemus = channels->qemus[1],
					  .alone = disks.alone };
	if (rc >= 0)
		rc = live_new(&live, &w->live, f);
	return rc < 0 ? rc : open_monitor(order, places, channels->link[1], facts, w, f);
}

/* Until the broker has given up root and is sealed, nobody is told that this VM is ready. */
static int wait_for_broker(int link, struct fault *f)
{
	struct pollfd p = { .fd = link, .events = POLLIN };
	int64_t deadline = clock_ms() + BROKER_WAIT_MS;
	char byte;
	int rc;
	registers_clear();
	do
		rc = poll(&p, 1, clock_left_ms(deadline));
	while (rc < 0 && errno == EINTR);
	if (rc <= 0 || recv(link, &byte, 1, MSG_DONTWAIT) != 1)
		return fault_set(f, ERR_STATE, "the broker did not start; see %s", PATH_LOG);
	return 0;
}

/* What all processes were told and have opened.  Not on the stack, which the worker leaves. */
static struct start {
	struct order order;
	struct places places;
	struct channels channels;
	struct isolation isolation; /* and what protects the one whose copy it is */
	struct guard guard;	    /* the worker's */
	pid_t broker;
} start = { .order = { .sock = SPAWN_FD, .lock = -1 }, .places = PLACES_NONE, .guard = GUARD_NONE };

/*
 * In secret memory: root until phases_enter(), then the VM's uid without any privilege.  From
 * isolate_files() on it opens nothing but the vTPM's state.
 */
static int worker_run(void *arg)
{
	struct start *s = arg;
	struct order *order = &s->order;
	struct places *places = &s->places;
	struct channels *channels = &s->channels;
	struct fault f = { 0 };
	const struct sealed *sealed;
	struct worker w CLEANUP(worker_done) = { .isolation = &s->isolation };
	if (secret_missing()[0])
		log_warning("%s", secret_missing());
	isolate_files(&s->isolation, ISOLATE_WORKER, places->state);
	log_missing(&s->isolation, PROTECTIONS_OF_WORKER);
	int rc = phases_enter(order->worker_uid, &s->isolation, &f);
	if (rc >= 0)
		rc = phases_follow_parent(s->broker, &f);
	if (rc >= 0)
		rc = guard_wait(&s->guard, GUARD_WAIT_MS, &f);
	if (rc >= 0)
		rc = load(order, places, channels, &w, &f);
	if (rc >= 0)
		rc = wait_for_broker(channels->link[1], &f);
	if (rc >= 0)
		rc = phases_seal(&filter_worker, &sealed, &f);
	if (rc >= 0) {
		const struct broker_news news = { .level = w.level,
						  .protections = s->isolation.held };
		rc = fd_send(channels->link[1], &news, sizeof(news), NULL, 0);
	}
	if (rc >= 0)
		rc = order_ready(order, w.made);
	if (rc < 0) {
		log_error("%s", f.text[0] ? f.text : err_text(rc));
		order_refuse(order, rc, &f);
		return (int)err_exit_code(rc);
	}
	log_info("ready at level %s%s", level_name(w.level), w.made ? ", with a new vTPM" : "");
	const struct loop_config config = { .vtpm = w.vtpm,
					    .data = w.data,
					    .monitor = w.monitor,
					    .carry = w.carry,
					    .guard = &s->guard,
					    .comes = order->comes,
					    .ctrl = channels->ctrl[1],
					    .link = channels->link[1],
					    .lifeline = channels->lifeline[1] };
	rc = loop_run(sealed, &config);
	return rc < 0 ? (int)err_exit_code(rc) : EXIT_DONE;
}

/* The child, as root. */
static _Noreturn void worker_main(struct start *s)
{
	struct fault f = { 0 };
	fd_close(&s->places.launch_listener);
	fd_close(&s->places.control_listener);
	audit_free(s->places.audit);
	s->places.audit = NULL;
	fd_close(&s->places.qemu_listener);
	fd_close(&s->places.migrate_listener);
	fd_close(&s->places.sockets);
	channels_close(&s->channels, 0);
	/* The broker decides when it is time to end. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);

	log_open(s->places.log, "worker", LOG_LEVEL_INFO);
	isolate_kernel(&s->isolation, ISOLATE_WORKER);
	int rc = guard_start(&s->guard, &f);
	if (rc > 0)
		_exit(guard_main(&s->order, &s->places, &s->isolation, &s->guard));
	/* A host may have no such lock; a debugger that is there first is somebody's intention. */
	if (rc == ERR_STATE) {
		log_error("%s", f.text);
		_exit(refuse(&s->order, rc, &f));
	}
	if (rc == 0)
		protections_set(&s->isolation.held, PROTECTION_DEBUG_LOCK);
	else
		log_warning("debuggers are not kept from this worker: %s", f.text);
	secret_run(worker_run, s, 1, &s->isolation.held);
}

/* ---- Both ----------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
	struct fault f = { 0 };
	struct stat st;
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		puts("shieldvm-worker " SHIELDVM_VERSION);
		return EXIT_DONE;
	}
	if (argc != 1 || !getenv(SPAWN_BIND) || fstat(SPAWN_FD, &st) < 0 || !S_ISSOCK(st.st_mode)) {
		fputs("shieldvm-worker is started by shieldvm-hook and by nobody else\n", stderr);
		return EXIT_USAGE;
	}

	int rc = phases_early(SPAWN_FD, &f);
	if (rc >= 0)
		rc = order_receive(SPAWN_FD, &start.order, &f);
	/* The broker hashes its audit records. */
	if (rc >= 0)
		rc = crypto_init();
	if (rc >= 0)
		rc = places_open(start.order.vm, start.order.worker_uid, start.order.qemu_uid,
				 &start.places, &f);
	if (rc >= 0)
		rc = channels_open(&start.channels, &f);
	if (rc < 0)
		return refuse(&start.order, rc, &f);

	isolate_begin(start.order.worker_uid, &start.isolation);
	start.broker = getpid();
	pid_t worker = fork();
	if (worker < 0) {
		fault_set(&f, -errno, "fork: %s", err_text(-errno));
		return refuse(&start.order, f.rc, &f);
	}
	/* Not exit(3): what libraries would do at the end is nothing that a sealed process may. */
	if (worker == 0)
		worker_main(&start);
	_exit(broker_main(&start.order, &start.places, &start.channels, &start.isolation, worker));
}
