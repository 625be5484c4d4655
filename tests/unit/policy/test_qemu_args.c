/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/fd.h"
#include "policy/qemu_args.h"

#define ARGS_MAX 400

static char *const PROBE[] = {
	"/usr/bin/shieldvm-launch",
	"-S",
	"-no-user-config",
	"-nodefaults",
	"-nographic",
	"-machine",
	"none,accel=kvm:tcg",
	"-qmp",
	"unix:/var/lib/libvirt/qemu/qmp-AbC123/qmp.monitor,server=on,wait=off",
	"-pidfile",
	"/var/lib/libvirt/qemu/qmp-AbC123/qmp.pid",
	"-daemonize",
};
#define PROBE_N ((int)(sizeof(PROBE) / sizeof(PROBE[0])))

struct vector {
	struct buf text;
	int argc;
	char *argv[ARGS_MAX];
};

static void vector_read(struct vector *v, const char *folder, const char *name)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	v->text = BUF_INIT(1 << 20);
	v->argc = 0;
	assert_int_equal(fd_read_file(AT_FDCWD, path, &v->text, NULL), 0);
	char *text = buf_cstr(&v->text);
	assert_non_null(text);
	for (char *save = NULL, *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		assert_true(v->argc < ARGS_MAX - 8);
		v->argv[v->argc++] = line;
	}
	assert_true(v->argc > 50);
}

static void vector_load(struct vector *v, const char *name)
{
	char folder[400];
	assert_non_null(getenv("VECTORS"));
	snprintf(folder, sizeof(folder), "%s/qemu-args", getenv("VECTORS"));
	vector_read(v, folder, name);
}

static void test_what_libvirt_makes_is_accepted(void **state)
{
	(void)state;
	static const char *const GOOD[] = { "live.args", "plain.args", "rich.args",
					    "legacy-incoming.args" };
	for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
		struct vector v;
		struct fault f = { 0 };
		struct qemu_args args;
		vector_load(&v, GOOD[i]);
		if (qemu_args_check(v.argc, v.argv, &args, &f) < 0)
			fail_msg("%s: %s", GOOD[i], f.text);
		assert_int_equal(args.monitor_fd, 28);
		assert_string_equal(args.tpm_chardev_id, "chrtpm");
		assert_non_null(strstr(v.argv[args.tpm_chardev], "id=chrtpm"));
		assert_int_equal(args.vm[0], 0x11);
		buf_done(&v.text);
	}
}

/* What libvirt adds for devices that no machine here has; whether they may be is for the level, and
 * so for the hook, to say. */
static void test_disks_and_networks_of_other_machines_are_accepted(void **state)
{
	(void)state;
	static const char *const ADDED[][2] = {
		{ "-blockdev", "{\"driver\":\"nvme\",\"device\":\"0000:01:00.0\",\"namespace\":1,"
			       "\"node-name\":\"libvirt-9-storage\",\"auto-read-only\":true}" },
		{ "-blockdev", "{\"driver\":\"virtio-blk-vhost-vdpa\",\"path\":\"/dev/fdset/3\","
			       "\"node-name\":\"libvirt-9-storage\"}" },
		{ "-netdev",
		  "{\"type\":\"vhost-vdpa\",\"vhostdev\":\"/dev/fdset/3\",\"id\":\"n\"}" },
	};
	for (size_t i = 0; i < sizeof(ADDED) / sizeof(ADDED[0]); i++) {
		struct vector v;
		struct fault f = { 0 };
		struct qemu_args args;
		char name[16], value[256];
		vector_load(&v, "plain.args");
		snprintf(name, sizeof(name), "%s", ADDED[i][0]);
		snprintf(value, sizeof(value), "%s", ADDED[i][1]);
		v.argv[v.argc++] = name;
		v.argv[v.argc++] = value;
		if (qemu_args_check(v.argc, v.argv, &args, &f) < 0)
			fail_msg("%s: %s", value, f.text);
		buf_done(&v.text);
	}
}

/* Which of the listed rules a refusal has named. */
static unsigned char named[256];

static void note_rule(const char *rule)
{
	size_t n;
	const struct qemu_args_rule *rules = qemu_args_rules(&n);
	assert_true(n < sizeof(named));
	for (size_t i = 0; i < n; i++) {
		if (strcmp(rules[i].id, rule) == 0) {
			named[i] = 1;
			return;
		}
	}
	fail_msg("%s is not among qemu_args_rules()", rule);
}

