/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What goes into a certificate is written as libcrypto's extension configuration, in the texts
 * below: the profile can be read there next to the TCG's document.
 */
#include "crypto/ekca.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "crypto/rawkey_form.h"

#define PEM_MAX		 16384
#define SERIAL_BITS	 159 /* 20 bytes, positive: the most that RFC 5280 allows */

/* The TPM library specification that libtpms implements, its manufacturer and its version, as
 * TPM2_GetCapability gives them. */
#define TPM_MANUFACTURER "id:49424D00"
#define TPM_MODEL	 "shieldvm"
#define TPM_VERSION	 "id:20191023"
#define TPM_FAMILY	 "2.0"
#define TPM_LEVEL	 "0"
#define TPM_REVISION	 "164"

static const char CA_EXTENSIONS[] = "[x]\n"
				    "basicConstraints=critical,CA:TRUE,pathlen:0\n"
				    "keyUsage=critical,keyCertSign\n"
				    "subjectKeyIdentifier=hash\n";

/*
 * TCG EK Credential Profile for TPM Family 2.0, section 3.2.  The name's attributes are
 * tcg-at-tpmManufacturer, -tpmModel, -tpmVersion ("a.", "b.", "c." only order them), the extended
 * key usage is tcg-kp-EKCertificate, the directory attribute tcg-at-tpmSpecification.  The VM's
 * UUID is ours.
 */
static const char EK_EXTENSIONS[] = "[x]\n"
				    "basicConstraints=critical,CA:FALSE\n"
				    "keyUsage=critical,%s\n"
				    "extendedKeyUsage=2.23.133.8.1\n"
				    "authorityKeyIdentifier=keyid:always\n"
				    "subjectAltName=critical,dirName:tpm,URI:urn:uuid:%s\n"
				    "subjectDirectoryAttributes=ASN1:SEQUENCE:attributes\n"
				    "[tpm]\n"
				    "a.2.23.133.2.1=" TPM_MANUFACTURER "\n"
				    "b.2.23.133.2.2=" TPM_MODEL "\n"
				    "c.2.23.133.2.3=" TPM_VERSION "\n"
				    "[attributes]\n"
				    "specification=SEQUENCE:attribute\n"
				    "[attribute]\n"
				    "type=OID:2.23.133.2.16\n"
				    "values=SET:values\n"
				    "[values]\n"
				    "value=SEQUENCE:specification\n"
				    "[specification]\n"
				    "family=UTF8:" TPM_FAMILY "\n"
				    "level=INTEGER:" TPM_LEVEL "\n"
				    "revision=INTEGER:" TPM_REVISION "\n";

struct ekca {
	EVP_PKEY *key;
	X509 *cert;
};

void ekca_free(struct ekca *ca)
{
	if (!ca)
		return;
	EVP_PKEY_free(ca->key);
	X509_free(ca->cert);
	free(ca);
}

static inline void cleanup_ekca(struct ekca **ca)
{
	ekca_free(*ca);
}

static void conf_free(CONF **conf)
{
	NCONF_free(*conf);
}

/* Add the extensions of section [x] of TEXT to CERT, which ISSUER signs. */
static int add_extensions(X509 *cert, X509 *issuer, const char *text)
{
	X509V3_CTX ctx;
	CLEANUP(conf_free) CONF *conf = NCONF_new(NULL);
	CLEANUP(cleanup_bio) BIO *bio = BIO_new_mem_buf(text, -1);
	if (!conf || !bio || NCONF_load_bio(conf, bio, NULL) != 1)
		return ERR_CRYPTO;
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509V3_set_nconf(&ctx, conf);
	return X509V3_EXT_add_nconf(conf, &ctx, "x", cert) == 1 ? 0 : ERR_CRYPTO;
}

/* Version, serial number and a validity without end (RFC 5280, section 4.1.2.5): neither a TPM nor
 * its host's CA is thrown away on a day known beforehand. */
static int set_frame(X509 *cert)
{
	CLEANUP(cleanup_bn) BIGNUM *serial = BN_new();
	if (!serial || X509_set_version(cert, X509_VERSION_3) != 1 ||
	    BN_rand(serial, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) != 1 ||
	    !BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)) ||
	    !X509_gmtime_adj(X509_getm_notBefore(cert), 0) ||
	    ASN1_TIME_set_string(X509_getm_notAfter(cert), "99991231235959Z") != 1)
		return ERR_CRYPTO;
	return 0;
}

