/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <string.h>

#include "attest/eventlog.h"
#include "base/buf.h"

#define ANY_MAX (4 * EVENTLOG_BYTES_MAX)

static const uint16_t TWO[] = { HASH_SHA1, HASH_SHA256 };
static const uint8_t ZERO[4], ONES[4] = { 0xff, 0xff, 0xff, 0xff }, ERROR[4] = { 1 };
static const char LOCALITY_3[] = "StartupLocality\0\3", LOCALITY_4[] = "StartupLocality\0\4",
		  LOCALITY_0[] = "StartupLocality\0\0", LOCALITY_2[] = "StartupLocality\0\2";

static void put(struct buf *b, const void *data, size_t n)
{
	assert_int_equal(buf_add(b, data, n), 0);
}

static void put_number(struct buf *b, uint64_t value, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t byte = (uint8_t)(value >> 8 * i);
		put(b, &byte, 1);
	}
}

/* A header with the N algorithms of ALGS; the whole of it can be altered at its known places. */
static void put_header(struct buf *b, const uint16_t *algs, size_t n)
{
	put_number(b, 0, 4);
	put_number(b, EV_NO_ACTION, 4);
	put_number(b, 0, 8);
	put_number(b, 0, 8);
	put_number(b, 0, 4);
	put_number(b, 16 + 4 + 4 + 4 + 4 * n + 1 + 3, 4);
	put(b, "Spec ID Event03", 16);
	put_number(b, 0, 4);
	put(b, "\0\2\0\2", 4);
	put_number(b, n, 4);
	for (size_t i = 0; i < n; i++) {
		put_number(b, algs[i], 2);
		put_number(b, hash_bytes(algs[i]), 2);
	}
	put(b, "\3abc", 4);
}
#define AT_PCR	     0
#define AT_TYPE	     4
#define AT_DIGEST    8
#define AT_SIZE	     28
#define AT_SIGNATURE 32
#define AT_PLATFORM  48
#define AT_MINOR     52
#define AT_MAJOR     53
#define AT_UINTN     55
#define AT_N	     56
#define AT_ALG	     60
#define AT_VENDOR    68 /* with two algorithms */

/* An event of the algorithms in TWO, whose digests are of MEASURED; NULL for digests of zeros. */
static void put_event2(struct buf *b, uint32_t pcr, uint32_t type, const void *measured, size_t m,
		       const void *data, size_t n)
{
	put_number(b, pcr, 4);
	put_number(b, type, 4);
	put_number(b, 2, 4);
	for (size_t i = 0; i < 2; i++) {
		uint8_t digest[HASH_BYTES_MAX] = { 0 };
		if (measured)
			assert_int_equal(hash_data(TWO[i], measured, m, digest), 0);
		put_number(b, TWO[i], 2);
		put(b, digest, hash_bytes(TWO[i]));
	}
	put_number(b, n, 4);
	put(b, data, n);
}

static void put_event(struct buf *b, uint32_t pcr, uint32_t type, const void *data, size_t n)
{
	put_event2(b, pcr, type, type == EV_NO_ACTION ? NULL : data, n, data, n);
}

static void put_separators(struct buf *b, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i <= to; i++)
		put_event(b, i, EV_SEPARATOR, ZERO, 4);
}

/* The bytes of an event with DATA of N bytes. */
#define EVENT_BYTES(n) (4 + 4 + 4 + 2 + 20 + 2 + 32 + 4 + (n))

static void put_good(struct buf *b)
{
	put_header(b, TWO, 2);
	put_event(b, 0, EV_NO_ACTION, "something else", 14);
	put_event(b, 0, EV_S_CRTM_VERSION, "1.0", 3);
	put_event(b, 7, EV_EFI_VARIABLE_DRIVER_CONFIG, "a variable", 10);
	put_separators(b, 0, 7);
	put_event(b, 7, EV_EFI_VARIABLE_AUTHORITY, "an authority", 12);
	put_event2(b, 4, EV_EFI_BOOT_SERVICES_APPLICATION, "image", 5, "path", 4);
	put_event(b, 9, EV_EVENT_TAG, "initrd", 6);
	put_event(b, 16, EV_IPL, "debug", 5);
	put_event(b, 23, EV_IPL, "application", 11);
}

