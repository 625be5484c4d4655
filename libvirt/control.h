/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Talking to a VM's broker over its control socket (base/spawn.h): the client's side.
 *
 * May be used by: the hook, `shieldvm status`; as root.  Every call is bounded in time.
 */
#ifndef SHIELDVM_LIBVIRT_CONTROL_H
#define SHIELDVM_LIBVIRT_CONTROL_H

#include "base/spawn.h"

#define CONTROL_TIMEOUT_MS 5000

/*
 * Ask VM's broker KIND and wait for its answer.  0 and *REPLY, or what the broker answered (its
 * sentence in F).  ERR_STATE with a sentence if there is no broker; -ETIMEDOUT.
 */
int control_ask(const uint8_t vm[static UUID_BYTES], enum control_kind kind,
		struct control_reply *reply, struct fault *f) MUST_CHECK;

/*
 * End VM's worker and broker: CONTROL_STOP, and if there is no answer within STOP_TIMEOUT_MS,
 * SIGKILL to the broker, which the kernel then does to worker and QEMU too.  0 also if there is
 * none.
 */
int control_stop(const uint8_t vm[static UUID_BYTES], struct fault *f) MUST_CHECK;

#endif
