/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm: the command for owners, operators and auditors (docs/man/shieldvm.1).
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/paths.h"
#include "cli/cli.h"
#include "cli/options.h"

static const char HELP[] =
	"shieldvm: virtual machines that their host's administrators cannot look into\n"
	"\n"
	"On a host, as root:\n"
	"  shieldvm host init            make the host's key, its EK CA, folders and libvirt hook\n"
	"  shieldvm host show            the host's public key, for the owners of VMs\n"
	"  shieldvm status [VM]          running workers\n"
	"  shieldvm selftest             attack a throw-away worker: what holds on this kernel\n"
	"  shieldvm host enrol           make this host known to a guardian\n"
	"  shieldvm attest --guardian    get its certificate of health\n"
	"  shieldvm attest --dry-run     all that a guardian would say of this host\n"
	"  shieldvm audit show           who was refused what, and what happened to VMs\n"
	"  shieldvm audit verify         whether that log is whole and unchanged\n"
	"  shieldvm audit report         how often, by VM, rule and day\n"
	"For the owner of a VM:\n"
	"  shieldvm key new FILE         make an owner key\n"
	"  shieldvm key show FILE        its public half and thumbprint\n"
	"  shieldvm shield IN.xml        make a plain domain a shielded one\n"
	"  shieldvm key rewrap XML       change a shielded domain's hosts, guardians, rules, TPM\n"
	"  shieldvm key ticket VM        the owner's word to a guardian: restore, take back\n"
	"  shieldvm state inspect FILE   what a saved state, checkpoint or dump says of itself\n"
	"  shieldvm state verify FILE    whether it is authentic and complete\n"
	"  shieldvm state open FILE      its plaintext, for who may have it\n"
	"  shieldvm state shred FILE     make it unreadable for good\n"
	"For a guardian's administrator:\n"
	"  shieldvm guardian baseline    the ways in which hosts may have been started\n"
	"  shieldvm guardian policy      the checks that hosts must meet\n"
	"  shieldvm guardian host        which hosts may attest\n"
	"  shieldvm guardian log         what the guardian and its admins did, verified\n"
	"For anybody:\n"
	"  shieldvm lint XML             what the rules say of a domain, plain or shielded\n"
	"\n"
	"shieldvm COMMAND --help tells more, shieldvm(1) tells all.\n"
	"Exit status: 0 done, 1 refused or not authentic, 2 wrong arguments, 3 environment.\n";