static void expect_refusal(struct vector *v, const char *rule, const char *what)
{
	struct fault f = { 0 };
	struct qemu_args args = { .monitor_fd = 77 };
	int rc = qemu_args_check(v->argc, v->argv, &args, &f);
	if (rc != ERR_POLICY)
		fail_msg("accepted: %s (%d %s)", what, rc, f.text);
	if (strncmp(f.text, rule, strlen(rule)) != 0 || f.text[strlen(rule)] != ':')
		fail_msg("%s: expected rule %s, got: %s", what, rule, f.text);
	assert_int_equal(args.monitor_fd, 77);
	note_rule(rule);
}

/* Runs after the tables. */
static void test_every_listed_rule_is_one(void **state)
{
	(void)state;
	size_t n;
	const struct qemu_args_rule *rules = qemu_args_rules(&n);
	for (size_t i = 0; i < n; i++) {
		if (!named[i])
			fail_msg("nothing is refused under %s", rules[i].id);
		assert_true(strlen(rules[i].reason) > 10);
		assert_true(i == 0 || strcmp(rules[i - 1].id, rules[i].id) < 0);
	}
}

/* One or two arguments more than libvirt gives. */
static void test_every_bad_addition_is_refused_by_its_rule(void **state)
{
	(void)state;
	static const struct {
		const char *rule, *name, *value;
	} BAD[] = {
		{ "qemu.monitor", "-monitor", "stdio" },
		{ "qemu.monitor", "-qmp", "unix:/tmp/x,server=on" },
		{ "qemu.monitor", "-qmp-pretty", "stdio" },
		{ "qemu.monitor", "-mon", "chardev=charserial0,id=m2,mode=control" },
		{ "qemu.monitor", "-mon", "chardev=charmonitor,id=monitor,mode=control" },
		{ "memory.peek", "-gdb", "tcp::1234" },
		{ "memory.peek", "-s", NULL },
		{ "memory.peek", "-plugin", "/tmp/x.so" },
		{ "qemu.trace", "-trace", "enable=*" },
		{ "qemu.trace", "-D", "/tmp/log" },
		{ "qemu.trace", "-d", "in_asm" },
		{ "qemu.config", "-readconfig", "/tmp/c" },
		{ "qemu.config", "-writeconfig", "/tmp/c" },
		{ "qemu.config", "-set", "device.video0.x=1" },
		{ "state.snapshot", "-loadvm", "s1" },
		{ "console.serial", "-serial", "pty" },
		{ "console.parallel", "-parallel", "pty" },
		{ "console.serial", "-debugcon", "stdio" },
		{ "console.serial", "-nographic", NULL },
		{ "console.graphics", "-display", "gtk" },
		{ "console.graphics", "-display", "curses" },
		{ "boot.kernel", "-kernel", "/boot/vmlinuz" },
		{ "boot.kernel", "-initrd", "/boot/initrd" },
		{ "boot.kernel", "-append", "init=/bin/sh" },
		{ "boot.sysinfo", "-fw_cfg", "name=opt/x,string=y" },
		{ "boot.loader", "-bios", "/tmp/b" },
		{ "boot.loader", "-L", "/tmp" },
		{ "boot.loader", "-pflash", "/tmp/b" },
		{ "boot.smbios", "-smbios", "file=/tmp/x" },
		{ "boot.smbios", "-smbios", "type=11,path=/tmp/x" },
		{ "boot.setting", "-boot", "strict=on,splash=/tmp/x.jpg" },
		{ "migration.incoming", "-incoming", "tcp:0:4444" },
		{ "migration.incoming", "-incoming", "exec:cat /tmp/x" },
		{ "migration.incoming", "-incoming", "fd:7" },
		{ "qemu.global", "-global", "driver=cfi.pflash01,property=secure,value=off" },
		{ "qemu.global", "-global", "virtio-net-pci.romfile=/tmp/x" },
		{ "boot.loader", "-global", "driver=cfi.pflash01,property=secure,value=on" },
		{ "qemu.object", "-object", "filter-dump,id=d,netdev=hostnet0,file=/tmp/x" },
		{ "qemu.object", "-object",
		  "{\"qom-type\":\"filter-dump\",\"id\":\"d\",\"netdev\":\"hostnet0\"}" },
		{ "qemu.object", "-object", "{\"id\":\"d\"}" },
		{ "qemu.form", "-object",
		  "{\"qom-type\":\"iothread\",\"qom-type\":\"filter-dump\"}" },
		{ "qemu.form", "-object", "{\"qom\\u002dtype\":\"filter-dump\"}" },
		{ "qemu.form", "-object", "{'qom-type':'iothread'}" },
		{ "qemu.form", "-object", "{\"qom-type\":\"iothread\"} x" },
		{ "qemu.form", "-object", "{\"qom-type\":\"iothread\"" },
		{ "qemu.form", "-object", "iothread,id=x,qom-type=filter-dump" },
		{ "qemu.form", "-object", "" },
		{ "qemu.device", "-device", "loader,file=/tmp/x,addr=0x1000" },
		{ "qemu.device", "-device", "{\"driver\":\"ivshmem-plain\",\"memdev\":\"m\"}" },
		{ "qemu.device", "-device", "{\"driver\":\"uefi-vars-x64\"}" },
		{ "qemu.device", "-device", "driver=edu" },
		{ "qemu.netdev", "-netdev", "user,id=n,guestfwd=tcp:10.0.2.100:1-cmd:/bin/sh" },
		{ "qemu.netdev", "-netdev",
		  "{\"type\":\"user\",\"id\":\"n\",\"guestfwd\":[{\"str\":\"tcp:1.2.3.4:1-cmd:sh\"}"
		  "]}" },
		{ "qemu.netdev", "-netdev", "tap,id=n,script=/tmp/x" },
		{ "qemu.netdev", "-netdev", "l2tpv3,id=n,src=1,dst=2" },
		{ "qemu.chardev", "-chardev", "socket,id=mine,path=/tmp/x" },
		{ "qemu.chardev", "-chardev", "ringbuf,id=charserial0" },
		{ "qemu.monitor", "-chardev", "socket,id=charmonitor,fd=3,server=on,wait=off" },
		{ "tpm.backend", "-chardev", "socket,id=chrtpm,path=/tmp/x" },
		{ "tpm.backend", "-tpmdev", "emulator,id=tpm-tpm1,chardev=charserial0" },
		{ "tpm.backend", "-tpmdev", "passthrough,id=tpm-tpm1,path=/dev/tpm0" },
		{ "qemu.form", "-blockdev", "driver=file,node-name=x,filename=/tmp/x" },
		{ "qemu.blockdev", "-blockdev", "{\"driver\":\"blkdebug\",\"node-name\":\"x\"}" },
		{ "host.confinement", "-sandbox", "off" },
		{ "domain.uuid", "-uuid", "11111111-2222-4333-8444-555555555555" },
		{ "domain.machine", "-machine", "pc-q35-7.2,smm=on,dump-guest-core=off" },
		{ "qemu.machine", "-machine", "kernel=/boot/vmlinuz" },
		{ "qemu.machine", "-machine", "firmware=/tmp/x" },
		{ "qemu.machine", "-accel", "qtest" },
		{ "crash.watchdog", "-watchdog-action", "inject-nmi" },
		{ "qemu.option", "-drive", "file=/tmp/x" },
		{ "qemu.option", "--monitor", "stdio" },
		{ "qemu.option", "--S", NULL },
		{ "qemu.option", "-hda", "/tmp/x" },
		{ "qemu.option", "-daemonize", NULL },
		{ "qemu.option", "-runas", "root" },
		{ "qemu.option", "/tmp/disk.img", NULL },
		{ "qemu.option", "", NULL },
		{ "qemu.option", "-", NULL },
		{ "qemu.option", "-S=on", NULL },
		{ "qemu.option", "-S", NULL },
		{ "qemu.form", "-device", NULL },
	};
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
		struct vector v;
		char name[64], value[256], what[400];
		vector_load(&v, "plain.args");
		snprintf(name, sizeof(name), "%s", BAD[i].name);
		v.argv[v.argc++] = name;
		if (BAD[i].value) {
			snprintf(value, sizeof(value), "%s", BAD[i].value);
			v.argv[v.argc++] = value;
		}
		snprintf(what, sizeof(what), "%s %s", name, BAD[i].value ? value : "");
		expect_refusal(&v, BAD[i].rule, what);
		buf_done(&v.text);
	}
}

