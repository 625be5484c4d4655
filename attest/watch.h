/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What has become of a VM that a lease note names, told from the host's files and without asking
 * its worker, and what the guardian is to hear of it.
 *
 * The flock on PATH_RUN/UUID/lock is held as long as the VM's worker lives; PATH_STATE/UUID has the
 * vTPM's state, whose head has its version, and `tpm2.state.moved` beside it where the VM is
 * another host's (worker/store.h).
 *
 * May be used by: shieldvm-attestd, as root.
 */
#ifndef SHIELDVM_ATTEST_WATCH_H
#define SHIELDVM_ATTEST_WATCH_H

#include <stdint.h>

#include "base/err.h"
#include "base/uuid.h"

struct watch_seen {
	int lives;     /* its worker */
	int has_state; /* of its vTPM */
	int moved;     /* that state is marked as moved */
};

enum watch_act {
	WATCH_WAIT,
	WATCH_REPORT, /* it runs: tell the version, from time to time */
	WATCH_STOP,   /* it has ended: tell the last version, and give the lease up */
	WATCH_TAKE,   /* it has come: take the lease over */
	WATCH_FORGET, /* it is another host's, or never came: nothing to tell */
};

/* What to do about a VM whose lease is held here, or is INCOMING.  No system call. */
enum watch_act watch_decide(int incoming, const struct watch_seen *seen);

/* Look, in the folders RUN and STATE (PATH_RUN, PATH_STATE).  -errno with a sentence. */
int watch_look(const char *run, const char *state, const uint8_t vm[static UUID_BYTES],
	       struct watch_seen *out, struct fault *f) MUST_CHECK;

/* The version in the head of the state's file, 0 if there is none.  Errors of statehead_read(). */
int watch_version(const char *state, const uint8_t vm[static UUID_BYTES], int64_t *out,
		  struct fault *f) MUST_CHECK;

#endif
