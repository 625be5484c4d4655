/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/carry_inner.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "worker/door.h"

/* ---- What it hands over -------------------------------------------------------------------------
 */

static enum carry_verdict fail(enum carry_verdict v, int rc, const char *text, struct fault *f)
{
	fault_set(f, rc, "%s", text);
	return v;
}

static struct carry_held *find(struct carry_held *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (list[i].fd >= 0 && strcmp(list[i].name, name) == 0)
			return &list[i];
	}
	return NULL;
}

static int is_socket(int fd)
{
	struct stat st;
	return fd >= 0 && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* libvirt gives a pipe or a file for state and nothing else by getfd; of the sockets that it gives,
 * one has this name. */
static int is_for_state(const char *name, int fd)
{
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return 0;
	return S_ISFIFO(st.st_mode) || S_ISREG(st.st_mode) ||
	       (S_ISSOCK(st.st_mode) && strcmp(name, "migrate") == 0);
}

static enum carry_verdict hold(struct carry *c, const char *name, int *fd, struct fault *f)
{
	struct carry_held *place = find(c->held, CARRY_HELD_MAX, name);
	if (place) /* QEMU too lets the newer one take the name */
		fd_close(&place->fd);
	if (!is_for_state(name, *fd))
		return CARRY_NOT_MINE;
	for (size_t i = 0; !place && i < CARRY_HELD_MAX; i++) {
		if (c->held[i].fd < 0)
			place = &c->held[i];
	}
	if (!place)
		return fail(CARRY_FAILED, ERR_LIMIT, "too many files were handed over", f);
	if (strlen(name) >= CARRY_NAME_BYTES)
		return fail(CARRY_FAILED, ERR_LIMIT, "the descriptor's name is too long", f);
	snprintf(place->name, CARRY_NAME_BYTES, "%s", name);
	place->fd = fd_take(fd);
	return CARRY_ANSWERED;
}

static const struct {
	enum audit_event event;
	const char *member; /* of the arguments that names the descriptor */
	const char *reason; /* for the record */
} KINDS[] = {
	[KIND_SAVE] = { AUDIT_SAVE, "uri", "the VM's state leaves, sealed" },
	[KIND_DUMP] = { AUDIT_SAVE, "protocol", "a dump leaves, sealed to the owner's key" },
	[KIND_RESTORE] = { AUDIT_RESTORE, "uri", "the VM starts from saved state" },
	[KIND_LEAVE] = { AUDIT_MIGRATE, "uri", "the VM is to move to another host, sealed" },
	[KIND_ARRIVE] = { AUDIT_MIGRATE, "uri", "the VM is to come from another host" },
};

/* Where QEMU is to find what moves, as a uri or a protocol. */
static const char *place_of(const struct carry *c, enum carry_kind kind)
{
	if (c->more && kind == KIND_LEAVE)
		return c->qemus;
	/* QEMU 7.2 takes what is behind tcp: as any address of a socket, so that it listens with
	 * the descriptor of that name; one that does not refuses the command. */
	return c->more ? "tcp:fd:" CARRY_OUR_NAME : "fd:" CARRY_OUR_NAME;
}

/* FROM, taken over, and MORE channels. */
static enum carry_verdict begin(struct carry *c, enum carry_kind kind, const struct qmp_request *r,
				int *from, unsigned int more, struct fault *f)
{
	if (c->running || c->step != STEP_NONE || (is_postcopy(c) && kind != c->kind))
		return fail(CARRY_FAILED, -EBUSY, "the VM's state is on its way already", f);
	const char *reason = is_postcopy(c)
				     ? "its link broke: the VM's memory goes on moving, sealed"
				     : KINDS[kind].reason;
	/* On record before a byte of it moves. */
	if (settle_record(&c->settle, KINDS[kind].event, r->command, reason, f) < 0 ||
	    carry_move(c, kind, *from, more, f) < 0)
		return CARRY_FAILED;
	*from = -1;
	c->kind = kind;
	c->more = more;
	c->asked_for = 0;
	c->wants_more = 0;
	c->running = 1;
	if (!is_postcopy(c))
		c->postcopy = POSTCOPY_NO;
	c->asked = c->said = c->written = c->qemus_own = c->stays = 0;
	c->talk = TALK_NONE;
	c->parted = c->has_asked = c->is_kept = 0;
	c->failure[0] = 0;
	c->recovers = kind == KIND_LEAVE && is_postcopy(c);
	c->step = kind == KIND_RESTORE || kind == KIND_LEAVE ? STEP_OPENING : STEP_GETFD;
	snprintf(c->command, sizeof(c->command), "%s", r->command);
	c->arguments = json_copy(r->arguments);
	if (!c->arguments || json_object_set_new(c->arguments, KINDS[kind].member,
						 json_string(place_of(c, kind))) < 0) {
		carry_abort(c, err_text(-ENOMEM));
		c->said = 1;
		carry_request_done(c);
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
static enum carry_verdict ask_capabilities(struct carry *c, const json_t *arguments,
					   const char **rule, struct fault *f)
{
	const json_t *list = json_object_get(arguments, "capabilities"), *entry;
	size_t i;
	json_array_foreach(list, i, entry)
	{
		const char *name = json_string_value(json_object_get(entry, "capability"));
		if (name && strcmp(name, "pause-before-switchover") == 0)
			c->to_a_host = !json_is_false(json_object_get(entry, "state"));
		if (name && strcmp(name, "multifd") == 0)
			c->multifd = !json_is_false(json_object_get(entry, "state"));
		if (name && strcmp(name, "postcopy-ram") == 0)
			c->postcopy_ram = !json_is_false(json_object_get(entry, "state"));
	}
	if (c->multifd && c->postcopy_ram)
		return refuse("migration.form", rule,
			      "post-copy is not sealed over more than one channel; migrate without "
			      "--parallel, or without --postcopy",
			      f);
	if (c->copy && c->to_a_host)
		disks_anew(c->config.disks);
	return CARRY_NOT_MINE;
}

static enum carry_verdict ask_parameters(struct carry *c, const json_t *arguments,
					 const char **rule, struct fault *f)
{
	const json_t *channels = json_object_get(arguments, "multifd-channels");
	json_int_t n = json_integer_value(channels);
	static_assert(LIVE_MORE_MAX == 16, "as it is said here");
	if (!channels)
		return CARRY_NOT_MINE;
	if (n < 1 || n > LIVE_MORE_MAX)
		return refuse("migration.form", rule,
			      "no more than 16 parallel connections are sealed; migrate with "
			      "--parallel-connections 16, or fewer",
			      f);
	c->channels = (unsigned int)n;
	return CARRY_NOT_MINE;
}

/* Channels for memory beside the first. */
static unsigned int more_channels(const struct carry *c)
{
	return c->multifd ? c->channels : 0;
}

/* After "fd:", "tcp:" or nothing of R's uri, as PREFIX says; "" if it has another. */
static const char *behind(const struct qmp_request *r, const char *member, const char *prefix)
{
	const char *uri = json_string_value(json_object_get(r->arguments, member));
	return uri && strncmp(uri, prefix, strlen(prefix)) == 0 ? uri + strlen(prefix) : "";
}

/* The address in R's uri, as door_ask() takes it; "" if there is none. */
static const char *address_of(const struct qmp_request *r)
{
	const char *uri = behind(r, "uri", "");
	return door_is_path(uri) ? uri : behind(r, "uri", "tcp:");
}

/*
 * libvirt's tunnel is a pipe at both ends, so nothing ever comes back through it.  The source's
 * QEMU is done when libvirt's buffers have all of the VM.  If the source gave the VM up then, it
 * would be lost when the destination turns out to be unable to take it; if it does not, both hosts
 * run it when the destination does but libvirt does not hear of it.
 */
static enum carry_verdict refuse_tunnel(const char **rule, struct fault *f)
{
	return refuse("migration.form", rule,
		      "libvirt's tunnel goes one way: neither host could learn what becomes of the "
		      "VM on the other, so that both might run it, or none; migrate without "
		      "--tunnelled, which is encrypted all the same",
		      f);
}

static enum carry_verdict refuse_moved(const char **rule, struct fault *f)
{
	return refuse("migration.moved", rule,
		      "the VM runs on the other host, or may: its migration can only go on", f);
}

/* Post-copy: the VM is to run before all of it is here.  What it needs for that has come, and each
 * record was authentic; but QEMU may still be at it. */
static enum carry_verdict ask_run_early(struct carry *c, const struct qmp_request *r)
{
	snprintf(c->command, sizeof(c->command), "%s", r->command);
	c->arguments = r->arguments ? json_copy(r->arguments) : json_object();
	c->step = STEP_RUN;
	return CARRY_BEGUN;
}

/* The guest is to run, here. */
static enum carry_verdict ask_run(struct carry *c, const struct qmp_request *r, const char **rule,
				  struct fault *f)
{
	if (is_postcopy(c) && c->kind == KIND_LEAVE)
		return refuse_moved(rule, f);
	if (is_postcopy(c) && c->waits_for_state)
		return ask_run_early(c, r);
	if (c->waits_for_state)
		return refuse("state.unverified", rule,
			      "the VM's state has not come in, or not all of it is authentic", f);
	/* QEMU takes it once it is done, which it may not have said yet, or not for all of us. */
	if (c->running && c->kind == KIND_LEAVE) {
		c->stays = 1;
		carry_abort(c, CARRY_STAYS);
	}
	if (c->talk != TALK_NONE)
		return carry_talk_ask(c, r, 1, rule, f);
	if (!c->moved)
		return CARRY_NOT_MINE;
	/* Post-copy was given up before anything ran there. */
	if (settle_back(&c->settle, r->command, "the VM stays here: libvirt runs it again", f) < 0)
		return CARRY_FAILED;
	c->moved = 0;
	return CARRY_NOT_MINE;
}

/* ... for the reason that door_parse() has put into words. */
static enum carry_verdict refuse_path(const char **rule)
{
	*rule = "migration.form";
	return CARRY_REFUSED;
}

/* QEMU was to connect to the other host at ADDRESS itself. */
static enum carry_verdict ask_connect(struct carry *c, const struct qmp_request *r,
				      const char *address, const char **rule, struct fault *f)
{
	struct door_request ignored;
	CLEANUP_FD int net = -1;
	if (!c->to_a_host || !c->qemus[0])
		return refuse("migration.form", rule,
			      "not the form in which libvirt migrates to another host", f);
	if (door_is_path(address) && door_parse(&c->door, address, &ignored, f) < 0)
		return refuse_path(rule);
	if (door_parse(&c->door, address, &ignored, NULL) < 0)
		return refuse("migration.form", rule,
			      "QEMU is to connect by itself (for parallel connections, or for "
			      "post-copy), and so to a TCP address in numbers; migrate with "
			      "--migrateuri tcp://ADDRESS",
			      f);
	if (door_ask(&c->door, DOOR_CONNECT, address, &net, f) < 0)
		return CARRY_FAILED;
	enum carry_verdict v = begin(c, KIND_LEAVE, r, &net, more_channels(c), f);
	if (v == CARRY_BEGUN)
		snprintf(c->address, sizeof(c->address), "%s", address);
	return v;
}

static enum carry_verdict ask_out(struct carry *c, const struct qmp_request *r, const char **rule,
				  struct fault *f)
{
	struct carry_held *h = find(c->held, CARRY_HELD_MAX, behind(r, "uri", "fd:"));
	const json_t *resume = json_object_get(r->arguments, "resume");
	const char *address = address_of(r);
	enum carry_verdict v;
	if (!h && !*address)
		return refuse("migration.unsealed", rule, "the guest's state would travel in clear",
			      f);
	if (c->talk != TALK_NONE && (v = carry_talk_ask(c, r, 0, rule, f)) != CARRY_NOT_MINE)
		return v;
	if (is_postcopy(c) && c->kind == KIND_LEAVE &&
	    ((h && !is_socket(h->fd)) || !json_is_true(resume) || c->postcopy != POSTCOPY_PAUSED))
		return refuse_moved(rule, f);
	if (resume && !json_is_false(resume) && !is_postcopy(c))
		return refuse("migration.form", rule, "there is no broken migration to go on with",
			      f);
	if (!h)
		return ask_connect(c, r, address, rule, f);
	if (is_socket(h->fd))
		return begin(c, KIND_LEAVE, r, &h->fd, 0, f);
	if (c->to_a_host)
		return refuse_tunnel(rule, f);
	return begin(c, KIND_SAVE, r, &h->fd, 0, f);
}

/* At R's address the VM is to come in, or what is still missing of it. */
static enum carry_verdict ask_listen(struct carry *c, const struct qmp_request *r,
				     unsigned int more, const char **rule, struct fault *f)
{
	const char *address = address_of(r);
	struct door_request ignored;
	CLEANUP_FD int listener = -1;
	if (door_is_path(address) && door_parse(&c->door, address, &ignored, f) < 0)
		return refuse_path(rule);
	if (door_ask(&c->door, DOOR_LISTEN, address, &listener, f) < 0)
		return CARRY_FAILED;
	enum carry_verdict v = begin(c, KIND_ARRIVE, r, &listener, more, f);
	if (v == CARRY_BEGUN)
		snprintf(c->address, sizeof(c->address), "%s", address);
	else
		door_shut(&c->door, address);
	return v;
}

static enum carry_verdict ask_in(struct carry *c, const struct qmp_request *r, const char **rule,
				 struct fault *f)
{
	struct carry_held *h = find(c->incoming, LAUNCH_INCOMING_MAX, behind(r, "uri", "fd:"));
	if (h && c->config.comes)
		return refuse_tunnel(rule, f);
	if (h)
		return begin(c, KIND_RESTORE, r, &h->fd, 0, f);
	if (!c->waits_for_state || !*address_of(r))
		return refuse("migration.unsealed", rule, "the guest's state would travel in clear",
			      f);
	return ask_listen(c, r, more_channels(c), rule, f);
}

/* A new way in for a migration whose link broke. */
static enum carry_verdict ask_recover(struct carry *c, const struct qmp_request *r,
				      const char **rule, struct fault *f)
{
	if (c->postcopy != POSTCOPY_PAUSED || c->kind != KIND_ARRIVE)
		return refuse("migration.form", rule, "there is no broken migration to go on with",
			      f);
	/* Nobody has come through the last one; QEMU too lets the newer one take its place. */
	live_end(c->config.live, "libvirt has another address");
	c->running = 0;
	carry_shut(c);
	return ask_listen(c, r, 0, rule, f);
}

/* The switch-over: in post-copy the VM may run there from now on, and QEMU cannot be held back once
 * it has been told. */
static enum carry_verdict ask_switch(struct carry *c, const struct qmp_request *r, struct fault *f)
{
	if (c->postcopy != POSTCOPY_ASKED || c->moved)
		return CARRY_NOT_MINE;
	if (settle_away(&c->settle, r->command, "the VM is to run on the other host", f) < 0)
		return CARRY_FAILED;
	c->moved = 1;
	return CARRY_NOT_MINE;
}

static enum carry_verdict ask_dump(struct carry *c, const struct qmp_request *r, const char **rule,
				   struct fault *f)
{
	struct carry_held *h = find(c->held, CARRY_HELD_MAX, behind(r, "protocol", "fd:"));
	enum carry_verdict v;
	if (!h || is_socket(h->fd))
		return refuse("memory.dump", rule, "the dump would leave in clear", f);
	if (c->talk != TALK_NONE && (v = carry_talk_ask(c, r, 0, rule, f)) != CARRY_NOT_MINE)
		return v;
	return begin(c, KIND_DUMP, r, &h->fd, 0, f);
}

enum carry_verdict carry_request(struct carry *c, const struct qmp_request *r, int *fd,
				 const char **rule, struct fault *f)
{
	const char *name = json_string_value(json_object_get(r->arguments, "fdname"));
	enum carry_verdict v;
	if (strcmp(r->command, "getfd") == 0)
		return name ? hold(c, name, fd, f) : CARRY_NOT_MINE;
	if (strcmp(r->command, "closefd") == 0) {
		struct carry_held *h = name ? find(c->held, CARRY_HELD_MAX, name) : NULL;
		if (h)
			fd_close(&h->fd);
		return h ? CARRY_ANSWERED : CARRY_NOT_MINE;
	}
	/* Waking a guest that was saved in its sleep has it run, too. */
	if (strcmp(r->command, "cont") == 0 || strcmp(r->command, "system_wakeup") == 0)
		return ask_run(c, r, rule, f);
	if (strcmp(r->command, "migrate-set-capabilities") == 0)
		return ask_capabilities(c, r->arguments, rule, f);
	if (strcmp(r->command, "migrate-set-parameters") == 0)
		return ask_parameters(c, r->arguments, rule, f);
	if (strcmp(r->command, "migrate-start-postcopy") == 0) {
		if (c->running && c->kind == KIND_LEAVE && c->postcopy == POSTCOPY_NO)
			c->postcopy = POSTCOPY_ASKED;
		return CARRY_NOT_MINE;
	}
	if (strcmp(r->command, "migrate-continue") == 0)
		return ask_switch(c, r, f);
	if (strcmp(r->command, "migrate-recover") == 0)
		return ask_recover(c, r, rule, f);
	if (strcmp(r->command, "migrate_cancel") == 0) {
		/* QEMU would run the guest here once more. */
		if (c->kind == KIND_LEAVE &&
		    (is_postcopy(c) || (c->postcopy == POSTCOPY_ASKED && c->moved)))
			return refuse_moved(rule, f);
		/* QEMU is done and would not say anything any more. */
		if (c->running && c->written)
			carry_abort(c, "it was cancelled");
		return CARRY_NOT_MINE;
	}
	if (c->copy && c->to_a_host && (v = copy_leaving(c->copy, r, rule, f)) != CARRY_NOT_MINE)
		return v;
	if (c->copy && c->config.comes && c->waits_for_state &&
	    (v = copy_coming(c->copy, r, rule, f)) != CARRY_NOT_MINE)
		return v;
	if (strcmp(r->command, "migrate") == 0)
		return ask_out(c, r, rule, f);
	if (strcmp(r->command, "migrate-incoming") == 0)
		return ask_in(c, r, rule, f);
	if (strcmp(r->command, "dump-guest-memory") == 0)
		return ask_dump(c, r, rule, f);
	return CARRY_NOT_MINE;
}
