/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/copy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "worker/door.h"
#include "worker/report.h"

#define NODE_BYTES 64		   /* QEMU's are at most 31 */
#define OUR_NAME   "shieldvm-disk" /* of a socket of ours, in QEMU */

enum step { STEP_NONE, STEP_OPENING, STEP_GETFD, STEP_GETFD_SENT, STEP_COMMAND, STEP_COMMAND_SENT };

struct copy {
	struct disks *disks;
	const struct door *door;
	char listens[DOOR_ADDRESS_BYTES]; /* for them; "": nowhere */

	/* The nodes that are sealed, and what is put upon them, by disk. */
	struct node {
		char own[NODE_BYTES], upon[NODE_BYTES];
	} nodes[DISKS_MAX];

	/* The request being carried out. */
	enum step step;
	char command[QMP_COMMAND_MAX];
	json_t *arguments;
	unsigned int number;
	char rule[PROTECTOR_RULE_MAX];
	int sock; /* QEMU's, not sent yet; -1: none */
};

int copy_new(struct disks *disks, const struct door *door, struct copy **out)
{
	struct copy *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->disks = disks;
	c->door = door;
	c->sock = -1;
	*out = c;
	return 0;
}

static void request_done(struct copy *c)
{
	json_decref(c->arguments);
	c->arguments = NULL;
	fd_close(&c->sock);
	c->step = STEP_NONE;
}

void copy_free(struct copy *c)
{
	if (!c)
		return;
	request_done(c);
	free(c);
}

/* ---- What libvirt asks ---------------------------------------------------------------------- */

