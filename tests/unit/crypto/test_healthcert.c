/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/healthcert.h"
#include "crypto/ossl.h"

#define NOW INT64_C(1800000000)

static char folder[64];
static struct healthca *ca;
static struct healthcert issued; /* what DER says */
static struct buf der;

static const char *in_folder(const char *name)
{
	static char path[128];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

/* Run COMMAND in the folder; its exit code. */
static int run(const char *command)
{
	char line[1024];
	snprintf(line, sizeof(line), "cd %s && { %s; } >run.log 2>&1", folder, command);
	return system(line);
}

static void make_point(const char *group, struct healthcert *c)
{
	CLEANUP(cleanup_bn) BIGNUM *x = NULL;
	CLEANUP(cleanup_bn) BIGNUM *y = NULL;
	CLEANUP(cleanup_pkey) EVP_PKEY *key = EVP_EC_gen(group);
	assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &x), 1);
	assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &y), 1);
	assert_int_equal(BN_bn2binpad(x, c->x, 32), 32);
	assert_int_equal(BN_bn2binpad(y, c->y, 32), 32);
}

static void describe(struct healthcert *c)
{
	*c = (struct healthcert){
		.host = { 0xde, 0xad, [15] = 1 },
		.assurance = HEALTHCERT_TPM,
		.worker_hash = { 0, 1, 2, [31] = 0xff },
		.generation = 7,
		.reset_count = UINT32_MAX,
		.restart_count = 0,
		.not_before = NOW,
		.not_after = NOW + HEALTHCERT_LIFETIME,
	};
	make_point("P-256", c);
}

static int make(void **state)
{
	(void)state;
	struct fault f = { 0 };
	snprintf(folder, sizeof(folder), "/tmp/shieldvm-healthcert-XXXXXX");
	describe(&issued);
	der = BUF_INIT(HEALTHCERT_MAX);
	if (!mkdtemp(folder) || healthca_init(folder, &f) < 0 ||
	    healthca_open(folder, &ca, &f) < 0 || healthcert_issue(ca, &issued, &der, &f) < 0) {
		fprintf(stderr, "%s\n", f.text);
		return -1;
	}
	return 0;
}

static int done(void **state)
{
	(void)state;
	char line[128];
	buf_done(&der);
	healthca_free(ca);
	ca = NULL;
	snprintf(line, sizeof(line), "rm -r %s", folder);
	return system(line);
}

static void opens(const struct healthca *by, const struct buf *text, int64_t now)
{
	struct fault f = { 0 };
	struct healthcert got;
	if (healthcert_open(by, text->data, text->len, issued.host, now, &got, &f) < 0)
		fail_msg("%s", f.text);
	assert_memory_equal(&got, &issued, sizeof(got));
}

static void refused(const struct healthca *by, const uint8_t *bytes, size_t n, int64_t now, int rc,
		    const char *says)
{
	struct fault f = { 0 };
	struct healthcert got = { .generation = 99 };
	int is = healthcert_open(by, bytes, n, issued.host, now, &got, &f);
	if (is != rc || !strstr(f.text, says))
		fail_msg("%d \"%s\", wanted %d \"%s\"", is, f.text, rc, says);
	assert_int_equal(got.generation, 99);
}

