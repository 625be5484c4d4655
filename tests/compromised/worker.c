/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A worker that was taken over the moment it was sealed: the real program, but the linker puts this
 * in the place of phase serve (--wrap).  QEMU's end of the control channel tells it what to do.
 */
#include "tests/compromised/attacker.h"
#include "worker/loop.h"

int __wrap_loop_run(const struct sealed *sealed, const struct loop_config *config);

__attribute__((constructor)) static void name(void)
{
	attacker_name();
}

int __wrap_loop_run(const struct sealed *sealed, const struct loop_config *config)
{
	const int knows[ATTACK_KNOWS] = {
		config->link, config->lifeline, config->ctrl, -1, -1, -1
	};
	(void)sealed;
	attacker_serve(config->ctrl, knows);
	return 0;
}