static const struct command {
	const char *group, *name; /* group: NULL if the command is one word */
	int (*run)(int argc, char **argv, struct fault *f);
	const char *help;
} COMMANDS[] = {
	{ NULL, "attest", cmd_attest,
	  "usage: shieldvm attest --guardian URL[,URL...] [-o CERT] [--json] [--tcti TCTI]\n"
	  "                       [--eventlog FILE] [--ima FILE] [--host-key-only]\n"
	  "       shieldvm attest --dry-run [--json] [--policy FILE] [--ek-ca FILE] [--capture "
	  "FILE]\n"
	  "                       [--tcti TCTI] [--eventlog FILE] [--ima FILE]\n"
	  "\n"
	  "Attests this host, as root: its TPM's identity, a quote, the event log of its firmware "
	  "and\n"
	  "its kernel's measurements. It tells every finding at once, and for each failure what to "
	  "do.\n"
	  "Exits with 1 if the host is refused. A VM whose key a guardian has proves it anew, by\n"
	  "itself, when it starts.\n"
	  "  --guardian URL   https://HOST:PORT#THUMBPRINT, as shieldvm-guardian init printed it "
	  "for\n"
	  "                   hosts; several are asked in this order until one answers. The host "
	  "has\n"
	  "                   to be enrolled (shieldvm host enrol) and approved\n"
	  "  -o CERT          write the certificate of health there, in DER\n"
	  "  --host-key-only  for a host that was enrolled so: nothing is measured\n"
	  "  --dry-run        ask no guardian: tell what one with this policy would say. Nothing "
	  "is\n"
	  "                   sent, and nothing kept but by --capture\n"
	  "  --policy FILE    this policy, instead of /etc/shieldvm/guardian/policy.json or, "
	  "where\n"
	  "                   there is none, a new guardian's\n"
	  "  --ek-ca FILE     certificates of the TPM makers that are trusted (PEM); without it "
	  "the\n"
	  "                   TPM's own certificate is not judged\n"
	  "  --capture FILE   write the evidence there, for shieldvm guardian baseline learn\n"
	  "  --tcti TCTI      this TPM, instead of device:/dev/tpmrm0\n"
	  "  --eventlog FILE  this event log, instead of the kernel's\n"
	  "  --ima FILE       this measurement list, instead of the kernel's\n"
	  "  --json           one JSON object\n" },
	{ "audit", "show", cmd_audit_show,
	  "usage: shieldvm audit show [--vm UUID] [--since TIME] [--json] [--log FILE]\n"
	  "\n"
	  "Prints the host's audit log, oldest record first: a line for each refusal, start, stop "
	  "and\n"
	  "use of a VM's key. It does not verify the log.\n"
	  "  --vm UUID     only this VM's records\n"
	  "  --since TIME  only records from then on: 2026-11-22 or 2026-11-22T03:18:38Z (UTC)\n"
	  "  --json        one record a line, as it is in the log\n"
	  "  --log FILE    this log (and FILE.1, FILE.2 ...) instead of the host's\n" },
	{ "audit", "verify", cmd_audit_verify,
	  "usage: shieldvm audit verify [--json] [--log FILE] [--head FILE] [--anchor FILE]\n"
	  "                             [--host-key PUB]\n"
	  "\n"
	  "Verifies the chain of the audit log, its anchor and the host's signature. If something "
	  "was\n"
	  "edited, dropped, put in or cut off, it says what and where, and exits with 1.\n"
	  "On another machine it needs copies of the log and of what the host keeps in\n"
	  "/var/lib/shieldvm/registry; an older audit.signed is of use too: it shows whether the\n"
	  "log was changed since.\n"
	  "  --log FILE      the log; FILE.1, FILE.2 ... are its older files\n"
	  "  --head FILE     a copy of audit.head from the same moment\n"
	  "  --anchor FILE   a copy of audit.signed, with --host-key\n"
	  "  --host-key PUB  the host's public key (shieldvm host show)\n" },
	{ "audit", "report", cmd_audit_report,
	  "usage: shieldvm audit report [--vm UUID] [--since TIME] [--json] [--log FILE]\n"
	  "\n"
	  "Counts the audit log's records by day, VM, event and rule. It does not verify the "
	  "log.\n"
	  "Options as for audit show; --json is one list.\n" },
	{ "guardian", "admin", cmd_guardian_admin,
	  "usage: shieldvm guardian admin list [--json] --guardian URL --admin KEY\n"
	  "       shieldvm guardian admin add NAME ROLE PUB --guardian URL --admin KEY\n"
	  "       shieldvm guardian admin remove NAME --guardian URL --admin KEY\n"
	  "\n"
	  "Decides who decides. An admin is known by his key's fingerprint from then on; his word "
	  "and\n"
	  "what it was about are in the guardian's log.\n"
	  "  add     ROLE is admin, or reviewer, who looks and does not decide; PUB is the public "
	  "key\n"
	  "          (shieldvm key new makes one)\n"
	  "  list    every admin, with role and fingerprint\n"
	  "  remove  his word no longer counts\n"
	  "  --guardian URL, --admin KEY  as for guardian host\n" },
	{ "guardian", "baseline", cmd_guardian_baseline,
	  "usage: shieldvm guardian baseline learn NAME CAPTURE [--kind KIND] [--policy FILE]\n"
	  "       shieldvm guardian baseline add NAME PCR=HEX... [--bank BANK] [--policy FILE]\n"
	  "       shieldvm guardian baseline remove NAME [--policy FILE]\n"
	  "       shieldvm guardian baseline show [--json] [--policy FILE]\n"
	  "\n"
	  "Baselines are the ways in which a host may have been started; it must match one. They "
	  "are\n"
	  "in a policy's file; shieldvm guardian policy push makes it a guardian's policy.\n"
	  "  learn   from the evidence that shieldvm attest --capture wrote on a host that you "
	  "trust\n"
	  "  add     from values of PCRs\n"
	  "  --kind structured  what was started, Secure Boot's keys, at least these revocations "
	  "(the\n"
	  "                     default)\n"
	  "  --kind exact       the values of PCRs 0, 2, 3, 4 and 7\n"
	  "  --bank BANK        sha256 (the default), sha384 or sha512\n"
	  "  --policy FILE      instead of /etc/shieldvm/guardian/policy.json\n"
	  "  --json             the policy as it is in the file\n" },
	{ "guardian", "host", cmd_guardian_host,
	  "usage: shieldvm guardian host list [--json] --guardian URL --admin KEY\n"
	  "       shieldvm guardian host approve HOST FINGERPRINT --guardian URL --admin KEY\n"
	  "       shieldvm guardian host revoke HOST --guardian URL --admin KEY\n"
	  "       shieldvm guardian host replace HOST --guardian URL --admin KEY\n"
	  "\n"
	  "Decides which hosts may attest. HOST is a UUID.\n"
	  "  approve          the host whose shieldvm host enrol printed FINGERPRINT; compare it\n"
	  "                   there, not with what list says\n"
	  "  list             every host, with its state and fingerprint\n"
	  "  revoke           it may not attest any more, and its certificates no longer count\n"
	  "  replace          the next enrolment under this UUID takes its place, pending again\n"
	  "  --guardian URL   https://HOST:PORT#THUMBPRINT, as shieldvm-guardian init printed it "
	  "for\n"
	  "                   admins (not for hosts), or several with commas\n"
	  "  --admin KEY      the admin's private key\n" },
	{ "guardian", "lease", cmd_guardian_lease,
	  "usage: shieldvm guardian lease takeback VM OWNER --guardian URL --admin KEY\n"
	  "       shieldvm guardian lease takeback-for-owner VM PUB STATEMENT --guardian URL "
	  "--admin "
	  "KEY\n"
	  "\n"
	  "Takes an expired lease of a VM back from a host that is gone for good, so that the VM "
	  "can\n"
	  "start elsewhere. Make sure first that it does not run there any more: the guardian "
	  "cannot.\n"
	  "  takeback            by the admin's word; OWNER is the thumbprint of the owner's key\n"
	  "  takeback-for-owner  by the owner's: STATEMENT is the file that he made by shieldvm "
	  "key\n"
	  "                      ticket --takeback, PUB his public key; a reviewer may bring it\n"
	  "  --guardian URL, --admin KEY  as for guardian host\n" },
	{ "guardian", "log", cmd_guardian_log,
	  "usage: shieldvm guardian log [--vm UUID [--whose OWNER]] [--json] [--head FILE]\n"
	  "                             --log-key PUB --guardian URL --admin KEY\n"
	  "       shieldvm guardian log --vm UUID [--json] [--head FILE] --log-key PUB\n"
	  "                             --guardian URL --owner KEY\n"
	  "\n"
	  "Fetches the guardian's log, of a VM or of what admins decided, and prints it if it is "
	  "whole\n"
	  "and unchanged; else it says what is wrong and exits with 1.\n"
	  "  --vm UUID        of this VM; else what admins decided\n"
	  "  --log-key PUB    the guardian's public log key: log.jwk.pub of its folder, copied "
	  "from\n"
	  "                   there once\n"
	  "  --head FILE      hold it against where the log ended last time, and remember where "
	  "it\n"
	  "                   ends now\n"
	  "  --json           the signed records, one a line\n"
	  "  --guardian URL, --admin KEY  as for guardian host\n"
	  "  --owner KEY      as the VM's owner, with the owner key; --guardian is then the "
	  "address "
	  "for\n"
	  "                   hosts\n" },
	{ "guardian", "policy", cmd_guardian_policy,
	  "usage: shieldvm guardian policy demand CHECK [--policy FILE]\n"
	  "       shieldvm guardian policy waive CHECK [--policy FILE]\n"
	  "       shieldvm guardian policy show [--json] [--policy FILE]\n"
	  "       shieldvm guardian policy push FILE [--at-once] --guardian URL --admin KEY\n"
	  "       shieldvm guardian policy fetch [-o FILE] --guardian URL --admin KEY\n"
	  "\n"
	  "Which checks a host must meet, beside having a baseline; shieldvm-attest(8) has them "
	  "all.\n"
	  "demand, waive and show are of a policy's file, which a running guardian does not "
	  "read:\n"
	  "it gets it by push.\n"
	  "  --policy FILE  instead of /etc/shieldvm/guardian/policy.json\n"
	  "  --json         the policy as it is in the file\n"
	  "  push           make FILE the policy of a running guardian\n"
	  "  --at-once      certificates by older policies no longer count\n"
	  "  fetch          print a running guardian's policy, or write it to FILE\n"
	  "  --guardian URL, --admin KEY  as for guardian host\n" },
	{ "host", "enrol", cmd_host_enrol,
	  "usage: shieldvm host enrol --guardian URL[,URL...] [--name NAME] [--tcti TCTI]\n"
	  "                           [--eventlog FILE] [--ima FILE] [--host-key-only]\n"
	  "\n"
	  "Makes this host known to a guardian, as root, with its TPM and its host key, and prints "
	  "the\n"
	  "fingerprint that an admin of the guardian compares before he approves the host. The\n"
	  "host's UUID is in /etc/shieldvm/host.id and is made if there is none; the host key is\n"
	  "that of shieldvm host init, which comes first.\n"
	  "  --guardian URL   https://HOST:PORT#THUMBPRINT, as shieldvm-guardian init printed it "
	  "for\n"
	  "                   hosts; several are asked in this order until one answers\n"
	  "  --name NAME      what admins see it as (a-z, 0-9, . and -), instead of the machine's "
	  "name\n"
	  "  --tcti TCTI      this TPM, instead of device:/dev/tpmrm0\n"
	  "  --eventlog FILE, --ima FILE  these logs, instead of the kernel's; whole paths\n"
	  "  --host-key-only  without a TPM: a weaker word, which VMs' owners may decline\n"
	  "How this host attests is kept in /etc/shieldvm/attest.json, for later.\n" },
	{ "host", "init", cmd_host_init,
	  "usage: shieldvm host init\n"
	  "\n"
	  "Prepares this host for shielded VMs, as root: the host key, which opens the keys of "
	  "the\n"
	  "VMs that owners let run here, the local CA that certifies vTPMs, the folders, and the\n"
	  "hook by which libvirt starts workers. Safe to repeat; nothing there is overwritten.\n" },
	{ "host", "leases", cmd_host_leases,
	  "usage: shieldvm host leases [--json]\n"
	  "\n"
	  "Lists, as root, the VMs that guardians have leased to this host: \"held\", or "
	  "\"incoming\" for\n"
	  "one that is to come by a migration; until when, under which fencing token, how many "
	  "starts\n"
	  "are left from a sealed copy when no guardian answers, and where the guardian is asked.\n"
	  "shieldvm-attestd keeps them up.\n"
	  "  --json         as an array of objects\n" },
	{ "host", "show", cmd_host_show,
	  "usage: shieldvm host show\n"
	  "\n"
	  "Prints this host's public key (a JWK) on standard output. Give it to owners: with\n"
	  "shield --host they let a VM run here.\n" },
	{ "host", "ticket", cmd_host_ticket,
	  "usage: shieldvm host ticket VM-UUID FILE\n"
	  "       shieldvm host ticket --remove VM-UUID\n"
	  "\n"
	  "Gives this host, as root, a ticket of the VM's owner (shieldvm key ticket --restore) "
	  "for "
	  "the\n"
	  "VM's next start here, which its guardian refuses otherwise (vm.version), as the vTPM's\n"
	  "state is older than what was reported before, or its worker (vtpm.older), as the saved\n"
	  "state is that it is restored from. FILE may be -, for standard input.\n"
	  "  --remove       forget a ticket that was not used\n" },
	{ "key", "new", cmd_key_new,
	  "usage: shieldvm key new FILE\n"
	  "\n"
	  "Makes an owner key: the private half in FILE (mode 0600), the public half in FILE.pub.\n"
	  "A guardian's admins have such a key too, which opens no VM.\n"
	  "Existing files are not overwritten. Whoever has FILE can open the VM; without it "
	  "nobody\n"
	  "can change who may run it. Keep a copy away from the hosts.\n" },
	{ "key", "show", cmd_key_show,
	  "usage: shieldvm key show FILE\n"
	  "\n"
	  "Prints the public half of the key in FILE, private or public, on standard output and "
	  "its\n"
	  "thumbprint (RFC 7638) on standard error.\n" },
	{ "key", "rewrap", cmd_key_rewrap,
	  "usage: shieldvm key rewrap XML --owner FILE [--add-host PUB]... [--remove-host"
	  " THUMBPRINT]...\n"
	  "                           [--add-guardian PUB@URL[,URL...]]..."
	  " [--remove-guardian THUMBPRINT]...\n"
	  "                           [--assurance tpm|hostkey] [--offline-starts N]\n"
	  "                           [--new-tpm] [--allow RULE]... [--forbid RULE]... [-o "
	  "OUT.xml]\n"
	  "\n"
	  "Makes a new key protector for a shielded domain; the VM key stays the same, and the VM\n"
	  "may be running.\n"
	  "  --owner FILE              the owner's private key\n"
	  "  --add-host PUB            let the host with this public key run the VM too\n"
	  "  --remove-host THUMBPRINT  no longer (key show PUB prints a thumbprint)\n"
	  "  --add-guardian PUB@URL    let this guardian release the key too (see shield); one "
	  "that does\n"
	  "                            already gets these addresses\n"
	  "  --remove-guardian THUMBPRINT  no longer\n"
	  "  --assurance, --offline-starts  as for shield\n"
	  "  --new-tpm                 let the VM start with a new, empty TPM\n"
	  "  --allow RULE              let this rule's devices be from the next start on (see "
	  "shield)\n"
	  "  --forbid RULE             no longer\n"
	  "  -o OUT.xml                write there instead of to standard output\n" },
	{ "key", "ticket", cmd_key_ticket,
	  "usage: shieldvm key ticket VM-UUID --owner FILE --restore VERSION --restores N\n"
	  "       shieldvm key ticket VM-UUID --owner FILE --takeback TOKEN\n"
	  "\n"
	  "Prints the owner's word to a guardian. What it says is in the VM's log (guardian "
	  "log).\n"
	  "  --owner FILE       the owner's private key\n"
	  "  --restore VERSION  the VM may start, once, from this version of its vTPM's state, "
	  "older\n"
	  "                     than what it has shown, or be restored to it from saved state\n"
	  "  --restores N       how many such tickets it has used before\n"
	  "  --takeback TOKEN   this lease is taken back, once expired: its host is gone, and the "
	  "VM\n"
	  "                     runs nowhere\n" },
	{ NULL, "lint", cmd_lint,
	  "usage: shieldvm lint XML [--level LEVEL] [--allow RULE]... [--json]\n"
	  "       shieldvm lint --argv FILE [--json]\n"
	  "       shieldvm lint --rules [--json]\n"
	  "\n"
	  "Holds a domain against the rules and tells each finding with its line, rule, reason "
	  "and\n"
	  "remedy. Of a shielded domain it tells what the hook would refuse, at the level that "
	  "its\n"
	  "owner signed; of a plain one, what stands in the way of shielding it. Exits with 1 if\n"
	  "something is refused.\n"
	  "  --level LEVEL  shielded or encryption-supported, instead of the domain's own or of\n"
	  "                 shielded\n"
	  "  --allow RULE   at encryption-supported: as if the owner allowed this rule too\n"
	  "  --argv FILE    QEMU's arguments instead, as the launcher gets them: a NUL or newline\n"
	  "                 after each, or a command line out of libvirt's log\n"
	  "  --rules        list every rule, with its verdict at both levels\n"
	  "  --json         the result as JSON\n"
	  "XML and FILE may be - for standard input.\n" },
	{ NULL, "selftest", cmd_selftest,
	  "usage: shieldvm selftest [--json]\n"
	  "\n"
	  "Starts a throw-away worker, in folders of its own, and attacks it as root and as "
	  "QEMU's\n"
	  "user with everything that SECURITY.md speaks of. For each attack it tells whether it "
	  "is\n"
	  "closed on this host and by which feature of the kernel, open as SECURITY.md says, or "
	  "open\n"
	  "against it; and what to do. Takes about a minute, as root; nothing is left. Exits with "
	  "1\n"
	  "if something is open that SECURITY.md says is closed.\n"
	  "  --json  one JSON object\n" },
	{ NULL, "shield", cmd_shield,
	  "usage: shieldvm shield IN.xml --owner FILE [--host PUB]...\n"
	  "                       [--guardian PUB@URL[,URL...]]... [--assurance tpm|hostkey]\n"
	  "                       [--offline-starts N] [--level LEVEL] [--allow RULE]... "
	  "[--strip]\n"
	  "                       [-o OUT.xml]\n"
	  "\n"
	  "Makes a plain libvirt domain a shielded one: emulator, TPM, Secure Boot firmware and "
	  "the\n"
	  "key protector. Says what it changed, and what stands in the way.\n"
	  "  --owner FILE   the owner's private key (shieldvm key new)\n"
	  "  --host PUB     a host that may run the VM; without --guardian, this one always may\n"
	  "  --guardian PUB@URL  a guardian that releases the VM's key to healthy hosts: its "
	  "public\n"
	  "                 release key (release.jwk.pub) and https://HOST:PORT#THUMBPRINT, as\n"
	  "                 shieldvm-guardian init printed it for hosts; any one suffices\n"
	  "  --assurance A  what a host must have shown its health with: tpm (default), or "
	  "hostkey:\n"
	  "                 hosts without a TPM may have the key too\n"
	  "  --offline-starts N  starts that a host may make while no guardian answers; 0 is the\n"
	  "                 default\n"
	  "  --level LEVEL  shielded (default) or encryption-supported\n"
	  "  --allow RULE   at encryption-supported: let this rule's devices be; at either level\n"
	  "                 state.compression: compress states and dumps before they are sealed\n"
	  "  --strip        take out devices that the level forbids, where the guest boots "
	  "without\n"
	  "  -o OUT.xml     write there instead of to standard output\n"
	  "IN.xml may be - for standard input.\n" },
	{ "state", "inspect", cmd_state_inspect,
	  "usage: shieldvm state inspect FILE [--json] [--key FILE] [--protector XML]\n"
	  "\n"
	  "Tells what a file is that virsh save, managedsave, snapshot-create-as --memspec or dump "
	  "made\n"
	  "of a shielded VM, and whose. Without a key that is what the file says of itself.\n"
	  "  --key FILE       authenticate the header with this private key, a host's or the "
	  "owner's\n"
	  "  --protector XML  the VM's shielded domain, if the file has none or an older one\n"
	  "  --json           one JSON object\n" },
	{ "state", "verify", cmd_state_verify,
	  "usage: shieldvm state verify FILE [--json] [--key FILE] [--protector XML]\n"
	  "\n"
	  "Authenticates a file from its first to its last byte. Exits with 1 if it is not "
	  "authentic\n"
	  "or not complete, and says at which record.\n"
	  "  --key FILE       a private key that may open it: a host's or the owner's; for a dump "
	  "the\n"
	  "                   owner's. Else this host's.\n"
	  "  --protector XML  the VM's shielded domain, if the file has none or an older one\n"
	  "  --json           the verdict as one JSON object\n"
	  "FILE may be - for standard input.\n" },
	{ "state", "open", cmd_state_open,
	  "usage: shieldvm state open FILE -o OUT [--force] [--key FILE] [--protector XML]\n"
	  "\n"
	  "Decrypts: a saved state becomes QEMU's migration stream (without libvirt's header; the "
	  "vTPM\n"
	  "in it stays sealed), a dump the file that crash(8) or gdb read. OUT is the guest's "
	  "memory in\n"
	  "the clear. It has mode 0600, and is there only if all of FILE is authentic.\n"
	  "  -o OUT           - is standard output, to which authentic records go as they come: a\n"
	  "                   reader must throw them away if the exit status is not 0\n"
	  "  --force          replace OUT\n"
	  "  --key FILE, --protector XML  as for state verify\n" },
	{ "state", "shred", cmd_state_shred,
	  "usage: shieldvm state shred FILE [--yes]\n"
	  "\n"
	  "Overwrites the key in FILE, in place, so that nobody can open it any more: neither host "
	  "nor\n"
	  "owner. Copies of FILE are not touched, nor what the filesystem or the medium keeps of "
	  "it.\n"
	  "  --yes  do not ask\n" },
	{ NULL, "status", cmd_status,
	  "usage: shieldvm status [VM] [--json]\n"
	  "\n"
	  "Lists the workers that run on this host, as root; VM is a name or a UUID, and then it "
	  "is\n"
	  "an error (1) if there is no worker for it.\n" },
};

