/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs crypto/ over what make.py, the second implementation of docs/FORMAT.md, has written. */
#include "tests/unit/test.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <jansson.h>

#include "base/fd.h"
#include "crypto/flow.h"
#include "crypto/protector.h"
#include "crypto/seal.h"
#include "crypto/sign.h"

#define FIELDS_MAX 9
#define STREAM_MAX (4 * 1024 * 1024) /* bytes of a stream file here */

static const char *folder;

static int err_named(const char *name)
{
	static const struct {
		const char *name;
		int rc;
	} NAMES[] = {
		{ "ok", 0 },
		{ "ERR_AUTH", ERR_AUTH },
		{ "ERR_TRUNCATED", ERR_TRUNCATED },
		{ "ERR_TRAILING", ERR_TRAILING },
		{ "ERR_FORMAT", ERR_FORMAT },
		{ "ERR_VERSION", ERR_VERSION },
		{ "ERR_PURPOSE", ERR_PURPOSE },
		{ "ERR_VM", ERR_VM },
		{ "ERR_RECIPIENT", ERR_RECIPIENT },
		{ "ERR_STATE", ERR_STATE },
		{ "ERR_LIMIT", ERR_LIMIT },
	};
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
		if (strcmp(NAMES[i].name, name) == 0)
			return NAMES[i].rc;
	}
	fail_msg("%s is no result", name);
	return 0;
}

static struct vm_key vm_key(void)
{
	struct vm_key key;
	for (uint8_t i = 0; i < KEY_BYTES; i++)
		key.bytes[i] = i;
	return key;
}

/* Call FN for each line of FILE; the last line says how many there must be. */
static void each_line(const char *file, size_t n_fields, void (*fn)(char **fields))
{
	char path[4096], *line = NULL;
	size_t cap = 0, count = 0, said = 0;
	snprintf(path, sizeof(path), "%s/%s", folder, file);
	FILE *f = fopen(path, "re");
	if (!f)
		fail_msg("%s: %s", path, "cannot be read");
	for (ssize_t n; (n = getline(&line, &cap, f)) > 0;) {
		char *fields[FIELDS_MAX], *rest = line;
		size_t i = 0;
		line[n - 1] = '\0';
		if (line[0] == '#') {
			sscanf(line, "# %zu cases", &said);
			continue;
		}
		while (i < n_fields && (fields[i] = strsep(&rest, "\t")))
			i++;
		if (i != n_fields || rest)
			fail_msg("%s: a line with %zu fields", path, i);
		fn(fields);
		count++;
	}
	assert_true(count > 0);
	assert_int_equal(count, said);
	free(line);
	fclose(f);
}

static size_t unhex(const char *text, uint8_t **out)
{
	size_t n = strcmp(text, "-") == 0 ? 0 : strlen(text) / 2;
	*out = malloc(n ? n : 1);
	for (size_t i = 0; i < n; i++) {
		unsigned int byte;
		assert_int_equal(sscanf(text + 2 * i, "%2x", &byte), 1);
		(*out)[i] = (uint8_t)byte;
	}
	return n;
}

/* name, purpose, VM, context, result, plaintext bytes, object */
static void sealed_case(char **fields)
{
	CLEANUP_KEY struct vm_key key = vm_key();
	CLEANUP_BUF struct buf out = BUF_INIT(SEAL_PLAINTEXT_MAX);
	struct fault f = { 0 };
	struct seal *s = NULL;
	uint8_t vm[UUID_BYTES], *context, *object;
	size_t context_n = unhex(fields[3], &context), object_n = unhex(fields[6], &object);
	assert_int_equal(uuid_parse(fields[2], vm), 0);
	assert_int_equal(seal_new(&key, (enum key_use)atoi(fields[1]), vm, context, context_n, &s),
			 0);
	int rc = seal_open(s, object, object_n, &out, &f);
	if (rc != err_named(fields[4]))
		fail_msg("%s: %d (%s), wanted %s", fields[0], rc, f.text, fields[4]);
	assert_int_equal(out.len, strtoul(fields[5], NULL, 10));
	for (size_t i = 0; i < out.len; i++)
		assert_int_equal(out.data[i], (uint8_t)(i * 167 + out.len));
	assert_int_equal(rc == 0, f.text[0] == '\0');
	seal_free(s);
	free(context);
	free(object);
}

