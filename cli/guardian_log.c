/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shieldvm guardian log: the guardian's log, of a VM or of what admins decided, fetched by an
 * admin, or of a VM by its owner, and verified with the guardian's log key, which its reader has
 * from elsewhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "attest/remote.h"
#include "base/fd.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "crypto/strict.h"
#include "guardian/ledger.h"

#define LINES_MAX    (256 * 1024 * 1024)
#define HEAD_SECONDS 900 /* between the guardian's clock and ours */

struct options {
	const char *guardian, *admin, *owner, *log_key, *head, *vm, *whose;
	int json;
};

struct log {
	struct buf lines; /* one record a line */
	struct buf head;
};

static void log_done(struct log *l)
{
	buf_done(&l->lines);
	buf_done(&l->head);
}

/* Add what one answer has; *N is how many records. */
static int add_page(const json_t *answer, struct log *l, size_t *n, struct fault *f)
{
	const json_t *records = json_object_get(answer, "records");
	const char *head;
	size_t i;
	json_t *at;
	int rc = remote_take_text(answer, "head", &head, f);
	if (rc < 0)
		return rc;
	if (!json_is_array(records))
		return fault_set(f, ERR_FORMAT, "the guardian's answer has no right \"records\"");
	json_array_foreach(records, i, at)
	{
		/* A line's end inside of a record would make two of it. */
		if (!json_is_string(at) || strchr(json_string_value(at), '\n'))
			return fault_set(f, ERR_FORMAT, "the guardian's record %zu is no text",
					 i + 1);
		rc = buf_add(&l->lines, json_string_value(at), json_string_length(at));
		if (rc >= 0)
			rc = buf_add(&l->lines, "\n", 1);
		if (rc < 0)
			return fault_set(f, rc, "the log is too long: %s", err_text(rc));
	}
	*n = json_array_size(records);
	buf_clear(&l->head);
	rc = buf_add(&l->head, head, strlen(head));
	return rc < 0 ? fault_set(f, rc, "the log's head: %s", err_text(rc)) : 0;
}

/* One page of it, as an admin, for whom WHOSE is its owner's thumbprint or "" while that is not
 * known; or as the VM's owner, who is nobody else to the guardian. */
static int fetch_page(struct remote *r, int as_owner, const char *vm, const char *whose,
		      int64_t from, json_t **answer, struct fault *f)
{
	char path[128];
	CLEANUP_BUF struct buf text = BUF_INIT(JWK_FILE_MAX);
	json_t *key = NULL;
	if (!as_owner) {
		snprintf(path, sizeof(path), "/v1/log?vm=%s%s%s&from=%" PRId64, vm,
			 *whose ? "&owner=" : "", whose, from);
		return remote_get(r, path, answer, NULL, f);
	}
	int rc = jwk_public_text(r->key, &text);
	if (rc < 0)
		return fault_set(f, rc, "the owner's key: %s", err_text(rc));
	rc = strict_json((const char *)text.data, text.len, "the owner's key", &key, f);
	return rc < 0 ? rc
		      : remote_post(r, "/v1/owner/log",
				    json_pack("{s:s, s:o, s:I}", "vm", vm, "owner_key", key, "from",
					      (json_int_t)from),
				    CLIENT_REPEATABLE, answer, NULL, f);
}

/* All of it, in pages that the guardian cuts. */
static int fetch(struct remote *r, int as_owner, const char *vm, const char *whose, struct log *l,
		 const struct jwk *key, struct ledger_head *head, struct fault *f)
{
	int64_t have = 0;
	size_t n = 0;
	do {
		CLEANUP_JSON json_t *answer = NULL;
		int rc = fetch_page(r, as_owner, vm, have ? head->owner : whose, have + 1, &answer,
				    f);
		if (rc >= 0)
			rc = add_page(answer, l, &n, f);
		if (rc >= 0)
			rc = ledger_head_open(key, (const char *)l->head.data, l->head.len, head,
					      f);
		if (rc < 0)
			return rc;
		have += (int64_t)n;
	} while (n > 0 && have < head->seq);
	return 0;
}

static int print_record(const struct ledger_record *r, void *arg)
{
	static const uint8_t NONE[UUID_BYTES];
	char when[32] = "", host[UUID_TEXT_SIZE];
	struct tm tm = { 0 };
	time_t t = (time_t)r->time;
	(void)arg;
	if (gmtime_r(&t, &tm))
		strftime(when, sizeof(when), "%FT%TZ", &tm);
	printf("%6" PRId64 "  %s  %-8s", r->seq, when, ledger_event_name(r->event));
	if (memcmp(r->host, NONE, sizeof(NONE)) != 0) {
		uuid_format(r->host, host);
		printf("  host %s", host);
	}
	if (r->by[0])
		printf("  by %s", r->by);
	if (r->object[0])
		printf("  %s", r->object);
	if (r->generation)
		printf("  generation %" PRId64, r->generation);
	if (r->token)
		printf("  lease %" PRId64, r->token);
	if (r->version)
		printf("  version %" PRId64, r->version);
	printf("%s\n", r->hostkey ? "  (without a TPM)" : "");
	return 0;
}