/* The command that the first words name; *WORDS is how many they are. */
static const struct command *find_command(int argc, char **argv, int *words, struct fault *f)
{
	const char *first = argc > 1 ? argv[1] : NULL, *second = argc > 2 ? argv[2] : NULL;
	int is_group = 0;
	for (size_t i = 0; first && i < sizeof(COMMANDS) / sizeof(COMMANDS[0]); i++) {
		const struct command *c = &COMMANDS[i];
		*words = c->group ? 2 : 1;
		if (!c->group && strcmp(c->name, first) == 0)
			return c;
		if (!c->group || strcmp(c->group, first) != 0)
			continue;
		is_group = 1;
		if (second && strcmp(c->name, second) == 0)
			return c;
	}
	if (!first)
		fault_set(f, ERR_USAGE, "a command is missing (see shieldvm --help)");
	else if (is_group && !second)
		fault_set(f, ERR_USAGE, "%s: a command is missing (see shieldvm %s --help)", first,
			  first);
	else
		fault_set(f, ERR_USAGE, "there is no command '%s%s%s' (see shieldvm --help)", first,
			  is_group ? " " : "", is_group ? second : "");
	return NULL;
}

static int is_help(const char *word)
{
	return word && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 ||
			strcmp(word, "help") == 0);
}

