/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Evidence as text: one spelling, and everything else refused.
 */
#include <stdio.h>
#include <string.h>

#include "attest/evidence.h"
#include "attest/form.h"
#include "tests/unit/test.h"

/* Nothing in it is true, all of it is well-formed. */
static void make(struct evidence *e)
{
	evidence_init(e);
	e->pcrs = (struct pcrs){ .bank = HASH_SHA256, .mask = 1U << 0 | 1U << 23 };
	memset(e->host, 0xab, sizeof(e->host));
	memset(e->nonce, 1, sizeof(e->nonce));
	e->pcrs.value[23][31] = 0xfe;
	assert_int_equal(buf_add(&e->quote, "quoted", 6), 0);
	assert_int_equal(buf_add(&e->eventlog, "log", 3), 0);
}

static void test_there_and_back(void **state)
{
	struct evidence e CLEANUP(evidence_done), again CLEANUP(evidence_done) = { 0 };
	CLEANUP_BUF struct buf one = BUF_INIT(65536), two = BUF_INIT(65536);
	struct fault f = { 0 };
	(void)state;
	make(&e);
	assert_int_equal(evidence_text(&e, &one, &f), 0);
	assert_int_equal(evidence_parse((char *)one.data, one.len, &again, &f), 0);
	assert_int_equal(evidence_text(&again, &two, &f), 0);
	assert_int_equal(one.len, two.len);
	assert_memory_equal(one.data, two.data, one.len);
	assert_memory_equal(&e.pcrs, &again.pcrs, sizeof(e.pcrs));
	assert_memory_equal(e.host, again.host, sizeof(e.host));
	assert_int_equal(again.eventlog.len, 3);
	assert_memory_equal(again.eventlog.data, "log", 3);
	assert_int_equal(again.ima.len, 0);
}

/* TEXT with its first OLD replaced by NEW is refused with RC. */
static void refused(const char *text, const char *old, const char *new, int rc)
{
	CLEANUP_BUF struct buf changed = BUF_INIT(65536);
	struct evidence e CLEANUP(evidence_done) = { 0 };
	struct fault f = { 0 };
	const char *at = strstr(text, old);
	assert_non_null(at);
	assert_int_equal(
		buf_addf(&changed, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old)), 0);
	int got = evidence_parse((char *)changed.data, changed.len, &e, &f);
	if (got != rc)
		fail_msg("%d instead of %d for %s instead of %s: %s", got, rc, new, old, f.text);
	assert_true(f.text[0]);
}

static void test_refused(void **state)
{
	static const struct {
		const char *old, *new;
		int rc;
	} ROWS[] = {
		{ "\"v\":1", "\"v\":2", ERR_VERSION },
		{ "\"v\":1", "\"v\":\"1\"", ERR_FORMAT },
		{ "\"v\":1", "\"v\":1,\"v\":1", ERR_FORMAT },
		{ "\"v\":1", "\"w\":1", ERR_FORMAT },
		{ "\"v\":1", "\"v\":1,\"x\":0", ERR_FORMAT },
		{ "sha256", "sha1", ERR_VERSION },
		{ "sha256", "sha384", ERR_FORMAT }, /* the values are too short for it */
		{ "sha256", "SHA256", ERR_VERSION },
		{ "abababab-", "ABABABAB-", ERR_FORMAT },
		{ "abababab-", "abababab", ERR_FORMAT },
		{ "\"nonce\":\"AQEB", "\"nonce\":\"AQE", ERR_FORMAT },
		{ "\"nonce\":\"AQEB", "\"nonce\":\"AQEBAQEB", ERR_FORMAT },
		{ "\"nonce\":\"AQEB", "\"nonce\":\"A+EB", ERR_FORMAT },
		{ "\"nonce\":\"AQEB", "\"nonce\":\"A EB", ERR_FORMAT },
		{ "\"eventlog\":\"bG9n\"", "\"eventlog\":\"bG9n=\"", ERR_FORMAT },
		{ "\"eventlog\":\"bG9n\"", "\"eventlog\":\"bG9\"", ERR_FORMAT },
		{ "\"eventlog\":\"bG9n\"", "\"eventlog\":null", ERR_FORMAT },
		{ "\"23\":", "\"24\":", ERR_FORMAT },
		{ "\"23\":", "\"023\":", ERR_FORMAT },
		{ "\"23\":", "\"-1\":", ERR_FORMAT },
		{ "\"23\":", "\"0\":", ERR_FORMAT },
		{ "fe\"", "FE\"", ERR_FORMAT },
		{ "fe\"", "f\"", ERR_FORMAT },
		{ "fe\"", "fe00\"", ERR_FORMAT },
		{ "{\"bank\"", "[{\"bank\"", ERR_FORMAT },
	};
	struct evidence e CLEANUP(evidence_done);
	CLEANUP_BUF struct buf text = BUF_INIT(65536);
	struct fault f = { 0 };
	(void)state;
	make(&e);
	assert_int_equal(evidence_text(&e, &text, &f), 0);
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++)
		refused(buf_cstr(&text), ROWS[i].old, ROWS[i].new, ROWS[i].rc);
}

/* Cut anywhere, or with a byte behind it. */
static void test_truncated(void **state)
{
	struct evidence e CLEANUP(evidence_done), out CLEANUP(evidence_done) = { 0 };
	CLEANUP_BUF struct buf text = BUF_INIT(65536);
	struct fault f = { 0 };
	(void)state;
	make(&e);
	assert_int_equal(evidence_text(&e, &text, &f), 0);
	for (size_t n = 0; n < text.len; n++)
		assert_int_equal(evidence_parse((char *)text.data, n, &out, &f), ERR_FORMAT);
	assert_int_equal(buf_add(&text, "0", 1), 0);
	assert_int_equal(evidence_parse((char *)text.data, text.len, &out, &f), ERR_FORMAT);
	assert_int_equal(evidence_parse("", (size_t)EVIDENCE_TEXT_MAX + 1, &out, &f), ERR_LIMIT);
}

static void test_maxima(void **state)
{
	struct evidence e CLEANUP(evidence_done), out CLEANUP(evidence_done) = { 0 };
	CLEANUP_BUF struct buf text = BUF_INIT(65536);
	struct fault f = { 0 };
	uint8_t *zeros = calloc(1, TPM_ATTEST_MAX + 1);
	(void)state;
	make(&e);
	buf_clear(&e.quote);
	assert_int_equal(buf_add(&e.quote, zeros, TPM_ATTEST_MAX), 0);
	assert_int_equal(evidence_check_sizes(&e, &f), 0);
	assert_int_equal(evidence_text(&e, &text, &f), 0);
	assert_int_equal(evidence_parse((char *)text.data, text.len, &out, &f), 0);
	e.quote.max++;
	assert_int_equal(buf_add(&e.quote, zeros, 1), 0);
	assert_int_equal(evidence_check_sizes(&e, &f), ERR_LIMIT);
	assert_int_equal(evidence_text(&e, &text, &f), ERR_LIMIT);
	free(zeros);
	/* A character more than fits. */
	buf_clear(&e.quote);
	buf_clear(&text);
	evidence_done(&out);
	assert_int_equal(evidence_text(&e, &text, &f), 0);
	CLEANUP_BUF struct buf large = BUF_INIT(65536);
	assert_int_equal(buf_addf(&large, "\"quote\":\"%0*d\"", 4 * (TPM_ATTEST_MAX / 3 + 1), 0),
			 0);
	refused(buf_cstr(&text), "\"quote\":\"\"", buf_cstr(&large), ERR_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_maxima),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
