/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/options.h"

#include <string.h>

/* getopt_long(3) has found no option of OPTIONS. */
static int unknown(char **argv, struct fault *f)
{
	if (optopt && optopt < 0x80 && argv[optind - 1][1] != '-')
		return fault_set(f, ERR_USAGE, "%s: there is no option '-%c' (see --help)", argv[0],
				 optopt);
	return fault_set(f, ERR_USAGE,
			 "%s: there is no option '%s', or it takes no value (see --help)", argv[0],
			 argv[optind - 1]);
}

int options_next(int argc, char **argv, const struct option *options, const char *takes,
		 struct fault *f)
{
	opterr = 0;
	/* ':' first: a missing value is told from an unknown option. */
	int c = getopt_long(argc, argv, ":ho:", options, NULL);
	if (c == -1)
		return OPTIONS_END;
	if (c == ':')
		return fault_set(f, ERR_USAGE, "%s: option '%s' needs a value", argv[0],
				 argv[optind - 1]);
	if (c == '?')
		return unknown(argv, f);
	const struct option *o = options;
	while (o->name && o->val != c)
		o++;
	if (c == OPTIONS_HELP || (o->name && (!takes || strchr(takes, c))))
		return c;
	return fault_set(f, ERR_USAGE, "%s: there is no option '%s%s' (see --help)", argv[0],
			 c == 'o' ? "-" : "--", c == 'o' ? "o" : o->name);
}

int options_operands(int argc, char **argv, int n, const char *what, struct fault *f)
{
	if (argc - optind < n)
		return fault_set(f, ERR_USAGE, "%s: %s is missing (see --help)", argv[0], what);
	if (argc - optind > n)
		return fault_set(f, ERR_USAGE, "%s: '%s' is one argument too many (see --help)",
				 argv[0], argv[optind + n]);
	return 0;
}

int options_none(int argc, char **argv, int n, const char *what, struct fault *f)
{
	static const struct option HELP[] = { { "help", no_argument, NULL, OPTIONS_HELP }, { 0 } };
	int c = options_next(argc, argv, HELP, NULL, f);
	return c == OPTIONS_END ? options_operands(argc, argv, n, what, f) : c;
}
