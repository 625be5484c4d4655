/* SPDX-License-Identifier: BSD-3-Clause */
/* An owner's word to a guardian about a VM's lease (docs/FORMAT.md, "Guardian's interface"). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "crypto/sign.h"
#include "guardian/lease.h"

/* Some digits more than any version of a VM's state will have, and no more than JSON's integers. */
#define NUMBER_DIGITS 18

struct ticket {
	const char *owner;
	int64_t version, restores, token; /* -1: not given */
};

static int take_number(const char *option, const char *text, int64_t *out, struct fault *f)
{
	size_t digits = strspn(text, "0123456789");
	if (digits == 0 || digits > NUMBER_DIGITS || text[digits] != '\0')
		return fault_set(f, ERR_USAGE, "%s %s: not a number", option, text);
	*out = strtoll(text, NULL, 10);
	return 0;
}

static int read_options(int argc, char **argv, struct ticket *t, struct fault *f)
{
	static const struct option OPTIONS[] = {
		{ "owner", required_argument, NULL, 'w' },
		{ "restore", required_argument, NULL, 'r' },
		{ "restores", required_argument, NULL, 'n' },
		{ "takeback", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, OPTIONS_HELP },
		{ 0 },
	};
	for (int c; (c = options_next(argc, argv, OPTIONS, NULL, f)) != OPTIONS_END;) {
		int rc = c < 0 ? c : 0;
		if (c == OPTIONS_HELP)
			return c;
		else if (c == 'w')
			t->owner = optarg;
		else if (c == 'r')
			rc = take_number("--restore", optarg, &t->version, f);
		else if (c == 'n')
			rc = take_number("--restores", optarg, &t->restores, f);
		else if (c == 't')
			rc = take_number("--takeback", optarg, &t->token, f);
		if (rc < 0)
			return rc;
	}
	int rc = options_operands(argc, argv, 1, "VM-UUID", f);
	if (rc >= 0 && !t->owner)
		return fault_set(f, ERR_USAGE, "%s: --owner FILE is missing (see --help)", argv[0]);
	if (rc >= 0 &&
	    ((t->version < 0) != (t->restores < 0) || (t->version < 0) == (t->token < 0)))
		return fault_set(
			f, ERR_USAGE,
			"%s: give either --restore VERSION and --restores N, or --takeback "
			"TOKEN",
			argv[0]);
	return rc;
}

int cmd_key_ticket(int argc, char **argv, struct fault *f)
{
	struct ticket t = { .version = -1, .restores = -1, .token = -1 };
	CLEANUP_JWK struct jwk *owner = NULL;
	CLEANUP_BUF struct buf said = BUF_INIT(SIGN_TEXT_MAX), text = BUF_INIT(SIGN_TEXT_MAX + 1);
	uint8_t vm[UUID_BYTES];
	int rc = read_options(argc, argv, &t, f);
	if (rc != 0)
		return rc;
	int is_restore = t.version >= 0;
	if (uuid_parse(argv[optind], vm) < 0)
		return fault_set(f, ERR_USAGE, "%s: '%s' is not a VM's UUID", argv[0],
				 argv[optind]);
	rc = jwk_read_file(t.owner, 1, &owner, f);
	if (rc < 0)
		return rc;
	rc = is_restore ? lease_restore_text(vm, t.version, t.restores, &said)
			: lease_takeback_text(vm, t.token, &said);
	if (rc < 0)
		return fault_set(f, rc, "the ticket cannot be written: %s", err_text(rc));
	rc = sign_make(owner, is_restore ? LEASE_RESTORE_TYP : LEASE_TAKEBACK_TYP, said.data,
		       said.len, &text, f);
	if (rc >= 0 && !buf_cstr(&text))
		rc = -ENOMEM;
	if (rc < 0)
		return rc;
	puts(buf_cstr(&text));
	fflush(stdout);
	if (is_restore)
		fprintf(stderr,
			"A ticket, good once: the VM %s may start from version %lld of its vTPM's "
			"state.\n",
			argv[optind], (long long)t.version);
	else
		fprintf(stderr,
			"A statement: the lease %lld of the VM %s is taken back, once it has "
			"expired.\nMake sure first that the VM runs nowhere any more.\n",
			(long long)t.token, argv[optind]);
	return 0;
}
