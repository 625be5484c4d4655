/* SPDX-License-Identifier: BSD-3-Clause */
#include "sandbox/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LINE_ROOM 4096 /* the kernel gives whole lines of at most a page */

/* Hexadecimal digits up to STOP, which is passed over.  NULL if that is not what there is. */
static const char *address(const char *p, const char *end, char stop, uint8_t **out)
{
	uintptr_t v = 0;
	const char *from = p;
	for (; p < end && *p != stop; p++) {
		unsigned int digit;
		if (*p >= '0' && *p <= '9')
			digit = (unsigned int)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			digit = (unsigned int)(*p - 'a') + 10;
		else
			return NULL;
		if (v >> (8 * sizeof(v) - 4))
			return NULL;
		v = v << 4 | digit;
	}
	if (p == end || p == from)
		return NULL;
	*out = (uint8_t *)v;
	return p + 1;
}

static int is(const char *name, size_t len, const char *what)
{
	return len == strlen(what) && memcmp(name, what, len) == 0;
}

static int begins(const char *name, size_t len, const char *what)
{
	return len >= strlen(what) && memcmp(name, what, strlen(what)) == 0;
}

static enum map_kind kind_of(char shared, const char *name, size_t len)
{
	if (is(name, len, "[stack]"))
		return MAPPED_STACK;
	if (is(name, len, "[vdso]"))
		return MAPPED_VDSO;
	if (begins(name, len, "[v") || is(name, len, "[uprobes]"))
		return MAPPED_KERNEL;
	return shared == 's' ? MAPPED_SHARED : MAPPED_PRIVATE;
}

int maps_parse(const char *line, size_t len, struct map *out)
{
	const char *end = line + len;
	struct map m = { 0 };
	const char *p = address(line, end, '-', &m.start);
	if (p)
		p = address(p, end, ' ', &m.end);
	if (!p || m.end <= m.start || end - p < 5 || p[4] != ' ')
		return ERR_FORMAT;
	m.prot = (p[0] == 'r' ? PROT_READ : 0) | (p[1] == 'w' ? PROT_WRITE : 0) |
		 (p[2] == 'x' ? PROT_EXEC : 0);
	const char *flags = p;
	/* Behind them offset, device and inode, each followed by one blank or more. */
	p += 5;
	for (int field = 0; field < 3; field++) {
		while (p < end && *p != ' ')
			p++;
		while (p < end && *p == ' ')
			p++;
	}
	m.kind = kind_of(flags[3], p, (size_t)(end - p));
	*out = m;
	return 0;
}

/* Take the whole lines out of the *HAVE bytes at BUFFER, and leave the start of one. */
static int take_lines(char *buffer, size_t *have, struct maps *out)
{
	char *at = buffer, *newline;
	while ((newline = memchr(at, '\n', *have))) {
		if (out->n == MAPS_MAX)
			return ERR_LIMIT;
		int rc = maps_parse(at, (size_t)(newline - at), &out->map[out->n]);
		if (rc < 0)
			return rc;
		out->n++;
		*have -= (size_t)(newline + 1 - at);
		at = newline + 1;
	}
	memmove(buffer, at, *have);
	return 0;
}

int maps_read(struct maps *out)
{
	char buffer[2 * LINE_ROOM];
	size_t have = 0;
	ssize_t got;
	int rc = 0, fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	out->n = 0;
	while ((got = read(fd, buffer + have, sizeof(buffer) - have)) > 0 && rc == 0) {
		have += (size_t)got;
		rc = take_lines(buffer, &have, out);
	}
	if (got < 0)
		rc = -errno;
	if (rc == 0 && (have > 0 || out->n == 0))
		rc = ERR_FORMAT;
	close(fd);
	return rc;
}

int maps_mark(struct maps *maps, uint8_t *start, uint8_t *end)
{
	size_t i = 0, at = 0;
	while (i < maps->n && (start < maps->map[i].start || start >= maps->map[i].end))
		i++;
	if (i == maps->n || start >= end || end > maps->map[i].end ||
	    maps->map[i].kind != MAPPED_PRIVATE || maps->map[i].prot != PROT_READ)
		return ERR_STATE;
	/* Before it, it, behind it. */
	struct map pieces[3] = { maps->map[i], maps->map[i], maps->map[i] };
	pieces[0].end = pieces[1].start = start;
	pieces[2].start = pieces[1].end = end;
	pieces[1].kind = MAPPED_TABLES;
	const size_t n =
		(size_t)1 + (pieces[0].end > pieces[0].start) + (pieces[2].end > pieces[2].start);
	if (maps->n - 1 + n > MAPS_MAX)
		return ERR_LIMIT;
	memmove(&maps->map[i + n], &maps->map[i + 1], (maps->n - i - 1) * sizeof(*maps->map));
	maps->n += n - 1;
	for (size_t k = 0; k < 3; k++)
		if (pieces[k].end > pieces[k].start)
			maps->map[i + at++] = pieces[k];
	return 0;
}
