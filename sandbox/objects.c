/* SPDX-License-Identifier: BSD-3-Clause */
#include "sandbox/objects.h"

#include <elf.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#define PAGE	   ((uintptr_t)4096)
#define TABLES_MAX 10

struct parts {
	struct object_part *out;
	size_t n;
};

/* A table of the dynamic linker's, and its end where the dynamic section tells one. */
struct table {
	uintptr_t start, end;
};

static void add(struct parts *p, uintptr_t start, uintptr_t end)
{
	start = (start + PAGE - 1) & ~(PAGE - 1);
	end &= ~(PAGE - 1);
	if (start < end && p->n < OBJECTS_PARTS_MAX)
		p->out[p->n++] = (struct object_part){ (uint8_t *)start, (uint8_t *)end };
}

static uintptr_t segment_start(const struct dl_phdr_info *o, const ElfW(Phdr) * segment)
{
	return o->dlpi_addr + segment->p_vaddr;
}

/* The segment around AT if nothing in it can be written or executed. */
static const ElfW(Phdr) * constants_at(const struct dl_phdr_info *o, uintptr_t at)
{
	for (size_t i = 0; i < o->dlpi_phnum; i++) {
		const ElfW(Phdr) *s = &o->dlpi_phdr[i];
		if (s->p_type == PT_LOAD && at >= segment_start(o, s) &&
		    at - segment_start(o, s) < s->p_filesz)
			return s->p_flags == PF_R ? s : NULL;
	}
	return NULL;
}

static const ElfW(Phdr) * segment_of(const struct dl_phdr_info *o, uint32_t type)
{
	for (size_t i = 0; i < o->dlpi_phnum; i++)
		if (o->dlpi_phdr[i].p_type == type)
			return &o->dlpi_phdr[i];
	return NULL;
}

static int by_start(const void *a, const void *b)
{
	const struct table *x = a, *y = b;
	return (x->start > y->start) - (x->start < y->start);
}

/* Fills TABLE by address; the linker has put its load address on some of the entries, or none. */
static size_t tables_of(const struct dl_phdr_info *o, const ElfW(Dyn) * d,
			struct table table[TABLES_MAX])
{
	static const struct {
		ElfW(Sxword) address, bytes;
	} KINDS[] = {
		{ DT_HASH, 0 },		 { DT_GNU_HASH, 0 },	 { DT_SYMTAB, 0 },
		{ DT_VERSYM, 0 },	 { DT_VERDEF, 0 },	 { DT_VERNEED, 0 },
		{ DT_STRTAB, DT_STRSZ }, { DT_RELA, DT_RELASZ }, { DT_JMPREL, DT_PLTRELSZ },
	};
	const size_t kinds = sizeof(KINDS) / sizeof(KINDS[0]);
	uintptr_t bytes[sizeof(KINDS) / sizeof(KINDS[0])] = { 0 };
	size_t n = 0;
	struct table found[sizeof(KINDS) / sizeof(KINDS[0])] = { 0 };
	for (; d->d_tag != DT_NULL; d++) {
		for (size_t k = 0; k < kinds; k++) {
			if (d->d_tag == KINDS[k].address)
				found[k].start = d->d_un.d_ptr < o->dlpi_addr
							 ? o->dlpi_addr + d->d_un.d_ptr
							 : d->d_un.d_ptr;
			else if (KINDS[k].bytes && d->d_tag == KINDS[k].bytes)
				bytes[k] = d->d_un.d_val;
		}
	}
	for (size_t k = 0; k < kinds; k++)
		if (found[k].start) {
			table[n] = found[k];
			table[n++].end = bytes[k] ? found[k].start + bytes[k] : 0;
		}
	qsort(table, n, sizeof(*table), by_start);
	return n;
}

/*
 * Linkers put the tables next to each other, and nothing else between them: where the dynamic
 * section does not tell the end of one, it is where the next begins.
 */
static void linker_tables(const struct dl_phdr_info *o, struct parts *p)
{
	struct table table[TABLES_MAX];
	const ElfW(Phdr) *dynamic = segment_of(o, PT_DYNAMIC);
	if (!dynamic)
		return;
	const ElfW(Dyn) *d = (const ElfW(Dyn) *)(o->dlpi_addr + dynamic->p_vaddr);
	size_t n = tables_of(o, d, table);
	uintptr_t start = 0, end = 0;
	for (size_t i = 0; i < n; i++) {
		const ElfW(Phdr) *segment = constants_at(o, table[i].start);
		uintptr_t next = i + 1 < n && constants_at(o, table[i + 1].start) == segment
					 ? table[i + 1].start
					 : table[i].end;
		if (!segment || next <= table[i].start ||
		    next > segment_start(o, segment) + segment->p_filesz)
			continue;
		if (table[i].start != end) {
			add(p, start, end);
			start = table[i].start;
		}
		end = next;
	}
	add(p, start, end);
}

/* Where the frames that begin at AT end, all before END; 0: not as expected. */
static uintptr_t frames_end(uintptr_t at, uintptr_t end)
{
	uint32_t bytes;
	while (end - at >= sizeof(bytes)) {
		memcpy(&bytes, (const void *)at, sizeof(bytes));
		at += sizeof(bytes);
		if (bytes == 0)
			return at;
		if (bytes > end - at) /* UINT32_MAX too: a length of 64 bits follows */
			return 0;
		at += bytes;
	}
	return at == end ? at : 0;
}

/* .eh_frame_hdr, and .eh_frame behind it. */
static void unwind_tables(const struct dl_phdr_info *o, struct parts *p)
{
	static const uint8_t VERSION_AND_FORM[2] = { 1, 0x1b /* DW_EH_PE_pcrel | sdata4 */ };
	const ElfW(Phdr) *header = segment_of(o, PT_GNU_EH_FRAME);
	if (!header || header->p_filesz < 8)
		return;
	uintptr_t at = o->dlpi_addr + header->p_vaddr;
	const ElfW(Phdr) *segment = constants_at(o, at);
	int32_t distance;
	if (!segment || memcmp((const void *)at, VERSION_AND_FORM, sizeof(VERSION_AND_FORM)) != 0)
		return;
	memcpy(&distance, (const void *)(at + 4), sizeof(distance));
	uintptr_t frames = at + 4 + (uintptr_t)(intptr_t)distance;
	uintptr_t end = segment_start(o, segment) + segment->p_filesz;
	/* Nothing but padding is between them. */
	if (frames < at + header->p_filesz || frames - at - header->p_filesz > 16 || frames >= end)
		return;
	uintptr_t last = frames_end(frames, end);
	/* Nobody has what is behind the segment in its last page. */
	if (last)
		add(p, at, last == end ? last + PAGE - 1 : last);
}

static int object(struct dl_phdr_info *o, size_t bytes, void *arg)
{
	(void)bytes;
	if (o->dlpi_addr == 0 || o->dlpi_addr != getauxval(AT_SYSINFO_EHDR)) {
		linker_tables(o, arg);
		unwind_tables(o, arg);
	}
	return 0;
}

size_t objects_tables(struct object_part out[OBJECTS_PARTS_MAX])
{
	struct parts p = { out, 0 };
	dl_iterate_phdr(object, &p);
	return p.n;
}
