/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/qmp_rules.h"

#include <stdlib.h>
#include <string.h>

#include "policy/qmp_judge.h"

#define OK     VERDICT_OK
#define OWNER  VERDICT_OWNER
#define REFUSE VERDICT_REFUSE

static const struct qmp_rule RULES[] = {
	/* Screens, keyboards and lines. */
	{ "console.graphics", OWNER, REFUSE,
	  "whoever reaches it sees the guest's screen and types on its keyboard" },
	{ "console.screenshot", OWNER, REFUSE, "it shows the guest's screen" },
	{ "console.serial", OWNER, REFUSE, "a serial line is a way into the guest" },
	{ "console.console", OWNER, REFUSE, "a console line is a way into the guest" },
	{ "console.parallel", OWNER, REFUSE,
	  "a line between host and guest that nothing encrypts" },
	{ "console.input", OWNER, REFUSE, "the host's keyboard would type into the guest" },
	{ "console.sound", OK, REFUSE, "the host can listen to what the guest plays and records" },
	{ "input.send-key", OWNER, REFUSE, "the host would type into the guest" },
	{ "input.nmi", OWNER, REFUSE, "an NMI can make the guest dump its memory" },

	/* Agents and other channels. */
	{ "agent.channel", OWNER, REFUSE,
	  "through the guest agent the host runs programs, reads files and sets passwords" },
	{ "channel.spice", OWNER, REFUSE, "clipboard, files and input pass through it" },
	{ "channel.other", OWNER, REFUSE,
	  "a channel between host and guest that nothing encrypts" },
	{ "channel.vsock", OWNER, REFUSE, "a socket between host and guest that nothing encrypts" },

	/* Devices that come from, or reach into, the host. */
	{ "device.filesystem", OWNER, REFUSE, "the host's files become the guest's, and back" },
	{ "device.redirdev", OWNER, REFUSE,
	  "a remote viewer can plug its own USB devices into the guest" },
	{ "device.smartcard", OWNER, REFUSE,
	  "the guest would trust a card that the host controls" },
	{ "device.hostdev", OWNER, REFUSE,
	  "a device of the host reads and writes the guest's memory" },
	{ "device.vhost-user", OWNER, REFUSE,
	  "another process on the host maps the guest's memory" },
	{ "device.rng", OK, REFUSE, "whoever feeds it knows the guest's random numbers" },
	{ "boot.rom", REFUSE, REFUSE, "a file of the host's would be code that the guest runs" },
	{ "boot.launch-secret", REFUSE, REFUSE, "the host would put a secret into the guest" },

	{ "disk.media", OWNER, REFUSE,
	  "the host would put files before a running guest, which may obey what is in them" },

	/* Its memory, its state, and what copies them. */
	{ "memory.peek", REFUSE, REFUSE, "it copies the guest's memory" },
	{ "memory.dump", OWNER, REFUSE,
	  "a dump holds the guest's memory, and only the owner can allow one" },
	{ "memory.dump-form", REFUSE, REFUSE,
	  "a dump passes through the worker, which takes an ELF file over a descriptor" },
	{ "memory.shmem", REFUSE, REFUSE, "memory shared with other processes of the host" },
	{ "memory.shared", OWNER, REFUSE,
	  "the guest's memory would be a file that other processes can map" },
	{ "memory.nvdimm", OWNER, REFUSE, "guest memory that is a plain file of the host" },
	{ "memory.core", REFUSE, REFUSE, "QEMU's core files would hold the guest's memory" },
	{ "crash.watchdog", REFUSE, REFUSE, "it would have the guest dump its memory" },
	{ "crash.registers", REFUSE, REFUSE, "it tells the guest's registers" },
	{ "state.save", REFUSE, REFUSE, "the guest's state would leave in clear" },
	{ "state.unverified", REFUSE, REFUSE,
	  "the guest would run on state that is not all authentic" },
	{ "state.auth", REFUSE, REFUSE, "the state is not authentic" },
	{ "state.snapshot", REFUSE, REFUSE,
	  "the guest's state would be stored and brought back outside its worker" },
	{ "migration.unsealed", REFUSE, REFUSE, "the guest's state would travel in clear" },
	{ "migration.form", REFUSE, REFUSE,
	  "not a form of migration that is sealed; migrate without --tunnelled and "
	  "--rdma" },
	{ "migration.peer", REFUSE, REFUSE,
	  "nobody at the other end has shown to be this VM's worker" },
	{ "migration.moved", REFUSE, REFUSE, "the VM runs on the other host, or may" },

	/* The rest. */
	{ "debug.hmp", REFUSE, REFUSE, "the human monitor reads and changes the guest at will" },
	{ "qom.secret", REFUSE, REFUSE, "it would tell a secret that QEMU keeps" },
	{ "qom.set", REFUSE, REFUSE, "not a property that libvirt changes" },
	{ "qemu.device", REFUSE, REFUSE, "a device that libvirt never makes" },
	{ "qemu.object", REFUSE, REFUSE, "an object that libvirt never makes" },
	{ "qemu.netdev", REFUSE, REFUSE, "a network that libvirt never makes" },
	{ "qemu.chardev", REFUSE, REFUSE, "not a character device of libvirt's" },
	{ "qemu.blockdev", REFUSE, REFUSE, "a block driver that libvirt never uses" },
	{ "monitor.form", REFUSE, REFUSE, "not in the form that libvirt gives it" },
	{ "monitor.unknown", REFUSE, REFUSE, "not a command that libvirt needs for this VM" },
};
#define N_RULES (sizeof(RULES) / sizeof(RULES[0]))

