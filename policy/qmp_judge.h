/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QMP commands that their arguments decide: one function each, which says by qmp_met() which rules
 * the arguments meet.  Arguments that are not of the form libvirt gives them meet "monitor.form".
 *
 * Private to policy/.
 */
#ifndef SHIELDVM_POLICY_QMP_JUDGE_H
#define SHIELDVM_POLICY_QMP_JUDGE_H

#include "policy/qmp_rules.h"

typedef void qmp_judge_fn(struct qmp_judgement *j, json_t *arguments);

qmp_judge_fn judge_device_add;		 /* driver, and its properties */
qmp_judge_fn judge_object_add;		 /* qom-type, and where its memory or entropy comes from */
qmp_judge_fn judge_chardev_add;		 /* which device libvirt makes it for */
qmp_judge_fn judge_netdev_add;		 /* type; no host program, no forwarding */
qmp_judge_fn judge_blockdev;		 /* blockdev-add: drivers and file names, nested too */
qmp_judge_fn judge_blockdev_reopen;	 /* the same of every member of "options" */
qmp_judge_fn judge_blockdev_create;	 /* the same of "options" */
qmp_judge_fn judge_block_export_add;	 /* NBD only */
qmp_judge_fn judge_transaction;		 /* every action */
qmp_judge_fn judge_qom_get;		 /* no secrets, no registers */
qmp_judge_fn judge_qom_set;		 /* balloon, iothread, virtio-mem */
qmp_judge_fn judge_watchdog;		 /* watchdog-set-action, set-action: no NMI */
qmp_judge_fn judge_migrate;		 /* to a file, or to another host? */
qmp_judge_fn judge_migrate_incoming;	 /* from where? */
qmp_judge_fn judge_migrate_capabilities; /* do they lead past the worker? */
qmp_judge_fn judge_migrate_parameters;	 /* likewise */
qmp_judge_fn judge_migrate_continue;	 /* from where it pauses before the switch-over */
qmp_judge_fn judge_dump;		 /* in a form that can be sealed? */
qmp_judge_fn judge_hmp;			 /* never; internal snapshots under their own rule */

#endif
