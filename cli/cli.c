/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "policy/qmp_rules.h"

int cli_level(const char *text, struct protector_facts *facts, struct fault *f)
{
	return level_parse(text, &facts->level) < 0
		       ? fault_set(f, ERR_USAGE,
				   "--level %s: there is only shielded and encryption-supported",
				   text)
		       : 0;
}

int cli_allow(struct protector_facts *facts, const char *id, struct fault *f)
{
	if (!domain_rule_allowable(id) && !qmp_rule_allowable(id) &&
	    strcmp(id, PROTECTOR_COMPRESSION) != 0)
		return fault_set(f, ERR_USAGE,
				 "--allow %s: not a rule that an owner may allow (see shieldvm(1),"
				 " RULES)",
				 id);
	for (size_t i = 0; i < facts->n_allow; i++) {
		if (strcmp(facts->allow[i], id) == 0)
			return 0;
	}
	if (facts->n_allow == PROTECTOR_ALLOW_MAX)
		return fault_set(f, ERR_LIMIT, "more than %d rules to allow", PROTECTOR_ALLOW_MAX);
	snprintf(facts->allow[facts->n_allow++], PROTECTOR_RULE_MAX, "%s", id);
	return 0;
}

int cli_check_allowed(const struct protector_facts *facts, const char *command, struct fault *f)
{
	for (size_t i = 0; i < facts->n_allow; i++) {
		if (!protector_may_allow(facts->level, facts->allow[i]))
			return fault_set(f, ERR_USAGE,
					 "%s: nothing but " PROTECTOR_COMPRESSION
					 " can be allowed at level shielded; use --level"
					 " encryption-supported",
					 command);
	}
	return 0;
}

int cli_read(const char *path, const char *what, struct buf *text, const char **name,
	     struct fault *f)
{
	int standard_input = strcmp(path, "-") == 0;
	*name = standard_input ? "standard input" : path;
	CLEANUP_FD int fd = standard_input ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
					   : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return fault_set(f, -errno, "%s: %s", *name, err_text(-errno));
	int rc = fd_read_all(fd, text);
	if (rc == ERR_LIMIT)
		return fault_set(f, rc, "%s: larger than the %zu bytes %s may have", *name,
				 text->max, what);
	return rc < 0 ? fault_set(f, rc, "%s: %s", *name, err_text(rc)) : 0;
}

int cli_read_domain(const char *path, struct domain **out, struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(DOMAIN_XML_MAX);
	const char *name;
	int rc = cli_read(path, "a domain", &text, &name, f);
	if (rc < 0)
		return rc;
	rc = domain_parse((const char *)text.data, text.len, out, f);
	return rc < 0 ? fault_wrap(f, rc, "%s", name) : 0;
}

int cli_write_domain(const struct domain *d, const char *path, struct fault *f)
{
	/* The protector and a few elements come on top of what was read. */
	CLEANUP_BUF struct buf text = BUF_INIT(2 * DOMAIN_XML_MAX);
	int rc = domain_text(d, &text);
	if (rc < 0)
		return fault_set(f, rc, "the domain cannot be written: %s", err_text(rc));
	if (!path || strcmp(path, "-") == 0) {
		rc = fd_write_full(STDOUT_FILENO, text.data, text.len);
		return rc < 0 ? fault_set(f, rc, "standard output: %s", err_text(rc)) : 0;
	}
	struct stat st;
	mode_t mode = 0644;
	if (lstat(path, &st) == 0) {
		/* Renaming a file over /dev/stdout, say, would do harm. */
		if (!S_ISREG(st.st_mode))
			return fault_set(f, -EINVAL, "%s: not a regular file", path);
		mode = st.st_mode & 0777;
	}
	return fd_write_file(AT_FDCWD, path, text.data, text.len, mode, 1, f);
}

void cli_say_define(const char *path)
{
	int is_file = path && strcmp(path, "-") != 0;
	fprintf(stderr, "Put it in force with: virsh define %s\n",
		is_file ? path : "FILE, with the XML above in FILE");
}

void cli_make_printable(char *text)
{
	err_make_printable(text, strlen(text));
}

void key_list_done(struct key_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		jwk_free(list->keys[i]);
	list->n = 0;
}

/* Takes K over, in failure too. */
static int take_key(struct key_list *list, struct jwk *k, struct fault *f)
{
	for (size_t i = 0; i < list->n; i++) {
		if (jwk_same(list->keys[i], k)) {
			jwk_free(k);
			return 0;
		}
	}
	if (list->n == CLI_HOSTS_MAX) {
		jwk_free(k);
		return fault_set(f, ERR_LIMIT, "more than %d hosts", CLI_HOSTS_MAX);
	}
	list->keys[list->n++] = k;
	return 0;
}

int key_list_add_file(struct key_list *list, const char *path, struct fault *f)
{
	struct jwk *k = NULL;
	int rc = jwk_read_file(path, 0, &k, f);
	return rc < 0 ? rc : take_key(list, k, f);
}

int cli_copy_key(const struct jwk *k, struct jwk **out, struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(JWK_FILE_MAX);
	int rc = jwk_public_text(k, &text);
	if (rc < 0)
		return fault_set(f, rc, "a public key cannot be copied: %s", err_text(rc));
	return jwk_parse((const char *)text.data, text.len, out, f);
}

int key_list_add(struct key_list *list, const struct jwk *k, struct fault *f)
{
	struct jwk *copy = NULL;
	int rc = cli_copy_key(k, &copy, f);
	return rc < 0 ? rc : take_key(list, copy, f);
}
