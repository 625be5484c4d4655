/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The policy's document, and baselines: what they hold, and what is another host.
 */
#include <stdio.h>
#include <string.h>

#include "tests/unit/guardian/host.h"
#include "tests/unit/test.h"

static void text_of(const struct policy *p, struct buf *out)
{
	struct fault f = { 0 };
	assert_int_equal(policy_text(p, out, &f), 0);
}

/* A policy with one baseline, learned from a usual host. */
static struct policy *learned(enum baseline_kind kind)
{
	struct host h;
	struct policy *p = NULL;
	struct fault f = { 0 };
	assert_int_equal(policy_new(&p), 0);
	host_usual(&h, 1, NULL, "quiet");
	if (policy_learn(p, "base", kind, host_measured(&h), &f) < 0)
		fail_msg("%s", f.text);
	host_done(&h);
	return p;
}

/* What P says of H's start, with NEEDLE in it. */
static void matches(const struct policy *p, struct host *h, enum finding_verdict verdict,
		    const char *needle)
{
	struct findings *list = calloc(1, sizeof(*list));
	policy_judge(p, host_measured(h), list);
	const struct finding *at = findings_get(list, "baseline.match");
	assert_non_null(at);
	if (at->verdict != verdict || !strstr(at->evidence, needle))
		fail_msg("%d, and not '%s': %s", at->verdict, needle, at->evidence);
	free(list);
	host_done(h);
}

static void test_document(void **state)
{
	struct policy *p = learned(BASELINE_STRUCTURED), *again = NULL;
	struct pcrs exact = { .bank = HASH_SHA384, .mask = 0x81 };
	struct fault f = { 0 };
	CLEANUP_BUF struct buf one = BUF_INIT(65536), two = BUF_INIT(65536);
	(void)state;
	assert_int_equal(policy_add_exact(p, "a.exact-1", &exact, &f), 0);
	assert_int_equal(policy_demand(p, "kernel.lockdown", 1, &f), 0);
	assert_int_equal(policy_demand(p, "boot.full", 0, &f), 0);
	assert_int_equal(policy_demand(p, "boot.none", 1, &f), ERR_USAGE);
	text_of(p, &one);
	assert_non_null(strstr(buf_cstr(&one),
			       "\"checks\":[\"boot.firmware-debug\","
			       "\"boot.secure-boot\",\"kernel.lockdown\"],\"v\":1}"));
	assert_int_equal(policy_parse((char *)one.data, one.len, &again, &f), 0);
	text_of(again, &two);
	assert_int_equal(one.len, two.len);
	assert_memory_equal(one.data, two.data, one.len);
	char about[BASELINE_ABOUT_MAX];
	enum baseline_kind kind;
	assert_string_equal(policy_baseline(again, 0, &kind, about), "a.exact-1");
	assert_int_equal(kind, BASELINE_EXACT);
	assert_string_equal(policy_baseline(again, 1, &kind, about), "base");
	assert_int_equal(kind, BASELINE_STRUCTURED);
	assert_null(policy_baseline(again, 2, &kind, about));
	assert_true(policy_demands(again, "kernel.lockdown"));
	assert_false(policy_demands(again, "boot.full"));
	policy_free(p);
	policy_free(again);
}