/* Every host's CA has a name of its own, so that a verifier with many of them picks the right. */
static int set_ca_name(X509 *cert)
{
	uint8_t id[8];
	char name[64];
	X509_NAME *subject = X509_get_subject_name(cert);
	if (RAND_bytes(id, sizeof(id)) != 1)
		return ERR_CRYPTO;
	snprintf(name, sizeof(name), "shieldvm EK CA %02x%02x%02x%02x%02x%02x%02x%02x", id[0],
		 id[1], id[2], id[3], id[4], id[5], id[6], id[7]);
	if (X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_ASC,
				       (const unsigned char *)name, -1, -1, 0) != 1 ||
	    X509_set_issuer_name(cert, subject) != 1)
		return ERR_CRYPTO;
	return 0;
}

static int make_ca(EVP_PKEY **key, X509 **cert)
{
	*key = EVP_EC_gen("P-384");
	*cert = X509_new();
	if (!*key || !*cert || X509_set_pubkey(*cert, *key) != 1 || set_frame(*cert) < 0 ||
	    set_ca_name(*cert) < 0 || add_extensions(*cert, *cert, CA_EXTENSIONS) < 0 ||
	    X509_sign(*cert, *key, EVP_sha384()) == 0)
		return ERR_CRYPTO;
	return 0;
}

/* PATHs of the CA's two files. */
struct paths {
	char key[PATH_MAX], cert[PATH_MAX];
};

static int make_paths(const char *folder, struct paths *p, struct fault *f)
{
	int n = snprintf(p->key, sizeof(p->key), "%s/ca.key", folder);
	int m = snprintf(p->cert, sizeof(p->cert), "%s/ca.pem", folder);
	if (n < 0 || m < 0 || (size_t)n >= sizeof(p->key) || (size_t)m >= sizeof(p->cert))
		return fault_set(f, -ENAMETOOLONG, "%s: %s", folder, err_text(-ENAMETOOLONG));
	return 0;
}

/* 2 if both files are there, 0 if neither is; one alone is an error. */
static int count_files(const struct paths *p, struct fault *f)
{
	int key = access(p->key, F_OK) == 0, cert = access(p->cert, F_OK) == 0;
	if (key == cert)
		return key + cert;
	return fault_set(f, ERR_STATE,
			 "%s is there, but %s is missing: put it back from a backup, or remove the "
			 "other one too and make a new CA",
			 key ? p->key : p->cert, key ? p->cert : p->key);
}

static int write_bio(const char *path, BIO *bio, mode_t mode, struct fault *f)
{
	char *data = NULL;
	long n = BIO_get_mem_data(bio, &data);
	return fd_write_file(AT_FDCWD, path, data, (size_t)n, mode, 0, f);
}

int ekca_init(const char *folder, struct fault *f)
{
	struct paths p;
	int rc = make_paths(folder, &p, f);
	if (rc < 0)
		return rc;
	if (mkdir(folder, 0755) < 0 && errno != EEXIST)
		return fault_set(f, -errno, "%s: %s", folder, err_text(-errno));
	rc = count_files(&p, f);
	if (rc < 0)
		return rc;
	if (rc == 2) {
		CLEANUP(cleanup_ekca) struct ekca *ca = NULL;
		return ekca_open(folder, &ca, f);
	}

	CLEANUP(cleanup_pkey) EVP_PKEY *key = NULL;
	CLEANUP(cleanup_x509) X509 *cert = NULL;
	CLEANUP(cleanup_bio) BIO *key_pem = BIO_new(BIO_s_mem());
	CLEANUP(cleanup_bio) BIO *cert_pem = BIO_new(BIO_s_mem());
	if (!key_pem || !cert_pem || make_ca(&key, &cert) < 0 ||
	    PEM_write_bio_PKCS8PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL) != 1 ||
	    PEM_write_bio_X509(cert_pem, cert) != 1)
		return fault_set(f, ERR_CRYPTO, "libcrypto could not make the EK CA");
	rc = write_bio(p.key, key_pem, 0600, f);
	return rc < 0 ? rc : write_bio(p.cert, cert_pem, 0644, f);
}

/* An encrypted key is refused; without this libcrypto would ask on the terminal. */
static int no_password(char *buf, int size, int rwflag, void *arg)
{
	(void)buf, (void)size, (void)rwflag, (void)arg;
	return -1;
}

static int check_mode(const char *path, struct fault *f)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return fault_set(f, -errno, "%s: %s", path, err_text(-errno));
	if (st.st_mode & 077)
		return fault_set(f, ERR_POLICY,
				 "%s: a private key that others may use (mode %04o): chmod 600 it",
				 path, (unsigned int)st.st_mode & 07777);
	return 0;
}

