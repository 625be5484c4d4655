/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <stdio.h>
#include <string.h>

#include "base/paths.h"
#include "libvirt/shield.h"

#define UUID   "11111111-2222-4333-8444-555555555555"
#define LOADER "/usr/share/OVMF/OVMF_CODE_4M.ms.fd"
#define VARS   "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"

/* As virt-install leaves it, with every console there is. */
static const char PLAIN[] =
	"<domain type='kvm'>\n"
	"  <name>vm</name>\n"
	"  <uuid>" UUID "</uuid>\n"
	"  <!-- kept -->\n"
	"  <memory unit='MiB'>512</memory>\n"
	"  <os firmware='efi'>\n"
	"    <type arch='x86_64' machine='q35'>hvm</type>\n"
	"    <firmware><feature enabled='no' name='secure-boot'/></firmware>\n"
	"    <boot dev='hd'/>\n"
	"  </os>\n"
	"  <features>\n    <acpi/>\n  </features>\n"
	"  <devices>\n"
	"    <emulator>/usr/bin/qemu-system-x86_64</emulator>\n"
	"    <disk type='file' device='disk'><target dev='vda'/></disk>\n"
	"    <tpm model='tpm-tis'>\n      <backend type='emulator' version='2.0'/>\n    </tpm>\n"
	"    <serial type='pty'/>\n"
	"    <console type='pty'/>\n"
	"    <channel type='unix'><target name='org.qemu.guest_agent.0'/></channel>\n"
	"    <channel type='spicevmc'><target name='com.redhat.spice.0'/></channel>\n"
	"    <graphics type='spice'/>\n"
	"    <audio id='1' type='spice'/>\n"
	"    <sound model='ich9'/>\n"
	"    <video><model type='qxl' ram='65536'/></video>\n"
	"    <redirdev bus='usb' type='spicevmc'/>\n"
	"  </devices>\n"
	"</domain>\n";

static char changes[8192];

static void note_change(const char *text, void *arg)
{
	(void)arg;
	size_t n = strlen(changes);
	snprintf(changes + n, sizeof(changes) - n, "%s\n", text);
}

static struct domain *parse(const char *xml)
{
	struct domain *d = NULL;
	struct fault f = { 0 };
	if (domain_parse(xml, strlen(xml), &d, &f) < 0)
		fail_msg("%s", f.text);
	changes[0] = '\0';
	return d;
}

/* PLAIN with FROM replaced by TO. */
static struct domain *parse_changed(const char *from, const char *to)
{
	char text[8192];
	const char *at = strstr(PLAIN, from);
	assert_non_null(at);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - PLAIN), PLAIN, to, at + strlen(from));
	return parse(text);
}

static void test_a_stripped_domain_passes_the_policy(void **state)
{
	(void)state;
	struct domain *d = parse(PLAIN);
	struct protector_facts facts = { .level = LEVEL_SHIELDED };
	struct fault f = { 0 };
	CLEANUP_BUF struct buf out = BUF_INIT(DOMAIN_XML_MAX);
	if (shield_domain(d, &facts, 1, note_change, NULL, &f) < 0)
		fail_msg("%s", f.text);
	if (domain_check(d, &facts, &f) < 0)
		fail_msg("%s", f.text);
	assert_int_equal(facts.vm[0], 0x11);
	assert_int_equal(domain_text(d, &out), 0);
	assert_string_equal(buf_cstr(&out),
			    "<domain type=\"kvm\">\n"
			    "  <name>vm</name>\n"
			    "  <uuid>" UUID "</uuid>\n"
			    "  <!-- kept -->\n"
			    "  <memory unit=\"MiB\">512</memory>\n"
			    "  <os>\n"
			    "    <type arch=\"x86_64\" machine=\"q35\">hvm</type>\n"
			    "    <boot dev=\"hd\"/>\n"
			    "    <loader readonly=\"yes\" secure=\"yes\" type=\"pflash\">" LOADER
			    "</loader>\n"
			    "    <nvram template=\"" VARS "\"/>\n"
			    "  </os>\n"
			    "  <features>\n    <acpi/>\n    <smm state=\"on\"/>\n  </features>\n"
			    "  <devices>\n"
			    "    <emulator>" PATH_LAUNCH "</emulator>\n"
			    "    <disk type=\"file\" device=\"disk\"><target dev=\"vda\"/></disk>\n"
			    "    <tpm model=\"tpm-tis\">\n"
			    "      <backend type=\"external\">\n"
			    "        <source type=\"unix\" mode=\"connect\" path=\"" PATH_RUN
			    "/" UUID "/vtpm.sock\"/>\n"
			    "      </backend>\n"
			    "    </tpm>\n"
			    "    <video><model type=\"virtio\"/></video>\n"
			    "  </devices>\n"
			    "</domain>\n");
	static const char *const SAID[] = {
		"emulator: ",
		"firmware: named outright",
		"loader: " LOADER,
		"nvram: from the template " VARS,
		"smm: on",
		"tpm: tpm-tis, the VM's own worker (a new TPM",
		"removed: <serial> at line 20 (console.serial)",
		"removed: <console> at line 21 (console.console)",
		"removed: <graphics> at line 24 (console.graphics)",
		"(agent.channel)",
		"(channel.spice)",
		"removed: <audio>",
		"removed: <redirdev>",
		"video: virtio instead of qxl",
	};
	for (size_t i = 0; i < sizeof(SAID) / sizeof(SAID[0]); i++) {
		if (!strstr(changes, SAID[i]))
			fail_msg("not said: %s\n%s", SAID[i], changes);
	}
	domain_free(d);
}

