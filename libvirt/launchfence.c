/* SPDX-License-Identifier: BSD-3-Clause */
#include "libvirt/launchfence.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/landlock.h"

#define NO_CORE 1

int launchfence_raise(struct fault *f)
{
	struct rlimit core;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fault_set(f, -errno, "no_new_privs: %s", err_text(-errno));
	if (getrlimit(RLIMIT_CORE, &core) < 0)
		return fault_set(f, -errno, "the core size: %s", err_text(-errno));
	core.rlim_max = core.rlim_max < NO_CORE ? core.rlim_max : NO_CORE;
	core.rlim_cur = core.rlim_max;
	if (setrlimit(RLIMIT_CORE, &core) < 0)
		return fault_set(f, -errno, "the core size: %s", err_text(-errno));
	int rc = landlock_apart();
	return rc < 0 ? fault_set(f, rc,
				  "Landlock, which keeps this VM's QEMU from those of others: %s",
				  err_text(rc))
		      : 0;
}
