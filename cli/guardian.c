/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm guardian baseline and policy: what a guardian demands of hosts, in its policy's file.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "attest/form.h"
#include "cli/attest.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "guardian/capture.h"

struct options {
	const char *policy;
	enum baseline_kind kind;
	uint16_t bank;
	int json;
	int n; /* operands behind the verb */
	char **operands;
};

static const struct verb {
	const char *name, *takes; /* letters of its options */
	const char *operands;	  /* what they are, or "" */
	int least, most;	  /* and how many */
	int changes;		  /* the policy */
	int (*run)(const struct options *o, struct policy *p, struct fault *f);
} * find_verb(const struct verb *verbs, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	}
	return NULL;
}

static int learn(const struct options *o, struct policy *p, struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(CAPTURE_TEXT_MAX);
	struct capture c CLEANUP(capture_done) = { 0 };
	const char *name;
	int rc = cli_read(o->operands[1], "a capture", &text, &name, f);
	if (rc < 0)
		return rc;
	rc = capture_parse((const char *)text.data, text.len, &c, f);
	if (rc >= 0)
		rc = capture_learn(&c, p, o->operands[0], o->kind, f);
	if (rc < 0)
		return fault_wrap(f, rc, "%s", name);
	fprintf(stderr,
		"Learned %s. That the capture is of a host in good order is on your word.\n",
		o->operands[0]);
	return 0;
}

/* "7=HEX" */
static int add_value(const char *text, struct pcrs *values, struct fault *f)
{
	unsigned pcr = 0;
	const char *p = text;
	for (; *p >= '0' && *p <= '9' && pcr < PCR_COUNT; p++)
		pcr = 10 * pcr + (unsigned)(*p - '0');
	if (p == text || *p != '=' || pcr >= PCR_COUNT ||
	    form_hex(p + 1, hash_bytes(values->bank), values->value[pcr]) < 0)
		return fault_set(f, ERR_USAGE,
				 "'%s' is not a PCR's number, '=' and %zu lower-case hexadecimal"
				 " digits",
				 text, 2 * hash_bytes(values->bank));
	if (values->mask & (1U << pcr))
		return fault_set(f, ERR_USAGE, "PCR %u is given twice", pcr);
	values->mask |= 1U << pcr;
	return 0;
}

static int add(const struct options *o, struct policy *p, struct fault *f)
{
	struct pcrs values = { .bank = o->bank };
	int rc = 0;
	for (int i = 1; rc >= 0 && i < o->n; i++)
		rc = add_value(o->operands[i], &values, f);
	return rc < 0 ? rc : policy_add_exact(p, o->operands[0], &values, f);
}

static int drop(const struct options *o, struct policy *p, struct fault *f)
{
	return policy_remove(p, o->operands[0], f);
}

static int demand(const struct options *o, struct policy *p, struct fault *f)
{
	return policy_demand(p, o->operands[0], 1, f);
}

static int waive(const struct options *o, struct policy *p, struct fault *f)
{
	return policy_demand(p, o->operands[0], 0, f);
}

static int print_text(const struct policy *p, struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(POLICY_TEXT_MAX + 4096);
	int rc = policy_text(p, &text, f);
	if (rc >= 0)
		printf("%.*s\n", (int)text.len, (const char *)text.data);
	return rc;
}

static int show_baselines(const struct options *o, struct policy *p, struct fault *f)
{
	char about[BASELINE_ABOUT_MAX];
	enum baseline_kind kind;
	const char *name;
	size_t n = 0;
	if (o->json)
		return print_text(p, f);
	while ((name = policy_baseline(p, n, &kind, about))) {
		if (n++ == 0)
			printf("%-24s %-10s %s\n", "BASELINE", "KIND", "HOLDS");
		printf("%-24s %-10s %s\n", name, kind == BASELINE_EXACT ? "exact" : "structured",
		       about);
	}
	if (n == 0)
		puts("There is no baseline: every host is refused.");
	return 0;
}

static int show_checks(const struct options *o, struct policy *p, struct fault *f)
{
	if (o->json)
		return print_text(p, f);
	printf("%-24s %-9s %s\n", "CHECK", "DEMANDED", "WHAT IT MEANS");
	for (size_t i = 0; policy_check(i); i++)
		printf("%-24s %-9s %s\n", policy_check(i),
		       policy_demands(p, policy_check(i)) ? "yes" : "no",
		       finding_meaning(policy_check(i)));
	return 0;
}

