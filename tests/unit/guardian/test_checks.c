/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each named check where it holds, where it does not, and where nothing shows it; and what passes
 * for a measured command line.
 */
#include <stdio.h>
#include <string.h>

#include "guardian/checks.h"
#include "tests/unit/guardian/host.h"
#include "tests/unit/test.h"

static enum finding_verdict judge(struct host *h, const char *id, char text[FINDING_TEXT_MAX])
{
	static struct cmdline c;
	int i = checks_find(id);
	const struct measured *m = host_measured(h);
	assert_true(i >= 0);
	cmdline_find(m, &c);
	text[0] = '\0';
	enum finding_verdict v = checks_at((size_t)i)->judge(m, &c, text);
	assert_true(strlen(text) > 0);
	host_done(h);
	return v;
}

static void test_the_table_is_sorted_and_told(void **state)
{
	(void)state;
	for (size_t i = 0; checks_at(i); i++) {
		assert_int_equal(checks_find(checks_at(i)->id), (int)i);
		assert_non_null(finding_meaning(checks_at(i)->id));
		if (i)
			assert_true(strcmp(checks_at(i - 1)->id, checks_at(i)->id) < 0);
	}
	assert_int_equal(checks_find("boot.nothing"), -1);
}

/* What the kernel's command line shows. */
static void test_command_lines(void **state)
{
	static const struct {
		const char *id, *cmdline;
		enum finding_verdict verdict;
	} ROWS[] = {
		{ "kernel.lockdown", "lockdown=integrity", FINDING_OK },
		{ "kernel.lockdown", "lockdown=confidentiality", FINDING_OK },
		{ "kernel.lockdown", "lockdown=none", FINDING_FAILED },
		{ "kernel.lockdown", "lockdown=integrity lockdown=none", FINDING_FAILED },
		{ "kernel.lockdown", "quiet", FINDING_UNKNOWN },
		{ "kernel.lockdown", "-- lockdown=integrity", FINDING_UNKNOWN },
		{ "kernel.lockdown", "x.lockdown=integrity", FINDING_UNKNOWN },
		{ "kernel.lockdown", "a=\"b lockdown=integrity\"", FINDING_UNKNOWN },
		{ "kernel.lockdown", "\"lockdown=integrity\"", FINDING_OK },
		{ "kernel.lockdown", NULL, FINDING_UNKNOWN },
		{ "kernel.module-signatures", "module.sig_enforce=1", FINDING_OK },
		{ "kernel.module-signatures", "module.sig-enforce", FINDING_OK },
		{ "kernel.module-signatures", "lockdown=integrity", FINDING_OK },
		{ "kernel.module-signatures", "module.sig_enforce=0", FINDING_UNKNOWN },
		{ "kernel.module-signatures", NULL, FINDING_UNKNOWN },
		{ "kernel.ima-appraise", "ima_policy=appraise_tcb", FINDING_OK },
		{ "kernel.ima-appraise", "ima_policy=tcb|secure_boot ima_appraise=enforce",
		  FINDING_OK },
		{ "kernel.ima-appraise", "ima_policy=appraise_tcb ima_appraise=fix",
		  FINDING_FAILED },
		{ "kernel.ima-appraise", "ima_policy=tcb", FINDING_UNKNOWN },
		{ "kernel.ima-appraise", NULL, FINDING_UNKNOWN },
		{ "kernel.no-hibernation", "nohibernate resume=/dev/vda3", FINDING_OK },
		{ "kernel.no-hibernation", "hibernate=no", FINDING_OK },
		{ "kernel.no-hibernation", "lockdown=integrity", FINDING_OK },
		{ "kernel.no-hibernation", "resume=/dev/vda3", FINDING_FAILED },
		{ "kernel.no-hibernation", "noresume", FINDING_UNKNOWN },
		{ "kernel.no-hibernation", NULL, FINDING_UNKNOWN },
		{ "kernel.no-kdump", "quiet", FINDING_OK },
		{ "kernel.no-kdump", "crashkernel=256M", FINDING_FAILED },
		{ "kernel.no-kdump", NULL, FINDING_UNKNOWN },
		{ "kernel.no-debugger", "lockdown=confidentiality", FINDING_OK },
		{ "kernel.no-debugger", "lockdown=integrity", FINDING_FAILED },
		{ "kernel.no-debugger", "lockdown=confidentiality kgdboc=ttyS0", FINDING_FAILED },
		{ "kernel.no-debugger", "quiet", FINDING_UNKNOWN },
		{ "kernel.no-debugger", NULL, FINDING_UNKNOWN },
		{ "swap.none-or-encrypted", "systemd.swap=no", FINDING_OK },
		{ "swap.none-or-encrypted", "quiet", FINDING_UNKNOWN },
		{ "swap.none-or-encrypted", NULL, FINDING_UNKNOWN },
		{ "dump.none-or-encrypted", "quiet", FINDING_OK },
		{ "dump.none-or-encrypted", "crashkernel=1G", FINDING_UNKNOWN },
		{ "dump.none-or-encrypted", NULL, FINDING_UNKNOWN },
		{ "boot.iommu", "intel_iommu=on,sm_on", FINDING_OK },
		{ "boot.iommu", "iommu=force", FINDING_OK },
		{ "boot.iommu", "intel_iommu=off", FINDING_FAILED },
		{ "boot.iommu", "intel_iommu=on iommu=pt", FINDING_FAILED },
		{ "boot.iommu", "intel_iommu=on iommu.passthrough=1", FINDING_FAILED },
		{ "boot.iommu", "quiet", FINDING_UNKNOWN },
		{ "boot.iommu", NULL, FINDING_UNKNOWN },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		struct host h;
		char text[FINDING_TEXT_MAX];
		host_usual(&h, 1, NULL, ROWS[i].cmdline);
		enum finding_verdict v = judge(&h, ROWS[i].id, text);
		if (v != ROWS[i].verdict)
			fail_msg("%s with '%s': %d, %s", ROWS[i].id,
				 ROWS[i].cmdline ? ROWS[i].cmdline : "-", v, text);
	}
}

