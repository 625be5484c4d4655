/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/qmp_judge.h"

#include <string.h>

#include "policy/qemu_names.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static int has_prefix(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static int is_one_of(const char *text, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(text, list[i]) == 0)
			return 1;
	}
	return 0;
}

/* The text member KEY of ARGUMENTS; if it is missing or no text, "monitor.form" is met and NULL
 * returned. */
static const char *text_of(struct qmp_judgement *j, const json_t *arguments, const char *key)
{
	const char *text = json_string_value(json_object_get(arguments, key));
	if (!text)
		qmp_met(j, "monitor.form");
	return text;
}

/* A member that is there and is not plainly off: QEMU takes "on" and "yes" for true in places. */
static int is_on(const json_t *arguments, const char *key)
{
	const json_t *v = json_object_get(arguments, key);
	const char *text = json_string_value(v);
	if (!v || json_is_false(v))
		return 0;
	return !text || (strcmp(text, "off") != 0 && strcmp(text, "no") != 0);
}

/* A member that is there and plainly off. */
static int is_off(const json_t *arguments, const char *key)
{
	return json_object_get(arguments, key) && !is_on(arguments, key);
}

/* ---- Devices -------------------------------------------------------------------------------- */

/* What a driver is, by the beginning of its name; the first row that fits. */
static const struct {
	const char *prefix, *rule; /* NULL: nothing against it */
} DRIVERS[] = {
	{ "isa-serial", "console.serial" },
	{ "pci-serial", "console.serial" },
	{ "usb-serial", "console.serial" },
	{ "isa-debugcon", "console.serial" },
	{ "isa-parallel", "console.parallel" },
	{ "virtconsole", "console.console" },
	{ "usb-redir", "device.redirdev" },
	{ "usb-ccid", "device.smartcard" },
	{ "ccid-card-", "device.smartcard" },
	{ "usb-host", "device.hostdev" },
	{ "vfio-", "device.hostdev" },
	{ "scsi-generic", "device.hostdev" },
	{ "scsi-block", "device.hostdev" },
	{ "usb-mtp", "device.filesystem" },
	{ "virtio-9p", "device.filesystem" },
	{ "vhost-user-fs", "device.filesystem" },
	{ "vhost-vsock", "channel.vsock" },
	{ "vhost-user-vsock", "channel.vsock" },
	{ "vhost-", "device.vhost-user" },
	{ "virtio-input-host", "console.input" },
	{ "ivshmem", "memory.shmem" },
	{ "nvdimm", "memory.nvdimm" },
	{ "virtio-pmem", "memory.nvdimm" },
	{ "intel-hda", "console.sound" },
	{ "ich9-intel-hda", "console.sound" },
	{ "hda-", "console.sound" },
	{ "AC97", "console.sound" },
	{ "ES1370", "console.sound" },
	{ "sb16", "console.sound" },
	{ "usb-audio", "console.sound" },
	{ "virtio-sound", "console.sound" },
};

/* A port of the virtio-serial bus, by the name that the guest sees. */
static void judge_port(struct qmp_judgement *j, const json_t *arguments)
{
	const char *name = json_string_value(json_object_get(arguments, "name"));
	if (name && strcmp(name, "org.qemu.guest_agent.0") == 0)
		qmp_met(j, "agent.channel");
	else if (name &&
		 (has_prefix(name, "com.redhat.spice") || has_prefix(name, "org.spice-space")))
		qmp_met(j, "channel.spice");
	else
		qmp_met(j, "channel.other");
}

static int ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);
	return n >= m && strcmp(text + n - m, end) == 0;
}

void judge_device_add(struct qmp_judgement *j, json_t *arguments)
{
	const char *driver = text_of(j, arguments, "driver");
	const json_t *rom = json_object_get(arguments, "romfile");
	if (!driver)
		return;
	if (strcmp(driver, "virtserialport") == 0)
		judge_port(j, arguments);
	for (size_t i = 0; i < N(DRIVERS); i++) {
		if (has_prefix(driver, DRIVERS[i].prefix)) {
			qmp_met(j, DRIVERS[i].rule);
			break;
		}
	}
	/* A drive is a medium too if it comes with one. */
	if ((ends_with(driver, "-cd") || strcmp(driver, "floppy") == 0) &&
	    json_object_get(arguments, "drive"))
		qmp_met(j, "disk.media");
	if (rom && (!json_is_string(rom) || *json_string_value(rom)))
		qmp_met(j, "boot.rom");
	if (!qemu_name_is_device(driver) && !ends_with(driver, "-x86_64-cpu"))
		qmp_met(j, "qemu.device");
}