static enum carry_verdict refuse(const char **rule, const char *reason, struct fault *f)
{
	*rule = "migration.form";
	fault_set(f, ERR_POLICY, "%s", reason);
	return CARRY_REFUSED;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

/* The address in A, which is of TYPE, as door_ask() takes it; "" if it is none for it. */
static void address_of(const char *type, const json_t *a, char out[static DOOR_ADDRESS_BYTES])
{
	const char *host = text_of(a, "host"), *port = text_of(a, "port"), *v6 = strchr(host, ':');
	int n = 0;
	if (strcmp(type, "unix") == 0)
		n = snprintf(out, DOOR_ADDRESS_BYTES, "unix:%s", text_of(a, "path"));
	else if (strcmp(type, "inet") == 0 && *host && *port)
		n = snprintf(out, DOOR_ADDRESS_BYTES, "%s%s%s:%s", v6 ? "[" : "", host,
			     v6 ? "]" : "", port);
	/* What is cut off is no address, but still a path. */
	if (n <= 0 || ((size_t)n >= DOOR_ADDRESS_BYTES && !door_is_path(out)))
		*out = 0;
}

/* A socket of KIND at ADDRESS, libvirt's word for it. */
static enum carry_verdict ask_door(struct copy *c, enum door_kind kind, const char *address,
				   int *sock, const char **rule, struct fault *f)
{
	struct door_request ignored;
	if (door_is_path(address) && door_parse(c->door, address, &ignored, f) < 0) {
		*rule = "migration.form";
		return CARRY_REFUSED;
	}
	if (door_parse(c->door, address, &ignored, NULL) < 0)
		return refuse(rule,
			      "a disk is copied to a TCP address in numbers only; migrate with "
			      "--disks-uri tcp://ADDRESS, or name the address as migration_host in "
			      "the other host's qemu.conf",
			      f);
	return door_ask(c->door, kind, address, sock, f) < 0 ? CARRY_FAILED : CARRY_BEGUN;
}

/* R with VALUE, taken over, as its member KEY. */
static enum carry_verdict begin(struct copy *c, const struct qmp_request *r, const char *key,
				json_t *value, enum step step, struct fault *f)
{
	c->step = step;
	snprintf(c->command, sizeof(c->command), "%s", r->command);
	c->arguments = json_copy(r->arguments);
	if (c->arguments && value && json_object_set(c->arguments, key, value) == 0) {
		json_decref(value);
		return CARRY_BEGUN;
	}
	json_decref(value);
	disks_abort(c->disks);
	request_done(c);
	fault_set(f, -ENOMEM, "%s", err_text(-ENOMEM));
	return CARRY_FAILED;
}

static enum carry_verdict add_client(struct copy *c, const struct qmp_request *r, const char **rule,
				     struct fault *f)
{
	const json_t *server = json_object_get(r->arguments, "server");
	CLEANUP_FD int net = -1;
	char address[DOOR_ADDRESS_BYTES];
	if (json_object_get(r->arguments, "tls-creds"))
		return refuse(rule, "the disks are encrypted already; migrate without --tls", f);
	address_of(text_of(server, "type"), server, address);
	enum carry_verdict v = ask_door(c, DOOR_CONNECT, address, &net, rule, f);
	if (v != CARRY_BEGUN)
		return v;
	int rc = disks_leave(c->disks, net, &c->number, &c->sock, f);
	if (rc == ERR_LIMIT)
		return refuse(rule, "no more than 8 disks are copied", f);
	if (rc < 0)
		return CARRY_FAILED;
	net = -1;
	if (c->number == 0)
		memset(c->nodes, 0, sizeof(c->nodes));
	snprintf(c->nodes[c->number].own, NODE_BYTES, "%s", text_of(r->arguments, "node-name"));
	return begin(c, r, "server", json_pack("{s:s,s:s}", "type", "fd", "str", OUR_NAME),
		     STEP_OPENING, f);
}

/* Is there an NBD client in NODE, or below it?  The parser has bounded how deep that is. */
static int has_client(json_t *node)
{
	const char *key;
	json_t *value;
	size_t i;
	if (strcmp(text_of(node, "driver"), "nbd") == 0)
		return 1;
	json_object_foreach(node, key, value)
	{
		if (has_client(value))
			return 1;
	}
	json_array_foreach(node, i, value)
	{
		if (has_client(value))
			return 1;
	}
	return 0;
}

static struct node *find(struct copy *c, const char *name)
{
	for (int i = 0; *name && i < DISKS_MAX; i++) {
		if (strcmp(c->nodes[i].own, name) == 0 || strcmp(c->nodes[i].upon, name) == 0)
			return &c->nodes[i];
	}
	return NULL;
}

enum carry_verdict copy_leaving(struct copy *c, const struct qmp_request *r, const char **rule,
				struct fault *f)
{
	if (strcmp(r->command, "blockdev-mirror") == 0 && !find(c, text_of(r->arguments, "target")))
		return refuse(rule, "a disk is copied to another host over a sealed channel only",
			      f);
	if (strcmp(r->command, "blockdev-add") != 0)
		return CARRY_NOT_MINE;
	if (strcmp(text_of(r->arguments, "driver"), "nbd") == 0)
		return add_client(c, r, rule, f);
	if (has_client(r->arguments))
		return refuse(rule, "not the form in which libvirt copies a disk to another host",
			      f);
	struct node *below = find(c, text_of(r->arguments, "file"));
	if (below)
		snprintf(below->upon, NODE_BYTES, "%s", text_of(r->arguments, "node-name"));
	return CARRY_NOT_MINE;
}

/* On record before somebody can connect. */
static int record(const struct copy *c, const struct qmp_request *r, struct fault *f)
{
	struct broker_audit m;
	if (c->door->link < 0)
		return 0;
	report_init(&m, AUDIT_MIGRATE, AUDIT_BY_MONITOR, AUDIT_DONE, "", r->command,
		    "the VM's disks are to come from another host");
	int rc = report_send(c->door->link, &m);
	return rc < 0 ? fault_set(f, rc, "refused, as it cannot be put on record: %s", err_text(rc))
		      : 0;
}

enum carry_verdict copy_coming(struct copy *c, const struct qmp_request *r, const char **rule,
			       struct fault *f)
{
	const json_t *addr = json_object_get(r->arguments, "addr");
	CLEANUP_FD int listener = -1;
	char address[DOOR_ADDRESS_BYTES];
	if (strcmp(r->command, "nbd-server-stop") == 0)
		copy_over(c);
	if (strcmp(r->command, "nbd-server-start") != 0)
		return CARRY_NOT_MINE;
	if (json_object_get(r->arguments, "tls-creds"))
		return refuse(rule, "the disks are encrypted already; migrate without --tls", f);
	address_of(text_of(addr, "type"), json_object_get(addr, "data"), address);
	if (record(c, r, f) < 0)
		return CARRY_FAILED;
	enum carry_verdict v = ask_door(c, DOOR_LISTEN, address, &listener, rule, f);
	if (v != CARRY_BEGUN)
		return v;
	if (disks_arrive(c->disks, listener, &c->sock, f) < 0) {
		door_shut(c->door, address);
		return CARRY_FAILED;
	}
	listener = -1;
	snprintf(c->listens, sizeof(c->listens), "%s", address);
	return begin(c, r, "addr",
		     json_pack("{s:s,s:{s:s}}", "type", "fd", "data", "str", OUR_NAME), STEP_GETFD,
		     f);
}

void copy_over(struct copy *c)
{
	disks_shut(c->disks);
	door_shut(c->door, c->listens);
	c->listens[0] = 0;
}

/* ---- Carrying it out ------------------------------------------------------------------------ */

int copy_is_busy(const struct copy *c)
{
	return c->step != STEP_NONE;
}

/* 0: not yet. */
static int is_taken(struct copy *c, const char **rule, struct fault *f)
{
	struct disks_news news;
	disks_look(c->disks, c->number, &news);
	if (news.state == DISKS_OPENING)
		return 0;
	if (news.state == DISKS_RUNNING)
		return 1;
	/* Whoever did not get as far as an answer is not the other host's worker. */
	*f = news.fault;
	snprintf(c->rule, sizeof(c->rule), "%s", news.rule[0] ? news.rule : "migration.peer");
	*rule = c->rule;
	return ERR_POLICY;
}

enum carry_turn copy_next(struct copy *c, struct carry_ask *ask, const char **rule, struct fault *f)
{
	*ask = (struct carry_ask){ .fd = -1, .command = c->command };
	*rule = NULL;
	if (c->step == STEP_OPENING) {
		int taken = is_taken(c, rule, f);
		if (taken == 0)
			return CARRY_WAITS;
		if (taken < 0) {
			request_done(c);
			return CARRY_STOPS;
		}
		c->step = STEP_GETFD;
	}
	if (c->step == STEP_GETFD) {
		ask->command = "getfd";
		ask->arguments = json_pack("{s:s}", "fdname", OUR_NAME);
		ask->fd = fd_take(&c->sock);
		c->step = STEP_GETFD_SENT;
	} else if (c->step == STEP_COMMAND) {
		ask->arguments = json_incref(c->arguments);
		ask->last = 1;
		c->step = STEP_COMMAND_SENT;
	} else {
		return CARRY_WAITS;
	}
	return CARRY_ASKS;
}

void copy_replied(struct copy *c, int ok)
{
	if (ok && c->step == STEP_GETFD_SENT) {
		c->step = STEP_COMMAND;
		return;
	}
	/* QEMU has refused it, which is libvirt's answer. */
	if (!ok)
		disks_abort(c->disks);
	request_done(c);
}

int copy_news_fd(const struct copy *c)
{
	return disks_news_fd(c->disks);
}