static int count_refusals(const struct domain_finding *finding, void *arg)
{
	*(int *)arg += VERDICT_REFUSES(finding->verdict);
	return 0;
}

static void test_without_strip_nothing_is_taken_out(void **state)
{
	(void)state;
	struct domain *d = parse(PLAIN);
	struct protector_facts facts = { .level = LEVEL_SHIELDED };
	struct fault f = { 0 };
	int refusals = 0;
	assert_int_equal(shield_domain(d, &facts, 0, note_change, NULL, &f), 0);
	assert_null(strstr(changes, "removed"));
	assert_int_equal(domain_check_each(d, &facts, count_refusals, &refusals, &f), 0);
	assert_int_equal(refusals, 8);
	domain_free(d);
}

static void test_strip_leaves_what_the_owner_allows(void **state)
{
	(void)state;
	struct domain *d = parse(PLAIN);
	struct protector_facts facts = { .level = LEVEL_ENCRYPTION_SUPPORTED, .n_allow = 1 };
	struct fault f = { 0 };
	snprintf(facts.allow[0], PROTECTOR_RULE_MAX, "console.graphics");
	assert_int_equal(shield_domain(d, &facts, 1, note_change, NULL, &f), 0);
	assert_int_equal(domain_check(d, &facts, &f), 0);
	assert_null(strstr(changes, "<graphics>"));
	assert_null(strstr(changes, "video:"));
	assert_null(strstr(changes, "<sound>"));
	assert_non_null(strstr(changes, "removed: <serial>"));
	domain_free(d);
}

static void test_a_missing_uuid_is_made(void **state)
{
	(void)state;
	uint8_t uuid[UUID_BYTES];
	struct domain *d = parse_changed("<uuid>" UUID "</uuid>", "");
	struct protector_facts facts = { .level = LEVEL_SHIELDED };
	struct fault f = { 0 };
	assert_int_equal(shield_domain(d, &facts, 1, note_change, NULL, &f), 0);
	assert_int_equal(domain_uuid(d, uuid), 0);
	assert_memory_equal(uuid, facts.vm, UUID_BYTES);
	assert_int_equal(uuid[6] & 0xf0, 0x40);
	assert_int_equal(uuid[8] & 0xc0, 0x80);
	assert_int_equal(domain_check(d, &facts, &f), 0);
	assert_non_null(strstr(changes, "uuid: "));
	domain_free(d);
}

