/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/trim.h"

#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>

#define PAGE                                                                                       \
	4096UL /* the least there is: a multiple of it may be refused, and then nothing happens */

/*
 * Only segments that are not writable: their pages are the file's own (the build has no text
 * relocations, and what is relocated and then protected lies in writable ones), so that nothing is
 * lost with them.
 */
static int trim_object(struct dl_phdr_info *object, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &object->dlpi_phdr[i];
		if (p->p_type != PT_LOAD || (p->p_flags & PF_W))
			continue;
		uintptr_t start = (object->dlpi_addr + p->p_vaddr) & ~(PAGE - 1);
		uintptr_t end =
			(object->dlpi_addr + p->p_vaddr + p->p_memsz + PAGE - 1) & ~(PAGE - 1);
		/* A refusal (a kernel's own page, larger pages) leaves everything as it was. */
		(void)madvise((void *)start, end - start, MADV_DONTNEED);
	}
	return 0;
}

void trim(void)
{
	dl_iterate_phdr(trim_object, NULL);
	malloc_trim(0);
}
