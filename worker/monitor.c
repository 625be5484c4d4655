/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/monitor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/registers.h"
#include "policy/qmp_rules.h"
#include "worker/lines.h"
#include "worker/qmp.h"
#include "worker/refusal.h"
#include "worker/retell.h"

#define GREETING_MAX   65536
#define ID_MAX	       (64 * 1024) /* bytes of an id of libvirt's, as text */
#define ENVELOPE_MAX   1024	   /* what is put around a request or a reply */
#define EVENT_MAX      65536	   /* bytes of an event that is held back */
#define NOISE_MAX      100
#define CLIENT_OUT_MAX (MONITOR_BACKLOG_MAX + 2 * (QMP_REPLY_MAX + ID_MAX + ENVELOPE_MAX))

enum { SLOT_LISTENER, SLOT_CLIENT, SLOT_QEMU, SLOT_CARRY };

enum phase {
	PHASE_GREETING,	 /* QEMU has not greeted yet */
	PHASE_HANDSHAKE, /* our qmp_capabilities is not answered yet */
	PHASE_READY,
};

/* A command of libvirt's that becomes several of ours. */
enum carrying {
	CARRYING_NOTHING,
	CARRYING_ON,   /* what comes next is up to carry_next() */
	CARRYING_LAST, /* its last command is outstanding: the reply is libvirt's */
};

struct monitor {
	int link; /* to the broker, for the audit log; -1: none */
	struct protector_facts facts;
	struct lines qemu, client;
	int listener;
	enum phase phase;
	struct buf greeting; /* for libvirt, with its line end */
	int greeted;	     /* this client has it */
	int negotiated;	     /* and has sent qmp_capabilities */
	int client_fd;	     /* came from the client, for its next line; -1: none */

	struct carry *carry;
	enum carrying carrying;
	struct buf held; /* QEMU's event that all is done, until it is for us too */

	enum retell asked;    /* what the outstanding command is, as far as its reply is changed */
	uint64_t last_id;     /* of the last command to QEMU */
	int outstanding;      /* ... which QEMU has not answered */
	int orphan;	      /* whose client has gone, or was never there */
	struct buf client_id; /* the id that the client gave, as JSON; empty: none */
	int noise;
};

#define log_noise(m, ...)                                                                          \
	do {                                                                                       \
		if ((m)->noise++ < NOISE_MAX)                                                      \
			log_warning(__VA_ARGS__);                                                  \
	} while (0)

/* ---- Ends ----------------------------------------------------------------------------------- */

static void client_close(struct monitor *m, const char *why)
{
	if (m->client.fd < 0)
		return;
	log_info("libvirt's monitor connection ends: %s", why);
	lines_close(&m->client);
	fd_close(&m->client_fd);
	buf_clear(&m->client_id);
	carry_forget(m->carry);
	m->orphan = 1; /* an answer still owed is nobody's any more */
	m->greeted = m->negotiated = 0;
}

static void qemu_close(struct monitor *m, const char *why)
{
	if (m->qemu.fd < 0)
		return;
	log_info("QEMU's monitor connection ends: %s", why);
	lines_close(&m->qemu);
	/* What libvirt has not taken by now it does not get: to it, this is QEMU's end. */
	(void)!lines_send(&m->client);
	client_close(m, "QEMU's has ended");
	fd_close(&m->listener);
}

/* libvirt's next command has to wait. */
static int is_busy(const struct monitor *m)
{
	return m->outstanding || m->carrying != CARRYING_NOTHING;
}

/* ---- Towards libvirt ------------------------------------------------------------------------ */

static void client_put(struct monitor *m, const void *data, size_t n)
{
	if (m->client.fd >= 0 && buf_add(&m->client.out, data, n) < 0)
		client_close(m, "its answers do not fit into memory");
}

/* {MEMBER: VALUE, "id": ID}, where ID is JSON text and may be empty. */
static void client_answer(struct monitor *m, const char *member, const char *value, size_t n,
			  const struct buf *id)
{
	char head[64];
	int head_bytes = snprintf(head, sizeof(head), "{\"%s\": ", member);
	client_put(m, head, (size_t)head_bytes);
	client_put(m, value, n);
	if (id->len > 0) {
		client_put(m, ", \"id\": ", 8);
		client_put(m, id->data, id->len);
	}
	client_put(m, "}\r\n", 3);
}

static void client_error(struct monitor *m, const struct buf *id, const char *class,
			 const char *desc)
{
	CLEANUP_BUF struct buf text = BUF_INIT(ENVELOPE_MAX);
	json_t *error = json_pack("{s:s, s:s}", "class", class, "desc", desc);
	if (!error || qmp_put_json(&text, error) < 0)
		client_close(m, err_text(-ENOMEM));
	else
		client_answer(m, "error", (const char *)text.data, text.len, id);
	json_decref(error);
}

