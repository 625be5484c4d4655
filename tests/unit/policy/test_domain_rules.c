/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/paths.h"
#include "libvirt/shield.h"

#define UUID   "11111111-2222-4333-8444-555555555555"
#define HEAD   "<domain type='kvm' xmlns:qemu='" QEMU_NAMESPACE "'>"
#define MEMORY "<memory>1</memory>"
#define TYPE   "<type arch='x86_64' machine='pc-q35-7.2'>hvm</type>"
#define LOADER                                                                                     \
	"<loader readonly='yes' secure='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.ms.fd"     \
	"</loader>"
#define NVRAM	 "<nvram template='/usr/share/OVMF/OVMF_VARS_4M.ms.fd'>/var/x.fd</nvram>"
#define OS_END	 "</os>"
#define SMM	 "<smm state='on'/>"
#define EMULATOR "<emulator>" PATH_LAUNCH "</emulator>"
#define TPM                                                                                        \
	"<tpm model='tpm-crb'><backend type='external'><source type='unix' mode='connect' "        \
	"path='" PATH_RUN "/" UUID "/vtpm.sock'/></backend></tpm>"
#define DEVICES_END "</devices>"
#define END	    "</domain>"
#define GOOD                                                                                       \
	HEAD "\n<name>x</name><uuid>" UUID "</uuid>" MEMORY "<os>" TYPE LOADER NVRAM OS_END        \
	     "<features><acpi/>" SMM "</features><devices>" EMULATOR TPM                           \
	     "<interface type='user'/><memballoon model='virtio'/><audio id='1' type='none'/>"     \
	     "<input type='mouse' bus='ps2'/><rng><backend model='random'>/dev/urandom</backend>"  \
	     "</rng>" DEVICES_END END

#define PASS	0
#define NOTE	'n'
#define ALLOWED 'o' /* refused, but the owner may allow it */
#define REFUSED 'r'