static int read_files(const struct paths *p, struct ekca *ca, struct fault *f)
{
	CLEANUP_BUF struct buf key = BUF_INIT(PEM_MAX), cert = BUF_INIT(PEM_MAX);
	int rc = fd_read_file(AT_FDCWD, p->key, &key, f);
	if (rc >= 0)
		rc = check_mode(p->key, f);
	if (rc >= 0)
		rc = fd_read_file(AT_FDCWD, p->cert, &cert, f);
	if (rc < 0)
		return rc;
	CLEANUP(cleanup_bio) BIO *key_bio = BIO_new_mem_buf(key.data, (int)key.len);
	CLEANUP(cleanup_bio) BIO *cert_bio = BIO_new_mem_buf(cert.data, (int)cert.len);
	if (key_bio)
		ca->key = PEM_read_bio_PrivateKey(key_bio, NULL, no_password, NULL);
	if (cert_bio)
		ca->cert = PEM_read_bio_X509(cert_bio, NULL, no_password, NULL);
	if (!ca->key)
		return fault_set(f, ERR_FORMAT, "%s: not an unencrypted private key in PEM",
				 p->key);
	if (!ca->cert)
		return fault_set(f, ERR_FORMAT, "%s: not a certificate in PEM", p->cert);
	if (X509_check_private_key(ca->cert, ca->key) != 1)
		return fault_set(f, ERR_FORMAT, "%s is not the certificate of %s", p->cert, p->key);
	if (X509_check_ca(ca->cert) != 1)
		return fault_set(f, ERR_FORMAT, "%s is not the certificate of a CA", p->cert);
	return 0;
}

int ekca_open(const char *folder, struct ekca **out, struct fault *f)
{
	struct paths p;
	int rc = make_paths(folder, &p, f);
	if (rc >= 0)
		rc = count_files(&p, f);
	if (rc < 0)
		return rc;
	if (rc == 0)
		return fault_set(f, -ENOENT,
				 "%s holds no CA for EK certificates: make one with `shieldvm host "
				 "init`",
				 folder);
	CLEANUP(cleanup_ekca) struct ekca *ca = calloc(1, sizeof(*ca));
	if (!ca)
		return fault_set(f, -ENOMEM, "no memory for the EK CA");
	rc = read_files(&p, ca, f);
	ERR_clear_error();
	if (rc < 0)
		return rc;
	*out = ca;
	ca = NULL;
	return 0;
}

static EVP_PKEY *ek_key(const struct ek_public *ek)
{
	struct rawkey raw = { .type = ek->type == EK_RSA_2048 ? RAWKEY_RSA_2048 : RAWKEY_P384 };
	memcpy(raw.n, ek->rsa_modulus, sizeof(raw.n));
	memcpy(raw.x, ek->ecc_x, sizeof(raw.x));
	memcpy(raw.y, ek->ecc_y, sizeof(raw.y));
	return rawkey_to_pkey(&raw);
}

static int sign_ek(struct ekca *ca, EVP_PKEY *ek, const char *key_usage, const char *vm, X509 *cert)
{
	CLEANUP_BUF struct buf extensions = BUF_INIT(2048);
	if (buf_addf(&extensions, EK_EXTENSIONS, key_usage, vm) < 0)
		return ERR_CRYPTO;
	if (X509_set_pubkey(cert, ek) != 1 || set_frame(cert) < 0 ||
	    X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) != 1 ||
	    add_extensions(cert, ca->cert, buf_cstr(&extensions)) < 0 ||
	    X509_sign(cert, ca->key, EVP_sha384()) == 0)
		return ERR_CRYPTO;
	return 0;
}

int ekca_issue(struct ekca *ca, const struct ek_public *ek, const uint8_t vm[static UUID_BYTES],
	       struct buf *out, struct fault *f)
{
	char uuid[UUID_TEXT_SIZE];
	uuid_format(vm, uuid);
	CLEANUP(cleanup_pkey) EVP_PKEY *key = ek_key(ek);
	if (!key)
		return fault_set(f, ERR_FORMAT, "the endorsement key is not a valid %s key",
				 ek->type == EK_RSA_2048 ? "RSA 2048" : "P-384");
	CLEANUP(cleanup_x509) X509 *cert = X509_new();
	if (!cert || sign_ek(ca, key, ek->type == EK_RSA_2048 ? "keyEncipherment" : "keyAgreement",
			     uuid, cert) < 0)
		return fault_set(f, ERR_CRYPTO, "libcrypto could not sign the EK certificate");
	int n = i2d_X509(cert, NULL);
	if (n <= 0 || n > EKCA_CERT_MAX)
		return fault_set(
			f, ERR_LIMIT,
			"the EK certificate has %d bytes, the vTPM takes %d: the CA's name "
			"or key is too long",
			n, EKCA_CERT_MAX);
	int rc = buf_reserve(out, (size_t)n);
	if (rc < 0)
		return fault_set(f, rc, "no room for the EK certificate: %s", err_text(rc));
	unsigned char *p = out->data + out->len;
	if (i2d_X509(cert, &p) != n)
		return fault_set(f, ERR_CRYPTO, "libcrypto could not encode the EK certificate");
	out->len += (size_t)n;
	return 0;
}
