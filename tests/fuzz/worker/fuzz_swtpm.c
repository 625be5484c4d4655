/* SPDX-License-Identifier: BSD-3-Clause */
/* shieldvm-swtpm's command line (arguments end with a newline each) and key texts. */
#include <string.h>

#include "worker/swtpm_key.h"
#include "worker/swtpm_opts.h"
#include "worker/swtpm_state.h"

#define ARGS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char program[] = "x", *argv[ARGS_MAX + 1] = { program };
	struct swtpm_options o;
	struct fault f = { 0 };
	uint8_t key[KEY_BYTES], vm[UUID_BYTES];
	int argc = 1;
	char *text = malloc(size + 1), *rest = text;
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	swtpm_state_vm(text, vm);
	for (char *arg; argc < ARGS_MAX && (arg = strsep(&rest, "\n"));)
		argv[argc++] = arg;
	int rc = swtpm_options_parse(argc, argv, NULL, NULL, &o, &f);
	/* Every refusal says why. */
	if ((rc < 0) != (f.text[0] != 0))
		abort();
	swtpm_options_done(&o);
	free(text);
	for (int wanted = 0; wanted <= 32; wanted += 16) {
		rc = swtpm_key_parse(data, size, KEY_HEX, wanted, key);
		if (rc >= 0 && rc != 16 && rc != 32)
			abort();
		rc = swtpm_key_parse(data, size, KEY_BINARY, wanted, key);
		if (rc >= 0 && (size_t)rc != size)
			abort();
	}
	return 0;
}
