/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/carry_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/uuid.h"
#include "worker/door.h"
#include "worker/places.h"
#include "worker/refusal.h"

int carry_new(const struct carry_config *config, struct carry **out)
{
	char uuid[UUID_TEXT_SIZE];
	struct carry *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->config = *config;
	if (!c->config.word_ms)
		c->config.word_ms = CARRY_WORD_MS;
	c->settle = (struct settle){ config->vtpm, config->link };
	c->door.link = config->link;
	c->pipe = -1;
	c->channels = CARRY_CHANNELS;
	if (config->vm) {
		uuid_format(config->vm, uuid);
		door_folder(config->vm, c->door.folder);
		snprintf(c->qemus, sizeof(c->qemus), "unix:" PATH_RUN "/%s/" PLACES_MIGRATE, uuid);
	}
	for (size_t i = 0; i < CARRY_HELD_MAX; i++)
		c->held[i].fd = -1;
	for (size_t i = 0; i < LAUNCH_INCOMING_MAX; i++)
		c->incoming[i].fd = -1;
	if (config->disks && copy_new(config->disks, &c->door, &c->copy) < 0) {
		carry_free(c);
		return -ENOMEM;
	}
	*out = c;
	return 0;
}

void carry_request_done(struct carry *c)
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
	carry_request_done(c);
	copy_free(c->copy);
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
		snprintf(c->incoming[i].name, CARRY_NAME_BYTES, "%d", (int)numbers[i]);
		fd_close(&c->incoming[i].fd);
		c->incoming[i].fd = fd_take(&fds[i]);
	}
}

void carry_forget(struct carry *c)
{
	for (size_t i = 0; i < CARRY_HELD_MAX; i++)
		fd_close(&c->held[i].fd);
}

/* ---- What moves it: migration/transfer.h or migration/live.h -------------------------------- */

/* FD is the file, pipe, connection or listener; taken over on success. */
int carry_move(struct carry *c, enum carry_kind kind, int fd, unsigned int more, struct fault *f)
{
	enum live_how how = is_postcopy(c) ? LIVE_AGAIN : LIVE_ANEW;
	switch (kind) {
	case KIND_SAVE:
		return transfer_begin(c->config.transfer, TRANSFER_SAVE, fd, &c->pipe, f);
	case KIND_DUMP:
		return transfer_begin(c->config.transfer, TRANSFER_DUMP, fd, &c->pipe, f);
	case KIND_RESTORE:
		return transfer_begin(c->config.transfer, TRANSFER_RESTORE, fd, &c->pipe, f);
	case KIND_LEAVE:
		return live_leave(c->config.live, how, fd, more, &c->pipe, f);
	case KIND_ARRIVE:
		return live_arrive(c->config.live, how, fd, more, &c->pipe, f);
	}
	return fault_set(f, ERR_USAGE, "no such transfer");
}

void carry_abort(struct carry *c, const char *why)
{
	if (is_live(c))
		live_abort(c->config.live, why);
	else
		transfer_abort(c->config.transfer, why);
}

static enum transfer_state mover_look(struct carry *c, struct fault *f)
{
	static const enum transfer_state AS[] = {
		[LIVE_IDLE] = TRANSFER_IDLE,	    [LIVE_OPENING] = TRANSFER_OPENING,
		[LIVE_ACCEPTED] = TRANSFER_OPENING, [LIVE_RUNNING] = TRANSFER_RUNNING,
		[LIVE_DONE] = TRANSFER_DONE,	    [LIVE_FAILED] = TRANSFER_FAILED,
	};
	struct live_news news;
	if (!is_live(c))
		return transfer_look(c->config.transfer, f);
	live_look(c->config.live, &news);
	*f = news.fault;
	c->wants_more = news.state == LIVE_ACCEPTED;
	/* Whoever did not get as far as an answer is not the other host's worker. */
	snprintf(c->rule, sizeof(c->rule), "%s", news.rule[0] ? news.rule : "migration.peer");
	return AS[news.state];
}

/* ---- Carrying it out ------------------------------------------------------------------------ */

/* Whether what was read is at fault, not the machine. */
static int is_forgery(int rc)
{
	return rc == ERR_AUTH || rc == ERR_FORMAT || rc == ERR_TRUNCATED || rc == ERR_TRAILING ||
	       rc == ERR_VERSION || rc == ERR_PURPOSE || rc == ERR_VM || rc == ERR_LIMIT ||
	       rc == ERR_STATE;
}

