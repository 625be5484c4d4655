/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What libtpms loads from and stores to: its callbacks between the stores and the states that are
 * held in memory.
 *
 * A held state stands before the stored one: a state blob that was set, volatile state that was
 * saved, or, while `holding`, what libtpms has stored and the disk has not seen yet.
 *
 * Used by: worker/vtpm.c, under its lock.
 */
#ifndef SHIELDVM_WORKER_NVRAM_H
#define SHIELDVM_WORKER_NVRAM_H

#include <stdatomic.h>

#include "base/buf.h"
#include "worker/store.h"

struct held {
	int set; /* with an empty STATE: there is none, whatever the store has */
	struct buf state;
};

struct nvram {
	struct store *permanent_store;
	struct store *volatile_store; /* may be NULL */
	struct held permanent, volatile_now;
	int holding; /* stores go to `permanent` */
	int dirty;   /* `permanent` is not in the store */
	int ending;  /* what is stored is the vTPM's own end: the state keeps its version */
	int failed;  /* a load or store failed since nvram_begin() */
	int made;    /* the permanent state was found absent since then */
	int resumed; /* volatile state was loaded since then */
};

/* Become what libtpms uses; its locality is what *LOCALITY holds when it asks.  ERR_STATE if
 * libtpms refuses. */
int nvram_register(struct nvram *n, const atomic_uint *locality) MUST_CHECK;

/* Wipe what is held. */
void nvram_done(struct nvram *n);

/* Forget failures and findings, and hold stores from here on. */
void nvram_begin(struct nvram *n);

/* Put what is held of the permanent state into the store, if it is not there; end holding. */
int nvram_commit(struct nvram *n, struct fault *f) MUST_CHECK;

/* Drop what is held of the permanent state; end holding. */
void nvram_drop(struct nvram *n);

/* Make volatile state absent, held and stored. */
int nvram_consume_volatile(struct nvram *n, struct fault *f) MUST_CHECK;

/* Hold a copy of DATA; -ENOMEM, ERR_LIMIT, and then nothing is held. */
int held_set(struct held *h, const uint8_t *data, size_t n) MUST_CHECK;
void held_forget(struct held *h);

#endif
