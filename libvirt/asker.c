/* SPDX-License-Identifier: BSD-3-Clause */
#include "libvirt/asker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

static const char RULE_CHARACTERS[] = "abcdefghijklmnopqrstuvwxyz0123456789.-";

int asker_is_rule(const char rule[static ASK_RULE_MAX])
{
	size_t n = strnlen(rule, ASK_RULE_MAX);
	return n > 0 && n < ASK_RULE_MAX && strspn(rule, RULE_CHARACTERS) == n;
}

static void set_rule(char rule[static ASK_RULE_MAX], const char *id)
{
	snprintf(rule, ASK_RULE_MAX, "%s", id);
}

/*
 * The child: root, with everything of libvirtd's still open.  Becomes the program, or says over the
 * socket why not.
 */
static _Noreturn void become_program(const char *program, int sock)
{
	char *const argv[] = { (char[]){ "shieldvm-ask" }, NULL };
	/* libcrypto's configuration may load code: there is none for who handles keys. */
	char *const envp[] = { (char[]){ SPAWN_ENVIRONMENT }, NULL };
	int null = open("/dev/null", O_RDWR | O_NOCTTY);
	if (null >= 0 && setsid() >= 0 && dup2(sock, ASK_FD) == ASK_FD && dup2(null, 0) == 0 &&
	    dup2(null, 1) == 1 && dup2(null, 2) == 2 && fd_close_from(ASK_FD + 1) == 0) {
		sock = ASK_FD;
		execve(program, argv, envp);
	}
	int rc = -errno;
	struct ask_reply reply = { .magic = ASK_MAGIC, .version = ASK_VERSION, .rc = rc };
	set_rule(reply.rule, "guardian.host");
	snprintf(reply.text, sizeof(reply.text), "%s cannot be started: %s", program, err_text(rc));
	(void)!fd_send(sock, &reply, sizeof(reply), NULL, 0);
	_exit(EXIT_ENVIRONMENT);
}

static int send_request(int sock, const struct ask_request *request, const char *protector,
			struct fault *f)
{
	CLEANUP_BUF struct buf message = BUF_INIT(SPAWN_MESSAGE_MAX);
	int rc = buf_add(&message, request, sizeof(*request));
	if (rc >= 0)
		rc = buf_add(&message, protector, request->protector_bytes);
	if (rc >= 0)
		rc = fd_send(sock, message.data, message.len, NULL, 0);
	return rc < 0 ? fault_set(f, rc, "the program cannot be told: %s", err_text(rc)) : 0;
}

static int receive(int sock, int64_t deadline, struct ask_reply *reply, struct fault *f)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	int fds[FD_PASS_MAX], rc;
	size_t n_fds;
	do
		rc = poll(&p, 1, clock_left_ms(deadline));
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return fault_set(f, -errno, "poll: %s", err_text(-errno));
	if (rc == 0)
		return fault_set(
			f, -ETIMEDOUT,
			"no guardian has answered in time; `shieldvm attest` tells whether "
			"one can be reached");
	ssize_t got = fd_recv(sock, reply, sizeof(*reply), fds, &n_fds);
	/* Said once if it ended with something unread; what it said before is still there. */
	if (got == -ECONNRESET)
		got = fd_recv(sock, reply, sizeof(*reply), fds, &n_fds);
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(&fds[i]);
	if (got == 0 || got == -ECONNRESET)
		return fault_set(f, ERR_STATE, "the program ended without an answer");
	if (got < 0)
		return fault_set(f, (int)got, "the program cannot be heard: %s",
				 err_text((int)got));
	if (got != sizeof(*reply) || reply->magic != ASK_MAGIC || reply->version != ASK_VERSION)
		return fault_set(f, ERR_VERSION,
				 "it is of another version than this hook; install both again");
	return 0;
}

/* Make TEXT of SIZE bytes one that ends and can be shown. */
static void make_printable(char *text, size_t size)
{
	text[size - 1] = '\0';
	for (char *p = text; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
}

/*
 * The refusal in R.  Who reads a fault takes the first word of an ERR_POLICY for its rule, so that
 * is put there: what the sentence begins with is not.
 */
static int refused(struct ask_reply *r, char rule[static ASK_RULE_MAX], struct fault *f)
{
	make_printable(r->text, sizeof(r->text));
	if (asker_is_rule(r->rule))
		set_rule(rule, r->rule);
	const char *text = r->text[0] ? r->text : "the guardian gave no reason";
	if (r->rc == ERR_POLICY)
		return fault_set(f, r->rc, "%s: %s", rule, text);
	return fault_set(f, r->rc, "%s", text);
}

static int check_release(struct ask_reply *r, struct fault *f)
{
	make_printable(r->guardian, sizeof(r->guardian));
	if (r->key.magic != SPAWN_MAGIC || r->key.version != SPAWN_VERSION)
		return fault_set(f, ERR_VERSION,
				 "it is of another version than this hook; install both again");
	if (r->rc != 0 || r->key.certificate_bytes == 0 ||
	    r->key.certificate_bytes > SPAWN_HEALTH_MAX || (r->guardian[0] && r->offline_left))
		return fault_set(f, ERR_FORMAT, "its answer is malformed");
	return 0;
}

static int converse(int sock, const struct ask_request *request, const char *protector,
		    int timeout_ms, struct ask_reply *reply, struct fault *f)
{
	int64_t deadline = clock_ms() + timeout_ms;
	struct fault why = { 0 };
	int rc = send_request(sock, request, protector, &why);
	/* One that has ended already may have said why. */
	if (rc < 0 && rc != -EPIPE)
		return fault_set(f, rc, "%s", why.text);
	return receive(sock, deadline, reply, f);
}

int asker_run(const char *program, const struct ask_request *request, const char *protector,
	      int timeout_ms, struct ask_reply *reply, char rule[static ASK_RULE_MAX],
	      struct fault *f)
{
	int ends[2];
	set_rule(rule, "guardian.refused");
	if (request->protector_bytes > SPAWN_MESSAGE_MAX - sizeof(*request))
		return fault_set(f, ERR_LIMIT, "the protector is too large");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return fault_set(f, -errno, "socketpair: %s", err_text(-errno));
	CLEANUP_FD int ours = ends[0];
	CLEANUP_FD int theirs = ends[1];
	pid_t pid = fork();
	if (pid < 0)
		return fault_set(f, -errno, "fork: %s", err_text(-errno));
	if (pid == 0)
		become_program(program, theirs);
	fd_close(&theirs);
	int rc = converse(ours, request, protector, timeout_ms, reply, f);
	/* Our own child, not yet waited for: the pid is certainly still its.  What it had to make
	 * durable is durable when it has answered. */
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (rc >= 0 && reply->rc < 0)
		return refused(reply, rule, f);
	if (rc >= 0)
		rc = check_release(reply, f);
	if (rc == -ETIMEDOUT)
		set_rule(rule, "guardian.timeout");
	return rc < 0 ? fault_wrap(f, rc, "%s", program) : 0;
}
