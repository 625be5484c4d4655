/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deadlines: points in time on a clock that nobody sets.
 *
 * May be used by: every layer, in every phase (clock_gettime(2)).
 */
#ifndef SHIELDVM_BASE_CLOCK_H
#define SHIELDVM_BASE_CLOCK_H

#include <limits.h>
#include <stdint.h>
#include <time.h>

/* Milliseconds of CLOCK_MONOTONIC. */
static inline int64_t clock_ms(void)
{
	struct timespec now = { 0 };
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What is left until DEADLINE_MS, for poll(2): 0 when it has passed. */
static inline int clock_left_ms(int64_t deadline_ms)
{
	int64_t left = deadline_ms - clock_ms();
	return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

/* Wait a little before trying again what another process still holds; 0 once DEADLINE_MS has
 * passed.
 */
static inline int clock_wait(int64_t deadline_ms)
{
	struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
	if (clock_left_ms(deadline_ms) == 0)
		return 0;
	nanosleep(&pause, NULL);
	return 1;
}

#endif
