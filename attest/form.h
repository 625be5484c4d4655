/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Digests, banks and values of PCRs in the one spelling that evidence and policy have in JSON
 * (docs/FORMAT.md, "Evidence").
 *
 * May be used by: attest/, guardian/, cli/.  No system call but the allocator's.
 */
#ifndef SHIELDVM_ATTEST_FORM_H
#define SHIELDVM_ATTEST_FORM_H

#include <jansson.h>
#include <stddef.h>

#include "attest/pcr.h"
#include "base/buf.h"

/* Append N bytes as lower-case hexadecimal digits.  Errors of buf_reserve(). */
int form_hex_put(struct buf *out, const uint8_t *data, size_t n) MUST_CHECK;

/* Exactly BYTES from TEXT (NULL is fine).  ERR_FORMAT, OUT is then unspecified. */
int form_hex(const char *text, size_t bytes, uint8_t *out) MUST_CHECK;

/* "sha256", "sha384" or "sha512": the banks that are taken.  ERR_VERSION for another, or NULL. */
int form_bank(const char *name, uint16_t *bank) MUST_CHECK;

/* Append P's known values as an object, {"0":"HEX", ...}.  Errors of buf_reserve(). */
int form_pcrs_put(struct buf *out, const struct pcrs *p) MUST_CHECK;

/* Read such an object, of at least one PCR, for BANK.  ERR_FORMAT with OUT untouched. */
int form_pcrs(const json_t *o, uint16_t bank, struct pcrs *out) MUST_CHECK;

#endif
