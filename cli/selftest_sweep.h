/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking through the memory of another process for canaries, however it is read.
 *
 * Used by: the attacks of `shieldvm selftest`.
 */
#ifndef SHIELDVM_CLI_SELFTEST_SWEEP_H
#define SHIELDVM_CLI_SELFTEST_SWEEP_H

#include "cli/selftest.h"

enum map_flag { CAN_READ = 1, CAN_WRITE = 2, CAN_EXECUTE = 4, IS_LOCKED = 8, IS_MERGEABLE = 16 };

struct map {
	uint64_t start, end;
	unsigned int flags;		 /* enum map_flag */
	size_t rss_kb, swap_kb, huge_kb; /* smaps_read() only */
	char name[64];
};

struct map_list {
	size_t n;
	struct map *of; /* owned */
};

/* The mappings of PID; empty if they cannot be read.  LIST's former contents are freed. */
void maps_read(pid_t pid, struct map_list *list);
void smaps_read(pid_t pid, struct map_list *list);
void map_list_done(struct map_list *list);

/* The threads of PID; how many. */
#define THREADS_MAX 64
size_t threads_of(pid_t pid, pid_t tids[static THREADS_MAX]);

/* Read N bytes at AT into TO: how many, or -1 as read(2). */
typedef ssize_t (*sweep_read)(void *arg, uint64_t at, void *to, size_t n);

struct sweep {
	const struct victim *v;
	struct finding *out;
	size_t processes, bytes, mappings; /* what could be read */
	size_t refused;			   /* mappings of which nothing could be read */
};

enum sweep_what { SWEEP_ALL, SWEEP_WRITABLE };

/* Look through PID's mappings. */
void sweep_process(struct sweep *s, pid_t pid, enum sweep_what what, sweep_read read, void *arg);

/* Say how it was, unless a canary was found. */
void sweep_finish(const struct sweep *s);

/* Look through what FD gives: read, mapped, or queued in it.  1 if it gave anything. */
int sweep_descriptor(const struct victim *v, int fd, const char *where, struct finding *out);

#endif
