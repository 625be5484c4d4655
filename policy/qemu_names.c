/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Source: libvirt's src/qemu/qemu_command.c and qemu_domain_address.c.  What is missing here on
 * purpose: ivshmem-* (shared memory), loader and guest-loader (write into the guest's memory),
 * uefi-vars-* (Secure Boot variables outside SMM), filter-* and colo-* (copies of network traffic),
 * guest-visible test devices.
 */
#include "policy/qemu_names.h"

#include <string.h>

/* A trailing '*' stands for any rest. */
static const char *const DEVICES[] = {
	/* buses and bridges */
	"pcie-root-port",
	"ioh3420",
	"i82801b11-bridge",
	"pcie-pci-bridge",
	"pci-bridge",
	"x3130-upstream",
	"xio3130-downstream",
	"pxb",
	"pxb-pcie",
	"qemu-xhci",
	"nec-usb-xhci",
	"piix3-usb-uhci",
	"piix4-usb-uhci",
	"ich9-usb-*",
	"usb-ehci",
	"pci-ohci",
	"usb-hub",
	/* disks */
	"ahci",
	"ich9-ahci",
	"ide-hd",
	"ide-cd",
	"lsi",
	"lsi53c895a",
	"megasas",
	"megasas-gen2",
	"mptsas1068",
	"am53c974",
	"dc-390",
	"pvscsi",
	"scsi-hd",
	"scsi-cd",
	"scsi-block",
	"scsi-generic",
	"nvme",
	"nvme-ns",
	"isa-fdc",
	"floppy",
	"usb-storage",
	"usb-bot",
	/* network cards */
	"e1000",
	"e1000e",
	"igb",
	"rtl8139",
	"pcnet",
	"ne2k_pci",
	"i82551",
	"i82557b",
	"i82559er",
	"vmxnet3",
	"usb-net",
	/* screens, sound, input */
	"VGA",
	"secondary-vga",
	"cirrus-vga",
	"vmware-svga",
	"qxl",
	"qxl-vga",
	"bochs-display",
	"ramfb",
	"intel-hda",
	"ich9-intel-hda",
	"hda-duplex",
	"hda-micro",
	"hda-output",
	"AC97",
	"ES1370",
	"sb16",
	"usb-audio",
	"usb-tablet",
	"usb-mouse",
	"usb-kbd",
	/* lines */
	"isa-serial",
	"pci-serial",
	"usb-serial",
	"isa-debugcon",
	"isa-parallel",
	"virtconsole",
	"virtserialport",
	"usb-redir",
	"usb-ccid",
	"ccid-card-passthru",
	"ccid-card-emulated",
	/* the host's devices */
	"usb-host",
	"usb-mtp",
	"vfio-pci",
	"vfio-pci-nohotplug",
	/* the rest of the machine */
	"virtio-*",
	"vhost-*",
	"tpm-crb",
	"tpm-tis",
	"pc-dimm",
	"nvdimm",
	"intel-iommu",
	"amd-iommu",
	"i6300esb",
	"ib700",
	"pvpanic",
	"pvpanic-pci",
	"vmcoreinfo",
	"vmgenid",
	"acpi-erst",
};

static const char *const OBJECTS[] = {
	"secret",
	"iothread",
	"main-loop",
	"thread-context",
	"throttle-group",
	"memory-backend-ram",
	"memory-backend-memfd",
	"memory-backend-file",
	"memory-backend-epc",
	"rng-random",
	"rng-builtin",
	"rng-egd",
	"tls-creds-x509",
	"tls-creds-psk",
	"tls-cipher-suites",
	"cryptodev-backend-builtin",
	"cryptodev-backend-lkcf",
	"pr-manager-helper",
	"input-linux",
	"sev-guest",
	"sev-snp-guest",
	"tdx-guest",
	"iommufd",
	"dbus-vmstate",
};

static const char *const NETDEVS[] = { "user",	 "tap",	  "bridge",	"socket",
				       "stream", "dgram", "vhost-user", "vhost-vdpa" };

static const char *const CHARDEVS[] = { "socket", "pty",      "file",	   "null",	  "udp",
					"pipe",	  "serial",   "parallel",  "stdio",	  "vc",
					"dbus",	  "spicevmc", "spiceport", "qemu-vdagent" };

/* Formats and protocols; what is inside them the VM's disks decide. */
static const char *const BLOCKDEVS[] = {
	"file",	 "host_device",	 "host_cdrom",	"raw",
	"qcow2", "qcow",	 "qed",		"vmdk",
	"vdi",	 "vpc",		 "vhdx",	"dmg",
	"bochs", "cloop",	 "parallels",	"luks",
	"nbd",	 "rbd",		 "nfs",		"gluster",
	"iscsi", "http",	 "https",	"ftp",
	"ftps",	 "ssh",		 "nvme",	"throttle",
	"vvfat", "copy-on-read", "preallocate", "virtio-blk-vhost-vdpa",
};

static const char *const GLOBALS[] = {
	"kvm-pit.lost_tick_policy=*", "mc146818rtc.lost_tick_policy=*",
	"ICH9-LPC.disable_s3=*",      "ICH9-LPC.disable_s4=*",
	"ICH9-LPC.noreboot=*",	      "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=*",
	"mch.extended-tseg-mbytes=*", "q35-pcihost.pci-hole64-size=*",
};

static const char *const MACHINE_MEMBERS[] = {
	"type",
	"accel",
	"usb",
	"vmport",
	"smm",
	"kernel_irqchip",
	"kernel-irqchip",
	"dump-guest-core",
	"mem-merge",
	"memory-backend",
	"pflash0",
	"pflash1",
	"acpi",
	"hpet",
	"pit",
	"pic",
	"i8042",
	"sata",
	"smbus",
	"graphics",
	"nvdimm",
	"hmat",
	"smbios-entry-point-type",
	"memory-encryption",
	"confidential-guest-support",
	"pcspk-audiodev",
	"suppress-vmdesc",
	"sgx-epc.*",
	"fd-bootchk",
};

static int matches(const char *pattern, const char *name, size_t name_bytes)
{
	size_t n = strlen(pattern);
	if (pattern[n - 1] == '*')
		return name_bytes >= n - 1 && memcmp(pattern, name, n - 1) == 0;
	return name_bytes == n && memcmp(pattern, name, n) == 0;
}

static int is_in(const char *const *list, size_t n, const char *name, size_t name_bytes)
{
	for (size_t i = 0; i < n; i++) {
		if (matches(list[i], name, name_bytes))
			return 1;
	}
	return 0;
}

#define IS_IN(list, name) is_in(list, sizeof(list) / sizeof((list)[0]), name, strlen(name))

int qemu_name_is_device(const char *driver)
{
	return IS_IN(DEVICES, driver);
}

int qemu_name_is_object(const char *qom_type)
{
	return IS_IN(OBJECTS, qom_type);
}

int qemu_name_is_netdev(const char *type)
{
	return IS_IN(NETDEVS, type);
}

int qemu_name_is_chardev(const char *backend)
{
	return IS_IN(CHARDEVS, backend);
}

int qemu_name_is_blockdev(const char *driver)
{
	return IS_IN(BLOCKDEVS, driver);
}

int qemu_name_is_global(const char *global)
{
	return IS_IN(GLOBALS, global);
}

int qemu_name_is_machine_member(const char *key, size_t key_bytes)
{
	return is_in(MACHINE_MEMBERS, sizeof(MACHINE_MEMBERS) / sizeof(MACHINE_MEMBERS[0]), key,
		     key_bytes);
}