/* In GOOD, FROM becomes TO; the rule then says so at encryption-supported and at shielded. */
static const struct row {
	const char *rule;
	char supported, shielded;
	const char *from, *to;
} ROWS[] = {
	{ "domain.type", REFUSED, REFUSED, "type='kvm'", "type='xen'" },
	{ "domain.type", REFUSED, REFUSED, "arch='x86_64'", "arch='aarch64'" },
	{ "domain.type", REFUSED, REFUSED, ">hvm<", ">exe<" },
	{ "domain.uuid", REFUSED, REFUSED, "<uuid>1", "<uuid>2" },
	{ "domain.uuid", REFUSED, REFUSED, "<uuid>" UUID "</uuid>", "" },
	{ "domain.uuid", REFUSED, REFUSED, "</uuid>", "</uuid><uuid>" UUID "</uuid>" },
	{ "domain.emulator", REFUSED, REFUSED, EMULATOR,
	  "<emulator>/usr/bin/qemu-system-x86_64</emulator>" },
	{ "domain.emulator", REFUSED, REFUSED, EMULATOR, "" },
	{ "domain.emulator", REFUSED, REFUSED, EMULATOR, "<emulator>/x</emulator>" EMULATOR },
	{ "domain.machine", REFUSED, REFUSED, "pc-q35-7.2", "pc-i440fx-7.2" },
	{ "domain.machine", REFUSED, REFUSED, " machine='pc-q35-7.2'", "" },
	{ "tpm.backend", REFUSED, REFUSED, TPM, "" },
	{ "tpm.backend", REFUSED, REFUSED, TPM, TPM TPM },
	{ "tpm.backend", REFUSED, REFUSED, "type='external'", "type='emulator'" },
	{ "tpm.backend", REFUSED, REFUSED, "vtpm.sock", "other.sock" },
	{ "tpm.backend", REFUSED, REFUSED, "mode='connect'", "mode='bind'" },
	{ "tpm.backend", REFUSED, REFUSED, "tpm-crb", "tpm-spapr" },
	{ "boot.loader", REFUSED, REFUSED, LOADER, "" },
	{ "boot.loader", REFUSED, REFUSED, "secure='yes'", "secure='no'" },
	{ "boot.loader", REFUSED, REFUSED, "readonly='yes'", "readonly='no'" },
	{ "boot.loader", REFUSED, REFUSED, "'pflash'", "'rom'" },
	{ "boot.loader", REFUSED, REFUSED, "/usr/share/OVMF/OVMF_CODE", "/tmp/OVMF_CODE" },
	{ "boot.loader", REFUSED, REFUSED, "/usr/share/OVMF/OVMF_CODE",
	  "/usr/share/OVMF/../../../tmp/OVMF_CODE" },
	/* Distribution's files that are no firmware, or one that measures and enforces nothing. */
	{ "boot.loader", REFUSED, REFUSED, "/usr/share/OVMF/OVMF_CODE_4M.ms.fd",
	  "/usr/share/OVMF/OVMF_CODE_4M.fd" },
	{ "boot.loader", REFUSED, REFUSED, "/usr/share/OVMF/OVMF_CODE_4M.ms.fd",
	  "/usr/share/qemu/bios-microvm.bin" },
	{ "boot.loader", REFUSED, REFUSED, "/usr/share/OVMF/OVMF_CODE_4M.ms.fd",
	  "/usr/share/qemu/OVMF.fd" },
	{ "boot.loader", PASS, PASS, "/usr/share/OVMF/OVMF_CODE_4M.ms.fd",
	  "/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd" },
	{ "boot.loader", PASS, PASS, "/usr/share/OVMF/OVMF_CODE_4M.ms.fd",
	  "/usr/share/qemu/edk2-x86_64-secure-code.fd" },
	{ "domain.unknown", REFUSED, REFUSED, DEVICES_END, "<someday/></devices>" },
	{ "domain.unknown", REFUSED, REFUSED, END, "<someday/>" END },
	{ "domain.unknown", REFUSED, REFUSED, OS_END, "<init>/bin/sh</init>" OS_END },
	{ "domain.unknown", REFUSED, REFUSED, DEVICES_END,
	  "<x:serial xmlns:x='urn:x' type='pty'/></devices>" },
	{ "domain.unknown", PASS, PASS, END,
	  "<metadata><x xmlns='urn:x'/></metadata><genid/><vcpu>1</vcpu><clock/><pm/>" END },
	{ "boot.smm", REFUSED, REFUSED, SMM, "" },
	{ "boot.smm", REFUSED, REFUSED, SMM, "<smm state='off'/>" },
	{ "boot.nvram", REFUSED, REFUSED, NVRAM, "" },
	{ "boot.nvram", REFUSED, REFUSED, NVRAM, "<nvram>/var/x.fd</nvram>" },
	{ "boot.nvram", REFUSED, REFUSED, "='/usr/share/OVMF", "='/tmp" },
	{ "boot.nvram", REFUSED, REFUSED, "<nvram ", "<nvram type='network' " },
	{ "boot.nvram", REFUSED, REFUSED, NVRAM, NVRAM NVRAM },
	{ "boot.setting", REFUSED, REFUSED, OS_END,
	  "<firmware><feature enabled='no' name='secure-boot'/></firmware>" OS_END },
	{ "boot.varstore", REFUSED, REFUSED, OS_END, "<varstore path='/x'/>" OS_END },
	{ "boot.keys", NOTE, NOTE, "VARS_4M.ms.fd", "VARS_4M.fd" },
	{ "boot.test-keys", NOTE, NOTE, "VARS_4M.ms.fd", "VARS_4M.snakeoil.fd" },
	{ "boot.kernel", REFUSED, REFUSED, OS_END, "<kernel>/boot/vmlinuz</kernel>" OS_END },
	{ "boot.kernel", REFUSED, REFUSED, OS_END, "<initrd>/boot/initrd</initrd>" OS_END },
	{ "boot.kernel", REFUSED, REFUSED, OS_END, "<cmdline>init=/bin/sh</cmdline>" OS_END },
	{ "boot.rom", REFUSED, REFUSED, "<interface type='user'/>",
	  "<interface type='user'><rom file='/tmp/evil.rom'/></interface>" },
	{ "boot.rom", PASS, PASS, "<interface type='user'/>",
	  "<interface type='user'><rom enabled='no'/></interface>" },
	{ "boot.acpi-table", ALLOWED, REFUSED, OS_END,
	  "<acpi><table type='slic'>/x</table></acpi>" OS_END },
	{ "boot.serial", ALLOWED, REFUSED, OS_END, "<bios useserial='yes'/>" OS_END },
	{ "boot.sysinfo", REFUSED, REFUSED, END, "<sysinfo type='fwcfg'/>" END },
	{ "boot.oem-strings", ALLOWED, REFUSED, END,
	  "<sysinfo type='smbios'><oemStrings><entry>x</entry></oemStrings></sysinfo>" END },
	{ "boot.smbios", PASS, NOTE, END, "<sysinfo type='smbios'/>" END },
	{ "console.graphics", ALLOWED, REFUSED, DEVICES_END, "<graphics type='vnc'/></devices>" },
	{ "console.serial", ALLOWED, REFUSED, DEVICES_END, "<serial type='pty'/></devices>" },
	{ "console.console", ALLOWED, REFUSED, DEVICES_END, "<console type='pty'/></devices>" },
	{ "console.parallel", ALLOWED, REFUSED, DEVICES_END, "<parallel type='pty'/></devices>" },
	{ "console.input", ALLOWED, REFUSED, DEVICES_END, "<input type='evdev'/></devices>" },
	{ "console.input", ALLOWED, REFUSED, DEVICES_END, "<input type='passthrough'/></devices>" },
	{ "console.sound", PASS, REFUSED, DEVICES_END, "<sound model='ich9'/></devices>" },
	{ "console.sound", PASS, REFUSED, DEVICES_END, "<audio id='2' type='file'/></devices>" },
	{ "console.video", PASS, PASS, DEVICES_END, "<video/></devices>" },
	{ "agent.channel", ALLOWED, REFUSED, DEVICES_END,
	  "<channel type='unix'><target name='org.qemu.guest_agent.0'/></channel></devices>" },
	{ "channel.spice", ALLOWED, REFUSED, DEVICES_END, "<channel type='spicevmc'/></devices>" },
	{ "channel.other", ALLOWED, REFUSED, DEVICES_END,
	  "<channel type='unix'><target name='x'/></channel></devices>" },
	{ "channel.vsock", ALLOWED, REFUSED, DEVICES_END, "<vsock/></devices>" },
	{ "device.filesystem", ALLOWED, REFUSED, DEVICES_END, "<filesystem/></devices>" },
	{ "device.redirdev", ALLOWED, REFUSED, DEVICES_END, "<redirdev/></devices>" },
	{ "device.smartcard", ALLOWED, REFUSED, DEVICES_END, "<smartcard/></devices>" },
	{ "device.hostdev", ALLOWED, REFUSED, DEVICES_END, "<hostdev/></devices>" },
	{ "device.hostdev", ALLOWED, REFUSED, DEVICES_END,
	  "<interface type='hostdev'/></devices>" },
	{ "device.hostdev", ALLOWED, REFUSED, DEVICES_END, "<disk type='nvme'/></devices>" },
	{ "device.vhost-user", ALLOWED, REFUSED, DEVICES_END,
	  "<interface type='vhostuser'/></devices>" },
	{ "device.vhost-user", ALLOWED, REFUSED, DEVICES_END,
	  "<disk type='vhostuser' device='cdrom'/></devices>" },
	{ "device.vhost-user", ALLOWED, REFUSED, DEVICES_END,
	  "<disk type='vhostvdpa'/></devices>" },
	{ "device.vhost-user", ALLOWED, REFUSED, DEVICES_END,
	  "<interface type='vdpa'/></devices>" },
	{ "device.vhost-user", ALLOWED, REFUSED, DEVICES_END,
	  "<video><driver name='vhostuser'/></video></devices>" },
	{ "device.rng", PASS, REFUSED, DEVICES_END,
	  "<rng><backend model='egd' type='udp'/></rng></devices>" },
	{ "device.rng", PASS, REFUSED, "/dev/urandom", "/tmp/known" },
	{ "memory.shmem", REFUSED, REFUSED, DEVICES_END, "<shmem name='x'/></devices>" },
	{ "memory.shared", ALLOWED, REFUSED, END,
	  "<memoryBacking><access mode='shared'/></memoryBacking>" END },
	{ "memory.shared", ALLOWED, REFUSED, END,
	  "<memoryBacking><source type='file'/></memoryBacking>" END },
	{ "memory.shared", ALLOWED, REFUSED, END,
	  "<memoryBacking><source type='memfd'/></memoryBacking>" END },
	{ "domain.unknown", PASS, PASS, END,
	  "<memoryBacking><source type='memfd'/><access mode='private'/></memoryBacking>" END },
	{ "memory.shared", ALLOWED, REFUSED, END,
	  "<cpu><numa><cell id='0' memAccess='shared'/></numa></cpu>" END },
	{ "memory.hugepages", ALLOWED, REFUSED, END,
	  "<memoryBacking><hugepages/></memoryBacking>" END },
	{ "memory.shared", ALLOWED, REFUSED, DEVICES_END,
	  "<memory model='dimm' access='shared'/></devices>" },
	{ "memory.hugepages", ALLOWED, REFUSED, DEVICES_END,
	  "<memory model='dimm'><source><pagesize>2048</pagesize></source></memory></devices>" },
	{ "memory.nvdimm", ALLOWED, REFUSED, DEVICES_END, "<memory model='nvdimm'/></devices>" },
	/* libvirt itself makes it shared: no second rule to allow. */
	{ "memory.nvdimm", ALLOWED, REFUSED, DEVICES_END,
	  "<memory model='virtio-pmem' access='shared'/></devices>" },
	{ "memory.core", REFUSED, REFUSED, "<memory>", "<memory dumpCore='on'>" },
	{ "memory.launch-security", PASS, NOTE, END, "<launchSecurity type='sev'/>" END },
	{ "crash.dump", REFUSED, REFUSED, END, "<on_crash>coredump-destroy</on_crash>" END },
	{ "crash.watchdog", REFUSED, REFUSED, DEVICES_END, "<watchdog action='dump'/></devices>" },
	{ "crash.panic", PASS, NOTE, DEVICES_END, "<panic model='isa'/></devices>" },
	{ "crash.pstore", ALLOWED, REFUSED, DEVICES_END, "<pstore/></devices>" },
	{ "disk.media", PASS, NOTE, DEVICES_END,
	  "<disk type='file' device='cdrom'><source file='/x'/></disk></devices>" },
	{ "disk.media", PASS, PASS, DEVICES_END, "<disk type='file' device='cdrom'/></devices>" },
	{ "disk.plain", PASS, NOTE, DEVICES_END, "<disk type='file'/></devices>" },
	{ "disk.transient", ALLOWED, REFUSED, DEVICES_END, "<disk><transient/></disk></devices>" },
	{ "disk.fdgroup", ALLOWED, REFUSED, DEVICES_END,
	  "<disk><source fdgroup='x'/></disk></devices>" },
	{ "qemu.commandline", REFUSED, REFUSED, END, "<qemu:commandline/>" END },
	{ "qemu.commandline", REFUSED, REFUSED, END,
	  "<commandline xmlns='" QEMU_NAMESPACE "'/>" END },
	{ "qemu.override", REFUSED, REFUSED, END, "<qemu:override/>" END },
	{ "qemu.override", REFUSED, REFUSED, END, "<qemu:capabilities/>" END },
	{ "qemu.override", REFUSED, REFUSED, END, "<qemu:new/>" END },
	{ "host.confinement", REFUSED, REFUSED, END, "<seclabel type='none'/>" END },
	{ "host.confinement", REFUSED, REFUSED, END,
	  "<seclabel type='static' model='dac'><label>root:root</label></seclabel>" END },
	{ "host.confinement", REFUSED, REFUSED, END,
	  "<seclabel type='dynamic' model='selinux'><baselabel>x</baselabel></seclabel>" END },
	{ "host.confinement", PASS, PASS, END,
	  "<seclabel type='dynamic' model='dac' "
	  "relabel='yes'><label>+64055</label></seclabel>" END },
	{ "device.interface", PASS, PASS, DEVICES_END, "<interface type='bridge'/></devices>" },
	{ "device.plain", PASS, PASS, DEVICES_END, "<controller type='usb'/></devices>" },
	{ "domain.tuning", PASS, PASS, END, "<iothreads>1</iothreads>" END },
};
#define N_ROWS (sizeof(ROWS) / sizeof(ROWS[0]))

