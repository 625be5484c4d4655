/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm guardian host, admin and lease, and policy push and fetch: what an admin tells a
 * guardian from afar.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "attest/form.h"
#include "attest/remote.h"
#include "base/fd.h"
#include "cli/attest.h"
#include "cli/cli.h"
#include "cli/lint.h"
#include "cli/options.h"
#include "crypto/sign.h"
#include "crypto/strict.h"
#include "crypto/tls.h"
#include "guardian/store.h"

struct options {
	const char *guardian, *admin, *output;
	int json, at_once;
	char **operands; /* behind the verb */
};

struct verb {
	const char *name, *takes; /* letters of its own options */
	const char *operands;	  /* what they are, or "" */
	int n;			  /* and how many */
	int (*run)(const struct options *o, struct remote *r, struct fault *f);
};

/* ---- hosts ---- */

static const char *member(const json_t *o, const char *name)
{
	const char *text = strict_text(o, name);
	return text ? text : "";
}

static void print_host(const json_t *h)
{
	static const char *const MEMBERS[] = { "id",   "name",	      "state",
					       "mode", "fingerprint", "approved_by" };
	char text[6][128];
	for (size_t i = 0; i < 6; i++) {
		snprintf(text[i], sizeof(text[i]), "%s", member(h, MEMBERS[i]));
		cli_make_printable(text[i]);
	}
	printf("%-36s  %-16s %-9s %-7s  %s  %s\n", text[0], text[1], text[2], text[3], text[4],
	       text[5]);
}

/* Append the hosts behind AFTER to ALL; AFTER is then the last one's name, or "" when that was
 * all. */
static int fetch_hosts(struct remote *r, char after[static STORE_NAME_MAX], json_t *all,
		       struct fault *f)
{
	char path[64 + STORE_NAME_MAX] = "/v1/hosts";
	CLEANUP_JSON json_t *answer = NULL;
	if (after[0])
		snprintf(path, sizeof(path), "/v1/hosts?after=%s", after);
	int rc = remote_get(r, path, &answer, NULL, f);
	if (rc < 0)
		return rc;
	json_t *hosts = json_object_get(answer, "hosts");
	size_t n = json_array_size(hosts);
	const char *last = n ? member(json_array_get(hosts, n - 1), "name") : "";
	/* In order, so that a guardian cannot have it asked for ever. */
	if (!json_is_array(hosts) ||
	    (n && (store_name_check(last, NULL) < 0 || strcmp(last, after) <= 0)))
		return fault_set(f, ERR_FORMAT, "the guardian's answer has no right \"hosts\"");
	snprintf(after, STORE_NAME_MAX, "%s", last);
	return json_array_extend(all, hosts) < 0 ? fault_set(f, -ENOMEM, "no memory for the hosts")
						 : 0;
}

static int list_hosts(const struct options *o, struct remote *r, struct fault *f)
{
	char after[STORE_NAME_MAX] = "";
	CLEANUP_JSON json_t *answer = json_pack("{s:[]}", "hosts");
	json_t *hosts = json_object_get(answer, "hosts"), *h;
	size_t i;
	int rc = hosts ? 0 : fault_set(f, -ENOMEM, "no memory for the hosts");
	do
		rc = rc < 0 ? rc : fetch_hosts(r, after, hosts, f);
	while (rc >= 0 && after[0]);
	if (rc < 0)
		return rc;
	if (o->json)
		return lint_json_print(json_incref(answer), f);
	printf("%-36s  %-16s %-9s %-7s  %-64s  %s\n", "HOST", "NAME", "STATE", "MODE",
	       "FINGERPRINT", "BY");
	json_array_foreach(hosts, i, h) print_host(h);
	return 0;
}

/* TEXT is a host's or VM's id; OUT as it is sent. */
static int parse_id(const char *text, char out[static UUID_TEXT_SIZE], struct fault *f)
{
	uint8_t id[UUID_BYTES];
	if (uuid_parse(text, id) < 0)
		return fault_set(f, ERR_USAGE, "'%s' is not a UUID", text);
	uuid_format(id, out);
	return 0;
}