static int parse(const struct buf *b, struct eventlog **out, const char **id)
{
	struct fault f = { 0 };
	*id = NULL;
	int rc = eventlog_parse(b->data, b->len, HASH_SHA256, out, id, &f);
	if (rc < 0) {
		assert_non_null(*id);
		assert_non_null(finding_meaning(*id));
		assert_int_equal(f.rc, rc);
		assert_true(f.text[0] != '\0');
	}
	return rc;
}

static struct eventlog *good(const struct buf *b)
{
	struct eventlog *l = NULL;
	const char *id;
	assert_int_equal(parse(b, &l, &id), 0);
	assert_non_null(l);
	return l;
}

#define refused(b, wanted_id, wanted_rc)                                                           \
	do {                                                                                       \
		struct eventlog *refused_log = NULL;                                               \
		const char *refused_id;                                                            \
		assert_int_equal(parse(b, &refused_log, &refused_id), wanted_rc);                  \
		assert_string_equal(refused_id, wanted_id);                                        \
		assert_null(refused_log);                                                          \
	} while (0)

static void extend(uint8_t value[static 32], const void *data, size_t n)
{
	uint8_t digest[32];
	assert_int_equal(hash_data(HASH_SHA256, data, n, digest), 0);
	assert_int_equal(hash_extend(HASH_SHA256, value, digest), 0);
}

static void test_a_log_is_read_and_replayed(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
	struct pcrs got;
	uint8_t expected[PCR_COUNT][32] = { 0 };
	put_good(&b);
	struct eventlog *l = good(&b);
	assert_int_equal(eventlog_count(l), 16);
	const struct event *e = eventlog_event(l, 2);
	assert_int_equal(e->pcr, 7);
	assert_int_equal(e->type, EV_EFI_VARIABLE_DRIVER_CONFIG);
	assert_int_equal(e->data_bytes, 10);
	assert_memory_equal(e->data, "a variable", 10);
	assert_null(eventlog_event(l, 16));

	extend(expected[0], "1.0", 3);
	extend(expected[7], "a variable", 10);
	for (int i = 0; i < 8; i++)
		extend(expected[i], ZERO, 4);
	extend(expected[7], "an authority", 12);
	extend(expected[4], "image", 5);
	extend(expected[9], "initrd", 6);
	extend(expected[16], "debug", 5);
	assert_int_equal(eventlog_replay(l, &got), 0);
	assert_int_equal(got.bank, HASH_SHA256);
	assert_int_equal(got.mask, 0x1ffff);
	for (int i = 0; i < 17; i++)
		assert_memory_equal(got.value[i], expected[i], 32);
	eventlog_free(l);
}

static void test_what_an_event_says(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
	put_good(&b);
	put_event2(&b, 7, EV_EFI_VARIABLE_AUTHORITY, "something", 9, "other", 5);
	put_event(&b, 4, EV_EFI_BOOT_SERVICES_APPLICATION, "not Authenticode", 16);
	put_event(&b, 8, EV_IPL, "grub_cmd", 8);
	struct eventlog *l = good(&b);
	static const int MEASURED[] = { 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0 };
	static const int BY_FIRMWARE[] = {
		0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
	};
	assert_int_equal(eventlog_count(l), 19);
	for (size_t i = 0; i < 19; i++) {
		assert_int_equal(eventlog_data_measured(l, i), MEASURED[i]);
		assert_int_equal(eventlog_by_firmware(l, i), BY_FIRMWARE[i]);
	}
	assert_int_equal(eventlog_data_measured(l, 19), 0);
	assert_int_equal(eventlog_by_firmware(l, 19), 0);
	eventlog_free(l);
}

