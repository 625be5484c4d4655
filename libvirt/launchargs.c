/* SPDX-License-Identifier: BSD-3-Clause */
#include "libvirt/launchargs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_MAX 1024

/* What virCommandAddEnvPassCommon and qemuProcessEnv set or pass on, but for LD_* and TMPDIR. */
static const struct {
	const char *name;
	const char *only; /* NULL: any printable value */
} PASSED[] = {
	{ "HOME", NULL },
	{ "USER", NULL },
	{ "LOGNAME", NULL },
	{ "XDG_DATA_HOME", NULL },
	{ "XDG_CACHE_HOME", NULL },
	{ "XDG_CONFIG_HOME", NULL },
	{ "QEMU_AUDIO_DRV", "none" },
};
#define N_PASSED (sizeof(PASSED) / sizeof(PASSED[0]))

static char env_locale[] = "LC_ALL=C";
static char env_path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

enum launchargs_kind launchargs_kind(int argc, char *const *argv)
{
	static const char *const TELL[] = { "-version", "--version", "-help", "--help", "-h" };
	for (size_t i = 0; argc == 2 && i < sizeof(TELL) / sizeof(TELL[0]); i++)
		if (strcmp(argv[1], TELL[i]) == 0)
			return LAUNCHARGS_TELL;
	return qemu_args_is_probe(argc, argv) ? LAUNCHARGS_PROBE : LAUNCHARGS_SHIELDED;
}

static int value_passes(const char *value, const char *only)
{
	if (only)
		return strcmp(value, only) == 0;
	size_t n = strnlen(value, VALUE_MAX);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
			return 0;
	return n < VALUE_MAX;
}

/* The first NAME=value of OLD, or NULL if it is missing or its value does not pass. */
static char *find(char *const *old, size_t which)
{
	size_t n = strlen(PASSED[which].name);
	for (; old && *old; old++) {
		if (strncmp(*old, PASSED[which].name, n) == 0 && (*old)[n] == '=')
			return value_passes(*old + n + 1, PASSED[which].only) ? *old : NULL;
	}
	return NULL;
}

char **launchargs_environment(char *const *old)
{
	size_t n = 0;
	char **env = calloc(N_PASSED + 3, sizeof(*env));
	if (!env)
		return NULL;
	env[n++] = env_locale;
	env[n++] = env_path;
	for (size_t i = 0; i < N_PASSED; i++) {
		char *entry = find(old, i);
		if (entry)
			env[n++] = entry;
	}
	return env;
}

int launchargs_names_fd(int argc, char *const *argv, int fd)
{
	char number[16];
	int n = snprintf(number, sizeof(number), "%d", fd);
	for (int i = 1; i < argc; i++) {
		/* Any whole number of that value counts: what follows from a mistake is that
		 * libvirt's migrate-incoming is refused, never that state goes past the worker. */
		for (const char *at = argv[i]; (at = strstr(at, number)); at++) {
			int named = at > argv[i] && strchr("=:\"", at[-1]);
			int longer = at[n] >= '0' && at[n] <= '9';
			if (named && !longer && strstr(argv[i], "fd"))
				return 1;
		}
	}
	return 0;
}

char **launchargs_vector(int argc, char *const *argv, const char *program,
			 const struct qemu_args *args, int fd)
{
	/* The chardev's text lives behind the pointers. */
	size_t pointers = ((size_t)argc + 1) * sizeof(char *);
	size_t text = sizeof(args->tpm_chardev_id) + 64;
	char **out = calloc(1, pointers + text);
	if (!out)
		return NULL;
	char *chardev = (char *)out + pointers;
	snprintf(chardev, text, "socket,id=%s,fd=%d", args->tpm_chardev_id, fd);
	for (int i = 0; i < argc; i++)
		out[i] = argv[i];
	out[0] = (char *)(uintptr_t)program;
	out[args->tpm_chardev] = chardev;
	return out;
}
