/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/order.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/registers.h"

/* One message of at most N bytes within TIMEOUT_MS; its size, or an error. */
static ssize_t receive(int sock, int timeout_ms, void *message, size_t n,
		       int fds[static FD_PASS_MAX], size_t *n_fds)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	int64_t deadline = clock_ms() + timeout_ms;
	int rc;
	registers_clear();
	do
		rc = poll(&p, 1, clock_left_ms(deadline));
	while (rc < 0 && errno == EINTR);
	if (rc <= 0)
		return rc < 0 ? -errno : -ETIMEDOUT;
	return fd_recv(sock, message, n, fds, n_fds);
}

static int check_request(const struct spawn_request *request, size_t got, struct fault *f)
{
	if (got < sizeof(*request) || request->magic != SPAWN_MAGIC ||
	    request->version != SPAWN_VERSION)
		return fault_set(
			f, ERR_VERSION,
			"the worker is of another version than the hook; install both again");
	if (request->protector_bytes != got - sizeof(*request) || request->may_be_new > 1 ||
	    request->comes > 1 || memchr(request->name, 0, sizeof(request->name)) == NULL)
		return fault_set(f, ERR_FORMAT, "the hook's order is malformed");
	return 0;
}

static int take_request(struct order *o, const struct buf *message, struct fault *f)
{
	struct spawn_request request = { 0 };
	memcpy(&request, message->data,
	       message->len < sizeof(request) ? message->len : sizeof(request));
	int rc = check_request(&request, message->len, f);
	if (rc < 0)
		return rc;
	memcpy(o->vm, request.vm, UUID_BYTES);
	memcpy(o->name, request.name, sizeof(o->name));
	o->worker_uid = request.worker_uid;
	o->qemu_uid = request.qemu_uid;
	o->may_be_new = (int)request.may_be_new;
	o->comes = (int)request.comes;
	rc = buf_add(&o->protector, message->data + sizeof(request), request.protector_bytes);
	return rc < 0 ? fault_set(f, rc, "the hook's order: %s", err_text(rc)) : 0;
}

int order_receive(int sock, struct order *out, struct fault *f)
{
	CLEANUP_BUF struct buf message = BUF_INIT(SPAWN_MESSAGE_MAX);
	int fds[FD_PASS_MAX];
	size_t n_fds;
	*out = (struct order){ .sock = sock, .lock = -1, .protector = BUF_INIT(SPAWN_MESSAGE_MAX) };
	int rc = buf_reserve(&message, SPAWN_MESSAGE_MAX);
	if (rc < 0)
		return fault_set(f, rc, "the hook's order: %s", err_text(rc));
	ssize_t got = receive(sock, ORDER_TIMEOUT_MS, message.data, SPAWN_MESSAGE_MAX, fds, &n_fds);
	if (got < 0)
		return fault_set(f, (int)got, "the hook's order: %s", err_text((int)got));
	message.len = (size_t)got;
	out->lock = fds[0];
	for (size_t i = 1; i < FD_PASS_MAX; i++)
		fd_close(&fds[i]);
	if (n_fds != 1)
		return fault_set(f, ERR_FORMAT, "the hook's order came without the VM's lock");
	return take_request(out, &message, f);
}

void order_done(struct order *o)
{
	buf_done(&o->protector);
	fd_close(&o->lock);
	fd_close(&o->sock);
}

/* The answer to a question: N bytes, without descriptors. */
static ssize_t hear(int sock, int timeout_ms, void *answer, size_t n)
{
	int fds[FD_PASS_MAX];
	size_t n_fds;
	ssize_t got = receive(sock, timeout_ms, answer, n, fds, &n_fds);
	for (size_t i = 0; got >= 0 && i < FD_PASS_MAX; i++)
		fd_close(&fds[i]);
	return got;
}

