/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keeper: database, keys and decisions (guardian/service.h), behind the front, and before the
 * verifier.  It never talks to the network.
 *
 * One request is answered at a time; evidence waits in a bounded queue for the verifier, while
 * others are answered.  A verifier that ends, says what it may not, or takes longer than
 * CERTIFY_JUDGE_SECONDS costs the request ("guardian.verifier"): nothing is certified, and the
 * parent starts another.
 *
 * May be used by: guardian/main.c, in a process of its own.
 */
#ifndef SHIELDVM_GUARDIAN_KEEPER_H
#define SHIELDVM_GUARDIAN_KEEPER_H

#include "guardian/guardian.h"
#include "guardian/keys.h"
#include "guardian/link.h"

/* Evidence that waits, by number (a thousand hosts may come at once, after a power failure) and by
 * bytes, with what it is judged by; the last may be over by a policy. */
#define KEEPER_QUEUE_MAX   1024
#define KEEPER_QUEUE_BYTES ((size_t)128 * 1024 * 1024)
#define KEEPER_TEND_MS	   600000

/*
 * What parent and keeper say to each other: the parent gives it the end of a new link, instead of
 * the one before; the keeper says that its verifier, or who has the release key, is of no more use.
 * NUMBER counts each of those from 1, so that nobody ends the next one for what the one before did.
 */
enum keeper_word { KEEPER_FRONT = 1, KEEPER_VERIFIER, KEEPER_KEYS };
struct keeper_note {
	uint32_t word, number;
};

/* KEYS: its end of who has the release key, if that is another process's.  Answer until PARENT, a
 * SOCK_SEQPACKET socket, is closed: 0.  Or why it cannot go on. */
int keeper_run(const struct guardian *g, struct keys *keys, int parent, struct fault *f) MUST_CHECK;

#endif
