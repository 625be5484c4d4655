/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What of the program and its libraries nobody reads once they are linked.
 *
 * A quarter of what is mapped of them is tables: symbols, their names and hashes, and relocations,
 * which the dynamic linker has read, and the way out of every function (.eh_frame), which unwinding
 * would read.  A process that looks up no symbol any more and never unwinds (no exception, no
 * pthread_cancel(3), no pthread_exit(3), no backtrace(3)) can be without them.
 *
 * Every symbol has to be bound by then, which is so for objects linked with -z now, and for the
 * others if the process was started with LD_BIND_NOW in its environment.
 *
 * Source: System V ABI, chapter 5 "Dynamic Section"; LSB 5.0 Core, 10.6 "Exception Frames".
 *
 * May be used by: sandbox/secret.c; tests.
 */
#ifndef SHIELDVM_SANDBOX_OBJECTS_H
#define SHIELDVM_SANDBOX_OBJECTS_H

#include <stddef.h>
#include <stdint.h>

#define OBJECTS_PARTS_MAX 64 /* a worker has about 25 */

/* Whole pages. */
struct object_part {
	uint8_t *start, *end;
};

/*
 * The parts of every object that is loaded now, the vDSO left out; at most OBJECTS_PARTS_MAX, the
 * rest are not told.  What is not laid out as expected is no part.
 */
size_t objects_tables(struct object_part out[OBJECTS_PARTS_MAX]);

#endif