static void test_every_truncation_is_found(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
	struct pcrs whole, cut;
	put_good(&b);
	struct eventlog *l = good(&b);
	assert_int_equal(eventlog_replay(l, &whole), 0);
	eventlog_free(l);
	b.len -= EVENT_BYTES(11); /* PCR 23 is not replayed */
	l = good(&b);
	assert_int_equal(eventlog_replay(l, &cut), 0);
	assert_memory_equal(&whole, &cut, sizeof(whole));
	eventlog_free(l);
	for (size_t n = b.len; n-- > 0;) {
		CLEANUP_BUF struct buf part = BUF_INIT(ANY_MAX); /* its end is the memory's */
		struct fault f = { 0 };
		const char *id = NULL;
		put(&part, b.data, n);
		l = NULL;
		int rc = eventlog_parse(part.data, n, HASH_SHA256, &l, &id, &f);
		if (rc < 0) {
			assert_null(l);
			assert_true(rc == ERR_TRUNCATED || strcmp(id, "log.separator") == 0);
			continue;
		}
		/* Between two events: the replay tells. */
		assert_int_equal(eventlog_replay(l, &cut), 0);
		assert_memory_not_equal(&whole, &cut, sizeof(whole));
		eventlog_free(l);
	}
}

static void test_nothing_stands_behind_the_last_event(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
	put_good(&b);
	for (int i = 0; i < 15; i++) {
		put(&b, "\0", 1);
		refused(&b, i < 11 ? "log.truncated" : "log.digests",
			i < 11 ? ERR_TRUNCATED : ERR_FORMAT);
	}
}

static void test_the_header(void **state)
{
	(void)state;
	static const struct {
		size_t at;
		uint8_t value;
		const char *id;
	} ROWS[] = {
		{ AT_PCR, 1, "log.header" },
		{ AT_TYPE, EV_S_CRTM_VERSION, "log.header" },
		{ AT_DIGEST + 19, 1, "log.header" },
		{ AT_SIGNATURE + 14, '2', "log.header" },
		{ AT_SIGNATURE + 15, '!', "log.header" },
		{ AT_PLATFORM, 2, "log.header" },
		{ AT_MINOR, 1, "log.header" },
		{ AT_MAJOR, 1, "log.header" },
		{ AT_UINTN, 0, "log.header" },
		{ AT_UINTN, 3, "log.header" },
		{ AT_VENDOR, 2, "log.header" },
		{ AT_VENDOR, 4, "log.header" },
		{ AT_SIZE, 39, "log.header" },
		{ AT_SIZE, 35, "log.header" },
		{ AT_SIZE, 27, "log.header" },
		{ AT_SIZE, 23, "log.header" },
		{ AT_SIZE, 19, "log.header" },
		{ AT_SIZE, 15, "log.header" },
		{ AT_SIZE, 0, "log.header" },
		{ AT_N, 0, "log.algorithm" },
		{ AT_N, 9, "log.algorithm" },
		{ AT_N, 5, "log.algorithm" }, /* reads on into the vendor's bytes */
		{ AT_N + 3, 0x80, "log.algorithm" },
		{ AT_ALG, 0x10, "log.algorithm" },
		{ AT_ALG + 2, 32, "log.algorithm" },
		{ AT_ALG + 4, 0x27, "log.bank" }, /* SHA3-256 in SHA-256's place */
		{ AT_ALG + 4, 0x12, "log.bank" },
	};
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
		put_good(&b);
		assert_int_not_equal(b.data[ROWS[i].at], ROWS[i].value);
		b.data[ROWS[i].at] = ROWS[i].value;
		refused(&b, ROWS[i].id, ERR_VERSION);
	}
}

