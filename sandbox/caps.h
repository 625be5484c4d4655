/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Capabilities: all of them gone, and no way for one to come back.  Nothing here needs a file.
 *
 * May be used by: sandbox/phases.c.
 */
#ifndef SHIELDVM_SANDBOX_CAPS_H
#define SHIELDVM_SANDBOX_CAPS_H

#include "base/err.h"

/*
 * While still root: lock the securebits so that uid 0 means nothing to an execve(2), and empty the
 * bounding set.  prctl(2), capset(2).
 */
int caps_bound(struct fault *f) MUST_CHECK;

/* Empty the effective, permitted, inheritable and ambient sets. */
int caps_drop(struct fault *f) MUST_CHECK;

/* 0 if no set holds a capability and the securebits are locked; ERR_STATE with a sentence if not.
 */
int caps_check(struct fault *f) MUST_CHECK;

#endif
