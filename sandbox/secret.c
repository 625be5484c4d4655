/* SPDX-License-Identifier: BSD-3-Clause */
#include "sandbox/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/fd.h"
#include "sandbox/maps.h"
#include "sandbox/objects.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x10U /* Linux 6.3 */
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

#define PAGE	       ((size_t)4096)
#define GROW_BYTES     ((size_t)1024 * 1024) /* more than is free of the heap when this begins */
#define PROT_DATA      (PROT_READ | PROT_WRITE)
#define GETENTROPY_MAX 256 /* getentropy(3) */
#define SEALS	       (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)

static char missing[256];

const char *secret_missing(void)
{
	return missing;
}

#ifdef SANITIZED

void secret_run(int (*fn)(void *arg), void *arg, int bound, struct protections *held)
{
	(void)bound;
	(void)held;
	snprintf(missing, sizeof(missing), "it is built with sanitizers, which have their own");
	_exit(fn(arg));
}

#else

static struct {
	int (*fn)(void *arg);
	void *arg;
	struct protections *held;
} next;

/*
 * What is to be converted, on the old stack, which is not.  From the first copy on nothing else may
 * change, or the change is lost: the functions of the C library that are called until the last
 * replacement write no static data but errno, and that only when they fail.
 */
struct plan {
	struct maps maps;
	uint8_t *untouched;   /* from here to its end, the heap is zero; NULL: unknown */
	size_t data_bytes;    /* of all that is writable */
	uint8_t *copy;	      /* secret memory: of all that, and the new stack; NULL: none */
	int copy_rc, text_rc; /* why not */
	int text;	      /* the sealed memfd; -1: none */
	uint8_t *stack;
};

static int is_data(const struct map *m)
{
	return m->kind == MAPPED_PRIVATE && (m->prot & PROT_WRITE);
}

static int is_text(const struct map *m)
{
	return m->kind == MAPPED_VDSO ||
	       (m->kind == MAPPED_PRIVATE && (m->prot & PROT_READ) && !(m->prot & PROT_WRITE));
}

/*
 * Grow the heap to its final size.  Asked for GROW_BYTES, malloc(3) gets them and M_TOP_PAD from
 * the kernel in one piece, and writes only to their beginning and end.  Returns where, behind
 * those, the zeros begin.
 */
static uint8_t *grow_heap(void)
{
	/* Nor may a thread want a heap of its own. */
	if (mallopt(M_ARENA_MAX, 1) != 1 || mallopt(M_MMAP_MAX, 0) != 1 ||
	    mallopt(M_TRIM_THRESHOLD, INT32_MAX) != 1 || mallopt(M_TOP_PAD, SECRET_HEAP_BYTES) != 1)
		return NULL;
	uint8_t *p = malloc(GROW_BYTES);
	uint8_t *end = sbrk(0), *untouched = NULL;
	/* Memory elsewhere than on the heap is as good, but all of it is copied. */
	if (p && p < end && end - p > SECRET_HEAP_BYTES)
		untouched = p + GROW_BYTES + PAGE;
	free(p);
	mallopt(M_TOP_PAD, 0);
	return untouched;
}

/* ---- Randomness ------------------------------------------------------------------------------ */

/*
 * For all of the program, libcrypto included, in the place of the C library's: glibc from 2.41 on
 * answers without a system call, out of pages of ordinary memory that it maps at any time
 * (vgetrandom, Linux 6.11), and whoever reads one knows what comes next.
 */
__attribute__((visibility("default"))) ssize_t getrandom(void *p, size_t n, unsigned int flags)
{
	return syscall(SYS_getrandom, p, n, flags);
}

__attribute__((visibility("default"))) int getentropy(void *p, size_t n)
{
	if (n > GETENTROPY_MAX) {
		errno = EIO;
		return -1;
	}
	for (size_t have = 0; have < n;) {
		ssize_t got = getrandom((uint8_t *)p + have, n - have, 0);
		if (got < 0 && errno != EINTR)
			return -1;
		have += got > 0 ? (size_t)got : 0;
	}
	return 0;
}

/* ---- Secret memory --------------------------------------------------------------------------- */

/* BYTES of it somewhere. */
static int secret_map(size_t bytes, uint8_t **out)
{
	struct rlimit limit = { bytes + PAGE, bytes + PAGE };
	int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int rc = ftruncate(fd, (off_t)bytes) < 0 ? -errno : 0;
	uint8_t *p = MAP_FAILED;
	if (rc == 0)
		p = mmap(NULL, bytes, PROT_DATA, MAP_SHARED, fd, 0);
	if (rc == 0 && p == MAP_FAILED && errno == EAGAIN && setrlimit(RLIMIT_MEMLOCK, &limit) == 0)
		p = mmap(NULL, bytes, PROT_DATA, MAP_SHARED, fd, 0);
	if (rc == 0 && p == MAP_FAILED)
		rc = -errno;
	close(fd);
	/* To touch it is what shows.  If it does not work, let the kernel have the fault. */
	if (rc == 0 && getrandom(p, 1, GRND_NONBLOCK | GRND_INSECURE) != 1)
		rc = -errno;
	if (rc < 0)
		return rc;
	*p = 0;
	*out = p;
	return 0;
}

