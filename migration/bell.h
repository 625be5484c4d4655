/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An eventfd by which one thread wakes another that polls.
 *
 * May be used by: migration/.  System calls: read, write.
 */
#ifndef SHIELDVM_MIGRATION_BELL_H
#define SHIELDVM_MIGRATION_BELL_H

#include <stdint.h>
#include <unistd.h>

static inline void bell_ring(int event_fd)
{
	uint64_t one = 1;
	/* Fails only if the counter is full: then it is readable anyway. */
	ssize_t n = write(event_fd, &one, sizeof(one));
	(void)n;
}

static inline void bell_hush(int event_fd)
{
	uint64_t count;
	ssize_t n = read(event_fd, &count, sizeof(count));
	(void)n;
}

#endif