static int approve(const struct options *o, struct remote *r, struct fault *f)
{
	char id[UUID_TEXT_SIZE];
	uint8_t print[STORE_FINGERPRINT_BYTES];
	CLEANUP_JSON json_t *answer = NULL;
	int rc = parse_id(o->operands[0], id, f);
	if (rc < 0)
		return rc;
	if (form_hex(o->operands[1], sizeof(print), print) < 0)
		return fault_set(
			f, ERR_USAGE,
			"'%s' is not a fingerprint: it has %zu lower-case hexadecimal digits",
			o->operands[1], 2 * sizeof(print));
	return remote_post(r, "/v1/hosts/approve",
			   json_pack("{s:s, s:s}", "id", id, "fingerprint", o->operands[1]),
			   CLIENT_ONCE, &answer, NULL, f);
}

static int decide(const char *path, const struct options *o, struct remote *r, struct fault *f)
{
	char id[UUID_TEXT_SIZE];
	CLEANUP_JSON json_t *answer = NULL;
	int rc = parse_id(o->operands[0], id, f);
	return rc < 0 ? rc
		      : remote_post(r, path, json_pack("{s:s}", "id", id), CLIENT_ONCE, &answer,
				    NULL, f);
}

static int revoke(const struct options *o, struct remote *r, struct fault *f)
{
	return decide("/v1/hosts/revoke", o, r, f);
}

static int replace(const struct options *o, struct remote *r, struct fault *f)
{
	return decide("/v1/hosts/replace", o, r, f);
}

/* ---- admins ---- */

static int list_admins(const struct options *o, struct remote *r, struct fault *f)
{
	CLEANUP_JSON json_t *answer = NULL;
	json_t *admins, *a;
	size_t i;
	int rc = remote_get(r, "/v1/admins", &answer, NULL, f);
	if (rc < 0)
		return rc;
	if (o->json)
		return lint_json_print(json_incref(answer), f);
	admins = json_object_get(answer, "admins");
	printf("%-24s %-8s  %s\n", "NAME", "ROLE", "FINGERPRINT");
	json_array_foreach(admins, i, a)
	{
		char name[STORE_NAME_MAX], role[16], print[2 * STORE_FINGERPRINT_BYTES + 1];
		snprintf(name, sizeof(name), "%s", member(a, "name"));
		snprintf(role, sizeof(role), "%s", member(a, "role"));
		snprintf(print, sizeof(print), "%s", member(a, "fingerprint"));
		cli_make_printable(name);
		cli_make_printable(role);
		cli_make_printable(print);
		printf("%-24s %-8s  %s\n", name, role, print);
	}
	return 0;
}

/* NAME, ROLE and the file of a public key, by which its owner is known from then on. */
static int add_admin(const struct options *o, struct remote *r, struct fault *f)
{
	uint8_t print[STORE_FINGERPRINT_BYTES];
	CLEANUP_JWK struct jwk *key = NULL;
	CLEANUP_JSON json_t *answer = NULL;
	CLEANUP_BUF struct buf hex = BUF_INIT(2 * sizeof(print) + 1);
	if (store_name_check(o->operands[0], NULL) < 0)
		return fault_set(f, ERR_USAGE, "'%s' is no name for an admin (a-z, 0-9, . and -)",
				 o->operands[0]);
	int rc = jwk_read_file(o->operands[2], 0, &key, f);
	if (rc < 0)
		return rc;
	rc = tls_fingerprint(key, print);
	if (rc >= 0)
		rc = form_hex_put(&hex, print, sizeof(print));
	if (rc < 0 || !buf_cstr(&hex))
		return fault_set(f, rc < 0 ? rc : -ENOMEM, "the admin's key: %s",
				 err_text(rc < 0 ? rc : -ENOMEM));
	return remote_post(r, "/v1/admins",
			   json_pack("{s:s, s:s, s:s}", "name", o->operands[0], "role",
				     o->operands[1], "fingerprint", buf_cstr(&hex)),
			   CLIENT_ONCE, &answer, NULL, f);
}

static int remove_admin(const struct options *o, struct remote *r, struct fault *f)
{
	CLEANUP_JSON json_t *answer = NULL;
	return remote_post(r, "/v1/admins/remove", json_pack("{s:s}", "name", o->operands[0]),
			   CLIENT_ONCE, &answer, NULL, f);
}

/* ---- leases ---- */

