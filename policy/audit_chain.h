/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Walking the audit log's chain: what is wrong in it, and where.
 *
 * May be used by: audit_sign(), `shieldvm audit`.
 */
#ifndef SHIELDVM_POLICY_AUDIT_CHAIN_H
#define SHIELDVM_POLICY_AUDIT_CHAIN_H

#include "policy/audit_line.h"

#define AUDIT_TORN_MAX 65536 /* bytes behind the last record that are taken for cut-off writes */

/* Called once per record; a value < 0 ends the walk and is returned. */
typedef int audit_each_fn(const struct audit_record *r, const char *line, size_t n, void *arg);

struct audit_chain {
	uint64_t seq;			 /* of the record last seen; 0: none yet */
	uint8_t hash[SIGN_SHA256_BYTES]; /* of its line */
	uint64_t repairs;		 /* cut-off writes that are on record */
	/* A record that must be there, if witness_seq is not 0. */
	uint64_t witness_seq;
	uint8_t witness[SIGN_SHA256_BYTES];
};

/*
 * Go through the N bytes of a whole file, NAME in sentences, from where C stands.  0, FN's value,
 * or ERR_AUTH with "NAME: line L (byte B): what is wrong"; FN may be NULL.
 */
int audit_chain_walk(struct audit_chain *c, const char *bytes, size_t n, const char *name,
		     audit_each_fn *fn, void *arg, struct fault *f) MUST_CHECK;

/* What a `repaired` record says in its request about the N bytes it stands behind.  ERR_CRYPTO. */
int audit_torn_text(const void *bytes, size_t n, char text[static AUDIT_REQUEST_MAX]) MUST_CHECK;

#endif