static void test_says_what_was_put_in(void **state)
{
	(void)state;
	struct stat st;
	assert_int_equal(stat(in_folder("ca.key"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	opens(ca, &der, NOW);
	opens(ca, &der, NOW + HEALTHCERT_LIFETIME - 1);
	opens(ca, &der, NOW - HEALTHCERT_SKEW);
	/* The extremes of each field, by a CA that was opened again, and by its certificate. */
	CLEANUP_HEALTHCA struct healthca *again = NULL;
	CLEANUP_HEALTHCA struct healthca *public = NULL;
	CLEANUP_BUF struct buf pem = BUF_INIT(4096), second = BUF_INIT(HEALTHCERT_MAX);
	struct healthcert first = issued;
	assert_int_equal(healthca_init(folder, NULL), 0);
	assert_int_equal(healthca_open(folder, &again, NULL), 0);
	assert_int_equal(fd_read_file(AT_FDCWD, in_folder("ca.pem"), &pem, NULL), 0);
	assert_int_equal(healthca_read((const char *)pem.data, pem.len, &public, NULL), 0);
	describe(&issued);
	memset(issued.host, 0xff, sizeof(issued.host));
	issued.assurance = HEALTHCERT_HOSTKEY;
	issued.generation = UINT32_MAX;
	issued.reset_count = 0;
	issued.restart_count = 0x80000000;
	issued.not_after = NOW + HEALTHCERT_LIFETIME_MAX;
	assert_int_equal(healthcert_issue(again, &issued, &second, NULL), 0);
	opens(ca, &second, NOW);
	opens(public, &second, NOW);
	assert_memory_not_equal(first.serial, issued.serial, sizeof(first.serial));
	assert_true(issued.serial[0] < 0x80);
	assert_int_equal(healthcert_issue(public, &first, &pem, NULL), ERR_USAGE);
}

static void test_openssl_reads_it(void **state)
{
	(void)state;
	static const char SIX[] = "test $(grep -o '2.25.328912452170633813674310918506027870708"
				  ".1.[1-6]: critical' text | sort -u | wc -l) = 6";
	const char *const COMMON[] = {
		"openssl x509 -inform DER -in c.der -out c.pem",
		"openssl x509 -in c.pem -noout -text | tr -s ' \\n' ' ' >text",
		"grep 'Version: 3 (0x2)' text",
		"grep 'Signature Algorithm: ecdsa-with-SHA256' text",
		"grep 'Issuer: CN *= *shieldvm guardian CA [0-9a-f]\\{16\\} ' text",
		"grep 'Subject: CN *= *dead0000-0000-0000-0000-000000000001 ' text",
		"grep 'Basic Constraints: critical CA:FALSE' text",
		"grep 'Key Usage: critical Key Agreement X509v3' text",
		"grep 'ASN1 OID: prime256v1' text",
		"grep 'X509v3 Authority Key Identifier' text",
		SIX,
		"openssl verify -ignore_critical -x509_strict -no_check_time -CAfile ca.pem c.pem",
		/* What does not know the extensions takes it for nothing. */
		"! openssl verify -no_check_time -CAfile ca.pem c.pem",
		"openssl asn1parse -in c.pem | grep 'DUMP.:0410DEAD0000000000000000000000000001'",
		"openssl asn1parse -in c.pem | grep 'DUMP.:0C0374706D'",
		"openssl asn1parse -in c.pem | grep 'DUMP.:020107'",
		"openssl asn1parse -in c.pem | grep 'DUMP.:020500FFFFFFFF'",
		"openssl asn1parse -in c.pem | grep 'DUMP.:020100'",
	};
	assert_int_equal(
		fd_write_file(AT_FDCWD, in_folder("c.der"), der.data, der.len, 0600, 1, NULL), 0);
	for (size_t i = 0; i < sizeof(COMMON) / sizeof(COMMON[0]); i++) {
		if (run(COMMON[i]) != 0)
			fail_msg("%s", COMMON[i]);
	}
}

static void test_time_host_and_ca(void **state)
{
	(void)state;
	static uint8_t large[HEALTHCERT_MAX + 1];
	refused(ca, der.data, der.len, issued.not_after, ERR_POLICY, "expired 0 s ago");
	refused(ca, der.data, der.len, issued.not_after + 5, ERR_POLICY, "attest again");
	refused(ca, der.data, der.len, NOW - HEALTHCERT_SKEW - 1, ERR_POLICY, "clock is wrong");
	issued.host[15]++;
	refused(ca, der.data, der.len, NOW, ERR_RECIPIENT, "another host's");
	issued.host[15]--;
	refused(ca, large, sizeof(large), NOW, ERR_LIMIT, "at most");
	refused(ca, der.data, 0, NOW, ERR_FORMAT, "not a certificate");
	refused(ca, der.data, der.len - 1, NOW, ERR_FORMAT, "not a certificate");
	assert_int_equal(buf_add(&der, "", 1), 0);
	refused(ca, der.data, der.len, NOW, ERR_FORMAT, "not a certificate");
	der.len--;

	/* Another CA, also one with the same name. */
	char other_folder[80];
	struct healthca *other = NULL;
	snprintf(other_folder, sizeof(other_folder), "%s/other", folder);
	assert_int_equal(healthca_init(other_folder, NULL), 0);
	assert_int_equal(healthca_open(other_folder, &other, NULL), 0);
	refused(other, der.data, der.len, NOW, ERR_AUTH, "has not signed");
	healthca_free(other);
	assert_int_equal(run("n=$(openssl x509 -in ca.pem -noout -subject -nameopt RFC2253 | "
			     "sed 's/.*CN *= *//') && openssl req -x509 -subj \"/CN=$n\" "
			     "-key other/ca.key -out other/ca.pem -addext "
			     "basicConstraints=critical,CA:TRUE"),
			 0);
	assert_int_equal(healthca_open(other_folder, &other, NULL), 0);
	refused(other, der.data, der.len, NOW, ERR_AUTH, "has not signed");
	healthca_free(other);
	/* Every byte counts. */
	for (size_t i = 0; i < der.len; i += 3) {
		struct healthcert got;
		der.data[i] ^= 1;
		assert_true(healthcert_open(ca, der.data, der.len, issued.host, NOW, &got, NULL) <
			    0);
		der.data[i] ^= 1;
	}
}

static X509_EXTENSION *own(const X509 *cert, int number)
{
	char name[96];
	snprintf(name, sizeof(name), "2.25.328912452170633813674310918506027870708.1.%d", number);
	ASN1_OBJECT *oid = OBJ_txt2obj(name, 1);
	int at = X509_get_ext_by_OBJ(cert, oid, -1);
	ASN1_OBJECT_free(oid);
	assert_true(at >= 0);
	return X509_get_ext(cert, at);
}

/* The same extension with other bytes. */
static void set_value(X509 *cert, int number, const char *bytes, int n)
{
	ASN1_OCTET_STRING *v = ASN1_OCTET_STRING_new();
	ASN1_OCTET_STRING_set(v, (const unsigned char *)bytes, n);
	X509_EXTENSION_set_data(own(cert, number), v);
	ASN1_OCTET_STRING_free(v);
}

static void drop(X509 *cert, int at)
{
	X509_EXTENSION_free(X509_delete_ext(cert, at));
}

/* Add one of libcrypto's own kinds. */
static void add(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	assert_non_null(e);
	assert_int_equal(X509_add_ext(cert, e, -1), 1);
	X509_EXTENSION_free(e);
}

enum change {
	NONE,
	DROP_0, /* and the eight after it */
	DROP_LAST = DROP_0 + 8,
	NOT_CRITICAL_1,
	NOT_CRITICAL_6 = NOT_CRITICAL_1 + 5,
	TWICE_1,
	TWICE_6 = TWICE_1 + 5,
	ADDED,
	ADDED_CRITICAL,
	REORDERED,
	LONG_NUMBER,
	LARGE_NUMBER,
	NEGATIVE_NUMBER,
	OTHER_ASSURANCE,
	TRAILING_IN_VALUE,
	SHORT_HOST,
	GENERATION_0,
	OTHER_SUBJECT,
	OTHER_ISSUER,
	VERSION_1,
	LONG_LIFE,
	SHORT_LIFE,
	OTHER_CURVE,
	COMPRESSED_KEY,
	OTHER_HASH,
	SHORT_SERIAL,
	CHANGES
};

static void change(X509 *cert, enum change what)
{
	int number = (int)what;
	if (what >= DROP_0 && what <= DROP_LAST) {
		drop(cert, number - DROP_0);
	} else if (what >= NOT_CRITICAL_1 && what <= NOT_CRITICAL_6) {
		X509_EXTENSION_set_critical(own(cert, number - NOT_CRITICAL_1 + 1), 0);
	} else if (what >= TWICE_1 && what <= TWICE_6) {
		X509_add_ext(cert, own(cert, number - TWICE_1 + 1), -1);
	} else if (what == ADDED) {
		add(cert, NID_netscape_comment, "more");
	} else if (what == ADDED_CRITICAL) {
		add(cert, NID_ext_key_usage, "critical,serverAuth");
	} else if (what == REORDERED) {
		X509_EXTENSION *e = X509_delete_ext(cert, 3);
		X509_add_ext(cert, e, -1);
		X509_EXTENSION_free(e);
	} else if (what == LONG_NUMBER) {
		set_value(cert, 4, "\2\2\0\7", 4);
	} else if (what == LARGE_NUMBER) {
		set_value(cert, 4, "\2\5\1\0\0\0\7", 7);
	} else if (what == NEGATIVE_NUMBER) {
		set_value(cert, 5, "\2\1\377", 3);
	} else if (what == OTHER_ASSURANCE) {
		set_value(cert, 2, "\f\3tpn", 5);
	} else if (what == TRAILING_IN_VALUE) {
		set_value(cert, 4, "\2\1\7\0", 4);
	} else if (what == SHORT_HOST) {
		set_value(cert, 1, "\4\1\7", 3);
	} else if (what == GENERATION_0) {
		set_value(cert, 4, "\2\1\0", 3);
	} else if (what == OTHER_SUBJECT) {
		X509_NAME_add_entry_by_NID(X509_get_subject_name(cert), NID_commonName,
					   MBSTRING_ASC, (const unsigned char *)"x", -1, -1, 0);
	} else if (what == OTHER_ISSUER) {
		X509_NAME_add_entry_by_NID(X509_get_issuer_name(cert), NID_commonName, MBSTRING_ASC,
					   (const unsigned char *)"x", -1, -1, 0);
	} else if (what == LONG_LIFE) {
		ASN1_TIME_set(X509_getm_notAfter(cert), NOW + HEALTHCERT_LIFETIME_MAX + 1);
	} else if (what == SHORT_LIFE) {
		ASN1_TIME_set(X509_getm_notAfter(cert), NOW + HEALTHCERT_LIFETIME_MIN - 1);
	} else if (what == OTHER_CURVE) {
		CLEANUP(cleanup_pkey) EVP_PKEY *key = EVP_EC_gen("brainpoolP256r1");
		X509_set_pubkey(cert, key);
	} else if (what == COMPRESSED_KEY) {
		CLEANUP(cleanup_pkey) EVP_PKEY *key = X509_get_pubkey(cert);
		EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
					       "compressed");
		X509_set_pubkey(cert, key);
	} else if (what == SHORT_SERIAL) {
		ASN1_INTEGER_set(X509_get_serialNumber(cert), 5);
	}
}

/* KEY signs that CERT is of version 1, which X509_sign() of newer OpenSSL will not. */
static void sign_version_1(X509 *cert, EVP_PKEY *key)
{
	unsigned char *tbs = NULL, signature[128];
	size_t n = sizeof(signature);
	const ASN1_BIT_STRING *has;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	X509_set_version(cert, X509_VERSION_1);
	int tbs_bytes = i2d_re_X509_tbs(cert, &tbs);
	assert_true(tbs_bytes > 0);
	assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
	assert_int_equal(EVP_DigestSign(ctx, signature, &n, tbs, (size_t)tbs_bytes), 1);
	EVP_MD_CTX_free(ctx);
	OPENSSL_free(tbs);
	X509_get0_signature(&has, NULL, cert);
	assert_int_equal(ASN1_STRING_set((ASN1_BIT_STRING *)(uintptr_t)has, signature, (int)n), 1);
	assert_int_equal(X509_verify(cert, key), 1);
	assert_int_equal(X509_get_version(cert), X509_VERSION_1);
}

/* The guardian's own CA signs something else. */
static void test_there_is_one_encoding(void **state)
{
	(void)state;
	FILE *file = fopen(in_folder("ca.key"), "r");
	CLEANUP(cleanup_pkey) EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
	assert_int_equal(fclose(file), 0);
	for (int what = NONE; what < CHANGES; what++) {
		const unsigned char *p = der.data;
		unsigned char *out = NULL;
		CLEANUP(cleanup_x509) X509 *cert = d2i_X509(NULL, &p, (long)der.len);
		assert_int_equal(X509_get_ext_count(cert), 9);
		change(cert, (enum change)what);
		assert_true(X509_sign(cert, key, what == OTHER_HASH ? EVP_sha384() : EVP_sha256()) >
			    0);
		if (what == VERSION_1)
			sign_version_1(cert, key);
		int n = i2d_X509(cert, &out);
		struct healthcert got;
		int rc = healthcert_open(ca, out, (size_t)n, issued.host, NOW, &got, NULL);
		if (rc != (what == NONE ? 0 : ERR_FORMAT))
			fail_msg("change %d: %d", what, rc);
		OPENSSL_free(out);
	}
}

static void test_issues_nothing_impossible(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf out = BUF_INIT(HEALTHCERT_MAX), small = BUF_INIT(100);
	struct healthcert c, good;
	describe(&good);
	c = good;
	c.not_after = NOW + HEALTHCERT_LIFETIME_MIN - 1;
	assert_int_equal(healthcert_issue(ca, &c, &out, NULL), ERR_LIMIT);
	c.not_after = NOW + HEALTHCERT_LIFETIME_MAX + 1;
	assert_int_equal(healthcert_issue(ca, &c, &out, NULL), ERR_LIMIT);
	c.not_before = -1;
	c.not_after = HEALTHCERT_LIFETIME;
	assert_int_equal(healthcert_issue(ca, &c, &out, NULL), ERR_LIMIT);
	c = good;
	c.generation = 0;
	assert_int_equal(healthcert_issue(ca, &c, &out, NULL), ERR_FORMAT);
	c = good;
	c.assurance = (enum healthcert_assurance)0;
	assert_int_equal(healthcert_issue(ca, &c, &out, NULL), ERR_FORMAT);
	c = good;
	c.y[31] ^= 1;
	assert_int_equal(healthcert_issue(ca, &c, &out, NULL), ERR_FORMAT);
	assert_int_equal(healthcert_issue(ca, &good, &small, NULL), ERR_LIMIT);
	assert_int_equal(out.len, 0);
	assert_int_equal(small.len, 0);
}

static void test_broken_cas_are_told(void **state)
{
	(void)state;
	struct healthca *none = NULL;
	struct fault f = { 0 };
	assert_int_equal(healthca_read("x", 1, &none, &f), ERR_FORMAT);
	assert_int_equal(run("chmod 640 ca.key"), 0);
	assert_int_equal(healthca_open(folder, &none, NULL), ERR_POLICY);
	assert_int_equal(run("rm ca.key ca.pem"), 0);
	f = (struct fault){ 0 };
	assert_int_equal(healthca_open(folder, &none, &f), -ENOENT);
	assert_non_null(strstr(f.text, "shieldvm-guardian init"));
	assert_null(none);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_says_what_was_put_in),      TEST(test_openssl_reads_it),
		TEST(test_time_host_and_ca),	      TEST(test_there_is_one_encoding),
		TEST(test_issues_nothing_impossible), TEST(test_broken_cas_are_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
