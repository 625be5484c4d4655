/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The folders of a VM on its host, and the uid that is its worker's alone.
 *
 *  PATH_STATE/UUID: 0700, owned by the VM's uid: the vTPM's state.  Its owner *is* the record
 *      of which uid the VM has.
 *  PATH_REGISTRY: 0700 root.  An flock on it orders everything here.
 *  PATH_RUN/UUID: 0711 root: the sockets, a folder of the worker's for more, and `lock`, on
 *      which broker and worker hold an flock as long as one of them lives.
 *  PATH_LOG: 0750 root: UUID.log.
 *
 * Every component under these roots is opened without following links and must belong to root (or
 * to the VM's uid), so that nothing planted there is acted upon.
 *
 * May be used by: the hook, as root.
 */
#ifndef SHIELDVM_LIBVIRT_FOLDERS_H
#define SHIELDVM_LIBVIRT_FOLDERS_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/uuid.h"

#define FOLDERS_LOCK_MS 10000 /* waiting for another hook call to finish with the folders */
#define FOLDERS_BUSY_MS 5000  /* waiting for a former worker of this VM to end */
#define FOLDERS_EXPECT_S                                                                           \
	60 /* between libvirt's hook calls migrate and prepare of one migration                    \
	    */

struct folders {
	int registry; /* PATH_REGISTRY */
	int state;    /* PATH_STATE/UUID */
	int lock;     /* PATH_RUN/UUID/lock, with the flock held */
	uid_t uid;
};

/*
 * Make what is missing of VM's folders, give the VM its uid, and take its lock.  ERR_STATE if
 * another worker of this VM still lives after FOLDERS_BUSY_MS; -errno, ERR_LIMIT (no uid is left).
 * *OUT holds nothing after a failure.
 */
int folders_open(const uint8_t vm[static UUID_BYTES], struct folders *out,
		 struct fault *f) MUST_CHECK;
void folders_done(struct folders *o);
#define CLEANUP_FOLDERS CLEANUP(folders_done)

/*
 * Rename the vTPM's state files in STATE_FD out of the way: SUFFIX with a dot is put behind their
 * names.  No state is destroyed or overwritten; safe to repeat after an interruption.
 */
int folders_set_aside(int state_fd, const char *suffix, struct fault *f) MUST_CHECK;

/* PATH_LOG and PATH_REGISTRY for the audit log, made if missing; the caller's. */
int folders_audit(int *log_dir, int *registry, struct fault *f) MUST_CHECK;

/*
 * Note that VM is to come from another host: libvirt's next hook call for it, prepare, does not say
 * so.  And whether it was noted, which counts once, and for FOLDERS_EXPECT_S: 1, 0, -errno.
 */
int folders_expect(const uint8_t vm[static UUID_BYTES], struct fault *f) MUST_CHECK;
int folders_is_expected(const uint8_t vm[static UUID_BYTES], struct fault *f) MUST_CHECK;

/* Remove PATH_RUN/UUID, unless a worker of VM still lives (ERR_STATE).  0 if there is none. */
int folders_clear_run(const uint8_t vm[static UUID_BYTES], struct fault *f) MUST_CHECK;

#endif