/* One value of libvirt's replaced: the argument after NAME that begins with START. */
static void test_every_bad_replacement_is_refused_by_its_rule(void **state)
{
	(void)state;
	static const struct {
		const char *rule, *name, *start, *value;
	} BAD[] = {
		{ "domain.uuid", "-uuid", "", NULL },
		{ "domain.machine", "-machine", "", NULL },
		{ "qemu.monitor", "-mon", "", NULL },
		{ "qemu.monitor", "-chardev", "socket,id=charmonitor", NULL },
		{ "tpm.backend", "-chardev", "socket,id=chrtpm", NULL },
		{ "tpm.backend", "-tpmdev", "", NULL },
		{ "boot.loader", "-global", "", NULL },
		{ "host.confinement", "-sandbox", "", NULL },
		{ "qemu.form", "-uuid", "", "11111111" },
		{ "tpm.backend", "-uuid", "", "21111111-2222-4333-8444-555555555555" },
		{ "domain.machine", "-machine", "", "pc-i440fx-7.2,smm=on,dump-guest-core=off" },
		{ "boot.smm", "-machine", "", "pc-q35-7.2,dump-guest-core=off" },
		{ "boot.smm", "-machine", "", "pc-q35-7.2,smm=off,dump-guest-core=off" },
		{ "qemu.form", "-machine", "", "pc-q35-7.2,smm=on,smm=off,dump-guest-core=off" },
		{ "memory.core", "-machine", "", "pc-q35-7.2,smm=on,dump-guest-core=on" },
		{ "memory.core", "-machine", "", "pc-q35-7.2,smm=on" },
		{ "qemu.monitor", "-mon", "", "chardev=charmonitor,id=monitor,mode=readline" },
		{ "qemu.monitor", "-chardev", "socket,id=charmonitor",
		  "socket,id=charmonitor,path=/tmp/x,server=on,wait=off" },
		{ "qemu.monitor", "-chardev", "socket,id=charmonitor",
		  "socket,id=charmonitor,fd=28x,server=on,wait=off" },
		{ "qemu.monitor", "-chardev", "socket,id=charmonitor",
		  "socket,id=charmonitor,fd=99999999999,server=on,wait=off" },
		{ "qemu.form", "-chardev", "socket,id=charmonitor",
		  "socket,id=charmonitor,fd=28,fd=29,server=on,wait=off" },
		{ "qemu.monitor", "-chardev", "socket,id=charmonitor",
		  "socket,id=charmonitor,fd=28,server=on,wait=off,mux=on" },
		{ "qemu.monitor", "-chardev", "socket,id=charmonitor",
		  "socket,id=charmonitor,fd=28,server=on,wait=off,logfile=/tmp/x" },
		{ "tpm.backend", "-chardev", "socket,id=chrtpm", "socket,id=chrtpm,path=/tmp/x" },
		{ "tpm.backend", "-chardev", "socket,id=chrtpm",
		  "socket,id=chrtpm,path=/run/shieldvm/11111111-2222-4333-8444-555555555555/"
		  "vtpm.sock,"
		  "server=on" },
		{ "tpm.backend", "-chardev", "socket,id=chrtpm", "socket,id=chrtpm,fd=3" },
		{ "host.confinement", "-sandbox", "",
		  "on,obsolete=deny,elevateprivileges=deny,spawn=allow,resourcecontrol=deny" },
	};
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
		struct vector v;
		char value[256], what[400];
		int found = 0;
		vector_load(&v, "plain.args");
		for (int k = 1; k + 1 < v.argc && !found; k++) {
			if (strcmp(v.argv[k], BAD[i].name) != 0 ||
			    strncmp(v.argv[k + 1], BAD[i].start, strlen(BAD[i].start)) != 0)
				continue;
			found = 1;
			if (BAD[i].value) {
				snprintf(value, sizeof(value), "%s", BAD[i].value);
				v.argv[k + 1] = value;
				continue;
			}
			memmove(&v.argv[k], &v.argv[k + 2],
				(size_t)(v.argc - k - 2) * sizeof(v.argv[0]));
			v.argc -= 2;
		}
		assert_true(found);
		snprintf(what, sizeof(what), "%s %s", BAD[i].name,
			 BAD[i].value ? BAD[i].value : "missing");
		expect_refusal(&v, BAD[i].rule, what);
		buf_done(&v.text);
	}
}