/* `shieldvm --help`, `shieldvm key --help` and `shieldvm --version`: 1 if that was it. */
static int answer_general(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--version") == 0) {
		puts("shieldvm " SHIELDVM_VERSION);
		return 1;
	}
	if (argc > 1 && is_help(argv[1])) {
		fputs(HELP, stdout);
		return 1;
	}
	if (argc < 3 || !is_help(argv[2]))
		return 0;
	int found = 0;
	for (size_t i = 0; i < sizeof(COMMANDS) / sizeof(COMMANDS[0]); i++) {
		if (!COMMANDS[i].group || strcmp(COMMANDS[i].group, argv[1]) != 0)
			continue;
		printf("%s%s", found ? "\n" : "", COMMANDS[i].help);
		found = 1;
	}
	return found;
}

int main(int argc, char **argv)
{
	struct fault f = { 0 };
	int words = 0, rc = ERR_USAGE;
	/* Keys pass through this memory: no core file of it, no debugger without privilege. */
	prctl(PR_SET_DUMPABLE, 0);
	/* A reader who has seen enough (| head) does not end a command half way. */
	signal(SIGPIPE, SIG_IGN);
	if (answer_general(argc, argv)) {
		rc = 0;
	} else {
		const struct command *c = find_command(argc, argv, &words, &f);
		if (c)
			rc = c->run(argc - words, argv + words, &f);
		if (c && rc == OPTIONS_HELP)
			fputs(c->help, stdout);
	}
	if (rc >= 0 && (fflush(stdout) != 0 || ferror(stdout)))
		rc = fault_set(&f, -EIO, "standard output could not be written");
	if (rc < 0) {
		fprintf(stderr, "shieldvm: %s\n", f.text[0] ? f.text : err_text(rc));
		return (int)err_exit_code(rc);
	}
	return EXIT_DONE;
}
