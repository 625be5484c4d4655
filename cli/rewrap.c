/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "cli/cli.h"
#include "cli/guards.h"
#include "cli/options.h"

struct rewrap {
	const char *owner, *output;
	int new_tpm;
	struct key_list added;
	size_t n_removed;
	const char *removed[CLI_HOSTS_MAX];
	struct guard_list guards; /* added, or given other addresses */
	size_t n_unguarded;
	const char *unguarded[PROTECTOR_GUARDIANS_MAX]; /* removed, by thumbprint */
	enum healthcert_assurance least;		/* 0: as it was */
	int has_offline;
	uint32_t offline;
	struct protector_facts allowed, forbidden; /* only their rules */
};

static void rewrap_done(struct rewrap *r)
{
	key_list_done(&r->added);
	guard_list_done(&r->guards);
}

/* Keep THUMBPRINT, of a WHAT ("host"), for removal. */
static int add_removed(const char *thumbprint, const char *what, const char **list, size_t max,
		       size_t *n, struct fault *f)
{
	if (*n == max)
		return fault_set(f, ERR_LIMIT, "more than %zu %ss", max, what);
	list[(*n)++] = thumbprint;
	return 0;
}

static int read_rewrap_options(int argc, char **argv, struct rewrap *r, struct fault *f)
{
	static const struct option OPTIONS[] = {
		{ "owner", required_argument, NULL, 'w' },
		{ "add-host", required_argument, NULL, 'a' },
		{ "remove-host", required_argument, NULL, 'r' },
		{ "add-guardian", required_argument, NULL, 'g' },
		{ "remove-guardian", required_argument, NULL, 'G' },
		{ "assurance", required_argument, NULL, 'A' },
		{ "offline-starts", required_argument, NULL, 'O' },
		{ "new-tpm", no_argument, NULL, 't' },
		{ "allow", required_argument, NULL, 'l' },
		{ "forbid", required_argument, NULL, 'f' },
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, OPTIONS_HELP },
		{ 0 },
	};
	for (int c; (c = options_next(argc, argv, OPTIONS, NULL, f)) != OPTIONS_END;) {
		int rc = c < 0 ? c : 0;
		if (c == OPTIONS_HELP)
			return c;
		else if (c == 'w')
			r->owner = optarg;
		else if (c == 'o')
			r->output = optarg;
		else if (c == 't')
			r->new_tpm = 1;
		else if (c == 'a')
			rc = key_list_add_file(&r->added, optarg, f);
		else if (c == 'l')
			rc = cli_allow(&r->allowed, optarg, f);
		else if (c == 'f')
			rc = cli_allow(&r->forbidden, optarg, f);
		else if (c == 'r')
			rc = add_removed(optarg, "host", r->removed, CLI_HOSTS_MAX, &r->n_removed,
					 f);
		else if (c == 'g')
			rc = guard_list_add_option(&r->guards, optarg, f);
		else if (c == 'G')
			rc = add_removed(optarg, "guardian", r->unguarded, PROTECTOR_GUARDIANS_MAX,
					 &r->n_unguarded, f);
		else if (c == 'A')
			rc = guard_assurance(optarg, &r->least, f);
		else if (c == 'O' && (rc = guard_offline(optarg, &r->offline, f)) >= 0)
			r->has_offline = 1;
		if (rc < 0)
			return rc;
	}
	int rc = options_operands(argc, argv, 1, "XML", f);
	if (rc >= 0 && !r->owner)
		return fault_set(f, ERR_USAGE, "%s: --owner FILE is missing (see --help)", argv[0]);
	if (rc >= 0 && !r->added.n && !r->n_removed && !r->new_tpm && !r->allowed.n_allow &&
	    !r->forbidden.n_allow && !r->guards.n && !r->n_unguarded && !r->least &&
	    !r->has_offline)
		return fault_set(f, ERR_USAGE,
				 "%s: nothing to change: give --add-host, --remove-host, "
				 "--add-guardian, --remove-guardian, --assurance, "
				 "--offline-starts, --new-tpm, --allow or --forbid",
				 argv[0]);
	return rc;
}

/* The one of P's guardians whose thumbprint is THUMBPRINT, or NULL. */
static const struct protector_guardian *guardian_of(const struct protector *p,
						    const char *thumbprint)
{
	for (size_t i = 0; i < protector_n_guardians(p); i++) {
		if (strcmp(protector_guardian(p, i)->thumbprint, thumbprint) == 0)
			return protector_guardian(p, i);
	}
	return NULL;
}

static const struct jwk *recipient_key(const struct protector *p, const char *thumbprint)
{
	size_t i = 0;
	while (strcmp(protector_recipient(p, i), thumbprint) != 0)
		i++;
	return protector_recipient_key(p, i);
}

static int is_unguarded(const struct rewrap *r, const char *thumbprint)
{
	size_t i = 0;
	while (i < r->n_unguarded && strcmp(r->unguarded[i], thumbprint) != 0)
		i++;
	return i < r->n_unguarded;
}

/* The guardians of P, less those removed, plus those added; those added again have the addresses
 * that they were given now. */
