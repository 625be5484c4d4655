/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/domain_rules.h"

#include <errno.h>
#include <libxml/xpath.h>
#include <libxml/xpathInternals.h>
#include <stdio.h>
#include <string.h>

#include "base/paths.h"

/* XPath steps one row may take: a 4 MiB document needs far fewer, a hostile one gets no more. */
#define XPATH_STEPS_MAX 50000000UL

#define OK		VERDICT_OK
#define NOTICE		VERDICT_NOTICE
#define OWNER		VERDICT_OWNER
#define REFUSE		VERDICT_REFUSE
#define HAND		REMEDY_HAND
#define SHIELD		REMEDY_SHIELD
#define STRIP		REMEDY_STRIP
#define DEVICES		"/domain/devices/"

/* True if X is a file that the distribution's firmware packages install. */
#define IN_FIRMWARE_FOLDER(x)                                                                      \
	"(starts-with(normalize-space(" x "),'/usr/share/OVMF/')"                                  \
	" or starts-with(normalize-space(" x "),'/usr/share/edk2/')"                               \
	" or starts-with(normalize-space(" x "),'/usr/share/edk2-ovmf/')"                          \
	" or starts-with(normalize-space(" x "),'/usr/share/qemu/'))"                              \
	" and not(contains(" x ",'..'))"

/* True if the file of that name is a build of the firmware with Secure Boot and SMM. */
#define IS_SECURE_BUILD(x)                                                                         \
	"(contains(" x ",'secboot') or contains(" x ",'secure') or contains(" x ",'.ms.')"         \
	" or contains(" x ",'snakeoil'))"

/* Wordings that several rows share. */
#define RESHIELD    "run shieldvm shield on the plain XML again"
#define TAKE_OUT    "remove it, or shield with --strip"
#define ADMIN_INPUT "it gives the host's administrators a way into the guest"

#define FORBID(id, supported, shielded, remedy, xpath, reason, todo)                               \
	{                                                                                          \
		id, RULE_FORBIDS, supported, shielded, remedy, xpath, NULL, reason, todo           \
	}
#define REQUIRE(id, remedy, xpath, place, reason, todo)                                            \
	{                                                                                          \
		id, RULE_REQUIRES, REFUSE, REFUSE, remedy, xpath, place, reason, todo              \
	}

/*
 * Sources of the rows: DESIGN section 6 for the levels; which element leads to which QEMU option,
 * and so to which way in or out, from libvirt's qemu driver (qemu_command.c, qemu_process.c).
 */
