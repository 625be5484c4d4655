/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What migration/live.c, which the control thread calls, and migration/live_pump.c, which is its
 * thread's work, share.
 */
#ifndef SHIELDVM_MIGRATION_LIVE_INNER_H
#define SHIELDVM_MIGRATION_LIVE_INNER_H

#include <assert.h>
#include <pthread.h>

#include "migration/live.h"
#include "migration/wires.h"

#define LANES		(1 + LIVE_MORE_MAX)
#define N_PLACES	(LANES + WIRES_OPENING)

#define LIVE_SAYING_MAX 4 /* words that the thread has not taken yet */

enum { SLOT_WAKE, SLOT_LISTENER, SLOT_QEMUS, SLOT_WIRES };
#define N_SLOTS (SLOT_WIRES + N_PLACES * WIRE_SLOTS)
static_assert(N_SLOTS == LIVE_SLOTS, "as the header says");

struct live {
	struct channel_keys *keys;
	struct hello hello;
	struct disks *disks; /* borrowed */
	uint8_t vm[UUID_BYTES];
	int64_t open_ms;
	struct thread *thread;
	int news, wake;	      /* eventfds: to the control thread, to ours */
	int qemus;	      /* borrowed */
	struct server server; /* QEMU's, for more channels than one */

	/* Our thread's while there is a job. */
	struct place places[N_PLACES];
	struct place *lanes[LANES]; /* the attempt's channels by number; NULL: not there yet */
	struct place *room;	    /* for who waits at the listener */
	int net, listener;	    /* what it begins with; -1: none */
	int link;		    /* our end of QEMU's pair, until a wire has it; -1: none */
	unsigned int more;	    /* channels beside the first */
	int leaves;		    /* else it arrives */
	int accepted, told;	    /* LIVE_ACCEPTED, LIVE_RUNNING */
	unsigned int attached;	    /* leave with more: QEMU's connections so far */
	int64_t due_ms;		    /* arrive with more: when all of them are to be there */
	int goes_on;		    /* with ATTEMPT, which is the last one, or all zeros */
	uint8_t attempt[CHANNEL_ATTEMPT_BYTES];

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under the lock. */
	int up, stop, job, aborted;
	int next_net[LIVE_MORE_MAX]; /* for our thread, until it has them */
	unsigned int given;	     /* how many live_more() was given */
	struct live_news now;
	enum word saying[LIVE_SAYING_MAX]; /* not said yet */
	int n_saying;
	int parts; /* the talk is to end by PART_MS */
	int64_t part_ms;
};

/* One migration, from its beginning to its end. */
void live_pump_out(struct live *l);
void live_pump_in(struct live *l);

#endif