static int collect_guards(const struct protector *p, const struct rewrap *r,
			  struct guard_list *guards, struct fault *f)
{
	int rc = 0;
	for (size_t i = 0; i < r->n_unguarded; i++) {
		if (!guardian_of(p, r->unguarded[i]))
			return fault_set(f, ERR_RECIPIENT,
					 "%s: none of the domain's guardians has this thumbprint",
					 r->unguarded[i]);
	}
	for (size_t i = 0; i < protector_n_guardians(p) && rc >= 0; i++) {
		const struct protector_guardian *g = protector_guardian(p, i);
		if (!is_unguarded(r, g->thumbprint))
			rc = guard_list_set(guards, recipient_key(p, g->thumbprint), g->urls, f);
	}
	for (size_t i = 0; i < r->guards.n && rc >= 0; i++)
		rc = guard_list_set(guards, r->guards.keys[i], r->guards.urls[i], f);
	return rc;
}

/* What FACTS demand of hosts, with GUARDS. */
static int change_demands(struct protector_facts *facts, const struct rewrap *r,
			  const struct guard_list *guards, struct fault *f)
{
	if (guards->n == 0 && (r->least || r->has_offline))
		return fault_set(
			f, ERR_USAGE,
			"--assurance and --offline-starts are of use with a guardian only, "
			"and the domain has none");
	/* Nobody is left to whom they could be said. */
	if (guards->n == 0) {
		facts->least = HEALTHCERT_TPM;
		facts->offline = 0;
	}
	if (r->least)
		facts->least = r->least;
	if (r->has_offline)
		facts->offline = r->offline;
	guard_edition(facts, guards);
	return 0;
}

/* The hosts of P, less those removed, plus those added. */
static int collect_hosts(const struct protector *p, const struct rewrap *r,
			 const struct guard_list *guards, struct key_list *hosts, struct fault *f)
{
	int found[CLI_HOSTS_MAX] = { 0 };
	for (size_t i = 0; i < protector_n_recipients(p); i++) {
		int removed = 0;
		int is_owner = jwk_same(protector_recipient_key(p, i), protector_owner(p));
		for (size_t k = 0; k < r->n_removed; k++) {
			if (strcmp(r->removed[k], protector_recipient(p, i)) != 0)
				continue;
			if (is_owner)
				return fault_set(f, ERR_USAGE,
						 "%s is the owner, who cannot be removed",
						 r->removed[k]);
			if (guardian_of(p, r->removed[k]))
				return fault_set(f, ERR_USAGE,
						 "%s is a guardian: --remove-guardian removes it",
						 r->removed[k]);
			removed = found[k] = 1;
		}
		int rc = removed || is_owner || guardian_of(p, protector_recipient(p, i))
				 ? 0
				 : key_list_add(hosts, protector_recipient_key(p, i), f);
		if (rc < 0)
			return rc;
	}
	for (size_t k = 0; k < r->n_removed; k++) {
		if (!found[k])
			return fault_set(f, ERR_RECIPIENT,
					 "%s: none of the domain's hosts has this thumbprint",
					 r->removed[k]);
	}
	for (size_t i = 0; i < r->added.n; i++) {
		int rc = key_list_add(hosts, r->added.keys[i], f);
		if (rc < 0)
			return rc;
	}
	for (size_t i = 0; i < hosts->n; i++) {
		if (guard_list_has(guards, hosts->keys[i]))
			return fault_set(f, ERR_USAGE,
					 "the same key would be a host's, which needs no guardian, "
					 "and a guardian's");
	}
	return hosts->n == 0 && guards->n == 0
		       ? fault_set(f, ERR_USAGE,
				   "no host would be left to run the VM; add another first")
		       : 0;
}

/* The rules that FACTS allow, less those forbidden, plus those allowed. */
static int change_rules(struct protector_facts *facts, const struct rewrap *r, const char *command,
			struct fault *f)
{
	size_t kept = 0;
	for (size_t i = 0; i < facts->n_allow; i++) {
		if (!protector_allows(&r->forbidden, facts->allow[i]))
			memmove(facts->allow[kept++], facts->allow[i], PROTECTOR_RULE_MAX);
	}
	facts->n_allow = kept;
	for (size_t i = 0; i < r->allowed.n_allow; i++) {
		int rc = cli_allow(facts, r->allowed.allow[i], f);
		if (rc < 0)
			return rc;
	}
	return cli_check_allowed(facts, command, f);
}

/* D's protector, if it is OWNER's and D's own. */
static int open_protector(const struct domain *d, const struct jwk *owner, const char *path,
			  struct protector **out, struct fault *f)
{
	uint8_t uuid[UUID_BYTES];
	CLEANUP_PROTECTOR struct protector *p = NULL;
	const char *text = domain_shield_text(d);
	if (!text)
		return fault_set(f, ERR_STATE,
				 "%s: the domain is not shielded (see shieldvm shield)", path);
	int rc = protector_parse(text, strlen(text), &p, f);
	if (rc < 0)
		return fault_wrap(f, rc, "%s: its protector", path);
	if (!jwk_same(protector_owner(p), owner))
		return fault_set(f, ERR_AUTH, "%s: the domain belongs to another owner's key",
				 path);
	rc = domain_uuid(d, uuid);
	if (rc == -ENOMEM)
		return rc;
	if (rc < 0 || memcmp(uuid, protector_facts(p)->vm, UUID_BYTES) != 0)
		return fault_set(f, ERR_VM,
				 "%s: its protector was made for the VM with another UUID", path);
	*out = p;
	p = NULL;
	return 0;
}