static const struct domain_rule RULES[] = {
	/* What there must be. */
	REQUIRE("domain.type", HAND,
		"/domain[@type='kvm' or @type='qemu']/os/type[normalize-space(.)='hvm'"
		" and (not(@arch) or @arch='x86_64')]",
		"/domain/os/type", "only x86_64 guests of QEMU can be shielded",
		"use an x86_64 guest of type kvm or qemu"),
	REQUIRE("domain.uuid", SHIELD, "count(/domain/uuid)=1", "/domain/uuid[2]",
		"a domain has one UUID, which its protector is made for", RESHIELD),
	REQUIRE("domain.uuid", HAND,
		"not(/domain/uuid)"
		" or translate(normalize-space(/domain/uuid),'ABCDEF','abcdef')=$uuid",
		"/domain/uuid", "the owner's protector was made for the VM with another UUID",
		"give the domain back its UUID, or shield it anew as a VM of its own"),
	REQUIRE("domain.emulator", SHIELD,
		"count(/domain/devices/emulator)=1"
		" and normalize-space(/domain/devices/emulator)=$launch",
		DEVICES "emulator", "QEMU has to be started by " PATH_LAUNCH,
		"put it in as the <emulator>"),
	REQUIRE("domain.machine", SHIELD, "/domain/os/type/@machine!=''", "/domain/os/type",
		"Secure Boot needs the q35 machine, which has SMM", RESHIELD),
	REQUIRE("domain.machine", HAND,
		"starts-with(/domain/os/type/@machine,'pc-q35-') or /domain/os/type/@machine='q35'"
		" or not(/domain/os/type/@machine!='')",
		"/domain/os/type", "Secure Boot needs the q35 machine, which has SMM",
		"install the guest on machine='q35' (its disks then have other addresses)"),
	REQUIRE("tpm.backend", SHIELD,
		"count(/domain/devices/tpm)=1 and count(/domain/devices/tpm/backend)=1"
		" and count(/domain/devices/tpm/backend/source)=1"
		" and /domain/devices/tpm[@model='tpm-crb' or @model='tpm-tis']"
		"/backend[@type='external']"
		"/source[@type='unix' and (not(@mode) or @mode='connect') and @path=$vtpm]",
		DEVICES "tpm", "the TPM has to be this VM's worker, reached through its own socket",
		RESHIELD),
	REQUIRE("boot.loader", SHIELD,
		"count(/domain/os/loader)=1 and /domain/os/loader[@secure='yes' and @type='pflash'"
		" and @readonly='yes' and " IN_FIRMWARE_FOLDER(".") " and " IS_SECURE_BUILD(
			".") "]",
		"/domain/os/loader",
		"Secure Boot needs the distribution's own firmware, a build with Secure Boot, as a"
		" read-only pflash with secure='yes'",
		RESHIELD),
	REQUIRE("boot.smm", SHIELD, "/domain/features/smm/@state='on'", "/domain/features",
		"without SMM the guest could change its own Secure Boot keys",
		"put <smm state='on'/> into <features>"),
	REQUIRE("boot.nvram", SHIELD,
		"count(/domain/os/nvram)=1 and /domain/os/nvram[" IN_FIRMWARE_FOLDER(
			"@template") "]",
		"/domain/os/nvram",
		"the firmware's variables have to start from the distribution's own template",
		RESHIELD),

	FORBID("boot.nvram", REFUSE, REFUSE, HAND, "/domain/os/nvram[@type and @type!='file']",
	       "the firmware's variables have to be a local file", "make it one"),

	/*
	 * What nobody here has judged.  An administrator may run a libvirt that is newer than this
	 * table; elements of other namespaces than libvirt's own two mean nothing to it.
	 */
	FORBID("domain.unknown", REFUSE, REFUSE, HAND,
	       "/domain/*[not(self::q:* or self::name or self::uuid or self::hwuuid or self::genid"
	       " or self::title or self::description or self::metadata or self::memory"
	       " or self::currentMemory or self::maxMemory or self::memoryBacking or self::memtune"
	       " or self::numatune or self::blkiotune or self::cputune or self::vcpu or self::vcpus"
	       " or self::iothreads or self::iothreadids or self::defaultiothread"
	       " or self::throttlegroups or self::resource or self::sysinfo or self::os"
	       " or self::features or self::cpu or self::clock or self::on_poweroff"
	       " or self::on_reboot or self::on_crash or self::on_lockfailure or self::pm"
	       " or self::perf or self::devices or self::seclabel or self::launchSecurity)]"
	       "|/domain/os/*[not(self::type or self::firmware or self::loader or self::nvram"
	       " or self::varstore or self::kernel or self::initrd or self::cmdline or self::dtb"
	       " or self::shim or self::acpi or self::boot or self::bootmenu or self::bios"
	       " or self::smbios)]"
	       "|" DEVICES "*[not(self::emulator or self::disk or self::controller or self::lease"
	       " or self::filesystem or self::interface or self::smartcard or self::serial"
	       " or self::parallel or self::console or self::channel or self::input or self::tpm"
	       " or self::graphics or self::sound or self::audio or self::video or self::hostdev"
	       " or self::redirdev or self::redirfilter or self::hub or self::watchdog"
	       " or self::memballoon or self::rng or self::shmem or self::memory or self::panic"
	       " or self::iommu or self::vsock or self::crypto or self::pstore)]",
	       "this version does not know what it does to the guest",
	       "remove it, or install a version that knows it"),

	/* How it starts. */
	FORBID("boot.setting", REFUSE, REFUSE, SHIELD,
	       "/domain/os/firmware/feature[@name='secure-boot' and @enabled='no']",
	       "it asks for firmware without Secure Boot", RESHIELD),
	FORBID("boot.varstore", REFUSE, REFUSE, HAND, "/domain/os/varstore",
	       "Secure Boot variables outside SMM's protection can be changed at will",
	       "remove it, and use <nvram>"),
	FORBID("boot.keys", NOTICE, NOTICE, HAND,
	       "/domain/os/nvram[" IN_FIRMWARE_FOLDER(
		       "@template") "][not(contains(@template,'.ms.')"
				    " or contains(@template,'secboot')"
				    " or contains(@template,'snakeoil'))]",
	       "no Secure Boot keys are enrolled in this template: Secure Boot is off until the "
	       "guest"
	       " enrols its own",
	       "use the template with Microsoft's keys (.ms.fd), or enrol your own"),
	FORBID("boot.test-keys", NOTICE, NOTICE, HAND,
	       "/domain/os/nvram[contains(@template,'snakeoil')]",
	       "everybody has the private half of this template's Secure Boot keys",
	       "use it for tests only"),
	FORBID("boot.kernel", REFUSE, REFUSE, HAND,
	       "/domain/os/kernel|/domain/os/initrd|/domain/os/cmdline|/domain/os/dtb"
	       "|/domain/os/shim",
	       "a kernel, initrd or command line from the host decides what the guest runs",
	       "remove it and boot from the disk"),
	FORBID("boot.rom", REFUSE, REFUSE, STRIP, DEVICES "*/rom[@file]",
	       "code from the host that the firmware runs for the device",
	       "remove its <rom>, or shield with --strip"),
	FORBID("boot.acpi-table", OWNER, REFUSE, HAND, "/domain/os/acpi/table",
	       "ACPI tables from the host are code that the guest's kernel runs", "remove it"),
	FORBID("boot.serial", OWNER, REFUSE, STRIP, "/domain/os/bios[@useserial='yes']",
	       "the firmware's console on a serial port: " ADMIN_INPUT, TAKE_OUT),
	FORBID("boot.sysinfo", REFUSE, REFUSE, STRIP, "/domain/sysinfo[@type='fwcfg']",
	       "settings from the host that the guest's firmware obeys", TAKE_OUT),
	FORBID("boot.oem-strings", OWNER, REFUSE, STRIP, "/domain/sysinfo/oemStrings",
	       "settings from the host that the guest's systemd obeys, passwords among them",
	       TAKE_OUT),
	FORBID("boot.smbios", OK, NOTICE, HAND, "/domain/sysinfo[@type='smbios']",
	       "the host chooses these strings, which the guest can read",
	       "let nothing in the guest trust them"),

	/* The guest's own screens, keyboards and lines. */
	FORBID("console.graphics", OWNER, REFUSE, STRIP, DEVICES "graphics",
	       "whoever reaches it sees the guest's screen and types on its keyboard", TAKE_OUT),
	FORBID("console.serial", OWNER, REFUSE, STRIP, DEVICES "serial",
	       "a serial line, often with a login on it: " ADMIN_INPUT, TAKE_OUT),
	FORBID("console.console", OWNER, REFUSE, STRIP, DEVICES "console",
	       "a console line: " ADMIN_INPUT, TAKE_OUT),
	FORBID("console.parallel", OWNER, REFUSE, STRIP, DEVICES "parallel",
	       "a line between host and guest that nothing encrypts", TAKE_OUT),
	FORBID("console.input", OWNER, REFUSE, STRIP,
	       DEVICES "input[@type='passthrough' or @type='evdev']",
	       "the host's keyboard types into the guest", TAKE_OUT),
	FORBID("console.sound", OK, REFUSE, STRIP, DEVICES "sound|" DEVICES "audio[@type!='none']",
	       "the host can listen to what the guest plays and records", TAKE_OUT),
	FORBID("console.video", OK, OK, HAND, DEVICES "video",
	       "a video card shows nothing without graphics, and screenshots are refused", ""),

	/* Agents and other channels. */
	FORBID("agent.channel", OWNER, REFUSE, STRIP,
	       DEVICES "channel[target/@name='org.qemu.guest_agent.0']",
	       "through the guest agent the host runs programs, reads files and sets passwords",
	       TAKE_OUT),
	FORBID("channel.spice", OWNER, REFUSE, STRIP,
	       DEVICES "channel[@type='spicevmc' or @type='spiceport' or @type='qemu-vdagent'"
		       " or @type='dbus']",
	       "clipboard, files and input pass through it", TAKE_OUT),
	FORBID("channel.other", OWNER, REFUSE, STRIP,
	       DEVICES "channel[not(@type='spicevmc' or @type='spiceport'"
		       " or @type='qemu-vdagent' or @type='dbus'"
		       " or target/@name='org.qemu.guest_agent.0')]",
	       "a channel between host and guest that nothing encrypts", TAKE_OUT),
	FORBID("channel.vsock", OWNER, REFUSE, STRIP, DEVICES "vsock",
	       "a socket between host and guest that nothing encrypts", TAKE_OUT),

	/* Devices that come from, or reach into, the host. */
	FORBID("device.filesystem", OWNER, REFUSE, HAND, DEVICES "filesystem",
	       "the host's files become the guest's, and back", "remove it"),
	FORBID("device.redirdev", OWNER, REFUSE, STRIP, DEVICES "redirdev|" DEVICES "redirfilter",
	       "a remote viewer can plug its own USB devices into the guest", TAKE_OUT),
	FORBID("device.smartcard", OWNER, REFUSE, STRIP, DEVICES "smartcard",
	       "the guest would trust a card that the host controls", TAKE_OUT),
	FORBID("device.hostdev", OWNER, REFUSE, HAND,
	       DEVICES "hostdev|" DEVICES "interface[@type='hostdev']|" DEVICES
		       "disk[@type='nvme']",
	       "a device of the host reads and writes the guest's memory", "remove it"),
	FORBID("device.vhost-user", OWNER, REFUSE, HAND,
	       DEVICES "disk[@type='vhostuser' or @type='vhostvdpa']|" DEVICES
		       "interface[@type='vhostuser' or @type='vdpa']|" DEVICES
		       "video[driver/@name='vhostuser']",
	       "another process on the host maps the guest's memory",
	       "use a device that QEMU itself runs"),
	FORBID("device.rng", OK, REFUSE, HAND,
	       DEVICES "rng[not(backend/@model='builtin' or (backend/@model='random'"
		       " and (normalize-space(backend)='/dev/urandom'"
		       " or normalize-space(backend)='/dev/random'"
		       " or normalize-space(backend)='')))]",
	       "whoever feeds it knows the guest's random numbers",
	       "use <backend model='builtin'/> or /dev/urandom"),

	/* Its memory, and what copies it. */
	FORBID("memory.shmem", REFUSE, REFUSE, HAND, DEVICES "shmem",
	       "memory shared with other processes of the host", "remove it"),
	FORBID("memory.shared", OWNER, REFUSE, HAND,
	       "/domain/memoryBacking/access[@mode='shared']"
	       "|/domain/memoryBacking/source[@type='file']"
	       /* QEMU shares a memfd unless it is told not to. */
	       "|/domain/memoryBacking[source/@type='memfd' and not(access/@mode='private')]"
	       "|/domain/cpu/numa/cell[@memAccess='shared']"
	       "|" DEVICES "memory[@access='shared' and not(@model='virtio-pmem')]",
	       "the guest's memory would be a file that other processes can map",
	       "use private, anonymous memory"),
	FORBID("memory.hugepages", OWNER, REFUSE, HAND,
	       "/domain/memoryBacking/hugepages|" DEVICES "memory[source/pagesize]",
	       "the guest's memory would be a file in hugetlbfs", "use transparent huge pages"),
	FORBID("memory.nvdimm", OWNER, REFUSE, HAND,
	       DEVICES "memory[@model='nvdimm' or @model='virtio-pmem']",
	       "guest memory that is a plain file of the host", "remove it"),
	FORBID("memory.core", REFUSE, REFUSE, HAND, "/domain/memory[@dumpCore='on']",
	       "QEMU's core files would hold the guest's memory", "remove dumpCore"),
	FORBID("memory.launch-security", OK, NOTICE, HAND, "/domain/launchSecurity",
	       "the host chooses its policy and measures the start",
	       "check the guest's launch measurement before you trust it"),
	FORBID("crash.dump", REFUSE, REFUSE, HAND,
	       "/domain/on_crash[starts-with(normalize-space(.),'coredump-')]",
	       "a crash would write the guest's memory to a plain file of the host",
	       "use destroy, restart or preserve"),
	FORBID("crash.watchdog", REFUSE, REFUSE, STRIP,
	       DEVICES "watchdog[@action='dump' or @action='inject-nmi']",
	       "the watchdog would write the guest's memory to a plain file of the host",
	       "use the action reset, poweroff or none, or shield with --strip"),
	FORBID("crash.panic", OK, NOTICE, HAND, DEVICES "panic",
	       "the host learns the registers of a guest that crashes",
	       "remove it if that is too much"),
	FORBID("crash.pstore", OWNER, REFUSE, STRIP, DEVICES "pstore",
	       "the guest's last words go to a plain file of the host", TAKE_OUT),

	/* Its disks: what the guest does not encrypt itself, the host can read. */
	FORBID("disk.plain", OK, NOTICE, HAND,
	       DEVICES "disk[not(@device) or @device='disk' or @device='lun']"
		       "[not(source/encryption or encryption)]",
	       "the host can read what the guest does not encrypt itself",
	       "encrypt the guest's volumes with a key that its TPM seals"),
	FORBID("disk.media", OK, NOTICE, HAND,
	       DEVICES "disk[@device='cdrom' or @device='floppy'][source]",
	       "the host chooses what is on this medium; a running guest gets no other one",
	       "let nothing in the guest obey it"),
	FORBID("disk.transient", OWNER, REFUSE, HAND, DEVICES "disk[transient]",
	       "the overlay that holds the changes is not encrypted", "remove <transient/>"),
	FORBID("disk.fdgroup", OWNER, REFUSE, HAND, DEVICES "disk[source/@fdgroup]",
	       "nobody can tell which file the guest's disk is", "name the file"),

	/* What goes past libvirt's own checks. */
	FORBID("qemu.commandline", REFUSE, REFUSE, HAND, "/domain/q:commandline",
	       "arguments and environment that go straight to QEMU can open any door", "remove it"),
	FORBID("qemu.override", REFUSE, REFUSE, HAND,
	       "/domain/q:override|/domain/q:capabilities|/domain/q:*[local-name()!='commandline'"
	       " and local-name()!='override' and local-name()!='capabilities'"
	       " and local-name()!='deprecation']",
	       "it changes devices behind libvirt's checks", "remove it"),
	FORBID("host.confinement", REFUSE, REFUSE, STRIP,
	       "/domain/seclabel[(@type='none' and not(@model='none')) or @type='static'"
	       " or baselabel]",
	       "QEMU would run without the host's confinement, under a label of somebody's choice"
	       " or as root",
	       TAKE_OUT),

	/* No content of the guest's passes through these. */
	FORBID("device.interface", OK, OK, HAND, DEVICES "interface",
	       "the network is untrusted anyway", ""),
	FORBID("device.plain", OK, OK, HAND,
	       DEVICES "controller|" DEVICES "memballoon|" DEVICES "iommu|" DEVICES "hub|" DEVICES
		       "lease|" DEVICES "crypto|" DEVICES
		       "memory[@model='dimm' or @model='virtio-mem']",
	       "QEMU's own, without a way to the host", ""),
	FORBID("domain.tuning", OK, OK, HAND,
	       "/domain/iothreads|/domain/iothreadids|/domain/perf|/domain/cputune|/domain/"
	       "blkiotune"
	       "|/domain/memtune|/domain/numatune|/domain/resource",
	       "speed, not content", ""),
};