static void client_greet(struct monitor *m)
{
	if (m->client.fd < 0 || m->greeted || m->phase != PHASE_READY)
		return;
	client_put(m, m->greeting.data, m->greeting.len);
	m->greeted = 1;
}

/* ---- From libvirt --------------------------------------------------------------------------- */

static int takes_fd(const char *command)
{
	return strcmp(command, "getfd") == 0 || strcmp(command, "add-fd") == 0;
}

/* Send COMMAND to QEMU with an id of ours.  QEMU reads its monitor byte by byte, and each costs as
 * much as a system call: what is sent is as short as can be. */
static int qemu_ask(struct monitor *m, const char *command, json_t *arguments)
{
	int rc = buf_addf(&m->qemu.out, "{\"execute\":\"%s\",\"id\":%" PRIu64, command,
			  ++m->last_id);
	if (rc >= 0 && arguments)
		rc = buf_addf(&m->qemu.out, ",\"arguments\":");
	if (rc >= 0 && arguments)
		rc = qmp_put_json(&m->qemu.out, arguments);
	if (rc >= 0)
		rc = buf_addf(&m->qemu.out, "}\n");
	if (rc < 0)
		return rc;
	m->outstanding = 1;
	return 0;
}

/* RULE may be NULL: it failed, and nobody refused it. */
static void client_refuse(struct monitor *m, const struct buf *id, const char *rule,
			  const char *reason, const char *command)
{
	char desc[FAULT_TEXT_MAX + 256];
	int rc = rule ? refusal_record(m->link, rule, command, reason) : 0;
	snprintf(desc, sizeof(desc), "shieldvm: %s%s%s%s%s", rule ? rule : "", rule ? ": " : "",
		 reason, rc < 0 ? "; and the audit log could not be written: " : "",
		 rc < 0 ? err_text(rc) : "");
	client_error(m, id, "GenericError", desc);
}

/* Go on with the request that became several of ours. */
static void carry_on(struct monitor *m)
{
	struct carry_ask ask;
	struct fault f = { 0 };
	const char *rule;
	if (m->carrying != CARRYING_ON || m->outstanding || m->qemu.fd < 0)
		return;
	switch (carry_next(m->carry, &ask, &rule, &f)) {
	case CARRY_WAITS:
		return;
	case CARRY_STOPS:
		m->carrying = CARRYING_NOTHING;
		if (!m->orphan)
			client_refuse(m, &m->client_id, rule, f.text, ask.command);
		else if (rule)
			(void)!refusal_record(m->link, rule, ask.command, f.text);
		return;
	case CARRY_DONE:
		m->carrying = CARRYING_NOTHING;
		if (!m->orphan)
			client_answer(m, "return", "{}", 2, &m->client_id);
		return;
	case CARRY_ASKS:
		break;
	}
	if (!ask.arguments || qemu_ask(m, ask.command, ask.arguments) < 0)
		qemu_close(m, "a request does not fit into memory");
	else
		m->qemu.out_fd = fd_take(&ask.fd);
	if (ask.last)
		m->carrying = CARRYING_LAST;
	json_decref(ask.arguments);
	fd_close(&ask.fd);
}

static void client_negotiate(struct monitor *m, const struct qmp_request *r, const struct buf *id)
{
	const json_t *enable = json_object_get(r->arguments, "enable");
	if (m->negotiated) {
		client_error(m, id, "CommandNotFound",
			     "Capabilities negotiation is already complete, command ignored");
	} else if (enable && json_array_size(enable) > 0) {
		client_error(m, id, "GenericError", "This monitor offers no capabilities");
	} else {
		m->negotiated = 1;
		client_answer(m, "return", "{}", 2, id);
	}
}

/* R, which no rule refuses, goes to QEMU, unless it is about state. */
static void client_pass(struct monitor *m, const struct qmp_request *r, const struct buf *id,
			int *fd)
{
	const char *rule = NULL;
	struct fault f = { 0 };
	enum carry_verdict v = carry_request(m->carry, r, fd, &rule, &f);
	if (v == CARRY_ANSWERED) {
		client_answer(m, "return", "{}", 2, id);
		return;
	}
	if (v == CARRY_REFUSED || v == CARRY_FAILED) {
		client_refuse(m, id, rule, f.text, r->command);
		return;
	}
	m->orphan = 0;
	m->asked = retell_what(r->command);
	buf_clear(&m->client_id);
	if (buf_add(&m->client_id, id->data, id->len) < 0)
		client_close(m, err_text(-ENOMEM));
	if (v == CARRY_BEGUN) {
		m->carrying = CARRYING_ON;
		buf_clear(&m->held);
		carry_on(m);
	} else if (qemu_ask(m, r->command, r->arguments) < 0) {
		/* Half a line must not be sent. */
		qemu_close(m, "a request does not fit into memory");
	} else if (takes_fd(r->command)) {
		m->qemu.out_fd = fd_take(fd);
	}
}

