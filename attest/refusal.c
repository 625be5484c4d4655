/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/refusal.h"

#include <stddef.h>
#include <string.h>

#include "attest/finding.h"

static const struct {
	const char *id, *remedy;
} REFUSALS[] = {
	{ "guardian.store",
	  "Look after the guardian's database: disk space, permissions, damage." },
	{ "guardian.log", "Look after the guardian's log key and database; nothing was released." },
	{ "guardian.keys", "Look after the guardian's keys." },
	{ "guardian.policy", "Add a policy to the guardian: shieldvm guardian baseline." },
	{ "guardian.verifier", "Attest again; look at the guardian's log if it stays so." },
	{ "guardian.busy", "Ask again in a moment; add a guardian if it stays so." },
	{ "request.path", "Look at the address and the port: hosts and admins have their own." },
	{ "request.method", "Use programs of versions that belong together." },
	{ "request.size", "Ask for a challenge first; a request has a largest size." },
	{ "request.format", "Use programs of versions that belong together." },
	{ "request.used", "Ask again under a new request id." },
	{ "request.rate", "Wait a minute: one host asks for so much and no more in one." },
	{ "challenge.foreign", "Ask the guardian for a challenge of this host and answer that." },
	{ "challenge.expired", "Ask for a new challenge, and look at the clocks." },
	{ "challenge.used", "Ask for a new challenge for each answer." },
	{ "host.unknown", "Enrol the host with the guardian." },
	{ "host.pending", "Have an admin of the guardian approve the host." },
	{ "host.revoked", "Ask an admin of the guardian why; only a replaced host enrols again." },
	{ "host.replacing", "Enrol the host again: an admin asked for it." },
	{ "host.certificate", "Use the client certificate that the host was enrolled with." },
	{ "host.changed", "Attest again: the host's enrolment changed in between." },
	{ "host.mode", "Attest the way in which the host was enrolled." },
	{ "host.taken", "Choose what no other host has, or have that host replaced." },
	{ "host.key", "Enrol the host again with the key it has." },
	{ "host.reset", "Attest again; have the host replaced if its TPM was cleared." },
	{ "host.unhealthy", "Look at the findings: shieldvm attest --dry-run." },
	{ "owner.certificate", "Use the private half of the owner key that is named." },
	{ "owner.unknown",
	  "Look at the UUID, and whether this is the key that signed the protector." },
	{ "owner.several", "Name the owner whose VM is meant: shieldvm guardian log --whose." },
	{ "admin.unknown", "Use the client certificate of one of the guardian's admins." },
	{ "admin.role", "Reviewers look and do not decide: ask an admin." },
	{ "admin.compare", "Look at the host again: it is not what was compared." },
	{ "certificate.invalid", "Attest again." },
	{ "certificate.expired", "Attest again." },
	{ "certificate.host", "Each host shows its own certificate." },
	{ "certificate.worker", "Attest again, for the worker that is to have the key." },
	{ "certificate.reset", "Attest again: the certificate is from before a restart." },
	{ "certificate.floor", "Attest again: the guardian's policy has changed since." },
	{ "certificate.assurance", "Start the VM on a host with a TPM, or ask its owner." },
	{ "lease.held",
	  "Stop the VM where it runs; shieldvm guardian lease takes an expired one back." },
	{ "lease.lost", "Stop this instance: another one has the VM's lease." },
	{ "lease.running", "Wait until the lease has expired." },
	{ "lease.none", "Start the VM: nobody has its lease, or the host awaits it no more." },
	{ "protector.invalid", "Send the protector as its owner made it." },
	{ "protector.signature", "Put back the protector that the VM's owner signed." },
	{ "protector.older", "Define the VM with the protector that its owner made last." },
	{ "protector.early",
	  "Set the owner's clock, and make the protector again: shieldvm key rewrap." },
	{ "protector.vm", "Each VM has its own protector." },
	{ "protector.recipient", "Have the owner add the guardian: shieldvm key rewrap." },
	{ "protector.unwrap", "Look after the guardian's keys, and the worker's." },
	{ "vm.version", "Start from the newest state, or ask the owner for a restore ticket." },
	{ "ticket.invalid",
	  "Ask the owner for a new ticket, or remove it (shieldvm host ticket --remove)." },
};
#define N_REFUSALS (sizeof(REFUSALS) / sizeof(REFUSALS[0]))

const char *refusal_id(unsigned i)
{
	return i < N_REFUSALS ? REFUSALS[i].id : NULL;
}

const char *refusal_remedy(const char *id)
{
	for (size_t i = 0; i < N_REFUSALS; i++)
		if (strcmp(REFUSALS[i].id, id) == 0)
			return REFUSALS[i].remedy;
	return finding_remedy(id);
}