static struct domain *parse_changed(const char *from, const char *to)
{
	static const char good[] = GOOD;
	char text[8192];
	const char *at = strstr(good, from);
	assert_non_null(at);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
	struct domain *d = NULL;
	struct fault f = { 0 };
	if (domain_parse(text, strlen(text), &d, &f) < 0)
		fail_msg("%s", f.text);
	return d;
}

static struct protector_facts facts_at(enum shield_level level)
{
	struct protector_facts facts = { .level = level };
	assert_int_equal(uuid_parse(UUID, facts.vm), 0);
	return facts;
}

struct result {
	const char *rule; /* the one looked at; NULL: any */
	char verdict;
	char text[FAULT_TEXT_MAX];
};

static int note(const struct domain_finding *finding, void *arg)
{
	struct result *r = arg;
	if (r->rule && strcmp(r->rule, finding->rule->id) != 0)
		return 0;
	r->verdict = finding->verdict == VERDICT_NOTICE	 ? NOTE
		     : finding->verdict == VERDICT_OWNER ? ALLOWED
							 : REFUSED;
	domain_finding_text(finding, r->text, sizeof(r->text));
	return 0;
}

static struct result check(const struct domain *d, const struct protector_facts *facts,
			   const char *rule)
{
	struct result r = { .rule = rule };
	struct fault f = { 0 };
	if (domain_check_each(d, facts, note, &r, &f) < 0)
		fail_msg("%s", f.text);
	return r;
}