static int is_zero(const uint8_t *page)
{
	const uint64_t *p = (const uint64_t *)(const void *)page;
	uint64_t any = 0;
	for (size_t i = 0; i < PAGE / sizeof(*p); i++)
		any |= p[i];
	return any == 0;
}

/* Pages of zeros stay untouched, and so cost nothing. */
static void copy_map(uint8_t *to, const struct map *m, const uint8_t *untouched)
{
	const uint8_t *end = m->end;
	if (untouched > m->start && untouched < end)
		end = untouched;
	for (const uint8_t *p = m->start; p < end; p += PAGE, to += PAGE)
		if (!is_zero(p))
			memcpy(to, p, PAGE);
}

static int move(uint8_t *from, size_t bytes, uint8_t *to)
{
	void *at = mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	return at == MAP_FAILED ? -errno : 0;
}

/* Replace everything that is writable by its copy. */
static int replace_data(struct plan *p)
{
	uint8_t *at = p->copy;
	for (size_t i = 0; i < p->maps.n; i++) {
		const struct map *m = &p->maps.map[i];
		if (!is_data(m))
			continue;
		copy_map(at, m, p->untouched);
		int rc = move(at, map_bytes(m), m->start);
		if (rc < 0)
			return rc;
		at += map_bytes(m);
	}
	/* What is left of it becomes the stack. */
	return move(at, SECRET_STACK_BYTES, p->stack);
}

/* Where there is none: the same memory, locked. */
static int lock_data(struct plan *p)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	void *stack = mmap(p->stack, SECRET_STACK_BYTES, PROT_DATA,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	int rc = stack == MAP_FAILED ? -errno : 0;
	/* Where it may not be raised it is perhaps enough. */
	(void)setrlimit(RLIMIT_MEMLOCK, &limit);
	if (rc == 0 && (madvise(p->stack, SECRET_STACK_BYTES, MADV_DONTDUMP) < 0 ||
			mlock2(p->stack, SECRET_STACK_BYTES, MLOCK_ONFAULT) < 0))
		rc = -errno;
	for (size_t i = 0; i < p->maps.n && rc == 0; i++) {
		const struct map *m = &p->maps.map[i];
		if (is_data(m) && (madvise(m->start, map_bytes(m), MADV_DONTDUMP) < 0 ||
				   mlock2(m->start, map_bytes(m), MLOCK_ONFAULT) < 0))
			rc = -errno;
	}
	return rc;
}

/* ---- Sealed text ----------------------------------------------------------------------------- */

