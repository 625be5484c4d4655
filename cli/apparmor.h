/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What AppArmor must let QEMU's profiles do for a shielded VM.
 *
 * libvirt runs QEMU, and so shieldvm-launch, under a profile per VM that is made from
 * abstractions/libvirt-qemu and this host's own additions to it, which is where these rules go.
 *
 * Used by: `shieldvm host init`.
 */
#ifndef SHIELDVM_CLI_APPARMOR_H
#define SHIELDVM_CLI_APPARMOR_H

#include "base/err.h"

#define APPARMOR_LOCAL_MAX (256 * 1024)

/*
 * Add the rules to PATH_APPARMOR if they are not there; what else the file has is kept.  1 if they
 * were added, 0 if they were there, -ENOENT if this host's libvirt has no AppArmor profiles
 * (nothing is made then, and F is left alone), or an error with F.
 */
int apparmor_init(struct fault *f) MUST_CHECK;

#endif