static void test_a_good_domain_meets_no_rule(void **state)
{
	(void)state;
	struct domain *d = parse_changed("", "");
	for (int level = LEVEL_ENCRYPTION_SUPPORTED; level <= LEVEL_SHIELDED; level++) {
		struct protector_facts facts = facts_at((enum shield_level)level);
		struct result r = check(d, &facts, NULL);
		assert_string_equal(r.text, "");
		assert_int_equal(domain_check(d, &facts, NULL), 0);
	}
	domain_free(d);
}

static void test_every_row_at_both_levels(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ROWS; i++) {
		const struct row *row = &ROWS[i];
		struct domain *d = parse_changed(row->from, row->to);
		for (int shielded = 0; shielded < 2; shielded++) {
			char want = shielded ? row->shielded : row->supported;
			struct protector_facts facts =
				facts_at(shielded ? LEVEL_SHIELDED : LEVEL_ENCRYPTION_SUPPORTED);
			struct result r = check(d, &facts, row->rule);
			if (r.verdict != want)
				fail_msg("row %zu, %s at level %d: wanted '%c', got '%c' (%s)", i,
					 row->rule, shielded + 1, want, r.verdict, r.text);
			struct fault f = { 0 };
			int rc = domain_check(d, &facts, &f);
			assert_int_equal(rc, want == REFUSED || want == ALLOWED ? ERR_POLICY : 0);
		}
		domain_free(d);
	}
}

