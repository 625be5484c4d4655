/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state folder of shieldvm-swtpm: swtpm's file names, sealed contents.
 *
 * The vTPM is bound to the UUID that the folder's path names (libvirt's .../swtpm/UUID/tpm2), if
 * any: the same files under another VM's folder are refused.
 *
 * Used by: shieldvm-swtpm, opened before sealing.
 */
#ifndef SHIELDVM_WORKER_SWTPM_STATE_H
#define SHIELDVM_WORKER_SWTPM_STATE_H

#include <stdio.h>

#include "worker/swtpm_opts.h"
#include "worker/vtpm.h"

#define SWTPM_LOCK_WAIT_MS 2000 /* for an earlier process on the folder to end */

struct swtpm_state;

/*
 * Read the keys, open the folder, authenticate what is in it, and make the vTPM over it.  A state
 * of the other swtpm is recognised and refused (ERR_FORMAT).  Errors of store_open() and
 * swtpm_key_read(), -errno, each with a sentence.
 */
int swtpm_state_open(const struct swtpm_options *o, struct swtpm_state **out, struct vtpm **vtpm,
		     struct fault *f) MUST_CHECK;

/* After vtpm_free().  S may be NULL. */
void swtpm_state_free(struct swtpm_state *s);

/* --print-states: one line of JSON that lists the files there are, with their sizes. */
int swtpm_state_print(const struct swtpm_options *o, FILE *out, struct fault *f) MUST_CHECK;

/* The last component of PATH that is a UUID, or all zero.  A pure function. */
void swtpm_state_vm(const char *path, uint8_t vm[static UUID_BYTES]);

#endif
