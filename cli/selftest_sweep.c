/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/selftest_sweep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

#define CHUNK	       (256 * 1024)
#define PAGE	       4096
#define OVERLAP	       64
#define MAPPING_MAX    (64U << 20) /* of one mapping; larger ones are reserved address space */
#define MAPS_MAX       4096
#define DESCRIPTOR_MAX (16U << 20)

void map_list_done(struct map_list *list)
{
	free(list->of);
	*list = (struct map_list){ 0 };
}

static unsigned int flags_of(const char *mode)
{
	return (mode[0] == 'r' ? CAN_READ : 0U) | (mode[1] == 'w' ? CAN_WRITE : 0U) |
	       (mode[2] == 'x' ? CAN_EXECUTE : 0U);
}

static void read_details(const char *line, struct map *m)
{
	size_t kb;
	if (sscanf(line, "Rss: %zu", &kb) == 1)
		m->rss_kb = kb;
	else if (sscanf(line, "Swap: %zu", &kb) == 1)
		m->swap_kb = kb;
	else if (sscanf(line, "AnonHugePages: %zu", &kb) == 1 ||
		 sscanf(line, "ShmemPmdMapped: %zu", &kb) == 1)
		m->huge_kb += kb;
	else if (strncmp(line, "VmFlags:", 8) == 0)
		m->flags |= (strstr(line, " lo") ? IS_LOCKED : 0U) |
			    (strstr(line, " mg") ? IS_MERGEABLE : 0U);
}

static void read_list(pid_t pid, const char *file, struct map_list *list)
{
	char path[64], line[512], mode[8];
	map_list_done(list);
	list->of = calloc(MAPS_MAX, sizeof(*list->of));
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	FILE *maps = list->of ? fopen(path, "re") : NULL;
	while (maps && fgets(line, sizeof(line), maps)) {
		unsigned long long start, end;
		int name = 0;
		if (sscanf(line, "%llx-%llx %7s %*s %*s %*s %n", &start, &end, mode, &name) >= 3) {
			if (list->n == MAPS_MAX)
				break;
			struct map *m = &list->of[list->n++];
			*m = (struct map){ .start = start, .end = end, .flags = flags_of(mode) };
			line[strcspn(line, "\n")] = '\0';
			snprintf(m->name, sizeof(m->name), "%s", name ? line + name : "");
		} else if (list->n) {
			read_details(line, &list->of[list->n - 1]);
		}
	}
	if (maps)
		fclose(maps);
}

void maps_read(pid_t pid, struct map_list *list)
{
	read_list(pid, "maps", list);
}

void smaps_read(pid_t pid, struct map_list *list)
{
	read_list(pid, "smaps", list);
}

size_t threads_of(pid_t pid, pid_t tids[static THREADS_MAX])
{
	char path[64];
	size_t n = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *dir = opendir(path);
	for (struct dirent *e; dir && n < THREADS_MAX && (e = readdir(dir));)
		if (e->d_name[0] != '.')
			tids[n++] = atoi(e->d_name);
	if (dir)
		closedir(dir);
	return n;
}

/* One mapping: by the chunk, and where that fails by the page. */
static void sweep_mapping(struct sweep *s, const struct map *m, sweep_read read_fn, void *arg)
{
	static uint8_t buf[OVERLAP + CHUNK];
	size_t kept = 0, all = 0;
	uint64_t end = m->end - m->start > MAPPING_MAX ? m->start + MAPPING_MAX : m->end;
	for (uint64_t at = m->start; at < end;) {
		size_t want = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
		ssize_t got = read_fn(arg, at, buf + kept, want);
		if (got <= 0 && want > PAGE)
			got = read_fn(arg, at, buf + kept, want = PAGE);
		if (got <= 0) {
			kept = 0;
			at += PAGE - at % PAGE;
			/* Guard pages and reserved space are refused page after page. */
			if (all == 0 && at - m->start >= 64 * PAGE)
				break;
			continue;
		}
		size_t n = kept + (size_t)got;
		if (find_canary(s->v, buf, n, m->name[0] ? m->name : "an anonymous mapping",
				s->out))
			return;
		all += (size_t)got;
		at += (uint64_t)got;
		kept = n < OVERLAP ? n : OVERLAP;
		memmove(buf, buf + n - kept, kept);
	}
	s->bytes += all;
	s->mappings += all > 0;
	s->refused += all == 0;
}