static void test_the_owner_may_allow_at_the_lower_level_only(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ROWS; i++) {
		struct domain *d = parse_changed(ROWS[i].from, ROWS[i].to);
		struct protector_facts facts = facts_at(LEVEL_ENCRYPTION_SUPPORTED);
		facts.n_allow = 2;
		snprintf(facts.allow[0], PROTECTOR_RULE_MAX, "no.such");
		snprintf(facts.allow[1], PROTECTOR_RULE_MAX, "%s", ROWS[i].rule);
		struct result r = check(d, &facts, ROWS[i].rule);
		assert_int_equal(domain_rule_allowable(ROWS[i].rule), ROWS[i].supported == ALLOWED);
		assert_int_equal(r.verdict,
				 ROWS[i].supported == ALLOWED ? NOTE : ROWS[i].supported);
		struct fault f = { 0 };
		if (ROWS[i].supported == ALLOWED && domain_check(d, &facts, &f) < 0)
			fail_msg("row %zu: allowing %s is not enough: %s", i, ROWS[i].rule, f.text);
		facts.level = LEVEL_SHIELDED;
		r = check(d, &facts, ROWS[i].rule);
		assert_int_equal(r.verdict, ROWS[i].shielded);
		domain_free(d);
	}
	assert_false(domain_rule_allowable("no.such"));
}