const struct domain_rule *domain_rules(size_t *n)
{
	*n = sizeof(RULES) / sizeof(RULES[0]);
	return RULES;
}

int domain_rule_allowable(const char *id)
{
	for (size_t i = 0; i < sizeof(RULES) / sizeof(RULES[0]); i++) {
		if (RULES[i].at_supported == VERDICT_OWNER && strcmp(RULES[i].id, id) == 0)
			return 1;
	}
	return 0;
}

static enum verdict verdict_of(const struct domain_rule *rule, const struct protector_facts *facts)
{
	if (facts->level != LEVEL_ENCRYPTION_SUPPORTED)
		return rule->at_shielded;
	if (rule->at_supported != VERDICT_OWNER)
		return rule->at_supported;
	for (size_t i = 0; i < facts->n_allow && i < PROTECTOR_ALLOW_MAX; i++) {
		if (strcmp(facts->allow[i], rule->id) == 0)
			return VERDICT_NOTICE;
	}
	return VERDICT_OWNER;
}

static void cleanup_context(xmlXPathContext **ctx)
{
	if (*ctx)
		xmlXPathFreeContext(*ctx);
}

static void cleanup_object(xmlXPathObject **object)
{
	if (*object)
		xmlXPathFreeObject(*object);
}

/* libxml2 would print its errors; the return value says enough. */
#if LIBXML_VERSION >= 21200
static void ignore_error(void *arg, const xmlError *error)
#else
static void ignore_error(void *arg, xmlError *error)
#endif
{
	(void)arg;
	(void)error;
}

