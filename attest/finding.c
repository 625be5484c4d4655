/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/finding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
	const char *id;
	const char *meaning;
	const char *remedy;
};

/* What to do about a TPM's own structures is the same for most of them. */
#define ASK_AGAIN                                                                                  \
	"Attest again; if it persists, look for what stands between the TPM and the agent."
#define ENROL	   "Enrol the host again, at the host itself, and have the enrolment approved."
#define REPORT_LOG "Update the host's firmware; report the log if the newest firmware writes it."
#define REBOOT	   "Reboot the host and attest again; if it persists, treat it as tampered with."

/* One row per id, grouped by who finds it; the order is the order of the manual. */
static const struct row TABLE[] = {
	/* The frame: guardian/appraise.c. */
	{ "evidence.size", "Each part of the evidence is within its size.",
	  "Reboot the host, or narrow its IMA policy, if it is a log." },
	{ "evidence.nonce", "The evidence answers the challenge that was given out.",
	  "Attest again; a recorded answer is never accepted." },
	{ "evidence.host", "The evidence is of the host that asked.", "Attest again." },
	{ "evidence.pcrs", "The evidence has the PCRs and the bank that were asked for.",
	  "Activate the TPM's SHA-256 bank in the firmware's settings." },

	/* The TPM's keys: attest/quote.c, enrolment. */
	{ "ek.format", "The endorsement key's public area can be read.", ENROL },
	{ "ek.attributes", "The endorsement key only decrypts, and cannot leave its TPM.", ENROL },
	{ "ek.absent", "The host's TPM has an endorsement certificate.",
	  "Provision the certificate that the TPM's maker issued, or use host-key mode." },
	{ "ek.certificate", "The endorsement certificate can be read.",
	  "Provision the certificate that the TPM's maker issued." },
	{ "ek.chain", "The endorsement certificate leads to a TPM maker that the guardian trusts.",
	  "Add the maker's certificate authority to the guardian if it is to be trusted." },
	{ "ek.usage", "The endorsement certificate is for endorsement keys (EKU 2.23.133.8.1).",
	  "Provision the certificate that the TPM's maker issued." },
	{ "ek.key", "The endorsement certificate is for the key that was enrolled.", ENROL },
	{ "ek.known", "The endorsement key belongs to no other host.",
	  "Have an admin replace that other host: shieldvm guardian host replace." },
	{ "ak.format", "The attestation key's public area can be read.", ENROL },
	{ "ak.attributes",
	  "The attestation key is restricted to what its TPM made, and cannot leave it.", ENROL },
	{ "ak.known", "The attestation key is the enrolled host's.", ENROL },
	{ "activation.credential", "The credential that the guardian made was opened by the TPM.",
	  ENROL },
	{ "activation.lockout", "The TPM is not locked after failed authorisations.",
	  "Run tpm2_dictionarylockout --clear-lockout, or wait until the TPM unlocks itself." },
	{ "activation.name", "The credential is for the attestation key that was offered.", ENROL },
	{ "activation.expired", "The credential was opened in time.",
	  "Start the enrolment again." },
	{ "key.format", "The PCR-bound key's public area can be read.", ASK_AGAIN },
	{ "key.attributes", "The PCR-bound key can be used in its TPM only, under its policy only.",
	  ASK_AGAIN },
	{ "key.policy", "The PCR-bound key is bound to the quoted PCR values.", ASK_AGAIN },
	{ "key.release", "What is sealed to the PCR-bound key, the TPM opens.",
	  "Attest again; if the PCRs change each time, look for what extends them." },

	/* What the TPM signed: attest/quote.c. */
	{ "quote.format", "The quote can be read.", ASK_AGAIN },
	{ "quote.signature", "The quote is signed by the host's attestation key.", ENROL },
	{ "quote.magic", "The quote was made inside a TPM.", ENROL },
	{ "quote.type", "What was signed is a quote.", ASK_AGAIN },
	{ "quote.nonce", "The quote answers this challenge, for this host, key and worker.",
	  "Attest again; a recorded or forwarded quote is never accepted." },
	{ "quote.selection", "The quote is of exactly the PCRs and the bank that were asked for.",
	  ASK_AGAIN },
	{ "quote.trailing", "Nothing stands behind the quote.", ASK_AGAIN },
	{ "quote.digest", "The PCR values that came along are the quoted ones.", ASK_AGAIN },
	{ "creation.format", "The creation certificate can be read.", ASK_AGAIN },
	{ "creation.signature", "The creation certificate is signed by the host's attestation key.",
	  ENROL },
	{ "creation.magic", "The creation certificate was made inside a TPM.", ENROL },
	{ "creation.type", "What was signed is a creation certificate.", ASK_AGAIN },
	{ "creation.nonce", "The creation certificate answers this challenge.", ASK_AGAIN },
	{ "creation.name", "The creation certificate is for the PCR-bound key.", ASK_AGAIN },
	{ "creation.trailing", "Nothing stands behind the creation certificate.", ASK_AGAIN },
	{ "creation.data",
	  "The creation data are the certified ones, and say what a PCR-bound key is made of.",
	  ASK_AGAIN },
	{ "creation.hierarchy", "The PCR-bound key is gone when the TPM is reset.", ASK_AGAIN },
	{ "creation.boot", "The PCR-bound key was made since the TPM was last started.",
	  ASK_AGAIN },

	/* The firmware's event log: attest/eventlog.c, and its replay. */
	{ "log.absent", "The host sent its firmware's event log.",
	  "Start the host by UEFI with its TPM 2.0 on; the kernel then shows "
	  "/sys/kernel/security/tpm0/binary_bios_measurements." },
	{ "log.resources", "There was memory to read the event log.", "Attest again." },
	{ "log.size", "The event log and its events are within the sizes that are read.",
	  REPORT_LOG },
	{ "log.count", "The event log has no more events than are read.", REPORT_LOG },
	{ "log.truncated", "The event log is complete.", REBOOT },
	{ "log.header", "The event log is in the crypto-agile form, as its first event says.",
	  "Set the firmware to TPM 2.0 with crypto-agile logs." },
	{ "log.algorithm", "The event log's hash algorithms are known and each of a known size.",
	  "Set the TPM's active PCR banks to SHA-256, SHA-384 or SHA-512." },
	{ "log.bank", "The event log has digests of the bank that was asked for.",
	  "Activate the TPM's SHA-256 bank in the firmware's settings; SHA-1 is not enough." },
	{ "log.digests", "Each event has one digest of each of the log's algorithms.", REPORT_LOG },
	{ "log.pcr", "Each event is for a PCR that there is.", REPORT_LOG },
	{ "log.type", "Each event is of a known type, in a PCR where that type may be.",
	  REPORT_LOG },
	{ "log.event", "What events that are not measured say is well-formed and stands once.",
	  REPORT_LOG },
	{ "log.locality", "The log says once, and first, at which locality the TPM was started.",
	  REPORT_LOG },
	{ "log.separator",
	  "PCRs 0 to 7 have one separator each, between firmware and what it started.", REBOOT },
	{ "log.firmware-error", "The firmware did not report an error.",
	  "Look into the firmware's own messages, repair what it names, and reboot." },
	{ "log.replay", "The event log replays to the quoted PCR values, in every PCR.", REBOOT },

	{ "log.runtime",
	  "What the running system extended into PCR 11 is known (the phases of systemd-pcrphase).",
	  "Extend nothing else into PCR 11; until then what the log says of it is not believed." },

	/* What the firmware measured says: attest/efi.c. */
	{ "efi.variable", "A measured UEFI variable can be read.", REPORT_LOG },
	{ "efi.signatures", "A measured signature database can be read.", REPORT_LOG },
	{ "efi.image", "A measured image's event can be read.", REPORT_LOG },

	/* The kernel's integrity measurement list: attest/ima.c. */
	{ "ima.absent", "The host sent its kernel's integrity measurement list.",
	  "Boot a kernel with IMA and a policy that measures (ima_policy=tcb)." },
	{ "ima.resources", "There was memory to read the measurement list.", "Attest again." },
	{ "ima.size", "The measurement list and its entries are within the sizes that are read.",
	  "Reboot the host, or narrow its IMA policy." },
	{ "ima.count", "The measurement list has no more entries than are read.",
	  "Reboot the host, or narrow its IMA policy." },
	{ "ima.truncated", "The measurement list is complete.", "Attest again." },
	{ "ima.format", "Each entry of the measurement list has the one form of its template.",
	  REBOOT },
	{ "ima.template", "The measurement list's templates are ima-ng, ima-sig or ima-buf.",
	  "Boot the kernel with ima_template=ima-ng (or ima-sig)." },
	{ "ima.algorithm", "The measurement list's hash algorithms are known.",
	  "Boot the kernel with ima_hash=sha256." },
	{ "ima.pcr", "The measurement list is of PCR 10.",
	  "Boot a kernel whose IMA uses PCR 10, the default." },
	{ "ima.digest", "Each entry's template digest is that of its data.", REBOOT },
	{ "ima.replay", "The measurement list, up to some entry, replays to the quoted PCR 10.",
	  REBOOT },
	{ "ima.boot-aggregate", "The measurement list begins with this boot's PCR values.",
	  REBOOT },

	/* Baselines: guardian/baseline.c. */
	{ "baseline.match", "The host was started as one of the policy's baselines was.",
	  "If the change was intended, learn a new baseline: shieldvm guardian baseline learn; if "
	  "not, treat the host as tampered with." },

	/* What a policy may demand by name: guardian/checks.c. */
	{ "boot.firmware-debug", "The firmware's debug mode is off.",
	  "Turn the firmware's debug mode off and reboot." },
	{ "boot.full",
	  "The host was booted from the start, by a boot option, and left the firmware once.",
	  "Boot the host anew by UEFI; do not resume it from hibernation." },
	{ "boot.iommu", "Devices reach the host's memory only through an IOMMU.",
	  "Turn VT-d or AMD-Vi and DMA protection on in the firmware, and boot the kernel with "
	  "intel_iommu=on, amd_iommu=force_enable or iommu=force." },
	{ "boot.secure-boot", "Secure Boot is on, and shim verifies what it starts.",
	  "Turn Secure Boot on in the firmware's settings; mokutil --enable-validation if shim's "
	  "verification is off." },
	{ "dump.none-or-encrypted", "The host's memory is dumped nowhere, or encrypted only.",
	  "Boot without crashkernel=, and load no kernel by kexec." },
	{ "kernel.ima-appraise", "The kernel runs only files whose IMA signature or hash holds.",
	  "Boot the kernel with ima_policy=appraise_tcb (or secure_boot) ima_appraise=enforce." },
	{ "kernel.lockdown", "Root cannot change the running kernel.",
	  "Boot the kernel with lockdown=integrity, or better lockdown=confidentiality." },
	{ "kernel.module-signatures", "The kernel loads signed modules only.",
	  "Boot the kernel with module.sig_enforce=1, or with lockdown=." },
	{ "kernel.no-debugger",
	  "No kernel debugger, and no BPF or probe with which root reads the kernel's memory.",
	  "Boot the kernel with lockdown=confidentiality and without kgdboc=." },
	{ "kernel.no-hibernation", "The host's memory is never written to a disk to resume from.",
	  "Boot the kernel with nohibernate, and without resume=." },
	{ "kernel.no-kdump", "No second kernel stands ready to dump the host's memory.",
	  "Boot the kernel without crashkernel=, and turn kdump off." },
	{ "swap.none-or-encrypted", "The system puts no memory on a disk in the clear.",
	  "Boot with systemd.swap=0; no log shows that swap is encrypted." },
};
#define N_ROWS (sizeof(TABLE) / sizeof(TABLE[0]))

