/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/protector.h"
#include "crypto/protector_form.h"

static const struct vm_key KEY = { { 1, 2, 3, 4, 5 } };

static struct protector_facts facts_shielded(void)
{
	struct protector_facts facts = { .level = LEVEL_SHIELDED, .least = HEALTHCERT_TPM };
	for (uint8_t i = 0; i < UUID_BYTES; i++) {
		facts.vm[i] = (uint8_t)(0xa0 + i);
		facts.tpm_id[i] = (uint8_t)(0xf0 - i);
	}
	return facts;
}

/* Owner and hosts, made once: a key costs milliseconds. */
static struct jwk *owner, *host_a, *host_b, *stranger;

static int make_keys(void **state)
{
	(void)state;
	return jwk_new(&owner, NULL) | jwk_new(&host_a, NULL) | jwk_new(&host_b, NULL) |
	       jwk_new(&stranger, NULL);
}

static int free_keys(void **state)
{
	(void)state;
	jwk_free(owner);
	jwk_free(host_a);
	jwk_free(host_b);
	jwk_free(stranger);
	return 0;
}

static void make(const struct protector_facts *facts, struct buf *out)
{
	const struct jwk *hosts[] = { host_a, host_b, host_a, owner };
	struct fault f = { 0 };
	if (protector_make(facts, &KEY, owner, hosts, 4, NULL, out, &f) < 0)
		fail_msg("%s", f.text);
}

static struct protector *parse(const struct buf *b)
{
	struct protector *p = NULL;
	struct fault f = { 0 };
	if (protector_parse((char *)b->data, b->len, &p, &f) < 0)
		fail_msg("%s", f.text);
	return p;
}

static void refused(const char *text, size_t n, int rc, const char *says)
{
	struct protector *p = NULL;
	struct fault f = { 0 };
	int got = protector_parse(text, n, &p, &f);
	assert_null(p);
	if (got != rc || !strstr(f.text, says))
		fail_msg("%d \"%s\", wanted %d \"%s\"", got, f.text, rc, says);
}

static int unwraps(const struct protector *p, const struct jwk *k, struct fault *f)
{
	CLEANUP_KEY struct vm_key key = { { 0x55 } };
	struct ecdh ecdh;
	assert_int_equal(ecdh_from_jwk(k, &ecdh), 0);
	int rc = protector_unwrap(p, &ecdh, &key, f);
	if (rc == 0)
		assert_memory_equal(key.bytes, KEY.bytes, KEY_BYTES);
	else
		assert_int_equal(key.bytes[0], 0x55);
	return rc;
}

static void test_owner_and_hosts_unwrap_and_nobody_else(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(PROTECTOR_TEXT_MAX);
	struct protector_facts facts = facts_shielded();
	char thumbprint[JWK_THUMBPRINT_SIZE];
	struct fault f = { 0 };
	make(&facts, &b);
	CLEANUP_PROTECTOR struct protector *p = parse(&b);
	assert_memory_equal(protector_facts(p), &facts, sizeof(facts));
	assert_true(jwk_same(protector_owner(p), owner));
	assert_false(jwk_is_private(protector_owner(p)));

	assert_int_equal(protector_n_recipients(p), 3);
	assert_int_equal(jwk_thumbprint(owner, thumbprint), 0);
	assert_string_equal(protector_recipient(p, 0), thumbprint);
	assert_int_equal(jwk_thumbprint(host_b, thumbprint), 0);
	assert_string_equal(protector_recipient(p, 2), thumbprint);
	assert_null(protector_recipient(p, 3));
	assert_true(jwk_same(protector_recipient_key(p, 0), owner));
	assert_true(jwk_same(protector_recipient_key(p, 2), host_b));
	assert_false(jwk_is_private(protector_recipient_key(p, 0)));
	assert_null(protector_recipient_key(p, 3));

	assert_int_equal(unwraps(p, owner, NULL), 0);
	assert_int_equal(unwraps(p, host_a, NULL), 0);
	assert_int_equal(unwraps(p, host_b, NULL), 0);
	assert_int_equal(unwraps(p, stranger, &f), ERR_RECIPIENT);
	assert_non_null(strstr(f.text, "not among the protector's 3 recipients"));
}

