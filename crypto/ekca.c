/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What goes into a certificate is written as libcrypto's extension configuration, in the texts
 * below: the profile can be read there next to the TCG's document.
 */
#include "crypto/ekca.h"

#include <errno.h>
#include <string.h>

#include "crypto/ca_form.h"
#include "crypto/rawkey_form.h"

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

static const struct ca_kind KIND = {
	.what = "EK CA",
	.holds = "CA for EK certificates",
	.made_by = "shieldvm host init",
	.curve = "P-384",
	.name_prefix = "shieldvm EK CA",
	.extensions = CA_EXTENSIONS,
	.md = EVP_sha384,
};

struct ekca {
	struct ca ca;
};

void ekca_free(struct ekca *ca)
{
	if (!ca)
		return;
	ca_done(&ca->ca);
	free(ca);
}

int ekca_init(const char *folder, struct fault *f)
{
	return ca_init(&KIND, folder, f);
}

int ekca_open(const char *folder, struct ekca **out, struct fault *f)
{
	struct ekca *ca = calloc(1, sizeof(*ca));
	if (!ca)
		return fault_set(f, -ENOMEM, "no memory for the EK CA");
	int rc = ca_open(&KIND, folder, &ca->ca, f);
	if (rc < 0) {
		free(ca);
		return rc;
	}
	*out = ca;
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
	if (X509_set_pubkey(cert, ek) != 1 || ca_number(cert) < 0 || ca_valid_forever(cert) < 0 ||
	    X509_set_issuer_name(cert, X509_get_subject_name(ca->ca.cert)) != 1 ||
	    ca_add_extensions(cert, ca->ca.cert, buf_cstr(&extensions)) < 0 ||
	    X509_sign(cert, ca->ca.key, EVP_sha384()) == 0)
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
	int rc = ca_put_der(cert, EKCA_CERT_MAX, out);
	if (rc == ERR_LIMIT)
		return fault_set(f, rc,
				 "the EK certificate has more than the %d bytes that the vTPM "
				 "takes: the CA's name or key is too long",
				 EKCA_CERT_MAX);
	return rc < 0 ? fault_set(f, rc, "the EK certificate: %s", err_text(rc)) : 0;
}
