/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What worker/carry.c, which carries out, worker/carry_ask.c, which hears libvirt, and
 * worker/carry_talk.c, which agrees with the other host on who runs the VM, share.
 */
#ifndef SHIELDVM_WORKER_CARRY_INNER_H
#define SHIELDVM_WORKER_CARRY_INNER_H

#include "worker/carry.h"
#include "worker/copy.h"
#include "worker/door.h"
#include "worker/settle.h"

#define CARRY_STAYS	 "libvirt runs the VM here again before it has left"
#define CARRY_NAME_BYTES 64
#define CARRY_CHANNELS	 2		  /* that QEMU has with multifd if nobody says otherwise */
#define CARRY_OUR_NAME	 "shieldvm-state" /* of our pipe, in QEMU; must not begin with a digit */

struct carry_held {
	char name[CARRY_NAME_BYTES];
	int fd; /* -1: a free place */
};

enum carry_kind {
	KIND_SAVE,
	KIND_DUMP,
	KIND_RESTORE,
	KIND_LEAVE,  /* to another host */
	KIND_ARRIVE, /* from one */
};

enum carry_step {
	STEP_NONE,
	STEP_OPENING,
	STEP_GETFD,
	STEP_GETFD_SENT,
	STEP_COMMAND,
	STEP_COMMAND_SENT,
	STEP_RUN, /* post-copy: QEMU has the vTPM's state, and has not given it to us yet */
	STEP_RUN_SENT,
	/* Source: QEMU goes on with a migration whose link broke.  libvirt next looks at what the
	 * other QEMU has said of it, and must not be faster than that. */
	STEP_RECOVERING,
	/* "cont" waits for the other host's word: on the destination for its leave, on the source
	 * for whether the VM runs there.  Until what carry.talk_ms says. */
	STEP_WORD,
	STEP_WORD_SENT,
};

/* Who has the VM, once all of it has moved, as the two workers have agreed (migration/word.h). */
enum carry_talk {
	TALK_NONE,  /* there is nothing to agree on */
	TALK_OPEN,  /* the source has; the destination may ask */
	TALK_ASKED, /* destination: it has asked */
	TALK_GIVEN, /* the destination has, by the source's word, and has not said that it runs */
	TALK_RUNS,  /* the destination has, for ever */
	TALK_KEPT,  /* the source has, for ever */
};

/* Post-copy, in QEMU's own words.  From ACTIVE on the VM runs there, or is about to, though not all
 * of its memory is: neither host has all of it any more. */
enum carry_postcopy {
	POSTCOPY_NO,
	POSTCOPY_ASKED, /* by libvirt; source only */
	POSTCOPY_ACTIVE,
	POSTCOPY_PAUSED, /* the link broke */
};

struct carry {
	struct carry_config config;
	struct settle settle;
	struct door door;
	struct copy *copy; /* NULL: disks are not copied */
	struct carry_held held[CARRY_HELD_MAX];
	struct carry_held incoming[LAUNCH_INCOMING_MAX];
	char qemus[128];	   /* where QEMU connects for several channels, as a uri */
	int to_a_host;		   /* libvirt has set up a migration to another host */
	int multifd, postcopy_ram; /* QEMU's capabilities, as libvirt has set them */
	unsigned int channels;	   /* ... and how many it is to have with multifd */
	int waits_for_state;	   /* QEMU was started for state that has not come in whole yet */
	int moved;		   /* the VM runs elsewhere, if libvirt does not say otherwise */
	enum carry_postcopy postcopy;
	int recovers; /* the request being carried out is to go on after PAUSED */

	enum carry_kind kind; /* of the last one begun */
	int running;	      /* begun, and its end not told by carry_ended() yet */
	int asked, said;      /* QEMU was told to, and has said how it ended */
	int written;	      /* which is that all is done */
	int qemus_own;	      /* QEMU has failed, and says why itself */
	int stays;	      /* libvirt has the guest run here before it has left */
	enum carry_talk talk;
	int parted;		      /* the other host says nothing more */
	int is_kept;		      /* destination: TALK_KEPT by a word, not by the link's end */
	int has_asked;		      /* destination: it must tell what became of it */
	int64_t talk_ms;	      /* STEP_WORD: until when */
	char failure[CARRY_TEXT_MAX]; /* why the last one failed; "": it has not */

	/* The request being carried out. */
	enum carry_step step;
	char command[QMP_COMMAND_MAX];
	json_t *arguments;
	char rule[PROTECTOR_RULE_MAX];	  /* by which it was refused */
	unsigned int more;		  /* channels that it has beside the first */
	int wants_more;			  /* the destination has accepted the first */
	unsigned int asked_for;		  /* ... that the broker has been asked for */
	char address[DOOR_ADDRESS_BYTES]; /* of the other host, if the broker connects; or where it
					   * listens for it */
	int64_t lost_ms;		  /* when QEMU is to end; 0: no such time */
	int pipe;			  /* QEMU's end, not sent yet; -1: none */
};

static inline int is_live(const struct carry *c)
{
	return c->kind == KIND_LEAVE || c->kind == KIND_ARRIVE;
}

/* The VM runs on the other host, or may; or it runs here without all of its memory. */
static inline int is_postcopy(const struct carry *c)
{
	return c->postcopy >= POSTCOPY_ACTIVE;
}

static inline int comes_in(const struct carry *c)
{
	return c->kind == KIND_RESTORE || c->kind == KIND_ARRIVE;
}

/* The request being carried out is over. */
void carry_request_done(struct carry *c);

/* Begin to move with FD, the file, pipe, connection or listener; taken over on success. */
int carry_move(struct carry *c, enum carry_kind kind, int fd, unsigned int more,
	       struct fault *f) MUST_CHECK;

/* Nobody comes to where the VM was to come in any more. */
void carry_shut(struct carry *c);

/* End it, unless it has ended. */
void carry_abort(struct carry *c, const char *why);

/* ---- worker/carry_talk.c ---- */

/* All of the VM has moved: from now on the two workers talk. */
int carry_talk_begin(struct carry *c, struct fault *f) MUST_CHECK;

/* What the other host has said, is done. */
void carry_hear(struct carry *c);

/* The guest is to run, here, or (IS_RUN 0) its state is to leave: NOT_MINE if it may. */
enum carry_verdict carry_talk_ask(struct carry *c, const struct qmp_request *r, int is_run,
				  const char **rule, struct fault *f);

/* STEP_WORD: what the verdict is by now. */
enum carry_turn carry_talk_next(struct carry *c, struct carry_ask *ask, const char **rule,
				struct fault *f);

/* QEMU has answered "cont", with a return if OK. */
void carry_talk_replied(struct carry *c, int ok);

#endif
