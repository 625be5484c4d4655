/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a guardian consists of, in one file that only one key opens (docs/FORMAT.md, "Guardian's
 * export"): for a second guardian over the same database, or another machine.
 *
 * HPKE (crypto/hpke.h) seals piece by piece, each bound to its file and its place in it, so that
 * nothing can be cut off, exchanged or joined.  Anybody can seal for a public key: who made a file
 * is not shown by it, and the keys in it are to be compared with the guardian's.
 *
 * May be used by: guardian/.  No file is read or written here.
 */
#ifndef SHIELDVM_GUARDIAN_ARCHIVE_H
#define SHIELDVM_GUARDIAN_ARCHIVE_H

#include "base/buf.h"
#include "crypto/protector.h"

#define ARCHIVE_VERSION	     1
#define ARCHIVE_DATABASE_MAX (256U * 1024 * 1024)
#define ARCHIVE_MAX	     (ARCHIVE_DATABASE_MAX + 1024 * 1024)

/* The numbers are those of the format. */
enum archive_file {
	ARCHIVE_CA_KEY = 1,
	ARCHIVE_CA_CERT,
	ARCHIVE_LOG,
	ARCHIVE_MAC,
	ARCHIVE_RELEASE,
	ARCHIVE_RELEASE_PUB, /* instead: the private half is in an HSM */
	ARCHIVE_TLS,
	ARCHIVE_DATABASE,
	ARCHIVE_FILES
};

struct archive {
	struct buf files[ARCHIVE_FILES]; /* empty: not in it */
};
void archive_init(struct archive *a);
void archive_done(struct archive *a); /* wipes */
#define CLEANUP_ARCHIVE CLEANUP(archive_done)

/* The name of FILE in a state folder. */
const char *archive_name(enum archive_file file);

/* Append A, sealed to TO (public), to OUT.  ERR_STATE if A lacks what each must have; ERR_LIMIT,
 * ERR_CRYPTO, -ENOMEM. */
int archive_seal(const struct archive *a, const struct jwk *to, struct buf *out,
		 struct fault *f) MUST_CHECK;

/*
 * Open the N bytes of TEXT with KEY (private) into an initialised OUT, which is as it was on
 * failure.  ERR_RECIPIENT if it was sealed to another key, ERR_AUTH if anything was altered, cut
 * off or added, ERR_VERSION, ERR_FORMAT, ERR_TRUNCATED, ERR_LIMIT.
 */
int archive_open(const uint8_t *text, size_t n, const struct jwk *key, struct archive *out,
		 struct fault *f) MUST_CHECK;

/* What is sealed: read the N bytes of DATA.  ERR_FORMAT, ERR_TRUNCATED, ERR_LIMIT. */
int archive_parse(const uint8_t *data, size_t n, struct archive *out, struct fault *f) MUST_CHECK;

#endif
