/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the commands of `shieldvm state` share.
 */
#ifndef SHIELDVM_CLI_STATE_H
#define SHIELDVM_CLI_STATE_H

#include <jansson.h>

#include "cli/statefile.h"

struct state_options {
	const char *file, *key, *protector, *output;
	int json, force, yes;
};

/* Read the options named by the letters of TAKES ("kpojfy") and FILE: 0, OPTIONS_HELP or ERR_USAGE.
 */
int state_options(int argc, char **argv, const char *takes, struct state_options *out,
		  struct fault *f) MUST_CHECK;

/* "saved state", "dump" */
const char *state_kind(const struct statefile *s);

#define TPM_TEXT_SIZE (2 * PROTECTOR_TPM_ID_BYTES + 1)
void state_tpm_text(const uint8_t tpm_id[static PROTECTOR_TPM_ID_BYTES],
		    char text[static TPM_TEXT_SIZE]);

/* TEXT (under FAULT_TEXT_MAX bytes) as a JSON string; what is no UTF-8 becomes question marks. */
json_t *state_json_text(const char *text);

#endif
