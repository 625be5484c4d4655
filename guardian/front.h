/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The front: TLS and HTTP towards hosts and admins.  It has the guardian's TLS key and no other,
 * and decides nothing: what it takes goes to the keeper, with the listener and the fingerprint of
 * the client's certificate, and the keeper's answer goes back.
 *
 * Bounds.  Each step of a connection (handshake and first head, body, answer, the pause between
 * two requests) has a deadline for all of it, however the bytes trickle in.  At most
 * FRONT_UNFINISHED_MAX connections may have asked nothing yet: a new one ends the oldest of them,
 * so that whoever holds connections open only loses his own.  One request at a time is in flight
 * per connection.  A large body is taken only from a client whose challenge the keeper has just
 * granted, once per challenge and one at a time.  Such bodies together have a bound, and so have
 * all others of each listener together, but for tiny ones: a stranger who announces bodies keeps
 * neither an enrolled host from attesting nor an admin from revoking.
 *
 * May be used by: guardian/main.c, in a process of its own.
 */
#ifndef SHIELDVM_GUARDIAN_FRONT_H
#define SHIELDVM_GUARDIAN_FRONT_H

#include "crypto/tls.h"
#include "guardian/link.h"

#define FRONT_CONNECTIONS_MAX 6000
#define FRONT_ADMINS_PART     16 /* one in so many is for the admins' listener alone */
#define FRONT_UNFINISHED_MAX  1024
#define FRONT_FIRST_MS	      10000 /* handshake and first head */
#define FRONT_IDLE_MS	      30000 /* until the next head is there */
#define FRONT_LINGER_MS	      2000  /* for the peer to read the last answer */
#define FRONT_TRANSFER_MS     10000 /* body or answer, and for each FRONT_TRANSFER_BYTES of it: */
#define FRONT_TRANSFER_BYTES  (256 * 1024)
#define FRONT_PER_BYTES_MS    1000
#define FRONT_ANSWER_MS	      150000		  /* the keeper, whose verifier has a queue */
#define FRONT_TINY_BODY	      4096		  /* bounded by the connections alone */
#define FRONT_SMALL_BODY      (256 * 1024)	  /* evidence without a challenge from here */
#define FRONT_BODIES_MAX      (64 * 1024 * 1024)  /* a listener's together, but for tiny ones */
#define FRONT_LARGE_MAX	      (256 * 1024 * 1024) /* evidence after a challenge, together */
#define FRONT_GRANT_MS	      120000		  /* after a challenge */

/* The listening sockets by enum link_listener, and the keeper's link; all stay the caller's. */
struct front_fds {
	int listeners[2];
	int keeper;
};

/*
 * Make everything that needs memory or system calls of its own, to be served by front_run() after
 * the process has been confined.  -ENOMEM, ERR_CRYPTO, -errno.
 */
struct front;
int front_new(const struct tls_server *tls, const struct front_fds *fds, struct front **out,
	      struct fault *f) MUST_CHECK;

/* Serve until the keeper's end of the link is closed: ERR_STATE. */
int front_run(struct front *front, struct fault *f) MUST_CHECK;

#endif
