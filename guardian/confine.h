/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the guardian's processes give up what they do not need, with sandbox/'s phases.
 *
 * As root: front and verifier get uids of their own, empty namespaces and a file system without
 * anything in it; the keeper stays root, whose files it has, without any capability, and Landlock
 * lets it open nothing but its state folder, and connect to nothing but its database's ports.
 * Started by somebody else, as the tests of a developer may be, they keep his uid; no capability,
 * no_new_privs and the system call filter hold in any case.  What the kernel lacks is logged.
 *
 * May be used by: guardian/'s processes, once each, before their first byte from anybody.
 */
#ifndef SHIELDVM_GUARDIAN_CONFINE_H
#define SHIELDVM_GUARDIAN_CONFINE_H

#include <sys/types.h>

#include "base/err.h"

struct filter;
struct store_ports; /* guardian/store_url.h */

/* A process that opens nothing from here on; it dies with PARENT.  Errors of sandbox/phases.h. */
int confine_closed(uid_t uid, const struct filter *filter, pid_t parent,
		   struct fault *f) MUST_CHECK;

/* The same, but files under FOLDER stay open to it; and if PORTS is not NULL, they can only be read
 * and TCP connections be made to those. */
int confine_folder(int folder, const struct store_ports *ports, const struct filter *filter,
		   pid_t parent, struct fault *f) MUST_CHECK;

#endif
