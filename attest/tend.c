/* SPDX-License-Identifier: BSD-3-Clause */
#include "attest/tend.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "attest/copy.h"
#include "attest/health.h"
#include "attest/lease_note.h"
#include "attest/watch.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/paths.h"
#include "crypto/strict.h"

/* A guardian that some lease names, and how it goes with it. */
struct party {
	char urls[PROTECTOR_URLS_SIZE];
	struct remote remote;
	int open, used; /* its connection; by a note of this round */
	unsigned failures;
	int64_t rest_until_ms;	   /* it does not answer: not asked before */
	int64_t renew_at_ms;	   /* the host's next proof of health */
	char said[FAULT_TEXT_MAX]; /* of its last answer about the host's health, or why there is
				      none */
};

/* What is known of a VM's lease besides its note. */
struct lease {
	uint8_t vm[UUID_BYTES];
	int64_t token;
	int seen;		   /* in this round */
	enum watch_act what;	   /* is to be said */
	int64_t due_ms;		   /* and when next; INT64_MAX: not again */
	char said[FAULT_TEXT_MAX]; /* the last complaint: each is made once */
};

struct tend {
	int dir; /* PATH_LEASES */
	struct conf conf;
	uint8_t host[UUID_BYTES];
	int has_host;
	struct client_refusal why;
	unsigned undone;
	size_t n_parties, n_leases;
	struct party party[TEND_GUARDIANS_MAX];
	struct lease lease[TEND_LEASES_MAX];
};

int tend_new(struct tend **out, struct fault *f)
{
	struct tend *t = calloc(1, sizeof(*t));
	if (!t)
		return fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	t->dir = lease_note_folder(PATH_LEASES, f);
	int rc = t->dir < 0 ? t->dir : conf_read(PATH_ATTEST, &t->conf, f);
	if (rc < 0) {
		tend_free(t);
		return rc;
	}
	*out = t;
	return 0;
}

static void party_close(struct party *p)
{
	if (p->open)
		remote_done(&p->remote);
	memset(p, 0, sizeof(*p));
}

void tend_free(struct tend *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n_parties; i++)
		party_close(&t->party[i]);
	conf_done(&t->conf);
	fd_close(&t->dir);
	free(t);
}

static uint32_t chance(void)
{
	uint32_t n = 0;
	/* Without it there is no jitter, and nothing else is lost. */
	(void)!getrandom(&n, sizeof(n), 0);
	return n;
}

/* MS, a tenth of it more or less. */
static int64_t about(int64_t ms)
{
	return ms - ms / 10 + (int64_t)(chance() % (uint32_t)(ms / 5 + 1));
}

/* Say it unless it was the last that was said; what changes in it at each time is not for SAID. */
static void say(char said[static FAULT_TEXT_MAX], enum log_level level, const char *what,
		const char *text)
{
	if (strcmp(said, text) == 0)
		return;
	snprintf(said, FAULT_TEXT_MAX, "%s", text);
	log_line(level, "%s: %s", what, text);
}

static void complain(struct tend *t, struct lease *l, const struct fault *f)
{
	char uuid[UUID_TEXT_SIZE];
	uuid_format(l->vm, uuid);
	say(l->said, LOG_LEVEL_ERROR, uuid, f->text);
	t->undone++;
}

/* ---- guardians ---- */

static struct party *party_of(struct tend *t, const struct protector_guardian *g)
{
	struct party *unused = NULL;
	for (size_t i = 0; i < t->n_parties; i++) {
		struct party *p = &t->party[i];
		if (strcmp(p->urls, g->urls) == 0) {
			p->used = 1;
			return p;
		}
		if (!p->used)
			unused = p;
	}
	if (t->n_parties < TEND_GUARDIANS_MAX)
		unused = &t->party[t->n_parties++];
	if (!unused)
		return NULL;
	party_close(unused);
	snprintf(unused->urls, sizeof(unused->urls), "%s", g->urls);
	unused->used = 1;
	return unused;
}

static void party_failed(struct party *p, const struct fault *f)
{
	int64_t pause = TEND_ROUND_MS << (p->failures < 6 ? p->failures : 6);
	if (p->failures++ == 0)
		log_warning("no guardian answers: %s; VMs run on, and it is tried again", f->text);
	p->rest_until_ms =
		clock_ms() + about(pause < TEND_PAUSE_MAX_MS ? pause : TEND_PAUSE_MAX_MS);
}