static void test_limits(void **state)
{
	(void)state;
	struct qemu_args args;
	struct fault f = { 0 };
	char *none[] = { "qemu", NULL };
	assert_int_equal(qemu_args_check(0, none, &args, &f), ERR_POLICY);
	assert_int_equal(qemu_args_check(1, none, &args, &f), ERR_POLICY);
	char *longest = malloc(QEMU_ARG_BYTES_MAX + 1);
	assert_non_null(longest);
	memset(longest, 'a', QEMU_ARG_BYTES_MAX);
	longest[QEMU_ARG_BYTES_MAX] = '\0';
	char *two[] = { "qemu", "-name", longest };
	f = (struct fault){ 0 };
	assert_int_equal(qemu_args_check(3, two, &args, &f), ERR_POLICY);
	assert_non_null(strstr(f.text, "too long"));
	free(longest);
	char deep[200] = "{\"driver\":\"VGA\",\"x\":";
	memset(deep + strlen(deep), '[', 100);
	char *nested[] = { "qemu", "-device", deep };
	f = (struct fault){ 0 };
	assert_int_equal(qemu_args_check(3, nested, &args, &f), ERR_POLICY);
	assert_non_null(strstr(f.text, "qemu.form"));
}

static void test_only_the_exact_probe_is_one(void **state)
{
	(void)state;
	static const struct {
		int index;
		char *value;
		int good;
	} CHANGES[] = {
		{ 6, "none,accel=tcg", 1 },
		{ 6, "none,accel=kvm", 1 },
		{ 6, "q35,accel=tcg", 0 },
		{ 6, "none,accel=tcg,kernel=/x", 0 },
		{ 8, "unix:/var/lib/libvirt/qemu/qmp-AbC123/qmp.monitor,server=on", 0 },
		{ 8, "unix:/var/lib/libvirt/qemu/qmp-other1/qmp.monitor,server=on,wait=off", 0 },
		{ 8, "tcp:/var/lib/libvirt/qemu/qmp-AbC123/qmp.monitor,server=on,wait=off", 0 },
		{ 10, "/etc/qmp.pid", 0 },
		{ 10, "qmp.pid", 0 },
		{ 11, "-S", 0 },
		{ 1, "-s", 0 },
	};
	assert_true(qemu_args_is_probe(PROBE_N, PROBE));
	assert_false(qemu_args_is_probe(PROBE_N - 1, PROBE));
	for (size_t i = 0; i < sizeof(CHANGES) / sizeof(CHANGES[0]); i++) {
		char *argv[PROBE_N];
		memcpy(argv, PROBE, sizeof(argv));
		argv[CHANGES[i].index] = CHANGES[i].value;
		if (qemu_args_is_probe(PROBE_N, argv) != CHANGES[i].good)
			fail_msg("change %zu: %s", i, CHANGES[i].value);
	}
}