static const struct row *row_of(const char *id)
{
	for (size_t i = 0; i < N_ROWS; i++)
		if (strcmp(TABLE[i].id, id) == 0)
			return &TABLE[i];
	return NULL;
}

/* The last finding with VERDICT, or NULL. */
static struct finding *last_with(struct findings *list, enum finding_verdict verdict)
{
	for (unsigned i = list->n; i-- > 0;)
		if (list->at[i].verdict == verdict)
			return &list->at[i];
	return NULL;
}

static struct finding *place(struct findings *list, enum finding_verdict verdict)
{
	if (list->n < FINDINGS_MAX)
		return &list->at[list->n++];
	if (verdict != FINDING_FAILED)
		return NULL;
	struct finding *victim = last_with(list, FINDING_OK);
	return victim ? victim : last_with(list, FINDING_UNKNOWN);
}

void finding_add(struct findings *list, const char *id, enum finding_verdict verdict,
		 const char *fmt, ...)
{
	const struct row *row = row_of(id);
	if (!row)
		abort();
	struct finding *f = place(list, verdict);
	if (!f)
		return;
	f->id = row->id;
	f->verdict = verdict;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(f->evidence, sizeof(f->evidence), fmt, ap);
	va_end(ap);
	for (char *p = f->evidence; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
}

int finding_fail(struct findings *list, const char *id, int rc, const struct fault *f)
{
	int told = f && f->rc < 0 ? f->rc : rc;
	finding_add(list, id, FINDING_FAILED, "%s", f && f->text[0] ? f->text : err_text(told));
	return told;
}

int findings_good(const struct findings *list)
{
	for (unsigned i = 0; i < list->n; i++)
		if (list->at[i].verdict == FINDING_FAILED)
			return 0;
	return 1;
}

void findings_failed(const struct findings *list, char *out, size_t size)
{
	size_t used = 0;
	out[0] = '\0';
	for (unsigned i = 0; i < list->n; i++) {
		const struct finding *at = &list->at[i];
		if (at->verdict != FINDING_FAILED || used + strlen(at->id) + 3 > size)
			continue;
		used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "", at->id);
	}
}

const struct finding *findings_get(const struct findings *list, const char *id)
{
	for (unsigned i = 0; i < list->n; i++)
		if (strcmp(list->at[i].id, id) == 0)
			return &list->at[i];
	return NULL;
}

const char *finding_meaning(const char *id)
{
	const struct row *row = row_of(id);
	return row ? row->meaning : NULL;
}

const char *finding_remedy(const char *id)
{
	const struct row *row = row_of(id);
	return row ? row->remedy : NULL;
}

const char *finding_id(unsigned i)
{
	return i < N_ROWS ? TABLE[i].id : NULL;
}