static void party_answered(struct party *p)
{
	if (p->failures)
		log_info("a guardian answers again: %s", client_address(p->remote.client));
	p->failures = 0;
	p->rest_until_ms = 0;
}

static int party_ready(struct tend *t, struct party *p, struct fault *f)
{
	int rc = t->has_host ? 0 : remote_host_id(0, t->host, f);
	if (rc < 0)
		return rc;
	t->has_host = 1;
	if (clock_ms() < p->rest_until_ms)
		return -EAGAIN;
	if (p->open)
		return 0;
	rc = remote_open(p->urls, PATH_HOST_KEY, "a lease note", &p->remote, f);
	p->open = rc >= 0;
	return rc;
}

/* ---- telling them ---- */

/*
 * POST what a holder says to PATH.  -EAGAIN if the guardian is to be left alone now, or does not
 * answer: *SENT says whether it may have heard it all the same.  ERR_POLICY if it refuses.
 */
static int tell(struct tend *t, struct party *p, const char *path, const struct lease_note *n,
		int64_t version, json_t **answer, int *sent, struct fault *f)
{
	char host[UUID_TEXT_SIZE], vm[UUID_TEXT_SIZE];
	struct fault why = { 0 };
	*sent = 0;
	int rc = party_ready(t, p, f);
	if (rc < 0)
		return rc;
	uuid_format(t->host, host);
	uuid_format(n->vm, vm);
	client_until(p->remote.client, clock_ms() + TEND_DEADLINE_MS);
	rc = remote_post(&p->remote, path,
			 json_pack("{s:s, s:s, s:I, s:I}", "id", host, "vm", vm, "token",
				   (json_int_t)n->token, "version", (json_int_t)version),
			 CLIENT_ONCE, answer, &t->why, &why);
	if (rc < 0 && t->why.unable) {
		*sent = rc == -ECONNABORTED;
		party_failed(p, &why);
		return -EAGAIN;
	}
	party_answered(p);
	return rc < 0 ? fault_set(f, rc, "%s", why.text) : 0;
}

/* Another lease has the VM by now, or none has: what this host's note says is over. */
static int is_over(const struct tend *t, int rc)
{
	return rc == ERR_POLICY &&
	       (strcmp(t->why.id, "lease.lost") == 0 || strcmp(t->why.id, "lease.none") == 0);
}

/* Put NEW, or nothing, in the place of N; a lease that the VM has got meanwhile stays. */
static int renote(struct tend *t, const struct lease_note *n, const struct lease_note *new,
		  struct fault *f)
{
	CLEANUP_FD int lock = -1;
	struct fault why = { 0 };
	int rc = lease_note_lock(t->dir, &lock, f);
	if (rc < 0)
		return rc;
	rc = lease_note_replace(t->dir, n, new, &why);
	return rc < 0 && rc != ERR_STATE ? fault_set(f, rc, "%s", why.text) : 0;
}

static int report(struct tend *t, struct party *p, struct lease *l, const struct lease_note *n,
		  struct fault *f)
{
	CLEANUP_JSON json_t *answer = NULL;
	struct lease_note renewed = *n;
	int64_t version;
	int sent, rc = watch_version(PATH_STATE, n->vm, &version, f);
	if (rc >= 0)
		rc = tell(t, p, "/v1/lease/report", n, version, &answer, &sent, f);
	if (rc == -EAGAIN)
		return rc;
	l->due_ms = clock_ms() + about(TEND_REPORT_MS);
	/* It was taken over, or taken back: the guardian has said all that it will say. */
	if (is_over(t, rc))
		l->due_ms = INT64_MAX;
	if (rc >= 0)
		rc = remote_take_number(answer, "expires", &renewed.expires, f);
	return rc < 0 ? rc : renote(t, n, &renewed, f);
}

/*
 * The sealed copy is put aside before the guardian can hear that the VM has stopped, and comes back
 * only if it has surely not: else another host might get the lease while this one starts the VM
 * offline.  One that is aside from before stays there: an earlier word may have been heard.  A
 * start that was faster has the VM's lock by now.  *ASIDE: this call has put it there.
 */
