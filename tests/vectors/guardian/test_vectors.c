/* SPDX-License-Identifier: BSD-3-Clause */
/* The guardian's known answers, which tests/vectors/guardian/make makes without the project's code.
 * Usage: test_guardian_vectors FOLDER */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/fd.h"
#include "crypto/hash.h"
#include "crypto/healthcert.h"
#include "guardian/ledger.h"

#define NOW INT64_C(1800000000)

static const char *folder;

static void read_file(const char *name, struct buf *out)
{
	char path[512];
	struct fault f = { 0 };
	*out = BUF_INIT(65536);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (fd_read_file(AT_FDCWD, path, out, &f) < 0)
		fail_msg("%s", f.text);
}

static void test_health_certificate(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf pem = { 0 }, der = { 0 };
	CLEANUP_HEALTHCA struct healthca *ca = NULL;
	struct healthcert c;
	struct fault f = { 0 };
	uint8_t host[UUID_BYTES], worker[65], hash[32];
	read_file("ca.pem", &pem);
	read_file("health.der", &der);
	for (uint8_t i = 0; i < sizeof(host); i++)
		host[i] = (uint8_t)(i * 0x11);
	for (uint8_t i = 0; i < sizeof(worker); i++)
		worker[i] = i;
	assert_int_equal(hash_data(HASH_SHA256, worker, sizeof(worker), hash), 0);
	assert_int_equal(healthca_read((const char *)pem.data, pem.len, &ca, NULL), 0);
	if (healthcert_open(ca, der.data, der.len, host, NOW, &c, &f) < 0)
		fail_msg("%s", f.text);
	assert_int_equal(c.serial[0], 0x40);
	assert_int_equal(c.assurance, HEALTHCERT_TPM);
	assert_memory_equal(c.worker_hash, hash, sizeof(hash));
	assert_int_equal(c.generation, 256);
	assert_int_equal(c.reset_count, UINT32_MAX);
	assert_int_equal(c.restart_count, 0);
	assert_int_equal(c.not_before, NOW);
	assert_int_equal(c.not_after, NOW + 45 * 60);
}

static int look(const struct ledger_record *r, void *arg)
{
	static const enum ledger_event EVENTS[] = { LEDGER_RELEASE, LEDGER_TAKEBACK,
						    LEDGER_RELEASE };
	int n = (*(int *)arg)++;
	assert_int_equal(r->seq, n + 1);
	assert_int_equal(r->event, EVENTS[n]);
	assert_int_equal(r->time, NOW + n + 1);
	assert_int_equal(r->host[1], 0x11);
	assert_int_equal(strlen(r->owner), 43);
	assert_string_equal(r->by, n == 1 ? "anna" : "");
	assert_string_equal(r->object, n == 1 ? "host.1:2" : "");
	assert_int_equal(r->token, n == 2 ? 2 : 1);
	assert_int_equal(r->version, 9);
	assert_int_equal(r->generation, 256);
	assert_int_equal(r->hostkey, n == 2);
	assert_int_equal(r->certificate[19], n + 1);
	assert_int_equal(r->request[15], n + 17);
	return 0;
}

static void test_release_log(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf jwk = { 0 }, lines = { 0 }, text = { 0 };
	CLEANUP_JWK struct jwk *key = NULL;
	struct ledger_head head;
	struct fault f = { 0 };
	int n = 0;
	read_file("log.jwk", &jwk);
	read_file("ledger.jsonl", &lines);
	read_file("ledger.head", &text);
	assert_int_equal(jwk_parse((const char *)jwk.data, jwk.len, &key, NULL), 0);
	if (ledger_head_open(key, (const char *)text.data, text.len, &head, &f) < 0)
		fail_msg("%s", f.text);
	assert_int_equal(head.seq, 3);
	assert_int_equal(head.time, NOW + 9);
	assert_int_equal(head.vm[15], 0xef);
	assert_int_equal(strlen(head.owner), 43);
	if (ledger_verify(key, (const char *)lines.data, lines.len, &head, NULL, look, &n, &f) < 0)
		fail_msg("%s", f.text);
	assert_int_equal(n, 3);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_health_certificate),
		cmocka_unit_test(test_release_log),
	};
	if (argc != 2)
		return 2;
	folder = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
