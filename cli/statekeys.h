/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What opens a sealed file: for a saved state the VM key, unwrapped from a protector with a host's
 * or the owner's key; for a dump the owner's key itself.
 */
#ifndef SHIELDVM_CLI_STATEKEYS_H
#define SHIELDVM_CLI_STATEKEYS_H

#include "cli/statefile.h"
#include "crypto/protector.h"

struct statekeys {
	struct jwk *jwk;
	struct ecdh ecdh;
	struct protector *protector; /* NULL for a dump without one */
	struct stream_keys *keys;
};

/*
 * For S, with the private key in the file KEY (NULL: this host's, for a saved state) and the
 * protector of the domain in the file PROTECTOR (NULL: the one in S).  Errors of reading these, of
 * protector_unwrap(), ERR_STATE (no protector), ERR_VM (one of another VM than the domain that it
 * stands in), ERR_USAGE, with a sentence.
 */
int statekeys_open(struct statekeys *k, const struct statefile *s, const char *key,
		   const char *protector, struct fault *f) MUST_CHECK;
void statekeys_done(struct statekeys *k); /* wipes; an all-zero K is fine */
#define CLEANUP_STATEKEYS CLEANUP(statekeys_done)

/*
 * The protector of the domain in S, parsed (its signature verified, not whose it is), or NULL with
 * the reason in F.
 */
struct protector *statekeys_claimed(const struct statefile *s, struct fault *f);

#endif
