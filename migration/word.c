/* SPDX-License-Identifier: BSD-3-Clause */
#include "migration/word.h"

int word_parse(const uint8_t *p, size_t n, enum word *out, struct fault *f)
{
	if (n != 1)
		return fault_set(f, ERR_FORMAT, "a word of the other end's has %zu bytes", n);
	if (*p < WORD_END || *p > WORD_NEVER)
		return fault_set(f, ERR_VERSION,
				 "the other end says a word that this build does not know (%u)",
				 *p);
	*out = (enum word) * p;
	return 0;
}

int word_fits(int of_source, enum word last, enum word next)
{
	switch (next) {
	case WORD_END:
		return last == WORD_NONE;
	case WORD_YOURS:
	case WORD_MINE:
		return of_source && last == WORD_END;
	case WORD_ASK:
		return !of_source && last == WORD_END;
	case WORD_RUNS:
	case WORD_NEVER:
		return !of_source && last == WORD_ASK;
	case WORD_NONE:
		break;
	}
	return 0;
}

int word_ends(int of_source, enum word last)
{
	return of_source ? last == WORD_YOURS || last == WORD_MINE
			 : last == WORD_END || last == WORD_RUNS || last == WORD_NEVER;
}
