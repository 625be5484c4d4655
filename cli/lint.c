/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm lint: the rules for a domain's XML, on any domain.
 *
 * What it tells depends on what is asked.  Of a shielded domain: whether this host's hook would let
 * it start, so its own level, owner's choices and UUID count.  Of a plain one: whether `shieldvm
 * shield` would take it, so what shielding puts right by itself is told in one line and is no
 * refusal.
 */
#include "cli/lint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "policy/qmp_rules.h"

#define FINDINGS_MAX 10000 /* told one by one; more are counted */

struct options {
	const char *argv_file;
	int json, rules, has_level;
	struct protector_facts facts; /* level and allowed rules, as given */
};

/* One line of the result. */
struct line {
	long number;
	size_t order;			  /* of the table, within a line of the file */
	const char *rule, *reason, *todo; /* of the rule's table, or of this file */
	char element[DOMAIN_ELEMENT_MAX];
	int refused, missing;
	int by_shield, by_strip, by_owner; /* what would put it right */
};

struct report {
	const char *name; /* of the file */
	const struct domain *domain;
	int plain;		     /* not shielded */
	struct protector *protector; /* NULL without a good one */
	struct protector_facts facts;
	size_t n, refused, notices, by_shield, by_strip, unlisted;
	struct line *lines; /* FINDINGS_MAX */
};

static void report_done(struct report *r)
{
	free(r->lines);
	protector_free(r->protector);
}

json_t *lint_json_text(const char *text)
{
	json_t *o = json_string(text);
	if (o)
		return o;
	/* Not UTF-8: a file's name may be anything. */
	CLEANUP_FREE char *ascii = strdup(text);
	for (char *p = ascii; p && *p; p++) {
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	}
	return ascii ? json_string(ascii) : NULL;
}

int lint_json_print(json_t *o, struct fault *f)
{
	int rc = !o ? -ENOMEM : json_dumpf(o, stdout, JSON_INDENT(2)) < 0 ? -EIO : 0;
	json_decref(o);
	if (rc == 0)
		putchar('\n');
	return rc < 0 ? fault_set(f, rc, "the result cannot be printed: %s", err_text(rc)) : 0;
}

static void add_line(struct report *r, const struct line *line)
{
	r->refused += line->refused != 0;
	r->notices += !line->refused && !line->by_shield;
	r->by_shield += line->by_shield != 0;
	r->by_strip += line->refused && line->by_strip;
	if (r->n == FINDINGS_MAX) {
		r->unlisted++;
		return;
	}
	r->lines[r->n] = *line;
	r->lines[r->n].order = r->n;
	r->n++;
}

static int add_finding(const struct domain_finding *finding, void *arg)
{
	struct report *r = arg;
	const struct domain_rule *rule = finding->rule;
	int refuses = VERDICT_REFUSES(finding->verdict);
	struct line line = {
		.number = finding->near ? xmlGetLineNo(finding->near) : 0,
		.rule = rule->id,
		.reason = rule->reason,
		.todo = rule->todo,
		.missing = !finding->node,
		.by_shield = r->plain && refuses && rule->remedy == REMEDY_SHIELD,
		.by_strip = r->plain && refuses && rule->remedy == REMEDY_STRIP,
		.by_owner = finding->verdict == VERDICT_OWNER,
	};
	domain_finding_element(finding, line.element, sizeof(line.element));
	line.refused = refuses && !line.by_shield;
	if (line.by_shield)
		line.todo = "shieldvm shield puts it right";
	else if (!refuses && rule->at_supported == VERDICT_OWNER)
		line.todo = "its owner allows it";
	/* The UUID to compare with is the domain's own, so that it differs has one reason. */
	if (r->plain && strcmp(rule->id, "domain.uuid") == 0 && line.refused) {
		line.reason = "not a UUID";
		line.todo = "put a valid one there, or none: shieldvm shield makes one";
	}
	add_line(r, &line);
	return 0;
}

/* What the hook would say of the protector before it looks at anything else. */
static void add_bad_protector(struct report *r, int rc)
{
	struct line line = { .number = domain_shield_line(r->domain),
			     .rule = "protector.form",
			     .reason = "not a key protector that this version reads",
			     .todo = "put back the one that shieldvm shield made",
			     .element = "protector",
			     .refused = 1 };
	if (rc == ERR_AUTH) {
		line.rule = "protector.signature";
		line.reason = "it is not what its owner has signed";
	} else if (rc == ERR_VM) {
		line.rule = "protector.vm";
		line.reason = "it was made for the VM with another UUID";
		line.todo = "give the domain back its UUID, or shield the plain XML anew";
	}
	add_line(r, &line);
}

/* Level, UUID and allowed rules: the owner's where they are signed, else as given. */
static int settle_facts(struct report *r, const struct options *o, struct fault *f)
{
	CLEANUP_PROTECTOR struct protector *protector = NULL;
	uint8_t uuid[UUID_BYTES] = { 0 };
	struct fault ignored = { 0 };
	const char *text = domain_shield_text(r->domain);
	int has_uuid = domain_uuid(r->domain, uuid) >= 0;
	r->plain = !text;
	r->facts = o->facts;
	if (text) {
		int rc = protector_parse(text, strlen(text), &protector, &ignored);
		if (rc == -ENOMEM)
			return fault_set(f, rc, "%s: %s", r->name, err_text(rc));
		if (rc >= 0 &&
		    (!has_uuid || memcmp(protector_facts(protector)->vm, uuid, UUID_BYTES) != 0))
			rc = ERR_VM;
		if (rc < 0)
			add_bad_protector(r, rc);
	}
	if (protector && !o->has_level) {
		size_t given = r->facts.n_allow;
		r->facts = *protector_facts(protector);
		for (size_t i = 0; i < given; i++) {
			int rc = cli_allow(&r->facts, o->facts.allow[i], f);
			if (rc < 0)
				return rc;
		}
	}
	/* Another UUID than the protector's is told once, above. */
	memcpy(r->facts.vm, uuid, UUID_BYTES);
	r->protector = protector;
	protector = NULL;
	return o->facts.n_allow ? cli_check_allowed(&r->facts, "lint", f) : 0;
}

static int by_line(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

static void print_line(const char *text)
{
	char line[FAULT_TEXT_MAX + 512];
	snprintf(line, sizeof(line), "%s", text);
	cli_make_printable(line);
	puts(line);
}

static void print_findings(const struct report *r)
{
	char text[FAULT_TEXT_MAX + 512];
	for (size_t i = 0; i < r->n; i++) {
		const struct line *line = &r->lines[i];
		if (line->by_shield)
			continue;
		snprintf(text, sizeof(text), "%.400s:%ld: %s %s: %s<%s>: %s (%s%s%s)", r->name,
			 line->number, line->refused ? "refused" : "notice", line->rule,
			 line->missing ? "no " : "", line->element, line->reason, line->todo,
			 line->by_owner ? "; or the owner allows it: --allow " : "",
			 line->by_owner ? line->rule : "");
		print_line(text);
	}
	if (r->unlisted) {
		snprintf(text, sizeof(text), "%.400s: %zu more", r->name, r->unlisted);
		print_line(text);
	}
}

/* What shielding does without being asked, each rule once. */
static void print_by_shield(const struct report *r)
{
	char text[FAULT_TEXT_MAX + 512], *end = text + sizeof(text);
	char *p = text + snprintf(text, sizeof(text), "%.400s: shieldvm shield itself puts right",
				  r->name);
	const char *comma = "";
	for (size_t i = 0; i < r->n; i++) {
		const struct line *line = &r->lines[i];
		int before = 0;
		for (size_t k = 0; k < i; k++)
			before |= r->lines[k].by_shield && r->lines[k].rule == line->rule;
		if (!line->by_shield || before || p >= end)
			continue;
		p += snprintf(p, (size_t)(end - p), "%s %s", comma, line->rule);
		comma = ",";
	}
	print_line(text);
}

static void print_summary(const struct report *r)
{
	char text[FAULT_TEXT_MAX + 512], strip[64] = "";
	if (r->by_strip)
		snprintf(strip, sizeof(strip), " (%zu of them --strip takes out)", r->by_strip);
	snprintf(text, sizeof(text), "%.400s: %s, level %s: %zu refused%s, %zu notice%s%s", r->name,
		 r->plain ? "not shielded yet" : "shielded", level_name(r->facts.level), r->refused,
		 strip, r->notices, r->notices == 1 ? "" : "s",
		 r->refused ? ""
		 : r->plain ? "; shieldvm shield would take it"
			    : "; no rule keeps it from starting");
	print_line(text);
}

static json_t *line_json(const struct line *line)
{
	json_t *fix = json_array();
	const char *const WORDS[] = { line->by_shield ? "shield" : NULL,
				      line->by_strip ? "strip" : NULL,
				      line->by_owner ? "allow" : NULL };
	for (size_t i = 0; i < sizeof(WORDS) / sizeof(WORDS[0]); i++) {
		if (WORDS[i] && json_array_append_new(fix, json_string(WORDS[i])) < 0) {
			json_decref(fix);
			return NULL;
		}
	}
	return json_pack("{s:i, s:s, s:s, s:s, s:b, s:s, s:s, s:o}", "line", (int)line->number,
			 "verdict",
			 line->refused	   ? "refused"
			 : line->by_shield ? "shield"
					   : "notice",
			 "rule", line->rule, "element", line->element, "missing", line->missing,
			 "reason", line->reason, "todo", line->todo, "fix", fix);
}

static json_t *guardian_json(const struct protector_guardian *g)
{
	json_t *urls = json_array();
	for (const char *url = g->urls; urls && *url;) {
		size_t n = strcspn(url, ",");
		if (json_array_append_new(urls, json_stringn(url, n)) < 0) {
			json_decref(urls);
			return NULL;
		}
		url += n + (url[n] == ',');
	}
	return json_pack("{s:s, s:o}", "thumbprint", g->thumbprint, "urls", urls);
}

/* Who releases the VM's key, and to whom, into O. */
static int add_guardians(const struct protector *p, json_t *o)
{
	json_t *guardians = json_array();
	const struct protector_facts *facts =
		p && protector_n_guardians(p) ? protector_facts(p) : NULL;
	int rc = json_object_set_new(o, "guardians", guardians);
	for (size_t i = 0; rc >= 0 && facts && i < protector_n_guardians(p); i++)
		rc = json_array_append_new(guardians, guardian_json(protector_guardian(p, i)));
	if (rc >= 0 && facts)
		rc = json_object_set_new(o, "assurance",
					 json_string(healthcert_assurance_name(facts->least)));
	if (rc >= 0 && facts)
		rc = json_object_set_new(o, "offline", json_integer(facts->offline));
	if (rc >= 0 && facts)
		rc = json_object_set_new(o, "edition", json_integer(facts->edition));
	return rc;
}

static int print_json(const struct report *r, struct fault *f)
{
	char uuid[UUID_TEXT_SIZE];
	uuid_format(r->facts.vm, uuid);
	json_t *allow = json_array(), *findings = json_array(), *o = NULL;
	int rc = allow && findings ? 0 : -ENOMEM;
	for (size_t i = 0; rc >= 0 && i < r->facts.n_allow; i++)
		rc = json_array_append_new(allow, json_string(r->facts.allow[i]));
	for (size_t i = 0; rc >= 0 && i < r->n; i++)
		rc = json_array_append_new(findings, line_json(&r->lines[i]));
	if (rc >= 0)
		o = json_pack("{s:o, s:o, s:s, s:b, s:s, s:O, s:I, s:I, s:I, s:I, s:O}", "file",
			      lint_json_text(r->name), "name",
			      lint_json_text(domain_name(r->domain)), "uuid", uuid, "shielded",
			      !r->plain, "level", level_name(r->facts.level), "allow", allow,
			      "refused", (json_int_t)r->refused, "notices", (json_int_t)r->notices,
			      "by_shield", (json_int_t)r->by_shield, "unlisted",
			      (json_int_t)r->unlisted, "findings", findings);
	json_decref(allow);
	json_decref(findings);
	if (o && add_guardians(r->protector, o) < 0) {
		json_decref(o);
		o = NULL;
	}
	return lint_json_print(o, f);
}

static int lint_domain(const char *path, const struct options *o, struct fault *f)
{
	CLEANUP_DOMAIN struct domain *d = NULL;
	CLEANUP(report_done) struct report r = { 0 };
	r.name = strcmp(path, "-") == 0 ? "standard input" : path;
	int rc = cli_read_domain(path, &d, f);
	if (rc < 0)
		return rc;
	r.domain = d;
	r.lines = calloc(FINDINGS_MAX, sizeof(*r.lines));
	if (!r.lines)
		return fault_set(f, -ENOMEM, "%s: %s", r.name, err_text(-ENOMEM));
	rc = settle_facts(&r, o, f);
	if (rc < 0)
		return rc;
	rc = domain_check_each(d, &r.facts, add_finding, &r, f);
	if (rc < 0)
		return fault_wrap(f, rc, "%s", r.name);
	qsort(r.lines, r.n, sizeof(r.lines[0]), by_line);
	if (o->json) {
		rc = print_json(&r, f);
	} else {
		print_findings(&r);
		if (r.by_shield)
			print_by_shield(&r);
		print_summary(&r);
	}
	if (rc < 0 || r.refused == 0)
		return rc;
	return fault_set(f, ERR_POLICY, "%s: refused at level %s, for %zu reason%s", r.name,
			 level_name(r.facts.level), r.refused, r.refused == 1 ? "" : "s");
}

static int read_options(int argc, char **argv, struct options *o, struct fault *f)
{
	static const struct option OPTIONS[] = {
		{ "level", required_argument, NULL, 'l' },
		{ "allow", required_argument, NULL, 'a' },
		{ "json", no_argument, NULL, 'j' },
		{ "rules", no_argument, NULL, 'r' },
		{ "argv", required_argument, NULL, 'v' },
		{ "help", no_argument, NULL, OPTIONS_HELP },
		{ 0 },
	};
	o->facts.level = LEVEL_SHIELDED;
	for (int c; (c = options_next(argc, argv, OPTIONS, NULL, f)) != OPTIONS_END;) {
		int rc = c < 0 ? c : 0;
		if (c == OPTIONS_HELP)
			return c;
		else if (c == 'l' && (o->has_level = 1) != 0)
			rc = cli_level(optarg, &o->facts, f);
		else if (c == 'a')
			rc = cli_allow(&o->facts, optarg, f);
		else if (c == 'j')
			o->json = 1;
		else if (c == 'r')
			o->rules = 1;
		else if (c == 'v')
			o->argv_file = optarg;
		if (rc < 0)
			return rc;
	}
	if (!o->rules && !o->argv_file)
		return options_operands(argc, argv, 1, "XML", f);
	if ((o->rules && o->argv_file) || o->has_level || o->facts.n_allow)
		return fault_set(f, ERR_USAGE,
				 "%s: --rules and --argv stand alone, but for --json (see --help)",
				 argv[0]);
	return options_operands(argc, argv, 0, "", f);
}

int cmd_lint(int argc, char **argv, struct fault *f)
{
	struct options o = { 0 };
	int rc = read_options(argc, argv, &o, f);
	if (rc != 0)
		return rc;
	if (o.rules)
		return lint_rules(o.json, f);
	if (o.argv_file)
		return lint_argv(o.argv_file, o.json, f);
	return lint_domain(argv[optind], &o, f);
}