/* The same of what the last one has brought in; a connection just ends too early when it breaks. */
static int has_forged(const struct carry *c, int rc)
{
	return c->kind == KIND_ARRIVE ? rc == ERR_AUTH : comes_in(c) && is_forgery(rc);
}

/* All that the VM needs to run is in, and authentic: from now on it may, and its vTPM store. */
static int settle_in(struct carry *c, struct fault *f)
{
	if (!c->waits_for_state) /* it came in post-copy, and runs already */
		return settle_record(&c->settle, AUDIT_MIGRATE, c->command,
				     "all of the VM's memory has come", f);
	/* Until it runs it may still be the other host's; in post-copy it is about to. */
	int early = is_postcopy(c), comes = c->kind == KIND_ARRIVE;
	int rc = comes && !early ? settle_arrived(&c->settle, f) : settle_here(&c->settle, f);
	if (rc >= 0 && comes)
		rc = settle_record(&c->settle, AUDIT_MIGRATE, c->command,
				   "the VM has come from another host", f);
	if (rc >= 0) {
		c->waits_for_state = 0;
		c->moved = comes && !early;
	}
	return rc;
}

/* The destination takes the VM: what else QEMU is to have. */
static int connect_more(struct carry *c, struct fault *f)
{
	int rc = 0;
	for (; rc >= 0 && c->asked_for < c->more; c->asked_for++) {
		CLEANUP_FD int net = -1;
		rc = door_ask(&c->door, DOOR_CONNECT, c->address, &net, f);
		if (rc >= 0)
			rc = live_more(c->config.live, net, f);
		if (rc >= 0)
			net = -1;
	}
	return rc;
}

enum carry_turn carry_next(struct carry *c, struct carry_ask *ask, const char **rule,
			   struct fault *f)
{
	if (c->copy && copy_is_busy(c->copy))
		return copy_next(c->copy, ask, rule, f);
	*ask = (struct carry_ask){ .fd = -1 };
	*rule = NULL;
	if (c->step == STEP_WORD)
		return carry_talk_next(c, ask, rule, f);
	if (c->step == STEP_OPENING) {
		enum transfer_state s = mover_look(c, f);
		ask->command = c->command;
		if (s == TRANSFER_OPENING && c->wants_more && connect_more(c, f) < 0)
			carry_abort(c, f->text);
		if (s == TRANSFER_OPENING)
			return CARRY_WAITS;
		if (s == TRANSFER_FAILED) {
			/* It never began, as far as QEMU knows. */
			c->running = 0;
			carry_request_done(c);
			if (c->kind == KIND_LEAVE)
				*rule = c->rule;
			else
				*rule = is_forgery(f->rc) ? "state.auth" : NULL;
			return CARRY_STOPS;
		}
		/* Or else QEMU connects itself. */
		c->step = c->pipe >= 0 ? STEP_GETFD : STEP_COMMAND;
	}
	if (c->step == STEP_RUN) {
		ask->command = c->command;
		if (!settle_ready(&c->settle) && c->running)
			return CARRY_WAITS;
		int rc = settle_ready(&c->settle) ? settle_in(c, f) : ERR_STATE;
		if (rc == ERR_STATE)
			fault_set(f, rc, "the vTPM's state has not come in");
		if (rc < 0) {
			carry_request_done(c);
			return CARRY_STOPS;
		}
		ask->arguments = json_incref(c->arguments);
		ask->last = 1;
		c->step = STEP_RUN_SENT;
	} else if (c->step == STEP_GETFD) {
		ask->command = "getfd";
		ask->arguments = json_pack("{s:s}", "fdname", CARRY_OUR_NAME);
		ask->fd = fd_take(&c->pipe);
		c->step = STEP_GETFD_SENT;
	} else if (c->step == STEP_COMMAND) {
		ask->command = c->command;
		ask->arguments = json_incref(c->arguments);
		ask->last = !c->recovers;
		c->asked = 1;
		c->step = STEP_COMMAND_SENT;
	} else if (c->step == STEP_RECOVERING && (c->postcopy != POSTCOPY_PAUSED || c->said)) {
		carry_request_done(c);
		return CARRY_DONE;
	} else {
		return CARRY_WAITS;
	}
	return CARRY_ASKS;
}

