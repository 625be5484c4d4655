/* SPDX-License-Identifier: BSD-3-Clause */
/* The QMP rules as a table: a command as libvirt (or somebody at virsh) gives it, and what each
 * level says. */
#include "tests/unit/test.h"

#include <stdio.h>
#include <string.h>

#include "policy/domain_rules.h"
#include "policy/qmp_rules.h"

#define ANY NULL /* no rule: it passes */

struct row {
	const char *command, *arguments;
	const char *shielded, *supported; /* the rule that refuses */
};

#define BOTH(command, arguments, rule)                                                             \
	{                                                                                          \
		command, arguments, rule, rule                                                     \
	}
#define PASSES(command, arguments)                                                                 \
	{                                                                                          \
		command, arguments, ANY, ANY                                                       \
	}
#define SHIELDED(command, arguments, rule)                                                         \
	{                                                                                          \
		command, arguments, rule, ANY                                                      \
	}

static const struct row ROWS[] = {
	/* What qemuProcessReconnect and qemuProcessLaunch send. */
	PASSES("query-status", ""),
	PASSES("query-chardev", ""),
	PASSES("query-cpus-fast", ""),
	PASSES("query-hotpluggable-cpus", ""),
	PASSES("query-named-block-nodes", "'flat':true"),
	PASSES("query-block-jobs", ""),
	PASSES("query-jobs", ""),
	PASSES("query-migrate", ""),
	PASSES("query-migrate-capabilities", ""),
	PASSES("query-pr-managers", ""),
	PASSES("query-fdsets", ""),
	PASSES("migrate-set-capabilities", "'capabilities':[{'capability':'events','state':true}]"),
	PASSES("qom-list", "'path':'/machine/unattached'"),
	PASSES("qom-get", "'path':'/machine/unattached/device[0]','property':'realized'"),
	PASSES("cont", ""),
	PASSES("stop", ""),
	PASSES("system_powerdown", ""),
	PASSES("system_reset", ""),
	PASSES("balloon", "'value':419430400"),
	PASSES("getfd", "'fdname':'migrate'"),
	PASSES("add-fd", "'fdset-id':1"),
	PASSES("set-action", "'panic':'shutdown','watchdog':'reset'"),

	/* Ways in. */
	BOTH("screendump", "'filename':'/tmp/x'", "console.screenshot"),
	BOTH("send-key", "'keys':[]", "input.send-key"),
	BOTH("input-send-event", "'events':[]", "input.send-key"),
	BOTH("inject-nmi", "", "input.nmi"),
	BOTH("human-monitor-command", "'command-line':'info status'", "debug.hmp"),
	BOTH("human-monitor-command", "'command-line':7", "debug.hmp"),
	BOTH("human-monitor-command", "", "debug.hmp"),
	BOTH("human-monitor-command", "'command-line':'savevm s'", "state.snapshot"),
	BOTH("human-monitor-command", "'command-line':'delvm s'", "state.snapshot"),
	BOTH("memsave", "'val':0,'size':4096,'filename':'/tmp/x'", "memory.peek"),
	BOTH("pmemsave", "'val':0,'size':4096,'filename':'/tmp/x'", "memory.peek"),
	BOTH("dump-guest-memory", "'paging':false,'protocol':'fd:dump','detach':true",
	     "memory.dump"),
	BOTH("add_client", "'protocol':'vnc','fdname':'f'", "console.graphics"),
	BOTH("set_password", "'protocol':'vnc','password':'x'", "console.graphics"),
	BOTH("sev-inject-launch-secret", "'secret':''", "boot.launch-secret"),
	BOTH("quit", "", "monitor.unknown"),
	BOTH("x-query-profile", "", "monitor.unknown"),
	BOTH("trace-event-set-state", "'name':'*','enable':true", "monitor.unknown"),
	BOTH("ringbuf-read", "'device':'x','size':1", "monitor.unknown"),
	BOTH("chardev-change", "'id':'charmonitor'", "monitor.unknown"),
	BOTH("yank", "", "monitor.unknown"),
	BOTH("Query-status", "", "monitor.unknown"),
	BOTH("", "", "monitor.unknown"),

	/* State. */
	/* Which descriptor that is, the worker knows. */
	PASSES("migrate", "'uri':'fd:migrate'"),
	PASSES("migrate-incoming", "'uri':'fd:7'"),
	BOTH("migrate", "'uri':'file:/tmp/x'", "state.save"),
	BOTH("migrate-set-capabilities",
	     "'capabilities':[{'capability':'mapped-ram','state':true}]", "state.save"),
	PASSES("migrate-set-capabilities",
	       "'capabilities':[{'capability':'mapped-ram','state':false}]"),
	PASSES("migrate-set-capabilities",
	       "'capabilities':[{'capability':'x-ignore-shared','state':false},"
	       "{'capability':'xbzrle','state':true}]"),
	BOTH("migrate-set-capabilities",
	     "'capabilities':[{'capability':'x-ignore-shared','state':true}]", "monitor.unknown"),
	/* All that libvirt knows (qemu_migration_params.c). */
	PASSES("migrate-set-capabilities",
	       "'capabilities':[{'capability':'auto-converge','state':true},"
	       "{'capability':'compress','state':true},"
	       "{'capability':'dirty-bitmaps','state':true},"
	       "{'capability':'events','state':true},"
	       "{'capability':'late-block-activate','state':true},"
	       "{'capability':'pause-before-switchover','state':true},"
	       "{'capability':'return-path','state':true},"
	       "{'capability':'switchover-ack','state':true},"
	       "{'capability':'xbzrle','state':true},"
	       "{'capability':'multifd','state':false},"
	       "{'capability':'postcopy-ram','state':true}]"),
	PASSES("migrate-set-parameters",
	       "'avail-switchover-bandwidth':1,'block-bitmap-mapping':[],'block-incremental':true,"
	       "'compress-level':1,'compress-threads':1,'compress-wait-thread':true,"
	       "'cpu-throttle-increment':1,'cpu-throttle-initial':1,'cpu-throttle-tailslow':true,"
	       "'decompress-threads':1,'downtime-limit':1,'max-bandwidth':9223372036853727232,"
	       "'max-cpu-throttle':1,'max-postcopy-bandwidth':1,'multifd-channels':2,"
	       "'multifd-compression':'none','multifd-zlib-level':1,'multifd-zstd-level':1,"
	       "'tls-authz':'','tls-creds':'','tls-hostname':'','xbzrle-cache-size':4096"),
	BOTH("migrate-set-parameters", "'cpr-exec-command':['/bin/sh','-c','x']",
	     "monitor.unknown"),
	BOTH("migrate-set-parameters", "'max-bandwidth':1,'mode':'cpr-exec'", "monitor.unknown"),
	PASSES("migrate-set-parameters", "'max-bandwidth':1,'direct-io':false"),
	BOTH("migrate-set-parameters", "'max-bandwidth':1,'direct-io':true", "monitor.unknown"),
	BOTH("migrate-set-parameters", "'direct-io':0", "monitor.unknown"),
	BOTH("migrate-set-capabilities", "'capabilities':[{'capability':'events','state':false}]",
	     "monitor.form"),
	BOTH("migrate-set-capabilities", "'capabilities':{}", "monitor.form"),
	PASSES("migrate-set-capabilities",
	       "'capabilities':[{'capability':'multifd','state':true}]"),
	BOTH("migrate-set-capabilities",
	     "'capabilities':[{'capability':'postcopy-preempt','state':true}]", "migration.form"),
	BOTH("migrate-set-capabilities",
	     "'capabilities':[{'capability':'rdma-pin-all','state':true}]", "migration.form"),
	BOTH("migrate-set-capabilities",
	     "'capabilities':[{'capability':'zero-copy-send','state':true}]", "migration.form"),
	BOTH("migrate", "", "migration.unsealed"),
	PASSES("migrate-incoming", "'uri':'tcp:[::]:49152'"),
	PASSES("migrate-incoming", "'uri':'unix:/x'"),
	BOTH("migrate-incoming", "'uri':'rdma:h:1'", "migration.form"),
	BOTH("migrate-incoming", "'uri':'exec:cat /tmp/x'", "migration.unsealed"),
	BOTH("migrate-incoming", "", "migration.unsealed"),
	BOTH("migrate", "'uri':'exec:cat >/tmp/x'", "state.save"),
	PASSES("migrate", "'uri':'tcp:h:1'"),
	PASSES("migrate", "'uri':'unix:/x'"),
	BOTH("migrate", "'uri':'unixx:/x'", "migration.unsealed"),
	BOTH("migrate", "'uri':'rdma:h:1'", "migration.form"),
	BOTH("migrate", "'channels':[]", "migration.unsealed"),
	PASSES("migrate-continue", "'state':'pre-switchover'"),
	BOTH("migrate-continue", "'state':'device'", "monitor.form"),
	BOTH("migrate-continue", "", "monitor.form"),
	PASSES("migrate-pause", ""),
	PASSES("migrate-recover", "'uri':'tcp:h:1'"),
	PASSES("migrate-recover", "'uri':'unix:/x'"),
	BOTH("migrate-recover", "'uri':'rdma:h:1'", "migration.form"),
	BOTH("migrate-recover", "'uri':'exec:x'", "migration.unsealed"),
	PASSES("migrate-start-postcopy", ""),
	BOTH("snapshot-save", "'job-id':'x'", "state.snapshot"),
	BOTH("snapshot-load", "'job-id':'x'", "state.snapshot"),
	BOTH("snapshot-delete", "'job-id':'x'", "state.snapshot"),
	BOTH("xen-save-devices-state", "'filename':'/tmp/x'", "state.save"),
	BOTH("xen-load-devices-state", "'filename':'/tmp/x'", "state.save"),
	PASSES("migrate_cancel", ""),

	/* Devices. */
	PASSES("device_add", "'driver':'virtio-blk-pci','drive':'x','id':'virtio-disk9'"),
	PASSES("device_add", "'driver':'virtio-net-pci','netdev':'hostnet1','id':'net1'"),
	PASSES("device_add", "'driver':'virtio-net-pci','netdev':'n','id':'net1','romfile':''"),
	BOTH("device_add", "'driver':'virtio-net-pci','romfile':'/tmp/x'", "boot.rom"),
	BOTH("device_add", "'driver':'e1000','romfile':7", "boot.rom"),
	PASSES("device_add", "'driver':'qemu64-x86_64-cpu','socket-id':1"),
	PASSES("device_add", "'driver':'pc-dimm','memdev':'m'"),
	PASSES("device_add", "'driver':'usb-kbd'"),
	PASSES("device_add", "'driver':'virtio-serial-pci'"),
	BOTH("device_add", "'driver':'isa-serial','chardev':'c'", "console.serial"),
	BOTH("device_add", "'driver':'pci-serial'", "console.serial"),
	BOTH("device_add", "'driver':'virtconsole','chardev':'c'", "console.console"),
	BOTH("device_add", "'driver':'virtserialport','name':'org.qemu.guest_agent.0'",
	     "agent.channel"),
	BOTH("device_add", "'driver':'virtserialport','name':'com.redhat.spice.0'",
	     "channel.spice"),
	BOTH("device_add", "'driver':'virtserialport'", "channel.other"),
	BOTH("device_add", "'driver':'virtserialport','name':7", "channel.other"),
	BOTH("device_add", "'driver':'vhost-vsock-pci','guest-cid':3", "channel.vsock"),
	BOTH("device_add", "'driver':'usb-redir'", "device.redirdev"),
	BOTH("device_add", "'driver':'vfio-pci','host':'0:0'", "device.hostdev"),
	BOTH("device_add", "'driver':'usb-host'", "device.hostdev"),
	BOTH("device_add", "'driver':'virtio-9p-pci'", "device.filesystem"),
	BOTH("device_add", "'driver':'vhost-user-fs-pci'", "device.filesystem"),
	BOTH("device_add", "'driver':'vhost-user-blk-pci'", "device.vhost-user"),
	BOTH("device_add", "'driver':'virtio-input-host-pci'", "console.input"),
	BOTH("device_add", "'driver':'ivshmem-plain'", "memory.shmem"),
	BOTH("device_add", "'driver':'nvdimm'", "memory.nvdimm"),
	SHIELDED("device_add", "'driver':'usb-audio'", "console.sound"),
	BOTH("device_add", "'driver':'loader','file':'/x'", "qemu.device"),
	PASSES("device_add", "'driver':'scsi-cd','id':'scsi0-0-0-0'"),
	BOTH("device_add", "'driver':'scsi-cd','drive':'d'", "disk.media"),
	BOTH("device_add", "'driver':'ide-cd','drive':'d'", "disk.media"),
	BOTH("device_add", "'driver':'floppy','drive':'d'", "disk.media"),
	BOTH("blockdev-open-tray", "'id':'x','force':false", "disk.media"),
	BOTH("blockdev-remove-medium", "'id':'x'", "disk.media"),
	BOTH("blockdev-insert-medium", "'id':'x','node-name':'n'", "disk.media"),
	PASSES("blockdev-close-tray", "'id':'x'"),
	BOTH("device_add", "'driver':''", "qemu.device"),
	BOTH("device_add", "'driver':7", "monitor.form"),
	BOTH("device_add", "", "monitor.form"),

	/* Objects. */
	PASSES("object-add", "'qom-type':'secret','id':'s','data':'x'"),
	PASSES("object-add", "'qom-type':'iothread','id':'i'"),
	PASSES("object-add", "'qom-type':'rng-random','id':'r','filename':'/dev/urandom'"),
	SHIELDED("object-add", "'qom-type':'rng-random','id':'r','filename':'/tmp/x'",
		 "device.rng"),
	SHIELDED("object-add", "'qom-type':'rng-random','props':{'filename':'/tmp/x'}",
		 "device.rng"),
	SHIELDED("object-add", "'qom-type':'rng-egd','id':'r','chardev':'c'", "device.rng"),
	PASSES("object-add", "'qom-type':'memory-backend-ram','id':'m','size':1"),
	PASSES("object-add", "'qom-type':'memory-backend-ram','id':'m','share':false"),
	BOTH("object-add", "'qom-type':'memory-backend-ram','id':'m','share':true",
	     "memory.shared"),
	BOTH("object-add", "'qom-type':'memory-backend-ram','id':'m','share':'on'",
	     "memory.shared"),
	PASSES("object-add", "'qom-type':'memory-backend-memfd','id':'m','share':false"),
	PASSES("object-add", "'qom-type':'memory-backend-memfd','props':{'share':false}"),
	/* QEMU's default is to share it. */
	BOTH("object-add", "'qom-type':'memory-backend-memfd','id':'m','size':1", "memory.shared"),
	BOTH("object-add", "'qom-type':'memory-backend-memfd','id':'m','share':true",
	     "memory.shared"),
	BOTH("object-add", "'qom-type':'memory-backend-ram','id':'m','dump':true", "memory.core"),
	BOTH("object-add", "'qom-type':'memory-backend-file','mem-path':'/x'", "memory.shared"),
	BOTH("object-add", "'qom-type':'input-linux','evdev':'/x'", "console.input"),
	BOTH("object-add", "'qom-type':'filter-dump','file':'/x'", "qemu.object"),
	BOTH("object-add", "'qom-type':'sev-guest'", "qemu.object"),
	BOTH("object-add", "'qom-type':'memory-backend-file','id':'shmmem-s0','share':true",
	     "memory.shmem"),
	BOTH("object-add", "", "monitor.form"),

	/* Back ends. */
	BOTH("chardev-add", "'id':'charserial1','backend':{'type':'pty','data':{}}",
	     "console.serial"),
	/* The port that uses it is judged; no other back end of a channel is without effect. */
	PASSES("chardev-add", "'id':'charchannel0','backend':{'type':'socket','data':{}}"),
	BOTH("chardev-add", "'id':'charchannel0','backend':{'type':'file','data':{}}",
	     "channel.other"),
	BOTH("chardev-add", "'id':'charchannel0','backend':{'type':'qemu-vdagent','data':{}}",
	     "channel.spice"),
	BOTH("chardev-add", "'id':'charredir0','backend':{'type':'socket','data':{}}",
	     "device.redirdev"),
	SHIELDED("chardev-add", "'id':'charrng0','backend':{'type':'socket','data':{}}",
		 "device.rng"),
	BOTH("chardev-add", "'id':'x','backend':{'type':'pty','data':{}}", "qemu.chardev"),
	BOTH("chardev-add", "'id':'charnone','backend':{'type':'ringbuf'}", "qemu.chardev"),
	BOTH("chardev-add", "'id':'charserial1'", "monitor.form"),
	PASSES("netdev_add", "'type':'user','id':'hostnet1'"),
	PASSES("netdev_add", "'type':'tap','id':'hostnet1','fd':'fd-net1'"),
	BOTH("netdev_add", "'type':'user','id':'n','hostfwd':[]", "qemu.netdev"),
	BOTH("netdev_add", "'type':'tap','id':'n','script':'/x'", "qemu.netdev"),
	BOTH("netdev_add", "'type':'vhost-user','id':'n'", "device.vhost-user"),
	BOTH("netdev_add", "'type':'l2tpv3','id':'n'", "qemu.netdev"),

	/* Disks. */
	PASSES("blockdev-add", "'driver':'file','filename':'/images/x','node-name':'n'"),
	PASSES("blockdev-add", "'driver':'qcow2','file':'n','backing':null,'node-name':'f'"),
	PASSES("blockdev-add", "'driver':'file','filename':'/dev/fdset/3','node-name':'n'"),
	BOTH("blockdev-add", "'driver':'file','filename':'/proc/self/mem'", "memory.peek"),
	BOTH("blockdev-add", "'driver':'raw','file':{'driver':'file','filename':'/proc/1/mem'}",
	     "memory.peek"),
	BOTH("blockdev-add", "'driver':'file','filename':'/x/../proc/1/mem'", "memory.peek"),
	BOTH("blockdev-add", "'driver':'host_device','filename':'/dev/mem'", "memory.peek"),
	BOTH("blockdev-add", "'driver':'virtio-blk-vhost-vdpa','path':'/dev/vhost-vdpa-0'",
	     "device.vhost-user"),
	/* What QEMU has open, and QEMU's folder is the root one. */
	BOTH("blockdev-add", "'driver':'file','filename':'/dev/fd/9'", "memory.peek"),
	BOTH("blockdev-add", "'driver':'file','filename':'/dev//.///fd/9'", "memory.peek"),
	BOTH("blockdev-add", "'driver':'file','filename':'/./proc/self/fd/9'", "memory.peek"),
	BOTH("blockdev-add", "'driver':'file','filename':'proc/self/fd/9'", "memory.peek"),
	BOTH("blockdev-add", "'driver':'file','filename':'/dev/stdin'", "memory.peek"),
	PASSES("blockdev-add", "'driver':'file','filename':'/images//x/./y'"),
	BOTH("blockdev-add", "'driver':'blkdebug','image':'n'", "qemu.blockdev"),
	BOTH("blockdev-add", "'driver':'raw','file':{'driver':'blkverify'}", "qemu.blockdev"),
	BOTH("blockdev-add", "'driver':'quorum','children':[{'driver':'file'}]", "qemu.blockdev"),
	BOTH("blockdev-add", "'driver':'nvme','device':'0000:01:00.0'", "device.hostdev"),
	BOTH("blockdev-add", "'driver':'vvfat','dir':'/x'", "device.filesystem"),
	BOTH("blockdev-add", "", "monitor.form"),
	PASSES("blockdev-reopen", "'options':[{'driver':'qcow2','file':'n'}]"),
	BOTH("blockdev-reopen", "'options':[{'driver':'blkdebug'}]", "qemu.blockdev"),
	BOTH("blockdev-reopen", "'options':{}", "monitor.form"),
	PASSES("blockdev-create", "'job-id':'j','options':{'driver':'qcow2','file':'n'}"),
	BOTH("blockdev-create", "'job-id':'j','options':{'driver':'x'}", "qemu.blockdev"),
	BOTH("blockdev-create", "'job-id':'j'", "monitor.form"),
	PASSES("block-export-add", "'type':'nbd','id':'e','node-name':'n'"),
	BOTH("block-export-add", "'type':'fuse','id':'e','node-name':'n'", "qemu.blockdev"),
	PASSES("transaction", "'actions':[{'type':'blockdev-snapshot','data':{}}]"),
	BOTH("transaction",
	     "'actions':[{'type':'blockdev-snapshot'},{'type':'blockdev-snapshot-internal-sync'}]",
	     "monitor.unknown"),
	BOTH("transaction", "'actions':[7]", "monitor.form"),
	BOTH("transaction", "", "monitor.form"),

	/* Properties. */
	PASSES("qom-set", "'path':'/x','property':'guest-stats-polling-interval','value':1"),
	PASSES("qom-set", "'path':'/x','property':'requested-size','value':1"),
	BOTH("qom-set", "'path':'/x','property':'logfile','value':'/x'", "qom.set"),
	BOTH("qom-get", "'path':'/objects/masterKey0','property':'data'", "qom.secret"),
	BOTH("qom-get", "'path':'/machine/x','property':'crash-information'", "crash.registers"),
	BOTH("qom-get", "'path':'/x'", "monitor.form"),
	BOTH("watchdog-set-action", "'action':'inject-nmi'", "crash.watchdog"),
	BOTH("set-action", "'watchdog':'inject-nmi'", "crash.watchdog"),
	BOTH("set-action", "'watchdog':7", "monitor.form"),
};
#define N_ROWS (sizeof(ROWS) / sizeof(ROWS[0]))

