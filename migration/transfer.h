/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One transfer of a VM's state at a time, between QEMU and a file or pipe of libvirt's: sealed on
 * its way out, authenticated and opened on its way in.
 *
 * Theory of operation.  QEMU gets one end of a link that is made here, never libvirt's descriptor;
 * a thread of its own, parked between transfers, pumps between that link and libvirt's descriptor
 * (crypto/flow.h), with the pool's threads at the records.  The control thread begins a transfer,
 * says when QEMU has written all of it, and learns the outcome over an eventfd.
 *
 * The link is a pipe on the way out: whoever holds a socket can end what it says by shutdown(2),
 * though others hold it too, and QEMU does so when it gives up.  On the way in it is a pair of
 * sockets, shut down in the other direction.  With a pipe a restore takes a quarter more CPU time:
 * its lock is held while either side copies, and its memory is had page by page
 * (docs/BENCHMARKS.md).
 *
 *  out  The end of QEMU's bytes is not the end of the state: a QEMU that dies closes its end too.
 *	 So the writing end stays open here as well until transfer_finish(), which the caller calls
 *	 when QEMU has said that all is written; only then does the final record follow.  A transfer
 *	 that is aborted leaves a stream without one, which nobody takes.
 *  in	 The key record and the header are checked before QEMU hears of anything
 *	 (TRANSFER_OPENING); QEMU then gets what has authenticated, record by record.  DONE comes
 *	 after the final record and the end of the input.
 *
 * May be used by: the worker.  The threads are made before sealing; system calls after it:
 * pipe2, socketpair, setsockopt, shutdown, fcntl, read, write, poll, close, futex, getrandom.
 */
#ifndef SHIELDVM_MIGRATION_TRANSFER_H
#define SHIELDVM_MIGRATION_TRANSFER_H

#include <stdint.h>

#include "base/err.h"
#include "crypto/protector.h"

/* What libvirt's file or pipe may take to give the first bytes of a stream. */
#define TRANSFER_OPEN_MS 30000

struct transfer;

struct transfer_config {
	const struct vm_key *key;
	const struct protector_facts *facts;
	const struct jwk *owner; /* dumps are sealed to this key alone */
	/* What goes out is compressed if FACTS allow PROTECTOR_COMPRESSION. */
};

enum transfer_kind { TRANSFER_SAVE, TRANSFER_DUMP, TRANSFER_RESTORE };

enum transfer_state {
	TRANSFER_IDLE,	  /* none yet */
	TRANSFER_OPENING, /* in: the key record and header are not checked yet */
	TRANSFER_RUNNING,
	TRANSFER_DONE, /* out: all is written; in: all has authenticated and QEMU has it */
	/* libvirt's descriptor is closed; our end of the link too on the way out.  On the way in it
	 * stays open until the next transfer: QEMU waits for more until libvirt ends it, instead of
	 * ending before libvirt has heard why. */
	TRANSFER_FAILED,
};

/* Before sealing.  Nothing of CONFIG is used after the call. */
int transfer_new(const struct transfer_config *config, struct transfer **out,
		 struct fault *f) MUST_CHECK;
void transfer_free(struct transfer *t);

/*
 * Begin: LIBVIRTS is the descriptor to write to or read from (a pipe or a regular file), taken over
 * on success; *QEMUS becomes QEMU's end of the link, the caller's.  -EBUSY while another transfer
 * is running.
 */
int transfer_begin(struct transfer *t, enum transfer_kind kind, int libvirts, int *qemus,
		   struct fault *f) MUST_CHECK;

/* Out: QEMU has written everything. */
void transfer_finish(struct transfer *t);

/* End it now, as TRANSFER_FAILED with WHY, unless it has ended. */
void transfer_abort(struct transfer *t, const char *why);

/* An eventfd that is readable after a change of state; transfer_look() reads it. */
int transfer_news_fd(const struct transfer *t);

/* The state now, and for TRANSFER_FAILED the reason in F. */
enum transfer_state transfer_look(struct transfer *t, struct fault *f);

#endif
