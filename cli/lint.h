/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `shieldvm lint`'s other two uses: an argument vector instead of a domain, and the list of rules.
 *
 * May be used by: cli/lint.c.
 */
#ifndef SHIELDVM_CLI_LINT_H
#define SHIELDVM_CLI_LINT_H

#include <jansson.h>

#include "base/err.h"
#include "policy/verdict.h"

/*
 * Check QEMU's argument vector in the file PATH ("-" is standard input) as the launcher does, and
 * print the result.  ERR_POLICY with a sentence if it is refused.
 */
int lint_argv(const char *path, int json, struct fault *f) MUST_CHECK;

/* Print every rule of the three tables. */
int lint_rules(int json, struct fault *f) MUST_CHECK;

/* TEXT as a JSON string, whatever its bytes are; NULL on -ENOMEM. */
json_t *lint_json_text(const char *text);

/* Print O, which is taken over and may be NULL: -ENOMEM. */
int lint_json_print(json_t *o, struct fault *f) MUST_CHECK;

#endif
