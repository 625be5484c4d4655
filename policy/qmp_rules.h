/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rules for QMP: which commands of libvirt's reach QEMU, and with which arguments.
 *
 * Two tables.  One has a row per command: allowed, refused under a rule, or judged by its arguments
 * (policy/qmp_judge.c).  The other has a row per rule: its verdict at each level and the reason for
 * the person refused.  A command without a row is refused as "monitor.unknown".  The commands are
 * those of libvirt 9.0 to 11.3 (qemu_monitor_json.c); rule ids that a domain's XML can break too
 * are the ones of policy/domain_rules.h.
 *
 * Arguments arrive parsed, without duplicate keys, and go to QEMU as they were judged: whoever
 * forwards them serialises the judged tree.
 *
 * May be used by: the worker, after sealing too (no system call but malloc(3)'s); shieldvm.
 */
#ifndef SHIELDVM_POLICY_QMP_RULES_H
#define SHIELDVM_POLICY_QMP_RULES_H

#include <jansson.h>
#include <stddef.h>

#include "crypto/protector.h"
#include "policy/verdict.h"

struct qmp_rule {
	const char *id; /* "group.name", stable */
	enum verdict at_supported, at_shielded;
	const char *reason;
};

/* The rules; *N rows. */
const struct qmp_rule *qmp_rules(size_t *n);

/* 1 if ID is the id of a rule here that an owner may allow at encryption-supported. */
int qmp_rule_allowable(const char *id);

/* 1 if QEMU's migration capability NAME (may be NULL) has it write state past the worker. */
int qmp_bypasses_worker(const char *name);

/* 1 if libvirt is not to know that QEMU has the migration capability NAME (may be NULL): it would
 * ask for what is refused, though nobody has told it to, or would say less clearly why not. */
int qmp_hides_capability(const char *name);

/* One command being judged. */
struct qmp_judgement {
	const struct protector_facts *facts;
	const struct qmp_rule *refused_by; /* the first rule that refuses; NULL: none so far */
};

/*
 * Judge COMMAND with ARGUMENTS (an object, or NULL for none) for a VM with FACTS.  NULL: it may
 * pass.  Otherwise the rule that refuses it; static storage.
 */
const struct qmp_rule *qmp_rules_judge(const char *command, json_t *arguments,
				       const struct protector_facts *facts) MUST_CHECK;

/* For judges: rule ID is met.  Recorded if it refuses and nothing was refused before.  An id
 * without a row aborts: a refusal must not get lost in a misspelling. */
void qmp_met(struct qmp_judgement *j, const char *id);

/* For judges: would rule ID refuse? */
int qmp_refuses(const struct qmp_judgement *j, const char *id);

#endif
