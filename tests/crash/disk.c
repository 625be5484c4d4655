/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/disk.h"

#include <stdio.h>

/* A broken model must not look like a passed test. */
#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "disk model: %s\n", #condition);                           \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct content {
	uint8_t *data;
	size_t n;
};

struct file_change {
	int is_truncate;
	size_t at; /* or the new size */
	struct content written;
};

struct file {
	struct content durable;
	struct file_change pending[DISK_CHANGES];
	size_t n_pending;
};

struct entry {
	char name[DISK_NAME_MAX];
	int file;
};

struct names {
	struct entry entry[DISK_NAMES_MAX];
	size_t n;
};

struct name_change {
	enum { CREATE, RENAME, EXCHANGE, UNLINK } kind;
	char from[DISK_NAME_MAX], to[DISK_NAME_MAX];
	int file, other; /* what FROM was, and for EXCHANGE what TO was */
};

struct disk {
	struct file file[DISK_FILES_MAX];
	int n_files;
	struct names durable, shown;
	struct name_change pending[DISK_CHANGES];
	unsigned int n_pending;
	uint8_t *left[DISK_NAMES_MAX];
};

uint64_t disk_random(uint64_t *seed)
{
	uint64_t x = *seed ? *seed : 0x9e3779b97f4a7c15ULL;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*seed = x;
	return x * 0x2545f4914f6cdd1dULL;
}

static void content_resize(struct content *c, size_t n)
{
	MUST(n <= DISK_FILE_MAX);
	uint8_t *p = realloc(c->data, n ? n : 1);
	MUST(p);
	if (n > c->n)
		memset(p + c->n, 0, n - c->n);
	c->data = p;
	c->n = n;
}

static void content_put(struct content *c, size_t at, const uint8_t *data, size_t n)
{
	if (at + n > c->n)
		content_resize(c, at + n);
	if (n)
		memcpy(c->data + at, data, n);
}

struct disk *disk_new(void)
{
	struct disk *d = calloc(1, sizeof(*d));
	MUST(d);
	for (size_t i = 0; i < DISK_NAMES_MAX; i++) {
		d->left[i] = malloc(DISK_FILE_MAX);
		MUST(d->left[i]);
	}
	return d;
}

static void drop_changes(struct file *f)
{
	for (size_t i = 0; i < f->n_pending; i++)
		free(f->pending[i].written.data);
	f->n_pending = 0;
}

void disk_free(struct disk *d)
{
	if (!d)
		return;
	for (int i = 0; i < d->n_files; i++) {
		drop_changes(&d->file[i]);
		free(d->file[i].durable.data);
	}
	for (size_t i = 0; i < DISK_NAMES_MAX; i++)
		free(d->left[i]);
	free(d);
}

/* ---- Names ----------------------------------------------------------------------------------- */

static struct entry *names_find(const struct names *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (strcmp(names->entry[i].name, name) == 0)
			return (struct entry *)&names->entry[i];
	return NULL;
}

static void names_set(struct names *names, const char *name, int file)
{
	struct entry *e = names_find(names, name);
	if (!e) {
		MUST(names->n < DISK_NAMES_MAX);
		e = &names->entry[names->n++];
		snprintf(e->name, sizeof(e->name), "%s", name);
	}
	e->file = file;
}

static void names_drop(struct names *names, const char *name, int file)
{
	struct entry *e = names_find(names, name);
	if (e && e->file == file)
		*e = names->entry[--names->n];
}

/* Changes are about files, not about whatever has the name when an earlier change was lost. */
static void names_apply(struct names *names, const struct name_change *c)
{
	switch (c->kind) {
	case CREATE:
		names_set(names, c->from, c->file);
		break;
	case RENAME:
		names_drop(names, c->from, c->file);
		names_set(names, c->to, c->file);
		break;
	case EXCHANGE:
		names_set(names, c->from, c->other);
		names_set(names, c->to, c->file);
		break;
	case UNLINK:
		names_drop(names, c->from, c->file);
		break;
	}
}

static void change_names(struct disk *d, struct name_change c)
{
	MUST(d->n_pending < DISK_CHANGES);
	d->pending[d->n_pending++] = c;
	names_apply(&d->shown, &c);
}

int disk_find(const struct disk *d, const char *name)
{
	struct entry *e = names_find(&d->shown, name);
	return e ? e->file : -1;
}