static int stop_begin(struct tend *t, const struct lease_note *n, int *aside, struct fault *f)
{
	CLEANUP_FD int lock = -1;
	struct watch_seen seen;
	int rc = lease_note_lock(t->dir, &lock, f);
	if (rc >= 0)
		rc = copy_aside(t->dir, n->vm, 1, f);
	*aside = rc > 0;
	if (rc >= 0)
		rc = watch_look(PATH_RUN, PATH_STATE, n->vm, &seen, f);
	if (rc < 0 || watch_decide(n->incoming, &seen) == WATCH_STOP)
		return rc;
	return *aside && copy_aside(t->dir, n->vm, 0, f) < 0 ? f->rc : -EAGAIN;
}

static int stop(struct tend *t, struct party *p, struct lease *l, const struct lease_note *n,
		struct fault *f)
{
	CLEANUP_JSON json_t *answer = NULL;
	int64_t version;
	int sent = 0, aside = 0, rc = watch_version(PATH_STATE, n->vm, &version, f);
	if (rc >= 0)
		rc = party_ready(t, p, f);
	if (rc >= 0)
		rc = stop_begin(t, n, &aside, f);
	if (rc < 0)
		return rc;
	rc = tell(t, p, "/v1/lease/stop", n, version, &answer, &sent, f);
	if (rc == -EAGAIN && !sent && aside) {
		CLEANUP_FD int lock = -1;
		int back = lease_note_lock(t->dir, &lock, f);
		if (back >= 0)
			back = copy_aside(t->dir, n->vm, 0, f);
		return back < 0 ? back : rc;
	}
	l->due_ms = rc < 0 && rc != -EAGAIN ? clock_ms() + about(TEND_REPORT_MS) : 0;
	return rc >= 0 || is_over(t, rc) ? renote(t, n, NULL, f) : rc;
}

static int take(struct tend *t, struct party *p, struct lease *l, const struct lease_note *n,
		struct fault *f)
{
	CLEANUP_JSON json_t *answer = NULL;
	struct lease_note held = *n;
	struct watch_seen seen;
	int64_t version;
	int sent, rc = watch_version(PATH_STATE, n->vm, &version, f);
	if (rc >= 0)
		rc = tell(t, p, "/v1/lease/take", n, version, &answer, &sent, f);
	if (rc == -EAGAIN)
		return rc;
	if (rc < 0)
		l->due_ms = clock_ms() + about(TEND_REPORT_MS);
	/* Once the VM has ended as well there is nothing left to take. */
	if (is_over(t, rc) && watch_look(PATH_RUN, PATH_STATE, n->vm, &seen, f) >= 0 && !seen.lives)
		(void)!renote(t, n, NULL, f);
	held.incoming = 0;
	if (rc >= 0)
		rc = remote_take_number(answer, "token", &held.token, f);
	if (rc >= 0)
		rc = remote_take_number(answer, "expires", &held.expires, f);
	return rc < 0 ? rc : renote(t, n, &held, f);
}

/* ---- one lease ---- */

static struct lease *lease_of(struct tend *t, const uint8_t vm[static UUID_BYTES])
{
	for (size_t i = 0; i < t->n_leases; i++)
		if (memcmp(t->lease[i].vm, vm, UUID_BYTES) == 0)
			return &t->lease[i];
	if (t->n_leases == TEND_LEASES_MAX)
		return NULL;
	struct lease *l = &t->lease[t->n_leases++];
	memset(l, 0, sizeof(*l));
	memcpy(l->vm, vm, UUID_BYTES);
	return l;
}

/* What is told, and what is noted of it. */
static int act(struct tend *t, struct lease *l, const struct lease_note *n, struct fault *f)
{
	struct watch_seen seen;
	struct party *p = party_of(t, &n->guardian);
	if (!p)
		return fault_set(f, ERR_LIMIT, "the leases name more than %d guardians",
				 TEND_GUARDIANS_MAX);
	int rc = watch_look(PATH_RUN, PATH_STATE, n->vm, &seen, f);
	if (rc < 0)
		return rc;
	enum watch_act what = watch_decide(n->incoming, &seen);
	if (l->token != n->token || l->what != what) {
		l->token = n->token;
		l->what = what;
		l->due_ms = 0;
	}
	if (what == WATCH_FORGET)
		return renote(t, n, NULL, f);
	if (what == WATCH_WAIT || clock_ms() < l->due_ms)
		return 0;
	rc = what == WATCH_REPORT ? report(t, p, l, n, f)
	     : what == WATCH_STOP ? stop(t, p, l, n, f)
				  : take(t, p, l, n, f);
	if (rc >= 0)
		l->said[0] = '\0';
	return rc;
}

