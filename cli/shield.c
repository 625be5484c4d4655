/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/paths.h"
#include "cli/cli.h"
#include "cli/guards.h"
#include "cli/options.h"
#include "libvirt/shield.h"

struct shield_command {
	const char *owner, *output;
	int strip, allows;
	struct key_list hosts;
	struct guard_list guards;
	struct protector_facts facts;
};

static void command_done(struct shield_command *s)
{
	key_list_done(&s->hosts);
	guard_list_done(&s->guards);
}

static int read_options(int argc, char **argv, struct shield_command *s, struct fault *f)
{
	static const struct option OPTIONS[] = {
		{ "owner", required_argument, NULL, 'w' },
		{ "host", required_argument, NULL, 'H' },
		{ "guardian", required_argument, NULL, 'g' },
		{ "assurance", required_argument, NULL, 'A' },
		{ "offline-starts", required_argument, NULL, 'O' },
		{ "level", required_argument, NULL, 'l' },
		{ "allow", required_argument, NULL, 'a' },
		{ "strip", no_argument, NULL, 's' },
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, OPTIONS_HELP },
		{ 0 },
	};
	int demands = 0;
	s->facts.level = LEVEL_SHIELDED;
	s->facts.least = HEALTHCERT_TPM;
	for (int c; (c = options_next(argc, argv, OPTIONS, NULL, f)) != OPTIONS_END;) {
		int rc = c < 0 ? c : 0;
		if (c == OPTIONS_HELP)
			return c;
		else if (c == 'w')
			s->owner = optarg;
		else if (c == 'o')
			s->output = optarg;
		else if (c == 's')
			s->strip = 1;
		else if (c == 'H')
			rc = key_list_add_file(&s->hosts, optarg, f);
		else if (c == 'g')
			rc = guard_list_add_option(&s->guards, optarg, f);
		else if (c == 'A')
			rc = guard_assurance(optarg, &s->facts.least, f);
		else if (c == 'O')
			rc = guard_offline(optarg, &s->facts.offline, f);
		else if (c == 'a')
			rc = cli_allow(&s->facts, optarg, f);
		else if (c == 'l')
			rc = cli_level(optarg, &s->facts, f);
		if (rc < 0)
			return rc;
		demands |= c == 'A' || c == 'O';
	}
	int rc = options_operands(argc, argv, 1, "IN.xml", f);
	if (rc >= 0 && !s->owner)
		return fault_set(f, ERR_USAGE,
				 "%s: --owner FILE is missing (shieldvm key new FILE makes one)",
				 argv[0]);
	if (rc >= 0 && demands && s->guards.n == 0)
		return fault_set(f, ERR_USAGE,
				 "%s: --assurance and --offline-starts are of use with --guardian "
				 "only",
				 argv[0]);
	for (size_t i = 0; i < s->hosts.n && rc >= 0; i++) {
		if (guard_list_has(&s->guards, s->hosts.keys[i]))
			return fault_set(
				f, ERR_USAGE,
				"%s: the same key is given with --guardian and with --host",
				argv[0]);
	}
	return rc < 0 ? rc : cli_check_allowed(&s->facts, argv[0], f);
}

/* This host may always run the VM, unless a guardian is to say which may; a machine that is no host
 * need not. */
static int add_this_host(struct shield_command *s, struct fault *f)
{
	static const char path[] = PATH_HOST_KEY ".pub";
	if (s->guards.n > 0)
		return 0;
	if (access(path, F_OK) == 0 || errno != ENOENT)
		return key_list_add_file(&s->hosts, path, f);
	if (s->hosts.n == 0)
		return fault_set(f, -ENOENT,
				 "no host could run the VM: there is no %s, so run shieldvm host"
				 " init on this machine, or name another host with --host",
				 path);
	fputs("This machine has no host key: only the hosts named with --host can run the VM.\n",
	      stderr);
	return 0;
}

static void say_change(const char *text, void *arg)
{
	int *count = arg;
	char line[FAULT_TEXT_MAX];
	snprintf(line, sizeof(line), "%s", text);
	cli_make_printable(line);
	fprintf(stderr, "%s  %s\n", (*count)++ ? "" : "Changed:\n", line);
}

struct findings {
	int refusals, notices, strippable;
	int refusals_wanted; /* which of the two are printed */
};

