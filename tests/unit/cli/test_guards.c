/* SPDX-License-Identifier: BSD-3-Clause */
/* Editions of protectors, by a clock that is set: each follows the one before, whatever it says. */
#include "tests/unit/test.h"

#include <time.h>

#include "cli/cli.h"
#include "cli/guards.h"

#define NOW INT64_C(1800000000)

static int64_t now;

time_t __wrap_time(time_t *out);
time_t __wrap_time(time_t *out)
{
	assert_null(out);
	return (time_t)now;
}

/* guards.c copies keys by it, and no key is copied here. */
int cli_copy_key(const struct jwk *k, struct jwk **out, struct fault *f)
{
	(void)k, (void)out, (void)f;
	fail();
	return -1;
}

/* The edition that follows LAST at time AT, with N guardians. */
static int64_t after(int64_t last, int64_t at, size_t n)
{
	struct protector_facts facts = { .edition = last };
	struct guard_list list = { .n = n };
	now = at;
	guard_edition(&facts, &list);
	return facts.edition;
}

static void test_each_follows_the_one_before(void **state)
{
	(void)state;
	/* The first, and one after an old one. */
	assert_int_equal(after(0, NOW, 1), NOW);
	assert_int_equal(after(NOW - 100, NOW, 2), NOW);
	/* Within a second, or by a clock that was put back. */
	assert_int_equal(after(NOW, NOW, 1), NOW + 1);
	assert_int_equal(after(NOW + 3600, NOW, 1), NOW + 3601);
	assert_int_equal(after(NOW + PROTECTOR_EDITION_AHEAD - 1, NOW, 1),
			 NOW + PROTECTOR_EDITION_AHEAD);
	/* What no guardian goes by has not been. */
	assert_int_equal(after(NOW + PROTECTOR_EDITION_AHEAD, NOW, 1), NOW);
	assert_int_equal(after(PROTECTOR_EDITION_MAX, NOW, 1), NOW);
}

/* 1 if it is told of the edition that follows LAST, at time NOW with N guardians. */
static int is_told(int64_t last, size_t n)
{
	struct protector_facts facts = { .edition = after(last, NOW, n) };
	struct guard_list list = { .n = n };
	return guard_say_edition(last, &facts, &list);
}

/* A clock that was put back too far to know better: the owner's change is not in force. */
static void test_one_that_does_not_follow_is_told(void **state)
{
	(void)state;
	assert_int_equal(is_told(NOW + PROTECTOR_EDITION_AHEAD, 1), 1);
	assert_int_equal(is_told(PROTECTOR_EDITION_MAX, 2), 1);
	assert_int_equal(is_told(NOW + PROTECTOR_EDITION_AHEAD - 1, 1), 0);
	assert_int_equal(is_told(NOW, 1), 0);
	assert_int_equal(is_told(0, 1), 0);
	assert_int_equal(is_told(PROTECTOR_EDITION_MAX, 0), 0);
}

static void test_without_a_guardian_there_are_none(void **state)
{
	(void)state;
	assert_int_equal(after(0, NOW, 0), 0);
	assert_int_equal(after(NOW, NOW, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_follows_the_one_before),
		cmocka_unit_test(test_one_that_does_not_follow_is_told),
		cmocka_unit_test(test_without_a_guardian_there_are_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