static json_t *arguments(const char *members)
{
	char text[1024];
	snprintf(text, sizeof(text), "{%s}", members);
	for (char *p = text; *p; p++) {
		if (*p == '\'')
			*p = '"';
	}
	json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	if (!j)
		fail_msg("not JSON: %s", text);
	return j;
}

static void expect(const struct row *row, const struct protector_facts *facts, const char *want)
{
	json_t *a = arguments(row->arguments);
	const struct qmp_rule *rule = qmp_rules_judge(row->command, a, facts);
	const char *got = rule ? rule->id : "passes";
	json_decref(a);
	if (strcmp(got, want ? want : "passes") != 0)
		fail_msg("%s {%s}: %s instead of %s", row->command, row->arguments, got,
			 want ? want : "passes");
}

static void test_table(void **state)
{
	const struct protector_facts shielded = { .level = LEVEL_SHIELDED };
	const struct protector_facts supported = { .level = LEVEL_ENCRYPTION_SUPPORTED };
	(void)state;
	for (size_t i = 0; i < N_ROWS; i++) {
		expect(&ROWS[i], &shielded, ROWS[i].shielded);
		expect(&ROWS[i], &supported, ROWS[i].supported);
	}
}

/* What the owner allows passes at encryption-supported, and nothing else does for it. */
static void test_owner(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ROWS; i++) {
		const char *rule = ROWS[i].supported;
		if (!rule)
			continue;
		struct protector_facts facts = { .level = LEVEL_ENCRYPTION_SUPPORTED,
						 .n_allow = 1 };
		snprintf(facts.allow[0], sizeof(facts.allow[0]), "%s", rule);
		expect(&ROWS[i], &facts, qmp_rule_allowable(rule) ? ANY : rule);
		/* At level shielded it has no word. */
		facts.level = LEVEL_SHIELDED;
		expect(&ROWS[i], &facts, ROWS[i].shielded);
		/* Another rule's permission does not help. */
		facts.level = LEVEL_ENCRYPTION_SUPPORTED;
		snprintf(facts.allow[0], sizeof(facts.allow[0]), "%s",
			 strcmp(rule, "input.nmi") == 0 ? "console.serial" : "input.nmi");
		expect(&ROWS[i], &facts, rule);
	}
}