/* R passes, if a rule does not refuse it. */
static void client_request(struct monitor *m, const struct qmp_request *r, struct buf *id)
{
	int fd = fd_take(&m->client_fd);
	const struct qmp_rule *rule;
	if (strcmp(r->command, "qmp_capabilities") == 0) {
		client_negotiate(m, r, id);
	} else if (!m->negotiated) {
		client_error(m, id, "CommandNotFound",
			     "Expecting capabilities negotiation with 'qmp_capabilities'");
	} else if ((rule = qmp_rules_judge(r->command, r->arguments, &m->facts))) {
		client_refuse(m, id, rule->id, rule->reason, r->command);
	} else {
		client_pass(m, r, id, &fd);
	}
	fd_close(&fd);
}

static void client_line(struct monitor *m, const char *line, size_t n)
{
	static const char MALFORMED[] = "shieldvm: monitor.form: not a QMP command of one line";
	struct qmp_request r;
	CLEANUP_BUF struct buf id = BUF_INIT(ID_MAX);
	int rc = qmp_parse_request(line, n, &r);
	if (r.id && qmp_put_json(&id, r.id) < 0) {
		client_close(m, "its id is too long");
	} else if (rc < 0) {
		fd_close(&m->client_fd);
		(void)!refusal_record(m->link, "monitor.form", "a malformed line",
				      "not a QMP command of one line");
		client_error(m, &id, "GenericError", MALFORMED);
	} else {
		client_request(m, &r, &id);
	}
	qmp_request_done(&r);
}

/* Take what libvirt has sent, as long as QEMU owes nothing and libvirt takes its answers. */
static void client_lines(struct monitor *m)
{
	while (m->client.fd >= 0 && m->phase == PHASE_READY && !is_busy(m) &&
	       m->client.out.len < MONITOR_BACKLOG_MAX) {
		size_t n;
		const char *line = lines_next(&m->client, &n);
		if (line && n > 0)
			client_line(m, line, n);
		else if (!line && lines_is_full(&m->client))
			client_close(m, "a line of its is too long");
		else if (!line)
			return;
	}
}

/* ---- From QEMU ------------------------------------------------------------------------------ */

/* Keep the greeting without the capabilities that are not passed on. */
static int qemu_greeting(struct monitor *m, const char *line, size_t n)
{
	json_error_t error;
	json_t *root = json_loadb(line, n, JSON_REJECT_DUPLICATES, &error);
	json_t *qmp = json_object_get(root, "QMP");
	int rc = json_is_object(qmp) ? 0 : ERR_FORMAT;
	if (rc == 0 && json_object_set_new(qmp, "capabilities", json_array()) < 0)
		rc = -ENOMEM;
	if (rc == 0)
		rc = qmp_put_json(&m->greeting, root);
	if (rc == 0)
		rc = buf_add(&m->greeting, "\r\n", 2);
	json_decref(root);
	if (rc == 0)
		rc = qemu_ask(m, "qmp_capabilities", NULL);
	m->orphan = 1;
	m->phase = PHASE_HANDSHAKE;
	return rc;
}

static int is_our_id(const struct monitor *m, const struct qmp_text *id)
{
	char want[32];
	int n = snprintf(want, sizeof(want), "%" PRIu64, m->last_id);
	return id->n == (size_t)n && memcmp(id->at, want, id->n) == 0;
}

static void qemu_answer(struct monitor *m, const char *member, const struct qmp_text *value)
{
	CLEANUP_BUF struct buf text = BUF_INIT(value->n + CARRY_TEXT_MAX + ENVELOPE_MAX);
	const char *error, *status = carry_status(m->carry, &error);
	int rc = 0, changed = member[0] == 'r';
	if (changed && m->asked == RETELL_STATUS && status)
		rc = retell_status(value, status, error, &text);
	else if (changed && m->asked == RETELL_CAPABILITIES)
		rc = retell_capabilities(value, &text);
	else
		changed = 0;
	if (rc < 0)
		client_close(m, "an answer of QEMU's cannot be passed on");
	else if (changed)
		client_answer(m, member, (const char *)text.data, text.len, &m->client_id);
	else
		client_answer(m, member, value->at, value->n, &m->client_id);
}