void sweep_process(struct sweep *s, pid_t pid, enum sweep_what what, sweep_read read_fn, void *arg)
{
	struct map_list maps = { 0 };
	size_t before = s->bytes;
	maps_read(pid, &maps);
	for (size_t i = 0; i < maps.n && s->out->outcome == OUTCOME_CLOSED; i++)
		if (what == SWEEP_ALL || maps.of[i].flags & CAN_WRITE)
			sweep_mapping(s, &maps.of[i], read_fn, arg);
	map_list_done(&maps);
	s->processes += s->bytes > before;
}

void sweep_finish(const struct sweep *s)
{
	if (s->bytes)
		find_closed(s->out,
			    "%zu kB of %zu processes read, no canary; nothing of %zu mappings",
			    s->bytes / 1024, s->processes, s->refused);
	else
		find_closed(s->out, "nothing can be read");
}

/* What is queued stays queued. */
static size_t peek_socket(int fd, uint8_t *buf, size_t n)
{
	ssize_t got = recv(fd, buf, n, MSG_PEEK | MSG_DONTWAIT);
	return got > 0 ? (size_t)got : 0;
}

static size_t peek_pipe(int fd, uint8_t *buf, size_t n)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return 0;
	CLEANUP_FD int from = ends[0];
	CLEANUP_FD int to = ends[1];
	ssize_t got = tee(fd, to, n, SPLICE_F_NONBLOCK);
	if (got > 0)
		got = read(from, buf, n);
	return got > 0 ? (size_t)got : 0;
}

static size_t read_file(int fd, uint8_t *buf, size_t n)
{
	size_t all = 0;
	for (ssize_t got; all < n; all += (size_t)got) {
		got = pread(fd, buf + all, n - all, (off_t)all);
		if (got <= 0)
			break;
	}
	return all;
}

int sweep_descriptor(const struct victim *v, int fd, const char *where, struct finding *out)
{
	struct stat st;
	uint8_t *buf = malloc(DESCRIPTOR_MAX);
	size_t n = 0;
	if (!buf || fstat(fd, &st) < 0) {
		free(buf);
		return 0;
	}
	size_t size = st.st_size > 0 && st.st_size < DESCRIPTOR_MAX ? (size_t)st.st_size : 65536;
	if (S_ISSOCK(st.st_mode))
		n = peek_socket(fd, buf, DESCRIPTOR_MAX);
	else if (S_ISFIFO(st.st_mode))
		n = peek_pipe(fd, buf, DESCRIPTOR_MAX);
	else if (S_ISREG(st.st_mode))
		n = read_file(fd, buf, DESCRIPTOR_MAX);
	int gave = n > 0;
	find_canary(v, buf, n, where, out);
	/* Behind its end a mapping has no pages, and asking for one is a signal: write(2) asks. */
	void *mapped = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	int ends[2];
	if (mapped != MAP_FAILED && S_ISREG(st.st_mode) && pipe2(ends, O_CLOEXEC) == 0) {
		n = 0;
		for (ssize_t got; n < size; n += (size_t)got) {
			got = write(ends[1], (uint8_t *)mapped + n,
				    size - n < PAGE ? size - n : PAGE);
			if (got <= 0 || read(ends[0], buf + n, (size_t)got) != got)
				break;
		}
		gave |= n > 0;
		find_canary(v, buf, n, where, out);
		close(ends[0]);
		close(ends[1]);
	}
	if (mapped != MAP_FAILED)
		munmap(mapped, size);
	free(buf);
	return gave;
}