static int tend_lease(void *arg, const uint8_t vm[static UUID_BYTES])
{
	struct tend *t = arg;
	struct lease_note n;
	struct fault f = { 0 };
	struct lease *l = lease_of(t, vm);
	if (!l)
		return ERR_LIMIT;
	l->seen = 1;
	memset(&t->why, 0, sizeof(t->why));
	int rc = lease_note_read(t->dir, vm, &n, &f);
	if (rc >= 0)
		rc = act(t, l, &n, &f);
	if (rc == -EAGAIN)
		t->undone++;
	else if (rc == -ENOENT && !f.text[0])
		l->seen = 0; /* removed under us */
	else if (rc < 0)
		complain(t, l, &f);
	return 0;
}

static void drop_gone(struct tend *t)
{
	size_t kept = 0;
	for (size_t i = 0; i < t->n_leases; i++) {
		if (!t->lease[i].seen)
			continue;
		if (kept != i)
			t->lease[kept] = t->lease[i];
		kept++;
	}
	t->n_leases = kept;
}

/* ---- the host's health ---- */

static int prove(struct tend *t, struct party *p, struct health *h, struct fault *f)
{
	struct hosttpm *tpm = NULL;
	int rc = t->conf.mode == HEALTHCERT_TPM ? hosttpm_open(t->conf.tcti, &tpm, f) : 0;
	h->failed_here = rc < 0;
	if (rc >= 0) {
		client_until(p->remote.client, clock_ms() + TEND_PROOF_MS);
		rc = health_attest(&p->remote, tpm, &t->conf, HEALTH_NO_WORKER, h, &t->why, f);
	}
	hosttpm_close(tpm);
	return rc;
}

static void renew(struct tend *t, struct party *p)
{
	char text[FAULT_TEXT_MAX], failed[FAULT_TEXT_MAX / 2];
	struct fault f = { 0 };
	CLEANUP_HEALTH struct health h;
	health_init(&h);
	int rc = party_ready(t, p, &f);
	if (rc == -EAGAIN) {
		t->undone++;
		return;
	}
	memset(&t->why, 0, sizeof(t->why));
	if (rc >= 0)
		rc = prove(t, p, &h, &f);
	if (rc >= 0) {
		int64_t at = client_renew_at(h.says.not_before, h.says.not_after, chance());
		p->renew_at_ms = clock_ms() + (at - time(NULL)) * 1000;
		party_answered(p);
		snprintf(text, sizeof(text), "this host is healthy: %s",
			 client_address(p->remote.client));
		say(p->said, LOG_LEVEL_INFO, "health", text);
		return;
	}
	t->undone++;
	if (t->why.unable && !h.failed_here) {
		party_failed(p, &f);
		return;
	}
	p->renew_at_ms = clock_ms() + about(TEND_UNHEALTHY_MS);
	findings_failed(&t->why.findings, failed, sizeof(failed));
	if (failed[0])
		snprintf(text, sizeof(text), "this host is not healthy (%s): %s", failed, f.text);
	else
		snprintf(text, sizeof(text), "this host has no health certificate: %s", f.text);
	say(p->said, LOG_LEVEL_ERROR, "health", text);
}

unsigned tend_round(struct tend *t)
{
	struct fault f = { 0 };
	t->undone = 0;
	for (size_t i = 0; i < t->n_parties; i++)
		t->party[i].used = 0;
	for (size_t i = 0; i < t->n_leases; i++)
		t->lease[i].seen = 0;
	int rc = lease_note_list(t->dir, tend_lease, t, &f);
	if (rc < 0) {
		log_error("the lease notes cannot all be looked after: %s",
			  f.text[0] ? f.text : err_text(rc));
		t->undone++;
	}
	drop_gone(t);
	for (size_t i = 0; i < t->n_parties; i++) {
		struct party *p = &t->party[i];
		if (p->used && clock_ms() >= p->renew_at_ms)
			renew(t, p);
	}
	return t->undone;
}