static void test_the_banks(void **state)
{
	(void)state;
	static const uint16_t SHA1_ONLY[] = { HASH_SHA1 }, TWICE[] = { HASH_SHA256, HASH_SHA256 };
	static const uint16_t BAD[] = { 0, HASH_SHA1, 0x0012, 0xffff };
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX), sha1 = BUF_INIT(ANY_MAX),
			       twice = BUF_INIT(ANY_MAX);
	struct eventlog *l = NULL;
	const char *id = NULL;
	put_header(&sha1, SHA1_ONLY, 1);
	refused(&sha1, "log.bank", ERR_VERSION);
	put_header(&twice, TWICE, 2);
	refused(&twice, "log.algorithm", ERR_VERSION);
	put_good(&b);
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
		assert_int_equal(eventlog_parse(b.data, b.len, BAD[i], &l, &id, NULL), ERR_VERSION);
		assert_string_equal(id, "log.bank");
	}
	assert_int_equal(eventlog_parse(b.data, b.len, HASH_SHA384, &l, &id, NULL), ERR_VERSION);
	assert_string_equal(id, "log.bank");
	assert_null(l);
}

/* What is altered is the first event, of PCR 0, behind the header. */
static void test_digests(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
	put_good(&b);
	size_t at = AT_VENDOR + 4;
	static const struct {
		size_t at;
		uint8_t value;
	} ROWS[] = {
		{ 8, 0 },     { 8, 1 },	 { 8, 3 },     { 11, 1 }, /* how many */
		{ 12, 0x0b },					  /* SHA-256 twice */
		{ 12, 0x0c }, { 12, 0 }, { 34, 0x04 },		  /* SHA-384, none, SHA-1 twice */
	};
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		uint8_t was = b.data[at + ROWS[i].at];
		b.data[at + ROWS[i].at] = ROWS[i].value;
		refused(&b, "log.digests", ERR_FORMAT);
		b.data[at + ROWS[i].at] = was;
	}
	eventlog_free(good(&b));
}

static void test_digests_come_in_any_order(void **state)
{
	(void)state;
	static const uint16_t REVERSE[] = { HASH_SHA256, HASH_SHA1 };
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
	put_header(&b, REVERSE, 2);
	put_event(&b, 0, EV_S_CRTM_VERSION, "1.0", 3);
	put_separators(&b, 0, 7);
	struct eventlog *l = good(&b);
	assert_int_equal(eventlog_data_measured(l, 0), 1);
	eventlog_free(l);
}

static void test_pcrs_and_types(void **state)
{
	(void)state;
	static const uint32_t UNKNOWN[] = { 0,		2,	    0x14,	0x400,
					    0x7fffffff, 0x80000000, 0x8000000e, 0x8000000f,
					    0x800000df, 0x800000e5, 0xffffffff };
	for (size_t i = 0; i < sizeof(UNKNOWN) / sizeof(UNKNOWN[0]); i++) {
		CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
		put_good(&b);
		put_event(&b, 8, UNKNOWN[i], "x", 1);
		refused(&b, "log.type", ERR_VERSION);
	}
	static const uint32_t PCRS[] = { 24, 0x80000000, 0xffffffff };
	for (size_t i = 0; i < sizeof(PCRS) / sizeof(PCRS[0]); i++) {
		CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX), none = BUF_INIT(ANY_MAX);
		put_good(&b);
		put_event(&b, PCRS[i], EV_IPL, "x", 1);
		refused(&b, "log.pcr", ERR_FORMAT);
		put_good(&none);
		put_event(&none, PCRS[i], EV_NO_ACTION, "x", 1);
		refused(&none, "log.pcr", ERR_FORMAT);
	}
}

