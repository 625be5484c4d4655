/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which host has the VM: what its vTPM and the audit log are told when it comes and goes.
 *
 * A VM runs on the host that may store its vTPM's state; the other host's is marked as moved
 * (worker/store.h), or waits (vtpm_await()).  Each change is durable, and on record, before whoever
 * asked for it hears so.
 *
 * Used by: worker/carry.c.
 */
#ifndef SHIELDVM_WORKER_SETTLE_H
#define SHIELDVM_WORKER_SETTLE_H

#include "policy/audit.h"
#include "worker/vtpm.h"

struct settle {
	struct vtpm *vtpm; /* borrowed; NULL: none (tests) */
	int link;	   /* to the broker, for the audit log; -1: none (tests) */
};

/* On record: EVENT, as COMMAND of libvirt's has it, for REASON.  Its errors have a sentence. */
int settle_record(const struct settle *s, enum audit_event event, const char *command,
		  const char *reason, struct fault *f) MUST_CHECK;

/* Has what the vTPM is to be come in, so that settle_here() can be? */
int settle_ready(const struct settle *s);

/* The state that the VM runs on is in, and authentic: its vTPM serves it, and stores. */
int settle_here(const struct settle *s, struct fault *f) MUST_CHECK;

/*
 * The same of a VM that has come from another host and has not run yet: stored, so that nothing is
 * lost, and marked as moved until settle_back(), as it is the other host's until that gives it
 * away.
 */
int settle_arrived(const struct settle *s, struct fault *f) MUST_CHECK;

/* The VM is on the other host, and this one's until that asks for it: its vTPM runs no command in
 * between, or does again. */
void settle_pause(const struct settle *s, int pause);

/* The VM runs elsewhere, or is about to: what is stored here must not be started once more. */
int settle_away(const struct settle *s, const char *command, const char *reason,
		struct fault *f) MUST_CHECK;

/* The same where it may be left undone: after a failure nothing is marked. */
int settle_give(const struct settle *s, const char *command, const char *reason,
		struct fault *f) MUST_CHECK;

/* The mark alone. */
int settle_mark(const struct settle *s, struct fault *f) MUST_CHECK;

/* It runs here after all, or at last. */
int settle_back(const struct settle *s, const char *command, const char *reason,
		struct fault *f) MUST_CHECK;

#endif
