/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qemu_args_check() on arbitrary argument vectors, one argument a line.  What is accepted has no
 * option that opens a second way in, and the facts handed out are those of the vector.
 */
#include <stdlib.h>
#include <string.h>

#include "policy/qemu_args.h"

#define ARGS_MAX 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_accepted(int argc, char **argv, const struct qemu_args *args)
{
	static const char *const NEVER[] = { "-qmp",	"-monitor", "-gdb",    "-s",
					     "-plugin", "-D",	    "-loadvm", "-kernel",
					     "-fw_cfg", "-serial",  "-bios" };
	int monitors = 0;
	for (int i = 1; i < argc; i++) {
		/* A value may be any text, but only right behind the one option that takes it. */
		if (strcmp(argv[i - 1], "-name") == 0 || argv[i][0] != '-')
			continue;
		for (size_t k = 0; k < sizeof(NEVER) / sizeof(NEVER[0]); k++) {
			if (strcmp(argv[i], NEVER[k]) == 0 && argv[i - 1][0] != '-')
				abort();
		}
		monitors += strcmp(argv[i], "-mon") == 0 && argv[i - 1][0] != '-';
	}
	if (monitors > 1 || args->monitor_fd < 0 || args->tpm_chardev < 1 ||
	    args->tpm_chardev >= argc || !strstr(argv[args->tpm_chardev], "chrtpm"))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *argv[ARGS_MAX], *text = malloc(size + 1);
	int argc = 0;
	struct qemu_args args = { .monitor_fd = -7 };
	struct fault f = { 0 };
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	for (char *line = text; line && argc < ARGS_MAX;) {
		char *end = strchr(line, '\n');
		if (end)
			*end++ = '\0';
		if (end || *line)
			argv[argc++] = line;
		line = end;
	}
	int rc = qemu_args_check(argc, argv, &args, &f);
	if (rc == 0)
		check_accepted(argc, argv, &args);
	else if (rc != ERR_POLICY || f.text[0] == '\0' || args.monitor_fd != -7)
		abort();
	if (qemu_args_is_probe(argc, argv) && argc != 12)
		abort();
	free(text);
	return 0;
}