static void say_removed(const struct rewrap *r)
{
	if (r->n_removed)
		fputs("A removed host can no longer start the VM from this XML by itself. It may "
		      "have kept the\nold XML, and with it the VM key: what it could read before, "
		      "it can read still.\n",
		      stderr);
	if (r->n_unguarded)
		fputs("A removed guardian no longer releases the key by this XML. It still does by "
		      "the old one,\nand it may have kept the key itself.\n",
		      stderr);
	if (r->n_removed || r->n_unguarded)
		fputs("If you do not trust it, shield the domain anew (new VM key, new TPM) and "
		      "encrypt the\nguest's disks again.\n",
		      stderr);
}

static void say_rewrapped(const struct rewrap *r, const struct key_list *hosts,
			  const struct guard_list *guards, const struct protector_facts *facts)
{
	char count[GUARD_COUNT_SIZE];
	guard_count(hosts->n, guards->n, count);
	fprintf(stderr, "New protector: the owner and %s can open the VM key.\n", count);
	for (size_t i = 0; i < hosts->n; i++) {
		char thumbprint[JWK_THUMBPRINT_SIZE];
		if (jwk_thumbprint(hosts->keys[i], thumbprint) == 0)
			fprintf(stderr, "  host %s\n", thumbprint);
	}
	guard_list_say(guards, facts, hosts->n);
	say_removed(r);
	if (r->allowed.n_allow || r->forbidden.n_allow) {
		fputs("  rules that the owner allows:", stderr);
		for (size_t i = 0; i < facts->n_allow; i++)
			fprintf(stderr, " %s", facts->allow[i]);
		fputs(facts->n_allow ? "\n" : " none\n", stderr);
	}
	if (r->new_tpm)
		fputs("The VM starts next time with a new, empty TPM: keys sealed by the former "
		      "one are"
		      " gone.\nHave the recovery keys of the guest's disks at hand.\n",
		      stderr);
	cli_say_define(r->output);
}

int cmd_key_rewrap(int argc, char **argv, struct fault *f)
{
	CLEANUP(rewrap_done) struct rewrap r = { 0 };
	CLEANUP_JWK struct jwk *owner = NULL;
	CLEANUP_DOMAIN struct domain *d = NULL;
	CLEANUP_PROTECTOR struct protector *p = NULL;
	CLEANUP_KEY_LIST struct key_list hosts = { 0 };
	CLEANUP_GUARD_LIST struct guard_list guards = { 0 };
	CLEANUP_KEY struct vm_key key = { 0 };
	CLEANUP_BUF struct buf text = BUF_INIT(PROTECTOR_TEXT_MAX + 1);
	struct ecdh ecdh;

	int rc = read_rewrap_options(argc, argv, &r, f);
	if (rc != 0)
		return rc;
	rc = jwk_read_file(r.owner, 1, &owner, f);
	if (rc >= 0)
		rc = cli_read_domain(argv[optind], &d, f);
	if (rc >= 0)
		rc = open_protector(d, owner, argv[optind], &p, f);
	if (rc >= 0)
		rc = collect_guards(p, &r, &guards, f);
	if (rc >= 0)
		rc = collect_hosts(p, &r, &guards, &hosts, f);
	if (rc >= 0)
		rc = ecdh_from_jwk(owner, &ecdh);
	if (rc >= 0)
		rc = protector_unwrap(p, &ecdh, &key, f);
	if (rc < 0)
		return rc;
	struct protector_facts facts = *protector_facts(p);
	rc = change_rules(&facts, &r, argv[0], f);
	if (rc >= 0)
		rc = change_demands(&facts, &r, &guards, f);
	if (rc < 0)
		return rc;
	if (r.new_tpm && getrandom(facts.tpm_id, sizeof(facts.tpm_id), 0) != sizeof(facts.tpm_id))
		return fault_set(f, -errno, "a new TPM's id: %s", err_text(-errno));
	struct protector_guards view = guard_list_view(&guards);
	rc = protector_make(&facts, &key, owner, (const struct jwk *const *)hosts.keys, hosts.n,
			    &view, &text, f);
	if (rc >= 0 && !buf_cstr(&text))
		rc = -ENOMEM;
	if (rc >= 0)
		rc = domain_set_shield(d, buf_cstr(&text));
	if (rc >= 0)
		rc = cli_write_domain(d, r.output, f);
	if (rc >= 0)
		say_rewrapped(&r, &hosts, &guards, &facts);
	if (rc >= 0)
		guard_say_edition(protector_facts(p)->edition, &facts, &guards);
	return rc;
}
