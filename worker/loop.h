/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Phase serve: the sealed worker's control thread.
 *
 * Ends when QEMU has gone (its end of the lifeline is closed, or the broker closes the link), or
 * has closed the control channel and not ended within LOOP_GRACE_MS: then the worker's end lets the
 * kernel kill it, as a VM does not run without its TPM.  On the way out the vTPM is shut down in
 * order.
 *
 * Used by: worker/main.c.
 */
#ifndef SHIELDVM_WORKER_LOOP_H
#define SHIELDVM_WORKER_LOOP_H

#include "sandbox/guard.h"
#include "sandbox/phases.h"
#include "worker/data.h"
#include "worker/monitor.h"
#include "worker/vtpm.h"

#define LOOP_GRACE_MS 30000 /* QEMU flushes its disks after it has let go of the TPM */
#define LOOP_DRAIN_MS 1000  /* for what QEMU has said last to reach libvirt */

struct loop_config {
	struct vtpm *vtpm;	 /* borrowed */
	struct data *data;	 /* borrowed */
	struct monitor *monitor; /* borrowed */
	struct carry *carry;	 /* borrowed */
	struct guard *guard;	 /* borrowed */
	int comes;		 /* the VM is to come from another host, and not to start */
	int ctrl;		 /* the control channel; taken over */
	int link;		 /* to the broker; borrowed */
	int lifeline;		 /* its other end is QEMU's; borrowed */
};

/* 0 after an orderly end, else an error, which only -ENOMEM or poll(2) can be.  System calls:
 * sandbox/filter_worker.c. */
int loop_run(const struct sealed *sealed, const struct loop_config *config) MUST_CHECK;

#endif
