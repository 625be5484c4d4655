/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/carry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/log.h"
#include "worker/refusal.h"
#include "worker/report.h"

#define NAME_BYTES 64
#define OUR_NAME   "shieldvm-state" /* of our pipe, in QEMU; must not begin with a digit */

struct held {
	char name[NAME_BYTES];
	int fd; /* -1: a free place */
};

enum step { STEP_NONE, STEP_OPENING, STEP_GETFD, STEP_GETFD_SENT, STEP_COMMAND, STEP_COMMAND_SENT };

struct carry {
	struct carry_config config;
	struct held held[CARRY_HELD_MAX];
	struct held incoming[LAUNCH_INCOMING_MAX];
	int to_a_host;	     /* libvirt has set up a migration to another host */
	int waits_for_state; /* QEMU was started for state that has not come in whole yet */

	enum transfer_kind kind;      /* of the last one begun */
	int running;		      /* begun, and its end not told by carry_ended() yet */
	int asked, said;	      /* QEMU was told to, and has said how it ended */
	int written;		      /* which is that all is done */
	int qemus_own;		      /* QEMU has failed, and says why itself */
	char failure[CARRY_TEXT_MAX]; /* why the last one failed; "": it has not */

	/* The request being carried out. */
	enum step step;
	char command[QMP_COMMAND_MAX];
	json_t *arguments;
	int pipe; /* QEMU's end, not sent yet; -1: none */
};

int carry_new(const struct carry_config *config, struct carry **out)
{
	struct carry *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->config = *config;
	c->pipe = -1;
	for (size_t i = 0; i < CARRY_HELD_MAX; i++)
		c->held[i].fd = -1;
	for (size_t i = 0; i < LAUNCH_INCOMING_MAX; i++)
		c->incoming[i].fd = -1;
	*out = c;
	return 0;
}

static void request_done(struct carry *c)
{
	json_decref(c->arguments);
	c->arguments = NULL;
	fd_close(&c->pipe);
	c->step = STEP_NONE;
}

void carry_free(struct carry *c)
{
	if (!c)
		return;
	request_done(c);
	carry_forget(c);
	for (size_t i = 0; i < LAUNCH_INCOMING_MAX; i++)
		fd_close(&c->incoming[i].fd);
	free(c);
}

void carry_launched(struct carry *c, int incoming, int *fds, const int32_t *numbers, size_t n)
{
	if (incoming && c->config.vtpm)
		vtpm_await(c->config.vtpm);
	else if (c->config.vtpm)
		vtpm_keep(c->config.vtpm);
	c->waits_for_state = incoming;
	for (size_t i = 0; i < n && i < LAUNCH_INCOMING_MAX; i++) {
		snprintf(c->incoming[i].name, NAME_BYTES, "%d", (int)numbers[i]);
		fd_close(&c->incoming[i].fd);
		c->incoming[i].fd = fd_take(&fds[i]);
	}
}

void carry_forget(struct carry *c)
{
	for (size_t i = 0; i < CARRY_HELD_MAX; i++)
		fd_close(&c->held[i].fd);
}

/* ---- What libvirt asks ---------------------------------------------------------------------- */

static enum carry_verdict fail(enum carry_verdict v, int rc, const char *text, struct fault *f)
{
	fault_set(f, rc, "%s", text);
	return v;
}

static struct held *find(struct held *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (list[i].fd >= 0 && strcmp(list[i].name, name) == 0)
			return &list[i];
	}
	return NULL;
}

/* libvirt gives a pipe or a file for state and nothing else by getfd. */
static int is_for_state(int fd)
{
	struct stat st;
	return fd >= 0 && fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISREG(st.st_mode));
}