/* VM and its OWNER's thumbprint: by the admin's own word. */
static int take_back(const struct options *o, struct remote *r, struct fault *f)
{
	char vm[UUID_TEXT_SIZE];
	CLEANUP_JSON json_t *answer = NULL;
	int rc = parse_id(o->operands[0], vm, f);
	return rc < 0 ? rc
		      : remote_post(r, "/v1/lease/takeback",
				    json_pack("{s:s, s:s}", "vm", vm, "owner", o->operands[1]),
				    CLIENT_ONCE, &answer, NULL, f);
}

/* VM, the file of its owner's public key, and that of what he has signed. */
static int take_back_for_owner(const struct options *o, struct remote *r, struct fault *f)
{
	char vm[UUID_TEXT_SIZE];
	CLEANUP_JWK struct jwk *owner = NULL;
	CLEANUP_BUF struct buf said = BUF_INIT(SIGN_TEXT_MAX + 1), text = BUF_INIT(JWK_FILE_MAX);
	CLEANUP_JSON json_t *answer = NULL;
	json_t *key = NULL;
	int rc = parse_id(o->operands[0], vm, f);
	if (rc >= 0)
		rc = jwk_read_file(o->operands[1], 0, &owner, f);
	if (rc >= 0)
		rc = jwk_public_text(owner, &text);
	if (rc >= 0)
		rc = strict_json((const char *)text.data, text.len, "the owner's key", &key, f);
	if (rc >= 0)
		rc = fd_read_file(AT_FDCWD, o->operands[2], &said, f);
	if (rc < 0) {
		json_decref(key);
		return rc;
	}
	if (said.len > 0 && said.data[said.len - 1] == '\n')
		said.len--;
	return remote_post(r, "/v1/lease/takeback",
			   json_pack("{s:s, s:o, s:s%}", "vm", vm, "owner_key", key, "statement",
				     said.data ? (const char *)said.data : "", said.len),
			   CLIENT_ONCE, &answer, NULL, f);
}

/* ---- the policy ---- */

static int push(const struct options *o, struct remote *r, struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(POLICY_TEXT_MAX + 4096);
	struct policy *policy = NULL;
	json_t *object = NULL;
	const char *name;
	int64_t generation;
	CLEANUP_JSON json_t *answer = NULL;
	int rc = guardian_policy_read(o->operands[0], 1, &policy, &name, f);
	if (rc >= 0)
		rc = policy_text(policy, &text, f);
	policy_free(policy);
	if (rc >= 0)
		rc = strict_json((const char *)text.data, text.len, "the policy", &object, f);
	if (rc < 0)
		return rc;
	rc = remote_post(r, "/v1/policy",
			 json_pack("{s:o, s:b}", "policy", object, "at_once", o->at_once),
			 CLIENT_ONCE, &answer, NULL, f);
	if (rc >= 0)
		rc = remote_take_number(answer, "generation", &generation, f);
	if (rc >= 0)
		printf("%s is the policy's generation %lld now.\n", name, (long long)generation);
	return rc;
}

static int fetch(const struct options *o, struct remote *r, struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(POLICY_TEXT_MAX + 4096);
	CLEANUP_JSON json_t *answer = NULL;
	struct policy *policy = NULL;
	int64_t generation = 0, floor = 0;
	int rc = remote_get(r, "/v1/policy", &answer, NULL, f);
	if (rc >= 0)
		rc = remote_take_number(answer, "generation", &generation, f);
	if (rc >= 0)
		rc = remote_take_number(answer, "floor", &floor, f);
	if (rc < 0)
		return rc;
	char *sent = json_dumps(json_object_get(answer, "policy"), JSON_COMPACT);
	rc = sent ? policy_parse(sent, strlen(sent), &policy, f)
		  : fault_set(f, ERR_FORMAT, "the guardian has sent no policy");
	free(sent);
	if (rc >= 0 && o->output)
		rc = guardian_policy_write(o->output, policy, f);
	else if (rc >= 0)
		rc = policy_text(policy, &text, f);
	policy_free(policy);
	if (rc < 0)
		return rc;
	if (!o->output)
		printf("%.*s\n", (int)text.len, (const char *)text.data);
	fprintf(stderr, "Generation %lld; certificates of generations from %lld on count.\n",
		(long long)generation, (long long)floor);
	return 0;
}

/* ---- arguments ---- */

