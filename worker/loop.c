/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/loop.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/registers.h"
#include "worker/broker.h"
#include "worker/ctrl.h"
#include "worker/door.h"
#include "worker/report.h"

enum { SLOT_LINK, SLOT_LIFELINE, SLOT_CTRL, SLOT_GUARD, SLOT_MONITOR };
#define N_SLOTS (SLOT_MONITOR + MONITOR_SLOTS)

struct loop {
	const struct loop_config *config;
	struct ctrl *ctrl; /* NULL once QEMU has closed it */
	int launched;	   /* the broker has said what kind of start this is */
	int64_t grace_ms;  /* deadline for QEMU's end, -1 while ctrl is open */
};

static void stop_vtpm(struct vtpm *t)
{
	/* A key generation must not hold up the end. */
	vtpm_cancel(t);
	vtpm_stop(t);
}

static void serve_ctrl(struct loop *l)
{
	switch (ctrl_step(l->ctrl)) {
	case CTRL_OPEN:
	case CTRL_SHUTDOWN_ASKED: /* QEMU is about to end; the vTPM is stopped and waits with it */
		return;
	case CTRL_CLOSED:
		break;
	}
	log_info("the control channel was closed");
	ctrl_free(l->ctrl);
	l->ctrl = NULL;
	l->grace_ms = clock_ms() + LOOP_GRACE_MS;
	stop_vtpm(l->config->vtpm);
}

/* Take an order of the broker's; < 0 when it has gone, or says what makes no sense. */
static int serve_link(struct loop *l)
{
	union {
		struct broker_order order;
		struct broker_audited late;
		struct door_reply door;
	} said = { 0 };
	int fds[FD_PASS_MAX];
	size_t n_fds;
	ssize_t got = fd_recv(l->config->link, &said, sizeof(said), fds, &n_fds);
	int rc = got < 0 ? (int)got : ERR_STATE;
	if (got == sizeof(said.order) && said.order.kind == BROKER_LAUNCHED &&
	    said.order.n_incoming <= LAUNCH_INCOMING_MAX && n_fds == 1 + said.order.n_incoming) {
		/* There is no vTPM to start it with. */
		if (!said.order.incoming && l->config->comes) {
			log_error("libvirt starts a VM that was to come from another host");
			goto out;
		}
		carry_launched(l->config->carry, said.order.incoming != 0, fds + 1,
			       said.order.incoming_fd, n_fds - 1);
		monitor_listen(l->config->monitor, fd_take(&fds[0]));
		l->launched = 1;
		rc = 0;
	} else if (got > 0 && report_is_answer(&said, (size_t)got) && n_fds == 0) {
		rc = 0;
	} else if (got > 0 && door_is_reply(&said, (size_t)got)) { /* it came too late */
		rc = 0;
	}
out:
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(&fds[i]);
	return rc;
}

/* Milliseconds until something is due without an event; -1 for never. */
static int timeout_ms(const struct loop *l)
{
	int own = l->ctrl ? ctrl_timeout_ms(l->ctrl) : clock_left_ms(l->grace_ms);
	int wait = carry_wait_ms(l->config->carry), lost = carry_timeout_ms(l->config->carry);
	if (wait < 0 || (lost >= 0 && lost < wait))
		wait = lost;
	return own < 0 || (wait >= 0 && wait < own) ? wait : own;
}

/* The broker, which hears of QEMU's end too, may have closed its link first. */
static int qemu_has_ended(const struct loop *l)
{
	struct pollfd p = { .fd = l->config->lifeline };
	registers_clear();
	return poll(&p, 1, 0) == 1;
}

/* Why it ended, or NULL to go on. */
static const char *turn(struct loop *l, int *rc)
{
	/* Nothing is ever read from the lifeline: only its end counts. */
	struct pollfd slots[N_SLOTS] = { { .fd = l->config->link },
					 { .fd = l->config->lifeline },
					 { .fd = -1 },
					 { l->config->guard->signals, POLLIN, 0 } };
	slots[SLOT_LINK].events = POLLIN;
	monitor_slots(l->config->monitor, slots + SLOT_MONITOR);
	/* Not before it is known which states the vTPM may take. */
	if (l->ctrl && l->launched)
		slots[SLOT_CTRL] = (struct pollfd){ ctrl_fd(l->ctrl), ctrl_events(l->ctrl), 0 };
	registers_clear();
	if (poll(slots, N_SLOTS, timeout_ms(l)) < 0) {
		*rc = errno == EINTR ? 0 : -errno;
		return *rc < 0 ? "poll failed" : NULL;
	}
	if (slots[SLOT_GUARD].revents && guard_serve(l->config->guard) < 0)
		return "the guard has met a fault";
	if (slots[SLOT_LINK].revents && serve_link(l) < 0)
		return "the broker has closed its link";
	if (slots[SLOT_LIFELINE].revents)
		return "QEMU has ended";
	monitor_serve(l->config->monitor, slots + SLOT_MONITOR);
	if (carry_timeout_ms(l->config->carry) == 0)
		return "the migration to here has failed, and QEMU has not ended: it is killed";
	if (l->ctrl && l->launched) {
		serve_ctrl(l);
		monitor_go_on(l->config->monitor);
	} else if (!l->ctrl && clock_left_ms(l->grace_ms) == 0) {
		return "QEMU runs on without its TPM, and is killed";
	}
	return NULL;
}

int loop_run(const struct sealed *sealed, const struct loop_config *config)
{
	const struct ctrl_config ctrl = { .vtpm = config->vtpm, .data = config->data };
	struct loop l = { .config = config, .grace_ms = -1 };
	const char *why = NULL;
	(void)sealed;
	int rc = ctrl_new(&ctrl, config->ctrl, &l.ctrl);
	while (rc >= 0 && !why)
		why = turn(&l, &rc);
	monitor_drain(config->monitor, LOOP_DRAIN_MS);
	if (qemu_has_ended(&l))
		carry_farewell(config->carry);
	stop_vtpm(config->vtpm);
	log_info("ending: %s", why ? why : err_text(rc));
	ctrl_free(l.ctrl);
	return rc;
}