/* Make the folders that PATH goes through, for the caller alone. */
static int make_folders(char *path, struct fault *f)
{
	for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = 0;
		int rc = mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
		if (rc < 0)
			return fault_set(f, rc, "%s: %s", path, err_text(rc));
		*at = '/';
	}
	return 0;
}

/*
 * Where the reader keeps the head of this log if he names no file: in his own state folder (XDG
 * Base Directory Specification), by log key, VM and owner.  Whoever looks twice sees that the
 * guardian was set back in between.
 */
static int own_head(const struct jwk *key, const char *vm, const char *owner,
		    char path[static PATH_MAX], struct fault *f)
{
	char thumbprint[JWK_THUMBPRINT_SIZE];
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	int rc = jwk_thumbprint(key, thumbprint);
	if (rc < 0)
		return fault_set(f, rc, "the log key: %s", err_text(rc));
	int own = state && state[0] == '/';
	if (!own && (!home || home[0] != '/'))
		return fault_set(f, ERR_USAGE,
				 "there is no home to keep the log's head in: name a file with "
				 "--head");
	int n = snprintf(path, PATH_MAX, "%s%s/shieldvm/guardian-log/%s/%s%s%s", own ? state : home,
			 own ? "" : "/.local/state", thumbprint, vm, *owner ? "-" : "", owner);
	if (n >= PATH_MAX)
		return fault_set(f, -ENAMETOOLONG, "the home folder's path is too long");
	return make_folders(path, f);
}

/* The head that was verified last time, if there is one. */
static int read_known(const char *path, const struct jwk *key, struct ledger_head *out, int *known,
		      struct fault *f)
{
	CLEANUP_BUF struct buf text = BUF_INIT(SIGN_TEXT_MAX);
	struct fault reading = { 0 };
	*known = 0;
	int rc = fd_read_file(AT_FDCWD, path, &text, &reading);
	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return fault_set(f, rc, "%s", reading.text);
	if (text.len > 0 && text.data[text.len - 1] == '\n')
		text.len--;
	rc = ledger_head_open(key, (const char *)text.data, text.len, out, f);
	*known = 1;
	return rc < 0 ? fault_wrap(f, rc, "%s", path) : 0;
}

/* HEAD was signed just now: an old one, played again, has an old time. */
static int check_time(const struct ledger_head *head, struct fault *f)
{
	int64_t old = (int64_t)time(NULL) - head->time;
	if (old >= -HEAD_SECONDS && old <= HEAD_SECONDS)
		return 0;
	return fault_set(f, ERR_AUTH,
			 "its head was signed %" PRId64 " s %s: it is an old one, or the "
			 "guardian's clock or this one is wrong",
			 old < 0 ? -old : old, old < 0 ? "from now" : "ago");
}

/* HEAD is of the VM that was asked for, and of its owner if he was named: the guardian signs every
 * VM's log. */
static int check_vm(const struct ledger_head *head, const char *vm, const char *whose,
		    struct fault *f)
{
	char of[UUID_TEXT_SIZE];
	uuid_format(head->vm, of);
	if (strcmp(of, vm) != 0)
		return fault_set(f, ERR_AUTH, "it is the log of %s and not of %s", of, vm);
	if (*whose && strcmp(head->owner, whose) != 0)
		return fault_set(f, ERR_AUTH, "it is of the VM of owner %s and not of %s",
				 *head->owner ? head->owner : "nobody", whose);
	return 0;
}

