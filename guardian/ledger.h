/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The release log's records (docs/FORMAT.md, "Release log"): what the guardian did with a VM's key,
 * for the VM's owner to check.
 *
 * A record is a compact JWS by the guardian's log key.  Its payload is JSON with a fixed set of
 * members in one order, among them the VM, its number (from 1, without gaps) and the SHA-256 of the
 * record before it.  So an owner who has the public log key sees records that were changed,
 * dropped, reordered, put in, or made for another VM; that the end was cut off shows against a
 * signed head, and that the guardian's database was set back shows against the head that the owner
 * got last time.
 *
 * A UUID is nobody's: each owner of a VM with it has a chain of his own.  What admins decide about
 * the guardian itself (hosts, policies, other admins) stands in the same way under the VM whose
 * UUID is all zero, which has no owner.
 *
 * Guardians over one database share one log key.  May be used by: guardian/, cli/ (verifies).
 */
#ifndef SHIELDVM_GUARDIAN_LEDGER_H
#define SHIELDVM_GUARDIAN_LEDGER_H

#include "crypto/sign.h"
#include "guardian/store_vm.h"

#define LEDGER_TYP	     "shieldvm-ledger+jws"
#define LEDGER_HEAD_TYP	     "shieldvm-ledger-head+jws"
#define LEDGER_REQUEST_BYTES 16
#define LEDGER_OBJECT_SIZE   192 /* with the NUL */

enum ledger_event {
	LEDGER_RELEASE,	 /* the key was released to HOST, which holds the lease TOKEN */
	LEDGER_INCOMING, /* the key was released to HOST, to which the VM is to come by a migration:
			  * the lease TOKEN stays (0: nobody has one), and HOST may take it over */
	LEDGER_HANDOVER, /* the lease went to HOST by a migration */
	LEDGER_STOP,	 /* HOST gave the lease up */
	LEDGER_TAKEBACK, /* the expired lease of HOST was taken back, by BY (empty: the owner) */
	LEDGER_RESTORE,	 /* the owner's ticket lets the VM start from state VERSION once */
	LEDGER_APPROVE,	 /* from here on of the guardian itself: HOST may attest */
	LEDGER_REVOKE,
	LEDGER_REPLACE, /* HOST may enrol again */
	LEDGER_POLICY,	/* policy GENERATION was added */
	LEDGER_FLOOR,	/* certificates of generations before GENERATION no longer count */
	LEDGER_ADMIN,	/* admins were changed */
	LEDGER_EVENTS
};
const char *ledger_event_name(enum ledger_event event);

/* What does not apply is zero or empty. */
struct ledger_record {
	uint8_t vm[UUID_BYTES];
	int64_t seq;			/* set by ledger_append() */
	uint8_t prev[STORE_HASH_BYTES]; /* set by ledger_append(); zero in the first */
	int64_t time;
	enum ledger_event event;
	uint8_t host[UUID_BYTES];
	char owner[STORE_OWNER_SIZE]; /* of the VM: thumbprint */
	char by[STORE_NAME_MAX];      /* an admin */
	/* What an admin's word was about ([a-z0-9.:-]*): "sha256:HEX" of a policy's text, or of a
	 * host's keys (store_host_fingerprint()); "add:ROLE:NAME:HEX" with the admin's fingerprint,
	 * "remove:NAME". */
	char object[LEDGER_OBJECT_SIZE];
	int64_t token, version, generation;
	uint8_t certificate[STORE_SERIAL_BYTES]; /* serial number of the host's */
	int hostkey;				 /* the weaker assurance: without a TPM */
	uint8_t request[LEDGER_REQUEST_BYTES];
};

/* Say in R that it is about what the 32 bytes of HASH are of. */
void ledger_set_hash(struct ledger_record *r, const uint8_t hash[static STORE_HASH_BYTES]);
/* ... that the admin A was added. */
void ledger_set_admin(struct ledger_record *r, const struct store_admin *a);

/*
 * Append R to its VM's records, inside the open transaction of S, signed by KEY (private).  Nothing
 * that the record tells of may happen unless that commits.  Errors of guardian/store.h, ERR_CRYPTO,
 * ERR_FORMAT (a member that is no valid value).
 */
int ledger_append(struct store *s, const struct jwk *key, struct ledger_record *r,
		  struct fault *f) MUST_CHECK;

/* Where a VM's records end. */
struct ledger_head {
	uint8_t vm[UUID_BYTES];
	char owner[STORE_OWNER_SIZE];
	int64_t seq; /* 0: none, and HASH is zero */
	uint8_t hash[STORE_HASH_BYTES];
	int64_t time; /* when it was signed */
};
/* Append the head of OWNER's VM as a compact JWS to OUT.  Errors as ledger_append(). */
int ledger_head_sign(struct store *s, const struct jwk *key, const uint8_t vm[static UUID_BYTES],
		     const char *owner, int64_t now, struct buf *out, struct fault *f) MUST_CHECK;
/* Read and verify one.  Errors of sign_open(). */
int ledger_head_open(const struct jwk *key, const char *text, size_t n, struct ledger_head *out,
		     struct fault *f) MUST_CHECK;

/*
 * Read STATEMENT, which must be the record after C (zero but for VM and owner at the beginning),
 * and move C on.  C's time is the record's.  ERR_AUTH (another key, another VM or owner, not the
 * next), ERR_FORMAT; C is then unchanged.
 */
int ledger_next(struct ledger_head *c, const struct jwk *key, const char *statement, size_t n,
		struct ledger_record *out, struct fault *f) MUST_CHECK;

/*
 * Verify the N bytes of LINES, all of VM's records one a line, against HEAD and, unless it is NULL,
 * KNOWN: the head that was verified last time.  Calls FN (may be NULL) per record; what FN has seen
 * counts only if this returns 0.  ERR_AUTH with a sentence that says which line and what is wrong.
 */
typedef int ledger_each_fn(const struct ledger_record *r, void *arg);
int ledger_verify(const struct jwk *key, const char *lines, size_t n,
		  const struct ledger_head *head, const struct ledger_head *known,
		  ledger_each_fn *fn, void *arg, struct fault *f) MUST_CHECK;

#endif
