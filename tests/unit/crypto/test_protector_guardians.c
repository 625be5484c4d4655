/* SPDX-License-Identifier: BSD-3-Clause */
/* Version 2: guardians, under the owner's signature.  tests/vectors/crypto has what must fail. */
#include "tests/unit/test.h"

#include <stdio.h>

#include "crypto/protector.h"
#include "crypto/strict.h"

#define PIN	"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
#define URL_A	"https://guardian.example:8443#" PIN
#define URL_B	"https://[2001:db8::1]:8443#" PIN

#define EDITION 1795430000

static const struct vm_key KEY = { { 5, 4, 3, 2, 1 } };
static struct jwk *owner, *host, *guardian_a, *guardian_b;

static int make_keys(void **state)
{
	(void)state;
	return jwk_new(&owner, NULL) | jwk_new(&host, NULL) | jwk_new(&guardian_a, NULL) |
	       jwk_new(&guardian_b, NULL);
}

static int free_keys(void **state)
{
	(void)state;
	jwk_free(owner);
	jwk_free(host);
	jwk_free(guardian_a);
	jwk_free(guardian_b);
	return 0;
}

/* Of a protector with guardians; without LEAST, of one that has none. */
static struct protector_facts facts_with(enum healthcert_assurance least, uint32_t offline)
{
	return (struct protector_facts){
		.vm = { 9 },
		.level = LEVEL_SHIELDED,
		.least = least,
		.offline = offline,
		.edition = least != 0 ? EDITION : 0,
	};
}

static struct protector_guards both(void)
{
	return (struct protector_guards){ 2,
					  { guardian_b, guardian_a },
					  { URL_B "," URL_A, URL_A } };
}

static struct protector *made(const struct protector_facts *facts, const struct jwk *const *hosts,
			      size_t n, const struct protector_guards *guards)
{
	CLEANUP_BUF struct buf b = BUF_INIT(PROTECTOR_TEXT_MAX);
	struct protector *p = NULL;
	struct fault f = { 0 };
	if (protector_make(facts, &KEY, owner, hosts, n, guards, &b, &f) < 0 ||
	    protector_parse((char *)b.data, b.len, &p, &f) < 0)
		fail_msg("%s", f.text);
	return p;
}

static int unwraps(const struct protector *p, const struct jwk *k, struct fault *f)
{
	CLEANUP_KEY struct vm_key key = { { 0 } };
	struct ecdh ecdh;
	assert_int_equal(ecdh_from_jwk(k, &ecdh), 0);
	int rc = protector_unwrap(p, &ecdh, &key, f);
	assert_int_equal(rc == 0, memcmp(&key, &KEY, sizeof(key)) == 0);
	return rc;
}

static void test_guardians_are_recipients_in_the_owners_order(void **state)
{
	(void)state;
	char thumbprint[JWK_THUMBPRINT_SIZE];
	struct protector_facts facts = facts_with(HEALTHCERT_HOSTKEY, PROTECTOR_OFFLINE_MAX);
	struct protector_guards guards = both();
	struct fault f = { 0 };
	CLEANUP_PROTECTOR struct protector *p = made(&facts, NULL, 0, &guards);
	assert_memory_equal(protector_facts(p), &facts, sizeof(facts));
	assert_int_equal(protector_n_recipients(p), 3);
	assert_int_equal(protector_n_guardians(p), 2);
	assert_int_equal(jwk_thumbprint(guardian_b, thumbprint), 0);
	assert_string_equal(protector_guardian(p, 0)->thumbprint, thumbprint);
	assert_string_equal(protector_guardian(p, 0)->urls, URL_B "," URL_A);
	assert_int_equal(jwk_thumbprint(guardian_a, thumbprint), 0);
	assert_string_equal(protector_guardian(p, 1)->thumbprint, thumbprint);
	assert_string_equal(protector_guardian(p, 1)->urls, URL_A);
	assert_null(protector_guardian(p, 2));

	assert_int_equal(unwraps(p, owner, NULL), 0);
	assert_int_equal(unwraps(p, guardian_a, NULL), 0);
	assert_int_equal(unwraps(p, guardian_b, NULL), 0);
	/* A host without an entry is told whom to ask, without the pin. */
	assert_int_equal(unwraps(p, host, &f), ERR_RECIPIENT);
	assert_non_null(strstr(f.text, "a guardian (https://[2001:db8::1]:8443) has to release"));
}