static void test_firmware(void **state)
{
	struct host h;
	char text[FINDING_TEXT_MAX];
	(void)state;
	host_usual(&h, 1, NULL, NULL);
	assert_int_equal(judge(&h, "boot.secure-boot", text), FINDING_OK);
	host_usual(&h, 0, NULL, NULL);
	assert_int_equal(judge(&h, "boot.secure-boot", text), FINDING_FAILED);
	host_usual(&h, 1, NULL, NULL);
	assert_int_equal(judge(&h, "boot.firmware-debug", text), FINDING_OK);
	host_usual(&h, 1, "UEFI Debug Mode", NULL);
	assert_int_equal(judge(&h, "boot.firmware-debug", text), FINDING_FAILED);
	host_usual(&h, 1, "DMA Protection Disabled", "intel_iommu=on");
	assert_int_equal(judge(&h, "boot.iommu", text), FINDING_FAILED);
	host_usual(&h, 1, NULL, NULL);
	assert_int_equal(judge(&h, "boot.full", text), FINDING_OK);
	host_usual(&h, 1, NULL, NULL);
	host_text(&h, 5, EV_EFI_ACTION, "Exit Boot Services Returned with Success");
	assert_int_equal(judge(&h, "boot.full", text), FINDING_FAILED);
	host_open(&h);
	host_separators(&h);
	assert_int_equal(judge(&h, "boot.full", text), FINDING_UNKNOWN);
	host_open(&h);
	host_separators(&h);
	assert_int_equal(judge(&h, "boot.secure-boot", text), FINDING_FAILED);
}