static const struct verb HOST_VERBS[] = {
	{ "list", "j", "", 0, list_hosts },
	{ "approve", "", "HOST and FINGERPRINT", 2, approve },
	{ "revoke", "", "HOST", 1, revoke },
	{ "replace", "", "HOST", 1, replace },
};
static const struct verb ADMIN_VERBS[] = {
	{ "list", "j", "", 0, list_admins },
	{ "add", "", "NAME, ROLE and PUB", 3, add_admin },
	{ "remove", "", "NAME", 1, remove_admin },
};
static const struct verb LEASE_VERBS[] = {
	{ "takeback", "", "VM and OWNER", 2, take_back },
	{ "takeback-for-owner", "", "VM, PUB and STATEMENT", 3, take_back_for_owner },
};
static const struct verb POLICY_VERBS[] = {
	{ "push", "n", "FILE", 1, push },
	{ "fetch", "o", "", 0, fetch },
};

static const struct verb *find_verb(const struct verb *verbs, size_t n, const char *name)
{
	for (size_t i = 0; name && i < n; i++) {
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	}
	return NULL;
}

static int read_options(int argc, char **argv, const struct verb *verb, struct options *o,
			struct fault *f)
{
	static const struct option OPTIONS[] = {
		{ "guardian", required_argument, NULL, 'g' },
		{ "admin", required_argument, NULL, 'a' },
		{ "json", no_argument, NULL, 'j' },
		{ "at-once", no_argument, NULL, 'n' },
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, OPTIONS_HELP },
		{ 0 },
	};
	char takes[16];
	snprintf(takes, sizeof(takes), "ga%s", verb ? verb->takes : "");
	for (int c; (c = options_next(argc, argv, OPTIONS, takes, f)) != OPTIONS_END;) {
		if (c < 0 || c == OPTIONS_HELP)
			return c;
		if (c == 'g')
			o->guardian = optarg;
		else if (c == 'a')
			o->admin = optarg;
		else if (c == 'o')
			o->output = optarg;
		else if (c == 'n')
			o->at_once = 1;
		else
			o->json = 1;
	}
	return 0;
}

static int run(int argc, char **argv, const struct verb *verbs, size_t n_verbs, struct fault *f)
{
	struct options o = { 0 };
	struct remote r CLEANUP_REMOTE = { 0 };
	const struct verb *verb = find_verb(verbs, n_verbs, argc > 1 ? argv[1] : NULL);
	/* Without a verb, --help may still be there. */
	int rc = read_options(argc - (verb != NULL), argv + (verb != NULL), verb, &o, f);
	if (rc != 0)
		return rc;
	if (!verb)
		return fault_set(f, ERR_USAGE,
				 argc > 1 ? "guardian %s: there is no '%s' (see --help)"
					  : "guardian %s: what to do is missing (see --help)",
				 argv[0], argc > 1 ? argv[1] : "");
	rc = options_operands(argc - 1, argv + 1, verb->n, verb->operands, f);
	if (rc < 0)
		return rc;
	if (!o.guardian || !o.admin)
		return fault_set(f, ERR_USAGE, "guardian %s %s: %s is missing (see --help)",
				 argv[0], verb->name, o.guardian ? "--admin" : "--guardian");
	o.operands = argv + 1 + optind;
	rc = remote_open(o.guardian, o.admin, "guardian", &r, f);
	return rc < 0 ? rc : verb->run(&o, &r, f);
}

int cmd_guardian_host(int argc, char **argv, struct fault *f)
{
	return run(argc, argv, HOST_VERBS, sizeof(HOST_VERBS) / sizeof(HOST_VERBS[0]), f);
}

int cmd_guardian_admin(int argc, char **argv, struct fault *f)
{
	return run(argc, argv, ADMIN_VERBS, sizeof(ADMIN_VERBS) / sizeof(ADMIN_VERBS[0]), f);
}

int cmd_guardian_lease(int argc, char **argv, struct fault *f)
{
	return run(argc, argv, LEASE_VERBS, sizeof(LEASE_VERBS) / sizeof(LEASE_VERBS[0]), f);
}

int guardian_policy_remote(int argc, char **argv, struct fault *f)
{
	return run(argc, argv, POLICY_VERBS, sizeof(POLICY_VERBS) / sizeof(POLICY_VERBS[0]), f);
}