static int show(const struct options *o, struct remote *r, const char *vm, const char *whose,
		const struct jwk *key, struct fault *f)
{
	struct log l CLEANUP(log_done) = { BUF_INIT(LINES_MAX), BUF_INIT(SIGN_TEXT_MAX + 1) };
	struct ledger_head head = { 0 }, before = { 0 };
	int known = 0;
	char own[PATH_MAX];
	const char *kept = o->head ? o->head : own;
	int rc = fetch(r, o->owner != NULL, vm, whose, &l, key, &head, f);
	if (rc >= 0)
		rc = check_vm(&head, vm, whose, f);
	if (rc >= 0)
		rc = check_time(&head, f);
	if (rc >= 0 && !o->head)
		rc = own_head(key, vm, head.owner, own, f);
	if (rc >= 0)
		rc = read_known(kept, key, &before, &known, f);
	/* Twice: what was seen counts only if all of it is good. */
	if (rc >= 0)
		rc = ledger_verify(key, (const char *)l.lines.data, l.lines.len, &head,
				   known ? &before : NULL, NULL, NULL, f);
	if (rc >= 0 && o->json)
		printf("%.*s", (int)l.lines.len, l.lines.data ? (const char *)l.lines.data : "");
	else if (rc >= 0)
		rc = ledger_verify(key, (const char *)l.lines.data, l.lines.len, &head, NULL,
				   print_record, NULL, f);
	if (rc >= 0)
		rc = buf_add(&l.head, "\n", 1);
	if (rc >= 0)
		rc = fd_write_file(AT_FDCWD, kept, l.head.data, l.head.len, 0644, 1, f);
	if (rc < 0)
		return fault_set(f, rc, "the log: %s", err_text(rc));
	fprintf(stderr, "%" PRId64 " record%s%s%s, chained and signed", head.seq,
		head.seq == 1 ? "" : "s", *head.owner ? " of the VM of owner " : "", head.owner);
	if (known)
		fprintf(stderr, "; they go on from the %" PRId64 " of last time.\n", before.seq);
	else
		fprintf(stderr,
			".\nThis was the first look: that records were taken off the end shows "
			"from "
			"the next on,\nby the head in %s.\n",
			kept);
	return 0;
}

static int read_options(int argc, char **argv, struct options *o, struct fault *f)
{
	static const struct option OPTIONS[] = {
		{ "guardian", required_argument, NULL, 'g' },
		{ "admin", required_argument, NULL, 'a' },
		{ "owner", required_argument, NULL, 'o' },
		{ "log-key", required_argument, NULL, 'l' },
		{ "head", required_argument, NULL, 'e' },
		{ "vm", required_argument, NULL, 'v' },
		{ "whose", required_argument, NULL, 'w' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, OPTIONS_HELP },
		{ 0 },
	};
	for (int c; (c = options_next(argc, argv, OPTIONS, NULL, f)) != OPTIONS_END;) {
		if (c < 0 || c == OPTIONS_HELP)
			return c;
		const char **text = c == 'g'   ? &o->guardian
				    : c == 'a' ? &o->admin
				    : c == 'o' ? &o->owner
				    : c == 'l' ? &o->log_key
				    : c == 'e' ? &o->head
				    : c == 'v' ? &o->vm
				    : c == 'w' ? &o->whose
					       : NULL;
		if (text)
			*text = optarg;
		o->json |= c == 'j';
	}
	int rc = options_operands(argc, argv, 0, "", f);
	if (rc >= 0 && o->admin && o->owner)
		return fault_set(f, ERR_USAGE, "guardian log: either --admin or --owner");
	if (rc >= 0 && o->owner && !o->vm)
		return fault_set(f, ERR_USAGE, "guardian log: an owner's is a VM's: give --vm");
	if (rc >= 0 && o->whose && (o->owner || !o->vm))
		return fault_set(f, ERR_USAGE,
				 "guardian log: --whose goes with --admin, and says whose --vm");
	if (rc >= 0 && (!o->guardian || !(o->admin || o->owner) || !o->log_key))
		return fault_set(f, ERR_USAGE, "guardian log: %s is missing (see --help)",
				 !o->guardian		   ? "--guardian"
				 : !(o->admin || o->owner) ? "--admin"
							   : "--log-key");
	return rc;
}

int cmd_guardian_log(int argc, char **argv, struct fault *f)
{
	struct options o = { 0 };
	struct remote r CLEANUP_REMOTE = { 0 };
	CLEANUP_JWK struct jwk *key = NULL;
	uint8_t vm[UUID_BYTES] = { 0 }, digest[STORE_HASH_BYTES];
	char uuid[UUID_TEXT_SIZE], whose[JWK_THUMBPRINT_SIZE] = "";
	int rc = read_options(argc, argv, &o, f);
	if (rc != 0)
		return rc;
	if (o.vm && uuid_parse(o.vm, vm) < 0)
		return fault_set(f, ERR_USAGE, "--vm %s: not a UUID", o.vm);
	if (o.whose && strict_b64(o.whose, strlen(o.whose), digest, sizeof(digest)) < 0)
		return fault_set(f, ERR_USAGE, "--whose %s: not a key's thumbprint", o.whose);
	uuid_format(vm, uuid);
	rc = jwk_read_file(o.log_key, 0, &key, f);
	if (rc >= 0)
		rc = remote_open(o.guardian, o.owner ? o.owner : o.admin, "guardian log", &r, f);
	if (rc >= 0 && o.owner)
		rc = jwk_thumbprint(r.key, whose);
	return rc < 0 ? rc : show(&o, &r, uuid, o.whose ? o.whose : whose, key, f);
}
