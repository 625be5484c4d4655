/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who runs a VM whose state is on two hosts: its source and its destination agree, over the words
 * of the channel that it came through (migration/word.h; docs/FORMAT.md, "Words").
 *
 * Theory of operation.  The VM is the source's until that has said YOURS.  Before it says so, it
 * has marked and recorded that the VM is given away, and from then on has nothing pass that would
 * run it.  The destination lets nothing pass before it has heard it.  So whatever becomes of the
 * hosts, of their libvirtds and of the link: never both.  A YOURS that nobody hears leaves neither,
 * which an operator has to settle.
 *
 * Asked, the source answers while the destination's "cont" is held, and hears then what became of
 * it: RUNS, or NEVER, which gives the VM back.  Not asked, it says YOURS when its QEMU has ended,
 * and MINE when libvirt runs the VM there again.
 */
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/carry_inner.h"

#define RULE "migration.moved"

static enum carry_verdict refuse(const char **rule, const char *reason, struct fault *f)
{
	*rule = RULE;
	fault_set(f, ERR_POLICY, "%s", reason);
	return CARRY_REFUSED;
}

/* Source: why the VM does not run here any more. */
static const char *why_gone(const struct carry *c)
{
	if (c->talk == TALK_RUNS)
		return "the VM runs on the host that it was migrated to; what is paused here is "
		       "left over: destroy it";
	return "the VM was given to the host that it was migrated to, which has not said since "
	       "whether it runs there: look there, and if it does, destroy what is paused here "
	       "(docs/ARCHITECTURE.md, \"Who runs it\", if it does not)";
}

/* Destination: why it does not run here yet, or ever. */
static const char *why_not_here(const struct carry *c)
{
	if (c->talk != TALK_KEPT)
		return "the host that the VM came from has it still, and does not say that it may "
		       "run here";
	if (c->parted && !c->is_kept)
		return "the connection to the host that the VM came from ended before that had "
		       "given it away: it may run there, and what is here is to be destroyed";
	return "the host that the VM came from has kept it; what is here is to be destroyed";
}

/* ---- What the other host says --------------------------------------------------------------- */

static void keep(struct carry *c)
{
	c->talk = TALK_KEPT;
	settle_pause(&c->settle, 0);
}

/* Source: it is the other host's from the moment that this returns. */
static void give(struct carry *c)
{
	struct fault f = { 0 };
	int rc = settle_give(&c->settle, c->command, "the VM is the other host's, which runs it",
			     &f);
	if (rc < 0) {
		log_error("the VM is not given away: %s", f.text);
		keep(c);
		live_say(c->config.live, WORD_MINE);
		return;
	}
	c->moved = 1;
	c->talk = TALK_GIVEN;
	live_say(c->config.live, WORD_YOURS);
}

/* Source: the other host never ran it, and never will. */
static void take_back(struct carry *c)
{
	struct fault f = { 0 };
	if (settle_back(&c->settle, c->command, "the VM is back: it never ran on the other host",
			&f) < 0) {
		log_error("the VM, which is back, cannot be taken: %s", f.text);
		return;
	}
	c->moved = 0;
	keep(c);
}

static void hear_source(struct carry *c, enum word heard)
{
	if (c->talk == TALK_OPEN && (heard == WORD_NEVER || c->parted))
		keep(c);
	else if (c->talk == TALK_OPEN && heard == WORD_ASK)
		give(c);
	else if (c->talk == TALK_GIVEN && heard == WORD_NEVER)
		take_back(c);
	else if (c->talk == TALK_GIVEN && heard == WORD_RUNS)
		c->talk = TALK_RUNS;
}

static void hear_destination(struct carry *c, enum word heard)
{
	struct fault f = { 0 };
	if (c->talk != TALK_OPEN && c->talk != TALK_ASKED)
		return;
	if (heard != WORD_YOURS) {
		c->is_kept = heard == WORD_MINE;
		if (c->is_kept || c->parted)
			c->talk = TALK_KEPT;
		return;
	}
	if (settle_back(&c->settle, c->command, "the VM is this host's", &f) >= 0) {
		c->moved = 0;
		c->talk = TALK_GIVEN;
		return;
	}
	log_error("the VM, which the other host has given away, cannot be taken: %s", f.text);
	c->talk = TALK_KEPT;
	if (c->has_asked)
		live_say(c->config.live, WORD_NEVER);
}

void carry_hear(struct carry *c)
{
	struct live_news news;
	if (c->talk == TALK_NONE || c->parted)
		return;
	live_look(c->config.live, &news);
	if (news.state != LIVE_DONE)
		return;
	c->parted = news.parted;
	if (c->kind == KIND_LEAVE)
		hear_source(c, news.heard);
	else
		hear_destination(c, news.heard);
}

int carry_talk_begin(struct carry *c, struct fault *f)
{
	static const char THERE[] = "the VM's state is on the other host";
	int rc = 0;
	if (c->kind == KIND_ARRIVE) {
		c->talk = c->moved ? TALK_OPEN : TALK_NONE; /* it runs already */
		return 0;
	}
	if (is_postcopy(c)) {
		rc = settle_away(&c->settle, c->command, THERE, f);
		c->moved |= rc >= 0;
		c->talk = TALK_RUNS;
		live_say(c->config.live, WORD_YOURS);
		return rc;
	}
	/* Marked already, if post-copy was to begin and all of it was there before.  Else nothing
	 * has changed yet, and a record would only keep the guest waiting. */
	if (c->moved)
		rc = settle_back(&c->settle, c->command, THERE, f);
	if (rc < 0) {
		live_say(c->config.live, WORD_MINE);
		return rc;
	}
	c->moved = 0;
	c->talk = TALK_OPEN;
	settle_pause(&c->settle, 1);
	return 0;
}

