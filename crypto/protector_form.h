/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the parts of the protector's code share: its spelling, and what a parsed one holds.
 * Private to crypto/.
 */
#ifndef SHIELDVM_CRYPTO_PROTECTOR_FORM_H
#define SHIELDVM_CRYPTO_PROTECTOR_FORM_H

#include "crypto/jwe.h"

#include <jose/cfg.h>

#define PROTECTOR_VERSION	  1
#define PROTECTOR_VERSION_GUARDED 2 /* with guardians, and never without */
#define PROTECTOR_JWS_TYP	  "shieldvm-protector+jws"
#define PROTECTOR_JWE_TYP	  "shieldvm-key+jwe"
#define PROTECTOR_JWS_ALG	  "ES256"

#define PROTECTOR_SIGNATURE_BYTES 64

struct protector_entry {
	char thumbprint[JWK_THUMBPRINT_SIZE];
	struct jwk *key; /* public; owned */
	uint8_t epk_x[JWK_COORDINATE_BYTES], epk_y[JWK_COORDINATE_BYTES];
	uint8_t wrapped[JWE_WRAPPED_BYTES];
};

struct protector {
	struct protector_facts facts;
	struct jwk *owner;
	char *jwe_protected; /* base64url, as authenticated */
	struct jwe_content content;
	size_t n_entries;
	struct protector_entry entries[PROTECTOR_RECIPIENTS_MAX];
	size_t n_guardians;
	struct protector_guardian guardians[PROTECTOR_GUARDIANS_MAX];
};

/* ID is a rule id that a protector may carry: [a-z0-9.-], not empty, shorter than
 * PROTECTOR_RULE_MAX. */
int protector_rule_valid(const char *id);

/* TEXT (may be NULL) is a UUID, or a vTPM's id, in the one spelling; ERR_FORMAT.  And that
 * spelling.
 */
#define PROTECTOR_TPM_TEXT_SIZE (2 * PROTECTOR_TPM_ID_BYTES + 1)
int protector_take_uuid(const char *text, uint8_t uuid[static UUID_BYTES]) MUST_CHECK;
int protector_take_tpm_id(const char *text, uint8_t id[static PROTECTOR_TPM_ID_BYTES]) MUST_CHECK;
void protector_tpm_text(const uint8_t id[static PROTECTOR_TPM_ID_BYTES],
			char text[static PROTECTOR_TPM_TEXT_SIZE]);

/* What version 2 has besides, of the payload O, into P, whose owner and recipients are known.
 * ERR_FORMAT, ERR_LIMIT. */
int protector_take_guardians(const json_t *o, struct protector *p, struct fault *f) MUST_CHECK;

/* The other way: put it into the payload O.  FACTS and GUARDS fit each other or it is ERR_USAGE
 * (protector_check_guards()); whether each is sound is seen when it is read back. */
int protector_check_guards(const struct protector_facts *facts,
			   const struct protector_guards *guards, struct fault *f) MUST_CHECK;
int protector_put_guardians(const struct protector_facts *facts,
			    const struct protector_guards *guards, json_t *o,
			    struct fault *f) MUST_CHECK;

/* A configuration under which libjose writes nothing to stderr; NULL when memory is out.  The
 * caller's: jose_cfg_auto_t. */
jose_cfg_t *protector_quiet_jose(void);

#endif