static enum carry_verdict hold(struct carry *c, const char *name, int *fd, struct fault *f)
{
	struct held *place = find(c->held, CARRY_HELD_MAX, name);
	if (place) /* QEMU too lets the newer one take the name */
		fd_close(&place->fd);
	if (!is_for_state(*fd))
		return CARRY_NOT_MINE;
	for (size_t i = 0; !place && i < CARRY_HELD_MAX; i++) {
		if (c->held[i].fd < 0)
			place = &c->held[i];
	}
	if (!place)
		return fail(CARRY_FAILED, ERR_LIMIT, "too many files were handed over", f);
	if (strlen(name) >= NAME_BYTES)
		return fail(CARRY_FAILED, ERR_LIMIT, "the descriptor's name is too long", f);
	snprintf(place->name, NAME_BYTES, "%s", name);
	place->fd = fd_take(fd);
	return CARRY_ANSWERED;
}

/* On record before a byte of it moves. */
static int record(const struct carry *c, enum audit_event event, const char *command,
		  const char *reason, struct fault *f)
{
	struct broker_audit m;
	if (c->config.link < 0)
		return 0;
	report_init(&m, event, AUDIT_BY_MONITOR, AUDIT_DONE, "", command, reason);
	int rc = report_send(c->config.link, &m);
	return rc < 0 ? fault_set(f, rc, "refused, as it cannot be put on record: %s", err_text(rc))
		      : 0;
}

static const struct {
	enum audit_event event;
	const char *member; /* of the arguments that names the descriptor */
	const char *reason; /* for the record */
} KINDS[] = {
	[TRANSFER_SAVE] = { AUDIT_SAVE, "uri", "the VM's state leaves, sealed" },
	[TRANSFER_DUMP] = { AUDIT_SAVE, "protocol", "a dump leaves, sealed to the owner's key" },
	[TRANSFER_RESTORE] = { AUDIT_RESTORE, "uri", "the VM starts from saved state" },
};

static enum carry_verdict begin(struct carry *c, enum transfer_kind kind,
				const struct qmp_request *r, struct held *from, struct fault *f)
{
	if (c->running || c->step != STEP_NONE)
		return fail(CARRY_FAILED, -EBUSY, "the VM's state is on its way already", f);
	if (record(c, KINDS[kind].event, r->command, KINDS[kind].reason, f) < 0 ||
	    transfer_begin(c->config.transfer, kind, from->fd, &c->pipe, f) < 0)
		return CARRY_FAILED;
	from->fd = -1;
	c->kind = kind;
	c->running = 1;
	c->asked = c->said = c->written = c->qemus_own = 0;
	c->failure[0] = 0;
	c->step = kind == TRANSFER_RESTORE ? STEP_OPENING : STEP_GETFD;
	snprintf(c->command, sizeof(c->command), "%s", r->command);
	c->arguments = json_copy(r->arguments);
	if (!c->arguments || json_object_set_new(c->arguments, KINDS[kind].member,
						 json_string("fd:" OUR_NAME)) < 0) {
		transfer_abort(c->config.transfer, err_text(-ENOMEM));
		c->said = 1;
		request_done(c);
		return fail(CARRY_FAILED, -ENOMEM, err_text(-ENOMEM), f);
	}
	return CARRY_BEGUN;
}

static enum carry_verdict refuse(const char *rule, const char **out, const char *reason,
				 struct fault *f)
{
	*out = rule;
	return fail(CARRY_REFUSED, ERR_POLICY, reason, f);
}

/*
 * libvirt has QEMU pause at the end of a migration to another host, and never at that of a file.  A
 * tunnelled one goes through a pipe as a file does.
 */
static void look_at_capabilities(struct carry *c, const json_t *arguments)
{
	const json_t *list = json_object_get(arguments, "capabilities"), *entry;
	size_t i;
	json_array_foreach(list, i, entry)
	{
		const char *name = json_string_value(json_object_get(entry, "capability"));
		if (name && strcmp(name, "pause-before-switchover") == 0)
			c->to_a_host = !json_is_false(json_object_get(entry, "state"));
	}
}

