/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <ctype.h>
#include <string.h>

#include "attest/finding.h"

static void test_every_id_is_once_there_and_explained(void **state)
{
	(void)state;
	unsigned n = 0;
	for (const char *id; (id = finding_id(n)) != NULL; n++) {
		const char *dot = strchr(id, '.');
		assert_non_null(dot);
		for (const char *p = id; *p; p++)
			assert_true(islower(*p) || isdigit(*p) || *p == '-' || p == dot);
		const char *meaning = finding_meaning(id), *remedy = finding_remedy(id);
		assert_non_null(meaning);
		assert_non_null(remedy);
		assert_true(isupper(meaning[0]) && meaning[strlen(meaning) - 1] == '.');
		assert_true(isupper(remedy[0]) && remedy[strlen(remedy) - 1] == '.');
		for (unsigned i = 0; i < n; i++)
			assert_string_not_equal(finding_id(i), id);
	}
	assert_true(n > 20);
	assert_null(finding_id(n));
	assert_null(finding_meaning("no.such"));
	assert_null(finding_remedy("no.such"));
}

static void test_text_is_cut_and_printable(void **state)
{
	(void)state;
	struct findings list = { 0 };
	char longest[2 * FINDING_TEXT_MAX];
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	finding_add(&list, "log.size", FINDING_FAILED, "%s", longest);
	finding_add(&list, "log.type", FINDING_OK, "%s", "a\n\x1b[1m\x7f\xc3\xa4z");
	assert_int_equal(list.n, 2);
	assert_int_equal(strlen(list.at[0].evidence), FINDING_TEXT_MAX - 1);
	assert_string_equal(list.at[1].evidence, "a??[1m???z");
}

static void test_verdicts(void **state)
{
	(void)state;
	struct findings list = { 0 };
	assert_true(findings_good(&list));
	finding_add(&list, "log.size", FINDING_OK, "fine");
	finding_add(&list, "log.absent", FINDING_UNKNOWN, "unknown");
	assert_true(findings_good(&list));
	assert_null(findings_get(&list, "log.bank"));
	finding_add(&list, "log.bank", FINDING_FAILED, "SHA-1 only");
	assert_false(findings_good(&list));
	assert_string_equal(findings_get(&list, "log.bank")->evidence, "SHA-1 only");
}

static void test_fail_tells_the_fault(void **state)
{
	(void)state;
	struct findings list = { 0 };
	struct fault f = { 0 }, none = { 0 };
	fault_set(&f, ERR_VERSION, "no such bank");
	assert_int_equal(finding_fail(&list, "log.bank", ERR_FORMAT, &f), ERR_VERSION);
	assert_int_equal(finding_fail(&list, "log.type", ERR_FORMAT, &none), ERR_FORMAT);
	assert_int_equal(finding_fail(&list, "log.pcr", ERR_LIMIT, NULL), ERR_LIMIT);
	assert_string_equal(list.at[0].evidence, "no such bank");
	assert_string_equal(list.at[1].evidence, err_text(ERR_FORMAT));
	assert_string_equal(list.at[2].evidence, err_text(ERR_LIMIT));
	for (unsigned i = 0; i < list.n; i++)
		assert_int_equal(list.at[i].verdict, FINDING_FAILED);
}

/* However much was found before it, a failure is not lost. */
static void test_a_full_list_keeps_failures(void **state)
{
	(void)state;
	struct findings list = { 0 };
	for (unsigned i = 0; i < FINDINGS_MAX; i++)
		finding_add(&list, "log.size", i == 5 ? FINDING_OK : FINDING_UNKNOWN, "%u", i);
	finding_add(&list, "log.type", FINDING_OK, "dropped");
	finding_add(&list, "log.pcr", FINDING_UNKNOWN, "dropped");
	assert_int_equal(list.n, FINDINGS_MAX);
	assert_null(findings_get(&list, "log.type"));
	assert_null(findings_get(&list, "log.pcr"));
	finding_add(&list, "log.bank", FINDING_FAILED, "first");
	assert_string_equal(list.at[5].id, "log.bank");
	finding_add(&list, "log.header", FINDING_FAILED, "second");
	assert_string_equal(list.at[FINDINGS_MAX - 1].id, "log.header");
	assert_int_equal(list.n, FINDINGS_MAX);
	assert_false(findings_good(&list));
	for (unsigned i = 0; i < 2 * FINDINGS_MAX; i++)
		finding_add(&list, "log.separator", FINDING_FAILED, "more");
	assert_int_equal(list.n, FINDINGS_MAX);
	assert_non_null(findings_get(&list, "log.bank"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_id_is_once_there_and_explained),
		cmocka_unit_test(test_text_is_cut_and_printable),
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_fail_tells_the_fault),
		cmocka_unit_test(test_a_full_list_keeps_failures),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
