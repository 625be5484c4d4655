/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <string.h>

#include "base/protections.h"

static const enum protections_of WHOSE[] = { PROTECTIONS_OF_WORKER, PROTECTIONS_OF_BROKER };

static void test_names(void **state)
{
	(void)state;
	for (enum protection i = 0; i < PROTECTIONS_N; i++) {
		const char *name = protection_name(i);
		assert_true(strlen(name) > 2);
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), strlen(name));
		assert_true(strlen(protection_meaning(i)) > 10);
		for (enum protection o = 0; o < i; o++)
			assert_string_not_equal(name, protection_name(o));
	}
	assert_true(PROTECTIONS_N <= 32);
}

static void test_held_is_not_missing(void **state)
{
	(void)state;
	for (enum protection i = 0; i < PROTECTIONS_N; i++) {
		struct protections p = { 0 };
		int missed = protections_miss(&p, PROTECTIONS_OF_WORKER, i);
		/* The one that is only a substitute. */
		assert_int_equal(missed, i != PROTECTION_LOCKED_MEMORY);
		assert_int_equal(protections_have(&p, i), 0);
		protections_set(&p, i);
		assert_int_equal(p.held, 1U << i);
		assert_int_equal(protections_have(&p, i), 1);
		assert_int_equal(protections_miss(&p, PROTECTIONS_OF_WORKER, i), 0);
	}
}

static void test_the_broker_needs_fewer(void **state)
{
	(void)state;
	const struct protections none = { 0 };
	assert_int_equal(protections_miss(&none, PROTECTIONS_OF_BROKER, PROTECTION_MDWE), 1);
	assert_int_equal(protections_miss(&none, PROTECTIONS_OF_BROKER, PROTECTION_NS_NET), 0);
	assert_int_equal(protections_miss(&none, PROTECTIONS_OF_BROKER, PROTECTION_SECRET_MEMORY),
			 0);
}

static void test_text(void **state)
{
	(void)state;
	char text[PROTECTIONS_TEXT_MAX];
	struct protections p = { 0 };
	protections_set(&p, PROTECTION_MDWE);
	protections_set(&p, PROTECTION_LANDLOCK_FILES);
	protections_set(&p, PROTECTION_LANDLOCK_NET);
	protections_set(&p, PROTECTION_NS_IPC);
	protections_set(&p, PROTECTION_NS_MOUNT);
	protections_text(&p, PROTECTIONS_OF_BROKER, text);
	assert_string_equal(text, "+mdwe +landlock +landlock-net -landlock-scope +mount-ns +ipc-ns "
				  "-uts-ns -cgroup-ns");
	/* Whatever is held and missing, none of it is cut off. */
	p.held = UINT32_MAX;
	for (size_t w = 0; w < 2; w++) {
		char last[64] = "+";
		protections_text(&p, WHOSE[w], text);
		strcat(last, protection_name(PROTECTIONS_N - 1));
		/* Two of them, and some words, fit into the reason of an audit record. */
		assert_true(strlen(text) < 230);
		assert_string_equal(text + strlen(text) - strlen(last), last);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_held_is_not_missing),
		cmocka_unit_test(test_the_broker_needs_fewer),
		cmocka_unit_test(test_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
