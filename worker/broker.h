/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The broker: a VM's process towards its host.  It has no key and no capability; it answers on the
 * launch and the control socket, hands QEMU's descriptors to the launcher once, and sees to it that
 * worker and QEMU do not outlive each other.
 *
 * Theory of operation.  One thread, one poll loop, no call that can block.  Who ends whom:
 *
 * - QEMU ends: its pidfd is readable; the broker closes the link; the worker shuts the vTPM down
 *   and ends; the broker follows.
 * - The worker ends: its end of the lifeline closes, and the kernel kills QEMU, whose launcher has
 *   asked for SIGKILL on that (libvirt/launch.c).  The broker follows.
 * - The broker ends: the kernel kills the worker (PR_SET_PDEATHSIG), and so QEMU.
 * - CONTROL_STOP, SIGTERM: the link is closed, as above; a worker that has not ended after
 *   BROKER_GRACE_MS is killed.
 * - No launcher comes within LAUNCH_WINDOW_MS: as CONTROL_STOP.
 *
 * A client gets BROKER_CLIENT_MS to say what it wants.  Each socket has its own few places for
 * clients, the oldest gives way: whoever may connect to the one cannot keep others from the other.
 *
 * Used by: worker/main.c.
 */
#ifndef SHIELDVM_WORKER_BROKER_H
#define SHIELDVM_WORKER_BROKER_H

#include <sys/types.h>

#include "base/spawn.h"
#include "policy/audit.h"
#include "sandbox/phases.h"

#define BROKER_CLIENTS_MAX 8 /* of each socket, at a time */
#define BROKER_CLIENT_MS   2000
#define BROKER_GRACE_MS	   (STOP_TIMEOUT_MS - 2000)

/* What the worker says over the link, once, when it is sealed. */
struct broker_news {
	uint32_t level; /* crypto/protector.h enum shield_level */
	struct protections protections;
};

/* What the broker says over the link. */
enum broker_order_kind {
	BROKER_LAUNCHED = 1 /* with libvirt's monitor listener and what to restore from */
};

struct broker_order {
	uint32_t kind; /* enum broker_order_kind */
	/* As in struct launch_request. */
	uint32_t incoming, n_incoming;
	int32_t incoming_fd[LAUNCH_INCOMING_MAX];
};

struct broker_config {
	const uint8_t *vm; /* UUID_BYTES, borrowed */
	const char *name;  /* the domain's, borrowed */
	uid_t qemu_uid, worker_uid;
	pid_t worker;			/* our child */
	int comes;			/* the VM is to come from another host */
	int window_ms, grace_ms;	/* LAUNCH_WINDOW_MS, BROKER_GRACE_MS */
	struct protections protections; /* around the broker itself */
	/* Descriptors, taken over on success. */
	int launch_listener, control_listener;
	int link;	      /* SOCK_SEQPACKET, to the worker */
	int qemu_ctrl;	      /* QEMU's end of the vTPM's control channel */
	int qemu_lifeline;    /* QEMU's end of the lifeline */
	int qemu_monitor;     /* the listener that becomes QEMU's monitor */
	int migrate_listener; /* where QEMU connects to migrate over several channels */
	int qemus;	      /* SOCK_SEQPACKET: takes those connections to the worker */
	struct audit *audit;  /* taken over on success; NULL: nothing is recorded (tests) */
};

struct broker;

/* Before sealing: pidfd_open, signalfd. */
int broker_new(const struct broker_config *config, struct broker **out, struct fault *f) MUST_CHECK;
void broker_free(struct broker *b);

/*
 * Serve until the worker has ended.  Returns its exit code, or 128 + its signal.
 * System calls: sandbox/filter_broker.c.
 */
int broker_serve(const struct sealed *sealed, struct broker *b);

#endif
