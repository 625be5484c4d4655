/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A host's evidence for one challenge: what its TPM signed and what the logs say, as one JSON
 * object of base64 blobs that are byte-exact what was signed (docs/FORMAT.md, "Evidence").  Whose
 * AK signed is *not* in it: a guardian takes that from the host's enrolment.
 *
 * May be used by: attest/ (makes), guardian/ (reads), cli/.
 */
#ifndef SHIELDVM_ATTEST_EVIDENCE_H
#define SHIELDVM_ATTEST_EVIDENCE_H

#include <jansson.h>

#include "attest/eventlog.h"
#include "attest/ima.h"
#include "attest/quote.h"
#include "base/buf.h"
#include "base/uuid.h"

#define EVIDENCE_TEXT_MAX	(14 * 1024 * 1024) /* base64 of the logs' maxima, and the rest */
#define ATTEST_WORKER_KEY_BYTES 65

/* What a guardian asks. */
struct challenge {
	uint8_t nonce[32];
	uint16_t bank;
	uint32_t mask;
};
/* PCRs 0 to 7, 8 and 9 (boot loader), 10 (IMA), 11 to 14. */
#define CHALLENGE_MASK 0x7fffu

struct evidence {
	uint8_t host[UUID_BYTES];
	uint8_t nonce[32];
	uint8_t worker[ATTEST_WORKER_KEY_BYTES]; /* its ephemeral key; all zero without */
	struct pcrs pcrs;
	struct buf bk_pub, creation, creation_signature, quote, quote_signature;
	struct buf eventlog, ima; /* empty: the host has none */
};
/* Empty, with the maxima of its parts; evidence_done() gives back what they hold. */
void evidence_init(struct evidence *e);
void evidence_done(struct evidence *e);

/* ERR_LIMIT if one of the blobs is larger than its maximum. */
int evidence_check_sizes(const struct evidence *e, struct fault *f) MUST_CHECK;

/* Ask the TPM and read the logs (paths NULL: the kernel's) for the challenge.  -errno, ERR_LIMIT,
 * errors of hosttpm_prove(). */
struct hosttpm;
int evidence_gather(struct hosttpm *t, const struct challenge *c,
		    const uint8_t host[static UUID_BYTES],
		    const uint8_t worker[static ATTEST_WORKER_KEY_BYTES], const char *eventlog_path,
		    const char *ima_path, struct evidence *out, struct fault *f) MUST_CHECK;

/* To and from JSON: strict (duplicates, unknown members, sizes, base64 refused).  ERR_FORMAT,
 * ERR_LIMIT, ERR_VERSION. */
int evidence_text(const struct evidence *e, struct buf *out, struct fault *f) MUST_CHECK;
int evidence_parse(const char *text, size_t n, struct evidence *out, struct fault *f) MUST_CHECK;
/* The same, of an object that is part of another text. */
int evidence_read(const json_t *o, struct evidence *out, struct fault *f) MUST_CHECK;

#endif
