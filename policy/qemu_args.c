/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Theory of operation.  QEMU's own parser takes "-name" (and "--name", which libvirt never writes),
 * looks the name up, and takes the next argument as its value if the option has one; so arguments
 * and values cannot be confused as long as every name is known here with its arity.  One row per
 * option: allowed, allowed under a condition, or refused with the reason.  A name without a row is
 * refused, and so is everything that does not begin with '-'.
 */
#include "policy/qemu_args.h"

#include <stdio.h>
#include <string.h>

#include "base/paths.h"
#include "policy/qemu_names.h"
#include "policy/qemu_opts.h"

#define LIBVIRT_SANDBOX "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
#define LIBVIRT_MONITOR "chardev=charmonitor,id=monitor,mode=control"
#define SECURE_FLASH	"driver=cfi.pflash01,property=secure,value=on"

/* What the whole vector must have, each exactly once where it matters. */
struct seen {
	unsigned int uuid, monitor_chardev, mon, tpm_chardev, tpmdev, machine, secure_flash;
	unsigned int paused, no_user_config, no_defaults, sandbox;
	char tpm_path[QEMU_OPTS_MEMBER_MAX];
	struct qemu_args args;
};

struct check {
	struct seen *seen;
	int index; /* of the value */
	struct fault *f;
};

static int PRINTF_LIKE(4, 5)
	refuse(const struct check *c, const char *rule, const char *value, const char *fmt, ...)
{
	char reason[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	return fault_set(c->f, ERR_POLICY, "%s: QEMU argument %d, '%.120s': %s", rule, c->index,
			 value, reason);
}

static int has_prefix(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static int member(const struct check *c, const char *value, const char *implied, const char *key,
		  char out[static QEMU_OPTS_MEMBER_MAX])
{
	int rc = qemu_opts_get(value, implied, key, out);
	return rc < 0 ? refuse(c, "qemu.form", value,
			       "not in a form that libvirt writes (its member '%s')", key)
		      : rc;
}

static int refuse_member(const struct check *c, const char *rule, const char *value,
			 const char *implied, const char *key)
{
	char text[QEMU_OPTS_MEMBER_MAX];
	int rc = member(c, value, implied, key, text);
	return rc > 0 ? refuse(c, rule, value, "libvirt never gives '%s' here", key) : rc;
}

/* Parse a whole decimal descriptor number. */
static int parse_fd(const char *text, int *fd)
{
	int n = 0;
	if (!*text)
		return ERR_FORMAT;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || n > 100000)
			return ERR_FORMAT;
		n = n * 10 + (*text - '0');
	}
	*fd = n;
	return 0;
}

static int check_any(const struct check *c, const char *value)
{
	(void)c;
	(void)value;
	return 0;
}

static int check_uuid(const struct check *c, const char *value)
{
	c->seen->uuid++;
	return uuid_parse(value, c->seen->args.vm) < 0 ? refuse(c, "qemu.form", value, "not a UUID")
						       : 0;
}

static int check_monitor_chardev(const struct check *c, const char *value, const char *backend)
{
	char text[QEMU_OPTS_MEMBER_MAX];
	c->seen->monitor_chardev++;
	int rc = member(c, value, "backend", "fd", text);
	if (rc < 0)
		return rc;
	if (strcmp(backend, "socket") != 0 || rc == 0 ||
	    parse_fd(text, &c->seen->args.monitor_fd) < 0)
		return refuse(c, "qemu.monitor", value,
			      "the monitor has to be the socket that libvirtd opened (fd=N)");
	rc = refuse_member(c, "qemu.monitor", value, "backend", "mux");
	return rc < 0 ? rc : refuse_member(c, "qemu.monitor", value, "backend", "logfile");
}