struct command {
	const char *name;
	const char *rule;    /* refused, or allowed, under this one */
	qmp_judge_fn *judge; /* or: its arguments decide; neither: allowed */
};

#define PASS(name)                                                                                 \
	{                                                                                          \
		name, NULL, NULL                                                                   \
	}
#define RULE(name, rule)                                                                           \
	{                                                                                          \
		name, rule, NULL                                                                   \
	}
#define JUDGE(name, judge)                                                                         \
	{                                                                                          \
		name, NULL, judge                                                                  \
	}

static const struct command COMMANDS[] = {
	/* Start, reconnect, statistics: what libvirt asks. */
	PASS("query-commands"),
	PASS("query-qmp-schema"),
	PASS("query-version"),
	PASS("query-kvm"),
	PASS("query-name"),
	PASS("query-uuid"),
	PASS("query-target"),
	PASS("query-machines"),
	PASS("query-current-machine"),
	PASS("query-status"),
	PASS("query-chardev"),
	PASS("query-cpus-fast"),
	PASS("query-hotpluggable-cpus"),
	PASS("query-cpu-definitions"),
	PASS("query-cpu-model-expansion"),
	PASS("query-cpu-model-baseline"),
	PASS("query-cpu-model-comparison"),
	PASS("query-command-line-options"),
	PASS("query-iothreads"),
	PASS("query-memory-devices"),
	PASS("query-memory-size-summary"),
	PASS("query-balloon"),
	PASS("query-hv-balloon-status-report"),
	PASS("query-block"),
	PASS("query-blockstats"),
	PASS("query-named-block-nodes"),
	PASS("query-block-jobs"),
	PASS("query-block-exports"),
	PASS("query-jobs"),
	PASS("query-rx-filter"),
	PASS("query-pr-managers"),
	PASS("query-fdsets"),
	PASS("query-migrate"),
	PASS("query-migrate-capabilities"),
	PASS("query-migrate-parameters"),
	PASS("query-gic-capabilities"),
	PASS("query-sev"),
	PASS("query-sev-capabilities"),
	PASS("query-sev-launch-measure"),
	PASS("query-sgx"),
	PASS("query-sgx-capabilities"),
	PASS("query-stats"),
	PASS("query-stats-schemas"),
	PASS("query-vnc"),
	PASS("query-vnc-servers"),
	PASS("query-spice"),
	PASS("query-tpm"),
	PASS("query-tpm-models"),
	PASS("query-tpm-types"),
	PASS("query-dump-guest-memory-capability"),
	PASS("query-dump"),
	PASS("calc-dirty-rate"),
	PASS("query-dirty-rate"),
	PASS("set-vcpu-dirty-limit"),
	PASS("cancel-vcpu-dirty-limit"),
	PASS("query-vcpu-dirty-limit"),
	PASS("qom-list"),
	PASS("qom-list-types"),
	PASS("qom-list-properties"),
	PASS("device-list-properties"),
	JUDGE("qom-get", judge_qom_get),
	JUDGE("qom-set", judge_qom_set),

	/* Its life. */
	PASS("stop"),
	PASS("cont"),
	PASS("system_powerdown"),
	PASS("system_reset"),
	PASS("system_wakeup"),
	PASS("balloon"),
	PASS("set_link"),
	PASS("rtc-reset-reinjection"),
	PASS("block_set_io_throttle"),
	PASS("block-set-write-threshold"),
	PASS("block-latency-histogram-set"),
	PASS("query-acpi-ospm-status"),
	JUDGE("set-action", judge_watchdog),
	JUDGE("watchdog-set-action", judge_watchdog),

	/* Hotplug. */
	JUDGE("device_add", judge_device_add),
	PASS("device_del"),
	PASS("device-sync-config"),
	JUDGE("object-add", judge_object_add),
	PASS("object-del"),
	JUDGE("netdev_add", judge_netdev_add),
	PASS("netdev_del"),
	JUDGE("chardev-add", judge_chardev_add),
	PASS("chardev-remove"),
	/* A descriptor alone does nothing; the command that uses it is judged. */
	PASS("getfd"),
	PASS("closefd"),
	PASS("add-fd"),
	PASS("remove-fd"),

	/* Disks: encrypted by the guest, so their blocks may be copied. */
	JUDGE("blockdev-add", judge_blockdev),
	JUDGE("blockdev-reopen", judge_blockdev_reopen),
	JUDGE("blockdev-create", judge_blockdev_create),
	PASS("blockdev-del"),
	PASS("blockdev-set-active"),
	/* libvirt's first steps to another medium are refused too: it takes the old one out before
	   it asks for the new one, and would leave the guest with neither. */
	RULE("blockdev-open-tray", "disk.media"),
	RULE("blockdev-remove-medium", "disk.media"),
	RULE("blockdev-insert-medium", "disk.media"),
	PASS("blockdev-close-tray"),
	PASS("block_resize"),
	PASS("blockdev-mirror"),
	PASS("blockdev-backup"),
	PASS("block-commit"),
	PASS("block-stream"),
	PASS("block-job-cancel"),
	PASS("block-job-change"),
	PASS("block-job-set-speed"),
	PASS("job-cancel"),
	PASS("job-complete"),
	PASS("job-finalize"),
	PASS("job-dismiss"),
	PASS("block-dirty-bitmap-add"),
	PASS("block-dirty-bitmap-remove"),
	PASS("nbd-server-start"),
	PASS("nbd-server-add"),
	PASS("nbd-server-stop"),
	JUDGE("block-export-add", judge_block_export_add),
	PASS("block-export-del"),
	JUDGE("transaction", judge_transaction),

	/* State that leaves or enters. */
	JUDGE("migrate-set-capabilities", judge_migrate_capabilities),
	JUDGE("migrate-set-parameters", judge_migrate_parameters),
	PASS("migrate_cancel"),
	JUDGE("migrate", judge_migrate),
	JUDGE("migrate-incoming", judge_migrate_incoming),
	JUDGE("migrate-continue", judge_migrate_continue),
	PASS("migrate-pause"),
	JUDGE("migrate-recover", judge_migrate_incoming),
	PASS("migrate-start-postcopy"),
	JUDGE("dump-guest-memory", judge_dump),
	RULE("snapshot-save", "state.snapshot"),
	RULE("snapshot-load", "state.snapshot"),
	RULE("snapshot-delete", "state.snapshot"),
	RULE("xen-save-devices-state", "state.save"),
	RULE("xen-load-devices-state", "state.save"),

	/* Ways in. */
	RULE("memsave", "memory.peek"),
	RULE("pmemsave", "memory.peek"),
	RULE("screendump", "console.screenshot"),
	RULE("add_client", "console.graphics"),
	RULE("set_password", "console.graphics"),
	RULE("expire_password", "console.graphics"),
	RULE("change-vnc-password", "console.graphics"),
	RULE("client_migrate_info", "console.graphics"),
	RULE("display-reload", "console.graphics"),
	RULE("display-update", "console.graphics"),
	RULE("send-key", "input.send-key"),
	RULE("input-send-event", "input.send-key"),
	RULE("inject-nmi", "input.nmi"),
	JUDGE("human-monitor-command", judge_hmp),
	RULE("sev-inject-launch-secret", "boot.launch-secret"),
};