enum carry_verdict carry_request(struct carry *c, const struct qmp_request *r, int *fd,
				 const char **rule, struct fault *f)
{
	const char *name = json_string_value(json_object_get(r->arguments, "fdname"));
	if (strcmp(r->command, "getfd") == 0)
		return name ? hold(c, name, fd, f) : CARRY_NOT_MINE;
	if (strcmp(r->command, "closefd") == 0) {
		struct held *h = name ? find(c->held, CARRY_HELD_MAX, name) : NULL;
		if (h)
			fd_close(&h->fd);
		return h ? CARRY_ANSWERED : CARRY_NOT_MINE;
	}
	/* Waking a guest that was saved in its sleep has it run, too. */
	if (c->waits_for_state &&
	    (strcmp(r->command, "cont") == 0 || strcmp(r->command, "system_wakeup") == 0))
		return refuse("state.unverified", rule,
			      "the VM's state has not come in, or not all of it is authentic", f);
	if (strcmp(r->command, "migrate-set-capabilities") == 0)
		look_at_capabilities(c, r->arguments);
	if (strcmp(r->command, "migrate_cancel") == 0) {
		/* QEMU is done and would not say anything any more. */
		if (c->running && c->written)
			transfer_abort(c->config.transfer, "it was cancelled");
		return CARRY_NOT_MINE;
	}

	int out = strcmp(r->command, "migrate") == 0;
	int dump = strcmp(r->command, "dump-guest-memory") == 0;
	int in = strcmp(r->command, "migrate-incoming") == 0;
	if (!out && !dump && !in)
		return CARRY_NOT_MINE;
	name = json_string_value(json_object_get(r->arguments, dump ? "protocol" : "uri"));
	if (!name || strncmp(name, "fd:", 3) != 0)
		name = "fd:";
	struct held *h = in ? find(c->incoming, LAUNCH_INCOMING_MAX, name + 3)
			    : find(c->held, CARRY_HELD_MAX, name + 3);
	if (!h && dump)
		return refuse("memory.dump", rule, "the dump would leave in clear", f);
	if (!h || (out && c->to_a_host))
		return refuse("migration.unsealed", rule, "the guest's state would travel in clear",
			      f);
	return begin(c, out ? TRANSFER_SAVE : dump ? TRANSFER_DUMP : TRANSFER_RESTORE, r, h, f);
}

/* ---- Carrying it out ------------------------------------------------------------------------ */

/* Whether what was read is at fault, not the machine. */
static int is_forgery(int rc)
{
	return rc == ERR_AUTH || rc == ERR_FORMAT || rc == ERR_TRUNCATED || rc == ERR_TRAILING ||
	       rc == ERR_VERSION || rc == ERR_PURPOSE || rc == ERR_VM || rc == ERR_LIMIT ||
	       rc == ERR_STATE;
}

enum carry_turn carry_next(struct carry *c, struct carry_ask *ask, const char **rule,
			   struct fault *f)
{
	*ask = (struct carry_ask){ .fd = -1 };
	*rule = NULL;
	if (c->step == STEP_OPENING) {
		enum transfer_state s = transfer_look(c->config.transfer, f);
		if (s == TRANSFER_OPENING)
			return CARRY_WAITS;
		if (s == TRANSFER_FAILED) {
			/* It never began, as far as QEMU knows. */
			c->running = 0;
			request_done(c);
			*rule = is_forgery(f->rc) ? "state.auth" : NULL;
			return CARRY_STOPS;
		}
		c->step = STEP_GETFD;
	}
	if (c->step == STEP_GETFD) {
		ask->command = "getfd";
		ask->arguments = json_pack("{s:s}", "fdname", OUR_NAME);
		ask->fd = fd_take(&c->pipe);
		c->step = STEP_GETFD_SENT;
	} else if (c->step == STEP_COMMAND) {
		ask->command = c->command;
		ask->arguments = json_incref(c->arguments);
		ask->last = 1;
		c->asked = 1;
		c->step = STEP_COMMAND_SENT;
	} else {
		return CARRY_WAITS;
	}
	return CARRY_ASKS;
}

