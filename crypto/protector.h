/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The key protector (DESIGN section 4, docs/FORMAT.md): who may have a VM's key, and what its owner
 * signed.
 *
 * On the outside it is one compact JWS (ES256) by the owner.  Its payload names the VM, the level,
 * the owner's choices, the vTPM's id and the owner's key, and holds the VM key as a JWE (general
 * JSON serialisation, ECDH-ES+A256KW on P-256, A256GCM), one recipient entry per key that may
 * unwrap it.  The JWE's protected header repeats the VM and the owner's thumbprint, so that a
 * foreign signature over somebody else's JWE cannot be made to open.
 *
 * Some recipients may be guardians: version 2 names them, with their addresses, and what the owner
 * demands of a host that they release the key to.
 *
 * May be used by: cli/, libvirt/, attest/, guardian/, worker/ before it seals.
 */
#ifndef SHIELDVM_CRYPTO_PROTECTOR_H
#define SHIELDVM_CRYPTO_PROTECTOR_H

#include "base/buf.h"
#include "crypto/ecdh.h"
#include "crypto/healthcert.h"
#include "crypto/jwk.h"
#include "crypto/key.h"

#define PROTECTOR_TEXT_MAX	 65536
#define PROTECTOR_RECIPIENTS_MAX 64
#define PROTECTOR_ALLOW_MAX	 64 /* rules in "allow" */
#define PROTECTOR_RULE_MAX	 64 /* bytes of a rule id, with the NUL */
#define PROTECTOR_TPM_ID_BYTES	 16

/*
 * Not a refusal lifted but a choice, and the only id that may be in "allow" at level shielded too:
 * state is compressed before it is sealed, and its size then tells how well it compresses.
 */
#define PROTECTOR_COMPRESSION	 "state.compression"

enum shield_level { LEVEL_ENCRYPTION_SUPPORTED = 1, LEVEL_SHIELDED = 2 };

/* "shielded", "encryption-supported"; ERR_FORMAT for other text. */
const char *level_name(enum shield_level level);
int level_parse(const char *text, enum shield_level *level) MUST_CHECK;

#define PROTECTOR_GUARDIANS_MAX 8
#define PROTECTOR_URLS_MAX	8    /* of one guardian */
#define PROTECTOR_URL_MAX	364  /* characters of one, with its thumbprint */
#define PROTECTOR_URLS_SIZE	4096 /* bytes of them as one text, with the NUL */
#define PROTECTOR_OFFLINE_MAX	100
#define PROTECTOR_EDITION_AHEAD 86400 /* seconds that its owner's clock may be ahead of others */
#define PROTECTOR_EDITION_MAX	(INT64_C(1) << 53) /* what every reader of JSON holds */

/* What the owner signs besides the recipients. */
struct protector_facts {
	uint8_t vm[UUID_BYTES];
	enum shield_level level;
	uint8_t tpm_id[PROTECTOR_TPM_ID_BYTES]; /* names one vTPM; a new one means a new TPM */
	size_t n_allow;				/* what protector_may_allow() says */
	char allow[PROTECTOR_ALLOW_MAX][PROTECTOR_RULE_MAX];

	/* For guardians; without one least is HEALTHCERT_TPM and the others 0. */
	enum healthcert_assurance least; /* the weakest that a host may have to get the key */
	uint32_t offline; /* starts that a host may make from its sealed copy, between two releases,
			   * when no guardian answers; at most PROTECTOR_OFFLINE_MAX */
	int64_t edition;  /* from 1; higher in each that the owner makes.  A guardian goes by none
			   * lower than it has released by. */
};

/*
 * A guardian that may release the key: one of the recipients, and where it is asked.  URLS are
 * addresses with pins, "https://HOST:PORT#THUMBPRINT[,...]", in the order in which they are tried
 * (attest/client.h): several nodes over one database have the one key.
 */
struct protector_guardian {
	char thumbprint[JWK_THUMBPRINT_SIZE];
	char urls[PROTECTOR_URLS_SIZE];
};

