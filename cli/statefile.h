/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file that a VM's state is in: what libvirt wrote in front (libvirt/image.h), and the front of
 * the sealed stream (crypto/stream.h).
 *
 * It may be a regular file or, to be read once from its beginning, a pipe.
 */
#ifndef SHIELDVM_CLI_STATEFILE_H
#define SHIELDVM_CLI_STATEFILE_H

#include "crypto/stream.h"
#include "libvirt/domain.h"
#include "libvirt/image.h"

struct statefile {
	const char *name; /* for messages */
	int fd;
	int is_regular;
	uint64_t begin; /* regular: where in the file it starts, not 0 only on standard input */
	uint64_t bytes; /* regular: from there to its end */

	int has_image; /* libvirt's header is in front */
	struct image image;
	struct domain *domain;	   /* NULL without image or if the XML in it cannot be read: */
	struct fault domain_fault; /* why */

	uint64_t at; /* where the state begins, counted from BEGIN */
	int sealed;  /* or else compressed by libvirt: what follows is not set then */
	uint8_t front[STREAM_FRONT_MAX];
	size_t front_bytes;
	struct stream_claims claims;
};

/*
 * Open PATH ("-" is standard input) and read as far as the stream's front.  With WRITABLE it is
 * opened for writing too, and must be a regular file and no symbolic link.  What is no sealed state
 * is refused with a sentence that says what it is, if that is known; so is what libvirt compressed
 * without a header.  -errno, ERR_FORMAT, ERR_TRUNCATED, ERR_VERSION, ERR_LIMIT, ERR_STATE.
 */
int statefile_open(struct statefile *s, const char *path, int writable, struct fault *f) MUST_CHECK;
void statefile_done(struct statefile *s);
#define CLEANUP_STATEFILE CLEANUP(statefile_done)

/* ERR_STATE with a sentence that says how to unpack it, if libvirt compressed S; else 0. */
int statefile_check_raw(const struct statefile *s, struct fault *f) MUST_CHECK;

/*
 * A descriptor (S's) to read the sealed stream from, from its first byte: a regular file's, or the
 * non-blocking end of a pipe that a thread fills, once.  -errno with a sentence.
 */
int statefile_stream(struct statefile *s, int *fd, struct fault *f) MUST_CHECK;

/* 0, or -errno if what came through statefile_stream()'s pipe ended because of a read error. */
int statefile_feed_error(void);

#endif
