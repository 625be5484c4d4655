/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/healthcert.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "crypto/ca_form.h"
#include "crypto/jwk_form.h"

/* An arc of our own, from a random UUID (ITU-T X.667). */
#define ARC	 "2.25.328912452170633813674310918506027870708.1"
#define TEXT_MAX 2048

_Static_assert(HEALTHCERT_SERIAL_BYTES == CA_SERIAL_BYTES, "a serial number");

static const char CA_EXTENSIONS[] = "[x]\n"
				    "basicConstraints=critical,CA:TRUE,pathlen:0\n"
				    "keyUsage=critical,keyCertSign\n"
				    "subjectKeyIdentifier=hash\n";

/* The extensions of a certificate, in their order: host, assurance, hash of the worker's key,
 * generation, reset count, restart count. */
static const char EXTENSIONS[] =
	"[x]\n"
	"basicConstraints=critical,CA:FALSE\n"
	"keyUsage=critical,keyAgreement\n"
	"authorityKeyIdentifier=keyid:always\n" ARC ".1=critical,ASN1:FORMAT:HEX,OCT:%s\n" ARC
	".2=critical,ASN1:UTF8:%s\n" ARC ".3=critical,ASN1:FORMAT:HEX,OCT:%s\n" ARC
	".4=critical,ASN1:INTEGER:%" PRIu32 "\n" ARC ".5=critical,ASN1:INTEGER:%" PRIu32 "\n" ARC
	".6=critical,ASN1:INTEGER:%" PRIu32 "\n";

static const struct ca_kind KIND = {
	.what = "guardian's CA",
	.holds = "CA for health certificates",
	.made_by = "shieldvm-guardian init",
	.curve = "P-256",
	.name_prefix = "shieldvm guardian CA",
	.extensions = CA_EXTENSIONS,
	.md = EVP_sha256,
};

struct healthca {
	struct ca ca;
};

OSSL_CLEANUP_FN(asn1_integer, ASN1_INTEGER, ASN1_INTEGER_free)
OSSL_CLEANUP_FN(asn1_object, ASN1_OBJECT, ASN1_OBJECT_free)

void healthca_free(struct healthca *ca)
{
	if (!ca)
		return;
	ca_done(&ca->ca);
	free(ca);
}

int healthca_init(const char *folder, struct fault *f)
{
	return ca_init(&KIND, folder, f);
}

int healthca_open(const char *folder, struct healthca **out, struct fault *f)
{
	CLEANUP_HEALTHCA struct healthca *ca = calloc(1, sizeof(*ca));
	if (!ca)
		return fault_set(f, -ENOMEM, "no memory for the guardian's CA");
	int rc = ca_open(&KIND, folder, &ca->ca, f);
	if (rc < 0)
		return rc;
	*out = ca;
	ca = NULL;
	return 0;
}

int healthca_der(const struct healthca *ca, struct buf *out)
{
	return ca_put_der(ca->ca.cert, HEALTHCERT_MAX, out);
}

/* What it is for needs no password, and libcrypto must not ask for one. */
static int no_password(char *buf, int size, int rwflag, void *arg)
{
	(void)buf, (void)size, (void)rwflag, (void)arg;
	return -1;
}

/* CERT is taken over, and may be NULL. */
static int take_ca(X509 *cert, const char *form, struct healthca **out, struct fault *f)
{
	CLEANUP(cleanup_x509) X509 *owned = cert;
	ERR_clear_error();
	if (!cert || X509_check_ca(cert) != 1)
		return fault_set(f, ERR_FORMAT, "not the certificate of a guardian's CA in %s",
				 form);
	struct healthca *ca = calloc(1, sizeof(*ca));
	if (!ca)
		return fault_set(f, -ENOMEM, "no memory for the guardian's CA");
	ca->ca.cert = owned;
	owned = NULL;
	*out = ca;
	return 0;
}

int healthca_read(const char *pem, size_t n, struct healthca **out, struct fault *f)
{
	CLEANUP(cleanup_bio) BIO *bio = n <= CA_PEM_MAX ? BIO_new_mem_buf(pem, (int)n) : NULL;
	return take_ca(bio ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL, "PEM", out, f);
}

int healthca_read_der(const uint8_t *der, size_t n, struct healthca **out, struct fault *f)
{
	const uint8_t *end = der;
	CLEANUP(cleanup_x509) X509 *cert = n <= CA_PEM_MAX ? d2i_X509(NULL, &end, (long)n) : NULL;
	if (cert && end == der + n)
		X509_up_ref(cert);
	return take_ca(end == der + n ? cert : NULL, "DER", out, f);
}

