/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The launcher's two inputs: strings separated by NUL, up to an empty one the environment, behind
 * it the arguments.
 */
#include <stdlib.h>
#include <string.h>

#include "libvirt/launchargs.h"

#define STRINGS_MAX 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_environment(char *const *env)
{
	int n = 0;
	for (; env[n]; n++) {
		if (strncmp(env[n], "LD_", 3) == 0 || strncmp(env[n], "GCONV", 5) == 0 ||
		    strncmp(env[n], "GLIBC", 5) == 0 || !strchr(env[n], '='))
			abort();
		if (strncmp(env[n], "PATH=", 5) == 0 && n != 1)
			abort();
	}
	if (n < 2 || n > 9)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *strings[STRINGS_MAX + 1];
	char *text = malloc(size + 1);
	size_t n = 0, at = 0, n_env = 0;
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	while (n < STRINGS_MAX && at < size) {
		strings[n] = text + at;
		at += strlen(text + at) + 1;
		n++;
	}
	strings[n] = NULL;
	while (n_env < n && strings[n_env][0])
		n_env++;

	char **env = launchargs_environment(strings);
	if (env)
		check_environment(env);
	free(env);

	int argc = (int)(n - n_env);
	char **argv = strings + n_env;
	struct qemu_args args;
	struct fault f = { 0 };
	if (argc > 0 && launchargs_kind(argc, argv) == LAUNCHARGS_SHIELDED) {
		if (qemu_args_check(argc, argv, &args, &f) == 0) {
			char **out = launchargs_vector(argc, argv, "/q", &args, 9);
			if (out && (out[argc] || !strstr(out[args.tpm_chardev], ",fd=9")))
				abort();
			free(out);
		} else if (!f.text[0]) {
			abort();
		}
	}
	free(text);
	return 0;
}