static int set_variable(xmlXPathContext *ctx, const char *name, const char *value)
{
	xmlXPathObject *object = xmlXPathNewCString(value);
	if (!object)
		return -ENOMEM;
	/* The context owns OBJECT from here on, in failure too. */
	return xmlXPathRegisterVariable(ctx, (const xmlChar *)name, object) < 0 ? -ENOMEM : 0;
}

static xmlXPathContext *new_context(xmlDoc *doc, const struct protector_facts *facts)
{
	char uuid[UUID_TEXT_SIZE], vtpm[sizeof(PATH_RUN) + UUID_TEXT_SIZE + sizeof("//vtpm.sock")];
	uuid_format(facts->vm, uuid);
	snprintf(vtpm, sizeof(vtpm), PATH_RUN "/%s/vtpm.sock", uuid);

	xmlXPathContext *ctx = xmlXPathNewContext(doc);
	if (!ctx)
		return NULL;
	ctx->error = ignore_error;
	ctx->opLimit = XPATH_STEPS_MAX;
	if (set_variable(ctx, "uuid", uuid) < 0 || set_variable(ctx, "vtpm", vtpm) < 0 ||
	    set_variable(ctx, "launch", PATH_LAUNCH) < 0 ||
	    xmlXPathRegisterNs(ctx, (const xmlChar *)"q", (const xmlChar *)QEMU_NAMESPACE) < 0 ||
	    xmlXPathRegisterNs(ctx, (const xmlChar *)"s", (const xmlChar *)SHIELD_NAMESPACE) < 0) {
		xmlXPathFreeContext(ctx);
		return NULL;
	}
	return ctx;
}

