/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/paths.h"
#include "cli/cli.h"
#include "cli/options.h"

#define HOST_LOG    PATH_LOG "/" AUDIT_LOG_NAME
#define HOST_HEAD   PATH_REGISTRY "/" AUDIT_HEAD_NAME
#define HOST_SIGNED PATH_REGISTRY "/" AUDIT_SIGNED_NAME
#define HOST_PUB    PATH_HOST_KEY ".pub"

static int take_option(int c, struct audit_options *o, struct fault *f)
{
	switch (c) {
	case 'v':
		o->has_vm = 1;
		return uuid_parse(optarg, o->vm) < 0
			       ? fault_set(f, ERR_USAGE, "--vm: '%s' is not a UUID", optarg)
			       : 0;
	case 's':
		return audit_time_parse(optarg, &o->since_ms) < 0
			       ? fault_set(f, ERR_USAGE,
					   "--since: '%s' is neither a day (2026-11-22) nor a time "
					   "in "
					   "UTC (2026-11-22T03:18:38Z)",
					   optarg)
			       : 0;
	case 'j':
		o->json = 1;
		return 0;
	case 'l':
		o->log = optarg;
		return 0;
	case 'e':
		o->head = optarg;
		return 0;
	case 'a':
		o->anchor = optarg;
		return 0;
	default:
		o->host_key = optarg;
		return 0;
	}
}

int audit_options(int argc, char **argv, const char *takes, struct audit_options *out,
		  struct fault *f)
{
	static const struct option OPTIONS[] = { { "help", no_argument, NULL, OPTIONS_HELP },
						 { "vm", required_argument, NULL, 'v' },
						 { "since", required_argument, NULL, 's' },
						 { "json", no_argument, NULL, 'j' },
						 { "log", required_argument, NULL, 'l' },
						 { "head", required_argument, NULL, 'e' },
						 { "anchor", required_argument, NULL, 'a' },
						 { "host-key", required_argument, NULL, 'k' },
						 { 0 } };
	*out = (struct audit_options){ 0 };
	for (int c; (c = options_next(argc, argv, OPTIONS, takes, f)) != OPTIONS_END;) {
		int rc = c < 0 || c == OPTIONS_HELP ? c : take_option(c, out, f);
		if (rc != 0)
			return rc;
	}
	return options_operands(argc, argv, 0, "", f);
}

/* ---- Show ----------------------------------------------------------------------------------- */

struct selection {
	const struct audit_options *o;
	audit_each_fn *fn;
	void *arg;
};

static int select_one(const struct audit_record *r, const char *line, size_t n, void *arg)
{
	const struct selection *s = arg;
	if (r->time_ms < s->o->since_ms ||
	    (s->o->has_vm && (!r->has_vm || memcmp(r->vm, s->o->vm, UUID_BYTES) != 0)))
		return 0;
	return s->fn(r, line, n, s->arg);
}

int audit_select(const struct audit_options *o, audit_each_fn *fn, void *arg, struct fault *f)
{
	struct selection s = { o, fn, arg };
	uint64_t bad = 0;
	int rc = audit_read(o->log ? o->log : HOST_LOG, select_one, &s, &bad, f);
	if (bad)
		fprintf(stderr,
			"%" PRIu64 " lines are no records and were left out; shieldvm audit verify "
			"tells whether that is on record\n",
			bad);
	return rc;
}

static int show_one(const struct audit_record *r, const char *line, size_t n, void *arg)
{
	const struct audit_options *o = arg;
	char time[AUDIT_TIME_SIZE], vm[UUID_TEXT_SIZE] = "-", peer[96] = "";
	if (o->json)
		return fwrite(line, 1, n, stdout) == n ? 0 : -EIO;
	audit_time_text(r->time_ms, time);
	if (r->has_vm)
		uuid_format(r->vm, vm);
	if (r->pid >= 0)
		snprintf(peer, sizeof(peer), " by pid %" PRId64 "%s%s%s", r->pid,
			 r->unit[0] ? " (" : "", r->unit, r->unit[0] ? ")" : "");
	printf("%6" PRIu64 "  %s  %s %s  %s%s%s%s%s%s%s\n", r->seq, time, vm, r->name,
	       audit_event_name(r->event), r->rule[0] ? " " : "", r->rule, r->reason[0] ? ": " : "",
	       r->reason, r->request[0] ? "; " : "", r->request);
	if (peer[0])
		printf("        %s%s%s\n", audit_channel_name(r->channel), peer,
		       r->verdict == AUDIT_NO ? ", refused" : "");
	return 0;
}

int cmd_audit_show(int argc, char **argv, struct fault *f)
{
	struct audit_options o;
	int rc = audit_options(argc, argv, "vsjl", &o, f);
	return rc != 0 ? rc : audit_select(&o, show_one, &o, f);
}

/* ---- Verify --------------------------------------------------------------------------------- */

/* What is at hand to verify with. */
struct proof {
	int lock; /* the host's own anchor, so that nobody writes meanwhile; -1 */
	struct audit_head head;
	struct audit_signed signd;
	int has_head, has_signed;
};

