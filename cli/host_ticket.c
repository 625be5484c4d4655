/* SPDX-License-Identifier: BSD-3-Clause */
/* shieldvm host ticket: an owner's ticket, for a VM's next start here. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "attest/lease_note.h"
#include "attest/ticket.h"
#include "base/fd.h"
#include "base/paths.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "crypto/sign.h"

struct options {
	int removes;
	uint8_t vm[UUID_BYTES];
	const char *file;
};

static int read_options(int argc, char **argv, struct options *o, struct fault *f)
{
	static const struct option OPTIONS[] = {
		{ "remove", no_argument, NULL, 'r' },
		{ "help", no_argument, NULL, OPTIONS_HELP },
		{ 0 },
	};
	for (int c; (c = options_next(argc, argv, OPTIONS, NULL, f)) != OPTIONS_END;) {
		if (c < 0 || c == OPTIONS_HELP)
			return c;
		o->removes = 1;
	}
	int rc = o->removes ? options_operands(argc, argv, 1, "VM-UUID", f)
			    : options_operands(argc, argv, 2, "VM-UUID FILE", f);
	if (rc < 0)
		return rc;
	if (uuid_parse(argv[optind], o->vm) < 0)
		return fault_set(f, ERR_USAGE, "%s: '%s' is not a VM's UUID", argv[0],
				 argv[optind]);
	o->file = o->removes ? NULL : argv[optind + 1];
	return 0;
}

/* FILE, or standard input for "-". */
static int read_ticket(const char *file, struct buf *out, struct fault *f)
{
	int rc;
	if (file[0] != '-' || file[1] != '\0')
		return fd_read_file(AT_FDCWD, file, out, f);
	rc = fd_read_all(STDIN_FILENO, out);
	return rc < 0 ? fault_set(f, rc, "standard input: %s", err_text(rc)) : 0;
}

int cmd_host_ticket(int argc, char **argv, struct fault *f)
{
	struct options o = { 0 };
	CLEANUP_FD int dir = -1, lock = -1;
	CLEANUP_BUF struct buf text = BUF_INIT(SIGN_TEXT_MAX + 1);
	int rc = read_options(argc, argv, &o, f);
	if (rc != 0)
		return rc;
	if (geteuid() != 0)
		return fault_set(f, -EPERM, "host ticket: only root can give this host a ticket");
	if (!o.removes)
		rc = read_ticket(o.file, &text, f);
	if (rc < 0)
		return rc;
	dir = lease_note_folder(PATH_LEASES, f);
	if (dir < 0)
		return dir;
	rc = lease_note_lock(dir, &lock, f);
	if (rc >= 0)
		rc = o.removes ? ticket_remove(dir, o.vm, f)
			       : ticket_put(dir, o.vm, (const char *)text.data, text.len, f);
	if (rc < 0)
		return fault_wrap(f, rc, "host ticket");
	fputs(o.removes ? "There is no ticket for this VM here any more.\n"
			: "The VM's next start here shows this ticket to the guardian, and uses it"
			  " up.\n",
	      stderr);
	return 0;
}
