/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/ekcert.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "crypto/rawkey_form.h"

/* tcg-kp-EKCertificate. */
#define EK_USAGE   "2.23.133.8.1"

/* libcrypto's security level for the chain's keys and signatures: 1 leaves SHA-1 out. */
#define AUTH_LEVEL 1

struct ekcert_roots {
	X509_STORE *store;
};

static void cleanup_store_ctx(X509_STORE_CTX **c)
{
	X509_STORE_CTX_free(*c);
}

static void cleanup_certs(STACK_OF(X509) * *certs)
{
	sk_X509_pop_free(*certs, X509_free);
}

void ekcert_roots_free(struct ekcert_roots *r)
{
	if (!r)
		return;
	X509_STORE_free(r->store);
	free(r);
}

/* Certificates need no password; libcrypto would ask the terminal. */
static int no_password(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

/* Add the certificates of IN; 0, or ERR_FORMAT for anything that is none. */
static int add_roots(BIO *in, X509_STORE *store, struct fault *f)
{
	for (int n = 0;; n++) {
		CLEANUP(cleanup_x509) X509 *cert = PEM_read_bio_X509(in, NULL, no_password, NULL);
		if (!cert) {
			/* Only the end of the text ends the list. */
			int at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
			ERR_clear_error();
			if (at_end && n > 0)
				return 0;
			return fault_set(f, ERR_FORMAT,
					 "the trusted roots hold %s certificate in PEM",
					 at_end ? "no" : "a broken");
		}
		if (n == EKCERT_ROOTS_MAX)
			return fault_set(f, ERR_LIMIT, "there are more than %d trusted roots",
					 EKCERT_ROOTS_MAX);
		if (X509_STORE_add_cert(store, cert) != 1)
			return fault_set(f, -ENOMEM, "no memory for the trusted roots");
	}
}

int ekcert_roots_parse(const char *pem, size_t n, struct ekcert_roots **out, struct fault *f)
{
	if (n > EKCERT_ROOTS_PEM_MAX)
		return fault_set(f, ERR_LIMIT, "the trusted roots have %zu bytes, over %d", n,
				 EKCERT_ROOTS_PEM_MAX);
	CLEANUP_EKCERT_ROOTS struct ekcert_roots *r = calloc(1, sizeof(*r));
	CLEANUP(cleanup_bio) BIO *in = BIO_new_mem_buf(pem, (int)n);
	if (!r || !in)
		return fault_set(f, -ENOMEM, "no memory for the trusted roots");
	r->store = X509_STORE_new();
	if (!r->store)
		return fault_set(f, -ENOMEM, "no memory for the trusted roots");
	int rc = add_roots(in, r->store, f);
	if (rc < 0)
		return rc;
	*out = r;
	r = NULL;
	return 0;
}

int ekcert_next(const uint8_t *data, size_t n, size_t *cert_bytes)
{
	const unsigned char *p = data;
	if (n > LONG_MAX)
		return ERR_FORMAT;
	CLEANUP(cleanup_x509) X509 *cert = n ? d2i_X509(NULL, &p, (long)n) : NULL;
	ERR_clear_error();
	if (!cert)
		return ERR_FORMAT;
	*cert_bytes = (size_t)(p - data);
	return 0;
}

/* DER and nothing behind it; NULL if it is not that. */
static X509 *parse(const struct hash_part *der)
{
	const unsigned char *p = der->data;
	if (der->n == 0 || der->n > EKCERT_DER_MAX)
		return NULL;
	CLEANUP(cleanup_x509) X509 *cert = d2i_X509(NULL, &p, (long)der->n);
	ERR_clear_error();
	if (!cert || p != (const uint8_t *)der->data + der->n)
		return NULL;
	X509 *whole = cert;
	cert = NULL;
	return whole;
}

static int parse_chain(const struct hash_part *chain, size_t n, STACK_OF(X509) * out,
		       struct fault *f)
{
	if (n > EKCERT_CHAIN_MAX)
		return fault_set(f, ERR_LIMIT, "%zu certificates came along, over %d", n,
				 EKCERT_CHAIN_MAX);
	for (size_t i = 0; i < n; i++) {
		X509 *cert = parse(&chain[i]);
		if (!cert)
			return fault_set(f, ERR_FORMAT,
					 "the certificate %zu of the endorsement key's chain is "
					 "not one",
					 i + 1);
		if (sk_X509_push(out, cert) <= 0) {
			X509_free(cert);
			return fault_set(f, -ENOMEM, "no memory for the chain");
		}
	}
	return 0;
}

static int verify_chain(const struct ekcert_roots *roots, X509 *cert, STACK_OF(X509) * chain,
			int64_t when, struct fault *f)
{
	CLEANUP(cleanup_store_ctx) X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	if (!ctx || X509_STORE_CTX_init(ctx, roots->store, cert, chain) != 1)
		return fault_set(f, ERR_CRYPTO, "libcrypto cannot verify a certificate");
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_time(param, (time_t)when);
	X509_VERIFY_PARAM_set_depth(param, EKCERT_DEPTH_MAX);
	X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
	/* Whatever stands in the operator's file is trusted, be it self-signed or not. */
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
	int ok = X509_verify_cert(ctx) == 1;
	ERR_clear_error();
	if (!ok)
		return fault_set(f, ERR_AUTH,
				 "the endorsement key's certificate does not lead to a trusted "
				 "maker: %s",
				 X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
	return 0;
}

/* The extended key usage is there and names EK_USAGE. */
static int check_usage(const X509 *cert, struct fault *f)
{
	EXTENDED_KEY_USAGE *usage = X509_get_ext_d2i(cert, NID_ext_key_usage, NULL, NULL);
	int found = 0;
	for (int i = 0; usage && i < sk_ASN1_OBJECT_num(usage); i++) {
		char oid[sizeof(EK_USAGE) + 1];
		if (OBJ_obj2txt(oid, sizeof(oid), sk_ASN1_OBJECT_value(usage, i), 1) ==
			    (int)strlen(EK_USAGE) &&
		    strcmp(oid, EK_USAGE) == 0)
			found = 1;
	}
	sk_ASN1_OBJECT_pop_free(usage, ASN1_OBJECT_free);
	ERR_clear_error();
	if (!found)
		return fault_set(f, ERR_PURPOSE,
				 "the certificate is not for an endorsement key: its extended key "
				 "usage does not name " EK_USAGE);
	return 0;
}

static int check_key(X509 *cert, const struct rawkey *ek, struct fault *f)
{
	struct rawkey key;
	EVP_PKEY *pkey = X509_get0_pubkey(cert);
	ERR_clear_error();
	if (!pkey || rawkey_from_pkey(pkey, &key) < 0)
		return fault_set(f, ERR_FORMAT,
				 "the certificate's key is no RSA-2048, P-256 or P-384 key");
	size_t coord = rawkey_coord_bytes(ek->type);
	if (key.type != ek->type ||
	    (ek->type == RAWKEY_RSA_2048
		     ? memcmp(key.n, ek->n, sizeof(key.n)) != 0
		     : memcmp(key.x, ek->x, coord) != 0 || memcmp(key.y, ek->y, coord) != 0))
		return fault_set(f, ERR_RECIPIENT,
				 "the certificate is another endorsement key's than the one sent");
	return 0;
}

int ekcert_verify(const struct ekcert_roots *roots, const struct hash_part *cert,
		  const struct hash_part *chain, size_t n_chain, int64_t when,
		  const struct rawkey *ek, struct fault *f)
{
	CLEANUP(cleanup_x509) X509 *leaf = parse(cert);
	if (!leaf)
		return fault_set(f, ERR_FORMAT,
				 "the endorsement key's certificate is not one in DER");
	CLEANUP(cleanup_certs) STACK_OF(X509) *others = sk_X509_new_null();
	if (!others)
		return fault_set(f, -ENOMEM, "no memory for the chain");
	int rc = parse_chain(chain, n_chain, others, f);
	if (rc >= 0)
		rc = verify_chain(roots, leaf, others, when, f);
	if (rc >= 0)
		rc = check_usage(leaf, f);
	if (rc >= 0)
		rc = check_key(leaf, ek, f);
	return rc;
}
