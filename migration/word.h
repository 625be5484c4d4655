/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Words: what the two workers say to each other on the first channel of a migration behind QEMU's
 * end of each direction, so that the VM runs on one host only (docs/FORMAT.md, "Words").
 *
 * May be used by: migration/, worker/, in every phase.  No allocation, no system call.
 */
#ifndef SHIELDVM_MIGRATION_WORD_H
#define SHIELDVM_MIGRATION_WORD_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum word {
	WORD_NONE = 0,	/* nothing yet */
	WORD_END = 1,	/* both: QEMU's bytes of this direction are over */
	WORD_ASK = 2,	/* destination: may it run here? */
	WORD_YOURS = 3, /* source: it may, and never runs here again, unless NEVER comes */
	WORD_MINE = 4,	/* source: it may not, ever */
	WORD_RUNS = 5,	/* destination: it runs here, or has, or may have */
	WORD_NEVER = 6, /* destination: it never has, and never will */
};

/* The one byte of a word's record: of no word is ERR_VERSION, of another size ERR_FORMAT. */
int word_parse(const uint8_t *p, size_t n, enum word *out, struct fault *f) MUST_CHECK;

/* May NEXT come behind LAST in the direction of the source (else: the destination's)? */
int word_fits(int of_source, enum word last, enum word next);

/* May the direction end behind LAST? */
int word_ends(int of_source, enum word last);

#endif
