/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * State that leaves or enters over the monitor: what libvirt says about it, turned into a transfer
 * (migration/transfer.h) or a live migration (migration/live.h).
 *
 *  out: libvirt hands over a file or pipe (getfd), which is kept here and never QEMU's, and
 *      names it in migrate or dump-guest-memory.  QEMU gets a pipe of the worker's under a name
 *      of ours, and the same command with that name.
 *  in: libvirt's file came with the launcher; migrate-incoming names its number.  QEMU gets a
 *      pipe once the stream's header has authenticated; until then libvirt waits for its reply.
 *  leave: libvirt hands over a connection to the other host.  Its migrate is answered when the
 *      worker there has said whether it takes the VM.  When all is over there, the vTPM's state
 *      here is marked as moved, unless libvirt has the guest run here again.
 *  arrive: libvirt names an address in migrate-incoming, and gets its reply when the broker has
 *      made a listener there.
 *  more: With --parallel QEMU makes the connections itself, and several: on the source the
 *      broker does so instead, and QEMU connects to a socket of the broker's (worker/door.h);
 *      on the destination QEMU gets a listener of the worker's.
 *  disks: are copied before that, by worker/copy.h.
 *  talk: When all of the VM is on both hosts, the source has it, and the destination's cont is
 *      held until the source has given it away (worker/carry_talk.c).
 *
 * QEMU's word that all is done (MIGRATION, DUMP_COMPLETED) is held back until the transfer is
 * done too, and turned into a failure if that fails; query-migrate tells the same story.  A VM
 * that starts from state does not run, and its vTPM stores nothing, before all of that state
 * has authenticated.  In post-copy it runs when QEMU has what it needs for that, and the vTPM
 * its state: each record of it was authentic.
 *
 * On the way out post-copy has no way back: from the switch-over on the VM may run there, and here
 * its vTPM's state is marked as moved and nothing passes that would have QEMU run it, save it or
 * send it elsewhere.  A link that breaks then ends neither: QEMU waits on both sides, and goes on
 * with the same attempt over another one (migrate-recover, migrate with resume).
 *
 * Used by: worker/monitor.c, which does the talking.  System calls: close(2), fstat(2), and
 * those of what it uses.
 */
#ifndef SHIELDVM_WORKER_CARRY_H
#define SHIELDVM_WORKER_CARRY_H

#include "base/spawn.h"
#include "migration/disks.h"
#include "migration/live.h"
#include "migration/transfer.h"
#include "worker/qmp.h"
#include "worker/vtpm.h"

#define CARRY_HELD_MAX	  4    /* descriptors of libvirt's that wait for their command */
#define CARRY_LOST_MS	  3000 /* for libvirt to end it itself */
#define CARRY_TEXT_MAX	  (FAULT_TEXT_MAX + 128)

#define CARRY_WORD_MS	  10000 /* how long "cont" waits for the other host's word */
#define CARRY_FAREWELL_MS 1000

struct carry;

struct carry_config {
	struct transfer *transfer; /* borrowed */
	struct live *live;	   /* borrowed */
	struct disks *disks;	   /* borrowed; NULL: none can be copied (tests) */
	int comes;		   /* the VM is to come from another host */
	const uint8_t *vm;	   /* UUID_BYTES; nothing of it is used after the call */
	struct vtpm *vtpm;	   /* borrowed; NULL: none (tests) */
	int link;		   /* to the broker, for the audit log and to listen; -1: none
				    * (tests) */
	int word_ms;		   /* 0: CARRY_WORD_MS */
};

int carry_new(const struct carry_config *config, struct carry **out) MUST_CHECK;
void carry_free(struct carry *c);

/*
 * QEMU was launched.  INCOMING: it waits for state, from one of the N descriptors FDS (taken over),
 * which libvirt knows as NUMBERS; the vTPM stores nothing until that is in.  Otherwise the vTPM
 * takes no state but its own.
 */
void carry_launched(struct carry *c, int incoming, int *fds, const int32_t *numbers, size_t n);

/* libvirt's connection has ended, and with it what it had handed over. */
void carry_forget(struct carry *c);

/* What becomes of a request of libvirt's. */
enum carry_verdict {
	CARRY_NOT_MINE, /* it goes to QEMU as it is */
	CARRY_ANSWERED, /* done; libvirt is answered with {} */
	CARRY_REFUSED,	/* by RULE, for the reason in F: to be recorded */
	CARRY_FAILED,	/* for the reason in F */
	CARRY_BEGUN,	/* carry_next() says what QEMU is asked */
};

/* Judge R, which came with *FD (-1: none), taken if it is not NOT_MINE. */
enum carry_verdict carry_request(struct carry *c, const struct qmp_request *r, int *fd,
				 const char **rule, struct fault *f);

/* What to ask QEMU on behalf of the request that was begun. */
struct carry_ask {
	const char *command;
	json_t *arguments; /* the caller's reference */
	int fd;		   /* goes with it, the caller's; -1: none */
	int last;	   /* its reply is libvirt's reply */
};

enum carry_turn { CARRY_WAITS, CARRY_ASKS, CARRY_STOPS, CARRY_DONE };

/* CARRY_DONE: libvirt is answered with {}.  CARRY_STOPS: libvirt, whose command ASK says, is
 * answered with the error in F; RULE is not NULL if that is to be recorded as a refusal. */
enum carry_turn carry_next(struct carry *c, struct carry_ask *ask, const char **rule,
			   struct fault *f);

/* QEMU has answered the last ask, with a return if OK. */
void carry_replied(struct carry *c, int ok);

/* An event of QEMU's, NAME and STATUS (data.status or data.result.status) as JSON text.  1: hold it
 * back; carry_ended() says what for. */
int carry_event(struct carry *c, const struct qmp_text *name, const struct qmp_text *status);

/* For poll(2); -1 while nothing moves.  Milliseconds until carry_next() has something to say
 * without news; -1: never. */
int carry_news_fd(const struct carry *c);
int carry_wait_ms(const struct carry *c);

/* The last call: QEMU has ended, and with it what ran here, or could have.  The other host hears of
 * it, if it may want to know; takes CARRY_FAREWELL_MS at most. */
void carry_farewell(struct carry *c);

/*
 * To be called after anything else here: 1 if a transfer has ended since the last call, so that
 * what was held back can be said.  *EVENT: NULL, or the name of the event of a failure that libvirt
 * is to be told of instead, as QEMU thinks that all is well or would never say anything.
 */
int carry_ended(struct carry *c, const char **event);

/*
 * For how many ms QEMU is still good for something; -1: as long as it lives.  When a VM that comes
 * over several channels has failed to, QEMU's main thread may wait for ever for one of them, and
 * libvirt for QEMU: at 0 it is to be ended.
 */
int carry_timeout_ms(const struct carry *c);

/* How query-migrate's reply is to be changed: NULL for not at all, else the status to say in place
 * of "completed"; with *ERROR set, the whole reply is that status and this text. */
const char *carry_status(const struct carry *c, const char **error);

#endif
