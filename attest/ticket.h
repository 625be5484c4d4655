/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An owner's ticket for a VM's next start on this host, from state that is older than what the
 * guardian knows (docs/FORMAT.md, "Words of hosts and owners to a guardian"): the operator puts it
 * in PATH_LEASES/UUID.ticket, shieldvm-ask shows it to the guardian, and it is gone after a start.
 * Whether it is good, the guardian says: here it is read only to ask for what it is for.
 *
 * May be used by: attest/ programs, cli/; as root.
 */
#ifndef SHIELDVM_ATTEST_TICKET_H
#define SHIELDVM_ATTEST_TICKET_H

#include "base/buf.h"
#include "base/uuid.h"
#include "crypto/jwk.h"

#define TICKET_TYP "shieldvm-restore+jws"

/* Write the N characters of TEXT, durably, in place of whatever ticket there is; one newline at the
 * end is left out.  ERR_FORMAT for what cannot be a compact JWS, ERR_LIMIT, -errno. */
int ticket_put(int dir, const uint8_t vm[static UUID_BYTES], const char *text, size_t n,
	       struct fault *f) MUST_CHECK;

/* Append it to OUT (of SIGN_TEXT_MAX).  -ENOENT without a sentence if there is none; ERR_FORMAT,
 * ERR_LIMIT, -errno. */
int ticket_read(int dir, const uint8_t vm[static UUID_BYTES], struct buf *out,
		struct fault *f) MUST_CHECK;

/* The version that TICKET, if it is OWNER's for VM, lets it start from; 0 if it is none of those.
 * Whether it was used before is not known here. */
uint64_t ticket_version(const struct buf *ticket, const struct jwk *owner,
			const uint8_t vm[static UUID_BYTES]);

/* 0 also if there is none.  -errno. */
int ticket_remove(int dir, const uint8_t vm[static UUID_BYTES], struct fault *f) MUST_CHECK;

#endif
