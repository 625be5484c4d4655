/* SPDX-License-Identifier: BSD-3-Clause */
#include "guardian/checks.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "guardian/firmware.h"

#define VALUE_MAX 256

/* Put the sentence in TEXT and give the verdict: so that each way out of a check reads as one. */
static enum finding_verdict say(char text[static FINDING_TEXT_MAX], enum finding_verdict verdict,
				const char *fmt, ...) PRINTF_LIKE(3, 4);
static enum finding_verdict say(char text[static FINDING_TEXT_MAX], enum finding_verdict verdict,
				const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, FINDING_TEXT_MAX, fmt, ap);
	va_end(ap);
	return verdict;
}

static int proven(const struct measured *m, unsigned pcr)
{
	return m->log && (m->proven & (1U << pcr));
}

static enum finding_verdict no_log(char text[static FINDING_TEXT_MAX], unsigned pcr)
{
	return say(text, FINDING_UNKNOWN, "no event log replays to the quoted PCR %u", pcr);
}

/* Parameter NAME in text I, "" if it is not there. */
static const char *value(const struct cmdline *c, size_t i, const char *name,
			 char out[static VALUE_MAX])
{
	out[0] = '\0';
	const char *found = cmdline_value(c, i, name, out, VALUE_MAX);
	return found ? found : "";
}

static int has(const struct cmdline *c, size_t i, const char *name)
{
	char ignored[VALUE_MAX];
	return cmdline_value(c, i, name, ignored, sizeof(ignored)) != NULL;
}

static enum finding_verdict no_cmdline(const struct cmdline *c, char text[static FINDING_TEXT_MAX])
{
	return say(text, FINDING_UNKNOWN, "the kernel's command line is not known: %s", c->why);
}

/* How far text I locks the kernel down: 0 not said, 1 integrity, 2 confidentiality, -1 something
 * else. */
static int lockdown_of(const struct cmdline *c, size_t i)
{
	char v[VALUE_MAX];
	if (!has(c, i, "lockdown"))
		return 0;
	value(c, i, "lockdown", v);
	return strcmp(v, "integrity") == 0 ? 1 : strcmp(v, "confidentiality") == 0 ? 2 : -1;
}

/* The least that all texts say. */
static int lockdown(const struct cmdline *c)
{
	int least = 2;
	for (size_t i = 0; i < c->n; i++) {
		int here = lockdown_of(c, i);
		least = here < least ? here : least;
	}
	return c->n ? least : 0;
}

static enum finding_verdict secure_boot(const struct measured *m, const struct cmdline *c,
					char text[static FINDING_TEXT_MAX])
{
	struct secure_boot sb;
	(void)c;
	if (!proven(m, 7))
		return no_log(text, 7);
	firmware_secure_boot(m, &sb);
	if (sb.found != 1)
		return say(text, FINDING_FAILED,
			   "PCR 7 has the variable SecureBoot %u times before its separator",
			   sb.found);
	if (!sb.on)
		return say(text, FINDING_FAILED, "SecureBoot is off (PCR 7)");
	if (sb.mok_off)
		return say(text, FINDING_FAILED,
			   "shim does not verify what it starts (MokSBState in PCR %u)",
			   sb.mok_off);
	return say(text, FINDING_OK, "SecureBoot is 1 in PCR 7");
}

static enum finding_verdict firmware_debug(const struct measured *m, const struct cmdline *c,
					   char text[static FINDING_TEXT_MAX])
{
	(void)c;
	if (!proven(m, 7))
		return no_log(text, 7);
	if (firmware_said(m, 7, "UEFI Debug Mode"))
		return say(text, FINDING_FAILED, "\"UEFI Debug Mode\" was measured into PCR 7");
	return say(text, FINDING_OK, "no \"UEFI Debug Mode\" in PCR 7");
}