/* A channel's pty passes if the owner allows the agent, which may be what it is for. */
static void test_channel(void **state)
{
	(void)state;
	const struct row backend =
		PASSES("chardev-add", "'id':'charchannel0','backend':{'type':'pty','data':{}}");
	const struct row agent =
		PASSES("device_add", "'driver':'virtserialport','name':'org.qemu.guest_agent.0'");
	const struct row other = PASSES("device_add", "'driver':'virtserialport','name':'x'");
	struct protector_facts facts = { .level = LEVEL_ENCRYPTION_SUPPORTED,
					 .n_allow = 1,
					 .allow = { "agent.channel" } };
	expect(&backend, &facts, ANY);
	expect(&agent, &facts, ANY);
	expect(&other, &facts, "channel.other");
	facts.n_allow = 0;
	expect(&backend, &facts, "channel.other");
}

static void test_unknown_level(void **state)
{
	(void)state;
	const struct protector_facts facts = { .level = (enum shield_level)7,
					       .n_allow = 1,
					       .allow = { "input.nmi" } };
	const struct row nmi = PASSES("inject-nmi", ""), status = PASSES("query-status", "");
	expect(&nmi, &facts, "input.nmi");
	expect(&status, &facts, ANY);
}

/* No arguments at all must not be more than empty ones. */
static void test_no_arguments(void **state)
{
	const struct protector_facts facts = { .level = LEVEL_SHIELDED };
	(void)state;
	static const char *const NEED[] = { "device_add",      "object-add",  "chardev-add",
					    "netdev_add",      "transaction", "blockdev-add",
					    "blockdev-reopen", "qom-get",     "qom-set" };
	for (size_t i = 0; i < sizeof(NEED) / sizeof(NEED[0]); i++) {
		const struct qmp_rule *rule = qmp_rules_judge(NEED[i], NULL, &facts);
		assert_non_null(rule);
		assert_string_equal(rule->id, "monitor.form");
	}
}

