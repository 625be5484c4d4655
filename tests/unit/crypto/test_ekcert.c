/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/test.h"

#include <string.h>

#include "base/buf.h"
#include "crypto/ekcert.h"
#include "crypto/rawkey_form.h"

#define NOW 2000000000 /* 2033 */
#define DAY 86400

#define CA_EXT                                                                                     \
	"basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n"                       \
	"subjectKeyIdentifier=hash\n"
#define NO_CA_EXT "basicConstraints=critical,CA:FALSE\nsubjectKeyIdentifier=hash\n"
/* As a TPM's maker writes it: no subject, and the TPM's model in a critical subjectAltName. */
#define LEAF_EXT                                                                                   \
	"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,keyAgreement\n"                     \
	"subjectAltName=critical,dirName:tpm\n"
#define EKU   "extendedKeyUsage=2.23.133.8.1\n"
#define NAMES "[tpm]\na.2.23.133.2.1=id:49424D00\nb.2.23.133.2.2=m\nc.2.23.133.2.3=id:1\n"

/* A key and its certificate. */
struct party {
	EVP_PKEY *key;
	X509 *cert;
};
static struct party root, middle, low, stranger;
static EVP_PKEY *ek_key, *other_key;
static struct rawkey ek;
static struct ekcert_roots *roots;

/* What a certificate is to be like. */
struct wanted {
	const char *subject; /* NULL: none */
	const char *extensions;
	const struct party *issuer; /* NULL: itself */
	EVP_PKEY *key;
	long from, to; /* seconds from NOW */
	const EVP_MD *md;
};

static X509 *make_cert(const struct wanted *w)
{
	static long serial;
	X509 *cert = X509_new();
	struct party self = { w->key, cert };
	const struct party *issuer = w->issuer ? w->issuer : &self;
	char text[1024];
	long line;
	X509V3_CTX ctx;
	assert_int_equal(X509_set_version(cert, 2), 1);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial);
	ASN1_TIME_set(X509_getm_notBefore(cert), NOW + w->from);
	ASN1_TIME_set(X509_getm_notAfter(cert), NOW + w->to);
	if (w->subject)
		X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
					   (const uint8_t *)w->subject, -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(issuer->cert));
	X509_set_pubkey(cert, w->key);
	snprintf(text, sizeof(text), "[x]\n%s%s", w->extensions, NAMES);
	BIO *in = BIO_new_mem_buf(text, -1);
	CONF *conf = NCONF_new(NULL);
	assert_int_equal(NCONF_load_bio(conf, in, &line), 1);
	X509V3_set_ctx(&ctx, issuer->cert, cert, NULL, NULL, 0);
	X509V3_set_nconf(&ctx, conf);
	assert_int_equal(X509V3_EXT_add_nconf(conf, &ctx, "x", cert), 1);
	NCONF_free(conf);
	BIO_free(in);
	assert_true(X509_sign(cert, issuer->key, w->md ? w->md : EVP_sha256()) > 0);
	return cert;
}

static struct party make_party(const char *name, const struct party *issuer, const char *extensions)
{
	struct party p = { .key = EVP_EC_gen("P-256") };
	struct wanted w = { .subject = name,
			    .extensions = extensions,
			    .issuer = issuer,
			    .key = p.key,
			    .from = -DAY,
			    .to = DAY };
	p.cert = make_cert(&w);
	return p;
}

static void drop_party(struct party *p)
{
	EVP_PKEY_free(p->key);
	X509_free(p->cert);
}

static void put_pem(X509 *cert, struct buf *out)
{
	char *text;
	BIO *bio = BIO_new(BIO_s_mem());
	assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
	long n = BIO_get_mem_data(bio, &text);
	assert_int_equal(buf_add(out, text, (size_t)n), 0);
	BIO_free(bio);
}