static void test_as_many_recipients_as_there_may_be_fit(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(PROTECTOR_TEXT_MAX);
	struct protector_facts facts = facts_shielded();
	struct jwk *hosts[PROTECTOR_RECIPIENTS_MAX - 1];
	const struct jwk *list[PROTECTOR_RECIPIENTS_MAX - 1];
	struct fault f = { 0 };
	for (size_t i = 0; i < PROTECTOR_RECIPIENTS_MAX - 1; i++) {
		assert_int_equal(jwk_new(&hosts[i], NULL), 0);
		list[i] = hosts[i];
	}
	if (protector_make(&facts, &KEY, owner, list, PROTECTOR_RECIPIENTS_MAX - 1, NULL, &b, &f) <
	    0)
		fail_msg("%s", f.text);
	CLEANUP_PROTECTOR struct protector *p = parse(&b);
	assert_int_equal(protector_n_recipients(p), PROTECTOR_RECIPIENTS_MAX);
	assert_int_equal(unwraps(p, hosts[PROTECTOR_RECIPIENTS_MAX - 2], NULL), 0);
	for (size_t i = 0; i < PROTECTOR_RECIPIENTS_MAX - 1; i++)
		jwk_free(hosts[i]);
}

static void test_facts_of_the_lower_level(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(PROTECTOR_TEXT_MAX);
	struct protector_facts facts = facts_shielded();
	facts.level = LEVEL_ENCRYPTION_SUPPORTED;
	facts.n_allow = PROTECTOR_ALLOW_MAX;
	for (size_t i = 0; i < PROTECTOR_ALLOW_MAX; i++)
		snprintf(facts.allow[i], PROTECTOR_RULE_MAX, "console.serial-%zu", i);
	memset(facts.allow[63], 'a', PROTECTOR_RULE_MAX - 1);
	make(&facts, &b);
	CLEANUP_PROTECTOR struct protector *p = parse(&b);
	assert_memory_equal(protector_facts(p), &facts, sizeof(facts));
}

/* At level shielded, one. */
static void test_compression_at_either_level(void **state)
{
	(void)state;
	for (int level = LEVEL_ENCRYPTION_SUPPORTED; level <= LEVEL_SHIELDED; level++) {
		CLEANUP_BUF struct buf b = BUF_INIT(PROTECTOR_TEXT_MAX);
		struct protector_facts facts = facts_shielded();
		facts.level = (enum shield_level)level;
		assert_false(protector_allows(&facts, PROTECTOR_COMPRESSION));
		facts.n_allow = 1;
		strcpy(facts.allow[0], PROTECTOR_COMPRESSION);
		make(&facts, &b);
		CLEANUP_PROTECTOR struct protector *p = parse(&b);
		assert_memory_equal(protector_facts(p), &facts, sizeof(facts));
		assert_true(protector_allows(protector_facts(p), PROTECTOR_COMPRESSION));
		assert_false(protector_allows(protector_facts(p), "state.compressio"));
	}
}

