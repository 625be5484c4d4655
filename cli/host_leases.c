/* SPDX-License-Identifier: BSD-3-Clause */
/* shieldvm host leases: which VMs guardians count as this host's. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "attest/copy.h"
#include "attest/lease_note.h"
#include "base/fd.h"
#include "base/paths.h"
#include "cli/cli.h"
#include "cli/options.h"

struct listing {
	int dir, json, bad;
	size_t n;
	json_t *list;
};

static void listing_done(struct listing *l)
{
	fd_close(&l->dir);
	json_decref(l->list);
}

/* Starts without a guardian that are left, 0 without a sealed copy. */
static unsigned offline_left(const struct listing *l, const uint8_t vm[static UUID_BYTES])
{
	struct fault ignored = { 0 };
	CLEANUP_COPY struct copy c;
	copy_init(&c);
	return copy_read(l->dir, vm, &c, &ignored) < 0 ? 0 : c.left;
}

static int add_json(struct listing *l, const char *vm, const struct lease_note *n, unsigned left)
{
	json_t *o = json_pack("{s:s,s:s,s:I,s:I,s:s,s:s,s:i}", "vm", vm, "state",
			      n->incoming ? "incoming" : "held", "token", (json_int_t)n->token,
			      "expires", (json_int_t)n->expires, "guardian", n->guardian.thumbprint,
			      "urls", n->guardian.urls, "offline_starts", (int)left);
	return o && json_array_append_new(l->list, o) == 0 ? 0 : -ENOMEM;
}

static void print_row(struct listing *l, const char *vm, const struct lease_note *n, unsigned left)
{
	char until[32] = "-";
	time_t t = (time_t)n->expires;
	struct tm tm;
	if (!n->incoming &&
	    (!gmtime_r(&t, &tm) || strftime(until, sizeof(until), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0))
		snprintf(until, sizeof(until), "?");
	if (l->n == 0)
		printf("%-36s %-8s %-20s %6s %7s  %s\n", "VM", "STATE", "UNTIL", "LEASE", "OFFLINE",
		       "GUARDIAN");
	printf("%-36s %-8s %-20s %6" PRId64 " %7u  %s\n", vm, n->incoming ? "incoming" : "held",
	       until, n->token, left, n->guardian.urls);
}

/* One note; one that cannot be read does not hide the others. */
static int show(void *arg, const uint8_t vm[static UUID_BYTES])
{
	struct listing *l = arg;
	struct lease_note n;
	struct fault f = { 0 };
	char uuid[UUID_TEXT_SIZE];
	uuid_format(vm, uuid);
	int rc = lease_note_read(l->dir, vm, &n, &f);
	if (rc == -ENOENT)
		return 0; /* removed meanwhile */
	if (rc < 0) {
		fprintf(stderr, "%s\n", f.text);
		l->bad = 1;
		return 0;
	}
	unsigned left = offline_left(l, vm);
	if (l->json)
		rc = add_json(l, uuid, &n, left);
	else
		print_row(l, uuid, &n, left);
	l->n++;
	return rc;
}

int cmd_host_leases(int argc, char **argv, struct fault *f)
{
	static const struct option OPTIONS[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, OPTIONS_HELP },
		{ 0 },
	};
	CLEANUP(listing_done) struct listing l = { .dir = -1 };
	for (int c; (c = options_next(argc, argv, OPTIONS, NULL, f)) != OPTIONS_END;) {
		if (c < 0 || c == OPTIONS_HELP)
			return c;
		l.json = 1;
	}
	int rc = options_operands(argc, argv, 0, "", f);
	if (rc < 0)
		return rc;
	if (geteuid() != 0)
		return fault_set(f, -EPERM, "host leases: only root can read this host's leases");
	l.list = json_array();
	l.dir = lease_note_folder(PATH_LEASES, f);
	if (!l.list || l.dir < 0)
		return l.list ? l.dir : fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	rc = lease_note_list(l.dir, show, &l, f);
	if (rc >= 0 && l.json)
		rc = json_dumpf(l.list, stdout, JSON_INDENT(2)) < 0 || putchar('\n') < 0 ? -EIO : 0;
	else if (rc >= 0 && l.n == 0)
		puts("No guardian has leased a VM to this host.");
	if (rc < 0)
		return fault_set(f, rc, "host leases: %s", f->text[0] ? f->text : err_text(rc));
	return l.bad ? fault_set(f, ERR_FORMAT,
				 "host leases: a note cannot be read; see above (shieldvm-attestd"
				 " leaves it as it is)")
		     : 0;
}
