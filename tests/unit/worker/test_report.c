/* SPDX-License-Identifier: BSD-3-Clause */
/* The sealed worker's way to the audit log, against a broker that answers, lies, dawdles or goes.
 */
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/door.h"
#include "worker/report.h"

/* What the other end does with a message, in a process of its own. */
typedef void answer_fn(int link, struct broker_audit *m);

static int ask(answer_fn *answer, const char *request)
{
	struct broker_audit m;
	int ends[2], status;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(ends[0]);
		if (recv(ends[1], &m, sizeof(m), 0) == sizeof(m))
			answer(ends[1], &m);
		_exit(0);
	}
	close(ends[1]);
	report_init(&m, AUDIT_REFUSED, AUDIT_BY_MONITOR, AUDIT_NO, "memory.peek", request, "no");
	int rc = report_send(ends[0], &m);
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	return rc;
}

static void say(int link, uint32_t number, int rc)
{
	struct broker_audited a = { REPORT_MAGIC, number, rc };
	(void)!fd_send(link, &a, sizeof(a), NULL, 0);
}

static void is_good(int link, struct broker_audit *m)
{
	struct audit_record r;
	int good = report_take(m, sizeof(*m), &r) == 0 && r.event == AUDIT_REFUSED &&
		   r.channel == AUDIT_BY_MONITOR && r.verdict == AUDIT_NO &&
		   strcmp(r.rule, "memory.peek") == 0 && strcmp(r.request, "xp?0") == 0;
	say(link, m->number, good ? 0 : ERR_FORMAT);
}

static void is_full(int link, struct broker_audit *m)
{
	say(link, m->number, -ENOSPC);
}

static void is_late(int link, struct broker_audit *m)
{
	say(link, m->number - 1, -ENOSPC); /* of the message before */
	say(link, m->number, 0);
}

/* A socket that was asked for, and not waited for any longer. */
static void is_doors(int link, struct broker_audit *m)
{
	struct door_reply reply = { .magic = DOOR_MAGIC, .number = m->number, .rc = -ENOSPC };
	(void)!fd_send(link, &reply, sizeof(reply), &link, 1);
	say(link, m->number, 0);
}

static void is_gone(int link, struct broker_audit *m)
{
	(void)link;
	(void)m;
}

static void is_garbage(int link, struct broker_audit *m)
{
	(void)!fd_send(link, "x", 1, NULL, 0);
	(void)m;
}

static void test_answers(void **state)
{
	(void)state;
	assert_int_equal(ask(is_good, "xp\n0"), 0);
	assert_int_equal(ask(is_full, "x"), -ENOSPC);
	assert_int_equal(ask(is_late, "x"), 0);
	int before = dup(0), after;
	close(before);
	assert_int_equal(ask(is_doors, "x"), 0);
	after = dup(0);
	close(after);
	assert_int_equal(before, after);
	assert_int_equal(ask(is_gone, "x"), -EPIPE);
	assert_int_equal(ask(is_garbage, "x"), ERR_FORMAT);
}

/* The worker is taken over: what it says is bounded, and it cannot write the log's own events. */
static void test_hostile_worker(void **state)
{
	struct broker_audit good, m;
	struct audit_record r;
	(void)state;
	report_init(&good, AUDIT_SAVE, AUDIT_BY_MONITOR, AUDIT_DONE, "a.b", "c", NULL);
	assert_int_equal(report_take(&good, sizeof(good), &r), 0);
	assert_int_equal(report_take(&good, sizeof(good) - 1, &r), ERR_FORMAT);
	for (int i = 0; i < 7; i++) {
		m = good;
		if (i == 0)
			m.magic++;
		else if (i == 1)
			m.event = AUDIT_REPAIRED;
		else if (i == 2)
			m.channel = AUDIT_BY_HOOK;
		else if (i == 3)
			m.verdict = 2;
		else if (i == 4)
			memset(m.rule, 'x', sizeof(m.rule));
		else if (i == 5)
			memset(m.request, 'x', sizeof(m.request));
		else
			memset(m.reason, 'x', sizeof(m.reason));
		assert_int_equal(report_take(&m, sizeof(m), &r), ERR_FORMAT);
	}
	strcpy(good.request, "a\nb");
	assert_int_equal(report_take(&good, sizeof(good), &r), 0);
	assert_string_equal(r.request, "a?b");
}

static void test_late_answers_are_known(void **state)
{
	struct broker_audited answer = { .magic = REPORT_MAGIC };
	(void)state;
	assert_int_equal(report_is_answer(&answer, sizeof(answer)), 1);
	assert_int_equal(report_is_answer(&answer, sizeof(answer) - 1), 0);
	answer.magic++;
	assert_int_equal(report_is_answer(&answer, sizeof(answer)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_hostile_worker),
		cmocka_unit_test(test_late_answers_are_known),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
