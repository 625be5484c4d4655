/* SPDX-License-Identifier: BSD-3-Clause */
#include "sandbox/caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel tells by EINVAL where its capabilities end; more than this it cannot count. */
#define CAPS_MAX 64

/* SECBIT_NO_SETUID_FIXUP stays off, and locked so: setresuid(2) away from 0 then clears by itself.
 */
#define SECUREBITS                                                                                 \
	(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED |                    \
	 SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |                                   \
	 SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

/* By system call: libcap and libcap-ng look into /proc, which a worker does not have and in which
 * its pid would be another process's. */
static int get(struct __user_cap_data_struct data[static _LINUX_CAPABILITY_U32S_3])
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	return syscall(SYS_capget, &head, data) < 0 ? -errno : 0;
}

int caps_bound(struct fault *f)
{
	if (prctl(PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0) < 0)
		return fault_set(f, -errno, "securebits cannot be locked: %s", err_text(-errno));
	for (unsigned int cap = 0; cap < CAPS_MAX; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) > 0 &&
		    prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return fault_set(f, -errno,
					 "capability %u cannot be taken from the bounding set: %s",
					 cap, err_text(-errno));
	return 0;
}

int caps_drop(struct fault *f)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    syscall(SYS_capset, &head, none) < 0)
		return fault_set(f, -errno, "capabilities cannot be given up: %s",
				 err_text(-errno));
	return 0;
}

int caps_check(struct fault *f)
{
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };
	unsigned int left = 0;
	int rc = get(data);
	if (rc < 0)
		return fault_set(f, rc, "capget: %s", err_text(rc));
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		left |= data[i].effective | data[i].permitted | data[i].inheritable;
	for (unsigned int cap = 0; cap < CAPS_MAX; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) > 0 ||
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) > 0)
			left = 1;
	if (left)
		return fault_set(f, ERR_STATE, "capabilities are left after giving them up");
	int bits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
	if (bits != SECUREBITS)
		return fault_set(f, ERR_STATE, "securebits are %#x instead of %#x", bits,
				 SECUREBITS);
	return 0;
}
