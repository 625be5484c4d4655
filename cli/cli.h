/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the commands of `shieldvm` share.
 *
 * A command gets its own words (argv[0] is its last word, "init" in `shieldvm host init`), prints
 * its result to stdout, what it did to stderr, and returns 0 or an error with one sentence, which
 * main() prints.  OPTIONS_HELP (cli/options.h) means that the command's help was asked for.
 */
#ifndef SHIELDVM_CLI_CLI_H
#define SHIELDVM_CLI_CLI_H

#include "base/buf.h"
#include "base/err.h"
#include "crypto/jwk.h"
#include "libvirt/domain.h"

int cmd_attest(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_audit_show(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_audit_verify(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_audit_report(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_guardian_baseline(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_guardian_admin(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_guardian_host(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_guardian_lease(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_guardian_log(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_guardian_policy(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_host_enrol(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_host_init(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_host_show(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_host_leases(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_host_ticket(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_key_new(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_key_show(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_key_rewrap(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_key_ticket(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_lint(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_selftest(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_shield(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_state_inspect(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_state_verify(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_state_open(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_state_shred(int argc, char **argv, struct fault *f) MUST_CHECK;
int cmd_status(int argc, char **argv, struct fault *f) MUST_CHECK;

/* What --level and --allow say, into FACTS; ERR_USAGE or ERR_LIMIT with a sentence. */
int cli_level(const char *text, struct protector_facts *facts, struct fault *f) MUST_CHECK;
int cli_allow(struct protector_facts *facts, const char *id, struct fault *f) MUST_CHECK;
/* What FACTS allow may be allowed at their level; else ERR_USAGE, with COMMAND in the sentence. */
int cli_check_allowed(const struct protector_facts *facts, const char *command,
		      struct fault *f) MUST_CHECK;

/*
 * Read PATH ("-" is standard input; pipes are fine) into TEXT, whose maximum is the most that WHAT
 * ("a domain") may have.  *NAME, also after a failure: what to call it; PATH's or static.
 */
int cli_read(const char *path, const char *what, struct buf *text, const char **name,
	     struct fault *f) MUST_CHECK;

/* Read, as cli_read(), and parse the domain in PATH. */
int cli_read_domain(const char *path, struct domain **out, struct fault *f) MUST_CHECK;

/*
 * Write D to PATH, whole or not at all, keeping the mode of a file that is replaced; NULL or "-" is
 * standard output.
 */
int cli_write_domain(const struct domain *d, const char *path, struct fault *f) MUST_CHECK;

/* Tell, on stderr, what to do with the domain that went to PATH (as in cli_write_domain()). */
void cli_say_define(const char *path);

/* Replace what a terminal would act on in TEXT, which came from somebody else. */
void cli_make_printable(char *text);

/* *OUT: a copy of K's public half. */
int cli_copy_key(const struct jwk *k, struct jwk **out, struct fault *f) MUST_CHECK;

#define CLI_HOSTS_MAX 63 /* and the owner: PROTECTOR_RECIPIENTS_MAX */

/* Public keys, owned. */
struct key_list {
	size_t n;
	struct jwk *keys[CLI_HOSTS_MAX];
};

void key_list_done(struct key_list *list);
#define CLEANUP_KEY_LIST CLEANUP(key_list_done)

/* Add the key in PATH, or a copy of K, unless it is there already. */
int key_list_add_file(struct key_list *list, const char *path, struct fault *f) MUST_CHECK;
int key_list_add(struct key_list *list, const struct jwk *k, struct fault *f) MUST_CHECK;

#endif
