/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Key operations in a process of their own: one that has an HSM's module loaded computes shared
 * secrets for the keeper, and nothing else.  So what the module does, and what is wrong with it,
 * meets neither the database nor the other keys.
 *
 * One request, a point, is answered by one message over a SOCK_SEQPACKET link.  A process that
 * fails once, or that does not answer within KEYS_MS, is of no more use: the parent starts another,
 * which opens the token anew.  Until then whatever needs the key fails.
 *
 * May be used by: guardian/.
 */
#ifndef SHIELDVM_GUARDIAN_KEYS_H
#define SHIELDVM_GUARDIAN_KEYS_H

#include "crypto/protector.h"

#define KEYS_MS 10000

/* Compute with KEY for LINK until its end (0), or until the key fails once: its error. */
int keys_run(const struct ecdh *key, int link, struct fault *f) MUST_CHECK;

/* The keeper's end. */
struct keys {
	int link;	 /* -1: there is nobody to ask */
	int lost;	 /* who was asked is of no more use, and its link closed */
	uint32_t number; /* of the process, as its parent counts */
};

/* An ecdh by name of KEY (public) over K, which must outlive it.  derive() fails with -ENODEV if
 * there is nobody, -ETIMEDOUT, -EIO. */
int keys_ecdh(struct keys *k, const struct jwk *key, struct ecdh *out) MUST_CHECK;

#endif
