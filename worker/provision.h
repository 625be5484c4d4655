/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Endorsement keys of a new vTPM and their certificates, as swtpm_setup makes them.
 *
 * At its first start a vTPM gets what attestation clients look for (TCG EK Credential Profile for
 * TPM Family 2.0): an RSA 2048 EK (template L-1, persistent at 0x81010001) and a P-384 EK (template
 * H-3, at 0x81010016), with their certificates in NV at 0x01c00002 and 0x01c00016, readable with
 * owner, endorsement or platform authorisation and without any, deletable by the platform only.
 * The commands are fixed templates and the replies are parsed within their bounds.
 *
 * Used by: worker/main.c and shieldvm-swtpm, before a client is attached; the vTPM must not be
 * running.
 */
#ifndef SHIELDVM_WORKER_PROVISION_H
#define SHIELDVM_WORKER_PROVISION_H

#include "crypto/ekca.h"
#include "worker/vtpm.h"

/*
 * Sign EK: append its certificate's DER (<= EKCA_CERT_MAX) to DER.  0 or an error with F.
 */
typedef int (*provision_sign)(void *arg, const struct ek_public *ek, struct buf *der,
			      struct fault *f);

/*
 * Manufacture T (its store must be empty: ERR_STATE otherwise), provision it and stop it.  All of
 * it is stored in one step at the end, so that an interrupted or failed run leaves no state behind
 * and can be repeated.
 */
int provision_eks(struct vtpm *t, provision_sign sign, void *arg, struct fault *f) MUST_CHECK;

#endif