static int set_up(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf pem = BUF_INIT(65536);
	root = make_party("root", NULL, CA_EXT);
	middle = make_party("middle", &root, CA_EXT);
	low = make_party("low", &middle, CA_EXT);
	stranger = make_party("root", NULL, CA_EXT); /* of the same name, with another key */
	ek_key = EVP_EC_gen("P-256");
	other_key = EVP_EC_gen("P-384");
	put_pem(root.cert, &pem);
	return rawkey_from_pkey(ek_key, &ek) < 0 ||
			       ekcert_roots_parse((char *)pem.data, pem.len, &roots, NULL) < 0
		       ? -1
		       : 0;
}

static int tear_down(void **state)
{
	(void)state;
	drop_party(&root);
	drop_party(&middle);
	drop_party(&low);
	drop_party(&stranger);
	EVP_PKEY_free(ek_key);
	EVP_PKEY_free(other_key);
	ekcert_roots_free(roots);
	return 0;
}

static struct wanted leaf(void)
{
	return (struct wanted){
		.extensions = LEAF_EXT EKU, .issuer = &low, .key = ek_key, .from = -DAY, .to = DAY
	};
}

struct der {
	uint8_t data[EKCERT_DER_MAX + 64];
	size_t n;
};

static struct der der_of(X509 *cert)
{
	struct der d = { 0 };
	uint8_t *p = d.data;
	int n = i2d_X509(cert, NULL);
	assert_true(n > 0 && (size_t)n <= sizeof(d.data));
	d.n = (size_t)i2d_X509(cert, &p);
	return d;
}

/* Verify CERT with the chain's two certificates, unordered and with one of no use. */
static int verify_der(const struct der *cert, int64_t when, struct fault *f)
{
	struct der chain[] = { der_of(middle.cert), der_of(stranger.cert), der_of(low.cert) };
	struct hash_part parts[3], one = { cert->data, cert->n };
	for (size_t i = 0; i < 3; i++)
		parts[i] = (struct hash_part){ chain[i].data, chain[i].n };
	return ekcert_verify(roots, &one, parts, 3, when, &ek, f);
}

static int verify_at(const struct wanted *w, int64_t when)
{
	struct fault f = { 0 };
	X509 *cert = make_cert(w);
	struct der d = der_of(cert);
	X509_free(cert);
	int rc = verify_der(&d, when, &f);
	assert_int_equal(f.rc, rc);
	if (rc < 0)
		assert_true(f.text[0]);
	return rc;
}

static int verify(struct wanted w)
{
	return verify_at(&w, NOW);
}

static void test_good(void **state)
{
	(void)state;
	struct wanted w = leaf();
	assert_int_equal(verify(w), 0);
	w.subject = "a subject";
	assert_int_equal(verify(w), 0);
	w.issuer = &root;
	assert_int_equal(verify(w), 0);
	w.extensions = LEAF_EXT "extendedKeyUsage=clientAuth,2.23.133.8.1\n";
	assert_int_equal(verify(w), 0);
}

static void test_usage(void **state)
{
	(void)state;
	static const char *const WRONG[] = {
		LEAF_EXT,
		LEAF_EXT "extendedKeyUsage=anyExtendedKeyUsage\n",
		LEAF_EXT "extendedKeyUsage=clientAuth,serverAuth\n",
		LEAF_EXT "extendedKeyUsage=2.23.133.8.3\n", /* an AK's */
		LEAF_EXT "extendedKeyUsage=2.23.133.8\n",
		LEAF_EXT "extendedKeyUsage=2.23.133.8.1.1\n",
		LEAF_EXT "extendedKeyUsage=2.23.133.8.12\n",
	};
	for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
		struct wanted w = leaf();
		w.extensions = WRONG[i];
		assert_int_equal(verify(w), ERR_PURPOSE);
	}
}

