/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What shieldvm-attestd does every two seconds: it looks at each lease note (attest/lease_note.h)
 * and what has become of its VM (attest/watch.h), tells the guardian what it is to hear, and proves
 * the host's health again when half of its certificate's life is over.
 *
 * No VM ever ends or waits because of what happens here.  What cannot be told now is told later; a
 * guardian that does not answer is left alone for a while that grows.
 *
 * May be used by: attest/attestd.c; it logs.  One thread.
 */
#ifndef SHIELDVM_ATTEST_TEND_H
#define SHIELDVM_ATTEST_TEND_H

#include "base/err.h"

#define TEND_ROUND_MS	   2000
#define TEND_REPORT_MS	   120000 /* between two reports of one lease; 10 % more or less */
#define TEND_DEADLINE_MS   10000  /* of one word to a guardian */
#define TEND_PROOF_MS	   60000  /* of a proof of health, which waits for the TPM and a verifier */
#define TEND_PAUSE_MAX_MS  120000 /* between two questions to one that does not answer */
#define TEND_UNHEALTHY_MS  300000 /* until a host that is not healthy tries again */
#define TEND_LEASES_MAX	   4096
#define TEND_GUARDIANS_MAX 64

struct tend;
int tend_new(struct tend **out, struct fault *f) MUST_CHECK;
void tend_free(struct tend *t); /* NULL is fine */

/* One look at all of it.  How much could not be done and will be tried again. */
unsigned tend_round(struct tend *t);

#endif