/*
 * The vectors of tests/integration/argv.sh, each with one thing more at every place where an option
 * may begin.  Beginning with '-', an addition cannot pass for the value of what is before it.
 */
static const struct {
	const char *name, *value;
} FORBIDDEN[] = {
	{ "-monitor", "stdio" },
	{ "-qmp", "unix:/tmp/x,server=on" },
	{ "-mon", "chardev=charserial0,id=m2,mode=control" },
	{ "-s", NULL },
	{ "-gdb", "tcp::1234" },
	{ "-plugin", "/tmp/x.so" },
	{ "-trace", "enable=*" },
	{ "-readconfig", "/tmp/c" },
	{ "-set", "device.video0.x=1" },
	{ "-loadvm", "s1" },
	{ "-serial", "pty" },
	{ "-kernel", "/boot/vmlinuz" },
	{ "-fw_cfg", "name=opt/x,string=y" },
	{ "-bios", "/tmp/b" },
	{ "-incoming", "exec:cat /tmp/x" },
	{ "-global", "virtio-net-pci.romfile=/tmp/x" },
	{ "-object", "filter-dump,id=d,netdev=hostnet0,file=/tmp/x" },
	{ "-object", "{\"qom-type\":\"filter-dump\",\"id\":\"d\",\"netdev\":\"hostnet0\"}" },
	{ "-device", "loader,file=/tmp/x,addr=0x1000" },
	{ "-device", "{\"driver\":\"ivshmem-plain\",\"memdev\":\"m\"}" },
	{ "-netdev", "user,id=n,guestfwd=tcp:10.0.2.100:1-cmd:/bin/sh" },
	{ "-chardev", "socket,id=mine,path=/tmp/x" },
	{ "-chardev", "socket,id=charmonitor,fd=3,server=on,wait=off" },
	{ "-chardev", "socket,id=chrtpm,path=/tmp/x" },
	{ "-tpmdev", "passthrough,id=tpm-tpm1,path=/dev/tpm0" },
	{ "-blockdev", "{\"driver\":\"blkdebug\",\"node-name\":\"x\"}" },
	{ "-machine", "firmware=/tmp/x" },
	{ "-sandbox", "off" },
	{ "-uuid", "11111111-2222-4333-8444-555555555555" },
	{ "-S", NULL },
	{ "-drive", "file=/tmp/x" },
	{ "--monitor", "stdio" },
	{ "-daemonize", NULL },
	{ "-", NULL },
};
#define N_FORBIDDEN (sizeof(FORBIDDEN) / sizeof(FORBIDDEN[0]))