static void test_every_rule_has_a_row_here_and_says_something(void **state)
{
	(void)state;
	size_t n;
	const struct domain_rule *rules = domain_rules(&n);
	for (size_t i = 0; i < n; i++) {
		int tested = 0;
		for (size_t k = 0; k < N_ROWS; k++)
			tested |= strcmp(ROWS[k].rule, rules[i].id) == 0;
		if (!tested)
			fail_msg("rule %s has no row in this test", rules[i].id);
		assert_non_null(strchr(rules[i].id, '.'));
		assert_true(strlen(rules[i].id) < PROTECTOR_RULE_MAX);
		assert_true(strlen(rules[i].reason) > 10);
		assert_true(rules[i].at_shielded != VERDICT_OWNER);
		assert_true(rules[i].at_shielded >= rules[i].at_supported);
	}
}

static void test_the_manual_and_the_completion_name_every_rule_an_owner_may_allow(void **state)
{
	(void)state;
	static const char *const FILES[] = { "docs/man/shieldvm.1", "cli/shieldvm.bash" };
	size_t n;
	const struct domain_rule *rules = domain_rules(&n);
	for (size_t k = 0; k < sizeof(FILES) / sizeof(FILES[0]); k++) {
		CLEANUP_BUF struct buf text = BUF_INIT(1 << 20);
		char path[512];
		struct fault f = { 0 };
		assert_non_null(getenv("SOURCE_ROOT"));
		snprintf(path, sizeof(path), "%s/%s", getenv("SOURCE_ROOT"), FILES[k]);
		if (fd_read_file(AT_FDCWD, path, &text, &f) < 0)
			fail_msg("%s", f.text);
		for (size_t i = 0; i < n; i++) {
			if (domain_rule_allowable(rules[i].id) &&
			    !strstr(buf_cstr(&text), rules[i].id))
				fail_msg("%s does not name %s", FILES[k], rules[i].id);
		}
	}
}

static void test_the_sentence_names_rule_element_line_reason_and_remedy(void **state)
{
	(void)state;
	struct fault f = { 0 };
	struct protector_facts facts = facts_at(LEVEL_SHIELDED);
	struct domain *d = parse_changed(DEVICES_END, "\n<serial type='pty'/></devices>");
	assert_int_equal(domain_check(d, &facts, &f), ERR_POLICY);
	assert_string_equal(f.text,
			    "console.serial: <serial> at line 3: a serial line, often with a login"
			    " on it: it gives the host's administrators a way into the guest;"
			    " remove it, or shield with --strip");
	facts.level = LEVEL_ENCRYPTION_SUPPORTED;
	f = (struct fault){ 0 };
	assert_int_equal(domain_check(d, &facts, &f), ERR_POLICY);
	assert_non_null(strstr(f.text, "; or its owner allows it (--allow console.serial)"));
	facts.n_allow = 1;
	snprintf(facts.allow[0], PROTECTOR_RULE_MAX, "console.serial");
	assert_non_null(strstr(check(d, &facts, "console.serial").text, "; its owner allows it"));
	domain_free(d);

	d = parse_changed(EMULATOR, "");
	f = (struct fault){ 0 };
	assert_int_equal(domain_check(d, &facts, &f), ERR_POLICY);
	assert_string_equal(f.text, "domain.emulator: no <emulator>: QEMU has to be started"
				    " by " PATH_LAUNCH "; put it in as the <emulator>");
	domain_free(d);
}

struct refused_row {
	const struct domain_rule *row;
	int seen;
};

static int is_refused(const struct domain_finding *finding, void *arg)
{
	struct refused_row *r = arg;
	if (VERDICT_REFUSES(finding->verdict) && (!r->row || r->row == finding->rule)) {
		r->row = finding->rule;
		r->seen = 1;
	}
	return 0;
}

/* The first row that refuses D, or ROW if that refuses it and is not NULL. */
static const struct domain_rule *refused_by(const struct domain *d, enum shield_level level,
					    const struct domain_rule *row)
{
	struct protector_facts facts = facts_at(level);
	struct refused_row r = { .row = row };
	struct fault f = { 0 };
	if (domain_check_each(d, &facts, is_refused, &r, &f) < 0)
		fail_msg("%s", f.text);
	return r.seen ? r.row : NULL;
}