/* ---- What libvirt wants --------------------------------------------------------------------- */

/* Until the other host's word. */
static enum carry_verdict await_word(struct carry *c, const struct qmp_request *r)
{
	snprintf(c->command, sizeof(c->command), "%s", r->command);
	c->arguments = r->arguments ? json_copy(r->arguments) : json_object();
	c->step = STEP_WORD;
	c->talk_ms = clock_ms() + c->config.word_ms;
	return CARRY_BEGUN;
}

static enum carry_verdict ask_source(struct carry *c, const struct qmp_request *r, int is_run,
				     const char **rule, struct fault *f)
{
	if (c->talk == TALK_OPEN) {
		if (settle_record(&c->settle, AUDIT_MIGRATE, r->command,
				  is_run ? "the VM stays here: libvirt runs it again"
					 : "the VM stays here: libvirt has its state leave again",
				  f) < 0)
			return CARRY_FAILED;
		keep(c);
		live_say(c->config.live, WORD_MINE);
	}
	if (c->talk == TALK_KEPT)
		return CARRY_NOT_MINE;
	if (c->talk == TALK_GIVEN && is_run && !c->parted)
		return await_word(c, r);
	return refuse(rule, why_gone(c), f);
}

static enum carry_verdict ask_destination(struct carry *c, const struct qmp_request *r, int is_run,
					  const char **rule, struct fault *f)
{
	if (is_run && c->talk == TALK_OPEN) {
		c->talk = TALK_ASKED;
		c->has_asked = 1;
		live_say(c->config.live, WORD_ASK);
	}
	if (is_run && (c->talk == TALK_ASKED || (c->talk == TALK_GIVEN && c->has_asked)))
		return await_word(c, r);
	if (c->talk != TALK_GIVEN && c->talk != TALK_RUNS)
		return refuse(rule, why_not_here(c), f);
	if (c->has_asked && c->talk == TALK_GIVEN)
		live_say(c->config.live, WORD_RUNS);
	c->talk = TALK_RUNS;
	return CARRY_NOT_MINE;
}

enum carry_verdict carry_talk_ask(struct carry *c, const struct qmp_request *r, int is_run,
				  const char **rule, struct fault *f)
{
	carry_hear(c);
	return c->kind == KIND_LEAVE ? ask_source(c, r, is_run, rule, f)
				     : ask_destination(c, r, is_run, rule, f);
}

enum carry_turn carry_talk_next(struct carry *c, struct carry_ask *ask, const char **rule,
				struct fault *f)
{
	int leaves = c->kind == KIND_LEAVE;
	carry_hear(c);
	ask->command = c->command;
	if (c->talk == (leaves ? TALK_KEPT : TALK_GIVEN)) {
		ask->arguments = json_incref(c->arguments);
		ask->last = 1;
		c->step = STEP_WORD_SENT;
		return CARRY_ASKS;
	}
	if (c->talk == (leaves ? TALK_GIVEN : TALK_ASKED) && !c->parted &&
	    clock_left_ms(c->talk_ms))
		return CARRY_WAITS;
	refuse(rule, leaves ? why_gone(c) : why_not_here(c), f);
	carry_request_done(c);
	return CARRY_STOPS;
}

/* Destination: the VM is to be the source's again, or a later start's there. */
static void give_back(struct carry *c)
{
	struct fault f = { 0 };
	if (c->talk == TALK_GIVEN &&
	    settle_give(&c->settle, c->command, "the VM never ran here, and is given back", &f) <
		    0) {
		log_error("the VM is not given back: %s", f.text);
		return;
	}
	c->moved = 1;
	c->talk = TALK_KEPT;
	c->is_kept = 1;
	live_say(c->config.live, WORD_NEVER);
}

void carry_talk_replied(struct carry *c, int ok)
{
	if (c->kind == KIND_LEAVE)
		return;
	if (!ok) {
		give_back(c);
		return;
	}
	c->talk = TALK_RUNS;
	live_say(c->config.live, WORD_RUNS);
}

int carry_wait_ms(const struct carry *c)
{
	return c->step == STEP_WORD ? clock_left_ms(c->talk_ms) : -1;
}

/* ---- QEMU has ended ------------------------------------------------------------------------- */

/* Source: nothing of the VM is left that could run here. */
static void leave_it(struct carry *c)
{
	struct fault f = { 0 };
	if (c->talk != TALK_OPEN || c->parted)
		return;
	if (settle_mark(&c->settle, &f) < 0) {
		log_error("the VM is not given away: %s", f.text);
		live_say(c->config.live, WORD_MINE);
		return;
	}
	c->talk = TALK_GIVEN;
	live_say(c->config.live, WORD_YOURS);
	/* The broker, which records, may have ended with QEMU: the mark is what counts. */
	if (settle_record(&c->settle, AUDIT_MIGRATE, c->command,
			  "the VM is the other host's, as it has ended here", &f) < 0)
		log_warning("the VM is the other host's: %s", f.text);
}

void carry_farewell(struct carry *c)
{
	if (c->talk == TALK_NONE)
		return;
	carry_hear(c);
	if (c->kind == KIND_LEAVE)
		leave_it(c);
	else if (c->step == STEP_WORD_SENT) /* it may have run */
		live_say(c->config.live, WORD_RUNS);
	else if (c->has_asked && (c->talk == TALK_ASKED || c->talk == TALK_GIVEN))
		give_back(c);
	live_part(c->config.live, CARRY_FAREWELL_MS);
}
