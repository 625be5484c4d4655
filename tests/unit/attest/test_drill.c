/* SPDX-License-Identifier: BSD-3-Clause */
/* A release rehearsed with a software TPM, and what may come between attesting and opening. */
#include "tests/unit/attest/swtpm_bed.h"

#include "attest/drill.h"
#include "tests/unit/test.h"

static struct swtpm_bed bed;
static struct evidence evidence;
static uint8_t x[32], y[32];

static void good(int rc, const struct fault *f)
{
	if (rc < 0)
		fail_msg("%d: %s", rc, f->text);
}

/* A TPM that has attested, without logs. */
static int open_bed(void **state)
{
	static const uint8_t HOST[UUID_BYTES], NO_WORKER[ATTEST_WORKER_KEY_BYTES];
	struct challenge c = { .bank = HASH_SHA256, .mask = CHALLENGE_MASK };
	struct hosttpm *t = NULL;
	struct fault f = { 0 };
	const char *id;
	char empty[128];
	(void)state;
	swtpm_bed_open(&bed, 0);
	swtpm_bed_start(&bed);
	good(hosttpm_open(bed.tcti, &t, &f), &f);
	snprintf(empty, sizeof(empty), "%s/log", bed.folder);
	FILE *out = fopen(empty, "we");
	assert_non_null(out);
	fclose(out);
	good(evidence_gather(t, &c, HOST, NO_WORKER, empty, empty, &evidence, &f), &f);
	good(bk_check((struct blob){ evidence.bk_pub.data, evidence.bk_pub.len }, &evidence.pcrs, x,
		      y, &id, &f),
	     &f);
	hosttpm_close(t);
	return 0;
}

static int close_bed(void **state)
{
	(void)state;
	evidence_done(&evidence);
	swtpm_bed_done(&bed);
	return 0;
}

/* The drill's one finding. */
static struct finding drill(void)
{
	struct hosttpm *t = NULL;
	struct findings *found = calloc(1, sizeof(*found));
	struct fault f = { 0 };
	good(hosttpm_open(bed.tcti, &t, &f), &f);
	good(drill_release(t, &evidence, x, y, found, &f), &f);
	hosttpm_close(t);
	assert_int_equal(found->n, 1);
	struct finding one = found->at[0];
	free(found);
	assert_string_equal(one.id, "key.release");
	return one;
}

static void failed(const char *cause)
{
	struct finding one = drill();
	assert_int_equal(one.verdict, FINDING_FAILED);
	if (!strstr(one.evidence, cause))
		fail_msg("'%s' instead of '%s'", one.evidence, cause);
}

static void test_release(void **state)
{
	(void)state;
	assert_int_equal(drill().verdict, FINDING_OK);
	/* IMA's next measurement is not in the way. */
	swtpm_bed_extend(&bed, 10, 0x10);
	assert_int_equal(drill().verdict, FINDING_OK);
}

static void test_changed_pcrs(void **state)
{
	(void)state;
	swtpm_bed_extend(&bed, 14, 0x14);
	failed("PCRs are no longer those");
}

static void test_reset(void **state)
{
	(void)state;
	swtpm_bed_stop(&bed);
	swtpm_bed_start(&bed);
	failed("was reset");
}

/* Sealed to another key than the TPM's: x and y are the base point's. */
static void test_another_key(void **state)
{
	static const uint8_t GX[32] = { 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47,
					0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2,
					0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0,
					0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96 };
	static const uint8_t GY[32] = { 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b,
					0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16,
					0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce,
					0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5 };
	(void)state;
	memcpy(x, GX, 32);
	memcpy(y, GY, 32);
	failed("does not open");
}

/* Nothing is sealed to what is no point: no finding, an error. */
static void test_no_point(void **state)
{
	struct hosttpm *t = NULL;
	struct findings *found = calloc(1, sizeof(*found));
	struct fault f = { 0 }, why = { 0 };
	(void)state;
	memset(x, 0xff, sizeof(x));
	good(hosttpm_open(bed.tcti, &t, &f), &f);
	assert_int_equal(drill_release(t, &evidence, x, y, found, &why), ERR_FORMAT);
	hosttpm_close(t);
	assert_int_equal(found->n, 0);
	free(found);
}

int main(void)
{
	/* As a program does: the TSS2 would write each refusal to stderr. */
	setenv("TSS2_LOG", "all+none", 0);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_release, open_bed, close_bed),
		cmocka_unit_test_setup_teardown(test_changed_pcrs, open_bed, close_bed),
		cmocka_unit_test_setup_teardown(test_reset, open_bed, close_bed),
		cmocka_unit_test_setup_teardown(test_another_key, open_bed, close_bed),
		cmocka_unit_test_setup_teardown(test_no_point, open_bed, close_bed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