const struct qmp_rule *qmp_rules(size_t *n)
{
	*n = N_RULES;
	return RULES;
}

static const struct qmp_rule *find_rule(const char *id)
{
	for (size_t i = 0; i < N_RULES; i++) {
		if (strcmp(RULES[i].id, id) == 0)
			return &RULES[i];
	}
	return NULL;
}

int qmp_rule_allowable(const char *id)
{
	const struct qmp_rule *rule = find_rule(id);
	return rule && rule->at_supported == VERDICT_OWNER;
}

static int refuses(const struct protector_facts *facts, const struct qmp_rule *rule)
{
	enum verdict v = REFUSE; /* a level that this build does not know has no freedoms */
	if (facts->level == LEVEL_SHIELDED)
		v = rule->at_shielded;
	else if (facts->level == LEVEL_ENCRYPTION_SUPPORTED)
		v = rule->at_supported;
	for (size_t i = 0; v == OWNER && i < facts->n_allow; i++) {
		if (strcmp(facts->allow[i], rule->id) == 0)
			v = OK;
	}
	return VERDICT_REFUSES(v);
}

int qmp_refuses(const struct qmp_judgement *j, const char *id)
{
	const struct qmp_rule *rule = find_rule(id);
	if (!rule)
		abort();
	return refuses(j->facts, rule);
}

void qmp_met(struct qmp_judgement *j, const char *id)
{
	const struct qmp_rule *rule = find_rule(id);
	if (!rule)
		abort();
	if (!j->refused_by && refuses(j->facts, rule))
		j->refused_by = rule;
}

const struct qmp_rule *qmp_rules_judge(const char *command, json_t *arguments,
				       const struct protector_facts *facts)
{
	struct qmp_judgement j = { .facts = facts };
	const struct command *row = NULL;
	for (size_t i = 0; !row && i < sizeof(COMMANDS) / sizeof(COMMANDS[0]); i++) {
		if (strcmp(COMMANDS[i].name, command) == 0)
			row = &COMMANDS[i];
	}
	if (!row)
		qmp_met(&j, "monitor.unknown");
	else if (row->rule)
		qmp_met(&j, row->rule);
	else if (row->judge)
		row->judge(&j, arguments);
	return j.refused_by;
}