static void test_sealed_objects(void **state)
{
	(void)state;
	each_line("sealed.txt", 7, sealed_case);
}

static struct jwk *owner, *host, *guardian;

static void check_facts(const struct protector *p)
{
	static const uint8_t TPM[] = { 0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78,
				       0x87, 0x96, 0xa5, 0xb4, 0xc3, 0xd2, 0xe1, 0xf0 };
	const struct protector_facts *facts = protector_facts(p);
	char vm[UUID_TEXT_SIZE];
	uuid_format(facts->vm, vm);
	assert_string_equal(vm, "00112233-4455-6677-8899-aabbccddeeff");
	assert_memory_equal(facts->tpm_id, TPM, sizeof(TPM));
	assert_true(jwk_same(protector_owner(p), owner));
	if (facts->level == LEVEL_ENCRYPTION_SUPPORTED) {
		assert_int_equal(facts->n_allow, 2);
		assert_string_equal(facts->allow[1], "agent.exec");
	}
}

/* Every guarded one has the guardian of the file; one that has no other says the weaker things. */
static void check_guardians(const char *name, const struct protector *p)
{
	const struct protector_facts *facts = protector_facts(p);
	size_t n = protector_n_guardians(p), found = 0;
	char thumbprint[JWK_THUMBPRINT_SIZE];
	int weak = strcmp(name, "guarded-one") == 0;
	assert_int_equal(n > 0, strncmp(name, "guarded-", 8) == 0);
	assert_int_equal(facts->least, weak ? HEALTHCERT_HOSTKEY : HEALTHCERT_TPM);
	assert_int_equal(facts->offline, weak ? PROTECTOR_OFFLINE_MAX : 0);
	assert_int_equal(facts->edition, weak ? PROTECTOR_EDITION_MAX : n > 0 ? 7 : 0);
	assert_int_equal(jwk_thumbprint(guardian, thumbprint), 0);
	for (size_t i = 0; i < n; i++) {
		const struct protector_guardian *g = protector_guardian(p, i);
		const char *second = strchr(g->urls, ',');
		if (strcmp(g->thumbprint, thumbprint) != 0)
			continue;
		found++;
		assert_int_equal(i, strcmp(name, "guarded-in-another-order") == 0);
		assert_non_null(second);
		assert_ptr_equal(strstr(g->urls, "https://guardian.example:8443#"), g->urls);
		assert_ptr_equal(strstr(g->urls, "https://other.example:8443#"), second + 1);
	}
	assert_int_equal(found, n > 0);
}

static int unwrap(const struct protector *p, const struct jwk *k, struct fault *f)
{
	CLEANUP_KEY struct vm_key key = { { 0 } }, wanted = vm_key();
	struct ecdh ecdh;
	assert_int_equal(ecdh_from_jwk(k, &ecdh), 0);
	int rc = protector_unwrap(p, &ecdh, &key, f);
	assert_int_equal(rc == 0, memcmp(&key, &wanted, sizeof(key)) == 0);
	return rc;
}

/* name, result, protector; or "key", whose, JWK */
static void protector_case(char **fields)
{
	struct fault f = { 0 };
	CLEANUP_PROTECTOR struct protector *p = NULL;
	if (strcmp(fields[0], "key") == 0) {
		struct jwk **k = strcmp(fields[1], "owner") == 0  ? &owner
				 : strcmp(fields[1], "host") == 0 ? &host
								  : &guardian;
		assert_int_equal(jwk_parse(fields[2], strlen(fields[2]), k, NULL), 0);
		return;
	}
	int to_open = strncmp(fields[1], "open:", 5) == 0;
	json_t *text = json_loads(fields[2], JSON_DECODE_ANY, NULL);
	assert_non_null(text);
	int rc = protector_parse(json_string_value(text), json_string_length(text), &p, &f);
	json_decref(text);
	assert_int_equal(rc == 0, p != NULL);
	if (p) {
		if (strcmp(fields[0], "guarded-usurped") != 0) {
			check_facts(p);
			check_guardians(fields[0], p);
		}
		if (to_open)
			rc = unwrap(p, host, &f);
		else if (protector_n_recipients(p) == 1)
			rc = unwrap(p, owner, &f);
		else
			rc = unwrap(p, host, &f) | unwrap(p, owner, &f);
		if (!to_open && protector_n_guardians(p) > 0)
			rc |= unwrap(p, guardian, &f);
	}
	if (rc != err_named(fields[1] + (to_open ? 5 : 0)))
		fail_msg("%s: %d (%s), wanted %s", fields[0], rc, f.text, fields[1]);
	assert_int_equal(rc == 0, f.text[0] == '\0');
}

