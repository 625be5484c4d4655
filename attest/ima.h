/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's integrity measurement list (IMA; Documentation/security/IMA-templates.rst), in its
 * binary form (securityfs: ima/binary_runtime_measurements), read strictly and replayed into
 * PCR 10.
 *
 * PCR 10 goes on growing between quote and log, so a list is good if one of its prefixes replays to
 * the quoted value; what is behind that prefix proves nothing and is not shown.
 *
 * Templates: ima-ng, ima-sig, ima-buf (others refused).  A list's template hashes are SHA-1; for
 * another bank the digest is worked out from the template data, as the kernel does since 5.8 if it
 * has the bank's hash function when IMA starts (SHA-256, where that is IMA's own).  Without it, it
 * extends SHA-1 digests with zeros behind: such a list matches nothing here, being no better than
 * SHA-1.  A violation is zeros in the list and 0xff in the PCR.
 *
 * May be used by: attest/, guardian/, cli/.  Bounded memory, no system call.
 */
#ifndef SHIELDVM_ATTEST_IMA_H
#define SHIELDVM_ATTEST_IMA_H

#include <stddef.h>

#include "attest/finding.h"
#include "attest/pcr.h"

#define IMA_BYTES_MAX	(8 * 1024 * 1024)
#define IMA_ENTRIES_MAX 65536
#define IMA_NAME_MAX	4096

struct ima_entry {
	const char *name; /* path or hook name, name_bytes long, not terminated */
	size_t name_bytes;
	uint16_t digest_alg; /* crypto/hash.h; 0 for a violation */
	const uint8_t *digest;
	const uint8_t *signature; /* ima-sig; NULL without */
	size_t signature_bytes;
	const uint8_t *buffer; /* ima-buf; NULL without */
	size_t buffer_bytes;
	int violation;
};

struct ima;

/*
 * Parse the N bytes of LIST, which must outlive *OUT.  Nothing is accepted in part.  On failure *ID
 * is the finding's id:
 *
 *  "ima.size", ERR_LIMIT: the list or a name is larger than the maxima above
 *  "ima.count", ERR_LIMIT: more entries than the maximum
 *  "ima.truncated", ERR_TRUNCATED: it ends within an entry
 *  "ima.pcr", ERR_FORMAT: an entry of another PCR than 10
 *  "ima.template", ERR_VERSION: a template that is none of those above
 *  "ima.algorithm", ERR_VERSION: a digest of an algorithm that crypto/hash.h has not
 *  "ima.format", ERR_FORMAT: template data that is not in its one form
 *  "ima.digest", ERR_AUTH: the list's digest is not that of the template data
 *  "ima.resources": -ENOMEM, ERR_CRYPTO
 */
int ima_parse(const uint8_t *list, size_t n, struct ima **out, const char **id,
	      struct fault *f) MUST_CHECK;
void ima_free(struct ima *l);

/*
 * The shortest prefix of L, not empty, that replays to QUOTED, PCR 10 of BANK: its number of
 * entries in *N, to which ima_count() is set.  ERR_AUTH if there is none ("ima.replay"; L is
 * unchanged), ERR_VERSION for an unknown bank, ERR_CRYPTO.  In time that grows with the list.
 */
int ima_match(struct ima *l, uint16_t bank, const uint8_t *quoted, size_t *n,
	      struct fault *f) MUST_CHECK;

/* The entries that matched; all before ima_match().  NULL for an I beyond. */
size_t ima_count(const struct ima *l);
const struct ima_entry *ima_at(const struct ima *l, size_t i);

/*
 * The first entry must be boot_aggregate, the hash over the quoted PCRs 0 to 9 (SHA-1: 0 to 7) of
 * its own algorithm's bank.  0; ERR_AUTH ("ima.boot-aggregate"); ERR_VERSION if it is of another
 * bank than PCRS, ERR_STATE if PCRS lacks one of them, ERR_CRYPTO.
 */
int ima_check_aggregate(const struct ima *l, const struct pcrs *pcrs, struct fault *f) MUST_CHECK;

#endif