static void test_chain(void **state)
{
	(void)state;
	struct wanted w = leaf();
	w.issuer = &stranger;
	assert_int_equal(verify(w), ERR_AUTH);
	w.issuer = NULL; /* itself */
	assert_int_equal(verify(w), ERR_AUTH);
	w = leaf();
	X509 *cert = make_cert(&w);
	struct der d = der_of(cert);
	X509_free(cert);
	struct hash_part one = { d.data, d.n };
	assert_int_equal(ekcert_verify(roots, &one, NULL, 0, NOW, &ek, NULL), ERR_AUTH);
	/* An end entity is no issuer, however it is signed. */
	struct party no_ca = make_party("no CA", &root, NO_CA_EXT);
	struct der issuer = der_of(no_ca.cert);
	w.issuer = &no_ca;
	cert = make_cert(&w);
	d = der_of(cert);
	X509_free(cert);
	struct hash_part chain = { issuer.data, issuer.n };
	one = (struct hash_part){ d.data, d.n };
	assert_int_equal(ekcert_verify(roots, &one, &chain, 1, NOW, &ek, NULL), ERR_AUTH);
	drop_party(&no_ca);
	w = leaf();
	w.md = EVP_sha1();
	assert_int_equal(verify(w), ERR_AUTH);
	w = leaf();
	w.extensions = LEAF_EXT EKU "1.2.3.4.5=critical,DER:0500\n";
	assert_int_equal(verify(w), ERR_AUTH);
}

static void test_time(void **state)
{
	(void)state;
	struct wanted w = leaf();
	w.from = -3600;
	w.to = 3600;
	assert_int_equal(verify_at(&w, NOW - 3601), ERR_AUTH);
	assert_int_equal(verify_at(&w, NOW - 3599), 0);
	assert_int_equal(verify_at(&w, NOW + 3599), 0);
	assert_int_equal(verify_at(&w, NOW + 3601), ERR_AUTH);
	/* The issuers too. */
	w.from = -9 * DAY;
	w.to = 9 * DAY;
	assert_int_equal(verify_at(&w, NOW + 2 * DAY), ERR_AUTH);
}

static void test_key(void **state)
{
	(void)state;
	struct wanted w = leaf();
	w.key = stranger.key;
	assert_int_equal(verify(w), ERR_RECIPIENT);
	w.key = other_key;
	assert_int_equal(verify(w), ERR_RECIPIENT);
	struct rawkey kept = ek;
	/* The same x, of a key of another type; and another y. */
	assert_int_equal(rawkey_from_pkey(other_key, &ek), 0);
	ek.type = RAWKEY_P256;
	assert_int_equal(verify(w), ERR_RECIPIENT);
	ek = kept;
	w.key = ek_key;
	ek.y[31] ^= 1;
	assert_int_equal(verify(w), ERR_RECIPIENT);
	ek = kept;
	CLEANUP(cleanup_pkey) EVP_PKEY *p521 = EVP_EC_gen("P-521");
	w.key = p521;
	assert_int_equal(verify(w), ERR_FORMAT);
	CLEANUP(cleanup_pkey) EVP_PKEY *rsa = EVP_RSA_gen(2048);
	w.key = rsa;
	assert_int_equal(rawkey_from_pkey(rsa, &ek), 0);
	assert_int_equal(verify(w), 0);
	ek.n[200] ^= 1;
	assert_int_equal(verify(w), ERR_RECIPIENT);
	ek = kept;
}

