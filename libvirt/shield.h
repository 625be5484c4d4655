/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Turning a plain domain into one that can be shielded: emulator, TPM, Secure Boot firmware, SMM,
 * UUID, and, if asked, the removal of devices that its level forbids.
 *
 * The guest's own hardware is otherwise left as it is.  The protector is put in afterwards
 * (domain_set_shield()), once there is a UUID to sign.
 *
 * May be used by: cli/.
 */
#ifndef SHIELDVM_LIBVIRT_SHIELD_H
#define SHIELDVM_LIBVIRT_SHIELD_H

#include "libvirt/domain.h"

/* Called with one sentence per change made to the domain. */
typedef void shield_change_fn(const char *text, void *arg);

/*
 * Change D so that it meets the requirements of FACTS' level; FACTS->vm is set to its UUID, made if
 * there was none.  STRIP: devices that the level forbids and the guest can do without are taken
 * out. Every change is told to FN.  What stands in the way afterwards domain_check_each() tells.
 * ERR_POLICY with a sentence if the domain cannot be shielded at all (not x86_64, an i440fx
 * machine), ERR_STATE if it already is, ERR_FORMAT for a bad UUID, -ENOENT if the distribution's
 * Secure Boot firmware is needed and not installed; D may then be half changed.
 */
int shield_domain(struct domain *d, struct protector_facts *facts, int strip, shield_change_fn *fn,
		  void *arg, struct fault *f) MUST_CHECK;

#endif
