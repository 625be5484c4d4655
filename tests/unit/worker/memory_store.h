/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker/store.h in memory, for tests that need a store to fail or to go back in time.  Linked into
 * a program, it stands before the real one of the library.
 */
#ifndef SHIELDVM_TESTS_UNIT_WORKER_MEMORY_STORE_H
#define SHIELDVM_TESTS_UNIT_WORKER_MEMORY_STORE_H

#include "worker/store.h"

struct store {
	int exists;
	struct buf state;
	uint64_t version, highest;
	int saves;	/* calls of store_save() */
	int fail_saves; /* this many of the next calls fail with -ENOSPC */
	int fail_moves; /* and of store_set_moved() */
	int moved;	/* what store_set_moved() was told last */
	int mark_first; /* store_mark_first() was called */
	int fail_loads; /* and of store_load() with ERR_AUTH */
};

#endif
