/* SPDX-License-Identifier: BSD-3-Clause */
#include "libvirt/spawner.h"

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
#include "base/paths.h"
#include "crypto/ekca.h"
#include "libvirt/asker.h"

static void cleanup_ekca(struct ekca **ca)
{
	ekca_free(*ca);
}

/*
 * The child: root, with everything of libvirtd's still open.  Becomes the worker, or says over the
 * socket why not.
 */
static _Noreturn void become_worker(int sock)
{
	char *const argv[] = { (char[]){ "shieldvm-worker" }, NULL };
	/* libcrypto reads its configuration as soon as any library's constructor uses it, and that
	 * may load code: there is none for the worker.  All symbols are bound at once: the tables
	 * for it go before there is a secret (sandbox/objects.h). */
	char *const envp[] = { (char[]){ SPAWN_ENVIRONMENT }, (char[]){ SPAWN_BIND "=1" }, NULL };
	int null = open("/dev/null", O_RDWR | O_NOCTTY);
	if (null >= 0 && setsid() >= 0 && dup2(sock, SPAWN_FD) == SPAWN_FD && dup2(null, 0) == 0 &&
	    dup2(null, 1) == 1 && dup2(null, 2) == 2 && fd_close_from(SPAWN_FD + 1) == 0) {
		sock = SPAWN_FD;
		execve(PATH_WORKER, argv, envp);
	}
	int rc = -errno;
	struct spawn_reply reply = {
		.magic = SPAWN_MAGIC, .version = SPAWN_VERSION, .kind = SPAWN_REFUSED, .rc = rc
	};
	snprintf(reply.text, sizeof(reply.text), "%s cannot be started: %s", PATH_WORKER,
		 err_text(rc));
	(void)!fd_send(sock, &reply, sizeof(reply), NULL, 0);
	_exit(EXIT_ENVIRONMENT);
}

static int send_request(const struct spawner_order *order, int sock, struct fault *f)
{
	CLEANUP_BUF struct buf message = BUF_INIT(SPAWN_MESSAGE_MAX);
	struct spawn_request request = { .magic = SPAWN_MAGIC,
					 .version = SPAWN_VERSION,
					 .worker_uid = order->worker_uid,
					 .qemu_uid = order->qemu_uid,
					 .may_be_new = order->may_be_new ? 1 : 0,
					 .comes = order->comes ? 1 : 0,
					 .protector_bytes = (uint32_t)order->protector_bytes };
	memcpy(request.vm, order->vm, UUID_BYTES);
	snprintf(request.name, sizeof(request.name), "%s", order->name);
	int rc = buf_add(&message, &request, sizeof(request));
	if (rc >= 0)
		rc = buf_add(&message, order->protector, order->protector_bytes);
	if (rc >= 0)
		rc = fd_send(sock, message.data, message.len, &order->lock, 1);
	return rc < 0 ? fault_set(f, rc, "the worker cannot be told its VM: %s", err_text(rc)) : 0;
}

/* Answer a SPAWN_SIGN_EK.  That the CA has no key is told to the worker, whose refusal tells it on.
 */
static int sign(const struct spawner_order *order, const struct spawn_reply *ask, int sock,
		struct fault *f)
{
	struct ekca *ca CLEANUP(cleanup_ekca) = NULL;
	CLEANUP_BUF struct buf der = BUF_INIT(SPAWN_CERT_MAX);
	struct spawn_certificate answer = { .magic = SPAWN_MAGIC, .version = SPAWN_VERSION };
	struct ek_public ek = { 0 };
	if (ask->ek.type != EK_RSA_2048 && ask->ek.type != EK_ECC_P384)
		return fault_set(f, ERR_FORMAT, "the worker asks for an unknown kind of key");
	ek.type = ask->ek.type == EK_RSA_2048 ? EK_RSA_2048 : EK_ECC_P384;
	memcpy(ek.rsa_modulus, ask->ek.rsa_modulus, sizeof(ek.rsa_modulus));
	memcpy(ek.ecc_x, ask->ek.ecc_x, sizeof(ek.ecc_x));
	memcpy(ek.ecc_y, ask->ek.ecc_y, sizeof(ek.ecc_y));
	answer.rc = ekca_open(PATH_EK_CA, &ca, f);
	if (answer.rc >= 0)
		answer.rc = ekca_issue(ca, &ek, order->vm, &der, f);
	if (answer.rc < 0)
		return fault_wrap(f, answer.rc, "no certificate for the TPM's endorsement key");
	answer.bytes = (uint32_t)der.len;
	memcpy(answer.der, der.data, der.len);
	int rc = fd_send(sock, &answer, sizeof(answer), NULL, 0);
	return rc < 0 ? fault_set(f, rc, "the worker has gone: %s", err_text(rc)) : 0;
}