static void test_rules_are_sane(void **state)
{
	size_t n, n_domain;
	const struct qmp_rule *rules = qmp_rules(&n);
	const struct domain_rule *domain = domain_rules(&n_domain);
	(void)state;
	for (size_t i = 0; i < n; i++) {
		assert_non_null(strchr(rules[i].id, '.'));
		assert_true(strlen(rules[i].reason) > 10);
		assert_true(strlen(rules[i].id) < PROTECTOR_RULE_MAX);
		/* Nothing is freer at the higher level. */
		assert_true(rules[i].at_shielded >= rules[i].at_supported);
		assert_int_equal(rules[i].at_shielded, VERDICT_REFUSE);
		for (size_t o = 0; o < i; o++)
			assert_string_not_equal(rules[i].id, rules[o].id);
		/* The XML's rule of the same name says the same. */
		for (size_t d = 0; d < n_domain; d++) {
			if (strcmp(domain[d].id, rules[i].id) == 0 &&
			    VERDICT_REFUSES(domain[d].at_shielded))
				assert_int_equal(domain[d].at_supported, rules[i].at_supported);
		}
	}
	assert_false(qmp_rule_allowable("no.such"));
	assert_false(qmp_rule_allowable("memory.peek"));
	assert_true(qmp_rule_allowable("console.screenshot"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),	     cmocka_unit_test(test_owner),
		cmocka_unit_test(test_channel),	     cmocka_unit_test(test_unknown_level),
		cmocka_unit_test(test_no_arguments), cmocka_unit_test(test_rules_are_sane),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
