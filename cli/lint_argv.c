/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/lint.h"
#include "policy/qemu_args.h"
#include "policy/qmp_rules.h"

#define ARGV_FILE_MAX (8 * 1024 * 1024)

struct vector {
	int argc;
	char *argv[QEMU_ARGS_MAX + 1];
};

static int add(struct vector *v, char *argument, const char *name, struct fault *f)
{
	if (v->argc > QEMU_ARGS_MAX)
		return fault_set(f, ERR_LIMIT, "%s: more than %d arguments", name, QEMU_ARGS_MAX);
	v->argv[v->argc++] = argument;
	return 0;
}

/* TEXT's parts, each of which SEPARATOR ends; the last may go without. */
static int split(struct vector *v, char *text, size_t n, char separator, const char *name,
		 struct fault *f)
{
	for (char *p = text, *end = text + n; p < end;) {
		char *stop = memchr(p, separator, (size_t)(end - p));
		if (stop)
			*stop = '\0';
		int rc = add(v, p, name, f);
		if (rc < 0)
			return rc;
		p = stop ? stop + 1 : end;
	}
	return 0;
}

/*
 * One word of a command line as libvirt prints it (virBufferEscapeShell()): what needs it is in
 * single quotes, a single quote is \', and a line may end in \.  Nothing else that a shell would
 * act on occurs, and nothing else is taken.  The word is written over its own text; *P is then
 * behind it.  1, 0 at the end of the text, or ERR_FORMAT.
 */
static int next_word(char **p, char **word)
{
	char *from = *p;
	while (*from == ' ' || *from == '\n' || (from[0] == '\\' && from[1] == '\n'))
		from += *from == '\\' ? 2 : 1;
	char *to = *word = from;
	if (*from == '\0')
		return 0;
	for (int quoted = 0;; from++) {
		if (*from == '\0' && quoted)
			return ERR_FORMAT;
		if (*from == '\0' || (!quoted && (*from == ' ' || *from == '\n')))
			break;
		if (*from == '\'') {
			quoted = !quoted;
		} else if (!quoted && *from == '\\') {
			if (*++from != '\'' && *from != '\\')
				return ERR_FORMAT;
			*to++ = *from;
		} else if (!quoted && strchr("\"`$&|;<>()\t\r#*?", *from)) {
			return ERR_FORMAT;
		} else {
			*to++ = *from;
		}
	}
	*p = *from ? from + 1 : from;
	*to = '\0';
	return 1;
}

/* NAME=VALUE, as libvirt puts before the program. */
static int is_assignment(const char *word)
{
	size_t n = strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
	return n > 0 && word[n] == '=';
}

static int split_command(struct vector *v, char *text, const char *name, struct fault *f)
{
	char *word;
	int rc;
	while ((rc = next_word(&text, &word)) > 0) {
		if (v->argc == 0 && is_assignment(word))
			continue;
		rc = add(v, word, name, f);
		if (rc < 0)
			return rc;
	}
	return rc < 0 ? fault_set(f, rc,
				  "%s: neither a vector (a NUL or a newline after each argument)"
				  " nor a command line as libvirt prints it",
				  name)
		      : 0;
}

static int read_vector(const char *path, struct buf *text, struct vector *v, struct fault *f)
{
	const char *name;
	int rc = cli_read(path, "a vector", text, &name, f);
	if (rc < 0)
		return rc;
	size_t n = text->len;
	char *start = buf_cstr(text);
	if (!start)
		return fault_set(f, -ENOMEM, "%s: %s", name, err_text(-ENOMEM));
	if (n == 0)
		return fault_set(f, ERR_FORMAT, "%s: it is empty", name);
	/* The program comes first; where a space is in its line, it is a command line. */
	if (memchr(start, '\0', n))
		rc = split(v, start, n, '\0', name, f);
	else if (strcspn(start, "\n") < strcspn(start, " "))
		rc = split(v, start, n, '\n', name, f);
	else
		rc = split_command(v, start, name, f);
	if (rc >= 0 && v->argc == 0)
		rc = fault_set(f, ERR_FORMAT, "%s: no arguments in it", name);
	return rc;
}

