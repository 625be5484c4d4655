/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs crypto/ and migration/ over what make.py, the second implementation of docs/FORMAT.md, has
 * written. */
#include "tests/unit/test.h"

#include <stdio.h>

#include "crypto/channel_form.h"
#include "crypto/record.h"
#include "migration/hello.h"
#include "migration/word.h"

#define BYTES_MAX 1024

static const char *path;

struct bytes {
	uint8_t at[BYTES_MAX];
	size_t n;
};

static int err_named(const char *name)
{
	static const struct {
		const char *name;
		int rc;
	} NAMES[] = { { "ok", 0 },
		      { "ERR_TRUNCATED", ERR_TRUNCATED },
		      { "ERR_TRAILING", ERR_TRAILING },
		      { "ERR_FORMAT", ERR_FORMAT },
		      { "ERR_VERSION", ERR_VERSION } };
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
		if (strcmp(NAMES[i].name, name) == 0)
			return NAMES[i].rc;
	}
	fail_msg("%s is no result", name);
	return 0;
}

static struct bytes from_hex(const char *text)
{
	struct bytes b = { .n = 0 };
	for (const char *p = text; *p && *p != '-'; p += 2) {
		unsigned byte = 0;
		assert_true(b.n < BYTES_MAX && sscanf(p, "%2x", &byte) == 1);
		b.at[b.n++] = (uint8_t)byte;
	}
	return b;
}

static struct vm_key vm_key(void)
{
	struct vm_key key;
	for (uint8_t i = 0; i < KEY_BYTES; i++)
		key.bytes[i] = i;
	return key;
}

static int run(const char *what, const struct bytes *in, struct bytes *out, struct fault *f)
{
	struct channel_id id;
	struct hello hello;
	struct answer answer;
	struct vm_key key = vm_key();
	uint8_t again[BYTES_MAX];
	int rc = ERR_USAGE;
	size_t n = 0;
	if (strcmp(what, "identity") == 0) {
		rc = channel_id_parse(in->at, in->n, &id, f);
		if (rc == 0) {
			channel_id_encode(&id, again);
			n = CHANNEL_ID_BYTES;
			assert_int_equal(channel_psk(&key, &id, out->at), 0);
			out->n = KEY_BYTES;
		}
	} else if (strcmp(what, "hello") == 0) {
		rc = hello_parse(in->at, in->n, &hello, f);
		if (rc == 0) {
			hello_encode(&hello, again);
			n = HELLO_BYTES;
		}
	} else if (strcmp(what, "answer") == 0) {
		rc = answer_parse(in->at, in->n, &answer, f);
		if (rc == 0)
			n = answer_encode(&answer, again);
	} else {
		fail_msg("%s is not known", what);
	}
	if (rc == 0) {
		assert_int_equal(n, in->n);
		assert_memory_equal(again, in->at, n);
	}
	return rc;
}

static const uint8_t VM[UUID_BYTES] = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
					0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };

static void run_policy(const struct bytes *in, struct bytes *out)
{
	struct protector_facts facts = {
		.tpm_id = { 0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78, 0x87, 0x96, 0xa5, 0xb4,
			    0xc3, 0xd2, 0xe1, 0xf0 },
	};
	struct jwk *owner = NULL;
	memcpy(facts.vm, VM, sizeof(VM));
	facts.level = (enum shield_level)in->at[0];
	if (facts.level == LEVEL_ENCRYPTION_SUPPORTED) {
		facts.n_allow = 2;
		snprintf(facts.allow[0], PROTECTOR_RULE_MAX, "memory.dump");
		snprintf(facts.allow[1], PROTECTOR_RULE_MAX, "a.rule");
	}
	assert_int_equal(jwk_parse((const char *)in->at + 1, in->n - 1, &owner, NULL), 0);
	assert_int_equal(protector_policy(&facts, owner, out->at), 0);
	out->n = PROTECTOR_POLICY_BYTES;
	jwk_free(owner);
}

/* What a channel whose secret is known sends as its record. */
static void run_record(const struct bytes *in, struct bytes *out, int is_word)
{
	struct channel *c = NULL;
	struct vm_key secret;
	size_t n = in->n - 12;
	EVP_Digest("a direction's secret", 20, secret.bytes, NULL, EVP_sha256(), NULL);
	uint64_t epoch = (uint64_t)record_get_be32(in->at) << 32 | record_get_be32(in->at + 4);
	assert_int_equal(channel_for_test(&secret, VM, &c), 0);
	assert_int_equal(
		channel_skip(c, epoch * CHANNEL_EPOCH_RECORDS + record_get_be32(in->at + 8)), 0);
	uint8_t *at;
	const uint8_t *sealed;
	assert_true(channel_send(c, &at) > n);
	memcpy(at, in->at + 12, n);
	assert_int_equal(is_word ? channel_send_word(c, in->at[12])
			 : n	 ? channel_send_done(c, n)
				 : channel_send_end(c),
			 0);
	out->n = channel_out(c, &sealed);
	memcpy(out->at, sealed, out->n);
	channel_free(c);
}

/* A whole direction: in order, and to where it may end. */
static int run_talk(const struct bytes *in, struct fault *f)
{
	enum word last = WORD_NONE, next;
	for (size_t i = 1; i < in->n; i++, last = next) {
		int rc = word_parse(in->at + i, 1, &next, f);
		if (rc < 0)
			return rc;
		if (!word_fits(in->at[0], last, next))
			return fault_set(f, ERR_FORMAT, "it does not fit");
	}
	return word_ends(in->at[0], last) ? 0 : fault_set(f, ERR_TRUNCATED, "there is more");
}

static void test_vectors(void **state)
{
	(void)state;
	size_t count = 0, said = 0, cap = 0;
	char *line = NULL;
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	while (getline(&line, &cap, file) > 0) {
		char *rest = line, *field[4];
		if (line[0] == '#') {
			sscanf(line, "# %zu cases", &said);
			continue;
		}
		line[strcspn(line, "\n")] = '\0';
		for (int i = 0; i < 4; i++)
			assert_non_null(field[i] = strsep(&rest, "\t"));
		struct bytes in = from_hex(field[2]), wanted = from_hex(field[3]), out = { 0 };
		struct fault f = { 0 };
		int rc = 0;
		if (strcmp(field[0], "policy") == 0)
			run_policy(&in, &out);
		else if (strcmp(field[0], "record") == 0)
			run_record(&in, &out, 0);
		else if (strcmp(field[0], "word") == 0)
			run_record(&in, &out, 1);
		else if (strcmp(field[0], "talk") == 0)
			rc = run_talk(&in, &f);
		else
			rc = run(field[0], &in, &out, &f);
		if (rc != err_named(field[1]) || (rc < 0 && !f.text[0]))
			fail_msg("%s %s: %d instead of %s (%s)", field[0], field[2], rc, field[1],
				 f.text);
		assert_int_equal(out.n, wanted.n);
		assert_memory_equal(out.at, wanted.at, wanted.n);
		count++;
	}
	free(line);
	fclose(file);
	assert_true(count > 0);
	assert_int_equal(count, said);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_vectors) };
	if (argc != 2)
		return 2;
	path = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
