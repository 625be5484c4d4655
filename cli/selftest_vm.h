/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The throw-away VM of `shieldvm selftest`, whose secrets it knows, and a decoy that guards them
 * badly.
 *
 * Used by: cli/selftest*.c, as root, in the namespaces that selftest.c makes.
 */
#ifndef SHIELDVM_CLI_SELFTEST_VM_H
#define SHIELDVM_CLI_SELFTEST_VM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/paths.h"
#include "base/uuid.h"
#include "crypto/key.h"
#include "crypto/protector.h"

#define SELFTEST_PIDS_MAX     8
#define SELFTEST_CANARIES_MAX 5
#define SELFTEST_CANARY_MAX   64

/* ---- Canaries ------------------------------------------------------------------------------- */

struct canary {
	char name[24];
	uint8_t bytes[SELFTEST_CANARY_MAX];
	size_t n;
};

struct canaries {
	size_t n;
	struct canary of[SELFTEST_CANARIES_MAX];
};

/* The name of a canary of which sixteen bytes in a row are in the N bytes at MEM, or NULL. */
const char *canary_in(const struct canaries *c, const void *mem, size_t n);

/* ---- The throw-away VM ---------------------------------------------------------------------- */

struct victim {
	char uuid[UUID_TEXT_SIZE];
	uid_t uid, qemu_uid;
	struct vm_key key;
	struct protector_facts facts; /* facts.vm is the VM */
	char *protector;	      /* owned */
	/* While it runs: */
	pid_t worker, broker;
	size_t n_pids;
	pid_t pids[SELFTEST_PIDS_MAX]; /* every process of the VM's uid, the worker first */
	pid_t qemu;		       /* the stand-in */
	int ctrl, data, lifeline, monitor;
	struct canaries canaries;
	const struct victim *other; /* another VM that runs beside it, or NULL */
	int is_decoy;
};

#define VICTIM_NONE ((struct victim){ .ctrl = -1, .data = -1, .lifeline = -1, .monitor = -1 })

/*
 * Make a VM number N of this host (a protector for a new key).  HOST and OWNER are its keys.
 */
int victim_new(struct victim *v, unsigned int n, uid_t qemu_uid, const struct jwk *host,
	       const struct jwk *owner, struct fault *f) MUST_CHECK;

/* Start it as libvirt's hook does, without anybody to launch it. */
int victim_prepare(struct victim *v, struct fault *f) MUST_CHECK;

/* Also launch it, start its vTPM, and plant the canaries. */
int victim_start(struct victim *v, struct fault *f) MUST_CHECK;

/* End it, whatever state it is in. */
void victim_stop(struct victim *v);
void victim_done(struct victim *v);

/* 1 if the worker lives and answers on both of its channels within PATIENCE_MS. */
int victim_answers(const struct victim *v, int patience_ms);

/* 1 if every process of the VM has ended, within PATIENCE_MS. */
int victim_has_ended(const struct victim *v, int patience_ms);

/*
 * An unprotected process with the same canaries in its memory, descriptors and stack, of a uid and
 * in a folder of its own.
 */
#define DECOY_FOLDER PATH_RUN "/decoy"
int decoy_start(const struct victim *like, struct victim *decoy, struct fault *f) MUST_CHECK;
void decoy_stop(struct victim *decoy);

/* Become QEMU's user for good. */
int become_user(uid_t uid) MUST_CHECK;

/* A listener such as libvirtd makes for QEMU's monitor; as root, or no broker takes it. */
int monitor_listener(void) MUST_CHECK;

/*
 * Connect to VM's launch socket with MONITOR, as the launcher does, and hear the answer: 0 and FDS
 * (control channel, lifeline, monitor), or what was refused.
 */
int launch_claim(const uint8_t vm[static UUID_BYTES], int monitor, int fds[static 3],
		 struct fault *f) MUST_CHECK;

#endif