/* Who is root later can extend PCR 7 too; and no type or untrue data is believed. */
static void test_secure_boot_is_the_firmwares_word(void **state)
{
	struct host h;
	char text[FINDING_TEXT_MAX];
	(void)state;
	host_usual(&h, 0, NULL, NULL);
	host_variable(&h, EV_EFI_VARIABLE_DRIVER_CONFIG, "SecureBoot", "\1", 1);
	assert_int_equal(judge(&h, "boot.secure-boot", text), FINDING_FAILED);
	host_open(&h);
	host_variable(&h, EV_EFI_ACTION, "SecureBoot", "\0", 1);
	host_variable(&h, EV_EFI_VARIABLE_DRIVER_CONFIG, "SecureBoot", "\1", 1);
	host_separators(&h);
	assert_int_equal(judge(&h, "boot.secure-boot", text), FINDING_FAILED);
	host_open(&h);
	host_separators(&h);
	host_variable(&h, EV_EFI_VARIABLE_DRIVER_CONFIG, "SecureBoot", "\1", 1);
	assert_int_equal(judge(&h, "boot.secure-boot", text), FINDING_FAILED);
	/* Told as 1, measured as something else. */
	host_open(&h);
	host_variable(&h, EV_EFI_VARIABLE_DRIVER_CONFIG, "SecureBoot", "\1", 1);
	h.log.data[h.log.len - 53 - 4 - 1] ^= 1; /* the digest's last byte, before size and data */
	host_separators(&h);
	assert_int_equal(judge(&h, "boot.secure-boot", text), FINDING_FAILED);
	host_usual(&h, 1, NULL, NULL);
	host_variable(&h, EV_EFI_VARIABLE_AUTHORITY, "MokSBState", "\1", 1);
	assert_int_equal(judge(&h, "boot.secure-boot", text), FINDING_FAILED);
	host_usual(&h, 1, NULL, NULL);
	host_event(&h, 14, EV_IPL, "MokSBState", 11, "\1", 1);
	assert_int_equal(judge(&h, "boot.secure-boot", text), FINDING_FAILED);
}

static void test_no_log(void **state)
{
	static struct cmdline c;
	struct pcrs pcrs = { .bank = HASH_SHA256, .mask = 0x7fff };
	struct measured m = { .pcrs = &pcrs };
	char text[FINDING_TEXT_MAX];
	(void)state;
	cmdline_find(&m, &c);
	for (size_t i = 0; checks_at(i); i++)
		assert_int_equal(checks_at(i)->judge(&m, &c, text), FINDING_UNKNOWN);
}

/* One text of PCR 8 that was not measured could be the real command line. */
static void test_a_text_that_was_not_measured(void **state)
{
	struct host h;
	char text[FINDING_TEXT_MAX];
	(void)state;
	host_usual(&h, 1, NULL, "lockdown=integrity");
	host_event(&h, 8, EV_IPL, "kernel_cmdline: /vmlinuz x", 26, "/vmlinuz y", 10);
	assert_int_equal(judge(&h, "kernel.lockdown", text), FINDING_UNKNOWN);
	assert_non_null(strstr(text, "not measured"));
	/* A relabelled one counts all the same. */
	host_usual(&h, 1, NULL, "lockdown=integrity");
	host_event(&h, 8, EV_IPL, "grub_cmd: /vmlinuz quiet", 24, "/vmlinuz quiet", 14);
	assert_int_equal(judge(&h, "kernel.lockdown", text), FINDING_UNKNOWN);
	host_usual(&h, 1, NULL, "lockdown=integrity");
	host_event(&h, 8, EV_IPL, "grub_cmd: /vmlinuz lockdown=no", 30, "/vmlinuz lockdown=no", 20);
	assert_int_equal(judge(&h, "kernel.lockdown", text), FINDING_FAILED);
}