static void test_firmware_of_the_owners_choice_is_kept(void **state)
{
	(void)state;
	static const struct {
		const char *os, *loader, *vars; /* what must come out of it */
	} CASES[] = {
		{ "<loader>/usr/share/OVMF/OVMF_CODE_4M.secboot.fd</loader>"
		  "<nvram template='/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd'>/v.fd</nvram>",
		  "type=\"pflash\">/usr/share/OVMF/OVMF_CODE_4M.secboot.fd<",
		  "<nvram template=\"/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd\">/v.fd</nvram>" },
		{ "<loader>/usr/share/OVMF/OVMF_CODE_4M.fd</loader><nvram>/v.fd</nvram>",
		  ">" LOADER "<", "<nvram template=\"" VARS "\">/v.fd</nvram>" },
		{ "<loader>/tmp/mine.secboot.fd</loader><nvram template='/tmp/v'/>", ">" LOADER "<",
		  "<nvram template=\"" VARS "\"/>" },
		{ "<nvram template='/usr/share/OVMF/OVMF_VARS.ms.fd'/>", ">" LOADER "<",
		  "<nvram template=\"" VARS "\"/>" },
	};
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		struct domain *d = parse_changed("<boot dev='hd'/>", CASES[i].os);
		struct protector_facts facts = { .level = LEVEL_SHIELDED };
		struct fault f = { 0 };
		CLEANUP_BUF struct buf out = BUF_INIT(DOMAIN_XML_MAX);
		if (shield_domain(d, &facts, 1, note_change, NULL, &f) < 0)
			fail_msg("%s", f.text);
		assert_int_equal(domain_check(d, &facts, &f), 0);
		assert_int_equal(domain_text(d, &out), 0);
		if (!strstr(buf_cstr(&out), CASES[i].loader) ||
		    !strstr(buf_cstr(&out), CASES[i].vars))
			fail_msg("case %zu: %s", i, buf_cstr(&out));
		domain_free(d);
	}
}

static void test_what_cannot_be_shielded_is_refused_with_a_sentence(void **state)
{
	(void)state;
	static const struct {
		const char *from, *to, *sentence;
		int rc;
	} BAD[] = {
		{ "'q35'", "'pc-i440fx-7.2'", "has no SMM", ERR_POLICY },
		{ "'q35'", "'pc'", "has no SMM", ERR_POLICY },
		{ "x86_64", "aarch64", "only x86_64", ERR_POLICY },
		{ "'kvm'", "'lxc'", "only x86_64", ERR_POLICY },
		{ ">hvm<", ">exe<", "only x86_64", ERR_POLICY },
		{ "<uuid>1", "<uuid>x", "<uuid> at line 3: not a UUID", ERR_FORMAT },
		{ "<uuid>1", "<uuid>1111", "<uuid> at line 3: not a UUID", ERR_FORMAT },
		{ "<boot dev='hd'/>", "<nvram type='network'/>", "boot.nvram", ERR_POLICY },
		{ "<!-- kept -->",
		  "<metadata><shield xmlns='" SHIELD_NAMESPACE
		  "'><protector>x</protector></shield></metadata>",
		  "shielded already", ERR_STATE },
	};
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
		struct domain *d = parse_changed(BAD[i].from, BAD[i].to);
		struct protector_facts facts = { .level = LEVEL_SHIELDED };
		struct fault f = { 0 };
		assert_int_equal(shield_domain(d, &facts, 1, note_change, NULL, &f), BAD[i].rc);
		if (!strstr(f.text, BAD[i].sentence))
			fail_msg("%s", f.text);
		domain_free(d);
	}
}

static void test_a_bare_domain_gets_what_it_lacks(void **state)
{
	(void)state;
	struct domain *d = parse("<domain type='qemu'><os><type>hvm</type></os></domain>");
	struct protector_facts facts = { .level = LEVEL_SHIELDED };
	struct fault f = { 0 };
	assert_int_equal(shield_domain(d, &facts, 0, note_change, NULL, &f), 0);
	if (domain_check(d, &facts, &f) < 0)
		fail_msg("%s", f.text);
	domain_free(d);
	d = parse("<domain type='qemu'/>");
	assert_int_equal(shield_domain(d, &facts, 0, note_change, NULL, &f), ERR_POLICY);
	domain_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_stripped_domain_passes_the_policy),
		cmocka_unit_test(test_without_strip_nothing_is_taken_out),
		cmocka_unit_test(test_strip_leaves_what_the_owner_allows),
		cmocka_unit_test(test_a_missing_uuid_is_made),
		cmocka_unit_test(test_firmware_of_the_owners_choice_is_kept),
		cmocka_unit_test(test_what_cannot_be_shielded_is_refused_with_a_sentence),
		cmocka_unit_test(test_a_bare_domain_gets_what_it_lacks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