/* ---- Objects -------------------------------------------------------------------------------- */

/* What libvirt adds while a VM runs and there is nothing against. */
static const char *const OBJECTS[] = {
	"secret",
	"iothread",
	"throttle-group",
	"thread-context",
	"rng-builtin",
	"tls-creds-x509",
	"tls-cipher-suites",
	"cryptodev-backend-builtin",
	"rng-random",
	"pr-manager-helper",
	"memory-backend-ram",
	"memory-backend-memfd",
	"rng-egd",
	"memory-backend-file",
	"iommufd",
	"input-linux",
};

static void judge_object_properties(struct qmp_judgement *j, const char *type, const json_t *p)
{
	const char *file = json_string_value(json_object_get(p, "filename"));
	if (strcmp(type, "rng-egd") == 0)
		qmp_met(j, "device.rng");
	if (strcmp(type, "rng-random") == 0 && json_object_get(p, "filename") &&
	    (!file || (strcmp(file, "/dev/urandom") != 0 && strcmp(file, "/dev/random") != 0)))
		qmp_met(j, "device.rng");
	if (!has_prefix(type, "memory-backend-"))
		return;
	if (is_on(p, "share") || strcmp(type, "memory-backend-file") == 0)
		qmp_met(j, "memory.shared");
	if (is_on(p, "dump"))
		qmp_met(j, "memory.core");
}

void judge_object_add(struct qmp_judgement *j, json_t *arguments)
{
	const char *type = text_of(j, arguments, "qom-type");
	const char *id = json_string_value(json_object_get(arguments, "id"));
	const json_t *props = json_object_get(arguments, "props");
	if (!type)
		return;
	if (strcmp(type, "input-linux") == 0)
		qmp_met(j, "console.input");
	if (id && has_prefix(id, "shmmem-")) /* libvirt's name for what an <shmem> shares */
		qmp_met(j, "memory.shmem");
	if (!is_one_of(type, OBJECTS, N(OBJECTS)))
		qmp_met(j, "qemu.object");
	if (props && !json_is_object(props))
		qmp_met(j, "monitor.form");
	/* QEMU shares a memfd unless it is told not to, and whoever can have QEMU open a file then
	 * has it open that one, as a disk. */
	if (strcmp(type, "memory-backend-memfd") == 0 && !is_off(arguments, "share") &&
	    !is_off(props, "share"))
		qmp_met(j, "memory.shared");
	judge_object_properties(j, type, arguments);
	judge_object_properties(j, type, props); /* as before QEMU 6.0 */
}

/* ---- Back ends ------------------------------------------------------------------------------ */

/* libvirt's ids tell which device a character device is for (qemuAliasChardevFromDevAlias).  Who
 * lies there gains nothing: the device that uses it is judged by itself. */
static const struct {
	const char *prefix, *rule;
} CHARDEVS[] = {
	{ "charserial", "console.serial" },	 { "charconsole", "console.console" },
	{ "charparallel", "console.parallel" },	 { "charredir", "device.redirdev" },
	{ "charsmartcard", "device.smartcard" }, { "charrng", "device.rng" },
	{ "charnet", "device.vhost-user" },	 { "chr-vu-fs", "device.filesystem" },
	{ "chr-vu-", "device.vhost-user" },	 { "charshmem", "memory.shmem" },
};

/* A channel's socket does not tell what it is for, and does nothing before the port comes that
 * uses it: the port has a name and is judged by it.  libvirt then takes the socket out again. */
static void judge_channel_backend(struct qmp_judgement *j, const char *type)
{
	static const char *const VIEWERS[] = { "spicevmc", "spiceport", "qemu-vdagent", "dbus" };
	if (strcmp(type, "socket") == 0)
		return;
	if (is_one_of(type, VIEWERS, N(VIEWERS)))
		qmp_met(j, "channel.spice");
	else if (qmp_refuses(j, "agent.channel"))
		qmp_met(j, "channel.other");
}