static enum finding_verdict full_boot(const struct measured *m, const struct cmdline *c,
				      char text[static FINDING_TEXT_MAX])
{
	(void)c;
	if (!proven(m, 4) || !proven(m, 5))
		return no_log(text, proven(m, 4) ? 5 : 4);
	unsigned called = firmware_said(m, 4, "Calling EFI Application from Boot Option");
	unsigned left = firmware_said(m, 5, "Exit Boot Services Returned with Success");
	if (!called)
		return say(text, FINDING_UNKNOWN, "PCR 4 has no call of a boot option");
	if (left != 1)
		return say(text, left ? FINDING_FAILED : FINDING_UNKNOWN,
			   "PCR 5 has %u successful ends of the boot services", left);
	return say(text, FINDING_OK, "a boot option was called, and boot services ended once");
}

static enum finding_verdict iommu(const struct measured *m, const struct cmdline *c,
				  char text[static FINDING_TEXT_MAX])
{
	char v[VALUE_MAX];
	if (!proven(m, 7))
		return no_log(text, 7);
	if (firmware_said(m, 7, "DMA Protection Disabled"))
		return say(text, FINDING_FAILED,
			   "\"DMA Protection Disabled\" was measured into PCR 7");
	if (!c->n)
		return no_cmdline(c, text);
	int on = 1;
	for (size_t i = 0; i < c->n; i++) {
		static const char *const NAMES[] = { "iommu", "intel_iommu", "amd_iommu" };
		for (size_t k = 0; k < 3; k++) {
			value(c, i, NAMES[k], v);
			if (strncmp(v, "off", 3) == 0 || strcmp(v, "pt") == 0)
				return say(text, FINDING_FAILED, "%s=%s (PCR %u)", NAMES[k], v,
					   c->pcr);
		}
		if (strcmp(value(c, i, "iommu.passthrough", v), "1") == 0)
			return say(text, FINDING_FAILED, "iommu.passthrough=1 (PCR %u)", c->pcr);
		int here = strncmp(value(c, i, "intel_iommu", v), "on", 2) == 0;
		here |= strcmp(value(c, i, "amd_iommu", v), "force_enable") == 0;
		here |= strcmp(value(c, i, "iommu", v), "force") == 0;
		on &= here;
	}
	if (on)
		return say(text, FINDING_OK, "turned on by the kernel's command line (PCR %u)",
			   c->pcr);
	return say(text, FINDING_UNKNOWN,
		   "the firmware says nothing against it, nor the kernel's command line for it"
		   " (intel_iommu=on, amd_iommu=force_enable or iommu=force)");
}

static enum finding_verdict kernel_lockdown(const struct measured *m, const struct cmdline *c,
					    char text[static FINDING_TEXT_MAX])
{
	(void)m;
	if (!c->n)
		return no_cmdline(c, text);
	int level = lockdown(c);
	if (level < 0)
		return say(text, FINDING_FAILED, "lockdown= names no level (PCR %u)", c->pcr);
	if (level == 0)
		return say(text, FINDING_UNKNOWN,
			   "no lockdown= on the kernel's command line (PCR %u); a kernel that"
			   " locks itself down under Secure Boot does not show it",
			   c->pcr);
	return say(text, FINDING_OK, "lockdown=%s (PCR %u)",
		   level == 1 ? "integrity" : "confidentiality", c->pcr);
}

/* Every text has parameter NAME as WANTED, or alone where that is the same. */
static int all_have(const struct cmdline *c, const char *name, const char *wanted, int bare)
{
	char v[VALUE_MAX];
	for (size_t i = 0; i < c->n; i++) {
		if (!has(c, i, name))
			return 0;
		value(c, i, name, v);
		if (strcmp(v, wanted) != 0 && !(bare && v[0] == '\0'))
			return 0;
	}
	return c->n > 0;
}

static enum finding_verdict module_signatures(const struct measured *m, const struct cmdline *c,
					      char text[static FINDING_TEXT_MAX])
{
	(void)m;
	if (!c->n)
		return no_cmdline(c, text);
	if (all_have(c, "module.sig_enforce", "1", 1) || all_have(c, "module.sig_enforce", "Y", 1))
		return say(text, FINDING_OK, "module.sig_enforce=1 (PCR %u)", c->pcr);
	if (lockdown(c) > 0)
		return say(text, FINDING_OK, "lockdown demands signatures (PCR %u)", c->pcr);
	return say(text, FINDING_UNKNOWN,
		   "neither module.sig_enforce=1 nor lockdown= on the kernel's command line");
}

