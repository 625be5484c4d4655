/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A large file that is there whole or not at all, for what nobody else may read: it has mode 0600
 * and no name until it is finished, so that a process killed half way leaves nothing behind.
 */
#ifndef SHIELDVM_CLI_OUTFILE_H
#define SHIELDVM_CLI_OUTFILE_H

#include <limits.h>

#include "base/err.h"

struct outfile {
	const char *path;
	int fd; /* write here; -1 */
	int replace;
	char temporary[PATH_MAX]; /* its name where the filesystem knows no nameless files, or "" */
};

/*
 * Begin PATH (borrowed).  If it exists it must be a regular file, and REPLACE be 1: -EEXIST,
 * -EINVAL.  -errno; F gets a sentence with the path.
 */
int outfile_begin(struct outfile *o, const char *path, int replace, struct fault *f) MUST_CHECK;

/* Durably give it its name; afterwards outfile_done() only closes it. */
int outfile_commit(struct outfile *o, struct fault *f) MUST_CHECK;

/* Without commit, nothing is left of it.  An all-zero O with fd -1 is fine. */
void outfile_done(struct outfile *o);
#define CLEANUP_OUTFILE CLEANUP(outfile_done)

#endif