static int say_finding(const struct domain_finding *finding, void *arg)
{
	struct findings *n = arg;
	char text[FAULT_TEXT_MAX];
	int refuses = VERDICT_REFUSES(finding->verdict);
	if (refuses != n->refusals_wanted)
		return 0;
	domain_finding_text(finding, text, sizeof(text));
	int *count = refuses ? &n->refusals : &n->notices;
	if ((*count)++ == 0)
		fputs(refuses ? "In the way:\n" : "Worth knowing:\n", stderr);
	n->strippable += refuses && finding->rule->remedy == REMEDY_STRIP;
	cli_make_printable(text);
	fprintf(stderr, "  %s\n", text);
	return 0;
}

static int judge(const struct domain *d, const struct shield_command *s, struct fault *f)
{
	struct findings n = { 0 };
	int rc = domain_check_each(d, &s->facts, say_finding, &n, f);
	n.refusals_wanted = 1;
	if (rc >= 0)
		rc = domain_check_each(d, &s->facts, say_finding, &n, f);
	if (rc < 0 || n.refusals == 0)
		return rc;
	return fault_set(
		f, ERR_POLICY,
		"not shielded: %d thing%s in the way at level %s, see above%s; nothing was"
		" written",
		n.refusals, n.refusals == 1 ? " stands" : "s stand", level_name(s->facts.level),
		n.strippable && !s->strip ? " (--strip takes out what it says it can)" : "");
}

static void say_shielded(const struct domain *d, const struct shield_command *s)
{
	char uuid[UUID_TEXT_SIZE], name[128], count[GUARD_COUNT_SIZE];
	guard_count(s->hosts.n, s->guards.n, count);
	uuid_format(s->facts.vm, uuid);
	snprintf(name, sizeof(name), "%s", domain_name(d));
	cli_make_printable(name);
	fprintf(stderr,
		"Shielded: %s (%s) at level %s.\n"
		"  Its key protects the vTPM and everything of the VM that leaves its memory; it "
		"can be"
		" opened by\n  the owner key %s and by %s:\n",
		name, uuid, level_name(s->facts.level), s->owner, count);
	for (size_t i = 0; i < s->hosts.n; i++) {
		char thumbprint[JWK_THUMBPRINT_SIZE];
		if (jwk_thumbprint(s->hosts.keys[i], thumbprint) == 0)
			fprintf(stderr, "  host %s\n", thumbprint);
	}
	guard_list_say(&s->guards, &s->facts, s->hosts.n);
	cli_say_define(s->output);
}

int cmd_shield(int argc, char **argv, struct fault *f)
{
	CLEANUP(command_done) struct shield_command s = { 0 };
	CLEANUP_JWK struct jwk *owner = NULL;
	CLEANUP_DOMAIN struct domain *d = NULL;
	CLEANUP_KEY struct vm_key key = { 0 };
	CLEANUP_BUF struct buf text = BUF_INIT(PROTECTOR_TEXT_MAX + 1);
	int changes = 0;

	int rc = read_options(argc, argv, &s, f);
	if (rc != 0)
		return rc;
	rc = jwk_read_file(s.owner, 1, &owner, f);
	if (rc >= 0)
		rc = cli_read_domain(argv[optind], &d, f);
	if (rc >= 0)
		rc = add_this_host(&s, f);
	if (rc < 0)
		return rc;
	guard_edition(&s.facts, &s.guards);
	rc = shield_domain(d, &s.facts, s.strip, say_change, &changes, f);
	if (rc < 0)
		return fault_wrap(f, rc, "%s", argv[optind]);
	rc = judge(d, &s, f);
	if (rc < 0)
		return rc;
	if (getrandom(s.facts.tpm_id, sizeof(s.facts.tpm_id), 0) != sizeof(s.facts.tpm_id))
		return fault_set(f, -errno, "the TPM's id: %s", err_text(-errno));
	struct protector_guards guards = guard_list_view(&s.guards);
	rc = key_new(&key);
	if (rc >= 0)
		rc = protector_make(&s.facts, &key, owner, (const struct jwk *const *)s.hosts.keys,
				    s.hosts.n, &guards, &text, f);
	if (rc >= 0 && !buf_cstr(&text))
		rc = -ENOMEM;
	if (rc >= 0)
		rc = domain_set_shield(d, buf_cstr(&text));
	if (rc >= 0)
		rc = cli_write_domain(d, s.output, f);
	if (rc >= 0)
		say_shielded(d, &s);
	return rc;
}
