/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/ekca.h"
#include "crypto/ossl.h"

static const uint8_t VM[UUID_BYTES] = { 0xde, 0xad };
static char folder[PATH_MAX];

static const char *in_folder(const char *name)
{
	static char path[PATH_MAX + 16];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

/* Run COMMAND in the folder; its exit code. */
static int run(const char *command)
{
	char line[PATH_MAX + 1024];
	snprintf(line, sizeof(line), "cd %s && { %s; } >run.log 2>&1", folder, command);
	return system(line);
}

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/shieldvm-ekca-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	char line[PATH_MAX + 16];
	snprintf(line, sizeof(line), "rm -r %s", folder);
	return system(line);
}

static void make_ek(struct ek_public *ek, enum ek_type type)
{
	*ek = (struct ek_public){ 0 };
	CLEANUP(cleanup_bn) BIGNUM *n = NULL;
	CLEANUP(cleanup_bn) BIGNUM *x = NULL;
	CLEANUP(cleanup_bn) BIGNUM *y = NULL;
	CLEANUP(cleanup_pkey)
	EVP_PKEY *key = type == EK_RSA_2048 ? EVP_RSA_gen(2048) : EVP_EC_gen("P-384");
	ek->type = type;
	if (type == EK_RSA_2048) {
		assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n), 1);
		assert_int_equal(BN_bn2binpad(n, ek->rsa_modulus, 256), 256);
	} else {
		assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &x), 1);
		assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &y), 1);
		assert_int_equal(BN_bn2binpad(x, ek->ecc_x, 48), 48);
		assert_int_equal(BN_bn2binpad(y, ek->ecc_y, 48), 48);
	}
}

static struct ekca *new_ca(void)
{
	struct ekca *ca = NULL;
	struct fault f = { 0 };
	if (ekca_init(folder, &f) < 0 || ekca_open(folder, &ca, &f) < 0)
		fail_msg("%s", f.text);
	return ca;
}

