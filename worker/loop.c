/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/loop.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "worker/ctrl.h"
#include "worker/report.h"

enum { SLOT_LINK, SLOT_LIFELINE, SLOT_CTRL, N_SLOTS };

struct loop {
	const struct loop_config *config;
	struct ctrl *ctrl; /* NULL once QEMU has closed it */
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

/* Milliseconds until something is due without an event; -1 for never. */
static int timeout_ms(const struct loop *l)
{
	return l->ctrl ? ctrl_timeout_ms(l->ctrl) : clock_left_ms(l->grace_ms);
}

/* Why it ended, or NULL to go on. */
static const char *turn(struct loop *l, int *rc)
{
	/* Nothing is ever said over the lifeline: only its end counts. */
	struct pollfd slots[N_SLOTS] = { { .fd = l->config->link, .events = POLLIN },
					 { .fd = l->config->lifeline },
					 { .fd = -1 } };
	if (l->ctrl)
		slots[SLOT_CTRL] = (struct pollfd){ ctrl_fd(l->ctrl), ctrl_events(l->ctrl), 0 };
	if (poll(slots, N_SLOTS, timeout_ms(l)) < 0) {
		*rc = errno == EINTR ? 0 : -errno;
		return *rc < 0 ? "poll failed" : NULL;
	}
	if (slots[SLOT_LINK].revents && report_drain(l->config->link) < 0)
		return "the broker has closed its link";
	if (slots[SLOT_LIFELINE].revents)
		return "QEMU has ended";
	if (l->ctrl)
		serve_ctrl(l);
	else if (clock_left_ms(l->grace_ms) == 0)
		return "QEMU runs on without its TPM, and is killed";
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
	stop_vtpm(config->vtpm);
	log_info("ending: %s", why ? why : err_text(rc));
	ctrl_free(l.ctrl);
	return rc;
}