static void test_what_cannot_be_made(void **state)
{
	(void)state;
	const struct jwk *hosts[PROTECTOR_RECIPIENTS_MAX];
	CLEANUP_BUF struct buf b = BUF_INIT(PROTECTOR_TEXT_MAX);
	CLEANUP_JWK struct jwk *pub = NULL;
	struct protector_facts facts = facts_shielded(), bad = facts;
	assert_int_equal(jwk_from_point(jwk_x(owner), jwk_y(owner), &pub), 0);
	hosts[0] = host_a;
	assert_int_equal(protector_make(&facts, &KEY, pub, hosts, 1, NULL, &b, NULL), ERR_USAGE);
	assert_int_equal(protector_make(&facts, &KEY, owner, hosts, 0, NULL, &b, NULL), ERR_USAGE);
	bad.n_allow = 1;
	strcpy(bad.allow[0], "console.serial");
	assert_int_equal(protector_make(&bad, &KEY, owner, hosts, 1, NULL, &b, NULL), ERR_USAGE);
	strcpy(bad.allow[0], PROTECTOR_COMPRESSION);
	strcpy(bad.allow[1], "console.serial");
	bad.n_allow = 2;
	assert_int_equal(protector_make(&bad, &KEY, owner, hosts, 1, NULL, &b, NULL), ERR_USAGE);
	bad.n_allow = 1;
	bad.level = LEVEL_ENCRYPTION_SUPPORTED;
	strcpy(bad.allow[0], "Console serial");
	assert_int_equal(protector_make(&bad, &KEY, owner, hosts, 1, NULL, &b, NULL), ERR_USAGE);
	strcpy(bad.allow[0], "a.b");
	strcpy(bad.allow[1], "a.b");
	bad.n_allow = 2;
	assert_int_equal(protector_make(&bad, &KEY, owner, hosts, 1, NULL, &b, NULL), ERR_FORMAT);
	bad.n_allow = PROTECTOR_ALLOW_MAX + 1;
	assert_int_equal(protector_make(&bad, &KEY, owner, hosts, 1, NULL, &b, NULL), ERR_LIMIT);
	bad = facts;
	bad.level = 7;
	assert_int_equal(protector_make(&bad, &KEY, owner, hosts, 1, NULL, &b, NULL), ERR_FORMAT);
	assert_int_equal(b.len, 0);

	/* The owner and 63 hosts are the most. */
	struct jwk *many[PROTECTOR_RECIPIENTS_MAX];
	for (size_t i = 0; i < PROTECTOR_RECIPIENTS_MAX; i++) {
		assert_int_equal(jwk_new(&many[i], NULL), 0);
		hosts[i] = many[i];
	}
	assert_int_equal(protector_make(&facts, &KEY, owner, hosts, PROTECTOR_RECIPIENTS_MAX, NULL,
					&b, NULL),
			 ERR_LIMIT);
	assert_int_equal(b.len, 0);
	assert_int_equal(protector_make(&facts, &KEY, owner, hosts, PROTECTOR_RECIPIENTS_MAX - 1,
					NULL, &b, NULL),
			 0);
	CLEANUP_PROTECTOR struct protector *p = parse(&b);
	assert_int_equal(protector_n_recipients(p), PROTECTOR_RECIPIENTS_MAX);
	assert_int_equal(unwraps(p, many[62], NULL), 0);
	assert_int_equal(unwraps(p, many[63], NULL), ERR_RECIPIENT);
	for (size_t i = 0; i < PROTECTOR_RECIPIENTS_MAX; i++)
		jwk_free(many[i]);
}

/* Every changed character and every length: no struct comes of it. */
static void test_every_change_is_refused(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(PROTECTOR_TEXT_MAX);
	struct protector_facts facts = facts_shielded();
	const struct jwk *hosts[] = { host_a };
	assert_int_equal(protector_make(&facts, &KEY, owner, hosts, 1, NULL, &b, NULL), 0);
	for (size_t i = 0; i < b.len; i++) {
		/* One bit in each character; a bit that makes another character of base64url where
		 * there is one. */
		struct protector *p = NULL;
		uint8_t kept = b.data[i];
		b.data[i] = kept == 'A' ? 'B' : kept == '.' ? '_' : (uint8_t)(kept ^ 1);
		assert_true(protector_parse((char *)b.data, b.len, &p, NULL) < 0);
		assert_null(p);
		b.data[i] = kept;
		if (i % 7)
			continue;
		CLEANUP_FREE char *exact = malloc(i + 1);
		memcpy(exact, b.data, i);
		assert_true(protector_parse(exact, i, &p, NULL) < 0);
		assert_null(p);
	}
	refused("", 0, ERR_FORMAT, "three parts");
	refused("a.b", 3, ERR_FORMAT, "three parts");
	refused("a.b.c.d", 7, ERR_FORMAT, "three parts");
	refused("..", 2, ERR_FORMAT, "not valid JSON");
	assert_int_equal(buf_add(&b, "\n", 1), 0);
	refused((char *)b.data, b.len, ERR_FORMAT, "signature is not 64 bytes");
	CLEANUP_FREE char *big = calloc(1, PROTECTOR_TEXT_MAX + 1);
	refused(big, PROTECTOR_TEXT_MAX + 1, ERR_LIMIT, "65537 bytes");
}

