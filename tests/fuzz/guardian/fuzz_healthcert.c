/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * healthcert_open() on arbitrary bytes, and on the same signed by the right CA: no fuzzer finds a
 * signature by itself.  The CA is that of tests/vectors/guardian, so that the seeds open.
 */
#include "crypto/healthcert.h"

#include <stdio.h>

#include "crypto/ossl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct healthca *ca;
static EVP_PKEY *key;
static const uint8_t HOST[UUID_BYTES] = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
					  0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };

static void set_up(void)
{
	char pem[8192];
	FILE *file = fopen(VECTORS "/ca.pem", "r");
	if (!file || healthca_read(pem, fread(pem, 1, sizeof(pem), file), &ca, NULL) < 0)
		abort();
	fclose(file);
	file = fopen(VECTORS "/ca.key", "r");
	key = file ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
	if (!key)
		abort();
	fclose(file);
}

/* Whether it is accepted; what it says is within its bounds then, and nothing is written if not. */
static int opens(const uint8_t *data, size_t size)
{
	struct healthcert c = { .generation = 0xdead };
	struct fault f = { 0 };
	int rc = healthcert_open(ca, data, size, HOST, 1800000000, &c, &f);
	if (rc < 0 && (c.generation != 0xdead || !f.text[0]))
		abort();
	if (rc == 0 &&
	    (memcmp(c.host, HOST, sizeof(HOST)) != 0 || c.generation == 0 ||
	     c.not_after <= 1800000000 || c.not_after - c.not_before > HEALTHCERT_LIFETIME_MAX ||
	     (c.assurance != HEALTHCERT_TPM && c.assurance != HEALTHCERT_HOSTKEY)))
		abort();
	return rc == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const unsigned char *p = data;
	unsigned char *der = NULL;
	if (!ca)
		set_up();
	int as_it_is = opens(data, size);
	CLEANUP(cleanup_x509) X509 *cert = size <= 65536 ? d2i_X509(NULL, &p, (long)size) : NULL;
	if (cert && X509_sign(cert, key, EVP_sha256()) > 0) {
		int n = i2d_X509(cert, &der);
		/* What was accepted stays so. */
		if (n > 0 && !opens(der, (size_t)n) && as_it_is)
			abort();
	}
	OPENSSL_free(der);
	ERR_clear_error();
	return 0;
}