void carry_replied(struct carry *c, int ok)
{
	if (c->copy && copy_is_busy(c->copy)) {
		copy_replied(c->copy, ok);
		return;
	}
	if (ok && c->step == STEP_GETFD_SENT) {
		c->step = STEP_COMMAND;
		return;
	}
	if (ok && c->recovers && c->step == STEP_COMMAND_SENT) {
		c->step = STEP_RECOVERING;
		return;
	}
	if (c->step == STEP_WORD_SENT)
		carry_talk_replied(c, ok);
	if (c->step == STEP_RUN_SENT || c->step == STEP_WORD_SENT)
		carry_request_done(c);
	if (c->step == STEP_GETFD_SENT || c->step == STEP_COMMAND_SENT) {
		if (!ok) { /* which is libvirt's answer already */
			c->said = c->qemus_own = 1;
			carry_abort(c, "QEMU has refused it");
		}
		carry_request_done(c);
	}
}

/* QEMU says that the VM runs there now, or here, before all of its memory has moved. */
static void enter_postcopy(struct carry *c)
{
	struct fault f = { 0 };
	c->postcopy = POSTCOPY_ACTIVE;
	/* It may not have stopped to ask. */
	if (c->kind != KIND_LEAVE || c->moved)
		return;
	c->moved = 1;
	if (settle_away(&c->settle, c->command, "the VM is to run on the other host", &f) < 0)
		log_error("the vTPM's state here cannot be marked as moved: %s", f.text);
}

/* ... that the link broke, and that it waits for another. */
static void enter_pause(struct carry *c)
{
	c->postcopy = POSTCOPY_PAUSED;
	c->said = 1;
	carry_abort(c, "QEMU has paused it");
}

/* ... that nothing comes of it, before anything ran there: it lets the guest run on itself. */
static void leave_postcopy(struct carry *c)
{
	struct fault f = { 0 };
	if (c->postcopy == POSTCOPY_ASKED && c->moved &&
	    settle_back(&c->settle, c->command, "the VM stays here: it was given up", &f) < 0)
		log_error("the vTPM's state is still marked as moved: %s", f.text);
	else if (c->postcopy == POSTCOPY_ASKED)
		c->moved = 0;
	c->postcopy = POSTCOPY_NO;
}

int carry_event(struct carry *c, const struct qmp_text *name, const struct qmp_text *status)
{
	int migration = qmp_is_text(name, "MIGRATION");
	int mine = c->kind == KIND_DUMP ? qmp_is_text(name, "DUMP_COMPLETED") : migration;
	/* libvirt was told that what was coming in has failed, and takes the last word for the true
	 * one: QEMU, which goes on waiting, says no more of it. */
	if (!c->running && migration && comes_in(c) && c->failure[0])
		return 1;
	if (!c->running || !mine || !status)
		return 0;
	int completed = qmp_is_text(status, "completed");
	int given_up = qmp_is_text(status, "failed") || qmp_is_text(status, "cancelled");
	/* It speaks of what nobody has asked it for. */
	if (!c->asked)
		return completed || given_up;
	if (completed) {
		c->said = c->written = 1;
		/* A migration's channel ends when QEMU closes its end of it. */
		if (c->kind == KIND_SAVE || c->kind == KIND_DUMP)
			transfer_finish(c->config.transfer);
		return 1;
	}
	if (given_up) {
		c->said = 1;
		/* Unless QEMU failed because we did. */
		struct fault f = { 0 };
		c->qemus_own = mover_look(c, &f) != TRANSFER_FAILED;
		leave_postcopy(c);
		carry_abort(c, "QEMU has given up");
		return 1;
	}
	/* Not before there is anybody whom the VM could come from. */
	struct fault f = { 0 };
	if (is_live(c) && qmp_is_text(status, "postcopy-active") &&
	    mover_look(c, &f) != TRANSFER_OPENING)
		enter_postcopy(c);
	if (is_postcopy(c) && qmp_is_text(status, "postcopy-paused"))
		enter_pause(c);
	return 0;
}

void carry_shut(struct carry *c)
{
	if (c->kind != KIND_ARRIVE)
		return;
	door_shut(&c->door, c->address);
	c->address[0] = 0;
	if (c->copy)
		copy_over(c->copy);
}

int carry_news_fd(const struct carry *c)
{
	if (c->copy && copy_is_busy(c->copy))
		return copy_news_fd(c->copy);
	if (!c->running && (c->talk == TALK_NONE || c->parted))
		return -1;
	return is_live(c) ? live_news_fd(c->config.live) : transfer_news_fd(c->config.transfer);
}