/* BYTES in hexadecimal. */
static void hex(const uint8_t *bytes, size_t n, char *out)
{
	static const char DIGITS[] = "0123456789abcdef";
	for (size_t i = 0; i < n; i++) {
		out[2 * i] = DIGITS[bytes[i] >> 4];
		out[2 * i + 1] = DIGITS[bytes[i] & 15];
	}
	out[2 * n] = 0;
}

static int add_extensions(const struct healthca *ca, const struct healthcert *c, X509 *cert)
{
	char host[2 * UUID_BYTES + 1], worker[2 * sizeof(c->worker_hash) + 1];
	CLEANUP_BUF struct buf text = BUF_INIT(TEXT_MAX);
	hex(c->host, sizeof(c->host), host);
	hex(c->worker_hash, sizeof(c->worker_hash), worker);
	if (buf_addf(&text, EXTENSIONS, host, healthcert_assurance_name(c->assurance), worker,
		     c->generation, c->reset_count, c->restart_count) < 0 ||
	    !buf_cstr(&text))
		return ERR_CRYPTO;
	return ca_add_extensions(cert, ca->ca.cert, buf_cstr(&text));
}

/* The subject names the host, for people. */
static int set_names(const struct healthca *ca, const struct healthcert *c, X509 *cert)
{
	char host[UUID_TEXT_SIZE];
	uuid_format(c->host, host);
	if (X509_set_issuer_name(cert, X509_get_subject_name(ca->ca.cert)) != 1 ||
	    X509_NAME_add_entry_by_NID(X509_get_subject_name(cert), NID_commonName, MBSTRING_ASC,
				       (const unsigned char *)host, -1, -1, 0) != 1)
		return ERR_CRYPTO;
	return 0;
}

/* All of a certificate of C but serial number and signature.  ERR_FORMAT for an impossible key. */
static int fill(const struct healthca *ca, const struct healthcert *c, X509 *cert)
{
	CLEANUP_JWK struct jwk *k = NULL;
	int rc = jwk_from_point(c->x, c->y, &k);
	if (rc < 0)
		return rc;
	CLEANUP(cleanup_pkey) EVP_PKEY *key = jwk_to_pkey(k, 0);
	if (!key || X509_set_version(cert, X509_VERSION_3) != 1 ||
	    X509_set_pubkey(cert, key) != 1 || set_names(ca, c, cert) < 0 ||
	    !ASN1_TIME_set(X509_getm_notBefore(cert), c->not_before) ||
	    !ASN1_TIME_set(X509_getm_notAfter(cert), c->not_after) ||
	    add_extensions(ca, c, cert) < 0)
		return ERR_CRYPTO;
	return 0;
}

static int check_values(const struct healthcert *c, struct fault *f)
{
	int64_t lifetime = c->not_after - c->not_before;
	if (c->not_before < 0 || c->not_after > INT64_C(4102444800) ||
	    lifetime < HEALTHCERT_LIFETIME_MIN || lifetime > HEALTHCERT_LIFETIME_MAX)
		return fault_set(f, ERR_LIMIT, "a health certificate is valid for %d to %d minutes",
				 HEALTHCERT_LIFETIME_MIN / 60, HEALTHCERT_LIFETIME_MAX / 60);
	if (c->generation == 0 ||
	    (c->assurance != HEALTHCERT_TPM && c->assurance != HEALTHCERT_HOSTKEY))
		return fault_set(f, ERR_FORMAT, "a health certificate with an impossible value");
	return 0;
}

int healthcert_issue(const struct healthca *ca, struct healthcert *c, struct buf *out,
		     struct fault *f)
{
	CLEANUP(cleanup_x509) X509 *cert = X509_new();
	int rc = check_values(c, f);
	if (rc < 0)
		return rc;
	if (!ca->ca.key)
		return fault_set(f, ERR_USAGE, "the key of the guardian's CA is not here");
	rc = cert ? fill(ca, c, cert) : -ENOMEM;
	if (rc >= 0)
		rc = ca_number(cert);
	if (rc >= 0 && X509_sign(cert, ca->ca.key, EVP_sha256()) == 0)
		rc = ERR_CRYPTO;
	if (rc >= 0)
		rc = ca_put_der(cert, HEALTHCERT_MAX, out);
	ERR_clear_error();
	if (rc < 0)
		return fault_set(f, rc, "the health certificate could not be made: %s",
				 err_text(rc));
	memcpy(c->serial, ASN1_STRING_get0_data(X509_get0_serialNumber(cert)), sizeof(c->serial));
	return 0;
}

