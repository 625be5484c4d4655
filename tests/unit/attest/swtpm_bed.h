/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A software TPM of a test's own: in a private folder, on sockets there, ended by its pid.  A test
 * that cannot start one is skipped (fails if MUST_WORK=1).
 */
#ifndef SHIELDVM_TESTS_UNIT_ATTEST_SWTPM_BED_H
#define SHIELDVM_TESTS_UNIT_ATTEST_SWTPM_BED_H

#include <sys/types.h>

#include "base/buf.h"

struct swtpm_bed {
	char folder[64];
	char tcti[128]; /* for hosttpm_open() */
	pid_t pid;
};

/* Make the folder; with CERTIFIED, manufacture the TPM with EK certificates of a CA in FOLDER/ca
 * (swtpm_setup), else leave it blank. */
void swtpm_bed_open(struct swtpm_bed *b, int certified);
/* Start it: as after a reset, with PCRs at their reset values.  Stop it. */
void swtpm_bed_start(struct swtpm_bed *b);
void swtpm_bed_stop(struct swtpm_bed *b);
/* Stop it if it runs, and remove the folder. */
void swtpm_bed_done(struct swtpm_bed *b);

/* Extend PCR of the SHA-256 bank with 32 times BYTE. */
void swtpm_bed_extend(struct swtpm_bed *b, unsigned pcr, uint8_t byte);

/* Store N bytes in a new NV index, which its own password reads, or only the owner's. */
void swtpm_bed_store(struct swtpm_bed *b, uint32_t index, const uint8_t *data, size_t n,
		     int owner_reads);

/* What tpm2_createek makes of ALGORITHM, another implementation of the TCG's templates:
 * TPMT_PUBLIC. */
void swtpm_bed_ek(struct swtpm_bed *b, const char *algorithm, struct buf *pub);

/* A certificate in PEM of a certified one's CA: "swtpm-localca-rootca-cert.pem", "issuercert.pem".
 */
void swtpm_bed_cert(struct swtpm_bed *b, const char *name, struct buf *pem);

#endif
