/* SPDX-License-Identifier: BSD-3-Clause */
/* The VM that moves: what both of its hosts know of it; for test_live.c and test_disks.c. */
#ifndef SHIELDVM_TESTS_UNIT_MIGRATION_VM_BED_H
#define SHIELDVM_TESTS_UNIT_MIGRATION_VM_BED_H

#include "tests/unit/test.h"

#include <signal.h>

#include "migration/wire.h"

static const struct vm_key KEY = { { 1, 2, 3 } };
static const struct protector_facts FACTS = { .level = LEVEL_SHIELDED };
static struct jwk *owner;
static struct channel_keys *keys;

static inline int make_all(void **state)
{
	struct fault f = { 0 };
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	return jwk_new(&owner, &f) < 0 || channel_keys_new(&KEY, FACTS.vm, &keys, &f) < 0;
}

static inline int free_all(void **state)
{
	(void)state;
	jwk_free(owner);
	channel_keys_free(keys);
	return 0;
}

#endif
