/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/confine.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/landlock.h"
#include "base/log.h"
#include "guardian/store_url.h"
#include "sandbox/isolate.h"
#include "sandbox/phases.h"

/* A core file would hold keys. */
static int no_core(struct fault *f)
{
	const struct rlimit none = { 1, 1 };
	return setrlimit(RLIMIT_CORE, &none) < 0
		       ? fault_set(f, -errno, "the core size cannot be limited: %s",
				   err_text(-errno))
		       : 0;
}

static int finish(const struct filter *filter, pid_t parent, struct fault *f)
{
	const struct sealed *sealed;
	int rc = phases_follow_parent(parent, f);
	return rc < 0 ? rc : phases_seal(filter, &sealed, f);
}

int confine_closed(uid_t uid, const struct filter *filter, pid_t parent, struct fault *f)
{
	struct isolation i;
	int rc = no_core(f);
	if (rc < 0)
		return rc;
	if (geteuid() != 0) {
		rc = phases_stay(f);
	} else {
		isolate_begin(uid, &i);
		isolate_kernel(&i, ISOLATE_WORKER);
		isolate_files(&i, ISOLATE_WORKER, -1);
		rc = phases_enter(uid, &i, f);
		isolate_done(&i);
	}
	return rc < 0 ? rc : finish(filter, parent, f);
}

int confine_folder(int folder, const struct store_ports *ports, const struct filter *filter,
		   pid_t parent, struct fault *f)
{
	int abi = landlock_abi();
	int rc = no_core(f);
	if (rc >= 0)
		rc = phases_stay(f);
	if (rc < 0)
		return rc;
	rc = abi < 0 ? abi
		     : landlock_deny_but(abi, LANDLOCK_ABSTRACT_SOCKETS | LANDLOCK_SIGNALS, folder,
					 ports ? LANDLOCK_READ : LANDLOCK_OPEN,
					 ports ? ports->port : NULL, ports ? ports->n : 0);
	if (rc < 0)
		log_warning("this kernel does not confine the keeper to its folder: %s",
			    err_text(rc));
	else if (ports && abi < LANDLOCK_ABI_NET)
		log_warning("this kernel does not confine the keeper to its database's ports");
	return finish(filter, parent, f);
}
