/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Namespaces, Landlock and PR_SET_MDWE: what the kernel can take from a process so that it cannot
 * even ask for it.  Broker, worker and guard each give up what they can.
 *
 * Everything here may be missing on a host (a container, an older kernel).  Then the process goes
 * on without: the bit of what holds is set in `held`, and of what does not the reason is in `why`.
 * The caller logs that.  Nothing here ever loosens what was there before.
 *
 * Order: isolate_begin() in the process that splits, isolate_kernel(), isolate_files() with
 * everything opened before it that is needed after it, phases_enter() (which calls
 * isolate_check()), isolate_narrow(), threads.  All as root but the last two.
 *
 * May be used by: worker/main.c; sandbox/phases.c; tests.
 */
#ifndef SHIELDVM_SANDBOX_ISOLATE_H
#define SHIELDVM_SANDBOX_ISOLATE_H

#include <sys/types.h>

#include "base/err.h"
#include "base/protections.h"

struct isolation {
	struct protections held;
	int why[PROTECTIONS_N]; /* -errno of what was tried in vain, else 0 */
	uid_t uid;		/* the one that is seen inside */
	int user_ns;		/* a user namespace that waits to be entered, or -1 */
	dev_t root_dev;		/* the folder that is the broker's root ... */
	ino_t root_ino;		/* ... 0: an empty file system is */
};

/* Who isolates itself. */
enum isolate_who {
	ISOLATE_WORKER,
	ISOLATE_GUARD,
	ISOLATE_BROKER, /* keeps network, PIDs and users of the host: it tells who connects */
};

/*
 * First, as root with one thread, before the process splits.  Afterwards
 *  - whoever descends from it can signal, and reach over abstract sockets, only one another
 *    (a Landlock domain with nothing but scopes; Linux 6.12);
 *  - a user namespace exists in which UID is the only user, for isolate_files();
 *  - the next child will be the first process of a PID namespace.
 * Sets no_new_privs.  fork(2), /proc.
 */
void isolate_begin(uid_t uid, struct isolation *out);

/* Close what isolate_begin() opened. */
void isolate_done(struct isolation *i);

/*
 * Leave the host's network, System V IPC, host name and cgroup view: as WHO does.  The guard, which
 * is the worker's child, has the worker's.  Notes whether this process got a PID namespace.
 */
void isolate_kernel(struct isolation *i, enum isolate_who who);

/*
 * Leave the host's files: an empty read-only file system of its own, the user namespace, Landlock
 * with every right handled and none granted, PR_SET_MDWE.  Descriptors stay as they are; but under
 * FOLDER, or -1, files may still be opened, made, removed and renamed.
 *
 * The broker's FOLDER is what it has for a root, and its working folder: there it makes and removes
 * sockets, and nothing else.  On a host without mount namespaces it is the working folder alone.
 */
void isolate_files(struct isolation *i, enum isolate_who who, int folder);

/*
 * When the files under STATE are open: from here on they can only be renamed and made or removed.
 * For threads that exist already this does not hold, so it comes before the first.  -errno where
 * Landlock holds and does not take it: the caller must not go on.
 */
int isolate_narrow(struct isolation *i, int state) MUST_CHECK;

/*
 * Look at what the kernel made of it, after root was given up.  ERR_STATE with a sentence if a
 * protection that is said to hold does not.
 */
int isolate_check(const struct isolation *i, struct fault *f) MUST_CHECK;

#endif