static int say_vector(const char *path, int json, const struct vector *v, const struct fault *why,
		      struct fault *f)
{
	char line[FAULT_TEXT_MAX] = "";
	size_t rule = strcspn(why->text, ":");
	const char *reason = why->text + rule + (why->text[rule] ? 2 : 0);
	if (json) {
		json_t *o = json_pack("{s:o, s:i, s:b}", "file", lint_json_text(path), "arguments",
				      v->argc - 1, "refused", why->text[0] != '\0');
		if (o && why->text[0] &&
		    (json_object_set_new(o, "rule", json_stringn(why->text, rule)) < 0 ||
		     json_object_set_new(o, "reason", lint_json_text(reason)) < 0)) {
			json_decref(o);
			o = NULL;
		}
		return lint_json_print(o, f);
	}
	if (why->text[0])
		snprintf(line, sizeof(line), "%s: refused %.*s: %s", path, (int)rule, why->text,
			 reason);
	else if (qemu_args_is_probe(v->argc, v->argv))
		snprintf(line, sizeof(line), "%s: libvirt's capability probe, which has no guest",
			 path);
	else
		snprintf(line, sizeof(line), "%s: none of %d arguments is refused", path,
			 v->argc - 1);
	cli_make_printable(line);
	puts(line);
	return 0;
}

int lint_argv(const char *path, int json, struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(ARGV_FILE_MAX);
	CLEANUP_FREE struct vector *v = calloc(1, sizeof(*v));
	struct qemu_args args;
	struct fault why = { 0 };
	if (!v)
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	int rc = read_vector(path, &text, v, f);
	if (rc < 0)
		return rc;
	if (!qemu_args_is_probe(v->argc, v->argv))
		rc = qemu_args_check(v->argc, v->argv, &args, &why);
	int said = say_vector(path, json, v, &why, f);
	if (said < 0)
		return said;
	return rc < 0 ? fault_set(f, rc, "%s: the launcher refuses these arguments", path) : 0;
}

/* --- the list of rules --------------------------------------------------------------------------
 */

struct listed {
	const char *where, *id, *reason;
	enum verdict at_supported, at_shielded;
	int strip;
	size_t order; /* in its table */
};

static const char *verdict_name(enum verdict v)
{
	switch (v) {
	case VERDICT_OK:
		return "ok";
	case VERDICT_NOTICE:
		return "notice";
	case VERDICT_OWNER:
		return "owner";
	case VERDICT_REFUSE:
		return "refused";
	}
	return "refused";
}

/* Into ROWS, if that is not NULL; returns how many there are. */
static size_t list_rules(struct listed *rows)
{
	size_t n_domain, n_args, n_qmp, n = 0;
	const struct domain_rule *domain = domain_rules(&n_domain);
	const struct qemu_args_rule *args = qemu_args_rules(&n_args);
	const struct qmp_rule *qmp = qmp_rules(&n_qmp);
	for (size_t i = 0; rows && i < n_domain; i++)
		rows[n++] = (struct listed){ "domain",
					     domain[i].id,
					     domain[i].reason,
					     domain[i].at_supported,
					     domain[i].at_shielded,
					     domain[i].remedy == REMEDY_STRIP,
					     i };
	for (size_t i = 0; rows && i < n_args; i++)
		rows[n++] = (struct listed){
			"argv", args[i].id, args[i].reason, VERDICT_REFUSE, VERDICT_REFUSE, 0, i
		};
	for (size_t i = 0; rows && i < n_qmp; i++)
		rows[n++] = (struct listed){ "monitor",		  qmp[i].id,	      qmp[i].reason,
					     qmp[i].at_supported, qmp[i].at_shielded, 0 };
	return n_domain + n_args + n_qmp;
}

static int by_id(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;
	int order = strcmp(x->id, y->id);
	if (order == 0)
		order = strcmp(x->where, y->where);
	if (order == 0)
		order = x->order < y->order ? -1 : 1;
	return order;
}

int lint_rules(int json, struct fault *f)
{
	size_t n = list_rules(NULL);
	CLEANUP_FREE struct listed *rows = calloc(n, sizeof(*rows));
	json_t *list = json ? json_array() : NULL;
	if (!rows || (json && !list)) {
		json_decref(list);
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	}
	list_rules(rows);
	qsort(rows, n, sizeof(*rows), by_id);
	if (!json)
		printf("%-20s %-8s %-9s %-9s %s\n", "RULE", "WHERE", "SUPPORTED", "SHIELDED",
		       "REASON");
	for (size_t i = 0; i < n; i++) {
		const struct listed *r = &rows[i];
		const char *supported = verdict_name(r->at_supported);
		const char *shielded = verdict_name(r->at_shielded);
		if (!json)
			printf("%-20s %-8s %-9s %-9s %s\n", r->id, r->where, supported, shielded,
			       r->reason);
		else if (json_array_append_new(
				 list,
				 json_pack("{s:s, s:s, s:s, s:s, s:b, s:s}", "rule", r->id, "where",
					   r->where, "encryption_supported", supported, "shielded",
					   shielded, "strip", r->strip, "reason", r->reason)) < 0) {
			json_decref(list);
			list = NULL;
			break;
		}
	}
	return json ? lint_json_print(list, f) : 0;
}