static void test_sizes(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX), huge = BUF_INIT(ANY_MAX);
	static uint8_t data[EVENTLOG_EVENT_BYTES_MAX + 1];
	put_good(&b);
	put_event(&b, 8, EV_IPL, data, EVENTLOG_EVENT_BYTES_MAX);
	eventlog_free(good(&b));
	put_event(&b, 8, EV_IPL, data, EVENTLOG_EVENT_BYTES_MAX + 1);
	refused(&b, "log.size", ERR_LIMIT);

	/* Three gigabytes, of which nothing is there. */
	put_good(&huge);
	put_event(&huge, 8, EV_IPL, data, 0);
	memcpy(huge.data + huge.len - 4, "\0\0\0\xc0", 4);
	refused(&huge, "log.size", ERR_LIMIT);
	huge.len = 0;
	put_good(&huge);
	memcpy(huge.data + AT_SIZE, "\0\0\0\xc0", 4);
	refused(&huge, "log.size", ERR_LIMIT);

	huge.len = 0;
	put_good(&huge);
	while (huge.len <= EVENTLOG_BYTES_MAX)
		put_event(&huge, 8, EV_IPL, data, 60000);
	size_t over = huge.len - EVENTLOG_BYTES_MAX;
	refused(&huge, "log.size", ERR_LIMIT);
	huge.len -= EVENT_BYTES(60000);
	put_event(&huge, 8, EV_IPL, data, 60000 - over);
	assert_int_equal(huge.len, EVENTLOG_BYTES_MAX);
	eventlog_free(good(&huge));
}

static void test_count(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
	put_header(&b, TWO, 2);
	put_separators(&b, 0, 7);
	for (size_t i = 8; i < EVENTLOG_EVENTS_MAX; i++)
		put_event(&b, 8, EV_IPL, NULL, 0);
	struct eventlog *l = good(&b);
	assert_int_equal(eventlog_count(l), EVENTLOG_EVENTS_MAX);
	eventlog_free(l);
	put_event(&b, 8, EV_IPL, NULL, 0);
	refused(&b, "log.count", ERR_LIMIT);
}

static void test_separators(void **state)
{
	(void)state;
	/* Behind all eight: a second one, as such or under another type. */
	static const struct {
		uint32_t pcr, type;
		const uint8_t *measured, *data;
		const char *id;
	} BEHIND[] = {
		{ 7, EV_SEPARATOR, ZERO, ZERO, "log.separator" },
		{ 0, EV_SEPARATOR, ONES, ONES, "log.separator" },
		{ 7, EV_SEPARATOR, ERROR, ERROR, "log.firmware-error" },
		{ 7, EV_EFI_ACTION, ZERO, ZERO, "log.separator" },
		{ 4, EV_IPL, ONES, ONES, "log.separator" },
		{ 7, EV_EFI_VARIABLE_DRIVER_CONFIG, ZERO, (const uint8_t *)"abcd",
		  "log.separator" },
		{ 5, EV_SEPARATOR, ZERO, ONES, "log.separator" },
		{ 5, EV_SEPARATOR, (const uint8_t *)"abcd", ZERO, "log.separator" },
	};
	for (size_t i = 0; i < sizeof(BEHIND) / sizeof(BEHIND[0]); i++) {
		CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
		put_good(&b);
		put_event2(&b, BEHIND[i].pcr, BEHIND[i].type, BEHIND[i].measured, 4, BEHIND[i].data,
			   4);
		refused(&b, BEHIND[i].id, ERR_POLICY);
	}
	/* In place of PCR 7's. */
	static const struct {
		uint32_t type;
		const uint8_t *measured, *data;
		size_t n;
		const char *id;
	} INSTEAD[] = {
		{ EV_SEPARATOR, ONES, ONES, 4, NULL },
		{ EV_EFI_ACTION, (const uint8_t *)"abcd", (const uint8_t *)"abcd", 4,
		  "log.separator" },
		{ EV_EFI_ACTION, ZERO, ZERO, 4, "log.separator" },
		{ EV_NO_ACTION, NULL, ZERO, 4, "log.separator" },
		{ EV_NO_ACTION, ZERO, ZERO, 4, "log.event" },
		{ EV_SEPARATOR, ZERO, ONES, 4, "log.separator" },
		{ EV_SEPARATOR, ZERO, ZERO, 3, "log.separator" },
		{ EV_SEPARATOR, (const uint8_t *)"abcd", (const uint8_t *)"abcd", 4,
		  "log.separator" },
		{ EV_SEPARATOR, ERROR, ERROR, 4, "log.firmware-error" },
		{ EV_SEPARATOR, ERROR, (const uint8_t *)"why", 3, "log.firmware-error" },
		{ EV_EFI_ACTION, ERROR, ERROR, 4, "log.separator" },
	};
	for (size_t i = 0; i < sizeof(INSTEAD) / sizeof(INSTEAD[0]); i++) {
		CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
		put_header(&b, TWO, 2);
		put_separators(&b, 0, 6);
		put_event2(&b, 7, INSTEAD[i].type, INSTEAD[i].measured, 4, INSTEAD[i].data,
			   INSTEAD[i].n);
		if (INSTEAD[i].id)
			refused(&b, INSTEAD[i].id,
				INSTEAD[i].id[4] == 'e' ? ERR_FORMAT : ERR_POLICY);
		else
			eventlog_free(good(&b));
	}
	/* None at all: the empty log with a real TPM's values. */
	CLEANUP_BUF struct buf empty = BUF_INIT(ANY_MAX);
	put_header(&empty, TWO, 2);
	refused(&empty, "log.separator", ERR_POLICY);
	/* Above PCR 7 a separator means nothing. */
	put_separators(&empty, 0, 12);
	put_separators(&empty, 12, 12);
	eventlog_free(good(&empty));
}