/* 1 if an owner may allow ID at LEVEL, as far as this layer knows; 1 if he has allowed it. */
int protector_may_allow(enum shield_level level, const char *id);
int protector_allows(const struct protector_facts *facts, const char *id);

struct protector; /* parsed, and its signature verified */

/*
 * Parse TEXT, with nothing before or behind it, and verify it: strict JSON, the one encoding, the
 * owner's signature, the owner named in the JWE. An unverified protector never becomes a struct.
 * ERR_FORMAT, ERR_VERSION, ERR_AUTH, ERR_LIMIT with a sentence.
 */
int protector_parse(const char *text, size_t n, struct protector **out, struct fault *f) MUST_CHECK;
void protector_free(struct protector *p);
static inline void cleanup_protector(struct protector **p)
{
	protector_free(*p);
}
#define CLEANUP_PROTECTOR      CLEANUP(cleanup_protector)

/*
 * What two hosts compare before a migration: the hash of all that OWNER signed in FACTS, without
 * the recipients (docs/FORMAT.md, "Hello and answer").  ERR_CRYPTO.
 */
#define PROTECTOR_POLICY_BYTES 32
int protector_policy(const struct protector_facts *facts, const struct jwk *owner,
		     uint8_t hash[static PROTECTOR_POLICY_BYTES]) MUST_CHECK;

const struct protector_facts *protector_facts(const struct protector *p);
const struct jwk *protector_owner(const struct protector *p); /* public; belongs to P */
size_t protector_n_recipients(const struct protector *p);
const char *protector_recipient(const struct protector *p, size_t i); /* thumbprint; belongs to P */

/* The guardians among the recipients, in the owner's order. */
size_t protector_n_guardians(const struct protector *p);
const struct protector_guardian *protector_guardian(const struct protector *p, size_t i);

/* Recipient I's whole public key, which the owner's signature covers too; belongs to P.  `shieldvm
 * key rewrap` makes a new protector for the same recipients from these, without asking the hosts.
 */
const struct jwk *protector_recipient_key(const struct protector *p, size_t i);

/*
 * The key that the VM key is encrypted with in the protector.  Whoever has it, and the protector,
 * has the VM key, and knows it for the one that the owner put there; so this is what travels where
 * nobody signs for it (crypto/keyrelease.h).
 */
struct content_key {
	uint8_t bytes[KEY_BYTES];
};
/* As protector_unwrap(), which is this and protector_open(): what does not open is not given. */
int protector_unwrap_content_key(const struct protector *p, const struct ecdh *ecdh,
				 struct content_key *out, struct fault *f) MUST_CHECK;

/* The VM key.  ERR_AUTH if K is not the key of P's content; KEY is then untouched. */
int protector_open(const struct protector *p, const struct content_key *k, struct vm_key *key,
		   struct fault *f) MUST_CHECK;

/*
 * Unwrap the VM key with ECDH's key.  ERR_RECIPIENT if it has no entry, ERR_AUTH if the entry or
 * the JWE does not authenticate.  KEY is untouched on failure.
 */
int protector_unwrap(const struct protector *p, const struct ecdh *ecdh, struct vm_key *key,
		     struct fault *f) MUST_CHECK;

/* Guardians for a new protector: public keys, and addresses as in protector_guardian; borrowed. */
struct protector_guards {
	size_t n;
	const struct jwk *keys[PROTECTOR_GUARDIANS_MAX];
	const char *urls[PROTECTOR_GUARDIANS_MAX];
};

/*
 * Make a protector for KEY: signed by OWNER (private), which is always a recipient, plus N HOSTS
 * (public, duplicates folded) and GUARDS (NULL: none); at least one of them all.  Version 2 with
 * guardians, else version 1, which can say nothing in LEAST (0 will do), OFFLINE and EDITION.
 * Appends the compact JWS to OUT.  ERR_USAGE, ERR_FORMAT, ERR_LIMIT with a sentence.
 */
int protector_make(const struct protector_facts *facts, const struct vm_key *key,
		   const struct jwk *owner, const struct jwk *const *hosts, size_t n,
		   const struct protector_guards *guards, struct buf *out,
		   struct fault *f) MUST_CHECK;

#endif