void judge_chardev_add(struct qmp_judgement *j, json_t *arguments)
{
	const char *id = text_of(j, arguments, "id");
	const json_t *backend = json_object_get(arguments, "backend");
	const char *type = text_of(j, backend, "type");
	if (!id || !type)
		return;
	if (has_prefix(id, "charchannel")) {
		judge_channel_backend(j, type);
	} else {
		size_t i = 0;
		while (i < N(CHARDEVS) && !has_prefix(id, CHARDEVS[i].prefix))
			i++;
		qmp_met(j, i < N(CHARDEVS) ? CHARDEVS[i].rule : "qemu.chardev");
	}
	if (!qemu_name_is_chardev(type))
		qmp_met(j, "qemu.chardev");
}

void judge_netdev_add(struct qmp_judgement *j, json_t *arguments)
{
	static const char *const NEVER[] = { "guestfwd", "hostfwd", "smb",	  "tftp",
					     "bootfile", "script",  "downscript", "helper" };
	const char *type = text_of(j, arguments, "type");
	if (!type)
		return;
	if (has_prefix(type, "vhost-"))
		qmp_met(j, "device.vhost-user");
	if (!qemu_name_is_netdev(type))
		qmp_met(j, "qemu.netdev");
	for (size_t i = 0; i < N(NEVER); i++) {
		if (json_object_get(arguments, NEVER[i]))
			qmp_met(j, "qemu.netdev");
	}
}

/* ---- Disks ---------------------------------------------------------------------------------- */

/* Does PATH begin with PLACE, whichever way its slashes are written? */
static int is_below(const char *path, const char *place)
{
	for (; *place; place++, path++) {
		if (*path != *place)
			return 0;
		while (*path == '/' && (path[1] == '/' || (path[1] == '.' && path[2] == '/')))
			path += path[1] == '/' ? 1 : 2;
	}
	return 1;
}

/* QEMU would read its own memory or what it has open, or the machine's memory, as a disk.  What
 * libvirt has passed to it is "/dev/fdset/N". */
static int is_memory(const char *path)
{
	static const char *const PLACES[] = { "/proc",	  "/sys",      "/dev/mem", "/dev/kmem",
					      "/dev/kvm", "/dev/port", "/dev/fd/", "/dev/std" };
	for (size_t i = 0; i < N(PLACES); i++) {
		if (is_below(path, PLACES[i]))
			return 1;
	}
	return *path != '/' || strstr(path, "/../") != NULL;
}

/* NODE and everything below it; the parser has bounded how deep that is. */
static void judge_node(struct qmp_judgement *j, json_t *node)
{
	const json_t *driver = json_object_get(node, "driver");
	const json_t *file = json_object_get(node, "filename");
	const char *key;
	json_t *value;
	size_t i;
	if (driver) {
		const char *name = json_string_value(driver);
		if (name && strcmp(name, "vvfat") == 0)
			qmp_met(j, "device.filesystem");
		if (name && strcmp(name, "nvme") == 0)
			qmp_met(j, "device.hostdev");
		if (name && has_prefix(name, "virtio-blk-vhost-"))
			qmp_met(j, "device.vhost-user");
		if (!name || !qemu_name_is_blockdev(name))
			qmp_met(j, "qemu.blockdev");
	}
	if (file && (!json_is_string(file) || is_memory(json_string_value(file))))
		qmp_met(j, "memory.peek");
	if (json_is_object(node)) {
		json_object_foreach(node, key, value) judge_node(j, value);
	} else {
		json_array_foreach(node, i, value) judge_node(j, value);
	}
}

void judge_blockdev(struct qmp_judgement *j, json_t *arguments)
{
	if (text_of(j, arguments, "driver"))
		judge_node(j, arguments);
}

void judge_blockdev_reopen(struct qmp_judgement *j, json_t *arguments)
{
	json_t *options = json_object_get(arguments, "options"), *node;
	size_t i;
	if (!json_is_array(options))
		qmp_met(j, "monitor.form");
	json_array_foreach(options, i, node) judge_blockdev(j, node);
}

void judge_blockdev_create(struct qmp_judgement *j, json_t *arguments)
{
	judge_blockdev(j, json_object_get(arguments, "options"));
}

void judge_block_export_add(struct qmp_judgement *j, json_t *arguments)
{
	const char *type = text_of(j, arguments, "type");
	if (type && strcmp(type, "nbd") != 0)
		qmp_met(j, "qemu.blockdev");
}

