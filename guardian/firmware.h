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

#include "attest/efi.h"
#include "guardian/policy.h"

/* How many events of PCR have the digest of exactly SENTENCE, without a NUL. */
unsigned firmware_said(const struct measured *m, unsigned pcr, const char *sentence);

/* 1 if event E is what DATA hashes to. */
int firmware_is(const struct measured *m, const struct event *e, const void *data, size_t n);

/* 1 if E is the separator that ends the firmware's part of a PCR. */
int firmware_is_separator(const struct measured *m, const struct event *e);

/* Event E as a variable.  ERR_AUTH if its data is not what was measured, ERR_FORMAT or ERR_LIMIT if
 * that is no variable. */
int firmware_variable(const struct measured *m, const struct event *e,
		      struct efi_variable *v) MUST_CHECK;

struct secure_boot {
	unsigned found;	  /* SecureBoot, this often */
	int on;		  /* and is 1 */
	unsigned mok_off; /* PCR where shim says that it verifies nothing, or 0 */
};
void firmware_secure_boot(const struct measured *m, struct secure_boot *out);

/*
 * Call EACH with a digest for every signature in V, a dbx: the SHA-256 of a byte for its type (0
 * other, 1 SHA-256, 2 X.509) and its data, not its owner.  EACH's errors, ERR_FORMAT, ERR_CRYPTO.
 */
int firmware_signatures(const struct efi_variable *v,
			int (*each)(const uint8_t digest[static 32], void *arg),
			void *arg) MUST_CHECK;

#endif
