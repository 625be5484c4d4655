/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Having a guardian asked for a VM's key: the hook's side of base/ask.h.
 *
 * May be used by: the hook, as root.
 */
#ifndef SHIELDVM_LIBVIRT_ASKER_H
#define SHIELDVM_LIBVIRT_ASKER_H

#include <stddef.h>

#include "base/ask.h"

/* 1 if RULE can be a rule's id in the audit log: [a-z0-9.-], at least one, with its NUL. */
int asker_is_rule(const char rule[static ASK_RULE_MAX]);

/*
 * Run PROGRAM (PATH_ASK), which has nothing of this process but the socket, with an empty
 * environment and in a session of its own; send it REQUEST with the PROTECTOR behind it and wait
 * for its reply, at most TIMEOUT_MS (ASK_TIMEOUT_MS).  However that goes, it is no child of this
 * process any more when this returns: unless it has ended by itself by then, it is killed.
 *
 * 0: *REPLY is a release, in which every text ends and is printable, and the key's sizes are in
 * their bounds.  Otherwise the refusal: its error and its sentence in F, and its rule in RULE (for
 * whatever else goes wrong, and for an id that is none, "guardian.refused"; -ETIMEDOUT has
 * "guardian.timeout").  *REPLY is then not to be used.
 */
int asker_run(const char *program, const struct ask_request *request, const char *protector,
	      int timeout_ms, struct ask_reply *reply, char rule[static ASK_RULE_MAX],
	      struct fault *f) MUST_CHECK;

#endif