static int accepts(int argc, char *const *argv)
{
	struct qemu_args args;
	struct fault f = { 0 };
	return qemu_args_check(argc, argv, &args, &f) >= 0;
}

/* V with FORBIDDEN[K] before argument AT. */
static void expect_splice_refused(const char *file, const struct vector *v, int at, size_t k)
{
	char *argv[ARGS_MAX], name[16], value[128];
	int n = 0;
	snprintf(name, sizeof(name), "%s", FORBIDDEN[k].name);
	for (int i = 0; i <= v->argc; i++) {
		if (i == at) {
			argv[n++] = name;
			if (FORBIDDEN[k].value) {
				snprintf(value, sizeof(value), "%s", FORBIDDEN[k].value);
				argv[n++] = value;
			}
		}
		if (i < v->argc)
			argv[n++] = v->argv[i];
	}
	if (accepts(n, argv))
		fail_msg("%s: accepted with %s %s before argument %d", file, name,
			 FORBIDDEN[k].value ? value : "", at);
}

/*
 * Everywhere, between an option and its value too.  What is taken for a value there leaves the
 * value behind as an option: nothing in libvirt's vectors passes for one.
 */
static void test_every_real_vector_with_something_forbidden_is_refused(void **state)
{
	(void)state;
	const char *folder = getenv("REAL_VECTORS");
	assert_non_null(folder);
	DIR *dir = opendir(folder);
	assert_non_null(dir);
	int files = 0, splices = 0;
	for (struct dirent *e; (e = readdir(dir));) {
		struct vector v;
		struct fault f = { 0 };
		struct qemu_args args;
		size_t n = strlen(e->d_name);
		if (n < 5 || strcmp(e->d_name + n - 5, ".args") != 0)
			continue;
		files++;
		vector_read(&v, folder, e->d_name);
		if (qemu_args_check(v.argc, v.argv, &args, &f) < 0)
			fail_msg("%s: %s", e->d_name, f.text);
		for (int at = 1; at <= v.argc; at++) {
			for (size_t k = 0; k < N_FORBIDDEN; k++, splices++)
				expect_splice_refused(e->d_name, &v, at, k);
		}
		buf_done(&v.text);
	}
	closedir(dir);
	if (files < 90 || splices < 100000)
		fail_msg("only %d vectors, %d splices", files, splices);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_libvirt_makes_is_accepted),
		cmocka_unit_test(test_disks_and_networks_of_other_machines_are_accepted),
		cmocka_unit_test(test_every_bad_addition_is_refused_by_its_rule),
		cmocka_unit_test(test_every_bad_replacement_is_refused_by_its_rule),
		cmocka_unit_test(test_every_listed_rule_is_one),
		cmocka_unit_test(test_every_real_vector_with_something_forbidden_is_refused),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_only_the_exact_probe_is_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