/* One memfd with all of it, sealed. */
static int text_open(const struct maps *maps, int *out)
{
	const unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd = memfd_create("shieldvm-text", flags | MFD_EXEC);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("shieldvm-text", flags);
	if (fd < 0)
		return -errno;
	int rc = 0;
	for (size_t i = 0; i < maps->n && rc >= 0; i++)
		if (is_text(&maps->map[i]))
			rc = fd_write_full(fd, maps->map[i].start, map_bytes(&maps->map[i]));
	if (rc >= 0 && fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		rc = -errno;
	/* May it be executed? */
	void *p = rc < 0 ? MAP_FAILED : mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	if (rc >= 0 && p == MAP_FAILED)
		rc = -errno;
	if (rc < 0) {
		close(fd);
		return rc;
	}
	munmap(p, PAGE);
	*out = fd;
	return 0;
}

/*
 * Locked, all of it: what is swapped out can be changed where it is, on a disk, and comes back as
 * code.  What cannot be locked is replaced all the same, and the reason returned.
 */
static int replace_text(const struct maps *maps, int fd)
{
	off_t at = 0;
	int rc = 0;
	for (size_t i = 0; i < maps->n; i++) {
		const struct map *m = &maps->map[i];
		if (!is_text(m))
			continue;
		if (mmap(m->start, map_bytes(m), m->prot, MAP_SHARED | MAP_FIXED, fd, at) ==
		    MAP_FAILED)
			return -errno;
		if (mlock(m->start, map_bytes(m)) < 0)
			rc = -errno;
		at += (off_t)map_bytes(m);
	}
	return rc;
}

/* ---- Tables that nobody reads any more ------------------------------------------------------- */

static void mark_tables(struct maps *maps)
{
	struct object_part part[OBJECTS_PARTS_MAX];
	size_t n = objects_tables(part);
	for (size_t i = 0; i < n; i++) {
		/* What cannot be told apart stays, as a part of the text. */
		int rc = maps_mark(maps, part[i].start, part[i].end);
		(void)rc;
	}
}

static int drop_tables(const struct maps *maps)
{
	for (size_t i = 0; i < maps->n; i++) {
		const struct map *m = &maps->map[i];
		if (m->kind == MAPPED_TABLES && munmap(m->start, map_bytes(m)) < 0)
			return -errno;
	}
	return 0;
}

/* ---- The end of ordinary memory -------------------------------------------------------------- */

/* No more than there is now. */
static int limit_memory(void)
{
	char text[32] = { 0 };
	struct rlimit none = { 0, 0 }, all;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	int rc = n > 0 ? 0 : -errno;
	fd_close(&fd);
	all.rlim_cur = all.rlim_max = strtoul(text, NULL, 10) * PAGE;
	if (rc == 0 && (all.rlim_cur == 0 || setrlimit(RLIMIT_AS, &all) < 0))
		rc = -EINVAL;
	/* Private memory that can be written: there is none left. */
	if (rc == 0 && protections_have(next.held, PROTECTION_SECRET_MEMORY) &&
	    setrlimit(RLIMIT_DATA, &none) < 0)
		rc = -errno;
	return rc;
}

static int leave_old_stack(void)
{
	static char name[] = "shieldvm-worker";
	struct maps maps;
	int rc = maps_read(&maps);
	/* What the C library goes on looking at there. */
	program_invocation_name = program_invocation_short_name = name;
	environ = NULL;
	for (size_t i = 0; i < maps.n && rc == 0; i++) {
		const struct map *m = &maps.map[i];
		if (m->kind == MAPPED_STACK && munmap(m->start, map_bytes(m)) < 0)
			rc = -errno;
	}
	return rc;
}

/* On the new stack. */
static void go_on(void)
{
	int rc = leave_old_stack();
	if (rc == 0)
		rc = limit_memory();
	if (rc < 0) {
		protections_clear(next.held, PROTECTION_SECRET_MEMORY);
		snprintf(missing, sizeof(missing), "memory cannot be limited: %s", err_text(rc));
	}
	_exit(next.fn(next.arg));
}

/* ---- All of it ------------------------------------------------------------------------------- */

static int make_plan(struct plan *p, int bound)
{
	*p = (struct plan){ .untouched = grow_heap(), .text = -1 };
	uint8_t *room = mmap(NULL, SECRET_STACK_BYTES + 2 * PAGE, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED)
		return -errno;
	p->stack = room + PAGE;
	int rc = maps_read(&p->maps);
	if (rc < 0)
		return rc;
	if (bound)
		mark_tables(&p->maps);
	for (size_t i = 0; i < p->maps.n; i++)
		if (is_data(&p->maps.map[i]))
			p->data_bytes += map_bytes(&p->maps.map[i]);
	p->text_rc = text_open(&p->maps, &p->text);
	p->copy_rc = secret_map(p->data_bytes + SECRET_STACK_BYTES, &p->copy);
	return 0;
}

static void convert(struct plan *p)
{
	int locked = 0;
	if (p->copy_rc == 0)
		p->copy_rc = replace_data(p);
	else
		locked = lock_data(p) == 0;
	if (p->text_rc == 0)
		p->text_rc = replace_text(&p->maps, p->text);
	if (p->text_rc == 0)
		p->text_rc = drop_tables(&p->maps);
	fd_close(&p->text);
	if (p->copy_rc == 0)
		protections_set(next.held, PROTECTION_SECRET_MEMORY);
	if (locked)
		protections_set(next.held, PROTECTION_LOCKED_MEMORY);
	if (p->text_rc == 0)
		protections_set(next.held, PROTECTION_SEALED_TEXT);
	if (p->copy_rc < 0)
		snprintf(missing, sizeof(missing), "no secret memory: %s", err_text(p->copy_rc));
	else if (p->text_rc < 0)
		snprintf(missing, sizeof(missing), "code is not sealed: %s", err_text(p->text_rc));
}

void secret_run(int (*fn)(void *arg), void *arg, int bound, struct protections *held)
{
	struct plan plan;
	ucontext_t new_stack;
	next.fn = fn;
	next.arg = arg;
	next.held = held;
	int rc = make_plan(&plan, bound);
	if (rc < 0) {
		snprintf(missing, sizeof(missing), "memory is not known: %s", err_text(rc));
		_exit(fn(arg));
	}
	convert(&plan);
	if (getcontext(&new_stack) == 0) {
		new_stack.uc_stack.ss_sp = plan.stack;
		new_stack.uc_stack.ss_size = SECRET_STACK_BYTES;
		new_stack.uc_link = NULL;
		makecontext(&new_stack, go_on, 0);
		setcontext(&new_stack);
	}
	_exit(EXIT_ENVIRONMENT);
}

#endif
