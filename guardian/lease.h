/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Leases: one live instance per VM, and no start from state that is older than what the VM has
 * shown.
 *
 * A VM's lease has one holder.  It changes hands by a start where nobody holds it, by a migration
 * (the host that the VM came to takes it over), or after it was given up; when a holder is gone for
 * good, its lease is taken back once it has expired, by the owner's or an admin's word and never by
 * itself: a host that cannot be reached may well go on running the VM.  Each change has a new
 * fencing token, and who shows an older one is told so.  The holder itself may start again, which
 * fences its older instance.
 *
 * A host that a VM is to come to by a migration gets the key while the source still has the lease,
 * and a note that it may take it over: that very lease, as long as nobody has started the VM, ended
 * it or taken it over meanwhile.  The lease moves once the VM has, so that a migration that fails
 * leaves it where the VM is.
 *
 * The guardian remembers the highest version of the vTPM's state that a holder reported.  Starting
 * from less takes a ticket by the owner, good once; the versions up to that highest one stay spent,
 * so that the two pasts of such a VM never meet under one number.
 *
 * It remembers the highest edition of the protector, too, that a key was released by, and goes by
 * no older one: who keeps the VM's definition cannot undo what its owner has decided since.
 *
 * A VM is known by its UUID and its owner's key.  What is decided here about a VM's key or lease is
 * in its release log, in the same transaction.
 *
 * May be used by: guardian/.
 */
#ifndef SHIELDVM_GUARDIAN_LEASE_H
#define SHIELDVM_GUARDIAN_LEASE_H

#include "attest/evidence.h"
#include "attest/ticket.h"
#include "guardian/guardian.h"

#define LEASE_SECONDS	       900
#define LEASE_INCOMING_SECONDS 86400 /* from the word that a VM comes until it is there */
/* Versions grow by one with each store of the state.  So a host that lies cannot use them up, and
 * what it spoils a restore ticket mends. */
#define LEASE_VERSION_STEP     (INT64_C(1) << 32) /* in one report */
#define LEASE_VERSION_MAX      (INT64_C(1) << 62)
#define LEASE_RESTORE_TYP      TICKET_TYP
#define LEASE_TAKEBACK_TYP     "shieldvm-takeback+jws"

/* Which instance of which VM is to run where.  All of it belongs to the caller. */
struct lease_ask {
	uint8_t vm[UUID_BYTES];
	uint8_t host[UUID_BYTES];	 /* as the transport knows it */
	const struct jwk *owner;	 /* of the VM's protector, which was verified */
	enum healthcert_assurance least; /* what the protector is content with */
	int64_t edition;		 /* of the protector; 0: it has none */
	const uint8_t *certificate;	 /* the host's health certificate */
	size_t certificate_bytes;
	uint8_t worker[ATTEST_WORKER_KEY_BYTES];
	int64_t version;    /* of the vTPM state to start from; 0: none yet */
	const char *ticket; /* the owner's, for older state; NULL without */
	size_t ticket_chars;
	/* What TICKET is for, where that is neither VERSION nor newer: a saved state, from which
	 * the VM may be started instead.  0: none. */
	int64_t restore;
	uint8_t request[LEDGER_REQUEST_BYTES];
};

struct lease_grant {
	int64_t token, expires;
	int64_t spent;		  /* the instance's state versions must be higher */
	int by_ticket;		  /* 1: the owner's was used up, */
	int64_t ticket;		  /* for this older version, which may be 0 */
	struct healthcert health; /* what the certificate says: the keys to encrypt to */
};

/*
 * The host of ASK may run the VM and have its key.  The key may leave after this has returned 0,
 * and not before.  Refuses as certificate.*, host.*, protector.older, protector.early, vm.version,
 * ticket.invalid, lease.held, guardian.*.
 */
int lease_start(const struct guardian *g, const struct lease_ask *ask, int64_t now,
		struct lease_grant *out, struct refusal *why) MUST_CHECK;

/*
 * The VM is to come to the host of ASK by a migration: it may have the key, and take the lease over
 * within LEASE_INCOMING_SECONDS.  No lease changes: OUT's token is that of the present one (0:
 * there is none), `expires` 0, `spent` the highest version reported.  The version in ASK is not
 * looked at.  Refuses as certificate.*, host.*, protector.older, protector.early, guardian.*.
 */
int lease_incoming(const struct guardian *g, const struct lease_ask *ask, int64_t now,
		   struct lease_grant *out, struct refusal *why) MUST_CHECK;

/*
 * The VM has come to HOST, which takes the lease that had TOKEN when it asked, and reports VERSION.
 * *NEW_TOKEN and *EXPIRES are the new one's.  Refuses as host.*, lease.none (HOST does not await
 * the VM, or no longer: the lease was given up or taken back since), lease.lost (it has changed
 * hands since), and as lease_report().
 * The answer may be lost on its way: as long as HOST has the lease that it took by naming TOKEN,
 * the same again is a report, and tells of that lease.
 */
int lease_take(const struct guardian *g, const uint8_t host[static UUID_BYTES],
	       const uint8_t vm[static UUID_BYTES], int64_t token, int64_t version, int64_t now,
	       int64_t *new_token, int64_t *expires, struct refusal *why) MUST_CHECK;

/*
 * The holder tells its state's version, and is to do so every few minutes: its lease is renewed,
 * unless it is no longer approved.  *EXPIRES is when the lease does.  Refuses as lease.lost,
 * vm.version (lower than one reported before, or higher than it can be: LEASE_VERSION_STEP),
 * request.rate (over STORE_WORDS_PER_HOST).
 */
int lease_report(const struct guardian *g, const uint8_t host[static UUID_BYTES],
		 const uint8_t vm[static UUID_BYTES], int64_t token, int64_t version, int64_t now,
		 int64_t *expires, struct refusal *why) MUST_CHECK;

/* The VM has stopped, with this version; a lower one than was reported changes nothing but that.
 * As lease_report(), but for that. */
int lease_stop(const struct guardian *g, const uint8_t host[static UUID_BYTES],
	       const uint8_t vm[static UUID_BYTES], int64_t token, int64_t version, int64_t now,
	       struct refusal *why) MUST_CHECK;

/*
 * Take the expired lease of VM back: by the word of the admin whose certificate BY is, who names
 * the OWNER's thumbprint; or of the owner, whose STATEMENT is a JWS of kind LEASE_TAKEBACK_TYP over
 * lease_takeback_text().  Refuses as lease.running, lease.none; admin.*; ticket.invalid.
 */
int lease_takeback(const struct guardian *g, const uint8_t by[static STORE_FINGERPRINT_BYTES],
		   const uint8_t vm[static UUID_BYTES], const char *owner, int64_t now,
		   struct refusal *why) MUST_CHECK;
int lease_takeback_by_owner(const struct guardian *g, const struct jwk *owner,
			    const uint8_t vm[static UUID_BYTES], const char *statement, size_t n,
			    int64_t now, struct refusal *why) MUST_CHECK;

/* Append what an owner signs: that the lease with TOKEN is taken back; that the VM may start from
 * state VERSION, as its restore number RESTORES (from 0).  Errors of buf_reserve(). */
int lease_takeback_text(const uint8_t vm[static UUID_BYTES], int64_t token,
			struct buf *out) MUST_CHECK;
int lease_restore_text(const uint8_t vm[static UUID_BYTES], int64_t version, int64_t restores,
		       struct buf *out) MUST_CHECK;

#endif