static int read_head(const struct audit_options *o, struct proof *p, struct fault *f)
{
	const char *path = o->head ? o->head : o->log ? NULL : HOST_HEAD;
	int64_t deadline = clock_ms() + AUDIT_LOCK_MS;
	if (!path)
		return 0;
	p->lock = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (p->lock < 0)
		return fault_set(f, -errno, "%s: %s%s", path, err_text(-errno),
				 errno == ENOENT && !o->head
					 ? "; nothing was recorded here yet, or "
					   "the anchor was removed"
					 : "");
	while (flock(p->lock, LOCK_SH | LOCK_NB) < 0) {
		if ((errno != EWOULDBLOCK && errno != EINTR) || !clock_wait(deadline))
			return fault_set(f, -errno, "%s: %s", path, err_text(-errno));
	}
	int rc = audit_head_read(p->lock, &p->head);
	if (rc == ERR_FORMAT || rc == -ENODATA)
		return fault_set(f, ERR_AUTH, "%s: not an anchor, or a damaged one", path);
	if (rc < 0)
		return fault_set(f, rc, "%s: %s", path, err_text(rc));
	p->has_head = 1;
	return 0;
}

static int read_signed(const struct audit_options *o, struct proof *p, struct fault *f)
{
	CLEANUP_JWK struct jwk *key = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(SIGN_TEXT_MAX);
	const char *path = o->anchor ? o->anchor : o->log ? NULL : HOST_SIGNED;
	if (!path)
		return 0;
	if (o->anchor && o->log && !o->host_key)
		return fault_set(f, ERR_USAGE, "--anchor needs the host's public key, --host-key");
	if (!o->anchor && access(path, F_OK) < 0 && errno == ENOENT) {
		if (p->head.seq == 0 || access(HOST_PUB, F_OK) < 0)
			return 0;
		return fault_set(
			f, ERR_AUTH,
			"%s is missing: it was removed, or libvirt has started or stopped no "
			"shielded VM since shieldvm host init",
			path);
	}
	int rc = jwk_read_file(o->host_key ? o->host_key : HOST_PUB, 0, &key, f);
	if (rc >= 0)
		rc = fd_read_file(AT_FDCWD, path, &text, f);
	if (rc < 0)
		return rc;
	rc = audit_signed_parse(key, (const char *)text.data, text.len, &p->signd, f);
	if (rc < 0)
		return fault_wrap(f, rc, "%s: not signed by this host", path);
	p->has_signed = 1;
	return 0;
}

static int verify(const struct audit_options *o, struct proof *p, struct audit_summary *s,
		  struct fault *f)
{
	int rc = read_head(o, p, f);
	if (rc >= 0)
		rc = read_signed(o, p, f);
	if (rc < 0)
		return rc;
	const struct audit_evidence e = { o->log ? o->log : HOST_LOG, p->has_head ? &p->head : NULL,
					  p->has_signed ? &p->signd : NULL };
	return audit_verify(&e, s, f);
}

static void say_verified(const struct audit_options *o, const struct proof *p,
			 const struct audit_summary *s)
{
	char last[AUDIT_TIME_SIZE] = "never", when[AUDIT_TIME_SIZE] = "never";
	if (s->records)
		audit_time_text(s->last_ms, last);
	if (p->has_signed)
		audit_time_text(p->signd.time_ms, when);
	if (o->json) {
		printf("{\"ok\":true,\"records\":%" PRIu64 ",\"files\":%" PRIu64
		       ",\"repairs\":%" PRIu64 ",\"last\":\"%s\",\"anchored\":%s,"
		       "\"signed_seq\":%" PRIu64 ",\"signed\":\"%s\"}\n",
		       s->records, s->files, s->repairs, last, p->has_head ? "true" : "false",
		       p->has_signed ? p->signd.seq : 0, when);
		return;
	}
	printf("%" PRIu64 " records in %" PRIu64
	       " files are whole and in order; the last is of %s.\n",
	       s->records, s->files, last);
	if (s->repairs)
		printf("%" PRIu64
		       " writes were cut off (or bytes appended by hand), each on record "
		       "as audit.torn.\n",
		       s->repairs);
	if (p->has_signed)
		printf("The host signed record %" PRIu64 " at %s.\n", p->signd.seq, when);
	if (!p->has_head && !p->has_signed)
		printf("Without an anchor (--head, --anchor) nobody sees whether the end was cut "
		       "off.\n");
}

int cmd_audit_verify(int argc, char **argv, struct fault *f)
{
	struct audit_options o;
	struct audit_summary s = { 0 };
	struct proof p = { .lock = -1 };
	int rc = audit_options(argc, argv, "jleak", &o, f);
	if (rc != 0)
		return rc;
	rc = verify(&o, &p, &s, f);
	fd_close(&p.lock);
	if (rc >= 0)
		say_verified(&o, &p, &s);
	return rc;
}