static const struct verb BASELINE_VERBS[] = {
	{ "learn", "kp", "NAME and CAPTURE", 2, 2, 1, learn },
	{ "add", "bp", "NAME and PCR=HEX", 2, PCR_COUNT + 1, 1, add },
	{ "remove", "p", "NAME", 1, 1, 1, drop },
	{ "show", "jp", "", 0, 0, 0, show_baselines },
};
static const struct verb POLICY_VERBS[] = {
	{ "demand", "p", "CHECK", 1, 1, 1, demand },
	{ "waive", "p", "CHECK", 1, 1, 1, waive },
	{ "show", "jp", "", 0, 0, 0, show_checks },
};

/* The options that VERB takes; OPTIONS_HELP for --help. */
static int read_options(int argc, char **argv, const struct verb *verb, struct options *o,
			struct fault *f)
{
	static const struct option OPTIONS[] = {
		{ "policy", required_argument, NULL, 'p' },
		{ "kind", required_argument, NULL, 'k' },
		{ "bank", required_argument, NULL, 'b' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, OPTIONS_HELP },
		{ 0 },
	};
	for (int c; (c = options_next(argc, argv, OPTIONS, verb ? verb->takes : NULL, f)) !=
		    OPTIONS_END;) {
		if (c < 0 || c == OPTIONS_HELP)
			return c;
		if (c == 'p')
			o->policy = optarg;
		else if (c == 'j')
			o->json = 1;
		else if (c == 'k' && strcmp(optarg, "exact") == 0)
			o->kind = BASELINE_EXACT;
		else if (c == 'k' && strcmp(optarg, "structured") != 0)
			return fault_set(f, ERR_USAGE,
					 "--kind %s: there is only structured and exact", optarg);
		else if (c == 'b' && form_bank(optarg, &o->bank) < 0)
			return fault_set(f, ERR_USAGE,
					 "--bank %s: there is only sha256, sha384 and sha512",
					 optarg);
	}
	return 0;
}

static int run(int argc, char **argv, const struct verb *verbs, size_t n_verbs, struct fault *f)
{
	struct options o = { .kind = BASELINE_STRUCTURED, .bank = HASH_SHA256 };
	const struct verb *verb = argc > 1 ? find_verb(verbs, n_verbs, argv[1]) : NULL;
	/* Without a verb, --help may still be there. */
	int rc = read_options(argc - (verb != NULL), argv + (verb != NULL), verb, &o, f);
	if (rc != 0)
		return rc;
	if (!verb)
		return fault_set(f, ERR_USAGE,
				 argc > 1 ? "guardian %s: there is no '%s' (see --help)"
					  : "guardian %s: what to do is missing (see --help)",
				 argv[0], argc > 1 ? argv[1] : "");
	o.operands = argv + 1 + optind;
	o.n = argc - 1 - optind;
	if (o.n < verb->least)
		return fault_set(f, ERR_USAGE, "%s: %s is missing (see --help)", verb->name,
				 verb->operands);
	if (o.n > verb->most)
		return fault_set(f, ERR_USAGE, "%s: '%s' is one argument too many (see --help)",
				 verb->name, o.operands[verb->most]);
	struct policy *p = NULL;
	const char *name;
	rc = guardian_policy_read(o.policy, 0, &p, &name, f);
	if (rc >= 0)
		rc = verb->run(&o, p, f);
	if (rc >= 0 && verb->changes)
		rc = guardian_policy_write(o.policy, p, f);
	policy_free(p);
	return rc;
}

int cmd_guardian_baseline(int argc, char **argv, struct fault *f)
{
	return run(argc, argv, BASELINE_VERBS, sizeof(BASELINE_VERBS) / sizeof(BASELINE_VERBS[0]),
		   f);
}

int cmd_guardian_policy(int argc, char **argv, struct fault *f)
{
	if (argc > 1 && (strcmp(argv[1], "push") == 0 || strcmp(argv[1], "fetch") == 0))
		return guardian_policy_remote(argc, argv, f);
	return run(argc, argv, POLICY_VERBS, sizeof(POLICY_VERBS) / sizeof(POLICY_VERBS[0]), f);
}
