/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading single members of a QEMU option's value, in both forms that libvirt writes: JSON
 * ({"driver":"pvpanic"}) and QEMU's own (socket,id=charmonitor,fd=5).
 *
 * Stricter than QEMU, so that the two never understand a value differently: a member that is asked
 * for must not occur twice, and its text must not need unescaping.  Libc only, no allocation.
 *
 * May be used by: policy/qemu_args.c.
 */
#ifndef SHIELDVM_POLICY_QEMU_OPTS_H
#define SHIELDVM_POLICY_QEMU_OPTS_H

#include <stddef.h>

#include "base/err.h"

#define QEMU_OPTS_DEPTH_MAX  32	 /* nested objects and arrays in a JSON value */
#define QEMU_OPTS_MEMBER_MAX 256 /* bytes of a member that is asked for, with the NUL */

/* Called per top-level member, KEY_BYTES long; < 0 stops and is returned. */
typedef int qemu_opts_fn(const char *key, size_t key_bytes, const char *value, size_t value_bytes,
			 void *arg);

/*
 * Walk VALUE's top-level members.  IMPLIED is the key that a first part without '=' stands for
 * ("driver" in -device), or NULL if there is none; other parts without '=' have the value "on".
 * JSON strings come without their quotes but with their escapes, other JSON values as they are
 * written.  0, FN's value, or ERR_FORMAT for what is in neither form.
 */
int qemu_opts_each(const char *value, const char *implied, qemu_opts_fn *fn, void *arg) MUST_CHECK;

/*
 * Copy member KEY to OUT.  1, or 0 if it is not there (OUT is then ""), or ERR_FORMAT: bad form,
 * KEY there twice, a value that needs unescaping or is too long.
 */
int qemu_opts_get(const char *value, const char *implied, const char *key,
		  char out[static QEMU_OPTS_MEMBER_MAX]) MUST_CHECK;

#endif
