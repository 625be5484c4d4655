/* SPDX-License-Identifier: BSD-3-Clause */
/* The hook between its worker and the program that asks guardians, both played by actor.c. */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "libvirt/asker.h"
#include "libvirt/spawner.h"

/* ---- The clock, which a test can put forward ------------------------------------------------- */

static time_t ahead_s;

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	int rc = __real_clock_gettime(clock, now);
	now->tv_sec += ahead_s;
	return rc;
}

static void no_child_is_left(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

/* ---- asker_run() ----------------------------------------------------------------------------- */

struct answer {
	int rc;
	char rule[ASK_RULE_MAX];
	struct ask_reply reply;
	struct fault f;
};

static struct answer ask(const char *how, int timeout_ms)
{
	struct answer a = { 0 };
	char protector[80];
	snprintf(protector, sizeof(protector), "none %s", how);
	const struct ask_request request = { .magic = ASK_MAGIC,
					     .version = ASK_VERSION,
					     .vm = { 5 },
					     .worker = { 4, 6 },
					     .state_version = 7,
					     .comes = 1,
					     .protector_bytes = (uint32_t)strlen(protector) };
	memset(&a.reply, 0xee, sizeof(a.reply));
	a.rc = asker_run(ACTOR, &request, protector, timeout_ms, &a.reply, a.rule, &a.f);
	no_child_is_left();
	return a;
}

static void test_release(void **state)
{
	static const uint8_t asked[] = { 6, 7, 1, 5 };
	int extra = open("/dev/null", O_RDONLY); /* not O_CLOEXEC, as a libvirtd's may be */
	(void)state;
	setenv("LD_LIBRARY_PATH", "/nonexistent", 1);
	struct answer a = ask("answers", 10000);
	assert_int_equal(a.rc, 0);
	assert_string_equal(a.reply.guardian, "guardian.test:8443");
	assert_memory_equal(a.reply.key.inner, asked, sizeof(asked));
	a = ask("offline", 10000);
	assert_int_equal(a.rc, 0);
	assert_string_equal(a.reply.guardian, "");
	assert_int_equal(a.reply.offline_left, 4);
	/* Text that does not end, and is none for a terminal. */
	a = ask("no-end", 10000);
	assert_int_equal(a.rc, 0);
	assert_int_equal(strlen(a.reply.guardian), ASK_ADDRESS_MAX - 1);
	assert_int_equal(strspn(a.reply.guardian, "?"), ASK_ADDRESS_MAX - 1);
	fd_close(&extra);
}

static void test_failures(void **state)
{
	static const struct {
		const char *how;
		int rc;
		const char *rule, *text;
	} cases[] = {
		{ "dies", ERR_STATE, "guardian.refused", "without an answer" },
		{ "short", ERR_VERSION, "guardian.refused", "another version" },
		{ "long", -EMSGSIZE, "guardian.refused", "heard" },
		{ "magic", ERR_VERSION, "guardian.refused", "another version" },
		{ "version", ERR_VERSION, "guardian.refused", "another version" },
		{ "key-magic", ERR_VERSION, "guardian.refused", "another version" },
		{ "key-version", ERR_VERSION, "guardian.refused", "another version" },
		{ "no-certificate", ERR_FORMAT, "guardian.refused", "malformed" },
		{ "long-certificate", ERR_FORMAT, "guardian.refused", "malformed" },
		{ "odd", ERR_FORMAT, "guardian.refused", "malformed" },
		{ "both", ERR_FORMAT, "guardian.refused", "malformed" },
		/* The sentence's own beginning is not taken for a rule. */
		{ "refuses", ERR_POLICY, "lease.held", "lease.held: vtpm.state: it runs" },
		{ "unreachable", -ECONNREFUSED, "guardian.unreachable", "nobody there" },
		{ "screams", ERR_POLICY, "guardian.refused", "guardian.refused: ????" },
		{ "long-rule", ERR_POLICY, "guardian.refused", "gave no reason" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct answer a = ask(cases[i].how, 10000);
		assert_int_equal(a.rc, cases[i].rc);
		assert_string_equal(a.rule, cases[i].rule);
		assert_non_null(strstr(a.f.text, cases[i].text));
		assert_int_equal(a.f.rc, cases[i].rc);
	}
}

static void test_hanging(void **state)
{
	(void)state;
	int64_t before = clock_ms();
	struct answer a = ask("hangs", 300);
	assert_int_equal(a.rc, -ETIMEDOUT);
	assert_string_equal(a.rule, "guardian.timeout");
	assert_in_range(clock_ms() - before, 300, 5000);
}

static void test_absent(void **state)
{
	struct fault f = { 0 };
	struct ask_reply reply;
	char rule[ASK_RULE_MAX];
	const struct ask_request request = { .protector_bytes = 1 };
	const struct ask_request large = { .protector_bytes = SPAWN_MESSAGE_MAX };
	(void)state;
	assert_int_equal(asker_run("/nonexistent/ask", &request, "x", 10000, &reply, rule, &f),
			 -ENOENT);
	assert_string_equal(rule, "guardian.host");
	assert_non_null(strstr(f.text, "/nonexistent/ask cannot be started"));
	assert_int_equal(asker_run(ACTOR, &large, "", 10000, &reply, rule, NULL), ERR_LIMIT);
	no_child_is_left();
}

/* ---- spawner_run() --------------------------------------------------------------------------- */

struct record {
	int lock;
	int calls, fails;
	int key_was_there; /* the worker had the key before it was on record */
	char guardian[ASK_ADDRESS_MAX];
};

static int record(void *arg, const struct ask_reply *reply, struct fault *f)
{
	struct record *r = arg;
	r->calls++;
	memcpy(r->guardian, reply->guardian, sizeof(r->guardian));
	usleep(100 * 1000);
	r->key_was_there = lseek(r->lock, 0, SEEK_END) > 0;
	/* All the time that a guardian is given, and more than the worker is, goes by. */
	ahead_s += ASK_TIMEOUT_MS / 1000;
	return r->fails ? fault_set(f, -ENOSPC, "no room in the log") : 0;
}

struct start {
	int rc;
	struct record record;
	struct spawner_outcome outcome;
	struct fault f;
	uint8_t key[4]; /* what the worker has got, if KEYS > 0 */
	off_t keys;
};

enum log { WORKS, IS_FULL, NONE };

static struct start spawn(const char *protector, enum log log)
{
	static const uint8_t vm[UUID_BYTES] = { 9 };
	struct start s = { .record = { .lock = memfd_create("lock", 0), .fails = log == IS_FULL } };
	const struct spawner_order order = { .vm = vm,
					     .name = "vm",
					     .protector = protector,
					     .protector_bytes = strlen(protector),
					     .lock = s.record.lock,
					     .comes = 1,
					     .record = log == NONE ? NULL : record,
					     .arg = &s.record };
	s.rc = spawner_run(&order, &s.outcome, &s.f);
	s.keys = lseek(s.record.lock, 0, SEEK_END) / 4;
	(void)!pread(s.record.lock, s.key, sizeof(s.key), 0);
	fd_close(&s.record.lock);
	ahead_s = 0;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		continue;
	return s;
}

static void test_key_from_guardian(void **state)
{
	static const uint8_t asked[] = { 7, 77, 1, 9 };
	(void)state;
	struct start s = spawn("asks answers", WORKS);
	assert_int_equal(s.rc, 0);
	assert_true(s.outcome.released && s.outcome.rule[0] == '\0');
	assert_int_equal(s.keys, 1);
	assert_memory_equal(s.key, asked, sizeof(asked));
	assert_int_equal(s.record.calls, 1);
	assert_false(s.record.key_was_there);
	assert_string_equal(s.record.guardian, "guardian.test:8443");
}

static void test_key_of_the_host(void **state)
{
	(void)state;
	struct start s = spawn("plain answers", WORKS);
	assert_int_equal(s.rc, 0);
	assert_true(!s.outcome.released && s.record.calls == 0);
	s = spawn("refuses answers", WORKS);
	assert_int_equal(s.rc, ERR_RECIPIENT);
	assert_string_equal(s.outcome.rule, "");
}

static void test_guardian_refuses(void **state)
{
	(void)state;
	struct start s = spawn("asks refuses", WORKS);
	assert_int_equal(s.rc, ERR_POLICY);
	assert_string_equal(s.outcome.rule, "lease.held");
	assert_true(!s.outcome.released && s.record.calls == 0 && s.keys == 0);
}

static void test_no_key_without_record(void **state)
{
	(void)state;
	struct start s = spawn("asks answers", IS_FULL);
	assert_int_equal(s.rc, -ENOSPC);
	assert_string_equal(s.outcome.rule, "audit.log");
	assert_true(!s.outcome.released && s.keys == 0);
}

/* As for a self-test's VM. */
static void test_nobody_is_asked(void **state)
{
	(void)state;
	struct start s = spawn("asks answers", NONE);
	assert_int_equal(s.rc, ERR_STATE);
	assert_int_equal(s.keys, 0);
	assert_int_equal(spawn("plain answers", NONE).rc, 0);
}

static void test_one_key_only(void **state)
{
	(void)state;
	struct start s = spawn("asks-twice answers", WORKS);
	assert_int_equal(s.rc, ERR_FORMAT);
	assert_int_equal(s.record.calls, 1);
	assert_int_equal(s.keys, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_release),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_hanging),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_key_from_guardian),
		cmocka_unit_test(test_key_of_the_host),
		cmocka_unit_test(test_guardian_refuses),
		cmocka_unit_test(test_no_key_without_record),
		cmocka_unit_test(test_nobody_is_asked),
		cmocka_unit_test(test_one_key_only),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
