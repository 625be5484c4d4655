/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's side of an enrolment: what it says of itself, and the proof that its keys are its own.
 *
 * The fingerprint that an admin compares is the caller's, worked out from the keys themselves: a
 * guardian, or somebody in between, cannot have another host approved by telling another one.
 *
 * May be used by: cli/, as root.
 */
#ifndef SHIELDVM_ATTEST_ENLIST_H
#define SHIELDVM_ATTEST_ENLIST_H

#include "attest/remote.h"
#include "attest/statement.h"

struct hosttpm;

/* Begin, prove, finish, as E with the TPM of it, or NULL with its host_key (private).  ERR_AUTH if
 * the guardian then tells another fingerprint than PRINT; errors of client_ask(), of
 * hosttpm_activate(), ERR_FORMAT. */
int enlist(struct remote *r, struct hosttpm *t, const struct enrolment *e,
	   const uint8_t print[static STATEMENT_PRINT_BYTES], struct fault *f) MUST_CHECK;

#endif
