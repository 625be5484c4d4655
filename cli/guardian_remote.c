/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm guardian host, and policy push and fetch: what an admin tells a guardian from afar.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "attest/form.h"
#include "attest/remote.h"
#include "cli/attest.h"
#include "cli/cli.h"
#include "cli/lint.h"
#include "cli/options.h"
#include "crypto/strict.h"
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

/* TEXT is a host's id; OUT as it is sent. */
static int parse_id(const char *text, char out[static UUID_TEXT_SIZE], struct fault *f)
{
	uint8_t id[UUID_BYTES];
	if (uuid_parse(text, id) < 0)
		return fault_set(f, ERR_USAGE, "'%s' is not a host's UUID", text);
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

int guardian_policy_remote(int argc, char **argv, struct fault *f)
{
	return run(argc, argv, POLICY_VERBS, sizeof(POLICY_VERBS) / sizeof(POLICY_VERBS[0]), f);
}