static int qemu_reply(struct monitor *m, const struct qmp_line *line)
{
	const struct qmp_text *id = qmp_member(line, "id");
	const struct qmp_text *value = qmp_member(line, "return");
	const char *member = value ? "return" : "error";
	if (!value)
		value = qmp_member(line, "error");
	/* QEMU gives no id with the error for what it could not parse. */
	if (!m->outstanding || (id ? !is_our_id(m, id) : member[0] == 'r')) {
		log_noise(m, "QEMU answered what nobody asked");
		return 0;
	}
	m->outstanding = 0;
	if (m->phase == PHASE_HANDSHAKE) {
		m->phase = PHASE_READY;
		return member[0] == 'r' ? 0 : ERR_STATE;
	}
	if (m->carrying != CARRYING_NOTHING) {
		int more = m->carrying == CARRYING_ON && member[0] == 'r';
		carry_replied(m->carry, member[0] == 'r');
		if (more) {
			carry_on(m);
			return 0;
		}
		m->carrying = CARRYING_NOTHING;
	}
	if (!m->orphan)
		qemu_answer(m, member, value);
	return 0;
}

static void event_put(struct monitor *m, const struct buf *line)
{
	if (m->negotiated && line->len > 0)
		client_put(m, line->data, line->len);
}

/* Keep the event until the transfer has ended; a later one takes its place. */
static void hold(struct monitor *m, const char *line, size_t n)
{
	buf_clear(&m->held);
	if (buf_add(&m->held, line, n) < 0 || buf_add(&m->held, "\r\n", 2) < 0)
		qemu_close(m, "an event of its is too long");
}

/* Say how a transfer has ended. */
static void carry_news(struct monitor *m)
{
	CLEANUP_BUF struct buf line = BUF_INIT(CARRY_TEXT_MAX + ENVELOPE_MAX);
	const char *event, *error;
	if (!carry_ended(m->carry, &event))
		return;
	if (event) {
		(void)carry_status(m->carry, &error);
		if (retell_failure(event, error, &line) < 0)
			client_close(m, err_text(-ENOMEM));
	}
	event_put(m, event ? &line : &m->held);
	buf_clear(&m->held);
}

static int qemu_event(struct monitor *m, const struct qmp_line *l, const char *line, size_t n)
{
	const struct qmp_text *event = qmp_member(l, "event");
	struct qmp_line inner;
	/* No event's name needs an escape, and one must not hide what it is. */
	if (event->n < 2 || event->at[0] != '"' || memchr(event->at, '\\', event->n))
		return ERR_FORMAT;
	if (carry_event(m->carry, event, retell_event_status(l, &inner))) {
		hold(m, line, n);
		return 0;
	}
	if (m->client.fd < 0 || !m->negotiated)
		return 0;
	if (qmp_is_text(event, "GUEST_PANICKED") || qmp_is_text(event, "GUEST_CRASHLOADED")) {
		CLEANUP_BUF struct buf text = BUF_INIT(n + ENVELOPE_MAX);
		if (retell_crash(l, &text) < 0)
			return -ENOMEM;
		event_put(m, &text);
		return 0;
	}
	client_put(m, line, n);
	client_put(m, "\r\n", 2);
	return 0;
}

static int qemu_line(struct monitor *m, const char *line, size_t n)
{
	struct qmp_line l;
	int rc = qmp_scan(line, n, &l);
	if (rc < 0)
		return rc;
	int event = qmp_member(&l, "event") != NULL;
	int reply = qmp_member(&l, "return") || qmp_member(&l, "error");
	if (m->phase == PHASE_GREETING)
		return qmp_member(&l, "QMP") ? qemu_greeting(m, line, n) : ERR_STATE;
	if (event == reply)
		return ERR_STATE;
	return event ? qemu_event(m, &l, line, n) : qemu_reply(m, &l);
}

static void qemu_lines(struct monitor *m)
{
	while (m->qemu.fd >= 0 && m->client.out.len < MONITOR_BACKLOG_MAX) {
		size_t n;
		const char *line = lines_next(&m->qemu, &n);
		int rc = line && n > 0 ? qemu_line(m, line, n) : 0;
		if (rc < 0)
			qemu_close(m, rc == ERR_STATE ? "it does not keep to QMP"
						      : "a line of its makes no sense");
		else if (!line && lines_is_full(&m->qemu))
			qemu_close(m, "a line of its is too long");
		else if (!line)
			return;
	}
}

/* ---- All of it ------------------------------------------------------------------------------ */

