/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The names of devices, objects and back ends that libvirt 9.0 to 11.x makes for an x86 guest at
 * start: the allow-lists behind policy/qemu_args.c.
 *
 * May be used by: policy/.  Libc only, no allocation.
 */
#ifndef SHIELDVM_POLICY_QEMU_NAMES_H
#define SHIELDVM_POLICY_QEMU_NAMES_H

#include <stddef.h>

int qemu_name_is_device(const char *driver);
int qemu_name_is_object(const char *qom_type);
int qemu_name_is_netdev(const char *type);
int qemu_name_is_chardev(const char *backend);
int qemu_name_is_blockdev(const char *driver);

/* GLOBAL is a whole -global value, DRIVER.PROPERTY=VALUE. */
int qemu_name_is_global(const char *global);

/* KEY, of KEY_BYTES, is a member of a -machine value ("type" is the machine itself). */
int qemu_name_is_machine_member(const char *key, size_t key_bytes);

#endif
