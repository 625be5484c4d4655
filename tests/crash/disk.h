/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A model of a folder on a disk that may lose or reorder whatever was not synced.
 *
 * The folder's calls, as traced, are applied to it.  File contents become durable by fdatasync or
 * fsync of the file, names by fsync of the folder, and neither by anything else: stricter than any
 * real filesystem.  A power loss keeps any subset of the pending changes: of the names' changes in
 * their order, of the contents' each 512-byte sector on its own.
 */
#ifndef SHIELDVM_TESTS_CRASH_DISK_H
#define SHIELDVM_TESTS_CRASH_DISK_H

#include "base/buf.h"

#define DISK_NAME_MAX  80
#define DISK_FILES_MAX 64
#define DISK_NAMES_MAX 8
#define DISK_CHANGES   48
#define DISK_FILE_MAX  65536
#define DISK_SECTOR    512

struct disk;

struct disk *disk_new(void);
void disk_free(struct disk *d);

/* What happened, each after it succeeded.  Files are numbers that disk_create() gives. */
int disk_create(struct disk *d, const char *name);
int disk_find(const struct disk *d, const char *name); /* as the kernel shows it; -1 */
void disk_write(struct disk *d, int file, size_t at, const void *data, size_t n);
void disk_truncate(struct disk *d, int file, size_t size);
void disk_rename(struct disk *d, const char *from, const char *to, unsigned int flags);
void disk_unlink(struct disk *d, const char *name);
void disk_sync_file(struct disk *d, int file);
void disk_sync_folder(struct disk *d);

/* The changes of names that are pending: 2^n subsets. */
unsigned int disk_pending_names(const struct disk *d);

/* How much of the pending contents survives. */
enum disk_loss {
	DISK_LOSE_ALL,
	DISK_LOSE_NONE,
	DISK_LOSE_SIZES, /* truncations lost, writes kept */
	DISK_LOSE_WRITES,
	DISK_LOSE_SECTORS, /* any of them: pass different seeds */
	DISK_LOSSES
};

/* One file after the power loss. */
struct disk_left {
	char name[DISK_NAME_MAX];
	const uint8_t *data; /* valid until the next call */
	size_t n;
};

/*
 * The folder after a power loss in which the pending changes of names in MASK happened.  Returns
 * how many of the DISK_NAMES_MAX LEFT are filled.  The disk itself goes on as before.
 */
size_t disk_after_loss(struct disk *d, uint64_t mask, enum disk_loss loss, uint64_t seed,
		       struct disk_left left[static DISK_NAMES_MAX]);

/* xorshift64*, for every seeded choice of the crash tests. */
uint64_t disk_random(uint64_t *seed);

#endif
