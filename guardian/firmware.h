/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What firmware and shim have said in a measured event log.
 *
 * Nothing here looks at an event's type, as that is not measured: a separator is what has a
 * separator's digest, a sentence is what has that sentence's, and a variable is data that hashes to
 * the digest.  The callers see to it that the PCR replays.
 *
 * Private to guardian/.  No system call but the allocator's.
 */
#ifndef SHIELDVM_GUARDIAN_FIRMWARE_H
#define SHIELDVM_GUARDIAN_FIRMWARE_H

#include "guardian/policy.h"

#define FIRMWARE_NAME_MAX 64 /* characters of a variable's name, with the NUL */

/* How many events of PCR have the digest of exactly SENTENCE, without a NUL. */
unsigned firmware_said(const struct measured *m, unsigned pcr, const char *sentence);

/* 1 if event E is what DATA hashes to. */
int firmware_is(const struct measured *m, const struct event *e, const void *data, size_t n);

/* 1 if E is the separator that ends the firmware's part of a PCR. */
int firmware_is_separator(const struct measured *m, const struct event *e);

/* A variable that was measured. */
struct variable {
	const uint8_t *guid; /* 16 bytes, as they are in memory */
	char name[FIRMWARE_NAME_MAX];
	const uint8_t *data;
	size_t n;
};

/* Event E as a variable.  ERR_AUTH if its data is not what was measured, ERR_FORMAT if that is no
 * variable, or one whose name is not plain. */
int firmware_variable(const struct measured *m, const struct event *e, struct variable *v)
	MUST_CHECK;

/* 1 if V is global variable NAME ("SecureBoot"). */
int firmware_is_global(const struct variable *v, const char *name);

struct secure_boot {
	unsigned found;	  /* SecureBoot, this often */
	int on;		  /* and is 1 */
	unsigned mok_off; /* PCR where shim says that it verifies nothing, or 0 */
};
void firmware_secure_boot(const struct measured *m, struct secure_boot *out);

/*
 * Call EACH with the SHA-256 of type and data (not owner) of every signature in V, a dbx.  Its
 * errors, or ERR_FORMAT, ERR_CRYPTO.
 */
int firmware_signatures(const struct variable *v,
			int (*each)(const uint8_t digest[static 32], void *arg),
			void *arg) MUST_CHECK;

#endif
