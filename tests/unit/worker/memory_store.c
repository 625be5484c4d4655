/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/worker/memory_store.h"

#include <errno.h>

int store_exists(const struct store *s)
{
	return s->exists;
}

int store_load(struct store *s, struct buf *out, struct fault *f)
{
	if (s->fail_loads > 0) {
		s->fail_loads--;
		return fault_set(f, ERR_AUTH, "not authentic, as the test wants it");
	}
	return s->exists ? buf_add(out, s->state.data, s->state.len) : -ENOENT;
}

int store_save(struct store *s, const uint8_t *state, size_t n, struct fault *f)
{
	s->saves++;
	if (s->fail_saves > 0) {
		s->fail_saves--;
		return fault_set(f, -ENOSPC, "disk full, as the test wants it");
	}
	s->state.max = SEAL_PLAINTEXT_MAX;
	buf_clear(&s->state);
	s->exists = 1;
	s->version = ++s->highest;
	return buf_add(&s->state, state, n);
}

int store_save_same(struct store *s, const uint8_t *state, size_t n, struct fault *f)
{
	uint64_t version = s->version, highest = s->highest;
	int rc = store_save(s, state, n, f);
	if (rc >= 0 && version) {
		s->version = version;
		s->highest = highest;
	}
	return rc;
}

uint64_t store_version(const struct store *s)
{
	return s->version;
}

void store_raise(struct store *s, uint64_t floor)
{
	if (s->highest < floor)
		s->highest = floor;
}

int store_set_moved(struct store *s, int moved, struct fault *f)
{
	if (s->fail_moves > 0) {
		s->fail_moves--;
		return fault_set(f, -ENOSPC, "disk full, as the test wants it");
	}
	s->moved = moved;
	return 0;
}

void store_mark_first(struct store *s)
{
	s->mark_first = 1;
}
