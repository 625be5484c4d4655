/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Landlock by raw system calls: the C library has none for it, and headers of distributions are
 * older than kernels.
 *
 * May be used by: sandbox/; the launcher.
 */
#ifndef SHIELDVM_BASE_LANDLOCK_H
#define SHIELDVM_BASE_LANDLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* What may be granted under a folder. */
enum landlock_grant {
	LANDLOCK_READ,	 /* files: open for reading */
	LANDLOCK_OPEN,	 /* files: open for reading and writing, cut, make, remove, rename */
	LANDLOCK_RENAME, /* files: make, remove, rename */
	LANDLOCK_LISTEN, /* sockets: make; files: remove.  TCP: bind and connect to any port */
};

/* Scopes: what a domain reaches only inside of itself (Linux 6.12). */
#define LANDLOCK_ABSTRACT_SOCKETS (1U << 0)
#define LANDLOCK_SIGNALS	  (1U << 1)

/* The kernel's ABI, 1 or more; -ENOSYS, -EOPNOTSUPP: it has none. */
int landlock_abi(void) MUST_CHECK;

/* ABIs from which on the kernel knows network rights, and scopes. */
#define LANDLOCK_ABI_NET   4
#define LANDLOCK_ABI_SCOPE 6

/* Restrict this thread, and what it starts from now on, to SCOPES alone. */
int landlock_scope(unsigned int scopes) MUST_CHECK;

/*
 * Restrict this thread, and what it starts from now on: every right that an ABI of ABI knows is
 * handled, and none granted but GRANT under the folder FOLDER (-1: none), and SCOPES as far as the
 * ABI has them.  no_new_privs must be set.
 */
int landlock_deny(int abi, unsigned int scopes, int folder, enum landlock_grant grant) MUST_CHECK;

/* The same, but TCP connections to N PORTS are granted, and with LANDLOCK_READ files under FOLDER
 * may only be read.  An ABI below LANDLOCK_ABI_NET leaves the network as it was. */
int landlock_deny_but(int abi, unsigned int scopes, int folder, enum landlock_grant grant,
		      const uint16_t *ports, size_t n) MUST_CHECK;

/*
 * Restrict this thread, and what it starts from now on, to a domain in which nothing is handled
 * that a process without privileges could do: what it takes is ways to processes outside of it,
 * tracing and, with an ABI that has scopes, signals and abstract sockets.  With an older ABI also
 * renaming files from one folder to another, which the kernel then denies to all domains.
 * -ENOSYS, -EOPNOTSUPP: there is no Landlock.
 */
int landlock_apart(void) MUST_CHECK;

#endif