static void test_protectors(void **state)
{
	(void)state;
	each_line("protector.txt", 3, protector_case);
	jwk_free(owner);
	jwk_free(host);
	jwk_free(guardian);
}

/* Hexadecimal, BYTE*COUNT, or more of both behind commas. */
static void unpack(char *text, struct buf *out)
{
	for (char *part, *rest = text; (part = strsep(&rest, ","));) {
		uint8_t *bytes;
		char *star = strchr(part, '*');
		size_t count = star ? strtoul(star + 1, NULL, 10) : 1;
		if (star)
			*star = '\0';
		size_t n = unhex(part, &bytes);
		assert_int_equal(buf_reserve(out, n * count), 0);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(buf_add(out, bytes, n), 0);
		free(bytes);
	}
}

static struct pool *pool;
static struct flow *flow;
static struct jwk *dump_owner;

static int memory_file(const struct buf *b)
{
	int fd = memfd_create("vector", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(b ? fd_write_full(fd, b->data, b->len) : 0, 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static void check_digest(const struct buf *b, char *wanted)
{
	uint8_t digest[SIGN_SHA256_BYTES], *bytes;
	size_t n = unhex(wanted, &bytes);
	assert_int_equal(n, b->len ? sizeof(digest) : 0);
	assert_int_equal(sign_sha256(b->data, b->len, digest), 0);
	assert_memory_equal(digest, bytes, n);
	free(bytes);
}

/* name, kind, VM, vTPM, level, result, plaintext bytes, SHA-256, file; or "key", whose, JWK */
static void stream_case(char **fields)
{
	CLEANUP_KEY struct vm_key key = vm_key();
	CLEANUP_BUF struct buf file = BUF_INIT(STREAM_MAX), out = BUF_INIT(STREAM_MAX);
	CLEANUP_STREAM_KEYS struct stream_keys *keys = NULL;
	struct stream_facts facts = { .level = (enum shield_level)atoi(fields[4]) };
	struct ecdh ecdh;
	struct fault f = { 0 };
	uint8_t *tpm;
	if (strcmp(fields[0], "key") == 0) {
		assert_int_equal(jwk_parse(fields[2], strlen(fields[2]), &dump_owner, NULL), 0);
		return;
	}
	assert_int_equal(uuid_parse(fields[2], facts.vm), 0);
	assert_int_equal(unhex(fields[3], &tpm), sizeof(facts.tpm_id));
	memcpy(facts.tpm_id, tpm, sizeof(facts.tpm_id));
	free(tpm);
	unpack(fields[8], &file);
	assert_int_equal(ecdh_from_jwk(dump_owner, &ecdh), 0);
	assert_int_equal(stream_keys_new(&facts, &key, NULL, &ecdh, &keys, NULL), 0);

	CLEANUP_FD int in = memory_file(&file), to = memory_file(NULL);
	assert_int_equal(flow_open_start(flow, keys, (enum key_use)atoi(fields[1]), in, to, NULL),
			 0);
	int rc = flow_run(flow, NULL, NULL, &f);
	if (rc != err_named(fields[5]))
		fail_msg("%s: %d (%s), wanted %s", fields[0], rc, f.text, fields[5]);
	assert_int_equal(rc == 0, f.text[0] == '\0');
	assert_int_equal(lseek(to, 0, SEEK_SET), 0);
	assert_int_equal(fd_read_all(to, &out), 0);
	if (out.len != strtoul(fields[6], NULL, 10))
		fail_msg("%s: %zu bytes came out, wanted %s", fields[0], out.len, fields[6]);
	check_digest(&out, fields[7]);
}

static void test_streams(void **state)
{
	(void)state;
	assert_int_equal(pool_new(2, &pool), 0);
	assert_int_equal(flow_new(pool, &flow), 0);
	each_line("stream.txt", 9, stream_case);
	flow_free(flow);
	pool_free(pool);
	jwk_free(dump_owner);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sealed_objects),
		cmocka_unit_test(test_protectors),
		cmocka_unit_test(test_streams),
	};
	if (argc != 2) {
		fprintf(stderr, "usage: test_vectors FOLDER\n");
		return 2;
	}
	folder = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