static void test_names(void **state)
{
	static const char *const BAD[] = { "", "A", "a b", "a/b", "a\"", "a_b" };
	struct policy *p = NULL;
	struct pcrs exact = { .bank = HASH_SHA256, .mask = 1 }, none = { .bank = HASH_SHA256 };
	struct fault f = { 0 };
	char name[BASELINE_NAME_MAX + 2];
	(void)state;
	assert_int_equal(policy_new(&p), 0);
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
		assert_int_equal(policy_add_exact(p, BAD[i], &exact, &f), ERR_FORMAT);
	memset(name, 'a', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(policy_add_exact(p, name, &exact, &f), ERR_FORMAT);
	name[sizeof(name) - 2] = '\0';
	assert_int_equal(policy_add_exact(p, name, &exact, &f), 0);
	assert_int_equal(policy_add_exact(p, name, &exact, &f), ERR_STATE);
	assert_int_equal(policy_add_exact(p, "b", &none, &f), ERR_FORMAT);
	assert_int_equal(policy_remove(p, "b", &f), ERR_STATE);
	assert_int_equal(policy_remove(p, name, &f), 0);
	for (int i = 0; i < POLICY_BASELINES_MAX; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(policy_add_exact(p, name, &exact, &f), 0);
	}
	assert_int_equal(policy_add_exact(p, "one-more", &exact, &f), ERR_LIMIT);
	policy_free(p);
}

#define D "0000000000000000000000000000000000000000000000000000000000000000"
#define E "0000000000000000000000000000000000000000000000000000000000000001"
#define EXACT(name, pcrs)                                                                          \
	"{\"bank\":\"sha256\",\"kind\":\"exact\",\"name\":\"" name "\",\"pcrs\":" pcrs "}"
#define POLICY(baselines, checks) "{\"baselines\":[" baselines "],\"checks\":[" checks "],\"v\":1}"
#define STRUCTURED(authority, config, events)                                                      \
	"{\"authority\":[" authority "],\"bank\":\"sha256\",\"config\":{" config "},\"dbx\":[],"   \
	"\"events\":{" events "},\"kind\":\"structured\",\"name\":\"s\"}"

static void test_strictness(void **state)
{
	static const struct {
		const char *text;
		int rc;
	} ROWS[] = {
		{ POLICY("", ""), 0 },
		{ POLICY(EXACT("a", "{\"0\":\"" D "\"}"), "\"boot.full\""), 0 },
		{ POLICY(STRUCTURED("\"" D "\",\"" E "\"", "\"PK\":\"" D "\"", "\"4\":[\"" D "\"]"),
			 ""),
		  0 },
		{ "", ERR_FORMAT },
		{ "[]", ERR_FORMAT },
		{ "{\"baselines\":[],\"checks\":[]}", ERR_FORMAT },
		{ "{\"baselines\":[],\"checks\":[],\"v\":2}", ERR_VERSION },
		{ "{\"baselines\":[],\"checks\":[],\"v\":\"1\"}", ERR_FORMAT },
		{ "{\"baselines\":{},\"checks\":[],\"v\":1}", ERR_FORMAT },
		{ "{\"baselines\":[],\"checks\":[],\"v\":1,\"x\":1}", ERR_FORMAT },
		{ "{\"baselines\":[],\"checks\":[],\"checks\":[],\"v\":1}", ERR_FORMAT },
		{ POLICY("", "") "x", ERR_FORMAT },
		{ POLICY("", "\"boot.none\""), ERR_VERSION },
		{ POLICY("", "1"), ERR_VERSION },
		{ POLICY("", "\"boot.full\",\"boot.full\""), ERR_FORMAT },
		{ POLICY("", "\"boot.secure-boot\",\"boot.full\""), ERR_FORMAT },
		{ POLICY("1", ""), ERR_FORMAT },
		{ POLICY(EXACT("a", "{}"), ""), ERR_FORMAT },
		{ POLICY(EXACT("a", "{\"24\":\"" D "\"}"), ""), ERR_FORMAT },
		{ POLICY(EXACT("a", "{\"00\":\"" D "\"}"), ""), ERR_FORMAT },
		{ POLICY(EXACT("a", "{\"0\":\"" D "0\"}"), ""), ERR_FORMAT },
		{ POLICY(EXACT("a", "{\"0\":1}"), ""), ERR_FORMAT },
		{ POLICY(EXACT("A", "{\"0\":\"" D "\"}"), ""), ERR_FORMAT },
		{ POLICY(EXACT("b", "{\"0\":\"" D "\"}") "," EXACT("a", "{\"0\":\"" D "\"}"), ""),
		  ERR_FORMAT },
		{ POLICY(EXACT("a", "{\"0\":\"" D "\"}") "," EXACT("a", "{\"0\":\"" D "\"}"), ""),
		  ERR_FORMAT },
		{ POLICY("{\"bank\":\"sha1\",\"kind\":\"exact\",\"name\":\"a\",\"pcrs\":{}}", ""),
		  ERR_VERSION },
		{ POLICY("{\"bank\":\"sha256\",\"kind\":\"some\",\"name\":\"a\",\"pcrs\":{}}", ""),
		  ERR_VERSION },
		{ POLICY(STRUCTURED("\"" E "\",\"" D "\"", "", ""), ""), ERR_FORMAT },
		{ POLICY(STRUCTURED("\"" E "\",\"" E "\"", "", ""), ""), ERR_FORMAT },
		{ POLICY(STRUCTURED("", "\"dbx\":\"" D "\"", ""), ""), ERR_FORMAT },
		{ POLICY(STRUCTURED("", "\"a b\":\"" D "\"", ""), ""), ERR_FORMAT },
		{ POLICY(STRUCTURED("", "\"PK\":1", ""), ""), ERR_FORMAT },
		{ POLICY(STRUCTURED("", "", "\"1\":[]"), ""), ERR_FORMAT },
		{ POLICY(STRUCTURED("", "", "\"4\":{}"), ""), ERR_FORMAT },
		{ POLICY(STRUCTURED("", "", "\"4\":[\"00\"]"), ""), ERR_FORMAT },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		struct policy *p = NULL;
		struct fault f = { 0 };
		int rc = policy_parse(ROWS[i].text, strlen(ROWS[i].text), &p, &f);
		if (rc != ROWS[i].rc)
			fail_msg("%d instead of %d (%s): %s", rc, ROWS[i].rc, f.text, ROWS[i].text);
		assert_true(rc == 0 ? p != NULL : p == NULL && f.text[0]);
		policy_free(p);
	}
}

static void test_exact(void **state)
{
	struct policy *p = learned(BASELINE_EXACT);
	struct host h;
	(void)state;
	host_usual(&h, 1, NULL, "quiet");
	matches(p, &h, FINDING_OK, "base");
	/* PCR 1 and the command line are not in it. */
	host_usual(&h, 1, NULL, "debug");
	host_text(&h, 1, EV_EFI_VARIABLE_BOOT, "another order");
	matches(p, &h, FINDING_OK, "base");
	for (uint32_t pcr = 0; pcr < 8; pcr++) {
		int held = (BASELINE_EXACT_MASK >> pcr) & 1;
		char needle[32];
		snprintf(needle, sizeof(needle), held ? "1 part differs: PCR %u is" : "base", pcr);
		host_usual(&h, 1, NULL, "quiet");
		host_text(&h, pcr, EV_COMPACT_HASH, "more");
		matches(p, &h, held ? FINDING_FAILED : FINDING_OK, needle);
	}
	policy_free(p);
}

/* One thing after the other that makes another host of it. */
static void test_structured(void **state)
{
	struct policy *p = learned(BASELINE_STRUCTURED);
	struct host h;
	(void)state;
	host_usual(&h, 1, NULL, "quiet");
	matches(p, &h, FINDING_OK, "base");
	host_usual(&h, 0, NULL, "quiet");
	matches(p, &h, FINDING_FAILED, "SecureBoot has another value");
	host_usual(&h, 1, NULL, "debug");
	matches(p, &h, FINDING_FAILED, "PCR 8: event 2");
	/* What the checks judge, or what only says how far a boot came. */
	host_usual(&h, 1, "UEFI Debug Mode", "quiet");
	matches(p, &h, FINDING_OK, "base");
	host_usual(&h, 1, NULL, "quiet");
	host_text(&h, 4, EV_EFI_ACTION, "Returning from EFI Application from Boot Option");
	host_text(&h, 4, EV_EFI_ACTION, "Calling EFI Application from Boot Option");
	matches(p, &h, FINDING_OK, "base");
	/* Under a type that means nothing an image is an image. */
	host_usual(&h, 1, NULL, "quiet");
	host_event(&h, 4, EV_EFI_ACTION, "Calling EFI Application from Boot Option", 40, "image",
		   5);
	matches(p, &h, FINDING_FAILED, "PCR 4: event 2");
	host_usual(&h, 1, NULL, "quiet");
	host_text(&h, 0, EV_POST_CODE, "other firmware");
	matches(p, &h, FINDING_FAILED, "PCR 0: ");
	host_usual(&h, 1, NULL, "quiet");
	host_text(&h, 2, EV_EFI_BOOT_SERVICES_DRIVER, "option ROM");
	matches(p, &h, FINDING_FAILED, "PCR 2: ");
	host_usual(&h, 1, NULL, "quiet");
	host_variable(&h, EV_EFI_VARIABLE_AUTHORITY, "db", "another", 7);
	matches(p, &h, FINDING_FAILED, "behind the separator");
	host_usual(&h, 1, "something new", "quiet");
	matches(p, &h, FINDING_FAILED, "no variable");
	host_usual(&h, 1, NULL, "quiet");
	host_text(&h, 14, EV_IPL, "MokList");
	matches(p, &h, FINDING_FAILED, "PCR 14: event 1");
	host_usual(&h, 1, NULL, NULL);
	matches(p, &h, FINDING_FAILED, "PCR 8: 0 events instead of 3");
	policy_free(p);
}

/* Up to the separator, with a dbx of its own. */
static void boot_with_dbx(struct host *h, uint8_t first, unsigned n)
{
	host_open(h);
	host_text(h, 0, EV_S_CRTM_VERSION, "1.0");
	host_variable(h, EV_EFI_VARIABLE_DRIVER_CONFIG, "SecureBoot", "\1", 1);
	host_dbx(h, first, n);
	host_separators(h);
}

static void test_dbx_may_grow(void **state)
{
	struct policy *p = NULL;
	struct host h;
	struct fault f = { 0 };
	(void)state;
	assert_int_equal(policy_new(&p), 0);
	boot_with_dbx(&h, 2, 2);
	assert_int_equal(policy_learn(p, "base", BASELINE_STRUCTURED, host_measured(&h), &f), 0);
	host_done(&h);
	boot_with_dbx(&h, 1, 4);
	matches(p, &h, FINDING_OK, "base");
	boot_with_dbx(&h, 3, 4);
	matches(p, &h, FINDING_FAILED, "dbx does not revoke");
	boot_with_dbx(&h, 2, 1);
	matches(p, &h, FINDING_FAILED, "dbx does not revoke");
	policy_free(p);
}

static void test_what_cannot_be_learned(void **state)
{
	struct policy *p = NULL;
	struct host h;
	struct fault f = { 0 };
	(void)state;
	assert_int_equal(policy_new(&p), 0);
	host_usual(&h, 1, NULL, "quiet");
	struct measured m = *host_measured(&h);
	m.proven &= ~(1U << 4);
	assert_int_equal(policy_learn(p, "b", BASELINE_STRUCTURED, &m, &f), ERR_POLICY);
	m.proven = 0x7bff & ~(1U << 7);
	assert_int_equal(policy_learn(p, "b", BASELINE_STRUCTURED, &m, &f), ERR_POLICY);
	m.log = NULL;
	assert_int_equal(policy_learn(p, "b", BASELINE_STRUCTURED, &m, &f), ERR_POLICY);
	/* The running system's PCR may be left out, and is then not looked at. */
	m = h.m;
	m.proven &= ~(1U << 11);
	assert_int_equal(policy_learn(p, "b", BASELINE_STRUCTURED, &m, &f), 0);
	host_done(&h);
	host_usual(&h, 1, NULL, "quiet");
	host_text(&h, 11, EV_IPL, "anything");
	matches(p, &h, FINDING_OK, "b");
	policy_free(p);
}

static void test_demands(void **state)
{
	struct policy *p = learned(BASELINE_EXACT);
	struct host h;
	struct fault f = { 0 };
	struct findings *list = calloc(1, sizeof(*list));
	(void)state;
	assert_int_equal(policy_demand(p, "kernel.lockdown", 1, &f), 0);
	host_usual(&h, 1, NULL, "quiet");
	policy_judge(p, host_measured(&h), list);
	assert_int_equal(findings_get(list, "kernel.lockdown")->verdict, FINDING_FAILED);
	assert_non_null(strstr(findings_get(list, "kernel.lockdown")->evidence, "not shown"));
	/* Not demanded: told, but no failure. */
	assert_int_equal(findings_get(list, "kernel.no-debugger")->verdict, FINDING_UNKNOWN);
	assert_int_equal(policy_demand(p, "kernel.lockdown", 0, &f), 0);
	memset(list, 0, sizeof(*list));
	policy_judge(p, &h.m, list);
	assert_true(findings_good(list));
	assert_int_equal(findings_get(list, "kernel.lockdown")->verdict, FINDING_UNKNOWN);
	host_done(&h);
	free(list);
	policy_free(p);
}

static void test_a_new_policy_accepts_nobody(void **state)
{
	struct policy *p = NULL;
	struct host h;
	(void)state;
	assert_int_equal(policy_new(&p), 0);
	assert_true(policy_demands(p, "boot.secure-boot"));
	host_usual(&h, 1, NULL, "quiet");
	matches(p, &h, FINDING_FAILED, "no baseline");
	policy_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_document),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_strictness),
		cmocka_unit_test(test_exact),
		cmocka_unit_test(test_structured),
		cmocka_unit_test(test_dbx_may_grow),
		cmocka_unit_test(test_what_cannot_be_learned),
		cmocka_unit_test(test_demands),
		cmocka_unit_test(test_a_new_policy_accepts_nobody),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