static void test_hosts_beside_guardians(void **state)
{
	(void)state;
	struct protector_facts facts = facts_with(HEALTHCERT_TPM, 0);
	struct protector_guards guards = both();
	/* A guardian's key among the hosts is the guardian's. */
	const struct jwk *hosts[] = { host, guardian_a };
	CLEANUP_PROTECTOR struct protector *p = made(&facts, hosts, 2, &guards);
	assert_int_equal(protector_n_recipients(p), 4);
	assert_int_equal(protector_n_guardians(p), 2);
	assert_int_equal(protector_facts(p)->least, HEALTHCERT_TPM);
	assert_int_equal(unwraps(p, host, NULL), 0);
}

static void test_without_guardians_it_is_version_1(void **state)
{
	(void)state;
	struct protector_guards none = { 0 };
	const struct jwk *hosts[] = { host };
	CLEANUP_BUF struct buf b = BUF_INIT(PROTECTOR_TEXT_MAX), payload = BUF_INIT(65536);
	struct protector_facts facts = facts_with(0, 0);
	assert_int_equal(protector_make(&facts, &KEY, owner, hosts, 1, &none, &b, NULL), 0);
	const char *text = buf_cstr(&b), *from = strchr(text, '.') + 1;
	assert_int_equal(strict_b64_buf(from, strcspn(from, "."), &payload), 0);
	assert_non_null(strstr(buf_cstr(&payload), "\"v\":1,"));
	assert_null(strstr(buf_cstr(&payload), "assurance"));
	CLEANUP_PROTECTOR struct protector *p = made(&facts, hosts, 1, NULL);
	assert_int_equal(protector_n_guardians(p), 0);
	assert_null(protector_guardian(p, 0));
	assert_int_equal(protector_facts(p)->least, HEALTHCERT_TPM);
	assert_int_equal(protector_facts(p)->offline, 0);
	assert_int_equal(protector_facts(p)->edition, 0);
}

static void not_made(const struct protector_facts *facts, const struct protector_guards *guards,
		     int rc, const char *says)
{
	const struct jwk *hosts[] = { host };
	CLEANUP_BUF struct buf b = BUF_INIT(PROTECTOR_TEXT_MAX);
	struct fault f = { 0 };
	int got = protector_make(facts, &KEY, owner, hosts, 1, guards, &b, &f);
	assert_int_equal(b.len, 0);
	if (got != rc || !strstr(f.text, says))
		fail_msg("%d \"%s\", wanted %d \"%s\"", got, f.text, rc, says);
}

static void test_what_cannot_be_made(void **state)
{
	(void)state;
	static const char *const URLS[] = {
		"",
		"guardian.example:8443#" PIN,
		"http://guardian.example:8443#" PIN,
		"HTTPS://guardian.example:8443#" PIN,
		"https://#" PIN,
		"https://guardian.example:8443",
		"https://guardian.example:8443#",
		"https://guardian.example:8443#" PIN "A",
		"https://guardian.example:8443#NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9X",
		"https://guardian.example:8443#NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xt",
		"https://guardian.example:8443#NzbLsXh8uDCcd+6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
		"https://guardian.example:8443##" PIN,
		"https://guardian.example:8443#" PIN "#" PIN,
		"https://guardian.example:8443/path#" PIN,
		"https://user@guardian.example:8443#" PIN,
		"https://guardian.example:8443?x#" PIN,
		"https://guardian example:8443#" PIN,
		"https://guardian.example:8443\n#" PIN,
		"https://guardi\xc3\xa4n.example:8443#" PIN,
		URL_A ",",
		"," URL_A,
		URL_A " ," URL_B,
	};
	struct protector_facts facts = facts_with(HEALTHCERT_TPM, 0);
	struct protector_guards one = { 1, { guardian_a }, { URL_A } }, bad = one;
	for (size_t i = 0; i < sizeof(URLS) / sizeof(URLS[0]); i++) {
		bad.urls[0] = URLS[i];
		not_made(&facts, &bad, ERR_FORMAT, "is not https://HOST:PORT#THUMBPRINT");
	}
	bad.urls[0] = URL_A "," URL_B "," URL_A;
	not_made(&facts, &bad, ERR_FORMAT, "twice");

	bad = (struct protector_guards){ 1, { owner }, { URL_A } };
	not_made(&facts, &bad, ERR_FORMAT, "besides its owner");
	bad = (struct protector_guards){ 2, { guardian_a, guardian_a }, { URL_A, URL_B } };
	not_made(&facts, &bad, ERR_FORMAT, "is there twice");
	bad.n = PROTECTOR_GUARDIANS_MAX + 1;
	not_made(&facts, &bad, ERR_LIMIT, "9 guardians");

	facts.offline = PROTECTOR_OFFLINE_MAX + 1;
	not_made(&facts, &one, ERR_LIMIT, "101 offline starts");
	facts.offline = 1;
	not_made(&facts, NULL, ERR_USAGE, "with a guardian only");
	facts = facts_with(0, 0);
	facts.least = HEALTHCERT_HOSTKEY;
	not_made(&facts, NULL, ERR_USAGE, "assurance");
	facts = facts_with(0, 0);
	facts.edition = EDITION;
	not_made(&facts, NULL, ERR_USAGE, "edition");
	facts = facts_with(0, 0);
	not_made(&facts, &one, ERR_USAGE, "0 is not the number of an edition");
	facts.edition = PROTECTOR_EDITION_MAX + 1;
	not_made(&facts, &one, ERR_USAGE, "is not the number of an edition");
	facts.edition = PROTECTOR_EDITION_MAX;
	not_made(&facts, &one, ERR_USAGE, "not an assurance");
	facts = facts_with(HEALTHCERT_HOSTKEY + 1, 0);
	not_made(&facts, &one, ERR_USAGE, "not an assurance");
}

