/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/ca_form.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

#define SERIAL_BITS (CA_SERIAL_BYTES * 8 - 1) /* positive */

void ca_done(struct ca *ca)
{
	EVP_PKEY_free(ca->key);
	X509_free(ca->cert);
	*ca = (struct ca){ 0 };
}

static void conf_free(CONF **conf)
{
	NCONF_free(*conf);
}

int ca_add_extensions(X509 *cert, X509 *issuer, const char *text)
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

int ca_number(X509 *cert)
{
	CLEANUP(cleanup_bn) BIGNUM *serial = BN_new();
	if (!serial || X509_set_version(cert, X509_VERSION_3) != 1 ||
	    BN_rand(serial, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) != 1 ||
	    !BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)))
		return ERR_CRYPTO;
	return 0;
}

int ca_valid_forever(X509 *cert)
{
	if (!X509_gmtime_adj(X509_getm_notBefore(cert), 0) ||
	    ASN1_TIME_set_string(X509_getm_notAfter(cert), "99991231235959Z") != 1)
		return ERR_CRYPTO;
	return 0;
}

int ca_put_der(const X509 *cert, size_t max, struct buf *out)
{
	int n = i2d_X509(cert, NULL);
	if (n <= 0)
		return ERR_CRYPTO;
	if ((size_t)n > max)
		return ERR_LIMIT;
	int rc = buf_reserve(out, (size_t)n);
	if (rc < 0)
		return rc;
	unsigned char *p = out->data + out->len;
	if (i2d_X509(cert, &p) != n)
		return ERR_CRYPTO;
	out->len += (size_t)n;
	return 0;
}

/* Every CA has a name of its own, so that a verifier with many of them picks the right one. */
static int set_name(X509 *cert, const char *prefix)
{
	uint8_t id[8];
	char name[64];
	X509_NAME *subject = X509_get_subject_name(cert);
	if (RAND_bytes(id, sizeof(id)) != 1)
		return ERR_CRYPTO;
	snprintf(name, sizeof(name), "%s %02x%02x%02x%02x%02x%02x%02x%02x", prefix, id[0], id[1],
		 id[2], id[3], id[4], id[5], id[6], id[7]);
	if (X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_ASC,
				       (const unsigned char *)name, -1, -1, 0) != 1 ||
	    X509_set_issuer_name(cert, subject) != 1)
		return ERR_CRYPTO;
	return 0;
}

static int make(const struct ca_kind *kind, struct ca *ca)
{
	ca->key = EVP_EC_gen(kind->curve);
	ca->cert = X509_new();
	if (!ca->key || !ca->cert || X509_set_pubkey(ca->cert, ca->key) != 1 ||
	    ca_number(ca->cert) < 0 || ca_valid_forever(ca->cert) < 0 ||
	    set_name(ca->cert, kind->name_prefix) < 0 ||
	    ca_add_extensions(ca->cert, ca->cert, kind->extensions) < 0 ||
	    X509_sign(ca->cert, ca->key, kind->md()) == 0)
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

int ca_init(const struct ca_kind *kind, const char *folder, struct fault *f)
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
	CLEANUP(ca_done) struct ca ca = { 0 };
	if (rc == 2)
		return ca_open(kind, folder, &ca, f);

	CLEANUP(cleanup_bio) BIO *key_pem = BIO_new(BIO_s_mem());
	CLEANUP(cleanup_bio) BIO *cert_pem = BIO_new(BIO_s_mem());
	if (!key_pem || !cert_pem || make(kind, &ca) < 0 ||
	    PEM_write_bio_PKCS8PrivateKey(key_pem, ca.key, NULL, NULL, 0, NULL, NULL) != 1 ||
	    PEM_write_bio_X509(cert_pem, ca.cert) != 1)
		return fault_set(f, ERR_CRYPTO, "libcrypto could not make the %s", kind->what);
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

static int read_files(const struct paths *p, struct ca *ca, struct fault *f)
{
	CLEANUP_BUF struct buf key = BUF_INIT(CA_PEM_MAX), cert = BUF_INIT(CA_PEM_MAX);
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

int ca_open(const struct ca_kind *kind, const char *folder, struct ca *out, struct fault *f)
{
	struct paths p;
	int rc = make_paths(folder, &p, f);
	if (rc >= 0)
		rc = count_files(&p, f);
	if (rc < 0)
		return rc;
	if (rc == 0)
		return fault_set(f, -ENOENT, "%s holds no %s: make one with `%s`", folder,
				 kind->holds, kind->made_by);
	struct ca ca = { 0 };
	rc = read_files(&p, &ca, f);
	ERR_clear_error();
	if (rc < 0) {
		ca_done(&ca);
		return rc;
	}
	*out = ca;
	return 0;
}
