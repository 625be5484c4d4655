/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What stands around a running worker and its broker besides what cannot be missing (uid,
 * capabilities, no_new_privs, system call filter, not dumpable): a bit for every protection that
 * this host gives.  One that is missing keeps no VM from starting, but it is said: in the log, by
 * `shieldvm status` and in the audit's record of the start.
 *
 * A bit is set by whoever put the protection up, once it is known to hold.  May be used by: all.
 */
#ifndef SHIELDVM_BASE_PROTECTIONS_H
#define SHIELDVM_BASE_PROTECTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum protection {
	PROTECTION_SECRET_MEMORY,
	PROTECTION_LOCKED_MEMORY,
	PROTECTION_SEALED_TEXT,
	PROTECTION_DEBUG_LOCK,
	PROTECTION_MDWE,
	PROTECTION_LANDLOCK_FILES,
	PROTECTION_LANDLOCK_NET,
	PROTECTION_LANDLOCK_SCOPE,
	PROTECTION_NS_MOUNT,
	PROTECTION_NS_PID,
	PROTECTION_NS_NET,
	PROTECTION_NS_IPC,
	PROTECTION_NS_UTS,
	PROTECTION_NS_CGROUP,
	PROTECTION_NS_USER,
};
#define PROTECTIONS_N	     (PROTECTION_NS_USER + 1)
#define PROTECTIONS_TEXT_MAX 320 /* of protections_text(), with the NUL */

/* Also a part of messages (base/spawn.h, worker/broker.h): no padding. */
struct protections {
	uint32_t held;	       /* 1 << enum protection */
	uint32_t landlock_abi; /* the kernel's, 0: none */
};

/* Whose they are. */
enum protections_of { PROTECTIONS_OF_WORKER, PROTECTIONS_OF_BROKER };

const char *protection_name(enum protection which);
const char *protection_meaning(enum protection which); /* one line */

static inline void protections_set(struct protections *p, enum protection which)
{
	p->held |= UINT32_C(1) << which;
}

static inline void protections_clear(struct protections *p, enum protection which)
{
	p->held &= ~(UINT32_C(1) << which);
}

static inline int protections_have(const struct protections *p, enum protection which)
{
	return (p->held >> which) & 1;
}

/*
 * 1 if OF should have WHICH and does not.  Locked memory is only what takes secret memory's place,
 * so that one of the two is missing at most; what has no use for OF is never missing.
 */
int protections_miss(const struct protections *p, enum protections_of of, enum protection which);

/* "+mdwe -user-ns": what is held and what is missing, in the order of the enum. */
void protections_text(const struct protections *p, enum protections_of of,
		      char text[static PROTECTIONS_TEXT_MAX]);

#endif
