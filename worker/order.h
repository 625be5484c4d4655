/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the hook orders, and what it is answered: the worker's side of the spawn conversation
 * (base/spawn.h).
 *
 * Used by: worker/main.c.  order_receive() in phase open, order_sign() and order_ask_key() in phase
 * load, the answers also after sealing (sendmsg(2), close(2)).
 */
#ifndef SHIELDVM_WORKER_ORDER_H
#define SHIELDVM_WORKER_ORDER_H

#include "base/ask.h"
#include "base/buf.h"
#include "base/spawn.h"
#include "crypto/ekca.h"

#define ORDER_TIMEOUT_MS     10000
#define ORDER_KEY_TIMEOUT_MS (ASK_TIMEOUT_MS + 2 * ORDER_TIMEOUT_MS) /* the hook gives up first */

struct order {
	int sock; /* to the hook; -1 once answered */
	int lock; /* the VM's lock, held as long as this process lives */
	uint8_t vm[UUID_BYTES];
	uint32_t worker_uid, qemu_uid;
	int may_be_new, comes;
	char name[SPAWN_NAME_MAX];
	struct buf protector; /* text, unverified */
};

/* Receive it over SOCK, which is taken over in any case: order_refuse() works after a failure too.
 * ERR_FORMAT, ERR_VERSION, -ETIMEDOUT, -errno. */
int order_receive(int sock, struct order *out, struct fault *f) MUST_CHECK;
void order_done(struct order *o);

/* provision_sign(): have the hook sign EK. ARG is the order. */
int order_sign(void *arg, const struct ek_public *ek, struct buf *der, struct fault *f) MUST_CHECK;

/*
 * Have the hook ask a guardian for the VM's key, for the ephemeral key WORKER and a vTPM whose
 * state is of STATE_VERSION (0: there is none).  At most once.  What comes back is of the right
 * form, and no more than that.  ERR_FORMAT, ERR_STATE if the hook has gone, -ETIMEDOUT after
 * ORDER_KEY_TIMEOUT_MS, -errno; a guardian's refusal ends this process, and is the hook's to tell.
 */
int order_ask_key(struct order *o, const uint8_t worker[static SPAWN_POINT_BYTES],
		  uint64_t state_version, struct spawn_key *out, struct fault *f) MUST_CHECK;

/* The answer; the conversation is over.  MADE: the vTPM was manufactured just now. */
int order_ready(struct order *o, int made) MUST_CHECK;
void order_refuse(struct order *o, int rc, const struct fault *f);

#endif
