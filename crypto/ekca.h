/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's local CA for EK certificates, and the certificates (TCG EK Credential Profile for TPM
 * Family 2.0).
 *
 * `shieldvm host init` makes the CA; the hook, as root, signs a vTPM's endorsement keys once, at
 * its first start. The sealed worker never sees the CA's key.
 */
#ifndef SHIELDVM_CRYPTO_EKCA_H
#define SHIELDVM_CRYPTO_EKCA_H

#include "base/buf.h"
#include "base/err.h"
#include "base/uuid.h"

#define EKCA_CERT_MAX 2048 /* DER bytes of one EK certificate: what fits the vTPM's NV */

/*
 * Make a CA (P-384, self-signed) in FOLDER, which is made if it is missing: ca.key (PKCS#8 in PEM,
 * 0600) and ca.pem (0644).  Existing ones are checked and left alone (0 too).  One file without the
 * other is ERR_STATE; else as ekca_open().
 */
int ekca_init(const char *folder, struct fault *f) MUST_CHECK;

/* Open the CA in FOLDER: the one that ekca_init() made, or an operator's own (RSA or EC).
 * ERR_FORMAT, ERR_POLICY if others may use the key, -ENOENT, -errno. */
struct ekca;
int ekca_open(const char *folder, struct ekca **out, struct fault *f) MUST_CHECK;
void ekca_free(struct ekca *ca);

/* Public keys as the TPM gives them: RSA modulus (exponent 65537), or P-384 point; big endian. */
struct ek_public {
	enum ek_type { EK_RSA_2048, EK_ECC_P384 } type;
	uint8_t rsa_modulus[256];
	uint8_t ecc_x[48], ecc_y[48];
};

/* Issue a certificate for EK of the vTPM of VM and append its DER (<= EKCA_CERT_MAX) to OUT.
 * ERR_FORMAT if EK is no key of its type, ERR_LIMIT, ERR_CRYPTO. */
int ekca_issue(struct ekca *ca, const struct ek_public *ek, const uint8_t vm[static UUID_BYTES],
	       struct buf *out, struct fault *f) MUST_CHECK;

#endif