static enum finding_verdict ima_appraise(const struct measured *m, const struct cmdline *c,
					 char text[static FINDING_TEXT_MAX])
{
	char v[VALUE_MAX];
	int on = 1;
	(void)m;
	if (!c->n)
		return no_cmdline(c, text);
	for (size_t i = 0; i < c->n; i++) {
		value(c, i, "ima_appraise", v);
		if (v[0] && strcmp(v, "enforce") != 0)
			return say(text, FINDING_FAILED, "ima_appraise=%s (PCR %u)", v, c->pcr);
		value(c, i, "ima_policy", v);
		on &= strstr(v, "appraise_tcb") || strstr(v, "secure_boot");
	}
	if (on)
		return say(text, FINDING_OK, "ima_policy=%s (PCR %u)", v, c->pcr);
	return say(text, FINDING_UNKNOWN,
		   "no ima_policy= with appraise_tcb or secure_boot on the kernel's command line;"
		   " a policy that was loaded later is not shown");
}

static enum finding_verdict no_hibernation(const struct measured *m, const struct cmdline *c,
					   char text[static FINDING_TEXT_MAX])
{
	(void)m;
	if (!c->n)
		return no_cmdline(c, text);
	if (all_have(c, "nohibernate", "", 1) || all_have(c, "hibernate", "no", 0))
		return say(text, FINDING_OK, "turned off by the kernel's command line (PCR %u)",
			   c->pcr);
	if (lockdown(c) > 0)
		return say(text, FINDING_OK, "lockdown forbids it (PCR %u)", c->pcr);
	for (size_t i = 0; i < c->n; i++) {
		if (has(c, i, "resume"))
			return say(text, FINDING_FAILED,
				   "resume= is on the kernel's command line, and nohibernate is not"
				   " (PCR %u)",
				   c->pcr);
	}
	return say(text, FINDING_UNKNOWN,
		   "neither nohibernate nor lockdown= on the kernel's command line (PCR %u)",
		   c->pcr);
}

/* IMA's list has a kernel that was loaded for kexec; NAME is what it was measured as. */
static int kexec_seen(const struct measured *m)
{
	static const char NAME[] = "kexec-cmdline";
	for (size_t i = 0; m->ima && i < ima_count(m->ima); i++) {
		const struct ima_entry *e = ima_at(m->ima, i);
		if (e->name_bytes == strlen(NAME) && memcmp(e->name, NAME, e->name_bytes) == 0)
			return 1;
	}
	return 0;
}

/* 1 if memory is reserved for a crash kernel. */
static int crash_kernel(const struct cmdline *c)
{
	char v[VALUE_MAX];
	for (size_t i = 0; i < c->n; i++) {
		value(c, i, "crashkernel", v);
		if (v[0] && strcmp(v, "0") != 0)
			return 1;
	}
	return 0;
}

static enum finding_verdict no_kdump(const struct measured *m, const struct cmdline *c,
				     char text[static FINDING_TEXT_MAX])
{
	if (kexec_seen(m))
		return say(text, FINDING_FAILED, "a kernel was loaded with kexec (IMA's list)");
	if (!c->n)
		return no_cmdline(c, text);
	if (crash_kernel(c))
		return say(text, FINDING_FAILED,
			   "crashkernel= is on the kernel's command line (PCR %u)", c->pcr);
	return say(text, FINDING_OK, "no memory is reserved for a crash kernel (PCR %u)", c->pcr);
}