/* The value of our extension NUMBER, or NULL.  What else it must be is seen in is_made_again(). */
static const ASN1_OCTET_STRING *find(const X509 *cert, int number)
{
	char name[sizeof(ARC) + 4];
	snprintf(name, sizeof(name), ARC ".%d", number);
	CLEANUP(cleanup_asn1_object) ASN1_OBJECT *oid = OBJ_txt2obj(name, 1);
	int at = oid ? X509_get_ext_by_OBJ(cert, oid, -1) : -1;
	return at < 0 ? NULL : X509_EXTENSION_get_data(X509_get_ext(cert, at));
}

/* N bytes behind a DER header of two. */
static int read_octets(const X509 *cert, int number, uint8_t *out, size_t n)
{
	const ASN1_OCTET_STRING *v = find(cert, number);
	if (!v || ASN1_STRING_length(v) != (int)n + 2)
		return ERR_FORMAT;
	memcpy(out, ASN1_STRING_get0_data(v) + 2, n);
	return 0;
}

static int read_assurance(const X509 *cert, enum healthcert_assurance *out)
{
	const ASN1_OCTET_STRING *v = find(cert, 2);
	if (!v)
		return ERR_FORMAT;
	/* The two names differ in length. */
	*out = ASN1_STRING_length(v) == 2 + 3 ? HEALTHCERT_TPM : HEALTHCERT_HOSTKEY;
	return 0;
}

static int read_number(const X509 *cert, int number, uint32_t *out)
{
	uint64_t value = 0;
	const ASN1_OCTET_STRING *v = find(cert, number);
	if (!v)
		return ERR_FORMAT;
	const unsigned char *p = ASN1_STRING_get0_data(v);
	CLEANUP(cleanup_asn1_integer)
	ASN1_INTEGER *i = d2i_ASN1_INTEGER(NULL, &p, ASN1_STRING_length(v));
	if (!i || ASN1_INTEGER_get_uint64(&value, i) != 1 || value > UINT32_MAX)
		return ERR_FORMAT;
	*out = (uint32_t)value;
	return 0;
}

static int read_time(const ASN1_TIME *t, int64_t *out)
{
	struct tm tm;
	if (ASN1_TIME_to_tm(t, &tm) != 1)
		return ERR_FORMAT;
	*out = timegm(&tm);
	return 0;
}

/* The key as a point; whether it is on P-256 is seen when it is made again. */
static int read_point(X509 *cert, struct healthcert *c)
{
	CLEANUP(cleanup_bn) BIGNUM *x = NULL;
	CLEANUP(cleanup_bn) BIGNUM *y = NULL;
	EVP_PKEY *key = X509_get0_pubkey(cert);
	if (!key || EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &x) != 1 ||
	    EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &y) != 1 ||
	    BN_bn2binpad(x, c->x, sizeof(c->x)) != sizeof(c->x) ||
	    BN_bn2binpad(y, c->y, sizeof(c->y)) != sizeof(c->y))
		return ERR_FORMAT;
	return 0;
}

static int read_all(X509 *cert, struct healthcert *c)
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
	if (ASN1_STRING_type(serial) != V_ASN1_INTEGER ||
	    ASN1_STRING_length(serial) != (int)sizeof(c->serial))
		return ERR_FORMAT;
	memcpy(c->serial, ASN1_STRING_get0_data(serial), sizeof(c->serial));
	if (read_octets(cert, 1, c->host, sizeof(c->host)) < 0 ||
	    read_assurance(cert, &c->assurance) < 0 ||
	    read_octets(cert, 3, c->worker_hash, sizeof(c->worker_hash)) < 0 ||
	    read_number(cert, 4, &c->generation) < 0 || read_number(cert, 5, &c->reset_count) < 0 ||
	    read_number(cert, 6, &c->restart_count) < 0 ||
	    read_time(X509_get0_notBefore(cert), &c->not_before) < 0 ||
	    read_time(X509_get0_notAfter(cert), &c->not_after) < 0)
		return ERR_FORMAT;
	return read_point(cert, c);
}

/* 1 if both have the same extensions, in one order and encoding. */
static int same_extensions(const X509 *a, const X509 *b)
{
	int n = X509_get_ext_count(a);
	if (n != X509_get_ext_count(b))
		return 0;
	for (int i = 0; i < n; i++) {
		X509_EXTENSION *e = X509_get_ext(a, i), *g = X509_get_ext(b, i);
		if (OBJ_cmp(X509_EXTENSION_get_object(e), X509_EXTENSION_get_object(g)) != 0 ||
		    X509_EXTENSION_get_critical(e) != X509_EXTENSION_get_critical(g) ||
		    ASN1_STRING_cmp(X509_EXTENSION_get_data(e), X509_EXTENSION_get_data(g)) != 0)
			return 0;
	}
	return 1;
}