static void test_makes_a_ca_once(void **state)
{
	(void)state;
	struct stat st;
	CLEANUP_BUF struct buf first = BUF_INIT(65536), second = BUF_INIT(65536);
	assert_int_equal(ekca_init(folder, NULL), 0);
	assert_int_equal(stat(in_folder("ca.key"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(in_folder("ca.pem"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(fd_read_file(AT_FDCWD, in_folder("ca.key"), &first, NULL), 0);
	assert_int_equal(fd_read_file(AT_FDCWD, in_folder("ca.pem"), &first, NULL), 0);
	assert_int_equal(ekca_init(folder, NULL), 0);
	assert_int_equal(fd_read_file(AT_FDCWD, in_folder("ca.key"), &second, NULL), 0);
	assert_int_equal(fd_read_file(AT_FDCWD, in_folder("ca.pem"), &second, NULL), 0);
	assert_int_equal(first.len, second.len);
	assert_memory_equal(first.data, second.data, first.len);
	assert_non_null(strstr(buf_cstr(&first), "-----BEGIN PRIVATE KEY-----"));

	assert_int_equal(run("openssl verify -x509_strict -CAfile ca.pem ca.pem"), 0);
	assert_int_equal(run("openssl x509 -in ca.pem -noout -text | tr -s ' \\n' ' ' >text"), 0);
	assert_int_equal(run("grep 'Subject: CN *= *shieldvm EK CA [0-9a-f]\\{16\\} ' text"), 0);
	assert_int_equal(run("grep 'Basic Constraints: critical CA:TRUE, pathlen:0' text"), 0);
	assert_int_equal(run("grep 'Key Usage: critical Certificate Sign X509v3' text"), 0);
	assert_int_equal(run("grep 'Not After : Dec 31 23:59:59 9999 GMT' text"), 0);
	assert_int_equal(run("grep 'ASN1 OID: secp384r1' text"), 0);
	assert_int_equal(run("grep 'Signature Algorithm: ecdsa-with-SHA384' text"), 0);
}

/* Every field of the profile, as OpenSSL's own command prints it. */
static void check_certificate(enum ek_type type)
{
	static const char *const COMMON[] = {
		"grep 'Version: 3 (0x2)' text",
		"grep 'Subject: Subject Public Key Info' text",
		"grep 'Basic Constraints: critical CA:FALSE' text",
		/* OpenSSL 3.5 knows the TCG's names. */
		"grep -E 'Extended Key Usage: (2.23.133.8.1|Endorsement Key Certificate) X509v3' "
		"text",
		"grep -E 'Subject Alternative Name: critical "
		"DirName:/(2.23.133.2.1|tcg-at-tpmManufacturer)=id:49424D00"
		"/(2.23.133.2.2|tcg-at-tpmModel)=shieldvm/"
		"(2.23.133.2.3|tcg-at-tpmVersion)=id:20191023, "
		"URI:urn:uuid:dead0000-0000-0000-0000-000000000000 ' text",
		"grep 'X509v3 Authority Key Identifier' text",
		"grep 'Not After : Dec 31 23:59:59 9999 GMT' text",
		"openssl verify -x509_strict -CAfile ca.pem ek.pem",
		"openssl verify -CAfile ca.pem -partial_chain ek.pem",
		"! openssl verify ek.pem",
		"openssl asn1parse -in ek.pem | grep 'OCTET "
		"STRING.*DUMP.:3019301706056781050210310E"
		"300C0C03322E300201000202 *00A4'",
	};
	for (size_t i = 0; i < sizeof(COMMON) / sizeof(COMMON[0]); i++) {
		if (run(COMMON[i]) != 0)
			fail_msg("type %d: %s", type, COMMON[i]);
	}
	if (type == EK_RSA_2048) {
		assert_int_equal(run("grep 'Key Usage: critical Key Encipherment X509v3' text"), 0);
		assert_int_equal(run("grep 'Public-Key: (2048 bit)' text"), 0);
		assert_int_equal(run("grep 'Exponent: 65537' text"), 0);
	} else {
		assert_int_equal(run("grep 'Key Usage: critical Key Agreement X509v3' text"), 0);
		assert_int_equal(run("grep 'ASN1 OID: secp384r1' text"), 0);
	}
}

static void test_issues_certificates_of_the_profile(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf serials = BUF_INIT(4096);
	struct ekca *ca = new_ca();
	for (enum ek_type type = EK_RSA_2048; type <= EK_ECC_P384; type++) {
		CLEANUP_BUF struct buf der = BUF_INIT(EKCA_CERT_MAX);
		struct ek_public ek;
		struct fault f = { 0 };
		make_ek(&ek, type);
		if (ekca_issue(ca, &ek, VM, &der, &f) < 0)
			fail_msg("%s", f.text);
		assert_true(der.len > 300 && der.len <= EKCA_CERT_MAX);
		assert_int_equal(fd_write_file(AT_FDCWD, in_folder("ek.der"), der.data, der.len,
					       0600, 1, NULL),
				 0);
		assert_int_equal(run("openssl x509 -inform DER -in ek.der -out ek.pem"), 0);
		assert_int_equal(
			run("openssl x509 -in ek.pem -noout -text | tr -s ' \\n' ' ' >text"), 0);
		check_certificate(type);

		/* The key in it is the one asked for. */
		const unsigned char *p = der.data;
		CLEANUP(cleanup_x509) X509 *cert = d2i_X509(NULL, &p, (long)der.len);
		assert_ptr_equal(p, der.data + der.len);
		unsigned char *spki = NULL;
		int n = i2d_PUBKEY(X509_get0_pubkey(cert), &spki);
		assert_true(n > 0);
		assert_non_null(type == EK_RSA_2048 ? memmem(spki, (size_t)n, ek.rsa_modulus, 256)
						    : memmem(spki, (size_t)n, ek.ecc_y, 48));
		OPENSSL_free(spki);

		/* Serial numbers: positive, long, never the same. */
		const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
		assert_int_equal(ASN1_STRING_type(serial), V_ASN1_INTEGER);
		assert_int_equal(ASN1_STRING_length(serial), 20);
		assert_null(serials.len ? memmem(serials.data, serials.len,
						 ASN1_STRING_get0_data(serial), 20)
					: NULL);
		assert_int_equal(buf_add(&serials, ASN1_STRING_get0_data(serial), 20), 0);
	}
	ekca_free(ca);
}

static void test_refuses_keys_that_are_none(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf out = BUF_INIT(EKCA_CERT_MAX), small = BUF_INIT(100);
	struct ekca *ca = new_ca();
	struct ek_public ek, bad;
	struct fault f = { 0 };
	make_ek(&ek, EK_RSA_2048);
	bad = ek;
	bad.rsa_modulus[255] ^= 1;
	assert_int_equal(ekca_issue(ca, &bad, VM, &out, &f), ERR_FORMAT);
	assert_string_equal(f.text, "the endorsement key is not a valid RSA 2048 key");
	bad = ek;
	bad.rsa_modulus[0] &= 0x7f;
	assert_int_equal(ekca_issue(ca, &bad, VM, &out, NULL), ERR_FORMAT);
	assert_int_equal(ekca_issue(ca, &ek, VM, &small, NULL), ERR_LIMIT);
	make_ek(&ek, EK_ECC_P384);
	bad = ek;
	bad.ecc_y[47] ^= 1;
	assert_int_equal(ekca_issue(ca, &bad, VM, &out, NULL), ERR_FORMAT);
	memset(bad.ecc_x, 0, 48);
	memset(bad.ecc_y, 0, 48);
	assert_int_equal(ekca_issue(ca, &bad, VM, &out, NULL), ERR_FORMAT);
	assert_int_equal(out.len, 0);
	assert_int_equal(small.len, 0);
	ekca_free(ca);
}

static void refused(int rc, const char *says)
{
	struct ekca *ca = NULL;
	struct fault f = { 0 };
	int got = ekca_open(folder, &ca, &f);
	assert_null(ca);
	if (got != rc || !strstr(f.text, says))
		fail_msg("%d \"%s\", wanted %d \"%s\"", got, f.text, rc, says);
}

static void test_broken_ca_folders_are_told(void **state)
{
	(void)state;
	struct fault f = { 0 };
	refused(-ENOENT, "shieldvm host init");
	assert_int_equal(ekca_init(folder, NULL), 0);
	assert_int_equal(run("mv ca.pem kept.pem && cp ca.key kept.key"), 0);
	refused(ERR_STATE, "ca.pem is missing");
	assert_int_equal(ekca_init(folder, &f), ERR_STATE);
	assert_non_null(strstr(f.text, "ca.key is there, but"));
	assert_int_equal(access(in_folder("ca.pem"), F_OK), -1);
	assert_int_equal(run("mv ca.key x && mv kept.pem ca.pem"), 0);
	refused(ERR_STATE, "ca.key is missing");
	assert_int_equal(run("mv x ca.key && chmod 640 ca.key"), 0);
	refused(ERR_POLICY, "mode 0640");
	assert_int_equal(ekca_init(folder, NULL), ERR_POLICY);

	assert_int_equal(run("openssl ecparam -genkey -name secp384r1 -noout -out ca.key && "
			     "chmod 600 ca.key"),
			 0);
	refused(ERR_FORMAT, "is not the certificate of");
	assert_int_equal(run("openssl pkcs8 -topk8 -in kept.key -passout pass:x -out ca.key"), 0);
	refused(ERR_FORMAT, "not an unencrypted private key");
	assert_int_equal(run("cp kept.key ca.key && cp ca.pem kept.pem && echo x >ca.pem"), 0);
	refused(ERR_FORMAT, "ca.pem: not a certificate");
	assert_int_equal(run("openssl req -x509 -key ca.key -subj /CN=x -out ca.pem "
			     "-addext basicConstraints=critical,CA:FALSE"),
			 0);
	refused(ERR_FORMAT, "not the certificate of a CA");
	assert_int_equal(run("head -c 20000 /dev/zero >ca.pem"), 0);
	refused(ERR_LIMIT, "larger than the 16384 bytes");
	assert_int_equal(run("rm ca.pem && ln -s kept.pem ca.pem"), 0);
	refused(-ELOOP, "ca.pem");
}

static void test_an_operators_own_ca_serves(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf der = BUF_INIT(EKCA_CERT_MAX);
	struct ek_public ek;
	assert_int_equal(run("openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key "
			     "-out ca.pem -subj /CN=ours"),
			 0);
	struct ekca *ca = new_ca();
	make_ek(&ek, EK_ECC_P384);
	assert_int_equal(ekca_issue(ca, &ek, VM, &der, NULL), 0);
	assert_int_equal(
		fd_write_file(AT_FDCWD, in_folder("ek.der"), der.data, der.len, 0600, 1, NULL), 0);
	assert_int_equal(run("openssl x509 -inform DER -in ek.der -out ek.pem && "
			     "openssl verify -CAfile ca.pem ek.pem"),
			 0);
	ekca_free(ca);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_makes_a_ca_once),
		TEST(test_issues_certificates_of_the_profile),
		TEST(test_refuses_keys_that_are_none),
		TEST(test_broken_ca_folders_are_told),
		TEST(test_an_operators_own_ca_serves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
