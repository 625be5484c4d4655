/* SPDX-License-Identifier: BSD-3-Clause */
#include "sandbox/caps.h"

#include <cap-ng.h>
#include <errno.h>
#include <linux/securebits.h>
#include <sys/prctl.h>

/* SECBIT_NO_SETUID_FIXUP stays off, and locked so: setresuid(2) away from 0 then clears by itself.
 */
#define SECUREBITS                                                                                 \
	(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED |                    \
	 SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |                                   \
	 SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

int caps_bound(struct fault *f)
{
	if (prctl(PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0) < 0)
		return fault_set(f, -errno, "securebits cannot be locked: %s", err_text(-errno));
	capng_get_caps_process();
	capng_clear(CAPNG_SELECT_BOUNDS);
	if (capng_apply(CAPNG_SELECT_BOUNDS) != 0)
		return fault_set(f, -EPERM, "the capability bounding set cannot be emptied");
	return 0;
}

int caps_drop(struct fault *f)
{
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_apply(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT) != 0)
		return fault_set(f, -EPERM, "capabilities cannot be given up");
	return 0;
}

int caps_check(struct fault *f)
{
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_get_caps_process() != 0 ||
	    capng_have_capabilities(CAPNG_SELECT_ALL) != CAPNG_NONE)
		return fault_set(f, ERR_STATE, "capabilities are left after giving them up");
	int bits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
	if (bits != SECUREBITS)
		return fault_set(f, ERR_STATE, "securebits are %#x instead of %#x", bits,
				 SECUREBITS);
	return 0;
}
