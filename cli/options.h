/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options and operands of a command, and what is said of those that it does not take.
 *
 * Used by: the commands of `shieldvm`.  State is getopt(3)'s: after OPTIONS_END, argv[optind] is
 * the first operand.
 */
#ifndef SHIELDVM_CLI_OPTIONS_H
#define SHIELDVM_CLI_OPTIONS_H

#include <getopt.h>

#include "base/err.h"

#define OPTIONS_END  (-1)
#define OPTIONS_HELP 'h'

/*
 * The next option, as getopt_long(3): its VAL, OPTIONS_END, OPTIONS_HELP for --help and -h, or
 * ERR_USAGE with a sentence.  OPTIONS have letters for VALs, --help is among them; -o is the short
 * name of the one with 'o', if there is one, and no other has a short name.  TAKES are the letters
 * of those that this command takes, where several commands share OPTIONS; NULL: all of them.
 */
int options_next(int argc, char **argv, const struct option *options, const char *takes,
		 struct fault *f) MUST_CHECK;

/* After the options: exactly N operands, named by WHAT ("IN.xml"), or ERR_USAGE with a sentence. */
int options_operands(int argc, char **argv, int n, const char *what, struct fault *f) MUST_CHECK;

/* For a command without options: OPTIONS_HELP, or what options_operands() says. */
int options_none(int argc, char **argv, int n, const char *what, struct fault *f) MUST_CHECK;

#endif