/* Answer a SPAWN_ASK_KEY: no key is in use that is not on record. */
static int ask(const struct spawner_order *order, const struct spawn_reply *asked, int sock,
	       struct spawner_outcome *out, struct fault *f)
{
	struct ask_request request = { .magic = ASK_MAGIC,
				       .version = ASK_VERSION,
				       .state_version = asked->ask.state_version,
				       .comes = order->comes ? 1 : 0,
				       .protector_bytes = (uint32_t)order->protector_bytes };
	struct ask_reply reply;
	char rule[ASK_RULE_MAX];
	memcpy(request.vm, order->vm, UUID_BYTES);
	memcpy(request.worker, asked->ask.worker, SPAWN_POINT_BYTES);
	int rc = asker_run(PATH_ASK, &request, order->protector, ASK_TIMEOUT_MS, &reply, rule, f);
	if (rc < 0) {
		memcpy(out->rule, rule, sizeof(out->rule));
		return rc;
	}
	rc = order->record(order->arg, &reply, f);
	if (rc < 0) {
		snprintf(out->rule, sizeof(out->rule), "audit.log");
		return rc;
	}
	out->released = 1;
	rc = fd_send(sock, &reply.key, sizeof(reply.key), NULL, 0);
	return rc < 0 ? fault_set(f, rc, "the worker has gone: %s", err_text(rc)) : 0;
}

/* The next message of the worker's, within DEADLINE_MS. */
static int receive(int sock, int64_t deadline_ms, struct spawn_reply *reply, struct fault *f)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	int fds[FD_PASS_MAX], rc;
	size_t n_fds;
	do
		rc = poll(&p, 1, clock_left_ms(deadline_ms));
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return fault_set(f, -errno, "poll: %s", err_text(-errno));
	if (rc == 0)
		return fault_set(f, -ETIMEDOUT, "the worker was not ready within %d s",
				 SPAWN_TIMEOUT_MS / 1000);
	ssize_t got = fd_recv(sock, reply, sizeof(*reply), fds, &n_fds);
	/* Said once if it ended with something unread; what it said before is still there. */
	if (got == -ECONNRESET)
		got = fd_recv(sock, reply, sizeof(*reply), fds, &n_fds);
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(&fds[i]);
	if (got == 0 || got == -ECONNRESET)
		return fault_set(f, ERR_STATE,
				 "the worker ended before it was ready; see the VM's file in %s",
				 PATH_LOG);
	if (got < 0)
		return fault_set(f, (int)got, "the worker cannot be heard: %s", err_text((int)got));
	if (got != sizeof(*reply) || reply->magic != SPAWN_MAGIC || reply->version != SPAWN_VERSION)
		return fault_set(f, ERR_VERSION,
				 "%s is of another version than this hook; install both again",
				 PATH_WORKER);
	return 0;
}

static int hear_out(const struct spawner_order *order, int sock, struct spawner_outcome *out,
		    struct fault *f)
{
	int64_t deadline = clock_ms() + SPAWN_TIMEOUT_MS;
	for (;;) {
		struct spawn_reply reply;
		int rc = receive(sock, deadline, &reply, f);
		if (rc < 0)
			return rc;
		switch (reply.kind) {
		case SPAWN_READY:
			out->made = reply.made == 1;
			return 0;
		case SPAWN_REFUSED:
			reply.text[sizeof(reply.text) - 1] = 0;
			return fault_set(f, reply.rc < 0 ? reply.rc : ERR_STATE, "%s", reply.text);
		case SPAWN_SIGN_EK:
			rc = sign(order, &reply, sock, f);
			if (rc < 0)
				return rc;
			break;
		case SPAWN_ASK_KEY:
			if (!order->record)
				return fault_set(f, ERR_STATE, "no guardian is asked for this one");
			if (out->released)
				return fault_set(f, ERR_FORMAT, "the worker asks for a second key");
			rc = ask(order, &reply, sock, out, f);
			if (rc < 0)
				return rc;
			deadline = clock_ms() + SPAWN_TIMEOUT_MS;
			break;
		default:
			return fault_set(f, ERR_FORMAT, "the worker said something unknown");
		}
	}
}

int spawner_run(const struct spawner_order *order, struct spawner_outcome *out, struct fault *f)
{
	int ends[2];
	*out = (struct spawner_outcome){ 0 };
	if (order->protector_bytes > SPAWN_MESSAGE_MAX - sizeof(struct spawn_request))
		return fault_set(f, ERR_LIMIT, "the protector is too large");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return fault_set(f, -errno, "socketpair: %s", err_text(-errno));
	CLEANUP_FD int ours = ends[0];
	CLEANUP_FD int theirs = ends[1];
	pid_t pid = fork();
	if (pid < 0)
		return fault_set(f, -errno, "fork: %s", err_text(-errno));
	if (pid == 0)
		become_worker(theirs);
	fd_close(&theirs);
	int rc = send_request(order, ours, f);
	if (rc >= 0)
		rc = hear_out(order, ours, out, f);
	if (rc < 0) {
		/* Our own child, not yet waited for: the pid is certainly still its. */
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return rc;
}