int disk_create(struct disk *d, const char *name)
{
	MUST(d->n_files < DISK_FILES_MAX);
	struct name_change c = { .kind = CREATE, .file = d->n_files };
	snprintf(c.from, sizeof(c.from), "%s", name);
	change_names(d, c);
	return d->n_files++;
}

void disk_rename(struct disk *d, const char *from, const char *to, unsigned int flags)
{
	struct name_change c = { .kind = flags & RENAME_EXCHANGE ? EXCHANGE : RENAME };
	c.file = disk_find(d, from);
	c.other = disk_find(d, to);
	MUST(c.file >= 0 && (c.kind == RENAME || c.other >= 0));
	snprintf(c.from, sizeof(c.from), "%s", from);
	snprintf(c.to, sizeof(c.to), "%s", to);
	change_names(d, c);
}

void disk_unlink(struct disk *d, const char *name)
{
	struct name_change c = { .kind = UNLINK, .file = disk_find(d, name) };
	MUST(c.file >= 0);
	snprintf(c.from, sizeof(c.from), "%s", name);
	change_names(d, c);
}

void disk_sync_folder(struct disk *d)
{
	d->durable = d->shown;
	d->n_pending = 0;
}

unsigned int disk_pending_names(const struct disk *d)
{
	return d->n_pending;
}

/* ---- Contents -------------------------------------------------------------------------------- */

static struct file_change *change_file(struct disk *d, int file)
{
	MUST(file >= 0 && file < d->n_files);
	struct file *f = &d->file[file];
	MUST(f->n_pending < DISK_CHANGES);
	f->pending[f->n_pending] = (struct file_change){ 0 };
	return &f->pending[f->n_pending++];
}

void disk_write(struct disk *d, int file, size_t at, const void *data, size_t n)
{
	struct file_change *c = change_file(d, file);
	c->at = at;
	content_put(&c->written, 0, data, n);
}

void disk_truncate(struct disk *d, int file, size_t size)
{
	struct file_change *c = change_file(d, file);
	c->is_truncate = 1;
	c->at = size;
}

static void apply(struct content *to, const struct file_change *c, enum disk_loss loss,
		  uint64_t *seed)
{
	int kept = loss == DISK_LOSE_NONE || (loss == DISK_LOSE_SIZES && !c->is_truncate) ||
		   (loss == DISK_LOSE_WRITES && c->is_truncate);
	if (c->is_truncate) {
		if (kept || (loss == DISK_LOSE_SECTORS && disk_random(seed) & 1))
			content_resize(to, c->at);
		return;
	}
	for (size_t i = 0; i < c->written.n; i += DISK_SECTOR) {
		size_t n = c->written.n - i < DISK_SECTOR ? c->written.n - i : DISK_SECTOR;
		if (kept || (loss == DISK_LOSE_SECTORS && disk_random(seed) & 1))
			content_put(to, c->at + i, c->written.data + i, n);
	}
}

void disk_sync_file(struct disk *d, int file)
{
	uint64_t seed = 1;
	struct file *f = &d->file[file];
	for (size_t i = 0; i < f->n_pending; i++)
		apply(&f->durable, &f->pending[i], DISK_LOSE_NONE, &seed);
	drop_changes(f);
}

size_t disk_after_loss(struct disk *d, uint64_t mask, enum disk_loss loss, uint64_t seed,
		       struct disk_left left[static DISK_NAMES_MAX])
{
	struct names names = d->durable;
	for (unsigned int i = 0; i < d->n_pending; i++)
		if (mask >> i & 1)
			names_apply(&names, &d->pending[i]);
	for (size_t i = 0; i < names.n; i++) {
		const struct file *f = &d->file[names.entry[i].file];
		struct content c = { 0 };
		content_put(&c, 0, f->durable.n ? f->durable.data : (const uint8_t *)"",
			    f->durable.n);
		for (size_t k = 0; k < f->n_pending; k++)
			apply(&c, &f->pending[k], loss, &seed);
		if (c.n)
			memcpy(d->left[i], c.data, c.n);
		snprintf(left[i].name, sizeof(left[i].name), "%s", names.entry[i].name);
		left[i].data = d->left[i];
		left[i].n = c.n;
		free(c.data);
	}
	return names.n;
}