int order_sign(void *arg, const struct ek_public *ek, struct buf *der, struct fault *f)
{
	const struct order *o = arg;
	struct spawn_reply ask = { .magic = SPAWN_MAGIC,
				   .version = SPAWN_VERSION,
				   .kind = SPAWN_SIGN_EK };
	struct spawn_certificate answer;
	ask.ek.type = ek->type;
	memcpy(ask.ek.rsa_modulus, ek->rsa_modulus, sizeof(ask.ek.rsa_modulus));
	memcpy(ask.ek.ecc_x, ek->ecc_x, sizeof(ask.ek.ecc_x));
	memcpy(ask.ek.ecc_y, ek->ecc_y, sizeof(ask.ek.ecc_y));
	int rc = fd_send(o->sock, &ask, sizeof(ask), NULL, 0);
	if (rc < 0)
		return fault_set(f, rc, "the hook has gone: %s", err_text(rc));
	ssize_t got = hear(o->sock, ORDER_TIMEOUT_MS, &answer, sizeof(answer));
	if (got < 0)
		return fault_set(f, (int)got, "no certificate: %s", err_text((int)got));
	if (got != sizeof(answer) || answer.magic != SPAWN_MAGIC ||
	    answer.version != SPAWN_VERSION || answer.bytes > sizeof(answer.der))
		return fault_set(f, ERR_FORMAT, "the hook's certificate is malformed");
	if (answer.rc < 0)
		return fault_set(f, answer.rc, "the hook cannot sign: %s", err_text(answer.rc));
	rc = buf_add(der, answer.der, answer.bytes);
	return rc < 0 ? fault_set(f, rc, "the hook's certificate: %s", err_text(rc)) : 0;
}

int order_ask_key(struct order *o, const uint8_t worker[static SPAWN_POINT_BYTES],
		  uint64_t state_version, struct spawn_key *out, struct fault *f)
{
	struct spawn_reply ask = { .magic = SPAWN_MAGIC,
				   .version = SPAWN_VERSION,
				   .kind = SPAWN_ASK_KEY };
	struct spawn_key answer;
	memcpy(ask.ask.worker, worker, SPAWN_POINT_BYTES);
	ask.ask.state_version = state_version;
	int rc = fd_send(o->sock, &ask, sizeof(ask), NULL, 0);
	if (rc < 0)
		return fault_set(f, rc, "the hook has gone: %s", err_text(rc));
	ssize_t got = hear(o->sock, ORDER_KEY_TIMEOUT_MS, &answer, sizeof(answer));
	if (got == 0)
		return fault_set(f, ERR_STATE, "the hook has gone while a guardian was asked");
	if (got < 0)
		return fault_set(f, (int)got, "no key from a guardian: %s", err_text((int)got));
	if (got != sizeof(answer) || answer.magic != SPAWN_MAGIC ||
	    answer.version != SPAWN_VERSION || answer.certificate_bytes == 0 ||
	    answer.certificate_bytes > sizeof(answer.certificate))
		return fault_set(f, ERR_FORMAT,
				 "what the hook passes on of a guardian's key is "
				 "malformed");
	*out = answer;
	return 0;
}

int order_ready(struct order *o, int made)
{
	struct spawn_reply reply = { .magic = SPAWN_MAGIC,
				     .version = SPAWN_VERSION,
				     .kind = SPAWN_READY };
	reply.made = made ? 1 : 0;
	int rc = fd_send(o->sock, &reply, sizeof(reply), NULL, 0);
	fd_close(&o->sock);
	return rc;
}

void order_refuse(struct order *o, int rc, const struct fault *f)
{
	struct spawn_reply reply = {
		.magic = SPAWN_MAGIC, .version = SPAWN_VERSION, .kind = SPAWN_REFUSED, .rc = rc
	};
	if (o->sock < 0)
		return;
	snprintf(reply.text, sizeof(reply.text), "%s", f->text[0] ? f->text : err_text(rc));
	(void)!fd_send(o->sock, &reply, sizeof(reply), NULL, 0);
	fd_close(&o->sock);
}