void carry_replied(struct carry *c, int ok)
{
	if (ok && c->step == STEP_GETFD_SENT) {
		c->step = STEP_COMMAND;
		return;
	}
	if (c->step == STEP_GETFD_SENT || c->step == STEP_COMMAND_SENT) {
		if (!ok) { /* which is libvirt's answer already */
			c->said = c->qemus_own = 1;
			transfer_abort(c->config.transfer, "QEMU has refused it");
		}
		request_done(c);
	}
}

int carry_event(struct carry *c, const struct qmp_text *name, const struct qmp_text *status)
{
	int migration = qmp_is_text(name, "MIGRATION");
	int mine = c->kind == TRANSFER_DUMP ? qmp_is_text(name, "DUMP_COMPLETED") : migration;
	if (!c->running || !mine || !status)
		return 0;
	int completed = qmp_is_text(status, "completed");
	int given_up = qmp_is_text(status, "failed") || qmp_is_text(status, "cancelled");
	/* It speaks of what nobody has asked it for. */
	if (!c->asked)
		return completed || given_up;
	if (completed) {
		c->said = c->written = 1;
		if (c->kind != TRANSFER_RESTORE)
			transfer_finish(c->config.transfer);
		return 1;
	}
	if (given_up) {
		c->said = 1;
		/* Unless QEMU failed because we did. */
		struct fault f = { 0 };
		c->qemus_own = transfer_look(c->config.transfer, &f) != TRANSFER_FAILED;
		transfer_abort(c->config.transfer, "QEMU has given up");
		return 1;
	}
	return 0;
}

int carry_news_fd(const struct carry *c)
{
	return c->running ? transfer_news_fd(c->config.transfer) : -1;
}

/* All of the state is in, and authentic: from now on the VM may run and its vTPM store. */
static int settle(struct carry *c, struct fault *f)
{
	if (c->kind != TRANSFER_RESTORE)
		return 0;
	int rc = c->config.vtpm ? vtpm_commit(c->config.vtpm, f) : 0;
	if (rc >= 0)
		c->waits_for_state = 0;
	return rc;
}

int carry_ended(struct carry *c, const char **event)
{
	struct fault f = { 0 };
	*event = NULL;
	if (!c->running)
		return 0;
	enum transfer_state s = transfer_look(c->config.transfer, &f);
	/* libvirt has its answer to the command first. */
	if (c->step != STEP_NONE || (s != TRANSFER_DONE && s != TRANSFER_FAILED))
		return 0;
	/*
	 * What came in counts when QEMU has taken it in.  When what goes out has failed, QEMU meets
	 * a closed pipe; but if all was in that pipe already, it says that all is done.
	 */
	if (!c->said && s == (c->kind == TRANSFER_RESTORE ? TRANSFER_DONE : TRANSFER_FAILED))
		return 0;
	c->running = 0;
	if (s == TRANSFER_DONE && c->written && settle(c, &f) >= 0)
		return 1;
	if (c->qemus_own)
		return 1;
	snprintf(c->failure, sizeof(c->failure), "shieldvm: %s%s",
		 is_forgery(f.rc) && c->kind == TRANSFER_RESTORE ? "state.auth: " : "", f.text);
	log_warning("%s", c->failure);
	if (c->kind == TRANSFER_RESTORE && is_forgery(f.rc))
		(void)refusal_record(c->config.link, "state.auth", c->command, f.text);
	/* On the way out QEMU has said so itself, unless it was done. */
	if (c->written || c->kind == TRANSFER_RESTORE)
		*event = c->kind == TRANSFER_DUMP ? "DUMP_COMPLETED" : "MIGRATION";
	return 1;
}

const char *carry_status(const struct carry *c, const char **error)
{
	*error = NULL;
	if (c->failure[0]) {
		*error = c->failure;
		return "failed";
	}
	/* QEMU is done a moment before it says so. */
	if (c->running && c->kind != TRANSFER_DUMP)
		return c->kind == TRANSFER_RESTORE ? "setup" : "active";
	return NULL;
}