static void test_format(void **state)
{
	(void)state;
	struct wanted w = leaf();
	X509 *cert = make_cert(&w);
	struct der good = der_of(cert), d = good;
	X509_free(cert);
	size_t n;
	d.n++;
	assert_int_equal(verify_der(&d, NOW, NULL), ERR_FORMAT);
	assert_int_equal(ekcert_next(d.data, d.n, &n), 0);
	assert_int_equal(n, good.n);
	d.n = good.n - 1;
	assert_int_equal(verify_der(&d, NOW, NULL), ERR_FORMAT);
	assert_int_equal(ekcert_next(d.data, d.n, &n), ERR_FORMAT);
	d.n = 0;
	assert_int_equal(verify_der(&d, NOW, NULL), ERR_FORMAT);
	assert_int_equal(ekcert_next(d.data, 0, &n), ERR_FORMAT);
	d = good;
	d.data[d.n - 1] ^= 1;
	assert_int_equal(verify_der(&d, NOW, NULL), ERR_AUTH);
	struct hash_part one = { good.data, good.n }, bad = { "no certificate", 14 };
	assert_int_equal(ekcert_verify(roots, &one, &bad, 1, NOW, &ek, NULL), ERR_FORMAT);
	struct hash_part many[EKCERT_CHAIN_MAX + 1];
	for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); i++)
		many[i] = one;
	assert_int_equal(ekcert_verify(roots, &one, many, EKCERT_CHAIN_MAX + 1, NOW, &ek, NULL),
			 ERR_LIMIT);
}

static int parse_roots(const struct buf *pem, size_t n)
{
	CLEANUP_EKCERT_ROOTS struct ekcert_roots *r = NULL;
	struct fault f = { 0 };
	int rc = ekcert_roots_parse((const char *)pem->data, n, &r, &f);
	assert_int_equal(f.rc, rc);
	assert_int_equal(rc == 0, r != NULL);
	return rc;
}

static void test_roots(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf pem = BUF_INIT(2 * EKCERT_ROOTS_PEM_MAX);
	put_pem(root.cert, &pem);
	size_t first = pem.len;
	put_pem(middle.cert, &pem);
	assert_int_equal(parse_roots(&pem, pem.len), 0);
	assert_int_equal(parse_roots(&pem, pem.len - 30), ERR_FORMAT);
	assert_int_equal(parse_roots(&pem, 0), ERR_FORMAT);
	assert_int_equal(parse_roots(&pem, 10), ERR_FORMAT);
	pem.data[first + 100] = '!';
	assert_int_equal(parse_roots(&pem, pem.len), ERR_FORMAT);
	pem.len = first;
	for (int i = 0; i < EKCERT_ROOTS_MAX - 1; i++)
		put_pem(root.cert, &pem);
	assert_int_equal(parse_roots(&pem, pem.len), 0);
	put_pem(root.cert, &pem);
	assert_int_equal(parse_roots(&pem, pem.len), ERR_LIMIT);
	assert_int_equal(buf_reserve(&pem, EKCERT_ROOTS_PEM_MAX + 1 - pem.len), 0);
	assert_int_equal(parse_roots(&pem, EKCERT_ROOTS_PEM_MAX + 1), ERR_LIMIT);
}

/* An operator may trust one line of a maker's TPMs only. */
static void test_trusted_intermediate(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf pem = BUF_INIT(65536);
	CLEANUP_EKCERT_ROOTS struct ekcert_roots *few = NULL;
	struct wanted w = leaf();
	put_pem(low.cert, &pem);
	assert_int_equal(ekcert_roots_parse((char *)pem.data, pem.len, &few, NULL), 0);
	X509 *cert = make_cert(&w);
	struct der d = der_of(cert);
	X509_free(cert);
	struct hash_part one = { d.data, d.n };
	assert_int_equal(ekcert_verify(few, &one, NULL, 0, NOW, &ek, NULL), 0);
	w.issuer = &middle;
	cert = make_cert(&w);
	d = der_of(cert);
	X509_free(cert);
	one = (struct hash_part){ d.data, d.n };
	assert_int_equal(ekcert_verify(few, &one, NULL, 0, NOW, &ek, NULL), ERR_AUTH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),  cmocka_unit_test(test_usage),
		cmocka_unit_test(test_chain), cmocka_unit_test(test_time),
		cmocka_unit_test(test_key),   cmocka_unit_test(test_format),
		cmocka_unit_test(test_roots), cmocka_unit_test(test_trusted_intermediate),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