static int settle(struct carry *c, struct fault *f)
{
	/* What is left of it here is not the VM any more: that has run there. */
	if (c->kind != KIND_LEAVE || !is_postcopy(c))
		c->postcopy = POSTCOPY_NO;
	int rc = comes_in(c) ? settle_in(c, f) : 0;
	return rc >= 0 && is_live(c) ? carry_talk_begin(c, f) : rc;
}

/*
 * What came in counts when QEMU has taken it in.  When what goes out has failed, QEMU meets a
 * closed pipe or connection; but if all was in that pipe already, it says that all is done.  A
 * migration's channel may have ended before QEMU has said that it is done.
 */
static int waits_for_qemu(const struct carry *c, enum transfer_state s)
{
	if (c->said)
		return 0;
	if (is_postcopy(c)) /* it pauses */
		return 1;
	return c->kind == KIND_LEAVE || s == (comes_in(c) ? TRANSFER_DONE : TRANSFER_FAILED);
}

/*
 * The transfer is done; or the VM runs here already, QEMU has said that all of it is in, and what
 * broke behind that, at RC, is the link: every record that QEMU has had was authentic.
 */
static int is_whole(const struct carry *c, enum transfer_state s, int rc)
{
	int link_broke = rc == ERR_TRUNCATED || (rc < 0 && rc > ERR_AUTH && rc != -ECANCELED);
	return s == TRANSFER_DONE ||
	       (is_postcopy(c) && c->kind == KIND_ARRIVE && !c->waits_for_state && link_broke);
}

int carry_ended(struct carry *c, const char **event)
{
	struct fault f = { 0 };
	*event = NULL;
	if (!c->running)
		carry_hear(c);
	if (!c->running)
		return 0;
	enum transfer_state s = mover_look(c, &f);
	/* libvirt has its answer to the command first. */
	/* QEMU may need the link's end to answer, when it has to run on what is not there. */
	int is_asked = c->step != STEP_NONE && c->step < STEP_RUN;
	if (is_asked || (s != TRANSFER_DONE && s != TRANSFER_FAILED))
		return 0;
	/* Its vTPM's state may still be on its way from QEMU, and the memory that is here is
	 * wanted. */
	if (s == TRANSFER_FAILED && is_postcopy(c) && c->kind == KIND_ARRIVE && !c->said)
		live_let_go(c->config.live);
	if (waits_for_qemu(c, s))
		return 0;
	c->running = 0;
	carry_shut(c);
	if (c->postcopy == POSTCOPY_PAUSED) {
		log_warning("post-copy is paused: %s", f.text);
		if (has_forged(c, f.rc))
			(void)refusal_record(c->config.link, "state.auth", c->command, f.text);
		return 1;
	}
	if (c->stays && !is_postcopy(c))
		fault_set(&f, ERR_STATE, CARRY_STAYS);
	else if (c->written && is_whole(c, s, f.rc) && settle(c, &f) >= 0)
		return 1;
	/* All of it may be there, and is not to run there. */
	if (s == TRANSFER_DONE && c->kind == KIND_LEAVE)
		live_say(c->config.live, WORD_MINE);
	if (c->qemus_own)
		return 1;
	snprintf(c->failure, sizeof(c->failure), "shieldvm: %s%s",
		 has_forged(c, f.rc) ? "state.auth: " : "", f.text);
	log_warning("%s", c->failure);
	if (has_forged(c, f.rc))
		(void)refusal_record(c->config.link, "state.auth", c->command, f.text);
	if (c->kind == KIND_ARRIVE && c->more)
		c->lost_ms = clock_ms() + CARRY_LOST_MS;
	/* On the way out QEMU has said so itself, unless it was done. */
	if (c->written || comes_in(c))
		*event = c->kind == KIND_DUMP ? "DUMP_COMPLETED" : "MIGRATION";
	return 1;
}

int carry_timeout_ms(const struct carry *c)
{
	return c->lost_ms ? clock_left_ms(c->lost_ms) : -1;
}

const char *carry_status(const struct carry *c, const char **error)
{
	*error = NULL;
	if (c->failure[0]) {
		*error = c->failure;
		return "failed";
	}
	/* QEMU is done a moment before it says so. */
	if (c->running && c->kind != KIND_DUMP)
		return c->kind == KIND_RESTORE ? "setup"
		       : is_postcopy(c)	       ? "postcopy-active"
					       : "active";
	return NULL;
}