static void replay_pcr0(const struct buf *b, uint8_t first, const char *events)
{
	struct pcrs got;
	uint8_t value[32] = { 0 };
	value[31] = first;
	for (const char *p = events; *p; p++)
		extend(value, p, 1);
	extend(value, ZERO, 4);
	struct eventlog *l = good(b);
	assert_int_equal(eventlog_replay(l, &got), 0);
	assert_memory_equal(got.value[0], value, 32);
	eventlog_free(l);
}

static void test_startup_locality(void **state)
{
	(void)state;
	static const struct {
		const char *data;
		uint8_t first;
	} GOOD[] = { { LOCALITY_0, 0 }, { LOCALITY_3, 3 }, { LOCALITY_4, 4 } };
	for (size_t i = 0; i < 3; i++) {
		CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
		put_header(&b, TWO, 2);
		put_event(&b, 0, EV_NO_ACTION, GOOD[i].data, 17);
		put_event(&b, 0, EV_S_CRTM_VERSION, "v", 1);
		put_separators(&b, 0, 7);
		replay_pcr0(&b, GOOD[i].first, "v");
		/* A second one, and a late one. */
		put_event(&b, 0, EV_NO_ACTION, GOOD[i].data, 17);
		refused(&b, "log.locality", ERR_FORMAT);
	}
	CLEANUP_BUF struct buf late = BUF_INIT(ANY_MAX), bad = BUF_INIT(ANY_MAX),
			       size = BUF_INIT(ANY_MAX), pcr = BUF_INIT(ANY_MAX);
	put_good(&late);
	put_event(&late, 0, EV_NO_ACTION, LOCALITY_3, 17);
	refused(&late, "log.locality", ERR_FORMAT);
	put_header(&bad, TWO, 2);
	put_event(&bad, 0, EV_NO_ACTION, LOCALITY_2, 17);
	refused(&bad, "log.locality", ERR_FORMAT);
	put_header(&size, TWO, 2);
	put_event(&size, 0, EV_NO_ACTION, LOCALITY_3, 16);
	refused(&size, "log.locality", ERR_FORMAT);
	put_header(&pcr, TWO, 2);
	put_event(&pcr, 1, EV_NO_ACTION, LOCALITY_3, 17);
	refused(&pcr, "log.locality", ERR_FORMAT);
}

