/* SPDX-License-Identifier: BSD-3-Clause */
/* The event logs in logs.txt and the measurement lists in lists.txt, as make.py wrote them.  Usage:
 * test_vectors FOLDER */
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/eventlog.h"
#include "attest/ima.h"
#include "base/buf.h"

#define LOG_MAX (64 * 1024)

struct vector {
	char name[64], result[64], aggregate[64];
	uint16_t bank;
	struct buf log;
	struct pcrs pcrs;
	size_t entries;
};

static const char *folder;

static uint16_t bank_of(const char *name)
{
	static const uint16_t BANKS[] = { HASH_SHA1, HASH_SHA256, HASH_SHA384, HASH_SHA512 };
	for (size_t i = 0; i < 4; i++)
		if (strcmp(hash_name(BANKS[i]), name) == 0)
			return BANKS[i];
	fail_msg("no bank %s", name);
	return 0;
}

static void put_hex(struct buf *b, const char *hex)
{
	for (; hex[0] && hex[1]; hex += 2) {
		char digits[3] = { hex[0], hex[1], '\0' }, *end;
		uint8_t byte = (uint8_t)strtoul(digits, &end, 16);
		assert_int_equal(*end, '\0');
		assert_int_equal(buf_add(b, &byte, 1), 0);
	}
	assert_int_equal(*hex, '\0');
}

static void take_pcr(struct vector *v, const char *text)
{
	CLEANUP_BUF struct buf value = BUF_INIT(HASH_BYTES_MAX);
	char *hex;
	unsigned long i = strtoul(text, &hex, 10);
	assert_true(i < PCR_COUNT && *hex == ' ');
	put_hex(&value, hex + 1);
	assert_int_equal(value.len, hash_bytes(v->bank));
	memcpy(v->pcrs.value[i], value.data, value.len);
	v->pcrs.mask |= 1u << i;
}

/* The next case of FILE: 1, or 0 at its end. */
static int next(FILE *file, struct vector *v)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	int ended = 0;
	*v = (struct vector){ .log = BUF_INIT(LOG_MAX) };
	while (!ended && (n = getline(&line, &room, file)) > 0) {
		if (line[n - 1] == '\n')
			line[n - 1] = '\0';
		char *value = strchr(line, ' ');
		if (line[0] == '#' || line[0] == '\0')
			continue;
		if (value)
			*value++ = '\0';
		ended = strcmp(line, "end") == 0;
		if (ended)
			continue;
		assert_non_null(value);
		if (strcmp(line, "case") == 0)
			snprintf(v->name, sizeof(v->name), "%s", value);
		else if (strcmp(line, "bank") == 0)
			v->pcrs.bank = v->bank = bank_of(value);
		else if (strcmp(line, "result") == 0)
			snprintf(v->result, sizeof(v->result), "%s", value);
		else if (strcmp(line, "aggregate") == 0)
			snprintf(v->aggregate, sizeof(v->aggregate), "%s", value);
		else if (strcmp(line, "log") == 0)
			put_hex(&v->log, value);
		else if (strcmp(line, "pcr") == 0)
			take_pcr(v, value);
		else if (strcmp(line, "entries") == 0)
			v->entries = strtoul(value, NULL, 10);
		else
			fail_msg("what is %s?", line);
	}
	free(line);
	return ended;
}

static FILE *open_vectors(const char *name)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	return file;
}

/* The replay of LOG and the machine's PCRs: equal, or not. */
static void compare(const struct vector *v, const struct eventlog *log)
{
	struct pcrs got;
	int same = 1;
	assert_int_equal(eventlog_replay(log, &got), 0);
	assert_int_equal(got.mask, v->pcrs.mask);
	for (int i = 0; i < 17; i++)
		same &= memcmp(got.value[i], v->pcrs.value[i], hash_bytes(v->bank)) == 0;
	if (same != (strcmp(v->result, "ok") == 0))
		fail_msg("%s: the replay %s the PCRs", v->name, same ? "gives" : "does not give");
}

static void test_logs(void **state)
{
	(void)state;
	FILE *file = open_vectors("logs.txt");
	struct vector v;
	unsigned ok = 0, differ = 0, refused = 0;
	while (next(file, &v)) {
		struct eventlog *log = NULL;
		const char *id = NULL;
		int rc = eventlog_parse(v.log.data, v.log.len, v.bank, &log, &id, NULL);
		if (rc < 0) {
			if (strcmp(id, v.result) != 0)
				fail_msg("%s: %s, not %s", v.name, id, v.result);
			refused++;
		} else {
			if (strchr(v.result, '.'))
				fail_msg("%s was not refused", v.name);
			compare(&v, log);
			*(strcmp(v.result, "ok") == 0 ? &ok : &differ) += 1;
		}
		eventlog_free(log);
		buf_done(&v.log);
	}
	fclose(file);
	assert_true(ok >= 10 && differ >= 10 && refused >= 40);
}

static void test_aggregate(const struct vector *v, const struct ima *list)
{
	static const struct {
		const char *name;
		int rc;
	} ROWS[] = { { "ok", 0 }, { "not-authentic", ERR_AUTH }, { "unknown", ERR_VERSION } };
	int known = 0;
	for (size_t i = 0; i < 3; i++)
		if (strcmp(ROWS[i].name, v->aggregate) == 0) {
			if (ima_check_aggregate(list, &v->pcrs, NULL) != ROWS[i].rc)
				fail_msg("%s: the aggregate is not %s", v->name, v->aggregate);
			known = 1;
		}
	assert_true(known);
}

static void test_lists(void **state)
{
	(void)state;
	FILE *file = open_vectors("lists.txt");
	struct vector v;
	unsigned ok = 0, differ = 0, refused = 0;
	while (next(file, &v)) {
		struct ima *list = NULL;
		const char *id = NULL;
		size_t n = 0;
		int rc = ima_parse(v.log.data, v.log.len, &list, &id, NULL);
		if (rc < 0) {
			if (strcmp(id, v.result) != 0)
				fail_msg("%s: %s, not %s", v.name, id, v.result);
			refused++;
		} else if (strcmp(v.result, "ok") == 0) {
			rc = ima_match(list, v.bank, v.pcrs.value[10], &n, NULL);
			if (rc != 0 || n != v.entries)
				fail_msg("%s: %d, %zu entries", v.name, rc, n);
			test_aggregate(&v, list);
			ok++;
		} else {
			if (strcmp(v.result, "replay") != 0)
				fail_msg("%s was not refused", v.name);
			rc = ima_match(list, v.bank, v.pcrs.value[10], &n, NULL);
			if (rc != ERR_AUTH)
				fail_msg("%s: %d", v.name, rc);
			differ++;
		}
		ima_free(list);
		buf_done(&v.log);
	}
	fclose(file);
	assert_true(ok >= 12 && differ >= 6 && refused >= 14);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logs),
		cmocka_unit_test(test_lists),
	};
	if (argc != 2)
		return 2;
	folder = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
