/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What policy/qemu_args.c refuses, for people to read: the conditions themselves are there.
 */
#include "policy/qemu_args.h"

static const struct qemu_args_rule RULES[] = {
	{ "boot.kernel", "the host would decide what the guest runs" },
	{ "boot.loader", "firmware that is not the distribution's own with Secure Boot" },
	{ "boot.setting", "a setting of the firmware's that libvirt never gives" },
	{ "boot.smbios", "SMBIOS tables from a file of the host" },
	{ "boot.smm", "without SMM the guest could change its own Secure Boot keys" },
	{ "boot.sysinfo", "settings from the host that the guest's firmware obeys" },
	{ "console.graphics", "a display that libvirt does not use" },
	{ "console.parallel", "a parallel line that is not in the domain's XML" },
	{ "console.serial", "a serial line that is not in the domain's XML" },
	{ "crash.watchdog", "it would have the guest dump its memory" },
	{ "domain.machine", "Secure Boot needs the q35 machine, once" },
	{ "domain.uuid", "the vector has to name its VM once" },
	{ "host.confinement", "QEMU's sandbox has to be on in full" },
	{ "memory.core", "QEMU's core files would hold the guest's memory" },
	{ "memory.peek", "it reads and changes the guest's memory" },
	{ "migration.incoming", "state comes in through libvirt's monitor only" },
	{ "qemu.blockdev", "a block driver that libvirt never uses" },
	{ "qemu.chardev", "not a character device of libvirt's" },
	{ "qemu.config", "settings would come from outside the domain's XML" },
	{ "qemu.device", "a device that libvirt never makes" },
	{ "qemu.form", "not in the form that libvirt writes" },
	{ "qemu.global", "a setting that libvirt never gives" },
	{ "qemu.machine", "a machine or accelerator setting that libvirt never gives" },
	{ "qemu.monitor", "a monitor besides the one that is guarded" },
	{ "qemu.netdev", "a network that libvirt never makes" },
	{ "qemu.object", "an object that libvirt never makes at start" },
	{ "qemu.option", "not an option that libvirt gives, or one too many or too few" },
	{ "qemu.trace", "it writes down what the guest does" },
	{ "state.snapshot", "state would come in past the VM's worker" },
	{ "tpm.backend", "the TPM has to be this VM's worker" },
};

const struct qemu_args_rule *qemu_args_rules(size_t *n)
{
	*n = sizeof(RULES) / sizeof(RULES[0]);
	return RULES;
}