static void test_hcrtm(void **state)
{
	(void)state;
	for (int said = 0; said < 3; said++) {
		CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
		put_header(&b, TWO, 2);
		if (said == 1)
			put_event(&b, 0, EV_NO_ACTION, LOCALITY_4, 17);
		put_event(&b, 0, EV_EFI_HCRTM_EVENT, "h", 1);
		if (said == 2)
			put_event(&b, 0, EV_NO_ACTION, LOCALITY_4, 17);
		put_event(&b, 0, EV_S_CRTM_VERSION, "v", 1);
		put_separators(&b, 0, 7);
		replay_pcr0(&b, 4, "hv");
		put_event(&b, 0, EV_EFI_HCRTM_EVENT, "h", 1);
		refused(&b, "log.locality", ERR_FORMAT);
	}
	CLEANUP_BUF struct buf before = BUF_INIT(ANY_MAX), behind = BUF_INIT(ANY_MAX),
			       pcr = BUF_INIT(ANY_MAX), twice = BUF_INIT(ANY_MAX);
	put_header(&before, TWO, 2);
	put_event(&before, 0, EV_NO_ACTION, LOCALITY_3, 17);
	put_event(&before, 0, EV_EFI_HCRTM_EVENT, "h", 1);
	refused(&before, "log.locality", ERR_FORMAT);
	put_header(&behind, TWO, 2);
	put_event(&behind, 0, EV_EFI_HCRTM_EVENT, "h", 1);
	put_event(&behind, 0, EV_NO_ACTION, LOCALITY_3, 17);
	refused(&behind, "log.locality", ERR_FORMAT);
	put_header(&pcr, TWO, 2);
	put_event(&pcr, 1, EV_EFI_HCRTM_EVENT, "h", 1);
	refused(&pcr, "log.locality", ERR_FORMAT);
	put_header(&twice, TWO, 2);
	put_event(&twice, 0, EV_EFI_HCRTM_EVENT, "h", 1);
	put_event(&twice, 0, EV_EFI_HCRTM_EVENT, "h", 1);
	refused(&twice, "log.locality", ERR_FORMAT);
}

static void test_a_second_header(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(ANY_MAX);
	put_good(&b);
	put_event(&b, 0, EV_NO_ACTION, "Spec ID Event03\0....", 20);
	refused(&b, "log.header", ERR_VERSION);
}

/* Whatever is done to the order or the number of events, the replay tells. */
static void test_dropped_reordered_appended(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf c = BUF_INIT(ANY_MAX);
	struct pcrs whole, other;
	for (int i = 0; i < 4; i++) {
		c.len = 0;
		put_header(&c, TWO, 2);
		put_separators(&c, 0, 7);
		if (i == 2)
			put_event(&c, 4, EV_EFI_ACTION, "second", 6);
		if (i != 1)
			put_event(&c, 4, EV_EFI_ACTION, "first", 5);
		if (i != 2)
			put_event(&c, 4, EV_EFI_ACTION, "second", 6);
		if (i == 3)
			put_event(&c, 4, EV_EFI_ACTION, "third", 5);
		struct eventlog *l = good(&c);
		assert_int_equal(eventlog_replay(l, i ? &other : &whole), 0);
		if (i)
			assert_memory_not_equal(&whole, &other, sizeof(whole));
		eventlog_free(l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_log_is_read_and_replayed),
		cmocka_unit_test(test_what_an_event_says),
		cmocka_unit_test(test_every_truncation_is_found),
		cmocka_unit_test(test_nothing_stands_behind_the_last_event),
		cmocka_unit_test(test_the_header),
		cmocka_unit_test(test_the_banks),
		cmocka_unit_test(test_digests),
		cmocka_unit_test(test_digests_come_in_any_order),
		cmocka_unit_test(test_pcrs_and_types),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_count),
		cmocka_unit_test(test_separators),
		cmocka_unit_test(test_startup_locality),
		cmocka_unit_test(test_hcrtm),
		cmocka_unit_test(test_a_second_header),
		cmocka_unit_test(test_dropped_reordered_appended),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