void judge_transaction(struct qmp_judgement *j, json_t *arguments)
{
	static const char *const ACTIONS[] = {
		"blockdev-snapshot",	      "blockdev-backup",
		"block-dirty-bitmap-add",     "block-dirty-bitmap-remove",
		"block-dirty-bitmap-clear",   "block-dirty-bitmap-enable",
		"block-dirty-bitmap-disable", "block-dirty-bitmap-merge",
	};
	json_t *actions = json_object_get(arguments, "actions"), *action;
	size_t i;
	if (!json_is_array(actions))
		qmp_met(j, "monitor.form");
	json_array_foreach(actions, i, action)
	{
		const char *type = text_of(j, action, "type");
		if (type && !is_one_of(type, ACTIONS, N(ACTIONS)))
			qmp_met(j, "monitor.unknown");
	}
}

/* ---- Properties, actions, state ------------------------------------------------------------- */

void judge_qom_get(struct qmp_judgement *j, json_t *arguments)
{
	const char *property = text_of(j, arguments, "property");
	if (!property)
		return;
	if (strcmp(property, "crash-information") == 0)
		qmp_met(j, "crash.registers");
	if (strcmp(property, "data") == 0 || strstr(property, "password") ||
	    strstr(property, "secret"))
		qmp_met(j, "qom.secret");
}

void judge_qom_set(struct qmp_judgement *j, json_t *arguments)
{
	static const char *const PROPERTIES[] = {
		"guest-stats-polling-interval",
		"requested-size",
		"poll-max-ns",
		"poll-grow",
		"poll-shrink",
		"thread-pool-min",
		"thread-pool-max",
		"aio-max-batch",
	};
	const char *property = text_of(j, arguments, "property");
	if (property && !is_one_of(property, PROPERTIES, N(PROPERTIES)))
		qmp_met(j, "qom.set");
}

void judge_watchdog(struct qmp_judgement *j, json_t *arguments)
{
	static const char *const KEYS[] = { "action", "watchdog" };
	for (size_t i = 0; i < N(KEYS); i++) {
		const json_t *v = json_object_get(arguments, KEYS[i]);
		const char *action = json_string_value(v);
		if (v && !action)
			qmp_met(j, "monitor.form");
		if (action && (strcmp(action, "inject-nmi") == 0 || strcmp(action, "debug") == 0))
			qmp_met(j, "crash.watchdog");
	}
}

int qmp_bypasses_worker(const char *name)
{
	/* It writes at offsets of its own, and the stream is no stream any more. */
	return name && strcmp(name, "mapped-ram") == 0;
}

int qmp_hides_capability(const char *name)
{
	/* Newer libvirts switch preemption on by themselves wherever both QEMUs have it, and do
	 * without it where one has not. */
	return qmp_bypasses_worker(name) || (name && strcmp(name, "postcopy-preempt") == 0);
}

/* What libvirt switches on. */
static int is_capability(const char *name)
{
	static const char *const CAPABILITIES[] = {
		"auto-converge",
		"compress",
		"dirty-bitmaps",
		"events",
		"late-block-activate",
		"multifd",
		"pause-before-switchover",
		"postcopy-preempt",
		"postcopy-ram",
		"rdma-pin-all",
		"return-path",
		"switchover-ack",
		"xbzrle",
		"zero-copy-send",
	};
	return is_one_of(name, CAPABILITIES, N(CAPABILITIES));
}

/* Those that need a channel that is not sealed, or a way past the worker that is none for files. */
static int is_not_sealed(const char *name)
{
	static const char *const CAPABILITIES[] = {
		"postcopy-preempt",
		"rdma-pin-all",
		"zero-copy-send",
	};
	return is_one_of(name, CAPABILITIES, N(CAPABILITIES));
}

void judge_migrate_capabilities(struct qmp_judgement *j, json_t *arguments)
{
	const json_t *list = json_object_get(arguments, "capabilities"), *entry;
	size_t i;
	if (!json_is_array(list))
		qmp_met(j, "monitor.form");
	json_array_foreach(list, i, entry)
	{
		const char *name = text_of(j, entry, "capability");
		if (!name)
			continue;
		if (is_on(entry, "state") && qmp_bypasses_worker(name))
			qmp_met(j, "state.save");
		else if (is_on(entry, "state") && is_not_sealed(name))
			qmp_met(j, "migration.form");
		else if (is_on(entry, "state") && !is_capability(name))
			qmp_met(j, "monitor.unknown");
		/* The worker would never hear that QEMU is done. */
		if (!is_on(entry, "state") && strcmp(name, "events") == 0)
			qmp_met(j, "monitor.form");
	}
}

