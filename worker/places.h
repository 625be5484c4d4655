/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Phase open: everything a worker has of its host, as descriptors.
 *
 * Used by: worker/main.c, once, as root.  Fixed paths and the VM's UUID are all that goes in; what
 * is in the files is not looked at here.
 */
#ifndef SHIELDVM_WORKER_PLACES_H
#define SHIELDVM_WORKER_PLACES_H

#include <sys/types.h>

#include "base/err.h"
#include "base/uuid.h"
#include "policy/audit.h"

#define PLACES_MIGRATE "migrate.sock" /* where QEMU connects to migrate over several channels */

struct places {
	int host_key;	      /* PATH_HOST_KEY, for reading; -1: this host has none */
	int state;	      /* PATH_STATE/UUID, a folder of the VM's uid */
	int log;	      /* PATH_LOG/UUID.log, for appending */
	int launch_listener;  /* PATH_RUN/UUID/launch.sock, 0600, QEMU's uid */
	int control_listener; /* PATH_RUN/UUID/control.sock, 0600, root */
	int qemu_listener;    /* QEMU's monitor, nameless; one connection waits in it: */
	int qemu_monitor;     /* ... the other end of that one */
	int migrate_listener; /* PATH_RUN/UUID/PLACES_MIGRATE, 0600, QEMU's uid */
	int sockets; /* PATH_RUN/UUID/FOLDER_MIGRATION, 0700, the VM's uid: the broker's root */
	struct audit *audit; /* the host's audit log and its anchor; the broker's */
};

#define PLACES_NONE ((struct places){ -1, -1, -1, -1, -1, -1, -1, -1, -1, NULL })

/*
 * Open all of it for VM, whose state must belong to WORKER_UID.  The caller holds the VM's lock, so
 * that sockets of the same names are left-overs and removed.  The log is opened first and in *OUT
 * even after a failure of the rest.
 */
int places_open(const uint8_t vm[static UUID_BYTES], uid_t worker_uid, uid_t qemu_uid,
		struct places *out, struct fault *f) MUST_CHECK;
void places_done(struct places *p);

#endif
