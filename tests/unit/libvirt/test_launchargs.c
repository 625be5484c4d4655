/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/paths.h"
#include "libvirt/launchargs.h"

static int count(char *const *list)
{
	int n = 0;
	while (list[n])
		n++;
	return n;
}

static int has(char *const *list, const char *entry)
{
	for (; *list; list++)
		if (strcmp(*list, entry) == 0)
			return 1;
	return 0;
}

static void test_kind(void **state)
{
	(void)state;
	char *version[] = { "q", "-version", NULL }, *more[] = { "q", "-version", "-S", NULL };
	char *none[] = { "q", NULL }, *help[] = { "q", "--help", NULL };
	char *device_help[] = { "q", "-device", "help", NULL };
	char *probe[] = { "q",
			  "-S",
			  "-no-user-config",
			  "-nodefaults",
			  "-nographic",
			  "-machine",
			  "none,accel=kvm:tcg",
			  "-qmp",
			  "unix:/var/lib/libvirt/qemu/qmp-Q1W2E3/qmp.monitor,server=on,wait=off",
			  "-pidfile",
			  "/var/lib/libvirt/qemu/qmp-Q1W2E3/qmp.pid",
			  "-daemonize",
			  NULL };
	assert_int_equal(launchargs_kind(2, version), LAUNCHARGS_TELL);
	assert_int_equal(launchargs_kind(2, help), LAUNCHARGS_TELL);
	assert_int_equal(launchargs_kind(3, more), LAUNCHARGS_SHIELDED);
	assert_int_equal(launchargs_kind(1, none), LAUNCHARGS_SHIELDED);
	assert_int_equal(launchargs_kind(3, device_help), LAUNCHARGS_SHIELDED);
	assert_int_equal(launchargs_kind(12, probe), LAUNCHARGS_PROBE);
	probe[6] = "q35";
	assert_int_equal(launchargs_kind(12, probe), LAUNCHARGS_SHIELDED);
}

static void test_environment(void **state)
{
	(void)state;
	char longer[2048] = "HOME=/";
	memset(longer + 6, 'a', sizeof(longer) - 7);
	char *hostile[] = { "LD_PRELOAD=/tmp/x.so",
			    "LD_AUDIT=/tmp/x.so",
			    "GCONV_PATH=/tmp",
			    "PATH=/tmp",
			    "LC_ALL=evil",
			    "LISTEN_FDS=3",
			    "GLIBC_TUNABLES=glibc.malloc.check=3",
			    "QEMU_AUDIO_DRV=wav",
			    "HOME=/a\nb",
			    "TMPDIR=/tmp",
			    "HOMEX=/x",
			    "HOME",
			    "XDG_CACHE_HOME=/var/lib/libvirt/qemu/domain-1-x/.cache",
			    NULL };
	char **env = launchargs_environment(hostile);
	assert_int_equal(count(env), 3);
	assert_true(has(env, "LC_ALL=C"));
	assert_true(has(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
	assert_true(has(env, "XDG_CACHE_HOME=/var/lib/libvirt/qemu/domain-1-x/.cache"));
	free(env);

	char *usual[] = { "HOME=/var/lib/libvirt/qemu", "HOME=/second", "USER=root",
			  "QEMU_AUDIO_DRV=none", NULL };
	env = launchargs_environment(usual);
	assert_int_equal(count(env), 5);
	assert_true(has(env, "HOME=/var/lib/libvirt/qemu"));
	assert_true(has(env, "QEMU_AUDIO_DRV=none"));
	assert_false(has(env, "HOME=/second"));
	free(env);

	char *large[] = { longer, NULL }, *empty[] = { NULL };
	env = launchargs_environment(large);
	assert_int_equal(count(env), 2);
	free(env);
	env = launchargs_environment(empty);
	assert_int_equal(count(env), 2);
	free(env);
	env = launchargs_environment(NULL);
	assert_int_equal(count(env), 2);
	free(env);
}

static void test_vector(void **state)
{
	(void)state;
	char *argv[] = {
		"launch", "-uuid", "u", "-chardev", "socket,id=chrtpm,path=/x", "-S", NULL
	};
	struct qemu_args args = { .tpm_chardev = 4, .tpm_chardev_id = "chrtpm" };
	char **out = launchargs_vector(6, argv, "/usr/bin/qemu", &args, 27);
	assert_non_null(out);
	assert_string_equal(out[0], "/usr/bin/qemu");
	assert_string_equal(out[4], "socket,id=chrtpm,fd=27");
	assert_null(out[6]);
	for (int i = 1; i < 6; i++)
		if (i != 4)
			assert_ptr_equal(out[i], argv[i]);
	free(out);

	/* The longest id and number still fit. */
	memset(args.tpm_chardev_id, 'i', sizeof(args.tpm_chardev_id) - 1);
	args.tpm_chardev_id[sizeof(args.tpm_chardev_id) - 1] = 0;
	out = launchargs_vector(6, argv, "/usr/bin/qemu", &args, 2147483647);
	assert_non_null(strstr(out[4], ",fd=2147483647"));
	free(out);
}

static void test_names_fd(void **state)
{
	(void)state;
	char *argv[] = { "launch",
			 "-chardev",
			 "socket,id=charmonitor,fd=25,server=on",
			 "-netdev",
			 "{\"type\":\"tap\",\"fds\":\"127:27:28\",\"vhostfd\":\"130\"}",
			 "-add-fd",
			 "set=0,fd=31,opaque=ro",
			 "-m",
			 "size=44",
			 "-device",
			 "isa-fdc,iobase=0x30",
			 NULL };
	static const int NAMED[] = { 25, 27, 28, 130, 31 }, FREE[] = { 2, 5, 13, 30, 44, 125, 1 };
	for (size_t i = 0; i < sizeof(NAMED) / sizeof(NAMED[0]); i++)
		assert_int_equal(launchargs_names_fd(11, argv, NAMED[i]), 1);
	for (size_t i = 0; i < sizeof(FREE) / sizeof(FREE[0]); i++)
		assert_int_equal(launchargs_names_fd(11, argv, FREE[i]), 0);
	/* Wherever it stands, but in the launcher's own name. */
	char *first[] = { "fd=7", "fd=9", NULL };
	assert_int_equal(launchargs_names_fd(2, first, 9), 1);
	assert_int_equal(launchargs_names_fd(2, first, 7), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kind),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_vector),
		cmocka_unit_test(test_names_fd),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