/* The parts of a parsed protector that only the keys can vouch for. */
static void test_a_wrapped_key_of_elsewhere_does_not_authenticate(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf a = BUF_INIT(PROTECTOR_TEXT_MAX), b = BUF_INIT(PROTECTOR_TEXT_MAX);
	struct protector_facts facts = facts_shielded();
	struct fault f = { 0 };
	make(&facts, &a);
	make(&facts, &b);
	CLEANUP_PROTECTOR struct protector *p = parse(&a), *q = parse(&b);
	uint8_t *const PARTS[] = { p->content.iv, p->content.ciphertext, p->content.tag,
				   p->entries[1].wrapped };
	uint8_t *const OTHERS[] = { q->content.iv, q->content.ciphertext, q->content.tag,
				    q->entries[1].wrapped };
	const size_t SIZES[] = { sizeof(p->content.iv), sizeof(p->content.ciphertext),
				 sizeof(p->content.tag), sizeof(p->entries[1].wrapped) };
	for (size_t i = 0; i < 4; i++) {
		uint8_t kept[JWE_WRAPPED_BYTES];
		memcpy(kept, PARTS[i], SIZES[i]);
		memcpy(PARTS[i], OTHERS[i], SIZES[i]);
		assert_int_equal(unwraps(p, host_a, &f), ERR_AUTH);
		memcpy(PARTS[i], kept, SIZES[i]);
		for (size_t bit = 0; bit < SIZES[i] * 8; bit++) {
			PARTS[i][bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(unwraps(p, host_a, NULL), ERR_AUTH);
			PARTS[i][bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
	/* Its header: another VM or owner there is another protector. */
	p->jwe_protected[20] ^= 1;
	assert_int_equal(unwraps(p, host_a, NULL), ERR_AUTH);
	p->jwe_protected[20] ^= 1;
	/* Another recipient's ephemeral key. */
	memcpy(p->entries[1].epk_x, p->entries[2].epk_x, 32);
	memcpy(p->entries[1].epk_y, p->entries[2].epk_y, 32);
	assert_int_equal(unwraps(p, host_a, NULL), ERR_AUTH);
	assert_int_equal(unwraps(p, host_b, NULL), 0);
	assert_non_null(strstr(f.text, "does not authenticate"));
}

static int no_token(void *arg, const uint8_t *x, const uint8_t *y, uint8_t *z)
{
	(void)x, (void)y, (void)z;
	*(int *)arg += 1;
	return -EIO;
}

static void test_the_private_key_may_be_elsewhere(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = BUF_INIT(PROTECTOR_TEXT_MAX);
	struct protector_facts facts = facts_shielded();
	struct vm_key key = { { 0 } };
	struct ecdh ecdh;
	struct fault f = { 0 };
	int calls = 0;
	CLEANUP_JWK struct jwk *pub = NULL;
	assert_int_equal(jwk_from_point(jwk_x(owner), jwk_y(owner), &pub), 0);
	assert_int_equal(ecdh_from_jwk(pub, &ecdh), ERR_FORMAT);
	make(&facts, &b);
	CLEANUP_PROTECTOR struct protector *p = parse(&b);
	assert_int_equal(ecdh_from_jwk(host_a, &ecdh), 0);
	ecdh.derive = no_token;
	ecdh.arg = &calls;
	assert_int_equal(protector_unwrap(p, &ecdh, &key, &f), -EIO);
	assert_int_equal(calls, 1);
	assert_non_null(strstr(f.text, "cannot be used: Input/output error"));
}

/* RFC 7518, appendix C. */
static void test_concat_kdf_known_answer(void **state)
{
	(void)state;
	static const uint8_t Z[32] = { 158, 86,	 217, 29,  129, 113, 53,  211, 114, 131, 66,
				       131, 191, 132, 38,  156, 251, 49,  110, 163, 218, 128,
				       106, 72,	 246, 218, 167, 121, 140, 254, 144, 196 };
	static const uint8_t DERIVED[16] = { 86, 170, 141, 234, 248, 35,  109, 32,
					     92, 34,  40,  205, 113, 167, 16,  26 };
	uint8_t out[16];
	assert_int_equal(jwe_concat_kdf(Z, "A128GCM", "Alice", "Bob", out, 16), 0);
	assert_memory_equal(out, DERIVED, 16);
}

static void test_levels_have_names(void **state)
{
	(void)state;
	enum shield_level level = 0;
	assert_int_equal(level_parse("shielded", &level), 0);
	assert_int_equal(level, LEVEL_SHIELDED);
	assert_int_equal(level_parse("encryption-supported", &level), 0);
	assert_int_equal(level, LEVEL_ENCRYPTION_SUPPORTED);
	assert_int_equal(level_parse("Shielded", &level), ERR_FORMAT);
	assert_int_equal(level_parse("", &level), ERR_FORMAT);
	assert_string_equal(level_name(LEVEL_SHIELDED), "shielded");
	assert_string_equal(level_name(0), "unknown");
}

/* Debian's jose, with the owner's private key, gets the same VM key out. */
static void test_the_jose_command_unwraps(void **state)
{
	(void)state;
	char folder[] = "/tmp/shieldvm-protector-XXXXXX", path[64], command[1024];
	CLEANUP_BUF struct buf b = BUF_INIT(PROTECTOR_TEXT_MAX), out = BUF_INIT(64);
	struct protector_facts facts = facts_shielded();
	make(&facts, &b);
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/jws", folder);
	assert_int_equal(fd_write_file(AT_FDCWD, path, b.data, b.len, 0600, 0, NULL), 0);
	snprintf(path, sizeof(path), "%s/key", folder);
	assert_int_equal(jwk_write_pair(owner, path, NULL), 0);
	snprintf(command, sizeof(command),
		 "cd %s && jose jws ver -i jws -k key.pub -O payload && "
		 "jose fmt -j payload -g key -o jwe && jose jwe dec -i jwe -k key -O out",
		 folder);
	assert_int_equal(system(command), 0);
	snprintf(path, sizeof(path), "%s/out", folder);
	assert_int_equal(fd_read_file(AT_FDCWD, path, &out, NULL), 0);
	assert_int_equal(out.len, KEY_BYTES);
	assert_memory_equal(out.data, KEY.bytes, KEY_BYTES);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_owner_and_hosts_unwrap_and_nobody_else),
		cmocka_unit_test(test_as_many_recipients_as_there_may_be_fit),
		cmocka_unit_test(test_facts_of_the_lower_level),
		cmocka_unit_test(test_compression_at_either_level),
		cmocka_unit_test(test_what_cannot_be_made),
		cmocka_unit_test(test_every_change_is_refused),
		cmocka_unit_test(test_a_wrapped_key_of_elsewhere_does_not_authenticate),
		cmocka_unit_test(test_the_private_key_may_be_elsewhere),
		cmocka_unit_test(test_concat_kdf_known_answer),
		cmocka_unit_test(test_levels_have_names),
		cmocka_unit_test(test_the_jose_command_unwraps),
	};
	return cmocka_run_group_tests(tests, make_keys, free_keys);
}