static int check_tpm_chardev(const struct check *c, const char *value, const char *backend,
			     const char *id)
{
	char text[QEMU_OPTS_MEMBER_MAX];
	c->seen->tpm_chardev++;
	int rc = member(c, value, "backend", "path", c->seen->tpm_path);
	if (rc < 0)
		return rc;
	if (strcmp(backend, "socket") != 0 || rc == 0)
		return refuse(c, "tpm.backend", value, "the TPM has to be a socket with a path");
	static const char *const NEVER[] = { "server", "mux", "logfile", "fd", "host", "port" };
	for (size_t i = 0; i < sizeof(NEVER) / sizeof(NEVER[0]); i++) {
		rc = member(c, value, "backend", NEVER[i], text);
		if (rc < 0)
			return rc;
		if (rc > 0 && strcmp(text, "off") != 0 && strcmp(text, "false") != 0)
			return refuse(c, "tpm.backend", value, "libvirt never gives '%s' here",
				      NEVER[i]);
	}
	c->seen->args.tpm_chardev = c->index;
	snprintf(c->seen->args.tpm_chardev_id, sizeof(c->seen->args.tpm_chardev_id), "%s", id);
	return 0;
}

/*
 * In JSON the address is nested ({"id":..,"backend":{"type":"socket","data":{"addr":..}}}), which
 * libvirt writes in its own tests only: it is refused for the two that matter.
 */
static int check_chardev(const struct check *c, const char *value)
{
	char id[QEMU_OPTS_MEMBER_MAX], backend[QEMU_OPTS_MEMBER_MAX] = "";
	int json = value[0] == '{';
	int rc = member(c, value, "backend", "id", id);
	if (rc >= 0 && !json)
		rc = member(c, value, "backend", "backend", backend);
	if (rc < 0)
		return rc;
	if (strcmp(id, "charmonitor") == 0)
		return check_monitor_chardev(c, value, backend);
	if (strcmp(id, "chrtpm") == 0)
		return check_tpm_chardev(c, value, backend, id);
	if (!has_prefix(id, "char") && !has_prefix(id, "chr-vu-"))
		return refuse(c, "qemu.chardev", value, "not a character device of libvirt's");
	if (!json && !qemu_name_is_chardev(backend))
		return refuse(c, "qemu.chardev", value,
			      "not a kind of character device that libvirt uses");
	return 0;
}

static int check_mon(const struct check *c, const char *value)
{
	c->seen->mon++;
	return strcmp(value, LIBVIRT_MONITOR) != 0
		       ? refuse(c, "qemu.monitor", value, "a monitor besides libvirt's own")
		       : 0;
}

static int check_tpmdev(const struct check *c, const char *value)
{
	char text[QEMU_OPTS_MEMBER_MAX];
	c->seen->tpmdev++;
	int rc = member(c, value, "type", "type", text);
	if (rc >= 0 && strcmp(text, "emulator") == 0)
		rc = member(c, value, "type", "chardev", text);
	if (rc < 0)
		return rc;
	return strcmp(text, "chrtpm") != 0
		       ? refuse(c, "tpm.backend", value, "the TPM has to be the VM's worker")
		       : 0;
}

static int check_machine_member(const char *key, size_t key_bytes, const char *value,
				size_t value_bytes, void *arg)
{
	(void)value;
	(void)value_bytes;
	(void)arg;
	return qemu_name_is_machine_member(key, key_bytes) ? 0 : ERR_POLICY;
}

static int check_machine(const struct check *c, const char *value)
{
	char text[QEMU_OPTS_MEMBER_MAX];
	c->seen->machine++;
	int rc = qemu_opts_each(value, "type", check_machine_member, NULL);
	if (rc < 0)
		return refuse(c, "qemu.machine", value,
			      "it holds a setting that libvirt never gives here");
	rc = member(c, value, "type", "type", text);
	if (rc < 0)
		return rc;
	if (!has_prefix(text, "pc-q35-") && strcmp(text, "q35") != 0)
		return refuse(c, "domain.machine", value, "Secure Boot needs the q35 machine");
	rc = member(c, value, "type", "smm", text);
	if (rc < 0)
		return rc;
	if (strcmp(text, "on") != 0)
		return refuse(c, "boot.smm", value,
			      "without SMM the guest could change its own Secure Boot keys");
	rc = member(c, value, "type", "dump-guest-core", text);
	if (rc < 0)
		return rc;
	return strcmp(text, "off") != 0
		       ? refuse(c, "memory.core", value,
				"QEMU's core files would hold the guest's memory; take"
				" dump_guest_core out of /etc/libvirt/qemu.conf and dumpCore out of"
				" <memory>")
		       : 0;
}