/* The worst of several texts counts, wherever it stands. */
static void test_several_texts(void **state)
{
	struct host h;
	char text[FINDING_TEXT_MAX];
	(void)state;
	host_usual(&h, 1, NULL, "lockdown=integrity");
	host_cmdline(&h, "lockdown=confidentiality");
	assert_int_equal(judge(&h, "kernel.no-debugger", text), FINDING_FAILED);
	host_usual(&h, 1, NULL, "lockdown=confidentiality");
	host_cmdline(&h, "lockdown=integrity");
	assert_int_equal(judge(&h, "kernel.no-debugger", text), FINDING_FAILED);
	host_usual(&h, 1, NULL, "quiet");
	host_cmdline(&h, "module.sig_enforce=1 nohibernate systemd.swap=0");
	assert_int_equal(judge(&h, "kernel.module-signatures", text), FINDING_UNKNOWN);
	host_usual(&h, 1, NULL, "quiet");
	for (int i = 0; i < CMDLINE_TEXTS_MAX; i++)
		host_cmdline(&h, "quiet");
	assert_int_equal(judge(&h, "kernel.no-kdump", text), FINDING_UNKNOWN);
}

static size_t wide(const char *text, uint8_t *out)
{
	size_t n = 0;
	do {
		out[n++] = (uint8_t)*text;
		out[n++] = 0;
	} while (*text++);
	return n;
}

/* systemd-stub: UTF-16 in PCR 12, plain or tagged; a unified image's own is not in the log. */
static void test_the_stub(void **state)
{
	struct host h;
	char text[FINDING_TEXT_MAX];
	uint8_t line[256] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	size_t n = wide("lockdown=integrity", line + 8);
	(void)state;
	host_usual(&h, 1, NULL, NULL);
	host_event(&h, 12, EV_IPL, line + 8, n, line + 8, n);
	assert_int_equal(judge(&h, "kernel.lockdown", text), FINDING_OK);
	host_usual(&h, 1, NULL, NULL);
	host_event(&h, 12, EV_EVENT_TAG, line, n + 8, line + 8, n);
	assert_int_equal(judge(&h, "kernel.lockdown", text), FINDING_OK);
	host_usual(&h, 1, NULL, NULL);
	host_event(&h, 12, EV_IPL, line + 8, n, "another", 7);
	assert_int_equal(judge(&h, "kernel.lockdown", text), FINDING_UNKNOWN);
	host_usual(&h, 1, NULL, NULL);
	host_event(&h, 11, EV_IPL, "x", 1, ".cmdline", 9);
	host_event(&h, 12, EV_IPL, line + 8, n, line + 8, n);
	assert_int_equal(judge(&h, "kernel.lockdown", text), FINDING_UNKNOWN);
	assert_non_null(strstr(text, "unified"));
}

static void test_ima(void **state)
{
	struct host h;
	char text[FINDING_TEXT_MAX];
	(void)state;
	host_usual(&h, 1, NULL, "lockdown=integrity systemd.swap=0");
	host_ima(&h, "kexec-cmdline", "quiet");
	assert_int_equal(judge(&h, "kernel.no-kdump", text), FINDING_FAILED);
	host_usual(&h, 1, NULL, "lockdown=integrity");
	host_ima(&h, "kexec-cmdline", "quiet");
	assert_int_equal(judge(&h, "kernel.lockdown", text), FINDING_UNKNOWN);
	host_usual(&h, 1, NULL, "systemd.swap=0");
	host_ima(&h, "kexec-cmdline", "systemd.swap=0");
	assert_int_equal(judge(&h, "dump.none-or-encrypted", text), FINDING_UNKNOWN);
	host_usual(&h, 1, NULL, "systemd.swap=0");
	host_ima(&h, "/usr/sbin/swapon", NULL);
	assert_int_equal(judge(&h, "swap.none-or-encrypted", text), FINDING_UNKNOWN);
	host_usual(&h, 1, NULL, "systemd.swap=0");
	host_ima(&h, "/usr/bin/init", NULL);
	assert_int_equal(judge(&h, "swap.none-or-encrypted", text), FINDING_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_table_is_sorted_and_told),
		cmocka_unit_test(test_command_lines),
		cmocka_unit_test(test_firmware),
		cmocka_unit_test(test_secure_boot_is_the_firmwares_word),
		cmocka_unit_test(test_no_log),
		cmocka_unit_test(test_a_text_that_was_not_measured),
		cmocka_unit_test(test_several_texts),
		cmocka_unit_test(test_the_stub),
		cmocka_unit_test(test_ima),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
