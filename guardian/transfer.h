/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guardian's keys, and its database if that is a file, out of a state folder into a sealed file
 * (guardian/archive.h) and back.
 *
 * May be used by: guardian/main.c.
 */
#ifndef SHIELDVM_GUARDIAN_TRANSFER_H
#define SHIELDVM_GUARDIAN_TRANSFER_H

#include "base/err.h"

struct transfer {
	const char *folder; /* the guardian's state */
	const char *file;
	const char *key; /* a JWK's path: public to export, private to import */
	int tls, database;
};

/* Seal FOLDER's keys, those of TLS and the database only if they are wanted, into a new FILE.
 * -EEXIST if it is there; errors of what is read. */
int transfer_export(const struct transfer *t, struct fault *f) MUST_CHECK;

/*
 * Make FOLDER, which must not be there or be empty, of FILE: all of it or nothing; what it holds is
 * opened as a guardian does before it gets its name.  Tells on standard output the names of the
 * keys, to be compared.  -EEXIST, errors of archive_open() and of what is opened.
 */
int transfer_import(const struct transfer *t, struct fault *f) MUST_CHECK;

#endif