int monitor_new(int qemu, int link, const struct protector_facts *facts, struct carry *carry,
		struct monitor **out)
{
	struct monitor *m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	qmp_init();
	m->carry = carry;
	m->held = BUF_INIT(EVENT_MAX);
	m->link = link;
	m->facts = *facts;
	m->listener = m->client_fd = -1;
	m->client = (struct lines){ .fd = -1, .out_fd = -1 };
	m->qemu = (struct lines){ .fd = qemu,
				  .out_fd = -1,
				  .in = BUF_INIT(QMP_REPLY_MAX),
				  .out = BUF_INIT(2 * QMP_REQUEST_MAX) };
	m->greeting = BUF_INIT(GREETING_MAX);
	m->client_id = BUF_INIT(ID_MAX);
	*out = m;
	return 0;
}

void monitor_free(struct monitor *m)
{
	if (!m)
		return;
	lines_close(&m->client);
	lines_close(&m->qemu);
	fd_close(&m->listener);
	fd_close(&m->client_fd);
	buf_done(&m->greeting);
	buf_done(&m->client_id);
	buf_done(&m->held);
	free(m);
}

void monitor_listen(struct monitor *m, int listener)
{
	client_close(m, "libvirt has another listener");
	fd_close(&m->listener);
	m->listener = listener;
	if (m->qemu.fd < 0 || fd_set_nonblock(listener, 1) < 0)
		fd_close(&m->listener);
}

void monitor_slots(const struct monitor *m, struct pollfd slots[static MONITOR_SLOTS])
{
	int clear = m->client.out.len < MONITOR_BACKLOG_MAX;
	int hear_client = m->phase != PHASE_READY || (!is_busy(m) && clear);
	int client_in = hear_client && m->client.in.len < m->client.in.max;
	slots[SLOT_LISTENER] =
		(struct pollfd){ .fd = m->client.fd < 0 ? m->listener : -1, .events = POLLIN };
	slots[SLOT_CARRY] = (struct pollfd){ .fd = carry_news_fd(m->carry), .events = POLLIN };
	slots[SLOT_CLIENT] = (struct pollfd){
		.fd = m->client.fd,
		.events = (short)((client_in ? POLLIN : 0) | (m->client.out.len > 0 ? POLLOUT : 0))
	};
	slots[SLOT_QEMU] = (struct pollfd){
		.fd = m->qemu.fd,
		.events = (short)((clear ? POLLIN : 0) | (m->qemu.out.len > 0 ? POLLOUT : 0))
	};
}

static void client_accept(struct monitor *m)
{
	int fd = accept4(m->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	log_info("libvirt's monitor connection is there");
	m->client = (struct lines){ .fd = fd,
				    .out_fd = -1,
				    .in = BUF_INIT(QMP_REQUEST_MAX),
				    .out = BUF_INIT(CLIENT_OUT_MAX) };
	client_greet(m);
}

static void serve_qemu(struct monitor *m, int events)
{
	int rc = 0;
	if (events & (POLLIN | POLLHUP | POLLERR) && m->qemu.fd >= 0)
		rc = lines_receive(&m->qemu, NULL);
	qemu_lines(m);
	if (rc < 0)
		qemu_close(m, err_text(rc));
}

void monitor_go_on(struct monitor *m)
{
	carry_on(m);
	carry_news(m);
	if (lines_send(&m->qemu) < 0)
		qemu_close(m, "it does not listen any more");
	if (lines_send(&m->client) < 0)
		client_close(m, "it does not listen any more");
}

void monitor_serve(struct monitor *m, const struct pollfd slots[static MONITOR_SLOTS])
{
	serve_qemu(m, slots[SLOT_QEMU].revents);
	if (slots[SLOT_CLIENT].revents & (POLLIN | POLLHUP | POLLERR) && m->client.fd >= 0) {
		int rc = lines_receive(&m->client, &m->client_fd);
		if (rc < 0)
			client_close(m, err_text(rc));
	}
	if (slots[SLOT_LISTENER].revents && m->client.fd < 0 && m->listener >= 0)
		client_accept(m);
	client_greet(m);
	client_lines(m);
	monitor_go_on(m);
}

void monitor_drain(struct monitor *m, int limit_ms)
{
	int64_t deadline = clock_ms() + limit_ms;
	while (m->qemu.fd >= 0) {
		struct pollfd slots[MONITOR_SLOTS];
		monitor_slots(m, slots);
		slots[SLOT_LISTENER].fd = -1;
		registers_clear();
		if (poll(slots, MONITOR_SLOTS, clock_left_ms(deadline)) == 0)
			break;
		monitor_serve(m, slots);
	}
	qemu_close(m, "its time is over");
}
