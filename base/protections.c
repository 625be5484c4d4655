/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/protections.h"

#include <stdio.h>
#include <string.h>

#define WORKER (1U << PROTECTIONS_OF_WORKER)
#define BROKER (1U << PROTECTIONS_OF_BROKER)

static const struct {
	const char *name;
	unsigned int due; /* who should have it */
	const char *meaning;
} ROWS[] = {
	[PROTECTION_SECRET_MEMORY] = { "secret-memory", WORKER,
				       "memory that is in no kernel mapping (memfd_secret)" },
	[PROTECTION_LOCKED_MEMORY] = { "locked-memory", 0,
				       "in place of secret memory: never swapped, in no core dump; "
				       "root can read it" },
	[PROTECTION_SEALED_TEXT] = { "sealed-text", WORKER,
				     "program code that not even root can write" },
	[PROTECTION_DEBUG_LOCK] = { "debug-lock", WORKER,
				    "worker and guard trace each other, so nobody else can" },
	[PROTECTION_MDWE] = { "mdwe", WORKER | BROKER,
			      "no memory that is or was writable can become code (PR_SET_MDWE)" },
	[PROTECTION_LANDLOCK_FILES] = { "landlock", WORKER | BROKER,
					"Landlock: no file or device can be opened or changed" },
	[PROTECTION_LANDLOCK_NET] = { "landlock-net", WORKER,
				      "Landlock: no TCP port can be bound or connected to" },
	[PROTECTION_LANDLOCK_SCOPE] = { "landlock-scope", WORKER | BROKER,
					"Landlock: no abstract socket and no process outside can "
					"be reached" },
	[PROTECTION_NS_MOUNT] = { "mount-ns", WORKER | BROKER, "no file system of the host's" },
	[PROTECTION_NS_PID] = { "pid-ns", WORKER, "it sees no process of the host" },
	[PROTECTION_NS_NET] = { "net-ns", WORKER, "no network, not even a loopback device" },
	[PROTECTION_NS_IPC] = { "ipc-ns", WORKER | BROKER, "no System V IPC or message queues" },
	[PROTECTION_NS_UTS] = { "uts-ns", WORKER | BROKER, "a host name of its own" },
	[PROTECTION_NS_CGROUP] = { "cgroup-ns", WORKER | BROKER, "no view of the host's cgroups" },
	[PROTECTION_NS_USER] = { "user-ns", WORKER, "root of the host is no user there" },
};
_Static_assert(sizeof(ROWS) / sizeof(ROWS[0]) == PROTECTIONS_N, "a row per protection");

const char *protection_name(enum protection which)
{
	return ROWS[which].name;
}

const char *protection_meaning(enum protection which)
{
	return ROWS[which].meaning;
}

int protections_miss(const struct protections *p, enum protections_of of, enum protection which)
{
	return !protections_have(p, which) && (ROWS[which].due & (1U << of)) != 0;
}

void protections_text(const struct protections *p, enum protections_of of,
		      char text[static PROTECTIONS_TEXT_MAX])
{
	size_t n = 0;
	text[0] = '\0';
	for (enum protection i = 0; i < PROTECTIONS_N; i++) {
		int held = protections_have(p, i);
		if (!held && !protections_miss(p, of, i))
			continue;
		int put = snprintf(text + n, PROTECTIONS_TEXT_MAX - n, "%s%c%s", n ? " " : "",
				   held ? '+' : '-', ROWS[i].name);
		n += (size_t)put < PROTECTIONS_TEXT_MAX - n ? (size_t)put
							    : PROTECTIONS_TEXT_MAX - n - 1;
	}
}
