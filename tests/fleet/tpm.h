/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A host's TPM that is a few keys in this process' memory, and its maker: what it signs is
 * marshalled and signed as a TPM does it (tests/unit/attest/statements.h), at a thousandth of a
 * TPM's time, so that a guardian meets thousands of hosts.  Everything fails the program by itself.
 */
#ifndef SHIELDVM_TESTS_FLEET_TPM_H
#define SHIELDVM_TESTS_FLEET_TPM_H

#include "attest/evidence.h"
#include "crypto/protector.h"
#include "tests/unit/attest/statements.h"
#include "tests/unit/guardian/host.h"

/* Who certifies TPMs: a root of its own. */
struct maker {
	EVP_PKEY *key;
	X509 *cert;
};
void maker_make(struct maker *m);
void maker_done(struct maker *m);
/* Its certificate for --ek-ca. */
void maker_write(const struct maker *m, const char *path);

struct simtpm {
	EVP_PKEY *ek, *ak, *bk;
	struct bytes ek_pub, ak_pub, bk_pub, ek_cert;
};
/* With keys of its own, started with BOOT's measurements. */
void simtpm_make(struct simtpm *t, const struct maker *m, const struct pcrs *boot);
void simtpm_done(struct simtpm *t);

/* TPM2_ActivateCredential: 0, or -1 for what no TPM2_MakeCredential made for this EK and AK. */
int simtpm_activate(const struct simtpm *t, const struct buf *id_object,
		    const struct buf *encrypted, uint8_t secret[static CREDENTIAL_SECRET_BYTES]);

/* Quote and creation certificate for C by host ID, which booted as BOOT says, into an empty OUT. */
void simtpm_prove(const struct simtpm *t, const struct host *boot, const struct challenge *c,
		  const uint8_t id[static UUID_BYTES],
		  const uint8_t worker[static ATTEST_WORKER_KEY_BYTES], struct evidence *out);

/* The public point of a P-256 key, and ECDH with it; KEY has to outlive what is returned. */
void simtpm_point(const EVP_PKEY *key, uint8_t point[static RAWKEY_P256_POINT]);
struct ecdh simtpm_ecdh(EVP_PKEY *key);

#endif