/* Newer QEMUs have parameters that start a program or hand the guest's memory to another QEMU. */
void judge_migrate_parameters(struct qmp_judgement *j, json_t *arguments)
{
	static const char *const PARAMETERS[] = {
		"avail-switchover-bandwidth",
		"block-bitmap-mapping",
		"block-incremental",
		"compress-level",
		"compress-threads",
		"compress-wait-thread",
		"cpu-throttle-increment",
		"cpu-throttle-initial",
		"cpu-throttle-tailslow",
		"decompress-threads",
		"downtime-limit",
		"max-bandwidth",
		"max-cpu-throttle",
		"max-postcopy-bandwidth",
		"multifd-channels",
		"multifd-compression",
		"multifd-zlib-level",
		"multifd-zstd-level",
		"tls-authz",
		"tls-creds",
		"tls-hostname",
		"xbzrle-cache-size",
	};
	const char *key;
	json_t *value;
	json_object_foreach(arguments, key, value)
	{
		/* libvirt puts back what it found, and it finds that newer QEMUs can write files
		 * past the cache: those that bypass the worker, which is refused. */
		if (strcmp(key, "direct-io") == 0 && json_is_false(value))
			continue;
		if (!is_one_of(key, PARAMETERS, N(PARAMETERS)))
			qmp_met(j, "monitor.unknown");
	}
}

static int is_other_form(const char *uri)
{
	return has_prefix(uri, "rdma:");
}

/* An address that the worker's broker listens at, or connects to, if worker/door.c takes it. */
static int is_address(const char *uri)
{
	return has_prefix(uri, "tcp:") || has_prefix(uri, "unix:");
}

/* libvirt gives a descriptor for a file, and for a connection that it made itself; whether the
 * worker has it, worker/carry.c knows.  At an address the worker has the connections made. */
void judge_migrate(struct qmp_judgement *j, json_t *arguments)
{
	const char *uri = json_string_value(json_object_get(arguments, "uri"));
	if (uri && (has_prefix(uri, "file:") || has_prefix(uri, "exec:")))
		qmp_met(j, "state.save");
	else if (uri && is_other_form(uri))
		qmp_met(j, "migration.form");
	else if (!uri || (!has_prefix(uri, "fd:") && !is_address(uri)))
		qmp_met(j, "migration.unsealed");
}

/* At an address the worker listens. */
void judge_migrate_incoming(struct qmp_judgement *j, json_t *arguments)
{
	const char *uri = json_string_value(json_object_get(arguments, "uri"));
	if (uri && (has_prefix(uri, "fd:") || is_address(uri)))
		return;
	qmp_met(j, uri && is_other_form(uri) ? "migration.form" : "migration.unsealed");
}

void judge_migrate_continue(struct qmp_judgement *j, json_t *arguments)
{
	const char *state = text_of(j, arguments, "state");
	if (state && strcmp(state, "pre-switchover") != 0)
		qmp_met(j, "monitor.form");
}

void judge_dump(struct qmp_judgement *j, json_t *arguments)
{
	const char *protocol = text_of(j, arguments, "protocol");
	const char *format = json_string_value(json_object_get(arguments, "format"));
	qmp_met(j, "memory.dump");
	/* Other formats are written out of order, and without an event nobody would know the end.
	 */
	if ((protocol && !has_prefix(protocol, "fd:")) ||
	    (json_object_get(arguments, "format") && (!format || strcmp(format, "elf") != 0)) ||
	    !json_is_true(json_object_get(arguments, "detach")))
		qmp_met(j, "memory.dump-form");
}

void judge_hmp(struct qmp_judgement *j, json_t *arguments)
{
	/* libvirt 9.0 has no QMP command for these. */
	static const char *const SNAPSHOTS[] = { "savevm", "loadvm", "delvm" };
	const char *line = json_string_value(json_object_get(arguments, "command-line"));
	for (size_t i = 0; line && i < N(SNAPSHOTS); i++) {
		if (has_prefix(line, SNAPSHOTS[i]))
			qmp_met(j, "state.snapshot");
	}
	qmp_met(j, "debug.hmp");
}
