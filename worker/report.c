/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/report.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/registers.h"
#include "worker/door.h"

void report_init(struct broker_audit *m, enum audit_event event, enum audit_channel channel,
		 enum audit_verdict verdict, const char *rule, const char *request,
		 const char *reason)
{
	*m = (struct broker_audit){ .magic = REPORT_MAGIC,
				    .event = event,
				    .channel = channel,
				    .verdict = verdict,
				    .pid = -1,
				    .uid = -1 };
	AUDIT_TEXT(m->rule, rule);
	AUDIT_TEXT(m->request, request);
	AUDIT_TEXT(m->reason, reason);
}

/* One answer without waiting; -EAGAIN if there is none, -EPIPE at the end of LINK. */
static int receive(int link, struct broker_audited *answer)
{
	struct iovec iov = { .iov_base = answer, .iov_len = sizeof(*answer) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n = recvmsg(link, &msg, MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if (n == 0)
		return -EPIPE;
	/* A socket that came too late, and that the kernel closes, as nobody takes it. */
	if (door_is_reply(answer, (size_t)n))
		return -EAGAIN;
	return report_is_answer(answer, (size_t)n) ? 0 : ERR_FORMAT;
}

int report_send(int link, struct broker_audit *m)
{
	static uint32_t number;
	struct broker_audited answer;
	int64_t deadline = clock_ms() + REPORT_WAIT_MS;
	m->number = ++number;
	int rc = fd_send(link, m, sizeof(*m), NULL, 0);
	while (rc >= 0) {
		struct pollfd p = { .fd = link, .events = POLLIN };
		registers_clear();
		int n = poll(&p, 1, clock_left_ms(deadline));
		if (n == 0)
			return -ETIMEDOUT;
		if (n < 0 && errno != EINTR)
			return -errno;
		rc = n > 0 ? receive(link, &answer) : -EAGAIN;
		if (rc == 0 && answer.number == m->number)
			return answer.rc;
		if (rc == -EAGAIN)
			rc = 0;
	}
	return rc;
}

int report_take(const struct broker_audit *m, size_t n, struct audit_record *out)
{
	if (n != sizeof(*m) || m->magic != REPORT_MAGIC || m->event >= AUDIT_REPAIRED ||
	    (m->channel != AUDIT_BY_MONITOR && m->channel != AUDIT_BY_VTPM) ||
	    m->verdict > AUDIT_NO || !memchr(m->rule, 0, sizeof(m->rule)) ||
	    !memchr(m->request, 0, sizeof(m->request)) || !memchr(m->reason, 0, sizeof(m->reason)))
		return ERR_FORMAT;
	*out = AUDIT_RECORD((enum audit_event)m->event, (enum audit_channel)m->channel,
			    (enum audit_verdict)m->verdict);
	out->pid = m->pid < 0 ? -1 : m->pid;
	out->uid = m->uid < 0 || m->uid > UINT32_MAX ? -1 : m->uid;
	AUDIT_TEXT(out->rule, m->rule);
	AUDIT_TEXT(out->request, m->request);
	AUDIT_TEXT(out->reason, m->reason);
	return 0;
}

int report_is_answer(const void *m, size_t n)
{
	const struct broker_audited *answer = m;
	return n == sizeof(*answer) && answer->magic == REPORT_MAGIC;
}