static void ignore_change(const char *text, void *arg)
{
	(void)text;
	(void)arg;
}

/* 1 if FROM as TO is no more refused by ROW after shielding. */
static int shielding_helps(const struct row *change, enum shield_level level, int strip,
			   const struct domain_rule *row)
{
	struct domain *d = parse_changed(change->from, change->to);
	struct protector_facts facts = { .level = level };
	struct fault f = { 0 };
	int rc = shield_domain(d, &facts, strip, ignore_change, NULL, &f);
	int helps = rc >= 0 && !refused_by(d, level, row);
	domain_free(d);
	return helps;
}

/* What `shieldvm lint` promises of shielding is what shielding does. */
static void test_every_remedy_is_one(void **state)
{
	(void)state;
	int seen[3] = { 0 };
	for (size_t i = 0; i < N_ROWS; i++) {
		for (int shielded = 0; shielded < 2; shielded++) {
			enum shield_level level =
				shielded ? LEVEL_SHIELDED : LEVEL_ENCRYPTION_SUPPORTED;
			struct domain *d = parse_changed(ROWS[i].from, ROWS[i].to);
			const struct domain_rule *row = refused_by(d, level, NULL);
			domain_free(d);
			/* Shielding gives a domain without a UUID one, and it is then right. */
			if (!row || strcmp(ROWS[i].from, "<uuid>1") == 0)
				continue;
			int plain = shielding_helps(&ROWS[i], level, 0, row);
			int strip = shielding_helps(&ROWS[i], level, 1, row);
			if (plain != (row->remedy == REMEDY_SHIELD) ||
			    strip != (row->remedy != REMEDY_HAND))
				fail_msg("row %zu, %s: remedy %d, but shielding helps %d, with"
					 " --strip %d",
					 i, row->id, row->remedy, plain, strip);
			seen[row->remedy]++;
		}
	}
	assert_true(seen[REMEDY_HAND] > 10 && seen[REMEDY_SHIELD] > 10 && seen[REMEDY_STRIP] > 10);
}

static void test_the_element_is_named_and_located(void **state)
{
	(void)state;
	struct protector_facts facts = facts_at(LEVEL_SHIELDED);
	struct domain_finding finding = { 0 };
	char name[DOMAIN_ELEMENT_MAX];
	size_t n;
	xmlNode node = { 0 };
	/* Cut before the character that does not fit. */
	char longest[DOMAIN_ELEMENT_MAX + 8] = "x";
	while (strlen(longest) < DOMAIN_ELEMENT_MAX + 4)
		snprintf(longest + strlen(longest), 3, "\xc3\xa4");
	node.name = (const xmlChar *)longest;
	finding.node = &node;
	domain_finding_element(&finding, name, sizeof(name));
	assert_int_equal(strlen(name), DOMAIN_ELEMENT_MAX - 2);
	assert_memory_equal(name, longest, strlen(name));
	finding.node = NULL;
	finding.rule = domain_rules(&n);
	domain_finding_element(&finding, name, sizeof(name));
	assert_string_equal(name, "type");

	struct domain *d = parse_changed("<uuid>" UUID "</uuid>", "");
	assert_non_null(strstr(check(d, &facts, "domain.uuid").text, "domain.uuid: no <uuid>: "));
	domain_free(d);
	d = parse_changed("</uuid>", "</uuid><uuid>" UUID "</uuid>");
	assert_non_null(strstr(check(d, &facts, "domain.uuid").text, "<uuid> at line 2: "));
	domain_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_remedy_is_one),
		cmocka_unit_test(test_the_element_is_named_and_located),
		cmocka_unit_test(test_a_good_domain_meets_no_rule),
		cmocka_unit_test(test_every_row_at_both_levels),
		cmocka_unit_test(test_the_owner_may_allow_at_the_lower_level_only),
		cmocka_unit_test(test_every_rule_has_a_row_here_and_says_something),
		cmocka_unit_test(
			test_the_manual_and_the_completion_name_every_rule_an_owner_may_allow),
		cmocka_unit_test(test_the_sentence_names_rule_element_line_reason_and_remedy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