static xmlXPathObject *evaluate(xmlXPathContext *ctx, const char *xpath)
{
	ctx->opCount = 0;
	ctx->node = NULL;
	return xmlXPathEval((const xmlChar *)xpath, ctx);
}

static int check_forbidden(xmlXPathContext *ctx, struct domain_finding finding,
			   domain_finding_fn *fn, void *arg)
{
	__attribute__((cleanup(cleanup_object))) xmlXPathObject *found =
		evaluate(ctx, finding.rule->xpath);
	if (!found || found->type != XPATH_NODESET)
		return ERR_LIMIT;
	int n = found->nodesetval ? found->nodesetval->nodeNr : 0;
	for (int i = 0; i < n; i++) {
		finding.node = finding.near = found->nodesetval->nodeTab[i];
		int rc = fn(&finding, arg);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static xmlNode *first_of(const xmlXPathObject *found)
{
	return found && found->type == XPATH_NODESET && found->nodesetval &&
			       found->nodesetval->nodeNr > 0
		       ? found->nodesetval->nodeTab[0]
		       : NULL;
}

/* The innermost element on PLACE's path that there is. */
static xmlNode *nearest(xmlXPathContext *ctx, const char *place)
{
	char path[128];
	snprintf(path, sizeof(path), "%s", place);
	for (char *end; (end = strrchr(path, '/')) && end != path;) {
		*end = '\0';
		__attribute__((cleanup(cleanup_object))) xmlXPathObject *found =
			evaluate(ctx, path);
		if (first_of(found))
			return first_of(found);
	}
	return NULL;
}

static int check_required(xmlXPathContext *ctx, struct domain_finding finding,
			  domain_finding_fn *fn, void *arg)
{
	__attribute__((cleanup(cleanup_object))) xmlXPathObject *found =
		evaluate(ctx, finding.rule->xpath);
	if (!found)
		return ERR_LIMIT;
	if (xmlXPathCastToBoolean(found))
		return 0;
	__attribute__((cleanup(cleanup_object))) xmlXPathObject *place =
		evaluate(ctx, finding.rule->place);
	if (!place || place->type != XPATH_NODESET)
		return ERR_LIMIT;
	finding.node = first_of(place);
	finding.near = finding.node ? finding.node : nearest(ctx, finding.rule->place);
	return fn(&finding, arg);
}

int domain_rules_check(xmlDoc *doc, const struct protector_facts *facts, domain_finding_fn *fn,
		       void *arg, struct fault *f)
{
	__attribute__((cleanup(cleanup_context))) xmlXPathContext *ctx = new_context(doc, facts);
	if (!ctx)
		return fault_set(f, -ENOMEM, "not enough memory to check the domain");
	for (size_t i = 0; i < sizeof(RULES) / sizeof(RULES[0]); i++) {
		struct domain_finding finding = { .rule = &RULES[i],
						  .verdict = verdict_of(&RULES[i], facts) };
		if (finding.verdict == VERDICT_OK)
			continue;
		int rc = RULES[i].kind == RULE_FORBIDS ? check_forbidden(ctx, finding, fn, arg)
						       : check_required(ctx, finding, fn, arg);
		if (rc == ERR_LIMIT)
			return fault_set(f, rc, "%s: the domain is too large to check",
					 RULES[i].id);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void domain_finding_element(const struct domain_finding *finding, char *name, size_t size)
{
	/* A requirement may have no element at all: its last path step then says what is missing.
	 */
	const char *step = finding->node ? (const char *)finding->node->name
					 : strrchr(finding->rule->place, '/') + 1;
	size_t n = strcspn(step, "[");
	if (n >= size) {
		n = size - 1;
		/* No half of a UTF-8 character. */
		while (n > 0 && ((unsigned char)step[n] & 0xc0) == 0x80)
			n--;
	}
	snprintf(name, size, "%.*s", (int)n, step);
}

void domain_finding_text(const struct domain_finding *finding, char *text, size_t size)
{
	const struct domain_rule *rule = finding->rule;
	char name[DOMAIN_ELEMENT_MAX], place[128], owner[128] = "";
	domain_finding_element(finding, name, sizeof(name));
	if (finding->node)
		snprintf(place, sizeof(place), "<%s> at line %ld", name,
			 xmlGetLineNo(finding->node));
	else
		snprintf(place, sizeof(place), "no <%s>", name);
	const char *todo = rule->todo;
	if (finding->verdict == VERDICT_OWNER)
		snprintf(owner, sizeof(owner), "; or its owner allows it (--allow %s)", rule->id);
	else if (finding->verdict == VERDICT_NOTICE && rule->at_supported == VERDICT_OWNER)
		todo = "its owner allows it";
	snprintf(text, size, "%s: %s: %s; %s%s", rule->id, place, rule->reason, todo, owner);
}