/* The longest addresses, eight of them, of eight guardians; and one more, or one longer. */
static void test_as_many_as_there_may_be_fit(void **state)
{
	(void)state;
	char urls[PROTECTOR_URLS_SIZE] = "", url[PROTECTOR_URL_MAX + 2];
	size_t pad = PROTECTOR_URL_MAX - strlen("https://0#" PIN);
	struct jwk *keys[PROTECTOR_GUARDIANS_MAX];
	struct protector_facts facts = facts_with(HEALTHCERT_TPM, 3);
	struct protector_guards guards = { .n = PROTECTOR_GUARDIANS_MAX };
	for (int i = 0; i < PROTECTOR_URLS_MAX; i++) {
		snprintf(url, sizeof(url), "https://%d%0*d#" PIN, i, (int)pad, 0);
		assert_int_equal(strlen(url), PROTECTOR_URL_MAX);
		snprintf(urls + strlen(urls), sizeof(urls) - strlen(urls), "%s%s", i ? "," : "",
			 url);
	}
	for (size_t i = 0; i < PROTECTOR_GUARDIANS_MAX; i++) {
		assert_int_equal(jwk_new(&keys[i], NULL), 0);
		guards.keys[i] = keys[i];
		guards.urls[i] = urls;
	}
	CLEANUP_PROTECTOR struct protector *p = made(&facts, NULL, 0, &guards);
	assert_int_equal(protector_n_guardians(p), PROTECTOR_GUARDIANS_MAX);
	assert_string_equal(protector_guardian(p, PROTECTOR_GUARDIANS_MAX - 1)->urls, urls);

	struct protector_guards bad = { 1, { guardian_a }, { url } };
	snprintf(url, sizeof(url), "https://0%0*d#" PIN, (int)pad + 1, 0);
	not_made(&facts, &bad, ERR_FORMAT, "number 1 is not");
	strcat(urls, "," URL_A);
	bad.urls[0] = urls;
	not_made(&facts, &bad, ERR_LIMIT, "9 addresses");
	for (size_t i = 0; i < PROTECTOR_GUARDIANS_MAX; i++)
		jwk_free(keys[i]);
}

/* Guardians are about who gets the key, as recipients are: not what two hosts compare. */
static void test_the_migration_policy_has_no_guardians(void **state)
{
	(void)state;
	uint8_t with[PROTECTOR_POLICY_BYTES], without[PROTECTOR_POLICY_BYTES];
	struct protector_facts a = facts_with(HEALTHCERT_HOSTKEY, 7), b = facts_with(0, 0);
	assert_int_equal(protector_policy(&a, owner, with), 0);
	assert_int_equal(protector_policy(&b, owner, without), 0);
	assert_memory_equal(with, without, sizeof(with));
}

static void test_assurances_have_names(void **state)
{
	(void)state;
	enum healthcert_assurance a = 0;
	assert_int_equal(healthcert_assurance_parse("tpm", &a), 0);
	assert_int_equal(a, HEALTHCERT_TPM);
	assert_int_equal(healthcert_assurance_parse("hostkey", &a), 0);
	assert_int_equal(a, HEALTHCERT_HOSTKEY);
	assert_int_equal(healthcert_assurance_parse("TPM", &a), ERR_FORMAT);
	assert_int_equal(healthcert_assurance_parse("", &a), ERR_FORMAT);
	assert_int_equal(a, HEALTHCERT_HOSTKEY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guardians_are_recipients_in_the_owners_order),
		cmocka_unit_test(test_hosts_beside_guardians),
		cmocka_unit_test(test_without_guardians_it_is_version_1),
		cmocka_unit_test(test_what_cannot_be_made),
		cmocka_unit_test(test_as_many_as_there_may_be_fit),
		cmocka_unit_test(test_the_migration_policy_has_no_guardians),
		cmocka_unit_test(test_assurances_have_names),
	};
	return cmocka_run_group_tests(tests, make_keys, free_keys);
}
