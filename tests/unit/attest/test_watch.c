/* SPDX-License-Identifier: BSD-3-Clause */
/* What is told of a VM, by what is seen of it; and what is seen in folders. */
#include "attest/watch.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/statehead.h"
#include "tests/unit/test.h"

#define ID "2f6e8c3a-9d5b-4c1e-8a7f-0b1c2d3e4f50"

static char root[] = "/tmp/watch.XXXXXX";
static uint8_t vm[UUID_BYTES];

static void test_decide(void **state)
{
	static const struct {
		int incoming;
		struct watch_seen seen; /* lives, has_state, moved */
		enum watch_act what;
	} ROWS[] = {
		{ 0, { 0, 0, 0 }, WATCH_STOP },	  { 0, { 0, 1, 0 }, WATCH_STOP },
		{ 0, { 1, 0, 0 }, WATCH_REPORT }, { 0, { 1, 1, 0 }, WATCH_REPORT },
		{ 0, { 0, 1, 1 }, WATCH_FORGET }, { 0, { 0, 0, 1 }, WATCH_FORGET },
		{ 0, { 1, 1, 1 }, WATCH_WAIT },	  { 0, { 1, 0, 1 }, WATCH_WAIT },
		{ 1, { 1, 0, 0 }, WATCH_WAIT },	  { 1, { 1, 1, 1 }, WATCH_WAIT },
		{ 1, { 1, 0, 1 }, WATCH_WAIT },	  { 1, { 0, 0, 0 }, WATCH_FORGET },
		{ 1, { 0, 1, 1 }, WATCH_FORGET }, { 1, { 0, 0, 1 }, WATCH_FORGET },
		{ 1, { 1, 1, 0 }, WATCH_TAKE },	  { 1, { 0, 1, 0 }, WATCH_TAKE },
	};
	(void)state;
	assert_int_equal(sizeof(ROWS) / sizeof(ROWS[0]), 16);
	for (size_t i = 0; i < 16; i++)
		if (watch_decide(ROWS[i].incoming, &ROWS[i].seen) != ROWS[i].what)
			fail_msg("row %zu", i);
}

static const char *at(const char *name)
{
	static char path[256];
	snprintf(path, sizeof(path), "%s/%s", root, name);
	return path;
}

static int touch(const char *name, const void *data, size_t n)
{
	int fd = open(at(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, n), n);
	return fd;
}

static struct watch_seen look(void)
{
	struct fault f = { 0 };
	struct watch_seen seen = { 9, 9, 9 };
	char run[64], states[64];
	snprintf(run, sizeof(run), "%s/run", root);
	snprintf(states, sizeof(states), "%s/var", root);
	if (watch_look(run, states, vm, &seen, &f) < 0)
		fail_msg("%s", f.text);
	return seen;
}

static int64_t version(int want)
{
	struct fault f = { 0 };
	int64_t found = -1;
	char states[64];
	snprintf(states, sizeof(states), "%s/var", root);
	assert_int_equal(watch_version(states, vm, &found, &f), want);
	assert_int_equal(want < 0, f.text[0] != '\0');
	return found;
}

static void expect(int lives, int has_state, int moved)
{
	struct watch_seen seen = look();
	assert_int_equal(seen.lives, lives);
	assert_int_equal(seen.has_state, has_state);
	assert_int_equal(seen.moved, moved);
}

static void test_look(void **state)
{
	uint8_t head[STATEHEAD_BYTES];
	(void)state;
	expect(0, 0, 0);
	assert_int_equal(version(0), 0);
	assert_int_equal(mkdir(at("run"), 0700) | mkdir(at("var"), 0700) |
				 mkdir(at("run/" ID), 0700) | mkdir(at("var/" ID), 0700),
			 0);
	expect(0, 0, 0);
	int lock = touch("run/" ID "/lock", "", 0);
	expect(0, 0, 0);
	assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), 0);
	expect(1, 0, 0);
	assert_int_equal(version(0), 0);
	statehead_make(77, head);
	close(touch("var/" ID "/tpm2.state", head, sizeof(head)));
	expect(1, 1, 0);
	assert_int_equal(version(0), 77);
	close(touch("var/" ID "/tpm2.state.moved", "", 0));
	expect(1, 1, 1);
	/* Looking takes nothing from who wants the lock next. */
	assert_int_equal(flock(lock, LOCK_UN), 0);
	expect(0, 1, 1);
	assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), 0);
	/* A lock that was replaced is nobody's. */
	assert_int_equal(unlink(at("run/" ID "/lock")), 0);
	close(touch("run/" ID "/lock", "", 0));
	expect(0, 1, 1);
	close(lock);
	close(touch("var/" ID "/tpm2.state", "nonsense", 8));
	(void)version(ERR_FORMAT);
	close(touch("var/" ID "/tpm2.state", head, 20));
	(void)version(ERR_TRUNCATED);
}

static int make(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(root));
	return uuid_parse(ID, vm);
}

static int clean(void **state)
{
	static const char *const NAMES[] = { "run/" ID "/lock", "var/" ID "/tpm2.state",
					     "var/" ID "/tpm2.state.moved" };
	static const char *const FOLDERS[] = { "run/" ID, "var/" ID, "run", "var", "" };
	(void)state;
	for (size_t i = 0; i < 3; i++)
		unlink(at(NAMES[i]));
	for (size_t i = 0; i < 5; i++)
		rmdir(at(FOLDERS[i]));
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decide),
		cmocka_unit_test(test_look),
	};
	return cmocka_run_group_tests(tests, make, clean);
}