/* Not X509_NAME_cmp(), to which spellings of a name are the same. */
static int same_name(const X509_NAME *a, const X509_NAME *b)
{
	const unsigned char *p, *q;
	size_t n, m;
	return X509_NAME_get0_der(a, &p, &n) == 1 && X509_NAME_get0_der(b, &q, &m) == 1 && n == m &&
	       memcmp(p, q, n) == 0;
}

static int same_key(const X509 *a, const X509 *b)
{
	unsigned char *p = NULL, *q = NULL;
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(a), &p);
	int m = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(b), &q);
	int same = n > 0 && n == m && memcmp(p, q, (size_t)n) == 0;
	OPENSSL_free(p);
	OPENSSL_free(q);
	return same;
}

/* 1 if C, which was read from CERT, says all that there is in CERT. */
static int is_made_again(const struct healthca *ca, const struct healthcert *c, const X509 *cert)
{
	const ASN1_BIT_STRING *issuer_uid, *subject_uid;
	CLEANUP(cleanup_x509) X509 *made = X509_new();
	X509_get0_uids(cert, &issuer_uid, &subject_uid);
	return made && fill(ca, c, made) >= 0 && !issuer_uid && !subject_uid &&
	       X509_get_version(cert) == X509_get_version(made) &&
	       X509_get_signature_nid(cert) == NID_ecdsa_with_SHA256 &&
	       same_name(X509_get_issuer_name(cert), X509_get_issuer_name(made)) &&
	       same_name(X509_get_subject_name(cert), X509_get_subject_name(made)) &&
	       ASN1_STRING_cmp(X509_get0_notBefore(cert), X509_get0_notBefore(made)) == 0 &&
	       ASN1_STRING_cmp(X509_get0_notAfter(cert), X509_get0_notAfter(made)) == 0 &&
	       same_key(cert, made) && same_extensions(cert, made);
}

/* The one DER encoding, with nothing behind it. */
static X509 *parse(const uint8_t *der, size_t n)
{
	const unsigned char *p = der;
	CLEANUP_BUF struct buf again = BUF_INIT(HEALTHCERT_MAX);
	X509 *cert = d2i_X509(NULL, &p, (long)n);
	if (!cert)
		return NULL;
	if (ca_put_der(cert, HEALTHCERT_MAX, &again) == 0 && again.len == n &&
	    memcmp(again.data, der, n) == 0)
		return cert;
	X509_free(cert);
	return NULL;
}

static int check_time(const struct healthcert *c, int64_t now, struct fault *f)
{
	if (now >= c->not_after)
		return fault_set(f, ERR_POLICY,
				 "the health certificate expired %" PRId64 " s ago: attest again",
				 now - c->not_after);
	if (c->not_before > now + HEALTHCERT_SKEW)
		return fault_set(f, ERR_POLICY,
				 "the health certificate is not valid for another %" PRId64
				 " s: a guardian's clock is wrong",
				 c->not_before - now);
	return 0;
}

int healthcert_open(const struct healthca *ca, const uint8_t *der, size_t n,
		    const uint8_t host[static UUID_BYTES], int64_t now, struct healthcert *out,
		    struct fault *f)
{
	struct healthcert c = { 0 };
	if (n > HEALTHCERT_MAX)
		return fault_set(f, ERR_LIMIT, "a health certificate has at most %d bytes",
				 HEALTHCERT_MAX);
	CLEANUP(cleanup_x509) X509 *cert = parse(der, n);
	int authentic = cert && X509_verify(cert, X509_get0_pubkey(ca->ca.cert)) == 1;
	int good = authentic && read_all(cert, &c) == 0 && check_values(&c, NULL) == 0 &&
		   is_made_again(ca, &c, cert);
	ERR_clear_error();
	if (!cert)
		return fault_set(f, ERR_FORMAT, "not a certificate in DER");
	if (!authentic)
		return fault_set(f, ERR_AUTH, "this guardian's CA has not signed the certificate");
	if (!good)
		return fault_set(f, ERR_FORMAT,
				 "the certificate is no health certificate, or not in the one "
				 "valid encoding");
	if (memcmp(c.host, host, sizeof(c.host)) != 0)
		return fault_set(f, ERR_RECIPIENT, "the health certificate is another host's");
	int rc = check_time(&c, now, f);
	if (rc < 0)
		return rc;
	*out = c;
	return 0;
}