static enum finding_verdict no_debugger(const struct measured *m, const struct cmdline *c,
					char text[static FINDING_TEXT_MAX])
{
	static const char *const DEBUGGERS[] = { "kgdboc", "kgdbwait", "kgdbcon", "kgdbdbgp",
						 "ekgdboc" };
	(void)m;
	if (!c->n)
		return no_cmdline(c, text);
	for (size_t i = 0; i < c->n; i++) {
		for (size_t k = 0; k < sizeof(DEBUGGERS) / sizeof(DEBUGGERS[0]); k++) {
			if (has(c, i, DEBUGGERS[k]))
				return say(text, FINDING_FAILED,
					   "%s is on the kernel's command line (PCR %u)",
					   DEBUGGERS[k], c->pcr);
		}
	}
	int level = lockdown(c);
	if (level == 2)
		return say(text, FINDING_OK, "lockdown=confidentiality (PCR %u)", c->pcr);
	if (level == 1)
		return say(text, FINDING_FAILED,
			   "lockdown=integrity lets root read the kernel's memory by BPF and probes"
			   " (PCR %u)",
			   c->pcr);
	return say(text, FINDING_UNKNOWN,
		   "no lockdown=confidentiality on the kernel's command line (PCR %u)", c->pcr);
}

static enum finding_verdict swap(const struct measured *m, const struct cmdline *c,
				 char text[static FINDING_TEXT_MAX])
{
	static const char NAME[] = "/swapon";
	for (size_t i = 0; m->ima && i < ima_count(m->ima); i++) {
		const struct ima_entry *e = ima_at(m->ima, i);
		size_t n = strlen(NAME);
		if (e->name_bytes >= n && memcmp(e->name + e->name_bytes - n, NAME, n) == 0)
			return say(text, FINDING_UNKNOWN,
				   "swapon has run (IMA's list); no log tells whether that swap is"
				   " encrypted");
	}
	if (!c->n)
		return no_cmdline(c, text);
	if (all_have(c, "systemd.swap", "0", 0) || all_have(c, "systemd.swap", "no", 0) ||
	    all_have(c, "systemd.swap", "off", 0) || all_have(c, "systemd.swap", "false", 0))
		return say(text, FINDING_OK, "systemd.swap is off (PCR %u)", c->pcr);
	return say(text, FINDING_UNKNOWN,
		   "no log tells of swap; systemd.swap=0 on the kernel's command line would");
}

static enum finding_verdict dump(const struct measured *m, const struct cmdline *c,
				 char text[static FINDING_TEXT_MAX])
{
	int loaded = kexec_seen(m);
	if (!c->n && !loaded)
		return no_cmdline(c, text);
	if (loaded || crash_kernel(c))
		return say(
			text, FINDING_UNKNOWN,
			"the host can dump its memory; no log tells whether dumps are encrypted");
	return say(text, FINDING_OK, "the host has no kernel to dump with (PCR %u)", c->pcr);
}

static const struct check CHECKS[] = {
	{ "boot.firmware-debug", 1, firmware_debug },
	{ "boot.full", 1, full_boot },
	{ "boot.iommu", 0, iommu },
	{ "boot.secure-boot", 1, secure_boot },
	{ "dump.none-or-encrypted", 0, dump },
	{ "kernel.ima-appraise", 0, ima_appraise },
	{ "kernel.lockdown", 0, kernel_lockdown },
	{ "kernel.module-signatures", 0, module_signatures },
	{ "kernel.no-debugger", 0, no_debugger },
	{ "kernel.no-hibernation", 0, no_hibernation },
	{ "kernel.no-kdump", 0, no_kdump },
	{ "swap.none-or-encrypted", 0, swap },
};
#define N_CHECKS (sizeof(CHECKS) / sizeof(CHECKS[0]))
static_assert(N_CHECKS <= CHECKS_MAX, "a policy has a place for each check");

const struct check *checks_at(size_t i)
{
	return i < N_CHECKS ? &CHECKS[i] : NULL;
}

int checks_find(const char *id)
{
	for (size_t i = 0; i < N_CHECKS; i++) {
		if (strcmp(CHECKS[i].id, id) == 0)
			return (int)i;
	}
	return -1;
}
