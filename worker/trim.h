/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Giving back what only the start needed.
 *
 * A vTPM's start runs through most of libcrypto once, for its self-tests and its tables; afterwards
 * it uses a third of that.  There is one such process per VM.
 *
 * May be used by: worker/, in every phase.  System calls: madvise(MADV_DONTNEED), brk.
 */
#ifndef SHIELDVM_WORKER_TRIM_H
#define SHIELDVM_WORKER_TRIM_H

/*
 * Unmap the code and constants of the program and its libraries, which come back from the page
 * cache as they are used, and give free heap back.  Costs some 50 us, and about as much in later
 * faults.
 */
void trim(void);

#endif
