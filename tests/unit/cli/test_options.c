/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <string.h>

#include "cli/options.h"

#define ARGS_MAX 6

static const struct option OPTIONS[] = { { "help", no_argument, NULL, OPTIONS_HELP },
					 { "key", required_argument, NULL, 'k' },
					 { "output", required_argument, NULL, 'o' },
					 { "json", no_argument, NULL, 'j' },
					 { 0 } };
/* "--output" and with it "-o" are another command's. */
static const struct option FEWER[] = { { "help", no_argument, NULL, OPTIONS_HELP },
				       { "json", no_argument, NULL, 'j' },
				       { 0 } };

struct row {
	const struct option *options;
	const char *takes;
	const char *args[ARGS_MAX];
	const char *result; /* the VALs in their order, or the sentence behind "verb: " */
};

static const struct row ROWS[] = {
	{ OPTIONS, NULL, { "FILE" }, "" },
	{ OPTIONS, NULL, { "--key", "K", "FILE", "--json", "-o", "O" }, "kjo" },
	{ OPTIONS, NULL, { "--key=K", "--output=O", "FILE" }, "ko" },
	{ OPTIONS, "", { "--help" }, "h" },
	{ OPTIONS, "", { "-h" }, "h" },
	{ OPTIONS, "k", { "FILE", "--key", "K" }, "k" },
	/* The option is named, not its value. */
	{ OPTIONS, "j", { "--key", "K", "FILE" }, "there is no option '--key' (see --help)" },
	{ OPTIONS, "j", { "--key=K", "FILE" }, "there is no option '--key' (see --help)" },
	{ OPTIONS, "k", { "FILE", "--json" }, "there is no option '--json' (see --help)" },
	{ OPTIONS, "k", { "-o", "O" }, "there is no option '-o' (see --help)" },
	{ FEWER, NULL, { "-o", "O" }, "there is no option '-o' (see --help)" },
	{ FEWER, NULL, { "-x" }, "there is no option '-x' (see --help)" },
	{ FEWER, NULL, { "--x" }, "there is no option '--x', or it takes no value (see --help)" },
	{ FEWER,
	  NULL,
	  { "--json=1" },
	  "there is no option '--json=1', or it takes no value (see --help)" },
	{ OPTIONS, NULL, { "--key" }, "option '--key' needs a value" },
	{ OPTIONS, NULL, { "-o" }, "option '-o' needs a value" },
	{ OPTIONS, NULL, {}, "FILE is missing (see --help)" },
	{ OPTIONS, NULL, { "a", "--json", "b" }, "'b' is one argument too many (see --help)" },
	{ OPTIONS, NULL, { "--", "--json" }, "" },
};

static int words(const struct row *row, char **argv)
{
	static char verb[] = "verb";
	int n = 0;
	argv[n++] = verb;
	for (int i = 0; i < ARGS_MAX && row->args[i]; i++)
		argv[n++] = (char *)(uintptr_t)row->args[i];
	argv[n] = NULL;
	optind = 0; /* begin anew, as glibc has it */
	return n;
}

static void test_every_row(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		const struct row *row = &ROWS[i];
		struct fault f = { 0 };
		char *argv[ARGS_MAX + 2], met[ARGS_MAX + 1] = "";
		int c, n = 0, argc = words(row, argv);
		while ((c = options_next(argc, argv, row->options, row->takes, &f)) > 0)
			met[n++] = (char)c;
		if (c == OPTIONS_END && strchr(met, OPTIONS_HELP) == NULL)
			c = options_operands(argc, argv, 1, "FILE", &f);
		if (c < OPTIONS_END) {
			assert_int_equal(c, ERR_USAGE);
			assert_int_equal(strncmp(f.text, "verb: ", 6), 0);
			assert_string_equal(f.text + 6, row->result);
		} else {
			assert_string_equal(met, row->result);
		}
	}
}

static void test_none(void **state)
{
	(void)state;
	static const struct {
		struct row row;
		int n, rc;
	} NONE[] = {
		{ { .args = { "FILE" } }, 1, 0 },
		{ { .args = { NULL } }, 0, 0 },
		{ { .args = { "--help" } }, 1, OPTIONS_HELP },
		{ { .args = { NULL } }, 1, ERR_USAGE },
		{ { .args = { "FILE" } }, 0, ERR_USAGE },
		{ { .args = { "--json" } }, 0, ERR_USAGE },
		{ { .args = { "-o", "FILE" } }, 0, ERR_USAGE },
	};
	for (size_t i = 0; i < sizeof(NONE) / sizeof(NONE[0]); i++) {
		struct fault f = { 0 };
		char *argv[ARGS_MAX + 2];
		int argc = words(&NONE[i].row, argv);
		assert_int_equal(options_none(argc, argv, NONE[i].n, "FILE", &f), NONE[i].rc);
		assert_int_equal(f.text[0] != 0, NONE[i].rc < 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_row),
		cmocka_unit_test(test_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
