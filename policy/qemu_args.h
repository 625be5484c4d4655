/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rules for QEMU's argument vector: an allow-list of what libvirt 9.0 to 11.x generates for an
 * x86 guest with UEFI and an external TPM, with conditions where an allowed option could carry
 * more.
 *
 * The launcher checks the vector it was given by libvirt before it becomes QEMU.  It does not know
 * the VM's level: refused here is what both levels refuse; what depends on the level the hook has
 * judged from the domain XML, from which libvirt makes this vector.
 *
 * May be used by: everybody, the static launcher above all: libc only, no allocation, no system
 * call.
 */
#ifndef SHIELDVM_POLICY_QEMU_ARGS_H
#define SHIELDVM_POLICY_QEMU_ARGS_H

#include <stddef.h>

#include "base/err.h"
#include "base/uuid.h"

#define QEMU_ARGS_MAX	   4096	  /* arguments */
#define QEMU_ARG_BYTES_MAX 131072 /* of one argument (Linux' own MAX_ARG_STRLEN) */

/* What the launcher needs from an accepted vector. */
struct qemu_args {
	uint8_t vm[UUID_BYTES]; /* of -uuid; the TPM's socket has the same in its path */
	int tpm_chardev;	/* index of the value of the TPM's -chardev */
	char tpm_chardev_id[64];
	int monitor_fd; /* fd= of libvirt's monitor */
	int incoming;	/* 1: the VM starts from state that comes in */
};

/*
 * Check ARGV[1] .. ARGV[ARGC - 1] (ARGV[0] is the program and ignored).  0 with *OUT filled, or
 * ERR_POLICY with a sentence in F that begins with the rule's id; *OUT is then untouched.
 */
int qemu_args_check(int argc, char *const *argv, struct qemu_args *out, struct fault *f) MUST_CHECK;

/* One rule that a vector can break, at both levels. */
struct qemu_args_rule {
	const char *id, *reason;
};

/* All of them, by id; *N rows. */
const struct qemu_args_rule *qemu_args_rules(size_t *n);

/*
 * 1 if ARGV is exactly one of libvirt's capability probes (qemuProcessQMPLaunch): no guest, so
 * nothing of a shielded VM's.
 */
int qemu_args_is_probe(int argc, char *const *argv);

#endif
