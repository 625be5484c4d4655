/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "cli/cli.h"
#include "cli/options.h"

int cmd_key_new(int argc, char **argv, struct fault *f)
{
	CLEANUP_JWK struct jwk *k = NULL;
	char thumbprint[JWK_THUMBPRINT_SIZE];
	int rc = options_none(argc, argv, 1, "FILE", f);
	if (rc != 0)
		return rc;
	rc = jwk_new(&k, f);
	if (rc >= 0)
		rc = jwk_thumbprint(k, thumbprint);
	if (rc >= 0)
		rc = jwk_write_pair(k, argv[optind], f);
	if (rc < 0)
		return rc;
	const char *path = argv[optind];
	printf("Owner key %s\n"
	       "  %s      private: opens every VM shielded with it, and alone can change who may "
	       "run"
	       " them.\n"
	       "  %*s      Keep it, and a copy, away from the hosts; lost, it cannot be made "
	       "again.\n"
	       "  %s.pub  public: shows who the owner is; nothing to hide.\n",
	       thumbprint, path, (int)strlen(path), "", path);
	return 0;
}

/* The key in PATH, whichever half it is. */
static int read_either(const char *path, struct jwk **out, struct fault *f)
{
	struct fault as_public = { 0 };
	int rc = jwk_read_file(path, 1, out, f);
	if (rc >= 0 || jwk_read_file(path, 0, out, &as_public) < 0)
		return rc;
	f->text[0] = '\0';
	return 0;
}

int cmd_key_show(int argc, char **argv, struct fault *f)
{
	CLEANUP_JWK struct jwk *k = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(JWK_FILE_MAX);
	char thumbprint[JWK_THUMBPRINT_SIZE];
	int rc = options_none(argc, argv, 1, "FILE", f);
	if (rc != 0)
		return rc;
	rc = read_either(argv[optind], &k, f);
	if (rc >= 0)
		rc = jwk_thumbprint(k, thumbprint);
	if (rc >= 0)
		rc = jwk_public_text(k, &text);
	if (rc < 0)
		return rc;
	const char *json = buf_cstr(&text);
	if (!json)
		return -ENOMEM;
	printf("%s\n", json);
	fflush(stdout);
	fprintf(stderr, "thumbprint %s\n", thumbprint);
	return 0;
}

struct rewrap {
	const char *owner, *output;
	int new_tpm;
	struct key_list added;
	size_t n_removed;
	const char *removed[CLI_HOSTS_MAX];
	struct protector_facts allowed, forbidden; /* only their rules */
};

static void rewrap_done(struct rewrap *r)
{
	key_list_done(&r->added);
}

static int read_rewrap_options(int argc, char **argv, struct rewrap *r, struct fault *f)
{
	static const struct option OPTIONS[] = {
		{ "owner", required_argument, NULL, 'w' },
		{ "add-host", required_argument, NULL, 'a' },
		{ "remove-host", required_argument, NULL, 'r' },
		{ "new-tpm", no_argument, NULL, 't' },
		{ "allow", required_argument, NULL, 'l' },
		{ "forbid", required_argument, NULL, 'f' },
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, OPTIONS_HELP },
		{ 0 },
	};
	for (int c; (c = options_next(argc, argv, OPTIONS, NULL, f)) != OPTIONS_END;) {
		int rc = 0;
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
		else if (c == 'r' && r->n_removed < CLI_HOSTS_MAX)
			r->removed[r->n_removed++] = optarg;
		else
			rc = c < 0 ? c
				   : fault_set(f, ERR_LIMIT, "more than %d hosts", CLI_HOSTS_MAX);
		if (rc < 0)
			return rc;
	}
	int rc = options_operands(argc, argv, 1, "XML", f);
	if (rc >= 0 && !r->owner)
		return fault_set(f, ERR_USAGE, "%s: --owner FILE is missing (see --help)", argv[0]);
	if (rc >= 0 && !r->added.n && !r->n_removed && !r->new_tpm && !r->allowed.n_allow &&
	    !r->forbidden.n_allow)
		return fault_set(f, ERR_USAGE,
				 "%s: nothing to change: give --add-host, --remove-host, "
				 "--new-tpm, --allow or "
				 "--forbid",
				 argv[0]);
	return rc;
}

/* The hosts of P, less those removed, plus those added. */
static int collect_hosts(const struct protector *p, const struct rewrap *r, struct key_list *hosts,
			 struct fault *f)
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
			removed = found[k] = 1;
		}
		int rc = removed || is_owner
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
	return hosts->n == 0 ? fault_set(f, ERR_USAGE,
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

static void say_rewrapped(const struct rewrap *r, const struct key_list *hosts,
			  const struct protector_facts *facts)
{
	fprintf(stderr, "New protector: the owner and %zu host%s can open the VM key.\n", hosts->n,
		hosts->n == 1 ? "" : "s");
	for (size_t i = 0; i < hosts->n; i++) {
		char thumbprint[JWK_THUMBPRINT_SIZE];
		if (jwk_thumbprint(hosts->keys[i], thumbprint) == 0)
			fprintf(stderr, "  host %s\n", thumbprint);
	}
	if (r->n_removed)
		fputs("A removed host can no longer start the VM from this XML. It may have kept "
		      "the"
		      " old XML, and\nwith it the VM key: what it could read before, it can read"
		      " still. If you do not trust it,\nshield the domain anew (new VM key, new "
		      "TPM)"
		      " and encrypt the guest's disks again.\n",
		      stderr);
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
		rc = collect_hosts(p, &r, &hosts, f);
	if (rc >= 0)
		rc = ecdh_from_jwk(owner, &ecdh);
	if (rc >= 0)
		rc = protector_unwrap(p, &ecdh, &key, f);
	if (rc < 0)
		return rc;
	struct protector_facts facts = *protector_facts(p);
	rc = change_rules(&facts, &r, argv[0], f);
	if (rc < 0)
		return rc;
	if (r.new_tpm && getrandom(facts.tpm_id, sizeof(facts.tpm_id), 0) != sizeof(facts.tpm_id))
		return fault_set(f, -errno, "a new TPM's id: %s", err_text(-errno));
	rc = protector_make(&facts, &key, owner, (const struct jwk *const *)hosts.keys, hosts.n,
			    NULL, &text, f);
	if (rc >= 0 && !buf_cstr(&text))
		rc = -ENOMEM;
	if (rc >= 0)
		rc = domain_set_shield(d, buf_cstr(&text));
	if (rc >= 0)
		rc = cli_write_domain(d, r.output, f);
	if (rc >= 0)
		say_rewrapped(&r, &hosts, &facts);
	return rc;
}