static int check_object(const struct check *c, const char *value)
{
	char type[QEMU_OPTS_MEMBER_MAX];
	int rc = member(c, value, "qom-type", "qom-type", type);
	if (rc < 0)
		return rc;
	return !qemu_name_is_object(type) ? refuse(c, "qemu.object", value,
						   "an object that libvirt never makes at start")
					  : 0;
}

static int check_device(const struct check *c, const char *value)
{
	char driver[QEMU_OPTS_MEMBER_MAX];
	int rc = member(c, value, "driver", "driver", driver);
	if (rc < 0)
		return rc;
	return !qemu_name_is_device(driver)
		       ? refuse(c, "qemu.device", value, "a device that libvirt never makes")
		       : 0;
}

static int check_netdev(const struct check *c, const char *value)
{
	static const char *const NEVER[] = { "guestfwd", "hostfwd", "smb",	  "tftp",
					     "bootfile", "script",  "downscript", "helper" };
	char type[QEMU_OPTS_MEMBER_MAX];
	int rc = member(c, value, "type", "type", type);
	if (rc < 0)
		return rc;
	if (!qemu_name_is_netdev(type))
		return refuse(c, "qemu.netdev", value, "a network that libvirt never makes");
	for (size_t i = 0; i < sizeof(NEVER) / sizeof(NEVER[0]); i++) {
		rc = refuse_member(c, "qemu.netdev", value, "type", NEVER[i]);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int check_blockdev(const struct check *c, const char *value)
{
	char driver[QEMU_OPTS_MEMBER_MAX];
	if (value[0] != '{')
		return refuse(c, "qemu.form", value, "libvirt writes this as JSON");
	int rc = member(c, value, NULL, "driver", driver);
	if (rc < 0)
		return rc;
	return !qemu_name_is_blockdev(driver)
		       ? refuse(c, "qemu.blockdev", value, "a block driver that libvirt never uses")
		       : 0;
}

static int check_global(const struct check *c, const char *value)
{
	if (strcmp(value, SECURE_FLASH) == 0)
		c->seen->secure_flash++;
	else if (!qemu_name_is_global(value))
		return refuse(c, "qemu.global", value, "a setting that libvirt never gives");
	return 0;
}

static int check_incoming(const struct check *c, const char *value)
{
	c->seen->args.incoming = 1;
	return strcmp(value, "defer") != 0
		       ? refuse(c, "migration.incoming", value,
				"state comes in through libvirt's monitor only ('defer')")
		       : 0;
}

static int check_sandbox(const struct check *c, const char *value)
{
	c->seen->sandbox++;
	return strcmp(value, LIBVIRT_SANDBOX) != 0
		       ? refuse(c, "host.confinement", value,
				"QEMU's sandbox has to be on in full; take seccomp_sandbox out of"
				" /etc/libvirt/qemu.conf")
		       : 0;
}

static int check_smbios(const struct check *c, const char *value)
{
	int rc = refuse_member(c, "boot.smbios", value, NULL, "file");
	return rc < 0 ? rc : refuse_member(c, "boot.smbios", value, NULL, "path");
}

static int check_boot(const struct check *c, const char *value)
{
	return refuse_member(c, "boot.setting", value, "order", "splash");
}

static int check_accel(const struct check *c, const char *value)
{
	char accel[QEMU_OPTS_MEMBER_MAX];
	int rc = member(c, value, "accel", "accel", accel);
	if (rc < 0)
		return rc;
	return strcmp(accel, "kvm") != 0 && strcmp(accel, "tcg") != 0
		       ? refuse(c, "qemu.machine", value, "only kvm and tcg run a guest")
		       : 0;
}

static int check_display(const struct check *c, const char *value)
{
	char type[QEMU_OPTS_MEMBER_MAX];
	int rc = member(c, value, "type", "type", type);
	if (rc < 0)
		return rc;
	return strcmp(type, "none") != 0 && strcmp(type, "sdl") != 0 &&
			       strcmp(type, "egl-headless") != 0 && strcmp(type, "dbus") != 0
		       ? refuse(c, "console.graphics", value, "not a display that libvirt uses")
		       : 0;
}

static int check_watchdog(const struct check *c, const char *value)
{
	return strcmp(value, "inject-nmi") == 0 || strcmp(value, "debug") == 0
		       ? refuse(c, "crash.watchdog", value,
				"it would have the guest dump its memory")
		       : 0;
}

/* Options.  Refused rows have no check function; the others a value if VALUE is 1. */
struct option_row {
	const char *name;
	int value;
	int (*check)(const struct check *c, const char *value);
	const char *rule, *reason; /* of a refused row */
};

#define ALLOW(name, check)                                                                         \
	{                                                                                          \
		name, 1, check, NULL, NULL                                                         \
	}
#define FLAG(name)                                                                                 \
	{                                                                                          \
		name, 0, check_any, NULL, NULL                                                     \
	}
#define REFUSE(name, rule, reason)                                                                 \
	{                                                                                          \
		name, 1, NULL, rule, reason                                                        \
	}
#define SECOND_MONITOR "it would open a second monitor, past the one that is guarded"
#define HOST_BOOT      "the host would decide what the guest runs"
#define HOST_FILE      "settings would come from outside the domain's XML"
#define HOST_TRACE     "it writes down what the guest does"

static const struct option_row OPTIONS[] = {
	FLAG("-S"),
	FLAG("-no-user-config"),
	FLAG("-nodefaults"),
	FLAG("-no-shutdown"),
	FLAG("-no-reboot"),
	FLAG("-no-hpet"),
	FLAG("-no-acpi"),
	ALLOW("-name", check_any),
	ALLOW("-uuid", check_uuid),
	ALLOW("-machine", check_machine),
	ALLOW("-accel", check_accel),
	ALLOW("-cpu", check_any),
	ALLOW("-m", check_any),
	ALLOW("-smp", check_any),
	ALLOW("-numa", check_any),
	ALLOW("-overcommit", check_any),
	ALLOW("-object", check_object),
	ALLOW("-blockdev", check_blockdev),
	ALLOW("-device", check_device),
	ALLOW("-netdev", check_netdev),
	ALLOW("-chardev", check_chardev),
	ALLOW("-mon", check_mon),
	ALLOW("-tpmdev", check_tpmdev),
	ALLOW("-global", check_global),
	ALLOW("-rtc", check_any),
	ALLOW("-boot", check_boot),
	ALLOW("-smbios", check_smbios),
	ALLOW("-audiodev", check_any),
	ALLOW("-sandbox", check_sandbox),
	ALLOW("-msg", check_any),
	ALLOW("-compat", check_any),
	ALLOW("-add-fd", check_any),
	ALLOW("-incoming", check_incoming),
	ALLOW("-watchdog-action", check_watchdog),
	/* From here on the level decides, and the hook has judged the element in the XML. */
	ALLOW("-display", check_display),
	ALLOW("-vnc", check_any),
	ALLOW("-spice", check_any),
	ALLOW("-k", check_any),
	ALLOW("-fsdev", check_any),
	ALLOW("-acpitable", check_any),

	REFUSE("-monitor", "qemu.monitor", SECOND_MONITOR),
	REFUSE("-qmp", "qemu.monitor", SECOND_MONITOR),
	REFUSE("-qmp-pretty", "qemu.monitor", SECOND_MONITOR),
	REFUSE("-qtest", "qemu.monitor", SECOND_MONITOR),
	REFUSE("-gdb", "memory.peek", "a debugger would read and change the guest's memory"),
	REFUSE("-s", "memory.peek", "a debugger would read and change the guest's memory"),
	REFUSE("-plugin", "memory.peek", "a plugin would see every instruction of the guest"),
	REFUSE("-trace", "qemu.trace", HOST_TRACE),
	REFUSE("-D", "qemu.trace", HOST_TRACE),
	REFUSE("-d", "qemu.trace", HOST_TRACE),
	REFUSE("-dfilter", "qemu.trace", HOST_TRACE),
	REFUSE("-readconfig", "qemu.config", HOST_FILE),
	REFUSE("-writeconfig", "qemu.config", HOST_FILE),
	REFUSE("-set", "qemu.config", HOST_FILE),
	REFUSE("-serial", "console.serial", "not libvirt's way to make a serial line"),
	REFUSE("-parallel", "console.parallel", "not libvirt's way to make a parallel port"),
	REFUSE("-debugcon", "console.serial", "not libvirt's way to make a debug port"),
	REFUSE("-nographic", "console.serial",
	       "it joins a serial line and a monitor to a terminal"),
	REFUSE("-loadvm", "state.snapshot", "the state would come from outside the VM's worker"),
	REFUSE("-kernel", "boot.kernel", HOST_BOOT),
	REFUSE("-initrd", "boot.kernel", HOST_BOOT),
	REFUSE("-append", "boot.kernel", HOST_BOOT),
	REFUSE("-dtb", "boot.kernel", HOST_BOOT),
	REFUSE("-shim", "boot.kernel", HOST_BOOT),
	REFUSE("-fw_cfg", "boot.sysinfo", HOST_BOOT),
	REFUSE("-option-rom", "boot.loader", HOST_BOOT),
	REFUSE("-bios", "boot.loader", "firmware without Secure Boot"),
	REFUSE("-pflash", "boot.loader", "not libvirt's way to give firmware"),
	REFUSE("-L", "boot.loader", "firmware files would come from another folder"),
};

static const struct option_row *find_option(const char *name)
{
	for (size_t i = 0; i < sizeof(OPTIONS) / sizeof(OPTIONS[0]); i++) {
		if (strcmp(OPTIONS[i].name, name) == 0)
			return &OPTIONS[i];
	}
	return NULL;
}

static int check_option(struct seen *seen, int argc, char *const *argv, int *i, struct fault *f)
{
	const char *name = argv[*i];
	struct check c = { .seen = seen, .index = *i, .f = f };
	const struct option_row *row = find_option(name);
	if (!row)
		return refuse(&c, "qemu.option", name, "not an option that libvirt gives");
	if (!row->check)
		return refuse(&c, row->rule, name, "%s", row->reason);
	if (row->value) {
		if (*i + 1 >= argc)
			return refuse(&c, "qemu.form", name, "its value is missing");
		c.index = ++*i;
	}
	seen->paused += strcmp(name, "-S") == 0;
	seen->no_user_config += strcmp(name, "-no-user-config") == 0;
	seen->no_defaults += strcmp(name, "-nodefaults") == 0;
	return row->check(&c, argv[*i]);
}

/* What must be there, and in harmony. */
static int check_whole(const struct seen *s, struct fault *f)
{
	const struct {
		unsigned int count;
		const char *rule, *what;
	} ONCE[] = {
		{ s->uuid, "domain.uuid", "-uuid" },
		{ s->machine, "domain.machine", "-machine" },
		{ s->monitor_chardev, "qemu.monitor", "-chardev of libvirt's monitor" },
		{ s->mon, "qemu.monitor", "-mon" },
		{ s->tpm_chardev, "tpm.backend", "-chardev of the TPM" },
		{ s->tpmdev, "tpm.backend", "-tpmdev" },
		{ s->secure_flash, "boot.loader", "-global " SECURE_FLASH },
		{ s->paused, "qemu.option", "-S" },
		{ s->no_user_config, "qemu.option", "-no-user-config" },
		{ s->no_defaults, "qemu.option", "-nodefaults" },
		{ s->sandbox, "host.confinement", "-sandbox" },
	};
	for (size_t i = 0; i < sizeof(ONCE) / sizeof(ONCE[0]); i++) {
		if (ONCE[i].count != 1)
			return fault_set(f, ERR_POLICY,
					 "%s: QEMU's arguments have %u times %s instead of once",
					 ONCE[i].rule, ONCE[i].count, ONCE[i].what);
	}
	char uuid[UUID_TEXT_SIZE], path[sizeof(PATH_RUN) + UUID_TEXT_SIZE + sizeof("//vtpm.sock")];
	uuid_format(s->args.vm, uuid);
	snprintf(path, sizeof(path), PATH_RUN "/%s/vtpm.sock", uuid);
	if (strcmp(path, s->tpm_path) != 0)
		return fault_set(f, ERR_POLICY,
				 "tpm.backend: the TPM's socket is '%.120s', but this VM's is %s",
				 s->tpm_path, path);
	return 0;
}

int qemu_args_check(int argc, char *const *argv, struct qemu_args *out, struct fault *f)
{
	struct seen seen = { 0 };
	if (argc < 1 || argc > QEMU_ARGS_MAX)
		return fault_set(f, ERR_POLICY, "qemu.form: %d arguments for QEMU", argc);
	for (int i = 1; i < argc; i++) {
		if (strnlen(argv[i], QEMU_ARG_BYTES_MAX) == QEMU_ARG_BYTES_MAX)
			return fault_set(f, ERR_POLICY, "qemu.form: QEMU argument %d is too long",
					 i);
	}
	for (int i = 1; i < argc; i++) {
		int rc = check_option(&seen, argc, argv, &i, f);
		if (rc < 0)
			return rc;
	}
	int rc = check_whole(&seen, f);
	if (rc >= 0)
		*out = seen.args;
	return rc;
}

/* 1 if TEXT is PREFIX, a folder, SUFFIX; the folder goes to FOLDER as (start, length). */
static int split_probe_path(const char *text, const char *prefix, const char *suffix,
			    const char **folder, size_t *folder_bytes)
{
	size_t all = strlen(text), before = strlen(prefix), after = strlen(suffix);
	if (all <= before + after || !has_prefix(text, prefix) ||
	    strcmp(text + all - after, suffix) != 0)
		return 0;
	*folder = text + before;
	*folder_bytes = all - before - after;
	return (*folder)[0] == '/' && !memchr(*folder, ',', *folder_bytes);
}

int qemu_args_is_probe(int argc, char *const *argv)
{
	/* NULL: checked below. */
	static const char *const PROBE[] = {
		"-S", "-no-user-config", "-nodefaults", "-nographic", "-machine", NULL, "-qmp",
		NULL, "-pidfile",	 NULL,		"-daemonize"
	};
	const int n = sizeof(PROBE) / sizeof(PROBE[0]);
	if (argc != n + 1)
		return 0;
	for (int i = 0; i < n; i++) {
		if (PROBE[i] && strcmp(PROBE[i], argv[i + 1]) != 0)
			return 0;
	}
	const char *qmp, *pid, *machine = argv[6];
	size_t qmp_bytes, pid_bytes;
	if (strcmp(machine, "none,accel=kvm:tcg") != 0 && strcmp(machine, "none,accel=tcg") != 0 &&
	    strcmp(machine, "none,accel=kvm") != 0)
		return 0;
	return split_probe_path(argv[8], "unix:", "/qmp.monitor,server=on,wait=off", &qmp,
				&qmp_bytes) &&
	       split_probe_path(argv[10], "", "/qmp.pid", &pid, &pid_bytes) &&
	       qmp_bytes == pid_bytes && memcmp(qmp, pid, pid_bytes) == 0;
}
