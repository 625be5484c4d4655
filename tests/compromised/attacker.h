/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The code that has taken over a sealed process in these tests: it does what it is told over a
 * socket, one struct attack there and back per step.  tests/integration/compromised.py tells it.
 */
#ifndef SHIELDVM_TESTS_COMPROMISED_ATTACKER_H
#define SHIELDVM_TESTS_COMPROMISED_ATTACKER_H

#include <stdint.h>

#define ATTACK_BLOB  4096
#define ATTACK_KNOWS 6

enum attack_kind {
	ATTACK_KNOW = 1, /* what the process knows, in `args`, and where the blob is, in `number` */
	ATTACK_CALL,	 /* system call `number`, as this architecture has it */
	ATTACK_CALL_32,	 /* the same as a 32-bit process would (int 0x80) */
	ATTACK_JUMP,	 /* run what is in the blob */
	ATTACK_POKE,	 /* write over the process' own code */
};

struct attack {
	uint64_t kind, number;
	uint64_t args[ATTACK_KNOWS];
	int64_t result;
	uint8_t blob[ATTACK_BLOB];
};

/* Serve SOCK, of a stream or of whole messages, until its end.  KNOWS: descriptors worth attacking.
 */
void attacker_serve(int sock, const int knows[static ATTACK_KNOWS]);

/* Another name for the process, by which the tools that watch the real one pass it over. */
void attacker_name(void);

#endif
