/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections that want nothing: idle ones, that asked once and then say no more, and ones that
 * trickle (slow loris): a byte a second of a handshake, of a request's head, or of its body.  Each
 * that the guardian ends is made anew.  Threads of their own, until crowd_leave().
 */
#ifndef SHIELDVM_TESTS_FLEET_CROWD_H
#define SHIELDVM_TESTS_FLEET_CROWD_H

#include <stdint.h>

#define CROWD_MAX     8000
#define CROWD_THREADS 4

/* What the crowd is at this moment, and since it began. */
struct crowd_state {
	unsigned idle, loris;	      /* open */
	unsigned long ended, refused; /* by the guardian; that it did not take */
};

/* N_IDLE and N_LORIS connections to ADDRESS ("127.0.0.1", PORT). */
void crowd_come(unsigned port, unsigned n_idle, unsigned n_loris);
struct crowd_state crowd_look(void);
void crowd_leave(void);

/* How many connections are made a second, each with both sides' certificates and one request, by
 * THREADS in SECONDS. */
double crowd_handshakes(unsigned port, const char *path, unsigned threads, double seconds);

#endif
